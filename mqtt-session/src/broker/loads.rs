//! Logs whose older messages are in the store alone: which give way, and how parts of them come back (section 4.5).
//!
//! Invariants: what the store has not reported as kept stays in memory; loaded parts of a log do not overlap; what is loaded
//! and asked for takes no more than its share of the memory, one message of any size excepted; whoever waits for a part is
//! served when it comes, before anything else gives way to something new, so that everybody gets on however small the share.
use super::log::{Entry, Log, Place};
use super::route::Subscriber;
use super::timers::Timer;
use super::{Broker, Event, LoadRequest, Loaded, Output, Position, Request};
use crate::Instant;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;
use mqtt_proto::{TopicFilter, TopicName};

/// Bytes of messages that one load asks for, where the memory allows: some milliseconds of a fast socket.
const LOAD_BYTES: u64 = 256 * 1024;
/// Entries of one load, however small.
const LOAD_ENTRIES: u64 = 4096;
/// The first pause before a load that failed is tried again; it doubles each time, up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(10);
/// Logs looked at in vain, because nothing of them is kept yet, before room is given up.
const TRIES: u32 = 64;

/// Places in which a message is kept without a closer look at the memory.
const FEW: u64 = 64;

/// Who waits for a part of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    Session(u32),
    Group(u32),
}

/// What is known of an entry that is not in its log's tail.
#[derive(Clone, Debug)]
pub(super) enum Found {
    Entry(Entry),
    /// The store has lost it.
    Lost,
    /// It has to be loaded.
    Unknown,
}

/// Parts of logs that are loaded, and those that are asked for.
#[derive(Debug, Default)]
pub(super) struct Loads {
    /// Whether there is a store that logs can be read from.
    enabled: bool,
    /// By log and first position.
    chunks: BTreeMap<(u32, Position), Chunk>,
    /// The chunks by their last use.
    used: BTreeMap<u64, (u32, Position)>,
    clock: u64,
    /// Bytes of all chunks.
    bytes: u64,
    /// What is wanted and not there yet, by log and position.
    wanted: BTreeMap<(u32, Position), Wanted>,
    /// Those that are still to be asked for.
    queue: VecDeque<(u32, Position)>,
    /// How many are asked for.
    asked: u64,
    /// How many have failed, and are not there yet.
    failing: usize,
}

/// A part of a log.
#[derive(Debug)]
struct Chunk {
    upto: Position,
    entries: Vec<(Position, Entry)>,
    bytes: u64,
    used: u64,
}

#[derive(Debug)]
struct Wanted {
    until: Position,
    readers: Vec<Reader>,
    state: State,
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Queued,
    Asked,
    /// Until then.
    Pausing(Instant),
}

impl Loads {
    /// There is a store to read from.
    pub(super) fn enable(&mut self) {
        self.enabled = true;
    }

    /// Bytes that loaded messages take.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether any load has failed and waits to be tried again.
    pub(super) fn is_failing(&self) -> bool {
        self.failing > 0
    }

    /// The entry of `log` at `at`, which lies before the log's tail. O(log n). Has what follows it loaded as well, if there
    /// is room.
    pub(super) fn find(&mut self, key: u32, log: &Log, at: Position) -> Found {
        let clock = self.clock;
        let found = self.chunks.range_mut((key, Position::default())..=(key, at)).next_back();
        let Some((place, chunk)) = found.filter(|(_, chunk)| at < chunk.upto) else { return Found::Unknown };
        let guess = (at.0 - place.1.0) as usize; // less than the number of entries, if none is lost
        let entry = match chunk.entries.get(guess) {
            Some((there, entry)) if *there == at => Some(entry.clone()),
            _ => {
                chunk.entries.binary_search_by_key(&at, |(at, _)| *at).ok().map(|index| chunk.entries[index].1.clone())
            }
        };
        if chunk.used != clock {
            self.clock += 1;
            self.used.remove(&chunk.used);
            chunk.used = self.clock;
            self.used.insert(self.clock, *place);
            let upto = chunk.upto;
            self.read_ahead(key, log, upto);
        }
        entry.map_or(Found::Lost, Found::Entry)
    }

    /// Whoever reads up to here goes on there.
    fn read_ahead(&mut self, key: u32, log: &Log, at: Position) {
        if at < log.resident() && self.chunks.range((key, at)..).next().is_none_or(|(place, _)| *place != (key, at)) {
            self.want(key, log, at, None);
        }
    }

    /// Asks for the entry at `at`, which lies before the log's tail and is not there, and some that follow.
    pub(super) fn want(&mut self, key: u32, log: &Log, at: Position, reader: Option<Reader>) {
        if let Some((_, wanted)) = self.wanted.range_mut((key, Position::default())..=(key, at)).next_back()
            && at < wanted.until
        {
            wanted.readers.extend(reader.filter(|reader| !wanted.readers.contains(reader)));
            return;
        }
        let next = |place: Option<&(u32, Position)>| place.filter(|(log, _)| *log == key).map(|(_, at)| *at);
        let behind = at.forward(1);
        let chunk = next(self.chunks.range((key, behind)..).next().map(|(place, _)| place));
        let other = next(self.wanted.range((key, behind)..).next().map(|(place, _)| place));
        let average = (log.spilled_bytes() / log.spilled_len().max(1)).max(1);
        let most = at.forward((LOAD_BYTES / average + 1).min(LOAD_ENTRIES));
        let until = [chunk, other].into_iter().flatten().fold(most.min(log.resident()), Position::min);
        let readers = reader.into_iter().collect();
        self.wanted.insert((key, at), Wanted { until, readers, state: State::Queued, failures: 0 });
        self.queue.push_back((key, at));
    }

    /// Takes a chunk in; it is the last to give way.
    fn insert(&mut self, key: u32, from: Position, upto: Position, entries: Vec<(Position, Entry)>) {
        let bytes = entries.iter().map(|(_, entry)| entry.message.cost()).sum();
        self.clock += 1;
        self.used.insert(self.clock, (key, from));
        // As if it had been used long ago: the first look has what follows loaded.
        let used = self.clock;
        self.clock += 1;
        self.bytes += bytes;
        self.chunks.insert((key, from), Chunk { upto, entries, bytes, used });
    }

    fn remove(&mut self, place: (u32, Position)) {
        if let Some(chunk) = self.chunks.remove(&place) {
            self.used.remove(&chunk.used);
            self.bytes -= chunk.bytes;
        }
    }

    /// Drops what lies before the start of a log. O(log n + what is dropped).
    pub(super) fn trim(&mut self, key: u32, start: Position) {
        while let Some((place, chunk)) = self.chunks.range((key, Position::default())..(key, start)).next()
            && chunk.upto <= start
        {
            let place = *place;
            self.remove(place);
        }
    }

    /// Forgets a log.
    fn forget(&mut self, key: u32, timers: &mut super::timers::Timers) {
        self.trim(key, Position(u64::MAX));
        while let Some((place, _)) = self.wanted.range((key, Position::default())..=(key, Position(u64::MAX))).next() {
            let place = *place;
            if let Some(wanted) = self.wanted.remove(&place) {
                self.asked -= u64::from(wanted.state == State::Asked);
                self.failing -= usize::from(wanted.failures > 0);
                if let State::Pausing(at) = wanted.state {
                    timers.disarm(at, Timer::Load(place.0, place.1));
                }
            }
        }
    }

    /// Lets the chunk go that was not used for longest; `false`: there is none.
    fn give_way(&mut self) -> bool {
        let Some((_, place)) = self.used.first_key_value() else { return false };
        let place = *place;
        self.remove(place);
        true
    }
}

/// Logs with entries in memory, by the magnitude of their bytes; at least what it says, or less by now.
#[derive(Debug)]
pub(super) struct Largest(Vec<BTreeSet<u32>>);

impl Default for Largest {
    fn default() -> Self {
        Self((0..=u64::BITS).map(|_| BTreeSet::new()).collect())
    }
}

impl Largest {
    /// A log has grown. O(1) unless it has doubled.
    pub(super) fn grown(&mut self, key: u32, log: &mut Log) {
        let rank = rank(log);
        if rank > log.rank {
            self.set(key, log, rank);
        }
    }

    fn set(&mut self, key: u32, log: &mut Log, rank: u8) {
        self.0[usize::from(log.rank)].remove(&key);
        log.rank = rank;
        if rank > 0 {
            self.0[usize::from(rank)].insert(key);
        }
    }

    fn first(&self) -> Option<u32> {
        self.0.iter().rev().find_map(|rank| rank.first().copied())
    }
}

/// The magnitude of what a log has in memory.
fn rank(log: &Log) -> u8 {
    (u64::BITS - log.tail_bytes().leading_zeros()) as u8
}

impl Broker {
    /// Bytes that logs, sessions' queues and retained messages may take in memory.
    pub(super) fn queue_limit(&self) -> u64 {
        let all = self.config.max_memory_bytes;
        all - all / 4 - if self.loads.enabled { self.load_limit() } else { 0 }
    }

    /// Bytes that loaded parts of logs may take.
    fn load_limit(&self) -> u64 {
        self.config.max_memory_bytes / 8
    }

    /// Whether so much is on its way to clients that each gets one message at a time.
    pub(super) fn is_crowded(&self) -> bool {
        self.under_way_bytes > self.config.max_memory_bytes / 4
    }

    /// Makes room in memory for `cost` bytes: the oldest entries of the largest logs stay in the store alone. `false`: there
    /// is too much that the store has not kept yet, or that has to stay.
    pub(super) fn find_room(&mut self, cost: u64) -> bool {
        let limit = self.queue_limit();
        if self.stats.memory_bytes + cost <= limit {
            return true;
        }
        if self.loads.enabled {
            // A good part at once, so that the search for the largest is rare.
            self.spill((self.stats.memory_bytes + cost - limit).max(limit / 16));
        }
        self.stats.memory_bytes + cost <= limit
    }

    /// Whether a message of `cost` bytes finds room wherever it is to be kept. Always where there is no store to leave
    /// messages to: there the oldest give way.
    pub(super) fn has_room_for(&mut self, topic: &TopicName, cost: u64) -> bool {
        // Few messages are kept in so many places that more has to be known.
        if !self.loads.enabled || self.stats.memory_bytes + FEW * cost <= self.queue_limit() {
            return true;
        }
        let mut places = 1; // as the retained message
        self.subscriptions.matches(topic, &mut self.scratch, |subscriber, _| {
            places += u64::from(matches!(subscriber, Subscriber::Log(_) | Subscriber::Group(_)));
        });
        self.find_room(places * cost)
    }

    fn spill(&mut self, wanted: u64) {
        let (kept, mut freed, mut tries) = (self.store.kept_messages, 0, TRIES);
        let mut aside = Vec::new();
        while freed < wanted
            && tries > 0
            && let Some(key) = self.largest.first()
            && let Some(log) = self.logs.get_mut(key)
        {
            let actual = rank(log);
            if actual < log.rank {
                self.largest.set(key, log, actual);
                continue;
            }
            let (before, entries) = (freed, log.spilled_len());
            while freed < wanted
                && let Some(bytes) = log.spill_oldest(kept)
            {
                freed += bytes;
            }
            log.shrink();
            self.stats.spilled += log.spilled_len() - entries;
            if freed == before {
                self.largest.set(key, log, 0);
                aside.push(key);
                tries -= 1;
            }
        }
        for key in aside {
            if let Some(log) = self.logs.get_mut(key) {
                self.largest.grown(key, log);
            }
        }
        self.stats.memory_bytes -= freed;
        self.stats.spilled_bytes += freed;
    }

    /// Forgets what was known of a log besides itself.
    pub(super) fn forget_log(&mut self, key: u32, log: &mut Log) {
        self.largest.set(key, log, 0);
        self.loads.forget(key, &mut self.timers);
    }

    /// The entry at a place of a log; has it loaded for `reader` if need be.
    pub(super) fn look(&mut self, key: u32, at: Position, reader: Reader) -> Look {
        let Some(log) = self.logs.get(key).filter(|log| log.start() <= at) else { return Look::Nothing };
        match log.read(at) {
            Place::Entry(entry) => Look::Here(entry.clone()),
            Place::End => Look::Nothing,
            Place::Spilled => match self.loads.find(key, log, at) {
                Found::Entry(entry) => Look::Here(entry),
                Found::Lost => Look::Nothing,
                Found::Unknown => {
                    self.loads.want(key, log, at, Some(reader));
                    Look::Awaited
                }
            },
        }
    }

    /// Asks for what is wanted, as far as there is room; what was not used for longest gives way.
    pub(super) fn start_loads(&mut self) {
        let limit = self.load_limit();
        let each = LOAD_BYTES.min(limit / 4).max(1);
        while let Some(place) = self.loads.queue.front().copied() {
            let loads = &mut self.loads;
            let Some(wanted) = loads.wanted.get_mut(&place).filter(|wanted| wanted.state == State::Queued) else {
                loads.queue.pop_front();
                continue;
            };
            let idle = wanted.readers.is_empty(); // reads ahead: it takes what is free
            let (until, rest) = (wanted.until, loads.asked * each + each);
            while !idle && loads.bytes + rest > limit && loads.give_way() {}
            if loads.bytes + rest > limit && (idle || loads.asked > 0) {
                if !idle {
                    return; // the next that comes makes room
                }
                loads.wanted.remove(&place); // never asked for, so it has not failed
                loads.queue.pop_front();
                continue;
            }
            loads.queue.pop_front();
            let Some(log) = self.logs.get(place.0) else { continue };
            if let Some(wanted) = loads.wanted.get_mut(&place) {
                wanted.state = State::Asked;
            }
            loads.asked += 1;
            self.stats.loads_total += 1;
            let filter = log.filter.clone();
            let request = LoadRequest { filter, from: place.1, until, max_bytes: each };
            self.outputs.push_back(Output::Request(Request::Load(request)));
        }
    }

    /// A part of a log has come.
    pub(super) fn loaded(&mut self, loaded: Loaded) {
        let Loaded { filter, from, upto, entries } = loaded;
        let Some(key) = self.log_by_filter.get(&filter).copied() else { return };
        let asked = self.loads.wanted.get(&(key, from)).is_some_and(|wanted| wanted.state == State::Asked);
        if !asked {
            return; // of a log that is over
        }
        let Some(wanted) = self.loads.wanted.remove(&(key, from)) else { return };
        self.loads.asked -= 1;
        if wanted.failures > 0 {
            self.loads.failing -= 1;
            self.publish_store_state();
        }
        let Some(log) = self.logs.get(key) else { return };
        let upto = upto.min(wanted.until).max(from.forward(1)); // a store that gives nothing has lost the entry
        let (start, now, wall) = (log.start().max(from), self.now, self.wall());
        let mut kept = Vec::with_capacity(entries.len());
        for entry in entries.into_iter().filter(|entry| start <= entry.at && entry.at < upto) {
            let message = super::memory::revived(&entry.message, entry.expires_at, now, wall);
            kept.push((entry.at, Entry { id: entry.id, message }));
        }
        if start < upto {
            self.loads.insert(key, start, upto, kept);
            let limit = self.load_limit();
            while self.loads.bytes > limit && self.loads.chunks.len() > 1 && self.loads.give_way() {}
        }
        for reader in wanted.readers {
            match reader {
                Reader::Session(slot) => self.wake(slot),
                Reader::Group(group) => self.wake_group(group),
            }
        }
    }

    /// A part of a log could not be read: again after a pause.
    pub(super) fn load_failed(&mut self, filter: &TopicFilter, from: Position) {
        let Some(key) = self.log_by_filter.get(filter).copied() else { return };
        let Some(wanted) = self.loads.wanted.get_mut(&(key, from)) else { return };
        if wanted.state != State::Asked {
            return;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << wanted.failures.min(10)).min(LAST_PAUSE);
        self.loads.failing += usize::from(wanted.failures == 0);
        wanted.failures += 1;
        let (at, failures) = (self.now + pause, wanted.failures);
        wanted.state = State::Pausing(at);
        self.loads.asked -= 1;
        self.timers.arm(at, Timer::Load(key, from));
        self.stats.loads_failed_total += 1;
        let filter = filter.clone();
        self.emit(|_| true, || Event::LoadFailed { filter, failures, pause });
        self.publish_store_state();
    }

    /// The pause of a load is over. It is tried again if anybody still waits for it.
    pub(super) fn load_again(&mut self, key: u32, from: Position) {
        let Some(wanted) = self.loads.wanted.get_mut(&(key, from)) else { return };
        let (sessions, groups) = (&self.sessions, &self.groups);
        wanted.readers.retain(|reader| match reader {
            Reader::Session(slot) => sessions.get(*slot).is_some_and(|session| session.connection.is_some()),
            Reader::Group(group) => groups.get(*group).is_some(),
        });
        if wanted.readers.is_empty() {
            self.loads.wanted.remove(&(key, from));
            self.loads.failing -= 1;
            return self.publish_store_state();
        }
        wanted.state = State::Queued;
        self.loads.queue.push_back((key, from));
    }

    /// Whether anything is to be asked for.
    pub(super) fn has_loads_to_start(&self) -> bool {
        !self.loads.queue.is_empty()
    }
}

/// What came of looking for an entry.
#[derive(Debug)]
pub(super) enum Look {
    Here(Entry),
    /// It was asked for.
    Awaited,
    /// It is not there any more.
    Nothing,
}

#[cfg(test)]
mod tests;
