//! What can go wrong between bytes and packets.
use crate::ReasonCode;

/// Why bytes were refused, with the Reason Code that the peer is owed and the statement it broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// What is wrong.
    pub kind: ErrorKind,
    /// The Reason Code for CONNACK or DISCONNECT.
    pub reason: ReasonCode,
    /// The normative statement or section that was broken, such as `MQTT-3.3.1-4` or `section 2.1.1`.
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
