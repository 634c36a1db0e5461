//! Wills: when they are published, when not, and with what (sections 3.1.2.5, 3.1.3.2 and 3.14.4).
use crate::common::*;
use mqtt_session::broker::*;
use mqtt_session::proto::*;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A broker with a client that subscribes everything, retain as published.
fn watched() -> (Bench, Client) {
    let mut bench = Bench::new();
    let watcher = bench.v5("watcher");
    let options = SubscriptionOptions { retain_as_published: true, ..QoS::ExactlyOnce.into() };
    bench.subscribe(watcher, "#", options);
    (bench, watcher)
}

fn with_will(connect: Connect) -> Connect {
    Connect { will: Some(will("will", "gone")), ..connect }
}

/// A Will that is published this many seconds after the loss.
fn delayed(connect: Connect, delay: u32) -> Connect {
    let properties = properties([Property::WillDelayInterval(delay)]);
    Connect { will: Some(Will { properties, ..will("will", "gone") }), ..connect }
}

#[test]
fn a_lost_connection_publishes_its_will_once() {
    // [MQTT-3.1.2-7], [MQTT-3.1.2-8], [MQTT-3.1.2-10]; [3.1.1: MQTT-3.1.2-8], [3.1.1: MQTT-3.1.2-10]
    for version in VERSIONS {
        for base in [connect(version, "c"), persistent(version, "c", 100)] {
            let (mut bench, watcher) = watched();
            let (client, _) = bench.connect(with_will(base));
            bench.assert_silent(watcher);
            bench.cut(client);
            assert_eq!(bench.recv_texts(watcher), ["gone"]);
            bench.sleep(1000 * SECOND);
            bench.connect(connect(version, "c"));
            bench.assert_silent(watcher);
        }
    }
}

#[test]
fn without_a_will_nothing_is_published() {
    // [3.1.1: MQTT-3.1.2-12]; and the Will of an earlier connection is not that of a later one
    for version in VERSIONS {
        let (mut bench, watcher) = watched();
        let (client, _) = bench.connect(with_will(persistent(version, "c", 100)));
        bench.disconnect(client, ReasonCode::Success);
        let (client, _) = bench.connect(persistent(version, "c", 100));
        bench.cut(client);
        bench.assert_silent(watcher);
    }
}

#[test]
fn a_normal_disconnection_discards_the_will() {
    // [MQTT-3.1.2-10], [MQTT-3.14.4-1], [MQTT-3.14.4-2], [MQTT-3.14.4-3]; [3.1.1: MQTT-3.14.4-1] to [3.1.1: MQTT-3.14.4-3]
    for version in VERSIONS {
        let (mut bench, watcher) = watched();
        let (client, _) = bench.connect(with_will(persistent(version, "c", 100)));
        bench.disconnect(client, ReasonCode::Success);
        bench.assert_silent(client);
        bench.sleep(1000 * SECOND);
        bench.assert_silent(watcher);
    }
}

#[test]
fn any_other_disconnection_publishes_it() {
    // [MQTT-3.1.2-8]: unless DISCONNECT says 0x00
    for reason in (1..=u8::MAX).filter_map(ReasonCode::new).filter(|reason| reason.allowed_in(PacketType::Disconnect)) {
        let (mut bench, watcher) = watched();
        let (client, _) = bench.connect(with_will(connect(Version::V5, "c")));
        bench.disconnect(client, reason);
        assert_eq!(bench.recv_texts(watcher), ["gone"], "{reason:?}");
    }
}

#[test]
fn a_protocol_error_publishes_it() {
    for version in VERSIONS {
        let (mut bench, watcher) = watched();
        let (client, _) = bench.connect(with_will(connect(version, "c")));
        bench.send_bytes(client, &[0xFF, 0x00]);
        assert!(bench.is_closed(client));
        assert_eq!(bench.recv_texts(watcher), ["gone"]);
    }
}

#[test]
fn the_will_may_wait() {
    // [MQTT-3.1.3-9]
    let (mut bench, watcher) = watched();
    let (client, _) = bench.connect(delayed(persistent(Version::V5, "c", 100), 10));
    bench.cut(client);
    bench.sleep(9 * SECOND);
    bench.assert_silent(watcher);
    bench.sleep(SECOND);
    let publish = bench.recv_publish(watcher);
    assert_eq!(text(&publish), "gone");
    assert_eq!(publish.properties, Properties::new(), "the delay is not passed on");
    bench.sleep(1000 * SECOND);
    bench.assert_silent(watcher);
}

#[test]
fn a_connection_in_time_cancels_a_waiting_will() {
    // [MQTT-3.1.3-9]
    let (mut bench, watcher) = watched();
    let (client, _) = bench.connect(delayed(persistent(Version::V5, "c", 100), 10));
    bench.cut(client);
    bench.sleep(9 * SECOND);
    let (client, _) = bench.connect(persistent(Version::V5, "c", 100));
    bench.sleep(100 * SECOND);
    bench.cut(client);
    bench.sleep(1000 * SECOND);
    bench.assert_silent(watcher);
    // A clean start is no connection to this session: it ends, and the Will fires.
    let (client, _) = bench.connect(delayed(persistent(Version::V5, "c", 100), 10));
    bench.cut(client);
    bench.connect(connect(Version::V5, "c"));
    assert_eq!(bench.recv_texts(watcher), ["gone"]);
}

#[test]
fn a_connection_behind_the_delay_cancels_nothing() {
    // [MQTT-3.1.3-9]: the broker may hear of the connection before it hears of the time, as after it was suspended
    for (away, text) in [(9, None), (10, Some("gone"))] {
        let (mut bench, watcher) = watched();
        let (client, _) = bench.connect(delayed(persistent(Version::V5, "c", 100), 10));
        bench.cut(client);
        bench.now = bench.now + away * SECOND; // without a word to the broker
        let (_, connack) = bench.connect(persistent(Version::V5, "c", 100));
        assert!(connack.session_present);
        bench.sleep(1000 * SECOND);
        assert_eq!(bench.recv_texts(watcher), Vec::from_iter(text), "after {away} s");
    }
}

#[test]
fn the_end_of_the_session_ends_the_delay() {
    // [MQTT-3.1.2-8], [MQTT-3.1.3-9]
    for (expiry, at) in [(0, 0_u64), (5, 5), (10, 10), (20, 10)] {
        let (mut bench, watcher) = watched();
        let (client, _) = bench.connect(delayed(persistent(Version::V5, "c", expiry), 10));
        bench.cut(client);
        if at > 0 {
            bench.sleep(Duration::from_millis(at * 1000 - 1));
            bench.assert_silent(watcher);
            bench.sleep(Duration::from_millis(1));
        }
        assert_eq!(bench.recv_texts(watcher), ["gone"], "{expiry}");
    }
    // DISCONNECT with Will, and an expiry of nothing.
    let (mut bench, watcher) = watched();
    let (client, _) = bench.connect(delayed(persistent(Version::V5, "c", 100), 10));
    let properties = properties([Property::SessionExpiryInterval(0)]);
    bench.send(client, Disconnect { reason: ReasonCode::DisconnectWithWill, properties });
    assert_eq!(bench.recv_texts(watcher), ["gone"]);
}

#[test]
fn a_takeover_publishes_the_will_of_the_old_connection() {
    // Section 3.1.4: unless it waits and the session goes on.
    for (delay, clean_start, fires) in [(0, false, true), (0, true, true), (10, false, false), (10, true, true)] {
        let (mut bench, watcher) = watched();
        let (old, _) = bench.connect(delayed(persistent(Version::V5, "c", 100), delay));
        bench.connect(Connect { clean_start, ..persistent(Version::V5, "c", 100) });
        assert!(bench.is_closed(old));
        bench.sleep(1000 * SECOND);
        let expected: &[&str] = if fires { &["gone"] } else { &[] };
        assert_eq!(bench.recv_texts(watcher), expected, "{delay} {clean_start}");
    }
    for version in [Version::V3_1, Version::V3_1_1] {
        let (mut bench, watcher) = watched();
        bench.connect(with_will(persistent(version, "c", 100)));
        bench.connect(persistent(version, "c", 100));
        assert_eq!(bench.recv_texts(watcher), ["gone"]);
    }
}

#[test]
fn the_new_connections_will_replaces_the_old_one() {
    let (mut bench, watcher) = watched();
    let (client, _) = bench.connect(delayed(persistent(Version::V5, "c", 100), 10));
    bench.cut(client);
    let (client, _) = bench.connect(Connect { will: Some(will("will", "new")), ..persistent(Version::V5, "c", 100) });
    bench.cut(client);
    bench.sleep(1000 * SECOND);
    assert_eq!(bench.recv_texts(watcher), ["new"]);
}

#[test]
fn a_will_is_retained_if_it_says_so() {
    // [MQTT-3.1.2-14], [MQTT-3.1.2-15]; [3.1.1: MQTT-3.1.2-16], [3.1.1: MQTT-3.1.2-17]
    for version in VERSIONS {
        for retain in [false, true] {
            let (mut bench, watcher) = watched();
            let message = Will { retain, ..will("will", "gone") };
            let (client, _) = bench.connect(Connect { will: Some(message), ..connect(version, "c") });
            bench.cut(client);
            assert_eq!(bench.recv_publish(watcher).retain, retain);
            assert_eq!(bench.broker.stats().retained, u64::from(retain));
        }
    }
    // An empty one clears what is retained.
    let (mut bench, watcher) = watched();
    bench.retain(watcher, "will", "here");
    let message = Will { retain: true, ..will("will", "") };
    let (client, _) = bench.connect(Connect { will: Some(message), ..connect(Version::V5, "c") });
    bench.cut(client);
    assert_eq!(bench.broker.stats().retained, 0);
}

#[test]
fn a_will_is_published_at_its_qos_with_its_properties() {
    // [MQTT-3.1.2-12], [MQTT-3.1.3-10]; [3.1.1: MQTT-3.1.2-14]
    let all = [
        Property::PayloadFormatIndicator(true),
        Property::ContentType("text/plain"),
        Property::ResponseTopic("answers"),
        Property::CorrelationData(b"7"),
        Property::UserProperty("k", "1"),
        Property::UserProperty("a", "2"),
        Property::UserProperty("k", "3"),
    ];
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let (mut bench, watcher) = watched();
        let timing = [Property::WillDelayInterval(10), Property::MessageExpiryInterval(30)];
        let message = Will { qos, properties: properties(all.into_iter().chain(timing)), ..will("will", "gone") };
        let (client, _) = bench.connect(Connect { will: Some(message), ..persistent(Version::V5, "c", 100) });
        bench.cut(client);
        bench.sleep(10 * SECOND);
        let publish = bench.recv_publish(watcher);
        assert_eq!(publish.delivery.qos(), qos);
        // The interval begins when the Will is published.
        assert_eq!(publish.properties.message_expiry_interval(), Some(30));
        assert!(!publish.properties.contains(PropertyId::WillDelayInterval));
        let rest: Vec<Property<'_>> =
            publish.properties.iter().filter(|p| p.id() != PropertyId::MessageExpiryInterval).collect();
        assert_eq!(rest, all);
    }
}

#[test]
fn a_will_waits_in_logs_and_expires_there() {
    let mut bench = Bench::new();
    let (subscriber, _) = bench.connect(persistent(Version::V5, "s", 1000));
    bench.subscribe(subscriber, "will", QoS::AtLeastOnce);
    bench.cut(subscriber);
    for (after, left) in [(10, Some(20)), (30, None)] {
        let properties = properties([Property::MessageExpiryInterval(30)]);
        let message = Will { qos: QoS::AtLeastOnce, properties, ..will("will", "gone") };
        let (client, _) = bench.connect(Connect { will: Some(message), ..connect(Version::V5, "c") });
        bench.cut(client);
        bench.sleep(after * SECOND);
        let (subscriber, _) = bench.connect(persistent(Version::V5, "s", 1000));
        match left {
            Some(left) => {
                let publish = bench.recv_publish(subscriber);
                assert_eq!(publish.properties.message_expiry_interval(), Some(left));
                bench.acknowledge(subscriber, &publish);
            }
            None => bench.assert_silent(subscriber),
        }
        bench.cut(subscriber);
    }
}

#[test]
fn a_will_that_is_not_allowed_is_refused_with_its_connect() {
    for version in VERSIONS {
        let mut bench = Bench::with(|config| config.authentication = Authentication::Request);
        let grant = Grant::nothing().rule(true, Access::Both, "mine/#").rule(true, Access::Subscribe, "will");
        let (client, connack) = bench.connect_as(with_will(connect(version, "c")), None, grant.clone());
        assert_eq!(connack.reason, ReasonCode::NotAuthorized);
        assert!(bench.is_closed(client));
        assert_eq!(bench.broker.stats().sessions, 0);
        let mine = Connect { will: Some(will("mine/will", "")), ..connect(version, "c") };
        assert_eq!(bench.connect_as(mine, None, grant).1.reason, ReasonCode::Success);
    }
    // Nobody writes `$SYS`, and nobody else's `$` topics by a rule for all.
    let mut bench = Bench::new();
    for topic in ["$SYS/broker/version", "$SYS", "$other"] {
        let client = bench.open(Connect { will: Some(will(topic, "")), ..connect(Version::V5, "c") });
        assert_eq!(bench.refusal(client).unwrap().reason, ReasonCode::NotAuthorized);
    }
}

#[test]
fn the_outside_is_asked_about_wills() {
    for (decision, expected) in [
        (Decision::Allow, Some(vec!["gone"])),
        (Decision::Ignore, Some(vec![])),
        (Decision::Replace("harmless".into()), Some(vec!["harmless"])),
        (Decision::Deny, None),
    ] {
        let mut bench = Bench::with(|config| config.authentication = Authentication::Request);
        let (watcher, _) = bench.connect_as(connect(Version::V5, "w"), None, Grant::everything());
        bench.subscribe(watcher, "#", QoS::AtMostOnce);
        let client = bench.open(with_will(connect(Version::V5, "c")));
        bench.accept(Some("name"), Grant::everything().ask());
        bench.assert_silent(client);
        bench.send(client, Packet::PingReq); // waits
        match bench.requests.front() {
            Some(Request::Authorize { client_id, identity, .. }) => {
                assert_eq!((&**client_id, identity.as_deref()), ("c", Some("name")));
            }
            other => panic!("{other:?}"),
        }
        let action = bench.authorize(decision, Duration::ZERO);
        assert!(matches!(action, Action::Publish { topic, retain: false, .. } if &*topic == "will"));
        let Some(expected) = expected else {
            assert_eq!(bench.refusal(client).unwrap().reason, ReasonCode::NotAuthorized);
            assert_eq!(bench.broker.stats().sessions, 1);
            continue;
        };
        let packets = bench.recv_all(client);
        assert!(matches!(&packets[..], [Packet::ConnAck(_), Packet::PingResp]), "{packets:?}");
        bench.cut(client);
        assert_eq!(bench.recv_texts(watcher), expected);
    }
}

#[test]
fn no_local_holds_for_wills() {
    // [MQTT-3.8.3-3]: a client's own Will is its own message
    let mut bench = Bench::new();
    let (client, _) = bench.connect(Connect {
        will: Some(Will { qos: QoS::AtLeastOnce, ..will("will", "gone") }),
        ..persistent(Version::V5, "c", 100)
    });
    bench.subscribe(client, "will", SubscriptionOptions { no_local: true, ..QoS::AtLeastOnce.into() });
    bench.cut(client);
    let (client, _) = bench.connect(persistent(Version::V5, "c", 100));
    bench.assert_silent(client);
}

#[test]
fn a_clients_own_will_waits_for_it() {
    let mut bench = Bench::new();
    let (client, _) = bench.connect(Connect {
        will: Some(Will { qos: QoS::AtLeastOnce, ..will("will", "gone") }),
        ..persistent(Version::V3_1_1, "c", 100)
    });
    bench.subscribe(client, "will", QoS::AtLeastOnce);
    bench.cut(client);
    bench.assert_silent(client);
    let (client, _) = bench.connect(persistent(Version::V3_1_1, "c", 100));
    assert_eq!(bench.recv_texts(client), ["gone"]);
}
