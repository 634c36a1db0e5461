//! Rules of deliveries, restarts and groups that nothing else happens to show.
use crate::common::world::*;
use crate::common::*;
use bytes::Bytes;
use mqtt_session::broker::*;
use mqtt_session::proto::*;
use std::sync::Arc;
use std::time::Duration;

const ZERO: QoS = QoS::AtMostOnce;
const ONE: QoS = QoS::AtLeastOnce;
const TWO: QoS = QoS::ExactlyOnce;

/// Section 3.3.2.3.4: the largest packet of all has no room for an alias: what it would have set is not set, and what was set
/// before stays.
#[test]
fn an_alias_of_a_packet_that_never_left_is_not_known() {
    let mut bench = Bench::new();
    let (client, _) = bench.connect(with(connect(Version::V5, "c"), [Property::TopicAliasMaximum(5)]));
    bench.subscribe(client, "+", ZERO);
    // Two bytes of length, one of topic, one for the properties.
    let whole = Bytes::from(vec![0; 268_435_455 - 4]);
    let too_large = |bench: &mut Bench, topic: &str| {
        let message = Message::new(TopicName::try_from(topic).unwrap(), whole.clone());
        bench.broker.publish(bench.now, message);
        bench.run();
    };
    let mut got = Vec::new();
    for (large, small) in [("a", "a"), ("a", "b"), ("a", "a"), ("a", "b")] {
        too_large(&mut bench, large);
        bench.inject(small, "x", ZERO);
        let publish = bench.recv_publish(client);
        got.push((publish.topic.map(|topic| topic.to_string()), publish.properties.topic_alias()));
        bench.assert_silent(client);
    }
    let named = |name: &str| Some(name.to_owned());
    assert_eq!(got, [(named("a"), Some(1)), (named("b"), Some(2)), (None, Some(1)), (None, Some(2))]);
}

/// [MQTT-4.4.0-1] A retained message on its way at QoS 2 is kept with its delivery: what is retained may change meanwhile.
#[test]
fn a_retained_message_on_its_way_survives_a_restart() {
    let mut world = World::new();
    let publisher = world.bench.v5("p");
    world.bench.send(publisher, Publish { retain: true, ..message("a", "kept", TWO) });
    let (client, _) = world.bench.connect(persistent(Version::V5, "s", FOREVER));
    world.bench.send(client, subscribe("a", TWO));
    world.keep_all();
    assert!(world.bench.recv_all(client).iter().any(|packet| matches!(packet, Packet::Publish(_))));
    world.bench.retain(publisher, "a", "");
    world.keep_all();
    world.crash();
    let (client, _) = world.bench.connect(persistent(Version::V5, "s", FOREVER));
    world.keep_all();
    assert_eq!(world.bench.take_texts(client), ["kept"]);
}

/// The bytes that a message to a topic of one letter with this payload is charged with.
fn cost(payload: &str) -> u64 {
    Message::new(TopicName::try_from("a").unwrap(), payload.to_owned()).cost()
}

fn lasting(world: &mut World) -> Client {
    let (client, _) = world.bench.connect(persistent(Version::V5, "s", FOREVER));
    world.keep_all();
    client
}

fn read(world: &mut World, client: Client, subscribe: Subscribe) {
    world.bench.send(client, subscribe);
    world.keep_all();
    assert!(matches!(world.bench.recv(client), Some(Packet::SubAck(_))));
}

/// Messages from inside, all kept, and received but not acknowledged.
fn receive(world: &mut World, client: Client, all: &[(&str, QoS)]) {
    for (text, qos) in all {
        world.bench.inject("a", text, *qos);
    }
    world.keep_all();
    assert_eq!(world.bench.recv_texts(client).len(), all.len());
}

/// Takes everything to its end, and the store keeps what follows: nothing is left of it.
fn finish(world: &mut World, client: Client) -> Vec<String> {
    let mut texts = world.bench.take_texts(client);
    while world.kept < world.bench.batches.len() {
        world.keep_all();
        texts.extend(world.bench.take_texts(client));
    }
    assert_eq!((world.bench.disk.entries(), world.bench.levels()), (0, (0, 0, 0)));
    texts
}

/// A broker that goes on where queues hold no more than this many messages.
fn narrow(messages: usize) -> World {
    let config = Config { sys_interval: Duration::ZERO, ..Config::default() };
    let session = SessionLimits { max_queued_messages: messages, ..config.session.clone() };
    let mut world = World { config: Arc::new(Config { session, ..config }), ..World::new() };
    world.crash();
    // Places in logs begin where messages have got to.
    for _ in 0..5 {
        world.bench.inject("elsewhere", "", ONE);
    }
    world
}

#[test]
fn what_is_too_large_for_the_new_connection_is_over_for_good() {
    // [MQTT-3.1.2-25]
    let mut world = World::new();
    let client = lasting(&mut world);
    read(&mut world, client, subscribe("a", TWO));
    receive(&mut world, client, &[(&"x".repeat(100), ONE), (&"y".repeat(100), TWO)]);
    world.bench.cut(client);
    world.keep_all();
    let before = world.bench.batches.len();
    let small = with(persistent(Version::V5, "s", FOREVER), [Property::MaximumPacketSize(100)]);
    let (client, _) = world.bench.connect(small);
    world.bench.assert_silent(client);
    // The store hears of the end of the one delivery that it knew, and nothing stays charged.
    let ops = || world.bench.batches[before..].iter().flat_map(|batch| &batch.ops);
    assert_eq!(ops().filter(|op| matches!(op, StoreOp::OutgoingEnd(..))).count(), 1);
    assert_eq!((world.bench.broker.stats().memory_bytes, world.bench.levels()), (0, (0, 0, 0)));
    world.keep_all();
    world.crash();
    let client = lasting(&mut world);
    world.bench.assert_silent(client);
}

/// [MQTT-4.4.0-1] What is sent again when much is on its way comes one at a time, too, and nothing new comes between.
#[test]
fn what_is_sent_again_comes_first_and_slowly_when_much_is_on_its_way() {
    let payload = "x".repeat(900);
    let mut bench = Bench::with(|config| config.max_memory_bytes = 40 * cost(&payload));
    let old = persistent(Version::V5, "old", 100);
    let (client, _) = bench.connect(old.clone());
    bench.subscribe(client, "a", ONE);
    bench.subscribe(client, "$share/g/c", ONE);
    for _ in 0..4 {
        bench.inject("a", &payload, ONE);
    }
    assert_eq!(bench.recv_all(client).len(), 4);
    bench.cut(client);
    let busy = bench.v5("busy");
    bench.subscribe(busy, "b", ONE);
    for _ in 0..7 {
        bench.inject("b", &payload, ONE);
    }
    assert_eq!(bench.recv_all(busy).len(), 7, "eleven are on their way: more than a quarter of the memory");
    let (client, _) = bench.connect(old);
    let first = bench.recv_publish(client);
    assert!(first.delivery.dup());
    bench.assert_silent(client);
    for id in 1..=7 {
        bench.send(busy, Packet::PubAck(ack(id)));
    }
    // There is room again, but nobody has told this client.
    bench.inject("c", "new", ONE);
    bench.assert_silent(client);
    bench.acknowledge(client, &first);
    let got = bench.take(client);
    let again: Vec<bool> = got.iter().map(|publish| publish.delivery.dup()).collect();
    assert_eq!(again, [true, true, true, false]);
    assert_eq!(text(&got[3]), "new");
}

/// A session looks for retained messages 64 times, or at 512 topics in vain, then others have their turn.
#[test]
fn a_search_for_retained_messages_ends_or_gives_way() {
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    for number in 0..600 {
        bench.retain(publisher, &format!("many/{number}/x"), "kept");
    }
    let client = bench.v5("s");
    for (filters, gives_way) in [(1, false), (64, false), (65, true)] {
        let names: Vec<String> = (0..filters).map(|number| format!("none/{filters}/{number}")).collect();
        let all: Vec<_> = names.iter().map(|name| (name.as_str(), ZERO.into())).collect();
        bench.try_subscribe(client, &all, Properties::new());
        assert_eq!(bench.broker.poll_timeout(), gives_way.then_some(bench.now), "{filters}");
        bench.sleep(Duration::ZERO);
        assert_eq!(bench.broker.poll_timeout(), None, "{filters}");
    }
    bench.subscribe(client, "+/+/y", ZERO);
    assert_eq!(bench.broker.poll_timeout(), Some(bench.now));
}

/// [MQTT-3.3.4-9] bounds QoS 1 and 2 alone.
#[test]
fn qos_0_waits_for_no_window() {
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    bench.retain(publisher, "kept", "retained");
    let (client, _) = bench.connect(with(connect(Version::V5, "c"), [Property::ReceiveMaximum(1)]));
    bench.subscribe(client, "$share/g/a", ONE);
    bench.inject("a", "one", ONE);
    assert_eq!(bench.recv_texts(client), ["one"]);
    bench.inject("a", "zero", ZERO);
    assert_eq!(bench.recv_texts(client), ["zero"]);
    bench.subscribe(client, "kept", ZERO);
    assert_eq!(bench.recv_texts(client), ["retained"]);
}

#[test]
fn what_a_full_log_lost_is_counted_once_its_reader_goes_on() {
    // Before the restart, and between it and the reader's return.
    for after in [false, true] {
        let mut world = narrow(3);
        let client = lasting(&mut world);
        read(&mut world, client, subscribe("a", TWO));
        receive(&mut world, client, &[("1", ONE), ("2", ONE), ("3", TWO)]);
        world.bench.cut(client);
        world.keep_all();
        for phase in [false, true] {
            if phase == after {
                world.bench.inject("a", "4", ONE);
                world.bench.inject("a", "5", ONE);
                world.keep_all();
            }
            if !phase {
                world.crash();
            }
        }
        let client = lasting(&mut world);
        assert_eq!(finish(&mut world, client), ["3", "4", "5"]);
        assert_eq!(world.bench.broker.stats().dropped_queue_full, 2, "after the restart: {after}");
    }
}

#[test]
fn what_a_group_lost_to_its_limit_is_counted() {
    let mut world = narrow(3);
    let client = lasting(&mut world);
    read(&mut world, client, subscribe("$share/g/a", ONE));
    world.bench.inject("a", "0", ONE);
    world.bench.cut(client);
    for number in 1..=4 {
        world.bench.inject("a", &number.to_string(), ONE);
    }
    assert_eq!(world.bench.broker.stats().dropped_queue_full, 0);
    let client = lasting(&mut world);
    assert_eq!(world.bench.take_texts(client), ["2", "3", "4"]);
    assert_eq!(world.bench.broker.stats().dropped_queue_full, 2);
}

/// Also what found no room, and was never in the log.
#[test]
fn what_found_no_room_in_a_group_is_counted() {
    let mut bench = Bench::on_disk(8 * 1024, |_| {});
    let publisher = bench.v5("p");
    let payload = "x".repeat(1000);
    for number in 0..8 {
        bench.retain(publisher, &format!("r/{number}"), &payload);
    }
    let (client, _) = bench.connect(persistent(Version::V5, "m", FOREVER));
    bench.subscribe(client, "$share/g/a", ONE);
    bench.cut(client);
    bench.inject("a", &payload, ONE);
    bench.inject("a", &payload, ONE);
    assert_eq!(bench.levels().0, 0);
    bench.retain(publisher, "r/0", "");
    bench.inject("a", "fits", ONE);
    let (client, _) = bench.connect(persistent(Version::V5, "m", FOREVER));
    assert_eq!(bench.take_texts(client), ["fits"]);
    assert_eq!(bench.broker.stats().dropped_queue_full, 2);
}

/// Where the store has lost a message that was on its way at QoS 1, those behind it come again as they should [MQTT-4.4.0-1].
#[test]
fn a_gap_that_the_store_cannot_fill_is_passed_by() {
    let mut world = World::new();
    let client = lasting(&mut world);
    read(&mut world, client, subscribe("a", TWO));
    receive(&mut world, client, &[("lost", ONE), ("2", TWO), ("3", ONE)]);
    world.crash();
    world.bench.load_at_once = false;
    let client = lasting(&mut world);
    while let Some(request) = world.bench.loads.pop_front() {
        let mut loaded = world.bench.disk.load(&request);
        loaded.entries.retain(|entry| &*entry.message.payload != b"lost");
        world.bench.broker.handle_completion(world.bench.now, Completion::Loaded(loaded));
        world.bench.run();
    }
    assert_eq!(finish(&mut world, client), ["2", "3"]);
    assert_eq!(world.bench.broker.stats().dropped_expired, 1);
}

/// [MQTT-3.8.3-3] also when it is found after a restart; but what another subscription wanted comes again.
#[test]
fn own_messages_stay_away_after_a_restart() {
    for other in [false, true] {
        let mut world = World::new();
        let client = lasting(&mut world);
        let mine = SubscriptionOptions { no_local: true, ..TWO.into() };
        read(&mut world, client, Subscribe { filters: vec![(filter("a"), mine)], ..subscribe("a", TWO) });
        if other {
            read(&mut world, client, subscribe("+", TWO));
        }
        let inject = |world: &mut World, text: &str, qos, publisher: Option<&str>| {
            let message = Message::new(TopicName::try_from("a").unwrap(), text.to_owned());
            let message = Message { qos, publisher: publisher.map(Arc::from), ..message };
            world.bench.broker.publish(world.bench.now, message);
            world.bench.run();
        };
        world.bench.cut(client);
        inject(&mut world, "theirs", ONE, Some("x"));
        inject(&mut world, "own", ONE, Some("s"));
        world.keep_all();
        let one = with(persistent(Version::V5, "s", FOREVER), [Property::ReceiveMaximum(1)]);
        let (client, _) = world.bench.connect(one);
        world.keep_all();
        let mut expected = vec!["theirs"];
        // The store loses what follows from this acknowledgment: that the next one is not for this client.
        world.bench.send(client, Packet::PubAck(ack(1)));
        while world.kept < world.bench.batches.len() {
            world.lose();
        }
        if other {
            world.bench.send(client, Packet::PubAck(ack(2)));
            expected.push("own");
            while world.kept < world.bench.batches.len() {
                world.lose();
            }
        }
        inject(&mut world, "last", TWO, None);
        world.keep_all();
        expected.push("last");
        assert_eq!(world.bench.take_texts(client), expected);
        world.crash();
        let client = lasting(&mut world);
        assert_eq!(world.bench.take_texts(client), expected, "other: {other}");
    }
}

/// [MQTT-3.3.1-13] also of what is found after a restart.
#[test]
fn messages_found_after_a_restart_carry_retain_as_published() {
    let mut world = World::new();
    let client = lasting(&mut world);
    let options = SubscriptionOptions { retain_as_published: true, ..TWO.into() };
    read(&mut world, client, Subscribe { filters: vec![(filter("a"), options)], ..subscribe("a", TWO) });
    for (retain, qos) in [(true, ONE), (false, ONE), (false, TWO)] {
        let message = Message::new(TopicName::try_from("a").unwrap(), "x");
        world.bench.broker.publish(world.bench.now, Message { qos, retain, ..message });
        world.bench.run();
    }
    world.keep_all();
    world.crash();
    let client = lasting(&mut world);
    let flags: Vec<bool> = world.bench.take(client).iter().map(|publish| publish.retain).collect();
    assert_eq!(flags, [true, false, false]);
}

/// A subscription at QoS 0 is one after a restart, too: nothing waits for it.
#[test]
fn a_qos_0_subscription_keeps_nothing_after_a_restart() {
    let mut world = World::new();
    let client = lasting(&mut world);
    read(&mut world, client, subscribe("a", ZERO));
    world.crash();
    world.bench.inject("a", "gone", ONE);
    world.keep_all();
    assert_eq!((world.bench.disk.entries(), world.bench.levels()), (0, (0, 0, 0)));
}

/// A subscription whose place the store has lost reads on, where its log begins.
#[test]
fn a_subscription_without_a_place_reads_on() {
    let mut world = World::new();
    let client = lasting(&mut world);
    world.bench.send(client, subscribe("a", ONE));
    for batch in &mut world.bench.batches {
        batch.ops.retain(|op| !matches!(op, StoreOp::Cursor(..)));
    }
    world.keep_all();
    world.crash();
    world.bench.inject("a", "1", ONE);
    let client = lasting(&mut world);
    assert_eq!(world.bench.take_texts(client), ["1"]);
}

/// [MQTT-4.3.3-6] A client completes a delivery while the broker waits for what the store knows of the rest: it is over,
/// and stays so if the broker stops right then.
#[test]
fn a_delivery_that_is_completed_while_the_store_is_asked_is_over() {
    for crashes in [false, true] {
        let mut world = World::new();
        let client = lasting(&mut world);
        read(&mut world, client, subscribe("a", TWO));
        receive(&mut world, client, &[("1", TWO), ("2", ONE)]);
        world.bench.send(client, Packet::PubAck(ack(2)));
        world.keep_all();
        world.crash();
        world.bench.load_at_once = false;
        let client = lasting(&mut world);
        world.bench.assert_silent(client);
        for packet in [Packet::PubRec(ack(1)), Packet::PubComp(ack(1))] {
            world.bench.send(client, packet);
            world.keep_all();
        }
        world.bench.load_at_once = true;
        let client = if crashes {
            world.crash();
            lasting(&mut world)
        } else {
            assert_eq!(world.bench.recv_all(client), [Packet::PubRel(ack(1))]);
            while !world.bench.loads.is_empty() {
                world.bench.load(0);
            }
            client
        };
        world.bench.inject("a", "3", ONE);
        assert_eq!(finish(&mut world, client), ["3"], "crashes: {crashes}");
    }
}

#[test]
fn what_was_loaded_leaves_the_memory_when_it_is_acknowledged() {
    let mut world = World::new();
    let client = lasting(&mut world);
    read(&mut world, client, subscribe("a", ONE));
    world.bench.cut(client);
    for number in 0..5 {
        world.bench.inject("a", &number.to_string(), ONE);
    }
    world.keep_all();
    world.crash();
    let client = lasting(&mut world);
    assert_eq!(world.bench.take(client).len(), 5);
    assert_eq!(world.bench.broker.stats().memory_bytes, 0);
}

/// Section 4.8.2: of members that have equally little to do it is the next one's turn.
#[test]
fn equally_loaded_members_take_turns() {
    let mut bench = Bench::with(|config| config.shared_strategy = SharedStrategy::LeastLoaded);
    let members = ["m0", "m1", "m2"].map(|id| {
        let member = bench.v5(id);
        bench.subscribe(member, "$share/g/a", ONE);
        member
    });
    for number in 0..6 {
        bench.inject("a", &number.to_string(), ZERO);
    }
    assert_eq!(members.map(|member| bench.recv_texts(member).len()), [2, 2, 2]);
}

/// Section 4.8.2: what a member had and did not acknowledge goes out after a restart, although later ones are done.
#[test]
fn what_a_group_was_not_done_with_comes_again_after_a_restart() {
    let mut world = World::new();
    let client = lasting(&mut world);
    read(&mut world, client, subscribe("$share/g/a", ONE));
    receive(&mut world, client, &[("1", ONE), ("2", ONE), ("3", ONE)]);
    world.bench.send(client, Packet::PubAck(ack(2)));
    world.keep_all();
    world.crash();
    let client = lasting(&mut world);
    assert_eq!(finish(&mut world, client), ["1", "3"]);
}
