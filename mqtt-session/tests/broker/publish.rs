//! PUBLISH through the broker at each QoS (sections 3.3 and 4.3).
use crate::common::*;
use mqtt_session::proto::*;

#[test]
fn qos_0_reaches_matching_subscribers_of_every_version() {
    let mut bench = Bench::new();
    let publisher = bench.v5("publisher");
    let subscribers: Vec<Client> = [Version::V3_1, Version::V3_1_1, Version::V5]
        .into_iter()
        .map(|version| {
            let client = bench.connect(connect(version, version.protocol_name())).0;
            bench.subscribe(client, "mqtt/+", QoS::AtMostOnce);
            client
        })
        .collect();
    bench.publish(publisher, "mqtt/demo", "hello world!", QoS::AtMostOnce);
    bench.publish(publisher, "other/demo", "not for you", QoS::AtMostOnce);
    // `MQTT` at level 5 took over `MQTT` at level 4.
    assert!(bench.is_closed(subscribers[1]));
    for client in [subscribers[0], subscribers[2]] {
        let publish = bench.recv_publish(client);
        assert_eq!((publish.topic.as_deref(), text(&publish)), (Some("mqtt/demo"), "hello world!"));
        bench.assert_silent(client);
    }
}

#[test]
fn qos_1_is_acknowledged_on_both_sides() {
    // [MQTT-4.3.2-1], [MQTT-4.3.2-2], [MQTT-4.3.2-3], [MQTT-4.3.2-4], [MQTT-2.2.1-5]
    let mut bench = Bench::new();
    let (publisher, subscriber) = (bench.v3("p"), bench.v3("s"));
    bench.subscribe(subscriber, "a", QoS::AtLeastOnce);
    bench.publish(publisher, "a", "one", QoS::AtLeastOnce);
    let publish = bench.recv_publish(subscriber);
    assert_eq!(publish.delivery, Delivery::AtLeastOnce { id: pid(1), dup: false });
    assert_eq!(bench.broker.stats().inflight, 1);
    bench.send(subscriber, Packet::PubAck(ack(1)));
    assert_eq!(bench.broker.stats().inflight, 0);
}

#[test]
fn qos_2_flows_in_four_steps_on_both_sides() {
    // [MQTT-4.3.3-1], [MQTT-4.3.3-2], [MQTT-4.3.3-3], [MQTT-4.3.3-4], [MQTT-4.3.3-5], [MQTT-4.3.3-8], [MQTT-4.3.3-10],
    // [MQTT-4.3.3-11], [MQTT-3.3.4-1]
    let mut bench = Bench::new();
    let (publisher, subscriber) = (bench.v5("p"), bench.v5("s"));
    bench.subscribe(subscriber, "a", QoS::ExactlyOnce);
    let again = message("a", "one", QoS::ExactlyOnce);
    bench.send(publisher, again.clone());
    bench.send(publisher, again);
    assert_eq!(bench.recv_all(publisher).len(), 2, "PUBREC for each [MQTT-4.3.3-10]");
    bench.send(publisher, Packet::PubRel(ack(10)));
    assert_eq!(bench.recv(publisher), Some(Packet::PubComp(ack(10))));
    let publish = bench.recv_publish(subscriber);
    assert_eq!(publish.delivery, Delivery::ExactlyOnce { id: pid(1), dup: false });
    bench.assert_silent(subscriber);
    bench.send(subscriber, Packet::PubRec(ack(1)));
    assert_eq!(bench.recv(subscriber), Some(Packet::PubRel(ack(1))));
    bench.send(subscriber, Packet::PubComp(ack(1)));
    assert_eq!(bench.broker.stats().inflight, 0);
}

#[test]
fn offline_messages_wait_in_order_for_a_durable_session() {
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    for version in [Version::V3_1_1, Version::V5] {
        let (subscriber, _) = bench.connect(persistent(version, "s", 3600));
        bench.subscribe(subscriber, "a/#", QoS::AtLeastOnce);
        bench.subscribe(subscriber, "+/b", QoS::ExactlyOnce);
        bench.cut(subscriber);
        for payload in ["1", "2", "3"] {
            bench.publish(publisher, "a/b", payload, QoS::ExactlyOnce);
        }
        bench.publish(publisher, "a/c", "4", QoS::AtLeastOnce);
        let (subscriber, connack) = bench.connect(persistent(version, "s", 3600));
        assert!(connack.session_present);
        for (id, payload) in (1..).zip(["1", "2", "3", "4"]) {
            let publish = bench.recv_publish(subscriber);
            assert_eq!(text(&publish), payload);
            if payload == "4" {
                assert_eq!(publish.delivery, Delivery::AtLeastOnce { id: pid(id), dup: false });
                bench.send(subscriber, Packet::PubAck(ack(id)));
            } else {
                assert_eq!(publish.delivery, Delivery::ExactlyOnce { id: pid(id), dup: false });
            }
        }
        bench.assert_silent(subscriber);
        for id in 1..4 {
            bench.send(subscriber, Packet::PubRec(ack(id)));
            assert_eq!(bench.recv(subscriber), Some(Packet::PubRel(ack(id))));
            bench.send(subscriber, Packet::PubComp(ack(id)));
        }
        let stats = bench.broker.stats();
        assert_eq!((stats.queued, stats.queued_bytes, stats.inflight), (0, 0, 0));
        bench.cut(subscriber);
        bench.connect(connect(version, "s")); // the clean start ends the session
    }
}

#[test]
fn qos_is_the_lesser_of_publication_and_subscription() {
    // [MQTT-3.8.4-8], [MQTT-3.3.2-3], [MQTT-4.3.1-1]; [3.1.1: MQTT-3.8.4-6]
    const ALL: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    for version in VERSIONS {
        for expiry in [0, 3600] {
            let mut bench = Bench::new();
            let publisher = bench.v5("p");
            for granted in ALL {
                let begin = match expiry {
                    0 => connect(version, "s"),
                    expiry => persistent(version, "s", expiry),
                };
                let subscriber = bench.connect(begin).0;
                bench.subscribe(subscriber, "a", granted);
                for published in ALL {
                    bench.publish(publisher, "a", "x", published);
                    bench.publish(publisher, "b", "x", published);
                    let got = bench.take(subscriber);
                    assert_eq!(got.len(), 1, "{version:?} {granted:?} {published:?}");
                    assert_eq!(got[0].delivery.qos(), published.min(granted), "{version:?} {granted:?} {published:?}");
                    assert!(!got[0].delivery.dup(), "[MQTT-3.3.1-2]");
                }
            }
            assert_eq!(bench.levels(), (0, 0, 0));
        }
    }
}

#[test]
fn dup_of_the_publisher_is_not_passed_on() {
    // [MQTT-3.3.1-3]
    let mut bench = Bench::new();
    let (publisher, subscriber) = (bench.v5("p"), bench.v5("s"));
    bench.subscribe(subscriber, "a", QoS::ExactlyOnce);
    for delivery in [Delivery::AtLeastOnce { id: pid(3), dup: true }, Delivery::ExactlyOnce { id: pid(4), dup: true }] {
        bench.send(publisher, Publish { delivery, ..message("a", "again", QoS::AtMostOnce) });
        assert!(!bench.recv_publish(subscriber).delivery.dup());
    }
}

#[test]
fn after_puback_the_identifier_names_a_new_message() {
    // [MQTT-4.3.2-5], [MQTT-4.3.3-12]
    for version in VERSIONS {
        let mut bench = Bench::new();
        let publisher = bench.connect(connect(version, "p")).0;
        let subscriber = bench.v5("s");
        bench.subscribe(subscriber, "a", QoS::AtMostOnce);
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            bench.publish(publisher, "a", "same", qos);
            let dup = match qos {
                QoS::AtLeastOnce => Delivery::AtLeastOnce { id: pid(10), dup: true },
                _ => Delivery::ExactlyOnce { id: pid(10), dup: true },
            };
            bench.send(publisher, Publish { delivery: dup, ..message("a", "same", qos) });
            assert_eq!(bench.take_texts(subscriber), ["same", "same"], "{version:?} {qos:?}");
            bench.recv_all(publisher);
            bench.send(publisher, Packet::PubRel(ack(10)));
            bench.recv_all(publisher);
        }
    }
}

#[test]
fn a_qos_2_message_is_taken_once_however_often_it_comes() {
    // [MQTT-4.3.3-10]: even over several connections of a session that lasts
    for version in VERSIONS {
        let mut bench = Bench::new();
        let subscriber = bench.v5("s");
        bench.subscribe(subscriber, "a", QoS::ExactlyOnce);
        let first = message("a", "once", QoS::ExactlyOnce);
        let again = Publish { delivery: Delivery::ExactlyOnce { id: pid(10), dup: true }, ..first.clone() };
        let mut publisher = bench.connect(persistent(version, "p", 100)).0;
        bench.send(publisher, first);
        for _ in 0..3 {
            bench.cut(publisher);
            publisher = bench.connect(persistent(version, "p", 100)).0;
            bench.send(publisher, again.clone());
            assert!(matches!(bench.recv(publisher), Some(Packet::PubRec(ack)) if ack.id == pid(10)));
        }
        for _ in 0..2 {
            bench.send(publisher, Packet::PubRel(ack(10)));
            assert!(matches!(bench.recv(publisher), Some(Packet::PubComp(ack)) if ack.id == pid(10)));
        }
        assert_eq!(bench.take_texts(subscriber), ["once"]);
    }
}

#[test]
fn pubrel_for_an_unknown_identifier_is_answered() {
    // [MQTT-4.3.3-11], [MQTT-3.7.2-1]
    let mut bench = Bench::new();
    for version in VERSIONS {
        let client = bench.connect(connect(version, "c")).0;
        bench.send(client, Packet::PubRel(ack(9)));
        let reason = if version.is_v5() { ReasonCode::PacketIdentifierNotFound } else { ReasonCode::Success };
        assert_eq!(bench.recv(client), Some(Packet::PubComp(Ack { reason, ..ack(9) })));
    }
}

#[test]
fn acknowledgments_that_name_nothing_are_harmless() {
    // [MQTT-3.6.2-1]
    let mut bench = Bench::new();
    for version in VERSIONS {
        let client = bench.connect(connect(version, "c")).0;
        bench.send(client, Packet::PubAck(ack(9)));
        bench.send(client, Packet::PubComp(ack(9)));
        bench.assert_silent(client);
        bench.send(client, Packet::PubRec(ack(9)));
        let reason = if version.is_v5() { ReasonCode::PacketIdentifierNotFound } else { ReasonCode::Success };
        assert_eq!(bench.recv(client), Some(Packet::PubRel(Ack { reason, ..ack(9) })));
        if version.is_v5() {
            bench.send(client, Packet::PubRec(Ack { reason: ReasonCode::UnspecifiedError, ..ack(9) }));
            bench.assert_silent(client);
        }
        assert!(!bench.is_closed(client));
    }
}

#[test]
fn acknowledgments_that_do_not_fit_end_the_connection() {
    // [MQTT-4.13.1-1]
    type Wrong = fn(Ack) -> Packet;
    let refused = |id| Ack { reason: ReasonCode::QuotaExceeded, ..ack(id) };
    for version in VERSIONS {
        let all: [(QoS, Wrong); 4] = [
            (QoS::AtLeastOnce, Packet::PubRec),
            (QoS::AtLeastOnce, Packet::PubComp),
            (QoS::ExactlyOnce, Packet::PubAck),
            (QoS::ExactlyOnce, Packet::PubComp), // before PUBREC
        ];
        for (qos, wrong) in all {
            for wrong in [wrong(ack(1)), wrong(refused(1))] {
                if matches!(&wrong, Packet::PubComp(ack) if ack.reason.is_error())
                    || !version.is_v5()
                        && matches!(&wrong, Packet::PubRec(ack) | Packet::PubAck(ack) if ack.reason.is_error())
                {
                    continue; // cannot be said
                }
                let mut bench = Bench::new();
                let client = bench.connect(persistent(version, "s", 100)).0;
                bench.subscribe(client, "a", qos);
                bench.inject("a", "x", qos);
                assert_eq!(bench.recv_publish(client).delivery.qos(), qos);
                bench.send(client, wrong);
                assert!(bench.is_closed(client), "{version:?} {qos:?}");
                assert_eq!(bench.broker.stats().inflight, 1, "the message stays unacknowledged");
            }
        }
        // PUBACK for a QoS 2 message that is released
        let mut bench = Bench::new();
        let client = bench.connect(persistent(version, "s", 100)).0;
        bench.subscribe(client, "a", QoS::ExactlyOnce);
        bench.inject("a", "x", QoS::ExactlyOnce);
        bench.recv_publish(client);
        bench.send(client, Packet::PubRec(ack(1)));
        bench.send(client, Packet::PubAck(ack(1)));
        assert!(bench.is_closed(client));
    }
}

#[test]
fn a_second_pubrec_gets_a_second_pubrel() {
    // [MQTT-4.3.3-4], [MQTT-4.3.3-5]
    let mut bench = Bench::new();
    let client = bench.v5("s");
    bench.subscribe(client, "a", QoS::ExactlyOnce);
    bench.inject("a", "x", QoS::ExactlyOnce);
    bench.recv_publish(client);
    for _ in 0..2 {
        bench.send(client, Packet::PubRec(ack(1)));
        assert_eq!(bench.recv(client), Some(Packet::PubRel(ack(1))));
    }
    bench.send(client, Packet::PubComp(ack(1)));
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn a_refused_message_is_not_sent_again() {
    // [MQTT-4.4.0-2]
    for (qos, answer) in [(QoS::AtLeastOnce, Packet::PubAck as fn(Ack) -> Packet), (QoS::ExactlyOnce, Packet::PubRec)] {
        let mut bench = Bench::new();
        let client = bench.connect(persistent(Version::V5, "s", 100)).0;
        bench.subscribe(client, "a", qos);
        bench.inject("a", "x", qos);
        bench.recv_publish(client);
        bench.send(client, answer(Ack { reason: ReasonCode::NotAuthorized, ..ack(1) }));
        bench.assert_silent(client);
        assert_eq!(bench.levels(), (0, 0, 0));
        bench.cut(client);
        let client = bench.connect(persistent(Version::V5, "s", 100)).0;
        bench.assert_silent(client);
    }
}

#[test]
fn what_is_on_its_way_is_sent_again_in_its_order_with_dup() {
    // [MQTT-4.4.0-1], [MQTT-3.3.1-1], [MQTT-4.6.0-1], [MQTT-4.3.3-6]; [3.1.1: MQTT-4.4.0-1]
    for version in VERSIONS {
        let mut bench = Bench::new();
        let client = bench.connect(persistent(version, "s", 100)).0;
        bench.subscribe(client, "a", QoS::ExactlyOnce);
        for (payload, qos) in
            [("1", QoS::ExactlyOnce), ("2", QoS::AtLeastOnce), ("3", QoS::ExactlyOnce), ("4", QoS::AtLeastOnce)]
        {
            bench.inject("a", payload, qos);
        }
        assert_eq!(bench.recv_all(client).len(), 4);
        bench.send(client, Packet::PubRec(ack(1)));
        bench.send(client, Packet::PubAck(ack(2)));
        bench.sleep(std::time::Duration::from_secs(50));
        assert_eq!(bench.recv_all(client), [Packet::PubRel(ack(1))], "nothing is sent again without a reconnect");
        for _ in 0..2 {
            bench.cut(client);
            let client = bench.connect(persistent(version, "s", 100)).0;
            let got = bench.recv_all(client);
            assert_eq!(got.len(), 3);
            assert_eq!(got[0], Packet::PubRel(ack(1)));
            for (packet, (payload, delivery)) in got[1..].iter().zip([
                ("3", Delivery::ExactlyOnce { id: pid(3), dup: true }),
                ("4", Delivery::AtLeastOnce { id: pid(4), dup: true }),
            ]) {
                let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
                assert_eq!((text(publish), publish.delivery), (payload, delivery));
            }
        }
        let client = bench.connect(persistent(version, "s", 100)).0; // takes over
        assert_eq!(bench.take_texts(client), ["3", "4"]);
        assert_eq!(bench.levels(), (0, 0, 0));
    }
}

#[test]
fn no_matching_subscribers_is_said_in_5_0_alone() {
    // [MQTT-3.4.2-1], [MQTT-3.5.2-1]; [3.1.1: MQTT-3.3.5-2]
    let mut bench = Bench::new();
    let (new, old) = (bench.v5("new"), bench.v3("old"));
    bench.send(new, message("nobody", "x", QoS::AtLeastOnce));
    let none = Ack { reason: ReasonCode::NoMatchingSubscribers, ..ack(10) };
    assert_eq!(bench.recv(new), Some(Packet::PubAck(none.clone())));
    bench.send(new, message("nobody", "x", QoS::ExactlyOnce));
    assert_eq!(bench.recv(new), Some(Packet::PubRec(none)));
    bench.send(new, Packet::PubRel(ack(10)));
    assert_eq!(bench.recv(new), Some(Packet::PubComp(ack(10))));
    bench.publish(old, "nobody", "x", QoS::ExactlyOnce);
    bench.subscribe(old, "nobody", QoS::AtMostOnce);
    bench.send(new, message("nobody", "x", QoS::AtLeastOnce));
    assert_eq!(bench.recv(new), Some(Packet::PubAck(ack(10))));
}

#[test]
fn overlapping_subscriptions_deliver_once() {
    // [MQTT-3.3.4-2], [MQTT-3.3.4-3], [MQTT-3.3.4-4]; [3.1.1: MQTT-3.3.5-1]
    for version in VERSIONS {
        for begin in [connect(version, "s"), persistent(version, "s", 100)] {
            let mut bench = Bench::new();
            let client = bench.connect(begin).0;
            let filters = [
                ("a/b", QoS::AtMostOnce, 1),
                ("a/+", QoS::ExactlyOnce, 2),
                ("a/#", QoS::AtLeastOnce, 0),
                ("#", QoS::AtMostOnce, 268_435_455),
                ("+/b", QoS::AtLeastOnce, 7),
            ];
            for (filter, qos, id) in filters {
                if version.is_v5() && id > 0 {
                    bench.subscribe_with(client, filter, qos, id);
                } else {
                    bench.subscribe(client, filter, qos);
                }
            }
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                bench.inject("a/b", "x", qos);
                let got = bench.take(client);
                assert_eq!(got.len(), 1, "{version:?}");
                assert_eq!(got[0].delivery.qos(), qos);
                let expected: &[u32] = if version.is_v5() { &[1, 2, 7, 268_435_455] } else { &[] };
                assert_eq!(identifiers(&got[0]), expected);
                bench.inject("a/c", "x", qos);
                let got = bench.take(client);
                let expected: &[u32] = if version.is_v5() { &[2, 268_435_455] } else { &[] };
                assert_eq!(identifiers(&got[0]), expected);
            }
            assert_eq!(bench.levels(), (0, 0, 0));
        }
    }
}

#[test]
fn order_is_kept_for_each_topic_and_qos() {
    // [MQTT-4.6.0-5], [MQTT-4.6.0-6], [MQTT-4.6.0-2], [MQTT-4.6.0-3]
    for (version, expiry) in [(Version::V3_1_1, 0), (Version::V5, 0), (Version::V5, 100)] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut bench = Bench::new();
            let subscriber = bench.connect(persistent(version, "s", expiry)).0;
            bench.subscribe(subscriber, "#", QoS::ExactlyOnce);
            let publisher = bench.v5("p");
            let mut acks = Vec::new();
            for number in 1..=300_u16 {
                let delivery = match qos {
                    QoS::AtMostOnce => Delivery::AtMostOnce,
                    QoS::AtLeastOnce => Delivery::AtLeastOnce { id: pid(number), dup: false },
                    QoS::ExactlyOnce => Delivery::ExactlyOnce { id: pid(number), dup: false },
                };
                let topic = if number % 3 == 0 { "a" } else { "b" };
                bench.send(publisher, Publish { delivery, ..message(topic, &number.to_string(), qos) });
                acks.extend(delivery.id());
            }
            let got: Vec<PacketId> = bench
                .recv_all(publisher)
                .into_iter()
                .map(|packet| match packet {
                    Packet::PubAck(ack) | Packet::PubRec(ack) => ack.id,
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(got, acks);
            let expected: Vec<String> = (1..=300).map(|number: u16| number.to_string()).collect();
            assert_eq!(bench.take_texts(subscriber), expected);
        }
    }
}

#[test]
fn empty_and_large_payloads_pass() {
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    let subscribers: Vec<Client> = VERSIONS
        .into_iter()
        .enumerate()
        .map(|(index, version)| {
            let client = bench.connect(connect(version, &format!("s{index}"))).0;
            bench.subscribe(client, "big", QoS::AtLeastOnce);
            client
        })
        .collect();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for size in [0, 1, 127, 128, 1023, 1024, 16_383, 70_000, 3_000_000] {
            let payload = "x".repeat(size);
            bench.publish(publisher, "big", &payload, qos);
            for client in &subscribers {
                assert!(bench.take_texts(*client) == [payload.as_str()], "{size} bytes");
            }
        }
    }
}

#[test]
fn topic_names_are_taken_as_they_are() {
    // [MQTT-4.7.3-4], [MQTT-4.7.3-1], [MQTT-4.7.2-1]
    let mut bench = Bench::new();
    let client = bench.v3("s");
    bench.subscribe(client, "/", QoS::AtMostOnce);
    bench.subscribe(client, "Caf\u{e9}", QoS::AtMostOnce);
    bench.subscribe(client, "+/monitor", QoS::AtMostOnce);
    for topic in ["/", "caf\u{e9}", "Cafe\u{301}", "Caf\u{e9}", "//", "$X/monitor", "/monitor"] {
        bench.inject(topic, topic, QoS::AtMostOnce);
    }
    assert_eq!(bench.take_texts(client), ["/", "Caf\u{e9}", "/monitor"]);
}

#[test]
fn topics_beyond_the_limits_are_refused() {
    // [3.1.1: MQTT-3.3.5-2]
    let limits = |config: &mut mqtt_session::broker::Config| {
        config.connection.max_topic_levels = 3;
        config.connection.max_topic_bytes = 10;
    };
    let mut bench = Bench::with(limits);
    let (new, old) = (bench.v5("new"), bench.v3("old"));
    let inside = bench.broker.subscribe(bench.now, &filter("#"), QoS::AtMostOnce.into());
    assert!(inside.is_some());
    for topic in ["a/b/c/d", "01234567890"] {
        bench.send(new, message(topic, "x", QoS::AtLeastOnce));
        let invalid = Ack { reason: ReasonCode::TopicNameInvalid, ..ack(10) };
        assert_eq!(bench.recv(new), Some(Packet::PubAck(invalid.clone())));
        bench.send(new, message(topic, "x", QoS::ExactlyOnce));
        assert_eq!(bench.recv(new), Some(Packet::PubRec(invalid)));
        bench.publish(new, topic, "x", QoS::AtMostOnce);
        bench.publish(old, topic, "x", QoS::ExactlyOnce);
    }
    assert!(bench.messages.is_empty());
    bench.publish(new, "a/b/c", "x", QoS::ExactlyOnce);
    bench.publish(new, "0123456789", "x", QoS::ExactlyOnce);
    assert_eq!(bench.messages.len(), 2, "[MQTT-4.3.3-9]: a refused identifier names a new message");
}

#[test]
fn what_the_server_does_not_offer_ends_the_connection() {
    // [MQTT-3.2.2-11], [MQTT-3.2.2-14]
    let mut bench = Bench::with(|config| {
        config.features.maximum_qos = QoS::AtLeastOnce;
        config.features.retain = false;
    });
    let retained = |qos| Publish { retain: true, ..message("a", "x", qos) };
    for (publish, reason) in [
        (message("a", "x", QoS::ExactlyOnce), ReasonCode::QoSNotSupported),
        (retained(QoS::AtMostOnce), ReasonCode::RetainNotSupported),
        (retained(QoS::AtLeastOnce), ReasonCode::RetainNotSupported),
    ] {
        let (new, old) = (bench.v5("new"), bench.v3("old"));
        bench.send(new, publish.clone());
        assert_eq!(bench.disconnect_reason(new), Some(reason));
        bench.send(old, publish);
        assert_eq!(bench.disconnect_reason(old), None);
    }
    assert_eq!(bench.broker.stats().retained, 0);
}

#[test]
fn subscription_identifiers_from_a_client_are_a_protocol_error() {
    // [MQTT-3.3.4-6]
    let mut bench = Bench::new();
    let client = bench.v5("c");
    let properties = properties([Property::SubscriptionIdentifier(1)]);
    bench.send(client, Publish { properties, ..message("a", "x", QoS::AtMostOnce) });
    assert_eq!(bench.disconnect_reason(client), Some(ReasonCode::ProtocolError));
}
