//! `--store DIR`: the folder in which a client keeps its session.
use super::arguments::ConnectArgs;
use crate::config::Durability;
use crate::exit::Failure;
use mqtt_store_fjall::ClientFolder;
use mqtt_tokio::client::{Builder, Store, StoreBatch, StoreDone};
use std::path::Path;

/// Seconds for which the server is asked to keep the session.
const EXPIRY: u32 = 24 * 60 * 60;

/// The folder, as the client takes it.
struct Folder(ClientFolder);

impl Store for Folder {
    fn start(&mut self, done: StoreDone) -> std::io::Result<()> {
        self.0.start(done)
    }

    fn write(&mut self, batch: StoreBatch) {
        self.0.write(batch);
    }
}

/// Has the client keep its session in `dir`, and go on with what is there.
pub(super) fn add(builder: Builder, dir: &Path, arguments: &ConnectArgs) -> Result<Builder, Failure> {
    let level = match arguments.durability.unwrap_or_default() {
        Durability::Memory => mqtt_store_fjall::Durability::Memory,
        Durability::Os => mqtt_store_fjall::Durability::Os,
        Durability::Disk => mqtt_store_fjall::Durability::Disk,
    };
    let (folder, contents, report) =
        ClientFolder::open(dir, level).map_err(|error| Failure::run(format_args!("--store: {error}")))?;
    if !arguments.quiet {
        for lost in &report.lost {
            eprintln!("zanzara: {}: lost: {} ({})", dir.display(), lost.what, lost.why);
        }
        if report.lost_records > 0 {
            eprintln!("zanzara: {}: {} damaged records went into quarantine", dir.display(), report.lost_records);
        }
    }
    if arguments.debug {
        eprintln!("{}: {} messages are still to be sent", dir.display(), report.messages.0);
    }
    let (v5, expiry) = (arguments.version.is_v5(), arguments.session_expiry);
    let builder = builder.configure(|config| {
        config.clean_start = false;
        if v5 {
            config.session_expiry = expiry.unwrap_or(EXPIRY);
        }
    });
    Ok(builder.store(Folder(folder), contents))
}
