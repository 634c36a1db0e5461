//! Records, damage, and a disk that fails for a while.
use super::committer::{Changes, Committer, Disk};
use super::folder::Folder;
use super::{ClientFolder, record};
use crate::{Durability, FjallStore, OpenError};
use mqtt_proto::{
    ClientId, PacketId, Properties, Property, QoS, RetainHandling, SubscriptionOptions, TopicFilter, TopicName,
};
use mqtt_session::UnixTime;
use mqtt_session::client::{
    Completion, MemoryStore, Message, Record, RecordKey, StoreBatch, StoreOp, StoreSeq, SubscribeOptions,
    SubscriptionState, Token,
};
use proptest::prelude::*;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

fn text() -> impl Strategy<Value = String> {
    "[a-z/é]{1,12}"
}

fn id() -> impl Strategy<Value = PacketId> {
    (1_u16..).prop_map(|id| PacketId::new(id).unwrap())
}

fn properties() -> impl Strategy<Value = Properties> {
    prop::collection::vec((text(), text()), 0..3).prop_map(|pairs| {
        let all = pairs.iter().map(|(name, value)| Property::UserProperty(name, value));
        all.fold(Properties::builder(), |all, property| all.with(property)).build()
    })
}

fn qos() -> impl Strategy<Value = QoS> {
    (0_u8..3).prop_map(|qos| QoS::new(qos).unwrap())
}

fn filter() -> impl Strategy<Value = TopicFilter> {
    (text(), any::<bool>()).prop_map(|(text, all)| {
        let text = if all { format!("{text}/#") } else { text };
        TopicFilter::try_from(text).unwrap()
    })
}

fn message() -> impl Strategy<Value = Record> {
    let body = prop::collection::vec(any::<u8>(), 0..40);
    (any::<u64>(), text(), body, qos(), any::<bool>(), properties(), prop::option::of(1_u64..)).prop_map(
        |(token, topic, payload, qos, retain, properties, expires_at)| Record::Message {
            token: Token::from_u64(token),
            message: Message {
                topic: TopicName::try_from(topic).unwrap(),
                payload: payload.into(),
                qos,
                retain,
                properties,
            },
            expires_at: expires_at.map(UnixTime::from_millis),
        },
    )
}

fn subscription() -> impl Strategy<Value = Record> {
    let options =
        (qos(), any::<bool>(), any::<bool>(), 0_usize..3).prop_map(|(qos, no_local, retain_as_published, handling)| {
            SubscriptionOptions {
                qos,
                no_local,
                retain_as_published,
                retain_handling: [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend][handling],
            }
        });
    (filter(), options, prop::option::of(1_u32..268_435_456), properties(), any::<bool>()).prop_map(
        |(filter, options, identifier, user_properties, confirmed)| {
            let more = SubscribeOptions { identifier, user_properties };
            Record::Subscription(SubscriptionState { filter, options, more, confirmed })
        },
    )
}

fn record() -> impl Strategy<Value = Record> {
    prop_oneof![
        message(),
        subscription(),
        filter().prop_map(Record::Unsubscribe),
        (text(), any::<bool>())
            .prop_map(|(id, connecting)| Record::Session { client_id: ClientId::try_from(id).unwrap(), connecting }),
        any::<(u64, u64)>().prop_map(|(token, ack)| Record::Counters { token, ack }),
        (id(), any::<(u64, u64, bool)>()).prop_map(|(id, (token, order, released))| Record::Flight {
            id,
            token: Token::from_u64(token),
            order,
            released
        }),
        (id(), prop::option::of(1_u64..)).prop_map(|(id, unacknowledged)| Record::Incoming { id, unacknowledged }),
    ]
}

proptest! {
    #[test]
    fn records_come_back_as_they_were(record in record()) {
        let key = record::encode_key(&record.key()).unwrap();
        let value = record::encode_value(&key, &record).unwrap();
        prop_assert_eq!(record::decode(&key, &value), Ok(record));
    }

    #[test]
    fn damage_is_noticed(record in record(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let key = record::encode_key(&record.key()).unwrap();
        let mut value = record::encode_value(&key, &record).unwrap();
        let at = at.index(value.len());
        value[at] ^= 1 << bit;
        prop_assert!(record::decode(&key, &value).is_err());
        prop_assert!(record::decode(&key, &value[..at]).is_err());
    }

    #[test]
    fn bytes_of_others_are_refused(key in prop::collection::vec(any::<u8>(), 0..20), value in prop::collection::vec(any::<u8>(), 0..40)) {
        let sum = crate::checksum::crc32c(&[&key, &value]);
        let value = [&value[..], &sum.to_be_bytes()].concat();
        if let Ok(record) = record::decode(&key, &value) {
            prop_assert_eq!(record::encode_key(&record.key()), Some(key)); // what makes sense is what was encoded
        }
        let _ = record::describe(&value);
    }
}

fn place() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("mqtt-client-{}-{number}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path); // of an earlier process with the same number
    path
}

fn incoming(number: u16) -> Record {
    Record::Incoming { id: PacketId::new(number).unwrap(), unacknowledged: Some(number.into()) }
}

fn batch(seq: u64, ops: Vec<StoreOp>) -> StoreBatch {
    StoreBatch { seq: StoreSeq(seq), ops }
}

fn put(seq: u64) -> StoreBatch {
    batch(seq, vec![StoreOp::Put(incoming(u16::try_from(seq).unwrap()))])
}

#[test]
fn what_was_reported_is_there_again() {
    for durability in [Durability::Os, Durability::Disk] {
        let path = place();
        let (mut folder, contents, _) = ClientFolder::open(&path, durability).unwrap();
        assert_eq!(contents, MemoryStore::new());
        let (sender, answers) = channel();
        folder.start(move |answer| _ = sender.send(answer)).unwrap();
        let mut model = MemoryStore::new();
        for seq in 1..=50 {
            let mut change = put(seq);
            if seq % 3 == 0 {
                let gone = PacketId::new(u16::try_from(seq - 1).unwrap()).unwrap();
                change.ops.push(StoreOp::Remove(RecordKey::Incoming(gone)));
            }
            model.apply(&change);
            folder.write(change);
        }
        while answers.recv_timeout(Duration::from_mins(1)).unwrap() != (Completion::Stored { upto: StoreSeq(50) }) {}
        assert!(matches!(ClientFolder::open(&path, durability), Err(OpenError::InUse(_))));
        drop(folder);
        let (folder, contents, report) = ClientFolder::open(&path, durability).unwrap();
        assert_eq!((contents, report.lost_records), (model, 0));
        drop(folder);
        std::fs::remove_dir_all(&path).unwrap();
    }
}

#[test]
fn a_folder_of_a_broker_is_not_one_of_a_client() {
    let path = place();
    drop(FjallStore::open(&path, Durability::Os).unwrap());
    assert!(matches!(ClientFolder::open(&path, Durability::Os), Err(OpenError::Foreign(_))));
    std::fs::remove_dir_all(&path).unwrap();
    drop(ClientFolder::open(&path, Durability::Os).unwrap());
    assert!(matches!(FjallStore::open(&path, Durability::Os), Err(OpenError::Foreign(_))));
    std::fs::remove_dir_all(&path).unwrap();
}

#[test]
fn damaged_records_cost_themselves() {
    let path = place();
    let mut committer = Committer::new(Folder::open(&path).unwrap(), Durability::Disk);
    committer.group(&[put(1), put(2), put(3)], &mut |_| {});
    committer.disk.spoil(|key| key.ends_with(&[2]));
    drop(committer);
    let (folder, contents, report) = ClientFolder::open(&path, Durability::Disk).unwrap();
    assert_eq!(contents.records().count(), 2);
    assert_eq!((report.lost_records, report.quarantined), (1, 1));
    assert!(report.lost[0].what.contains("identifier 2"), "{:?}", report.lost);
    drop(folder);
    let (_, contents, report) = ClientFolder::open(&path, Durability::Disk).unwrap();
    assert_eq!(contents.records().count(), 2);
    assert_eq!((report.lost_records, report.quarantined), (0, 1), "it is kept for those who want to look");
    std::fs::remove_dir_all(&path).unwrap();
}

#[derive(Default)]
struct Faulty {
    records: MemoryStore,
    full: bool,
    gone: bool,
    poisoned: bool,
    commits: usize,
}

impl Disk for Faulty {
    fn commit(&mut self, changes: &Changes, _: Durability) -> Result<(), fjall::Error> {
        if self.poisoned || self.full {
            self.poisoned = true;
            return Err(fjall::Error::Poisoned);
        }
        self.commits += 1;
        for (key, value) in changes {
            self.records.put(record::decode(key, value.as_ref().unwrap()).unwrap());
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

#[test]
fn what_failed_is_reported_only_when_it_is_kept() {
    let mut committer = Committer::new(Faulty::default(), Durability::Disk);
    let mut answers = Vec::new();
    let stored = |upto| Completion::Stored { upto: StoreSeq(upto) };
    let failed = |seq| Completion::StoreFailed { seq: StoreSeq(seq) };
    committer.group(&[put(1), put(2)], &mut |answer| answers.push(answer));
    assert_eq!((&answers[..], committer.disk.commits), (&[stored(2)][..], 1));
    committer.disk.full = true;
    committer.group(&[put(3), put(4)], &mut |answer| answers.push(answer));
    assert_eq!(answers[1..], [failed(3), failed(4)]);
    committer.disk.full = false;
    committer.disk.gone = true;
    committer.retry(&mut |answer| answers.push(answer));
    assert_eq!(answers.len(), 3, "it could not be opened again");
    committer.disk.gone = false;
    committer.retry(&mut |answer| answers.push(answer));
    assert_eq!(answers[3..], [stored(4)], "without anything new");
    assert_eq!(committer.disk.records.records().count(), 4);
}

#[test]
fn at_the_level_memory_the_answer_does_not_wait() {
    let mut committer = Committer::new(Faulty { full: true, ..Faulty::default() }, Durability::Memory);
    let mut answers = Vec::new();
    committer.group(&[put(1)], &mut |answer| answers.push(answer));
    assert_eq!(answers, [Completion::Stored { upto: StoreSeq(1) }]);
}
