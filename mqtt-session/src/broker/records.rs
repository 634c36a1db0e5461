//! The contents of a store as single records, for a store that keeps them by key.
//!
//! Invariant: what the key says, the record does not say again, but for a session's Client Identifier and a retained topic.
use super::{LogHead, Message, MessageId, Position, SessionRecord};
use crate::UnixTime;
use alloc::sync::Arc;
use alloc::vec::Vec;
use mqtt_proto::{ClientId, PacketId, SubscriptionOptions, TopicFilter, TopicName};

/// Names a record.
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
    /// Of [`RecordKey::Outgoing`].
    Outgoing {
        /// Its place among all deliveries.
        order: u64,
        /// The message.
        message: MessageId,
        /// As in [`StoreOp::Outgoing`](super::StoreOp::Outgoing).
        places: Vec<(TopicFilter, Position)>,
        /// RETAIN flag.
        retain: bool,
        /// Subscription Identifiers.
        identifiers: Vec<u32>,
        /// PUBREC was received.
        released: bool,
    },
}
