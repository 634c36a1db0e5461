//! A connected socket, TCP or of the file system, and where it comes from.
//!
//! Invariant: which of the two it is makes no difference to anybody else.
use bytes::BufMut;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::task::{Context, Poll};
use tokio::io::Interest;
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// An address, perhaps one that a trusted proxy told.
    Address(SocketAddr),
    /// A process of this machine, through a file; its user, where the system tells.
    #[cfg_attr(not(unix), allow(dead_code))]
    Local(Option<u32>),
}

impl Origin {
    /// The IP address.
    pub(crate) fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(address.ip()),
            Self::Local(_) => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Local(Some(user)) => write!(f, "unix (user {user})"),
            Self::Local(None) => f.write_str("unix"),
        }
    }
}

/// A connected socket.
pub(crate) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// The same outside of a runtime, on its way to another.
#[derive(Debug)]
pub(crate) enum Detached {
    Tcp(std::net::TcpStream),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixStream),
}

macro_rules! either {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self {
            Stream::Tcp($stream) => $call,
            #[cfg(unix)]
            Stream::Unix($stream) => $call,
        }
    };
}

impl Stream {
    pub(crate) fn try_read_buf(&self, buffer: &mut impl BufMut) -> io::Result<usize> {
        either!(self, stream => stream.try_read_buf(buffer))
    }

    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, stream => stream.try_write(bytes))
    }

    pub(crate) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, stream => stream.try_write_vectored(slices))
    }

    /// Forgets that the socket was ready: a short read has emptied it, a short write has filled it.
    pub(crate) fn forget(&self, interest: Interest) {
        let _ = either!(self, stream => stream.try_io(interest, || Err::<(), _>(io::ErrorKind::WouldBlock.into())));
    }

    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read_ready(cx))
    }

    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_write_ready(cx))
    }

    /// Tells the peer that nothing more comes.
    pub(crate) fn shut(&self) {
        // An error means that the connection is gone already.
        let _ = either!(self, stream => socket2::SockRef::from(stream).shutdown(Shutdown::Write));
    }

    pub(crate) fn detach(self) -> io::Result<Detached> {
        Ok(match self {
            Self::Tcp(stream) => Detached::Tcp(stream.into_std()?),
            #[cfg(unix)]
            Self::Unix(stream) => Detached::Unix(stream.into_std()?),
        })
    }

    pub(crate) fn attach(detached: Detached) -> io::Result<Self> {
        Ok(match detached {
            Detached::Tcp(stream) => Self::Tcp(TcpStream::from_std(stream)?),
            #[cfg(unix)]
            Detached::Unix(stream) => Self::Unix(UnixStream::from_std(stream)?),
        })
    }
}
