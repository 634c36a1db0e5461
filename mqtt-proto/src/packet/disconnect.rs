//! DISCONNECT (MQTT 5.0 section 3.14).
use super::{Body, encoder};
use crate::properties::{self, DISCONNECT};
use crate::wire;
use crate::{DecodeError, EncodeError, Frame, PacketType, Properties, ReasonCode, Version};
use bytes::BytesMut;
use nom::number::complete::be_u8;

/// DISCONNECT (section 3.14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// Disconnect Reason Code; `Success` (Normal disconnection) before 5.0.
    pub reason: ReasonCode,
    /// DISCONNECT Properties.
    pub properties: Properties,
}

encoder!(Disconnect);

impl From<ReasonCode> for Disconnect {
    fn from(reason: ReasonCode) -> Self {
        Self { reason, properties: Properties::new() }
    }
}

impl Disconnect {
    /// Decodes a frame of this type.
    pub fn decode(frame: Frame, version: Version) -> Result<Self, DecodeError> {
        // [MQTT-3.14.1-1]
        let body = frame.body_of(PacketType::Disconnect, version)?;
        // Reason Code and Property Length may be left off (section 3.14.2.1); 3.x has neither.
        if body.is_empty() || !version.is_v5() {
            wire::end(&body)?;
            return Ok(ReasonCode::NORMAL_DISCONNECTION.into());
        }
        let (rest, code) = be_u8(&body[..])?;
        // [MQTT-3.14.2-1]
        let reason = ReasonCode::decode(code, PacketType::Disconnect)?;
        if rest.is_empty() {
            return Ok(reason.into());
        }
        let (rest, properties) = properties::block(DISCONNECT, rest)?;
        wire::end(rest)?;
        Ok(Self { reason, properties: Properties::slice_of(&body, properties) })
    }
}

impl Body for Disconnect {
    fn header(&self) -> u8 {
        (PacketType::Disconnect as u8) << 4
    }

    fn body_len(&self, version: Version) -> Result<usize, EncodeError> {
        if !version.is_v5() {
            return Ok(0);
        }
        // [MQTT-3.14.2-1]
        self.reason.check(PacketType::Disconnect)?;
        match (self.reason, self.properties.is_empty()) {
            (ReasonCode::NORMAL_DISCONNECTION, true) => Ok(0),
            (_, true) => Ok(1),
            _ => Ok(1 + self.properties.block_len(DISCONNECT)?),
        }
    }

    fn put_body(&self, version: Version, out: &mut BytesMut) {
        if !version.is_v5() || (self.reason == ReasonCode::NORMAL_DISCONNECTION && self.properties.is_empty()) {
            return;
        }
        out.extend_from_slice(&[self.reason as u8]);
        if !self.properties.is_empty() {
            self.properties.put(out);
        }
    }
}
