//! The first bytes of a connection, until CONNECT is complete (sections 3.1 and 3.1.4).
use crate::common::*;
use bytes::BytesMut;
use mqtt_session::broker::*;
use mqtt_session::proto::*;
use proptest::prelude::*;

fn greet(bytes: &[u8]) -> Result<Option<Connect>, Refusal> {
    let config = Config::default();
    let mut input = BytesMut::from(bytes);
    Greeting::new(&config, mqtt_session::Instant::ZERO).handle_input(&mut input)
}

#[test]
fn the_greeting_waits_for_connect_and_leaves_the_rest() {
    for version in VERSIONS {
        let sent = connect(version, "c");
        let bytes = encode(sent.clone(), version);
        let config = Config::default();
        let now = mqtt_session::Instant::from_secs(5);
        let mut greeting = Greeting::new(&config, now);
        assert_eq!(greeting.deadline(), now + config.connection.connect_timeout);
        let mut input = BytesMut::new();
        for byte in &bytes[..bytes.len() - 1] {
            input.extend_from_slice(&[*byte]);
            assert!(matches!(greeting.handle_input(&mut input), Ok(None)));
        }
        input.extend_from_slice(&bytes[bytes.len() - 1..]);
        input.extend_from_slice(b"rest");
        let connect = greeting.handle_input(&mut input).unwrap().unwrap();
        assert_eq!((connect, &input[..]), (sent, &b"rest"[..]));
    }
}

#[test]
fn who_does_not_speak_mqtt_hears_nothing() {
    // [MQTT-3.1.0-1], [3.1.1: MQTT-3.1.0-1]
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xC0, 0x00], &[0x30, 0x03, 0x00, 0x01, b'a'], &[0x16, 0x03, 0x01]] {
        let refusal = greet(bytes).unwrap_err();
        assert!(refusal.reply.is_empty(), "{bytes:02x?}");
    }
    let mut config = Config::default();
    config.connection.max_packet_size = 100;
    let mut input = BytesMut::from(&[0x10, 0xFF, 0x7F][..]);
    let refusal = Greeting::new(&config, mqtt_session::Instant::ZERO).handle_input(&mut input).unwrap_err();
    assert_eq!(refusal.error.reason, ReasonCode::PacketTooLarge);
    // Whatever packets may be like later, nobody is given hundreds of megabytes for a CONNECT.
    assert!(greet(&[0x10, 0xFF, 0xFF, 0x3E]).is_ok(), "a little less than a megabyte");
    assert_eq!(greet(&[0x10, 0x80, 0x80, 0x40]).unwrap_err().error.reason, ReasonCode::PacketTooLarge);
}

/// A CONNECT with this protocol name, level and flags; the properties of 5.0 are empty.
fn raw_connect(name: &[u8], level: u8, flags: u8) -> Vec<u8> {
    let mut body = vec![0, name.len() as u8];
    body.extend_from_slice(name);
    body.extend_from_slice(&[level, flags, 0, 0]);
    if level == 5 {
        body.push(0);
    }
    body.extend_from_slice(&[0, 1, b'c']);
    let mut bytes = vec![0x10, body.len() as u8];
    bytes.extend_from_slice(&body);
    bytes
}

#[test]
fn unknown_versions_are_told_in_their_own_words() {
    // [MQTT-3.1.2-1], [MQTT-3.1.2-2], [MQTT-3.1.4-1]; [3.1.1: MQTT-3.1.2-1], [3.1.1: MQTT-3.1.2-2]
    let v3 = [0x20, 0x02, 0x00, 0x01];
    let v5 = [0x20, 0x03, 0x00, 0x84, 0x00];
    for (name, level, reply) in [
        (&b"MQTT"[..], 6, &v5[..]),
        (b"MQTT", 255, &v5),
        (b"MQTT", 2, &v3),
        (b"MQTT", 0, &v3),
        (b"MQIsdp", 2, &v3),
        (b"MQTT", 0x84, &v3), // a bridge's attempt
        (b"MQIsdp", 0x83, &v3),
        (b"MQXX", 4, &v3),
        (b"MQXX", 5, &v5),
    ] {
        let refusal = greet(&raw_connect(name, level, 2)).unwrap_err();
        assert_eq!(&refusal.reply[..], reply, "{} {level}", String::from_utf8_lossy(name));
    }
    for (name, level) in [(&b"MQTT"[..], 4), (b"MQTT", 5), (b"MQIsdp", 3)] {
        assert!(greet(&raw_connect(name, level, 2)).is_ok_and(|connect| connect.is_some()));
    }
}

#[test]
fn malformed_connects_are_answered_in_5_0_alone() {
    // [MQTT-3.1.2-3], [MQTT-3.1.4-1], [MQTT-3.14.0-1]; [3.1.1: MQTT-3.1.2-3], [3.1.1: MQTT-3.1.4-1]
    for flags in [0x03, 0x1E, 0x0A, 0x22] {
        // reserved flag; Will QoS 3; Will QoS without Will [MQTT-3.1.2-11]; Will Retain without Will [MQTT-3.1.2-13]
        let refusal = greet(&raw_connect(b"MQTT", 5, flags)).unwrap_err();
        assert!(matches!(refusal.reply[..], [0x20, 0x03, 0x00, 0x81 | 0x82, 0x00]), "{:02x?}", refusal.reply);
        for (name, level) in [(&b"MQTT"[..], 4), (b"MQIsdp", 3)] {
            assert!(greet(&raw_connect(name, level, flags)).unwrap_err().reply.is_empty());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Whatever comes instead of CONNECT: no panic.
    #[test]
    fn garbage_greetings_never_harm(bytes in prop::collection::vec(any::<u8>(), 0..60), name in 0_usize..4, level: u8, flags: u8) {
        let _ = greet(&bytes);
        let mut connect = raw_connect([&b"MQTT"[..], b"MQIsdp", b"", b"x"][name], level, flags);
        let _ = greet(&connect);
        connect.extend_from_slice(&bytes);
        let _ = greet(&connect);
    }
}
