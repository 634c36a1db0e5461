//! The embedded store of the broker machine.
#![doc = include_str!("../README.md")]
//!
//! # Inside
//!
//! Everything that the broker must not lose is a record of its own, under a key of its own: `key.rs` and `value.rs` say
//! which there are, `ledger.rs` which of them an operation makes, changes and removes. A committer thread gathers the batches that
//! come while a commit runs and commits them as one, so the cost of a sync is shared by all that wait for it; what came and
//! went within a group is never written. A reader thread reads parts of logs meanwhile.
//!
//! Invariants: a batch is reported as stored only when it is kept as the [`Durability`] says; a folder is used by one
//! process at a time; damage costs what is damaged and what belongs to it, never the start; memory grows with sessions,
//! filters and retained messages, not with what is queued.
#![forbid(unsafe_code)]

mod boot;
mod check;
mod checksum;
mod client;
mod committer;
mod disk;
mod error;
mod folder;
mod journal;
mod key;
mod ledger;
mod names;
mod opening;
mod quarantine;
mod reader;
mod reclaim;
mod records;
mod salvage;
mod transfer;
mod value;

pub use check::Checked;
pub use client::{ClientFolder, ClientOpened};
pub use error::OpenError;
pub use transfer::{Exported, ImportError};

use committer::{Committer, Work};
use folder::{Folder, Place};
use ledger::Ledger;
use mqtt_session::broker::{Completion, Contents, LoadRequest, StoreBatch};
use reader::Reader;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Batches that wait for the committer before [`FjallStore::write`] does.
const WAITING: usize = 1024;
/// Losses that a report names one by one.
const NAMED: usize = 1000;

/// When a change counts as kept, and may be acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When the store has taken it. It is written soon, and lost if the process ends before.
    Memory,
    /// When the operating system has it: it survives the end of the process, but not that of the machine.
    Os,
    /// When the disk has it (synced): it survives a power cut. The default: an acknowledgment is a promise, and group
    /// commit lets all that wait share the price.
    #[default]
    Disk,
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// What it was.
    pub what: String,
    /// What is wrong with it.
    pub why: String,
}

/// What was found in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Sessions.
    pub sessions: usize,
    /// Subscriptions of all sessions.
    pub subscriptions: usize,
    /// Retained messages.
    pub retained: usize,
    /// Logs: filters that somebody subscribes.
    pub logs: usize,
    /// Entries of all logs: messages that are queued.
    pub entries: u64,
    /// Things that could not be used. Records went into quarantine.
    pub lost_records: usize,
    /// The first thousand of them, one by one.
    pub lost: Vec<Lost>,
    /// The database could not be used as it was: a new one was made of what could be read, and the old one is kept here.
    pub set_aside: Option<PathBuf>,
    /// How long it took.
    pub took: Duration,
}

impl Opened {
    fn lose(&mut self, lost: Lost) {
        self.lost_records += 1;
        if self.lost.len() < NAMED {
            self.lost.push(lost);
        }
    }
}

/// A folder that keeps what a broker stores.
pub struct FjallStore {
    waiting: Option<Committer<Folder>>,
    running: Option<Running>,
}

/// The ways to the threads, and their ends.
struct Running {
    batches: SyncSender<Work>,
    loads: Sender<LoadRequest>,
    /// In the order in which they end.
    threads: [JoinHandle<()>; 3],
}

impl std::fmt::Debug for FjallStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FjallStore").field("running", &self.running.is_some()).finish_non_exhaustive()
    }
}

impl FjallStore {
    /// Opens a folder, or makes it; gives what it holds, for
    /// [`Broker::restore`](mqtt_session::broker::Broker::restore), and a report. Damage does not keep it from opening. Time
    /// and memory: O(n log n) in sessions, subscriptions and retained messages, whatever is queued.
    pub fn open(path: &Path, durability: Durability) -> Result<(Self, Contents, Opened), OpenError> {
        let begun = Instant::now();
        let (ledger, contents, mut report) = opening::open(path)?;
        report.took = begun.elapsed();
        let committer = Committer::new(ledger, durability);
        Ok((Self { waiting: Some(committer), running: None }, contents, report))
    }

    /// Reads all of a folder that no broker uses, and changes none of its records. Memory: a few bytes for each message.
    pub fn check(path: &Path) -> Result<Checked, OpenError> {
        check::check(&opening::existing(path)?)
    }

    /// Writes the contents of a folder that no broker uses as lines of JSON; changes nothing.
    pub fn export(path: &Path, out: &mut dyn Write) -> Result<Exported, OpenError> {
        let place = opening::existing(path)?;
        let mut ledger = Ledger::empty(opening::folder(&place)?);
        transfer::export(&mut ledger, path, out)
    }

    /// Reads what [`export`](Self::export) has written into a folder that is empty or missing; gives the number of lines.
    pub fn import(path: &Path, lines: impl BufRead) -> Result<u64, ImportError> {
        let place = Arc::new(Place::take(path).map_err(ImportError::Folder)?);
        if place.database().exists() {
            return Err(ImportError::Folder(OpenError::NotEmpty(path.to_owned())));
        }
        let mut ledger = Ledger::empty(opening::folder(&place).map_err(ImportError::Folder)?);
        transfer::import(&mut ledger, path, lines)
    }

    /// Starts the store, which reports to `done` from its own threads: that must not block for long. Once.
    pub fn start(&mut self, done: impl FnMut(Completion) + Send + 'static) -> std::io::Result<()> {
        let Some(mut committer) = self.waiting.take() else { return Ok(()) };
        let done = Arc::new(Mutex::new(done));
        let thread = |name: &str| std::thread::Builder::new().name(format!("mqtt-store-{name}"));
        let (batches, work) = sync_channel(WAITING);
        let (loads, requests) = channel();
        let (reclaim, asked) = sync_channel(1);
        let shared = committer.ledger.records.disk.shared.clone();
        let reader = Reader {
            shared: shared.clone(),
            names: committer.ledger.names.clone(),
            progress: committer.progress.clone(),
            committer: batches.clone(),
        };
        committer.reclaim = Some(reclaim);
        let to_reader = done.clone();
        let threads = [
            thread("read").spawn(move || reader.run(&requests, |answer| tell(&to_reader, answer)))?,
            thread("commit").spawn(move || committer.run(&work, |answer| tell(&done, answer)))?,
            thread("reclaim").spawn(move || reclaim::run(&shared, &asked))?,
        ];
        self.running = Some(Running { batches, loads, threads });
        Ok(())
    }

    /// Hands a batch to the committer; waits while a thousand batches wait. Before [`start`](Self::start) there is nobody
    /// to take it.
    pub fn write(&mut self, batch: StoreBatch) {
        if let Some(running) = &self.running
            && running.batches.send(Work::Batch(batch)).is_err()
        {
            tracing::error!("the store has stopped: nothing is acknowledged any more");
        }
    }

    /// Has a part of a log read. The answer is `Completion::Loaded`, or `Completion::LoadFailed` while the disk cannot be
    /// read at all.
    pub fn load(&mut self, request: LoadRequest) {
        if let Some(running) = &self.running
            && running.loads.send(request).is_err()
        {
            tracing::error!("the store has stopped: nothing is read any more");
        }
    }
}

fn tell(done: &Mutex<impl FnMut(Completion)>, completion: Completion) {
    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
    (*done)(completion);
}

/// Waits until everything that was written is committed.
impl Drop for FjallStore {
    fn drop(&mut self) {
        let Some(Running { batches, loads, threads }) = self.running.take() else { return };
        drop((batches, loads));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("the store has panicked: this is a bug, please report it");
            }
        }
    }
}

#[cfg(test)]
mod tests;
