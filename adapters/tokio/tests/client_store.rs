//! A client with a store: what survives it, and what waits for the store.
mod client_support;

use client_support::*;
use mqtt_tokio::client::{
    Client, Completion, ConnectError, Event, InMemory, MemoryStore, QoS, ReasonCode, Store, StoreBatch, StoreDone,
};
use mqtt_tokio::proto::{ConnAck, Delivery, Packet, PacketId, Properties};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn qos2(id: u16) -> Delivery {
    Delivery::ExactlyOnce { id: pid(id), dup: false }
}

fn pid(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

fn client(server: &Server, store: &InMemory) -> Client {
    let builder = server.builder().persistent(Duration::from_hours(1)).manual_acks(true);
    builder.store(store.clone(), store.contents()).open().unwrap()
}

#[tokio::test]
async fn messages_survive_the_client_that_accepted_them() {
    let server = Server::start().await;
    let store = InMemory::new();
    let first = client(&server, &store);
    let mut deliveries = Vec::new();
    for (payload, qos) in [("0", QoS::AtMostOnce), ("1", QoS::AtLeastOnce), ("2", QoS::ExactlyOnce)] {
        deliveries.push(first.try_publish("t", payload, qos).unwrap());
    }
    for delivery in &mut deliveries[1..] {
        soon(delivery.kept()).await.unwrap();
        soon(delivery.kept()).await.unwrap();
    }
    drop(first);
    assert!(soon(deliveries.pop().unwrap()).await.is_err(), "nobody saw it acknowledged");

    let second = client(&server, &store);
    assert_eq!(second.unfinished(), 2, "QoS 0 is not kept");
    let (mut conn, _) = server.accept().await; // of the first client, which has gone
    conn.send(ConnAck { session_present: false, reason: ReasonCode::Success, properties: Properties::new() }).await;
    let mut conn = server.welcome(false).await;
    for (payload, id) in [("1", 1), ("2", 2)] {
        let message = conn.read_publish().await;
        assert_eq!((&message.payload[..], message.delivery.id()), (payload.as_bytes(), Some(pid(id))));
    }
    conn.send(Packet::PubAck(ack(pid(1)))).await;
    conn.send(Packet::PubRec(ack(pid(2)))).await;
    assert_eq!(conn.read().await, Packet::PubRel(ack(pid(2))));
    conn.send(Packet::PubComp(ack(pid(2)))).await;
    assert!(soon(second.drained()).await);
    assert_eq!(store.contents().messages(), (0, 0));
}

#[tokio::test]
async fn a_message_comes_again_under_its_token_until_it_is_acknowledged() {
    let server = Server::start().await;
    let store = InMemory::new();
    let mut tokens = Vec::new();
    for acknowledge in [false, true] {
        let client = client(&server, &store);
        let mut messages = client.messages();
        let mut conn = server.welcome(acknowledge).await;
        conn.send(publish("t", "x", qos2(7))).await;
        let message = soon(messages.recv()).await.unwrap();
        tokens.push(message.ack.unwrap());
        if acknowledge {
            client.acknowledge(message.ack.unwrap(), ReasonCode::Success);
            assert_eq!(conn.read().await, Packet::PubRec(ack(pid(7))));
        }
        soon(client.end_within(Duration::ZERO)).await.unwrap();
    }
    assert_eq!(tokens[0].as_u64(), tokens[1].as_u64());
    let client = client(&server, &store);
    let mut messages = client.messages();
    let mut conn = server.welcome(true).await;
    conn.send(publish("t", "x", qos2(7))).await;
    assert_eq!(conn.read().await, Packet::PubRec(ack(pid(7))), "it is known");
    conn.send(Packet::PubRel(ack(pid(7)))).await;
    assert_eq!(conn.read().await, Packet::PubComp(ack(pid(7))));
    assert!(messages.try_recv().is_none());
}

/// A store that answers when the test says so.
#[derive(Clone, Default)]
struct Slow(Arc<Mutex<(Vec<StoreBatch>, Option<StoreDone>)>>);

impl Slow {
    /// Answers all that wait.
    fn answer(&self, answer: impl Fn(&StoreBatch) -> Completion) {
        let (batches, mut done) = {
            let mut inner = self.0.lock().unwrap();
            (std::mem::take(&mut inner.0), inner.1.take().unwrap())
        };
        for batch in batches {
            done(answer(&batch));
        }
        self.0.lock().unwrap().1 = Some(done);
    }
}

impl Store for Slow {
    fn start(&mut self, done: StoreDone) -> io::Result<()> {
        self.0.lock().unwrap().1 = Some(done);
        Ok(())
    }

    fn write(&mut self, batch: StoreBatch) {
        self.0.lock().unwrap().0.push(batch);
    }
}

async fn until(mut happened: impl FnMut() -> bool) {
    soon(async {
        while !happened() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_message_of_qos_2_leaves_when_the_store_has_it() {
    let server = Server::start().await;
    let store = Slow::default();
    let builder = server.builder().persistent(Duration::from_hours(1)).store(store.clone(), MemoryStore::new());
    let (client, mut conn) = server.client(builder).await;
    let mut events = client.events();
    let mut delivery = client.try_publish("t", "two", QoS::ExactlyOnce).unwrap();
    until(|| store.0.lock().unwrap().0.len() >= 2).await; // of the connection, and of the message
    store.answer(|batch| Completion::StoreFailed { seq: batch.seq });
    while !matches!(soon(events.recv()).await, Some(Event::StoreFailed)) {}
    until(|| !store.0.lock().unwrap().0.is_empty()).await; // it is asked again
    store.answer(|batch| Completion::Stored { upto: batch.seq });
    soon(delivery.kept()).await.unwrap();
    assert_eq!(conn.read_publish().await.payload, "two");
}

struct Broken;

impl Store for Broken {
    fn start(&mut self, _: StoreDone) -> io::Result<()> {
        Err(io::Error::other("no room"))
    }

    fn write(&mut self, _: StoreBatch) {}
}

#[tokio::test]
async fn a_store_that_does_not_start_is_an_error() {
    let server = Server::start().await;
    let result = server.builder().store(Broken, MemoryStore::new()).open();
    let Err(error @ ConnectError::Store(_)) = result else { panic!("{result:?}") };
    assert!(error.to_string().contains("no room"));
}
