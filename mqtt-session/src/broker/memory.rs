//! What a store holds when it has applied every [`StoreBatch`]: the model of all stores, and one in itself.
//!
//! Invariants: the same operations, applied once or twice, make the same contents; a message is there as long as a log or
//! a delivery refers to it; nothing is left of a session after its end.
use super::{
    Contents, LoadRequest, Loaded, LogEntry, LogHead, Message, MessageId, Position, SessionRecord, StoreBatch, StoreOp,
};
use crate::{Instant, UnixTime};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use mqtt_proto::{ClientId, PacketId, SubscriptionOptions, TopicFilter, TopicName};

/// A store in memory: all that it keeps, as plain maps. [`contents`](Self::contents) is what
/// [`Broker::restore`](super::Broker::restore) takes, [`load`](Self::load) answers
/// [`Request::Load`](super::Request::Load).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemoryStore {
    pub(super) sessions: BTreeMap<ClientId, StoredSession>,
    pub(super) messages: BTreeMap<MessageId, StoredMessage>,
    pub(super) logs: BTreeMap<TopicFilter, StoredLog>,
    pub(super) retained: BTreeMap<TopicName, StoredMessage>,
    /// The greatest number that a message or position had.
    pub(super) last: u64,
    /// How many deliveries were begun.
    pub(super) deliveries: u64,
}

/// A session and what belongs to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct StoredSession {
    /// `None`: so far parts of it are known, and no session.
    pub(super) record: Option<SessionRecord>,
    pub(super) subscriptions: BTreeMap<TopicFilter, (SubscriptionOptions, u32)>,
    pub(super) cursors: BTreeMap<TopicFilter, StoredCursor>,
    pub(super) incoming: BTreeSet<PacketId>,
    pub(super) outgoing: BTreeMap<PacketId, StoredDelivery>,
}

/// How far a reader of a log is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct StoredCursor {
    pub(super) at: Position,
    /// Entries behind `at` that are done with, too.
    pub(super) settled: BTreeSet<Position>,
}

/// A message, and when it expires.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StoredMessage {
    pub(super) message: Arc<Message>,
    pub(super) expires_at: Option<UnixTime>,
    pub(super) references: u32,
}

/// A log.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct StoredLog {
    pub(super) start: Position,
    pub(super) entries: BTreeMap<Position, MessageId>,
    /// Sum of the costs of their messages.
    pub(super) bytes: u64,
    /// Entries that the shared group is done with.
    pub(super) settled: BTreeSet<Position>,
    /// How many sessions subscribe its filter.
    pub(super) subscribers: u32,
}

/// A QoS 2 message on its way.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StoredDelivery {
    pub(super) order: u64,
    pub(super) message: MessageId,
    pub(super) places: Vec<(TopicFilter, Position)>,
    pub(super) retain: bool,
    pub(super) identifiers: Vec<u32>,
    pub(super) released: bool,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies the operations of a batch in order. O(log n) each, but for the end of a session, which costs its parts.
    pub fn apply(&mut self, batch: &StoreBatch) {
        for op in &batch.ops {
            self.apply_op(op, batch.now, batch.wall);
        }
    }

    /// Number of sessions.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Number of subscriptions.
    pub fn subscriptions(&self) -> usize {
        self.sessions.values().map(|session| session.subscriptions.len()).sum()
    }

    /// Number of retained messages.
    pub fn retained(&self) -> usize {
        self.retained.len()
    }

    /// Number of entries in all logs.
    pub fn entries(&self) -> usize {
        self.logs.values().map(|log| log.entries.len()).sum()
    }

    /// Number of messages that logs and deliveries refer to.
    pub fn messages(&self) -> usize {
        self.messages.values().filter(|kept| kept.references > 0).count()
    }

    /// Everything but the messages of logs, of which there are only heads. O(n log n) in what is given back.
    pub fn contents(&self) -> Contents {
        let deliveries = self.sessions.values().flat_map(|session| session.outgoing.values());
        let messages = deliveries.filter_map(|delivery| self.messages.get_key_value(&delivery.message));
        let logs = self.logs.iter().map(|(filter, log)| (filter.clone(), (log.head(), log.settled.clone())));
        Contents {
            sessions: self.sessions.clone(),
            messages: messages.map(|(id, kept)| (*id, StoredMessage { references: 0, ..kept.clone() })).collect(),
            logs: logs.collect(),
            retained: self.retained.clone(),
            last: self.last,
            deliveries: self.deliveries,
        }
    }

    /// A part of a log. O(log n + entries).
    pub fn load(&self, request: &LoadRequest) -> Loaded {
        let LoadRequest { filter, from, until, max_bytes } = request;
        let mut loaded = Loaded { filter: filter.clone(), from: *from, upto: *until, entries: Vec::new() };
        let mut bytes = 0;
        let range = self.logs.get(filter).into_iter().flat_map(|log| log.entries.range(*from..*until));
        for (at, id) in range {
            let Some(StoredMessage { message, expires_at, .. }) = self.messages.get(id) else { continue };
            bytes += message.cost();
            if bytes > *max_bytes && !loaded.entries.is_empty() {
                loaded.upto = *at;
                break;
            }
            loaded.entries.push(LogEntry { at: *at, id: *id, message: message.clone(), expires_at: *expires_at });
        }
        loaded
    }

    fn apply_op(&mut self, op: &StoreOp, now: Instant, wall: UnixTime) {
        match op {
            StoreOp::Session(record) => self.put_session(record),
            StoreOp::SessionEnd(client_id) => self.end_session(client_id),
            StoreOp::Subscription { client_id, filter, options, identifier } => {
                self.put_subscription(client_id, filter, *options, *identifier);
            }
            StoreOp::SubscriptionEnd(client_id, filter) => {
                if let Some(session) = self.sessions.get_mut(client_id)
                    && session.subscriptions.remove(filter).is_some()
                {
                    session.cursors.remove(filter);
                    self.unsubscribed(filter);
                }
            }
            StoreOp::Message(id, message) => {
                self.last = self.last.max(id.0);
                self.messages.entry(*id).or_insert_with(|| StoredMessage::new(message, now, wall));
            }
            StoreOp::Append(filter, at, id) => self.append(filter, *at, *id),
            StoreOp::Trim(filter, start) => self.trim(filter, *start),
            StoreOp::Cursor(client_id, filter, at) => self.move_cursor(client_id, filter, *at),
            StoreOp::Settled(client_id, filter, at) => self.settle(client_id.as_ref(), filter, *at),
            StoreOp::Incoming(client_id, id) => {
                if let Some(session) = self.sessions.get_mut(client_id) {
                    session.incoming.insert(*id);
                }
            }
            StoreOp::IncomingEnd(client_id, id) => {
                if let Some(session) = self.sessions.get_mut(client_id) {
                    session.incoming.remove(id);
                }
            }
            StoreOp::Outgoing { client_id, id, message, places, retain, identifiers } => {
                let delivery = StoredDelivery {
                    order: 0,
                    message: *message,
                    places: places.clone(),
                    retain: *retain,
                    identifiers: identifiers.clone(),
                    released: false,
                };
                self.begin_delivery(client_id, *id, delivery);
            }
            StoreOp::Released(client_id, id) => {
                let session = self.sessions.get_mut(client_id);
                if let Some(delivery) = session.and_then(|session| session.outgoing.get_mut(id)) {
                    delivery.released = true;
                }
            }
            StoreOp::OutgoingEnd(client_id, id) => self.end_delivery(client_id, *id),
            StoreOp::Retained(id, message) => {
                self.last = self.last.max(id.0);
                self.retained.insert(message.topic.clone(), StoredMessage::new(message, now, wall));
            }
            StoreOp::RetainedEnd(topic) => {
                self.retained.remove(topic);
            }
        }
    }

    fn append(&mut self, filter: &TopicFilter, at: Position, id: MessageId) {
        self.last = self.last.max(at.0 + 1);
        let log = self.logs.entry(filter.clone()).or_default();
        if log.entries.is_empty() && log.start < at {
            log.start = at;
        }
        if log.entries.insert(at, id).is_none() {
            log.bytes += self.messages.get(&id).map_or(0, |kept| kept.message.cost());
            self.refer(id);
        }
    }

    fn move_cursor(&mut self, client_id: &ClientId, filter: &TopicFilter, at: Position) {
        self.last = self.last.max(at.0);
        if let Some(session) = self.sessions.get_mut(client_id) {
            let cursor = session.cursors.entry(filter.clone()).or_default();
            cursor.at = at;
            cursor.settled = cursor.settled.split_off(&at);
        }
    }

    fn settle(&mut self, client_id: Option<&ClientId>, filter: &TopicFilter, at: Position) {
        let settled = match client_id {
            Some(client_id) => {
                let cursor = self.sessions.get_mut(client_id).and_then(|session| session.cursors.get_mut(filter));
                cursor.map(|cursor| &mut cursor.settled)
            }
            None => self.logs.get_mut(filter).map(|log| &mut log.settled),
        };
        if let Some(settled) = settled {
            settled.insert(at);
        }
    }

    fn begin_delivery(&mut self, client_id: &ClientId, id: PacketId, delivery: StoredDelivery) {
        let message = delivery.message;
        self.refer(message);
        self.end_delivery(client_id, id);
        self.deliveries += 1;
        match self.sessions.get_mut(client_id) {
            Some(session) => {
                session.outgoing.insert(id, StoredDelivery { order: self.deliveries, ..delivery });
            }
            None => self.forget(message),
        }
    }

    fn put_session(&mut self, record: &SessionRecord) {
        if let Some(session) = self.sessions.get_mut(&record.client_id) {
            session.record = Some(record.clone());
            return;
        }
        let session = StoredSession { record: Some(record.clone()), ..StoredSession::default() };
        self.sessions.insert(record.client_id.clone(), session);
    }

    fn end_session(&mut self, client_id: &ClientId) {
        let Some(session) = self.sessions.remove(client_id) else { return };
        for filter in session.subscriptions.keys() {
            self.unsubscribed(filter);
        }
        for delivery in session.outgoing.values() {
            self.forget(delivery.message);
        }
    }

    fn put_subscription(
        &mut self,
        client_id: &ClientId,
        filter: &TopicFilter,
        options: SubscriptionOptions,
        identifier: u32,
    ) {
        let Some(session) = self.sessions.get_mut(client_id) else { return };
        if session.subscriptions.insert(filter.clone(), (options, identifier)).is_none() {
            self.logs.entry(filter.clone()).or_default().subscribers += 1;
        }
    }

    /// One subscriber less; a log without any is over. That of a shared group is not before it is trimmed: the group may have
    /// members whose sessions are not kept.
    fn unsubscribed(&mut self, filter: &TopicFilter) {
        let Some(log) = self.logs.get_mut(filter) else { return };
        log.subscribers -= 1;
        if log.subscribers == 0 && (log.entries.is_empty() || !filter.is_shared()) {
            let entries = core::mem::take(&mut log.entries);
            self.logs.remove(filter);
            for id in entries.into_values() {
                self.forget(id);
            }
        }
    }

    fn trim(&mut self, filter: &TopicFilter, start: Position) {
        self.last = self.last.max(start.0);
        let Some(log) = self.logs.get_mut(filter) else { return };
        log.start = log.start.max(start);
        log.settled = log.settled.split_off(&start);
        let kept = log.entries.split_off(&start);
        let gone = core::mem::replace(&mut log.entries, kept);
        let messages = &self.messages;
        log.bytes -= gone.values().filter_map(|id| messages.get(id)).map(|kept| kept.message.cost()).sum::<u64>();
        if log.entries.is_empty() && log.subscribers == 0 {
            self.logs.remove(filter);
        }
        for id in gone.into_values() {
            self.forget(id);
        }
    }

    fn end_delivery(&mut self, client_id: &ClientId, id: PacketId) {
        let session = self.sessions.get_mut(client_id);
        if let Some(delivery) = session.and_then(|session| session.outgoing.remove(&id)) {
            self.forget(delivery.message);
        }
    }

    fn refer(&mut self, id: MessageId) {
        if let Some(kept) = self.messages.get_mut(&id) {
            kept.references += 1;
        }
    }

    fn forget(&mut self, id: MessageId) {
        let Some(kept) = self.messages.get_mut(&id) else { return };
        kept.references -= 1;
        if kept.references == 0 {
            self.messages.remove(&id);
        }
    }
}

impl StoredLog {
    pub(super) fn head(&self) -> LogHead {
        let end = self.entries.last_key_value().map_or(self.start, |(at, _)| at.forward(1));
        LogHead { start: self.start, end, bytes: self.bytes }
    }
}

impl StoredMessage {
    fn new(message: &Arc<Message>, now: Instant, wall: UnixTime) -> Self {
        Self::of(message, message.expires_at.map(|at| wall + at.saturating_since(now)))
    }

    /// A message that expires at `expires_at`; its own deadline is of a clock that ends with the broker, and dropped.
    pub(super) fn of(message: &Arc<Message>, expires_at: Option<UnixTime>) -> Self {
        let message = match message.expires_at {
            Some(_) => Arc::new(Message { expires_at: None, ..Message::clone(message) }),
            None => message.clone(),
        };
        Self { message, expires_at, references: 0 }
    }

    /// The message on the clock of a broker for which `now` is `wall`.
    pub(super) fn at(&self, now: Instant, wall: UnixTime) -> Arc<Message> {
        revived(&self.message, self.expires_at, now, wall)
    }
}

/// A message that was kept, on the clock of a broker for which `now` is `wall`.
pub(super) fn revived(
    message: &Arc<Message>,
    expires_at: Option<UnixTime>,
    now: Instant,
    wall: UnixTime,
) -> Arc<Message> {
    let left = |at: UnixTime| Duration::from_millis(at.as_millis().saturating_sub(wall.as_millis()));
    let expires_at = expires_at.map(|at| now + left(at));
    if expires_at == message.expires_at {
        return message.clone();
    }
    Arc::new(Message { expires_at, ..Message::clone(message) })
}
