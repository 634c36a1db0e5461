//! The decoder that knows its peer: order of packets, and who may send what.
use bytes::BytesMut;
use mqtt_proto::*;

const CONNECT: &[u8] = b"\x10\x0D\x00\x04MQTT\x04\x02\x00\x3C\x00\x01c";
const CONNECT_5: &[u8] = b"\x10\x0E\x00\x04MQTT\x05\x02\x00\x3C\x00\x00\x01c";
const PINGREQ: &[u8] = b"\xC0\x00";

fn refusal(decoder: &mut Decoder, bytes: &[u8]) -> &'static str {
    let mut buf = BytesMut::from(bytes);
    loop {
        match decoder.decode(&mut buf) {
            Ok(Some(_)) => {}
            Ok(None) => panic!("{bytes:02x?} was accepted"),
            Err(error) => return error.statement,
        }
    }
}

/// A decoder of a Server, behind the CONNECT of a version.
fn server(connect: &[u8]) -> Decoder {
    let mut decoder = Decoder::server(1000);
    assert!(matches!(decoder.decode(&mut BytesMut::from(connect)), Ok(Some(Packet::Connect(_)))));
    decoder
}

fn client(version: Version) -> Decoder {
    let mut decoder = Decoder::client(version, 1000);
    let connack: &[u8] = if version == Version::V5 { b"\x20\x03\x00\x00\x00" } else { b"\x20\x02\x00\x00" };
    assert!(matches!(decoder.decode(&mut BytesMut::from(connack)), Ok(Some(Packet::ConnAck(_)))));
    decoder
}

/// [MQTT-3.1.0-1], [MQTT-3.1.0-2]
#[test]
fn a_server_hears_one_connect_and_first() {
    assert_eq!(refusal(&mut Decoder::server(1000), PINGREQ), "MQTT-3.1.0-1");
    assert_eq!(refusal(&mut Decoder::server(1000), b"\x00\x00"), "section 2.1.2");
    // The first byte suffices.
    assert_eq!(refusal(&mut Decoder::server(1000), &PINGREQ[..1]), "MQTT-3.1.0-1");
    assert_eq!(refusal(&mut Decoder::server(1000), &[CONNECT, CONNECT].concat()), "MQTT-3.1.0-2");
    assert_eq!(server(CONNECT).version(), Some(Version::V3_1_1));
    assert_eq!(server(CONNECT_5).version(), Some(Version::V5));
    assert_eq!(Decoder::server(1000).version(), None);
}

/// [MQTT-3.2.0-1], [MQTT-3.2.0-2]
#[test]
fn a_client_hears_one_connack_and_first() {
    let publish = b"\x30\x03\x00\x01a";
    assert_eq!(refusal(&mut Decoder::client(Version::V3_1_1, 1000), publish), "MQTT-3.2.0-1");
    assert_eq!(refusal(&mut client(Version::V3_1_1), b"\x20\x02\x00\x00"), "MQTT-3.2.0-2");
    let mut authenticating = Decoder::client(Version::V5, 1000);
    let auth = &b"\xF0\x06\x18\x04\x15\x00\x01m"[..];
    assert!(matches!(authenticating.decode(&mut BytesMut::from(auth)), Ok(Some(Packet::Auth(_)))));
}

#[test]
fn packets_of_the_other_side_are_refused() {
    let from_server: [&[u8]; 4] = [b"\x20\x02\x00\x00", b"\x90\x03\x00\x01\x00", b"\xB0\x02\x00\x01", b"\xD0\x00"];
    for bytes in from_server {
        assert_eq!(refusal(&mut server(CONNECT), bytes), "section 2.1.2", "{bytes:02x?}");
    }
    let from_client: [&[u8]; 5] =
        [CONNECT, b"\x82\x06\x00\x01\x00\x01a\x00", b"\xA2\x05\x00\x01\x00\x01a", PINGREQ, b"\xE0\x00"];
    for bytes in from_client {
        assert_eq!(refusal(&mut client(Version::V3_1_1), bytes), "section 2.1.2", "{bytes:02x?}");
    }
    // A Server's DISCONNECT came with 5.0.
    assert!(client(Version::V5).decode(&mut BytesMut::from(&b"\xE0\x00"[..])).unwrap().is_some());
}

#[test]
fn contents_of_the_other_side_are_refused() {
    // [MQTT-3.3.4-6] A subscription identifier.
    let publish = b"\x30\x06\x00\x01a\x02\x0B\x01";
    assert_eq!(refusal(&mut server(CONNECT_5), publish), "MQTT-3.3.4-6");
    assert!(client(Version::V5).decode(&mut BytesMut::from(&publish[..])).unwrap().is_some());
    // [MQTT-3.14.2-2] A session expiry interval.
    let disconnect = b"\xE0\x07\x00\x05\x11\x00\x00\x00\x01";
    assert_eq!(refusal(&mut client(Version::V5), disconnect), "MQTT-3.14.2-2");
    assert!(server(CONNECT_5).decode(&mut BytesMut::from(&disconnect[..])).unwrap().is_some());
    assert_eq!(refusal(&mut server(CONNECT_5), b"\xE0\x06\x00\x04\x1C\x00\x01s"), "section 3.14.2.2.5");
    // [MQTT-3.14.2-1] Reason codes of one side.
    assert_eq!(refusal(&mut server(CONNECT_5), b"\xE0\x01\x8B"), "MQTT-3.14.2-1");
    assert_eq!(refusal(&mut client(Version::V5), b"\xE0\x01\x04"), "MQTT-3.14.2-1");
    // [MQTT-3.15.2-1]
    assert_eq!(refusal(&mut server(CONNECT_5), b"\xF0\x00"), "MQTT-3.15.2-1");
    assert_eq!(refusal(&mut client(Version::V5), b"\xF0\x06\x19\x04\x15\x00\x01m"), "MQTT-3.15.2-1");
    for reason in [0x18, 0x19] {
        let auth = [0xF0, 6, reason, 4, 0x15, 0, 1, b'm'];
        assert!(matches!(server(CONNECT_5).decode(&mut BytesMut::from(&auth[..])), Ok(Some(Packet::Auth(_)))));
    }
    for reason in [0x00, 0x18] {
        let auth = [0xF0, 6, reason, 4, 0x15, 0, 1, b'm'];
        assert!(matches!(client(Version::V5).decode(&mut BytesMut::from(&auth[..])), Ok(Some(Packet::Auth(_)))));
    }
}

#[test]
fn the_limit_is_the_decoders() {
    assert_eq!(Decoder::server(14).decode(&mut BytesMut::from(CONNECT)).unwrap_err().kind, ErrorKind::TooLarge);
    assert!(Decoder::server(15).decode(&mut BytesMut::from(CONNECT)).is_ok());
    // The version of CONNECT decides: properties are read in 5.0 only.
    let mut decoder = server(CONNECT);
    assert!(decoder.decode(&mut BytesMut::from(&b"\x30\x04\x00\x01a\x05"[..])).unwrap().is_some());
}

/// An unknown version is told apart, since its sender may only understand the answer of an old one [MQTT-3.1.2-2].
#[test]
fn unknown_versions() {
    let error = Decoder::server(1000).decode(&mut BytesMut::from(&b"\x10\x07\x00\x04MQTT\x06"[..])).unwrap_err();
    assert_eq!((error.kind, error.reason), (ErrorKind::UnsupportedVersion, ReasonCode::UnsupportedProtocolVersion));
}
