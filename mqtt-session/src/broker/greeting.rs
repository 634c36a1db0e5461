//! Reads a new connection until its CONNECT is complete, so that the adapter can choose the shard (section 3.1).
//!
//! Invariant: nothing is buffered beyond the size limit.
use super::Config;
use crate::Instant;
use bytes::{Bytes, BytesMut};
use mqtt_proto::{
    ConnAck, Connect, DecodeError, ErrorKind, Frame, Packet, PacketType, Properties, ReasonCode, Version,
};

/// Bytes of the largest CONNECT that is waited for, from a peer that nobody knows yet: its five fields of 65,535 bytes
/// fit several times over.
const MAX_CONNECT_SIZE: u32 = 1 << 20;

/// The machine of a connection that has not sent its CONNECT yet.
#[derive(Debug)]
pub struct Greeting {
    deadline: Instant,
    max_packet_size: u32,
}

/// A connection that is to be closed, after `reply` was written.
#[derive(Debug)]
pub struct Refusal {
    /// CONNACK, or nothing where the standard wants silence.
    pub reply: Bytes,
    /// What was wrong.
    pub error: DecodeError,
}

impl Greeting {
    /// Starts to wait; [`Greeting::deadline`] is `now` plus the connect timeout.
    pub fn new(config: &Config, now: Instant) -> Self {
        let max_packet_size = config.connection.max_packet_size.min(MAX_CONNECT_SIZE);
        Self { deadline: now + config.connection.connect_timeout, max_packet_size }
    }

    /// When to close the connection if CONNECT is not complete.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Takes CONNECT from the front of `input` and leaves what follows there. `None`: read on.
    pub fn handle_input(&mut self, input: &mut BytesMut) -> Result<Option<Connect>, Refusal> {
        let frame = Frame::split(input, self.max_packet_size).map_err(silent)?;
        let Some(frame) = frame else { return Ok(None) };
        if frame.packet_type() != PacketType::Connect {
            // [MQTT-3.1.0-1]: nothing but CONNECT may come first, and nothing is said to who does not speak MQTT
            let error = DecodeError {
                kind: ErrorKind::Malformed("the first packet is not CONNECT"),
                reason: ReasonCode::ProtocolError,
                statement: "MQTT-3.1.0-1",
            };
            return Err(silent(error));
        }
        match Packet::decode(frame.clone(), Version::V5) {
            Ok(Packet::Connect(connect)) => Ok(Some(*connect)),
            Ok(_) => Ok(None),
            Err(error) => Err(answer(&frame, error)),
        }
    }
}

fn silent(error: DecodeError) -> Refusal {
    Refusal { reply: Bytes::new(), error }
}

/// CONNACK for a CONNECT that is refused for its form, in the version that it names: return code 1 before 5.0 for an unknown
/// level [3.1.1: MQTT-3.1.2-2], a Reason Code for 5.0 [MQTT-3.1.2-2], [MQTT-3.1.4-1], and nothing for other malformed ones
/// before 5.0 [3.1.1: MQTT-3.1.4-1].
fn answer(frame: &Frame, error: DecodeError) -> Refusal {
    // Protocol name, then level: `00 04 M Q T T level` or `00 06 M Q I s d p level`.
    let level = match frame.body().first_chunk::<2>() {
        Some([0, length]) => frame.body().get(usize::from(*length) + 2).copied(),
        _ => None,
    };
    let unsupported = error.kind == ErrorKind::UnsupportedVersion;
    // Bridges try level 3 or 4 with its highest bit set, and expect the answer of that version.
    let version = match level.map(|level| level & 0x7F) {
        Some(level) if level >= 5 => Version::V5,
        Some(_) if unsupported => Version::V3_1_1,
        _ => return silent(error),
    };
    let connack = ConnAck { session_present: false, reason: error.reason, properties: Properties::new() };
    let mut reply = BytesMut::new();
    match connack.encode(version, &mut reply) {
        Ok(()) => Refusal { reply: reply.freeze(), error },
        Err(_) => silent(error),
    }
}
