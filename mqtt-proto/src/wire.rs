//! The data representations of MQTT 5.0 section 1.5, read with nom and written into one buffer.
//!
//! Invariants: a parser takes the exact bytes of its field and nothing else; it never asks for more input, since
//! [framing](crate::Frame) came first.
use crate::error::{Fault, malformed, violation};
use crate::{DecodeError, EncodeError, PacketId, TextError, text};
use bytes::BytesMut;
use nom::IResult;
use nom::error::{ErrorKind, ParseError};
use nom::number::complete::be_u8;

/// The largest Variable Byte Integer, hence the largest Remaining Length (section 1.5.5).
pub(crate) const MAX_VAR_INT: u32 = 268_435_455;

/// What every field parser gives: the input behind the field, and its value.
pub(crate) type Parsed<'a, T> = IResult<&'a [u8], T, Fault>;

impl<'a> ParseError<&'a [u8]> for Fault {
    fn from_error_kind(_: &'a [u8], _: ErrorKind) -> Self {
        truncated()
    }

    fn append(_: &'a [u8], _: ErrorKind, first: Self) -> Self {
        first
    }
}

impl From<Fault> for nom::Err<Fault> {
    fn from(fault: Fault) -> Self {
        Self::Failure(fault)
    }
}

impl From<nom::Err<Fault>> for Fault {
    fn from(error: nom::Err<Fault>) -> Self {
        match error {
            nom::Err::Error(fault) | nom::Err::Failure(fault) => fault,
            nom::Err::Incomplete(_) => Self::from_error_kind(&[], ErrorKind::Eof),
        }
    }
}

impl From<nom::Err<Fault>> for DecodeError {
    #[cold]
    fn from(error: nom::Err<Fault>) -> Self {
        Fault::from(error).into()
    }
}

/// A field that reaches past the end of the packet.
#[cold]
pub(crate) fn truncated() -> Fault {
    malformed!("a field reaches past the end of the packet", "section 2.1.4")
}

/// Nothing may stand behind the last field.
pub(crate) fn end(input: &[u8]) -> Result<(), Fault> {
    if input.is_empty() { Ok(()) } else { Err(malformed!("bytes after the last field of the packet", "section 2.1.4")) }
}

/// A Variable Byte Integer in its shortest form [MQTT-1.5.5-1].
#[inline]
pub(crate) fn var_int(input: &[u8]) -> Parsed<'_, u32> {
    match input {
        [byte, rest @ ..] if *byte < 0x80 => Ok((rest, u32::from(*byte))),
        _ => long_var_int(input),
    }
}

fn long_var_int(input: &[u8]) -> Parsed<'_, u32> {
    let mut value = 0;
    let mut rest = input;
    for shift in [0, 7, 14, 21] {
        let byte;
        (rest, byte) = be_u8(rest)?;
        value |= u32::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            // [MQTT-1.5.5-1] A last byte of zero adds nothing: the integer was not in its shortest form.
            if byte == 0 && shift > 0 {
                return Err(malformed!("a variable byte integer is longer than necessary", "MQTT-1.5.5-1").into());
            }
            return Ok((rest, value));
        }
    }
    Err(malformed!("a variable byte integer has more than four bytes", "section 1.5.5").into())
}

/// Binary Data (section 1.5.6).
#[inline]
pub(crate) fn binary(input: &[u8]) -> Parsed<'_, &[u8]> {
    // By hand: every text passes here, and this takes half the instructions of the combinators.
    if let Some((length, rest)) = input.split_first_chunk()
        && let Some((bytes, rest)) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
    {
        return Ok((rest, bytes));
    }
    Err(truncated().into())
}

/// The bytes of a UTF-8 Encoded String [MQTT-1.5.4-1], [MQTT-1.5.4-2].
#[inline]
pub(crate) fn utf8(input: &[u8]) -> Parsed<'_, &[u8]> {
    let (rest, bytes) = binary(input)?;
    text::check(bytes).map_err(text_fault)?;
    Ok((rest, bytes))
}

/// A Packet Identifier, which is never zero [MQTT-2.2.1-3], [MQTT-2.2.1-4] [3.1.1: MQTT-2.3.1-1].
#[inline]
pub(crate) fn packet_id(input: &[u8]) -> Parsed<'_, PacketId> {
    let Some((id, rest)) = input.split_first_chunk() else { return Err(truncated().into()) };
    match PacketId::new(u16::from_be_bytes(*id)) {
        Some(id) => Ok((rest, id)),
        None => Err(violation!("packet identifier 0", "MQTT-2.2.1-3").into()),
    }
}

/// The refusal that an ill-formed text earns.
#[cold]
pub(crate) fn text_fault(error: TextError) -> Fault {
    match error {
        TextError::TooLong => malformed!("a text is longer than 65,535 bytes", "MQTT-4.7.3-3"),
        TextError::NotUtf8 => malformed!("a text is not well-formed UTF-8", "MQTT-1.5.4-1"),
        TextError::Null => malformed!("a text contains U+0000", "MQTT-1.5.4-2"),
        TextError::Empty => malformed!("a topic name or filter is empty", "MQTT-4.7.3-1"),
        TextError::Wildcard => malformed!("a topic name contains a wildcard", "MQTT-3.3.2-2"),
        TextError::MultiLevel => malformed!("a # that is not the whole last level", "MQTT-4.7.1-1"),
        TextError::SingleLevel => malformed!("a + that is not a whole level", "MQTT-4.7.1-2"),
        TextError::ShareName => malformed!("a shared subscription without a share name", "MQTT-4.8.2-1"),
        TextError::Share => {
            malformed!("a shared subscription with an ill-formed share name or without a filter", "MQTT-4.8.2-2")
        }
    }
}

/// Bytes that `value` takes as a Variable Byte Integer.
#[inline]
pub(crate) const fn var_int_len(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Writes the first byte and the Remaining Length.
#[inline]
pub(crate) fn put_fixed_header(out: &mut BytesMut, first: u8, remaining: usize) {
    match remaining {
        0..=0x7F => out.extend_from_slice(&[first, remaining as u8]),
        0x80..=0x3FFF => out.extend_from_slice(&[first, remaining as u8 | 0x80, (remaining >> 7) as u8]),
        _ => {
            out.extend_from_slice(&[first]);
            put_var_int(out, remaining);
        }
    }
}

/// Writes a Variable Byte Integer in its shortest form [MQTT-1.5.5-1].
pub(crate) fn put_var_int(out: &mut BytesMut, value: usize) {
    let length = var_int_len(value);
    let mut bytes = [0; 4];
    for (i, byte) in bytes[..length].iter_mut().enumerate() {
        let more = if i + 1 < length { 0x80 } else { 0 };
        *byte = (value >> (7 * i)) as u8 & 0x7F | more;
    }
    out.extend_from_slice(&bytes[..length]);
}

/// Writes Binary Data or a string whose length was checked before.
#[inline]
pub(crate) fn put_binary(out: &mut BytesMut, bytes: &[u8]) {
    debug_assert!(u16::try_from(bytes.len()).is_ok(), "checked by the length pass");
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// The whole packet's length for a Remaining Length, refused beyond [`MAX_VAR_INT`].
#[inline]
pub(crate) fn packet_len(remaining: usize) -> Result<usize, EncodeError> {
    if remaining > MAX_VAR_INT as usize {
        return Err(EncodeError::TooLarge);
    }
    Ok(1 + var_int_len(remaining) + remaining)
}

/// The encoded length of Binary Data, refused beyond 65,535 bytes (section 1.5.6).
pub(crate) fn binary_len(bytes: &[u8]) -> Result<usize, EncodeError> {
    if bytes.len() > usize::from(u16::MAX) {
        return Err(EncodeError::Invalid("binary data is longer than 65,535 bytes"));
    }
    Ok(2 + bytes.len())
}
