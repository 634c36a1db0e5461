//! A client and a server that talk to each other: what goes in comes out, within bounds.
mod support;

use bytes::BytesMut;
use mqtt_ws::{Client, ClientConfig, CloseCode, MAX_PENDING, Server, ServerConfig, Stage};
use proptest::prelude::*;
use std::sync::Arc;
use support::{End, SEED};

/// Carries the next `count` bytes from one end to the other.
fn carry(from: &mut End, to: &mut End, count: usize, plain: &mut BytesMut) {
    let bytes = &from.transmit()[..count.min(from.transmit().len())];
    let count = bytes.len();
    to.handle_input(bytes, plain).unwrap();
    from.transmitted(count);
}

fn ends() -> [End; 2] {
    let client = Client::new(&ClientConfig::new("broker.example", "/"), SEED).unwrap();
    [End::Client(client), End::Server(Server::new(Arc::new(ServerConfig::default())))]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// [MQTT-6.0.0-2]: any bytes, written in any parts and carried in any pieces, come out as they went in, both ways.
    #[test]
    fn a_pair_is_the_identity(
        sizes in proptest::collection::vec((0..2_usize, 0..3000_usize, 1..900_usize), 1..60),
        pings in any::<u64>(),
    ) {
        let [mut client, mut server] = ends();
        let (mut sent, mut came) = ([Vec::new(), Vec::new()], [BytesMut::new(), BytesMut::new()]);
        let mut next = 0_u8;
        for (step, (who, size, piece)) in sizes.into_iter().enumerate() {
            let data: Vec<u8> = (0..size).map(|_| { next = next.wrapping_mul(31).wrapping_add(7); next }).collect();
            let end = if who == 0 { &mut client } else { &mut server };
            let (front, back) = data.split_at(size / 3);
            let taken = end.write(&[front, &[], back]);
            sent[who].extend_from_slice(&data[..taken]);
            if pings >> (step % 64) & 1 == 1 && let End::Server(server) = &mut server {
                server.ping(&data[..size.min(200)]);
            }
            carry(&mut client, &mut server, piece, &mut came[0]);
            carry(&mut server, &mut client, piece, &mut came[1]);
        }
        while !client.transmit().is_empty() || !server.transmit().is_empty() {
            carry(&mut client, &mut server, 777, &mut came[0]);
            carry(&mut server, &mut client, 333, &mut came[1]);
        }
        prop_assert!(came[0] == sent[0], "client to server");
        prop_assert!(came[1] == sent[1], "server to client");
        prop_assert_eq!((client.stage(), server.stage()), (Stage::Open, Stage::Open));
    }
}

/// A peer that floods with pings and reads nothing costs a bounded buffer, and the last ping is answered in the end.
#[test]
fn pings_without_end_cost_a_bounded_buffer() {
    let (server, mut client) = support::open(1000);
    let mut server = End::Server(server);
    let mut plain = BytesMut::new();
    for number in 0..10_000_u32 {
        client.ping(&number.to_be_bytes().repeat(30));
        server.handle_input(client.transmit(), &mut plain).unwrap();
        client.transmitted(client.transmit().len());
        assert!(server.transmit().len() < MAX_PENDING + 400);
    }
    let mut pongs = server.take();
    pongs.extend(server.take());
    assert!(pongs.ends_with(&9_999_u32.to_be_bytes()), "the most recent ping was answered");
}

#[test]
fn a_write_takes_what_there_is_room_for() {
    let (mut server, _) = support::open(1 << 40);
    let data = vec![7; 3 * MAX_PENDING];
    assert_eq!((server.room(), server.write(&[&data])), (MAX_PENDING, MAX_PENDING));
    assert_eq!((server.room(), server.write(&[&data])), (0, 0));
    server.transmitted(1000);
    assert!(server.room() > 900 && server.write(&[&data]) == 1000 - 10, "the header takes its part of the room");
    assert!(server.transmit().len() < MAX_PENDING + 400);
}

#[test]
fn either_end_closes_and_the_other_answers() {
    for closing in 0..2 {
        let (server, client) = support::open(1000);
        let mut ends = [End::Server(server), End::Client(client)];
        let mut plain = BytesMut::new();
        assert_eq!(ends[closing].write(&[b"last words"]), 10);
        ends[closing].close(CloseCode::GOING_AWAY, &"ä".repeat(100));
        assert_eq!((ends[closing].stage(), ends[closing].write(&[b"x"])), (Stage::Closing, 0));
        let bytes = ends[closing].take();
        ends[1 - closing].handle_input(&bytes, &mut plain).unwrap();
        assert_eq!(plain, "last words");
        let closed = ends[1 - closing].closed().unwrap().clone();
        assert_eq!((closed.code, closed.reason), (Some(CloseCode::GOING_AWAY), "ä".repeat(61)));
        assert_eq!(ends[1 - closing].stage(), Stage::Closed);
        let bytes = ends[1 - closing].take();
        ends[closing].handle_input(&bytes, &mut plain).unwrap();
        assert_eq!(ends[closing].stage(), Stage::Closed);
        assert_eq!(ends[closing].closed().unwrap().code, Some(CloseCode::GOING_AWAY));
        assert_eq!(plain, "last words");
    }
}

#[test]
fn what_comes_before_the_answer_to_a_close_is_dropped() {
    let (mut server, mut client) = support::open(1000);
    client.write(&[b"too late"]);
    server.close(CloseCode::NORMAL, "");
    let mut plain = BytesMut::new();
    server.handle_input(client.transmit(), &mut plain).unwrap();
    assert_eq!((plain.len(), server.stage()), (0, Stage::Closing));
}

#[test]
fn a_request_is_what_was_configured() {
    let fields = vec![("Authorization".to_owned(), "Bearer abc".to_owned())];
    let config = ClientConfig { mqtt_3_1: true, fields, ..ClientConfig::new("broker.example:8080", "/mqtt?a=b") };
    let client = Client::new(&config, SEED).unwrap();
    let request = std::str::from_utf8(client.transmit()).unwrap();
    assert!(request.starts_with("GET /mqtt?a=b HTTP/1.1\r\nHost: broker.example:8080\r\n"), "{request}");
    assert!(request.contains("\r\nAuthorization: Bearer abc\r\n"), "{request}");
    assert!(request.contains("\r\nSec-WebSocket-Protocol: mqttv3.1\r\n"), "{request}");
    let mut server = Server::new(Arc::default());
    server.handle_input(client.transmit(), &mut BytesMut::new()).unwrap();
    let request = server.request().unwrap();
    assert_eq!((request.target.as_str(), request.host.as_str()), ("/mqtt?a=b", "broker.example:8080"));
    assert_eq!((request.protocol, request.origin.as_deref()), ("mqttv3.1", None));
}

#[test]
fn nothing_can_be_smuggled_into_a_request() {
    let usual = || ClientConfig::new("broker.example", "/mqtt");
    let field = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    for (config, hint) in [
        (ClientConfig::new("a\r\nX: b", "/"), "host"),
        (ClientConfig::new("", "/"), "host"),
        (ClientConfig::new("a", "/ HTTP/1.1\r\nX: b"), "path"),
        (ClientConfig::new("a", "mqtt"), "path"),
        (ClientConfig { fields: field("X", "a\r\nY: b"), ..usual() }, "header field"),
        (ClientConfig { fields: field("X: a\r\nY", "b"), ..usual() }, "header field"),
        (ClientConfig { fields: field("", "b"), ..usual() }, "header field"),
    ] {
        let error = Client::new(&config, SEED).err().expect("it is refused");
        assert!(error.to_string().contains(hint), "{error}");
    }
}

#[test]
fn any_origin_may_connect_unless_some_are_named() {
    let request = |origin: &str| {
        let fields = vec![("Origin".to_owned(), origin.to_owned())];
        Client::new(&ClientConfig { fields, ..ClientConfig::new("a", "/") }, SEED).unwrap()
    };
    let mut server = Server::new(Arc::default());
    server.handle_input(request("https://any.example").transmit(), &mut BytesMut::new()).unwrap();
    assert_eq!(server.request().unwrap().origin.as_deref(), Some("https://any.example"));
}
