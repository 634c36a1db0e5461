//! PUBACK, PUBREC, PUBREL and PUBCOMP (MQTT 5.0 sections 3.4 to 3.7).
use crate::error::{Fault, violation};
use crate::frame::expect;
use crate::properties::{self, PropertiesRef, place};
use crate::wire::{self, packet_id};
use crate::{DecodeError, EncodeError, Frame, FrameRef, PacketId, PacketType, Properties, ReasonCode, Version};
use bytes::BytesMut;
use nom::number::complete::be_u8;

/// PUBACK, PUBREC, PUBREL and PUBCOMP (sections 3.4 to 3.7), which share one layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Packet Identifier.
    pub id: PacketId,
    /// Reason Code; `Success` before 5.0.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: Properties,
}

impl From<PacketId> for Ack {
    /// Success without properties.
    fn from(id: PacketId) -> Self {
        Self { id, reason: ReasonCode::Success, properties: Properties::new() }
    }
}

/// Whether an [`Ack`] is this type's content.
const fn is_ack(packet: PacketType) -> bool {
    matches!(packet, PacketType::PubAck | PacketType::PubRec | PacketType::PubRel | PacketType::PubComp)
}

impl Ack {
    /// Decodes a frame of one of the four types.
    #[inline]
    pub fn decode(frame: Frame, version: Version) -> Result<Self, DecodeError> {
        let ack = AckRef::parse(frame.header(), frame.body(), version)?;
        let (id, reason, length, set) = (ack.id, ack.reason, ack.properties.len(), ack.properties.set());
        if length == 0 {
            return Ok(Self { id, reason, properties: Properties::new() });
        }
        // The properties are the last field.
        let mut body = frame.into_body();
        let properties = Properties::from_parts(body.split_off(body.len() - length), set);
        Ok(Self { id, reason, properties })
    }

    /// The length of [`encode`](Self::encode)'s output.
    pub fn encoded_len(&self, packet: PacketType, version: Version) -> Result<usize, EncodeError> {
        wire::packet_len(self.body_len(packet, version)?)
    }

    /// Appends the packet, in its shortest form. Before 5.0 only the Packet Identifier travels.
    ///
    /// # Errors
    /// When `packet` is none of the four, or has no such reason code or property. Nothing is written then.
    #[inline]
    pub fn encode(&self, packet: PacketType, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        let remaining = self.body_len(packet, version)?;
        // [MQTT-3.6.1-1] The flags of PUBREL are 2, those of the others 0.
        let first = (packet as u8) << 4 | if matches!(packet, PacketType::PubRel) { 2 } else { 0 };
        let [high, low] = self.id.get().to_be_bytes();
        if remaining == 2 {
            out.extend_from_slice(&[first, 2, high, low]);
            return Ok(());
        }
        out.reserve(wire::packet_len(remaining)?);
        wire::put_fixed_header(out, first, remaining);
        out.extend_from_slice(&[high, low, self.reason as u8]);
        if remaining > 3 {
            self.properties.put(out);
        }
        Ok(())
    }

    #[inline]
    fn body_len(&self, packet: PacketType, version: Version) -> Result<usize, EncodeError> {
        if !is_ack(packet) {
            return Err(EncodeError::Invalid("not one of PUBACK, PUBREC, PUBREL and PUBCOMP"));
        }
        if !version.is_v5() {
            return Ok(2);
        }
        if self.properties.is_empty() {
            if self.reason == ReasonCode::Success {
                return Ok(2);
            }
            self.reason.check(packet)?;
            return Ok(3);
        }
        self.reason.check(packet)?;
        Ok(3 + self.properties.block_len(place(packet))?)
    }
}

/// An acknowledgment in the buffer it arrived in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckRef<'a> {
    /// Packet Identifier.
    pub id: PacketId,
    /// Reason Code; `Success` before 5.0.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: PropertiesRef<'a>,
}

impl<'a> AckRef<'a> {
    /// Decodes a frame of one of the four types in place.
    #[inline]
    pub fn decode(frame: FrameRef<'a>, version: Version) -> Result<Self, DecodeError> {
        Ok(Self::parse(frame.header(), frame.body(), version)?)
    }

    /// Copies the packet out of its buffer; without properties that allocates nothing.
    #[inline]
    pub fn to_ack(self) -> Ack {
        Ack { id: self.id, reason: self.reason, properties: self.properties.to_properties() }
    }

    /// Scalars in, so that nothing goes through memory.
    #[inline]
    fn parse(header: u8, body: &'a [u8], version: Version) -> Result<Self, Fault> {
        let packet = PacketType::of_header(header);
        if !is_ack(packet) {
            return Err(violation!("a packet of another type was expected", "section 2.1.2"));
        }
        // [MQTT-3.6.1-1]
        expect(header, packet, version)?;
        let (rest, id) = packet_id(body)?;
        // Reason Code and Property Length may be left off (section 3.4.2.1).
        if rest.is_empty() {
            return Ok(Self { id, reason: ReasonCode::Success, properties: PropertiesRef::default() });
        }
        let (reason, properties) = outcome(rest, packet, version)?;
        Ok(Self { id, reason, properties })
    }
}

/// Reason Code and Properties.
fn outcome(input: &[u8], packet: PacketType, version: Version) -> Result<(ReasonCode, PropertiesRef<'_>), Fault> {
    if !version.is_v5() {
        wire::end(input)?;
    }
    let (rest, code) = be_u8(input)?;
    let reason = ReasonCode::decode(code, packet)?;
    if rest.is_empty() {
        return Ok((reason, PropertiesRef::default()));
    }
    let (rest, properties) = properties::block(place(packet), rest)?;
    wire::end(rest)?;
    Ok((reason, properties))
}
