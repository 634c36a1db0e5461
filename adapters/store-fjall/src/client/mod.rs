//! The store of the client machine: a folder that lets an application go on after it was killed (MQTT 5.0 section 4.1).
//!
//! ```no_run
//! use mqtt_session::client::{Client, ClientConfig, Output};
//! use mqtt_session::{Instant, UnixTime};
//! use mqtt_store_fjall::{ClientFolder, Durability};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (mut folder, contents, report) = ClientFolder::open("session".as_ref(), Durability::Disk)?;
//! println!("{} messages are still to be sent", report.messages.0);
//! let mut client = Client::with_store(ClientConfig::default(), &contents, [7; 32], Instant::ZERO, UnixTime::from_millis(0))?;
//! folder.start(|completion| println!("for `Client::handle_completion`: {completion:?}"))?;
//! while let Some(output) = client.poll_output() {
//!     if let Output::Store(batch) = output {
//!         folder.write(batch);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Invariants: a batch is reported as stored only when it is kept as the [`Durability`] says; a folder is used by one process at a time, and by
//! one client; a damaged record costs itself, never the start.
mod committer;
mod folder;
mod record;

use crate::{Durability, Lost, OpenError};
use committer::Committer;
use folder::Folder;
use mqtt_session::client::{Completion, MemoryStore, StoreBatch};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// What was found in the folder of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientOpened {
    /// Messages that are not settled, and those of them that the server may have taken over already.
    pub messages: (usize, usize),
    /// Desired subscriptions.
    pub subscriptions: usize,
    /// Records that could not be used. They went into quarantine. What that means for a message: lost if it was the message; published a second
    /// time if it was its identifier.
    pub lost_records: usize,
    /// The first thousand of them, one by one.
    pub lost: Vec<Lost>,
    /// Records in quarantine, from all times.
    pub quarantined: usize,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// How long reading took.
    pub took: Duration,
}

/// A folder that keeps the session of a client.
///
/// Everything that gathers while a commit runs is committed at once, with one sync. A commit that failed is tried again every second, and nothing
/// is reported as stored until it succeeds. What is too long for that is not kept,
/// and logged: a Topic Filter of 65,535 bytes, and a message of 256 MiB but a byte.
#[derive(Debug)]
pub struct ClientFolder {
    running: Running,
}

#[derive(Debug)]
enum Running {
    /// Not started.
    Not(Option<Box<Waiting>>),
    /// The way to the committer, and its end.
    Committer(Option<Sender<StoreBatch>>, Option<JoinHandle<()>>),
}

struct Waiting(Committer<Folder>);

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Committer").field("durability", &self.0.durability).finish_non_exhaustive()
    }
}

impl ClientFolder {
    /// Opens a folder, or makes it; gives what it holds, for
    /// [`Client::with_store`](mqtt_session::client::Client::with_store), and a report. Reads everything: O(n log n).
    ///
    /// # Errors
    /// When another process uses it, when it is the folder of a broker or of a newer version, or when it cannot be read.
    pub fn open(path: &Path, durability: Durability) -> Result<(Self, MemoryStore, ClientOpened), OpenError> {
        let folder = Folder::open(path)?;
        let (contents, report) = folder.load()?;
        let waiting = Box::new(Waiting(Committer::new(folder, durability)));
        Ok((Self { running: Running::Not(Some(waiting)) }, contents, report))
    }

    /// Starts the committer, which reports to `done` from its own thread: that must not block for long. Once.
    pub fn start(&mut self, done: impl FnMut(Completion) + Send + 'static) -> std::io::Result<()> {
        let Running::Not(waiting) = &mut self.running else { return Ok(()) };
        let Some(Waiting(committer)) = waiting.take().map(|waiting| *waiting) else { return Ok(()) };
        let (sender, receiver) = channel(); // the client hands out no more than 64 batches at once
        let run = move || committer.run(&receiver, done);
        let thread = std::thread::Builder::new().name("mqtt-client-store".to_owned()).spawn(run)?;
        self.running = Running::Committer(Some(sender), Some(thread));
        Ok(())
    }

    /// Hands a batch to the committer; never waits. Before [`start`](Self::start) there is nobody to take it.
    pub fn write(&mut self, batch: StoreBatch) {
        if let Running::Committer(Some(sender), _) = &self.running
            && sender.send(batch).is_err()
        {
            tracing::error!("the store of the client has stopped: nothing is kept any more");
        }
    }
}

/// Waits until everything that was written is committed.
impl Drop for ClientFolder {
    fn drop(&mut self) {
        if let Running::Committer(sender, thread) = &mut self.running {
            drop(sender.take());
            if thread.take().is_some_and(|thread| thread.join().is_err()) {
                tracing::error!("the store of the client has panicked: this is a bug, please report it");
            }
        }
    }
}

#[cfg(test)]
mod tests;
