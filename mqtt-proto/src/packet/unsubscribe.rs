//! UNSUBSCRIBE (MQTT 5.0 section 3.10).
use super::subscribe::topic_filter;
use super::{Body, codec};
use crate::error::{Fault, violation};
use crate::properties::{self, PropertiesRef, UNSUBSCRIBE};
use crate::wire::{packet_id, put_binary};
use crate::{EncodeError, Frame, PacketId, PacketType, Properties, TopicFilter, Version};
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

codec!(Unsubscribe);

impl Unsubscribe {
    pub(super) fn parse(frame: &Frame, version: Version) -> Result<Self, Fault> {
        // [MQTT-3.10.1-1]
        frame.as_ref().expect(PacketType::Unsubscribe, version)?;
        let body = frame.body();
        let (rest, id) = packet_id(body)?;
        let (mut rest, properties) =
            if version.is_v5() { properties::block(UNSUBSCRIBE, rest)? } else { (rest, PropertiesRef::default()) };
        // [MQTT-3.10.3-2] At least one Topic Filter.
        if rest.is_empty() {
            return Err(violation!("an UNSUBSCRIBE without topic filters", "MQTT-3.10.3-2"));
        }
        let mut filters = Vec::new();
        while !rest.is_empty() {
            let filter;
            // [MQTT-3.10.3-1]
            (rest, filter) = topic_filter(rest, body)?;
            filters.push(filter);
        }
        Ok(Self { id, filters, properties: Properties::slice_of(body, properties) })
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
