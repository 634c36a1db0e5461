//! Opening a folder, whatever state it is in.
//!
//! Invariants: what is refused or in the way (another process, another format, no permission, no space) is an error and
//! changes nothing; what is broken is not an error: it is kept aside, and the rest is used.
use crate::boot::boot;
use crate::disk::Disk as _;
use crate::folder::{Folder, Open, Place};
use crate::key::Table;
use crate::ledger::Ledger;
use crate::salvage::{self, Salvaged};
use crate::{Durability, Lost, OpenError, Opened, journal};
use mqtt_session::broker::Contents;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

/// Opens a folder, or makes it.
pub(crate) fn open(path: &Path) -> Result<(Ledger<Folder>, Contents, Opened), OpenError> {
    let place = Arc::new(Place::take(path)?);
    salvage::resume(&place).map_err(|error| OpenError::io(path, error))?;
    let mut report = Opened::default();
    let (mut ledger, contents) = match attempt(&place, &mut report) {
        Err(error) if error.is_damage() => {
            let why = match error {
                OpenError::Damaged { why, .. } => why,
                error => error.to_string(),
            };
            let Salvaged { aside, lost, .. } = mend(&place, &why)?;
            report = Opened { set_aside: Some(aside), ..Opened::default() };
            report.lose(Lost { what: "the database as it was".to_owned(), why });
            for lost in lost {
                report.lose(lost);
            }
            let (mut ledger, contents) = attempt(&place, &mut report)?;
            ledger.sweep_anew();
            (ledger, contents)
        }
        other => other?,
    };
    let records = &mut ledger.records;
    match records.disk.commit(&records.changes(), Durability::Disk) {
        Ok(()) => records.committed(),
        Err(error) => {
            tracing::error!(%error, "damaged records cannot be put into quarantine yet");
            records.uncertain();
        }
    }
    Ok((ledger, contents, report))
}

/// Makes a new database of what can be read of a broken one.
fn mend(place: &Place, why: &str) -> Result<Salvaged, OpenError> {
    tracing::error!(why, "the database is broken: making a new one of what can be read; this may take a while");
    let salvaged = salvage::salvage(place)?;
    tracing::error!(records = salvaged.records, "the old database is kept in {}", salvaged.aside.display());
    Ok(salvaged)
}

/// Opens a database again after an error, with everything read first if it is suspicious.
pub(crate) fn reopen(place: &Place, suspicious: bool) -> Result<Open, OpenError> {
    if suspicious && salvage::is_damaged(&place.database()) {
        mend(place, "writing in the background fails again and again")?;
    }
    match open_database(place) {
        Err(error) if error.is_damage() => {
            mend(place, &error.to_string())?;
            open_database(place)
        }
        other => other,
    }
}

/// A folder that is there.
pub(crate) fn existing(path: &Path) -> Result<Arc<Place>, OpenError> {
    if !path.is_dir() {
        return Err(OpenError::Missing(path.to_owned()));
    }
    if !path.join("format").exists() {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    Ok(Arc::new(Place::take(path)?))
}

/// Its database as a disk.
pub(crate) fn folder(place: &Arc<Place>) -> Result<Folder, OpenError> {
    Ok(Folder::new(place.clone(), open_database(place)?))
}

/// Opens the database, and reads what a broker begins with.
fn attempt(place: &Arc<Place>, report: &mut Opened) -> Result<(Ledger<Folder>, Contents), OpenError> {
    let mut ledger = Ledger::empty(folder(place)?);
    let contents = boot(&mut ledger, report).map_err(|error| error.into_open(place.path()))?;
    Ok((ledger, contents))
}

/// Opens the database, if nothing is wrong with it: it would itself remove what it does not understand.
fn open_database(place: &Place) -> Result<Open, OpenError> {
    let path = place.database();
    let damaged = |why: String| OpenError::Damaged { path: path.clone(), why };
    if path.exists() {
        if let Some(why) = incomplete(&path).map_err(|error| OpenError::io(&path, error))? {
            return Err(damaged(why));
        }
        if let Some(hole) = journal::mend(&path).map_err(|error| OpenError::io(&path, error))?.first() {
            let journal::Hole { file, from, to } = hole;
            return Err(damaged(format!("{}: bytes {from} to {to} are damaged", file.display())));
        }
    }
    let opened = catch_unwind(AssertUnwindSafe(|| Open::new(&path)));
    let opened = opened.map_err(|_| damaged("reading it has failed".to_owned()))?;
    let open = opened.map_err(|error| OpenError::new(&path, error))?;
    if Table::ALL.iter().any(|table| open.tree(*table).id() != *table as u64) {
        return Err(damaged("its list of trees is damaged".to_owned()));
    }
    Ok(open)
}

/// What is missing of a database that has records. Without records it is removed if something is missing: the power went
/// while it was made.
fn incomplete(path: &Path) -> io::Result<Option<String>> {
    let mut missing = Vec::new();
    if !path.join("version").exists() {
        missing.push("version".to_owned());
    }
    for tree in 0..=Table::ALL.len() {
        let file = format!("keyspaces/{tree}/current");
        if !path.join(&file).exists() {
            missing.push(file);
        }
    }
    if missing.is_empty() {
        return Ok(None);
    }
    let mut used = false;
    for table in Table::ALL {
        let tables = path.join("keyspaces").join((table as u64).to_string()).join("tables");
        used |= fs::read_dir(tables).is_ok_and(|mut files| files.next().is_some());
    }
    for file in journal::files(path)? {
        let note = |_| {
            used = true;
            Ok(())
        };
        journal::scan(&file, note, |_| {})?;
    }
    if used {
        return Ok(Some(format!("{} is missing", missing.join(", "))));
    }
    fs::remove_dir_all(path)?;
    Ok(None)
}
