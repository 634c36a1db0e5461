//! AUTH (MQTT 5.0 section 3.15); no earlier version has it.
use super::{Body, encoder};
use crate::error::{malformed, violation};
use crate::properties::{self, AUTH};
use crate::wire;
use crate::{DecodeError, EncodeError, Frame, PacketType, Properties, PropertyId, ReasonCode, Version};
use bytes::BytesMut;
use nom::number::complete::be_u8;

/// AUTH (section 3.15), 5.0 only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Authenticate Reason Code.
    pub reason: ReasonCode,
    /// AUTH Properties.
    pub properties: Properties,
}

encoder!(Auth);

impl Auth {
    /// Decodes a frame of this type.
    pub fn decode(frame: Frame, version: Version) -> Result<Self, DecodeError> {
        // [MQTT-3.15.1-1]
        let body = frame.body_of(PacketType::Auth, version)?;
        if !version.is_v5() {
            return Err(malformed!("packet type 15 before 5.0", "3.1.1: section 2.2.1").into());
        }
        // Success without properties may be left off entirely (section 3.15.2.1).
        if body.is_empty() {
            return Ok(Self { reason: ReasonCode::Success, properties: Properties::new() });
        }
        let (rest, code) = be_u8(&body[..])?;
        // [MQTT-3.15.2-1]
        let reason = ReasonCode::decode(code, PacketType::Auth)?;
        let (rest, properties) = properties::block(AUTH, rest)?;
        wire::end(rest)?;
        let auth = Self { reason, properties: Properties::slice_of(&body, properties) };
        if auth.lacks_method() {
            return Err(violation!("an AUTH without authentication method", "section 3.15.2.2.2").into());
        }
        Ok(auth)
    }

    /// The Authentication Method may only be missing where everything is left off.
    fn lacks_method(&self) -> bool {
        !self.is_bare() && !self.properties.contains(PropertyId::AuthenticationMethod)
    }

    fn is_bare(&self) -> bool {
        self.reason == ReasonCode::Success && self.properties.is_empty()
    }
}

impl Body for Auth {
    fn header(&self) -> u8 {
        (PacketType::Auth as u8) << 4
    }

    fn body_len(&self, version: Version) -> Result<usize, EncodeError> {
        if !version.is_v5() {
            return Err(EncodeError::NotInVersion);
        }
        // [MQTT-3.15.2-1]
        self.reason.check(PacketType::Auth)?;
        if self.lacks_method() {
            return Err(EncodeError::Invalid("an AUTH without authentication method"));
        }
        if self.is_bare() { Ok(0) } else { Ok(1 + self.properties.block_len(AUTH)?) }
    }

    fn put_body(&self, _: Version, out: &mut BytesMut) {
        if !self.is_bare() {
            out.extend_from_slice(&[self.reason as u8]);
            self.properties.put(out);
        }
    }
}
