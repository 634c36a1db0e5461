//! The types of property values: checking, measuring, reading and writing them (MQTT 5.0 sections 1.5 and 2.2.2.2).
//!
//! Invariants: [`Kind::check`] is the one judge of values; the readers rely on it and have no failure of their own.
use crate::error::{Fault, fault, malformed, violation};
use crate::wire::{self, Parsed, binary, text_fault, truncated, var_int};
use crate::{EncodeError, TextError, text};
use bytes::BytesMut;

/// The type of a property's value, together with the rules that the standard has for it.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A byte that is 0 or 1.
    Flag,
    /// A Two Byte Integer.
    Two,
    /// A Two Byte Integer other than 0.
    NonzeroTwo,
    /// A Topic Alias: a Two Byte Integer other than 0 [MQTT-3.3.2-8].
    Alias,
    /// A Four Byte Integer.
    Four,
    /// A Four Byte Integer other than 0.
    NonzeroFour,
    /// A Variable Byte Integer other than 0.
    NonzeroVar,
    /// A UTF-8 Encoded String, such as the Content Type [MQTT-3.3.2-19].
    Text,
    /// A UTF-8 Encoded String [MQTT-3.3.2-13] that serves as a Topic Name [MQTT-4.7.3-1], [MQTT-3.3.2-14].
    Topic,
    /// Binary Data.
    Binary,
    /// A UTF-8 String Pair, both halves of which obey the rules of strings [MQTT-1.5.7-1].
    Pair,
}

impl Kind {
    /// Checks the value that `input` begins with, and gives what follows it.
    #[inline]
    pub(super) fn check(self, input: &[u8]) -> Result<&[u8], Fault> {
        match self {
            Self::Flag => match input {
                [0 | 1, rest @ ..] => Ok(rest),
                [_, ..] => Err(violation!("a property that may only be 0 or 1 is neither", "section 2.2.2.2")),
                [] => Err(truncated()),
            },
            Self::Two => fixed::<2>(input).map(|(_, rest)| rest),
            Self::Four => fixed::<4>(input).map(|(_, rest)| rest),
            // Section 3.1.2.11.3: a Receive Maximum of 0 is a Protocol Error.
            Self::NonzeroTwo => nonzero(fixed::<2>(input)?),
            // Section 3.1.2.11.4: a Maximum Packet Size of 0 is a Protocol Error.
            Self::NonzeroFour => nonzero(fixed::<4>(input)?),
            // [MQTT-3.3.2-8] A Topic Alias of 0 has a Reason Code of its own.
            Self::Alias => match fixed::<2>(input)? {
                ([0, 0], _) => Err(fault!(TopicAliasInvalid, "topic alias 0", "MQTT-3.3.2-8")),
                (_, rest) => Ok(rest),
            },
            // Sections 3.3.2.3.8 and 3.8.2.1.2: a Subscription Identifier of 0 is a Protocol Error.
            Self::NonzeroVar => match var_int(input)? {
                (_, 0) => Err(zero()),
                (rest, _) => Ok(rest),
            },
            Self::Text => Ok(wire::utf8(input)?.0),
            Self::Topic => topic(input),
            Self::Binary => Ok(binary(input)?.0),
            Self::Pair => {
                // [MQTT-1.5.7-1]
                let (rest, _) = wire::utf8(input)?;
                Ok(wire::utf8(rest)?.0)
            }
        }
    }

    /// Splits off the bytes of a value that was checked.
    pub(super) fn split(self, input: &[u8]) -> (&[u8], &[u8]) {
        let length = match self {
            Self::Flag => 1,
            Self::Two | Self::NonzeroTwo | Self::Alias => 2,
            Self::Four | Self::NonzeroFour => 4,
            Self::NonzeroVar => input.iter().take_while(|byte| **byte >= 0x80).count() + 1,
            Self::Text | Self::Topic | Self::Binary => prefixed_len(input),
            Self::Pair => {
                let first = prefixed_len(input);
                first + prefixed_len(&input[first..])
            }
        };
        input.split_at(length)
    }
}

fn fixed<const N: usize>(input: &[u8]) -> Result<(&[u8; N], &[u8]), Fault> {
    input.split_first_chunk().ok_or_else(truncated)
}

fn nonzero<'a, const N: usize>((value, rest): (&[u8; N], &'a [u8])) -> Result<&'a [u8], Fault> {
    if *value == [0; N] { Err(zero()) } else { Ok(rest) }
}

#[cold]
fn zero() -> Fault {
    violation!("a property that must not be 0 is 0", "section 2.2.2.2")
}

fn topic(input: &[u8]) -> Result<&[u8], Fault> {
    let (rest, bytes) = binary(input)?;
    match text::check_plain(bytes) {
        // [MQTT-4.7.3-1]
        Ok(()) if bytes.is_empty() => Err(malformed!("an empty response topic", "MQTT-4.7.3-1")),
        Ok(()) => Ok(rest),
        // [MQTT-3.3.2-14]
        Err(TextError::Wildcard) => Err(malformed!("a wildcard in a response topic", "MQTT-3.3.2-14")),
        // [MQTT-3.3.2-13]
        Err(error) => Err(text_fault(error)),
    }
}

/// The length of a checked value with a two-byte prefix, prefix included.
fn prefixed_len(input: &[u8]) -> usize {
    2 + usize::from(u16::from_be_bytes([input[0], input[1]]))
}

const CHECKED: &str = "checked when it was decoded or built";

fn settled<T>(parsed: Parsed<'_, T>) -> T {
    parsed.expect(CHECKED).1
}

/// A fixed number of bytes; every kind has a module with `KIND`, `read` (one field per value) and `put`.
macro_rules! integer {
    ($name:ident, $kind:ident, $type:ty) => {
        pub(super) mod $name {
            use super::*;
            pub(in super::super) const KIND: Kind = Kind::$kind;

            pub(in super::super) fn read(value: &[u8]) -> ($type,) {
                (<$type>::from_be_bytes(value.try_into().expect(CHECKED)),)
            }

            #[allow(clippy::unnecessary_wraps)] // all kinds have one signature
            pub(in super::super) fn put(out: &mut BytesMut, value: $type) -> Result<(), EncodeError> {
                out.extend_from_slice(&value.to_be_bytes());
                Ok(())
            }
        }
    };
}

integer!(two, Two, u16);
integer!(nonzero_two, NonzeroTwo, u16);
integer!(alias, Alias, u16);
integer!(four, Four, u32);
integer!(nonzero_four, NonzeroFour, u32);

pub(super) mod flag {
    use super::*;
    pub(in super::super) const KIND: Kind = Kind::Flag;

    pub(in super::super) fn read(value: &[u8]) -> (bool,) {
        (value == [1],)
    }

    #[allow(clippy::unnecessary_wraps)] // all kinds have one signature
    pub(in super::super) fn put(out: &mut BytesMut, on: bool) -> Result<(), EncodeError> {
        out.extend_from_slice(&[u8::from(on)]);
        Ok(())
    }
}

pub(super) mod nonzero_var {
    use super::*;
    pub(in super::super) const KIND: Kind = Kind::NonzeroVar;

    pub(in super::super) fn read(value: &[u8]) -> (u32,) {
        (settled(var_int(value)),)
    }

    pub(in super::super) fn put(out: &mut BytesMut, value: u32) -> Result<(), EncodeError> {
        if value > wire::MAX_VAR_INT {
            return Err(EncodeError::Invalid("a variable byte integer is larger than 268,435,455"));
        }
        wire::put_var_int(out, value as usize);
        Ok(())
    }
}

/// A string; `topic` differs in its kind alone.
macro_rules! string {
    ($name:ident, $kind:ident) => {
        pub(super) mod $name {
            use super::*;
            pub(in super::super) const KIND: Kind = Kind::$kind;

            pub(in super::super) fn read(value: &[u8]) -> (&str,) {
                (text::checked_str(settled(binary(value))),)
            }

            pub(in super::super) fn put(out: &mut BytesMut, text: &str) -> Result<(), EncodeError> {
                put_prefixed(out, text.as_bytes())
            }
        }
    };
}

string!(utf8, Text);
string!(topic_name, Topic);

pub(super) mod data {
    use super::*;
    pub(in super::super) const KIND: Kind = Kind::Binary;

    pub(in super::super) fn read(value: &[u8]) -> (&[u8],) {
        (settled(binary(value)),)
    }

    pub(in super::super) fn put(out: &mut BytesMut, data: &[u8]) -> Result<(), EncodeError> {
        put_prefixed(out, data)
    }
}

pub(super) mod pair {
    use super::*;
    pub(in super::super) const KIND: Kind = Kind::Pair;

    pub(in super::super) fn read(value: &[u8]) -> (&str, &str) {
        let (rest, name) = binary(value).expect(CHECKED);
        (text::checked_str(name), text::checked_str(settled(binary(rest))))
    }

    pub(in super::super) fn put(out: &mut BytesMut, name: &str, value: &str) -> Result<(), EncodeError> {
        put_prefixed(out, name.as_bytes())?;
        put_prefixed(out, value.as_bytes())
    }
}

fn put_prefixed(out: &mut BytesMut, bytes: &[u8]) -> Result<(), EncodeError> {
    wire::binary_len(bytes)?;
    wire::put_binary(out, bytes);
    Ok(())
}
