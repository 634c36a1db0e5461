//! SUBSCRIBE and UNSUBSCRIBE (sections 3.8 to 3.11).
use crate::common::*;
use mqtt_session::broker::{Event, Message};
use mqtt_session::proto::*;

const ZERO: QoS = QoS::AtMostOnce;
const ONE: QoS = QoS::AtLeastOnce;
const TWO: QoS = QoS::ExactlyOnce;

fn plain(qos: QoS) -> SubscriptionOptions {
    qos.into()
}

#[test]
fn suback_answers_filter_by_filter_in_order() {
    // [MQTT-3.8.4-1], [MQTT-3.8.4-2], [MQTT-3.8.4-5], [MQTT-3.8.4-6], [MQTT-3.8.4-7], [MQTT-3.9.3-1], [MQTT-3.9.3-2],
    // [MQTT-2.2.1-6]; [3.1.1: MQTT-3.8.4-5, MQTT-3.9.3-1, MQTT-3.9.3-2]
    for version in VERSIONS {
        let mut bench = Bench::with(|config| config.features.wildcard_subscriptions = false);
        let client = bench.connect(connect(version, "s")).0;
        let filters =
            [("a", plain(TWO)), ("b/#", plain(ONE)), ("c", plain(ONE)), ("+", plain(ZERO)), ("d", plain(ZERO))];
        let reasons = bench.try_subscribe(client, &filters, Properties::new());
        let refused = match version {
            Version::V5 => ReasonCode::WildcardSubscriptionsNotSupported,
            _ => ReasonCode::UnspecifiedError,
        };
        let expected = [ReasonCode::GrantedQoS2, refused, ReasonCode::GrantedQoS1, refused, ReasonCode::Success];
        assert_eq!(reasons, expected);
        for topic in ["a", "b/x", "c", "d"] {
            bench.inject(topic, topic, TWO);
        }
        let got: Vec<(String, QoS)> =
            bench.take(client).iter().map(|publish| (text(publish).to_owned(), publish.delivery.qos())).collect();
        assert_eq!(got, [("a".into(), TWO), ("c".into(), ONE), ("d".into(), ZERO)]);
        assert_eq!(bench.broker.stats().subscriptions, 3);
    }
}

#[test]
fn what_the_server_does_not_offer_has_its_own_code() {
    // [MQTT-3.2.2-15], [MQTT-3.2.2-16]
    let mut bench = Bench::with(|config| {
        config.features.shared_subscriptions = false;
        config.features.wildcard_subscriptions = false;
        config.features.subscription_identifiers = false;
        config.features.maximum_qos = ONE;
    });
    let client = bench.v5("s");
    let filters = [("$share/g/a", plain(ONE)), ("a/+", plain(ONE)), ("$share/g/#", plain(ONE)), ("a", plain(TWO))];
    assert_eq!(
        bench.try_subscribe(client, &filters, Properties::new()),
        [
            ReasonCode::SharedSubscriptionsNotSupported,
            ReasonCode::WildcardSubscriptionsNotSupported,
            ReasonCode::SharedSubscriptionsNotSupported,
            ReasonCode::GrantedQoS1,
        ]
    );
    bench.inject("a", "x", TWO);
    assert_eq!(bench.take(client)[0].delivery.qos(), ONE, "[MQTT-3.8.4-8]");
    let identified = properties([Property::SubscriptionIdentifier(1)]);
    assert_eq!(
        bench.try_subscribe(client, &[("b", plain(ONE))], identified),
        [ReasonCode::SubscriptionIdentifiersNotSupported]
    );
    let old = bench.v3("old");
    let reasons = bench.try_subscribe(old, &filters, Properties::new());
    let failed = ReasonCode::UnspecifiedError;
    assert_eq!(reasons, [failed, failed, failed, ReasonCode::GrantedQoS1], "[3.1.1: MQTT-3.8.3-2]");
}

#[test]
fn filters_beyond_the_limits_are_refused() {
    let mut bench = Bench::with(|config| {
        config.connection.max_topic_levels = 3;
        config.connection.max_topic_bytes = 20;
        config.session.max_subscriptions = 2;
    });
    let client = bench.v5("s");
    let filters = [
        ("a/b/c/d", plain(ONE)),
        ("012345678901234567890", plain(ONE)),
        ("$share/g/a/b/c/d", plain(ONE)),
        ("a/b/c", plain(ONE)),
        ("$share/g/a/b/c", plain(ONE)),
        ("third", plain(ONE)),
        ("a/b/c", plain(TWO)), // no further one
    ];
    assert_eq!(
        bench.try_subscribe(client, &filters, Properties::new()),
        [
            ReasonCode::TopicFilterInvalid,
            ReasonCode::TopicFilterInvalid,
            ReasonCode::TopicFilterInvalid,
            ReasonCode::GrantedQoS1,
            ReasonCode::GrantedQoS1,
            ReasonCode::QuotaExceeded,
            ReasonCode::GrantedQoS2,
        ]
    );
    assert_eq!(bench.broker.stats().subscriptions, 2);
    bench.unsubscribe(client, &["a/b/c"]);
    bench.subscribe(client, "third", ONE);
}

#[test]
fn a_subscription_is_replaced_by_one_of_the_same_filter() {
    // [MQTT-3.8.4-3]; [3.1.1: MQTT-3.8.4-3]
    for version in VERSIONS {
        for expiry in [0, 100] {
            let mut bench = Bench::new();
            let client = bench.connect(persistent(version, "s", expiry)).0;
            for qos in [TWO, ZERO, ONE, ZERO, TWO, ONE] {
                bench.subscribe(client, "a/+", qos);
                for published in [ZERO, ONE, TWO] {
                    bench.inject("a/b", "x", published);
                    let got = bench.take(client);
                    assert_eq!(got.len(), 1, "{version:?} {qos:?} {published:?}");
                    assert_eq!(got[0].delivery.qos(), qos.min(published));
                }
                assert_eq!(bench.broker.stats().subscriptions, 1);
            }
            bench.unsubscribe(client, &["a/+"]);
            bench.inject("a/b", "x", TWO);
            bench.assert_silent(client);
            assert_eq!(bench.levels(), (0, 0, 0));
        }
    }
}

#[test]
fn identifiers_are_those_of_the_last_subscribe() {
    // [MQTT-3.3.4-3], [MQTT-3.8.4-3]
    for expiry in [0, 100] {
        let mut bench = Bench::new();
        let client = bench.connect(persistent(Version::V5, "s", expiry)).0;
        bench.subscribe_with(client, "a", ONE, 3);
        bench.inject("a", "x", ONE);
        assert_eq!(identifiers(&bench.take(client)[0]), [3]);
        bench.subscribe_with(client, "a", ONE, 4);
        bench.inject("a", "x", ZERO);
        assert_eq!(identifiers(&bench.take(client)[0]), [4]);
        bench.subscribe(client, "a", ONE);
        bench.inject("a", "x", ONE);
        assert!(identifiers(&bench.take(client)[0]).is_empty());
        // Two subscriptions may share one identifier: it comes once for each.
        bench.subscribe_with(client, "a", ONE, 9);
        bench.subscribe_with(client, "+", ONE, 9);
        bench.inject("a", "x", ONE);
        assert_eq!(identifiers(&bench.take(client)[0]), [9, 9]);
    }
}

#[test]
fn no_local_keeps_own_messages_away() {
    // [MQTT-3.8.3-3]
    for expiry in [0, 100] {
        let mut bench = Bench::new();
        let client = bench.connect(persistent(Version::V5, "s", expiry)).0;
        let other = bench.v5("other");
        let options = SubscriptionOptions { no_local: true, ..plain(TWO) };
        bench.subscribe(client, "a", options);
        for qos in [ZERO, ONE, TWO] {
            bench.publish(client, "a", "own", qos);
            bench.publish(other, "a", "other", qos);
            assert_eq!(bench.take_texts(client), ["other"], "{qos:?}");
        }
        assert_eq!(bench.levels(), (0, 0, 0));
        // A Client Identifier counts, not the connection.
        bench.cut(client);
        let client = bench.connect(persistent(Version::V5, "s", expiry)).0;
        bench.subscribe(client, "a", options);
        bench.publish(client, "a", "own", ONE);
        bench.assert_silent(client);
        // Another subscription of the same client without the option gets it.
        bench.subscribe_with(client, "+", ZERO, 2);
        bench.publish(client, "a", "own", ZERO);
        let got = bench.take(client);
        assert_eq!((got.len(), identifiers(&got[0])), (1, vec![2]));
    }
}

#[test]
fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    // [MQTT-3.8.3-4]
    let mut bench = Bench::new();
    let client = bench.v5("s");
    let mut bytes = vec![0x82, 0, 0, 1, 0];
    for (filter, options) in [("a", 0x01), ("$share/g/a", 0x05)] {
        bytes.extend_from_slice(&[0, u8::try_from(filter.len()).unwrap()]);
        bytes.extend_from_slice(filter.as_bytes());
        bytes.push(options);
    }
    bytes[1] = u8::try_from(bytes.len() - 2).unwrap();
    bench.send_bytes(client, &bytes);
    assert_eq!(bench.disconnect_reason(client), Some(ReasonCode::ProtocolError));
    assert_eq!(bench.broker.stats().subscriptions, 0);
}

#[test]
fn malformed_requests_end_the_connection() {
    // [MQTT-3.8.1-1], [MQTT-3.8.3-2], [MQTT-3.8.3-5], [MQTT-3.10.1-1], [MQTT-3.10.3-2], [MQTT-4.7.1-1], [MQTT-4.7.1-2],
    // [MQTT-4.8.2-1], [MQTT-4.8.2-2]; [3.1.1: MQTT-3.8.3-4]
    let subscribe = |filter: &str, options: u8| {
        let mut bytes = vec![0x82, 0, 0, 1, 0, 0, u8::try_from(filter.len()).unwrap()];
        bytes.extend_from_slice(filter.as_bytes());
        bytes.push(options);
        bytes[1] = u8::try_from(bytes.len() - 2).unwrap();
        bytes
    };
    let mut all = vec![
        vec![0x80, 7, 0, 1, 0, 0, 1, b'a', 0], // flags
        vec![0x82, 3, 0, 1, 0],                // no filter
        vec![0xA0, 6, 0, 1, 0, 0, 1, b'a'],    // flags
        vec![0xA2, 3, 0, 1, 0],                // no filter
        vec![0x82, 7, 0, 0, 0, 0, 1, b'a', 0], // identifier 0
    ];
    all.extend(
        ["a/#/b", "a#", "a+", "+a/b", "$share//a", "$share/g", "$share/g/", "$share/g+/a", ""].map(|f| subscribe(f, 0)),
    );
    all.extend([0x03, 0x40, 0x80, 0x30].map(|options| subscribe("a", options)));
    for bytes in all {
        let mut bench = Bench::new();
        let client = bench.v5("s");
        bench.send_bytes(client, &bytes);
        let reason = bench.disconnect_reason(client);
        assert!(
            matches!(
                reason,
                Some(ReasonCode::MalformedPacket | ReasonCode::ProtocolError | ReasonCode::TopicFilterInvalid)
            ),
            "{bytes:x?}: {reason:?}"
        );
        assert_eq!(bench.broker.stats().subscriptions, 0);
    }
    // QoS 3 and reserved bits before 5.0
    for options in [0x03, 0x04, 0x80] {
        let mut bench = Bench::new();
        let client = bench.v3("s");
        bench.send_bytes(client, &[0x82, 6, 0, 1, 0, 1, b'a', options]);
        assert!(bench.is_closed(client));
    }
}

#[test]
fn unsubscribe_answers_filter_by_filter() {
    // [MQTT-3.10.4-1], [MQTT-3.10.4-4], [MQTT-3.10.4-5], [MQTT-3.10.4-6], [MQTT-3.11.3-1], [MQTT-3.11.3-2]
    for expiry in [0, 100] {
        let mut bench = Bench::new();
        let client = bench.connect(persistent(Version::V5, "s", expiry)).0;
        for filter in ["a", "a/+", "$share/g/a", "b"] {
            bench.subscribe(client, filter, ONE);
        }
        let (gone, never) = (ReasonCode::Success, ReasonCode::NoSubscriptionExisted);
        let reasons = bench.unsubscribe(client, &["a", "a/b", "a", "$share/h/a", "$share/g/a", "a/#", "a/+", "+"]);
        assert_eq!(reasons, [gone, never, never, never, gone, never, gone, never]);
        assert_eq!(bench.broker.stats().subscriptions, 1);
        for topic in ["a", "a/b", "b"] {
            bench.inject(topic, topic, ONE);
        }
        assert_eq!(bench.take_texts(client), ["b"]);
        assert_eq!(bench.levels(), (0, 0, 0));
    }
    for version in [Version::V3_1, Version::V3_1_1] {
        let mut bench = Bench::new();
        let client = bench.connect(connect(version, "s")).0;
        bench.subscribe(client, "a", ONE);
        assert!(bench.unsubscribe(client, &["a", "never"]).is_empty());
        bench.inject("a", "x", ONE);
        bench.assert_silent(client);
    }
}

#[test]
fn nothing_new_comes_after_unsuback() {
    // [MQTT-3.10.4-2], [MQTT-3.10.4-3]
    for expiry in [0, 100] {
        for qos in [ZERO, ONE, TWO] {
            let mut bench = Bench::new();
            let client = bench.connect(persistent(Version::V5, "s", expiry)).0;
            bench.subscribe(client, "a", qos);
            bench.inject("a", "before", qos);
            let first = bench.recv_publish(client);
            bench.unsubscribe(client, &["a"]);
            bench.inject("a", "after", qos);
            bench.assert_silent(client);
            match first.delivery {
                Delivery::AtMostOnce => {}
                Delivery::AtLeastOnce { .. } => bench.send(client, Packet::PubAck(ack(1))),
                Delivery::ExactlyOnce { .. } => {
                    bench.send(client, Packet::PubRec(ack(1)));
                    assert_eq!(bench.recv(client), Some(Packet::PubRel(ack(1))));
                    bench.send(client, Packet::PubComp(ack(1)));
                }
            }
            bench.assert_silent(client);
            assert_eq!(bench.levels(), (0, 0, 0));
        }
    }
}

#[test]
fn suback_and_unsuback_wait_for_the_store() {
    let mut bench = Bench::new();
    let client = bench.connect(persistent(Version::V5, "s", 100)).0;
    bench.store_at_once = false;
    bench.send(
        client,
        Subscribe { id: pid(1), filters: vec![(filter("a"), plain(ONE))], properties: Properties::new() },
    );
    bench.send(client, Unsubscribe { id: pid(2), filters: vec![filter("a")], properties: Properties::new() });
    bench.assert_silent(client);
    bench.stored();
    assert!(matches!(bench.recv(client), Some(Packet::SubAck(ack)) if ack.id == pid(1)));
    assert!(matches!(bench.recv(client), Some(Packet::UnsubAck(ack)) if ack.id == pid(2)));
}

#[test]
fn matching_follows_levels_and_wildcards() {
    // [MQTT-3.3.2-3], [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.3-4]
    let filters = ["#", "+", "+/+", "/+", "sport/#", "sport/+/player", "sport/+", "/", "+/#", "sport//", "$SYS/#"];
    let expected: [(&str, &[&str]); 9] = [
        ("sport", &["#", "+", "+/#", "sport/#"]),
        ("sport/", &["#", "+/#", "+/+", "sport/#", "sport/+"]),
        ("sport/tennis", &["#", "+/#", "+/+", "sport/#", "sport/+"]),
        ("sport/tennis/player", &["#", "+/#", "sport/#", "sport/+/player"]),
        ("/finance", &["#", "+/#", "+/+", "/+"]),
        ("/", &["#", "+/#", "+/+", "/", "/+"]),
        ("sport//", &["#", "+/#", "sport/#", "sport//"]),
        ("$SYS/x", &["$SYS/#"]),
        ("SPORT", &["#", "+", "+/#"]),
    ];
    let mut bench = Bench::new();
    let clients = filters.map(|filter| {
        let client = bench.v3(&filter.replace(['/', '$'], "_").replace('#', "hash").replace('+', "plus"));
        bench.subscribe(client, filter, ZERO);
        client
    });
    for (topic, matching) in expected {
        bench.inject(topic, topic, ZERO);
        let mut got: Vec<&str> = Vec::new();
        for (client, filter) in clients.iter().zip(filters) {
            if !bench.take(*client).is_empty() {
                got.push(filter);
            }
        }
        got.sort_unstable();
        assert_eq!(got, matching, "{topic}");
    }
}

#[test]
fn subscriptions_are_events() {
    let mut bench = Bench::new();
    let client = bench.v5("s");
    bench.subscribe(client, "a", TWO);
    bench.subscribe(client, "a", ONE);
    bench.unsubscribe(client, &["a", "never"]);
    let seen: Vec<String> = bench
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Subscribed { client_id, filter, qos } => {
                Some(format!("+{}:{}:{}", &**client_id, &**filter, *qos as u8))
            }
            Event::Unsubscribed { client_id, filter } => Some(format!("-{}:{}", &**client_id, &**filter)),
            _ => None,
        })
        .collect();
    assert_eq!(seen, ["+s:a:2", "+s:a:1", "-s:a"]);
}

#[test]
fn messages_are_events_where_they_are_wanted() {
    let mut bench = Bench::with(|config| {
        config.events.published = true;
        config.events.delivered = true;
        config.session.queue_qos0 = true;
    });
    let direct = bench.v5("direct");
    let logged = bench.connect(persistent(Version::V5, "logged", 100)).0;
    bench.subscribe(direct, "a", TWO);
    bench.subscribe(direct, "$share/g/a", ZERO);
    bench.subscribe(logged, "a", ONE);
    for qos in [ZERO, ONE, TWO] {
        bench.inject("a", "x", qos);
    }
    let publisher = bench.v5("p");
    bench.publish(publisher, "a", "x", ZERO);
    let (mut published, mut delivered) = (Vec::new(), Vec::new());
    let count = |bench: &mut Bench, published: &mut Vec<Option<String>>, delivered: &mut Vec<String>| {
        for event in bench.events.drain(..) {
            match event {
                Event::Published { client_id, .. } => published.push(client_id.map(|id| id.to_string())),
                Event::Delivered { client_id, .. } => delivered.push(client_id.to_string()),
                _ => {}
            }
        }
        delivered.sort();
    };
    count(&mut bench, &mut published, &mut delivered);
    assert_eq!(published, [None, None, None, Some("p".into())]);
    // QoS 0 when it was sent: two of `direct` itself, four of its group, two of `logged`.
    assert_eq!(delivered, [["direct"; 6].as_slice(), &["logged"; 2]].concat());
    delivered.clear();
    bench.take(direct);
    bench.take(logged);
    count(&mut bench, &mut published, &mut delivered);
    assert_eq!(delivered, [["direct"; 2].as_slice(), &["logged"; 2]].concat());
    let message = Message::new(TopicName::try_from("nobody").unwrap(), "x");
    bench.broker.publish(bench.now, message);
    bench.run();
    count(&mut bench, &mut published, &mut delivered);
    assert_eq!((published.len(), delivered.len()), (5, 4));
}
