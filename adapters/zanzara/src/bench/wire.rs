//! Packets as bytes, as far as a load tool needs them (MQTT 3.1.1 and 5.0, chapters 2 and 3).
//!
//! Invariant: nothing here uses the project's codec, so that an error in it cannot hide in the tool that looks for it.
use std::io;

pub(super) const CONNACK: u8 = 2;
pub(super) const PUBLISH: u8 = 3;
pub(super) const PUBACK: u8 = 4;
pub(super) const PUBREC: u8 = 5;
pub(super) const PUBREL: u8 = 6;
pub(super) const PUBCOMP: u8 = 7;
pub(super) const SUBACK: u8 = 9;
pub(super) const PINGRESP: u8 = 13;

pub(super) const PINGREQ: [u8; 2] = [0xc0, 0];
pub(super) const DISCONNECT: [u8; 2] = [0xe0, 0];

/// Bytes of the stamp at the begin of every payload: run, publisher and sequence number.
pub(super) const STAMP: usize = 16;

/// A protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    V311,
    V5,
}

impl Protocol {
    /// As people write it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        }
    }

    fn level(self) -> u8 {
        match self {
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }

    /// An empty list of properties, where there are properties.
    fn no_properties(self, body: &mut Vec<u8>) {
        if self == Self::V5 {
            body.push(0);
        }
    }
}

/// How long a session lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// It is new and ends with the connection.
    Nothing,
    /// It is new and stays; MQTT 3.1.1 cannot ask for a new one.
    New,
    /// It is the one that was kept, and it stays.
    Resumed,
}

/// What CONNECT says.
pub(super) struct Connect<'a> {
    pub(super) protocol: Protocol,
    pub(super) client_id: &'a str,
    pub(super) username: Option<&'a str>,
    pub(super) password: Option<&'a [u8]>,
    pub(super) keep: Keep,
}

impl Connect<'_> {
    /// Appends the packet; no keep alive.
    pub(super) fn append(&self, out: &mut Vec<u8>) {
        let clean = match (self.keep, self.protocol) {
            (Keep::Nothing, _) | (Keep::New, Protocol::V5) => 2,
            _ => 0,
        };
        let name = if self.username.is_some() { 0x80 } else { 0 };
        let password = if self.password.is_some() { 0x40 } else { 0 };
        let mut body = Vec::new();
        text(b"MQTT", &mut body);
        body.extend_from_slice(&[self.protocol.level(), clean | name | password, 0, 0]);
        if self.protocol == Protocol::V5 && self.keep != Keep::Nothing {
            // Session Expiry Interval: never.
            body.extend_from_slice(&[5, 0x11, 0xff, 0xff, 0xff, 0xff]);
        } else {
            self.protocol.no_properties(&mut body);
        }
        text(self.client_id.as_bytes(), &mut body);
        for field in [self.username.map(str::as_bytes), self.password].into_iter().flatten() {
            text(field, &mut body);
        }
        packet(0x10, &body, out);
    }
}

/// Appends SUBSCRIBE to some filters with one QoS.
pub(super) fn subscribe(id: u16, filters: &[String], qos: u8, protocol: Protocol, out: &mut Vec<u8>) {
    let mut body = id.to_be_bytes().to_vec();
    protocol.no_properties(&mut body);
    for filter in filters {
        text(filter.as_bytes(), &mut body);
        body.push(qos);
    }
    packet(0x82, &body, out);
}

fn remaining_length(mut length: usize, out: &mut Vec<u8>) {
    loop {
        let byte = (length % 128) as u8;
        length /= 128;
        out.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            return;
        }
    }
}

fn text(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text);
}

fn packet(first: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    remaining_length(body.len(), out);
    out.extend_from_slice(body);
}

/// A packet of four bytes that answers a packet id.
pub(super) fn answer(kind: u8, id: [u8; 2]) -> [u8; 4] {
    let flags = if kind == PUBREL { 2 } else { 0 };
    [kind << 4 | flags, 2, id[0], id[1]]
}

/// What distinguishes the messages of one publisher.
pub(super) struct Stamp {
    /// The topic; each `#` in it stands for a decimal digit of the topic's number.
    pub(super) topic: String,
    /// Which run it is.
    pub(super) run: u32,
    pub(super) publisher: u32,
}

/// A PUBLISH of which only packet id, topic digits and sequence number change.
pub(super) struct Template {
    bytes: Vec<u8>,
    id: Option<usize>,
    digits: Vec<usize>,
    /// Where the sequence number stands; a payload too short for it, which only clears a retained message, has none.
    sequence: Option<usize>,
}

impl Template {
    pub(super) fn new(stamp: &Stamp, size: usize, qos: u8, retain: bool, protocol: Protocol) -> Self {
        let mut body = Vec::new();
        text(stamp.topic.as_bytes(), &mut body);
        let id = (qos > 0).then_some(body.len());
        if qos > 0 {
            body.extend_from_slice(&[0, 0]);
        }
        protocol.no_properties(&mut body);
        let payload = body.len();
        if size >= STAMP {
            body.extend_from_slice(&stamp.run.to_be_bytes());
            body.extend_from_slice(&stamp.publisher.to_be_bytes());
        }
        body.resize(payload + size, b'.');
        let mut bytes = Vec::new();
        packet(0x30 | qos << 1 | u8::from(retain), &body, &mut bytes);
        let head = bytes.len() - body.len();
        let digits = stamp.topic.bytes().enumerate().filter(|(_, byte)| *byte == b'#').map(|(at, _)| head + 2 + at);
        Self {
            id: id.map(|at| head + at),
            digits: digits.rev().collect(),
            sequence: (size >= STAMP).then_some(head + payload + 8),
            bytes,
        }
    }

    /// Appends the message of a sequence number to the topic of a number.
    pub(super) fn append(&self, sequence: u64, mut topic: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let message = &mut out[start..];
        if let Some(id) = self.id {
            message[id..id + 2].copy_from_slice(&packet_id(sequence));
        }
        for &at in &self.digits {
            message[at] = b'0' + (topic % 10) as u8;
            topic /= 10;
        }
        if let Some(at) = self.sequence {
            message[at..at + 8].copy_from_slice(&sequence.to_be_bytes());
        }
    }
}

/// Packet ids go round: those on their way differ as long as a window is below 65,535.
fn packet_id(sequence: u64) -> [u8; 2] {
    ((sequence % 65_535) as u16 + 1).to_be_bytes()
}

/// The topic that a pattern with `#` names by a number.
pub(super) fn topic(pattern: &str, mut number: u64) -> String {
    let mut bytes = pattern.as_bytes().to_vec();
    for byte in bytes.iter_mut().rev().filter(|byte| **byte == b'#') {
        *byte = b'0' + (number % 10) as u8;
        number /= 10;
    }
    String::from_utf8(bytes).expect("digits for ASCII characters keep UTF-8 whole")
}

/// As many `#` as the numbers below `count` have digits.
pub(super) fn digits(count: u64) -> String {
    "#".repeat(count.saturating_sub(1).max(1).ilog10() as usize + 1)
}

/// A packet as it arrived.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) body: &'a [u8],
    /// Bytes of the whole packet.
    pub(super) length: usize,
}

/// The first packet of a buffer, if it is there in full.
pub(super) fn frame(bytes: &[u8]) -> io::Result<Option<Frame<'_>>> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let (mut length, mut shift, mut head) = (0_usize, 0, 1);
    loop {
        let Some(&byte) = bytes.get(head) else { return Ok(None) };
        length |= usize::from(byte & 0x7f) << shift;
        head += 1;
        if byte < 0x80 {
            break;
        }
        shift += 7;
        if shift > 21 {
            return Err(io::Error::other("the broker sent a length of more than four bytes"));
        }
    }
    let Some(body) = bytes.get(head..head + length) else { return Ok(None) };
    Ok(Some(Frame { kind: first >> 4, flags: first & 0x0f, body, length: head + length }))
}

/// What a subscriber needs of a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) id: [u8; 2],
    /// Its stamp; `None` if it has not the size of this run's messages.
    pub(super) stamp: Option<Origin>,
}

/// What a message says of where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) run: u32,
    pub(super) publisher: u32,
    pub(super) sequence: u64,
}

impl Message {
    /// What has to be sent for it at once.
    pub(super) fn reply(&self) -> Option<[u8; 4]> {
        match self.qos {
            0 => None,
            1 => Some(answer(PUBACK, self.id)),
            _ => Some(answer(PUBREC, self.id)),
        }
    }
}

impl Frame<'_> {
    /// Takes a PUBLISH apart; a payload of another size is none of this run's.
    #[inline]
    pub(super) fn message(&self, size: usize, protocol: Protocol) -> io::Result<Message> {
        self.parts(size, protocol).ok_or_else(|| io::Error::other("the broker sent a PUBLISH that is malformed"))
    }

    #[inline]
    fn parts(&self, size: usize, protocol: Protocol) -> Option<Message> {
        let body = self.body;
        let qos = self.flags >> 1 & 3;
        let mut at = 2 + usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
        let mut id = [0, 0];
        if qos > 0 {
            id = [*body.get(at)?, *body.get(at + 1)?];
            at += 2;
        }
        if protocol == Protocol::V5 {
            at += properties(body.get(at..)?)?;
        }
        let payload = body.get(at..)?;
        let stamp = if payload.len() == size { origin(payload) } else { None };
        Some(Message { qos, retain: self.flags & 1 > 0, id, stamp })
    }

    /// The packet id of an acknowledgement; version 5 may add a reason, which must not be an error.
    pub(super) fn id(&self) -> io::Result<[u8; 2]> {
        match self.body {
            [high, low] | [high, low, ..=0x7f, ..] => Ok([*high, *low]),
            [_, _, reason, ..] => {
                Err(io::Error::other(format!("the broker refused a message (reason 0x{reason:02x})")))
            }
            _ => Err(io::Error::other("the broker sent an acknowledgement without a packet id")),
        }
    }

    /// What follows in the flow of an acknowledgement; the second is whether it was the last of the publisher's.
    pub(super) fn acknowledge(&self) -> io::Result<(Option<[u8; 4]>, bool)> {
        match self.kind {
            PUBACK | PUBCOMP => self.id().map(|_| (None, true)),
            PUBREC => Ok((Some(answer(PUBREL, self.id()?)), false)),
            PUBREL => Ok((Some(answer(PUBCOMP, self.id()?)), false)),
            kind => Err(self.unexpected(kind)),
        }
    }

    /// CONNACK: whether a session was resumed.
    pub(super) fn connected(&self) -> io::Result<bool> {
        match (self.kind, self.body) {
            (CONNACK, [present, 0, ..]) => Ok(present & 1 > 0),
            (CONNACK, [_, code, ..]) => Err(io::Error::other(format!("the broker refused a connection (code {code})"))),
            (kind, _) => Err(self.unexpected(kind)),
        }
    }

    /// CONNACK: how many messages of QoS 1 and 2 the broker takes at once (section 3.2.2.3.3).
    pub(super) fn receive_maximum(&self, protocol: Protocol) -> u64 {
        let found = (protocol == Protocol::V5).then(|| receive_maximum(self.body.get(2..)?)).flatten();
        found.map_or(65_535, u64::from)
    }

    /// SUBACK: how many filters were granted, all of them with the wanted QoS.
    pub(super) fn subscribed(&self, qos: u8, protocol: Protocol) -> io::Result<usize> {
        let head = if protocol == Protocol::V5 {
            2 + self.body.get(2..).and_then(properties).unwrap_or(self.body.len())
        } else {
            2
        };
        let codes = self.body.get(head..).unwrap_or_default();
        match codes.iter().find(|code| **code != qos) {
            None if self.kind == SUBACK && !codes.is_empty() => Ok(codes.len()),
            Some(code) if self.kind == SUBACK => {
                Err(io::Error::other(format!("the broker did not grant a subscription with QoS {qos} (code {code})")))
            }
            _ => Err(self.unexpected(self.kind)),
        }
    }

    /// An error about a packet that nobody asked for.
    pub(super) fn unexpected(&self, kind: u8) -> io::Error {
        match (kind, self.body.first()) {
            (14, Some(reason)) => io::Error::other(format!("the broker disconnected (reason 0x{reason:02x})")),
            _ => io::Error::other(format!("the broker sent a packet of type {kind}, which was not to come")),
        }
    }
}

/// The Receive Maximum of CONNACK's properties; `None` if it is not there.
fn receive_maximum(bytes: &[u8]) -> Option<u16> {
    let mut at = properties(&bytes[..bytes.len().min(4)]).map_or(1, |whole| if whole < 129 { 1 } else { 2 });
    let text = |at: usize| Some(2 + usize::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])));
    loop {
        let id = *bytes.get(at)?;
        at += 1;
        at += match id {
            0x21 => return Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])),
            0x24 | 0x25 | 0x28 | 0x29 | 0x2a => 1,
            0x13 | 0x22 => 2,
            0x11 | 0x27 => 4,
            0x26 => text(at)? + text(at + text(at)?)?,
            0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => text(at)?,
            _ => return None,
        };
    }
}

/// Bytes of a property list, its length included.
fn properties(bytes: &[u8]) -> Option<usize> {
    let (mut length, mut head) = (0_usize, 0);
    loop {
        let byte = *bytes.get(head)?;
        length |= usize::from(byte & 0x7f) << (7 * head);
        head += 1;
        if byte < 0x80 {
            return Some(head + length);
        }
        if head == 4 {
            return None;
        }
    }
}

#[inline]
fn origin(payload: &[u8]) -> Option<Origin> {
    let (run, rest) = payload.split_first_chunk()?;
    let (publisher, rest) = rest.split_first_chunk()?;
    let (sequence, _) = rest.split_first_chunk()?;
    Some(Origin {
        run: u32::from_be_bytes(*run),
        publisher: u32::from_be_bytes(*publisher),
        sequence: u64::from_be_bytes(*sequence),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_as_it_was_sent() {
        for (protocol, qos, size) in
            [(Protocol::V311, 0, 16), (Protocol::V311, 1, 64), (Protocol::V5, 2, 64), (Protocol::V5, 1, 100_000)]
        {
            let stamp = Stamp { topic: "load/7/##".to_owned(), run: 9, publisher: 7 };
            let mut bytes = Vec::new();
            Template::new(&stamp, size, qos, false, protocol).append(65_536, 42, &mut bytes);
            let whole = bytes.len();
            assert!(frame(&bytes[..whole - 1]).expect("no error").is_none(), "half a packet is none");
            bytes.extend_from_slice(&[0xd0, 0]);
            let found = frame(&bytes).expect("no error").expect("a packet");
            assert_eq!((found.kind, found.length), (PUBLISH, whole));
            assert_eq!(&found.body[2..11], b"load/7/42");
            let message = found.message(size, protocol).expect("a message");
            assert_eq!(message.stamp, Some(Origin { run: 9, publisher: 7, sequence: 65_536 }));
            assert_eq!((message.qos, message.id), (qos, if qos == 0 { [0, 0] } else { [0, 2] }));
            assert_eq!(found.message(size + 1, protocol).expect("a message").stamp, None, "it is another's");
        }
    }

    #[test]
    fn topics_have_as_many_digits_as_they_need() {
        assert_eq!([1, 2, 10, 11, 1000, 1001].map(digits), ["#", "#", "#", "##", "###", "####"]);
        assert_eq!(topic("a/##/b/#", 123), "a/12/b/3");
        assert_eq!(topic("a/##", 7), "a/07");
    }

    #[test]
    fn refusals_are_told_apart() {
        let read = |bytes: &'static [u8]| frame(bytes).expect("no error").expect("a packet");
        assert!(read(&[0x20, 2, 1, 0]).connected().expect("accepted"));
        assert!(read(&[0x20, 2, 0, 5]).connected().expect_err("refused").to_string().contains("code 5"));
        assert!(read(&[0x90, 3, 0, 1, 1]).connected().expect_err("no CONNACK").to_string().contains("type 9"));
        assert_eq!(read(&[0x90, 4, 0, 1, 1, 1]).subscribed(1, Protocol::V311).expect("granted"), 2);
        assert_eq!(read(&[0x90, 5, 0, 1, 0, 1, 1]).subscribed(1, Protocol::V5).expect("granted"), 2);
        assert!(read(&[0x90, 4, 0, 1, 1, 0x80]).subscribed(1, Protocol::V311).is_err());
        assert!(read(&[0x40, 3, 0, 1, 0x97]).acknowledge().expect_err("refused").to_string().contains("0x97"));
        assert_eq!(read(&[0x40, 3, 0, 1, 0x10]).acknowledge().expect("no subscriber is no error"), (None, true));
        assert_eq!(read(&[0x50, 2, 0, 1]).acknowledge().expect("half way"), (Some([0x62, 2, 0, 1]), false));
    }

    #[test]
    fn the_receive_maximum_is_found_among_other_properties() {
        let connack = |properties: &[u8]| {
            let body = [&[0, 0, properties.len() as u8][..], properties].concat();
            frame(&[&[0x20, body.len() as u8][..], &body].concat())
                .expect("no error")
                .expect("a packet")
                .receive_maximum(Protocol::V5)
        };
        assert_eq!(connack(&[]), 65_535);
        assert_eq!(connack(&[0x21, 0, 20]), 20);
        assert_eq!(connack(b"\x11\0\0\0\x09\x24\x01\x12\0\x01x\x26\0\x01a\0\x02bc\x22\0\x07\x21\x03\xe8"), 1000);
        assert_eq!(connack(b"\x12\0\x09x"), 65_535, "what is malformed is not searched further");
    }

    #[test]
    fn connect_says_what_it_should() {
        let mut bytes = Vec::new();
        let mut connect = Connect {
            protocol: Protocol::V5,
            client_id: "c",
            username: Some("u"),
            password: Some(b"p"),
            keep: Keep::New,
        };
        connect.append(&mut bytes);
        let body = b"\0\x04MQTT\x05\xc2\0\0\x05\x11\xff\xff\xff\xff\0\x01c\0\x01u\0\x01p";
        assert_eq!(bytes, [&[0x10, body.len() as u8][..], body].concat());
        for (keep, protocol, clean) in [
            (Keep::Nothing, Protocol::V311, 2),
            (Keep::New, Protocol::V311, 0),
            (Keep::Resumed, Protocol::V5, 0),
            (Keep::Nothing, Protocol::V5, 2),
        ] {
            bytes.clear();
            (connect.keep, connect.protocol) = (keep, protocol);
            connect.append(&mut bytes);
            assert_eq!(bytes[9] & 2, clean, "{keep:?} {protocol:?}");
        }
    }
}
