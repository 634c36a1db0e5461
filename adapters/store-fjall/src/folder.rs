//! The folder: a database with records, what was found damaged, and the version of the format.
//!
//! Invariants: a folder of a newer format is not touched; nothing that could not be read is thrown away.
use crate::codec::{self, MAX_KEY};
use crate::{Durability, Lost, OpenError, Opened};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use mqtt_session::broker::{MemoryStore, RecordKey};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The format that this version reads and writes.
const FORMAT: u32 = 1;
/// Memory for blocks that were read. Records are read once, at the start.
const CACHE: u64 = 8 * 1024 * 1024;
/// Damaged records that a report names one by one.
pub(crate) const NAMED: usize = 1000;

/// Where groups are committed to. Tests put one that fails in its place.
pub(crate) trait Disk: Send {
    /// Writes and removes records, all or none, and makes that as durable as `durability` says.
    fn commit(&mut self, changes: &[(Vec<u8>, Option<Vec<u8>>)], durability: Durability) -> Result<(), fjall::Error>;
    /// Opens it again after an error, since it refuses everything from then on.
    fn reopen(&mut self) -> Result<(), OpenError>;
}

/// An open folder.
pub(crate) struct Folder {
    path: PathBuf,
    /// `None`: it could not be opened again after an error.
    open: Option<Open>,
}

struct Open {
    database: Database,
    records: Keyspace,
    quarantine: Keyspace,
}

impl Open {
    fn new(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::new(path, error);
        let database = Database::builder(path).cache_size(CACHE).worker_threads(1).open().map_err(failed)?;
        let keyspace = |name| database.keyspace(name, KeyspaceCreateOptions::default).map_err(failed);
        let meta = keyspace("meta")?;
        match meta.get("format").map_err(failed)? {
            None => {
                meta.insert("format", FORMAT.to_be_bytes()).map_err(failed)?;
                database.persist(PersistMode::SyncAll).map_err(failed)?;
            }
            Some(found) => match <[u8; 4]>::try_from(&found[..]).map(u32::from_be_bytes) {
                Ok(FORMAT) => {}
                Ok(found) => return Err(OpenError::Format { path: path.to_owned(), found, known: FORMAT }),
                Err(_) => return Err(OpenError::Foreign(path.to_owned())),
            },
        }
        let (records, quarantine) = (keyspace("records")?, keyspace("quarantine")?);
        Ok(Self { database, records, quarantine })
    }
}

impl Folder {
    /// Opens a folder, or makes it.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        Ok(Self { path: path.to_owned(), open: Some(Open::new(path)?) })
    }

    /// Reads all records. With `repair`, what is damaged goes into quarantine, and what nothing refers to is removed.
    pub(crate) fn load(&self, repair: bool) -> Result<(MemoryStore, Opened), OpenError> {
        let begun = Instant::now();
        let failed = |error| OpenError::new(&self.path, error);
        let mut contents = MemoryStore::new();
        let mut report = Opened::default();
        let Some(open) = &self.open else { return Err(OpenError::Damaged(self.path.clone())) };
        let mut bad = Vec::new();
        // By kind, so that a part of the tree that cannot be read hides no more than the rest of its kind.
        for kind in 0..=u8::MAX {
            for guard in open.records.prefix([kind]) {
                let (key, value) = match guard.into_inner() {
                    Ok(pair) => pair,
                    Err(error) => {
                        report.lose(Lost { what: format!("records of kind {kind}"), why: error.to_string() });
                        break;
                    }
                };
                let why = match codec::decode_value(&key, &value) {
                    Ok((name, record)) => {
                        if contents.put(&name, record) {
                            continue;
                        }
                        "what it belongs to is lost".to_owned()
                    }
                    Err(damage) => damage.to_string(),
                };
                report.lose(Lost { what: describe(&key), why });
                bad.push((key, value));
            }
        }
        let unused = contents.collect();
        report.collected = unused.len();
        if repair && !(bad.is_empty() && unused.is_empty()) {
            let mut batch = open.database.batch().durability(Some(PersistMode::SyncData));
            for (key, value) in bad {
                batch.remove(&open.records, key.clone());
                batch.insert(&open.quarantine, key, value);
            }
            for id in unused {
                batch.remove(&open.records, codec::encode_key(&RecordKey::Message(id)).unwrap_or_default());
            }
            batch.commit().map_err(failed)?;
        }
        report.quarantined = open.quarantine.len().map_err(failed)?;
        report.disk_bytes = open.database.disk_space().map_err(failed)?;
        report.sessions = contents.sessions();
        report.subscriptions = contents.subscriptions();
        report.retained = contents.retained();
        report.entries = contents.entries();
        report.messages = contents.messages();
        report.took = begun.elapsed();
        Ok((contents, report))
    }
}

impl Disk for Folder {
    fn commit(&mut self, changes: &[(Vec<u8>, Option<Vec<u8>>)], durability: Durability) -> Result<(), fjall::Error> {
        let open = self.open.as_ref().ok_or(fjall::Error::Poisoned)?;
        let mode = match durability {
            Durability::Memory | Durability::Os => PersistMode::Buffer,
            Durability::Disk => PersistMode::SyncData,
        };
        let mut batch = open.database.batch().durability(Some(mode));
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(&open.records, key.as_slice(), value.as_slice()),
                None => batch.remove(&open.records, key.as_slice()),
            }
        }
        batch.commit()
    }

    fn reopen(&mut self) -> Result<(), OpenError> {
        self.open = None; // releases the lock
        self.open = Some(Open::new(&self.path)?);
        Ok(())
    }
}

/// A damaged record for a person.
fn describe(key: &[u8]) -> String {
    match codec::decode_key(key) {
        Some(RecordKey::Session(id)) => format!("the session of {:?}", id.as_str()),
        Some(RecordKey::Subscription(id, filter)) => {
            format!("the subscription of {:?} to {:?}", id.as_str(), filter.as_str())
        }
        Some(RecordKey::Cursor(id, filter) | RecordKey::Settled(id, filter, _)) => {
            format!("a part of how far {:?} has read {:?}", id.as_str(), filter.as_str())
        }
        Some(RecordKey::Incoming(id, packet)) => {
            format!("the identifier {} of a QoS 2 message from {:?}", packet.get(), id.as_str())
        }
        Some(RecordKey::Message(id)) => format!("message {}", id.0),
        Some(RecordKey::Log(filter)) => format!("the head of the log of {:?}", filter.as_str()),
        Some(RecordKey::Entry(filter, at)) => format!("entry {} in the log of {:?}", at.0, filter.as_str()),
        Some(RecordKey::GroupSettled(filter, at)) => format!("that {:?} is done with entry {}", filter.as_str(), at.0),
        Some(RecordKey::Outgoing(id, packet)) => {
            format!("the QoS 2 message {} on its way to {:?}", packet.get(), id.as_str())
        }
        Some(RecordKey::Retained(topic)) => format!("the retained message of {:?}", topic.as_str()),
        Some(RecordKey::Counters) => "the counters".to_owned(),
        _ => format!("a record with the unknown key {:02x?}", &key[..key.len().min(64)]),
    }
}

/// Whether a record with this key can be kept.
pub(crate) fn fits(key: &[u8]) -> bool {
    key.len() <= MAX_KEY
}
