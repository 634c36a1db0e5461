//! Sessions that last: logs, cursors and what happens to them (sections 4.1, 4.4 and 4.5).
use crate::common::*;
use mqtt_session::broker::{DropReason, StoreOp};
use mqtt_session::proto::*;
use std::time::Duration;

const ONE: QoS = QoS::AtLeastOnce;

/// A connected session that lasts, with one subscription.
fn durable(bench: &mut Bench, id: &str, filter: &str, options: impl Into<SubscriptionOptions>) -> Client {
    let client = bench.connect(persistent(Version::V5, id, 1000)).0;
    bench.subscribe(client, filter, options);
    client
}

fn back(bench: &mut Bench, id: &str) -> Client {
    let (client, connack) = bench.connect(persistent(Version::V5, id, 1000));
    assert!(connack.session_present);
    client
}

#[test]
fn an_offline_session_gets_everything_in_order() {
    // [MQTT-4.5.0-1], [MQTT-4.6.0-5]; [3.1.1: MQTT-3.1.2-5]
    for version in VERSIONS {
        for qos in [ONE, QoS::ExactlyOnce] {
            let mut bench = Bench::new();
            let client = bench.connect(persistent(version, "s", 1000)).0;
            bench.subscribe(client, "a/#", qos);
            bench.cut(client);
            for number in 0..1200 {
                bench.inject(if number % 2 == 0 { "a/even" } else { "a/odd" }, &number.to_string(), qos);
            }
            let client = bench.connect(persistent(version, "s", 1000)).0;
            assert_eq!(bench.take_texts(client), numbers(0..1200));
            assert_eq!(bench.levels(), (0, 0, 0));
        }
    }
}

#[test]
fn a_message_costs_one_entry_however_many_wait_for_it() {
    let mut bench = Bench::new();
    for number in 0..500 {
        let client = durable(&mut bench, &number.to_string(), "all/#", ONE);
        bench.cut(client);
    }
    for number in 0..10 {
        bench.inject("all/x", &number.to_string(), ONE);
    }
    assert_eq!(bench.broker.stats().queued, 10);
    let appends = |bench: &Bench| {
        bench.batches.iter().flat_map(|batch| &batch.ops).filter(|op| matches!(op, StoreOp::Append(..))).count()
    };
    assert_eq!(appends(&bench), 10);
    for number in 0..500 {
        assert_eq!(bench.broker.stats().queued, 10, "held by the slowest");
        let client = back(&mut bench, &number.to_string());
        assert_eq!(bench.take_texts(client), numbers(0..10));
    }
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn overlapping_logs_deliver_once_with_all_identifiers() {
    // [MQTT-3.3.4-2], [MQTT-3.3.4-4]
    let mut bench = Bench::new();
    let client = bench.connect(persistent(Version::V5, "s", 1000)).0;
    bench.subscribe_with(client, "a/b", ONE, 1);
    bench.subscribe_with(client, "a/+", QoS::ExactlyOnce, 2);
    bench.subscribe_with(client, "#", QoS::AtMostOnce, 3);
    bench.subscribe(client, "a/#", ONE);
    bench.cut(client);
    for number in 0..20 {
        bench.inject(["a/b", "a/c", "a/b/c", "d"][number % 4], &number.to_string(), QoS::ExactlyOnce);
    }
    assert_eq!(bench.broker.stats().queued, 5 * (3 + 2 + 1), "one entry for each log that matches");
    let client = back(&mut bench, "s");
    let got = bench.take(client);
    let expected: Vec<(String, QoS, Vec<u32>)> = (0..20)
        .filter(|number| number % 4 != 3)
        .map(|number: u32| {
            let (qos, ids) = match number % 4 {
                0 => (QoS::ExactlyOnce, vec![1, 2, 3]),
                1 => (QoS::ExactlyOnce, vec![2, 3]),
                _ => (ONE, vec![3]),
            };
            (number.to_string(), qos, ids)
        })
        .collect();
    let got: Vec<(String, QoS, Vec<u32>)> =
        got.iter().map(|publish| (text(publish).to_owned(), publish.delivery.qos(), identifiers(publish))).collect();
    assert_eq!(got, expected);
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn a_qos_0_subscription_beside_a_logged_one_keeps_its_options() {
    // [MQTT-3.8.3-3], [MQTT-3.3.1-13]
    let mut bench = Bench::new();
    let client = bench.connect(persistent(Version::V5, "s", 1000)).0;
    let deaf = SubscriptionOptions { no_local: true, ..ONE.into() };
    bench.subscribe_with(client, "a", deaf, 1);
    bench.subscribe_with(client, "+", QoS::AtMostOnce, 2);
    bench.publish_to_itself(client, "a", "own");
    let got = bench.take(client);
    assert_eq!(got.len(), 1);
    assert_eq!((got[0].delivery.qos(), identifiers(&got[0])), (QoS::AtMostOnce, vec![2]));
    // The other way round.
    let keep = SubscriptionOptions { no_local: true, retain_as_published: true, ..QoS::AtMostOnce.into() };
    bench.subscribe_with(client, "a", ONE, 1);
    bench.subscribe_with(client, "+", keep, 2);
    bench.publish_to_itself(client, "a", "own");
    let got = bench.take(client);
    assert_eq!((got.len(), got[0].delivery.qos(), identifiers(&got[0])), (1, ONE, vec![1]));
    let publisher = bench.v5("p");
    bench.send(publisher, Publish { retain: true, ..message("a", "kept", ONE) });
    let got = bench.take(client);
    assert_eq!((got.len(), got[0].retain, identifiers(&got[0])), (1, true, vec![1, 2]));
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn qos_0_waits_only_when_told_to() {
    for queue_qos0 in [false, true] {
        let mut bench = Bench::with(|config| config.session.queue_qos0 = queue_qos0);
        let client = durable(&mut bench, "s", "a", ONE);
        bench.subscribe(client, "b", QoS::AtMostOnce);
        bench.inject("a", "online", QoS::AtMostOnce);
        bench.inject("b", "online", QoS::AtMostOnce);
        assert_eq!(bench.take_texts(client), ["online", "online"]);
        bench.cut(client);
        bench.inject("a", "0", QoS::AtMostOnce);
        bench.inject("a", "1", ONE);
        bench.inject("b", "2", ONE);
        let client = back(&mut bench, "s");
        let got = bench.take(client);
        let expected: &[&str] = if queue_qos0 { &["0", "1"] } else { &["1"] };
        assert_eq!(got.iter().map(text).collect::<Vec<_>>(), expected);
        if queue_qos0 {
            assert_eq!(got[0].delivery, Delivery::AtMostOnce);
        }
        assert_eq!(bench.levels(), (0, 0, 0));
    }
}

#[test]
fn queued_qos_0_does_not_wait_for_the_window() {
    // [MQTT-4.9.0-2] limits QoS 1 and 2 alone.
    let mut bench = Bench::with(|config| {
        config.session.queue_qos0 = true;
        config.connection.max_inflight = 1;
    });
    let client = durable(&mut bench, "s", "a", ONE);
    bench.inject("a", "1", ONE);
    bench.inject("a", "0", QoS::AtMostOnce);
    assert_eq!(text(&bench.recv_publish(client)), "1");
    bench.send(client, Packet::PubAck(ack(1)));
    assert_eq!(bench.take_texts(client), ["0"]);
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn a_full_log_leaves_the_slow_behind_and_tells() {
    let mut bench = Bench::with(|config| config.session.max_queued_messages = 10);
    let fast = durable(&mut bench, "fast", "a", ONE);
    let slow = durable(&mut bench, "slow", "a", ONE);
    for number in 0..3 {
        bench.inject("a", &number.to_string(), ONE);
        bench.take(fast);
    }
    // Three are on their way to `slow`; they are its own whatever becomes of the log.
    bench.cut(slow);
    for number in 3..30 {
        bench.inject("a", &number.to_string(), ONE);
        assert_eq!(bench.take_texts(fast), [number.to_string()]);
        assert!(bench.broker.stats().queued <= 10);
    }
    assert_eq!(bench.broker.stats().dropped_queue_full, 0, "the session has not noticed yet");
    assert_eq!((bench.broker.stats().trimmed_log_full, losses(&bench, "a", DropReason::LogFull)), (20, 20));
    let slow = back(&mut bench, "slow");
    let expected: Vec<String> = (0..3).chain(20..30).map(|number: u32| number.to_string()).collect();
    assert_eq!(bench.take_texts(slow), expected);
    assert_eq!(losses(&bench, "slow", DropReason::QueueFull), 17);
    assert_eq!(losses(&bench, "fast", DropReason::QueueFull), 0);
    assert_eq!(bench.broker.stats().dropped_queue_full, 17);
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn bytes_limit_logs_too() {
    for global in [false, true] {
        let mut bench = Bench::with(|config| {
            *(if global { &mut config.max_queued_bytes } else { &mut config.session.max_queued_bytes }) = 10_000;
        });
        let client = durable(&mut bench, "s", "a", ONE);
        bench.cut(client);
        let payload = "x".repeat(1000);
        for number in 10..30 {
            bench.inject("a", &format!("{number}{payload}"), ONE);
            assert!(bench.broker.stats().queued_bytes <= 10_000);
        }
        let waiting = bench.broker.stats().queued;
        assert!((7..10).contains(&waiting), "{waiting}");
        let client = back(&mut bench, "s");
        let got: Vec<String> = bench.take_texts(client).iter().map(|text| text[..2].to_owned()).collect();
        let first = 30 - u32::try_from(waiting).unwrap();
        assert_eq!(got, numbers(first..30));
        assert_eq!(losses(&bench, "s", DropReason::QueueFull), 20 - waiting);
    }
}

#[test]
fn the_slowest_session_holds_the_log_until_it_ends() {
    let mut bench = Bench::new();
    let ends: [fn(&mut Bench, Client); 4] = [
        |bench, client| {
            bench.take(client);
        },
        |bench, client| {
            bench.recv_all(client);
            assert_eq!(bench.unsubscribe(client, &["a"]), [ReasonCode::Success]);
            bench.take_inflight(client);
        },
        |bench, client| {
            bench.cut(client);
            bench.sleep(Duration::from_secs(1000));
        },
        |bench, client| {
            bench.cut(client);
            bench.v5("slow");
        },
    ];
    for end in ends {
        let slow = durable(&mut bench, "slow", "a", ONE);
        let fast = durable(&mut bench, "fast", "a", ONE);
        for number in 0..10 {
            bench.inject("a", &number.to_string(), ONE);
        }
        assert_eq!(bench.take_texts(fast), numbers(0..10));
        assert_eq!(bench.broker.stats().queued, 10);
        end(&mut bench, slow);
        assert_eq!(bench.levels(), (0, 0, 0));
        bench.inject("a", "on", ONE);
        assert_eq!(bench.take_texts(fast), ["on"]);
        bench.v5("fast");
        bench.v5("slow");
        assert_eq!(bench.levels(), (0, 0, 0));
        assert_eq!(bench.broker.stats().subscriptions, 0);
    }
}

#[test]
fn acknowledgments_out_of_order_lose_nothing() {
    // [MQTT-4.4.0-1], [MQTT-4.3.2-3], [MQTT-4.3.3-3]
    let mut bench = Bench::new();
    let client = durable(&mut bench, "s", "a", ONE);
    for number in 0..6 {
        bench.inject("a", &number.to_string(), ONE);
    }
    assert_eq!(bench.recv_all(client).len(), 6);
    for id in [4, 2, 6] {
        bench.send(client, Packet::PubAck(ack(id)));
    }
    assert_eq!((bench.broker.stats().queued, bench.broker.stats().inflight), (6, 3));
    bench.cut(client);
    let client = back(&mut bench, "s");
    assert_eq!(bench.take_texts(client), ["0", "2", "4"]);
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn a_backlog_survives_many_reconnects() {
    // [MQTT-4.4.0-1], [MQTT-4.6.0-1]
    for (version, qos) in [(Version::V3_1_1, ONE), (Version::V5, ONE), (Version::V5, QoS::ExactlyOnce)] {
        let mut bench = Bench::with(|config| config.connection.max_inflight = 7);
        let client = bench.connect(persistent(version, "s", 1000)).0;
        bench.subscribe(client, "a", qos);
        bench.cut(client);
        for number in 0..100 {
            bench.inject("a", &number.to_string(), qos);
        }
        let mut seen = Vec::new();
        for round in 0.. {
            let client = bench.connect(persistent(version, "s", 1000)).0;
            // Acknowledges five, and leaves the rest unacknowledged.
            for _ in 0..5 {
                let Some(packet) = bench.recv(client) else { break };
                match packet {
                    Packet::Publish(publish) => {
                        assert_eq!(publish.delivery.dup(), round > 0, "{round}: {publish:?}");
                        seen.push(text(&publish).to_owned());
                        let id = id_of(&publish);
                        if qos == ONE {
                            bench.send(client, Packet::PubAck(ack(id)));
                        } else {
                            bench.send(client, Packet::PubRec(ack(id)));
                            bench.send(client, Packet::PubComp(ack(id)));
                        }
                    }
                    other => panic!("{other:?}"),
                }
                if qos == QoS::ExactlyOnce {
                    break;
                }
            }
            bench.cut(client);
            if seen.len() >= 90 {
                break;
            }
        }
        let client = bench.connect(persistent(version, "s", 1000)).0;
        let rest = bench.take_texts(client);
        seen.extend(rest);
        assert_eq!(seen, numbers(0..100));
        assert_eq!(bench.levels(), (0, 0, 0));
    }
}

#[test]
fn messages_that_expire_offline_are_skipped_and_counted() {
    // [MQTT-3.3.2-5], [MQTT-3.3.2-6]
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    let client = durable(&mut bench, "s", "a", ONE);
    bench.cut(client);
    for number in 0..10_u32 {
        let seconds = if number % 2 == 0 { 10 } else { 100 };
        let properties = properties([Property::MessageExpiryInterval(seconds)]);
        bench.send(publisher, Publish { properties, ..message("a", &number.to_string(), ONE) });
    }
    bench.sleep(Duration::from_secs(10));
    let client = back(&mut bench, "s");
    let got = bench.take(client);
    assert_eq!(got.iter().map(text).collect::<Vec<_>>(), ["1", "3", "5", "7", "9"]);
    assert!(got.iter().all(|publish| publish.properties.message_expiry_interval() == Some(90)));
    assert_eq!(losses(&bench, "s", DropReason::Expired), 5);
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn replacing_a_subscription_loses_nothing() {
    // [MQTT-3.8.4-3], [MQTT-3.8.4-4]; [3.1.1: MQTT-3.8.4-3]
    let mut bench = Bench::with(|config| config.connection.max_inflight = 2);
    let client = durable(&mut bench, "s", "a", ONE);
    for number in 0..6 {
        bench.inject("a", &number.to_string(), ONE);
    }
    let first = [text(&bench.recv_publish(client)).to_owned(), text(&bench.recv_publish(client)).to_owned()];
    assert_eq!(first, ["0", "1"]);
    bench.subscribe_with(client, "a", QoS::AtMostOnce, 9);
    bench.inject("a", "6", ONE);
    bench.inject("a", "7", QoS::AtMostOnce);
    for id in 1..=2 {
        bench.send(client, Packet::PubAck(ack(id)));
    }
    let mut got: Vec<String> = bench
        .take(client)
        .iter()
        .map(|publish| {
            assert_eq!((publish.delivery.qos(), identifiers(publish)), (QoS::AtMostOnce, vec![9]));
            text(publish).to_owned()
        })
        .collect();
    got.sort();
    assert_eq!(got, numbers(2..8));
    assert_eq!(bench.levels(), (0, 0, 0));
    // And back again.
    bench.subscribe_with(client, "a", QoS::ExactlyOnce, 10);
    bench.inject("a", "8", QoS::ExactlyOnce);
    let got = bench.take(client);
    assert_eq!((got.len(), got[0].delivery.qos(), identifiers(&got[0])), (1, QoS::ExactlyOnce, vec![10]));
    assert_eq!(bench.levels(), (0, 0, 0));
    assert_eq!(bench.unsubscribe(client, &["a"]), [ReasonCode::Success]);
    assert_eq!(bench.broker.stats().subscriptions, 0);
    bench.inject("a", "9", QoS::ExactlyOnce);
    assert_eq!(bench.levels(), (0, 0, 0));
    bench.assert_silent(client);
}

#[test]
fn from_qos_0_to_qos_1() {
    // [MQTT-3.8.4-3]
    let mut bench = Bench::new();
    let client = durable(&mut bench, "s", "a", QoS::AtMostOnce);
    bench.cut(client);
    bench.inject("a", "lost", ONE);
    let client = back(&mut bench, "s");
    bench.subscribe(client, "a", ONE);
    bench.cut(client);
    bench.inject("a", "kept", ONE);
    let client = back(&mut bench, "s");
    assert_eq!(bench.take_texts(client), ["kept"]);
    assert_eq!(bench.levels(), (0, 0, 0));
    assert_eq!(bench.broker.stats().subscriptions, 1);
}

#[test]
fn delivery_that_has_begun_is_completed_after_unsubscribe() {
    // [MQTT-3.10.4-3]
    let mut bench = Bench::new();
    let client = durable(&mut bench, "s", "a", QoS::ExactlyOnce);
    bench.inject("a", "1", ONE);
    bench.inject("a", "2", QoS::ExactlyOnce);
    assert_eq!(bench.recv_all(client).len(), 2);
    bench.unsubscribe(client, &["a"]);
    bench.inject("a", "3", ONE);
    bench.cut(client);
    let client = back(&mut bench, "s");
    assert_eq!(bench.take_texts(client), ["1", "2"]);
    assert_eq!(bench.levels(), (0, 0, 0));
    // A log of the same filter later knows nothing of what was before.
    bench.subscribe(client, "a", QoS::ExactlyOnce);
    bench.inject("a", "4", ONE);
    assert_eq!(bench.take_texts(client), ["4"]);
}

#[test]
fn a_session_that_ends_frees_its_log_for_another() {
    let mut bench = Bench::new();
    for round in 0..5 {
        let first = durable(&mut bench, "first", "a", ONE);
        let second = durable(&mut bench, "second", "b", ONE);
        for number in 0..round {
            bench.inject("a", &number.to_string(), ONE);
            bench.inject("b", &number.to_string(), ONE);
        }
        bench.cut(first);
        bench.v5("first"); // its log's key is free for the next
        let third = durable(&mut bench, "third", "c", ONE);
        bench.inject("c", "x", ONE);
        assert_eq!(bench.take_texts(third), ["x"]);
        assert_eq!(bench.take_texts(second), numbers(0..round));
        assert_eq!(bench.levels(), (0, 0, 0));
        bench.v5("second");
        bench.v5("third");
        assert_eq!(bench.broker.stats().subscriptions, 0);
    }
}

#[test]
fn online_sessions_read_the_same_log_at_their_own_pace() {
    let mut bench = Bench::new();
    let properties = properties([Property::ReceiveMaximum(1), Property::SessionExpiryInterval(1000)]);
    let slow = bench.connect(Connect { properties, ..persistent(Version::V5, "slow", 1000) }).0;
    bench.subscribe(slow, "a", ONE);
    let fast = durable(&mut bench, "fast", "a", ONE);
    for number in 0..10 {
        bench.inject("a", &number.to_string(), ONE);
    }
    assert_eq!(bench.take_texts(fast), numbers(0..10));
    assert_eq!((bench.broker.stats().queued, bench.broker.stats().inflight), (10, 1));
    assert_eq!(bench.take_texts(slow), numbers(0..10));
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn many_logs_are_read_in_the_order_of_arrival() {
    // [MQTT-4.6.0-5]
    let mut bench = Bench::new();
    let client = bench.connect(persistent(Version::V5, "s", 1000)).0;
    let count = 2000_u32;
    let filters = (0..count).map(|number| (filter(&format!("t/{number}")), ONE.into())).collect();
    bench.send(client, Subscribe { id: pid(1), filters, properties: Properties::new() });
    assert!(matches!(bench.recv(client), Some(Packet::SubAck(ack)) if ack.reasons.len() == count as usize));
    bench.cut(client);
    // Twice round, in an order that is not that of the filters.
    for number in 0..2 * count {
        bench.inject(&format!("t/{}", number * 7 % count), &number.to_string(), ONE);
    }
    let client = back(&mut bench, "s");
    assert_eq!(bench.take_texts(client), numbers(0..2 * count));
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn a_pushed_subscription_that_is_gone_adds_nothing() {
    // [MQTT-3.3.4-4], [MQTT-3.8.4-3]
    let mut bench = Bench::new();
    let client = bench.connect(persistent(Version::V5, "s", 1000)).0;
    bench.subscribe_with(client, "a", ONE, 1);
    for (qos, expected) in [
        (Some(QoS::AtMostOnce), vec![1, 2]),
        (None, vec![1]),
        (Some(ONE), vec![1, 2]),
        (Some(QoS::AtMostOnce), vec![1, 2]),
    ] {
        match qos {
            Some(qos) => bench.subscribe_with(client, "+", qos, 2),
            None => assert_eq!(bench.unsubscribe(client, &["+"]), [ReasonCode::Success]),
        }
        bench.inject("a", "x", ONE);
        let got = bench.take(client);
        assert_eq!((got.len(), identifiers(&got[0])), (1, expected), "{qos:?}");
    }
    assert_eq!(bench.levels(), (0, 0, 0));
}
