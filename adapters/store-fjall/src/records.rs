//! Records as the next commit will leave them: those on disk, and the changes that wait above them.
//!
//! A change that waits is the whole record, so making it twice, or making it when it is there already, is the same as
//! making it once. After a failed commit the changes simply stay and go with the next.
//!
//! Invariants: a record that came and went between two commits is never written; a record that cannot be read is put into
//! quarantine with the next commit, told once, and reads as if it were not there.
use crate::disk::{Change, Disk, Pair};
use crate::key::{Key, Table};
use crate::names::Names;
use crate::quarantine::{Suspect, describe};
use crate::value::{self, Value};
use std::collections::BTreeMap;

/// Reads and changes records.
pub(crate) struct Records<D> {
    pub(crate) disk: D,
    pub(crate) names: Names,
    waiting: BTreeMap<Key, Slot>,
    suspects: Vec<Suspect>,
}

/// A change that waits.
struct Slot {
    /// `None`: the record is removed.
    value: Option<Value>,
    /// Whether the disk may hold something under this key.
    below: bool,
}

/// A part of a range.
pub(crate) struct Part {
    pub(crate) records: Vec<(Key, Value)>,
    /// There is nothing more in the range.
    pub(crate) complete: bool,
}

impl<D: Disk> Records<D> {
    pub(crate) fn new(disk: D, names: Names) -> Self {
        Self { disk, names, waiting: BTreeMap::new(), suspects: Vec::new() }
    }

    /// The record under a key.
    pub(crate) fn get(&mut self, key: &Key) -> Option<Value> {
        if let Some(slot) = self.waiting.get(key) {
            return slot.value.clone();
        }
        let bytes = key.encode();
        match self.disk.get(key.table(), &bytes) {
            Ok(Some(value)) => self.decode(key.table(), (bytes.into(), value)).map(|(_, value)| value),
            Ok(None) => None,
            Err(error) => {
                tracing::error!(%error, "{} cannot be read", describe(&self.names, key.table(), &bytes));
                None
            }
        }
    }

    /// Whether there is a record under a key; it may turn out to be damaged.
    pub(crate) fn has(&self, key: &Key) -> bool {
        match self.waiting.get(key) {
            Some(slot) => slot.value.is_some(),
            None => matches!(self.disk.get(key.table(), &key.encode()), Ok(Some(_))),
        }
    }

    /// Sets a record.
    pub(crate) fn put(&mut self, key: Key, value: Value) {
        self.set(key, Some(value), true);
    }

    /// Sets a record under a key that was never used before.
    pub(crate) fn put_new(&mut self, key: Key, value: Value) {
        self.set(key, Some(value), false);
    }

    /// Removes a record; `false`: it was never written.
    pub(crate) fn remove(&mut self, key: Key) -> bool {
        let written = self.waiting.get(&key).is_none_or(|slot| slot.below);
        if written {
            self.set(key, None, true);
        } else {
            self.waiting.remove(&key);
        }
        written
    }

    fn set(&mut self, key: Key, value: Option<Value>, below: bool) {
        let slot = self.waiting.entry(key).or_insert(Slot { value: None, below });
        slot.value = value;
    }

    /// The records from `from` on and before `until`, both of one table: `limit` of those on disk at most, and what waits
    /// beside them. Without `disk`, only what waits.
    pub(crate) fn range(&mut self, from: &Key, until: &Key, disk: bool, limit: usize) -> Part {
        if from >= until {
            return Part { records: Vec::new(), complete: true };
        }
        let mut pairs = Vec::new();
        let table = from.table();
        if disk && let Err(error) = self.disk.range(table, &from.encode(), &until.encode(), limit, &mut pairs) {
            tracing::error!(%error, "a part of the table {:?} cannot be read and is left out", table.name());
        }
        let complete = pairs.len() < limit;
        let end = pairs.last().filter(|_| !complete).and_then(|(key, _)| Key::decode(table, key));
        let mut records = BTreeMap::new();
        for pair in pairs {
            records.extend(self.decode(table, pair));
        }
        for (key, slot) in self.waiting.range(from..until) {
            if end.as_ref().is_some_and(|end| key > end) {
                break;
            }
            match &slot.value {
                Some(value) => records.insert(key.clone(), value.clone()),
                None => records.remove(key),
            };
        }
        Part { records: records.into_iter().collect(), complete }
    }

    fn decode(&mut self, table: Table, (key, value): Pair) -> Option<(Key, Value)> {
        match value::decode(table, &key, &value) {
            Ok(record) => Some(record),
            Err(damage) => {
                tracing::error!("lost: {} ({damage}); it goes into quarantine", describe(&self.names, table, &key));
                self.quarantine(Suspect { table, key, value })
            }
        }
    }

    /// Puts a record into quarantine.
    pub(crate) fn quarantine(&mut self, suspect: Suspect) -> Option<(Key, Value)> {
        let key = Key::decode(suspect.table, &suspect.key);
        self.suspects.push(suspect);
        let key = key?;
        if let Key::References(_) = key {
            // Nobody knows how many refer to it any more: it stays for ever rather than going too early.
            let many = Value::References(u32::MAX);
            self.put(key.clone(), many.clone());
            return Some((key, many));
        }
        if !self.waiting.contains_key(&key) {
            self.remove(key);
        }
        None
    }

    /// How many changes wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.suspects.len()
    }

    /// What the next commit has to write.
    pub(crate) fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::with_capacity(self.len() * 2);
        for suspect in &self.suspects {
            changes.extend(suspect.changes());
        }
        for (key, slot) in &self.waiting {
            let table = key.table();
            let bytes = key.encode();
            let value = match (key, &slot.value) {
                // One is what a message without a record has.
                (Key::References(_), Some(Value::References(0 | 1))) => None,
                (Key::Message(id), Some(_)) if self.unreferenced(*id) => None,
                (_, value) => value.as_ref().map(|value| value::encode(table, &bytes, value)),
            };
            if value.is_some() || slot.below {
                changes.push(Change { table, key: bytes, value });
            }
        }
        changes
    }

    /// Whether a new message has found nobody to refer to it.
    fn unreferenced(&self, id: u64) -> bool {
        let slot = self.waiting.get(&Key::References(id));
        slot.is_some_and(|slot| slot.value == Some(Value::References(0)))
    }

    /// All that waited is on disk.
    pub(crate) fn committed(&mut self) {
        self.waiting.clear();
        self.suspects.clear();
    }

    /// What waits may be on disk, or not.
    pub(crate) fn uncertain(&mut self) {
        for slot in self.waiting.values_mut() {
            slot.below = true;
        }
    }
}
