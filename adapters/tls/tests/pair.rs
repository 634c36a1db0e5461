//! A client and a server that talk to each other: what goes in comes out, within bounds.
mod support;

use bytes::BytesMut;
use mqtt_tls::{MAX_PENDING, ServerSettings, Stage};
use proptest::prelude::*;
use support::{Authority, acceptor, carry, connector, shake};

fn pair() -> (mqtt_tls::Client, mqtt_tls::Server) {
    let ca = Authority::new("ours");
    let server = acceptor(ServerSettings::default(), &ca.server("localhost").material(None));
    shake(&server, &connector(&ca, None)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Any bytes, written in any parts and carried in any pieces, come out as they went in, both ways.
    #[test]
    fn a_pair_is_the_identity(
        steps in proptest::collection::vec((any::<bool>(), 0..20_000_usize, 1..30_000_usize), 1..30),
    ) {
        let (mut client, mut server) = pair();
        let (mut sent, mut came) = ([Vec::new(), Vec::new()], [BytesMut::new(), BytesMut::new()]);
        let mut next = 0_u8;
        for (from_client, size, piece) in steps {
            let data: Vec<u8> = (0..size).map(|_| { next = next.wrapping_mul(31).wrapping_add(7); next }).collect();
            let parts: Vec<&[u8]> = data.chunks(1 + size / 100).collect();
            let taken = if from_client { client.write(&parts) } else { server.write(&parts) };
            sent[usize::from(from_client)].extend_from_slice(&data[..taken]);
            let bytes = client.transmit().len().min(piece);
            server.handle_input(&client.transmit()[..bytes], &mut came[1]).unwrap();
            client.transmitted(bytes);
            let bytes = server.transmit().len().min(piece);
            client.handle_input(&server.transmit()[..bytes], &mut came[0]).unwrap();
            server.transmitted(bytes);
        }
        let [to_client, to_server] = &mut came;
        carry(&mut client, &mut server, to_client, to_server).unwrap();
        prop_assert!(came[0] == sent[0], "server to client");
        prop_assert!(came[1] == sent[1], "client to server");
    }
}

#[test]
fn a_handshake_can_come_byte_by_byte() {
    let ca = Authority::new("ours");
    let server = acceptor(ServerSettings::default(), &ca.server("localhost").material(None));
    let (mut client, mut server) = (connector(&ca, None).connect("localhost").unwrap(), server.accept());
    let mut nothing = BytesMut::new();
    assert_eq!((client.write(&[b"too early"]), client.room()), (0, 0));
    while !client.transmit().is_empty() || !server.transmit().is_empty() {
        while let [byte, ..] = *client.transmit() {
            server.handle_input(&[byte], &mut nothing).unwrap();
            client.transmitted(1);
        }
        while let [byte, ..] = *server.transmit() {
            client.handle_input(&[byte], &mut nothing).unwrap();
            server.transmitted(1);
        }
    }
    assert_eq!((client.stage(), server.stage(), nothing.len()), (Stage::Open, Stage::Open, 0));
}

#[test]
fn a_write_takes_what_there_is_room_for() {
    let (mut client, _) = pair();
    let data = vec![7; 3 * MAX_PENDING];
    assert_eq!((client.room(), client.write(&[&data])), (MAX_PENDING, MAX_PENDING));
    assert_eq!((client.room(), client.write(&[&data])), (0, 0));
    assert!(client.transmit().len() < MAX_PENDING + 1024);
    let mut small = vec![&data[..1]; 1000];
    small.push(&data);
    let (mut client, _) = pair();
    assert_eq!(client.write(&small), MAX_PENDING, "also when it comes in a thousand parts");
    assert!(client.transmit().len() < MAX_PENDING + 1024);
}

#[test]
fn either_end_closes_and_the_other_hears_of_it() {
    let (mut client, mut server) = pair();
    let mut plain = BytesMut::new();
    assert_eq!(client.write(&[b"last words"]), 10);
    client.close();
    assert_eq!((client.stage(), client.write(&[b"x"])), (Stage::Closed, 0));
    server.handle_input(client.transmit(), &mut plain).unwrap();
    assert_eq!((&plain[..], server.stage(), server.write(&[b"x"])), (&b"last words"[..], Stage::Closed, 0));
    assert!(!server.transmit().is_empty(), "it says good-bye as well");
}

/// Whoever sends garbage where records should be gets nothing out of it.
#[test]
fn a_record_that_was_changed_ends_the_connection() {
    let (mut client, mut server) = pair();
    client.write(&[b"secret"]);
    let mut record = client.transmit().to_vec();
    *record.last_mut().unwrap() ^= 1;
    let mut plain = BytesMut::new();
    assert!(server.handle_input(&record, &mut plain).is_err());
    assert_eq!((plain.len(), server.stage()), (0, Stage::Closed));
}
