//! What the store asks of a disk. A folder is one; tests put one that fails in its place.
use crate::key::Table;
use crate::{Durability, OpenError};
use fjall::Slice;
use std::fmt;
use std::path::Path;

/// A key and a value in bytes.
pub(crate) type Pair = (Slice, Slice);

/// One change of a commit: `None` removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) table: Table,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

/// Why something could not be kept or read.
#[derive(Debug)]
pub(crate) enum DiskError {
    /// It cannot be opened (again).
    Open(OpenError),
    /// The database said so.
    Database(fjall::Error),
}

impl DiskError {
    pub(crate) fn into_open(self, path: &Path) -> OpenError {
        match self {
            Self::Open(error) => error,
            Self::Database(error) => OpenError::new(path, error),
        }
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Database(fjall::Error::Io(error)) => error.fmt(f),
            Self::Database(fjall::Error::Poisoned) => f.write_str("writing in the background has failed"),
            Self::Database(error) => error.fmt(f),
        }
    }
}

/// Keeps pairs of bytes in tables, in the order of their keys.
pub(crate) trait Disk: Send {
    /// Whether it can be read at all.
    fn readable(&self) -> bool;
    /// The value of a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Slice>, DiskError>;
    /// Adds the pairs from `from` on and before `until` to `out`, `limit` at most. After an error it has those before it.
    fn range(
        &self,
        table: Table,
        from: &[u8],
        until: &[u8],
        limit: usize,
        out: &mut Vec<Pair>,
    ) -> Result<(), DiskError>;
    /// The last pair from `from` on and before `until`.
    fn last(&self, table: Table, from: &[u8], until: &[u8]) -> Result<Option<Pair>, DiskError>;
    /// Makes all changes or none, and as durable as `durability` says. After an error nothing more is kept until it is
    /// revived; whether these changes were kept is unknown.
    fn commit(&mut self, changes: &[Change], durability: Durability) -> Result<(), DiskError>;
    /// Makes it usable again after a failed commit, if that is possible by now.
    fn revive(&mut self) -> Result<(), DiskError>;
}
