//! Flow control, queues and slow sockets (sections 3.3.4 and 4.9).
use crate::common::*;
use mqtt_session::broker::{DropReason, Event};
use mqtt_session::proto::*;
use std::time::Duration;

/// A 5.0 CONNECT with a Receive Maximum.
fn narrow(id: &str, receive_maximum: u16, expiry: u32) -> Connect {
    let properties = properties([Property::ReceiveMaximum(receive_maximum), Property::SessionExpiryInterval(expiry)]);
    Connect { properties, ..persistent(Version::V5, id, expiry) }
}

fn numbered(id: u16, qos: QoS) -> Publish {
    let delivery = match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce { id: pid(id), dup: false },
        QoS::ExactlyOnce => Delivery::ExactlyOnce { id: pid(id), dup: false },
    };
    Publish { delivery, ..message("a", &id.to_string(), qos) }
}

/// All that was dropped, by the receiver, and why.
fn dropped(bench: &Bench) -> Vec<(String, u64, DropReason)> {
    let dropped = |event: &Event| match event {
        Event::Dropped { receiver, count, reason } => Some((receiver.to_string(), *count, *reason)),
        _ => None,
    };
    bench.events.iter().filter_map(dropped).collect()
}

#[test]
fn more_than_the_servers_receive_maximum_ends_the_connection() {
    // [MQTT-3.3.4-7], [MQTT-3.3.4-8]
    let mut bench = Bench::with(|config| config.connection.receive_maximum = 3);
    let (client, connack) = bench.connect(connect(Version::V5, "p"));
    assert_eq!(connack.properties.receive_maximum(), Some(3));
    for id in 1..=3 {
        bench.send(client, numbered(id, QoS::ExactlyOnce));
    }
    // Repetition, QoS 0 and other packets need no quota.
    bench.send(client, numbered(1, QoS::ExactlyOnce));
    bench.send(client, numbered(1, QoS::AtMostOnce));
    bench.send(client, Packet::PingReq);
    assert_eq!(bench.recv_all(client).len(), 5);
    // PUBCOMP frees quota.
    bench.send(client, Packet::PubRel(ack(2)));
    bench.send(client, numbered(4, QoS::ExactlyOnce));
    assert_eq!(bench.recv_all(client).len(), 2);
    bench.send(client, numbered(5, QoS::AtLeastOnce));
    assert_eq!(bench.disconnect_reason(client), Some(ReasonCode::ReceiveMaximumExceeded));
}

#[test]
fn a_receive_maximum_of_zero_counts_as_one() {
    let mut bench = Bench::with(|config| config.connection.receive_maximum = 0);
    let (client, connack) = bench.connect(connect(Version::V5, "p"));
    assert_eq!(connack.properties.receive_maximum(), Some(1));
    bench.publish(client, "a", "x", QoS::AtLeastOnce);
    bench.publish(client, "a", "x", QoS::ExactlyOnce);
}

#[test]
fn puback_and_refusing_pubrec_free_the_clients_quota() {
    let mut bench = Bench::with(|config| {
        config.connection.receive_maximum = 2;
        config.connection.max_topic_levels = 1;
    });
    let client = bench.v5("p");
    for id in 1..=10 {
        bench.send(client, numbered(id, QoS::AtLeastOnce));
        assert!(matches!(bench.recv(client), Some(Packet::PubAck(_))));
        let refused = Publish { topic: message("a/b", "", QoS::AtMostOnce).topic, ..numbered(id, QoS::ExactlyOnce) };
        bench.send(client, refused);
        assert!(matches!(bench.recv(client), Some(Packet::PubRec(ack)) if ack.reason.is_error()));
    }
    assert!(!bench.is_closed(client));
}

#[test]
fn without_the_store_the_quota_stays_taken() {
    // Acknowledgments wait for the store: so does the quota, and a client before 5.0 is no longer read.
    let mut bench = Bench::with(|config| config.connection.receive_maximum = 2);
    let durable = bench.connect(persistent(Version::V5, "s", 100)).0;
    bench.subscribe(durable, "a", QoS::AtLeastOnce);
    let (new, old) = (bench.v5("new"), bench.v3("old"));
    bench.store_at_once = false;
    for id in 1..=4 {
        bench.send(old, numbered(id, QoS::AtLeastOnce));
    }
    assert!(!bench.broker.wants_read(old.0));
    bench.assert_silent(old);
    bench.send(new, numbered(1, QoS::AtLeastOnce));
    bench.send(new, numbered(2, QoS::AtLeastOnce));
    assert!(!bench.is_closed(new));
    bench.assert_silent(new);
    bench.store_at_once = true;
    bench.stored();
    assert_eq!(bench.recv_all(new).len(), 2);
    assert_eq!(bench.recv_all(old).len(), 4, "the rest was read when there was room");
    assert!(bench.broker.wants_read(old.0));
    assert_eq!(bench.take_texts(durable), ["1", "2", "1", "2", "3", "4"]);
}

#[test]
fn the_clients_receive_maximum_is_never_exceeded() {
    // [MQTT-3.3.4-9], [MQTT-3.3.4-10], [MQTT-4.9.0-1], [MQTT-4.9.0-2], [MQTT-4.9.0-3]
    for expiry in [0, 100] {
        let mut bench = Bench::new();
        let client = bench.connect(narrow("s", 2, expiry)).0;
        bench.subscribe(client, "a", QoS::ExactlyOnce);
        for (payload, qos) in [
            ("1", QoS::AtLeastOnce),
            ("2", QoS::ExactlyOnce),
            ("3", QoS::ExactlyOnce),
            ("4", QoS::AtLeastOnce),
            ("5", QoS::AtLeastOnce),
        ] {
            bench.inject("a", payload, qos);
        }
        assert_eq!((text(&bench.recv_publish(client)), text(&bench.recv_publish(client))), ("1", "2"));
        bench.assert_silent(client);
        // QoS 0 and other packets go on.
        bench.inject("a", "0", QoS::AtMostOnce);
        assert_eq!(text(&bench.recv_publish(client)), "0");
        bench.send(client, Packet::PingReq);
        assert_eq!(bench.recv(client), Some(Packet::PingResp));
        // PUBREC alone frees nothing, an error does, and so do PUBACK and PUBCOMP.
        bench.send(client, Packet::PubRec(ack(2)));
        assert_eq!(bench.recv_all(client), [Packet::PubRel(ack(2))]);
        bench.send(client, Packet::PubAck(ack(1)));
        assert_eq!(text(&bench.recv_publish(client)), "3");
        bench.assert_silent(client);
        bench.send(client, Packet::PubRec(Ack { reason: ReasonCode::QuotaExceeded, ..ack(3) }));
        assert_eq!(text(&bench.recv_publish(client)), "4");
        bench.assert_silent(client);
        bench.send(client, Packet::PubComp(ack(2)));
        assert_eq!(text(&bench.recv_publish(client)), "5");
        for id in 4..=5 {
            bench.send(client, Packet::PubAck(ack(id)));
            bench.send(client, Packet::PubAck(ack(id))); // late again: gives no credit
        }
        for payload in ["6", "7", "8"] {
            bench.inject("a", payload, QoS::AtLeastOnce);
        }
        assert_eq!(bench.recv_all(client).len(), 2);
    }
}

#[test]
fn redelivery_keeps_to_a_smaller_window() {
    // [MQTT-3.3.4-9], [MQTT-4.6.0-1]
    let mut bench = Bench::new();
    let client = bench.connect(narrow("s", 10, 100)).0;
    bench.subscribe(client, "a", QoS::ExactlyOnce);
    for id in 1..=12_u16 {
        bench.inject("a", &id.to_string(), if id % 2 == 0 { QoS::ExactlyOnce } else { QoS::AtLeastOnce });
    }
    assert_eq!(bench.recv_all(client).len(), 10);
    bench.send(client, Packet::PubRec(ack(2)));
    bench.cut(client);
    let client = bench.connect(narrow("s", 2, 100)).0;
    assert_eq!(bench.recv(client), Some(Packet::PubRel(ack(2))));
    assert_eq!(text(&bench.recv_publish(client)), "1");
    bench.assert_silent(client);
    // An acknowledgment of what was not sent again on this connection counts for the message, not for the window.
    bench.send(client, Packet::PubAck(ack(9)));
    bench.assert_silent(client);
    bench.send(client, Packet::PubComp(ack(2)));
    let third = bench.recv_publish(client);
    assert_eq!((text(&third), third.delivery), ("3", Delivery::AtLeastOnce { id: pid(3), dup: true }));
    bench.assert_silent(client);
    bench.send(client, Packet::PubAck(ack(1)));
    bench.send(client, Packet::PubAck(ack(3)));
    let expected: Vec<String> = [4, 5, 6, 7, 8, 10, 11, 12].iter().map(ToString::to_string).collect();
    assert_eq!(bench.take_texts(client), expected);
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn pubrel_does_not_wait_for_a_smaller_window() {
    // [MQTT-3.3.4-10], [MQTT-4.4.0-1], [MQTT-4.6.0-4]
    let mut bench = Bench::new();
    let client = bench.connect(narrow("s", 10, 100)).0;
    bench.subscribe(client, "a", QoS::ExactlyOnce);
    for id in 1..=6_u16 {
        bench.inject("a", &id.to_string(), QoS::ExactlyOnce);
    }
    for id in 2..=6 {
        bench.send(client, Packet::PubRec(ack(id)));
    }
    bench.cut(client);
    let client = bench.connect(narrow("s", 2, 100)).0;
    let releases: Vec<Packet> = (2..=6).map(|id| Packet::PubRel(ack(id))).collect();
    assert_eq!(bench.recv_all(client), releases);
    for id in [4, 3, 6] {
        bench.send(client, Packet::PubComp(ack(id)));
        bench.assert_silent(client);
    }
    // Two are left on their way; a further one makes room.
    bench.send(client, Packet::PubComp(ack(2)));
    assert_eq!(text(&bench.recv_publish(client)), "1");
    bench.inject("a", "7", QoS::AtLeastOnce);
    bench.assert_silent(client);
    bench.send(client, Packet::PubComp(ack(5)));
    assert_eq!(text(&bench.recv_publish(client)), "7");
    bench.inject("a", "8", QoS::AtLeastOnce);
    bench.assert_silent(client);
    bench.send(client, Packet::PubAck(ack(7)));
    assert_eq!(text(&bench.recv_publish(client)), "8");
}

#[test]
fn the_server_may_keep_a_smaller_window() {
    let mut bench = Bench::with(|config| config.connection.max_inflight = 3);
    for version in VERSIONS {
        let client = bench.connect(connect(version, "s")).0;
        bench.subscribe(client, "a", QoS::AtLeastOnce);
        for _ in 0..5 {
            bench.inject("a", "x", QoS::AtLeastOnce);
        }
        assert_eq!(bench.recv_all(client).len(), 3);
        assert_eq!(bench.broker.stats().queued, 2);
    }
}

#[test]
fn packet_identifiers_wrap_around_those_in_use() {
    // [MQTT-2.2.1-4], [MQTT-4.3.2-1], [MQTT-4.3.3-1]; [3.1.1: MQTT-2.3.1-4]
    let mut bench = Bench::new();
    let client = bench.v5("s");
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    let next = |bench: &mut Bench| {
        bench.inject("a", "x", QoS::AtLeastOnce);
        id_of(&bench.recv_publish(client))
    };
    let held: Vec<u16> = (0..3).map(|_| next(&mut bench)).collect();
    assert_eq!(held, [1, 2, 3]);
    for expected in 4..=u16::MAX {
        let id = next(&mut bench);
        assert_eq!(id, expected);
        if id != 5 {
            bench.send(client, Packet::PubAck(ack(id)));
        }
    }
    let round: Vec<u16> = (0..3).map(|_| next(&mut bench)).collect();
    assert_eq!(round, [4, 6, 7]);
}

#[test]
fn a_frozen_socket_costs_qos_0_messages_and_nobody_else() {
    for expiry in [0, 100] {
        let mut bench = Bench::with(|config| config.connection.max_transmit_bytes = 10_000);
        let (frozen, other) = (bench.connect(persistent(Version::V5, "frozen", expiry)).0, bench.v3("other"));
        for client in [frozen, other] {
            bench.subscribe(client, "zero", QoS::AtMostOnce);
            bench.subscribe(client, "one", QoS::AtLeastOnce);
        }
        bench.set_window(frozen, Some(5));
        let payload = "x".repeat(1000);
        for _ in 0..100 {
            bench.inject("zero", &payload, QoS::AtMostOnce);
        }
        assert_eq!(bench.take(other).len(), 100);
        let waiting = bench.broker.transmit(frozen.0).len();
        assert!((10_000..11_100).contains(&waiting), "{waiting} bytes");
        let stats = bench.broker.stats();
        assert_eq!(stats.dropped_slow_receiver, 90);
        assert_eq!(dropped(&bench).len(), 90);
        assert_eq!(dropped(&bench)[0], ("frozen".into(), 1, DropReason::SlowReceiver));
        for _ in 0..50 {
            bench.inject("one", &payload, QoS::AtLeastOnce);
        }
        assert_eq!(bench.take(other).len(), 50);
        assert_eq!(bench.broker.stats().dropped_slow_receiver, 90, "QoS 1 waits");
        let waiting = bench.broker.transmit(frozen.0).len();
        assert!(waiting < 11_100, "{waiting} bytes");
        // In small steps, across all boundaries.
        let mut got = 0;
        while got < 60 {
            bench.set_window(frozen, Some(777));
            got += bench.take(frozen).len();
        }
        bench.set_window(frozen, None);
        assert_eq!(bench.take(frozen).len(), 0);
        assert_eq!(got, 60);
        assert_eq!(bench.levels(), (0, 0, 0));
        assert!(bench.broker.transmit(frozen.0).is_empty());
    }
}

#[test]
fn who_does_not_read_is_not_read() {
    let mut bench = Bench::with(|config| config.connection.max_transmit_bytes = 2000);
    let client = bench.v5("loud");
    bench.subscribe(client, "a", QoS::AtMostOnce);
    bench.set_window(client, Some(0));
    let payload = "x".repeat(500);
    for _ in 0..10 {
        bench.send(client, message("a", &payload, QoS::AtMostOnce));
    }
    assert!(!bench.broker.wants_read(client.0));
    let received = bench.broker.stats().publish_received;
    assert_eq!(received, 4, "the rest stays in the socket");
    bench.set_window(client, Some(100));
    assert_eq!(bench.broker.stats().publish_received, 5);
    assert!(!bench.broker.wants_read(client.0));
    bench.set_window(client, None);
    assert!(bench.broker.wants_read(client.0));
    assert_eq!(bench.take(client).len(), 10);
    assert_eq!(bench.broker.stats().dropped_slow_receiver, 0);
}

#[test]
fn a_queue_that_is_full_gives_up_its_oldest() {
    let payload = "x".repeat(100);
    let cost = {
        let mut bench = Bench::new();
        let client = bench.connect(persistent(Version::V5, "s", 100)).0;
        bench.subscribe(client, "a", QoS::AtLeastOnce);
        bench.inject("a", &payload, QoS::AtLeastOnce);
        bench.broker.stats().queued_bytes
    };
    assert!(cost > 100);
    for limit in 0..3 {
        let mut bench = Bench::with(|config| match limit {
            0 => config.session.max_queued_messages = 5,
            1 => config.session.max_queued_bytes = 5 * cost + 3,
            _ => config.max_queued_bytes = 5 * cost + 3,
        });
        let client = bench.connect(narrow("s", 1, 0)).0;
        bench.subscribe(client, "a", QoS::AtLeastOnce);
        for number in 100..120 {
            bench.inject("a", &format!("{number}{}", &payload[3..]), QoS::AtLeastOnce);
        }
        assert_eq!(bench.levels(), (5, 5 * cost, 1), "limit {limit}");
        assert_eq!(bench.broker.stats().dropped_queue_full, 14);
        let total: u64 = dropped(&bench)
            .iter()
            .map(|(receiver, count, reason)| {
                assert_eq!((receiver.as_str(), *reason), ("s", DropReason::QueueFull));
                *count
            })
            .sum();
        assert_eq!(total, 14);
        let got: Vec<String> = bench.take_texts(client).iter().map(|text| text[..3].to_owned()).collect();
        assert_eq!(got, ["100", "115", "116", "117", "118", "119"]);
        assert_eq!(bench.levels(), (0, 0, 0));
    }
}

#[test]
fn what_waits_for_a_connection_is_over_with_its_session() {
    let mut bench = Bench::new();
    let client = bench.connect(narrow("s", 1, 0)).0;
    bench.subscribe(client, "a", QoS::ExactlyOnce);
    for _ in 0..5 {
        bench.inject("a", "x", QoS::ExactlyOnce);
    }
    let (queued, bytes, inflight) = bench.levels();
    assert_eq!((queued, inflight), (4, 1));
    assert!(bytes > 0);
    bench.cut(client);
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn a_message_that_expires_while_it_waits_is_not_sent() {
    // [MQTT-3.3.2-5], [MQTT-4.3.3-7], [MQTT-4.3.3-13]: what was sent goes on
    let mut bench = Bench::new();
    let client = bench.connect(narrow("s", 1, 0)).0;
    let publisher = bench.v5("p");
    bench.subscribe(client, "a", QoS::ExactlyOnce);
    for (payload, seconds) in [("1", 5), ("2", 5), ("3", 100)] {
        let properties = properties([Property::MessageExpiryInterval(seconds)]);
        bench.send(publisher, Publish { properties, ..message("a", payload, QoS::AtLeastOnce) });
    }
    let properties = properties([Property::MessageExpiryInterval(5)]);
    assert_eq!(text(&bench.recv_publish(client)), "1");
    bench.sleep(Duration::from_secs(10));
    bench.send(client, Packet::PubAck(ack(1)));
    let third = bench.recv_publish(client);
    assert_eq!((text(&third), third.properties.message_expiry_interval()), ("3", Some(90)));
    assert_eq!(dropped(&bench), [("s".into(), 1, DropReason::Expired)]);
    bench.send(client, Packet::PubAck(ack(2)));
    // PUBREL comes though the message has expired meanwhile.
    bench.send(publisher, Publish { properties, ..message("a", "4", QoS::ExactlyOnce) });
    let id = id_of(&bench.recv_publish(client));
    bench.sleep(Duration::from_secs(10));
    bench.send(client, Packet::PubRec(ack(id)));
    assert_eq!(bench.recv(client), Some(Packet::PubRel(ack(id))));
    bench.send(client, Packet::PubComp(ack(id)));
    assert_eq!(bench.levels(), (0, 0, 0));
    assert_eq!(bench.broker.stats().dropped_expired, 1);
}

#[test]
fn sent_bytes_and_packets_are_counted() {
    let mut bench = Bench::new();
    let client = bench.v5("s");
    bench.subscribe(client, "a", QoS::AtMostOnce);
    bench.set_window(client, Some(0));
    bench.inject("a", "x", QoS::AtMostOnce);
    let before = bench.broker.stats();
    assert_eq!(before.publish_sent, 1);
    bench.set_window(client, Some(3));
    assert_eq!(bench.broker.stats().bytes_sent, before.bytes_sent + 3);
    bench.assert_silent(client);
    bench.set_window(client, None);
    assert_eq!(text(&bench.recv_publish(client)), "x");
}
