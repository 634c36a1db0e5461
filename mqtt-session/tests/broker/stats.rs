//! Statistics: every counter and level against what happened.
use crate::common::*;
use mqtt_session::broker::*;
use mqtt_session::proto::*;
use std::time::Duration;

#[test]
fn connections_and_sessions_are_counted() {
    let mut bench = Bench::new();
    assert_eq!(bench.broker.stats(), Stats::default());
    let one = bench.v5("one");
    let (two, _) = bench.connect(persistent(Version::V5, "two", 10));
    bench.v5("one"); // a takeover
    bench.cut(two);
    bench.cut(one); // it was closed before
    bench.open(connect(Version::V3_1, ""));
    let stats = bench.broker.stats();
    assert_eq!((stats.connections, stats.connections_maximum, stats.connections_total), (1, 2, 3));
    assert_eq!((stats.sessions, stats.refused_total, stats.protocol_errors_total), (2, 1, 0));
    bench.sleep(Duration::from_secs(10));
    let stats = bench.broker.stats();
    assert_eq!((stats.sessions, stats.sessions_expired_total), (1, 1));
}

#[test]
fn packets_and_bytes_are_those_on_the_wire() {
    let mut bench = Bench::new();
    let (client, connack) = bench.connect(connect(Version::V5, "c"));
    let mut sent = encode(connect(Version::V5, "c"), Version::V5).len();
    let mut received = encode(connack, Version::V5).len();
    let packet = |packet: Packet| encode(packet, Version::V5).len();
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    let filters = vec![(filter("a"), QoS::AtLeastOnce.into())];
    sent += packet(Subscribe { id: pid(77), filters, properties: Properties::new() }.into());
    let reasons = vec![ReasonCode::GrantedQoS1];
    received += packet(SubAck { id: pid(77), reasons, properties: Properties::new() }.into());
    // A packet, and half of the next.
    let mut bytes = encode(message("a", "x", QoS::AtLeastOnce), Version::V5);
    sent += bytes.len();
    bytes.extend_from_slice(&[0xC0]);
    bench.send_bytes(client, &bytes);
    let answers = bench.recv_all(client);
    assert_eq!(answers.len(), 2, "PUBACK and PUBLISH");
    received += answers.into_iter().map(packet).sum::<usize>();
    let stats = bench.broker.stats();
    assert_eq!((stats.packets_received, stats.packets_sent), (3, 4));
    assert_eq!((stats.publish_received, stats.publish_sent), (1, 1));
    assert_eq!((stats.bytes_received, stats.bytes_sent), (sent as u64, received as u64));
}

#[test]
fn levels_of_messages_go_up_and_down() {
    for version in VERSIONS {
        let mut bench = Bench::new();
        let publisher = bench.v5("p");
        let (subscriber, _) = bench.connect(persistent(version, "s", 100));
        bench.subscribe(subscriber, "a/#", QoS::AtLeastOnce);
        bench.subscribe(subscriber, "b", QoS::AtMostOnce);
        assert_eq!(bench.broker.stats().subscriptions, 2);
        bench.cut(subscriber);
        for _ in 0..3 {
            bench.publish(publisher, "a/b", "x", QoS::AtLeastOnce);
        }
        let stats = bench.broker.stats();
        assert_eq!((stats.queued, stats.inflight), (3, 0));
        assert!(stats.queued_bytes >= 3 * (1 + 3));
        let (subscriber, _) = bench.connect(persistent(version, "s", 100));
        assert_eq!(bench.broker.stats().inflight, 3);
        while let Some(Packet::Publish(publish)) = bench.recv(subscriber) {
            bench.acknowledge(subscriber, &publish);
        }
        let stats = bench.broker.stats();
        assert_eq!((stats.queued, stats.queued_bytes, stats.inflight), (0, 0, 0));
        bench.connect(connect(version, "s"));
        assert_eq!(bench.broker.stats().subscriptions, 0);
    }
}

#[test]
fn retained_messages_are_counted() {
    let mut bench = Bench::new();
    let client = bench.v5("c");
    for (topic, payload, count) in [("a", "x", 1), ("a", "y", 1), ("b", "x", 2), ("a", "", 1), ("none", "", 1)] {
        bench.retain(client, topic, payload);
        assert_eq!(bench.broker.stats().retained, count);
    }
}

#[test]
fn each_way_to_lose_a_message_has_its_counter() {
    let mut bench = Bench::with(|config| {
        config.connection.max_transmit_bytes = 50;
        config.session.max_queued_messages = 1;
        (config.sys_interval, config.id) = (Duration::from_mins(1), "one".to_owned());
        config.events.dropped = false;
    });
    let publisher = bench.v5("p");
    // A socket that does not keep up.
    let slow = bench.v5("slow");
    bench.subscribe(slow, "slow", QoS::AtMostOnce);
    bench.set_window(slow, Some(0));
    for _ in 0..5 {
        bench.publish(publisher, "slow", &"x".repeat(60), QoS::AtMostOnce);
    }
    assert_eq!(bench.broker.stats().dropped_slow_receiver, 4);
    // A client that takes small packets alone.
    let (small, _) = bench.connect(with(connect(Version::V5, "small"), [Property::MaximumPacketSize(30)]));
    for (qos, count) in [(QoS::AtMostOnce, 1), (QoS::AtLeastOnce, 2), (QoS::ExactlyOnce, 3)] {
        bench.subscribe(small, "small", qos);
        bench.publish(publisher, "small", &"x".repeat(40), qos);
        assert_eq!(bench.broker.stats().dropped_too_large, count);
    }
    assert_eq!(bench.broker.stats().inflight, 0);
    // A full queue, counted when its owner comes back; and messages that expired in it.
    let (away, _) = bench.connect(persistent(Version::V5, "away", 1000));
    bench.subscribe(away, "away", QoS::AtLeastOnce);
    bench.cut(away);
    for _ in 0..3 {
        let properties = properties([Property::MessageExpiryInterval(10)]);
        bench.send(publisher, Publish { properties, ..message("away", "x", QoS::AtLeastOnce) });
        bench.recv(publisher);
    }
    bench.sleep(Duration::from_secs(10));
    bench.connect(persistent(Version::V5, "away", 1000));
    let stats = bench.broker.stats();
    assert_eq!((stats.dropped_queue_full, stats.dropped_expired, stats.queued), (2, 1, 0));
    // A shared subscription whose only member is away.
    let (member, _) = bench.connect(persistent(Version::V5, "member", 1000));
    bench.subscribe(member, "$share/g/shared", QoS::AtMostOnce);
    bench.cut(member);
    for _ in 0..5 {
        bench.publish(publisher, "shared", "x", QoS::AtMostOnce);
    }
    assert_eq!(bench.broker.stats().dropped_no_member, 5);
    // All of them together are told: 4, 2, 1, 3 and 5.
    bench.sleep(Duration::from_mins(1));
    let watcher = bench.v5("watcher");
    bench.subscribe(watcher, "$SYS/one/publish/dropped", QoS::AtMostOnce);
    assert_eq!(text(&bench.recv_publish(watcher)), "15");
}

/// What waits for the store is counted when it leaves.
#[test]
fn packets_behind_the_store_are_counted_when_they_leave() {
    let mut bench = Bench::new();
    let (client, _) = bench.connect(persistent(Version::V5, "c", 100));
    bench.subscribe(client, "a", QoS::ExactlyOnce);
    bench.store_at_once = false;
    let before = bench.broker.stats();
    bench.inject("a", "x", QoS::ExactlyOnce);
    let held = bench.broker.stats();
    assert_eq!((held.packets_sent, held.publish_sent), (before.packets_sent, before.publish_sent));
    bench.assert_silent(client);
    bench.stored();
    assert_eq!(text(&bench.recv_publish(client)), "x");
    let after = bench.broker.stats();
    assert_eq!((after.packets_sent, after.publish_sent), (before.packets_sent + 1, before.publish_sent + 1));
}

#[test]
fn denied_publishes_and_protocol_errors_are_counted() {
    let mut bench = Bench::new();
    let client = bench.v5("c");
    bench.publish(client, "$SYS/x", "", QoS::AtMostOnce);
    assert_eq!(bench.broker.stats().publish_denied_total, 1);
    bench.send_bytes(client, &[0x00, 0x00]);
    assert_eq!(bench.broker.stats().protocol_errors_total, 1);
}
