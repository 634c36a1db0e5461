//! What a store holds when it has applied every [`StoreBatch`]: the model of all stores of clients, and one in itself.
//!
//! Invariant: the same operations, applied once or twice, make the same contents.
use super::{
    InflightState, Message, QueuedMessage, Record, RecordKey, SessionState, StoreBatch, StoreOp, SubscriptionState,
    Token,
};
use crate::UnixTime;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;
use mqtt_proto::{ClientId, PacketId, QoS, TopicFilter};

/// The contents of a store, as a map of records. [`Client::with_store`](super::Client::with_store) makes a client of it; a store that
/// keeps the records elsewhere puts them into one of these when it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStore {
    records: BTreeMap<RecordKey, Record>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies the operations of a batch in order. O(log n) each.
    pub fn apply(&mut self, batch: &StoreBatch) {
        for op in &batch.ops {
            match op {
                StoreOp::Put(record) => self.put(record.clone()),
                StoreOp::Remove(key) => _ = self.records.remove(key),
            }
        }
    }

    /// Adds a record, in place of the one with the same key.
    pub fn put(&mut self, record: Record) {
        self.records.insert(record.key(), record);
    }

    /// All records, in the order of their keys.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// Messages that are not settled, and those of them that the Server may have taken over already.
    pub fn messages(&self) -> (usize, usize) {
        let count = |what: fn(&Record) -> bool| self.records().filter(|record| what(record)).count();
        let released = count(|record| matches!(record, Record::Flight { released: true, .. }));
        (count(|record| matches!(record, Record::Message { .. })) + released, released)
    }

    /// The session at the time `wall`. A flight whose message is missing, which only damage can bring about, counts as released: its
    /// identifier is not used again before the Server has forgotten it too.
    pub fn session(&self, wall: UnixTime) -> SessionState {
        let mut state = SessionState { last_token: self.reserved().0, ..SessionState::default() };
        let mut messages = BTreeMap::new();
        let mut flights = Vec::new();
        for record in self.records() {
            match record {
                Record::Session { client_id, .. } => state.client_id = ClientId::clone(client_id),
                Record::Message { token, message, expires_at } => {
                    messages.insert(*token, queued(*token, message, *expires_at, wall));
                }
                Record::Flight { id, token, order, released } => flights.push((*order, *id, *token, *released)),
                Record::Incoming { id, unacknowledged: None } => state.incoming.push(*id),
                Record::Subscription(subscription) => state.subscriptions.push(SubscriptionState::clone(subscription)),
                Record::Unsubscribe(filter) => state.unsubscribe.push(TopicFilter::clone(filter)),
                Record::Counters { .. } | Record::Incoming { .. } => {}
            }
        }
        flights.sort_unstable_by_key(|(order, id, ..)| (*order, *id));
        for (order, id, token, released) in flights {
            let message = messages.remove(&token).filter(|queued| !released && queued.message.qos > QoS::AtMostOnce);
            state.inflight.push(InflightState { id, token, order, message });
        }
        state.queue = messages.into_values().collect(); // in the order of their tokens
        state
    }

    /// Whether there was a connection, and whether the answer to a later CONNECT may have been lost.
    pub(super) fn connected(&self) -> (bool, bool) {
        match self.records.get(&RecordKey::Session) {
            Some(Record::Session { connecting, .. }) => (true, *connecting),
            _ => (false, false),
        }
    }

    /// The greatest numbers that may have been given out: tokens, and acknowledgment tokens. Where damage took the record, the
    /// greatest that is left.
    pub(super) fn reserved(&self) -> (u64, u64) {
        let number = |record: &Record| match record {
            Record::Counters { token, ack } => (*token, *ack),
            Record::Message { token, .. } | Record::Flight { token, .. } => (token.as_u64(), 0),
            Record::Incoming { unacknowledged: Some(ack), .. } => (0, *ack),
            _ => (0, 0),
        };
        self.records().map(number).fold((0, 0), |(token, ack), other| (token.max(other.0), ack.max(other.1)))
    }

    /// QoS 2 identifiers whose messages were not acknowledged, with their acknowledgment tokens.
    pub(super) fn unacknowledged(&self) -> impl Iterator<Item = (PacketId, u64)> {
        self.records().filter_map(|record| match record {
            Record::Incoming { id, unacknowledged: Some(ack) } => Some((*id, *ack)),
            _ => None,
        })
    }
}

fn queued(token: Token, message: &Message, expires_at: Option<UnixTime>, wall: UnixTime) -> QueuedMessage {
    let left = |at: UnixTime| Duration::from_millis(at.as_millis().saturating_sub(wall.as_millis()));
    QueuedMessage { token, message: message.clone(), expires_in: expires_at.map(left) }
}
