//! What of a PUBLISH reaches subscribers, and packets that are too large for them (sections 3.3.2.3 and 3.1.2.11.4).
use crate::common::*;
use mqtt_session::broker::{DropReason, Event};
use mqtt_session::proto::*;

const ONE: QoS = QoS::AtLeastOnce;

fn rich() -> Properties {
    properties([
        Property::PayloadFormatIndicator(true),
        Property::UserProperty("b", "1"),
        Property::ContentType("text/plain"),
        Property::UserProperty("a", "2"),
        Property::ResponseTopic("answers/here"),
        Property::UserProperty("b", "1"),
        Property::CorrelationData(&[0, 1, 255]),
        Property::UserProperty("", ""),
    ])
}

fn check(publish: &Publish) {
    let properties = &publish.properties;
    assert_eq!(properties.payload_format_indicator(), Some(true));
    assert_eq!(properties.content_type(), Some("text/plain"));
    assert_eq!(properties.response_topic(), Some("answers/here"));
    assert_eq!(properties.correlation_data(), Some(&[0, 1, 255][..]));
    let user: Vec<(&str, &str)> = properties.user_properties().collect();
    assert_eq!(user, [("b", "1"), ("a", "2"), ("b", "1"), ("", "")]);
}

#[test]
fn properties_pass_unaltered() {
    // [MQTT-3.3.2-4], [MQTT-3.3.2-15], [MQTT-3.3.2-16], [MQTT-3.3.2-17], [MQTT-3.3.2-18], [MQTT-3.3.2-20]
    for qos in [QoS::AtMostOnce, ONE, QoS::ExactlyOnce] {
        let mut bench = Bench::new();
        let publisher = bench.v5("p");
        let live: Vec<Client> = [0, 100]
            .into_iter()
            .map(|expiry| {
                let client = bench.connect(persistent(Version::V5, &format!("live{expiry}"), expiry)).0;
                bench.subscribe_with(client, "a", qos, 4);
                client
            })
            .collect();
        let shared = bench.v5("shared");
        bench.subscribe(shared, "$share/g/a", qos);
        let old: Vec<Client> = [Version::V3_1, Version::V3_1_1]
            .into_iter()
            .map(|version| {
                let client = bench.connect(connect(version, &format!("old{}", version.level()))).0;
                bench.subscribe(client, "a", qos);
                client
            })
            .collect();
        let offline = bench.connect(persistent(Version::V5, "offline", 100)).0;
        bench.subscribe(offline, "a", ONE);
        bench.cut(offline);
        bench.send(publisher, Publish { properties: rich(), retain: true, ..message("a", "x", qos) });
        for client in live.into_iter().chain([shared]) {
            let got = bench.take(client);
            assert_eq!(got.len(), 1);
            check(&got[0]);
            bench.unsubscribe(client, &["a"]);
        }
        for client in old {
            let got = bench.take(client);
            assert_eq!((got.len(), text(&got[0])), (1, "x"));
            assert_eq!(got[0].properties.iter().count(), 0, "before 5.0 there are none");
        }
        let late = bench.v5("late");
        bench.subscribe(late, "a", qos);
        check(&bench.take(late)[0]);
        let offline = bench.connect(persistent(Version::V5, "offline", 100)).0;
        let got = bench.take(offline);
        assert_eq!(got.len(), usize::from(qos > QoS::AtMostOnce));
        got.iter().for_each(check);
        assert_eq!(bench.levels(), (0, 0, 0));
    }
}

#[test]
fn redelivery_carries_them_too() {
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    let client = bench.connect(persistent(Version::V5, "s", 100)).0;
    bench.subscribe_with(client, "a", ONE, 11);
    bench.send(publisher, Publish { properties: rich(), ..message("a", "x", ONE) });
    check(&bench.recv_publish(client));
    bench.cut(client);
    let client = bench.connect(persistent(Version::V5, "s", 100)).0;
    let again = bench.recv_publish(client);
    check(&again);
    assert_eq!(identifiers(&again), [11]);
    // The same session may go on in 3.1.1.
    bench.cut(client);
    let client = bench.connect(persistent(Version::V3_1_1, "s", 100)).0;
    let again = bench.recv_publish(client);
    assert_eq!((text(&again), again.delivery.dup(), again.properties.iter().count()), ("x", true, 0));
}

#[test]
fn messages_of_old_clients_reach_new_ones_without_properties() {
    let mut bench = Bench::new();
    let client = bench.v5("s");
    bench.subscribe(client, "a", ONE);
    for version in [Version::V3_1, Version::V3_1_1] {
        let publisher = bench.connect(connect(version, "p")).0;
        bench.publish(publisher, "a", "x", ONE);
        assert_eq!(bench.take(client)[0].properties.iter().count(), 0);
    }
}

#[test]
fn response_topics_must_be_topic_names() {
    // [MQTT-3.3.2-14]
    let mut bench = Bench::new();
    let client = bench.v5("p");
    bench.send_bytes(client, &[0x30, 8, 0, 1, b'a', 4, 0x08, 0, 1, b'#']);
    let reason = bench.disconnect_reason(client);
    assert!(
        matches!(reason, Some(ReasonCode::ProtocolError | ReasonCode::MalformedPacket | ReasonCode::TopicNameInvalid)),
        "{reason:?}"
    );
}

fn small(id: &str, maximum: u32, expiry: u32) -> Connect {
    let properties = properties([Property::MaximumPacketSize(maximum), Property::SessionExpiryInterval(expiry)]);
    Connect { properties, ..persistent(Version::V5, id, expiry) }
}

#[test]
fn a_message_too_large_for_the_client_counts_as_sent() {
    // [MQTT-3.1.2-24], [MQTT-3.1.2-25]
    for expiry in [0, 100] {
        for qos in [QoS::AtMostOnce, ONE, QoS::ExactlyOnce] {
            let mut bench = Bench::new();
            let client = bench.connect(small("s", 100, expiry)).0;
            let other = bench.v5("other");
            for client in [client, other] {
                bench.subscribe(client, "a", qos);
            }
            for payload in ["1", &"x".repeat(100), "2"] {
                bench.inject("a", payload, qos);
            }
            let largest = "y".repeat(100 - 2 - 3 - 1 - usize::from(qos > QoS::AtMostOnce) * 2);
            bench.inject("a", &largest, qos);
            bench.inject("a", &format!("{largest}y"), qos);
            assert_eq!(bench.take_texts(client), ["1", "2", &largest], "{qos:?} {expiry}");
            assert_eq!(bench.take(other).len(), 5);
            assert_eq!(bench.broker.stats().dropped_too_large, 2);
            let told: Vec<&Event> = bench
                .events
                .iter()
                .filter(|event| matches!(event, Event::Dropped { reason: DropReason::TooLarge, .. }))
                .collect();
            assert_eq!(told.len(), 2);
            assert_eq!(bench.levels(), (0, 0, 0), "nothing waits for ever");
        }
    }
}

#[test]
fn redelivery_keeps_to_a_smaller_packet_size() {
    // [MQTT-3.1.2-24], [MQTT-3.1.2-25]
    let mut bench = Bench::new();
    let client = bench.connect(persistent(Version::V5, "s", 100)).0;
    bench.subscribe(client, "a", QoS::ExactlyOnce);
    for (payload, qos) in
        [("1", ONE), (&*"x".repeat(100), QoS::ExactlyOnce), (&*"x".repeat(101), ONE), ("2", QoS::ExactlyOnce)]
    {
        bench.inject("a", payload, qos);
    }
    bench.cut(client);
    let client = bench.connect(small("s", 100, 100)).0;
    assert_eq!(bench.take_texts(client), ["1", "2"]);
    assert_eq!(bench.broker.stats().dropped_too_large, 2);
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn retained_and_shared_messages_keep_to_it_as_well() {
    // [MQTT-3.1.2-24]
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    bench.retain(publisher, "a/large", &"x".repeat(100));
    bench.retain(publisher, "a/small", "x");
    let client = bench.connect(small("s", 60, 0)).0;
    bench.subscribe(client, "a/#", QoS::AtMostOnce);
    assert_eq!(bench.take_texts(client), ["x"]);
    bench.unsubscribe(client, &["a/#"]);
    bench.subscribe(client, "$share/g/a/#", ONE);
    bench.inject("a/b", &"x".repeat(100), ONE);
    bench.inject("a/b", &"x".repeat(100), QoS::AtMostOnce);
    bench.inject("a/b", "y", ONE);
    assert_eq!(bench.take_texts(client), ["y"]);
    assert_eq!(bench.broker.stats().dropped_too_large, 3);
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn identifiers_and_expiry_count_towards_the_size() {
    // [MQTT-3.1.2-24]
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    let plain = 2 + 3 + 1 + 20;
    let (without, with) = (bench.connect(small("without", plain, 0)).0, bench.connect(small("with", plain, 0)).0);
    bench.subscribe(without, "a", QoS::AtMostOnce);
    bench.subscribe_with(with, "a", QoS::AtMostOnce, 1);
    let payload = "x".repeat(20);
    bench.publish(publisher, "a", &payload, QoS::AtMostOnce);
    assert_eq!((bench.take(without).len(), bench.take(with).len()), (1, 0));
    let expiring = properties([Property::MessageExpiryInterval(10)]);
    bench.send(publisher, Publish { properties: expiring, ..message("a", &payload, QoS::AtMostOnce) });
    assert_eq!((bench.take(without).len(), bench.take(with).len()), (0, 0));
}

#[test]
fn acknowledgments_fit_the_smallest_client() {
    // [MQTT-3.4.2-2], [MQTT-3.4.2-3], [MQTT-3.5.2-2], [MQTT-3.5.2-3], [MQTT-3.6.2-2], [MQTT-3.6.2-3], [MQTT-3.7.2-2],
    // [MQTT-3.7.2-3], [MQTT-3.9.2-1], [MQTT-3.9.2-2], [MQTT-3.11.2-1], [MQTT-3.11.2-2]
    let mut bench = Bench::with(|config| config.connection.max_topic_levels = 1);
    let client = bench.v5("tiny");
    bench.cut(client);
    let client = bench.open(small("tiny", 20, 0));
    assert!(matches!(bench.recv(client), Some(Packet::ConnAck(_))), "CONNACK itself is small enough");
    let refused = |qos| message("a/b", "x", qos);
    bench.send(client, refused(ONE));
    bench.send(client, refused(QoS::ExactlyOnce));
    bench.send(client, Packet::PubRel(ack(99)));
    bench.send(client, Packet::PubRec(ack(98)));
    let filters = vec![(filter("a/b"), ONE.into()), (filter("c"), ONE.into())];
    bench.send(client, Subscribe { id: pid(5), filters, properties: Properties::new() });
    bench.send(client, Unsubscribe { id: pid(6), filters: vec![filter("d")], properties: Properties::new() });
    let got = bench.recv_all(client);
    assert_eq!(got.len(), 6, "{got:?}");
    for packet in got {
        let mut bytes = bytes::BytesMut::new();
        packet.encode(Version::V5, &mut bytes).unwrap();
        assert!(bytes.len() <= 20, "{packet:?}");
    }
    assert_eq!(bench.broker.stats().dropped_too_large, 0);
}
