//! SUBACK (MQTT 5.0 section 3.9).
use super::{Body, encoder};
use crate::error::{Fault, malformed, violation};
use crate::properties::{self, PropertiesRef, SUBACK};
use crate::wire::packet_id;
use crate::{DecodeError, EncodeError, Frame, PacketId, PacketType, Properties, ReasonCode, Version};
use alloc::vec::Vec;
use bytes::BytesMut;

/// SUBACK (section 3.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubAck {
    /// Packet Identifier.
    pub id: PacketId,
    /// One Reason Code per Topic Filter, in order [MQTT-3.8.4-6]; failures travel as 0x80 before 5.0.
    pub reasons: Vec<ReasonCode>,
    /// SUBACK Properties.
    pub properties: Properties,
}

encoder!(SubAck);

impl SubAck {
    /// Decodes a frame of this type.
    pub fn decode(frame: Frame, version: Version) -> Result<Self, DecodeError> {
        let body = frame.body_of(PacketType::SubAck, version)?;
        let (rest, id) = packet_id(&body)?;
        let (codes, properties) =
            if version.is_v5() { properties::block(SUBACK, rest)? } else { (rest, PropertiesRef::default()) };
        // Section 2.4: one or more.
        if codes.is_empty() {
            return Err(violation!("a SUBACK without reason codes", "section 3.9.3").into());
        }
        let reasons = codes.iter().map(|code| reason(*code, version)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { id, reasons, properties: Properties::slice_of(&body, properties) })
    }
}

fn reason(code: u8, version: Version) -> Result<ReasonCode, Fault> {
    if version.is_v5() {
        return ReasonCode::decode(code, PacketType::SubAck);
    }
    // [3.1.1: MQTT-3.9.3-2] Only 0, 1, 2 and 0x80.
    ReasonCode::from_subscribe_return_code_v3(code)
        .ok_or(malformed!("a reserved subscribe return code", "3.1.1: MQTT-3.9.3-2"))
}

impl Body for SubAck {
    fn header(&self) -> u8 {
        (PacketType::SubAck as u8) << 4
    }

    fn body_len(&self, version: Version) -> Result<usize, EncodeError> {
        if self.reasons.is_empty() {
            return Err(EncodeError::Invalid("a SUBACK without reason codes"));
        }
        // [MQTT-3.9.3-2]
        self.reasons.iter().try_for_each(|reason| reason.check(PacketType::SubAck))?;
        let properties = if version.is_v5() { self.properties.block_len(SUBACK)? } else { 0 };
        Ok(2 + properties + self.reasons.len())
    }

    fn put_body(&self, version: Version, out: &mut BytesMut) {
        // [MQTT-3.8.4-6] [3.1.1: MQTT-3.8.4-5] A code for each filter, [MQTT-3.9.3-1] in their order.
        out.extend_from_slice(&self.id.get().to_be_bytes());
        if version.is_v5() {
            self.properties.put(out);
            out.extend(self.reasons.iter().map(|reason| *reason as u8));
        } else {
            out.extend(self.reasons.iter().map(|reason| reason.subscribe_return_code_v3()));
        }
    }
}
