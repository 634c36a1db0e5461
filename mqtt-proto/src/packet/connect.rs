//! CONNECT (MQTT 5.0 section 3.1): the only packet that names its version.
use super::{Body, encoder_of_one_version};
use crate::error::{Fault, malformed, violation};
use crate::properties::{self, CONNECT, WILL};
use crate::wire::{self, Parsed, binary, put_binary, text_fault, utf8};
use crate::{
    ClientId, DecodeError, EncodeError, ErrorKind, Frame, PacketType, Properties, PropertyId, QoS, ReasonCode,
    TopicName, Utf8String, Version, text,
};
use bytes::{Bytes, BytesMut};
use nom::number::complete::{be_u8, be_u16};

/// CONNECT (section 3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// Protocol name and level.
    pub version: Version,
    /// Clean Start (Clean Session before 5.0).
    pub clean_start: bool,
    /// Keep Alive in seconds; 0 turns it off.
    pub keep_alive: u16,
    /// Client Identifier; may be empty.
    pub client_id: ClientId,
    /// Will.
    pub will: Option<Will>,
    /// User Name.
    pub username: Option<Utf8String>,
    /// Password.
    pub password: Option<Bytes>,
    /// CONNECT Properties.
    pub properties: Properties,
}

/// The Will of a CONNECT (section 3.1.3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Will QoS.
    pub qos: QoS,
    /// Will Retain.
    pub retain: bool,
    /// Will Topic.
    pub topic: TopicName,
    /// Will Payload.
    pub payload: Bytes,
    /// Will Properties.
    pub properties: Properties,
}

/// The Connect Flags byte (section 3.1.2.3).
mod flag {
    pub(super) const RESERVED: u8 = 0x01;
    pub(super) const CLEAN_START: u8 = 0x02;
    pub(super) const WILL: u8 = 0x04;
    pub(super) const WILL_QOS: u8 = 0x18;
    pub(super) const WILL_RETAIN: u8 = 0x20;
    pub(super) const PASSWORD: u8 = 0x40;
    pub(super) const USER_NAME: u8 = 0x80;
}

/// The refusal of an unknown protocol name or version.
macro_rules! unsupported {
    ($statement:literal) => {
        Fault(
            const {
                &DecodeError {
                    kind: ErrorKind::UnsupportedVersion,
                    reason: ReasonCode::UnsupportedProtocolVersion,
                    statement: $statement,
                }
            },
        )
    };
}

encoder_of_one_version!(Connect);

impl Connect {
    /// Decodes a frame of this type, of any version; all of it is validated [MQTT-3.1.4-1].
    pub fn decode(frame: Frame) -> Result<Self, DecodeError> {
        // The version is in the body; CONNECT has no flags in any of them.
        let body = frame.body_of(PacketType::Connect, Version::V5)?;
        let (rest, version) = version(&body)?;
        let (rest, flags) = be_u8(rest)?;
        check_flags(flags, version)?;
        let (rest, keep_alive) = be_u16(rest)?;
        let (rest, properties) = if version.is_v5() { properties(rest)? } else { (rest, <_>::default()) };
        // [MQTT-3.1.3-1] The order of the payload. [MQTT-3.1.3-3] The Client Identifier is always there.
        // [MQTT-3.1.3-4] It is a UTF-8 Encoded String.
        let (rest, client_id) = utf8(rest)?;
        // [MQTT-3.1.2-9] Will Properties, Topic and Payload are there if and only if the flag says so
        // [3.1.1: MQTT-3.1.2-11].
        let (rest, will) = if flags & flag::WILL != 0 { will(rest, flags, version, &body)? } else { (rest, None) };
        // [MQTT-3.1.2-16], [MQTT-3.1.2-17] [3.1.1: MQTT-3.1.2-18], [3.1.1: MQTT-3.1.2-19] User Name as flagged.
        // [MQTT-3.1.3-12] [3.1.1: MQTT-3.1.3-11] It is a UTF-8 Encoded String.
        let (rest, username) = optional(flags & flag::USER_NAME != 0, version, rest, utf8)?;
        // [MQTT-3.1.2-18], [MQTT-3.1.2-19] [3.1.1: MQTT-3.1.2-20], [3.1.1: MQTT-3.1.2-21] Password as flagged.
        let (rest, password) = optional(flags & flag::PASSWORD != 0, version, rest, binary)?;
        wire::end(rest)?;
        Ok(Self {
            version,
            clean_start: flags & flag::CLEAN_START != 0,
            keep_alive,
            client_id: ClientId::trusted(body.slice_ref(client_id)),
            will,
            username: username.map(|name| Utf8String::trusted(body.slice_ref(name))),
            password: password.map(|password| body.slice_ref(password)),
            properties: Properties::slice_of(&body, properties),
        })
    }

    fn flags(&self) -> u8 {
        let mut flags = 0;
        if self.clean_start {
            flags |= flag::CLEAN_START;
        }
        if let Some(will) = &self.will {
            flags |= flag::WILL | (will.qos as u8) << 3;
            if will.retain {
                flags |= flag::WILL_RETAIN;
            }
        }
        if self.username.is_some() {
            flags |= flag::USER_NAME;
        }
        if self.password.is_some() {
            flags |= flag::PASSWORD;
        }
        flags
    }
}

/// Protocol Name and Protocol Version.
fn version(input: &[u8]) -> Parsed<'_, Version> {
    let (rest, name) = binary(input)?;
    let (rest, level) = be_u8(rest)?;
    match (name, level) {
        (b"MQTT", 5) => Ok((rest, Version::V5)),
        (b"MQTT", 4) => Ok((rest, Version::V3_1_1)),
        (b"MQIsdp", 3) => Ok((rest, Version::V3_1)),
        // [MQTT-3.1.2-2] A version that we don't know.
        (b"MQTT" | b"MQIsdp", _) => Err(unsupported!("MQTT-3.1.2-2").into()),
        // [MQTT-3.1.2-1] Not MQTT at all.
        _ => Err(unsupported!("MQTT-3.1.2-1").into()),
    }
}

fn check_flags(flags: u8, version: Version) -> Result<(), Fault> {
    // [MQTT-3.1.2-3] The reserved flag is 0.
    if flags & flag::RESERVED != 0 {
        return Err(malformed!("the reserved connect flag is set", "MQTT-3.1.2-3"));
    }
    if flags & flag::WILL == 0 {
        // [MQTT-3.1.2-11] [3.1.1: MQTT-3.1.2-13] No Will, no Will QoS.
        if flags & flag::WILL_QOS != 0 {
            return Err(malformed!("a will QoS without a will", "MQTT-3.1.2-11"));
        }
        // [MQTT-3.1.2-13] [3.1.1: MQTT-3.1.2-15] No Will, no Will Retain.
        if flags & flag::WILL_RETAIN != 0 {
            return Err(malformed!("will retain without a will", "MQTT-3.1.2-13"));
        }
    }
    // [3.1.1: MQTT-3.1.2-22] Before 5.0 there is no Password without a User Name.
    if !version.is_v5() && flags & (flag::USER_NAME | flag::PASSWORD) == flag::PASSWORD {
        return Err(malformed!("a password without a user name", "3.1.1: MQTT-3.1.2-22"));
    }
    Ok(())
}

fn properties(input: &[u8]) -> Parsed<'_, properties::PropertiesRef<'_>> {
    let (rest, properties) = properties::block(CONNECT, input)?;
    // Section 3.1.2.11.10.
    if properties.contains(PropertyId::AuthenticationData) && !properties.contains(PropertyId::AuthenticationMethod) {
        return Err(violation!("authentication data without a method", "section 3.1.2.11.10").into());
    }
    Ok((rest, properties))
}

fn will<'a>(input: &'a [u8], flags: u8, version: Version, body: &Bytes) -> Parsed<'a, Option<Will>> {
    // [MQTT-3.1.2-12] [3.1.1: MQTT-3.1.2-14] Will QoS 3 is malformed.
    let Some(qos) = QoS::new((flags & flag::WILL_QOS) >> 3) else {
        return Err(malformed!("will QoS 3", "MQTT-3.1.2-12").into());
    };
    let (rest, properties) =
        if version.is_v5() { properties::block(WILL, input)? } else { (input, properties::PropertiesRef::default()) };
    // [MQTT-3.1.3-11] [3.1.1: MQTT-3.1.3-10] The Will Topic is a UTF-8 Encoded String.
    let (rest, topic) = binary(rest)?;
    // [MQTT-4.7.3-1] It has at least one character.
    if topic.is_empty() {
        return Err(text_fault(crate::TextError::Empty).into());
    }
    text::check_plain(topic).map_err(text_fault)?;
    let (rest, payload) = binary(rest)?;
    let will = Will {
        qos,
        retain: flags & flag::WILL_RETAIN != 0,
        topic: TopicName::trusted(body.slice_ref(topic)),
        payload: body.slice_ref(payload),
        properties: Properties::slice_of(body, properties),
    };
    Ok((rest, Some(will)))
}

/// A field that a flag announces. In 3.1 the Remaining Length takes precedence over the flags of User Name and Password:
/// a field that is announced but lies beyond the end is absent.
fn optional<'a, T>(
    flagged: bool,
    version: Version,
    input: &'a [u8],
    parser: impl Fn(&'a [u8]) -> Parsed<'a, T>,
) -> Parsed<'a, Option<T>> {
    if !flagged || (version == Version::V3_1 && input.is_empty()) {
        return Ok((input, None));
    }
    let (rest, value) = parser(input)?;
    Ok((rest, Some(value)))
}

impl Body for Connect {
    fn header(&self) -> u8 {
        (PacketType::Connect as u8) << 4
    }

    fn body_len(&self, _: Version) -> Result<usize, EncodeError> {
        // [3.1.1: MQTT-3.1.2-22]
        if !self.version.is_v5() && self.username.is_none() && self.password.is_some() {
            return Err(EncodeError::NotInVersion);
        }
        let mut length = 2 + self.version.protocol_name().len() + 1 + 1 + 2;
        length += 2 + self.client_id.as_bytes().len();
        if self.version.is_v5() {
            length += self.properties.block_len(CONNECT)?;
            if self.properties.contains(PropertyId::AuthenticationData)
                && !self.properties.contains(PropertyId::AuthenticationMethod)
            {
                return Err(EncodeError::Invalid("authentication data without a method"));
            }
        }
        if let Some(will) = &self.will {
            length += 2 + will.topic.as_bytes().len() + wire::binary_len(&will.payload)?;
            if self.version.is_v5() {
                length += will.properties.block_len(WILL)?;
            }
        }
        length += self.username.as_ref().map_or(0, |name| 2 + name.as_bytes().len());
        if let Some(password) = &self.password {
            length += wire::binary_len(password)?;
        }
        Ok(length)
    }

    fn put_body(&self, _: Version, out: &mut BytesMut) {
        put_binary(out, self.version.protocol_name().as_bytes());
        let [high, low] = self.keep_alive.to_be_bytes();
        out.extend_from_slice(&[self.version.level(), self.flags(), high, low]);
        if self.version.is_v5() {
            self.properties.put(out);
        }
        // [MQTT-3.1.3-1] The order of the payload.
        put_binary(out, self.client_id.as_bytes());
        if let Some(will) = &self.will {
            if self.version.is_v5() {
                will.properties.put(out);
            }
            put_binary(out, will.topic.as_bytes());
            put_binary(out, &will.payload);
        }
        if let Some(name) = &self.username {
            put_binary(out, name.as_bytes());
        }
        if let Some(password) = &self.password {
            put_binary(out, password);
        }
    }
}
