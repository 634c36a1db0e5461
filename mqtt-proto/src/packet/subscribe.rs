//! SUBSCRIBE (MQTT 5.0 section 3.8).
use super::{Body, encoder};
use crate::error::{Fault, malformed, violation};
use crate::properties::{self, PropertiesRef, SUBSCRIBE};
use crate::topic::check_filter;
use crate::wire::{Parsed, binary, packet_id, put_binary, text_fault};
use crate::{
    DecodeError, EncodeError, Frame, PacketId, PacketType, Properties, QoS, RetainHandling, SubscriptionOptions,
    TopicFilter, Version,
};
use alloc::vec::Vec;
use bytes::BytesMut;
use nom::number::complete::be_u8;

/// SUBSCRIBE (section 3.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Packet Identifier.
    pub id: PacketId,
    /// Topic Filters with their options; never empty [MQTT-3.8.3-2].
    pub filters: Vec<(TopicFilter, SubscriptionOptions)>,
    /// SUBSCRIBE Properties.
    pub properties: Properties,
}

encoder!(Subscribe);

impl Subscribe {
    /// Decodes a frame of this type.
    pub fn decode(frame: Frame, version: Version) -> Result<Self, DecodeError> {
        // [MQTT-3.8.1-1]
        let body = frame.body_of(PacketType::Subscribe, version)?;
        let (rest, id) = packet_id(&body)?;
        let (mut rest, properties) =
            if version.is_v5() { properties::block(SUBSCRIBE, rest)? } else { (rest, PropertiesRef::default()) };
        // [MQTT-3.8.3-2] [3.1.1: MQTT-3.8.3-3] At least one Topic Filter.
        if rest.is_empty() {
            return Err(violation!("a SUBSCRIBE without topic filters", "MQTT-3.8.3-2").into());
        }
        let mut filters = Vec::with_capacity(count(rest).min(MAX_RESERVED));
        while !rest.is_empty() {
            let (text, share_len, byte);
            (rest, (text, share_len)) = topic_filter(rest)?;
            (rest, byte) = be_u8(rest)?;
            let options = options(byte, version)?;
            // [MQTT-3.8.3-4] No Local is not for Shared Subscriptions.
            if options.no_local && share_len > 0 {
                return Err(violation!("No Local on a shared subscription", "MQTT-3.8.3-4").into());
            }
            filters.push((TopicFilter::trusted(body.slice_ref(text), share_len), options));
        }
        Ok(Self { id, filters, properties: Properties::slice_of(&body, properties) })
    }
}

/// Room for filters that is made before they are checked; beyond it the list grows as they are read.
const MAX_RESERVED: usize = 64;

/// How many filters the payload announces, so that the list is allocated once.
fn count(mut payload: &[u8]) -> usize {
    let mut count = 0;
    while let [high, low, rest @ ..] = payload {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        payload = rest.get(length + 1..).unwrap_or_default();
        count += 1;
    }
    count
}

/// A Topic Filter [MQTT-3.8.3-1], [MQTT-3.10.3-1] and the length of its share name.
#[inline]
pub(super) fn topic_filter(input: &[u8]) -> Parsed<'_, (&[u8], u16)> {
    let (rest, text) = binary(input)?;
    Ok((rest, (text, check_filter(text).map_err(text_fault)?)))
}

#[inline]
fn options(byte: u8, version: Version) -> Result<SubscriptionOptions, Fault> {
    if !version.is_v5() {
        // [3.1.1: MQTT-3.8.3-4] The upper six bits are reserved, and there is no QoS 3.
        return match QoS::new(byte) {
            Some(qos) => Ok(qos.into()),
            None => Err(malformed!("a requested QoS byte other than 0, 1 and 2", "3.1.1: MQTT-3.8.3-4")),
        };
    }
    // [MQTT-3.8.3-5] Bits 6 and 7 are reserved.
    if byte & 0b1100_0000 != 0 {
        return Err(malformed!("reserved subscription options are set", "MQTT-3.8.3-5"));
    }
    let Some(qos) = QoS::new(byte & 0b11) else {
        return Err(violation!("maximum QoS 3", "section 3.8.3.1"));
    };
    let retain_handling = match byte >> 4 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::DoNotSend,
        _ => return Err(violation!("retain handling 3", "section 3.8.3.1")),
    };
    Ok(SubscriptionOptions {
        qos,
        no_local: byte & 0b100 != 0,
        retain_as_published: byte & 0b1000 != 0,
        retain_handling,
    })
}

fn options_byte(options: SubscriptionOptions, version: Version) -> u8 {
    if !version.is_v5() {
        return options.qos as u8;
    }
    options.qos as u8
        | u8::from(options.no_local) << 2
        | u8::from(options.retain_as_published) << 3
        | (options.retain_handling as u8) << 4
}

impl Body for Subscribe {
    fn header(&self) -> u8 {
        // [MQTT-3.8.1-1]
        (PacketType::Subscribe as u8) << 4 | 2
    }

    fn body_len(&self, version: Version) -> Result<usize, EncodeError> {
        // [MQTT-3.8.3-2]
        if self.filters.is_empty() {
            return Err(EncodeError::Invalid("a SUBSCRIBE without topic filters"));
        }
        let mut length = 2;
        for (filter, options) in &self.filters {
            // [MQTT-3.8.3-4]
            if version.is_v5() && options.no_local && filter.is_shared() {
                return Err(EncodeError::Invalid("No Local on a shared subscription"));
            }
            length += 2 + filter.as_bytes().len() + 1;
        }
        if version.is_v5() {
            length += self.properties.block_len(SUBSCRIBE)?;
        }
        Ok(length)
    }

    fn put_body(&self, version: Version, out: &mut BytesMut) {
        out.extend_from_slice(&self.id.get().to_be_bytes());
        if version.is_v5() {
            self.properties.put(out);
        }
        for (filter, options) in &self.filters {
            put_binary(out, filter.as_bytes());
            out.extend_from_slice(&[options_byte(*options, version)]);
        }
    }
}
