//! What stands exactly at a limit, and what is not to be done for nothing.
use crate::common::*;
use mqtt_session::broker::*;
use mqtt_session::proto::*;
use std::time::Duration;

/// The bytes that a queue is charged with for one message to `topic` with this payload.
fn cost(topic: &str, payload: &str) -> u64 {
    Message::new(TopicName::try_from(topic).unwrap(), payload.to_owned()).cost()
}

#[test]
fn identifiers_and_filters_may_be_as_long_as_the_limits_say() {
    let mut bench = Bench::with(|config| {
        config.connection.max_client_id_bytes = 3;
        (config.connection.max_topic_bytes, config.connection.max_topic_levels) = (5, 3);
    });
    let client = bench.v5("abc");
    let refused = bench.open(connect(Version::V5, "abcd"));
    // [MQTT-3.1.3-8]
    assert_eq!(bench.refusal(refused).unwrap().reason, ReasonCode::ClientIdentifierNotValid);
    for (text, reason) in [
        ("12345", ReasonCode::Success),
        ("a/b/c", ReasonCode::Success),
        ("123456", ReasonCode::TopicFilterInvalid),
        ("////", ReasonCode::TopicFilterInvalid),
    ] {
        let reasons = bench.try_subscribe(client, &[(text, QoS::AtMostOnce.into())], Properties::new());
        assert_eq!(reasons, [reason], "{text}");
    }
    for (topic, reason) in [("12345", ReasonCode::Success), ("123456", ReasonCode::TopicNameInvalid)] {
        bench.send(client, message(topic, "", QoS::AtLeastOnce));
        let answers = bench.recv_all(client);
        let acknowledged = answers.iter().any(|packet| matches!(packet, Packet::PubAck(ack) if ack.reason == reason));
        assert!(acknowledged, "{topic}: {answers:?}");
    }
}

/// While so many bytes wait to be sent no more input is taken.
#[test]
fn input_waits_while_the_output_is_full() {
    let mut bench = Bench::with(|config| config.connection.max_transmit_bytes = 4);
    let client = bench.v5("c");
    bench.set_window(client, Some(0));
    let before = bench.broker.stats().packets_received;
    for _ in 0..5 {
        bench.send(client, Packet::PingReq);
    }
    // Two answers of two bytes are four.
    assert_eq!(bench.broker.stats().packets_received, before + 2);
    bench.set_window(client, None);
    assert_eq!(bench.recv_all(client), [const { Packet::PingResp }; 5]);
}

/// Limits of one queue and of all, in bytes where a message counts `one`, and how many of these messages are left.
fn byte_limits(one: u64) -> [(u64, u64, u64); 5] {
    [(2 * one, u64::MAX, 2), (2 * one - 1, u64::MAX, 1), (u64::MAX, 2 * one, 2), (u64::MAX, 2 * one - 1, 1), (1, 1, 1)]
}

#[test]
fn a_log_holds_exactly_as_many_bytes_as_it_may() {
    let one = cost("a", "x");
    for (limit, all, left) in byte_limits(one) {
        let mut bench = Bench::with(|config| {
            (config.session.max_queued_bytes, config.max_queued_bytes) = (limit, all);
        });
        let (away, _) = bench.connect(persistent(Version::V5, "away", 100));
        bench.subscribe(away, "a", QoS::AtLeastOnce);
        bench.cut(away);
        for _ in 0..3 {
            bench.inject("a", "x", QoS::AtLeastOnce);
        }
        // One is kept however large it is.
        assert_eq!(bench.levels(), (left, left * one, 0), "{limit} {all}");
        let (away, _) = bench.connect(persistent(Version::V5, "away", 100));
        assert_eq!(bench.take(away).len() as u64, left);
        assert_eq!(bench.levels(), (0, 0, 0));
    }
}

#[test]
fn a_queue_holds_exactly_as_many_bytes_as_it_may() {
    let one = cost("a", "x");
    for (limit, all, left) in byte_limits(one) {
        let mut bench = Bench::with(|config| {
            (config.session.max_queued_bytes, config.max_queued_bytes) = (limit, all);
        });
        let (client, _) = bench.connect(with(connect(Version::V5, "c"), [Property::ReceiveMaximum(1)]));
        bench.subscribe(client, "a", QoS::AtLeastOnce);
        for _ in 0..4 {
            bench.inject("a", "x", QoS::AtLeastOnce);
        }
        // The first is on its way; of the others the oldest gave way.
        assert_eq!(bench.levels(), (left, left * one, 1), "{limit} {all}");
        assert_eq!(bench.take(client).len() as u64, 1 + left);
    }
}

/// [MQTT-3.3.1-12], [MQTT-3.3.1-13] Also where many receivers share one encoding.
#[test]
fn receivers_of_one_message_get_each_their_retain_flag() {
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    let wishes = [true, false, true, false];
    let clients: Vec<Client> = (0..4)
        .map(|number| {
            let client = bench.v5(&format!("{number}"));
            let mut options = SubscriptionOptions::from(QoS::AtMostOnce);
            options.retain_as_published = wishes[number];
            bench.subscribe(client, "a", options);
            client
        })
        .collect();
    for (retain, payload) in [(true, "x"), (false, "y"), (true, "z")] {
        bench.send(publisher, Publish { retain, ..message("a", payload, QoS::AtMostOnce) });
        for (client, wish) in clients.iter().zip(wishes) {
            let publish = bench.recv_publish(*client);
            assert_eq!((text(&publish), publish.retain), (payload, retain && wish));
        }
    }
}

/// The timer is that of the message that expires first, whatever came first.
#[test]
fn a_retained_message_that_expires_sooner_goes_sooner() {
    for lifetimes in [[100, 10], [10, 100]] {
        let mut bench = Bench::new();
        let client = bench.v5("c");
        for lifetime in lifetimes {
            let properties = properties([Property::MessageExpiryInterval(lifetime)]);
            let topic = format!("t/{lifetime}");
            bench.send(client, Publish { retain: true, properties, ..message(&topic, "x", QoS::AtMostOnce) });
        }
        for (seconds, left) in [(9, 2), (1, 1), (89, 1), (1, 0)] {
            bench.sleep(Duration::from_secs(seconds));
            assert_eq!(bench.broker.stats().retained, left, "{lifetimes:?}");
        }
    }
}

fn operations(bench: &Bench) -> Vec<&StoreOp> {
    bench.batches.iter().flat_map(|batch| &batch.ops).collect()
}

/// A session that ends with its connection costs the store nothing.
#[test]
fn a_session_that_does_not_last_is_not_stored() {
    let mut bench = Bench::new();
    for version in VERSIONS {
        let (client, other) = (bench.connect(connect(version, "c")).0, bench.v5("other"));
        bench.subscribe(client, "a", QoS::ExactlyOnce);
        bench.publish(other, "a", "x", QoS::ExactlyOnce);
        assert_eq!(bench.take_texts(client), ["x"]);
        bench.publish(other, "nobody", "x", QoS::ExactlyOnce);
        // A PUBREL of which nobody knows.
        bench.send(other, Packet::PubRel(ack(99)));
        assert!(matches!(bench.recv(other), Some(Packet::PubComp(_))));
        bench.disconnect(client, ReasonCode::Success);
    }
    assert!(operations(&bench).is_empty(), "{:?}", operations(&bench));
    // Nor is the end of an identifier that was not in use.
    let (client, _) = bench.connect(persistent(Version::V5, "lasts", 100));
    bench.send(client, Packet::PubRel(ack(99)));
    let ended = operations(&bench).iter().any(|operation| matches!(operation, StoreOp::IncomingEnd(..)));
    assert!(!ended);
}

/// A log is trimmed where something is over, and only there.
#[test]
fn a_log_is_trimmed_when_its_last_reader_leaves_an_entry_behind() {
    let trims = |bench: &Bench| -> usize {
        operations(bench).iter().filter(|operation| matches!(operation, StoreOp::Trim(..))).count()
    };
    let mut bench = Bench::new();
    let clients = ["fast", "slow", "late"].map(|name| {
        let (client, _) = bench.connect(persistent(Version::V5, name, 100));
        bench.subscribe(client, "a/+", QoS::AtLeastOnce);
        client
    });
    for _ in 0..3 {
        bench.inject("a/b", "x", QoS::AtLeastOnce);
    }
    assert_eq!(trims(&bench), 0);
    assert_eq!(bench.take(clients[0]).len(), 3);
    assert_eq!((trims(&bench), bench.levels().0), (0, 3));
    // Another one has not acknowledged either, so nothing is over yet.
    bench.recv_all(clients[1]);
    bench.unsubscribe(clients[1], &["a/+"]);
    assert_eq!((trims(&bench), bench.levels().0), (0, 3));
    bench.recv_all(clients[2]);
    bench.unsubscribe(clients[2], &["a/+"]);
    assert_eq!((trims(&bench), bench.levels().0), (1, 0));
    bench.unsubscribe(clients[0], &["a/+"]);
}

#[test]
fn a_message_costs_what_it_carries() {
    let bare = cost("a", "");
    assert_eq!((cost("abc", ""), cost("a", "xyz")), (bare + 2, bare + 3));
    let mut message = Message::new(TopicName::from_static("a"), "");
    message.properties = properties([Property::ContentType("text")]);
    assert_eq!(message.cost(), bare + 7);
}

/// [MQTT-3.3.2-6] In seconds, rounded up.
#[test]
fn a_message_knows_what_is_left_of_its_time() {
    let second = mqtt_session::Instant::from_secs;
    let mut message = Message::new(TopicName::from_static("a"), "");
    assert_eq!((message.remaining_expiry(second(5)), message.is_expired(second(5))), (None, false));
    message.expires_at = Some(second(100));
    for (now, left, over) in [(second(40), 60, false), (second(99) + Duration::from_millis(1), 1, false)] {
        assert_eq!((message.remaining_expiry(now), message.is_expired(now)), (Some(left), over));
    }
    assert!(message.is_expired(second(100)));
}

/// A place that is used again shows nothing to who had it before.
#[test]
fn the_bytes_of_a_connection_are_its_own() {
    let mut bench = Bench::new();
    let (old, other) = (bench.v5("old"), bench.v5("other"));
    assert_ne!(old.0.slot(), other.0.slot());
    bench.cut(old);
    let new = bench.v5("new");
    assert_eq!(old.0.slot(), new.0.slot());
    bench.set_window(new, Some(0));
    bench.send(new, Packet::PingReq);
    assert!(!bench.broker.transmit(new.0).is_empty());
    assert!(bench.broker.transmit(old.0).is_empty());
}

/// What is on its way is charged until it is written and acknowledged, whatever way it goes.
#[test]
fn nothing_is_charged_for_what_is_over() {
    let mut bench = Bench::new();
    let clients = ["m0", "m1", "own"].map(|name| bench.connect(persistent(Version::V5, name, 100)).0);
    for member in &clients[..2] {
        bench.subscribe(*member, "$share/g/a", QoS::ExactlyOnce);
    }
    bench.subscribe(clients[2], "a", QoS::ExactlyOnce);
    assert_eq!(bench.broker.stats().memory_bytes, 0);
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        bench.set_window(clients[2], Some(3));
        for _ in 0..3 {
            bench.inject("a", "some payload", qos);
        }
        assert!(bench.broker.stats().memory_bytes > 0, "{qos:?}");
        bench.set_window(clients[2], Some(7));
        bench.set_window(clients[2], None);
        for client in clients {
            bench.take(client);
        }
        assert_eq!(bench.broker.stats().memory_bytes, 0, "{qos:?}");
    }
    // A member goes with what it has not acknowledged, and the other one gets it.
    for _ in 0..4 {
        bench.inject("a", "x", QoS::AtLeastOnce);
    }
    bench.recv_all(clients[0]);
    bench.cut(clients[0]);
    for client in &clients[1..] {
        assert_eq!(bench.take(*client).len(), 4);
    }
    assert_eq!((bench.levels(), bench.broker.stats().memory_bytes), ((0, 0, 0), 0));
    // Bytes that nobody takes any more, and messages of a session that ends.
    bench.set_window(clients[2], Some(0));
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        bench.inject("a", "x", qos);
    }
    bench.cut(clients[2]);
    bench.take(clients[1]);
    bench.sleep(Duration::from_secs(100));
    bench.take(clients[1]);
    assert_eq!((bench.levels(), bench.broker.stats().memory_bytes), ((0, 0, 0), 0));
}

/// Where a quarter of the memory is on its way, each client gets one message at a time.
#[test]
fn when_much_is_on_its_way_clients_get_one_message_at_a_time() {
    let payload = "x".repeat(900);
    let share = cost("a", &payload) - 1;
    for (memory, each) in [(4 * share + 3, 1), (u64::MAX, 3)] {
        let mut bench = Bench::with(|config| config.max_memory_bytes = memory);
        let (one, two, busy) = (bench.v5("one"), bench.v5("two"), bench.v5("busy"));
        // The third one has a byte in its socket's queue already.
        bench.set_window(busy, Some(1));
        bench.send(busy, Packet::PingReq);
        for client in [one, two, busy] {
            bench.send(
                client,
                Subscribe {
                    id: pid(1),
                    filters: vec![(filter("a"), QoS::AtLeastOnce.into())],
                    properties: Properties::new(),
                },
            );
        }
        bench.recv_all(one);
        bench.recv_all(two);
        for _ in 0..3 {
            bench.inject("a", &payload, QoS::AtLeastOnce);
        }
        assert_eq!(bench.recv_all(one).len(), each);
        assert_eq!(bench.recv_all(two).len(), each);
        let busy_has = if each == 1 { 0 } else { 3 };
        assert_eq!(bench.broker.stats().inflight, (2 * each + busy_has) as u64);
        if each == 1 {
            bench.send(one, Packet::PubAck(ack(1)));
            assert_eq!(bench.recv_all(one).len(), 1, "the next one");
        }
    }
}

/// [MQTT-3.3.1-12], [MQTT-3.3.1-13] Of a shared subscription each member has its own.
#[test]
fn a_member_gets_the_retain_flag_that_it_wants() {
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    let wishes = [true, false];
    let members = wishes.map(|wish| {
        let member = bench.v5(if wish { "keeps" } else { "clears" });
        let mut options = SubscriptionOptions::from(QoS::AtMostOnce);
        options.retain_as_published = wish;
        bench.subscribe(member, "$share/g/a", options);
        member
    });
    for retain in [true, false] {
        for _ in 0..2 {
            bench.send(publisher, Publish { retain, ..message("a", "x", QoS::AtMostOnce) });
        }
        for (member, wish) in members.into_iter().zip(wishes) {
            assert_eq!(bench.recv_publish(member).retain, retain && wish);
        }
    }
}
