//! The broker machine: one [`Broker`] is one shard (sections 3 and 4 of the standard, the Server's part).
//!
//! Calling contract: inputs are `handle_*`, outputs come from [`Broker::poll_output`]. After every input, poll until `None`; write each
//! connection that was named [`Output::Writable`] once; arm one timer for [`Broker::poll_timeout`]. Any order of calls is safe; calls that name
//! what is gone are no-ops.
//!
//! Invariants: a session belongs to one shard; no queue is unbounded; an acknowledgment never precedes its store watermark.
mod config;
mod grant;
mod greeting;
mod io;
mod message;
mod stats;
mod store;

pub use config::{
    Authentication, Config, ConnectionLimits, EventMask, Features, Redirect, SessionLimits, SharedStrategy,
};
pub use grant::{Access, Grant, Verdict};
pub use greeting::{Greeting, Refusal};
pub use io::{
    Action, AuthOutcome, AuthStage, Authenticate, Completion, ConnId, Decision, DisconnectReason, DropReason, Event,
    LocalId, Output, Peer, Request, RequestId,
};
pub use message::Message;
pub use stats::Stats;
pub use store::{MessageId, Position, SessionRecord, StoreBatch, StoreOp, StoreSeq};

use crate::{Instant, TxQueue, UnixTime};
use alloc::sync::Arc;
use bytes::BytesMut;
use mqtt_proto::{Connect, ReasonCode, SubscriptionOptions, TopicFilter};

/// A broker shard.
#[derive(Debug)]
pub struct Broker {}

#[allow(unused_variables, clippy::unused_self)]
impl Broker {
    /// An empty broker. `seed` decides everything that looks random: assigned client identifiers and the hashing of topics.
    /// `wall` is the wall-clock time at `now`.
    pub fn new(config: Arc<Config>, seed: [u8; 32], now: Instant, wall: UnixTime) -> Self {
        todo!()
    }

    /// A connection whose CONNECT was read by [`Greeting`]. Its outputs follow, CONNACK among them.
    pub fn handle_open(&mut self, now: Instant, peer: Peer, connect: Connect) -> ConnId {
        todo!()
    }

    /// Bytes from a connection. Whole packets are taken from the front of `input`; the rest stays for the next call. Takes
    /// nothing while [`Broker::wants_read`] is false.
    pub fn handle_input(&mut self, now: Instant, conn: ConnId, input: &mut BytesMut) {
        todo!()
    }

    /// The connection is gone, whoever closed it; the last call about it.
    pub fn handle_closed(&mut self, now: Instant, conn: ConnId) {
        todo!()
    }

    /// The answer to a request.
    pub fn handle_completion(&mut self, now: Instant, completion: Completion) {
        todo!()
    }

    /// Serves every deadline up to `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        todo!()
    }

    /// Refuses new connections with Server shutting down (0x8B) from now on, and ends every connection with it.
    pub fn handle_shutdown(&mut self, now: Instant) {
        todo!()
    }

    /// Ends the connection of a client with this Reason Code (an operator's kick). `false`: it has none.
    pub fn handle_kick(&mut self, now: Instant, client_id: &str, reason: ReasonCode) -> bool {
        todo!()
    }

    /// The bytes that wait for a connection's socket; empty for one that is gone.
    pub fn transmit(&self, conn: ConnId) -> &TxQueue {
        todo!()
    }

    /// The socket took the first `bytes` of [`Broker::transmit`].
    pub fn transmitted(&mut self, now: Instant, conn: ConnId, bytes: usize) {
        todo!()
    }

    /// The next thing to do. Every `handle_*`, `transmitted`, `publish` and `subscribe` can make more.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        todo!()
    }

    /// When [`Broker::handle_timeout`] is to be called. Every call on the broker can change it.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// Whether the connection's input is welcome. While it is not, leave the bytes in the socket; [`Output::Readable`] says when it is again.
    #[must_use]
    pub fn wants_read(&self, conn: ConnId) -> bool {
        todo!()
    }

    /// Publishes a message from inside, without authorization.
    pub fn publish(&mut self, now: Instant, message: Message) {
        todo!()
    }

    /// Subscribes from inside; messages come as [`Output::Message`]. `$share` filters are refused with `None`.
    pub fn subscribe(&mut self, now: Instant, filter: &TopicFilter, options: SubscriptionOptions) -> Option<LocalId> {
        todo!()
    }

    /// Ends a subscription made from inside; `false` if there is none.
    pub fn unsubscribe(&mut self, subscription: LocalId) -> bool {
        todo!()
    }

    /// Counters and levels. O(1).
    pub fn stats(&self) -> Stats {
        todo!()
    }
}
