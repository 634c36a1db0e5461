//! What a client must not lose when its process is killed, as batches with a watermark (MQTT 5.0 sections 4.1 and 4.3).
//!
//! With a store ([`Client::with_store`]) each change of the session comes out as operations of a [`StoreBatch`]; the store reports
//! how far it has come ([`Client::handle_completion`]), and what would be wrong to do before waits for that:
//!
//! | waits | for | or else, after a kill |
//! |---|---|---|
//! | [`Event::Kept`] | the message | an accepted message is lost |
//! | PUBLISH of QoS 2 | the message and its identifier | it is published again as a new one |
//! | PUBREL | that PUBREC came | PUBLISH is sent again [MQTT-4.3.3-6] |
//! | handing out a QoS 2 message | its [`AckToken`](super::AckToken) | the application cannot recognize it |
//! | PUBREC | that the message was acknowledged, or refused | a new message under its identifier is taken for it |
//! | PUBCOMP | that the identifier is free | a new message under it is taken for a copy [MQTT-4.3.3-12] |
//! | the answer to a subscription or its end | that it is wanted, or not | a subscription that has ended comes back |
//! | a failure of a message | that the message is gone | it is sent although its sender gave it up |
//! | connecting with a session | that an answer is due | a session that the Server lost is taken for ours |
//!
//! Invariants: what waits goes on in its order, and only when the store has all changes before it; without a store nothing waits;
//! each operation names one record by its key, so repeating it is harmless.
use super::{
    Client, ClientConfig, ConfigError, Event, Failure, MemoryStore, Message, Outcome, Output, SubscriptionState, Token,
};
use crate::{Instant, UnixTime};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use mqtt_proto::{Ack, ClientId, Packet, PacketId, ReasonCode, TopicFilter};

pub use crate::broker::StoreSeq;

/// Batches that the store may have unanswered; what comes meanwhile gathers in the next one.
const MAX_UNANSWERED: u64 = 64;
/// Operations that may gather before nothing more is sent or read.
const MAX_GATHERED: usize = 10_000;
/// How long after a failure of the store it is asked again.
const RETRY: Duration = Duration::from_secs(1);
/// Numbers that are reserved at once.
const RESERVE: u64 = 1000;

/// Changes that are to be kept together: all or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreBatch {
    /// The number to report; from 1, without gaps.
    pub seq: StoreSeq,
    /// The changes, in order. Empty when something waits for the changes of a batch that was lost.
    pub ops: Vec<StoreOp>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreOp {
    /// The record with this record's key is this one.
    Put(Record),
    /// There is no record with this key.
    Remove(RecordKey),
}

/// Something that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record {
    /// The session.
    Session {
        /// The Client Identifier that it has at the Server.
        client_id: ClientId,
        /// Whether a CONNECT may have been sent whose answer is not kept: the Server may have lost the session since.
        connecting: bool,
    },
    /// Numbers that may have been given out: none of them is given out again.
    Counters {
        /// Tokens up to this one.
        token: u64,
        /// Acknowledgment tokens up to this one.
        ack: u64,
    },
    /// A QoS 1 or 2 message that the Server has not taken over. Messages are sent in the order of their tokens.
    Message {
        /// Its token.
        token: Token,
        /// The message; its properties hold no Message Expiry Interval.
        message: Message,
        /// When it expires.
        expires_at: Option<UnixTime>,
    },
    /// A Packet Identifier of ours is in use.
    Flight {
        /// The identifier.
        id: PacketId,
        /// The message that it stands for.
        token: Token,
        /// The order of sending.
        order: u64,
        /// Whether PUBREC came: then there is no message any more, and PUBREL is due.
        released: bool,
    },
    /// A QoS 2 Packet Identifier of the Server is in use.
    Incoming {
        /// The identifier.
        id: PacketId,
        /// The acknowledgment token of its message, until that is acknowledged.
        unacknowledged: Option<u64>,
    },
    /// A desired subscription.
    Subscription(SubscriptionState),
    /// A subscription that the Server may have and is to end.
    Unsubscribe(TopicFilter),
}

/// Names a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RecordKey {
    /// [`Record::Session`].
    Session,
    /// [`Record::Counters`].
    Counters,
    /// [`Record::Message`].
    Message(Token),
    /// [`Record::Flight`].
    Flight(PacketId),
    /// [`Record::Incoming`].
    Incoming(PacketId),
    /// [`Record::Subscription`] or [`Record::Unsubscribe`].
    Subscription(TopicFilter),
}

impl Record {
    /// Its key.
    pub fn key(&self) -> RecordKey {
        match self {
            Self::Session { .. } => RecordKey::Session,
            Self::Counters { .. } => RecordKey::Counters,
            Self::Message { token, .. } => RecordKey::Message(*token),
            Self::Flight { id, .. } => RecordKey::Flight(*id),
            Self::Incoming { id, .. } => RecordKey::Incoming(*id),
            Self::Subscription(SubscriptionState { filter, .. }) | Self::Unsubscribe(filter) => {
                RecordKey::Subscription(filter.clone())
            }
        }
    }
}

/// What the store says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Completion {
    /// All batches up to this one are kept, also those that had failed.
    Stored {
        /// The last of them.
        upto: StoreSeq,
    },
    /// This batch could not be kept. The store keeps it ahead of everything that follows as soon as it can.
    StoreFailed {
        /// Which.
        seq: StoreSeq,
    },
}

/// The batch that is being filled, what waits, and how far the store has come.
#[derive(Debug)]
pub(super) struct Store {
    handed_out: StoreSeq,
    /// All batches up to this one are kept.
    watermark: StoreSeq,
    /// The last batch that was lost.
    lost: StoreSeq,
    /// When the store is to be asked again, because what was lost is waited for.
    retry_at: Option<Instant>,
    /// Whether a batch is due though it has no changes.
    wanted: bool,
    ops: Vec<StoreOp>,
    waiting: VecDeque<(StoreSeq, Waiting)>,
    /// The same moment on both clocks.
    clocks: (Instant, UnixTime),
    /// Numbers that the last `Record::Counters` covers.
    reserved: (u64, u64),
    /// Whether the kept session says that an answer to CONNECT is due.
    connecting: bool,
}

/// What goes on when the store has all changes before it.
#[derive(Debug)]
pub(super) enum Waiting {
    Kept(Token),
    Failed(Token, Failure),
    Answered(Token, Outcome),
    Ack(fn(Ack) -> Packet, PacketId, ReasonCode),
    Connect { server: usize },
}

impl Store {
    pub(super) fn new(now: Instant, wall: UnixTime) -> Self {
        Self {
            handed_out: StoreSeq(0),
            watermark: StoreSeq(0),
            lost: StoreSeq(0),
            retry_at: None,
            wanted: false,
            ops: Vec::new(),
            waiting: VecDeque::new(),
            clocks: (now, wall),
            reserved: (0, 0),
            connecting: false,
        }
    }

    #[cold]
    fn push(&mut self, op: StoreOp) {
        self.ops.push(op);
    }

    /// The batch that must be kept before what depends on the changes so far.
    fn due(&self) -> StoreSeq {
        StoreSeq(self.handed_out.0 + u64::from(!self.ops.is_empty()))
    }

    /// The batch, if it has changes or is waited for, and the store can take it.
    pub(super) fn take_batch(&mut self) -> Option<StoreBatch> {
        let unanswered = self.handed_out.0 - self.watermark.max(self.lost).0;
        if (self.ops.is_empty() && !self.wanted) || unanswered >= MAX_UNANSWERED {
            return None;
        }
        self.wanted = false;
        self.handed_out.0 += 1;
        Some(StoreBatch { seq: self.handed_out, ops: core::mem::take(&mut self.ops) })
    }

    fn is_settled(&self) -> bool {
        self.ops.is_empty() && self.watermark == self.handed_out
    }

    /// A moment on the clock that survives a restart.
    fn wall(&self, at: Instant) -> UnixTime {
        let (now, wall) = self.clocks;
        wall + at.saturating_since(now)
    }
}

impl Client {
    /// A client that keeps its session in a store: it goes on with what `contents` holds, and asks for each change to be kept
    /// ([`Output::Store`]). It is not connected. `wall` is `now` on the clock that survives a restart.
    ///
    /// With empty contents it is a new client. Otherwise it resumes, in 5.0 whatever `clean_start` says; before, `clean_start` must be
    /// false for that. Flows can only go on as long as the Server keeps the session too, so give it a
    /// [`session_expiry`](ClientConfig::session_expiry); what becomes of messages on their way when it has not,
    /// [`SessionLoss`](super::SessionLoss) decides.
    ///
    /// # What is promised
    /// For a process that is killed at any moment and comes back with the contents of its store:
    /// - A QoS 1 or 2 message for which [`Event::Kept`] was reported is sent until its token is settled. At QoS 2 the Server takes it over once;
    ///   at QoS 1 at least once.
    /// - A message whose failure was reported is not sent any more, and a subscription whose end was settled does not come back.
    /// - A received QoS 2 message is handed out again only if its acknowledgment was not kept, and then with the same
    ///   [`AckToken`](super::AckToken). An application that acknowledges by itself (`manual_acks`) and keeps the token of the last QoS 2
    ///   message together with what it made of it gets each exactly once: it skips tokens that are not greater.
    ///   (If it refuses messages too, it keeps the tokens one by one: a message whose refusal did not arrive comes again as a new one.)
    /// - What was not reported may have happened or not. QoS 0 messages are not kept.
    ///
    /// # Errors
    /// Those of the configuration, and [`ConfigError::OtherClient`] if the store holds the session of another Client Identifier.
    /// O(n log n).
    pub fn with_store(
        config: impl Into<Arc<ClientConfig>>,
        contents: &MemoryStore,
        seed: [u8; 32],
        now: Instant,
        wall: UnixTime,
    ) -> Result<Self, ConfigError> {
        let config = config.into();
        let state = contents.session(wall);
        if ![&state.client_id, &config.client_id].iter().any(|id| id.is_empty()) && state.client_id != config.client_id
        {
            return Err(ConfigError::OtherClient);
        }
        let mut client = Self::restore(config, state, seed, now)?;
        let mut store = Store::new(now, wall);
        let (known, connecting) = contents.connected();
        store.connecting = connecting;
        store.reserved = contents.reserved();
        client.connected_before = known;
        client.doubtful = connecting;
        client.inbox.restore_unacknowledged(store.reserved.1, contents.unacknowledged());
        client.store = Some(alloc::boxed::Box::new(store));
        Ok(client)
    }

    /// The store has come so far, or has failed. Its answers come in the order of the batches; one may stand for several.
    pub fn handle_completion(&mut self, now: Instant, completion: Completion) {
        let Some(store) = &mut self.store else { return };
        match completion {
            Completion::Stored { upto } => {
                store.watermark = store.watermark.max(upto.min(store.handed_out)); // what was not handed out cannot be kept
                if store.lost <= store.watermark {
                    store.retry_at = None;
                }
            }
            Completion::StoreFailed { seq } => {
                store.lost = store.lost.max(seq.min(store.handed_out));
                store.retry_at = Some(now + RETRY);
                self.event(Event::StoreFailed);
            }
        }
        while let Some(store) = &mut self.store
            && let Some((seq, _)) = store.waiting.front()
            && *seq <= store.watermark
            && let Some((_, waiting)) = store.waiting.pop_front()
        {
            self.go_on(now, waiting);
        }
        self.pump(now);
    }

    /// Adds a change to the batch, if there is a store. Without one, it costs a comparison.
    #[inline]
    pub(super) fn keep(&mut self, change: impl FnOnce() -> StoreOp) {
        if let Some(store) = &mut self.store {
            store.push(change());
        }
    }

    /// Keeps a message that was taken on, and reports it then.
    #[cold]
    pub(super) fn keep_message(&mut self, token: Token, message: &super::outgoing::Stored) {
        let Some(store) = &mut self.store else { return };
        let expires_at = message.expires_at.map(|at| store.wall(at));
        store.ops.push(StoreOp::Put(Record::Message { token, message: message.to_message(), expires_at }));
        let due = store.due();
        store.waiting.push_back((due, Waiting::Kept(token)));
    }

    /// Sends an acknowledgment when all changes so far are kept; at once without a store.
    #[inline]
    pub(super) fn send_kept(&mut self, now: Instant, packet: fn(Ack) -> Packet, id: PacketId, reason: ReasonCode) {
        if self.store.is_none() {
            self.send_ack(now, packet, id, reason);
        } else {
            self.when_kept(now, Waiting::Ack(packet, id, reason));
        }
    }

    /// Does this when all changes so far are kept; at once without a store.
    #[cold]
    pub(super) fn when_kept(&mut self, now: Instant, waiting: Waiting) {
        match &mut self.store {
            Some(store) if store.due() > store.watermark => {
                let due = store.due();
                store.waiting.push_back((due, waiting));
            }
            _ => self.go_on(now, waiting),
        }
    }

    /// Settles a request for subscriptions when the wish is kept.
    pub(super) fn settle_when_kept(&mut self, token: Token, outcome: Outcome) {
        match &mut self.store {
            Some(store) if store.due() > store.watermark => {
                let due = store.due();
                store.waiting.push_back((due, Waiting::Answered(token, outcome)));
            }
            _ => self.settle(token, Ok(outcome)),
        }
    }

    /// What must be kept before that which depends on the changes so far; nothing without a store.
    pub(super) fn gate(&self) -> StoreSeq {
        self.store.as_ref().map_or(StoreSeq(0), |store| store.due())
    }

    /// Whether the store is behind a gate.
    pub(super) fn is_open(&self, gate: StoreSeq) -> bool {
        self.store.as_ref().is_none_or(|store| gate <= store.watermark)
    }

    /// Whether the store has kept everything.
    pub(super) fn is_kept(&self) -> bool {
        self.store.as_ref().is_none_or(|store| store.is_settled())
    }

    /// Whether the store is so far behind that nothing more may be begun.
    pub(super) fn store_is_behind(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.ops.len() >= MAX_GATHERED)
    }

    /// Reserves numbers before they are given out.
    pub(super) fn reserve(&mut self) {
        let (token, ack) = (self.next_token, self.inbox.last_number());
        let Some(store) = &mut self.store else { return };
        if token > store.reserved.0 || ack > store.reserved.1 {
            let ahead = |number: u64, reserved: u64| if number > reserved { number + RESERVE } else { reserved };
            store.reserved = (ahead(token, store.reserved.0), ahead(ack, store.reserved.1));
            let (token, ack) = store.reserved;
            store.ops.push(StoreOp::Put(Record::Counters { token, ack }));
        }
    }

    /// CONNECT is about to leave (`connecting`), or its answer came. A new session has nothing that could be in doubt.
    pub(super) fn keep_session(&mut self, connecting: bool) {
        let client_id = self.id.clone();
        let Some(store) = &mut self.store else { return };
        if !connecting || !store.connecting {
            store.connecting = connecting;
            store.ops.push(StoreOp::Put(Record::Session { client_id, connecting }));
        }
    }

    /// What belongs to a connection or attempt waits no longer when that has ended.
    pub(super) fn forget_waiting_packets(&mut self) {
        if let Some(store) = &mut self.store {
            store.waiting.retain(|(_, waiting)| {
                matches!(waiting, Waiting::Kept(_) | Waiting::Failed(..) | Waiting::Answered(..))
            });
        }
    }

    /// When the store is to be asked again.
    pub(super) fn store_deadline(&self) -> Option<Instant> {
        self.store.as_ref().and_then(|store| store.retry_at)
    }

    /// Asks the store again after a failure, if nothing else did since.
    pub(super) fn ask_store_again(&mut self, now: Instant) {
        if let Some(store) = &mut self.store
            && store.retry_at.is_some_and(|at| at <= now)
        {
            store.retry_at = None;
            store.wanted = store.lost == store.handed_out;
        }
    }

    fn go_on(&mut self, now: Instant, waiting: Waiting) {
        match waiting {
            Waiting::Kept(token) => self.event(Event::Kept { token }),
            Waiting::Answered(token, outcome) => self.settle(token, Ok(outcome)),
            Waiting::Failed(token, failure) => self.settle(token, Err(failure)),
            Waiting::Ack(packet, id, reason) => self.send_ack(now, packet, id, reason),
            Waiting::Connect { server } => self.outputs.push_back(Output::Connect { server }),
        }
    }
}
