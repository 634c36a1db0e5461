//! Records that cannot be used: told, and kept aside as they were found.
//!
//! Invariant: nothing that could not be read is thrown away.
use crate::disk::Change;
use crate::key::{Key, Table};
use crate::names::Names;
use fjall::Slice;

/// A record that cannot be used.
pub(crate) struct Suspect {
    pub(crate) table: Table,
    pub(crate) key: Slice,
    pub(crate) value: Slice,
}

impl Suspect {
    /// Out of its table, and into the quarantine, under the number of the table and its key (cut if it is a very long topic).
    pub(crate) fn changes(&self) -> [Change; 2] {
        let mut aside = vec![self.table as u8];
        aside.extend_from_slice(&self.key[..self.key.len().min(60_000)]);
        [
            Change { table: Table::Quarantine, key: aside, value: Some(self.value.to_vec()) },
            Change { table: self.table, key: self.key.to_vec(), value: None },
        ]
    }
}

/// A record for a person.
pub(crate) fn describe(names: &Names, table: Table, key: &[u8]) -> String {
    let client = |session| match names.client(session) {
        Some(client_id) => format!("{:?}", client_id.as_str()),
        None => format!("an unknown client (session {session})"),
    };
    let filter = |log| match names.filter(log) {
        Some(filter) => format!("{:?}", filter.as_str()),
        None => format!("an unknown filter (log {log})"),
    };
    match Key::decode(table, key) {
        Some(Key::Counters) => "the counters".to_owned(),
        Some(Key::Session(session)) => format!("the session of {}", client(session)),
        Some(Key::Log(log)) => format!("the head of the log of {}", filter(log)),
        Some(Key::Subscription(session, log)) => {
            format!("the subscription of {} to {}", client(session), filter(log))
        }
        Some(Key::Cursor(session, log) | Key::Settled(session, log, _)) => {
            format!("a part of how far {} has read the log of {}", client(session), filter(log))
        }
        Some(Key::Incoming(session, id)) => {
            format!("the identifier {id} of a QoS 2 message from {}", client(session))
        }
        Some(Key::Outgoing(session, id)) => format!("the QoS 2 message {id} on its way to {}", client(session)),
        Some(Key::GroupSettled(log, at)) => format!("that {} is done with position {at}", filter(log)),
        Some(Key::References(id)) => format!("how many refer to message {id}"),
        Some(Key::Entry(log, at)) => format!("the entry at position {at} in the log of {}", filter(log)),
        Some(Key::Message(id)) => format!("message {id}"),
        Some(Key::Retained(topic)) => format!("the retained message of {:?}", topic.as_str()),
        None => {
            format!("a record of the table {:?} with the unknown key {:02x?}", table.name(), &key[..key.len().min(64)])
        }
    }
}
