//! Why a folder cannot be used; every message says what to do.
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// Why a folder cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process uses it.
    InUse(PathBuf),
    /// It was written by another version.
    Format {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The format that this version knows.
        known: u32,
    },
    /// It holds something else.
    Foreign(PathBuf),
    /// There is no such folder.
    Missing(PathBuf),
    /// It has contents already.
    NotEmpty(PathBuf),
    /// The database below the records cannot be read, and a new one cannot be made of it.
    Damaged {
        /// The folder.
        path: PathBuf,
        /// What is broken.
        why: String,
    },
    /// The system refuses.
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    pub(crate) fn new(path: &Path, error: fjall::Error) -> Self {
        let path = path.to_owned();
        match error {
            fjall::Error::Locked => Self::InUse(path),
            fjall::Error::Io(source) | fjall::Error::Storage(fjall::LsmError::Io(source)) => Self::Io { path, source },
            fjall::Error::InvalidVersion(Some(_)) => Self::Foreign(path),
            source => Self::Damaged { path, why: source.to_string() },
        }
    }

    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// Whether something is broken, rather than refused or in the way.
    pub(crate) fn is_damage(&self) -> bool {
        use io::ErrorKind::*;
        match self {
            Self::Damaged { .. } => true,
            Self::Io { source, .. } => match source.kind() {
                PermissionDenied | StorageFull | QuotaExceeded | ReadOnlyFilesystem | FileTooLarge | OutOfMemory => {
                    false
                }
                _ => source.raw_os_error() != Some(24), // too many open files
            },
            _ => false,
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(path) => {
                write!(f, "{}: another process uses this folder; stop it or choose another folder", path.display())
            }
            Self::Format { path, found, known } if found < known => write!(
                f,
                "{}: written by an older version (format {found}; this one knows {known}); export it with that version \
                 and import it with this one",
                path.display()
            ),
            Self::Format { path, found, known } => write!(
                f,
                "{}: written by a newer version (format {found}; this one knows {known}); run that version",
                path.display()
            ),
            Self::Foreign(path) => {
                write!(f, "{}: this folder holds something else; choose another one", path.display())
            }
            Self::Missing(path) => write!(f, "{}: there is no such folder", path.display()),
            Self::NotEmpty(path) => {
                write!(f, "{}: this folder has contents already; choose a new one", path.display())
            }
            Self::Damaged { path, why } => write!(
                f,
                "{}: the database in this folder cannot be read ({why}); a broker that is started with it makes a new one of \
                 what can be read",
                path.display()
            ),
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
