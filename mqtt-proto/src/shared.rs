//! Encoding a message once for many receivers (MQTT 5.0 section 3.3).
//!
//! Invariants: what all receivers share is kept encoded or shared; only what differs between them (Packet Identifier, DUP,
//! Topic Alias, Subscription Identifiers, remaining expiry) is written for each.
use crate::packet::{first_byte, put_id};
use crate::properties::PUBLISH;
use crate::wire::{self, put_binary, var_int_len};
use crate::{Delivery, EncodeError, PacketId, Properties, PropertyId, QoS, TopicName, Version};
use bytes::{Bytes, BytesMut};

/// A message as all its receivers share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedPublish {
    /// Topic Name.
    pub topic: TopicName,
    /// Application Message.
    pub payload: Bytes,
    /// Properties that go to everyone, see [`Properties::forwardable`]: no Topic Alias, no Subscription Identifier and no
    /// Message Expiry Interval.
    pub properties: Properties,
}

/// What one receiver's copy of a [`SharedPublish`] has for itself. Before 5.0 only `delivery` and `retain` travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishHead<'a> {
    /// QoS with Packet Identifier and DUP.
    pub delivery: Delivery,
    /// RETAIN flag.
    pub retain: bool,
    /// Topic Alias.
    pub topic_alias: Option<u16>,
    /// Leave the Topic Name off, since the receiver knows the alias.
    pub omit_topic: bool,
    /// Subscription Identifiers of the subscriptions that matched.
    pub subscription_identifiers: &'a [u32],
    /// Seconds that the message may still live.
    pub message_expiry_interval: Option<u32>,
}

impl From<Delivery> for PublishHead<'_> {
    fn from(delivery: Delivery) -> Self {
        Self {
            delivery,
            retain: false,
            topic_alias: None,
            omit_topic: false,
            subscription_identifiers: &[],
            message_expiry_interval: None,
        }
    }
}

impl PublishHead<'_> {
    /// Encoded bytes of the receiver's own properties.
    fn properties_len(&self) -> Result<usize, EncodeError> {
        let mut length = 0;
        if let Some(alias) = self.topic_alias {
            // [MQTT-3.3.2-8]
            if alias == 0 {
                return Err(EncodeError::Invalid("topic alias 0"));
            }
            length += 3;
        }
        if self.message_expiry_interval.is_some() {
            length += 5;
        }
        for &id in self.subscription_identifiers {
            if id == 0 || id > wire::MAX_VAR_INT {
                return Err(EncodeError::Invalid("a subscription identifier beyond 1 to 268,435,455"));
            }
            length += 1 + var_int_len(id as usize);
        }
        Ok(length)
    }

    fn put_properties(&self, out: &mut BytesMut) {
        if let Some(alias) = self.topic_alias {
            let [high, low] = alias.to_be_bytes();
            out.extend_from_slice(&[PropertyId::TopicAlias as u8, high, low]);
        }
        if let Some(seconds) = self.message_expiry_interval {
            out.extend_from_slice(&[PropertyId::MessageExpiryInterval as u8]);
            out.extend_from_slice(&seconds.to_be_bytes());
        }
        for &id in self.subscription_identifiers {
            out.extend_from_slice(&[PropertyId::SubscriptionIdentifier as u8]);
            wire::put_var_int(out, id as usize);
        }
    }
}

/// Lengths of one receiver's copy.
struct Lengths {
    topic: usize,
    own_properties: usize,
    remaining: usize,
}

impl SharedPublish {
    fn lengths(&self, version: Version, head: &PublishHead<'_>) -> Result<Lengths, EncodeError> {
        let id = if head.delivery.id().is_some() { 2 } else { 0 };
        let full = self.topic.as_bytes().len();
        if !version.is_v5() {
            if head.omit_topic {
                return Err(EncodeError::NotInVersion);
            }
            return Ok(Lengths { topic: full, own_properties: 0, remaining: 2 + full + id + self.payload.len() });
        }
        if head.omit_topic && head.topic_alias.is_none() {
            return Err(EncodeError::Invalid("neither topic name nor topic alias"));
        }
        if self.properties.has_per_receiver() {
            return Err(EncodeError::Invalid("properties of one receiver among the shared ones"));
        }
        self.properties.block_len(PUBLISH)?;
        let topic = if head.omit_topic { 0 } else { full };
        let own_properties = head.properties_len()?;
        let properties = own_properties + self.properties.len();
        let remaining = 2 + topic + id + var_int_len(properties) + properties + self.payload.len();
        Ok(Lengths { topic, own_properties, remaining })
    }

    /// The length of a receiver's whole copy, payload included: what its Maximum Packet Size is compared with.
    ///
    /// # Errors
    /// As [`encode_head`](Self::encode_head).
    pub fn encoded_len(&self, version: Version, head: &PublishHead<'_>) -> Result<usize, EncodeError> {
        wire::packet_len(self.lengths(version, head)?.remaining)
    }

    /// Appends all of a receiver's copy but the payload, which follows as it is: as a chunk of its own in a vectored write,
    /// or copied behind.
    ///
    /// # Errors
    /// When the head or the shared properties break a rule, or the packet is too large. Nothing is written then.
    pub fn encode_head(&self, version: Version, head: &PublishHead<'_>, out: &mut BytesMut) -> Result<(), EncodeError> {
        let lengths = self.lengths(version, head)?;
        let packet = wire::packet_len(lengths.remaining)?;
        out.reserve(packet - self.payload.len());
        wire::put_fixed_header(out, first_byte(head.delivery, head.retain), lengths.remaining);
        put_binary(out, &self.topic.as_bytes()[..lengths.topic]);
        put_id(out, head.delivery.id());
        if version.is_v5() {
            wire::put_var_int(out, lengths.own_properties + self.properties.len());
            head.put_properties(out);
            out.extend_from_slice(self.properties.raw());
        }
        Ok(())
    }
}

/// One contiguous encoding of a [`SharedPublish`] without properties of one receiver, copied and patched for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishImage {
    bytes: Bytes,
    /// Where the Packet Identifier stands; 0 at QoS 0, which has none.
    id_at: u32,
}

impl PublishImage {
    /// Encodes the message for one version, QoS and RETAIN flag.
    ///
    /// # Errors
    /// As [`SharedPublish::encode_head`].
    pub fn new(publish: &SharedPublish, version: Version, qos: QoS, retain: bool) -> Result<Self, EncodeError> {
        let delivery = match qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce { id: PacketId::MIN, dup: false },
            QoS::ExactlyOnce => Delivery::ExactlyOnce { id: PacketId::MIN, dup: false },
        };
        let head = PublishHead { retain, ..delivery.into() };
        let remaining = publish.lengths(version, &head)?.remaining;
        let length = wire::packet_len(remaining)?;
        let mut bytes = BytesMut::with_capacity(length);
        publish.encode_head(version, &head, &mut bytes)?;
        bytes.extend_from_slice(&publish.payload);
        let id_at = if qos == QoS::AtMostOnce { 0 } else { length - remaining + 2 + publish.topic.as_bytes().len() };
        Ok(Self { bytes: bytes.freeze(), id_at: id_at as u32 })
    }

    /// Bytes of the whole packet.
    #[allow(clippy::len_without_is_empty)] // a packet is never empty
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a receiver's copy, with its Packet Identifier and DUP flag.
    ///
    /// # Panics
    /// When there is an identifier, or DUP is set, at QoS 0; or none at QoS 1 or 2.
    #[inline]
    pub fn write(&self, id: Option<PacketId>, dup: bool, out: &mut BytesMut) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        match id {
            None => assert!(self.id_at == 0 && !dup, "a QoS above 0 needs an identifier, and QoS 0 has no DUP"),
            Some(id) => {
                assert!(self.id_at != 0, "QoS 0 has no identifier");
                let at = start + self.id_at as usize;
                out[at..at + 2].copy_from_slice(&id.get().to_be_bytes());
                out[start] |= u8::from(dup) << 3;
            }
        }
    }
}
