//! Packets as bytes, as far as a load generator needs them.

use crate::plan::Plan;
use std::io;

pub(crate) const PUBLISH: u8 = 3;
pub(crate) const PUBACK: u8 = 4;
pub(crate) const PUBREC: u8 = 5;
pub(crate) const PUBREL: u8 = 6;
pub(crate) const PUBCOMP: u8 = 7;

pub(crate) const DISCONNECT: [u8; 2] = [0xe0, 0];

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

fn text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    remaining_length(body.len(), &mut out);
    out.extend_from_slice(body);
    out
}

/// CONNECT with a clean session and no keep alive.
pub(crate) fn connect(client: &str, protocol: u8) -> Vec<u8> {
    let mut body = Vec::new();
    text("MQTT", &mut body);
    body.extend_from_slice(&[protocol, 2, 0, 0]);
    no_properties(protocol, &mut body);
    text(client, &mut body);
    packet(0x10, &body)
}

/// SUBSCRIBE to one filter.
pub(crate) fn subscribe(filter: &str, qos: u8, protocol: u8) -> Vec<u8> {
    let mut body = vec![0, 1];
    no_properties(protocol, &mut body);
    text(filter, &mut body);
    body.push(qos);
    packet(0x82, &body)
}

fn no_properties(protocol: u8, body: &mut Vec<u8>) {
    if protocol == 5 {
        body.push(0);
    }
}

/// A packet of four bytes that answers a packet id.
pub(crate) fn answer(kind: u8, id: [u8; 2]) -> [u8; 4] {
    let flags = if kind == PUBREL { 2 } else { 0 };
    [kind << 4 | flags, 2, id[0], id[1]]
}

/// A PUBLISH of which only packet id and sequence number change.
pub(crate) struct Template {
    bytes: Vec<u8>,
    id: Option<usize>,
    sequence: usize,
}

impl Template {
    pub(crate) fn new(topic: &str, publisher: usize, plan: &Plan) -> Self {
        let mut body = Vec::new();
        text(topic, &mut body);
        let id = (plan.qos > 0).then_some(body.len());
        if plan.qos > 0 {
            body.extend_from_slice(&[0, 0]);
        }
        no_properties(plan.protocol, &mut body);
        let payload = body.len();
        body.extend_from_slice(&(publisher as u64).to_be_bytes());
        body.resize(payload + plan.size, b'.');
        let bytes = packet(0x30 | plan.qos << 1, &body);
        let head = bytes.len() - body.len();
        Self { bytes, id: id.map(|at| head + at), sequence: head + payload + 8 }
    }

    /// Appends the message of a sequence number.
    pub(crate) fn append(&self, sequence: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        if let Some(id) = self.id {
            let value = (sequence % 65_535) as u16 + 1;
            out[start + id..start + id + 2].copy_from_slice(&value.to_be_bytes());
        }
        let at = start + self.sequence;
        out[at..at + 8].copy_from_slice(&sequence.to_be_bytes());
    }
}

/// A packet as it arrived.
pub(crate) struct Frame<'a> {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) body: &'a [u8],
    /// Bytes of the whole packet.
    pub(crate) length: usize,
}

/// The first packet of a buffer, if it is there in full.
pub(crate) fn frame(bytes: &[u8]) -> io::Result<Option<Frame<'_>>> {
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
pub(crate) struct Message {
    pub(crate) qos: u8,
    pub(crate) id: [u8; 2],
    pub(crate) publisher: usize,
    pub(crate) sequence: u64,
}

impl Frame<'_> {
    /// Takes a PUBLISH apart.
    pub(crate) fn message(&self, plan: &Plan) -> io::Result<Message> {
        self.parts(plan).ok_or_else(|| io::Error::other("the broker sent a PUBLISH that is not one of ours"))
    }

    fn parts(&self, plan: &Plan) -> Option<Message> {
        let body = self.body;
        let qos = self.flags >> 1 & 3;
        let mut at = 2 + usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
        let mut id = [0, 0];
        if qos > 0 {
            id = [*body.get(at)?, *body.get(at + 1)?];
            at += 2;
        }
        if plan.protocol == 5 {
            // Properties of fewer than 128 bytes: a broker may add an alias, and nothing that is longer.
            let properties = *body.get(at)?;
            at += 1 + usize::from(if properties < 0x80 { properties } else { return None });
        }
        let payload = body.get(at..).filter(|payload| payload.len() == plan.size)?;
        let number =
            |range: std::ops::Range<usize>| payload[range].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Some(Message { qos, id, publisher: number(0..8) as usize, sequence: number(8..16) })
    }

    /// The packet id of an acknowledgement.
    pub(crate) fn id(&self) -> io::Result<[u8; 2]> {
        match self.body {
            // Version 5 may add a reason, which must not be an error.
            [high, low] | [high, low, ..=0x7f, ..] => Ok([*high, *low]),
            _ => Err(io::Error::other("the broker refused a message")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Template, frame};
    use crate::plan::{Plan, Scenario};

    #[test]
    fn a_message_comes_back_as_it_was_sent() {
        for (protocol, qos, size) in [(4, 0, 16), (4, 1, 64), (5, 2, 64), (5, 1, 100_000)] {
            let plan = Plan::new(Scenario::Pairs(1), qos, size, 100, protocol, 0.0, 1.0).expect("a sound plan");
            let mut bytes = Vec::new();
            Template::new("load/7", 7, &plan).append(65_536, &mut bytes);
            let whole = bytes.len();
            assert!(frame(&bytes[..whole - 1]).expect("no error").is_none(), "half a packet is none");
            bytes.extend_from_slice(&[0xd0, 0]);
            let found = frame(&bytes).expect("no error").expect("a packet");
            assert_eq!((found.kind, found.length), (3, whole));
            let message = found.message(&plan).expect("a message");
            assert_eq!((message.qos, message.publisher, message.sequence), (qos, 7, 65_536));
            assert_eq!(message.id, if qos == 0 { [0, 0] } else { [0, 2] });
        }
    }

    #[test]
    fn scenarios_are_written_as_they_are_read() {
        for text in ["10x10", "200-1", "1-1000", "50-$4"] {
            assert_eq!(text.parse::<Scenario>().map(|scenario| scenario.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "3x2", "2-2", "0x0", "x", "1-$0"] {
            assert_eq!(text.parse::<Scenario>(), Err(()), "{text:?}");
        }
    }
}
