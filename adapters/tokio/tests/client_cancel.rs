//! Futures that are dropped half-way: nothing is lost and nothing doubled.
mod client_support;

use client_support::*;
use mqtt_tokio::client::{PublishError, QueueConfig};
use mqtt_tokio::proto::Delivery;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Polls a future so many times, and drops it.
fn poll_and_drop(future: impl Future<Output = impl std::fmt::Debug>, times: usize) {
    let mut future = pin!(future);
    for _ in 0..times {
        let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Pending), "{polled:?}");
    }
}

#[tokio::test]
async fn a_dropped_publish_happened_once_or_never() {
    let server = Server::start().await;
    let (client, mut conn) = server.client(server.builder()).await;
    poll_and_drop(client.publish("t", "never", Q1), 0);
    poll_and_drop(client.publish("t", "once", Q1), 1);
    poll_and_drop(client.publish("t", "also once", Q1), 3);
    let (last, ()) = tokio::join!(client.publish("t", "last", Q1), async {
        for expected in ["once", "also once", "last"] {
            assert_eq!(conn.take().await, expected);
        }
    });
    last.unwrap();
}

#[tokio::test]
async fn a_publish_that_waits_for_room_and_is_dropped_never_happened() {
    let server = Server::start().await;
    let queue = QueueConfig { max_messages: 1, ..QueueConfig::default() };
    let client = server.builder().queue(queue).open().unwrap();
    drop(client.try_publish("t", "1", Q1).unwrap());
    let full = client.try_publish("t", "refused", Q1).unwrap_err();
    assert!(matches!(full, PublishError::Rejected(_)) && full.to_string().contains("queue is full"));
    poll_and_drop(client.publish("t", "dropped while waiting", Q1), 2);
    let waiting = client.publish("t", "2", Q1);
    let script = async {
        let mut conn = server.welcome(false).await;
        assert_eq!([conn.take().await, conn.take().await], ["1", "2"]);
        conn
    };
    let (published, _conn) = tokio::join!(waiting, script);
    published.unwrap();
}

#[tokio::test]
async fn a_dropped_subscribe_leaves_the_subscription() {
    let server = Server::start().await;
    let (client, mut conn) = server.client(server.builder()).await;
    poll_and_drop(client.subscribe("a", Q0), 1);
    assert_eq!(conn.grant().await, ["a"]);
    conn.send(publish("a", "x", Delivery::AtMostOnce)).await;
    assert_eq!(soon(client.messages().recv()).await.unwrap().payload, "x");
}

#[tokio::test]
async fn a_dropped_recv_loses_no_message() {
    let server = Server::start().await;
    let (client, mut conn) = server.client(server.builder().capacity(2)).await;
    let mut messages = client.messages();
    let script = async {
        for n in 0..50 {
            conn.send(publish("t", &n.to_string(), Delivery::AtMostOnce)).await;
        }
        conn
    };
    let user = async {
        let mut expected = 0;
        while expected < 50 {
            tokio::select! {
                biased;
                () = tokio::task::yield_now() => {} // often first
                message = messages.recv() => {
                    assert_eq!(message.unwrap().payload, expected.to_string());
                    expected += 1;
                }
            }
        }
    };
    tokio::join!(script, soon(user));
}

#[tokio::test]
async fn a_dropped_connect_stops_the_attempt() {
    let server = Server::start().await;
    let mut connecting = Box::pin(server.builder().connect());
    let mut conn = tokio::select! {
        _ = &mut connecting => panic!("no CONNACK was sent"),
        (conn, _) = server.accept() => conn,
    };
    drop(connecting);
    assert_eq!(conn.next().await, None);
}

#[tokio::test]
async fn a_dropped_end_ends() {
    let server = Server::start().await;
    let (client, mut conn) = server.client(server.builder()).await;
    poll_and_drop(client.end(), 1);
    conn.expect_end().await;
    client.end().await.unwrap();
}
