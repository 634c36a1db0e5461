//! Logs that do not fit into memory: what stays in the store alone, how it comes back, and what it costs.
use crate::common::world::*;
use crate::common::*;
use mqtt_session::broker::*;
use mqtt_session::proto::*;
use std::sync::Arc;
use std::time::Duration;

const ONE: QoS = QoS::AtLeastOnce;
const KIB: u64 = 1024;

fn durable(bench: &mut Bench, id: &str, filter: &str, options: impl Into<SubscriptionOptions>) -> Client {
    let client = bench.connect(persistent(Version::V5, id, FOREVER)).0;
    bench.subscribe(client, filter, options);
    client
}

fn back(bench: &mut Bench, id: &str) -> Client {
    let (client, connack) = bench.connect(persistent(Version::V5, id, FOREVER));
    assert!(connack.session_present);
    client
}

/// The last message to a subscription made from inside.
fn last_told(bench: &Bench, subscription: LocalId) -> String {
    let told = bench.messages.iter().rev().find(|(id, ..)| *id == subscription);
    told.map(|(_, message, _)| String::from_utf8(message.payload.to_vec()).unwrap()).unwrap_or_default()
}

/// Nothing is left anywhere, and nothing is counted that is not there.
fn assert_empty(bench: &Bench) {
    let stats = bench.broker.stats();
    assert_eq!((stats.queued, stats.queued_bytes, stats.spilled, stats.spilled_bytes), (0, 0, 0, 0));
    assert_eq!((stats.inflight, stats.memory_bytes), (0, 0));
    assert_eq!((bench.disk.entries(), bench.disk.messages()), (0, 0));
}

#[test]
fn a_great_backlog_is_never_in_memory() {
    let memory = 256 * KIB;
    let mut bench = Bench::on_disk(memory, |config| config.session.max_queued_messages = usize::MAX);
    let client = durable(&mut bench, "s", "a", ONE);
    bench.cut(client);
    for number in 0..100_000_u32 {
        bench.inject("a", &number.to_string(), ONE);
        bench.batches.clear();
        assert!(bench.broker.stats().memory_bytes <= memory);
    }
    let stats = bench.broker.stats();
    assert_eq!((stats.queued, stats.queued - stats.spilled < 1500), (100_000, true), "{stats:?}");
    let client = back(&mut bench, "s");
    let mut next = 0;
    while let Some(packet) = bench.recv(client) {
        let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
        assert_eq!(text(&publish), next.to_string());
        bench.send(client, Packet::PubAck(ack(id_of(&publish))));
        bench.batches.clear();
        assert!(bench.broker.stats().memory_bytes <= memory);
        next += 1;
    }
    assert_eq!(next, 100_000);
    let loads = bench.broker.stats().loads_total;
    assert!((100..2000).contains(&loads), "{loads} loads, each of many messages");
    assert_empty(&bench);
}

#[test]
fn a_publish_costs_the_same_however_many_sessions_wait() {
    for memory in [4 * KIB, 1 << 30] {
        let costs = [1, 10, 1000].map(|sessions| {
            let mut bench = Bench::on_disk(memory, |_| {});
            for number in 0..sessions {
                let client = durable(&mut bench, &format!("s{number}"), "a/+", ONE);
                bench.cut(client);
            }
            let before = bench.broker.stats();
            bench.batches.clear();
            for _ in 0..100 {
                bench.inject("a/b", "x", ONE);
            }
            let after = bench.broker.stats();
            let ops: usize = bench.batches.iter().map(|batch| batch.ops.len()).sum();
            (ops, after.queued, after.queued_bytes, after.memory_bytes - before.memory_bytes, after.loads_total)
        });
        assert_eq!(costs[0].0, 200, "the message, and where it stands");
        assert!(costs.iter().all(|cost| *cost == costs[0]), "{costs:?}");
    }
}

#[test]
fn sessions_at_one_place_share_a_load() {
    let mut bench = Bench::on_disk(64 * KIB, |_| {});
    for id in ["one", "two"] {
        let client = durable(&mut bench, id, "a", ONE);
        bench.cut(client);
    }
    for number in 0..1000 {
        bench.inject("a", &number.to_string(), ONE);
    }
    bench.load_at_once = false;
    let clients = ["one", "two"].map(|id| back(&mut bench, id));
    assert_eq!(bench.loads.len(), 1);
    bench.load(0);
    let got = clients.map(|client| bench.recv_texts(client));
    assert!(!got[0].is_empty() && got[0] == got[1]);
    assert_eq!(bench.loads.len(), 1, "what follows is read ahead: {:?}", bench.loads);
}

#[test]
fn a_load_that_fails_is_tried_again() {
    let mut bench = Bench::on_disk(32 * KIB, |config| config.sys_interval = Duration::from_secs(10));
    let state = bench.broker.subscribe(bench.now, &filter("$SYS/+/store/state"), ONE.into()).unwrap();
    bench.run();
    let client = durable(&mut bench, "s", "a", ONE);
    bench.cut(client);
    for number in 0..300 {
        bench.inject("a", &number.to_string(), ONE);
    }
    bench.load_at_once = false;
    let client = back(&mut bench, "s");
    for (round, pause) in [100, 200, 400].into_iter().enumerate() {
        let request = bench.loads.pop_front().expect("it asks");
        assert_eq!((&*request.filter, bench.loads.len()), ("a", 0));
        let failed = Completion::LoadFailed { filter: request.filter, from: request.from };
        bench.broker.handle_completion(bench.now, failed);
        bench.run();
        let told = bench.events.iter().rev().find_map(|event| match event {
            Event::LoadFailed { filter, failures, pause } => Some((filter.clone(), *failures, *pause)),
            _ => None,
        });
        let pause = Duration::from_millis(pause);
        assert_eq!(told, Some((filter("a"), round as u32 + 1, pause)));
        assert_eq!(last_told(&bench, state), "failing");
        bench.sleep(pause.saturating_sub(Duration::from_millis(1)));
        assert!(bench.loads.is_empty());
        bench.sleep(Duration::from_millis(1));
    }
    assert_eq!(bench.broker.stats().loads_failed_total, 3);
    bench.load_at_once = true;
    bench.load(0);
    assert_eq!(bench.take_texts(client), numbers(0..300));
    assert_eq!(last_told(&bench, state), "ok");
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn nobody_waits_for_a_load_that_fails_for_ever() {
    let mut bench = Bench::on_disk(4 * KIB, |_| {});
    let client = durable(&mut bench, "s", "a", ONE);
    bench.cut(client);
    for number in 0..50 {
        bench.inject("a", &number.to_string(), ONE);
    }
    bench.load_at_once = false;
    let client = back(&mut bench, "s");
    let request = bench.loads.pop_front().unwrap();
    let failed = Completion::LoadFailed { filter: request.filter, from: request.from };
    bench.broker.handle_completion(bench.now, failed);
    bench.cut(client);
    bench.sleep(Duration::from_mins(1));
    assert!(bench.loads.is_empty());
}

#[test]
fn what_the_store_has_lost_reads_as_expired() {
    let mut bench = Bench::on_disk(4 * KIB, |_| {});
    let client = durable(&mut bench, "s", "a", ONE);
    let member = durable(&mut bench, "m", "$share/g/a", ONE);
    bench.cut(client);
    bench.cut(member);
    for number in 0..40 {
        bench.inject("a", &number.to_string(), ONE);
    }
    let spilled = bench.broker.stats().spilled;
    bench.load_at_once = false;
    for id in ["s", "m"] {
        let client = back(&mut bench, id);
        while let Some(LoadRequest { filter, from, until, .. }) = bench.loads.pop_front() {
            let lost = Loaded { filter, from, upto: until, entries: Vec::new() };
            bench.broker.handle_completion(bench.now, Completion::Loaded(lost));
            bench.run();
        }
        let got = bench.take_texts(client);
        assert!(!got.is_empty() && got == numbers(40 - got.len() as u32..40), "{got:?}");
    }
    assert_eq!(bench.broker.stats().dropped_expired, spilled);
    assert_empty(&bench);
}

#[test]
fn a_full_log_loses_its_oldest_whether_or_not_they_are_in_memory() {
    let mut bench = Bench::on_disk(4 * KIB, |config| config.session.max_queued_messages = 100);
    let client = durable(&mut bench, "s", "a", ONE);
    bench.cut(client);
    for number in 0..250 {
        bench.inject("a", &number.to_string(), ONE);
        let stats = bench.broker.stats();
        assert_eq!(stats.queued, bench.disk.entries() as u64);
        assert!(stats.queued <= 100 && stats.memory_bytes <= 4 * KIB);
    }
    assert!(bench.broker.stats().spilled > 50);
    assert_eq!(losses(&bench, "a", DropReason::LogFull), 150);
    let client = back(&mut bench, "s");
    assert_eq!(bench.take_texts(client), numbers(150..250));
    assert_eq!(losses(&bench, "s", DropReason::QueueFull), 150);
    assert_empty(&bench);
}

#[test]
fn a_restart_reads_no_messages_until_they_are_wanted() {
    let mut world = World::with_memory(8 * KIB);
    for id in ["s", "t"] {
        let (client, _) = world.bench.connect(persistent(Version::V5, id, FOREVER));
        world.bench.send(client, subscribe("a/#", QoS::ExactlyOnce));
        world.bench.send(client, subscribe("a/+", ONE));
        world.bench.cut(client);
    }
    let publisher = world.bench.v5("p");
    for number in 0..300_u32 {
        let qos = if number % 3 == 0 { QoS::ExactlyOnce } else { ONE };
        world.bench.send(publisher, message("a/b", &number.to_string(), qos));
        world.keep_all();
        world.bench.send(publisher, Packet::PubRel(ack(10)));
        world.keep_all();
    }
    let stats = world.bench.broker.stats();
    world.bench.load_at_once = false;
    world.crash();
    let restored = world.bench.broker.stats();
    assert_eq!((restored.queued, restored.queued_bytes), (stats.queued, stats.queued_bytes));
    assert_eq!((restored.spilled, restored.memory_bytes, world.bench.loads.len()), (600, 0, 0));
    world.bench.load_at_once = true;
    // Several restarts in the middle of the drain, with messages on their way at both QoS.
    let mut seen = Vec::new();
    while seen.len() < 300 {
        let (client, _) = world.bench.connect(persistent(Version::V5, "s", FOREVER));
        world.keep_all();
        for _ in 0..40 {
            let Some(packet) = world.bench.recv(client) else { break };
            match packet {
                Packet::Publish(publish) => {
                    let name = text(&publish).to_owned();
                    if !seen.contains(&name) {
                        seen.push(name);
                    }
                    let id = id_of(&publish);
                    let once = publish.delivery.qos() == ONE;
                    world.bench.send(client, if once { Packet::PubAck(ack(id)) } else { Packet::PubRec(ack(id)) });
                }
                Packet::PubRel(released) => world.bench.send(client, Packet::PubComp(ack(released.id.get()))),
                other => panic!("{other:?}"),
            }
            world.keep_all();
        }
        world.crash();
    }
    assert_eq!(seen, numbers(0..300));
    for id in ["s", "t"] {
        let (client, _) = world.bench.connect(persistent(Version::V5, id, FOREVER));
        world.keep_all();
        loop {
            let got = world.bench.take_texts(client);
            world.keep_all();
            if got.is_empty() && world.kept == world.bench.batches.len() {
                break;
            }
        }
    }
    assert_eq!(world.bench.levels(), (0, 0, 0));
    assert_eq!((world.bench.disk.entries(), world.bench.disk.messages()), (0, 0));
}

#[test]
fn wall_clock_expiry_holds_for_what_is_read_back() {
    // [MQTT-3.3.2-5], [MQTT-3.3.2-6]
    let mut world = World::with_memory(4 * KIB);
    let (client, _) = world.bench.connect(persistent(Version::V5, "s", FOREVER));
    world.bench.send(client, subscribe("a", ONE));
    world.bench.cut(client);
    let publisher = world.bench.v5("p");
    for number in 0..60_u32 {
        let properties = properties([Property::MessageExpiryInterval(if number % 2 == 0 { 10 } else { 100 })]);
        world.bench.send(publisher, Publish { properties, ..message("a", &number.to_string(), ONE) });
        world.keep_all();
    }
    assert!(world.bench.broker.stats().spilled > 30);
    world.bench.now = world.bench.now + Duration::from_secs(20);
    world.crash();
    world.bench.sleep(Duration::from_secs(10));
    let (client, _) = world.bench.connect(persistent(Version::V5, "s", FOREVER));
    let got = world.bench.take(client);
    let odd: Vec<String> = (0..60).filter(|number| number % 2 == 1).map(|number| number.to_string()).collect();
    assert_eq!(got.iter().map(text).collect::<Vec<_>>(), odd);
    assert!(got.iter().all(|publish| publish.properties.message_expiry_interval() == Some(70)), "{got:?}");
    assert_eq!(losses(&world.bench, "s", DropReason::Expired), 30);
}

#[test]
fn one_message_of_several_spilled_logs_comes_once() {
    // [MQTT-3.3.4-2], [MQTT-3.3.4-3], [MQTT-3.3.4-4], [MQTT-3.8.3-3]
    let mut bench = Bench::on_disk(4 * KIB, |_| {});
    let client = bench.connect(persistent(Version::V5, "s", FOREVER)).0;
    for (number, filter) in ["a/#", "+/b", "a/b"].into_iter().enumerate() {
        bench.subscribe_with(client, filter, if number == 1 { QoS::ExactlyOnce } else { ONE }, number as u32 + 1);
    }
    let own = SubscriptionOptions { no_local: true, ..ONE.into() };
    bench.subscribe(client, "own", own);
    bench.publish_to_itself(client, "own", "mine");
    bench.cut(client);
    for number in 0..90_u32 {
        let topic = ["a/b", "a/c", "x/b"][number as usize % 3];
        bench.inject(topic, &number.to_string(), QoS::ExactlyOnce);
        bench.inject("own", "another's", ONE);
    }
    assert!(bench.broker.stats().spilled > 100);
    let client = back(&mut bench, "s");
    let got = bench.take(client);
    let (plain, own): (Vec<_>, Vec<_>) = got.iter().partition(|publish| text(publish) != "another's");
    assert_eq!(plain.iter().map(|publish| text(publish).to_owned()).collect::<Vec<_>>(), numbers(0..90));
    assert_eq!(own.len(), 90);
    for (number, publish) in plain.iter().enumerate() {
        let mut ids = identifiers(publish);
        ids.sort_unstable();
        assert_eq!(ids, [vec![1, 2, 3], vec![1], vec![2]][number % 3]);
        let qos = if number % 3 == 1 { ONE } else { QoS::ExactlyOnce };
        assert_eq!(publish.delivery.qos(), qos);
    }
    assert_empty(&bench);
}

#[test]
fn a_message_that_one_of_several_logs_has_lost_comes_once() {
    // [MQTT-3.3.4-2]: the log that lost it has to be loaded when the others are read.
    let mut bench = Bench::on_disk(4 * KIB, |config| config.session.max_queued_messages = 3);
    let own = properties([Property::ReceiveMaximum(1), Property::SessionExpiryInterval(FOREVER)]);
    let client = bench.connect(Connect { properties: own, ..persistent(Version::V5, "s", FOREVER) }).0;
    for filter in ["a/+", "#", "+/b"] {
        bench.subscribe(client, filter, QoS::ExactlyOnce);
    }
    bench.inject("first", "", ONE);
    let first = bench.recv_publish(client);
    bench.inject("a/b", "twice?", QoS::ExactlyOnce);
    for _ in 0..4 {
        bench.inject("more", &"x".repeat(700), ONE);
    }
    assert!(bench.broker.stats().spilled > 0);
    bench.send(client, Packet::PubAck(ack(id_of(&first))));
    let got = bench.take_texts(client);
    assert_eq!((got[0].as_str(), got.iter().filter(|text| *text == "twice?").count()), ("twice?", 1));
    assert_eq!((got.len(), losses(&bench, "s", DropReason::QueueFull)), (4, 2));
    assert_empty(&bench);
}

#[test]
fn what_a_lost_member_had_goes_to_another_from_the_store() {
    // [MQTT-4.8.2-4], [MQTT-4.8.2-5]
    let mut bench = Bench::on_disk(4 * KIB, |config| config.connection.max_inflight = 10);
    let first = durable(&mut bench, "first", "$share/g/a", ONE);
    bench.cut(first);
    for number in 0..60 {
        bench.inject("a", &number.to_string(), ONE);
    }
    assert!(bench.broker.stats().spilled > 30);
    let first = back(&mut bench, "first");
    let held = bench.recv_texts(first);
    assert_eq!(held, numbers(0..held.len() as u32));
    let second = durable(&mut bench, "second", "$share/g/a", ONE);
    bench.cut(first);
    // What it had credit for before comes first.
    let mut got = bench.take_texts(second);
    assert!(got.len() == 60 && got[50..] == numbers(50..60), "{got:?}");
    got.sort_by_key(|text| text.parse::<u32>().unwrap());
    assert_eq!(got, numbers(0..60));
    assert_empty(&bench);
}

#[test]
fn a_publisher_waits_until_the_store_has_made_room() {
    for version in [Version::V3_1_1, Version::V5] {
        let mut bench = Bench::on_disk(8 * KIB, |_| {});
        let client = durable(&mut bench, "s", "a", ONE);
        bench.cut(client);
        bench.store_at_once = false;
        let publisher = bench.connect(connect(version, "p")).0;
        let payload = "x".repeat(300);
        for id in 1..=20 {
            let delivery = Delivery::AtLeastOnce { id: pid(id), dup: false };
            bench.send(publisher, Publish { delivery, ..message("a", &payload, ONE) });
        }
        let stats = bench.broker.stats();
        assert!(stats.queued < 20 && stats.memory_bytes <= 8 * KIB, "{stats:?}");
        bench.assert_silent(publisher);
        while bench.broker.stats().queued < 20 {
            let batch = bench.batches.last().unwrap().clone();
            bench.disk.apply(&batch);
            bench.broker.handle_completion(bench.now, Completion::Stored { upto: batch.seq });
            bench.run();
            assert!(bench.broker.stats().memory_bytes <= 8 * KIB);
        }
        bench.stored();
        assert_eq!(bench.recv_all(publisher).len(), 20);
        assert_eq!(bench.broker.stats().publish_refused_total, 0);
    }
}

#[test]
fn what_finds_no_room_is_refused_and_never_acknowledged() {
    let mut bench = Bench::on_disk(8 * KIB, |_| {});
    let keeper = bench.v5("keeper");
    let payload = "x".repeat(1000);
    let mut kept = 0;
    loop {
        bench.send(keeper, Publish { retain: true, ..message(&format!("r/{kept}"), &payload, ONE) });
        let Some(Packet::PubAck(ack)) = bench.recv(keeper) else { panic!("no answer") };
        if ack.reason == ReasonCode::QuotaExceeded {
            break;
        }
        kept += 1;
    }
    assert_eq!(bench.broker.stats().retained, kept);
    assert!(bench.broker.stats().memory_bytes <= 8 * KIB);
    let client = durable(&mut bench, "s", "a", ONE);
    bench.cut(client);
    let old = bench.v3("old");
    bench.send(old, message("a", &payload, ONE));
    assert!(bench.is_closed(old));
    bench.assert_silent(old);
    assert_eq!((bench.broker.stats().queued, bench.broker.stats().publish_refused_total), (0, 2));
    // Once there is room again, everybody is served.
    bench.retain(keeper, "r/0", "");
    bench.publish(keeper, "a", "y", ONE);
    let client = back(&mut bench, "s");
    assert_eq!(bench.take_texts(client), ["y"]);
}

#[test]
fn without_a_store_the_memory_limit_drops_the_oldest() {
    let mut bench = Bench::with(|config| config.max_memory_bytes = 8 * KIB);
    let client = durable(&mut bench, "s", "a", ONE);
    bench.cut(client);
    for number in 0..100 {
        bench.inject("a", &number.to_string(), ONE);
        assert!(bench.broker.stats().memory_bytes <= 8 * KIB);
    }
    let stats = bench.broker.stats();
    assert_eq!((stats.spilled, stats.loads_total, stats.trimmed_log_full), (0, 0, 100 - stats.queued));
    let client = back(&mut bench, "s");
    assert_eq!(bench.take_texts(client), numbers(100 - stats.queued as u32..100));
}

#[test]
fn clients_that_do_not_read_get_one_at_a_time_when_memory_is_short() {
    let mut bench = Bench::on_disk(64 * KIB, |_| {});
    let mut clients = Vec::new();
    for number in 0..20 {
        let client = bench.v5(&format!("c{number}"));
        bench.subscribe(client, "a", QoS::AtMostOnce);
        bench.set_window(client, Some(0));
        clients.push(client);
    }
    let payload = "x".repeat(2000);
    for _ in 0..50 {
        bench.inject("a", &payload, QoS::AtMostOnce);
    }
    // A quarter of the memory, and one message each.
    assert!(bench.broker.stats().memory_bytes <= 16 * KIB + 20 * 2100, "{:?}", bench.broker.stats());
    assert!(bench.broker.stats().dropped_slow_receiver > 0);
    for client in clients {
        bench.set_window(client, None);
        assert!(!bench.recv_texts(client).is_empty());
        bench.inject("a", "on", QoS::AtMostOnce);
        assert_eq!(bench.recv_texts(client), ["on"]);
    }
    assert_eq!(bench.broker.stats().memory_bytes, 0);
}

#[test]
fn a_store_that_was_told_twice_gives_the_same_heads() {
    let mut bench = Bench::on_disk(4 * KIB, |_| {});
    let client = durable(&mut bench, "s", "a", ONE);
    bench.cut(client);
    for number in 0..20 {
        bench.inject("a", &number.to_string(), ONE);
    }
    let mut twice = MemoryStore::new();
    for batch in &bench.batches {
        twice.apply(batch);
        twice.apply(batch);
    }
    assert_eq!(twice.contents(), bench.disk.contents());
    assert_eq!((twice.contents().entries(), twice.contents().logs()), (20, 1));
    // A broker that is made of the heads knows as much as the one that made them.
    let config = Arc::new(Config { sys_interval: Duration::ZERO, ..Config::default() });
    let stats = Broker::restore(config, [1; 32], bench.now, bench.wall(), twice.contents()).stats();
    assert_eq!((stats.queued, stats.queued_bytes), (20, bench.broker.stats().queued_bytes));
}
