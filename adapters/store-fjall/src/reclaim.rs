//! Gives disk space back after queues were drained.
//!
//! A removed record is only a mark in front of the old one until files are merged, and the database merges files when they
//! grow, not when they are of no use any more. So once as much was removed as is left, and enough to matter, all files of the
//! queue are merged: what stays is rewritten once for each time that as much goes, and a drained queue leaves nothing.
//!
//! Invariant: never in the way of a commit, and of no consequence when it fails.
use crate::folder::{Open, Shared};
use crate::key::Table;
use fjall::PersistMode;
use std::sync::mpsc::Receiver;
use std::time::Duration;

/// Bytes that are worth it.
const WORTH: u64 = 32 << 20;

/// Whether to reclaim now.
pub(crate) fn is_due(removed: u64, live: u64) -> bool {
    removed >= WORTH && removed >= live
}

/// Reclaims each time it is asked to.
pub(crate) fn run(shared: &Shared, asked: &Receiver<()>) {
    for () in asked {
        if let Some(open) = &*shared.read()
            && let Err(error) = reclaim(open)
        {
            tracing::warn!(%error, "disk space is not given back for now");
        }
    }
}

/// Merges all files of the queue.
pub(crate) fn reclaim(open: &Open) -> Result<(), fjall::Error> {
    for table in [Table::State, Table::Queue] {
        let tree = open.tree(table);
        tree.rotate_memtable()?;
        while tree.sealed_memtable_count() > 0 {
            open.database.persist(PersistMode::Buffer)?; // fails once writing in the background has failed
            std::thread::sleep(Duration::from_millis(5));
        }
        tree.major_compact()?;
    }
    Ok(())
}
