//! What a broker begins with, put together from single records.
use crate::common::world::*;
use crate::common::*;
use mqtt_session::broker::*;
use mqtt_session::proto::*;
use std::sync::Arc;

/// Numbers of the messages in the logs; each stands at the position of its number and ten.
const LOGGED: std::ops::RangeInclusive<u64> = 1..=6;

fn note(topic: &str, qos: QoS, retain: bool) -> Arc<Message> {
    Arc::new(Message { qos, retain, ..Message::new(TopicName::try_from(topic).unwrap(), "x") })
}

fn session(id: &str) -> SessionRecord {
    let client_id = ClientId::try_from(id).unwrap();
    SessionRecord { client_id, identity: None, expiry: FOREVER, disconnected_at: None, will: None }
}

/// Something of every kind, as the operations that made it.
fn operations() -> Vec<StoreOp> {
    let [s, p] = ["s", "p"].map(|id| ClientId::try_from(id).unwrap());
    let subscription = |(number, text): (usize, &str)| StoreOp::Subscription {
        client_id: s.clone(),
        filter: filter(text),
        options: QoS::ExactlyOnce.into(),
        identifier: number as u32,
    };
    let outgoing = |id: u16, message: u64| StoreOp::Outgoing {
        client_id: s.clone(),
        id: pid(id),
        message: MessageId(message),
        places: vec![(filter("a"), Position(message + 10))],
        retain: id == 1,
        identifiers: vec![3],
    };
    let mut ops = vec![StoreOp::Session(session("s")), StoreOp::Session(session("p"))];
    ops.extend(["a", "a/#", "$share/g/a"].into_iter().enumerate().map(subscription));
    for number in LOGGED {
        ops.push(StoreOp::Message(MessageId(number), note("a", QoS::ExactlyOnce, false)));
        let append = |text| StoreOp::Append(filter(text), Position(number + 10), MessageId(number));
        ops.extend(["a", "a/#", "$share/g/a"].map(append));
    }
    ops.extend([
        StoreOp::Cursor(s.clone(), filter("a"), Position(12)),
        StoreOp::Cursor(s.clone(), filter("a/#"), Position(11)),
        StoreOp::Trim(filter("a"), Position(12)),
        StoreOp::Settled(Some(s.clone()), filter("a"), Position(14)),
        StoreOp::Settled(None, filter("$share/g/a"), Position(13)),
        StoreOp::Incoming(s.clone(), pid(4)),
        StoreOp::Incoming(p, pid(9)),
        outgoing(1, 2),
        outgoing(2, 5),
        StoreOp::Released(s, pid(2)),
        StoreOp::Retained(MessageId(7), note("r", QoS::ExactlyOnce, true)),
    ]);
    ops
}

/// The same as records.
fn records() -> Vec<(RecordKey, Record)> {
    let [s, p] = ["s", "p"].map(|id| ClientId::try_from(id).unwrap());
    let cost = note("a", QoS::ExactlyOnce, false).cost();
    let message = |message| Record::Message { message, expires_at: None };
    let log = |text, start| {
        let (start, end, bytes) = (Position(start), Position(17), (17 - start) * cost);
        (RecordKey::Log(filter(text)), Record::Log(LogHead { start, end, bytes }))
    };
    let outgoing = |id: u16, number: u64, order| {
        let (message, places) = (MessageId(number), vec![(filter("a"), Position(number + 10))]);
        let (retain, released, identifiers) = (id == 1, id == 2, vec![3]);
        let record = Record::Outgoing { order, message, places, retain, identifiers, released };
        (RecordKey::Outgoing(s.clone(), pid(id)), record)
    };
    let subscription = |(identifier, text)| {
        let record = Record::Subscription { options: QoS::ExactlyOnce.into(), identifier };
        (RecordKey::Subscription(s.clone(), filter(text)), record)
    };
    let mut records = vec![
        (RecordKey::Counters, Record::Counters { last: 17, deliveries: 2 }),
        (RecordKey::Session(s.clone()), Record::Session(session("s"))),
        (RecordKey::Session(p.clone()), Record::Session(session("p"))),
        (RecordKey::Cursor(s.clone(), filter("a")), Record::Cursor(Position(12))),
        (RecordKey::Cursor(s.clone(), filter("a/#")), Record::Cursor(Position(11))),
        (RecordKey::Settled(s.clone(), filter("a"), Position(14)), Record::Mark),
        (RecordKey::GroupSettled(filter("$share/g/a"), Position(13)), Record::Mark),
        (RecordKey::Incoming(s.clone(), pid(4)), Record::Mark),
        (RecordKey::Incoming(p, pid(9)), Record::Mark),
        outgoing(1, 2, 1),
        outgoing(2, 5, 2),
        log("a", 12),
        log("a/#", 11),
        log("$share/g/a", 11),
        (RecordKey::Retained(TopicName::try_from("r").unwrap()), message(note("r", QoS::ExactlyOnce, true))),
    ];
    records.extend([(0, "a"), (1, "a/#"), (2, "$share/g/a")].map(subscription));
    let logged =
        LOGGED.map(|number| (RecordKey::Message(MessageId(number)), message(note("a", QoS::ExactlyOnce, false))));
    records.extend(logged);
    records
}

fn build<'a>(records: impl IntoIterator<Item = &'a (RecordKey, Record)>) -> Contents {
    let mut contents = Contents::new();
    for (key, record) in records {
        assert!(contents.put(key, record.clone()), "{key:?}");
    }
    contents
}

fn restored(contents: Contents) -> Stats {
    let config = Arc::new(Config { sys_interval: std::time::Duration::ZERO, ..Config::default() });
    let bench = Bench::new();
    Broker::restore(config, [1; 32], bench.now, bench.wall(), contents).stats()
}

/// The keys in `swept`, in order.
fn sorted(mut swept: Vec<RecordKey>) -> Vec<RecordKey> {
    swept.sort();
    swept
}

#[test]
fn records_make_the_same_contents_in_any_order() {
    let (bench, mut store) = (Bench::new(), MemoryStore::new());
    store.apply(&StoreBatch { seq: StoreSeq(1), now: bench.now, wall: bench.wall(), ops: operations() });
    let expected = store.contents();
    let levels =
        (expected.sessions(), expected.subscriptions(), expected.retained(), expected.logs(), expected.entries());
    assert_eq!(levels, (2, 3, 1, 3, 17));
    let records = records();
    let mut orders: Vec<Vec<_>> = vec![records.iter().collect(), records.iter().rev().collect()];
    orders.push(records.iter().skip(1).step_by(2).chain(records.iter().step_by(2)).collect());
    for order in orders {
        let mut contents = build(order);
        let only_in_logs = [1, 3, 4, 6].map(|number| RecordKey::Message(MessageId(number)));
        assert_eq!(sorted(contents.sweep()), only_in_logs);
        assert_eq!(contents, expected);
    }
}

#[test]
fn what_belongs_to_nothing_is_named_and_does_no_harm() {
    let records = records();
    let of_s = |key: &RecordKey| match key {
        RecordKey::Subscription(id, _) | RecordKey::Cursor(id, _) | RecordKey::Settled(id, ..) => id.as_str() == "s",
        RecordKey::Incoming(id, _) | RecordKey::Outgoing(id, _) => id.as_str() == "s",
        RecordKey::Message(_) => true,
        _ => false,
    };
    let mut without =
        build(records.iter().filter(|(key, _)| !matches!(key, RecordKey::Session(id) if id.as_str() == "s")));
    assert_eq!(without.sessions(), 1);
    let before = restored(without.clone());
    assert_eq!((before.sessions, before.subscriptions, before.queued), (1, 0, 0));
    let parts = records.iter().map(|(key, _)| key.clone()).filter(of_s).collect();
    assert_eq!(sorted(without.sweep()), sorted(parts));
    assert_eq!(restored(without), before);
    // A delivery without its message is none.
    let mut without = build(records.iter().filter(|(key, _)| !matches!(key, RecordKey::Message(_))));
    let inflight = restored(without.clone()).inflight;
    let deliveries = records.iter().map(|(key, _)| key).filter(|key| matches!(key, RecordKey::Outgoing(..))).cloned();
    assert_eq!(sorted(without.sweep()), sorted(deliveries.collect()));
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
    let other = RecordKey::Session(ClientId::try_from("t").unwrap());
    assert!(!contents.put(&other, Record::Session(session("s"))));
    let (topic, expires_at) = (TopicName::try_from("t").unwrap(), None);
    assert_eq!((contents.sessions(), contents.retained(), contents.logs()), (0, 0, 0));
    let elsewhere = Record::Message { message: note("r", QoS::AtMostOnce, true), expires_at };
    assert!(!contents.put(&RecordKey::Retained(topic), elsewhere));
    assert_eq!(contents, Contents::new());
}

/// A number or position that was given away is not given away again, whichever record is the only one to tell of it.
#[test]
fn every_record_keeps_its_number_from_coming_again() {
    let s = ClientId::try_from("s").unwrap();
    let message = || Record::Message { message: note("r", QoS::AtMostOnce, true), expires_at: None };
    let log = Record::Log(LogHead { start: Position(40), end: Position(50), bytes: 1 });
    let counters = |last| (RecordKey::Counters, Record::Counters { last, deliveries: 0 });
    for (key, record, same_as) in [
        (RecordKey::Cursor(s.clone(), filter("a")), Record::Cursor(Position(50)), 50),
        (RecordKey::Settled(s, filter("a"), Position(49)), Record::Mark, 50),
        (RecordKey::GroupSettled(filter("$share/g/a"), Position(49)), Record::Mark, 50),
        (RecordKey::Message(MessageId(50)), message(), 50),
        (RecordKey::Log(filter("a")), log, 50),
    ] {
        let record = (key, record);
        let alone = build([&record]);
        assert_eq!(alone, build([&record, &counters(same_as)]));
        assert_ne!(alone, build([&record, &counters(same_as + 1)]));
    }
}

fn applied(ops: Vec<StoreOp>) -> MemoryStore {
    let (bench, mut store) = (Bench::new(), MemoryStore::new());
    store.apply(&StoreBatch { seq: StoreSeq(1), now: bench.now, wall: bench.wall(), ops });
    store
}

#[test]
fn a_log_lasts_as_long_as_anybody_subscribes_its_filter() {
    let ids = ["s", "p"].map(|id| ClientId::try_from(id).unwrap());
    let subscription = |id: &ClientId| StoreOp::Subscription {
        client_id: id.clone(),
        filter: filter("a"),
        options: QoS::AtLeastOnce.into(),
        identifier: 0,
    };
    let mut ops = vec![StoreOp::Session(session("s")), StoreOp::Session(session("p"))];
    ops.extend(ids.each_ref().map(subscription));
    ops.push(subscription(&ids[0])); // anew, which makes no second subscriber
    for number in 1..=3 {
        ops.push(StoreOp::Message(MessageId(number), note("a", QoS::AtLeastOnce, false)));
        ops.push(StoreOp::Append(filter("a"), Position(number), MessageId(number)));
    }
    ops.push(StoreOp::Message(MessageId(4), note("a", QoS::AtLeastOnce, false))); // in no log
    let levels = |ends: &[StoreOp]| {
        let store = applied([&ops, ends].concat());
        (store.sessions(), store.subscriptions(), store.contents().logs(), store.entries(), store.messages())
    };
    let one = StoreOp::SubscriptionEnd(ids[0].clone(), filter("a"));
    assert_eq!(levels(&[]), (2, 2, 1, 3, 3));
    assert_eq!(levels(std::slice::from_ref(&one)), (2, 1, 1, 3, 3));
    assert_eq!(levels(&[one.clone(), one.clone()]), (2, 1, 1, 3, 3));
    assert_eq!(levels(&[StoreOp::SessionEnd(ids[1].clone())]), (1, 1, 1, 3, 3));
    assert_eq!(levels(&[one, StoreOp::SessionEnd(ids[1].clone())]), (1, 0, 0, 0, 0));
}

/// A store gives as much as is asked for, to the byte, and one entry of any size.
#[test]
fn a_load_is_as_large_as_it_may_be() {
    let store = applied(operations());
    let cost = note("a", QoS::ExactlyOnce, false).cost();
    for (max_bytes, count) in [(0, 1), (cost, 1), (2 * cost - 1, 1), (2 * cost, 2), (3 * cost, 3), (100 * cost, 3)] {
        let (from, until) = (Position(13), Position(16));
        let loaded = store.load(&LoadRequest { filter: filter("a"), from, until, max_bytes });
        let places: Vec<_> = loaded.entries.iter().map(|entry| entry.at.0).collect();
        assert_eq!(places, (13..13 + count).collect::<Vec<_>>());
        assert_eq!((loaded.from, loaded.upto), (from, Position(13 + count)));
    }
}

#[test]
fn a_trim_takes_a_message_from_one_log_alone() {
    let mut ops = operations();
    ops.push(StoreOp::Trim(filter("a"), Position(17)));
    let store = applied(ops.clone());
    assert_eq!((store.entries(), store.messages(), store.contents().logs()), (12, 6, 3), "an empty log is one");
    let places = |text| {
        let (from, until) = (Position(0), Position(100));
        store.load(&LoadRequest { filter: filter(text), from, until, max_bytes: 1 << 20 }).entries.len()
    };
    assert_eq!(["a", "a/#", "$share/g/a"].map(places), [0, 6, 6]);
    ops.extend(["a/#", "$share/g/a"].map(|text| StoreOp::Trim(filter(text), Position(17))));
    assert_eq!(applied(ops.clone()).messages(), 2, "those on their way");
    // Without a subscription nothing is left of an empty log.
    let ops = [StoreOp::Append(filter("x"), Position(1), MessageId(1)), StoreOp::Trim(filter("x"), Position(2))];
    assert_eq!(applied(ops.to_vec()).contents().logs(), 0);
}
