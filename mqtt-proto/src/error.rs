//! What can go wrong between bytes and packets (MQTT 5.0 section 4.13).
//!
//! Invariants: the peer's fault ([`DecodeError`]) and the caller's ([`EncodeError`]) never share a type; every
//! refusal names the statement that was broken.
use crate::ReasonCode;
use core::fmt;

/// Why bytes were refused, with the Reason Code that the peer is owed and the statement it broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// What is wrong.
    pub kind: ErrorKind,
    /// The Reason Code for CONNACK or DISCONNECT.
    pub reason: ReasonCode,
    /// The normative statement or section of MQTT 5.0 that was broken, such as `MQTT-3.3.1-4` or `section 2.1.2`;
    /// of MQTT 3.1.1 where only that has it, such as `3.1.1: MQTT-3.1.2-22`.
    pub statement: &'static str,
}

/// The kinds of [`DecodeError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Fields contradict the standard: Malformed Packet or Protocol Error.
    Malformed(&'static str),
    /// The packet is larger than the limit.
    TooLarge,
    /// CONNECT with an unknown protocol name or level.
    UnsupportedVersion,
}

/// Why a packet cannot be encoded. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The remaining length would exceed 268,435,455 bytes, or the packet the peer's Maximum Packet Size.
    TooLarge,
    /// The version has no such packet or field (AUTH, or a PUBLISH without a Topic Name, before 5.0).
    NotInVersion,
    /// A list that must not be empty is empty, or a field is too long.
    Invalid(&'static str),
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => f.write_str(what),
            Self::TooLarge => f.write_str("the packet is larger than the limit"),
            Self::UnsupportedVersion => f.write_str("unknown protocol name or level"),
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}; reason code 0x{:02X})", self.kind, self.statement, self.reason as u8)
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("the packet is too large to encode"),
            Self::NotInVersion => f.write_str("this protocol version has no such packet or field"),
            Self::Invalid(what) => f.write_str(what),
        }
    }
}

impl core::error::Error for DecodeError {}
impl core::error::Error for EncodeError {}

/// A refusal while parsing: one word, so that results stay small on the way up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault(pub(crate) &'static DecodeError);

impl From<Fault> for DecodeError {
    #[cold]
    fn from(fault: Fault) -> Self {
        *fault.0
    }
}

/// A [`Fault`] with the given Reason Code; the error it points to is a constant.
macro_rules! fault {
    ($reason:ident, $what:expr, $statement:expr) => {
        $crate::error::Fault(
            const {
                &$crate::DecodeError {
                    kind: $crate::ErrorKind::Malformed($what),
                    reason: $crate::ReasonCode::$reason,
                    statement: $statement,
                }
            },
        )
    };
}

/// A Malformed Packet (0x81).
macro_rules! malformed {
    ($what:expr, $statement:expr) => {
        $crate::error::fault!(MalformedPacket, $what, $statement)
    };
}

/// A Protocol Error (0x82).
macro_rules! violation {
    ($what:expr, $statement:expr) => {
        $crate::error::fault!(ProtocolError, $what, $statement)
    };
}

pub(crate) use {fault, malformed, violation};
