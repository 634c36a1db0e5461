//! The committer: one thread that gathers batches, commits each group once, and tells how far it has come.
//!
//! Invariants: `Stored` is reported behind the commit of its group, in order, and never for a batch that waits or failed
//! (at the level `memory`: as soon as it is taken); what a failed commit did not keep is written again ahead of everything
//! that follows.
use crate::Durability;
use crate::disk::{Disk, DiskError};
use crate::ledger::Ledger;
use crate::quarantine::Suspect;
use crate::reader::Progress;
use crate::reclaim::is_due;
use mqtt_session::broker::{Completion, StoreBatch, StoreSeq};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

/// Batches that one commit takes at most.
const GROUP: usize = 1024;
/// How long after a failed commit it is tried again, when no batch comes before.
const RETRY: Duration = Duration::from_secs(1);
/// Entries that one commit sweeps at least, and for each batch beside.
const SWEPT: usize = 4096;
const SWEPT_BY_BATCH: usize = 256;

/// What the committer is given.
pub(crate) enum Work {
    Batch(StoreBatch),
    /// A record that the reader found damaged.
    Quarantine(Suspect),
}

pub(crate) struct Committer<D> {
    pub(crate) ledger: Ledger<D>,
    durability: Durability,
    /// Batches that came while nothing could be read, so that nobody knew what to make of them.
    unread: Vec<StoreBatch>,
    /// The last commit failed, and when.
    failing: Option<Instant>,
    /// How long after a failure batches fail untried.
    pub(crate) pause: Duration,
    /// The last batch that was taken.
    last: StoreSeq,
    pub(crate) progress: Arc<Progress>,
    /// Asks for disk space.
    pub(crate) reclaim: Option<SyncSender<()>>,
}

impl<D: Disk> Committer<D> {
    pub(crate) fn new(ledger: Ledger<D>, durability: Durability) -> Self {
        Self {
            ledger,
            durability,
            unread: Vec::new(),
            failing: None,
            pause: RETRY / 10,
            last: StoreSeq::default(),
            progress: Arc::default(),
            reclaim: None,
        }
    }

    /// Commits what comes until nobody is left to send more.
    pub(crate) fn run(mut self, work: &Receiver<Work>, mut done: impl FnMut(Completion)) {
        loop {
            let first = if self.failing.is_some() {
                work.recv_timeout(RETRY)
            } else if self.ledger.unswept.is_empty() {
                work.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                work.recv_timeout(Duration::ZERO)
            };
            match first {
                Ok(first) => {
                    let group = std::iter::once(first).chain(work.try_iter().take(GROUP - 1));
                    let group: Vec<StoreBatch> = group.filter_map(|work| self.batch_of(work)).collect();
                    self.group(group, &mut done);
                }
                Err(RecvTimeoutError::Timeout) => self.go_on(&mut done),
                Err(RecvTimeoutError::Disconnected) => return self.finish(),
            }
        }
    }

    fn batch_of(&mut self, work: Work) -> Option<StoreBatch> {
        match work {
            Work::Batch(batch) => Some(batch),
            Work::Quarantine(suspect) => {
                self.ledger.records.quarantine(suspect);
                None
            }
        }
    }

    /// Commits a group and reports it.
    pub(crate) fn group(&mut self, group: Vec<StoreBatch>, done: &mut impl FnMut(Completion)) {
        let Some(last) = group.last() else { return };
        self.last = last.seq;
        let (early, sequence) = (self.durability == Durability::Memory, group.iter().map(|batch| batch.seq));
        let sequence: Vec<StoreSeq> = sequence.collect();
        if early {
            self.progress.take(self.last.0);
            done(Completion::Stored { upto: self.last });
        }
        let tried = self.failing.is_none_or(|since| since.elapsed() >= self.pause);
        self.unread.extend(group);
        if tried {
            self.commit(done, false);
        } else {
            self.apply();
        }
        if early {
            return;
        }
        if self.failing.is_none() {
            done(Completion::Stored { upto: self.last });
        } else {
            for seq in sequence {
                done(Completion::StoreFailed { seq });
            }
        }
    }

    /// Tries again what failed, or sweeps.
    pub(crate) fn go_on(&mut self, done: &mut impl FnMut(Completion)) {
        self.commit(done, true);
    }

    fn finish(&mut self) {
        if self.failing.is_some() || self.ledger.records.len() > 0 {
            self.commit(&mut |_| {}, false);
        }
        if self.failing.is_some() {
            tracing::error!("the last changes could not be stored and are lost");
        }
    }

    /// Makes the batches that wait part of the contents, if those can be read.
    fn apply(&mut self) {
        if self.ledger.records.disk.readable() {
            for batch in std::mem::take(&mut self.unread) {
                self.ledger.apply(&batch);
            }
        }
    }

    /// Writes all that waits. With `told`, a recovery is reported: all that was lost is kept now.
    fn commit(&mut self, done: &mut impl FnMut(Completion), told: bool) {
        let recovering = self.failing.is_some();
        match self.try_commit() {
            Ok(()) => {
                self.failing = None;
                if recovering {
                    tracing::info!("the store keeps changes again");
                    if told && self.durability != Durability::Memory {
                        done(Completion::Stored { upto: self.last });
                    }
                }
            }
            Err(error) => {
                if !recovering {
                    tracing::error!(%error, "the store cannot keep changes: nothing is acknowledged until it can");
                }
                self.failing = Some(Instant::now());
                self.ledger.records.uncertain();
            }
        }
    }

    fn try_commit(&mut self) -> Result<(), DiskError> {
        if self.failing.is_some() {
            self.ledger.records.disk.revive()?;
        }
        let batches = self.unread.len();
        self.apply();
        self.ledger.sweep(SWEPT + SWEPT_BY_BATCH * batches);
        self.ledger.seal();
        let records = &mut self.ledger.records;
        let changes = records.changes();
        records.disk.commit(&changes, self.durability)?;
        records.committed();
        self.progress.wrote(self.last.0);
        if is_due(self.ledger.removed, self.ledger.live)
            && self.reclaim.as_ref().is_some_and(|reclaim| reclaim.try_send(()).is_ok())
        {
            self.ledger.removed = 0;
        }
        Ok(())
    }
}
