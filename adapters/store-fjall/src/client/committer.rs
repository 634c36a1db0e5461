//! The committer of a client: one thread that gathers batches, commits each group once, and tells how far it has come.
//!
//! Invariants: `Stored` is reported behind the commit of its group, and never for a batch that waits or failed (at the level `memory`: as soon
//! as it is taken); what a failed commit did not keep is part of the next one.
use super::record;
use crate::{Durability, OpenError};
use mqtt_session::client::{Completion, StoreBatch, StoreOp, StoreSeq};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// Batches that one commit takes at most.
const GROUP: usize = 1024;
/// How long after a failed commit it is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// The longest key that the tree takes.
const MAX_KEY: usize = 65_535;

/// Records to write (a value) and to remove (none), by key.
pub(super) type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Where groups are committed to. Tests put one that fails in its place.
pub(super) trait Disk: Send {
    /// Writes and removes records, all or none, and makes that as durable as `durability` says.
    fn commit(&mut self, changes: &Changes, durability: Durability) -> Result<(), fjall::Error>;
    /// Opens it again after an error, since it refuses everything from then on.
    fn reopen(&mut self) -> Result<(), OpenError>;
}

pub(super) struct Committer<D> {
    pub(super) disk: D,
    pub(super) durability: Durability,
    /// What is not on the disk yet.
    changes: Changes,
    /// The last batch that was taken.
    last: StoreSeq,
    failing: bool,
}

impl<D: Disk> Committer<D> {
    pub(super) fn new(disk: D, durability: Durability) -> Self {
        Self { disk, durability, changes: Changes::new(), last: StoreSeq(0), failing: false }
    }

    /// Commits what comes until nobody is left to send more.
    pub(super) fn run(mut self, batches: &Receiver<StoreBatch>, mut done: impl FnMut(Completion)) {
        loop {
            let first = if self.failing {
                batches.recv_timeout(RETRY)
            } else {
                batches.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match first {
                Ok(first) => {
                    let group: Vec<_> = std::iter::once(first).chain(batches.try_iter().take(GROUP - 1)).collect();
                    self.group(&group, &mut done);
                }
                Err(RecvTimeoutError::Timeout) => self.retry(&mut done),
                Err(RecvTimeoutError::Disconnected) => {
                    if self.failing && !self.commit() {
                        tracing::error!("the last changes of the client could not be stored and are lost");
                    }
                    return;
                }
            }
        }
    }

    /// Commits a group and reports it.
    pub(super) fn group(&mut self, group: &[StoreBatch], done: &mut impl FnMut(Completion)) {
        let Some(last) = group.last() else { return };
        self.last = last.seq;
        let early = self.durability == Durability::Memory;
        if early {
            done(Completion::Stored { upto: last.seq });
        }
        for op in group.iter().flat_map(|batch| &batch.ops) {
            self.add(op);
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

    /// Tries again what failed.
    pub(super) fn retry(&mut self, done: &mut impl FnMut(Completion)) {
        if self.commit() && self.durability != Durability::Memory {
            done(Completion::Stored { upto: self.last });
        }
    }

    fn add(&mut self, op: &StoreOp) {
        let name = match op {
            StoreOp::Put(record) => record.key(),
            StoreOp::Remove(key) => key.clone(),
        };
        let key = record::encode_key(&name).filter(|key| key.len() <= MAX_KEY);
        let change = key.and_then(|key| match op {
            StoreOp::Put(record) => record::encode_value(&key, record).map(|value| (key, Some(value))),
            StoreOp::Remove(_) => Some((key, None)),
        });
        let Some((key, value)) = change else {
            // A Topic Filter of 65,535 bytes, or a message that only a version before 5.0 can say: of 256 MiB but a byte.
            tracing::error!("{name:?} is too long for the store, and not kept");
            return;
        };
        self.changes.insert(key, value);
    }

    /// Writes all changes; `false`: they wait.
    fn commit(&mut self) -> bool {
        if self.failing
            && let Err(error) = self.disk.reopen()
        {
            tracing::error!(%error, "the store of the client cannot be opened again");
            return false;
        }
        match self.disk.commit(&self.changes, self.durability) {
            Ok(()) => {
                if self.failing {
                    tracing::info!("the store of the client keeps changes again");
                }
                self.failing = false;
                self.changes.clear();
                true
            }
            Err(error) => {
                tracing::error!(%error, "the store of the client cannot keep changes");
                self.failing = true;
                false
            }
        }
    }
}
