//! Logs: the messages of one durable filter or shared group, appended once however many sessions wait for them (section 4.5).
//!
//! Invariants: positions grow by one; entries before the slowest acknowledged cursor are trimmed; beyond the limits the
//! oldest entry gives way, and a cursor that was behind it learns so when it reads.
use super::{Message, MessageId, Position};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
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
    entries: VecDeque<Entry>,
    bytes: u64,
    /// How many cursors have acknowledged everything before each position.
    cursors: BTreeMap<Position, u32>,
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
        Self { filter, online: BTreeSet::new(), start, entries: VecDeque::new(), bytes: 0, cursors: BTreeMap::new() }
    }

    /// Position of the first entry.
    pub(super) fn start(&self) -> Position {
        self.start
    }

    /// Position that the next entry will have.
    pub(super) fn end(&self) -> Position {
        self.start.forward(self.entries.len() as u64)
    }

    /// Moves an empty log up to a reader that is further on: what is appended next must not lie behind it.
    pub(super) fn begin_at(&mut self, at: Position) {
        if self.entries.is_empty() {
            self.start = self.start.max(at);
        }
    }

    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of the messages.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The entry at a position that lies between start and end.
    pub(super) fn get(&self, at: Position) -> Option<&Entry> {
        self.entries.get(usize::try_from(at.0.checked_sub(self.start.0)?).ok()?)
    }

    /// Appends an entry. O(1), whoever reads.
    pub(super) fn append(&mut self, id: MessageId, message: Arc<Message>) -> Position {
        let at = self.end();
        self.bytes += message.cost();
        self.entries.push_back(Entry { id, message });
        at
    }

    /// Removes the oldest entry.
    pub(super) fn pop_oldest(&mut self) -> Removed {
        let Some(entry) = self.entries.pop_front() else { return Removed::default() };
        self.start = self.start.forward(1);
        let bytes = entry.message.cost();
        self.bytes -= bytes;
        Removed { entries: 1, bytes }
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

    /// Removes the entries that every cursor has left behind.
    pub(super) fn trim(&mut self) -> Removed {
        let slowest = self.cursors.keys().next().copied().unwrap_or(self.end());
        let mut removed = Removed::default();
        while self.start < slowest && !self.entries.is_empty() {
            let one = self.pop_oldest();
            removed.entries += one.entries;
            removed.bytes += one.bytes;
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
    /// Under which message it stands among the session's logs with something to read.
    pub(super) lagging: Option<MessageId>,
}

impl Cursor {
    pub(super) fn new(at: Position) -> Self {
        Self { next: at, acked: at, unacked: VecDeque::new(), lagging: None }
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
