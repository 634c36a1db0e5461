//! The sockets of one shard: what each is doing, its reads and its writes.
//!
//! Invariants: a read or write that finds the socket not ready leaves it registered, so that its waker rings later;
//! an idle socket holds no buffer beyond an incomplete packet.
use super::deadlines::Token;
use super::ready::{Bell, ReadyQueue};
use crate::stream::{Origin, Stream};
use bytes::{BufMut, BytesMut};
use mqtt_pipes::{PipeError, ServerPipe};
use mqtt_session::TxQueue;
use mqtt_session::broker::{ConnId, Greeting};
use slab::Slab;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::io::Interest;

/// Bytes that one connection may bring in one turn of the driver: enough to spread the system calls over hundreds of
/// packets, little enough for the caches and for fairness.
const READ_SIZE: usize = 128 * 1024;
/// An incomplete packet of at most this many bytes is copied in front of the next read into the shared buffer; a
/// longer one gets a buffer of its own and is read into directly.
const SHARED_UP_TO: usize = 4 * 1024;
/// Chunks of one vectored write.
const SLICES: usize = 64;

/// What a socket is doing.
pub(super) enum Stage {
    /// Waiting for CONNECT.
    Greeting(Box<(Greeting, Origin)>),
    /// Served by the machine.
    Open(ConnId),
    /// The machine is done with it, but for bytes that are still to be written.
    Ending(ConnId),
    /// Nothing more is written. The peer is given a moment to read: closing while its bytes are unread would reset the
    /// connection, and it could lose the packet that says why.
    Lingering,
}

/// One connection.
pub(super) struct Socket {
    pub(super) io: Io,
    pub(super) stage: Stage,
    /// Told from those that used the same key before.
    pub(super) serial: u32,
    /// The socket took less than there is: its waker rings when there is room.
    pub(super) blocked: bool,
    /// The machine wanted no more input; [`Io::partial`] may hold whole packets.
    pub(super) stalled: bool,
}

/// The stream of a socket, and what came without being a whole packet.
pub(super) struct Io {
    pub(super) stream: Stream,
    pub(super) partial: BytesMut,
    /// What lies between the socket and MQTT; `None` if that is nothing.
    pub(super) pipe: Option<Box<ServerPipe>>,
    /// What the peer did wrong in the pipe.
    pub(super) failure: Option<PipeError>,
    waker: Waker,
}

/// What became of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// All that was there; the waker rings when more comes.
    All,
    /// There may be more.
    More,
    /// The peer closed, or the connection broke.
    Closed,
}

impl Io {
    /// Reads once, at most [`READ_SIZE`] bytes, behind what is left of earlier input, and gives all of it to `take`,
    /// which leaves what it cannot use yet. `shared` is the shard's buffer.
    pub(super) fn receive(&mut self, shared: &mut BytesMut, take: impl FnOnce(&mut BytesMut)) -> Received {
        if self.pipe.is_some() {
            return self.receive_through(shared, take);
        }
        let own = self.partial.len() > SHARED_UP_TO;
        if !own {
            shared.clear();
            shared.extend_from_slice(&self.partial);
        }
        let buffer = if own { &mut self.partial } else { &mut *shared };
        buffer.reserve(READ_SIZE);
        let full = match self.stream.try_read_buf(&mut buffer.limit(READ_SIZE)) {
            Ok(0) => return Received::Closed,
            Ok(bytes) => bytes == READ_SIZE,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return self.listen(),
            Err(_) => return Received::Closed,
        };
        take(buffer);
        if !own {
            self.partial = if shared.is_empty() { BytesMut::new() } else { BytesMut::from(&shared[..]) };
            shared.clear();
        } else if self.partial.is_empty() {
            self.partial = BytesMut::new();
        }
        if full {
            return Received::More;
        }
        // A short read has emptied the socket: forget its readiness, which spares a read in vain.
        self.stream.forget(Interest::READABLE);
        self.listen()
    }

    /// [`Io::receive`] through the pipe. What it answers by itself is written, too.
    fn receive_through(&mut self, shared: &mut BytesMut, take: impl FnOnce(&mut BytesMut)) -> Received {
        let Some(pipe) = &mut self.pipe else { return Received::All };
        if pipe.stage() == mqtt_pipes::Stage::Closed {
            return Received::Closed;
        }
        shared.clear();
        shared.reserve(READ_SIZE);
        let full = match self.stream.try_read_buf(&mut shared.limit(READ_SIZE)) {
            Ok(0) => return Received::Closed,
            Ok(bytes) => bytes == READ_SIZE,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return self.listen(),
            Err(_) => return Received::Closed,
        };
        self.failure = pipe.handle_input(shared, &mut self.partial).err();
        shared.clear();
        let over = pipe.stage() == mqtt_pipes::Stage::Closed;
        let taken = !self.partial.is_empty();
        if taken {
            take(&mut self.partial);
            if self.partial.is_empty() {
                self.partial = BytesMut::new();
            }
        }
        match self.flush() {
            Err(_) => Received::Closed,
            // What came in front of the end is served first.
            Ok(_) if over => {
                if taken {
                    Received::More
                } else {
                    Received::Closed
                }
            }
            Ok(_) if full => Received::More,
            Ok(_) => {
                self.stream.forget(Interest::READABLE);
                self.listen()
            }
        }
    }

    /// Writes what the pipe has to send; `false`: the socket is full, and the waker rings when there is room.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        let Some(pipe) = &mut self.pipe else { return Ok(true) };
        while !pipe.transmit().is_empty() {
            match self.stream.try_write(pipe.transmit()) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => pipe.transmitted(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    match self.stream.poll_write_ready(&mut Context::from_waker(&self.waker)) {
                        Poll::Pending => return Ok(false),
                        Poll::Ready(ready) => ready?,
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Writes `bytes` at once, as far as the socket takes them: the last words on a connection that hardly had any.
    pub(super) fn say(&mut self, bytes: &[u8]) {
        match &mut self.pipe {
            Some(pipe) => {
                pipe.write(&[bytes]);
                let _ = self.flush();
            }
            None => _ = self.stream.try_write(bytes),
        }
    }

    /// Says good-bye in the pipe; `false`: the socket is full, and the waker rings when there is room.
    pub(super) fn finish(&mut self) -> io::Result<bool> {
        if let Some(pipe) = &mut self.pipe {
            pipe.close();
        }
        self.flush()
    }

    /// Has the waker ring when there is something to read.
    fn listen(&self) -> Received {
        match self.stream.poll_read_ready(&mut Context::from_waker(&self.waker)) {
            Poll::Pending => Received::All,
            Poll::Ready(_) => Received::More,
        }
    }

    /// Writes the chunks of `queue` once. `WouldBlock`: nothing was written, and the waker rings when there is room.
    pub(super) fn write(&mut self, queue: &TxQueue) -> io::Result<usize> {
        if self.pipe.is_some() {
            return self.write_through(queue);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut count = 0;
        let mut bytes = 0;
        for (slice, chunk) in slices.iter_mut().zip(queue.chunks()) {
            *slice = IoSlice::new(chunk);
            count += 1;
            bytes += chunk.len();
        }
        loop {
            let written = match &slices[..count] {
                [one] => self.stream.try_write(one),
                many => self.stream.try_write_vectored(many),
            };
            match written {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    if written < bytes {
                        self.stream.forget(Interest::WRITABLE);
                    }
                    return Ok(written);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    match self.stream.poll_write_ready(&mut Context::from_waker(&self.waker)) {
                        Poll::Pending => return Err(error),
                        Poll::Ready(ready) => ready?,
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// [`Io::write`] through the pipe: what it takes is written as soon as the socket lets it.
    fn write_through(&mut self, queue: &TxQueue) -> io::Result<usize> {
        let mut chunks = [&[][..]; SLICES];
        let mut count = 0;
        for (slot, chunk) in chunks.iter_mut().zip(queue.chunks()) {
            *slot = chunk;
            count += 1;
        }
        loop {
            let Some(pipe) = &mut self.pipe else { return Err(ErrorKind::BrokenPipe.into()) };
            let taken = pipe.write(&chunks[..count]);
            let flushed = self.flush()?;
            if taken > 0 {
                return Ok(taken);
            }
            if !flushed {
                return Err(ErrorKind::WouldBlock.into());
            }
            if self.pipe.as_ref().is_none_or(|pipe| pipe.room() == 0) {
                return Err(ErrorKind::BrokenPipe.into()); // it is closed
            }
        }
    }

    /// Tells the peer that nothing more comes, and forgets the pipe.
    pub(super) fn shut(&mut self) {
        let _ = self.finish(); // whoever does not take it now is not told
        self.pipe = None;
        self.stream.shut();
    }
}

/// All sockets of a shard.
pub(super) struct Sockets {
    slab: Slab<Socket>,
    /// Keys by [`ConnId::slot`].
    by_slot: Vec<u32>,
    ready: Arc<ReadyQueue>,
    serial: u32,
}

impl Sockets {
    pub(super) fn new(ready: Arc<ReadyQueue>) -> Self {
        Self { slab: Slab::new(), by_slot: Vec::new(), ready, serial: 0 }
    }

    /// Sockets in all.
    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Adds a socket.
    pub(super) fn insert(&mut self, stream: Stream, pipe: Option<Box<ServerPipe>>, stage: Stage) -> Token {
        self.serial = self.serial.wrapping_add(1);
        let entry = self.slab.vacant_entry();
        let token = Token { key: u32::try_from(entry.key()).expect("fewer sockets than 2^32"), serial: self.serial };
        let waker = Bell::waker(token.key, &self.ready);
        entry.insert(Socket {
            io: Io { stream, partial: BytesMut::new(), pipe, failure: None, waker },
            stage,
            serial: token.serial,
            blocked: false,
            stalled: false,
        });
        token
    }

    /// Has a socket serve a connection.
    pub(super) fn bind(&mut self, conn: ConnId, key: u32) -> Option<&mut Socket> {
        if self.by_slot.len() <= conn.slot() {
            self.by_slot.resize(conn.slot() + 1, u32::MAX);
        }
        self.by_slot[conn.slot()] = key;
        let socket = self.slab.get_mut(key as usize)?;
        socket.stage = Stage::Open(conn);
        Some(socket)
    }

    /// The socket that serves a connection.
    pub(super) fn key_of(&self, conn: ConnId) -> Option<u32> {
        let key = *self.by_slot.get(conn.slot())?;
        match self.slab.get(key as usize)?.stage {
            Stage::Open(id) | Stage::Ending(id) if id == conn => Some(key),
            _ => None,
        }
    }

    pub(super) fn get(&mut self, key: u32) -> Option<&mut Socket> {
        self.slab.get_mut(key as usize)
    }

    /// The socket of a token, unless it is gone.
    pub(super) fn find(&self, token: Token) -> Option<&Socket> {
        self.slab.get(token.key as usize).filter(|socket| socket.serial == token.serial)
    }

    /// Takes a socket out, to be served elsewhere.
    pub(super) fn take(&mut self, key: u32) -> Option<Socket> {
        self.slab.try_remove(key as usize)
    }

    /// Closes a socket. Its pipe says good-bye, if the network takes it at once.
    pub(super) fn remove(&mut self, key: u32) {
        if let Some(mut socket) = self.take(key) {
            let _ = socket.io.finish();
        }
    }

    pub(super) fn keys(&self) -> Vec<u32> {
        self.slab.iter().map(|(key, _)| u32::try_from(key).expect("fewer sockets than 2^32")).collect()
    }
}
