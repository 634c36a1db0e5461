//! Where the broker keeps what must survive, and `zanzara store`.
//!
//! Invariant: `zanzara store` changes no record.
use crate::cli::StoreCommand;
use crate::config::Durability;
use crate::exit::Failure;
use mqtt_store_fjall::{FjallStore, OpenError, Opened};
use mqtt_tokio::broker::{Config, MemoryStore, Store, StoreBatch, StoreDone};
use std::fmt::Write as _;
use std::path::Path;

/// The longest Client Identifier and the longest topic with a folder: a key of the store has to hold both.
const MAX_TEXT: u16 = 32_000;
/// Losses that are told one by one at the start.
const TOLD: usize = 20;

/// The store of the embedded database, as the broker takes it.
struct Folder(FjallStore);

impl Store for Folder {
    fn start(&mut self, done: StoreDone) -> std::io::Result<()> {
        self.0.start(done)
    }

    fn write(&mut self, batch: StoreBatch) {
        self.0.write(batch);
    }
}

/// Opens the folder of a broker; the text says what was found.
pub(crate) fn open(dir: &Path, durability: Durability) -> Result<(Box<dyn Store>, MemoryStore, String), Failure> {
    let (level, kept) = match durability {
        Durability::Memory => (mqtt_store_fjall::Durability::Memory, "acknowledged at once, written soon"),
        Durability::Os => (mqtt_store_fjall::Durability::Os, "acknowledged when the operating system has it"),
        Durability::Disk => (mqtt_store_fjall::Durability::Disk, "acknowledged when the disk has it"),
    };
    let (store, contents, report) = FjallStore::open(dir, level).map_err(failed)?;
    for lost in report.lost.iter().take(TOLD) {
        tracing::error!("lost: {} ({})", lost.what, lost.why);
    }
    if report.lost_records > 0 {
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

/// Lowers limits to what the store can hold.
pub(crate) fn limit(config: &mut Config) {
    let limits = &mut config.connection;
    limits.max_client_id_bytes = limits.max_client_id_bytes.min(MAX_TEXT);
    limits.max_topic_bytes = limits.max_topic_bytes.min(MAX_TEXT);
}

/// `zanzara store`.
pub(crate) fn run(command: &StoreCommand) -> Result<(), Failure> {
    match command {
        StoreCommand::Check { dir } => check(dir),
        StoreCommand::Stats { dir } => {
            let report = FjallStore::check(dir).map_err(failed)?;
            print!("{}", stats(&report));
            Ok(())
        }
    }
}

fn check(dir: &Path) -> Result<(), Failure> {
    let report = FjallStore::check(dir).map_err(failed)?;
    if report.lost_records == 0 {
        println!("{}: ok, {}", dir.display(), summary(&report));
        return Ok(());
    }
    for lost in &report.lost {
        println!("lost: {} ({})", lost.what, lost.why);
    }
    Err(Failure::run(format_args!(
        "{}: {} records cannot be used; a broker puts them into quarantine and goes on with the rest",
        dir.display(),
        report.lost_records
    )))
}

fn summary(report: &Opened) -> String {
    format!(
        "{} sessions, {} subscriptions, {} queued and {} retained messages",
        report.sessions, report.subscriptions, report.messages, report.retained
    )
}

fn stats(report: &Opened) -> String {
    let lines = [
        ("sessions", report.sessions as u64),
        ("subscriptions", report.subscriptions as u64),
        ("retained messages", report.retained as u64),
        ("queued messages", report.messages as u64),
        ("log entries", report.entries as u64),
        ("unusable records", report.lost_records as u64),
        ("quarantined records", report.quarantined as u64),
        ("unused messages", report.collected as u64),
        ("bytes on disk", report.disk_bytes),
        ("milliseconds to read", u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX)),
    ];
    lines.iter().fold(String::new(), |mut text, (name, number)| {
        let _ = writeln!(text, "{name}: {number}"); // writing to a String cannot fail
        text
    })
}

fn failed(error: OpenError) -> Failure {
    match error {
        OpenError::Missing(_) => Failure::usage(error),
        _ => Failure::run(error),
    }
}
