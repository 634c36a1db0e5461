//! Framing: from a stream of bytes to single packets (MQTT 5.0 section 2.1).
//!
//! Invariants: the flags and the length of a frame were checked before its body was there, so nothing beyond the
//! limit is ever waited for; a frame's body is exactly its packet's Variable Header and Payload.
use crate::error::{Fault, malformed, violation};
use crate::wire::{var_int, var_int_len};
use crate::{DecodeError, ErrorKind, PacketType, ReasonCode, Version};
use bytes::{Buf, Bytes, BytesMut};

/// One packet, still undecoded, as its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    header: u8,
    body: Bytes,
}

/// One packet, still undecoded, in the buffer it arrived in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRef<'a> {
    header: u8,
    /// Bytes before the body.
    start: u8,
    body: &'a [u8],
}

/// See [`FrameRef::place`].
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) header: u8,
    /// Bytes before the body.
    pub(crate) start: usize,
    /// Bytes of the whole packet.
    pub(crate) length: usize,
}

/// For each packet type the values its flags may have, a bit each [MQTT-2.1.3-1] [3.1.1: MQTT-2.2.2-1]. Another value
/// ends the connection [3.1.1: MQTT-2.2.2-2].
static FLAGS: [u16; 16] = {
    const ZERO: u16 = 1;
    // [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1] The value is 2. 3.1 has a DUP flag there, for repetitions.
    const TWO: u16 = 1 << 0b0010 | 1 << 0b1010;
    // [MQTT-3.3.1-4] Not QoS 3. [MQTT-3.3.1-2] No DUP with QoS 0.
    const PUBLISH: u16 = 0b0011_1111_0011_1111 & !(1 << 0b1000) & !(1 << 0b1001);
    // Types 1 to 15; type 0 is reserved.
    [0, ZERO, ZERO, PUBLISH, ZERO, ZERO, TWO, ZERO, TWO, ZERO, TWO, ZERO, ZERO, ZERO, ZERO, ZERO]
};

impl<'a> FrameRef<'a> {
    /// The first packet in `buf`, or `None` while it is incomplete. `max_packet_size` counts the whole packet, its first
    /// byte and length included, as the Maximum Packet Size of section 3.1.2.11.4 does.
    ///
    /// # Errors
    /// At the first byte that cannot begin a packet: a reserved packet type, flags that no version allows, an ill-formed
    /// Remaining Length, or one beyond the limit (Packet too large). None of them waits for the body.
    #[inline]
    pub fn peek(buf: &'a [u8], max_packet_size: u32) -> Result<Option<Self>, DecodeError> {
        let Some((&header, rest)) = buf.split_first() else { return Ok(None) };
        if FLAGS[usize::from(header >> 4)] >> (header & 0xF) & 1 == 0 {
            return Err(bad_flags(header).into());
        }
        let (rest, remaining) = match var_int(rest) {
            Ok(length) => length,
            Err(_) if is_beginning_of_length(rest) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let start = buf.len() - rest.len();
        if start + remaining as usize > max_packet_size as usize {
            return Err(TOO_LARGE);
        }
        match rest.get(..remaining as usize) {
            Some(body) => Ok(Some(Self { header, start: start as u8, body })),
            None => Ok(None),
        }
    }

    /// The first byte of the packet: type and flags.
    pub const fn header(self) -> u8 {
        self.header
    }

    /// Variable Header and Payload.
    pub const fn body(self) -> &'a [u8] {
        self.body
    }

    /// Bytes of the whole packet: what to advance the buffer by.
    #[allow(clippy::len_without_is_empty)] // a packet is never empty
    pub const fn len(self) -> usize {
        self.start as usize + self.body.len()
    }

    /// The packet's type.
    pub const fn packet_type(self) -> PacketType {
        PacketType::of_header(self.header)
    }

    /// Copies the packet out of the buffer.
    pub fn to_frame(self) -> Frame {
        Frame { header: self.header, body: Bytes::copy_from_slice(self.body) }
    }

    /// Where the packet lies at the beginning of its buffer, without the borrow.
    #[inline]
    pub(crate) const fn place(self) -> Place {
        Place { header: self.header, start: self.start as usize, length: self.len() }
    }
}

/// Refuses a frame of another packet type, and flags that only 3.1 allows.
#[inline]
pub(crate) fn expect(header: u8, packet: PacketType, version: Version) -> Result<(), Fault> {
    if header >> 4 != packet as u8 {
        return Err(violation!("a packet of another type was expected", "section 2.1.2"));
    }
    if header & 0x8 != 0 && !matches!(packet, PacketType::Publish) && version != Version::V3_1 {
        return Err(bad_flags(header));
    }
    Ok(())
}

impl Frame {
    /// Takes the first packet out of `buf`, without copying it, or gives `None` while it is incomplete. See
    /// [`FrameRef::peek`] for the limit and the errors, upon which `buf` is left as it is.
    #[inline]
    pub fn split(buf: &mut BytesMut, max_packet_size: u32) -> Result<Option<Self>, DecodeError> {
        let Some(frame) = FrameRef::peek(buf, max_packet_size)? else { return Ok(None) };
        let place = frame.place();
        Ok(Some(Self::cut(buf, place)))
    }

    /// Takes a packet out of the buffer that it was seen in.
    #[inline]
    pub(crate) fn cut(buf: &mut BytesMut, place: Place) -> Self {
        let mut body = buf.split_to(place.length).freeze();
        body.advance(place.start);
        Self { header: place.header, body }
    }

    /// The first byte of the packet: type and flags.
    pub const fn header(&self) -> u8 {
        self.header
    }

    /// Variable Header and Payload.
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// Variable Header and Payload, given up by the frame.
    pub fn into_body(self) -> Bytes {
        self.body
    }

    /// Bytes of the whole packet.
    #[allow(clippy::len_without_is_empty)] // a packet is never empty
    pub const fn len(&self) -> usize {
        1 + var_int_len(self.body.len()) + self.body.len()
    }

    /// The packet's type.
    pub const fn packet_type(&self) -> PacketType {
        PacketType::of_header(self.header)
    }

    /// The body of a frame that is of this packet type, with flags that this version allows.
    pub(crate) fn body_of(self, packet: PacketType, version: Version) -> Result<Bytes, Fault> {
        expect(self.header, packet, version)?;
        Ok(self.body)
    }

    /// The borrowed form.
    #[inline]
    pub fn as_ref(&self) -> FrameRef<'_> {
        FrameRef { header: self.header, start: 1 + var_int_len(self.body.len()) as u8, body: &self.body }
    }
}

/// [MQTT-3.1.2-24], [MQTT-3.2.2-15] A packet beyond the limit that its receiver set.
const TOO_LARGE: DecodeError =
    DecodeError { kind: ErrorKind::TooLarge, reason: ReasonCode::PacketTooLarge, statement: "section 3.1.2.11.4" };

/// Up to three bytes that all announce another are the beginning of a length.
#[cold]
fn is_beginning_of_length(length: &[u8]) -> bool {
    length.len() < 4 && length.iter().all(|byte| *byte >= 0x80)
}

#[cold]
fn bad_flags(header: u8) -> Fault {
    macro_rules! refuse {
        ($what:literal, $statement:literal) => {
            malformed!($what, $statement)
        };
    }
    match (header >> 4, header & 0xF) {
        (0, _) => refuse!("packet type 0", "section 2.1.2"),
        (3, flags) if flags & 0b0110 == 0b0110 => refuse!("QoS 3", "MQTT-3.3.1-4"),
        (3, _) => refuse!("DUP set at QoS 0", "MQTT-3.3.1-2"),
        (6, _) => refuse!("flags of PUBREL other than 2", "MQTT-3.6.1-1"),
        (8, _) => refuse!("flags of SUBSCRIBE other than 2", "MQTT-3.8.1-1"),
        (10, _) => refuse!("flags of UNSUBSCRIBE other than 2", "MQTT-3.10.1-1"),
        (14, _) => refuse!("flags of DISCONNECT other than 0", "MQTT-3.14.1-1"),
        (15, _) => refuse!("flags of AUTH other than 0", "MQTT-3.15.1-1"),
        _ => refuse!("reserved flags other than 0", "MQTT-2.1.3-1"),
    }
}
