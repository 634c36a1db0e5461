//! Records as bytes.
//!
//! A key is its kind (one byte, in the order in which records are put back) and its parts: texts with a two-byte length,
//! numbers big-endian, so that the entries of a log lie in the order of their positions. A value is the version of its
//! encoding, its parts, and the checksum of key and value.
//!
//! Invariants: what was encoded decodes to the same; bytes that were not encoded here are refused, never misread in
//! silence, and never cause a panic.
use crate::checksum::crc32c;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use mqtt_proto::{
    ClientId, Decoder, Packet, PacketId, Properties, QoS, RetainHandling, SubscriptionOptions, TopicFilter, TopicName,
    Will,
};
use mqtt_session::UnixTime;
use mqtt_session::broker::{LogHead, Message, MessageId, Position, Record, RecordKey, SessionRecord};
use std::fmt;
use std::sync::Arc;

/// The version of all value encodings below.
const VERSION: u8 = 1;
/// The longest key that the tree takes.
pub(crate) const MAX_KEY: usize = 65_535;

/// The kinds, in the order of [`RecordKey`].
pub(crate) mod kind {
    pub(crate) const COUNTERS: u8 = 1;
    pub(crate) const SESSION: u8 = 2;
    pub(crate) const SUBSCRIPTION: u8 = 3;
    pub(crate) const CURSOR: u8 = 4;
    pub(crate) const SETTLED: u8 = 5;
    pub(crate) const INCOMING: u8 = 6;
    pub(crate) const MESSAGE: u8 = 7;
    pub(crate) const LOG: u8 = 8;
    pub(crate) const ENTRY: u8 = 9;
    pub(crate) const GROUP_SETTLED: u8 = 10;
    pub(crate) const OUTGOING: u8 = 11;
    pub(crate) const RETAINED: u8 = 12;
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// The checksum says so.
    Checksum,
    /// The encoding has a version that is not known.
    Version(u8),
    /// The parts do not make sense.
    Parts,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checksum => f.write_str("its checksum is wrong"),
            Self::Version(version) => write!(f, "its encoding has the unknown version {version}"),
            Self::Parts => f.write_str("its parts make no sense"),
        }
    }
}

/// A key in bytes. It may be longer than [`MAX_KEY`].
pub(crate) fn encode_key(key: &RecordKey) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let client = |out: &mut Vec<u8>, kind: u8, id: &ClientId| {
        out.put_u8(kind);
        put_text(out, id.as_str());
    };
    match key {
        RecordKey::Counters => out.put_u8(kind::COUNTERS),
        RecordKey::Session(id) => client(&mut out, kind::SESSION, id),
        RecordKey::Subscription(id, filter) => {
            client(&mut out, kind::SUBSCRIPTION, id);
            put_text(&mut out, filter.as_str());
        }
        RecordKey::Cursor(id, filter) => {
            client(&mut out, kind::CURSOR, id);
            put_text(&mut out, filter.as_str());
        }
        RecordKey::Settled(id, filter, at) => {
            client(&mut out, kind::SETTLED, id);
            put_text(&mut out, filter.as_str());
            out.put_u64(at.0);
        }
        RecordKey::Incoming(id, packet) => {
            client(&mut out, kind::INCOMING, id);
            out.put_u16(packet.get());
        }
        RecordKey::Message(id) => {
            out.put_u8(kind::MESSAGE);
            out.put_u64(id.0);
        }
        RecordKey::Log(filter) => {
            out.put_u8(kind::LOG);
            put_text(&mut out, filter.as_str());
        }
        RecordKey::Entry(filter, at) | RecordKey::GroupSettled(filter, at) => {
            out.put_u8(if matches!(key, RecordKey::Entry(..)) { kind::ENTRY } else { kind::GROUP_SETTLED });
            put_text(&mut out, filter.as_str());
            out.put_u64(at.0);
        }
        RecordKey::Outgoing(id, packet) => {
            client(&mut out, kind::OUTGOING, id);
            out.put_u16(packet.get());
        }
        RecordKey::Retained(topic) => {
            out.put_u8(kind::RETAINED);
            put_text(&mut out, topic.as_str());
        }
        _ => return None,
    }
    Some(out)
}

/// The key that these bytes are.
pub(crate) fn decode_key(bytes: &[u8]) -> Option<RecordKey> {
    let mut rest = bytes;
    let key = match rest.try_get_u8().ok()? {
        kind::COUNTERS => RecordKey::Counters,
        kind::SESSION => RecordKey::Session(client_id(&mut rest)?),
        kind::SUBSCRIPTION => RecordKey::Subscription(client_id(&mut rest)?, filter(&mut rest)?),
        kind::CURSOR => RecordKey::Cursor(client_id(&mut rest)?, filter(&mut rest)?),
        kind::SETTLED => RecordKey::Settled(client_id(&mut rest)?, filter(&mut rest)?, position(&mut rest)?),
        kind::INCOMING => RecordKey::Incoming(client_id(&mut rest)?, packet_id(&mut rest)?),
        kind::MESSAGE => RecordKey::Message(MessageId(rest.try_get_u64().ok()?)),
        kind::LOG => RecordKey::Log(filter(&mut rest)?),
        kind::ENTRY => RecordKey::Entry(filter(&mut rest)?, position(&mut rest)?),
        kind::GROUP_SETTLED => RecordKey::GroupSettled(filter(&mut rest)?, position(&mut rest)?),
        kind::OUTGOING => RecordKey::Outgoing(client_id(&mut rest)?, packet_id(&mut rest)?),
        kind::RETAINED => RecordKey::Retained(topic(text(&mut rest)?)?),
        _ => return None,
    };
    rest.is_empty().then_some(key)
}

/// A value in bytes, for the key whose bytes are `key`.
pub(crate) fn encode_value(key: &[u8], record: &Record) -> Option<Vec<u8>> {
    let mut out = vec![VERSION];
    match record {
        Record::Counters { last, deliveries } => {
            out.put_u64(*last);
            out.put_u64(*deliveries);
        }
        Record::Session(record) => put_session(&mut out, record),
        Record::Subscription { options, identifier } => {
            let flags = [(options.no_local, 1 << 2), (options.retain_as_published, 1 << 3)];
            let flags = flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, bit)| all | bit);
            out.put_u8(options.qos as u8 | flags | (options.retain_handling as u8) << 4);
            out.put_u32(*identifier);
        }
        Record::Cursor(at) => out.put_u64(at.0),
        Record::Log(head) => {
            out.put_u64(head.start.0);
            out.put_u64(head.end.0);
            out.put_u64(head.bytes);
        }
        Record::Mark => {}
        Record::Message { message, expires_at } => put_message(&mut out, message, *expires_at),
        Record::Entry(id) => out.put_u64(id.0),
        Record::Outgoing { order, message, places, retain, identifiers, released } => {
            out.put_u64(*order);
            out.put_u64(message.0);
            out.put_u8(u8::from(*retain) | u8::from(*released) << 1);
            out.put_u32(u32::try_from(places.len()).ok()?);
            for (filter, at) in places {
                put_text(&mut out, filter.as_str());
                out.put_u64(at.0);
            }
            for identifier in identifiers {
                out.put_u32(*identifier);
            }
        }
        _ => return None,
    }
    let sum = crc32c(&[key, &out]);
    out.put_u32(sum);
    Some(out)
}

/// The record that these bytes are, under the key that the bytes `key` are.
pub(crate) fn decode_value(key: &[u8], value: &[u8]) -> Result<(RecordKey, Record), Damage> {
    let (body, sum) = value.split_last_chunk().ok_or(Damage::Checksum)?;
    if crc32c(&[key, body]) != u32::from_be_bytes(*sum) {
        return Err(Damage::Checksum);
    }
    let (version, mut rest) = body.split_first().ok_or(Damage::Parts)?;
    if *version != VERSION {
        return Err(Damage::Version(*version));
    }
    let key = decode_key(key).ok_or(Damage::Parts)?;
    let record = decode_parts(&key, &mut rest).filter(|_| rest.is_empty()).ok_or(Damage::Parts)?;
    Ok((key, record))
}

fn decode_parts(key: &RecordKey, rest: &mut &[u8]) -> Option<Record> {
    Some(match key {
        RecordKey::Counters => {
            Record::Counters { last: rest.try_get_u64().ok()?, deliveries: rest.try_get_u64().ok()? }
        }
        RecordKey::Session(client_id) => Record::Session(session(client_id.clone(), rest)?),
        RecordKey::Subscription(..) => {
            let bits = rest.try_get_u8().ok()?;
            let options = SubscriptionOptions {
                qos: QoS::new(bits & 3)?,
                no_local: bits & 1 << 2 != 0,
                retain_as_published: bits & 1 << 3 != 0,
                retain_handling: match bits >> 4 {
                    0 => RetainHandling::Send,
                    1 => RetainHandling::SendIfNew,
                    2 => RetainHandling::DoNotSend,
                    _ => return None,
                },
            };
            Record::Subscription { options, identifier: rest.try_get_u32().ok()? }
        }
        RecordKey::Cursor(..) => Record::Cursor(position(rest)?),
        RecordKey::Log(_) => {
            let (start, end) = (position(rest)?, position(rest)?);
            Record::Log(LogHead { start, end, bytes: rest.try_get_u64().ok()? })
        }
        RecordKey::Settled(..) | RecordKey::GroupSettled(..) | RecordKey::Incoming(..) => Record::Mark,
        RecordKey::Message(_) | RecordKey::Retained(_) => message(rest)?,
        RecordKey::Entry(..) => Record::Entry(MessageId(rest.try_get_u64().ok()?)),
        RecordKey::Outgoing(..) => {
            let (order, message) = (rest.try_get_u64().ok()?, MessageId(rest.try_get_u64().ok()?));
            let flags = rest.try_get_u8().ok().filter(|flags| *flags < 4)?;
            let mut places = Vec::new();
            for _ in 0..rest.try_get_u32().ok()? {
                places.push((filter(rest)?, position(rest)?));
            }
            let mut identifiers = Vec::with_capacity(rest.len() / 4);
            while !rest.is_empty() {
                identifiers.push(rest.try_get_u32().ok()?);
            }
            let (retain, released) = (flags & 1 != 0, flags & 2 != 0);
            Record::Outgoing { order, message, places, retain, identifiers, released }
        }
        _ => return None,
    })
}

fn put_session(out: &mut Vec<u8>, record: &SessionRecord) {
    let SessionRecord { client_id: _, identity, expiry, disconnected_at, will } = record;
    let parts = [identity.is_some(), disconnected_at.is_some(), will.is_some()];
    out.put_u8(parts.iter().enumerate().fold(0, |all, (bit, set)| all | u8::from(*set) << bit));
    out.put_u32(*expiry);
    if let Some(identity) = identity {
        put_bytes(out, identity.as_bytes());
    }
    if let Some(at) = disconnected_at {
        out.put_u64(at.as_millis());
    }
    if let Some(will) = will {
        out.put_u8(will.qos as u8 | u8::from(will.retain) << 2);
        put_text(out, will.topic.as_str());
        put_bytes(out, will.properties.raw());
        put_bytes(out, &will.payload);
    }
}

fn session(client_id: ClientId, rest: &mut &[u8]) -> Option<SessionRecord> {
    let flags = rest.try_get_u8().ok().filter(|flags| *flags < 8)?;
    let expiry = rest.try_get_u32().ok()?;
    let identity = match flags & 1 {
        0 => None,
        _ => Some(std::str::from_utf8(bytes(rest)?).ok()?.to_owned()),
    };
    let disconnected_at = match flags & 2 {
        0 => None,
        _ => Some(UnixTime::from_millis(rest.try_get_u64().ok()?)),
    };
    let will = match flags & 4 {
        0 => None,
        _ => Some(Arc::new(will(rest)?)),
    };
    Some(SessionRecord { client_id, identity, expiry, disconnected_at, will })
}

fn will(rest: &mut &[u8]) -> Option<Will> {
    let bits = rest.try_get_u8().ok().filter(|bits| *bits < 8)?;
    Some(Will {
        qos: QoS::new(bits & 3)?,
        retain: bits & 4 != 0,
        topic: topic(text(rest)?)?,
        properties: will_properties(bytes(rest)?)?,
        payload: Bytes::copy_from_slice(bytes(rest)?),
    })
}

fn put_message(out: &mut Vec<u8>, message: &Message, expires_at: Option<UnixTime>) {
    let Message { topic, payload, qos, retain, properties, expires_at: _, publisher } = message;
    out.reserve(topic.len() + payload.len() + properties.len() + 64);
    let parts = [*retain, expires_at.is_some(), publisher.is_some()];
    out.put_u8(parts.iter().enumerate().fold(*qos as u8, |all, (bit, set)| all | u8::from(*set) << (bit + 2)));
    put_text(out, topic.as_str());
    if let Some(at) = expires_at {
        out.put_u64(at.as_millis());
    }
    if let Some(publisher) = publisher {
        put_bytes(out, publisher.as_bytes());
    }
    put_bytes(out, properties.raw());
    out.extend_from_slice(payload);
}

/// Takes all of `rest`, whose end is that of the payload.
fn message(rest: &mut &[u8]) -> Option<Record> {
    let flags = rest.try_get_u8().ok().filter(|flags| *flags < 32)?;
    let topic = topic(text(rest)?)?;
    let expires_at = match flags & 8 {
        0 => None,
        _ => Some(UnixTime::from_millis(rest.try_get_u64().ok()?)),
    };
    let publisher = match flags & 16 {
        0 => None,
        _ => Some(Arc::from(std::str::from_utf8(bytes(rest)?).ok()?)),
    };
    let properties = message_properties(bytes(rest)?)?;
    let payload = Bytes::copy_from_slice(std::mem::take(rest));
    let (qos, retain) = (QoS::new(flags & 3)?, flags & 4 != 0);
    let message = Arc::new(Message { topic, payload, qos, retain, properties, expires_at: None, publisher });
    Some(Record::Message { message, expires_at })
}

/// Properties are kept as they stand on the wire. The codec of packets is the one judge of them, so it is asked with a
/// PUBLISH around them.
fn message_properties(raw: &[u8]) -> Option<Properties> {
    if raw.is_empty() {
        return Some(Properties::new());
    }
    let mut body = BytesMut::from(&[0, 1, b'x'][..]);
    put_var_int(&mut body, raw.len());
    body.extend_from_slice(raw);
    match decode(Decoder::client(mqtt_proto::Version::V5, u32::MAX), 0x30, &body, Some(&[0x20, 3, 0, 0, 0]))? {
        Packet::Publish(publish) => Some(publish.properties.compact()),
        _ => None,
    }
}

/// The same with a CONNECT around them.
fn will_properties(raw: &[u8]) -> Option<Properties> {
    if raw.is_empty() {
        return Some(Properties::new());
    }
    let mut body = BytesMut::from(&[0, 4, b'M', b'Q', b'T', b'T', 5, 0b110, 0, 0, 0, 0, 0][..]);
    put_var_int(&mut body, raw.len());
    body.extend_from_slice(raw);
    body.extend_from_slice(&[0, 1, b'x', 0, 0]);
    match decode(Decoder::server(u32::MAX), 0x10, &body, None)? {
        Packet::Connect(connect) => connect.will.map(|will| will.properties.compact()),
        _ => None,
    }
}

/// The packet with this header and body, behind another one if the order of packets asks for it.
fn decode(mut decoder: Decoder, header: u8, body: &[u8], before: Option<&[u8]>) -> Option<Packet> {
    let mut frame = BytesMut::from(before.unwrap_or_default());
    if before.is_some() {
        decoder.decode(&mut frame).ok()?;
    }
    frame.put_u8(header);
    put_var_int(&mut frame, body.len());
    frame.extend_from_slice(body);
    decoder.decode(&mut frame).ok().flatten().filter(|_| frame.is_empty())
}

fn put_var_int(out: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Texts of MQTT are at most 65,535 bytes long.
fn put_text(out: &mut Vec<u8>, text: &str) {
    out.put_u16(text.len() as u16);
    out.extend_from_slice(text.as_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u32(bytes.len() as u32);
    out.extend_from_slice(bytes);
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let length = rest.try_get_u16().ok()?;
    let (bytes, after) = rest.split_at_checked(length.into())?;
    *rest = after;
    std::str::from_utf8(bytes).ok()
}

fn bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = rest.try_get_u32().ok()?;
    let (bytes, after) = rest.split_at_checked(length as usize)?;
    *rest = after;
    Some(bytes)
}

fn client_id(rest: &mut &[u8]) -> Option<ClientId> {
    ClientId::try_from(text(rest)?).ok()
}

fn filter(rest: &mut &[u8]) -> Option<TopicFilter> {
    TopicFilter::try_from(text(rest)?).ok()
}

fn topic(text: &str) -> Option<TopicName> {
    TopicName::try_from(text).ok()
}

fn packet_id(rest: &mut &[u8]) -> Option<PacketId> {
    PacketId::new(rest.try_get_u16().ok()?)
}

fn position(rest: &mut &[u8]) -> Option<Position> {
    rest.try_get_u64().ok().map(Position)
}
