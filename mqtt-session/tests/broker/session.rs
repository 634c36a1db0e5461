//! Sessions: begun, resumed, taken over, expired, and what they carry from one connection to the next (sections 3.1.2.4, 4.1, 4.4).
use crate::common::*;
use mqtt_session::broker::*;
use mqtt_session::proto::*;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A persistent session that subscribes `a/#` at QoS 2.
fn subscribed(bench: &mut Bench, version: Version) -> Client {
    let (client, _) = bench.connect(persistent(version, "s", 100));
    bench.subscribe(client, "a/#", QoS::ExactlyOnce);
    client
}

#[test]
fn clean_start_discards_what_was_there() {
    // [MQTT-3.1.2-4], [MQTT-3.2.2-2]; [3.1.1: MQTT-3.1.2-6], [3.1.1: MQTT-3.2.2-1]
    for version in VERSIONS {
        let mut bench = Bench::new();
        let publisher = bench.v5("p");
        let client = subscribed(&mut bench, version);
        bench.cut(client);
        bench.publish(publisher, "a/b", "lost", QoS::AtLeastOnce);
        let (client, connack) = bench.connect(connect(version, "s"));
        assert!(!connack.session_present);
        bench.publish(publisher, "a/b", "nobody subscribes", QoS::AtLeastOnce);
        bench.assert_silent(client);
        let stats = bench.broker.stats();
        assert_eq!((stats.sessions, stats.subscriptions, stats.queued), (2, 0, 0));
    }
}

#[test]
fn a_session_is_resumed_if_there_is_one() {
    // [MQTT-3.1.2-5], [MQTT-3.1.2-6], [MQTT-3.1.2-23], [MQTT-3.1.3-2], [MQTT-3.2.2-3], [MQTT-4.1.0-1];
    // [3.1.1: MQTT-3.1.2-4], [3.1.1: MQTT-3.1.2-5], [3.1.1: MQTT-3.1.3-2], [3.1.1: MQTT-3.2.2-2], [3.1.1: MQTT-3.2.2-3],
    // [3.1.1: MQTT-4.1.0-1]
    for version in VERSIONS {
        let mut bench = Bench::new();
        let publisher = bench.v5("p");
        let (client, connack) = bench.connect(persistent(version, "s", 100));
        assert!(!connack.session_present);
        bench.subscribe(client, "a", QoS::AtLeastOnce);
        bench.sleep(1000 * SECOND); // it does not expire while it is connected
        bench.disconnect(client, ReasonCode::Success);
        bench.publish(publisher, "a", "while away", QoS::AtLeastOnce);
        let (client, connack) = bench.connect(persistent(version, "s", 100));
        // 3.1 has no such flag: the byte is reserved there.
        assert_eq!(connack.session_present, version != Version::V3_1);
        assert_eq!(text(&bench.recv_publish(client)), "while away");
    }
}

#[test]
fn a_session_without_expiry_ends_with_its_connection() {
    // [MQTT-4.1.0-2]; [3.1.1: MQTT-3.1.2-6], [3.1.1: MQTT-4.1.0-2]
    for version in VERSIONS {
        for good_bye in [false, true] {
            let mut bench = Bench::new();
            // Clean Start says nothing about the end: a 5.0 session that is to end does so without it, too.
            let first = Connect { clean_start: !version.is_v5(), ..connect(version, "s") };
            let (client, _) = bench.connect(first);
            bench.subscribe(client, "a", QoS::ExactlyOnce);
            if good_bye {
                bench.disconnect(client, ReasonCode::Success);
            } else {
                bench.cut(client);
            }
            let stats = bench.broker.stats();
            assert_eq!((stats.sessions, stats.subscriptions), (0, 0));
            let (_, connack) = bench.connect(persistent(version, "s", 100));
            assert!(!connack.session_present);
        }
    }
}

#[test]
fn a_clean_session_with_an_expiry_interval_lasts() {
    // [MQTT-3.1.2-23]: in 5.0 Clean Start is about the past alone
    let mut bench = Bench::new();
    let (client, _) = bench.connect(Connect { clean_start: true, ..persistent(Version::V5, "s", 100) });
    bench.cut(client);
    assert!(bench.connect(persistent(Version::V5, "s", 100)).1.session_present);
}

#[test]
fn sessions_expire_when_their_interval_has_passed() {
    // [MQTT-4.1.0-2]
    for (expiry, after, present) in [(100, 99, true), (100, 100, false), (u32::MAX, 1_000_000_000, true)] {
        let mut bench = Bench::new();
        let (client, _) = bench.connect(persistent(Version::V5, "s", expiry));
        bench.subscribe(client, "a", QoS::AtLeastOnce);
        bench.sleep(50 * SECOND);
        bench.cut(client);
        bench.sleep(after * SECOND);
        assert_eq!(bench.broker.stats().sessions_expired_total, u64::from(!present));
        assert_eq!(bench.broker.stats().subscriptions, u64::from(present));
        let (_, connack) = bench.connect(persistent(Version::V5, "s", expiry));
        assert_eq!(connack.session_present, present, "{expiry} {after}");
        // A connection stops the clock.
        bench.sleep(200 * SECOND);
        assert_eq!(bench.broker.stats().sessions, 1);
    }
}

#[test]
fn a_session_is_over_when_its_time_is_whatever_the_broker_hears_first() {
    // The interval has passed when CONNECT comes, though nobody has told the broker the time since (section 3.1.2.11.2).
    for (away, present) in [(99, true), (100, false)] {
        let mut bench = Bench::new();
        let (client, _) = bench.connect(persistent(Version::V5, "s", 100));
        bench.subscribe(client, "a", QoS::AtLeastOnce);
        bench.cut(client);
        bench.now = bench.now + away * SECOND; // without a word to the broker
        let (_, connack) = bench.connect(persistent(Version::V5, "s", 100));
        assert_eq!(connack.session_present, present, "after {away} s");
        assert_eq!(bench.broker.stats().sessions_expired_total, u64::from(!present));
        bench.sleep(1000 * SECOND);
        assert_eq!(bench.broker.stats().sessions, 1);
    }
}

#[test]
fn sessions_before_5_0_expire_as_configured() {
    let mut bench = Bench::with(|config| config.session.legacy_expiry = 60);
    for version in [Version::V3_1, Version::V3_1_1] {
        let client = subscribed(&mut bench, version);
        bench.cut(client);
        bench.sleep(59 * SECOND);
        assert_eq!(bench.broker.stats().sessions, 1);
        bench.sleep(SECOND);
        assert_eq!(bench.broker.stats().sessions, 0);
    }
}

#[test]
fn disconnect_may_change_the_expiry() {
    for (at_connect, at_disconnect, sessions) in [(100, 10, 0), (10, 100, 1), (100, 0, 0), (10, u32::MAX, 1)] {
        let mut bench = Bench::new();
        let (client, _) = bench.connect(persistent(Version::V5, "s", at_connect));
        let properties = properties([Property::SessionExpiryInterval(at_disconnect)]);
        bench.send(client, Disconnect { reason: ReasonCode::Success, properties });
        assert_eq!(bench.disconnect_reason(client), None, "no DISCONNECT answers one");
        bench.sleep(50 * SECOND);
        assert_eq!(bench.broker.stats().sessions, sessions, "{at_connect} {at_disconnect}");
    }
}

#[test]
fn disconnect_cannot_prolong_a_session_that_was_to_end() {
    // Section 3.14.2.2.2; and it is no DISCONNECT then, so the Will fires.
    let mut bench = Bench::new();
    let watcher = bench.v5("watcher");
    bench.subscribe(watcher, "will", QoS::AtMostOnce);
    let (client, _) = bench.connect(Connect { will: Some(will("will", "fired")), ..connect(Version::V5, "s") });
    let longer = properties([Property::SessionExpiryInterval(1)]);
    bench.send(client, Disconnect { reason: ReasonCode::Success, properties: longer });
    assert_eq!(bench.disconnect_reason(client), Some(ReasonCode::ProtocolError));
    assert_eq!(bench.recv_texts(watcher), ["fired"]);
    assert_eq!(bench.broker.stats().sessions, 1);
    // Zero for zero is no change.
    let client = bench.v5("s");
    let same = properties([Property::SessionExpiryInterval(0)]);
    bench.send(client, Disconnect { reason: ReasonCode::Success, properties: same });
    assert_eq!(bench.disconnect_reason(client), None);
    // Where the server allows none, a client that asked for some breaks no rule by asking again.
    let mut bench = Bench::with(|config| config.session.max_expiry = 0);
    let (client, _) = bench.connect(persistent(Version::V5, "s", 100));
    let again = properties([Property::SessionExpiryInterval(100)]);
    bench.send(client, Disconnect { reason: ReasonCode::Success, properties: again });
    assert_eq!((bench.disconnect_reason(client), bench.broker.stats().sessions), (None, 0));
}

#[test]
fn a_takeover_closes_the_old_connection() {
    // [MQTT-3.1.4-3], [MQTT-3.1.4-4]; [3.1.1: MQTT-3.1.4-2], [3.1.1: MQTT-3.1.4-3]
    for old_version in VERSIONS {
        for new_version in VERSIONS {
            for (lasts, resumes) in [(false, false), (false, true), (true, false), (true, true)] {
                let mut bench = Bench::new();
                let first = if lasts { persistent(old_version, "s", 100) } else { connect(old_version, "s") };
                let (old, _) = bench.connect(first);
                bench.subscribe(old, "a", QoS::AtLeastOnce);
                let second = if resumes { persistent(new_version, "s", 100) } else { connect(new_version, "s") };
                let (new, connack) = bench.connect(second);
                let taken_over = old_version.is_v5().then_some(ReasonCode::SessionTakenOver);
                assert_eq!(bench.disconnect_reason(old), taken_over);
                let present = lasts && resumes;
                assert_eq!(connack.session_present, present && new_version != Version::V3_1);
                assert!(!bench.is_closed(new));
                let stats = bench.broker.stats();
                assert_eq!((stats.connections, stats.sessions), (1, 1));
                assert_eq!(stats.subscriptions, u64::from(present));
                let publisher = bench.v5("p");
                bench.publish(publisher, "a", "x", QoS::AtLeastOnce);
                assert_eq!(bench.recv_all(new).len(), usize::from(present));
            }
        }
    }
}

#[test]
fn messages_in_flight_survive_a_takeover() {
    // [MQTT-4.4.0-1], [MQTT-4.6.0-1], [MQTT-3.3.1-1]; [3.1.1: MQTT-4.4.0-1], [3.1.1: MQTT-4.6.0-1]
    for version in VERSIONS {
        let mut bench = Bench::new();
        let publisher = bench.v5("p");
        let old = subscribed(&mut bench, version);
        for (payload, qos) in [("1", QoS::AtLeastOnce), ("2", QoS::ExactlyOnce), ("3", QoS::AtLeastOnce)] {
            bench.publish(publisher, "a/b", payload, qos);
        }
        assert_eq!(bench.recv_texts(old), ["1", "2", "3"]);
        let (new, _) = bench.connect(persistent(version, "s", 100));
        bench.publish(publisher, "a/b", "4", QoS::ExactlyOnce);
        let mut publishes = Vec::new();
        for (id, payload) in (1..).zip(["1", "2", "3", "4"]) {
            let publish = bench.recv_publish(new);
            assert_eq!(text(&publish), payload);
            assert_eq!(publish.delivery.id(), Some(pid(id)));
            assert_eq!(publish.delivery.dup(), payload != "4");
            publishes.push(publish);
        }
        bench.assert_silent(new);
        for publish in publishes {
            bench.acknowledge(new, &publish);
        }
        assert_eq!((bench.broker.stats().inflight, bench.broker.stats().queued), (0, 0));
    }
}

#[test]
fn qos_2_goes_on_where_it_was() {
    // [MQTT-4.4.0-1], [MQTT-4.3.3-5]: PUBREL again and no PUBLISH, in the order of the first time
    for version in VERSIONS {
        let mut bench = Bench::new();
        let publisher = bench.v5("p");
        let client = subscribed(&mut bench, version);
        for payload in ["1", "2", "3"] {
            bench.publish(publisher, "a/b", payload, QoS::ExactlyOnce);
        }
        bench.recv_all(client);
        for id in [1, 2] {
            bench.send(client, Packet::PubRec(ack(id)));
        }
        bench.cut(client);
        let (client, _) = bench.connect(persistent(version, "s", 100));
        assert_eq!(bench.recv(client), Some(Packet::PubRel(ack(1))));
        assert_eq!(bench.recv(client), Some(Packet::PubRel(ack(2))));
        let third = bench.recv_publish(client);
        assert_eq!(third.delivery, Delivery::ExactlyOnce { id: pid(3), dup: true });
        for id in [1, 2] {
            bench.send(client, Packet::PubComp(ack(id)));
        }
        bench.acknowledge(client, &third);
        bench.assert_silent(client);
        assert_eq!(bench.broker.stats().inflight, 0);
    }
}

#[test]
fn qos_2_from_the_client_is_not_passed_on_twice() {
    // [MQTT-4.3.3-10] over two connections
    for version in VERSIONS {
        let mut bench = Bench::new();
        let subscriber = bench.v5("watcher");
        bench.subscribe(subscriber, "t", QoS::ExactlyOnce);
        let (client, _) = bench.connect(persistent(version, "s", 100));
        bench.send(client, message("t", "once", QoS::ExactlyOnce));
        bench.cut(client);
        let (client, _) = bench.connect(persistent(version, "s", 100));
        let again = Delivery::ExactlyOnce { id: pid(10), dup: true };
        bench.send(client, Publish { delivery: again, ..message("t", "once", QoS::ExactlyOnce) });
        assert_eq!(bench.recv(client), Some(Packet::PubRec(ack(10))));
        bench.send(client, Packet::PubRel(ack(10)));
        assert_eq!(bench.recv(client), Some(Packet::PubComp(ack(10))));
        assert_eq!(bench.recv_texts(subscriber), ["once"]);
        // The identifier is free for another message.
        bench.send(client, message("t", "another", QoS::ExactlyOnce));
        assert_eq!(bench.recv_texts(subscriber), ["another"]);
    }
}

#[test]
fn the_new_receive_maximum_bounds_what_is_sent_again() {
    // [MQTT-3.3.4-9], [MQTT-4.9.0-1]
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    let client = subscribed(&mut bench, Version::V5);
    for payload in ["1", "2", "3", "4", "5"] {
        bench.publish(publisher, "a/b", payload, QoS::AtLeastOnce);
    }
    assert_eq!(bench.recv_texts(client).len(), 5);
    bench.cut(client);
    let (client, _) = bench.connect(with(persistent(Version::V5, "s", 100), [Property::ReceiveMaximum(2)]));
    let mut order = Vec::new();
    let mut waiting: Vec<Publish> = Vec::new();
    loop {
        waiting.extend(bench.recv_all(client).into_iter().map(|packet| match packet {
            Packet::Publish(publish) => publish,
            other => panic!("{other:?}"),
        }));
        assert!(waiting.len() <= 2);
        if waiting.is_empty() {
            break;
        }
        let publish = waiting.remove(0);
        assert!(publish.delivery.dup());
        order.push(text(&publish).to_owned());
        bench.acknowledge(client, &publish);
    }
    assert_eq!(order, ["1", "2", "3", "4", "5"]);
}

#[test]
fn a_late_acknowledgment_for_the_last_connection_counts() {
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    let client = subscribed(&mut bench, Version::V5);
    for payload in ["1", "2"] {
        bench.publish(publisher, "a/b", payload, QoS::AtLeastOnce);
    }
    bench.recv_all(client);
    bench.cut(client);
    let (client, _) = bench.connect(with(persistent(Version::V5, "s", 100), [Property::ReceiveMaximum(1)]));
    bench.send(client, Packet::PubAck(ack(2)));
    assert_eq!(bench.recv_texts(client), ["1"]);
    bench.send(client, Packet::PubAck(ack(1)));
    bench.assert_silent(client);
    assert_eq!((bench.broker.stats().inflight, bench.broker.stats().queued), (0, 0));
}

#[test]
fn a_durable_session_may_end_with_its_next_connection() {
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    let client = subscribed(&mut bench, Version::V5);
    bench.cut(client);
    bench.publish(publisher, "a/b", "1", QoS::AtLeastOnce);
    let (client, connack) = bench.connect(Connect { clean_start: false, ..connect(Version::V5, "s") });
    assert!(connack.session_present);
    assert_eq!(bench.recv_texts(client), ["1"]);
    bench.cut(client);
    let stats = bench.broker.stats();
    assert_eq!((stats.sessions, stats.subscriptions, stats.queued, stats.inflight), (1, 0, 0, 0));
}

#[test]
fn versions_may_change_between_connections() {
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    let mut client = subscribed(&mut bench, Version::V3_1_1);
    for version in [Version::V5, Version::V3_1, Version::V3_1_1, Version::V5] {
        bench.cut(client);
        bench.publish(publisher, "a/b", "x", QoS::ExactlyOnce);
        client = bench.connect(persistent(version, "s", 100)).0;
        let publish = bench.recv_publish(client);
        bench.acknowledge(client, &publish);
        bench.assert_silent(client);
    }
}

#[test]
fn sessions_are_bound_to_an_identity() {
    let mut bench = Bench::with(|config| config.authentication = Authentication::Request);
    for version in VERSIONS {
        let (owner, _) = bench.connect_as(persistent(version, "s", 100), Some("owner"), Grant::everything());
        for clean_start in [true, false] {
            let stranger = Connect { clean_start, ..persistent(Version::V5, "s", 100) };
            for identity in [Some("stranger"), None] {
                let (client, connack) = bench.connect_as(stranger.clone(), identity, Grant::everything());
                assert_eq!(connack.reason, ReasonCode::NotAuthorized);
                assert!(bench.is_closed(client) && !bench.is_closed(owner));
            }
        }
        bench.cut(owner);
        let (client, _) = bench.connect_as(connect(Version::V5, "s"), Some("stranger"), Grant::everything());
        assert!(bench.is_closed(client), "offline, too");
        let (owner, connack) = bench.connect_as(persistent(Version::V5, "s", 0), Some("owner"), Grant::everything());
        assert!(connack.session_present);
        bench.cut(owner);
    }
    assert_eq!(bench.broker.stats().sessions, 0);
}

#[test]
fn retained_messages_are_no_part_of_a_session() {
    // [3.1.1: MQTT-3.1.2-7]
    let mut bench = Bench::new();
    let client = bench.v3("s");
    bench.retain(client, "a", "stays");
    bench.cut(client);
    assert_eq!((bench.broker.stats().sessions, bench.broker.stats().retained), (0, 1));
    let client = bench.v3("s");
    bench.subscribe(client, "a", QoS::AtMostOnce);
    assert_eq!(bench.recv_texts(client), ["stays"]);
}
