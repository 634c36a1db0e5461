//! The contents of a store as single records, for a store that keeps them by key.
//!
//! Invariants: every part of a [`MemoryStore`] is a record of its own, so a store that writes the records of the keys that
//! an operation touches, and removes those that are gone, holds what the [`MemoryStore`] holds; putting the records back
//! in the order of their keys makes the same contents.
use super::memory::{MemoryStore, StoredDelivery, StoredLog, StoredMessage, StoredSession};
use super::{LogHead, Message, MessageId, Position, SessionRecord, StoreBatch, StoreOp};
use crate::UnixTime;
use alloc::sync::Arc;
use alloc::vec::Vec;
use mqtt_proto::{ClientId, PacketId, SubscriptionOptions, TopicFilter, TopicName};

/// Names a record. The order is the one in which records are put back: what is referred to comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RecordKey {
    /// The counters of the store.
    Counters,
    /// A session.
    Session(ClientId),
    /// A subscription of a session.
    Subscription(ClientId, TopicFilter),
    /// How far a session has read a log.
    Cursor(ClientId, TopicFilter),
    /// An entry that a session is done with ahead of its cursor.
    Settled(ClientId, TopicFilter, Position),
    /// A QoS 2 Packet Identifier that a client uses.
    Incoming(ClientId, PacketId),
    /// A message.
    Message(MessageId),
    /// A log.
    Log(TopicFilter),
    /// An entry of a log.
    Entry(TopicFilter, Position),
    /// An entry that a shared group is done with.
    GroupSettled(TopicFilter, Position),
    /// A QoS 2 message on its way.
    Outgoing(ClientId, PacketId),
    /// The retained message of a topic.
    Retained(TopicName),
}

/// What stands under a [`RecordKey`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Record {
    /// Of [`RecordKey::Counters`].
    Counters {
        /// The greatest number that a message or position had.
        last: u64,
        /// How many deliveries were begun.
        deliveries: u64,
    },
    /// Of [`RecordKey::Session`]. Its Client Identifier is that of the key.
    Session(SessionRecord),
    /// Of [`RecordKey::Subscription`].
    Subscription {
        /// Options.
        options: SubscriptionOptions,
        /// Subscription Identifier, 0 without one.
        identifier: u32,
    },
    /// Of [`RecordKey::Cursor`]: all before it is acknowledged.
    Cursor(Position),
    /// Of [`RecordKey::Settled`], [`RecordKey::GroupSettled`] and [`RecordKey::Incoming`], whose keys say everything.
    Mark,
    /// Of [`RecordKey::Message`] and [`RecordKey::Retained`].
    Message {
        /// The message; its own `expires_at` is of no meaning.
        message: Arc<Message>,
        /// When it expires.
        expires_at: Option<UnixTime>,
    },
    /// Of [`RecordKey::Log`].
    Log(LogHead),
    /// Of [`RecordKey::Entry`].
    Entry(MessageId),
    /// Of [`RecordKey::Outgoing`].
    Outgoing {
        /// Its place among all deliveries.
        order: u64,
        /// The message.
        message: MessageId,
        /// As in [`StoreOp::Outgoing`].
        places: Vec<(TopicFilter, Position)>,
        /// RETAIN flag.
        retain: bool,
        /// Subscription Identifiers.
        identifiers: Vec<u32>,
        /// PUBREC was received.
        released: bool,
    },
}

impl MemoryStore {
    /// As [`apply`](Self::apply); adds the keys of all records that it changed or ended, and perhaps more, to `keys`.
    /// O(log n) for each key.
    pub fn apply_noting(&mut self, batch: &StoreBatch, keys: &mut Vec<RecordKey>) {
        for op in &batch.ops {
            self.touched(op, keys);
            self.apply_op(op, batch.now, batch.wall);
        }
    }

    /// The keys of all records that `op` would change or end, and perhaps more.
    fn touched(&self, op: &StoreOp, keys: &mut Vec<RecordKey>) {
        match op {
            StoreOp::Session(record) => keys.push(RecordKey::Session(record.client_id.clone())),
            StoreOp::SessionEnd(client_id) => self.touch_session(client_id, keys),
            StoreOp::Subscription { client_id, filter, .. } => {
                keys.push(RecordKey::Subscription(client_id.clone(), filter.clone()));
                keys.push(RecordKey::Log(filter.clone()));
            }
            StoreOp::SubscriptionEnd(client_id, filter) => {
                if let Some(session) = self.sessions.get(client_id) {
                    session.touch_subscription(client_id, filter, keys);
                }
                self.touch_log(filter, keys);
            }
            StoreOp::Message(id, _) => keys.extend([RecordKey::Message(*id), RecordKey::Counters]),
            StoreOp::Append(filter, at, id) => keys.extend([
                RecordKey::Message(*id),
                RecordKey::Log(filter.clone()),
                RecordKey::Entry(filter.clone(), *at),
                RecordKey::Counters,
            ]),
            StoreOp::Trim(filter, start) => {
                keys.push(RecordKey::Counters);
                if let Some(log) = self.logs.get(filter) {
                    log.touch(filter, *start, keys);
                }
            }
            StoreOp::Cursor(client_id, filter, at) => {
                keys.extend([RecordKey::Cursor(client_id.clone(), filter.clone()), RecordKey::Counters]);
                let cursor = self.sessions.get(client_id).and_then(|session| session.cursors.get(filter));
                let settled = cursor.into_iter().flat_map(|cursor| cursor.settled.range(..at));
                keys.extend(settled.map(|at| RecordKey::Settled(client_id.clone(), filter.clone(), *at)));
            }
            StoreOp::Settled(client_id, filter, at) => keys.push(match client_id {
                Some(client_id) => RecordKey::Settled(client_id.clone(), filter.clone(), *at),
                None => RecordKey::GroupSettled(filter.clone(), *at),
            }),
            StoreOp::Incoming(client_id, id) | StoreOp::IncomingEnd(client_id, id) => {
                keys.push(RecordKey::Incoming(client_id.clone(), *id));
            }
            StoreOp::Outgoing { client_id, id, message, .. } => {
                self.touch_delivery(client_id, *id, keys);
                keys.extend([RecordKey::Message(*message), RecordKey::Counters]);
            }
            StoreOp::Released(client_id, id) | StoreOp::OutgoingEnd(client_id, id) => {
                self.touch_delivery(client_id, *id, keys);
            }
            StoreOp::Retained(_, message) => {
                keys.extend([RecordKey::Retained(message.topic.clone()), RecordKey::Counters]);
            }
            StoreOp::RetainedEnd(topic) => keys.push(RecordKey::Retained(topic.clone())),
        }
    }

    fn touch_session(&self, client_id: &ClientId, keys: &mut Vec<RecordKey>) {
        keys.push(RecordKey::Session(client_id.clone()));
        let Some(session) = self.sessions.get(client_id) else { return };
        for filter in session.subscriptions.keys() {
            self.touch_log(filter, keys);
        }
        for filter in session.subscriptions.keys().chain(session.cursors.keys()) {
            session.touch_subscription(client_id, filter, keys);
        }
        keys.extend(session.incoming.iter().map(|id| RecordKey::Incoming(client_id.clone(), *id)));
        for id in session.outgoing.keys() {
            self.touch_delivery(client_id, *id, keys);
        }
    }

    fn touch_delivery(&self, client_id: &ClientId, id: PacketId, keys: &mut Vec<RecordKey>) {
        keys.push(RecordKey::Outgoing(client_id.clone(), id));
        let delivery = self.sessions.get(client_id).and_then(|session| session.outgoing.get(&id));
        keys.extend(delivery.map(|delivery| RecordKey::Message(delivery.message)));
    }

    /// A log that loses a subscriber, with all that it holds if that is its last.
    fn touch_log(&self, filter: &TopicFilter, keys: &mut Vec<RecordKey>) {
        if let Some(log) = self.logs.get(filter).filter(|log| log.subscribers <= 1) {
            log.touch(filter, Position(u64::MAX), keys);
        }
    }

    /// The record under a key. O(log n).
    pub fn record(&self, key: &RecordKey) -> Option<Record> {
        let session = |client_id: &ClientId| self.sessions.get(client_id);
        match key {
            RecordKey::Counters => Some(Record::Counters { last: self.last, deliveries: self.deliveries }),
            RecordKey::Session(client_id) => session(client_id)?.record.clone().map(Record::Session),
            RecordKey::Subscription(client_id, filter) => {
                let (options, identifier) = *session(client_id)?.subscriptions.get(filter)?;
                Some(Record::Subscription { options, identifier })
            }
            RecordKey::Cursor(client_id, filter) => Some(Record::Cursor(session(client_id)?.cursors.get(filter)?.at)),
            RecordKey::Settled(client_id, filter, at) => {
                session(client_id)?.cursors.get(filter)?.settled.contains(at).then_some(Record::Mark)
            }
            RecordKey::Incoming(client_id, id) => session(client_id)?.incoming.contains(id).then_some(Record::Mark),
            RecordKey::Message(id) => self.messages.get(id).map(StoredMessage::record),
            RecordKey::Log(filter) => Some(Record::Log(self.logs.get(filter)?.head())),
            RecordKey::Entry(filter, at) => Some(Record::Entry(*self.logs.get(filter)?.entries.get(at)?)),
            RecordKey::GroupSettled(filter, at) => self.logs.get(filter)?.settled.contains(at).then_some(Record::Mark),
            RecordKey::Outgoing(client_id, id) => {
                let StoredDelivery { order, message, places, retain, identifiers, released } =
                    session(client_id)?.outgoing.get(id)?.clone();
                Some(Record::Outgoing { order, message, places, retain, identifiers, released })
            }
            RecordKey::Retained(topic) => self.retained.get(topic).map(StoredMessage::record),
        }
    }

    /// Puts a record back, in the order of the keys; to be followed by [`collect`](Self::collect). `false`: it belongs to
    /// something that is not there (a session, a message), or is not of the kind of its key, and was left out. O(log n).
    pub fn put(&mut self, key: &RecordKey, record: Record) -> bool {
        self.try_put(key, record).is_some()
    }

    fn try_put(&mut self, key: &RecordKey, record: Record) -> Option<()> {
        match (key, record) {
            (RecordKey::Counters, Record::Counters { last, deliveries }) => {
                self.last = self.last.max(last);
                self.deliveries = self.deliveries.max(deliveries);
            }
            (RecordKey::Session(client_id), Record::Session(record)) if record.client_id == *client_id => {
                self.put_session(&record);
            }
            (RecordKey::Subscription(client_id, filter), Record::Subscription { options, identifier }) => {
                self.put_subscription(client_id, filter, options, identifier)?;
            }
            (RecordKey::Cursor(client_id, filter), Record::Cursor(at)) => {
                self.last = self.last.max(at.0);
                self.sessions.get_mut(client_id)?.cursors.entry(filter.clone()).or_default().at = at;
            }
            (RecordKey::Settled(client_id, filter, at), Record::Mark) => {
                self.sessions.get_mut(client_id)?.cursors.get_mut(filter)?.settled.insert(*at);
            }
            (RecordKey::Incoming(client_id, id), Record::Mark) => {
                self.sessions.get_mut(client_id)?.incoming.insert(*id);
            }
            (RecordKey::Message(id), Record::Message { message, expires_at }) => {
                self.last = self.last.max(id.0);
                self.messages.insert(*id, StoredMessage::of(&message, expires_at));
            }
            (RecordKey::Log(filter), Record::Log(LogHead { start, .. })) => {
                self.last = self.last.max(start.0);
                self.logs.entry(filter.clone()).or_default().start = start;
            }
            (RecordKey::Entry(filter, at), Record::Entry(id)) => {
                self.last = self.last.max(at.0 + 1); // never given away again, even when it is left out
                self.messages.get(&id)?;
                let log = self.logs.entry(filter.clone()).or_default();
                if log.entries.is_empty() && log.start == Position(0) {
                    log.start = *at; // its record is lost; a log that was written starts where its record says
                }
                if log.entries.insert(*at, id).is_none() {
                    log.bytes += self.messages.get(&id).map_or(0, |kept| kept.message.cost());
                    self.refer(id);
                }
            }
            (RecordKey::GroupSettled(filter, at), Record::Mark) => {
                self.logs.get_mut(filter)?.settled.insert(*at);
            }
            (
                RecordKey::Outgoing(client_id, id),
                Record::Outgoing { order, message, places, retain, identifiers, released },
            ) => {
                self.deliveries = self.deliveries.max(order);
                let session = self.sessions.get_mut(client_id)?;
                self.messages.get_mut(&message)?.references += 1;
                let delivery = StoredDelivery { order, message, places, retain, identifiers, released };
                session.outgoing.insert(*id, delivery);
            }
            (RecordKey::Retained(topic), Record::Message { message, expires_at }) if message.topic == *topic => {
                self.retained.insert(topic.clone(), StoredMessage::of(&message, expires_at));
            }
            _ => return None,
        }
        Some(())
    }

    /// Forgets the messages that nothing refers to, after all records were put back; gives their numbers. O(messages).
    pub fn collect(&mut self) -> Vec<MessageId> {
        let unused = self.messages.iter().filter(|(_, kept)| kept.references == 0);
        let unused: Vec<MessageId> = unused.map(|(id, _)| *id).collect();
        for id in &unused {
            self.messages.remove(id);
        }
        unused
    }
}

impl StoredSession {
    fn touch_subscription(&self, client_id: &ClientId, filter: &TopicFilter, keys: &mut Vec<RecordKey>) {
        keys.push(RecordKey::Subscription(client_id.clone(), filter.clone()));
        let Some(cursor) = self.cursors.get(filter) else { return };
        keys.push(RecordKey::Cursor(client_id.clone(), filter.clone()));
        keys.extend(cursor.settled.iter().map(|at| RecordKey::Settled(client_id.clone(), filter.clone(), *at)));
    }
}

impl StoredLog {
    /// The log, and all that it holds before `end`.
    fn touch(&self, filter: &TopicFilter, end: Position, keys: &mut Vec<RecordKey>) {
        keys.push(RecordKey::Log(filter.clone()));
        for (at, id) in self.entries.range(..end) {
            keys.extend([RecordKey::Entry(filter.clone(), *at), RecordKey::Message(*id)]);
        }
        keys.extend(self.settled.range(..end).map(|at| RecordKey::GroupSettled(filter.clone(), *at)));
    }
}

impl StoredMessage {
    fn record(&self) -> Record {
        Record::Message { message: self.message.clone(), expires_at: self.expires_at }
    }
}
