//! Retained messages (sections 3.3.1.3 and 3.8.3.1).
use crate::common::*;
use mqtt_session::broker::Message;
use mqtt_session::proto::*;
use std::collections::BTreeSet;
use std::time::Duration;

fn handling(retain_handling: RetainHandling) -> SubscriptionOptions {
    SubscriptionOptions { retain_handling, ..QoS::AtLeastOnce.into() }
}

fn retained(topic: &str, payload: &str, qos: QoS) -> Publish {
    Publish { retain: true, ..message(topic, payload, qos) }
}

#[test]
fn retain_handling_decides_what_a_subscription_gets() {
    // [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11], [MQTT-3.8.4-4]; [3.1.1: MQTT-3.3.1-6, MQTT-3.3.1-8]
    for expiry in [0, 100] {
        let mut bench = Bench::new();
        let publisher = bench.v5("p");
        bench.retain(publisher, "a", "kept");
        let cases =
            [(RetainHandling::Send, 1, 1), (RetainHandling::SendIfNew, 1, 0), (RetainHandling::DoNotSend, 0, 0)];
        for (retain_handling, first, second) in cases {
            let client = bench.connect(persistent(Version::V5, "s", expiry)).0;
            bench.unsubscribe(client, &["a"]);
            for expected in [first, second] {
                bench.subscribe(client, "a", handling(retain_handling));
                let got = bench.take(client);
                assert_eq!(got.len(), expected, "{retain_handling:?}");
                assert!(got.iter().all(|publish| publish.retain && text(publish) == "kept"));
            }
            // After UNSUBSCRIBE it is new again.
            bench.unsubscribe(client, &["a"]);
            bench.subscribe(client, "a", handling(retain_handling));
            assert_eq!(bench.take(client).len(), first);
        }
    }
    for version in [Version::V3_1, Version::V3_1_1] {
        let mut bench = Bench::new();
        let publisher = bench.v5("p");
        bench.retain(publisher, "a", "kept");
        let client = bench.connect(connect(version, "s")).0;
        for _ in 0..2 {
            bench.subscribe(client, "a", QoS::AtMostOnce);
            let got = bench.take(client);
            assert_eq!((got.len(), got[0].retain), (1, true));
        }
    }
}

#[test]
fn a_resumed_subscription_is_not_new() {
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    bench.retain(publisher, "a", "kept");
    let client = bench.connect(persistent(Version::V5, "s", 100)).0;
    bench.subscribe(client, "a", handling(RetainHandling::SendIfNew));
    assert_eq!(bench.take(client).len(), 1);
    bench.cut(client);
    let client = bench.connect(persistent(Version::V5, "s", 100)).0;
    bench.assert_silent(client);
    bench.subscribe(client, "a", handling(RetainHandling::SendIfNew));
    bench.assert_silent(client);
}

#[test]
fn live_messages_carry_retain_only_as_published() {
    // [MQTT-3.3.1-12], [MQTT-3.3.1-13]; [3.1.1: MQTT-3.3.1-9]
    for expiry in [0, 100] {
        for (version, keep) in [(Version::V3_1_1, false), (Version::V5, false), (Version::V5, true)] {
            let mut bench = Bench::new();
            let publisher = bench.v5("p");
            let client = bench.connect(persistent(version, "s", expiry)).0;
            let options = SubscriptionOptions { retain_as_published: keep, ..QoS::ExactlyOnce.into() };
            bench.subscribe(client, "a", options);
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                for retain in [false, true] {
                    bench.send(publisher, Publish { retain, ..message("a", "x", qos) });
                    bench.send(publisher, Packet::PubRel(ack(10)));
                    let got = bench.take(client);
                    assert_eq!((got.len(), got[0].retain), (1, retain && keep), "{version:?} {qos:?}");
                }
            }
            // One subscription of several that wants the flag is enough.
            if keep {
                bench.subscribe(client, "+", QoS::ExactlyOnce);
                bench.take(client);
                bench.send(publisher, retained("a", "x", QoS::AtMostOnce));
                bench.send(publisher, retained("a", "x", QoS::AtLeastOnce));
                assert!(bench.take(client).iter().all(|publish| publish.retain));
            }
        }
    }
}

#[test]
fn the_last_one_replaces_those_before() {
    // [MQTT-3.3.1-5], [MQTT-3.3.1-8]; [3.1.1: MQTT-3.3.1-5, MQTT-3.3.1-7, MQTT-3.3.1-12]
    let mut bench = Bench::new();
    let (publisher, old) = (bench.v5("p"), bench.v3("old"));
    for (index, qos) in [QoS::ExactlyOnce, QoS::AtMostOnce, QoS::AtLeastOnce].into_iter().enumerate() {
        let payload = index.to_string();
        let who = if index == 1 { old } else { publisher };
        bench.send(who, retained("a", &payload, qos));
        bench.recv_all(who);
        bench.inject("a", "not retained", QoS::AtLeastOnce);
        bench.inject("a", "", QoS::AtLeastOnce);
        assert_eq!(bench.broker.stats().retained, 1);
        let client = bench.v5("s");
        bench.subscribe(client, "a", QoS::ExactlyOnce);
        let got = bench.take(client);
        assert_eq!((got.len(), text(&got[0]), got[0].delivery.qos()), (1, payload.as_str(), qos));
        bench.subscribe(client, "a", QoS::AtMostOnce);
        assert_eq!(bench.take(client)[0].delivery, Delivery::AtMostOnce);
    }
}

#[test]
fn an_empty_payload_clears_and_is_passed_on() {
    // [MQTT-3.3.1-6], [MQTT-3.3.1-7]; [3.1.1: MQTT-3.3.1-10, MQTT-3.3.1-11]
    for version in VERSIONS {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut bench = Bench::new();
            let publisher = bench.connect(connect(version, "p")).0;
            let watcher = bench.v5("w");
            bench.subscribe(watcher, "#", QoS::AtMostOnce);
            bench.retain(publisher, "a", "kept");
            bench.retain(publisher, "b", "kept");
            for topic in ["a", "never"] {
                bench.send(publisher, retained(topic, "", qos));
                bench.send(publisher, Packet::PubRel(ack(10)));
            }
            let got = bench.take(watcher);
            assert_eq!(got.iter().map(text).collect::<Vec<_>>(), ["kept", "kept", "", ""]);
            assert!(got.iter().all(|publish| !publish.retain));
            assert_eq!(bench.broker.stats().retained, 1);
            let client = bench.v3("s");
            bench.subscribe(client, "#", QoS::AtMostOnce);
            assert_eq!(bench.take(client).len(), 1);
        }
    }
}

#[test]
fn a_retained_message_expires_at_its_time() {
    // [MQTT-3.3.2-5], [MQTT-3.3.2-6]
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    let with = |seconds| properties([Property::MessageExpiryInterval(seconds)]);
    let send = |bench: &mut Bench, topic: &str, seconds: Option<u32>| {
        let properties = seconds.map_or_else(Properties::new, with);
        bench.send(publisher, Publish { properties, ..retained(topic, "x", QoS::AtMostOnce) });
    };
    send(&mut bench, "a", Some(10));
    send(&mut bench, "b", Some(20));
    send(&mut bench, "c", None);
    send(&mut bench, "d", Some(5));
    send(&mut bench, "d", Some(30)); // replaces the expiry, too
    send(&mut bench, "e", Some(5));
    send(&mut bench, "e", None);
    send(&mut bench, "f", Some(40));
    send(&mut bench, "f", Some(15)); // earlier than the one it replaces
    let client = bench.v5("s");
    let left = |bench: &mut Bench| {
        bench.subscribe(client, "#", QoS::AtMostOnce);
        let mut all: Vec<(String, Option<u32>)> = bench
            .take(client)
            .iter()
            .map(|publish| (publish.topic.as_ref().unwrap().to_string(), publish.properties.message_expiry_interval()))
            .collect();
        all.sort();
        all
    };
    let expected = |all: &[(&str, Option<u32>)]| -> Vec<(String, Option<u32>)> {
        all.iter().map(|(topic, seconds)| ((*topic).to_owned(), *seconds)).collect()
    };
    bench.sleep(Duration::from_millis(9500));
    let all = [("a", Some(1)), ("b", Some(11)), ("c", None), ("d", Some(21)), ("e", None), ("f", Some(6))];
    assert_eq!(left(&mut bench), expected(&all));
    bench.sleep(Duration::from_millis(500));
    assert_eq!(bench.broker.stats().retained, 5);
    assert_eq!(left(&mut bench).len(), 5);
    bench.sleep(Duration::from_secs(5));
    assert_eq!(left(&mut bench), expected(&[("b", Some(5)), ("c", None), ("d", Some(15)), ("e", None)]));
    bench.sleep(Duration::from_secs(100));
    assert_eq!(left(&mut bench), expected(&[("c", None), ("e", None)]));
    assert_eq!(bench.broker.poll_timeout(), None, "nothing is left to wait for");
}

#[test]
fn a_retained_message_that_is_sent_often_leaves_no_timers() {
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    for _ in 0..100 {
        let properties = properties([Property::MessageExpiryInterval(1000)]);
        bench.send(publisher, Publish { properties, ..retained("a", "x", QoS::AtMostOnce) });
        bench.sleep(Duration::from_secs(1));
    }
    bench.sleep(Duration::from_secs(898));
    let mut fired = 0;
    while let Some(at) = bench.broker.poll_timeout() {
        bench.now = at;
        bench.broker.handle_timeout(at);
        fired += 1;
    }
    assert!(fired <= 2, "{fired} timers");
    assert_eq!(bench.broker.stats().retained, 0);
}

/// Retains many topics and returns them.
fn many(bench: &mut Bench, count: usize) -> BTreeSet<String> {
    let publisher = bench.v5("publisher");
    (0..count)
        .map(|number| {
            let topic = format!("many/{}/{number}", number % 17);
            bench.retain(publisher, &topic, &number.to_string());
            bench.retain(publisher, &format!("other/{number}"), "not for you");
            topic
        })
        .collect()
}

fn topics(all: &[Publish]) -> BTreeSet<String> {
    all.iter().map(|publish| publish.topic.as_ref().unwrap().to_string()).collect()
}

#[test]
fn a_large_scan_sends_every_topic_once() {
    for (version, qos) in [(Version::V3_1_1, QoS::AtMostOnce), (Version::V5, QoS::AtLeastOnce)] {
        let mut bench = Bench::new();
        let all = many(&mut bench, 3000);
        let client = bench.connect(connect(version, "s")).0;
        bench.set_window(client, Some(2000));
        bench.subscribe(client, "many/+/#", qos);
        let mut got = Vec::new();
        for _ in 0..1000 {
            bench.set_window(client, Some(2000));
            got.extend(bench.take(client));
            bench.sleep(Duration::ZERO);
            if got.len() >= all.len() {
                break;
            }
        }
        bench.set_window(client, None);
        got.extend(bench.take(client));
        assert_eq!(got.len(), all.len(), "each once");
        assert_eq!(topics(&got), all);
        assert!(got.iter().all(|publish| publish.retain));
        assert_eq!(bench.levels(), (0, 0, 0));
        assert_eq!(bench.broker.poll_timeout(), None);
    }
}

#[test]
fn a_scan_that_finds_little_gives_way() {
    let mut bench = Bench::new();
    many(&mut bench, 2000);
    let client = bench.v5("s");
    bench.subscribe(client, "+/+/1234", QoS::AtMostOnce);
    bench.sleep(Duration::ZERO);
    let got = bench.take_texts(client);
    assert_eq!(got, ["1234"]);
    assert_eq!(bench.broker.poll_timeout(), None);
}

#[test]
fn a_scan_goes_on_after_a_reconnect() {
    // [MQTT-3.3.1-9]
    let mut bench = Bench::with(|config| config.connection.max_inflight = 10);
    let publisher = bench.v5("q");
    let count = 1200;
    let all: BTreeSet<String> = (0..count)
        .map(|number| {
            let topic = format!("many/{number}");
            bench.send(publisher, retained(&topic, "x", QoS::AtLeastOnce));
            bench.recv_all(publisher);
            topic
        })
        .collect();
    let mut client = bench.connect(persistent(Version::V5, "s", 1000)).0;
    bench.subscribe(client, "many/#", QoS::AtLeastOnce);
    let mut got = Vec::new();
    while got.len() < count {
        let before = got.len();
        for _ in 0..100 {
            match bench.recv(client) {
                Some(Packet::Publish(publish)) => {
                    bench.send(client, Packet::PubAck(ack(id_of(&publish))));
                    got.push(publish);
                }
                None => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(got.len() > before, "{before} of {count}");
        bench.cut(client);
        client = bench.connect(persistent(Version::V5, "s", 1000)).0;
    }
    assert_eq!((got.len(), topics(&got)), (count, all));
    bench.assert_silent(client);
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn a_lost_suback_does_not_cost_the_retained_messages() {
    // [MQTT-3.3.1-10]
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    bench.retain(publisher, "a", "kept");
    let client = bench.connect(persistent(Version::V5, "s", 1000)).0;
    bench.store_at_once = false;
    let filters = vec![(filter("a"), handling(RetainHandling::SendIfNew))];
    bench.send(client, Subscribe { id: pid(1), filters, properties: Properties::new() });
    bench.cut(client);
    bench.store_at_once = true;
    bench.stored();
    let client = bench.connect(persistent(Version::V5, "s", 1000)).0;
    assert_eq!(bench.take_texts(client), ["kept"]);
    bench.subscribe(client, "a", handling(RetainHandling::SendIfNew));
    bench.assert_silent(client);
}

#[test]
fn live_messages_do_not_wait_for_a_scan() {
    let mut bench = Bench::with(|config| config.connection.max_inflight = 1);
    let publisher = bench.v5("p");
    for number in 0..5 {
        bench.send(publisher, retained(&format!("r/{number}"), "old", QoS::AtLeastOnce));
    }
    let client = bench.v5("s");
    bench.subscribe(client, "#", QoS::AtLeastOnce);
    bench.inject("live", "zero", QoS::AtMostOnce);
    assert_eq!(text(&bench.recv_publish(client)), "old");
    assert_eq!(text(&bench.recv_publish(client)), "zero");
    bench.send(client, Packet::PubAck(ack(1)));
    assert_eq!(bench.take(client).len(), 4);
}

#[test]
fn what_was_cleared_or_replaced_during_a_scan_does_not_come_late() {
    // [MQTT-3.3.1-6]
    let mut bench = Bench::with(|config| config.connection.max_inflight = 1);
    let publisher = bench.v5("p");
    for topic in ["a", "b", "c"] {
        bench.send(publisher, retained(topic, "old", QoS::AtLeastOnce));
    }
    let client = bench.v5("s");
    bench.subscribe(client, "+", QoS::AtLeastOnce);
    let first = bench.recv_publish(client).topic.unwrap();
    let rest: Vec<&str> = ["a", "b", "c"].into_iter().filter(|topic| **topic != *first).collect();
    bench.send(publisher, retained(rest[0], "", QoS::AtMostOnce));
    bench.send(publisher, retained(rest[1], "new", QoS::AtMostOnce));
    assert_eq!((text(&bench.recv_publish(client)), text(&bench.recv_publish(client))), ("", "new"));
    bench.send(client, Packet::PubAck(ack(1)));
    let got = bench.take(client);
    assert_eq!(got.iter().map(text).collect::<Vec<_>>(), ["new"], "as it is now");
}

#[test]
fn unsubscribing_ends_the_scan() {
    // [MQTT-3.10.4-2]
    let mut bench = Bench::with(|config| config.connection.max_inflight = 1);
    let publisher = bench.v5("p");
    for number in 0..5 {
        bench.send(publisher, retained(&format!("r/{number}"), "old", QoS::AtLeastOnce));
    }
    let client = bench.v5("s");
    bench.subscribe(client, "r/+", QoS::AtLeastOnce);
    bench.recv_publish(client);
    bench.unsubscribe(client, &["r/+"]);
    bench.send(client, Packet::PubAck(ack(1)));
    bench.assert_silent(client);
}

#[test]
fn shared_subscriptions_get_no_retained_messages() {
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    bench.retain(publisher, "a", "kept");
    let client = bench.v5("s");
    bench.subscribe(client, "$share/g/a", QoS::AtLeastOnce);
    bench.assert_silent(client);
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    assert_eq!(bench.take_texts(client), ["kept"]);
}

#[test]
fn dollar_topics_need_to_be_named() {
    // [MQTT-4.7.2-1]
    let mut bench = Bench::new();
    let retain = |bench: &mut Bench, topic: &str| {
        let topic = TopicName::try_from(topic).unwrap();
        bench.broker.publish(bench.now, Message { retain: true, ..Message::new(topic, "x") });
        bench.run();
    };
    for topic in ["$SYS/a", "$SYS/b/a", "plain/a"] {
        retain(&mut bench, topic);
    }
    let client = bench.v3("s");
    for (filter, count) in [("#", 1), ("+/a", 1), ("+/+/a", 0), ("$SYS/#", 2), ("$SYS/+", 1), ("$SYS/+/+", 1)] {
        bench.subscribe(client, filter, QoS::AtMostOnce);
        assert_eq!(bench.take(client).len(), count, "{filter}");
    }
}

#[test]
fn a_full_store_refuses_new_topics() {
    let mut bench = Bench::with(|config| config.max_retained_messages = 2);
    let (new, old) = (bench.v5("new"), bench.v3("old"));
    let watcher = bench.v5("w");
    bench.subscribe(watcher, "#", QoS::AtMostOnce);
    bench.retain(new, "a", "1");
    bench.retain(old, "b", "1");
    for (qos, answer) in [(QoS::AtLeastOnce, Packet::PubAck as fn(Ack) -> Packet), (QoS::ExactlyOnce, Packet::PubRec)] {
        bench.send(new, retained("c", "1", qos));
        assert_eq!(bench.recv(new), Some(answer(Ack { reason: ReasonCode::QuotaExceeded, ..ack(10) })));
        bench.send(old, retained("c", "1", qos));
        assert_eq!(bench.recv(old), Some(answer(ack(10))));
    }
    assert_eq!(bench.take(watcher).len(), 2);
    // The refused identifier is free again [MQTT-4.3.3-9]; replacing needs no further room.
    bench.send(new, retained("a", "2", QoS::ExactlyOnce));
    assert!(matches!(bench.recv(new), Some(Packet::PubRec(ack)) if !ack.reason.is_error()));
    assert_eq!(bench.take_texts(watcher), ["2"]);
    bench.retain(new, "a", "");
    bench.retain(new, "c", "1");
    assert_eq!(bench.broker.stats().retained, 2);
}

#[test]
fn retained_messages_carry_the_subscription_identifier() {
    // [MQTT-3.3.4-3], [MQTT-3.3.4-5]
    for expiry in [0, 100] {
        let mut bench = Bench::new();
        let publisher = bench.v5("p");
        bench.send(publisher, retained("a/b", "kept", QoS::AtLeastOnce));
        let client = bench.connect(persistent(Version::V5, "s", expiry)).0;
        bench.subscribe_with(client, "a/#", QoS::AtLeastOnce, 5);
        assert_eq!(identifiers(&bench.take(client)[0]), [5]);
        bench.subscribe_with(client, "a/+", QoS::AtMostOnce, 6);
        let got = bench.take(client);
        assert_eq!((got.len(), identifiers(&got[0]), got[0].delivery.qos()), (1, vec![6], QoS::AtMostOnce));
    }
}

#[test]
fn own_retained_messages_are_local_too() {
    // [MQTT-3.8.3-3]
    let mut bench = Bench::new();
    let client = bench.v5("s");
    bench.retain(client, "a", "own");
    bench.subscribe(client, "a", SubscriptionOptions { no_local: true, ..QoS::AtMostOnce.into() });
    bench.assert_silent(client);
    bench.subscribe(client, "+", QoS::AtMostOnce);
    assert_eq!(bench.take_texts(client), ["own"]);
}

#[test]
fn inside_subscribers_get_them_first() {
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    bench.retain(publisher, "a/1", "kept");
    bench.retain(publisher, "a/2", "kept");
    let inside = bench.broker.subscribe(bench.now, &filter("a/#"), QoS::AtMostOnce.into()).unwrap();
    let quiet = handling(RetainHandling::DoNotSend);
    let other = bench.broker.subscribe(bench.now, &filter("a/#"), quiet).unwrap();
    assert_eq!(bench.broker.subscribe(bench.now, &filter("$share/g/a"), quiet), None);
    bench.run();
    assert_eq!(bench.messages.len(), 2);
    assert!(bench.messages.iter().all(|(id, _, retained)| *id == inside && *retained));
    bench.messages.clear();
    bench.retain(publisher, "a/3", "live");
    let mut got: Vec<_> =
        bench.messages.iter().map(|(id, message, retained)| (*id, message.retain, *retained)).collect();
    got.sort();
    assert_eq!(got, [(inside, true, false), (other, true, false)]);
    assert!(bench.broker.unsubscribe(inside));
    assert!(!bench.broker.unsubscribe(inside));
    bench.messages.clear();
    bench.retain(publisher, "a/4", "live");
    assert_eq!(bench.messages.len(), 1);
}

#[test]
fn several_new_filters_each_get_theirs() {
    // [MQTT-3.8.4-5]
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    bench.retain(publisher, "a", "A");
    bench.retain(publisher, "b", "B");
    let client = bench.v5("s");
    let zero = SubscriptionOptions::default();
    let reasons = bench.try_subscribe(client, &[("a", zero), ("b", zero), ("+", zero), ("a", zero)], Properties::new());
    assert_eq!(reasons, [ReasonCode::Success; 4]);
    let mut got = bench.take_texts(client);
    got.sort();
    assert_eq!(got, ["A", "A", "B", "B"]);
}
