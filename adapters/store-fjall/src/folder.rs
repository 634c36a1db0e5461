//! The folder: its lock, the version of the format, and the database in it.
//!
//! ```text
//! DIR/format       the version of the format, as text
//! DIR/lock         locked while the folder is used
//! DIR/db           the database
//! DIR/damaged-N    a database that could not be used any more, kept as it was
//! ```
//!
//! Invariants: a folder of a newer format is not touched; a folder is used by one process at a time.
use crate::disk::{Change, Disk, DiskError, Pair};
use crate::key::Table;
use crate::{Durability, OpenError, opening};
use fjall::config::{BlockSizePolicy, CompressionPolicy};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Slice};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

/// The format that this version reads and writes.
pub(crate) const FORMAT: u32 = 2;
/// Memory for blocks that were read.
const CACHE: u64 = 16 << 20;
/// What a tree gathers in memory before it writes a file.
const MEMTABLE: u64 = 16 << 20;
/// Bytes of all journals from which on the trees that hold the oldest ones are written out.
const JOURNALS: u64 = 64 << 20;
/// Bytes in memory from which on a commit waits for the files to be written.
const BACKLOG: u64 = 8 * MEMTABLE;
/// What is written, once or several times, to learn whether there is room again.
const PROBE: usize = 1 << 20;
/// Failures of writing in the background after which the files are looked at.
const SUSPICIOUS: u32 = 3;
/// Commits after which earlier failures are forgotten.
const CALM: u32 = 10_000;

/// A folder that this process uses.
pub(crate) struct Place {
    path: PathBuf,
    _lock: File,
}

impl Place {
    /// Locks a folder, or makes it.
    pub(crate) fn take(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::io(path, error);
        check_format(path)?;
        fs::create_dir_all(path).map_err(failed)?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join("lock")).map_err(failed)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::InUse(path.to_owned()),
            TryLockError::Error(error) => failed(error),
        })?;
        if !path.join("format").exists() {
            write_format(path).map_err(failed)?;
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path.join("db")
    }

    /// Moves the database aside, under the first number that is free.
    pub(crate) fn set_aside(&self) -> io::Result<PathBuf> {
        let mut number = 1;
        loop {
            let aside = self.path.join(format!("damaged-{number}"));
            if !aside.exists() {
                fs::rename(self.database(), &aside)?;
                sync_folder(&self.path)?;
                return Ok(aside);
            }
            number += 1;
        }
    }
}

/// Refuses what this version cannot read, and touches nothing.
fn check_format(path: &Path) -> Result<(), OpenError> {
    match fs::read_to_string(path.join("format")) {
        Ok(text) => match text.trim().parse() {
            Ok(FORMAT) => Ok(()),
            Ok(found) => Err(OpenError::Format { path: path.to_owned(), found, known: FORMAT }),
            Err(_) => Err(OpenError::Foreign(path.to_owned())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(OpenError::io(path, error)),
            // A start that was cut short leaves no more than the lock; a file system of its own has "lost+found".
            Ok(entries) => {
                let ours = |name: &std::ffi::OsStr| name == "lock" || name == "format.new" || name == "lost+found";
                let known = entries.flatten().all(|entry| ours(&entry.file_name()));
                if known { Ok(()) } else { Err(OpenError::Foreign(path.to_owned())) }
            }
        },
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(OpenError::Foreign(path.to_owned())),
        Err(error) => Err(OpenError::io(path, error)),
    }
}

fn write_format(path: &Path) -> io::Result<()> {
    let new = path.join("format.new");
    let mut file = File::create(&new)?;
    writeln!(file, "{FORMAT}")?;
    file.sync_all()?;
    fs::rename(new, path.join("format"))?;
    sync_folder(path)
}

/// Makes what happened to the names in a folder survive a power cut, where the system can do that.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// An open database.
pub(crate) struct Open {
    pub(crate) database: Database,
    trees: [Keyspace; 4],
}

impl Open {
    pub(crate) fn new(path: &Path) -> Result<Self, fjall::Error> {
        let database = Database::builder(path)
            .cache_size(CACHE)
            .max_journaling_size(JOURNALS)
            .journal_compression(CompressionType::None)
            .worker_threads(1)
            .open()?;
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE)
                .data_block_size_policy(BlockSizePolicy::all(16 << 10))
                .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
        };
        let tree = |table: Table| database.keyspace(table.name(), options);
        let trees = [tree(Table::State)?, tree(Table::Queue)?, tree(Table::Retained)?, tree(Table::Quarantine)?];
        Ok(Self { database, trees })
    }

    pub(crate) fn tree(&self, table: Table) -> &Keyspace {
        &self.trees[table as usize - 1]
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Slice>, fjall::Error> {
        self.tree(table).get(key)
    }

    pub(crate) fn range(
        &self,
        table: Table,
        from: &[u8],
        until: &[u8],
        limit: usize,
        out: &mut Vec<Pair>,
    ) -> Result<(), fjall::Error> {
        for guard in self.tree(table).range(from..until).take(limit) {
            out.push(guard.into_inner()?);
        }
        Ok(())
    }

    /// Writes changes, all or none.
    pub(crate) fn commit(&self, changes: &[Change], durability: Durability) -> Result<(), fjall::Error> {
        self.wait_for_room()?;
        let mode = match durability {
            Durability::Memory | Durability::Os => PersistMode::Buffer,
            Durability::Disk => PersistMode::SyncData,
        };
        let mut batch = self.database.batch().durability(Some(mode));
        for Change { table, key, value } in changes {
            match value {
                Some(value) => batch.insert(self.tree(*table), key.as_slice(), value.as_slice()),
                None => batch.remove(self.tree(*table), key.as_slice()),
            }
        }
        batch.commit()
    }

    /// Waits while files are written more slowly than changes come. The database would wait too, but for ever if writing in
    /// the background has failed meanwhile.
    fn wait_for_room(&self) -> Result<(), fjall::Error> {
        loop {
            self.database.persist(PersistMode::Buffer)?; // fails once writing in the background has failed
            let sealed = self.trees.iter().any(|tree| tree.sealed_memtable_count() >= 3 || tree.l0_table_count() >= 16);
            if !sealed && self.database.write_buffer_size() < BACKLOG {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The database, for all threads that use it.
#[derive(Clone)]
pub(crate) struct Shared(Arc<RwLock<Option<Open>>>);

impl Shared {
    pub(crate) fn new(open: Open) -> Self {
        Self(Arc::new(RwLock::new(Some(open))))
    }

    /// The database, which stays open as long as the guard lives. `None`: it could not be opened again after an error.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Option<Open>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, with: impl FnOnce() -> Result<Open, OpenError>) -> Result<(), OpenError> {
        let mut open = self.0.write().unwrap_or_else(PoisonError::into_inner);
        drop(open.take()); // releases its lock, and ends its threads
        *open = Some(with()?);
        Ok(())
    }
}

/// The folder as the disk of a committer.
pub(crate) struct Folder {
    place: Arc<Place>,
    pub(crate) shared: Shared,
    /// Commits that found that writing in the background had failed, since all was well for a while.
    pub(crate) background: u32,
    /// Commits since the last one that failed.
    calm: u32,
}

impl Folder {
    pub(crate) fn new(place: Arc<Place>, open: Open) -> Self {
        Self { place, shared: Shared::new(open), background: 0, calm: 0 }
    }

    fn with<T>(&self, work: impl FnOnce(&Open) -> Result<T, fjall::Error>) -> Result<T, DiskError> {
        match &*self.shared.read() {
            Some(open) => work(open).map_err(DiskError::Database),
            None => Err(DiskError::Database(fjall::Error::Poisoned)),
        }
    }

    /// Whether the disk takes anything: opening the database again while it does not would be for nothing. Writing in the
    /// background takes more at once than a commit.
    fn probe(&self) -> io::Result<()> {
        let path = self.place.path().join("probe");
        let tried = File::create(&path).and_then(|mut file| {
            let (zeros, count) = (vec![0; PROBE], if self.background > 0 { 2 * MEMTABLE / PROBE as u64 } else { 1 });
            for _ in 0..count {
                file.write_all(&zeros)?;
            }
            file.sync_all()
        });
        let removed = fs::remove_file(&path);
        tried.and(removed)
    }
}

impl Disk for Folder {
    fn readable(&self) -> bool {
        self.shared.read().is_some()
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Slice>, DiskError> {
        self.with(|open| open.get(table, key))
    }

    fn range(
        &self,
        table: Table,
        from: &[u8],
        until: &[u8],
        limit: usize,
        out: &mut Vec<Pair>,
    ) -> Result<(), DiskError> {
        self.with(|open| open.range(table, from, until, limit, out))
    }

    fn last(&self, table: Table, from: &[u8], until: &[u8]) -> Result<Option<Pair>, DiskError> {
        self.with(|open| open.tree(table).range(from..until).next_back().map(fjall::Guard::into_inner).transpose())
    }

    fn commit(&mut self, changes: &[Change], durability: Durability) -> Result<(), DiskError> {
        let done = self.with(|open| open.commit(changes, durability));
        match &done {
            Ok(()) => self.calm += 1,
            Err(DiskError::Database(fjall::Error::Poisoned)) => (self.background, self.calm) = (self.background + 1, 0),
            Err(_) => self.calm = 0,
        }
        if self.calm == CALM {
            (self.background, self.calm) = (0, 0);
        }
        done
    }

    fn revive(&mut self) -> Result<(), DiskError> {
        let path = self.place.path();
        self.probe().map_err(|error| DiskError::Open(OpenError::io(path, error)))?;
        let suspicious = self.background >= SUSPICIOUS;
        let replaced = self.shared.replace(|| opening::reopen(&self.place, suspicious));
        if suspicious {
            self.background = 1;
        }
        replaced.map_err(DiskError::Open)
    }
}
