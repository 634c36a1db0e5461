//! The connection after the handshake, the same for both ends (RFC 6455 sections 5 to 7).
//!
//! ```text
//!            close()                peer's Close
//!   Open ───────────────▶ Closing ───────────────▶ Closed
//!    │  peer's Close (echoed), or an error (told)     ▲
//!    └─────────────────────────────────────────────────┘
//! ```
//!
//! Invariants: payload bytes leave as they come, no message is gathered, and no packet is taken to begin or end with a frame
//! \[MQTT-6.0.0-2\]; behind a Close frame nothing is written, and nothing
//! that comes is looked at.
use crate::header::{self, Header, MAX_CONTROL, MAX_HEADER, Opcode};
use crate::keys::Keys;
use crate::{CloseCode, Error, mask};
use alloc::boxed::Box;
use alloc::string::String;
use bytes::{Buf, BytesMut};

/// Output beyond which `write` takes no more, in bytes. Frames around it and one control frame of each kind may be on top:
/// 64 KiB + 400 bytes is the most that waits.
pub const MAX_PENDING: usize = 64 * 1024;

/// Which end this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Server,
    Client,
}

/// Where a pipe stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The upgrade is not complete.
    Handshake,
    /// Bytes travel both ways.
    Open,
    /// [`Server::close`](crate::Server::close) was called: the peer's Close is awaited, and what comes before it is dropped.
    Closing,
    /// Nothing more will come or go, but for what `transmit` still holds: then close the network connection.
    Closed,
}

/// What the peer's Close frame said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its status code, if it had one.
    pub code: Option<CloseCode>,
    /// Its reason, at most 123 bytes; often empty.
    pub reason: String,
}

/// Limits of what a peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message, all its fragments together; a larger one is refused with 1009. It bounds no memory, because
    /// messages are passed on as they come. Default: 268,435,460, the largest MQTT packet.
    pub max_message: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_message: 268_435_460 }
    }
}

/// A control frame that is being read or waits to be answered.
#[derive(Clone)]
struct Control {
    bytes: [u8; MAX_CONTROL],
    length: usize,
}

/// What the next byte belongs to.
enum Reading {
    Header { bytes: [u8; MAX_HEADER], length: usize },
    Data { key: Option<[u8; 4]>, offset: u64, left: u64, fin: bool },
    Control { opcode: Opcode, key: Option<[u8; 4]>, left: usize, payload: Box<Control> },
}

const HEADER: Reading = Reading::Header { bytes: [0; MAX_HEADER], length: 0 };

/// One open connection.
pub(crate) struct Frames {
    role: Role,
    limits: Limits,
    /// Keys of the frames that are written, if they are masked.
    keys: Option<Keys>,
    stage: Stage,
    reading: Reading,
    /// Bytes of the unfinished message so far.
    message: Option<u64>,
    /// The most recent ping that could not be answered at once.
    ping: Option<Box<Control>>,
    closed: Option<Closed>,
    out: BytesMut,
}

impl Frames {
    /// A connection whose handshake is done but for the bytes in `out`.
    pub(crate) fn new(role: Role, limits: Limits, keys: Option<Keys>, out: BytesMut) -> Self {
        Self { role, limits, keys, stage: Stage::Open, reading: HEADER, message: None, ping: None, closed: None, out }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    pub(crate) fn closed(&self) -> Option<&Closed> {
        self.closed.as_ref()
    }

    pub(crate) fn transmit(&self) -> &[u8] {
        &self.out
    }

    pub(crate) fn transmitted(&mut self, bytes: usize) {
        self.out.advance(bytes.min(self.out.len()));
        if self.out.is_empty() {
            self.out = BytesMut::new(); // an idle connection holds no buffer
        }
        if self.out.len() < MAX_PENDING
            && let Some(ping) = self.ping.take()
        {
            self.control(Opcode::Pong, &ping.bytes[..ping.length]);
        }
    }

    /// Payload bytes that `write` would take now.
    pub(crate) fn room(&self) -> usize {
        if self.stage == Stage::Open { MAX_PENDING.saturating_sub(self.out.len()) } else { 0 }
    }

    /// Makes one binary frame \[MQTT-6.0.0-1\] of as much as there is room for.
    pub(crate) fn write(&mut self, chunks: &[&[u8]]) -> usize {
        let length = chunks.iter().map(|chunk| chunk.len()).sum::<usize>().min(self.room());
        if length == 0 {
            return 0;
        }
        let key = self.keys.as_mut().map(Keys::key);
        self.out.reserve(MAX_HEADER + length);
        header::encode(&mut self.out, Opcode::Binary, length, key);
        let start = self.out.len();
        for chunk in chunks {
            let part = chunk.len().min(start + length - self.out.len());
            self.out.extend_from_slice(&chunk[..part]);
        }
        if let Some(key) = key {
            mask::apply(&mut self.out[start..], key, 0);
        }
        length
    }

    /// Sends a ping with at most 125 bytes, unless something already waits that shows as much.
    pub(crate) fn ping(&mut self, payload: &[u8]) {
        if self.stage == Stage::Open && self.out.len() < MAX_PENDING {
            self.control(Opcode::Ping, &payload[..payload.len().min(MAX_CONTROL)]);
        }
    }

    /// Says good-bye; at most 123 bytes of `reason` are sent.
    pub(crate) fn close(&mut self, code: CloseCode, reason: &str) {
        if self.stage == Stage::Open {
            self.send_close(Some(code), reason);
            self.stage = Stage::Closing;
        }
    }

    fn send_close(&mut self, code: Option<CloseCode>, reason: &str) {
        let mut payload = [0; MAX_CONTROL];
        let mut length = 0;
        if let Some(code) = code {
            payload[..2].copy_from_slice(&code.number().to_be_bytes());
            let reason = &reason[..reason.floor_char_boundary(MAX_CONTROL - 2)];
            payload[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
            length = 2 + reason.len();
        }
        self.ping = None; // nothing follows a Close frame
        self.control(Opcode::Close, &payload[..length]);
    }

    fn control(&mut self, opcode: Opcode, payload: &[u8]) {
        let key = self.keys.as_mut().map(Keys::key);
        header::encode(&mut self.out, opcode, payload.len(), key);
        let start = self.out.len();
        self.out.extend_from_slice(payload);
        if let Some(key) = key {
            mask::apply(&mut self.out[start..], key, 0);
        }
    }

    /// Takes what the network brought, and appends the payload in it to `plain`.
    pub(crate) fn handle_input(&mut self, mut input: &[u8], plain: &mut BytesMut) -> Result<(), Error> {
        while !input.is_empty() && self.stage != Stage::Closed {
            if let Err((code, why)) = self.step(&mut input, plain) {
                if self.stage == Stage::Open {
                    self.send_close(Some(code), "");
                }
                self.stage = Stage::Closed;
                return Err(Error::Frame { code, why });
            }
        }
        Ok(())
    }

    /// Takes one part of a frame.
    fn step(&mut self, input: &mut &[u8], plain: &mut BytesMut) -> Result<(), (CloseCode, &'static str)> {
        match &mut self.reading {
            Reading::Header { bytes, length } => {
                let (first, rest) = input.split_first().expect("there is input");
                *input = rest;
                bytes[*length] = *first;
                *length += 1;
                let header = header::decode(&bytes[..*length], self.role);
                if let Some(header) = header.map_err(|why| (CloseCode::PROTOCOL_ERROR, why))? {
                    self.begin(header)?;
                }
            }
            Reading::Data { key, offset, left, fin } => {
                let part = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                if self.stage == Stage::Open {
                    let start = plain.len();
                    plain.extend_from_slice(&input[..part]);
                    if let Some(key) = *key {
                        mask::apply(&mut plain[start..], key, *offset);
                    }
                }
                *input = &input[part..];
                *offset += part as u64;
                *left -= part as u64;
                if *left == 0 {
                    if *fin {
                        self.message = None;
                    }
                    self.reading = HEADER;
                }
            }
            Reading::Control { left, payload, .. } => {
                let part = (*left).min(input.len());
                payload.bytes[payload.length..payload.length + part].copy_from_slice(&input[..part]);
                payload.length += part;
                *left -= part;
                *input = &input[part..];
                if *left == 0 {
                    self.end_control()?;
                }
            }
        }
        Ok(())
    }

    /// Begins what the header announces.
    fn begin(&mut self, header: Header) -> Result<(), (CloseCode, &'static str)> {
        let Header { fin, opcode, length, key } = header;
        if opcode.is_control() {
            let payload = Box::new(Control { bytes: [0; MAX_CONTROL], length: 0 });
            let left = usize::try_from(length).expect("the header was checked");
            self.reading = Reading::Control { opcode, key, left, payload };
            return if left == 0 { self.end_control() } else { Ok(()) };
        }
        let so_far = match (opcode, self.message) {
            // [MQTT-6.0.0-1]: whoever sends MQTT in anything but binary frames is cut off.
            (Opcode::Text, _) => {
                return Err((CloseCode::UNSUPPORTED_DATA, "a text frame: MQTT travels in binary ones"));
            }
            (Opcode::Continuation, Some(so_far)) => so_far,
            (Opcode::Binary, None) => 0,
            // Section 5.4: fragments of messages do not interleave.
            (Opcode::Continuation, None) => {
                return Err((CloseCode::PROTOCOL_ERROR, "a continuation without a beginning"));
            }
            _ => return Err((CloseCode::PROTOCOL_ERROR, "a message within a message")),
        };
        let so_far = so_far.saturating_add(length);
        if so_far > self.limits.max_message {
            return Err((CloseCode::TOO_BIG, "a message above the limit"));
        }
        self.message = (length > 0 || !fin).then_some(so_far);
        self.reading = if length == 0 { HEADER } else { Reading::Data { key, offset: 0, left: length, fin } };
        Ok(())
    }

    /// Obeys a control frame that is complete.
    fn end_control(&mut self) -> Result<(), (CloseCode, &'static str)> {
        let Reading::Control { opcode, key, mut payload, .. } = core::mem::replace(&mut self.reading, HEADER) else {
            return Ok(());
        };
        let bytes = &mut payload.bytes[..payload.length];
        if let Some(key) = key {
            mask::apply(bytes, key, 0);
        }
        match opcode {
            Opcode::Ping if self.stage != Stage::Open => {}
            // Section 5.5.3: the most recent one alone may be answered; so a flood of them costs one.
            Opcode::Ping if self.out.len() >= MAX_PENDING => self.ping = Some(payload),
            Opcode::Ping => self.control(Opcode::Pong, &payload.bytes[..payload.length]),
            Opcode::Close => {
                let closed = parse_close(bytes)?;
                if self.stage == Stage::Open {
                    self.send_close(closed.code, ""); // section 5.5.1: echoed
                }
                self.closed = Some(closed);
                self.stage = Stage::Closed;
            }
            _ => {} // nobody waits for a pong: that something came is all it says
        }
        Ok(())
    }
}

/// Reads the payload of a Close frame (section 5.5.1).
fn parse_close(payload: &[u8]) -> Result<Closed, (CloseCode, &'static str)> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return match payload {
            [] => Ok(Closed { code: None, reason: String::new() }),
            _ => Err((CloseCode::PROTOCOL_ERROR, "a Close frame with half a code")),
        };
    };
    let code = CloseCode::new(u16::from_be_bytes(*code))
        .ok_or((CloseCode::PROTOCOL_ERROR, "a Close frame with a code that may not be sent"))?;
    let reason =
        core::str::from_utf8(reason).map_err(|_| (CloseCode::INVALID_DATA, "a reason of closing that is not UTF-8"))?;
    Ok(Closed { code: Some(code), reason: reason.into() })
}
