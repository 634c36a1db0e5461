//! Logs: the messages of one durable filter or shared group, appended once however many sessions wait for them (section 4.5).
//!
//! Invariants: positions grow by one; entries before the slowest acknowledged cursor are trimmed; beyond the limits the
//! oldest entry gives way, and a cursor that was behind it learns so when it reads. The newest entries are in memory, from
//! `resident` on; of those before, which the store has, only number and bytes are known here (see `loads.rs`).
use super::{LogHead, Message, MessageId, Position};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use mqtt_proto::TopicFilter;

/// One entry of a log.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The message's identity, ascending in each log; equal in every log that holds it.
    pub(super) id: MessageId,
    /// The message.
    pub(super) message: Arc<Message>,
}

/// What a trim or a limit removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Removed {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    /// The part of `bytes` that was in memory.
    pub(super) freed: u64,
    /// The part of `entries` that was not.
    pub(super) spilled: u64,
}

impl Removed {
    pub(super) fn add(&mut self, more: &Self) {
        self.entries += more.entries;
        self.bytes += more.bytes;
        self.freed += more.freed;
        self.spilled += more.spilled;
    }
}

/// What stands at a place of a log.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// An entry in memory.
    Entry(&'a Entry),
    /// An entry that only the store has.
    Spilled,
    /// Nothing: the log ends before it.
    End,
}

/// An append-only sequence of messages with many readers.
#[derive(Debug)]
pub(super) struct Log {
    /// The filter, `$share` included for a group's log.
    pub(super) filter: TopicFilter,
    /// Sessions that are connected and read this log.
    pub(super) online: BTreeSet<u32>,
    /// Position of the first entry.
    start: Position,
    /// Position of the first entry of `tail`.
    resident: Position,
    tail: VecDeque<Entry>,
    /// Bytes of the entries before `resident`, and of those in `tail`.
    spilled_bytes: u64,
    tail_bytes: u64,
    /// How many cursors have acknowledged everything before each position.
    cursors: BTreeMap<Position, u32>,
    /// How many messages found no room, each before the entry at a position.
    holes: Vec<(Position, u64)>,
    /// Where it stands in [`Largest`](super::loads::Largest).
    pub(super) rank: u8,
}

impl Position {
    /// The place `entries` further on.
    pub(super) fn forward(self, entries: u64) -> Self {
        Self(self.0 + entries)
    }
}

impl Log {
    /// An empty log that begins at `start`: later than any log before it under the same key, so that a late
    /// acknowledgment cannot hit an entry that it does not mean.
    pub(super) fn new(filter: TopicFilter, start: Position) -> Self {
        Self::spilled(filter, &LogHead { start, end: start, bytes: 0 })
    }

    /// A log whose entries the store has.
    pub(super) fn spilled(filter: TopicFilter, head: &LogHead) -> Self {
        Self {
            filter,
            online: BTreeSet::new(),
            start: head.start,
            resident: head.end,
            tail: VecDeque::new(),
            spilled_bytes: head.bytes,
            tail_bytes: 0,
            cursors: BTreeMap::new(),
            holes: Vec::new(),
            rank: 0,
        }
    }

    /// Position of the first entry.
    pub(super) fn start(&self) -> Position {
        self.start
    }

    /// Position of the first entry that is in memory.
    pub(super) fn resident(&self) -> Position {
        self.resident
    }

    /// Position that the next entry will have.
    pub(super) fn end(&self) -> Position {
        self.resident.forward(self.tail.len() as u64)
    }

    /// Moves an empty log up to a reader that is further on: what is appended next must not lie behind it.
    pub(super) fn begin_at(&mut self, at: Position) {
        if self.len() == 0 {
            self.start = self.start.max(at);
            self.resident = self.start;
        }
    }

    /// Number of entries.
    pub(super) fn len(&self) -> u64 {
        self.end().0 - self.start.0
    }

    /// Number of entries that only the store has.
    pub(super) fn spilled_len(&self) -> u64 {
        self.resident.0 - self.start.0
    }

    /// Bytes of the messages.
    pub(super) fn bytes(&self) -> u64 {
        self.spilled_bytes + self.tail_bytes
    }

    /// Bytes of the messages that are in memory.
    pub(super) fn tail_bytes(&self) -> u64 {
        self.tail_bytes
    }

    /// Bytes of the messages that only the store has.
    pub(super) fn spilled_bytes(&self) -> u64 {
        self.spilled_bytes
    }

    /// What stands at a position that is not before the start. O(1).
    pub(super) fn read(&self, at: Position) -> Place<'_> {
        let Some(index) = at.0.checked_sub(self.resident.0) else { return Place::Spilled };
        match usize::try_from(index).ok().and_then(|index| self.tail.get(index)) {
            Some(entry) => Place::Entry(entry),
            None => Place::End,
        }
    }

    /// Appends an entry. O(1), whoever reads.
    pub(super) fn append(&mut self, id: MessageId, message: Arc<Message>) -> Position {
        let at = self.end();
        self.tail_bytes += message.cost();
        self.tail.push_back(Entry { id, message });
        at
    }

    /// A message finds no room behind the others: whoever reads on from here has lost it.
    pub(super) fn miss(&mut self) {
        let end = self.end();
        match self.holes.last_mut().filter(|(at, _)| *at == end) {
            Some((_, count)) => *count += 1,
            None => self.holes.push((end, 1)),
        }
    }

    /// How many messages a reader of the entry at `at` has lost before it.
    pub(super) fn missed_before(&self, at: Position) -> u64 {
        if self.holes.is_empty() {
            return 0;
        }
        self.holes.binary_search_by_key(&at, |(at, _)| *at).map_or(0, |index| self.holes[index].1)
    }

    /// Removes the oldest entry.
    pub(super) fn pop_oldest(&mut self) -> Removed {
        if self.start < self.resident {
            return self.pop_spilled(1);
        }
        let Some(entry) = self.tail.pop_front() else { return Removed::default() };
        self.start = self.start.forward(1);
        self.resident = self.start;
        let bytes = entry.message.cost();
        self.tail_bytes -= bytes;
        Removed { entries: 1, bytes, freed: bytes, spilled: 0 }
    }

    /// Removes the first `count` of the entries that only the store has. Their bytes are taken as even, so that the sum is
    /// exact when the last is gone. O(1).
    fn pop_spilled(&mut self, count: u64) -> Removed {
        let all = self.spilled_len();
        let count = count.min(all);
        let bytes = u128::from(self.spilled_bytes) * u128::from(count) / u128::from(all.max(1));
        let bytes = bytes as u64; // a part of `spilled_bytes`
        self.start = self.start.forward(count);
        self.spilled_bytes -= bytes;
        Removed { entries: count, bytes, freed: 0, spilled: count }
    }

    /// Forgets the message of the oldest entry in memory if the store has kept all up to `kept`; tells its bytes.
    pub(super) fn spill_oldest(&mut self, kept: MessageId) -> Option<u64> {
        let entry = self.tail.pop_front_if(|entry| entry.id <= kept)?;
        let bytes = entry.message.cost();
        self.resident = self.resident.forward(1);
        self.tail_bytes -= bytes;
        self.spilled_bytes += bytes;
        Some(bytes)
    }

    /// Gives memory of the queue back after many entries have left it.
    pub(super) fn shrink(&mut self) {
        if self.tail.capacity() > 1024 && self.tail.len() < self.tail.capacity() / 4 {
            self.tail.shrink_to(self.tail.len() * 2);
        }
    }

    /// Whether any session has a cursor here.
    pub(super) fn has_cursors(&self) -> bool {
        !self.cursors.is_empty()
    }

    /// A session starts to read at `at`. O(log n) in the number of distinct positions, as the next two.
    pub(super) fn add_cursor(&mut self, at: Position) {
        *self.cursors.entry(at).or_default() += 1;
    }

    /// A session reads here no more.
    pub(super) fn remove_cursor(&mut self, at: Position) {
        if let Some(count) = self.cursors.get_mut(&at) {
            *count -= 1;
            if *count == 0 {
                self.cursors.remove(&at);
            }
        }
    }

    /// A session acknowledged everything before `to`.
    pub(super) fn move_cursor(&mut self, from: Position, to: Position) {
        if from != to {
            self.remove_cursor(from);
            self.add_cursor(to);
        }
    }

    /// Removes the entries that every cursor has left behind. O(entries in memory among them).
    pub(super) fn trim(&mut self) -> Removed {
        let slowest = self.cursors.keys().next().copied().unwrap_or(self.end());
        let behind = slowest.0.saturating_sub(self.start.0);
        let mut removed = self.pop_spilled(behind);
        while self.start < slowest && !self.tail.is_empty() {
            removed.add(&self.pop_oldest());
        }
        if !self.holes.is_empty() {
            self.holes.retain(|(at, _)| slowest <= *at);
        }
        removed
    }
}

/// Where one session stands in one log.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    /// The entry to be read next.
    pub(super) next: Position,
    /// Everything before was acknowledged; what the log was told.
    pub(super) acked: Position,
    /// Entries that were read and not acknowledged yet, ascending.
    pub(super) unacked: VecDeque<Position>,
    /// What is known of the entry at `next`.
    pub(super) unread: Unread,
}

/// The number of a message, and whether the one that is meant comes after it.
pub(super) type Bound = (MessageId, bool);

/// What a reader knows of the entry that it reads next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Unread {
    /// There is none: it has read everything.
    #[default]
    Nothing,
    /// It has this number.
    At(MessageId),
    /// It has a greater number than this, or there is none.
    After(MessageId),
}

impl Unread {
    /// What the log stands under among those with something to read: whatever may have an older message comes first.
    pub(super) fn bound(self) -> Option<Bound> {
        match self {
            Self::Nothing => None,
            Self::At(id) => Some((id, false)),
            Self::After(id) => Some((id, true)),
        }
    }
}

impl Cursor {
    pub(super) fn new(at: Position) -> Self {
        Self { next: at, acked: at, unacked: VecDeque::new(), unread: Unread::Nothing }
    }

    /// An entry was acknowledged; returns the position before which all are.
    pub(super) fn acknowledge(&mut self, at: Position) -> Position {
        if let Ok(index) = self.unacked.binary_search(&at) {
            self.unacked.remove(index);
        }
        self.settled()
    }

    /// The position before which all entries were acknowledged.
    pub(super) fn settled(&self) -> Position {
        self.unacked.front().copied().unwrap_or(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqtt_proto::TopicName;

    fn log(entries: u64) -> Log {
        let mut log = Log::new(TopicFilter::try_from("a/#").unwrap(), Position(0));
        for id in 0..entries {
            let message = Message::new(TopicName::try_from("a/b").unwrap(), "payload");
            log.append(MessageId(id), Arc::new(message));
        }
        log
    }

    #[test]
    fn the_slowest_cursor_holds_the_log() {
        let mut log = log(5);
        log.add_cursor(Position(0));
        log.add_cursor(Position(0));
        log.move_cursor(Position(0), Position(4));
        assert_eq!(log.trim(), Removed::default());
        log.move_cursor(Position(0), Position(2));
        assert_eq!(log.trim().entries, 2);
        assert_eq!((log.start(), log.end(), log.len()), (Position(2), Position(5), 3));
        log.remove_cursor(Position(2));
        assert_eq!(log.trim().entries, 2);
        log.remove_cursor(Position(4));
        assert!(!log.has_cursors());
        assert_eq!(log.trim().entries, 1);
        assert_eq!((log.len(), log.bytes()), (0, 0));
    }

    #[test]
    fn bytes_of_spilled_entries_are_even_and_their_sum_is_exact() {
        let mut log = log(10);
        let (all, each) = (log.bytes(), log.bytes() / 10);
        assert_eq!(log.spill_oldest(MessageId(0)), Some(each));
        assert_eq!(log.spill_oldest(MessageId(0)), None, "the next is not kept yet");
        while log.spill_oldest(MessageId(6)).is_some() {}
        assert_eq!((log.len(), log.spilled_len(), log.bytes()), (10, 7, all));
        assert_eq!((log.tail_bytes(), log.spilled_bytes()), (3 * each, 7 * each));
        assert!(matches!(log.read(Position(6)), Place::Spilled));
        assert!(matches!(log.read(Position(7)), Place::Entry(entry) if entry.id == MessageId(7)));
        assert!(matches!(log.read(Position(10)), Place::End));
        let mut removed = log.pop_oldest();
        assert_eq!((removed.entries, removed.spilled, removed.freed), (1, 1, 0));
        log.add_cursor(Position(9));
        removed.add(&log.trim());
        assert_eq!((removed.entries, removed.spilled, removed.freed), (9, 7, 2 * each));
        log.remove_cursor(Position(9));
        removed.add(&log.trim());
        assert_eq!((removed.entries, removed.bytes, removed.freed), (10, all, 3 * each));
        assert_eq!((log.len(), log.bytes(), log.start()), (0, 0, Position(10)));
    }

    #[test]
    fn a_queue_that_is_mostly_empty_gives_memory_back() {
        for (capacity, entries, kept) in
            [(2048, 511, false), (2048, 512, true), (1024, 0, true), (1025, 0, false), (4096, 900, false)]
        {
            let mut log = log(entries);
            let mut tail = VecDeque::with_capacity(capacity);
            tail.append(&mut log.tail);
            log.tail = tail;
            assert_eq!(log.tail.capacity(), capacity);
            log.shrink();
            assert_eq!(log.tail.capacity() == capacity, kept, "{capacity} {entries}");
            let room = log.tail.capacity() as u64;
            assert!(kept || (2 * entries..3 * entries + 1).contains(&room), "room to grow again: {room}");
            assert_eq!(log.len(), entries);
        }
    }

    #[test]
    fn a_log_of_the_store_goes_on_where_it_ended() {
        let head = LogHead { start: Position(3), end: Position(6), bytes: 10 };
        let mut log = Log::spilled(TopicFilter::from_static("a"), &head);
        let message = Arc::new(Message::new(TopicName::try_from("a").unwrap(), ""));
        assert_eq!(log.append(MessageId(9), message), Position(6));
        assert_eq!((log.len(), log.spilled_len()), (4, 3));
        log.add_cursor(Position(5));
        assert_eq!(log.trim(), Removed { entries: 2, bytes: 6, freed: 0, spilled: 2 });
        assert_eq!(log.pop_oldest(), Removed { entries: 1, bytes: 4, freed: 0, spilled: 1 });
    }

    #[test]
    fn what_finds_no_room_is_missed_by_those_who_read_on() {
        let mut log = log(2);
        log.add_cursor(Position(0));
        log.miss();
        log.miss();
        let missed = |log: &Log| [0, 1, 2, 3].map(|at| log.missed_before(Position(at)));
        assert_eq!(missed(&log), [0, 0, 2, 0]);
        log.move_cursor(Position(0), Position(2));
        log.trim();
        assert_eq!(missed(&log), [0, 0, 2, 0], "its reader has still to come by");
        log.append(MessageId(7), Arc::new(Message::new(TopicName::try_from("a").unwrap(), "")));
        log.move_cursor(Position(2), Position(3));
        log.trim();
        assert_eq!(missed(&log), [0; 4]);
    }

    #[test]
    fn acknowledgments_out_of_order_wait_for_the_first() {
        let mut cursor = Cursor::new(Position(3));
        for at in 3..6 {
            cursor.unacked.push_back(Position(at));
        }
        cursor.next = Position(6);
        assert_eq!(cursor.acknowledge(Position(4)), Position(3));
        assert_eq!(cursor.acknowledge(Position(3)), Position(5));
        assert_eq!(cursor.acknowledge(Position(5)), Position(6));
        assert_eq!(cursor.acknowledge(Position(5)), Position(6));
    }
}
