//! One connection without blocking: bytes in, bytes out.
//!
//! Invariant: `fill` and `flush` alone touch the socket, so that a pipe such as TLS or WebSocket has its place there.
use super::wire;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

/// Bytes that one read takes at most.
const READ: usize = 1 << 20;

/// A connection and what waits on its two sides.
pub(super) struct Connection {
    stream: TcpStream,
    /// Bytes of an incomplete packet.
    rest: Vec<u8>,
    /// Bytes to write.
    pub(super) out: Vec<u8>,
    written: usize,
    /// Whether it is in its owner's list of those that have something to do.
    pub(super) queued: bool,
}

/// What one read brought: the beginning of the scratch buffer.
#[derive(Clone, Copy)]
pub(super) struct Input {
    pub(super) length: usize,
    /// The socket may have more.
    pub(super) more: bool,
}

impl Connection {
    /// Begins to connect; what is written meanwhile waits.
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, rest: Vec::new(), out: Vec::new(), written: 0, queued: false })
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    pub(super) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut self.stream)
    }

    /// Reads behind what was kept; `None` if there is nothing to read now. The end of the stream is an error.
    pub(super) fn fill(&mut self, scratch: &mut Vec<u8>) -> io::Result<Option<Input>> {
        let rest = self.rest.len();
        let wanted = READ.max(2 * rest);
        if scratch.len() < wanted {
            scratch.resize(wanted, 0);
        }
        scratch[..rest].copy_from_slice(&self.rest);
        loop {
            match self.stream.read(&mut scratch[rest..]) {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the broker closed a connection")),
                Ok(length) => {
                    let length = rest + length;
                    return Ok(Some(Input { length, more: length == scratch.len() }));
                }
                Err(error) if is_busy(&error) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Keeps the bytes of an incomplete packet for the next read.
    pub(super) fn keep(&mut self, rest: &[u8]) {
        self.rest.clear();
        self.rest.extend_from_slice(rest);
    }

    /// Writes what is there; whether all of it went.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(length) => self.written += length,
                Err(error) if is_busy(&error) => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(true)
    }

    /// Says good-bye; the broker may have closed it already.
    pub(super) fn leave(mut self) {
        self.out.extend_from_slice(&wire::DISCONNECT);
        let _ = self.flush();
    }
}

/// Nothing goes now; some systems say so of a connection that is not made yet with an error of its own.
fn is_busy(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}
