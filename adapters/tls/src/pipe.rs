//! What both ends share: rustls between two byte streams.
//!
//! Invariant: after each call rustls holds no output; it lies in `out`.
use crate::Error;
use bytes::{Buf, BufMut, BytesMut};
use rustls::{Connection, HandshakeKind};
use std::io::{BufRead, IoSlice, Write};

/// Output beyond which `write` takes no more, in bytes. What TLS adds may be on top: 64 KiB + 1 KiB once the handshake is
/// done.
pub const MAX_PENDING: usize = 64 * 1024;
/// Slices of one write.
const SLICES: usize = 64;

/// Where a pipe stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The handshake is not complete.
    Handshake,
    /// Bytes travel both ways.
    Open,
    /// Nothing more will come or go, but for what `transmit` still holds: then close the network connection.
    Closed,
}

pub(crate) struct Pipe {
    connection: Connection,
    stage: Stage,
    out: BytesMut,
}

impl Pipe {
    pub(crate) fn new(mut connection: Connection) -> Self {
        connection.set_buffer_limit(None); // `room` is the limit
        let mut pipe = Self { connection, stage: Stage::Handshake, out: BytesMut::new() };
        pipe.collect();
        pipe
    }

    /// Takes all of `input`, and appends the plain bytes in it to `plain`.
    pub(crate) fn handle_input(&mut self, mut input: &[u8], plain: &mut BytesMut) -> Result<(), Error> {
        let mut result = Ok(());
        while !input.is_empty() && self.stage != Stage::Closed {
            result = self.step(&mut input, plain);
            if result.is_err() {
                self.stage = Stage::Closed;
            }
        }
        self.collect();
        result.map_err(Error::new)
    }

    fn step(&mut self, input: &mut &[u8], plain: &mut BytesMut) -> Result<(), rustls::Error> {
        let refused = |error: std::io::Error| rustls::Error::General(error.to_string());
        self.connection.read_tls(input).map_err(refused)?;
        let state = self.connection.process_new_packets()?;
        let mut left = state.plaintext_bytes_to_read();
        let mut reader = self.connection.reader();
        while left > 0 {
            let chunk = reader.fill_buf().map_err(refused)?;
            let length = chunk.len();
            plain.extend_from_slice(chunk);
            reader.consume(length);
            left = if length == 0 { 0 } else { left.saturating_sub(length) };
        }
        if state.peer_has_closed() {
            self.connection.send_close_notify();
            self.stage = Stage::Closed;
        } else if self.stage == Stage::Handshake && !self.connection.is_handshaking() {
            self.stage = Stage::Open;
        }
        Ok(())
    }

    /// Moves what rustls wants to send into `out`.
    fn collect(&mut self) {
        while self.connection.wants_write() {
            let mut out = (&mut self.out).writer();
            if !self.connection.write_tls(&mut out).is_ok_and(|bytes| bytes > 0) {
                break; // a buffer takes everything
            }
        }
    }

    pub(crate) fn write(&mut self, chunks: &[&[u8]]) -> usize {
        let mut left = self.room();
        let mut taken = 0;
        for group in chunks.chunks(SLICES) {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut bytes = 0;
            for (slice, chunk) in slices.iter_mut().zip(group) {
                let part = &chunk[..chunk.len().min(left)];
                *slice = IoSlice::new(part);
                left -= part.len();
                bytes += part.len();
            }
            if bytes == 0 {
                continue;
            }
            // One call makes as few records as possible.
            let written = self.connection.writer().write_vectored(&slices[..group.len()]).unwrap_or_default();
            taken += written;
            if written < bytes {
                break;
            }
        }
        self.collect();
        taken
    }

    pub(crate) fn room(&self) -> usize {
        if self.stage == Stage::Open { MAX_PENDING.saturating_sub(self.out.len()) } else { 0 }
    }

    pub(crate) fn transmit(&self) -> &[u8] {
        &self.out
    }

    pub(crate) fn transmitted(&mut self, bytes: usize) {
        self.out.advance(bytes.min(self.out.len()));
        if self.out.is_empty() {
            self.out = BytesMut::new(); // an idle connection holds no buffer
        }
    }

    pub(crate) fn close(&mut self) {
        if self.stage != Stage::Closed {
            self.connection.send_close_notify();
            self.stage = Stage::Closed;
            self.collect();
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    pub(crate) fn resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The certificate that the peer has shown, once it is verified.
    pub(crate) fn peer_certificate(&self) -> Option<&[u8]> {
        if self.connection.is_handshaking() {
            return None;
        }
        self.connection.peer_certificates()?.first().map(AsRef::as_ref)
    }
}

/// The methods that both ends have.
macro_rules! pipe_methods {
    () => {
        /// Takes what the network brought, all of it, and appends the plain bytes in it to `plain`: never more than came.
        ///
        /// # Errors
        /// The handshake failed or the peer broke the protocol. `transmit` holds the alert that it is owed; what came
        /// before is in `plain`.
        pub fn handle_input(&mut self, input: &[u8], plain: &mut bytes::BytesMut) -> Result<(), crate::Error> {
            self.pipe.handle_input(input, plain)
        }

        /// Encrypts bytes; returns how many it took: what there is room for, 0 before the handshake and after the end.
        pub fn write(&mut self, chunks: &[&[u8]]) -> usize {
            self.pipe.write(chunks)
        }

        /// Bytes that `write` would take now, at most [`MAX_PENDING`](crate::MAX_PENDING).
        pub fn room(&self) -> usize {
            self.pipe.room()
        }

        /// What has to go to the network.
        pub fn transmit(&self) -> &[u8] {
            self.pipe.transmit()
        }

        /// The network took this many bytes of `transmit`.
        pub fn transmitted(&mut self, bytes: usize) {
            self.pipe.transmitted(bytes);
        }

        /// Says good-bye (close_notify). Nothing can be written afterwards, and nothing that comes is looked at.
        pub fn close(&mut self) {
            self.pipe.close();
        }

        /// Where the connection stands.
        pub fn stage(&self) -> crate::Stage {
            self.pipe.stage()
        }

        /// Whether an earlier session was resumed, which spares the certificates.
        pub fn is_resumed(&self) -> bool {
            self.pipe.resumed()
        }
    };
}
pub(crate) use pipe_methods;
