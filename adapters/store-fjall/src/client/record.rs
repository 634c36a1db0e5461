//! Records of a client as bytes.
//!
//! A key is its kind (one byte) and its parts, numbers big-endian, a Topic Filter as it is. A value is the version of its encoding, its parts,
//! and the checksum of key and value. Messages and subscriptions are kept as the MQTT 5.0 packets that say them, so that the one codec of packets
//! judges them.
//!
//! Invariants: what was encoded decodes to the same; bytes that were not encoded here are refused, never misread in silence, and never cause a
//! panic.
use crate::checksum::crc32c;
use bytes::{Buf, BufMut, BytesMut};
use mqtt_proto::{
    ClientId, Delivery, Packet, PacketId, Properties, Property, Publish, QoS, Subscribe, TopicFilter, Version,
};
use mqtt_session::UnixTime;
use mqtt_session::client::{Message, Record, RecordKey, SubscribeOptions, SubscriptionState, Token};

/// The version of all value encodings below.
const VERSION: u8 = 1;

const SESSION: u8 = 1;
const COUNTERS: u8 = 2;
const MESSAGE: u8 = 3;
const FLIGHT: u8 = 4;
const INCOMING: u8 = 5;
const SUBSCRIPTION: u8 = 6;

/// A key in bytes; `None` for one that this version does not know.
pub(super) fn encode_key(key: &RecordKey) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(9);
    match key {
        RecordKey::Session => out.put_u8(SESSION),
        RecordKey::Counters => out.put_u8(COUNTERS),
        RecordKey::Message(token) => {
            out.put_u8(MESSAGE);
            out.put_u64(token.as_u64());
        }
        RecordKey::Flight(id) => {
            out.put_u8(FLIGHT);
            out.put_u16(id.get());
        }
        RecordKey::Incoming(id) => {
            out.put_u8(INCOMING);
            out.put_u16(id.get());
        }
        RecordKey::Subscription(filter) => {
            out.put_u8(SUBSCRIPTION);
            out.extend_from_slice(filter.as_bytes());
        }
        _ => return None,
    }
    Some(out)
}

/// What is kept under a damaged key, for a person.
pub(super) fn describe(key: &[u8]) -> String {
    let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
    match key {
        [SESSION] => "the client identifier".to_owned(),
        [COUNTERS] => "the counters".to_owned(),
        [MESSAGE, token @ ..] if token.len() == 8 => format!("the message with token {}", number(token)),
        [FLIGHT, id @ ..] if id.len() == 2 => format!("which message is on its way as {}", number(id)),
        [INCOMING, id @ ..] if id.len() == 2 => format!("the identifier {} of a received QoS 2 message", number(id)),
        [SUBSCRIPTION, filter @ ..] => format!("the subscription to {:?}", String::from_utf8_lossy(filter)),
        other => format!("a record with the unknown key {:02x?}", &other[..other.len().min(64)]),
    }
}

/// A value in bytes, for the key whose bytes are `key`.
pub(super) fn encode_value(key: &[u8], record: &Record) -> Option<Vec<u8>> {
    let mut out = BytesMut::new();
    out.put_u8(VERSION);
    match record {
        Record::Session { client_id, connecting } => {
            out.put_u8((*connecting).into());
            out.extend_from_slice(client_id.as_bytes());
        }
        Record::Counters { token, ack } => {
            out.put_u64(*token);
            out.put_u64(*ack);
        }
        Record::Message { message, expires_at, .. } => {
            out.put_u8(message.qos as u8);
            out.put_u64(expires_at.map_or(0, UnixTime::as_millis));
            let publish = Publish {
                delivery: Delivery::AtMostOnce,
                retain: message.retain,
                topic: Some(message.topic.clone()),
                payload: message.payload.clone(),
                properties: message.properties.clone(),
            };
            publish.encode(Version::V5, &mut out).ok()?;
        }
        Record::Flight { token, order, released, .. } => {
            out.put_u64(token.as_u64());
            out.put_u64(*order);
            out.put_u8((*released).into());
        }
        Record::Incoming { unacknowledged, .. } => out.put_u64(unacknowledged.unwrap_or(0)), // numbered from 1
        Record::Subscription(state) => {
            out.put_u8(1 + u8::from(state.confirmed));
            subscribe(state).encode(Version::V5, &mut out).ok()?;
        }
        Record::Unsubscribe(_) => out.put_u8(0),
        _ => return None,
    }
    let sum = crc32c(&[key, &out]);
    out.put_u32(sum);
    Some(out.into())
}

/// The record that these bytes are, or what is wrong with them.
pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<Record, String> {
    let wrong = "its checksum is wrong";
    let (body, sum) = value.split_last_chunk().ok_or(wrong)?;
    if crc32c(&[key, body]) != u32::from_be_bytes(*sum) {
        return Err(wrong.to_owned());
    }
    match body.split_first() {
        Some((&VERSION, rest)) => parts(key, rest).ok_or_else(|| "its parts make no sense".to_owned()),
        Some((version, _)) => Err(format!("its encoding has the unknown version {version}")),
        None => Err(wrong.to_owned()),
    }
}

fn parts(mut key: &[u8], mut rest: &[u8]) -> Option<Record> {
    let kind = key.try_get_u8().ok()?;
    let record = match kind {
        SESSION => {
            let connecting = flag(&mut rest)?;
            let client_id = ClientId::try_from(std::str::from_utf8(std::mem::take(&mut rest)).ok()?).ok()?;
            Record::Session { client_id, connecting }
        }
        COUNTERS => Record::Counters { token: rest.try_get_u64().ok()?, ack: rest.try_get_u64().ok()? },
        MESSAGE => {
            let token = Token::from_u64(key.try_get_u64().ok()?);
            let qos = QoS::new(rest.try_get_u8().ok()?)?;
            let expires_at = Some(rest.try_get_u64().ok()?).filter(|at| *at > 0).map(UnixTime::from_millis);
            let Packet::Publish(publish) = packet(&mut rest)? else { return None };
            let Publish { retain, topic, payload, properties, .. } = publish;
            Record::Message { token, message: Message { topic: topic?, payload, qos, retain, properties }, expires_at }
        }
        FLIGHT => Record::Flight {
            id: packet_id(&mut key)?,
            token: Token::from_u64(rest.try_get_u64().ok()?),
            order: rest.try_get_u64().ok()?,
            released: flag(&mut rest)?,
        },
        INCOMING => Record::Incoming {
            id: packet_id(&mut key)?,
            unacknowledged: Some(rest.try_get_u64().ok()?).filter(|number| *number > 0),
        },
        SUBSCRIPTION => {
            let filter = TopicFilter::try_from(std::str::from_utf8(std::mem::take(&mut key)).ok()?).ok()?;
            match rest.try_get_u8().ok()? {
                0 => Record::Unsubscribe(filter),
                state @ 1..=2 => Record::Subscription(subscription(filter, state == 2, packet(&mut rest)?)?),
                _ => return None,
            }
        }
        _ => return None,
    };
    (key.is_empty() && rest.is_empty()).then_some(record)
}

fn flag(rest: &mut &[u8]) -> Option<bool> {
    match rest.try_get_u8().ok()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn packet_id(key: &mut &[u8]) -> Option<PacketId> {
    PacketId::new(key.try_get_u16().ok()?)
}

/// Takes all of `rest`, which is one packet.
fn packet(rest: &mut &[u8]) -> Option<Packet> {
    let mut bytes = BytesMut::from(std::mem::take(rest));
    Packet::read(&mut bytes, Version::V5, u32::MAX).ok().flatten().filter(|_| bytes.is_empty())
}

fn subscribe(state: &SubscriptionState) -> Subscribe {
    let identifier = state.more.identifier.map(Property::SubscriptionIdentifier);
    let properties = identifier.into_iter().chain(state.more.user_properties.iter());
    let properties = properties.fold(Properties::builder(), |all, property| all.with(property)).build();
    Subscribe { id: PacketId::MIN, filters: vec![(state.filter.clone(), state.options)], properties }
}

fn subscription(filter: TopicFilter, confirmed: bool, packet: Packet) -> Option<SubscriptionState> {
    let Packet::Subscribe(Subscribe { filters, properties, .. }) = packet else { return None };
    let [(same, options)] = &filters[..] else { return None };
    let user = properties.iter().filter(|property| matches!(property, Property::UserProperty(..)));
    let more = SubscribeOptions {
        identifier: properties.subscription_identifiers().next(),
        user_properties: user.fold(Properties::builder(), |all, property| all.with(property)).build(),
    };
    (*same == filter).then(|| SubscriptionState { filter, options: *options, more, confirmed })
}
