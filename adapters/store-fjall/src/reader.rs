//! The reader: one thread that reads parts of logs while the committer waits for the disk.
//!
//! Invariants: it sees all that was reported as stored; whatever cannot be read is told and left out, so an answer always
//! comes.
use crate::committer::Work;
use crate::disk::Pair;
use crate::folder::{Open, Shared};
use crate::key::{Key, Table};
use crate::names::Names;
use crate::quarantine::{Suspect, describe};
use crate::value::{self, Damage, Entry, Kept, Value};
use mqtt_session::broker::{Completion, LoadRequest, Loaded, LogEntry, MessageId, Position};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Entries that are read at a time.
const CHUNK: usize = 256;
/// Positions that are given up where the database cannot read; twice as many if that was not enough.
const STRIDE: u64 = 64;
/// At the level `memory`: how long a load waits for what was reported and is not written yet.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many batches the committer has taken, and written.
#[derive(Default)]
pub(crate) struct Progress {
    taken: AtomicU64,
    written: Mutex<u64>,
    moved: Condvar,
}

impl Progress {
    pub(crate) fn take(&self, upto: u64) {
        self.taken.fetch_max(upto, Ordering::AcqRel);
    }

    pub(crate) fn wrote(&self, upto: u64) {
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = upto;
        self.moved.notify_all();
    }

    /// Waits until all that was taken so far is written; `false`: that takes too long.
    fn wait(&self) -> bool {
        let taken = self.taken.load(Ordering::Acquire);
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.moved.wait_timeout_while(written, PATIENCE, |written| *written < taken);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

pub(crate) struct Reader {
    pub(crate) shared: Shared,
    pub(crate) names: Names,
    pub(crate) progress: Arc<Progress>,
    pub(crate) committer: SyncSender<Work>,
}

impl Reader {
    /// Answers requests until nobody is left to send more.
    pub(crate) fn run(self, requests: &Receiver<LoadRequest>, mut done: impl FnMut(Completion)) {
        for request in requests {
            let answer = match self.load(&request) {
                Some(loaded) => Completion::Loaded(loaded),
                None => Completion::LoadFailed { filter: request.filter, from: request.from },
            };
            done(answer);
        }
    }

    fn load(&self, request: &LoadRequest) -> Option<Loaded> {
        if !self.progress.wait() {
            return None;
        }
        let open = self.shared.read();
        let open = open.as_ref()?;
        let LoadRequest { filter, from, until, max_bytes } = request;
        let mut loaded = Loaded { filter: filter.clone(), from: *from, upto: *until, entries: Vec::new() };
        let Some(log) = self.names.log(filter) else { return Some(loaded) };
        let (mut at, mut bytes, mut stride) = (from.0, 0, STRIDE);
        while at < until.0 {
            let mut pairs = Vec::new();
            let (first, end) = (Key::Entry(log, at).encode(), Key::Entry(log, until.0).encode());
            let read = open.range(Table::Queue, &first, &end, CHUNK, &mut pairs);
            let more = read.is_err() || pairs.len() == CHUNK;
            for pair in pairs {
                let Some(Key::Entry(_, position)) = Key::decode(Table::Queue, &pair.0) else { continue };
                (at, stride) = (position + 1, STRIDE);
                let Some(entry) = self.entry(pair) else { continue };
                if bytes + entry.bytes > *max_bytes && !loaded.entries.is_empty() {
                    loaded.upto = Position(position);
                    return Some(loaded);
                }
                let Some(Kept { message, expires_at }) = self.message(open, entry.message) else { continue };
                bytes += entry.bytes;
                let id = MessageId(entry.message);
                loaded.entries.push(LogEntry { at: Position(position), id, message, expires_at });
            }
            if let Err(error) = read {
                let (filter, to) = (filter.as_str(), at + stride);
                tracing::error!(%error, "lost: positions {at} to {to} of the log of {filter:?} cannot be read");
                (at, stride) = (to, stride * 2);
            }
            if !more {
                break;
            }
        }
        Some(loaded)
    }

    fn entry(&self, pair: Pair) -> Option<Entry> {
        match value::decode(Table::Queue, &pair.0, &pair.1) {
            Ok((_, Value::Entry(entry))) => Some(entry),
            Ok(_) => None,
            Err(damage) => self.quarantine(pair, damage),
        }
    }

    fn message(&self, open: &Open, id: u64) -> Option<Kept> {
        let key = Key::Message(id).encode();
        match open.get(Table::Queue, &key) {
            Ok(Some(stored)) => match value::decode(Table::Queue, &key, &stored) {
                Ok((_, Value::Message(kept))) => Some(kept),
                Ok(_) => None,
                Err(damage) => self.quarantine((key.into(), stored), damage),
            },
            Ok(None) => None,
            Err(error) => {
                tracing::error!(%error, "lost: message {id} cannot be read");
                None
            }
        }
    }

    /// Tells of a damaged record, and has the committer put it aside.
    fn quarantine<T>(&self, (key, value): Pair, damage: Damage) -> Option<T> {
        tracing::error!("lost: {} ({damage}); it goes into quarantine", describe(&self.names, Table::Queue, &key));
        let suspect = Suspect { table: Table::Queue, key, value };
        let _ = self.committer.try_send(Work::Quarantine(suspect)); // while it is busy: found again at the next load
        None
    }
}
