//! CONNACK (MQTT 5.0 section 3.2).
use super::{Body, encoder};
use crate::error::{malformed, violation};
use crate::properties::{self, CONNACK, PropertiesRef};
use crate::wire;
use crate::{DecodeError, EncodeError, Frame, PacketType, Properties, ReasonCode, Version};
use bytes::BytesMut;
use nom::number::complete::be_u8;

/// CONNACK (section 3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnAck {
    /// Session Present; travels as 0 in 3.1, which has no such flag.
    pub session_present: bool,
    /// Connect Reason Code; mapped to and from the return codes of 3.x.
    pub reason: ReasonCode,
    /// CONNACK Properties.
    pub properties: Properties,
}

encoder!(ConnAck);

impl ConnAck {
    /// Decodes a frame of this type.
    pub fn decode(frame: Frame, version: Version) -> Result<Self, DecodeError> {
        let body = frame.body_of(PacketType::ConnAck, version)?;
        let (rest, flags) = be_u8(&body[..])?;
        // [MQTT-3.2.2-1] Bits 7 to 1 are 0.
        if flags & !1 != 0 {
            return Err(malformed!("reserved acknowledge flags are set", "MQTT-3.2.2-1").into());
        }
        // 3.1 does not use this byte.
        let session_present = flags == 1 && version != Version::V3_1;
        let (rest, code) = be_u8(rest)?;
        let reason = if version.is_v5() {
            ReasonCode::decode(code, PacketType::ConnAck)?
        } else {
            // Section 3.2.2.3 of 3.1.1: 6 to 255 are reserved.
            ReasonCode::from_connect_return_code_v3(code)
                .ok_or(malformed!("a reserved connect return code", "3.1.1: section 3.2.2.3"))?
        };
        // [MQTT-3.2.2-6] [3.1.1: MQTT-3.2.2-4] A refusal has no session.
        if session_present && reason != ReasonCode::Success {
            return Err(violation!("session present in a refusal", "MQTT-3.2.2-6").into());
        }
        let (rest, properties) =
            if version.is_v5() { properties::block(CONNACK, rest)? } else { (rest, PropertiesRef::default()) };
        wire::end(rest)?;
        Ok(Self { session_present, reason, properties: Properties::slice_of(&body, properties) })
    }
}

impl Body for ConnAck {
    fn header(&self) -> u8 {
        (PacketType::ConnAck as u8) << 4
    }

    fn body_len(&self, version: Version) -> Result<usize, EncodeError> {
        // [MQTT-3.2.2-6] [3.1.1: MQTT-3.2.2-4]
        if self.session_present && self.reason != ReasonCode::Success {
            return Err(EncodeError::Invalid("session present in a refusal"));
        }
        if version.is_v5() {
            // [MQTT-3.2.2-8]
            self.reason.check(PacketType::ConnAck)?;
            return Ok(2 + self.properties.block_len(CONNACK)?);
        }
        // [3.1.1: MQTT-3.2.2-6] What no return code can say is not said.
        self.reason.connect_return_code_v3().map_or(Err(EncodeError::NotInVersion), |_| Ok(2))
    }

    fn put_body(&self, version: Version, out: &mut BytesMut) {
        if version.is_v5() {
            out.extend_from_slice(&[u8::from(self.session_present), self.reason as u8]);
            self.properties.put(out);
        } else {
            let code = self.reason.connect_return_code_v3().expect("checked by the length pass");
            out.extend_from_slice(&[u8::from(self.session_present && version != Version::V3_1), code]);
        }
    }
}
