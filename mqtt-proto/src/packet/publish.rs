//! PUBLISH (MQTT 5.0 section 3.3), borrowed and owned.
//!
//! Invariants: decoding allocates nothing and copies nothing; an owned [`Publish`] is the borrowed view made of slices.
use super::{Body, encoder};
use crate::error::{Fault, malformed, violation};
use crate::frame::expect;
use crate::properties::{self, PUBLISH, PropertiesRef};
use crate::wire::{self, Parsed, put_binary, text_fault};
use crate::{
    DecodeError, Delivery, EncodeError, Frame, FrameRef, PacketId, PacketType, Properties, PropertyId, TopicName,
    Version, text,
};
use bytes::{Buf, Bytes, BytesMut};
use core::ops::Range;

/// PUBLISH (section 3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// QoS with Packet Identifier and DUP.
    pub delivery: Delivery,
    /// RETAIN flag.
    pub retain: bool,
    /// Topic Name; `None` when it is empty and a Topic Alias stands for it (5.0).
    pub topic: Option<TopicName>,
    /// Application Message.
    pub payload: Bytes,
    /// PUBLISH Properties.
    pub properties: Properties,
}

/// A PUBLISH in the buffer it arrived in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishRef<'a> {
    /// QoS with Packet Identifier and DUP.
    pub delivery: Delivery,
    /// RETAIN flag.
    pub retain: bool,
    /// Topic Name; empty when a Topic Alias stands for it (5.0).
    pub topic: &'a str,
    /// PUBLISH Properties.
    pub properties: PropertiesRef<'a>,
    /// Application Message.
    pub payload: &'a [u8],
}

impl<'a> PublishRef<'a> {
    /// Decodes in place.
    #[inline]
    pub fn decode(frame: FrameRef<'a>, version: Version) -> Result<Self, DecodeError> {
        let fields = Fields::parse(frame.header(), frame.body(), version)?;
        let topic = text::checked_str(fields.topic);
        Ok(Self {
            delivery: fields.delivery,
            retain: fields.retain,
            topic,
            properties: fields.properties,
            payload: fields.payload,
        })
    }

    /// Copies the packet out of its buffer, into one allocation.
    ///
    /// # Panics
    /// When `topic` was replaced by one that is no Topic Name.
    pub fn to_publish(&self) -> Publish {
        assert!(text::check_plain(self.topic.as_bytes()).is_ok(), "decoding checked the topic name");
        let mut all = BytesMut::with_capacity(self.topic.len() + self.properties.len() + self.payload.len());
        all.extend_from_slice(self.topic.as_bytes());
        all.extend_from_slice(self.properties.raw());
        all.extend_from_slice(self.payload);
        let topic = self.topic.len();
        let layout = Layout {
            delivery: self.delivery,
            retain: self.retain,
            set: self.properties.set(),
            topic: 0..topic,
            properties: topic..topic + self.properties.len(),
        };
        layout.cut(all.freeze())
    }
}

/// A checked PUBLISH, before its topic is turned into text.
struct Fields<'a> {
    delivery: Delivery,
    retain: bool,
    topic: &'a [u8],
    properties: PropertiesRef<'a>,
    payload: &'a [u8],
}

impl<'a> Fields<'a> {
    #[inline(always)]
    #[allow(clippy::inline_always)] // else all fields go through memory, a tenth of the cost of a view
    fn parse(flags: u8, body: &'a [u8], version: Version) -> Result<Self, Fault> {
        expect(flags, PacketType::Publish, version)?;
        let (rest, topic) = topic(body)?;
        let (rest, delivery) = delivery(flags, rest)?;
        let (payload, properties) =
            if version.is_v5() { properties::block(PUBLISH, rest)? } else { (rest, PropertiesRef::default()) };
        if topic.is_empty() {
            check_absent_topic(properties, version)?;
        }
        Ok(Self { delivery, retain: flags & 1 != 0, topic, properties, payload })
    }
}

/// A checked PUBLISH as numbers: what remains of it when its bytes change their owner.
pub(super) struct Layout {
    delivery: Delivery,
    retain: bool,
    /// The properties that are present.
    set: u64,
    topic: Range<usize>,
    properties: Range<usize>,
}

impl Layout {
    /// The layout of a packet whose body begins at `start` of its bytes.
    #[inline]
    pub(super) fn parse(header: u8, start: usize, body: &[u8], version: Version) -> Result<Self, Fault> {
        let fields = Fields::parse(header, body, version)?;
        let topic = start + 2;
        let payload = start + body.len() - fields.payload.len();
        Ok(Self {
            delivery: fields.delivery,
            retain: fields.retain,
            set: fields.properties.set(),
            topic: topic..topic + fields.topic.len(),
            properties: payload - fields.properties.len()..payload,
        })
    }

    /// Cuts the bytes into fields; the payload stands behind the properties.
    #[inline]
    pub(super) fn cut(self, mut bytes: Bytes) -> Publish {
        let payload = self.properties.end;
        let topic = (!self.topic.is_empty()).then(|| TopicName::trusted(bytes.slice(self.topic)));
        let properties = if self.properties.is_empty() { Bytes::new() } else { bytes.slice(self.properties) };
        bytes.advance(payload);
        Publish {
            delivery: self.delivery,
            retain: self.retain,
            topic,
            payload: bytes,
            properties: Properties::from_parts(properties, self.set),
        }
    }
}

/// The Topic Name, the first field [MQTT-3.3.2-1]; perhaps empty.
#[inline]
fn topic(input: &[u8]) -> Parsed<'_, &[u8]> {
    let (rest, topic) = wire::binary(input)?;
    // [MQTT-3.3.2-2] No wildcards.
    text::check_plain(topic).map_err(text_fault)?;
    Ok((rest, topic))
}

/// The Packet Identifier, there if and only if the QoS is 1 or 2 [MQTT-2.2.1-2] [3.1.1: MQTT-2.3.1-5].
#[inline]
fn delivery(flags: u8, input: &[u8]) -> Parsed<'_, Delivery> {
    if flags & 0b0110 == 0 {
        return Ok((input, Delivery::AtMostOnce));
    }
    let (rest, id) = wire::packet_id(input)?;
    let dup = flags & 0b1000 != 0;
    // Framing has refused QoS 3 [MQTT-3.3.1-4].
    let delivery =
        if flags & 0b0100 == 0 { Delivery::AtLeastOnce { id, dup } } else { Delivery::ExactlyOnce { id, dup } };
    Ok((rest, delivery))
}

/// Without a Topic Name there must be a Topic Alias (section 3.3.2.1).
fn check_absent_topic(properties: PropertiesRef<'_>, version: Version) -> Result<(), Fault> {
    if !version.is_v5() {
        return Err(malformed!("an empty topic name", "MQTT-4.7.3-1"));
    }
    if !properties.contains(PropertyId::TopicAlias) {
        return Err(violation!("neither topic name nor topic alias", "section 3.3.2.1"));
    }
    Ok(())
}

/// The first byte of a PUBLISH.
#[inline]
pub(crate) const fn first_byte(delivery: Delivery, retain: bool) -> u8 {
    (PacketType::Publish as u8) << 4 | (delivery.dup() as u8) << 3 | (delivery.qos() as u8) << 1 | retain as u8
}

/// Writes the Packet Identifier if the QoS has one.
#[inline]
pub(crate) fn put_id(out: &mut BytesMut, id: Option<PacketId>) {
    if let Some(id) = id {
        out.extend_from_slice(&id.get().to_be_bytes());
    }
}

encoder!(Publish);

impl Publish {
    /// Decodes a frame of this type; topic, properties and payload are slices of it.
    #[inline]
    pub fn decode(frame: Frame, version: Version) -> Result<Self, DecodeError> {
        let layout = Layout::parse(frame.header(), 0, frame.body(), version)?;
        Ok(layout.cut(frame.into_body()))
    }

    /// Encodes all but the payload, for a vectored write: the payload follows as a chunk of its own, not copied.
    pub fn encode_head(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        let remaining = self.body_len(version)?;
        wire::packet_len(remaining)?;
        wire::put_fixed_header(out, self.header(), remaining);
        self.put_head(version, out);
        Ok(())
    }

    #[inline]
    fn put_head(&self, version: Version, out: &mut BytesMut) {
        put_binary(out, self.topic.as_ref().map_or(&[], |topic| topic.as_bytes()));
        put_id(out, self.delivery.id());
        if version.is_v5() {
            self.properties.put(out);
        }
    }
}

impl Body for Publish {
    #[inline]
    fn header(&self) -> u8 {
        first_byte(self.delivery, self.retain)
    }

    #[inline]
    fn body_len(&self, version: Version) -> Result<usize, EncodeError> {
        let topic = match &self.topic {
            Some(topic) => topic.as_bytes().len(),
            None if !version.is_v5() => return Err(EncodeError::NotInVersion),
            None if self.properties.contains(PropertyId::TopicAlias) => 0,
            None => return Err(EncodeError::Invalid("neither topic name nor topic alias")),
        };
        let id = if self.delivery.id().is_some() { 2 } else { 0 };
        let properties = if version.is_v5() { self.properties.block_len(PUBLISH)? } else { 0 };
        Ok(2 + topic + id + properties + self.payload.len())
    }

    #[inline]
    fn put_body(&self, version: Version, out: &mut BytesMut) {
        self.put_head(version, out);
        out.extend_from_slice(&self.payload);
    }
}
