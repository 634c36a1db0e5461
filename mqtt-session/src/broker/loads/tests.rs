//! What is asked for, found, and given up, log by log.
use super::super::timers::Timers;
use super::super::{Config, Contents, LogEntry, LogHead, Message, MessageId};
use super::*;
use crate::UnixTime;
use alloc::sync::Arc;
use alloc::vec;

/// A log of which the store alone has `entries`, each of so many bytes.
fn log(entries: u64, bytes: u64) -> Log {
    let head = LogHead { start: Position(0), end: Position(entries), bytes: entries * bytes };
    Log::spilled(TopicFilter::from_static("a"), &head)
}

fn entry(at: u64) -> (Position, Entry) {
    let message = Arc::new(Message::new(TopicName::try_from("a").unwrap(), "x"));
    (Position(at), Entry { id: MessageId(at), message })
}

/// The chunk `from..upto` of the log `key`, but for one entry that is lost.
fn chunk(loads: &mut Loads, key: u32, from: u64, upto: u64, lost: Option<u64>) {
    let entries = (from..upto).filter(|at| Some(*at) != lost).map(entry).collect();
    loads.insert(key, Position(from), Position(upto), entries);
}

/// What is asked for: log, first position, end, readers.
fn wanted(loads: &Loads) -> Vec<(u32, u64, u64, usize)> {
    let all = loads.wanted.iter();
    all.map(|((key, from), wanted)| (*key, from.0, wanted.until.0, wanted.readers.len())).collect()
}

fn found(found: &Found) -> Option<u64> {
    match found {
        Found::Entry(entry) => Some(entry.id.0),
        Found::Lost | Found::Unknown => None,
    }
}

#[test]
fn a_load_asks_for_a_quarter_of_a_mebibyte_or_so_many_entries() {
    for (bytes, upto) in [(1024, 10 + 257), (100_000, 10 + 3), (1 << 20, 10 + 1), (1, 10 + 4096), (0, 10 + 4096)] {
        let (mut loads, log) = (Loads::default(), log(9000, bytes));
        loads.want(7, &log, Position(10), Some(Reader::Session(1)));
        assert_eq!(wanted(&loads), [(7, 10, upto, 1)], "{bytes}");
        assert_eq!(loads.queue, [(7, Position(10))]);
    }
}

#[test]
fn a_load_ends_where_something_is_there_or_asked_for_or_in_memory() {
    let (mut loads, log) = (Loads::default(), log(100, 1));
    loads.want(7, &log, Position(90), None);
    chunk(&mut loads, 7, 50, 60, None);
    chunk(&mut loads, 8, 0, 5, None); // another log
    loads.want(6, &log, Position(40), None);
    loads.want(7, &log, Position(60), None);
    loads.want(7, &log, Position(20), None);
    assert_eq!(wanted(&loads), [(6, 40, 100, 0), (7, 20, 50, 0), (7, 60, 90, 0), (7, 90, 100, 0)]);
}

#[test]
fn who_wants_what_is_asked_for_already_waits_with_the_others() {
    let (mut loads, log) = (Loads::default(), log(100, 1));
    loads.want(7, &log, Position(50), None);
    loads.want(7, &log, Position(20), Some(Reader::Session(1)));
    for (at, reader) in [(20, 1), (30, 1), (49, 2), (20, 2)] {
        loads.want(7, &log, Position(at), Some(Reader::Session(reader)));
    }
    assert_eq!(wanted(&loads), [(7, 20, 50, 2), (7, 50, 100, 0)]);
    loads.want(7, &log, Position(50), Some(Reader::Group(1)));
    assert_eq!(wanted(&loads), [(7, 20, 50, 2), (7, 50, 100, 1)]);
    assert_eq!(loads.queue.len(), 2);
    // What begins where that ends is another part.
    let (mut loads, log) = (Loads::default(), self::log(9000, 1));
    loads.want(7, &log, Position(10), None);
    loads.want(7, &log, Position(10 + 4096), None);
    assert_eq!(wanted(&loads), [(7, 10, 4106, 0), (7, 4106, 8202, 0)]);
}

#[test]
fn each_entry_of_a_chunk_is_found_and_one_that_is_not_there_is_lost() {
    for lost in [None, Some(20), Some(23), Some(29)] {
        let (mut loads, log) = (Loads::default(), log(30, 1));
        chunk(&mut loads, 7, 20, 30, lost);
        for at in 20..30 {
            let got = loads.find(7, &log, Position(at));
            assert_eq!(found(&got), Some(at).filter(|at| Some(*at) != lost));
            assert_eq!(matches!(got, Found::Lost), Some(at) == lost);
        }
        for (key, at) in [(7, 19), (7, 30), (6, 25), (8, 25)] {
            assert!(matches!(loads.find(key, &log, Position(at)), Found::Unknown), "{key} {at}");
        }
    }
}

#[test]
fn the_first_look_at_a_chunk_has_what_follows_loaded() {
    let (mut loads, long) = (Loads::default(), log(100, 1));
    chunk(&mut loads, 7, 20, 30, None);
    assert_eq!(wanted(&loads), []);
    loads.find(7, &long, Position(22));
    assert_eq!(wanted(&loads), [(7, 30, 100, 0)]);
    // Again once another was looked at in between.
    loads.wanted.clear();
    loads.find(7, &long, Position(23));
    assert_eq!(wanted(&loads), []);
    chunk(&mut loads, 8, 50, 60, None);
    loads.find(7, &long, Position(24));
    assert_eq!(wanted(&loads), [(7, 30, 100, 0)]);
    // Not what is there, and not what is in memory.
    for (end, next) in [(100, true), (30, false)] {
        let mut loads = Loads::default();
        chunk(&mut loads, 7, 20, 30, None);
        if next {
            chunk(&mut loads, 7, 30, 40, None);
        }
        loads.find(7, &log(end, 1), Position(25));
        assert_eq!(wanted(&loads), []);
    }
}

#[test]
fn what_was_not_looked_at_for_longest_gives_way_first() {
    let (mut loads, log) = (Loads::default(), log(100, 1));
    let one = entry(0).1.message.cost();
    for from in [0, 10, 20, 30] {
        chunk(&mut loads, 7, from, from + 10, None);
    }
    for at in [12, 2, 13, 32] {
        loads.find(7, &log, Position(at));
    }
    assert_eq!(loads.bytes(), 40 * one);
    for (left, gone) in [(30, 20), (20, 0), (10, 10), (0, 30)] {
        assert!(loads.chunks.contains_key(&(7, Position(gone))));
        assert!(loads.give_way());
        assert!(!loads.chunks.contains_key(&(7, Position(gone))), "{gone}");
        assert_eq!((loads.bytes(), loads.used.len() as u64), (left * one, left / 10));
    }
    assert!(!loads.give_way());
}

#[test]
fn a_trim_drops_the_chunks_that_end_before_the_start() {
    let mut loads = Loads::default();
    let one = entry(0).1.message.cost();
    for (key, from) in [(6, 0), (7, 0), (7, 10), (7, 20), (8, 0)] {
        chunk(&mut loads, key, from, from + 10, None);
    }
    let left = |loads: &Loads| loads.chunks.keys().map(|(key, from)| (*key, from.0)).collect::<Vec<_>>();
    loads.trim(7, Position(9));
    assert_eq!(left(&loads), [(6, 0), (7, 0), (7, 10), (7, 20), (8, 0)]);
    loads.trim(7, Position(19));
    assert_eq!(left(&loads), [(6, 0), (7, 10), (7, 20), (8, 0)]);
    loads.trim(7, Position(30));
    assert_eq!(left(&loads), [(6, 0), (8, 0)]);
    assert_eq!((loads.bytes(), loads.used.len()), (20 * one, 2));
}

#[test]
fn nothing_is_left_of_a_log_that_is_over() {
    let (mut loads, log, mut timers) = (Loads::default(), log(100, 1), Timers::default());
    chunk(&mut loads, 7, 0, 10, None);
    let later = Instant::from_secs(1);
    for (key, at, state, failures) in [
        (7, 90, State::Queued, 0),
        (7, 60, State::Asked, 1),
        (7, 30, State::Pausing(later), 2),
        (8, 5, State::Asked, 0),
    ] {
        loads.want(key, &log, Position(at), None);
        let wanted = loads.wanted.get_mut(&(key, Position(at))).unwrap();
        (wanted.state, wanted.failures) = (state, failures);
        loads.asked += u64::from(state == State::Asked);
        loads.failing += usize::from(failures > 0);
    }
    timers.arm(later, Timer::Load(7, Position(30)));
    assert!(loads.is_failing());
    loads.forget(7, &mut timers);
    assert_eq!((loads.asked, loads.is_failing(), timers.first()), (1, false, None));
    assert_eq!((wanted(&loads), loads.chunks.len()), (vec![(8, 5, 100, 0)], 0));
}

#[test]
fn the_largest_log_is_known_by_its_magnitude() {
    let (mut largest, mut logs) = (Largest::default(), [log(0, 0), log(0, 0)]);
    assert_eq!(largest.first(), None);
    for (id, key) in [(1, 0), (2, 1), (3, 1), (4, 1), (5, 1), (6, 0)] {
        logs[key].append(MessageId(id), entry(id).1.message);
        largest.grown(key as u32, &mut logs[key]);
    }
    let bytes = logs[1].tail_bytes();
    assert_eq!((largest.first(), u64::from(logs[1].rank)), (Some(1), u64::from(bytes.ilog2()) + 1));
    largest.set(1, &mut logs[1], 0);
    assert_eq!(largest.first(), Some(0));
    largest.set(0, &mut logs[0], 0);
    assert_eq!((largest.first(), logs[0].rank), (None, 0));
}

/// A broker with a store and so much memory.
fn broker(memory: u64) -> Broker {
    let config = Config { max_memory_bytes: memory, sys_interval: Duration::ZERO, ..Config::default() };
    let (now, wall) = (Instant::from_secs(1), UnixTime::from_millis(1));
    Broker::restore(Arc::new(config), [1; 32], now, wall, Contents::new())
}

/// Adds a log and gives its key.
fn add(broker: &mut Broker, log: Log) -> u32 {
    let filter = log.filter.clone();
    let key = broker.logs.insert(log);
    broker.log_by_filter.insert(filter, key);
    key
}

/// What it asks for: first position, end, bytes.
fn asks(broker: &mut Broker) -> Vec<(u64, u64, u64)> {
    broker.start_loads();
    let request = |output| match output {
        Output::Request(Request::Load(LoadRequest { from, until, max_bytes, .. })) => {
            Some((from.0, until.0, max_bytes))
        }
        _ => None,
    };
    broker.outputs.drain(..).filter_map(request).collect()
}

fn answer(broker: &mut Broker, from: u64, upto: u64, entries: impl IntoIterator<Item = u64>) {
    let entry = |at: u64| {
        let (at, entry) = entry(at);
        LogEntry { at, id: entry.id, message: entry.message, expires_at: None }
    };
    let entries = entries.into_iter().map(entry).collect();
    let filter = TopicFilter::from_static("a");
    broker.loaded(Loaded { filter, from: Position(from), upto: Position(upto), entries });
}

/// The chunks that are there: first position, end, number of entries.
fn chunks(broker: &Broker) -> Vec<(u64, u64, usize)> {
    let all = broker.loads.chunks.iter();
    all.map(|((_, from), chunk)| (from.0, chunk.upto.0, chunk.entries.len())).collect()
}

fn want(broker: &mut Broker, key: u32, at: u64, reader: Option<Reader>) {
    let log = broker.logs.get(key).unwrap();
    broker.loads.want(key, log, Position(at), reader);
}

#[test]
fn the_memory_is_divided_in_fixed_parts() {
    let mut broker = broker(1600);
    assert_eq!((broker.queue_limit(), broker.load_limit()), (1000, 200));
    for (bytes, crowded) in [(0, false), (400, false), (401, true)] {
        broker.under_way_bytes = bytes;
        assert_eq!(broker.is_crowded(), crowded);
    }
    broker.stats.memory_bytes = 900;
    assert!(broker.find_room(100) && !broker.find_room(101));
    // Few places need no closer look; here nobody subscribes, so that there is one.
    let topic = TopicName::try_from("a").unwrap();
    assert!(broker.has_room_for(&topic, 100) && !broker.has_room_for(&topic, 101));
    broker.stats.memory_bytes = 0;
    assert!(broker.has_room_for(&topic, 1000) && !broker.has_room_for(&topic, 1001));
    broker.stats.memory_bytes = 900;
    broker.loads.enabled = false;
    assert_eq!(broker.queue_limit(), 1200);
    assert!(broker.find_room(300) && !broker.find_room(301) && broker.has_room_for(&topic, 301));
}

/// A log with so many messages in memory, known among the largest.
fn filled(broker: &mut Broker, filter: &'static str, entries: core::ops::RangeInclusive<u64>) -> u32 {
    let key = add(broker, Log::new(TopicFilter::from_static(filter), Position(0)));
    let log = broker.logs.get_mut(key).unwrap();
    for id in entries {
        broker.stats.memory_bytes += entry(id).1.message.cost();
        log.append(MessageId(id), entry(id).1.message);
    }
    broker.largest.grown(key, log);
    key
}

#[test]
fn what_gives_way_is_the_oldest_of_the_largest_that_the_store_has() {
    let one = entry(0).1.message.cost();
    let levels = |broker: &Broker, keys: [u32; 2]| keys.map(|key| broker.logs.get(key).unwrap().spilled_len());
    // So much as is wanted, from the largest.
    let mut broker = broker(one * 1600);
    let keys = [filled(&mut broker, "a", 1..=100), filled(&mut broker, "b", 101..=110)];
    broker.store.kept_messages = MessageId(200);
    broker.spill(10 * one);
    assert_eq!(levels(&broker, keys), [10, 0]);
    broker.spill(one + 1);
    assert_eq!(levels(&broker, keys), [12, 0]);
    let stats = |broker: &Broker| {
        let stats = &broker.stats;
        (stats.spilled, stats.spilled_bytes / one, stats.memory_bytes / one)
    };
    assert_eq!(stats(&broker), (12, 12, 98));
    // Everything, however much is wanted.
    broker.spill(1000 * one);
    assert_eq!((levels(&broker, keys), stats(&broker)), ([100, 10], (110, 110, 0)));
    assert_eq!(broker.largest.first(), None);
    // Nothing that the store has not got.
    let mut broker = self::broker(one * 1600);
    let keys = [filled(&mut broker, "a", 3..=102), filled(&mut broker, "b", 1..=2)];
    broker.store.kept_messages = MessageId(1);
    broker.spill(5 * one);
    assert_eq!((levels(&broker, keys), stats(&broker)), ([0, 1], (1, 1, 101)));
    assert_eq!(broker.largest.first(), Some(keys[0]), "it is the largest still");
}

#[test]
fn room_is_made_for_more_than_one_message_at_once() {
    let one = entry(0).1.message.cost();
    let mut broker = broker(one * 1600);
    let key = filled(&mut broker, "a", 1..=1000);
    broker.store.kept_messages = MessageId(2000);
    for (cost, spilled) in [(0, 0), (1, 63), (63, 63), (64, 126), (300, 300)] {
        assert!(broker.find_room(cost * one));
        assert_eq!(broker.logs.get(key).unwrap().spilled_len(), spilled, "{cost}");
    }
    assert_eq!(broker.stats.memory_bytes, 700 * one);
}

#[test]
fn a_reader_is_given_what_the_memory_has_room_for() {
    let one = entry(0).1.message.cost();
    // Four loads of eight messages take the whole share.
    let mut broker = broker(8 * 32 * one);
    let key = add(&mut broker, log(1000, one));
    let reader = |number| Some(Reader::Session(number));
    for number in (0..6).rev() {
        want(&mut broker, key, 100 * u64::from(number), reader(number));
    }
    assert!(broker.has_loads_to_start());
    let each = 8 * one;
    assert_eq!(asks(&mut broker), [(500, 1000, each), (400, 500, each), (300, 400, each), (200, 300, each)]);
    assert_eq!((broker.loads.asked, broker.stats.loads_total), (4, 4));
    assert_eq!(asks(&mut broker), []);
    // Each that comes makes room for another, and gives way to it.
    answer(&mut broker, 500, 508, 500..508);
    assert_eq!((broker.loads.asked, chunks(&broker)), (3, vec![(500, 508, 8)]));
    assert_eq!((asks(&mut broker), chunks(&broker)), (vec![(100, 200, each)], vec![]));
    // What is read ahead takes only what is free: here nothing is.
    answer(&mut broker, 400, 408, 400..408);
    want(&mut broker, key, 408, None);
    assert_eq!(asks(&mut broker), [(0, 100, each)], "the one that waits comes first");
    assert!(!broker.has_loads_to_start() && wanted(&broker.loads).iter().all(|wanted| wanted.1 != 408));
    for from in [200, 300] {
        answer(&mut broker, from, from + 8, from..from + 8);
    }
    want(&mut broker, key, 308, None);
    assert_eq!((asks(&mut broker), chunks(&broker).len()), (vec![], 2));
    // Here there is exactly enough, for it and then for who waits; nothing gives way.
    answer(&mut broker, 100, 108, []);
    want(&mut broker, key, 308, None);
    assert_eq!(asks(&mut broker), [(308, 1000, each)]);
    answer(&mut broker, 308, 309, []);
    want(&mut broker, key, 350, reader(1));
    assert_eq!((asks(&mut broker), chunks(&broker).len()), (vec![(350, 1000, each)], 4));
    // One is asked for however little room there is.
    let mut broker = self::broker(16);
    let key = add(&mut broker, log(1000, one));
    want(&mut broker, key, 100, reader(1));
    want(&mut broker, key, 0, reader(0));
    broker.loads.bytes = 10;
    assert_eq!(asks(&mut broker), [(100, 1000, 1)]);
    // The largest load.
    let mut broker = self::broker(1 << 30);
    let key = add(&mut broker, log(9000, 1));
    want(&mut broker, key, 0, reader(0));
    assert_eq!(asks(&mut broker), [(0, 4096, 256 * 1024)]);
}

#[test]
fn a_part_that_comes_is_what_was_asked_for_and_no_more() {
    let one = entry(0).1.message.cost();
    let ready = |start: u64| {
        let mut broker = broker(8 * 1000 * one);
        let head = LogHead { start: Position(start), end: Position(100), bytes: 100 * one };
        let key = add(&mut broker, Log::spilled(TopicFilter::from_static("a"), &head));
        want(&mut broker, key, 40, None);
        want(&mut broker, key, 20, None);
        assert_eq!(asks(&mut broker).len(), 2);
        broker
    };
    for (start, upto, entries, expected) in [
        (0, 30, 20..30, vec![(20, 30, 10)]),
        (0, 50, 10..50, vec![(20, 40, 20)]), // not what is before or behind it
        (0, 30, 20..35, vec![(20, 30, 10)]),
        (0, 20, 20..20, vec![(20, 21, 0)]), // that one is lost
        (0, 10, 20..30, vec![(20, 21, 1)]),
        (25, 30, 20..30, vec![(25, 30, 5)]), // the start has moved on meanwhile
        (30, 30, 20..30, vec![]),
        (31, 30, 20..30, vec![]),
    ] {
        let mut broker = ready(start);
        answer(&mut broker, 20, upto, entries);
        assert_eq!((chunks(&broker), broker.loads.asked), (expected, 1), "{start} {upto}");
        // Nobody asked for it again, nor for anything there.
        answer(&mut broker, 20, 30, 20..30);
        answer(&mut broker, 21, 30, 21..30);
        assert_eq!(broker.loads.asked, 1);
    }
}

#[test]
fn what_was_loaded_gives_way_to_what_comes() {
    let one = entry(0).1.message.cost();
    let mut broker = broker(8 * 20 * one);
    let key = add(&mut broker, log(100, one));
    for from in [60, 40, 20, 0] {
        want(&mut broker, key, from, Some(Reader::Session(9)));
    }
    assert_eq!(asks(&mut broker).len(), 4);
    answer(&mut broker, 0, 10, 0..10);
    answer(&mut broker, 20, 30, 20..30);
    assert_eq!(chunks(&broker), [(0, 10, 10), (20, 30, 10)], "exactly so much may be there");
    answer(&mut broker, 40, 41, [40]);
    assert_eq!(chunks(&broker), [(20, 30, 10), (40, 41, 1)]);
    // One of any size.
    answer(&mut broker, 60, 90, 60..90);
    assert_eq!(chunks(&broker), [(60, 90, 30)]);
}

#[test]
fn a_load_that_fails_waits_longer_each_time() {
    let one = entry(0).1.message.cost();
    let mut broker = broker(8 * 1000 * one);
    let key = add(&mut broker, log(100, one));
    want(&mut broker, key, 50, Some(Reader::Group(9)));
    want(&mut broker, key, 0, Some(Reader::Session(9)));
    assert_eq!(asks(&mut broker).len(), 2);
    let (a, from) = (TopicFilter::from_static("a"), Position(0));
    for (number, pause) in
        [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000, 10_000, 10_000, 10_000].into_iter().enumerate()
    {
        broker.load_failed(&a, from);
        broker.load_failed(&a, from); // nobody asked
        let at = broker.now + Duration::from_millis(pause);
        let wanted = &broker.loads.wanted[&(key, from)];
        assert_eq!((wanted.state, wanted.failures), (State::Pausing(at), number as u32 + 1));
        assert_eq!((broker.timers.first(), broker.loads.failing, broker.loads.asked), (Some(at), 1, 1));
        assert_eq!(broker.stats.loads_failed_total, number as u64 + 1);
        broker.timers.disarm(at, Timer::Load(key, from));
        broker.loads.wanted.get_mut(&(key, from)).unwrap().state = State::Queued;
        broker.loads.queue.push_back((key, from));
        assert_eq!(asks(&mut broker), [(0, 50, LOAD_BYTES.min(250 * one))]);
    }
    answer(&mut broker, 0, 10, 0..10);
    assert_eq!((broker.loads.failing, broker.loads.asked), (0, 1));
    // Nobody waits for it any more.
    broker.load_failed(&a, Position(50));
    assert_eq!(broker.loads.failing, 1);
    broker.load_again(key, Position(50));
    assert_eq!((broker.loads.failing, broker.loads.asked, broker.has_loads_to_start()), (0, 0, false));
}

#[test]
fn a_log_that_has_shrunk_is_not_taken_for_the_largest() {
    let one = entry(0).1.message.cost();
    let mut broker = broker(one * 1600);
    let keys = [filled(&mut broker, "a", 1..=100), filled(&mut broker, "b", 101..=150)];
    broker.store.kept_messages = MessageId(200);
    for _ in 0..95 {
        broker.logs.get_mut(keys[0]).unwrap().pop_oldest();
    }
    broker.spill(10 * one);
    assert_eq!(keys.map(|key| broker.logs.get(key).unwrap().spilled_len()), [0, 10]);
}

#[test]
fn so_many_logs_are_looked_at_in_vain_and_no_more() {
    let one = entry(0).1.message.cost();
    for (in_vain, freed) in [(63, 1), (64, 0), (70, 0)] {
        let mut broker = broker(one * 1600);
        for number in 0..in_vain {
            let filter = TopicFilter::try_from(alloc::format!("a/{number}").as_str()).unwrap();
            let key = add(&mut broker, Log::new(filter, Position(0)));
            let log = broker.logs.get_mut(key).unwrap();
            for id in 0..4 {
                broker.stats.memory_bytes += one;
                log.append(MessageId(100 + id), entry(100 + id).1.message);
            }
            broker.largest.grown(key, log);
        }
        let small = filled(&mut broker, "b", 1..=1);
        broker.store.kept_messages = MessageId(1);
        broker.spill(one);
        assert_eq!((broker.logs.get(small).unwrap().spilled_len(), broker.stats.spilled), (freed, freed), "{in_vain}");
        assert!(broker.largest.first().is_some(), "they are looked at again the next time");
    }
}
