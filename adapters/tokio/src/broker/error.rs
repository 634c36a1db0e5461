//! What can go wrong around a broker; every message says what to do.
use super::{EndpointError, SetupError};
use std::{fmt, io, net::SocketAddr, path::PathBuf};

/// Why a broker did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// An address to listen on is none.
    Endpoint(EndpointError),
    /// A host name could not be resolved.
    Resolve {
        /// The host name.
        host: String,
        /// What the system said.
        source: io::Error,
    },
    /// An address could not be bound.
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be bound.
    BindPath {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What an address is to be served with cannot be used: certificates, say.
    Port {
        /// The address.
        endpoint: String,
        /// What is wrong.
        source: SetupError,
    },
    /// More than one shard was asked for: messages do not travel between shards yet.
    Shards(usize),
    /// [`Authentication::Request`](super::Authentication::Request) is configured, but no hooks are there to answer.
    NoHooks,
    /// No thread or runtime could be started.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(error) => error.fmt(f),
            Self::Resolve { host, source } => write!(f, "cannot find the address of `{host}`: {source}"),
            Self::Bind { address, source } => {
                write!(f, "cannot listen on {address}: {source}; ")?;
                let port = address.port();
                match source.kind() {
                    io::ErrorKind::AddrInUse => write!(
                        f,
                        "stop the server that has the port (`ss -ltnp 'sport = :{port}'` shows it) or choose another port"
                    ),
                    io::ErrorKind::PermissionDenied => {
                        write!(f, "ports below 1024 need special rights: choose a higher one")
                    }
                    io::ErrorKind::AddrNotAvailable => {
                        write!(f, "no interface of this machine has this address: choose one that `ip addr` shows")
                    }
                    _ => write!(f, "choose another address"),
                }
            }
            Self::BindPath { path, source } => {
                write!(f, "cannot listen on {}: {source}; ", path.display())?;
                match source.kind() {
                    io::ErrorKind::AddrInUse => f.write_str("another process serves this file, or it is none of ours"),
                    io::ErrorKind::NotFound => f.write_str("make its folder first"),
                    _ => f.write_str("choose another file"),
                }
            }
            Self::Port { endpoint, source } => write!(f, "{endpoint}: {source}"),
            Self::Shards(shards) => {
                write!(f, "{shards} shards were asked for, but only 1 is possible until messages travel between shards")
            }
            Self::NoHooks => write!(f, "authentication by request needs hooks: call `Builder::hooks`"),
            Self::Thread(source) => write!(f, "cannot start a thread for a shard: {source}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Endpoint(error) => Some(error),
            Self::Resolve { source, .. }
            | Self::Bind { source, .. }
            | Self::BindPath { source, .. }
            | Self::Thread(source) => Some(source),
            Self::Port { source, .. } => Some(source),
            Self::Shards(_) | Self::NoHooks => None,
        }
    }
}

impl From<EndpointError> for StartError {
    fn from(error: EndpointError) -> Self {
        Self::Endpoint(error)
    }
}

/// The broker has stopped: drained, or a shard ended by a panic (which is a bug; its message went to standard error).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the broker has stopped")
    }
}

impl std::error::Error for Stopped {}
