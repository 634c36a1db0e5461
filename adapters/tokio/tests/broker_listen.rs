//! Where a broker listens, and what it says when it cannot.
mod broker_support;

use broker_support::{Raw, Server, connect};
use mqtt_proto::{Packet, ReasonCode};
use mqtt_tokio::broker::{Authentication, Broker, Config, ConnectionLimits, StartError};
use std::net::{Ipv6Addr, TcpListener, UdpSocket};
use std::time::Duration;

#[test]
fn a_taken_port_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let start = Broker::builder(Config::default()).listen(format!("mqtt://{address}")).start();
    let error = runtime.block_on(start).unwrap_err();
    assert!(matches!(error, StartError::Bind { .. }));
    let message = error.to_string();
    for part in [&address.to_string(), "another port", &format!("sport = :{}", address.port())] {
        assert!(message.contains(part), "{part} is missing in: {message}");
    }
}

#[test]
fn what_cannot_be_started_is_refused_with_a_reason() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let by_request = Config { authentication: Authentication::Request, ..Config::default() };
    for (builder, part) in [
        (Broker::builder(Config::default()).listen("mqtts://localhost"), "certificate and its key"),
        (Broker::builder(Config::default()).listen("localhost"), "mqtt://127.0.0.1:1883"),
        (Broker::builder(Config::default()).listen("mqtt://192.0.2.1:1883"), "no interface"),
        (Broker::builder(Config::default()).listen("mqtt://name.invalid:1883"), "name.invalid"),
        (Broker::builder(Config::default()).shards(2), "only 1"),
        (Broker::builder(by_request), "hooks"),
    ] {
        let message = runtime.block_on(builder.start()).unwrap_err().to_string();
        assert!(message.contains(part), "{part} is missing in: {message}");
    }
}

#[test]
fn several_addresses_are_one_broker() {
    let mut builder = Broker::builder(Config::default()).listen("mqtt://127.0.0.1:0").listen("tcp://127.0.0.1:0");
    let mut expected = 2;
    if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        builder = builder.listen("mqtt://[::1]:0");
        expected = 3;
    }
    let server = Server::build(builder);
    let addresses = server.broker.local_addrs().to_vec();
    assert_eq!(addresses.len(), expected);
    let mut clients = Vec::new();
    for (number, address) in addresses.iter().enumerate() {
        let (mut client, connack) = Raw::connect(*address, &connect(&format!("client {number}")));
        assert_eq!(connack.reason, ReasonCode::Success);
        client.ping();
        clients.push(client);
    }
    assert_eq!(server.wait(server.broker.stats()).unwrap().connections, expected as u64);
}

#[test]
fn the_port_is_free_again_at_once() {
    let server = Server::start(Config::default());
    let address = server.address();
    let _client = server.connect("client"); // its connection stays in TIME_WAIT on the broker's side
    server.wait(server.broker.drain(Duration::from_secs(5))).unwrap();
    let again = Server::build(Broker::builder(Config::default()).listen(format!("mqtt://{address}")));
    again.connect("client").ping();
}

#[test]
fn whoever_says_nothing_is_shown_out() {
    let limits = ConnectionLimits { connect_timeout: Duration::from_millis(50), ..ConnectionLimits::default() };
    let server = Server::start(Config { connection: limits, ..Config::default() });
    let mut silent = Raw::open(server.address());
    let mut slow = Raw::open(server.address());
    let half = broker_support::encode(&Packet::Connect(Box::new(connect("slow"))));
    std::io::Write::write_all(&mut slow.stream, &half[..8]).unwrap();
    for raw in [&mut silent, &mut slow] {
        let mut byte = [0];
        let read = std::io::Read::read(&mut raw.stream, &mut byte);
        assert!(matches!(read, Ok(0)) || read.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset));
    }
    server.connect("quick").ping();
}

#[test]
fn what_is_no_connect_is_closed() {
    let server = Server::start(Config::default());
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xC0, 0x00], &[0xFF; 16]] {
        let mut raw = Raw::open(server.address());
        std::io::Write::write_all(&mut raw.stream, bytes).unwrap();
        while raw.receive().is_some() {} // a CONNACK with the reason may come first
    }
    server.connect("client").ping();
}

#[test]
fn a_refusal_reaches_whoever_sent_more_than_was_read() {
    let server = Server::start(Config::default());
    for _ in 0..20 {
        let mut raw = Raw::open(server.address());
        // Protocol level 9, and a lot behind it that nobody reads: closing at once would reset the connection.
        let mut bytes = b"\x10\x0d\x00\x04MQTT\x09\x02\x00\x00\x00\x01x".to_vec();
        bytes.resize(bytes.len() + 400_000, 0xC0);
        std::io::Write::write_all(&mut raw.stream, &bytes).unwrap();
        let mut answer = Vec::new();
        std::io::Read::read_to_end(&mut raw.stream, &mut answer).unwrap();
        assert_eq!(answer.first(), Some(&0x20), "CONNACK with the reason");
    }
}
