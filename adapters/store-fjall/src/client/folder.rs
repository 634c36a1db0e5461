//! The folder of a client: a database with records, what was found damaged, and the version of the format.
//!
//! Invariants: a folder of a newer format, or of a broker, is not touched; nothing that could not be read is thrown away.
use super::committer::{Changes, Disk};
use super::{ClientOpened, record};
use crate::{Durability, Lost, OpenError};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use mqtt_session::client::{MemoryStore, Record};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The format that this version reads and writes, behind a word that tells it from a broker's.
const FORMAT: u32 = 1;
const CLIENT: &[u8] = b"client";
/// Memory for blocks that were read. Records are read once, at the start.
const CACHE: u64 = 1024 * 1024;
/// Damaged records that a report names one by one.
const NAMED: usize = 1000;

/// An open folder.
pub(super) struct Folder {
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
                meta.insert("format", [CLIENT, &FORMAT.to_be_bytes()].concat()).map_err(failed)?;
                database.persist(PersistMode::SyncAll).map_err(failed)?;
            }
            Some(found) => {
                let found = found.strip_prefix(CLIENT).and_then(|found| <[u8; 4]>::try_from(found).ok());
                match found.map(u32::from_be_bytes) {
                    Some(FORMAT) => {}
                    Some(found) => return Err(OpenError::Format { path: path.to_owned(), found, known: FORMAT }),
                    None => return Err(OpenError::Foreign(path.to_owned())),
                }
            }
        }
        let (records, quarantine) = (keyspace("records")?, keyspace("quarantine")?);
        Ok(Self { database, records, quarantine })
    }
}

impl Folder {
    /// Opens a folder, or makes it.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        if path.join("format").exists() {
            return Err(OpenError::Foreign(path.to_owned())); // of a broker
        }
        Ok(Self { path: path.to_owned(), open: Some(Open::new(path)?) })
    }

    /// Reads all records, and moves those that are damaged into quarantine.
    pub(super) fn load(&self) -> Result<(MemoryStore, ClientOpened), OpenError> {
        let begun = Instant::now();
        let failed = |error| OpenError::new(&self.path, error);
        let Some(open) = &self.open else { return Err(failed(fjall::Error::Unrecoverable)) };
        let (mut contents, mut report, mut bad) = (MemoryStore::new(), ClientOpened::default(), Vec::new());
        let mut lose = |what, why| {
            report.lost_records += 1;
            if report.lost.len() < NAMED {
                report.lost.push(Lost { what, why });
            }
        };
        // By kind, so that a part of the tree that cannot be read hides no more than the rest of its kind.
        for kind in 0..=u8::MAX {
            for guard in open.records.prefix([kind]) {
                match guard.into_inner() {
                    Ok((key, value)) => match record::decode(&key, &value) {
                        Ok(record) => contents.put(record),
                        Err(why) => {
                            lose(record::describe(&key), why);
                            bad.push((key, value));
                        }
                    },
                    Err(error) => {
                        lose(format!("records of kind {kind}"), error.to_string());
                        break;
                    }
                }
            }
        }
        if !bad.is_empty() {
            let mut batch = open.database.batch().durability(Some(PersistMode::SyncData));
            for (key, value) in bad {
                batch.remove(&open.records, key.clone());
                batch.insert(&open.quarantine, key, value);
            }
            batch.commit().map_err(failed)?;
        }
        report.quarantined = open.quarantine.len().map_err(failed)?;
        report.disk_bytes = open.database.disk_space().map_err(failed)?;
        report.messages = contents.messages();
        report.subscriptions = contents.records().filter(|record| matches!(record, Record::Subscription(_))).count();
        report.took = begun.elapsed();
        Ok((contents, report))
    }

    /// Spoils a record, for tests.
    #[cfg(test)]
    pub(super) fn spoil(&self, which: impl Fn(&[u8]) -> bool) {
        let open = self.open.as_ref().unwrap();
        for guard in open.records.iter() {
            let (key, value) = guard.into_inner().unwrap();
            if which(&key) {
                let mut value = value.to_vec();
                value[1] ^= 0x40;
                open.records.insert(key, value).unwrap();
            }
        }
        open.database.persist(PersistMode::SyncAll).unwrap();
    }
}

impl Disk for Folder {
    fn commit(&mut self, changes: &Changes, durability: Durability) -> Result<(), fjall::Error> {
        let open = self.open.as_ref().ok_or(fjall::Error::Poisoned)?;
        if changes.is_empty() {
            return Ok(());
        }
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
