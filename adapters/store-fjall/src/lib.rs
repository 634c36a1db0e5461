//! The embedded store of the broker machine.
#![doc = include_str!("../README.md")]
//!
//! # Inside
//!
//! Everything that the broker must not lose is a record of its own, under a key of its own (see `codec.rs`). A thread
//! gathers the batches that come while a commit runs, and commits them as one: the cost of a sync is shared by all that
//! wait for it.
//!
//! Invariants: a batch is reported as stored only when it is kept as the [`Durability`] says; a folder is used by one
//! process at a time; a damaged record costs itself and what belongs to it, never the start.
#![forbid(unsafe_code)]

mod checksum;
mod client;
mod codec;
mod committer;
mod error;
mod folder;

pub use client::{ClientFolder, ClientOpened};
pub use error::OpenError;

use committer::Committer;
use folder::{Folder, NAMED};
use mqtt_session::broker::{Completion, MemoryStore, StoreBatch};
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Batches that wait for the committer before [`FjallStore::write`] does.
const WAITING: usize = 1024;

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
    /// Messages that logs and deliveries refer to.
    pub messages: usize,
    /// Entries of all logs.
    pub entries: usize,
    /// Records that could not be used this time. The records themselves went into quarantine, unless the folder was only
    /// checked.
    pub lost_records: usize,
    /// The first thousand of them, one by one.
    pub lost: Vec<Lost>,
    /// Records in quarantine, from all times.
    pub quarantined: usize,
    /// Messages that nothing referred to; removed, unless the folder was only checked.
    pub collected: usize,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// How long reading took.
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
#[derive(Debug)]
pub struct FjallStore {
    running: Running,
}

#[derive(Debug)]
enum Running {
    /// Not started.
    Not(Option<Box<Waiting>>),
    /// The way to the committer, and its end.
    Committer(Option<SyncSender<StoreBatch>>, Option<JoinHandle<()>>),
}

struct Waiting(Committer<Folder>);

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Committer").field("durability", &self.0.durability).finish_non_exhaustive()
    }
}

impl FjallStore {
    /// Opens a folder, or makes it; gives what it holds, for
    /// [`Broker::restore`](mqtt_session::broker::Broker::restore), and a report. Reads everything: O(n log n) in the
    /// contents, which have to fit into memory.
    pub fn open(path: &Path, durability: Durability) -> Result<(Self, MemoryStore, Opened), OpenError> {
        let folder = Folder::open(path)?;
        let (contents, report) = folder.load(true)?;
        let waiting = Waiting(Committer::new(folder, durability, contents.clone()));
        Ok((Self { running: Running::Not(Some(Box::new(waiting))) }, contents, report))
    }

    /// Reads a folder that no broker uses, and changes none of its records.
    pub fn check(path: &Path) -> Result<Opened, OpenError> {
        if !path.is_dir() {
            return Err(OpenError::Missing(path.to_owned()));
        }
        Folder::open(path)?.load(false).map(|(_, report)| report)
    }

    /// Starts the committer, which reports to `done` from its own thread: that must not block for long. Once.
    pub fn start(&mut self, done: impl FnMut(Completion) + Send + 'static) -> std::io::Result<()> {
        let Running::Not(waiting) = &mut self.running else { return Ok(()) };
        let Some(Waiting(committer)) = waiting.take().map(|waiting| *waiting) else { return Ok(()) };
        let (sender, receiver) = sync_channel(WAITING);
        let run = move || committer.run(&receiver, done);
        let thread = std::thread::Builder::new().name("mqtt-store".to_owned()).spawn(run)?;
        self.running = Running::Committer(Some(sender), Some(thread));
        Ok(())
    }

    /// Hands a batch to the committer; waits while a thousand batches wait. Before [`start`](Self::start) there is nobody
    /// to take it.
    pub fn write(&mut self, batch: StoreBatch) {
        if let Running::Committer(Some(sender), _) = &self.running
            && sender.send(batch).is_err()
        {
            tracing::error!("the store has stopped: nothing is acknowledged any more");
        }
    }
}

/// Waits until everything that was written is committed.
impl Drop for FjallStore {
    fn drop(&mut self) {
        if let Running::Committer(sender, thread) = &mut self.running {
            drop(sender.take());
            if thread.take().is_some_and(|thread| thread.join().is_err()) {
                tracing::error!("the store has panicked: this is a bug, please report it");
            }
        }
    }
}

#[cfg(test)]
mod tests;
