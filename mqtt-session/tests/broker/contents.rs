//! What a broker begins with, put together from single records.
use crate::common::world::*;
use crate::common::*;
use mqtt_session::broker::*;
use mqtt_session::proto::*;

/// A world with something of every kind, and the keys of all its records.
fn everything() -> (World, Vec<RecordKey>) {
    let mut world = World::with_memory(1 << 20);
    let first = Connect { will: Some(will("w", "gone")), ..persistent(Version::V5, "s", FOREVER) };
    let (client, _) = world.bench.connect(first);
    for filter in ["a", "a/#", "$share/g/a"] {
        world.bench.send(client, subscribe(filter, QoS::ExactlyOnce));
    }
    world.keep_all();
    for number in 0..6 {
        world.bench.inject("a", &number.to_string(), QoS::ExactlyOnce);
    }
    let publisher = world.bench.connect(persistent(Version::V5, "p", FOREVER)).0;
    world.bench.send(publisher, Publish { retain: true, ..message("r", "kept", QoS::ExactlyOnce) });
    world.keep_all();
    let got = world.bench.recv_all(client);
    for packet in &got {
        let Packet::Publish(publish) = packet else { continue };
        world.bench.send(client, Packet::PubRec(ack(id_of(publish))));
        world.keep_all();
        if id_of(publish).is_multiple_of(3) {
            world.bench.send(client, Packet::PubComp(ack(id_of(publish))));
        }
    }
    world.keep_all();
    let (mut store, mut keys) = (MemoryStore::new(), Vec::new());
    for batch in &world.bench.batches {
        store.apply_noting(batch, &mut keys);
    }
    assert_eq!(store, world.bench.disk);
    keys.sort();
    keys.dedup();
    keys.retain(|key| store.record(key).is_some());
    (world, keys)
}

#[test]
fn records_make_the_same_contents_in_any_order() {
    let (world, keys) = everything();
    let expected = world.bench.disk.contents();
    assert!(expected.sessions() == 2 && expected.retained() == 1 && expected.entries() > 6, "{expected:?}");
    let mut orders = vec![keys.clone(), keys.iter().rev().cloned().collect()];
    orders.push(keys.iter().skip(1).step_by(2).chain(keys.iter().step_by(2)).cloned().collect());
    for order in orders {
        let mut contents = Contents::new();
        for key in &order {
            let belongs = contents.put(key, world.bench.disk.record(key).unwrap());
            assert_eq!(belongs, !matches!(key, RecordKey::Entry(..)), "{key:?}");
        }
        let swept = contents.sweep();
        assert!(swept.iter().all(|key| matches!(key, RecordKey::Message(_))), "only in logs: {swept:?}");
        assert_eq!(contents, expected);
    }
}

#[test]
fn what_belongs_to_nothing_is_named_and_does_no_harm() {
    let (world, keys) = everything();
    let build = |leave_out: &dyn Fn(&RecordKey) -> bool| {
        let mut contents = Contents::new();
        for key in keys.iter().filter(|key| !leave_out(key)) {
            contents.put(key, world.bench.disk.record(key).unwrap());
        }
        contents
    };
    let gone = |key: &RecordKey| matches!(key, RecordKey::Session(id) if id.as_str() == "s");
    let mut without = build(&gone);
    let restored = |contents: Contents| {
        let config = std::sync::Arc::new(Config { sys_interval: std::time::Duration::ZERO, ..Config::default() });
        Broker::restore(config, [1; 32], world.bench.now, world.bench.wall(), contents).stats()
    };
    let before = restored(without.clone());
    assert_eq!((before.sessions, before.subscriptions, before.queued), (1, 0, 0));
    let swept = without.sweep();
    let parts = |wanted: fn(&RecordKey) -> bool| swept.iter().filter(|key| wanted(key)).count();
    assert_eq!(parts(|key| matches!(key, RecordKey::Subscription(..))), 3);
    assert!(parts(|key| matches!(key, RecordKey::Cursor(..))) >= 2);
    assert!(parts(|key| matches!(key, RecordKey::Settled(..))) >= 1);
    assert!(parts(|key| matches!(key, RecordKey::Outgoing(..))) >= 1);
    assert_eq!(restored(without), before);
    // A delivery without its message is none.
    let mut without = build(&|key| matches!(key, RecordKey::Message(_)));
    let inflight = restored(without.clone()).inflight;
    assert!(without.sweep().iter().all(|key| matches!(key, RecordKey::Outgoing(..))));
    assert_eq!((inflight, restored(without).inflight), (0, 0));
}

#[test]
fn a_record_that_does_not_fit_its_key_is_refused() {
    let mut contents = Contents::new();
    let log = RecordKey::Log(filter("a"));
    assert!(!contents.put(&log, Record::Mark));
    let backwards = LogHead { start: Position(2), end: Position(1), bytes: 0 };
    assert!(!contents.put(&log, Record::Log(backwards)));
    assert!(!contents.put(&RecordKey::Counters, Record::Cursor(Position(1))));
    assert_eq!(contents, Contents::new());
}
