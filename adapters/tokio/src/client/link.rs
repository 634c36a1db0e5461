//! A connection to a server, with whatever lies between the socket and MQTT.
//!
//! Invariant: a [`Connection`] exists once every layer has agreed, and carries nothing but MQTT.
use crate::stream::Stream;
use bytes::{BufMut, BytesMut};
use mqtt_pipes::{ClientPipe, PipeError, Scheme, Stage, Transport};
use std::io::{self, ErrorKind, IoSlice};
use tokio::io::{Interest, Ready};
use tokio::net::TcpStream;

/// Read at once.
const READ_SIZE: usize = 64 * 1024;
/// Chunks of one vectored write.
const SLICES: usize = 64;

/// A connection that is open.
pub(super) struct Connection {
    stream: Stream,
    pipe: Option<Box<ClientPipe>>,
    /// Where bytes for the pipe are read into.
    raw: BytesMut,
}

/// Opens a connection: tries the addresses of a host one after the other, then has the layers agree.
pub(super) async fn open(transport: Transport, seed: [u8; 32]) -> io::Result<Connection> {
    let address = transport.address();
    let stream = if address.scheme == Scheme::Unix {
        unix(&address.path).await?
    } else {
        let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
        stream.set_nodelay(true)?; // acknowledgments must not wait for company
        Stream::Tcp(stream)
    };
    let pipe = transport.open(seed).map_err(io::Error::other)?;
    let mut connection = Connection { stream, pipe, raw: BytesMut::new() };
    connection.shake_hands().await?;
    Ok(connection)
}

#[cfg(unix)]
async fn unix(path: &str) -> io::Result<Stream> {
    tokio::net::UnixStream::connect(path).await.map(Stream::Unix)
}

#[cfg(not(unix))]
async fn unix(_: &str) -> io::Result<Stream> {
    Err(ErrorKind::Unsupported.into())
}

impl Connection {
    async fn shake_hands(&mut self) -> io::Result<()> {
        let mut early = BytesMut::new();
        while self.pipe.as_ref().is_some_and(|pipe| pipe.stage() == Stage::Handshake) {
            let interest = if self.flush()? { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
            self.ready(interest).await?;
            match self.read(&mut early) {
                Ok(0) => {
                    let problem = "the server closed the connection before TLS or WebSocket was agreed on";
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, problem));
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        // A server has nothing to say before CONNECT.
        if early.is_empty() { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
    }

    /// Waits for the socket.
    pub(super) async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match &self.stream {
            Stream::Tcp(stream) => stream.ready(interest).await,
            #[cfg(unix)]
            Stream::Unix(stream) => stream.ready(interest).await,
        }
    }

    /// Reads once and appends what comes to `input`, which may be nothing. `Ok(0)`: the server closed the connection.
    pub(super) fn read(&mut self, input: &mut BytesMut) -> io::Result<usize> {
        let Some(pipe) = &mut self.pipe else {
            input.reserve(READ_SIZE);
            return self.stream.try_read_buf(input);
        };
        if pipe.stage() == Stage::Closed {
            return Ok(0);
        }
        self.raw.clear();
        self.raw.reserve(READ_SIZE);
        let bytes = self.stream.try_read_buf(&mut (&mut self.raw).limit(READ_SIZE))?;
        let result: Result<(), PipeError> = pipe.handle_input(&self.raw, input);
        let _ = self.flush(); // the error of a socket shows at the next read; that of the pipe says more
        result?;
        Ok(bytes)
    }

    /// Writes once what the socket takes of these chunks; `WouldBlock` if nothing.
    pub(super) fn write<'a>(&mut self, chunks: impl Iterator<Item = &'a [u8]>) -> io::Result<usize> {
        let mut slices = [&[][..]; SLICES];
        let mut count = 0;
        for (slice, chunk) in slices.iter_mut().zip(chunks) {
            *slice = chunk;
            count += 1;
        }
        let slices = &slices[..count];
        let Some(pipe) = &mut self.pipe else {
            let mut vector = [IoSlice::new(&[]); SLICES];
            for (slot, slice) in vector.iter_mut().zip(slices) {
                *slot = IoSlice::new(slice);
            }
            return self.stream.try_write_vectored(&vector[..count]);
        };
        let taken = pipe.write(slices);
        let flushed = self.flush()?;
        match taken {
            0 if flushed && self.pipe.as_ref().is_some_and(|pipe| pipe.room() == 0) => {
                Err(ErrorKind::BrokenPipe.into())
            }
            0 => Err(ErrorKind::WouldBlock.into()),
            taken => Ok(taken),
        }
    }

    /// Writes what the pipe has to send; `false`: the socket has no room for all of it.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        let Some(pipe) = &mut self.pipe else { return Ok(true) };
        while !pipe.transmit().is_empty() {
            match self.stream.try_write(pipe.transmit()) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => pipe.transmitted(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Whether the pipe has something to send.
    pub(super) fn is_pending(&self) -> bool {
        self.pipe.as_ref().is_some_and(|pipe| !pipe.transmit().is_empty())
    }

    /// Says good-bye in the pipe, and writes all that it still has.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        if let Some(pipe) = &mut self.pipe {
            pipe.close();
        }
        while !self.flush()? {
            self.ready(Interest::WRITABLE).await?;
        }
        Ok(())
    }
}
