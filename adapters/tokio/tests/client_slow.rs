//! Users who take their messages slowly, or not at all.
mod client_support;

use client_support::*;
use mqtt_tokio::client::Lagging;
use mqtt_tokio::proto::{Delivery, Packet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[tokio::test]
async fn a_full_stream_stops_the_reading_and_nothing_is_lost() {
    const MESSAGES: usize = 2000;
    let server = Server::start().await;
    let builder = server.builder().capacity(5).configure(|config| config.max_incoming = 10);
    let (client, mut conn) = server.client(builder).await;
    let mut messages = client.messages();
    let written = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&written);
    let payload = "x".repeat(32 * 1024);
    let flood = tokio::spawn(async move {
        for n in 0..MESSAGES {
            conn.send(publish(&n.to_string(), &payload, Delivery::AtMostOnce)).await;
            counter.fetch_add(1, Ordering::Relaxed);
        }
        conn
    });
    // Until the server is stuck; a client that does not pause lets it finish.
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = written.load(Ordering::Relaxed);
        if now > 50 && now == before {
            break;
        }
        before = now;
    }
    assert!(before < MESSAGES, "sockets hold less than that");
    // CONNACK, five in the stream, one that waits for it, ten in the machine.
    assert!(client.stats().packets_received <= 1 + 5 + 1 + 10, "{:?}", client.stats());
    for n in 0..MESSAGES {
        assert_eq!(&*soon(messages.recv()).await.unwrap().topic, n.to_string());
    }
    assert_eq!((client.lagged(), client.stats().dropped_incoming), (0, 0));
    drop(flood.await.unwrap());
}

#[tokio::test]
async fn publishing_works_while_messages_wait() {
    let server = Server::start().await;
    let builder = server.builder().capacity(2).configure(|config| config.max_incoming = 3);
    let (client, mut conn) = server.client(builder).await;
    let mut messages = client.messages();
    let script = async {
        for n in 0..10 {
            conn.send(publish("t", &n.to_string(), Delivery::AtMostOnce)).await;
        }
        let sent = conn.read_publish().await;
        for n in 10..12 {
            conn.send(publish("t", &n.to_string(), Delivery::AtMostOnce)).await;
        }
        conn.send(Packet::PubAck(ack(sent.delivery.id().unwrap()))).await;
        conn
    };
    let (outcome, _conn) = tokio::join!(soon(client.publish("t", "mine", Q1)), script);
    outcome.unwrap();
    for n in 0..12 {
        assert_eq!(soon(messages.recv()).await.unwrap().payload, n.to_string());
    }
}

#[tokio::test]
async fn a_lagging_stream_may_miss_messages_instead() {
    let server = Server::start().await;
    let (client, mut conn) = server.client(server.builder().capacity(2).lagging(Lagging::Drop)).await;
    let mut slow = client.messages();
    let (fast, _) = tokio::join!(client.subscribe("end", Q0), conn.grant());
    for n in 0..5 {
        conn.send(publish("t", &n.to_string(), Delivery::AtMostOnce)).await;
    }
    conn.send(publish("end", "x", Delivery::AtMostOnce)).await;
    soon(fast.unwrap().recv()).await.unwrap();
    assert_eq!(client.lagged(), 3);
    assert_eq!([slow.recv().await.unwrap().payload, slow.recv().await.unwrap().payload], ["0", "1"]);
}

#[tokio::test]
async fn messages_that_nobody_takes_do_not_stop_the_client() {
    let server = Server::start().await;
    let (client, mut conn) = server.client(server.builder().capacity(3)).await;
    for n in 0..10 {
        conn.send(publish("t", &n.to_string(), Delivery::AtMostOnce)).await;
    }
    let (published, _) = tokio::join!(client.publish("t", "x", Q1), conn.take());
    published.unwrap();
    let mut messages = client.messages();
    for n in 7..10 {
        assert_eq!(soon(messages.recv()).await.unwrap().payload, n.to_string(), "the newest three were kept");
    }
    assert_eq!(client.lagged(), 7);
}

#[tokio::test]
async fn large_messages_both_ways() {
    let server = Server::start().await;
    let (client, mut conn) = server.client(server.builder()).await;
    let mut messages = client.messages();
    let payload = "x".repeat(3_000_000);
    let script = async {
        let sent = conn.read_publish().await;
        conn.send(Packet::PubAck(ack(sent.delivery.id().unwrap()))).await;
        conn.send(publish("t", std::str::from_utf8(&sent.payload).unwrap(), Delivery::AtMostOnce)).await;
        conn
    };
    let (published, _conn) = tokio::join!(client.publish("t", payload.clone(), Q1), script);
    published.unwrap();
    assert!(soon(messages.recv()).await.unwrap().payload == payload);
}

/// What the socket takes makes room for more, although nothing else wakes the client.
#[tokio::test]
async fn a_burst_of_qos0_is_settled_while_the_server_says_nothing() {
    const MESSAGES: usize = 400; // of 64 KiB: more than the sockets hold
    let server = Server::start().await;
    let builder = server.builder().configure(|config| config.max_transmit_bytes = 1000);
    let (client, mut conn) = server.client(builder).await;
    let payload = bytes::Bytes::from(vec![7; 64 * 1024]);
    let deliveries: Vec<_> = (0..MESSAGES).map(|_| client.try_publish("t", payload.clone(), Q0).unwrap()).collect();
    let script = async {
        for _ in 0..MESSAGES {
            conn.read_publish().await;
        }
    };
    let user = async {
        for delivery in deliveries {
            soon(delivery).await.unwrap();
        }
    };
    tokio::join!(script, user);
}
