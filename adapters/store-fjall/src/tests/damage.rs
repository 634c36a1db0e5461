//! Folders with damaged records, and of other versions.
use crate::codec::{encode_key, encode_value};
use crate::{Durability, FjallStore, OpenError};
use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use mqtt_proto::{ClientId, QoS, TopicFilter, TopicName};
use mqtt_session::broker::{Message, MessageId, Position, Record, RecordKey, SessionRecord};
use std::path::{Path, PathBuf};
use std::sync::Arc;

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mqtt-store-fjall-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path); // of an earlier process with the same number
        drop(FjallStore::open(&path, Durability::Disk).unwrap());
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Puts raw bytes into a keyspace.
fn put(path: &Path, keyspace: &str, pairs: &[(Vec<u8>, Vec<u8>)]) {
    let database = Database::builder(path).open().unwrap();
    let records = database.keyspace(keyspace, KeyspaceCreateOptions::default).unwrap();
    for (key, value) in pairs {
        records.insert(key.as_slice(), value.as_slice()).unwrap();
    }
    database.persist(PersistMode::SyncAll).unwrap();
}

#[test]
fn damaged_records_are_named_and_the_rest_is_used() {
    let place = Place::new("damage");
    let session = |name: &'static str| {
        let client_id = ClientId::from_static(name);
        let key = RecordKey::Session(client_id.clone());
        let record = SessionRecord { client_id, identity: None, expiry: 9, disconnected_at: None, will: None };
        (key, Record::Session(record))
    };
    let subscription = |name: &'static str| {
        let key = RecordKey::Subscription(ClientId::from_static(name), TopicFilter::from_static("f"));
        (key, Record::Subscription { options: QoS::AtLeastOnce.into(), identifier: 0 })
    };
    let message = |id| {
        let message = Arc::new(Message::new(TopicName::from_static("f"), "x"));
        (RecordKey::Message(MessageId(id)), Record::Message { message, expires_at: None })
    };
    let entry = |id| (RecordKey::Entry(TopicFilter::from_static("f"), Position(id)), Record::Entry(MessageId(id)));
    let records = [
        session("whole"),
        session("broken"),
        subscription("whole"),
        subscription("broken"),
        message(5),
        message(6),
        message(7),
        entry(5),
        entry(6),
    ];
    let mut pairs: Vec<_> = records
        .iter()
        .map(|(key, record)| {
            let key = encode_key(key).unwrap();
            let value = encode_value(&key, record).unwrap();
            (key, value)
        })
        .collect();
    pairs[1].1[2] ^= 0x10; // the session "broken"
    pairs[5].1[1] ^= 1; // message 6
    pairs.push((vec![200, 1], vec![]));
    put(&place.0, "records", &pairs);

    let expected = [
        "the session of \"broken\": its checksum is wrong",
        "the subscription of \"broken\" to \"f\": what it belongs to is lost",
        "message 6: its checksum is wrong",
        "entry 6 in the log of \"f\": what it belongs to is lost",
        "a record with the unknown key [c8, 01]: its checksum is wrong",
    ];
    let checked = FjallStore::check(&place.0).unwrap();
    let (store, contents, report) = FjallStore::open(&place.0, Durability::Disk).unwrap();
    for report in [&checked, &report] {
        let lost: Vec<String> = report.lost.iter().map(|lost| format!("{}: {}", lost.what, lost.why)).collect();
        assert_eq!(lost, expected);
        assert_eq!((report.lost_records, report.collected), (5, 1), "message 7 belongs to nobody");
    }
    assert_eq!((checked.quarantined, report.quarantined), (0, 5));
    assert_eq!((contents.sessions(), contents.subscriptions(), contents.entries(), contents.messages()), (1, 1, 1, 1));
    drop(store);
    let (_, again, report) = FjallStore::open(&place.0, Durability::Disk).unwrap();
    assert_eq!((report.lost_records, report.collected, report.quarantined), (0, 0, 5), "said once, and kept");
    // The counter that was lost with the entry is the only difference.
    assert_eq!((again.sessions(), again.entries(), again.messages()), (1, 1, 1));
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let place = Place::new("newer");
    put(&place.0, "meta", &[(b"format".to_vec(), 2_u32.to_be_bytes().to_vec())]);
    for _ in 0..2 {
        let error = FjallStore::open(&place.0, Durability::Disk).unwrap_err();
        assert!(matches!(error, OpenError::Format { found: 2, known: 1, .. }), "{error}");
        assert!(error.to_string().contains("newer version"));
    }
    put(&place.0, "meta", &[(b"format".to_vec(), b"?".to_vec())]);
    assert!(matches!(FjallStore::open(&place.0, Durability::Disk), Err(OpenError::Foreign(_))));
}
