//! Stopping in good order.
mod broker_support;

use broker_support::{Raw, Server, connect, publish};
use mqtt_proto::{QoS, ReasonCode};
use mqtt_tokio::broker::{Config, ConnectionLimits};
use std::net::TcpStream;
use std::time::Duration;

#[test]
fn drain_tells_everybody_and_then_nothing_is_left() {
    let server = Server::start(Config::default());
    let address = server.address();
    let mut clients: Vec<Raw> = (0..5).map(|number| server.connect(&format!("client {number}"))).collect();
    let greeting = Raw::open(address); // has not said CONNECT
    let broker = server.broker.clone();
    let drained = server.runtime.spawn(async move { broker.drain(Duration::from_hours(1)).await });
    for client in &mut clients {
        assert_eq!(client.disconnected().reason, ReasonCode::ServerShuttingDown);
        assert_eq!(client.receive(), None);
    }
    drop((clients, greeting));
    server.wait(drained).unwrap().unwrap();
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    assert!(server.wait(server.broker.stats()).is_err());
    assert!(server.wait(server.broker.drain(Duration::ZERO)).is_ok(), "once more is no harm");
}

#[test]
fn what_was_taken_is_delivered_before_the_end() {
    let server = Server::start(Config::default());
    let mut subscriber = server.connect("subscriber");
    subscriber.subscribe("t", QoS::AtMostOnce);
    let mut publisher = server.connect("publisher");
    for _ in 0..1000 {
        publisher.send(&publish("t", vec![1; 1000], None));
    }
    publisher.ping();
    let broker = server.broker.clone();
    let drained = server.runtime.spawn(async move { broker.drain(Duration::from_hours(1)).await });
    for _ in 0..1000 {
        assert_eq!(subscriber.message().payload.len(), 1000);
    }
    assert_eq!(subscriber.disconnected().reason, ReasonCode::ServerShuttingDown);
    drop((subscriber, publisher));
    server.wait(drained).unwrap().unwrap();
}

#[test]
fn the_deadline_ends_those_who_do_not_read() {
    let limits = ConnectionLimits { max_transmit_bytes: 16 << 20, ..ConnectionLimits::default() };
    let server = Server::start(Config { connection: limits, ..Config::default() });
    let mut frozen = server.connect("frozen");
    frozen.subscribe("t", QoS::AtMostOnce);
    let mut publisher = server.connect("publisher");
    for _ in 0..16 {
        publisher.send(&publish("t", vec![1; 1 << 20], None));
    }
    publisher.ping();
    server.wait(server.broker.drain(Duration::from_millis(100))).unwrap();
}

#[test]
fn the_last_handle_takes_the_broker_with_it() {
    let server = Server::start(Config::default());
    let mut client = server.connect("client");
    let clone = server.broker.clone();
    drop(server.broker);
    client.ping();
    drop(clone);
    while client.receive().is_some() {} // closed, with or without a word
    drop(server.runtime);
    assert!(matches!(connect("x").client_id.as_str(), "x"));
}
