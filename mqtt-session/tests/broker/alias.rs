//! Topic Aliases both ways (section 3.3.2.3.4).
use crate::common::*;
use mqtt_session::proto::*;

const ZERO: QoS = QoS::AtMostOnce;

fn aliased(topic: &str, alias: u16, payload: &str) -> Publish {
    Publish {
        topic: (!topic.is_empty()).then(|| TopicName::try_from(topic).unwrap()),
        properties: properties([Property::TopicAlias(alias)]),
        ..message("x", payload, ZERO)
    }
}

fn takes_aliases(id: &str, maximum: u16, expiry: u32) -> Connect {
    let properties = properties([Property::TopicAliasMaximum(maximum), Property::SessionExpiryInterval(expiry)]);
    Connect { properties, ..persistent(Version::V5, id, expiry) }
}

/// Topic Name and alias of what a client got.
fn names(all: &[Publish]) -> Vec<(String, Option<u16>)> {
    all.iter()
        .map(|publish| (publish.topic.as_deref().unwrap_or_default().to_owned(), publish.properties.topic_alias()))
        .collect()
}

fn expected(all: &[(&str, Option<u16>)]) -> Vec<(String, Option<u16>)> {
    all.iter().map(|(topic, alias)| ((*topic).to_owned(), *alias)).collect()
}

#[test]
fn a_client_may_use_every_alias_up_to_the_maximum() {
    // [MQTT-3.3.2-12]
    let mut bench = Bench::with(|config| config.connection.topic_alias_maximum = 100);
    let (client, connack) = bench.connect(connect(Version::V5, "p"));
    assert_eq!(connack.properties.topic_alias_maximum(), Some(100));
    let watcher = bench.v5("w");
    bench.subscribe(watcher, "#", ZERO);
    for alias in 1..=100 {
        bench.send(client, aliased(&format!("t/{alias}"), alias, "first"));
    }
    for alias in (1..=100).rev() {
        bench.send(client, aliased("", alias, "again"));
    }
    let got = bench.take(watcher);
    assert_eq!(got.len(), 200);
    for (index, publish) in (1..).zip(&got) {
        let number = if index <= 100 { index } else { 201 - index };
        assert_eq!(publish.topic.as_deref(), Some(format!("t/{number}").as_str()));
        assert_eq!(publish.properties.topic_alias(), None, "an alias is a matter of one connection");
    }
}

#[test]
fn an_alias_can_be_given_another_topic() {
    let mut bench = Bench::new();
    let client = bench.v5("p");
    let watcher = bench.v5("w");
    bench.subscribe(watcher, "#", ZERO);
    for (topic, alias) in [("a", 1), ("", 1), ("b", 2), ("b", 1), ("", 1), ("", 2), ("a", 2), ("", 2), ("", 1)] {
        bench.send(client, aliased(topic, alias, "x"));
    }
    let got: Vec<String> = names(&bench.take(watcher)).into_iter().map(|(topic, _)| topic).collect();
    assert_eq!(got, ["a", "a", "b", "b", "b", "b", "a", "a", "b"]);
}

#[test]
fn aliases_work_at_every_qos_and_for_retained_messages() {
    let mut bench = Bench::new();
    let client = bench.v5("p");
    bench.send(client, aliased("a", 1, "x"));
    for delivery in [Delivery::AtLeastOnce { id: pid(1), dup: false }, Delivery::ExactlyOnce { id: pid(2), dup: false }]
    {
        bench.send(client, Publish { delivery, retain: true, ..aliased("", 1, "kept") });
    }
    let watcher = bench.v5("w");
    bench.subscribe(watcher, "a", ZERO);
    assert_eq!(bench.take_texts(watcher), ["kept"]);
}

#[test]
fn an_alias_beyond_the_maximum_ends_the_connection() {
    // [MQTT-3.3.2-8], [MQTT-3.3.2-9]
    for (maximum, alias) in [(32, 33), (32, u16::MAX), (0, 1)] {
        let mut bench = Bench::with(|config| config.connection.topic_alias_maximum = maximum);
        let client = bench.v5("p");
        bench.send(client, aliased("a", alias, "x"));
        assert_eq!(bench.disconnect_reason(client), Some(ReasonCode::TopicAliasInvalid));
    }
    let mut bench = Bench::new();
    let client = bench.v5("p");
    bench.send_bytes(client, &[0x30, 7, 0, 1, b'a', 3, 0x23, 0, 0]);
    let reason = bench.disconnect_reason(client);
    assert!(matches!(reason, Some(ReasonCode::TopicAliasInvalid | ReasonCode::ProtocolError)), "{reason:?}");
}

#[test]
fn an_unknown_alias_is_a_protocol_error() {
    // [MQTT-3.3.2-7]
    let mut bench = Bench::new();
    let client = bench.connect(persistent(Version::V5, "p", 100)).0;
    bench.send(client, aliased("a", 1, "x"));
    bench.send(client, aliased("", 1, "x"));
    assert!(!bench.is_closed(client));
    bench.send(client, aliased("", 2, "x"));
    assert_eq!(bench.disconnect_reason(client), Some(ReasonCode::ProtocolError));
    // What one connection knew, the next does not.
    let client = bench.connect(persistent(Version::V5, "p", 100)).0;
    bench.send(client, aliased("", 1, "x"));
    assert_eq!(bench.disconnect_reason(client), Some(ReasonCode::ProtocolError));
    // Neither name nor alias.
    let client = bench.v5("p");
    bench.send_bytes(client, &[0x30, 3, 0, 0, 0]);
    assert_eq!(bench.disconnect_reason(client), Some(ReasonCode::ProtocolError));
}

#[test]
fn the_server_names_a_topic_once() {
    // [MQTT-3.3.2-11], [MQTT-3.1.2-26]
    let mut bench = Bench::new();
    let client = bench.connect(takes_aliases("s", 2, 0)).0;
    bench.subscribe(client, "#", QoS::ExactlyOnce);
    for qos in [ZERO, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        bench.inject("a", "x", qos);
    }
    for topic in ["b", "c", "b", "c", "a"] {
        bench.inject(topic, "x", ZERO);
    }
    let all = [
        ("a", Some(1)),
        ("", Some(1)),
        ("", Some(1)),
        ("b", Some(2)),
        ("c", None),
        ("", Some(2)),
        ("c", None),
        ("", Some(1)),
    ];
    assert_eq!(names(&bench.take(client)), expected(&all));
}

#[test]
fn without_a_maximum_the_server_uses_none() {
    // [MQTT-3.1.2-27]
    let mut bench = Bench::with(|config| config.connection.max_outgoing_aliases = 1);
    let (none, many, old) = (bench.v5("none"), bench.connect(takes_aliases("many", 100, 0)).0, bench.v3("old"));
    for client in [none, many, old] {
        bench.subscribe(client, "#", ZERO);
    }
    for topic in ["a", "b", "a"] {
        bench.inject(topic, "x", ZERO);
    }
    let plain = expected(&[("a", None), ("b", None), ("a", None)]);
    assert_eq!(names(&bench.take(none)), plain);
    assert_eq!(names(&bench.take(old)), plain);
    assert_eq!(names(&bench.take(many)), expected(&[("a", Some(1)), ("b", None), ("", Some(1))]));
}

#[test]
fn redelivery_on_a_new_connection_begins_with_the_name() {
    // [MQTT-3.3.2-7]
    let mut bench = Bench::new();
    let mut client = bench.connect(takes_aliases("s", 5, 100)).0;
    bench.subscribe(client, "#", QoS::AtLeastOnce);
    for _ in 0..2 {
        bench.inject("a", "x", QoS::AtLeastOnce);
    }
    let all = expected(&[("a", Some(1)), ("", Some(1))]);
    for _ in 0..2 {
        let got: Vec<Publish> = (0..2).map(|_| bench.recv_publish(client)).collect();
        assert_eq!(names(&got), all);
        bench.cut(client);
        client = bench.connect(takes_aliases("s", 5, 100)).0;
    }
    bench.cut(client);
    let client = bench.connect(persistent(Version::V5, "s", 100)).0;
    assert_eq!(names(&bench.take(client)), expected(&[("a", None), ("a", None)]));
    let retry = bench.connect(connect(Version::V3_1_1, "t")).0;
    bench.assert_silent(retry);
}

#[test]
fn what_waits_for_the_store_carries_its_name() {
    // A packet that is written while another waits comes first: it must not use an alias that the other was to tell.
    let mut bench = Bench::new();
    let client = bench.connect(takes_aliases("s", 5, 100)).0;
    bench.subscribe(client, "#", QoS::ExactlyOnce);
    bench.store_at_once = false;
    bench.inject("a", "1", QoS::ExactlyOnce);
    bench.inject("a", "2", QoS::AtLeastOnce);
    bench.inject("a", "3", ZERO);
    bench.inject("a", "4", QoS::ExactlyOnce);
    let zero = bench.recv_publish(client);
    assert_eq!((text(&zero), zero.topic.as_deref(), zero.properties.topic_alias()), ("3", Some("a"), Some(1)));
    bench.assert_silent(client);
    bench.store_at_once = true;
    bench.stored();
    let got = bench.take(client);
    assert_eq!(got.iter().map(text).collect::<Vec<_>>(), ["1", "2", "4"]);
    assert!(got.iter().all(|publish| publish.topic.as_deref() == Some("a")));
    bench.inject("a", "5", QoS::ExactlyOnce);
    assert_eq!(bench.take(client)[0].topic.as_deref(), Some("a"));
    bench.inject("a", "6", QoS::AtLeastOnce);
    assert_eq!(names(&bench.take(client)), expected(&[("", Some(1))]));
}

#[test]
fn a_message_at_the_limit_goes_out_without_an_alias() {
    // [MQTT-3.1.2-24]
    let size = |topic: &str, payload: &str| 2 + 2 + topic.len() + 1 + payload.len();
    let payload = "x".repeat(50);
    let largest = u32::try_from(size("topic", &payload)).unwrap();
    for room in [0, 1, 2, 3, 5, 10] {
        let mut bench = Bench::new();
        let properties = properties([Property::TopicAliasMaximum(5), Property::MaximumPacketSize(largest + room)]);
        let client = bench.connect(Connect { properties, ..connect(Version::V5, "s") }).0;
        bench.subscribe(client, "#", ZERO);
        bench.inject("topic", &payload, ZERO);
        bench.inject("topic", &payload, ZERO);
        let got = bench.take(client);
        assert_eq!(got.len(), 2, "{room} bytes of room");
        assert_eq!(got[0].properties.topic_alias().is_some(), room >= 5);
        bench.inject("topic", &"x".repeat(61 + room as usize), ZERO);
        bench.assert_silent(client);
        assert_eq!(bench.broker.stats().dropped_too_large, 1);
    }
}
