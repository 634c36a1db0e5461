//! Records as bytes.
//!
//! A value is the version of its encoding, its parts, and the checksum of table, key and value.
//!
//! Invariants: what was encoded decodes to the same; bytes that were not encoded here are refused, never misread in
//! silence, and never cause a panic.
use crate::checksum::crc32c;
use crate::key::{Key, Table};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use mqtt_proto::{
    ClientId, Decoder, Packet, Properties, QoS, RetainHandling, SubscriptionOptions, TopicFilter, TopicName, Will,
};
use mqtt_session::UnixTime;
use mqtt_session::broker::{Message, Position, SessionRecord};
use std::fmt;
use std::sync::Arc;

/// The version of all encodings below.
const VERSION: u8 = 1;

/// What stands under a [`Key`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Counters(Counters),
    Session(SessionRecord),
    Log(LogRecord),
    Subscription {
        options: SubscriptionOptions,
        identifier: u32,
    },
    /// All before this position is acknowledged.
    Cursor(u64),
    /// Of a key that says everything.
    Mark,
    Outgoing(Outgoing),
    References(u32),
    Entry(Entry),
    /// Of a message in the queue, and of a retained one.
    Message(Kept),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// The greatest number that a message or position had.
    pub(crate) last: u64,
    /// How many deliveries were begun.
    pub(crate) deliveries: u64,
    /// The greatest number that a session had.
    pub(crate) sessions: u64,
    /// The greatest number that a log had.
    pub(crate) logs: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogRecord {
    /// `None`: nobody subscribes it any more, and its entries are being removed.
    pub(crate) filter: Option<TopicFilter>,
    /// Entries before this position are over.
    pub(crate) start: u64,
    /// Entries before this position are removed.
    pub(crate) swept: u64,
}

/// An entry of a log. It says how large the log was before it, so that the size of a log follows from its first and last
/// entries alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) message: u64,
    /// Bytes of all entries that the log ever had before this one.
    pub(crate) before: u64,
    /// Bytes of this one.
    pub(crate) bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    /// Its place among all deliveries.
    pub(crate) order: u64,
    pub(crate) message: u64,
    /// Where it stands in logs.
    pub(crate) places: Vec<(TopicFilter, Position)>,
    pub(crate) retain: bool,
    pub(crate) identifiers: Vec<u32>,
    pub(crate) released: bool,
}

/// A message, and when it expires; its own `expires_at` is of a clock that has ended, and `None`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    pub(crate) message: Arc<Message>,
    pub(crate) expires_at: Option<UnixTime>,
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

fn checksum(table: Table, key: &[u8], body: &[u8]) -> u32 {
    crc32c(&[&[table as u8], key, body])
}

/// A value in bytes, for the key whose bytes are `key`.
pub(crate) fn encode(table: Table, key: &[u8], value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    out.put_u8(VERSION);
    match value {
        Value::Counters(Counters { last, deliveries, sessions, logs }) => {
            for number in [last, deliveries, sessions, logs] {
                out.put_u64(*number);
            }
        }
        Value::Session(record) => put_session(&mut out, record),
        Value::Log(LogRecord { filter, start, swept }) => {
            out.put_u64(*start);
            out.put_u64(*swept);
            if let Some(filter) = filter {
                put_text(&mut out, filter.as_str());
            }
        }
        Value::Subscription { options, identifier } => {
            let flags = [(options.no_local, 1 << 2), (options.retain_as_published, 1 << 3)];
            let flags = flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, bit)| all | bit);
            out.put_u8(options.qos as u8 | flags | (options.retain_handling as u8) << 4);
            out.put_u32(*identifier);
        }
        Value::Cursor(at) => out.put_u64(*at),
        Value::Mark => {}
        Value::Outgoing(Outgoing { order, message, places, retain, identifiers, released }) => {
            out.put_u64(*order);
            out.put_u64(*message);
            out.put_u8(u8::from(*retain) | u8::from(*released) << 1);
            out.put_u32(places.len() as u32);
            for (filter, at) in places {
                put_text(&mut out, filter.as_str());
                out.put_u64(at.0);
            }
            for identifier in identifiers {
                out.put_u32(*identifier);
            }
        }
        Value::References(count) => out.put_u32(*count),
        Value::Entry(Entry { message, before, bytes }) => {
            for number in [message, before, bytes] {
                out.put_u64(*number);
            }
        }
        Value::Message(kept) => put_message(&mut out, kept),
    }
    let sum = checksum(table, key, &out);
    out.put_u32(sum);
    out
}

/// The record that these bytes are, under the key that the bytes `key` are.
pub(crate) fn decode(table: Table, key: &[u8], value: &[u8]) -> Result<(Key, Value), Damage> {
    let (body, sum) = value.split_last_chunk().ok_or(Damage::Checksum)?;
    if checksum(table, key, body) != u32::from_be_bytes(*sum) {
        return Err(Damage::Checksum);
    }
    let (version, mut rest) = body.split_first().ok_or(Damage::Parts)?;
    if *version != VERSION {
        return Err(Damage::Version(*version));
    }
    let key = Key::decode(table, key).ok_or(Damage::Parts)?;
    let value = parts(&key, &mut rest).filter(|_| rest.is_empty()).ok_or(Damage::Parts)?;
    Ok((key, value))
}

fn parts(key: &Key, rest: &mut &[u8]) -> Option<Value> {
    let number = |rest: &mut &[u8]| rest.try_get_u64().ok();
    Some(match key {
        Key::Counters => Value::Counters(Counters {
            last: number(rest)?,
            deliveries: number(rest)?,
            sessions: number(rest)?,
            logs: number(rest)?,
        }),
        Key::Session(_) => Value::Session(session(rest)?),
        Key::Log(_) => {
            let (start, swept) = (number(rest)?, number(rest)?);
            let filter = if rest.is_empty() { None } else { Some(filter(rest)?) };
            Value::Log(LogRecord { filter, start, swept })
        }
        Key::Subscription(..) => {
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
            Value::Subscription { options, identifier: rest.try_get_u32().ok()? }
        }
        Key::Cursor(..) => Value::Cursor(number(rest)?),
        Key::Settled(..) | Key::GroupSettled(..) | Key::Incoming(..) => Value::Mark,
        Key::Outgoing(..) => {
            let (order, message) = (number(rest)?, number(rest)?);
            let flags = rest.try_get_u8().ok().filter(|flags| *flags < 4)?;
            let mut places = Vec::new();
            for _ in 0..rest.try_get_u32().ok()? {
                places.push((filter(rest)?, Position(number(rest)?)));
            }
            let mut identifiers = Vec::with_capacity(rest.len() / 4);
            while !rest.is_empty() {
                identifiers.push(rest.try_get_u32().ok()?);
            }
            let (retain, released) = (flags & 1 != 0, flags & 2 != 0);
            Value::Outgoing(Outgoing { order, message, places, retain, identifiers, released })
        }
        Key::References(_) => Value::References(rest.try_get_u32().ok()?),
        Key::Entry(..) => Value::Entry(Entry { message: number(rest)?, before: number(rest)?, bytes: number(rest)? }),
        Key::Message(_) => Value::Message(message(rest)?),
        Key::Retained(topic) => Value::Message(message(rest).filter(|kept| kept.message.topic == *topic)?),
    })
}

fn put_session(out: &mut Vec<u8>, record: &SessionRecord) {
    let SessionRecord { client_id, identity, expiry, disconnected_at, will } = record;
    let parts = [identity.is_some(), disconnected_at.is_some(), will.is_some()];
    out.put_u8(parts.iter().enumerate().fold(0, |all, (bit, set)| all | u8::from(*set) << bit));
    out.put_u32(*expiry);
    put_text(out, client_id.as_str());
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

fn session(rest: &mut &[u8]) -> Option<SessionRecord> {
    let flags = rest.try_get_u8().ok().filter(|flags| *flags < 8)?;
    let expiry = rest.try_get_u32().ok()?;
    let client_id = ClientId::try_from(text(rest)?).ok()?;
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

fn put_message(out: &mut Vec<u8>, Kept { message, expires_at }: &Kept) {
    let Message { topic, payload, qos, retain, properties, expires_at: _, publisher } = &**message;
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
fn message(rest: &mut &[u8]) -> Option<Kept> {
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
    Some(Kept { message, expires_at })
}

/// Properties are kept as they stand on the wire. The codec of packets is the one judge of them, so it is asked with a
/// PUBLISH around them.
pub(crate) fn message_properties(raw: &[u8]) -> Option<Properties> {
    if raw.is_empty() {
        return Some(Properties::new());
    }
    let mut body = BytesMut::from(&[0, 1, b'x'][..]);
    put_var_int(&mut body, raw.len());
    body.extend_from_slice(raw);
    match packet(Decoder::client(mqtt_proto::Version::V5, u32::MAX), 0x30, &body, Some(&[0x20, 3, 0, 0, 0]))? {
        Packet::Publish(publish) => Some(publish.properties.compact()),
        _ => None,
    }
}

/// The same with a CONNECT around them.
pub(crate) fn will_properties(raw: &[u8]) -> Option<Properties> {
    if raw.is_empty() {
        return Some(Properties::new());
    }
    let mut body = BytesMut::from(&[0, 4, b'M', b'Q', b'T', b'T', 5, 0b110, 0, 0, 0, 0, 0][..]);
    put_var_int(&mut body, raw.len());
    body.extend_from_slice(raw);
    body.extend_from_slice(&[0, 1, b'x', 0, 0]);
    match packet(Decoder::server(u32::MAX), 0x10, &body, None)? {
        Packet::Connect(connect) => connect.will.map(|will| will.properties.compact()),
        _ => None,
    }
}

/// The packet with this header and body, behind another one if the order of packets asks for it.
fn packet(mut decoder: Decoder, header: u8, body: &[u8], before: Option<&[u8]>) -> Option<Packet> {
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

fn filter(rest: &mut &[u8]) -> Option<TopicFilter> {
    TopicFilter::try_from(text(rest)?).ok()
}

fn topic(text: &str) -> Option<TopicName> {
    TopicName::try_from(text).ok()
}
