//! Changes that must survive, as batches with a watermark, and what is read back.
//!
//! Invariant: an acknowledgment leaves only when the batch that carries its change is reported as stored.
use super::Message;
use crate::{Instant, UnixTime};
use alloc::collections::{BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use mqtt_proto::{ClientId, PacketId, SubscriptionOptions, TopicFilter, TopicName, Will};

/// Numbers batches, from 1, without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreSeq(pub u64);

/// Names a message in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u64);

/// A place in a log; ordered, otherwise opaque.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// Changes that are to be kept together.
#[derive(Clone, Debug)]
pub struct StoreBatch {
    /// The number to report.
    pub seq: StoreSeq,
    /// When it was handed out, on the clock that [`Message::expires_at`] is of.
    pub now: Instant,
    /// The same moment on the clock that survives a restart.
    pub wall: UnixTime,
    /// The changes, in order. Empty when a reply waits for the changes of a batch that was lost.
    pub ops: Vec<StoreOp>,
}

/// One change. Each names a record by its key; repeating a change is harmless.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum StoreOp {
    /// A session exists: one that outlives its connection, or one whose Will does.
    Session(SessionRecord),
    /// A session is over, with its subscriptions, cursors, identifiers and Will.
    SessionEnd(ClientId),
    /// A subscription exists.
    Subscription {
        /// Whose.
        client_id: ClientId,
        /// Topic Filter, `$share` included.
        filter: TopicFilter,
        /// Options.
        options: SubscriptionOptions,
        /// Subscription Identifier, 0 without one.
        identifier: u32,
    },
    /// A subscription is gone.
    SubscriptionEnd(ClientId, TopicFilter),
    /// A message exists; it is over when nothing refers to it.
    Message(MessageId, Arc<Message>),
    /// A log (named by a filter, `$share` included for a group's) has one entry more.
    Append(TopicFilter, Position, MessageId),
    /// Entries of a log before this position are over.
    Trim(TopicFilter, Position),
    /// A session has acknowledged all entries of a log before this position, or reads it from there on.
    Cursor(ClientId, TopicFilter, Position),
    /// A session (`None`: the shared group whose log it is) is done with this entry, but not with all before it. Over
    /// once the session's cursor, or the start of the group's log, is behind it.
    Settled(Option<ClientId>, TopicFilter, Position),
    /// A QoS 2 Packet Identifier of a client's PUBLISH is in use.
    Incoming(ClientId, PacketId),
    /// It was released.
    IncomingEnd(ClientId, PacketId),
    /// A QoS 2 message is on its way to a client under this identifier. The order in which these come is the order in
    /// which they are sent again [MQTT-4.6.0-1].
    Outgoing {
        /// To whom.
        client_id: ClientId,
        /// Packet Identifier.
        id: PacketId,
        /// The message.
        message: MessageId,
        /// The entries of logs that it is, each with its log's filter: a `$share` one alone if it comes from a shared group,
        /// none if it never was in a log.
        places: Vec<(TopicFilter, Position)>,
        /// RETAIN flag.
        retain: bool,
        /// Subscription Identifiers.
        identifiers: Vec<u32>,
    },
    /// PUBREC was received for it: PUBREL is due, and PUBLISH must not be sent again [MQTT-4.3.3-6].
    Released(ClientId, PacketId),
    /// It was acknowledged.
    OutgoingEnd(ClientId, PacketId),
    /// The retained message of a topic.
    Retained(MessageId, Arc<Message>),
    /// The topic has no retained message.
    RetainedEnd(TopicName),
}

/// A part of a log to be read: see [`Request::Load`](super::Request::Load).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadRequest {
    /// Names the log, `$share` included for a group's.
    pub filter: TopicFilter,
    /// The first entry that is wanted.
    pub from: Position,
    /// The position behind the last entry that is wanted; greater than `from`. All before it was reported as stored.
    pub until: Position,
    /// Sum of [`Message::cost`] after which to stop short of `until`. The first entry is given whatever its size.
    pub max_bytes: u64,
}

/// The answer to a [`LoadRequest`]: every entry from `from` up to and without `upto` that the store has.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// As asked.
    pub filter: TopicFilter,
    /// As asked.
    pub from: Position,
    /// How far it goes: beyond `from`, at most to the request's `until`, there when nothing is left before it.
    pub upto: Position,
    /// The entries, ascending. One that is missing is lost: nobody gets it, as if it had expired. Entries that were trimmed
    /// since may be missing, too.
    pub entries: Vec<LogEntry>,
}

/// One entry of a log, as a store gives it back.
#[derive(Clone, Debug, PartialEq)]
pub struct LogEntry {
    /// Where it stands.
    pub at: Position,
    /// The message's number.
    pub id: MessageId,
    /// The message; its own `expires_at` is of no meaning.
    pub message: Arc<Message>,
    /// When it expires.
    pub expires_at: Option<UnixTime>,
}

/// What a broker knows of a log before it reads any of it. A store finds it without reading the entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogHead {
    /// Position of the first entry; of the next one if there is none.
    pub start: Position,
    /// Position behind the last entry.
    pub end: Position,
    /// Sum of [`Message::cost`] of the entries; an estimate does little harm.
    pub bytes: u64,
}

/// What is kept of a session besides its parts.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionRecord {
    /// Client Identifier.
    pub client_id: ClientId,
    /// The name that it is bound to.
    pub identity: Option<alloc::string::String>,
    /// Session Expiry Interval in seconds.
    pub expiry: u32,
    /// When it was disconnected; `None` while it is connected.
    pub disconnected_at: Option<UnixTime>,
    /// The Will that has not fired.
    pub will: Option<Arc<Will>>,
}

/// The batch that is being filled, and how far the store has come.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// The last batch that was handed out.
    handed_out: StoreSeq,
    /// The last batch that was lost.
    lost: StoreSeq,
    /// Whether a batch is due though it has no changes.
    wanted: bool,
    /// All batches up to this one are kept.
    pub(super) watermark: StoreSeq,
    /// The last message of each batch that is not kept yet.
    messages: VecDeque<(StoreSeq, MessageId)>,
    /// All messages up to this one that were to be kept are.
    pub(super) kept_messages: MessageId,
    ops: Vec<StoreOp>,
    /// Connections with replies that wait.
    pub(super) gated: BTreeSet<u32>,
}

impl Store {
    /// Adds a change to the batch.
    pub(super) fn push(&mut self, op: StoreOp) {
        self.ops.push(op);
    }

    /// Whether the last answer was that a batch is lost.
    pub(super) fn is_failing(&self) -> bool {
        self.lost > self.watermark
    }

    /// Whether changes are on their way to the store, or about to be.
    pub(super) fn is_busy(&self) -> bool {
        self.handed_out > self.watermark.max(self.lost) || self.wanted || !self.ops.is_empty()
    }

    /// The store has kept all batches up to this one.
    pub(super) fn kept(&mut self, upto: StoreSeq) {
        self.watermark = self.watermark.max(upto.min(self.handed_out)); // what was not handed out cannot be kept
        let watermark = self.watermark;
        while let Some((_, last)) = self.messages.pop_front_if(|(seq, _)| *seq <= watermark) {
            self.kept_messages = last;
        }
    }

    /// The store has lost a batch.
    pub(super) fn lost(&mut self, seq: StoreSeq) {
        self.lost = self.lost.max(seq.min(self.handed_out));
    }

    /// The batch that must be kept before a reply to the changes so far may leave. When the last one was lost, that is the
    /// next one, which a store keeps behind what it lost: an empty one if need be, lest the reply waits for ever.
    pub(super) fn due(&mut self) -> StoreSeq {
        self.wanted |= self.lost > StoreSeq::default() && self.lost == self.handed_out;
        StoreSeq(self.handed_out.0 + u64::from(self.wanted || !self.ops.is_empty()))
    }

    /// The batch, if it has changes or is waited for. `last` is the last message that was numbered.
    pub(super) fn take_batch(&mut self, now: Instant, wall: UnixTime, last: MessageId) -> Option<StoreBatch> {
        if self.ops.is_empty() && !self.wanted {
            return None;
        }
        self.wanted = false;
        self.handed_out.0 += 1;
        self.messages.push_back((self.handed_out, last));
        Some(StoreBatch { seq: self.handed_out, now, wall, ops: core::mem::take(&mut self.ops) })
    }
}
