//! Reads everything, as a broker never does at once.
//!
//! Invariant: no record is changed.
use crate::boot::boot;
use crate::disk::Disk as _;
use crate::folder::{FORMAT, Place};
use crate::key::{Key, Table};
use crate::ledger::Ledger;
use crate::quarantine::describe;
use crate::value::{self, Value};
use crate::{Lost, NAMED, OpenError, Opened, opening};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Records that are read at a time.
const CHUNK: usize = 4096;

/// What a folder holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// The version of the format.
    pub format: u32,
    /// What a broker would find, and what it could not use. Everything that cannot be read or refers to something that is not
    /// there is among its losses.
    pub opened: Opened,
    /// Messages that logs and deliveries refer to.
    pub messages: u64,
    /// Messages that nothing refers to. They do no harm; an export leaves them out.
    pub unused: u64,
    /// Entries that are over and not removed yet.
    pub unswept: u64,
    /// Records in quarantine.
    pub quarantined: u64,
    /// Bytes of the files.
    pub disk_bytes: u64,
}

/// Reads all of a folder.
pub(crate) fn check(place: &Arc<Place>) -> Result<Checked, OpenError> {
    let begun = std::time::Instant::now();
    let mut ledger = Ledger::empty(opening::folder(place)?);
    let mut checked = Checked { format: FORMAT, ..Checked::default() };
    boot(&mut ledger, &mut checked.opened).map_err(|error| error.into_open(place.path()))?;
    let mut check = Check { checked, referred: HashMap::new(), ledger };
    check.deliveries();
    check.entries();
    check.messages();
    check.references();
    check.range(Table::Quarantine, vec![], &[0xff; 4], |check, _, _| check.checked.quarantined += 1);
    let Check { mut checked, .. } = check;
    checked.disk_bytes = disk_bytes(&place.database()).map_err(|error| OpenError::io(place.path(), error))?;
    checked.opened.took = begun.elapsed();
    Ok(checked)
}

struct Check {
    ledger: Ledger<crate::folder::Folder>,
    checked: Checked,
    /// How many refer to each message.
    referred: HashMap<u64, u32>,
}

impl Check {
    /// Calls `each` with the pairs from `from` on and before `until`.
    fn range(&mut self, table: Table, mut from: Vec<u8>, until: &[u8], mut each: impl FnMut(&mut Self, &[u8], &[u8])) {
        loop {
            let mut pairs = Vec::new();
            let read = self.ledger.records.disk.range(table, &from, until, CHUNK, &mut pairs);
            let more = pairs.len() == CHUNK;
            if let Some((last, _)) = pairs.last() {
                from = [&**last, &[0]].concat();
            }
            for (key, value) in pairs {
                each(self, &key, &value);
            }
            if let Err(error) = read {
                self.lose(format!("the rest of a part of {:?}", table.name()), error.to_string());
            }
            if !more {
                return;
            }
        }
    }

    fn lose(&mut self, what: String, why: String) {
        let opened = &mut self.checked.opened;
        if !opened.lost.iter().any(|lost| lost.what == what) {
            opened.lost_records += 1;
            if opened.lost.len() < NAMED {
                opened.lost.push(Lost { what, why });
            }
        }
    }

    fn decode(&mut self, table: Table, key: &[u8], value: &[u8]) -> Option<(Key, Value)> {
        match value::decode(table, key, value) {
            Ok(record) => Some(record),
            Err(damage) => {
                self.lose(describe(&self.ledger.names, table, key), damage.to_string());
                None
            }
        }
    }

    fn deliveries(&mut self) {
        let (from, until) = (Key::Outgoing(0, 0).encode(), Key::GroupSettled(0, 0).encode());
        self.range(Table::State, from, &until, |check, key, value| {
            if let Ok((_, Value::Outgoing(delivery))) = value::decode(Table::State, key, value) {
                *check.referred.entry(delivery.message).or_default() += 1;
            }
        });
    }

    fn entries(&mut self) {
        let (from, until) = (Key::Entry(0, 0).encode(), Key::Message(0).encode());
        self.range(Table::Queue, from, &until, |check, key, value| {
            let Some((Key::Entry(log, at), Value::Entry(entry))) = check.decode(Table::Queue, key, value) else {
                return;
            };
            *check.referred.entry(entry.message).or_default() += 1;
            let head = check.ledger.logs.get(&log);
            let live = head.is_some_and(|head| head.filter.is_some() && at >= head.start);
            if !live {
                check.checked.unswept += 1;
            } else if !check.ledger.records.has(&Key::Message(entry.message)) {
                let what = describe(&check.ledger.names, Table::Queue, key);
                check.lose(what, format!("message {} is lost", entry.message));
            }
        });
    }

    fn messages(&mut self) {
        let from = Key::Message(0).encode();
        self.range(Table::Queue, from, &[3], |check, key, value| {
            let Some((Key::Message(id), _)) = check.decode(Table::Queue, key, value) else { return };
            if check.referred.contains_key(&id) {
                check.checked.messages += 1;
            } else {
                check.checked.unused += 1;
            }
        });
    }

    /// Whether messages know how many refer to them: too few would remove a message too early.
    fn references(&mut self) {
        let (from, mut several) = (Key::References(0).encode(), HashMap::new());
        self.range(Table::State, from, &[11], |check, key, value| {
            if let Some((Key::References(id), Value::References(count))) = check.decode(Table::State, key, value) {
                several.insert(id, count);
            }
        });
        let wrong: Vec<(u64, u32, u32)> = self
            .referred
            .iter()
            .map(|(id, count)| (*id, *count, several.get(id).copied().unwrap_or(1)))
            .filter(|(_, count, recorded)| recorded < count)
            .collect();
        for (id, count, recorded) in wrong {
            self.lose(format!("how many refer to message {id}"), format!("{count} do, and the record says {recorded}"));
        }
    }
}

/// Bytes that the files of a folder take, holes left out where the system tells.
pub(crate) fn disk_bytes(path: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() { disk_bytes(&entry.path())? } else { allocated(&metadata) };
    }
    Ok(sum)
}

#[cfg(unix)]
fn allocated(metadata: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    metadata.blocks() * 512
}

#[cfg(not(unix))]
fn allocated(metadata: &fs::Metadata) -> u64 {
    metadata.len()
}
