//! Where a session is kept that must survive the process, and how the answers reach the machine.
//!
//! Invariant: an answer never waits for the client's task, so a store that the task waits for goes on.
use super::shared::Shared;
use mqtt_session::client::{Completion, MemoryStore, StoreBatch};
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Takes the answers of a [`Store`].
pub type StoreDone = Box<dyn FnMut(Completion) + Send>;

/// Keeps the session of a client. Both calls come from the client's task. Dropping it, at the end of the client, is the moment to finish what was
/// handed in.
pub trait Store: Send {
    /// Called once, before anything else. `done` may be called from any thread, and never blocks for long.
    fn start(&mut self, done: StoreDone) -> io::Result<()>;
    /// Keep this batch, and tell `done` when it is kept: in order, each or the last of several, but never before. Must not wait: no more than
    /// 64 batches are without answer at any time.
    fn write(&mut self, batch: StoreBatch);
}

/// Keeps the session in memory: for clients that come and go in one process. Clones share what they keep.
#[derive(Clone, Debug, Default)]
pub struct InMemory {
    contents: Arc<Mutex<MemoryStore>>,
    done: Done,
}

#[derive(Default)]
struct Done(Option<StoreDone>);

impl InMemory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// What it holds, for [`Builder::store`](super::Builder::store).
    pub fn contents(&self) -> MemoryStore {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Store for InMemory {
    fn start(&mut self, done: StoreDone) -> io::Result<()> {
        self.done = Done(Some(done));
        Ok(())
    }

    fn write(&mut self, batch: StoreBatch) {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner).apply(&batch);
        if let Some(done) = &mut self.done.0 {
            done(Completion::Stored { upto: batch.seq });
        }
    }
}

impl Clone for Done {
    /// Each clone answers to the client that started it.
    fn clone(&self) -> Self {
        Self(None)
    }
}

impl std::fmt::Debug for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Done").field(&self.0.is_some()).finish()
    }
}

/// Starts a store that answers to this client, as long as there is one.
pub(super) fn start(mut store: Box<dyn Store>, shared: &Arc<Shared>) -> io::Result<Box<dyn Store>> {
    let shared: Weak<Shared> = Arc::downgrade(shared);
    store.start(Box::new(move |completion| {
        if let Some(shared) = shared.upgrade() {
            shared.call(|inner, now| inner.machine.handle_completion(now, completion));
        }
    }))?;
    Ok(store)
}
