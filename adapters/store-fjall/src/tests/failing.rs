//! A disk that fails for a while.
use crate::committer::Committer;
use crate::folder::Disk;
use crate::{Durability, OpenError, codec};
use mqtt_proto::TopicName;
use mqtt_session::broker::{Completion, MemoryStore, Message, MessageId, StoreBatch, StoreOp, StoreSeq};
use mqtt_session::{Instant, UnixTime};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Default)]
struct Faulty {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    full: bool,
    gone: bool,
    poisoned: bool,
    commits: usize,
}

impl Disk for Faulty {
    fn commit(&mut self, changes: &[(Vec<u8>, Option<Vec<u8>>)], _: Durability) -> Result<(), fjall::Error> {
        if self.poisoned || self.full {
            self.poisoned = true;
            return Err(fjall::Error::Poisoned);
        }
        self.commits += 1;
        for (key, value) in changes {
            match value {
                Some(value) => self.records.insert(key.clone(), value.clone()),
                None => self.records.remove(key),
            };
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), OpenError> {
        if self.gone {
            return Err(OpenError::Missing("here".into()));
        }
        self.poisoned = false;
        Ok(())
    }
}

fn batch(seq: u64) -> StoreBatch {
    let message = Arc::new(Message::new(TopicName::try_from(format!("t/{seq}")).unwrap(), "x"));
    let ops = vec![StoreOp::Retained(MessageId(seq), message)];
    StoreBatch { seq: StoreSeq(seq), now: Instant::ZERO, wall: UnixTime::default(), ops }
}

fn contents(disk: &Faulty) -> MemoryStore {
    let mut contents = MemoryStore::new();
    for (key, value) in &disk.records {
        let (key, record) = codec::decode_value(key, value).unwrap();
        assert!(contents.put(&key, record));
    }
    contents
}

#[test]
fn a_group_is_one_commit_with_one_answer_behind_it() {
    let mut committer = Committer::new(Faulty::default(), Durability::Disk, MemoryStore::new());
    let mut answers = Vec::new();
    committer.group(&[batch(1), batch(2), batch(3)], &mut |answer| answers.push(answer));
    assert!(matches!(answers[..], [Completion::Stored { upto: StoreSeq(3) }]));
    assert_eq!(committer.disk.commits, 1);
}

#[test]
fn what_failed_is_never_acknowledged_and_written_before_what_follows() {
    let mut committer = Committer::new(Faulty::default(), Durability::Disk, MemoryStore::new());
    let mut answers = Vec::new();
    committer.group(&[batch(1)], &mut |answer| answers.push(answer));
    committer.disk.full = true;
    committer.group(&[batch(2), batch(3)], &mut |answer| answers.push(answer));
    assert!(matches!(
        answers[1..],
        [Completion::StoreFailed { seq: StoreSeq(2) }, Completion::StoreFailed { seq: StoreSeq(3) }]
    ));
    assert_eq!(contents(&committer.disk).retained(), 1, "what was there can be read");
    committer.disk.full = false;
    committer.disk.gone = true;
    committer.group(&[batch(4)], &mut |answer| answers.push(answer));
    assert!(matches!(answers[3..], [Completion::StoreFailed { seq: StoreSeq(4) }]), "it could not be opened again");
    committer.disk.gone = false;
    committer.group(&[batch(5)], &mut |answer| answers.push(answer));
    assert!(matches!(answers[4..], [Completion::Stored { upto: StoreSeq(5) }]));
    assert_eq!(contents(&committer.disk), committer.contents, "nothing is missing");
    assert_eq!(committer.contents.retained(), 5);
}

#[test]
fn at_the_level_memory_the_answer_does_not_wait() {
    let mut committer = Committer::new(Faulty::default(), Durability::Memory, MemoryStore::new());
    committer.disk.full = true;
    let mut answers = Vec::new();
    committer.group(&[batch(1)], &mut |answer| answers.push(answer));
    assert!(matches!(answers[..], [Completion::Stored { upto: StoreSeq(1) }]));
}
