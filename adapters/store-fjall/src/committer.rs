//! The committer: one thread that gathers batches, commits each group once, and tells how far it has come.
//!
//! Invariants: `Stored` is reported behind the commit of its group, in order, and never for a batch that waits or failed
//! (at the level `memory`: as soon as it is taken); what a failed commit did not keep is written again ahead of everything
//! that follows.
use crate::Durability;
use crate::codec;
use crate::folder::{Disk, fits};
use mqtt_session::broker::{Completion, LoadRequest, MemoryStore, RecordKey, StoreBatch};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// Batches that one commit takes at most.
const GROUP: usize = 1024;
/// How long after a failed commit it is tried again, when no batch comes before.
const RETRY: Duration = Duration::from_secs(1);

/// What the committer is to do.
pub(crate) enum Task {
    Write(StoreBatch),
    Load(LoadRequest),
}

pub(crate) struct Committer<D> {
    pub(crate) disk: D,
    pub(crate) durability: Durability,
    /// What the disk holds once all `dirty` records are written.
    pub(crate) contents: MemoryStore,
    pub(crate) dirty: Vec<RecordKey>,
    /// The last commit failed.
    pub(crate) failing: bool,
}

impl<D: Disk> Committer<D> {
    pub(crate) fn new(disk: D, durability: Durability, contents: MemoryStore) -> Self {
        Self { disk, durability, contents, dirty: Vec::new(), failing: false }
    }

    /// Commits what comes until nobody is left to send more.
    pub(crate) fn run(mut self, tasks: &Receiver<Task>, mut done: impl FnMut(Completion)) {
        loop {
            let first = if self.dirty.is_empty() {
                tasks.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                tasks.recv_timeout(RETRY)
            };
            match first {
                Ok(first) => {
                    let mut group = Vec::new();
                    for task in std::iter::once(first).chain(tasks.try_iter().take(GROUP - 1)) {
                        match task {
                            Task::Write(batch) => group.push(batch),
                            Task::Load(request) => done(Completion::Loaded(self.contents.load(&request))),
                        }
                    }
                    self.group(&group, &mut done);
                }
                Err(RecvTimeoutError::Timeout) => _ = self.commit(),
                Err(RecvTimeoutError::Disconnected) => {
                    if !self.dirty.is_empty() && !self.commit() {
                        tracing::error!("the last changes could not be stored and are lost");
                    }
                    return;
                }
            }
        }
    }

    /// Commits a group and reports it.
    pub(crate) fn group(&mut self, group: &[StoreBatch], done: &mut impl FnMut(Completion)) {
        let Some(last) = group.last() else { return };
        let early = self.durability == Durability::Memory;
        if early {
            done(Completion::Stored { upto: last.seq });
        }
        for batch in group {
            self.contents.apply_noting(batch, &mut self.dirty);
        }
        let kept = self.commit();
        if early {
            return;
        }
        if kept {
            done(Completion::Stored { upto: last.seq });
        } else {
            for batch in group {
                done(Completion::StoreFailed { seq: batch.seq });
            }
        }
    }

    /// Writes all that is dirty; `false`: it stays so.
    fn commit(&mut self) -> bool {
        if self.failing
            && let Err(error) = self.disk.reopen()
        {
            tracing::error!(%error, "the store cannot be opened again; nothing is acknowledged until it can");
            return false;
        }
        self.dirty.sort_unstable();
        self.dirty.dedup();
        let mut changes = Vec::with_capacity(self.dirty.len());
        let mut unfit = false;
        for name in &self.dirty {
            let Some(key) = codec::encode_key(name).filter(|key| fits(key)) else {
                unfit = true;
                continue;
            };
            let value = self.contents.record(name).and_then(|record| codec::encode_value(&key, &record));
            changes.push((key, value));
        }
        match self.disk.commit(&changes, self.durability) {
            Ok(()) => {
                if self.failing {
                    tracing::info!("the store keeps changes again");
                }
                self.failing = false;
                self.dirty.clear();
                if unfit {
                    tracing::error!(
                        "Client Identifier and Topic Filter together are too long for the store: what belongs to them \
                         is not kept; lower the limits of both"
                    );
                }
                !unfit
            }
            Err(error) => {
                tracing::error!(%error, "the store cannot keep changes: nothing is acknowledged until it can");
                self.failing = true;
                false
            }
        }
    }
}
