//! A disk that fails for a while, and a ledger on a disk in memory.
use crate::boot::boot;
use crate::committer::Committer;
use crate::disk::{Change, Disk, DiskError, Pair};
use crate::key::{Key, Table};
use crate::ledger::Ledger;
use crate::{Durability, OpenError, Opened};
use fjall::Slice;
use mqtt_proto::{ClientId, QoS, TopicFilter, TopicName};
use mqtt_session::broker::{
    Completion, Contents, MemoryStore, Message, MessageId, Position, SessionRecord, StoreBatch, StoreOp, StoreSeq,
};
use mqtt_session::{Instant, UnixTime};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Keeps pairs in memory.
#[derive(Clone, Default)]
pub(super) struct Faulty {
    pub(super) records: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    /// Commits fail.
    pub(super) full: bool,
    /// What fails is kept all the same: a sync that failed.
    pub(super) unsure: bool,
    /// It cannot be opened again.
    pub(super) gone: bool,
    poisoned: bool,
    pub(super) commits: usize,
    /// Changes of all commits.
    pub(super) written: Vec<Change>,
}

impl Faulty {
    fn keep(&mut self, changes: &[Change]) {
        for Change { table, key, value } in changes {
            match value {
                Some(value) => self.records.insert((*table, key.clone()), value.clone()),
                None => self.records.remove(&(*table, key.clone())),
            };
        }
    }

    /// What a broker would begin with, and whether anything is damaged.
    pub(super) fn contents(&self) -> (Contents, Opened) {
        let mut report = Opened::default();
        let contents = boot(&mut Ledger::empty(self.clone()), &mut report).unwrap();
        (contents, report)
    }

    pub(super) fn count(&self, table: Table) -> usize {
        self.records.keys().filter(|(of, _)| *of == table).count()
    }
}

impl Disk for Faulty {
    fn readable(&self) -> bool {
        !(self.poisoned && self.gone)
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Slice>, DiskError> {
        Ok(self.records.get(&(table, key.to_vec())).map(|value| Slice::from(value.as_slice())))
    }

    fn range(
        &self,
        table: Table,
        from: &[u8],
        until: &[u8],
        limit: usize,
        out: &mut Vec<Pair>,
    ) -> Result<(), DiskError> {
        let range = self.records.range((table, from.to_vec())..(table, until.to_vec()));
        let pairs = range.map(|((_, key), value)| (Slice::from(key.as_slice()), Slice::from(value.as_slice())));
        out.extend(pairs.take(limit));
        Ok(())
    }

    fn last(&self, table: Table, from: &[u8], until: &[u8]) -> Result<Option<Pair>, DiskError> {
        let mut pairs = Vec::new();
        self.range(table, from, until, usize::MAX, &mut pairs)?;
        Ok(pairs.pop())
    }

    fn commit(&mut self, changes: &[Change], _: Durability) -> Result<(), DiskError> {
        if self.poisoned || self.full {
            if !self.poisoned && self.unsure {
                self.keep(changes);
            }
            self.poisoned = true;
            return Err(DiskError::Database(fjall::Error::Poisoned));
        }
        self.commits += 1;
        self.keep(changes);
        self.written.extend(changes.iter().cloned());
        Ok(())
    }

    fn revive(&mut self) -> Result<(), DiskError> {
        if self.gone {
            return Err(DiskError::Open(OpenError::Missing("here".into())));
        }
        self.poisoned = false;
        Ok(())
    }
}

pub(super) fn batch(seq: u64, ops: Vec<StoreOp>) -> StoreBatch {
    StoreBatch { seq: StoreSeq(seq), now: Instant::ZERO, wall: UnixTime::default(), ops }
}

pub(super) fn committer(durability: Durability) -> Committer<Faulty> {
    let mut committer = Committer::new(Ledger::empty(Faulty::default()), durability);
    committer.pause = Duration::ZERO;
    committer
}

fn message(id: u64) -> StoreOp {
    StoreOp::Message(MessageId(id), Arc::new(Message::new(TopicName::from_static("f"), vec![1; 50])))
}

fn append(filter: &'static str, at: u64, id: u64) -> StoreOp {
    StoreOp::Append(TopicFilter::from_static(filter), Position(at), MessageId(id))
}

fn trim(filter: &'static str, to: u64) -> StoreOp {
    StoreOp::Trim(TopicFilter::from_static(filter), Position(to))
}

/// A session that subscribes "f" and "g".
fn subscribed() -> Vec<StoreOp> {
    let client_id = ClientId::from_static("c");
    let record =
        SessionRecord { client_id: client_id.clone(), identity: None, expiry: 9, disconnected_at: None, will: None };
    let subscription = |filter| StoreOp::Subscription {
        client_id: client_id.clone(),
        filter: TopicFilter::from_static(filter),
        options: QoS::AtLeastOnce.into(),
        identifier: 0,
    };
    vec![StoreOp::Session(record), subscription("f"), subscription("g")]
}

#[test]
fn a_group_is_one_commit_with_one_answer_behind_it() {
    let mut committer = committer(Durability::Disk);
    let mut answers = Vec::new();
    let group = (1..4).map(|seq| batch(seq, subscribed())).collect();
    committer.group(group, &mut |answer| answers.push(answer));
    assert!(matches!(answers[..], [Completion::Stored { upto: StoreSeq(3) }]));
    assert_eq!(committer.ledger.records.disk.commits, 1);
}

#[test]
fn what_failed_is_never_acknowledged_and_written_before_what_follows() {
    for unsure in [false, true] {
        let mut committer = committer(Durability::Disk);
        let mut model = MemoryStore::new();
        let mut answers = Vec::new();
        let steps = [
            [subscribed(), vec![message(1), append("f", 1, 1)]].concat(),
            vec![message(2), append("f", 2, 2), append("g", 2, 2), message(3), append("g", 3, 3)],
            vec![trim("f", 2), trim("g", 3)],
            vec![message(4), append("f", 4, 4)],
            vec![message(5), append("f", 5, 5), trim("g", 4)],
        ];
        for (seq, ops) in (1..).zip(steps) {
            let disk = &mut committer.ledger.records.disk;
            (disk.full, disk.gone, disk.unsure) = ((2..4).contains(&seq), seq == 4, unsure);
            model.apply(&batch(seq, ops.clone()));
            committer.group(vec![batch(seq, ops)], &mut |answer| answers.push(answer));
        }
        let stored: Vec<_> = answers.iter().map(|answer| matches!(answer, Completion::Stored { .. })).collect();
        assert_eq!(stored, [true, false, false, false, true]);
        let disk = &committer.ledger.records.disk;
        assert_eq!(disk.contents().0, model.contents(), "nothing is missing");
        assert_eq!(disk.count(Table::Queue), 2 * 3, "messages 2, 4 and 5, once each; nothing of 1 and 3");
    }
}

#[test]
fn a_recovery_is_told_without_another_batch() {
    let mut committer = committer(Durability::Disk);
    let mut answers = Vec::new();
    committer.ledger.records.disk.full = true;
    committer.group(vec![batch(1, subscribed())], &mut |answer| answers.push(answer));
    committer.go_on(&mut |answer| answers.push(answer));
    assert!(matches!(answers[..], [Completion::StoreFailed { seq: StoreSeq(1) }]));
    committer.ledger.records.disk.full = false;
    committer.go_on(&mut |answer| answers.push(answer));
    assert!(matches!(answers[1..], [Completion::Stored { upto: StoreSeq(1) }]));
}

#[test]
fn at_the_level_memory_the_answer_does_not_wait() {
    let mut committer = committer(Durability::Memory);
    committer.ledger.records.disk.full = true;
    let mut answers = Vec::new();
    committer.group(vec![batch(1, subscribed())], &mut |answer| answers.push(answer));
    assert!(matches!(answers[..], [Completion::Stored { upto: StoreSeq(1) }]));
}

#[test]
fn what_came_and_went_within_a_group_is_never_written() {
    let mut committer = committer(Durability::Disk);
    committer.group(vec![batch(1, subscribed())], &mut |_| {});
    let group = (2..100).map(|seq| batch(seq, vec![message(seq), append("f", seq, seq), trim("f", seq + 1)]));
    committer.group(group.collect(), &mut |_| {});
    let disk = &committer.ledger.records.disk;
    let queue: Vec<_> = disk.written.iter().filter(|change| change.table == Table::Queue).collect();
    assert!(queue.is_empty(), "{queue:?}");
    assert_eq!(disk.commits, 2);
}

#[test]
fn a_message_that_nobody_refers_to_is_not_written() {
    let mut committer = committer(Durability::Disk);
    committer.group(vec![batch(1, vec![message(1)])], &mut |_| {});
    assert_eq!(committer.ledger.records.disk.count(Table::Queue), 0);
}

#[test]
fn a_long_log_is_swept_with_the_commits_that_follow() {
    let mut committer = committer(Durability::Disk);
    let mut ops = subscribed();
    for id in 1..=20_000 {
        ops.extend([message(id), append("f", id, id)]);
    }
    committer.group(vec![batch(1, ops)], &mut |_| {});
    assert_eq!(committer.ledger.records.disk.count(Table::Queue), 40_000);
    committer.group(vec![batch(2, vec![StoreOp::SessionEnd(ClientId::from_static("c"))])], &mut |_| {});
    assert!(committer.ledger.records.disk.count(Table::Queue) > 20_000, "not all at once");
    // Another store goes on where this one has stopped.
    let mut ledger = Ledger::empty(committer.ledger.records.disk.clone());
    let contents = boot(&mut ledger, &mut Opened::default()).unwrap();
    assert_eq!((contents.sessions(), contents.logs()), (0, 0));
    let mut committer = Committer::new(ledger, Durability::Disk);
    let mut commits = 0;
    while !committer.ledger.unswept.is_empty() {
        committer.go_on(&mut |_| {});
        commits += 1;
    }
    let disk = &committer.ledger.records.disk;
    assert!((2..10).contains(&commits), "{commits}");
    let left: Vec<_> = disk.records.keys().filter_map(|(table, key)| Key::decode(*table, key)).collect();
    assert_eq!(left, [Key::Counters]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever fails in between, and whether it was kept all the same: once a batch is reported as stored, everything up to it is there.
    #[test]
    fn whatever_fails_nothing_is_missing_in_the_end(
        batches in mqtt_store_contract::histories(),
        faults in prop::collection::vec((prop::bool::weighted(0.3), any::<bool>(), any::<bool>()), 30),
    ) {
        let (mut committer, mut model) = (committer(Durability::Disk), MemoryStore::new());
        let last = batches.len();
        for (number, (batch, (full, unsure, gone))) in (1..).zip(batches.into_iter().zip(faults)) {
            model.apply(&batch);
            let full = full && number < last;
            let disk = &mut committer.ledger.records.disk;
            (disk.full, disk.unsure, disk.gone) = (full, unsure, full && gone);
            let mut answers = Vec::new();
            committer.group(vec![batch], &mut |answer| answers.push(answer));
            let stored = matches!(answers[..], [Completion::Stored { .. }]);
            prop_assert_eq!(stored, !full);
            if stored {
                let (contents, report) = committer.ledger.records.disk.contents();
                prop_assert_eq!(report.lost, []);
                prop_assert_eq!(contents, model.contents());
            }
        }
        // No message is left that nobody refers to, and none is missing.
        while !committer.ledger.unswept.is_empty() {
            committer.go_on(&mut |_| {});
        }
        let disk = &committer.ledger.records.disk;
        let keys: Vec<_> = disk.records.keys().filter_map(|(table, key)| Key::decode(*table, key)).collect();
        let messages = keys.iter().filter(|key| matches!(key, Key::Message(_))).count();
        prop_assert_eq!(messages, model.messages());
    }
}
