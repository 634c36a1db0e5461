//! UNSUBACK (MQTT 5.0 section 3.11).
use super::{Body, encoder};
use crate::error::violation;
use crate::properties::{self, UNSUBACK};
use crate::wire::{self, packet_id};
use crate::{DecodeError, EncodeError, Frame, PacketId, PacketType, Properties, ReasonCode, Version};
use alloc::vec::Vec;
use bytes::BytesMut;

/// UNSUBACK (section 3.11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsubAck {
    /// Packet Identifier.
    pub id: PacketId,
    /// One Reason Code per Topic Filter (5.0); not on the wire before, then empty when decoded.
    pub reasons: Vec<ReasonCode>,
    /// UNSUBACK Properties.
    pub properties: Properties,
}

encoder!(UnsubAck);

impl UnsubAck {
    /// Decodes a frame of this type.
    pub fn decode(frame: Frame, version: Version) -> Result<Self, DecodeError> {
        let body = frame.body_of(PacketType::UnsubAck, version)?;
        let (rest, id) = packet_id(&body)?;
        if !version.is_v5() {
            wire::end(rest)?;
            return Ok(Self { id, reasons: Vec::new(), properties: Properties::new() });
        }
        let (codes, properties) = properties::block(UNSUBACK, rest)?;
        // Section 2.4: one or more.
        if codes.is_empty() {
            return Err(violation!("an UNSUBACK without reason codes", "section 3.11.3").into());
        }
        // [MQTT-3.11.3-2]
        let reasons =
            codes.iter().map(|code| ReasonCode::decode(*code, PacketType::UnsubAck)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { id, reasons, properties: Properties::slice_of(&body, properties) })
    }
}

impl Body for UnsubAck {
    fn header(&self) -> u8 {
        (PacketType::UnsubAck as u8) << 4
    }

    fn body_len(&self, version: Version) -> Result<usize, EncodeError> {
        if !version.is_v5() {
            return Ok(2);
        }
        if self.reasons.is_empty() {
            return Err(EncodeError::Invalid("an UNSUBACK without reason codes"));
        }
        // [MQTT-3.11.3-2]
        self.reasons.iter().try_for_each(|reason| reason.check(PacketType::UnsubAck))?;
        Ok(2 + self.properties.block_len(UNSUBACK)? + self.reasons.len())
    }

    fn put_body(&self, version: Version, out: &mut BytesMut) {
        // [MQTT-3.11.3-1] A code for each filter, in their order.
        out.extend_from_slice(&self.id.get().to_be_bytes());
        if version.is_v5() {
            self.properties.put(out);
            out.extend(self.reasons.iter().map(|reason| *reason as u8));
        }
    }
}
