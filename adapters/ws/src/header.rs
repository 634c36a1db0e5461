//! The header of a frame (RFC 6455 section 5.2).
//!
//! Invariant: a header that a peer in this role may not send is refused as soon as the byte that shows it is there.
use crate::frames::Role;
use bytes::{BufMut, BytesMut};

/// The longest header: two bytes, a length of eight, a key of four.
pub(crate) const MAX_HEADER: usize = 14;
/// The longest payload of a control frame (section 5.5).
pub(crate) const MAX_CONTROL: usize = 125;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    pub(crate) const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    const fn new(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }
}

/// A header that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) fin: bool,
    pub(crate) opcode: Opcode,
    pub(crate) length: u64,
    pub(crate) key: Option<[u8; 4]>,
}

/// Reads a header from its first bytes; `Ok(None)`: it needs more. `role` is ours, not that of the sender.
pub(crate) fn decode(bytes: &[u8], role: Role) -> Result<Option<Header>, &'static str> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err("a reserved bit is set, and no extension was agreed on"); // section 5.2, RSV1 to RSV3
    }
    let fin = first & 0x80 != 0;
    let Some(opcode) = Opcode::new(first & 0x0F) else { return Err("a reserved opcode") };
    if opcode.is_control() && !fin {
        return Err("a fragmented control frame"); // section 5.5
    }
    let Some(&second) = bytes.get(1) else { return Ok(None) };
    let masked = second & 0x80 != 0;
    match role {
        Role::Server if !masked => return Err("a frame from a client that is not masked"), // section 5.1
        Role::Client if masked => return Err("a frame from a server that is masked"),
        _ => {}
    }
    let short = second & 0x7F;
    if opcode.is_control() && usize::from(short) > MAX_CONTROL {
        return Err("a control frame of more than 125 bytes"); // section 5.5
    }
    let extended = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some(field) = bytes.get(2..2 + extended) else { return Ok(None) };
    let length = match extended {
        0 => u64::from(short),
        _ => field.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
    };
    if length >> 63 != 0 {
        return Err("a length with its highest bit set");
    }
    // Section 5.2: "the minimal number of bytes MUST be used".
    if extended == 2 && length < 126 || extended == 8 && length <= 0xFFFF {
        return Err("a length that is not written as short as possible");
    }
    let key = if masked {
        let Some(key) = bytes.get(2 + extended..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
        Some(*key)
    } else {
        None
    };
    Ok(Some(Header { fin, opcode, length, key }))
}

/// Writes the header of a frame that is a whole message.
pub(crate) fn encode(out: &mut BytesMut, opcode: Opcode, length: usize, key: Option<[u8; 4]>) {
    let mask = if key.is_some() { 0x80 } else { 0 };
    out.put_u8(0x80 | opcode.bits());
    match length {
        0..=125 => out.put_u8(mask | length as u8),
        126..=0xFFFF => {
            out.put_u8(mask | 0x7E);
            out.put_u16(length as u16);
        }
        _ => {
            out.put_u8(mask | 0x7F);
            out.put_u64(length as u64);
        }
    }
    if let Some(key) = key {
        out.put_slice(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for length in [0, 1, 125, 126, 127, 0xFFFF, 0x1_0000, 1 << 40] {
            for (key, role) in [(Some([1, 2, 3, 4]), Role::Server), (None, Role::Client)] {
                let mut bytes = BytesMut::new();
                encode(&mut bytes, Opcode::Binary, length, key);
                let header = Header { fin: true, opcode: Opcode::Binary, length: length as u64, key };
                assert_eq!(decode(&bytes, role), Ok(Some(header)));
                for cut in 0..bytes.len() {
                    assert_eq!(decode(&bytes[..cut], role), Ok(None));
                }
            }
        }
    }
}
