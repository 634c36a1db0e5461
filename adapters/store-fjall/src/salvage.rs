//! What can be read of a database that cannot be opened, in a new one.
//!
//! Tables are read block by block and journals batch by batch, without the lists and indexes that point to them; of each key
//! the newest change counts. The old database is kept under another name.
//!
//! Invariants: nothing of the old database is changed or thrown away; a power cut on the way is followed by another attempt.
use crate::folder::{Open, Place};
use crate::journal;
use crate::key::Table;
use crate::{Lost, OpenError};
use fjall::{CompressionType, PersistMode};
use lsm_tree::table::Scanner;
use lsm_tree::{InternalValue, ValueType};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Pairs that one commit writes.
const CHUNK: usize = 4096;
/// Bad blocks of one file behind each other after which the rest is given up.
const BAD_BLOCKS: usize = 64;

/// What became of it.
#[derive(Debug, Default)]
pub(crate) struct Salvaged {
    /// Where the old database is now.
    pub(crate) aside: PathBuf,
    /// Records in the new one.
    pub(crate) records: u64,
    pub(crate) lost: Vec<Lost>,
}

/// Goes on with what was begun when the power went.
pub(crate) fn resume(place: &Place) -> io::Result<()> {
    let (unfinished, finished) = (place.path().join("salvage"), place.path().join("salvaged"));
    if unfinished.exists() {
        fs::remove_dir_all(unfinished)?;
    }
    if finished.exists() {
        if place.database().exists() {
            place.set_aside()?;
        }
        fs::rename(finished, place.database())?;
    }
    Ok(())
}

/// Makes a new database of what can be read of the old one.
pub(crate) fn salvage(place: &Place) -> Result<Salvaged, OpenError> {
    let failed = |error| OpenError::io(place.path(), error);
    let database = |error| OpenError::new(place.path(), error);
    resume(place).map_err(failed)?;
    let (old, work) = (place.database(), place.path().join("salvage"));
    let mut salvaged = Salvaged::default();
    let new = Open::new(&work).map_err(database)?;
    for (table, file) in table_files(&old, &mut salvaged.lost) {
        read_table(&new, table, &file, &mut salvaged.lost).map_err(database)?;
    }
    read_journals(&new, &old, &mut salvaged.lost).map_err(database)?;
    for table in Table::ALL {
        salvaged.records += strip(&new, table).map_err(database)?;
    }
    new.database.persist(PersistMode::SyncAll).map_err(database)?;
    drop(new);
    fs::rename(work, place.path().join("salvaged")).map_err(failed)?;
    salvaged.aside = place.set_aside().map_err(failed)?;
    resume(place).map_err(failed)?;
    Ok(salvaged)
}

/// Whether a file with records cannot be read. Reads them all.
pub(crate) fn is_damaged(database: &Path) -> bool {
    let mut lost = Vec::new();
    for (_, file) in table_files(database, &mut lost) {
        scan_table(&file, &mut lost, |_| Ok(())).unwrap_or_default(); // nothing is done with what is read
    }
    !lost.is_empty()
}

/// All files with records, and the tables that they are of.
fn table_files(database: &Path, lost: &mut Vec<Lost>) -> Vec<(Table, PathBuf)> {
    let mut files = Vec::new();
    for table in Table::ALL {
        let folder = database.join("keyspaces").join((table as u64).to_string()).join("tables");
        match fs::read_dir(&folder) {
            Ok(entries) => files.extend(entries.flatten().map(|entry| (table, entry.path()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => lost.push(Lost { what: format!("all of {}", folder.display()), why: error.to_string() }),
        }
    }
    files.sort_unstable();
    files
}

fn read_table(new: &Open, table: Table, file: &Path, lost: &mut Vec<Lost>) -> Result<(), fjall::Error> {
    let mut writer = Writer::new(new);
    scan_table(file, lost, |item| {
        let value = (item.key.value_type == ValueType::Value).then_some(&*item.value);
        writer.put(table, &item.key.user_key, item.key.seqno, value)
    })?;
    writer.finish()
}

/// Gives every record of a file that can be read.
fn scan_table(
    file: &Path,
    lost: &mut Vec<Lost>,
    mut each: impl FnMut(InternalValue) -> Result<(), fjall::Error>,
) -> Result<(), fjall::Error> {
    let mut bad = 0;
    let mut tell = |error: lsm_tree::Error| {
        lost.push(Lost { what: format!("a block of {}", file.display()), why: error.to_string() });
    };
    let scanner = match Scanner::new(file, usize::MAX, CompressionType::None, 0) {
        Ok(scanner) => scanner,
        Err(error) => {
            tell(error);
            return Ok(());
        }
    };
    for item in scanner {
        match item {
            Ok(item) => {
                bad = 0;
                each(item)?;
            }
            // Behind the records come indexes: they are of no use here.
            Err(lsm_tree::Error::InvalidTag(("BlockType", _))) => break,
            Err(error) => {
                let last = !matches!(error, lsm_tree::Error::ChecksumMismatch { .. });
                tell(error);
                bad += 1;
                if last || bad == BAD_BLOCKS {
                    break;
                }
            }
        }
    }
    Ok(())
}

fn read_journals(new: &Open, database: &Path, lost: &mut Vec<Lost>) -> Result<(), fjall::Error> {
    for file in journal::files(database)? {
        let mut writer = Writer::new(new);
        let mut failed = None;
        let mut holes = Vec::new();
        let read = journal::scan(
            &file,
            |batch| {
                for item in batch.items {
                    let Some(table) = Table::by_number(item.tree).filter(|_| failed.is_none()) else { continue };
                    failed = writer.put(table, &item.key, batch.sequence, item.value.as_deref()).err();
                }
                Ok(())
            },
            |hole| holes.push(hole),
        );
        if let Some(error) = failed {
            return Err(error);
        }
        for journal::Hole { file, from, to } in holes {
            let what = format!("changes in {}, bytes {from} to {to}", file.display());
            lost.push(Lost { what, why: "they are no whole batch".to_owned() });
        }
        if let Err(error) = read {
            lost.push(Lost { what: format!("the rest of {}", file.display()), why: error.to_string() });
        }
        writer.finish()?;
    }
    Ok(())
}

/// Writes values behind the number of their change, of which the greatest wins.
struct Writer<'a> {
    new: &'a Open,
    pairs: Vec<(Table, Vec<u8>, Vec<u8>)>,
}

impl<'a> Writer<'a> {
    fn new(new: &'a Open) -> Self {
        Self { new, pairs: Vec::new() }
    }

    fn put(&mut self, table: Table, key: &[u8], sequence: u64, value: Option<&[u8]>) -> Result<(), fjall::Error> {
        let mut dated = sequence.to_be_bytes().to_vec();
        dated.push(u8::from(value.is_some()));
        dated.extend_from_slice(value.unwrap_or_default());
        self.pairs.push((table, key.to_vec(), dated));
        if self.pairs.len() >= CHUNK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), fjall::Error> {
        self.pairs.sort_unstable();
        self.pairs.reverse(); // the newest of each key first
        self.pairs.dedup_by(|later, first| (later.0, &later.1) == (first.0, &first.1));
        let mut batch = self.new.database.batch();
        for (table, key, value) in self.pairs.drain(..) {
            let newer = match self.new.get(table, &key)? {
                Some(there) => there[..8] <= value[..8],
                None => true,
            };
            if newer {
                batch.insert(self.new.tree(table), key, value);
            }
        }
        batch.commit()
    }

    fn finish(mut self) -> Result<(), fjall::Error> {
        self.flush()
    }
}

/// Takes the numbers of changes away again, and removes what is removed.
fn strip(new: &Open, table: Table) -> Result<u64, fjall::Error> {
    let (tree, mut count) = (new.tree(table), 0);
    let mut batch = new.database.batch();
    for guard in tree.iter() {
        let (key, value) = guard.into_inner()?;
        match &value[8..] {
            [1, value @ ..] => {
                count += 1;
                batch.insert(tree, key, value);
            }
            _ => batch.remove(tree, key),
        }
        if batch.len() >= CHUNK {
            std::mem::replace(&mut batch, new.database.batch()).commit()?;
        }
    }
    batch.commit()?;
    Ok(count)
}
