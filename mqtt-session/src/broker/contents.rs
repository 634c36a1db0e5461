//! What a broker begins with: everything that a store keeps, but for the messages of logs, of which it takes only heads.
//!
//! Invariants: the same records make the same contents, in whichever order they come; what belongs to something that is not
//! there has no effect on the broker that is made of it.
use super::memory::{StoredDelivery, StoredMessage, StoredSession};
use super::{LogHead, MessageId, Position, Record, RecordKey};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use mqtt_proto::{ClientId, TopicFilter, TopicName};

/// What [`Broker::restore`](super::Broker::restore) takes. A store builds it from its records with [`put`](Self::put), in any
/// order, and may then have [`sweep`](Self::sweep) name those that are of no use.
///
/// Which records belong here: [`Counters`](RecordKey::Counters), [`Session`](RecordKey::Session),
/// [`Subscription`](RecordKey::Subscription), [`Cursor`](RecordKey::Cursor), [`Settled`](RecordKey::Settled),
/// [`Incoming`](RecordKey::Incoming), [`Log`](RecordKey::Log) (the head), [`GroupSettled`](RecordKey::GroupSettled),
/// [`Outgoing`](RecordKey::Outgoing), [`Message`](RecordKey::Message) for those that an outgoing one refers to, and
/// [`Retained`](RecordKey::Retained). Entries of logs, and the messages that only they refer to, do not: the broker asks
/// for them with [`Request::Load`](super::Request::Load). So the memory that this takes, and the time to build it, grow with
/// sessions and retained messages, not with what waits for the sessions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    pub(super) sessions: BTreeMap<ClientId, StoredSession>,
    pub(super) messages: BTreeMap<MessageId, StoredMessage>,
    /// The head of each log, and what a shared group is done with in it.
    pub(super) logs: BTreeMap<TopicFilter, (LogHead, BTreeSet<Position>)>,
    pub(super) retained: BTreeMap<TopicName, StoredMessage>,
    /// The greatest number that a message or position had.
    pub(super) last: u64,
    /// How many deliveries were begun.
    pub(super) deliveries: u64,
}

impl Contents {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record. `false`: it is not of the kind of its key, or does not belong here. O(log n).
    pub fn put(&mut self, key: &RecordKey, record: Record) -> bool {
        match (key, record) {
            (RecordKey::Counters, Record::Counters { last, deliveries }) => {
                self.note(last);
                self.deliveries = self.deliveries.max(deliveries);
            }
            (RecordKey::Session(client_id), Record::Session(record)) if record.client_id == *client_id => {
                self.session(client_id).record = Some(record);
            }
            (RecordKey::Subscription(client_id, filter), Record::Subscription { options, identifier }) => {
                self.session(client_id).subscriptions.insert(filter.clone(), (options, identifier));
            }
            (RecordKey::Cursor(client_id, filter), Record::Cursor(at)) => {
                self.note(at.0);
                self.session(client_id).cursors.entry(filter.clone()).or_default().at = at;
            }
            (RecordKey::Settled(client_id, filter, at), Record::Mark) => {
                self.note(at.0 + 1);
                self.session(client_id).cursors.entry(filter.clone()).or_default().settled.insert(*at);
            }
            (RecordKey::Incoming(client_id, id), Record::Mark) => {
                self.session(client_id).incoming.insert(*id);
            }
            (RecordKey::Message(id), Record::Message { message, expires_at }) => {
                self.note(id.0);
                self.messages.insert(*id, StoredMessage::of(&message, expires_at));
            }
            (RecordKey::Log(filter), Record::Log(head)) if head.start <= head.end => {
                self.note(head.end.0);
                self.logs.entry(filter.clone()).or_default().0 = head;
            }
            (RecordKey::GroupSettled(filter, at), Record::Mark) => {
                self.note(at.0 + 1);
                self.logs.entry(filter.clone()).or_default().1.insert(*at);
            }
            (
                RecordKey::Outgoing(client_id, id),
                Record::Outgoing { order, message, places, retain, identifiers, released },
            ) => {
                self.deliveries = self.deliveries.max(order);
                let delivery = StoredDelivery { order, message, places, retain, identifiers, released };
                self.session(client_id).outgoing.insert(*id, delivery);
            }
            (RecordKey::Retained(topic), Record::Message { message, expires_at }) if message.topic == *topic => {
                self.retained.insert(topic.clone(), StoredMessage::of(&message, expires_at));
            }
            _ => return false,
        }
        true
    }

    /// Removes what belongs to something that is not there, and names it: parts of sessions without a session, deliveries
    /// without a message, messages without a delivery. O(n log n).
    pub fn sweep(&mut self) -> Vec<RecordKey> {
        let mut swept = Vec::new();
        self.sessions.retain(|client_id, session| {
            let orphan = session.record.is_none();
            if orphan {
                session.name_parts(client_id, &mut swept);
            }
            !orphan
        });
        let mut wanted = BTreeSet::new();
        for (client_id, session) in &mut self.sessions {
            session.outgoing.retain(|id, delivery| {
                wanted.insert(delivery.message);
                let kept = self.messages.contains_key(&delivery.message);
                if !kept {
                    swept.push(RecordKey::Outgoing(client_id.clone(), *id));
                }
                kept
            });
        }
        self.messages.retain(|id, _| {
            let kept = wanted.contains(id);
            if !kept {
                swept.push(RecordKey::Message(*id));
            }
            kept
        });
        swept
    }

    /// Number of sessions.
    pub fn sessions(&self) -> usize {
        self.sessions.values().filter(|session| session.record.is_some()).count()
    }

    /// Number of subscriptions.
    pub fn subscriptions(&self) -> usize {
        self.sessions.values().map(|session| session.subscriptions.len()).sum()
    }

    /// Number of retained messages.
    pub fn retained(&self) -> usize {
        self.retained.len()
    }

    /// Number of logs.
    pub fn logs(&self) -> usize {
        self.logs.len()
    }

    /// Number of entries in all logs, lost ones included.
    pub fn entries(&self) -> u64 {
        self.logs.values().map(|(head, _)| head.end.0 - head.start.0).sum()
    }

    fn session(&mut self, client_id: &ClientId) -> &mut StoredSession {
        self.sessions.entry(client_id.clone()).or_default()
    }

    /// A number that was given away is never given away again.
    fn note(&mut self, number: u64) {
        self.last = self.last.max(number);
    }
}

impl StoredSession {
    /// The keys of all its parts.
    fn name_parts(&self, client_id: &ClientId, keys: &mut Vec<RecordKey>) {
        let id = || client_id.clone();
        keys.extend(self.subscriptions.keys().map(|filter| RecordKey::Subscription(id(), filter.clone())));
        for (filter, cursor) in &self.cursors {
            keys.push(RecordKey::Cursor(id(), filter.clone()));
            keys.extend(cursor.settled.iter().map(|at| RecordKey::Settled(id(), filter.clone(), *at)));
        }
        keys.extend(self.incoming.iter().map(|packet| RecordKey::Incoming(id(), *packet)));
        keys.extend(self.outgoing.keys().map(|packet| RecordKey::Outgoing(id(), *packet)));
    }
}
