//! A broker's disk: batches are volatile until a sync has taken them; a crash keeps some first part of what was not synced.
//!
//! Invariants: a sync covers what was there when it began (group commit); what was reported as stored survives. A batch that
//! was torn by a crash is not there at all, and neither is anything behind it: that is what checksums in a log give.
use mqtt_session::broker::{Completion, Contents, LoadRequest, MemoryStore, StoreBatch, StoreSeq};
use mqtt_session::{Instant, Rng};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How a sync ended.
pub(crate) enum Synced {
    /// All batches up to this one are kept.
    Kept(StoreSeq),
    /// These are not; they are tried again ahead of the next.
    Failed(Vec<StoreSeq>),
}

#[derive(Debug, Default)]
pub(crate) struct Disk {
    synced: MemoryStore,
    volatile: VecDeque<StoreBatch>,
    /// When the sync under way ends, and how many batches it covers.
    syncing: Option<(Instant, usize)>,
    /// How many batches in front have failed.
    failed: usize,
    /// Parts of logs that are being read, by the time when they are.
    reading: BTreeMap<(Instant, u64), LoadRequest>,
    read: u64,
}

impl Disk {
    /// Takes a batch; a sync begins if none is under way.
    pub(crate) fn write(&mut self, now: Instant, batch: StoreBatch, slow: bool, rng: &mut Rng) {
        self.volatile.push_back(batch);
        self.begin(now, slow, rng);
    }

    fn begin(&mut self, now: Instant, slow: bool, rng: &mut Rng) {
        if self.syncing.is_none() && self.volatile.len() > self.failed {
            let most = if slow { 300_000_000 } else { 50_000 };
            let takes = Duration::from_nanos(rng.below(most));
            self.syncing = Some((now + takes, self.volatile.len()));
        }
    }

    /// When the sync under way ends, or something is read.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let read = self.reading.first_key_value().map(|((at, _), _)| *at);
        self.syncing.map(|(at, _)| at).into_iter().chain(read).min()
    }

    /// Begins to read a part of a log; later questions may be answered before.
    pub(crate) fn load(&mut self, now: Instant, request: LoadRequest, slow: bool, rng: &mut Rng) {
        let most = if slow { 300_000_000 } else { 1_000_000 };
        self.read += 1;
        self.reading.insert((now + Duration::from_nanos(rng.below(most)), self.read), request);
    }

    /// The next answer that is due.
    pub(crate) fn loaded(&mut self, now: Instant, fails: bool, rng: &mut Rng) -> Option<Completion> {
        let entry = self.reading.first_entry().filter(|entry| entry.key().0 <= now)?;
        let request = entry.remove();
        if fails && rng.below(5) == 0 {
            return Some(Completion::LoadFailed { filter: request.filter, from: request.from });
        }
        Some(Completion::Loaded(self.synced.load(&request)))
    }

    /// Ends the sync.
    pub(crate) fn sync(&mut self, now: Instant, slow: bool, fails: bool, rng: &mut Rng) -> Option<Synced> {
        let (_, count) = self.syncing.take_if(|(at, _)| *at <= now)?;
        if fails && rng.below(20) == 0 {
            let batches = self.volatile.range(self.failed..count).map(|batch| batch.seq).collect();
            self.failed = count;
            self.begin(now, slow, rng);
            return Some(Synced::Failed(batches));
        }
        self.failed = 0;
        let mut last = None;
        for batch in self.volatile.drain(..count) {
            self.synced.apply(&batch);
            last = Some(batch.seq);
        }
        self.begin(now, slow, rng);
        last.map(Synced::Kept)
    }

    /// The power goes: of what was not synced, some first part is on the disk all the same.
    pub(crate) fn crash(&mut self, rng: &mut Rng) -> (usize, usize) {
        let kept = rng.below(self.volatile.len() as u64 + 1) as usize;
        let lost = self.volatile.len() - kept;
        for batch in self.volatile.drain(..kept) {
            self.synced.apply(&batch);
        }
        self.volatile.clear();
        self.syncing = None;
        self.failed = 0;
        self.reading.clear();
        (kept, lost)
    }

    /// Whether all that was written is kept.
    pub(crate) fn is_synced(&self) -> bool {
        self.volatile.is_empty()
    }

    /// What is kept.
    pub(crate) fn kept(&self) -> &MemoryStore {
        &self.synced
    }

    /// What a restart finds.
    pub(crate) fn contents(&self) -> Contents {
        self.synced.contents()
    }
}
