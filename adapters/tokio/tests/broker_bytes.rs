//! Bytes in whatever portions the network cuts them, and peers that read slowly or not at all.
mod broker_support;

use broker_support::{Raw, Server, connect, encode, publish};
use bytes::{Bytes, BytesMut};
use mqtt_proto::{Packet, QoS, ReasonCode};
use mqtt_tokio::broker::{Config, ConnectionLimits};
use std::io::Write;

#[test]
fn packets_may_come_byte_by_byte() {
    let server = Server::start(Config::default());
    let mut subscriber = server.connect("subscriber");
    subscriber.subscribe("a/b", QoS::AtMostOnce);

    let mut publisher = Raw::open(server.address());
    let mut bytes = encode(&Packet::Connect(Box::new(connect("publisher"))));
    bytes.extend_from_slice(&encode(&publish("a/b", "one", None)));
    bytes.extend_from_slice(&encode(&publish("a/b", "two", Some(7))));
    for byte in bytes {
        publisher.stream.write_all(&[byte]).unwrap();
    }
    assert!(matches!(publisher.receive(), Some(Packet::ConnAck(connack)) if connack.reason == ReasonCode::Success));
    assert!(matches!(publisher.receive(), Some(Packet::PubAck(ack)) if ack.id.get() == 7));
    assert_eq!(subscriber.message().payload, "one");
    assert_eq!(subscriber.message().payload, "two");
}

#[test]
fn packets_may_come_all_at_once() {
    let server = Server::start(Config::default());
    let mut subscriber = server.connect("subscriber");
    subscriber.subscribe("a/b", QoS::AtMostOnce);

    // CONNECT and what follows it in one write, as far more than one read takes.
    let mut bytes = encode(&Packet::Connect(Box::new(connect("publisher"))));
    for number in 0..20_000_u32 {
        bytes.extend_from_slice(&encode(&publish("a/b", number.to_be_bytes().to_vec(), None)));
    }
    bytes.extend_from_slice(&encode(&Packet::PingReq));
    let mut publisher = Raw::open(server.address());
    publisher.stream.write_all(&bytes).unwrap();
    assert!(matches!(publisher.receive(), Some(Packet::ConnAck(_))));
    for number in 0..20_000_u32 {
        assert_eq!(subscriber.message().payload, number.to_be_bytes()[..]);
    }
    assert_eq!(publisher.receive(), Some(Packet::PingResp));
}

#[test]
fn a_large_message_crosses_partial_reads_and_writes() {
    let server = Server::start(Config::default());
    let mut subscriber = server.connect("subscriber");
    subscriber.subscribe("large", QoS::AtLeastOnce);
    let mut publisher = server.connect("publisher");
    let payload: Bytes = (0..24_u32 << 20).map(|at| (at >> 8).to_le_bytes()[0]).collect::<Vec<u8>>().into();
    publisher.send(&publish("large", payload.clone(), Some(1)));
    assert!(matches!(publisher.receive(), Some(Packet::PubAck(_))));
    // Only now does the subscriber read: the socket's buffers took a part of it.
    let message = subscriber.message();
    assert!(message.payload == payload, "the payload arrives unchanged");
    subscriber.acknowledge(&message);
    subscriber.ping();
}

#[test]
fn a_reader_that_never_reads_costs_itself_alone() {
    let limits = ConnectionLimits { max_transmit_bytes: 256 * 1024, ..ConnectionLimits::default() };
    let server = Server::start(Config { connection: limits, ..Config::default() });
    let mut frozen = server.connect("frozen");
    frozen.subscribe("flood", QoS::AtMostOnce);
    let mut other = server.connect("other");
    other.subscribe("calm", QoS::AtMostOnce);

    let mut publisher = server.connect("publisher");
    let mut batch = BytesMut::new();
    for _ in 0..1000 {
        batch.extend_from_slice(&encode(&publish("flood", vec![0; 1000], None)));
    }
    // More than what sockets and the limit can hold together.
    for _ in 0..64 {
        publisher.stream.write_all(&batch).unwrap();
    }
    publisher.ping();
    publisher.send(&publish("calm", "still served", None));
    assert_eq!(other.message().payload, "still served");
    let stats = server.wait(server.broker.stats()).unwrap();
    assert!(stats.dropped_slow_receiver > 0, "the flood was dropped and counted: {stats:?}");
    drop(frozen);
}

#[test]
fn a_flood_does_not_keep_others_waiting() {
    let server = Server::start(Config::default());
    let address = server.address();
    let mut flooder = server.connect("flooder");
    let flood = std::thread::spawn(move || {
        let mut batch = BytesMut::new();
        for _ in 0..1000 {
            batch.extend_from_slice(&encode(&publish("nobody/listens", vec![0; 64], None)));
        }
        // Until the broker is gone.
        while flooder.stream.write_all(&batch).is_ok() {}
    });
    let (mut client, _) = Raw::connect(address, &connect("client"));
    for _ in 0..200 {
        client.ping();
    }
    drop(server);
    flood.join().unwrap();
}

#[test]
fn a_reset_connection_is_a_lost_one() {
    let server = Server::start(Config::default());
    let mut subscriber = server.connect("subscriber");
    subscriber.subscribe("will", QoS::AtMostOnce);
    let mut with_will = connect("dying");
    with_will.will = Some(mqtt_proto::Will {
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "will".try_into().unwrap(),
        payload: Bytes::from_static(b"gone"),
        properties: mqtt_proto::Properties::new(),
    });
    let (dying, _) = Raw::connect(server.address(), &with_will);
    let socket = socket2::Socket::from(dying.stream);
    socket.set_linger(Some(std::time::Duration::ZERO)).unwrap(); // closing resets
    drop(socket);
    assert_eq!(subscriber.message().payload, "gone");
}
