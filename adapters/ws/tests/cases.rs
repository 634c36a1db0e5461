//! The tables of `testdata/`, each case fed whole, byte by byte and in other pieces.
mod support;

use bytes::BytesMut;
use mqtt_ws::{Client, ClientConfig, Error, Server, ServerConfig, Stage};
use std::sync::Arc;
use support::{End, SEED};

/// Sizes of the pieces in which a case is fed.
const PIECES: [usize; 6] = [usize::MAX, 1, 2, 3, 7, 1000];

/// Feeds a case in pieces; gives the bytes that came out and the error, if there was one.
fn feed(end: &mut End, input: &[u8], piece: usize) -> (BytesMut, Option<Error>) {
    let mut plain = BytesMut::new();
    let mut error = None;
    for part in input.chunks(piece) {
        if let Err(found) = end.handle_input(part, &mut plain) {
            assert_eq!(error.replace(found), None, "one error is enough");
        }
    }
    (plain, error)
}

/// [MQTT-6.0.0-1] (text is refused, what is written is binary) and [MQTT-6.0.0-2] (packets are not aligned with frames),
/// among the rules of RFC 6455 sections 5 to 7.
#[test]
fn frames() {
    let mut count = 0;
    for line in include_str!("../testdata/frames.txt").lines() {
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let [name, end, input, plain, output, outcome] = fields[..] else { panic!("six fields: {line}") };
        let (input, plain, output) = (support::bytes(input), support::bytes(plain), support::bytes(output));
        for piece in PIECES {
            let (server, client) = support::open(100_000);
            let mut under_test = if end == "server" { End::Server(server) } else { End::Client(client) };
            let (came, error) = feed(&mut under_test, &input, piece);
            let what = format!("{name} at the {end}, in pieces of {piece}");
            assert!(came[..] == plain[..], "{what}: {} bytes came out instead of {}", came.len(), plain.len());
            let mut went = under_test.take();
            if end == "client" {
                went = support::unmask(&went);
            }
            assert_eq!(went, output, "{what}");
            assert_eq!(shown(&under_test, error), resolved(outcome), "{what}");
        }
        count += 1;
    }
    assert!(count >= 280, "{count} cases were found");
}

/// How an end stands, as the table writes it.
fn shown(end: &End, error: Option<Error>) -> String {
    match (error, end.stage(), end.closed()) {
        (Some(Error::Frame { code, .. }), Stage::Closed, None) => format!("error {code}"),
        (None, Stage::Closed, Some(closed)) => {
            let code = closed.code.map_or("-".to_owned(), |code| code.to_string());
            format!("closed {code} {}", closed.reason).trim_end_matches(' ').to_owned()
        }
        (None, Stage::Open, None) => "open".to_owned(),
        other => format!("{other:?}"),
    }
}

/// The table's outcome with the bytes of a reason in the place of their notation.
fn resolved(outcome: &str) -> String {
    match outcome.split_once('=') {
        Some((front, hex)) => format!("{front}{}", String::from_utf8(support::bytes(hex)).unwrap()),
        None => outcome.to_owned(),
    }
}

/// The cases of a table of heads: name, expectation, bytes.
fn heads(table: &str) -> Vec<(String, String, Vec<u8>)> {
    let mut cases: Vec<(String, String, Vec<u8>)> = Vec::new();
    for line in table.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if let Some((name, expected)) = line.strip_prefix('[').and_then(|line| line.split_once("] ")) {
            cases.push((name.to_owned(), expected.to_owned(), Vec::new()));
            continue;
        }
        let bytes = &mut cases.last_mut().expect("a name comes first").2;
        let mut parts = line.split("\\x");
        bytes.extend_from_slice(parts.next().unwrap().as_bytes());
        for part in parts {
            bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
            bytes.extend_from_slice(&part.as_bytes()[2..]);
        }
        bytes.extend_from_slice(b"\r\n");
    }
    for (_, _, bytes) in &mut cases {
        bytes.extend_from_slice(b"\r\n");
    }
    cases
}

/// [MQTT-6.0.0-3], [MQTT-6.0.0-4] and RFC 6455 section 4.2.
#[test]
fn requests() {
    let config = Arc::new(ServerConfig {
        origins: Some(vec!["https://example.org".to_owned()]),
        max_head: 4096,
        ..ServerConfig::default()
    });
    let cases = heads(include_str!("../testdata/requests.txt"));
    assert!(cases.len() >= 55, "{} cases were found", cases.len());
    for (name, expected, mut request) in cases {
        request.extend_from_slice(&support::bytes("82 82 {01020304 c000}")); // PINGREQ in the same piece
        for piece in PIECES {
            let mut end = End::Server(Server::new(Arc::clone(&config)));
            let (plain, error) = feed(&mut end, &request, piece);
            let answer = String::from_utf8(end.take()).unwrap();
            let status = answer.split(' ').nth(1).unwrap();
            let End::Server(server) = &end else { unreachable!() };
            let protocol = server.request().map_or("", |request| request.protocol);
            let what = format!("{name}, in pieces of {piece}: {answer}");
            assert_eq!(format!("{status} {protocol}").trim_end(), expected, "{what}");
            if protocol.is_empty() {
                assert!(plain.is_empty() && end.stage() == Stage::Closed, "{what}");
                assert!(matches!(error, Some(Error::Request { status: told, .. }) if told.to_string() == status));
                assert_eq!(end.write(&[b"x"]), 0);
            } else {
                assert_eq!((&plain[..], end.stage(), error), (&[0xC0, 0][..], Stage::Open, None), "{what}");
                assert!(answer.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{what}");
                assert!(answer.contains(&format!("\r\nSec-WebSocket-Protocol: {protocol}\r\n")), "{what}");
                assert!(!answer.contains("Extensions"), "{what}");
            }
        }
    }
}

/// [MQTT-6.0.0-3], [MQTT-6.0.0-4] and RFC 6455 section 4.1.
#[test]
fn responses() {
    let config = ClientConfig::new("broker.example", "/mqtt");
    let accept = {
        // What a server answers to the key of this seed.
        let client = Client::new(&config, SEED).unwrap();
        let mut server = Server::new(Arc::default());
        server.handle_input(client.transmit(), &mut BytesMut::new()).unwrap();
        let answer = String::from_utf8(server.transmit().to_vec()).unwrap();
        answer.split("Accept: ").nth(1).unwrap().split("\r\n").next().unwrap().to_owned()
    };
    let cases = heads(&include_str!("../testdata/responses.txt").replace("{accept}", &accept));
    assert!(cases.len() >= 25, "{} cases were found", cases.len());
    for (name, expected, mut response) in cases {
        response.extend_from_slice(&support::bytes("82 02 d000")); // PINGRESP in the same piece
        for piece in PIECES {
            let mut end = End::Client(Client::new(&config, SEED).unwrap());
            let request = String::from_utf8(end.take()).unwrap();
            assert!(request.contains("\r\nSec-WebSocket-Protocol: mqtt\r\n"), "{request}");
            let (plain, error) = feed(&mut end, &response, piece);
            let what = format!("{name}, in pieces of {piece}: {error:?}");
            if expected == "open" {
                assert_eq!((&plain[..], end.stage(), error), (&[0xD0, 0][..], Stage::Open, None), "{what}");
                continue;
            }
            let (status, part) = expected.split_once(' ').unwrap();
            let Some(Error::Response { status: told, why }) = error else { panic!("{what}") };
            assert_eq!(told.map_or("-".to_owned(), |told| told.to_string()), status, "{what}");
            assert!(why.contains(part), "{what}");
            assert!(plain.is_empty() && end.stage() == Stage::Closed, "{what}");
        }
    }
}
