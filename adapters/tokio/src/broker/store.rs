//! Where what must survive is kept, and how its answers reach the shard.
//!
//! Invariant: an answer never waits for the shard, so a store that the shard waits for goes on.
use mqtt_session::broker::{Completion, LoadRequest, StoreBatch};
use std::io;

/// Takes the answers of a [`Store`]: `Completion::Stored` and `Completion::StoreFailed`, `Completion::Loaded` and
/// `Completion::LoadFailed`.
pub type StoreDone = Box<dyn FnMut(Completion) + Send>;

/// Keeps the changes of a broker. All calls come from the shard's thread. Dropping it, at the end of the shard, is the moment
/// to finish what was handed in.
pub trait Store: Send {
    /// Called once, before anything else. `done` may be called from any thread, and never blocks.
    fn start(&mut self, done: StoreDone) -> io::Result<()>;
    /// Keep this batch, and tell `done` when it is kept: in order, each or the last of several, but never before. May
    /// wait for a moment when too much is to be kept already, which slows the clients down.
    fn write(&mut self, batch: StoreBatch);
    /// Read this part of a log, and give it to `done`, or tell that it cannot be read now. Never waits: reading goes on
    /// beside writing, since clients wait for it. Everything that was reported as kept has to be seen.
    fn load(&mut self, request: LoadRequest);
}
