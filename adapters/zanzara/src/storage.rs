//! Where the broker keeps what must survive, and `zanzara store`.
//!
//! Invariant: `zanzara store` changes no record, but for `import`, which makes a folder.
use crate::cli::StoreCommand;
use crate::config::Durability;
use crate::exit::Failure;
use mqtt_store_fjall::{Checked, FjallStore, ImportError, OpenError, Opened};
use mqtt_tokio::broker::{Contents, LoadRequest, Store, StoreBatch, StoreDone};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::Path;

/// Losses that are told one by one at the start.
const TOLD: usize = 20;

/// The store of the embedded database, as the broker takes it.
struct Folder(FjallStore);

impl Store for Folder {
    fn start(&mut self, done: StoreDone) -> io::Result<()> {
        self.0.start(done)
    }

    fn write(&mut self, batch: StoreBatch) {
        self.0.write(batch);
    }

    fn load(&mut self, request: LoadRequest) {
        self.0.load(request);
    }
}

/// Opens the folder of a broker; the text says what was found.
pub(crate) fn open(dir: &Path, durability: Durability) -> Result<(Box<dyn Store>, Contents, String), Failure> {
    let (level, kept) = match durability {
        Durability::Memory => (mqtt_store_fjall::Durability::Memory, "acknowledged at once, written soon"),
        Durability::Os => (mqtt_store_fjall::Durability::Os, "acknowledged when the operating system has it"),
        Durability::Disk => (mqtt_store_fjall::Durability::Disk, "acknowledged when the disk has it"),
    };
    let (store, contents, report) = FjallStore::open(dir, level).map_err(failed)?;
    for lost in report.lost.iter().take(TOLD) {
        tracing::error!("lost: {} ({})", lost.what, lost.why);
    }
    if report.lost.len() > TOLD {
        tracing::error!("{} more things are lost", report.lost_records - TOLD);
    }
    if let Some(aside) = &report.set_aside {
        tracing::error!(
            "the database was broken; what could be read is used, and the old one is in {}",
            aside.display()
        );
    } else if report.lost_records > 0 {
        tracing::error!(lost = report.lost_records, "damaged records went into quarantine; everything else is there");
    }
    let text = format!(
        "Data is kept in {}: {kept}.\nRestored in {} ms: {}\n",
        dir.display(),
        report.took.as_millis(),
        summary(&report)
    );
    Ok((Box::new(Folder(store)), contents, text))
}

/// `zanzara store`.
pub(crate) fn run(command: &StoreCommand) -> Result<(), Failure> {
    match command {
        StoreCommand::Check { dir } => check(dir),
        StoreCommand::Stats { dir } => {
            print!("{}", stats(&FjallStore::check(dir).map_err(failed)?));
            Ok(())
        }
        StoreCommand::Export { dir, file } => export(dir, file.as_deref()),
        StoreCommand::Import { dir, file } => import(dir, file.as_deref()),
    }
}

fn check(dir: &Path) -> Result<(), Failure> {
    let checked = FjallStore::check(dir).map_err(failed)?;
    if checked.opened.lost_records == 0 {
        println!("{}: ok, {}", dir.display(), summary(&checked.opened));
        return Ok(());
    }
    for lost in &checked.opened.lost {
        println!("lost: {} ({})", lost.what, lost.why);
    }
    Err(Failure::run(format_args!(
        "{}: {} things cannot be used; a broker puts damaged records into quarantine and goes on with the rest",
        dir.display(),
        checked.opened.lost_records
    )))
}

/// Writes to a file, or to standard output.
fn export(dir: &Path, file: Option<&Path>) -> Result<(), Failure> {
    let exported = match file {
        Some(path) => {
            let file = File::create_new(path).map_err(|error| unusable(path, &error))?;
            FjallStore::export(dir, &mut BufWriter::new(file))
        }
        None => FjallStore::export(dir, &mut BufWriter::new(io::stdout().lock())),
    };
    let exported = exported.map_err(failed)?;
    for lost in &exported.lost {
        eprintln!("lost: {} ({})", lost.what, lost.why);
    }
    eprintln!("{}: {} lines", dir.display(), exported.lines);
    match exported.lost.len() {
        0 => Ok(()),
        lost => Err(Failure::run(format_args!("{}: {lost} things cannot be read and are left out", dir.display()))),
    }
}

/// Reads a file, or standard input.
fn import(dir: &Path, file: Option<&Path>) -> Result<(), Failure> {
    let imported = match file {
        Some(path) => {
            let file = File::open(path).map_err(|error| unusable(path, &error))?;
            FjallStore::import(dir, BufReader::new(file))
        }
        None => FjallStore::import(dir, io::stdin().lock()),
    };
    let lines = imported.map_err(|error| match error {
        ImportError::Folder(error) => failed(error),
        error => Failure::run(error),
    })?;
    eprintln!("{}: {lines} lines", dir.display());
    Ok(())
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(format_args!("{}: {error}", path.display()))
}

fn summary(report: &Opened) -> String {
    format!(
        "{} sessions, {} subscriptions, {} queued and {} retained messages, {} logs",
        report.sessions, report.subscriptions, report.entries, report.retained, report.logs
    )
}

fn stats(checked: &Checked) -> String {
    let opened = &checked.opened;
    let lines = [
        ("format", checked.format.into()),
        ("sessions", opened.sessions as u64),
        ("subscriptions", opened.subscriptions as u64),
        ("logs", opened.logs as u64),
        ("queued messages", opened.entries),
        ("messages", checked.messages),
        ("retained messages", opened.retained as u64),
        ("entries to be removed", checked.unswept),
        ("unused messages", checked.unused),
        ("unusable records", opened.lost_records as u64),
        ("quarantined records", checked.quarantined),
        ("bytes on disk", checked.disk_bytes),
        ("milliseconds to read", u64::try_from(opened.took.as_millis()).unwrap_or(u64::MAX)),
    ];
    lines.iter().fold(String::new(), |mut text, (name, number)| {
        let _ = writeln!(text, "{name}: {number}"); // writing to a String cannot fail
        text
    })
}

fn failed(error: OpenError) -> Failure {
    match error {
        OpenError::Missing(_) | OpenError::NotEmpty(_) => Failure::usage(error),
        _ => Failure::run(error),
    }
}
