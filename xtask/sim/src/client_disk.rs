//! A client's disk: as that of a broker (see `disk`), with the batches of a client.
//!
//! Invariants: what was reported as kept survives; of the rest, a kill keeps some first part.
use mqtt_session::client::{Completion, MemoryStore, StoreBatch};
use mqtt_session::{Instant, Rng};
use std::collections::VecDeque;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct ClientDisk {
    kept: MemoryStore,
    volatile: VecDeque<StoreBatch>,
    /// When the sync under way ends, and how many batches it covers.
    syncing: Option<(Instant, usize)>,
    /// How many batches in front have failed.
    failed: usize,
    rng: Rng,
}

impl ClientDisk {
    pub(crate) fn new(rng: Rng) -> Self {
        Self { kept: MemoryStore::new(), volatile: VecDeque::new(), syncing: None, failed: 0, rng }
    }

    /// Takes a batch; a sync begins if none is under way.
    pub(crate) fn write(&mut self, now: Instant, batch: StoreBatch, slow: bool) {
        self.volatile.push_back(batch);
        self.begin(now, slow);
    }

    fn begin(&mut self, now: Instant, slow: bool) {
        if self.syncing.is_none() && self.volatile.len() > self.failed {
            let most = if slow { 300_000_000 } else { 50_000 };
            let takes = Duration::from_nanos(self.rng.below(most));
            self.syncing = Some((now + takes, self.volatile.len()));
        }
    }

    /// When the sync under way ends.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.syncing.map(|(at, _)| at)
    }

    /// Ends the sync: what the client is to hear.
    pub(crate) fn sync(&mut self, now: Instant, slow: bool, fails: bool) -> Vec<Completion> {
        let Some((_, count)) = self.syncing.take_if(|(at, _)| *at <= now) else { return Vec::new() };
        let said = if fails && self.rng.below(20) == 0 {
            let failed =
                self.volatile.range(self.failed..count).map(|batch| Completion::StoreFailed { seq: batch.seq });
            let failed = failed.collect();
            self.failed = count;
            failed
        } else {
            self.failed = 0;
            let mut last = Vec::new();
            for batch in self.volatile.drain(..count) {
                self.kept.apply(&batch);
                last = vec![Completion::Stored { upto: batch.seq }];
            }
            last
        };
        self.begin(now, slow);
        said
    }

    /// The client is killed: of what was not synced, some first part is kept all the same.
    pub(crate) fn kill(&mut self) -> (usize, usize) {
        let kept = self.rng.below(self.volatile.len() as u64 + 1) as usize;
        let lost = self.volatile.len() - kept;
        for batch in self.volatile.drain(..).take(kept) {
            self.kept.apply(&batch);
        }
        (self.syncing, self.failed) = (None, 0);
        (kept, lost)
    }

    /// What a restart finds.
    pub(crate) fn contents(&self) -> &MemoryStore {
        &self.kept
    }
}
