//! CONNECT and CONNACK: who is let in, and with which words the others are not (sections 3.1, 3.2, 4.13).
use crate::common::*;
use bytes::BytesMut;
use mqtt_session::broker::*;
use mqtt_session::proto::*;
use proptest::prelude::*;
use std::time::Duration;

fn asking(change: impl FnOnce(&mut Config)) -> Bench {
    Bench::with(|config| {
        config.authentication = Authentication::Request;
        change(config);
    })
}

/// The reason of a refused CONNECT.
fn refused(bench: &mut Bench, connect: Connect) -> Option<ReasonCode> {
    let client = bench.open(connect);
    bench.refusal(client).map(|connack| connack.reason)
}

#[test]
fn every_refusal_code_reaches_its_client_and_closes() {
    // [MQTT-3.1.4-2], [MQTT-3.2.2-6], [MQTT-3.2.2-7], [MQTT-3.2.2-8], [MQTT-4.13.2-1]; [3.1.1: MQTT-3.2.2-4], [3.1.1: MQTT-3.2.2-5], [3.1.1: MQTT-3.2.2-6]
    for code in 0..=u8::MAX {
        let Some(reason) = ReasonCode::new(code) else { continue };
        for version in VERSIONS {
            let mut bench = asking(|_| {});
            let client = bench.open(connect(version, "c"));
            bench.refuse(reason, None);
            let fitting = match reason {
                _ if reason.is_error() && reason.allowed_in(PacketType::ConnAck) => reason,
                ReasonCode::ServerShuttingDown => ReasonCode::ServerUnavailable,
                _ => ReasonCode::UnspecifiedError, // a refusal is a refusal, whatever code the outside gives
            };
            let expected = match version {
                Version::V5 => Some(fitting),
                _ => fitting.connect_return_code_v3().and_then(ReasonCode::from_connect_return_code_v3),
            };
            assert_eq!(bench.refusal(client).map(|connack| connack.reason), expected, "{version:?} {reason:?}");
            assert_eq!(bench.broker.stats().refused_total, 1);
            assert_eq!(bench.broker.stats().sessions, 0, "[MQTT-3.1.4-6]: nothing has changed");
        }
    }
}

#[test]
fn nothing_behind_a_refused_connect_is_processed() {
    // [MQTT-3.1.4-6], [3.1.1: MQTT-3.1.4-5]
    let mut bench = asking(|_| {});
    let (subscriber, _) = bench.connect_as(connect(Version::V5, "s"), None, Grant::everything());
    bench.subscribe(subscriber, "#", QoS::AtMostOnce);
    let client = bench.open(connect(Version::V3_1_1, "c"));
    bench.send(client, message("a", "too early", QoS::AtMostOnce));
    bench.refuse(ReasonCode::BadUserNameOrPassword, None);
    assert_eq!(bench.refusal(client).unwrap().reason, ReasonCode::BadUserNameOrPassword);
    bench.assert_silent(subscriber);
}

#[test]
fn connack_comes_first_and_once() {
    // [MQTT-3.1.4-5], [MQTT-3.2.0-1], [MQTT-3.2.0-2], [MQTT-3.2.2-1]; [3.1.1: MQTT-3.1.4-4], [3.1.1: MQTT-3.2.0-1]
    for version in VERSIONS {
        let mut bench = Bench::new();
        let client = bench.open(connect(version, "c"));
        bench.send(client, Packet::PingReq);
        let packets = bench.recv_all(client);
        assert!(matches!(&packets[..], [Packet::ConnAck(_), Packet::PingResp]), "{packets:?}");
    }
}

#[test]
fn empty_identifiers_are_assigned_where_the_version_knows_them() {
    // [MQTT-3.1.3-6], [MQTT-3.1.3-7], [MQTT-3.2.2-16], [3.1.1: MQTT-3.1.3-6]
    let mut bench = Bench::new();
    let mut names = std::collections::BTreeSet::new();
    for clean_start in [true, false] {
        let (_, connack) = bench.connect(Connect { clean_start, ..connect(Version::V5, "") });
        let name = connack.properties.assigned_client_identifier().expect("[MQTT-3.2.2-16]").to_owned();
        assert!(!connack.session_present);
        // Processed as if the client had given it [MQTT-3.1.3-7].
        let connected = bench.events.iter().rev().find_map(|event| match event {
            Event::Connected { client_id, .. } => Some(client_id.to_string()),
            _ => None,
        });
        assert_eq!(connected.as_deref(), Some(&*name));
        assert!(names.insert(name), "[MQTT-3.2.2-16]: new each time");
    }
    bench.connect(connect(Version::V3_1_1, ""));
    assert_eq!(bench.broker.stats().connections, 3);
    // [3.1.1: MQTT-3.1.3-7], [3.1.1: MQTT-3.1.3-8], [3.1.1: MQTT-3.1.3-9]; 3.1 knows no empty identifiers at all.
    let invalid = Some(ReasonCode::ClientIdentifierNotValid);
    assert_eq!(refused(&mut bench, Connect { clean_start: false, ..connect(Version::V3_1_1, "") }), invalid);
    assert_eq!(refused(&mut bench, connect(Version::V3_1, "")), invalid);
    // [MQTT-3.1.3-8]
    let mut strict = Bench::with(|config| config.features.assign_client_ids = false);
    for version in VERSIONS {
        assert_eq!(refused(&mut strict, connect(version, "")), invalid);
    }
}

#[test]
fn given_identifiers_are_taken_as_they_are() {
    // [MQTT-3.1.3-5], [3.1.1: MQTT-3.1.3-5]; longer ones and other characters are allowed, too
    let mut bench = Bench::with(|config| config.connection.max_client_id_bytes = 30);
    for version in VERSIONS {
        for name in ["0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ", "ein längerer Name / +#"]
        {
            let (_, connack) = bench.connect(connect(version, name));
            assert_eq!(connack.properties.assigned_client_identifier(), None);
        }
        let long = "x".repeat(31);
        assert_eq!(refused(&mut bench, connect(version, &long)), Some(ReasonCode::ClientIdentifierNotValid));
    }
}

#[test]
fn connack_tells_only_what_differs() {
    let mut bench = Bench::with(|config| {
        config.connection.receive_maximum = u16::MAX;
        config.connection.topic_alias_maximum = 0;
    });
    let (_, connack) = bench.connect(connect(Version::V5, "c"));
    assert_eq!(connack.properties, Properties::new());
    let default: Vec<PropertyId> =
        Bench::new().connect(connect(Version::V5, "c")).1.properties.iter().map(|property| property.id()).collect();
    assert_eq!(default, [PropertyId::ReceiveMaximum, PropertyId::TopicAliasMaximum]);
}

#[test]
fn connack_tells_what_the_server_does_not_offer() {
    type Change = fn(&mut Config);
    let cases: [(Change, Property<'_>); 9] = [
        (|config| config.connection.receive_maximum = 7, Property::ReceiveMaximum(7)),
        (|config| config.connection.topic_alias_maximum = 3, Property::TopicAliasMaximum(3)),
        (|config| config.connection.max_packet_size = 5000, Property::MaximumPacketSize(5000)),
        (|config| config.features.maximum_qos = QoS::AtLeastOnce, Property::MaximumQoS(true)), // [MQTT-3.2.2-9]
        (|config| config.features.maximum_qos = QoS::AtMostOnce, Property::MaximumQoS(false)),
        (|config| config.features.retain = false, Property::RetainAvailable(false)),
        (|config| config.features.wildcard_subscriptions = false, Property::WildcardSubscriptionAvailable(false)),
        (|config| config.features.shared_subscriptions = false, Property::SharedSubscriptionAvailable(false)),
        (|config| config.features.subscription_identifiers = false, Property::SubscriptionIdentifierAvailable(false)),
    ];
    for (change, property) in cases {
        let mut bench = Bench::with(|config| {
            config.connection.receive_maximum = u16::MAX;
            config.connection.topic_alias_maximum = 0;
            change(config);
        });
        let (_, connack) = bench.connect(connect(Version::V5, "c"));
        assert_eq!(connack.properties, properties([property]));
        let (_, connack) = bench.connect(connect(Version::V3_1_1, "d"));
        assert_eq!(connack.properties, Properties::new());
    }
}

#[test]
fn a_maximum_qos_lowers_subscriptions_and_closes_publishers() {
    // [MQTT-3.2.2-9], [MQTT-3.2.2-10], [MQTT-3.2.2-11]
    for maximum_qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let mut bench = Bench::with(|config| config.features.maximum_qos = maximum_qos);
        let (client, connack) = bench.connect(connect(Version::V5, "c"));
        assert_eq!(connack.properties.maximum_qos(), Some(maximum_qos));
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let [granted] = bench.try_subscribe(client, &[("a", qos.into())], Properties::new())[..] else { panic!() };
            assert_eq!(granted as u8, qos.min(maximum_qos) as u8);
        }
        for version in VERSIONS {
            let (client, _) = bench.connect(connect(version, "d"));
            bench.send(client, message("b", "x", QoS::ExactlyOnce));
            let told = version.is_v5().then_some(ReasonCode::QoSNotSupported);
            assert_eq!(bench.disconnect_reason(client), told);
        }
    }
}

#[test]
fn response_information_comes_when_asked_for() {
    // [MQTT-3.1.2-28]
    let mut bench =
        Bench::with(|config| config.features.response_information = Some("responses/{client_id}/".to_owned()));
    for (wish, expected) in [(None, None), (Some(false), None), (Some(true), Some("responses/c/"))] {
        let wish = wish.map(Property::RequestResponseInformation);
        let (_, connack) = bench.connect(with(connect(Version::V5, "c"), wish));
        assert_eq!(connack.properties.response_information(), expected);
    }
}

#[test]
fn the_server_may_shorten_keep_alive_and_session_expiry() {
    // [MQTT-3.1.2-21], [MQTT-3.2.2-21], [MQTT-3.2.2-22]
    let mut bench = Bench::with(|config| {
        config.connection.max_keep_alive = 60;
        config.session.max_expiry = 100;
    });
    for (asked, told) in [(0, Some(60)), (30, None), (60, None), (61, Some(60))] {
        let (_, connack) = bench.connect(Connect { keep_alive: asked, ..connect(Version::V5, "c") });
        assert_eq!(connack.properties.server_keep_alive(), told, "{asked}");
    }
    for (asked, told) in [(0, None), (100, None), (101, Some(100)), (u32::MAX, Some(100))] {
        let (_, connack) = bench.connect(persistent(Version::V5, "c", asked));
        assert_eq!(connack.properties.session_expiry_interval(), told, "{asked}");
    }
}

#[test]
fn a_moved_server_refers_its_clients() {
    for (permanent, reason) in [(false, ReasonCode::UseAnotherServer), (true, ReasonCode::ServerMoved)] {
        let mut bench = Bench::with(|config| {
            config.redirect = Some(Redirect { permanent, server_reference: "other.example:1883".to_owned() });
        });
        let client = bench.open(connect(Version::V5, "c"));
        let connack = bench.refusal(client).unwrap();
        assert_eq!((connack.reason, connack.properties.server_reference()), (reason, Some("other.example:1883")));
        assert_eq!(refused(&mut bench, connect(Version::V3_1_1, "c")), Some(ReasonCode::ServerUnavailable));
        // [MQTT-3.1.2-24]: without the reference, where it does not fit
        let client = bench.open(with(connect(Version::V5, "c"), [Property::MaximumPacketSize(20)]));
        assert_eq!(bench.refusal(client).unwrap().properties, Properties::new());
        // A reference goes with no other reason.
        bench.broker.handle_shutdown(bench.now);
        let client = bench.open(connect(Version::V5, "c"));
        let connack = bench.refusal(client).unwrap();
        assert_eq!((connack.reason, connack.properties.server_reference()), (ReasonCode::ServerUnavailable, None));
    }
}

#[test]
fn reason_strings_keep_to_the_clients_limit() {
    // [MQTT-3.2.2-19], [MQTT-3.2.2-20], [MQTT-3.14.2-3], [MQTT-3.14.2-4], [MQTT-3.1.2-24]
    for (size, told) in [(1000, true), (20, false), (5, false)] {
        let mut bench = asking(|_| {});
        let client = bench.open(with(connect(Version::V5, "c"), [Property::MaximumPacketSize(size)]));
        bench.refuse(ReasonCode::NotAuthorized, Some("not on Sundays, as everybody knows"));
        let connack = bench.refusal(client).unwrap();
        assert_eq!(connack.reason, ReasonCode::NotAuthorized);
        assert_eq!(connack.properties.reason_string().is_some(), told, "{size}");
        assert!(connack.encoded_len(Version::V5).unwrap() <= size as usize);
        let mut bench = Bench::with(|config| {
            (config.connection.receive_maximum, config.connection.topic_alias_maximum) = (u16::MAX, 0);
        });
        let (client, _) = bench.connect(with(connect(Version::V5, "c"), [Property::MaximumPacketSize(size)]));
        bench.broker.handle_kick(bench.now, &ClientId::try_from("c").unwrap(), ReasonCode::AdministrativeAction);
        bench.run();
        match bench.recv_all(client).pop() {
            Some(Packet::Disconnect(bye)) => assert_eq!(bye.properties.reason_string().is_some(), told),
            other => panic!("expected DISCONNECT, got {other:?}"),
        }
    }
}

#[test]
fn a_client_that_cannot_take_connack_is_not_let_in() {
    // [MQTT-3.1.2-24]: the refusal fits, what it would have to know does not
    let mut bench = Bench::with(|config| config.features.response_information = Some("responses/".repeat(5)));
    let limited = [Property::MaximumPacketSize(40), Property::RequestResponseInformation(true)];
    let reason = refused(&mut bench, with(connect(Version::V5, "c"), limited));
    assert_eq!(reason, Some(ReasonCode::ImplementationSpecificError));
    assert_eq!(refused(&mut bench, with(connect(Version::V5, "c"), [Property::MaximumPacketSize(4)])), None);
    assert_eq!((bench.broker.stats().connections, bench.broker.stats().sessions), (0, 0));
    bench.v5("c");
}

#[test]
fn a_reply_that_is_too_large_ends_the_connection() {
    // [MQTT-3.1.2-24]: the client would wait for it forever
    let small = [Property::MaximumPacketSize(20)];
    for count in [15, 16] {
        let mut bench = Bench::new();
        let (client, _) = bench.connect(with(connect(Version::V5, "c"), small));
        let filters = (0..count).map(|n| (filter(&n.to_string()), QoS::AtMostOnce.into())).collect();
        bench.send(client, Subscribe { id: pid(1), filters, properties: Properties::new() });
        if count == 16 {
            assert_eq!(bench.disconnect_reason(client), Some(ReasonCode::PacketTooLarge));
        } else {
            assert!(matches!(bench.recv(client), Some(Packet::SubAck(_))), "20 bytes");
        }
    }
    let mut bench = asking(|_| {});
    let method = [Property::AuthenticationMethod("steps")];
    let client = bench.open(with(with(connect(Version::V5, "c"), small), method));
    let id = bench.authenticate().id;
    bench.answer(id, AuthOutcome::Continue { data: Some("a challenge of many bytes".into()) });
    assert_eq!(bench.refusal(client).unwrap().reason, ReasonCode::PacketTooLarge);
}

#[test]
fn connections_and_sessions_have_a_limit() {
    let mut bench = Bench::with(|config| {
        config.max_connections = 3;
        config.max_sessions = 2;
    });
    let one = bench.v5("one");
    let (two, _) = bench.connect(persistent(Version::V3_1_1, "two", 0));
    assert_eq!(refused(&mut bench, connect(Version::V5, "three")), Some(ReasonCode::QuotaExceeded));
    assert_eq!(refused(&mut bench, connect(Version::V3_1_1, "three")), Some(ReasonCode::ServerUnavailable));
    bench.cut(two);
    assert_eq!(refused(&mut bench, connect(Version::V5, "three")), Some(ReasonCode::QuotaExceeded), "it still lasts");
    // A takeover needs no further session.
    let (again, connack) = bench.connect(persistent(Version::V3_1_1, "two", 0));
    assert!(connack.session_present);
    bench.cut(one);
    let three = bench.v5("three");
    assert!(!bench.is_closed(again) && !bench.is_closed(three));

    let mut bench = Bench::with(|config| config.max_connections = 1);
    let one = bench.v5("one");
    assert_eq!(refused(&mut bench, connect(Version::V5, "two")), Some(ReasonCode::ServerBusy));
    assert_eq!(refused(&mut bench, connect(Version::V3_1, "two")), Some(ReasonCode::ServerUnavailable));
    bench.cut(one);
    bench.v5("two");
}

#[test]
fn old_protocol_versions_can_be_turned_off() {
    // [MQTT-3.1.2-2], [3.1.1: MQTT-3.1.2-2]
    for least in 3..=5 {
        let mut bench = Bench::with(|config| config.features.min_protocol_level = least);
        for version in VERSIONS {
            if version.level() < least {
                let unsupported = Some(ReasonCode::UnsupportedProtocolVersion);
                assert_eq!(refused(&mut bench, connect(version, "c")), unsupported);
            } else {
                bench.connect(connect(version, "c"));
            }
        }
    }
}

#[test]
fn wills_keep_to_what_the_server_offers() {
    // [MQTT-3.2.2-12], [MQTT-3.2.2-13]
    for (maximum_qos, retain) in [(QoS::AtMostOnce, true), (QoS::AtLeastOnce, true), (QoS::ExactlyOnce, false)] {
        let mut bench = Bench::with(|config| {
            (config.features.maximum_qos, config.features.retain) = (maximum_qos, retain);
            config.connection.max_topic_levels = 3;
        });
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let with_will = Connect { will: Some(Will { qos, ..will("w", "") }), ..connect(Version::V5, "c") };
            let retained = Will { qos, retain: true, ..will("w", "") };
            let with_retained = Connect { will: Some(retained), ..connect(Version::V5, "c") };
            if qos > maximum_qos {
                assert_eq!(refused(&mut bench, with_will.clone()), Some(ReasonCode::QoSNotSupported));
                let v3 = Connect { version: Version::V3_1_1, ..with_will };
                assert_eq!(refused(&mut bench, v3), None, "3.1.1 has no code for that [3.1.1: MQTT-3.2.2-6]");
                continue;
            }
            bench.connect(with_will);
            if retain {
                bench.connect(with_retained);
            } else {
                assert_eq!(refused(&mut bench, with_retained), Some(ReasonCode::RetainNotSupported));
            }
        }
        let deep = Connect { will: Some(will("a/b/c/d", "")), ..connect(Version::V5, "c") };
        assert_eq!(refused(&mut bench, deep), Some(ReasonCode::TopicNameInvalid));
    }
}

/// What a client gets for bytes in the middle of its stream: DISCONNECT with a reason in 5.0, silence before.
fn closes_with(version: Version, bytes: &[u8], expected: ReasonCode) {
    let mut bench = Bench::with(|config| config.connection.max_packet_size = 1000);
    let (client, _) = bench.connect(connect(version, "c"));
    bench.send_bytes(client, bytes);
    let reason = bench.disconnect_reason(client); // [MQTT-4.13.1-1], [3.1.1: MQTT-4.8.0-1]
    assert_eq!(reason, version.is_v5().then_some(expected), "{version:?} {bytes:02x?}");
    assert_eq!(bench.broker.stats().protocol_errors_total, 1);
    bench.send_bytes(client, &encode(Packet::PingReq, version));
    bench.assert_silent(client); // [MQTT-3.14.4-1]
}

#[test]
fn a_second_connect_is_a_protocol_error() {
    // [MQTT-3.1.0-2], [3.1.1: MQTT-3.1.0-2]
    for version in VERSIONS {
        closes_with(version, &encode(connect(version, "c"), version), ReasonCode::ProtocolError);
    }
}

#[test]
fn packets_that_only_servers_send_are_a_protocol_error() {
    for version in VERSIONS {
        let connack = ConnAck { session_present: false, reason: ReasonCode::Success, properties: Properties::new() };
        let (id, reasons) = (pid(1), vec![ReasonCode::Success]);
        let suback = SubAck { id, reasons: reasons.clone(), properties: Properties::new() };
        let unsuback = UnsubAck { id, reasons, properties: Properties::new() };
        let packets: [Packet; 4] = [connack.into(), suback.into(), unsuback.into(), Packet::PingResp];
        for packet in packets {
            closes_with(version, &encode(packet, version), ReasonCode::ProtocolError);
        }
    }
}

#[test]
fn malformed_bytes_in_the_stream_close_the_connection() {
    for version in VERSIONS {
        for bytes in [
            &[0x00, 0x00][..],               // packet type 0
            &[0x36, 0x00],                   // QoS 3 [MQTT-3.3.1-4]
            &[0xC1, 0x00],                   // reserved flags [MQTT-2.1.3-1]
            &[0xE1, 0x00],                   // [MQTT-3.14.1-1], [3.1.1: MQTT-3.14.1-1]
            &[0xC0, 0xFF, 0xFF, 0xFF, 0xFF], // a length of five bytes
            &[0x82, 0x02, 0x00, 0x01],       // SUBSCRIBE that ends too early
            &[0x30, 0x03, 0x00, 0x01, 0xFF], // ill-formed UTF-8 [MQTT-1.5.4-1]
        ] {
            closes_with(version, bytes, ReasonCode::MalformedPacket);
        }
    }
}

#[test]
fn packets_beyond_the_limit_are_refused_before_they_are_there() {
    // [MQTT-3.2.2-15]; the length alone, 1,001 bytes in all, is enough
    for version in VERSIONS {
        closes_with(version, &[0x30, 0xE6, 0x07], ReasonCode::PacketTooLarge);
        let mut bench = Bench::with(|config| config.connection.max_packet_size = 1000);
        let (client, _) = bench.connect(connect(version, "c"));
        bench.send_bytes(client, &[0x30, 0xE5, 0x07]);
        assert!(!bench.is_closed(client), "1,000 bytes are allowed");
    }
}

#[test]
fn no_disconnect_precedes_connack() {
    // [MQTT-3.14.0-1]
    let mut bench = asking(|_| {});
    let client = bench.open(with(connect(Version::V5, "c"), [Property::AuthenticationMethod("steps")]));
    let id = bench.authenticate().id;
    bench.answer(id, AuthOutcome::Continue { data: None });
    assert!(matches!(bench.recv(client), Some(Packet::Auth(_))));
    bench.send_bytes(client, &[0x00, 0x00]);
    assert_eq!(bench.refusal(client).unwrap().reason, ReasonCode::MalformedPacket);
}

/// Some bytes that a client may send: garbage, packets, packets with a byte changed.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let packets = prop_oneof![
        Just(encode(message("a/b", "x", QoS::AtMostOnce), Version::V5)),
        Just(encode(message("a/b", "x", QoS::ExactlyOnce), Version::V5)),
        Just(encode(Packet::PubRel(ack(10)), Version::V5)),
        Just(encode(Packet::PubRec(ack(1)), Version::V5)),
        Just(encode(Packet::PubAck(ack(1)), Version::V5)),
        Just(encode(Packet::PubComp(ack(1)), Version::V5)),
        Just(encode(Packet::PingReq, Version::V5)),
        Just(encode(Disconnect::from(ReasonCode::Success), Version::V5)),
        "[ab+#/]{1,4}|\\$share/g/[ab+]".prop_filter_map("a filter", |text| {
            let filters = vec![(TopicFilter::try_from(&*text).ok()?, QoS::ExactlyOnce.into())];
            let subscribe = Subscribe { id: pid(3), filters, properties: Properties::new() };
            let mut bytes = BytesMut::new();
            Packet::from(subscribe).encode(Version::V5, &mut bytes).ok()?;
            Some(bytes)
        }),
    ];
    prop_oneof![
        2 => prop::collection::vec(any::<u8>(), 0..40),
        6 => packets.clone().prop_map(|bytes| bytes.to_vec()),
        3 => (packets, any::<prop::sample::Index>(), any::<u8>()).prop_map(|(bytes, index, byte)| {
            let mut bytes = bytes.to_vec();
            let at = index.index(bytes.len());
            bytes[at] = byte;
            bytes
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Whatever several clients send, in whatever pieces: no panic, and the broker still serves a well-behaved one.
    #[test]
    fn garbage_never_harms(steps in prop::collection::vec((0_usize..4, input(), any::<bool>()), 1..60)) {
        let mut bench = Bench::with(|config| config.session.legacy_expiry = 60);
        let mut clients: Vec<Option<Client>> = vec![None; 4];
        for (index, bytes, time_passes) in steps {
            let version = VERSIONS[index % 3];
            let client = match clients[index] {
                Some(client) if !bench.is_closed(client) => client,
                _ => {
                    let connect = Connect { keep_alive: 30, ..persistent(version, &format!("c{index}"), 60) };
                    bench.connect(connect).0
                }
            };
            clients[index] = Some(client);
            bench.send_bytes(client, &bytes);
            bench.recv_all(client); // all that comes can be decoded
            if time_passes {
                bench.sleep(Duration::from_secs(20));
            }
        }
        let (publisher, subscriber) = (bench.v5("p"), bench.v3("s"));
        bench.subscribe(subscriber, "well/behaved", QoS::ExactlyOnce);
        bench.publish(publisher, "well/behaved", "client", QoS::ExactlyOnce);
        prop_assert_eq!(bench.recv_texts(subscriber), ["client"]);
        // Nothing is left of them once their sessions are over.
        for client in clients.into_iter().flatten().chain([publisher, subscriber]) {
            bench.cut(client);
        }
        bench.sleep(Duration::from_secs(61));
        let stats = bench.broker.stats();
        let levels = (stats.connections, stats.sessions, stats.subscriptions, stats.queued, stats.queued_bytes, stats.inflight);
        prop_assert_eq!(levels, (0, 0, 0, 0, 0, 0));
    }
}
