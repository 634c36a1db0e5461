//! UNSUBSCRIBE (MQTT 5.0 section 3.10).
use super::subscribe::topic_filter;
use super::{Body, encoder};
use crate::error::violation;
use crate::properties::{self, PropertiesRef, UNSUBSCRIBE};
use crate::wire::{packet_id, put_binary};
use crate::{DecodeError, EncodeError, Frame, PacketId, PacketType, Properties, TopicFilter, Version};
use alloc::vec::Vec;
use bytes::BytesMut;

/// UNSUBSCRIBE (section 3.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Packet Identifier.
    pub id: PacketId,
    /// Topic Filters; never empty [MQTT-3.10.3-2].
    pub filters: Vec<TopicFilter>,
    /// UNSUBSCRIBE Properties.
    pub properties: Properties,
}

encoder!(Unsubscribe);

impl Unsubscribe {
    /// Decodes a frame of this type.
    pub fn decode(frame: Frame, version: Version) -> Result<Self, DecodeError> {
        // [MQTT-3.10.1-1]
        let body = frame.body_of(PacketType::Unsubscribe, version)?;
        let (rest, id) = packet_id(&body)?;
        let (mut rest, properties) =
            if version.is_v5() { properties::block(UNSUBSCRIBE, rest)? } else { (rest, PropertiesRef::default()) };
        // [MQTT-3.10.3-2] At least one Topic Filter.
        if rest.is_empty() {
            return Err(violation!("an UNSUBSCRIBE without topic filters", "MQTT-3.10.3-2").into());
        }
        let mut filters = Vec::new();
        while !rest.is_empty() {
            let (text, share_len);
            // [MQTT-3.10.3-1]
            (rest, (text, share_len)) = topic_filter(rest)?;
            filters.push(TopicFilter::trusted(body.slice_ref(text), share_len));
        }
        Ok(Self { id, filters, properties: Properties::slice_of(&body, properties) })
    }
}

impl Body for Unsubscribe {
    fn header(&self) -> u8 {
        // [MQTT-3.10.1-1]
        (PacketType::Unsubscribe as u8) << 4 | 2
    }

    fn body_len(&self, version: Version) -> Result<usize, EncodeError> {
        // [MQTT-3.10.3-2]
        if self.filters.is_empty() {
            return Err(EncodeError::Invalid("an UNSUBSCRIBE without topic filters"));
        }
        let filters: usize = self.filters.iter().map(|filter| 2 + filter.as_bytes().len()).sum();
        let properties = if version.is_v5() { self.properties.block_len(UNSUBSCRIBE)? } else { 0 };
        Ok(2 + properties + filters)
    }

    fn put_body(&self, version: Version, out: &mut BytesMut) {
        out.extend_from_slice(&self.id.get().to_be_bytes());
        if version.is_v5() {
            self.properties.put(out);
        }
        for filter in &self.filters {
            put_binary(out, filter.as_bytes());
        }
    }
}
