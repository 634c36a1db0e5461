//! Why a folder cannot be used; every message says what to do.
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// Why a folder cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process uses it.
    InUse(PathBuf),
    /// It was written by a newer version.
    Format {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that this version knows.
        known: u32,
    },
    /// It holds something else.
    Foreign(PathBuf),
    /// There is no such folder.
    Missing(PathBuf),
    /// The database below the records cannot be read.
    Damaged(PathBuf),
    /// The system refuses.
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database says something else.
    Database {
        /// The folder.
        path: PathBuf,
        /// What it said.
        source: fjall::Error,
    },
}

impl OpenError {
    pub(crate) fn new(path: &Path, error: fjall::Error) -> Self {
        let path = path.to_owned();
        match error {
            fjall::Error::Locked => Self::InUse(path),
            fjall::Error::Io(source) => Self::Io { path, source },
            fjall::Error::InvalidVersion(_) => Self::Foreign(path),
            fjall::Error::Unrecoverable => Self::Damaged(path),
            source => Self::Database { path, source },
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(path) => {
                write!(f, "{}: another process uses this folder; stop it or choose another folder", path.display())
            }
            Self::Format { path, found, known } => write!(
                f,
                "{}: written by a newer version (format {found}; this one knows {known}); run that version",
                path.display()
            ),
            Self::Foreign(path) => {
                write!(f, "{}: this folder holds something else; choose another one", path.display())
            }
            Self::Missing(path) => write!(f, "{}: there is no such folder", path.display()),
            Self::Damaged(path) => write!(
                f,
                "{}: the database in this folder cannot be read; move the folder away and restore a copy",
                path.display()
            ),
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Database { path, source } => write!(f, "{}: the database cannot be used: {source}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Database { source, .. } => Some(source),
            _ => None,
        }
    }
}
