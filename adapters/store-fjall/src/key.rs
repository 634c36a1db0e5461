//! Names of records, as values and as bytes.
//!
//! A record lies in one of four tables. Its key is a kind (one byte) and numbers in big-endian order, so that what belongs
//! together lies together and in order; only a retained message is named by its topic. Sessions and logs have short numbers
//! of their own, so no key grows with a Client Identifier or a Topic Filter.
//!
//! Invariants: keys in bytes sort as the values do, within a table; bytes that are no key are refused.
use bytes::{Buf, BufMut};
use mqtt_proto::{PacketId, TopicName};

/// Where a record lies. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Table {
    /// Sessions, logs and how far they are read. Read at the start.
    State = 1,
    /// Entries of logs and messages. Read when somebody pulls them.
    Queue = 2,
    /// Retained messages. Read at the start.
    Retained = 3,
    /// What could not be used, as it was found.
    Quarantine = 4,
}

impl Table {
    pub(crate) const ALL: [Self; 4] = [Self::State, Self::Queue, Self::Retained, Self::Quarantine];

    /// The name of its tree.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Queue => "queue",
            Self::Retained => "retained",
            Self::Quarantine => "quarantine",
        }
    }

    pub(crate) fn by_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|table| *table as u64 == number)
    }
}

/// Numbers a session; never used again.
pub(crate) type SessionNumber = u64;
/// Numbers a log, which is: a Topic Filter that somebody subscribes; never used again.
pub(crate) type LogNumber = u64;

/// Names a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    /// The counters of the store.
    Counters,
    Session(SessionNumber),
    Log(LogNumber),
    Subscription(SessionNumber, LogNumber),
    /// How far a session has read a log.
    Cursor(SessionNumber, LogNumber),
    /// A position that a session is done with ahead of its cursor.
    Settled(SessionNumber, LogNumber, u64),
    /// A QoS 2 Packet Identifier that a client uses.
    Incoming(SessionNumber, u16),
    /// A QoS 2 message on its way.
    Outgoing(SessionNumber, u16),
    /// A position that a shared group is done with.
    GroupSettled(LogNumber, u64),
    /// How many refer to a message, when it is not one.
    References(u64),
    /// A log and a position.
    Entry(LogNumber, u64),
    Message(u64),
    Retained(TopicName),
}

impl Key {
    pub(crate) fn table(&self) -> Table {
        match self {
            Self::Entry(..) | Self::Message(_) => Table::Queue,
            Self::Retained(_) => Table::Retained,
            _ => Table::State,
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Counters => 1,
            Self::Session(_) => 2,
            Self::Log(_) => 3,
            Self::Subscription(..) => 4,
            Self::Cursor(..) => 5,
            Self::Settled(..) => 6,
            Self::Incoming(..) => 7,
            Self::Outgoing(..) => 8,
            Self::GroupSettled(..) => 9,
            Self::References(_) => 10,
            Self::Entry(..) => 1,
            Self::Message(_) => 2,
            Self::Retained(_) => 0, // not written: its table holds nothing else
        }
    }

    /// The key in bytes, for its table.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(25);
        if !matches!(self, Self::Retained(_)) {
            out.put_u8(self.kind());
        }
        match self {
            Self::Counters => {}
            Self::Session(number) | Self::Log(number) | Self::References(number) | Self::Message(number) => {
                out.put_u64(*number);
            }
            Self::Subscription(first, second)
            | Self::Cursor(first, second)
            | Self::GroupSettled(first, second)
            | Self::Entry(first, second) => {
                out.put_u64(*first);
                out.put_u64(*second);
            }
            Self::Settled(session, log, at) => {
                out.put_u64(*session);
                out.put_u64(*log);
                out.put_u64(*at);
            }
            Self::Incoming(session, id) | Self::Outgoing(session, id) => {
                out.put_u64(*session);
                out.put_u16(*id);
            }
            Self::Retained(topic) => out.extend_from_slice(topic.as_str().as_bytes()),
        }
        out
    }

    /// The key that these bytes of a table are.
    pub(crate) fn decode(table: Table, bytes: &[u8]) -> Option<Self> {
        if table == Table::Retained {
            return Some(Self::Retained(TopicName::try_from(std::str::from_utf8(bytes).ok()?).ok()?));
        }
        let mut rest = bytes;
        let kind = rest.try_get_u8().ok()?;
        let mut number = || rest.try_get_u64().ok();
        let key = match (table, kind) {
            (Table::State, 1) => Self::Counters,
            (Table::State, 2) => Self::Session(number()?),
            (Table::State, 3) => Self::Log(number()?),
            (Table::State, 4) => Self::Subscription(number()?, number()?),
            (Table::State, 5) => Self::Cursor(number()?, number()?),
            (Table::State, 6) => Self::Settled(number()?, number()?, number()?),
            (Table::State, 7) => Self::Incoming(number()?, packet_id(&mut rest)?),
            (Table::State, 8) => Self::Outgoing(number()?, packet_id(&mut rest)?),
            (Table::State, 9) => Self::GroupSettled(number()?, number()?),
            (Table::State, 10) => Self::References(number()?),
            (Table::Queue, 1) => Self::Entry(number()?, number()?),
            (Table::Queue, 2) => Self::Message(number()?),
            _ => return None,
        };
        rest.is_empty().then_some(key)
    }
}

fn packet_id(rest: &mut &[u8]) -> Option<u16> {
    rest.try_get_u16().ok().and_then(PacketId::new).map(PacketId::get)
}
