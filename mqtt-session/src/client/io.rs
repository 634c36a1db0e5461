//! What goes into and comes out of a client besides bytes.
//!
//! Invariant: each [`Token`] is settled exactly once, by one [`Event::Settled`], or is still in an exported session or a store. (A process that is
//! killed may have reported an outcome that the next one reports again.)
use super::{DisconnectReason, Failure, StoreBatch};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;
use mqtt_proto::{ConnAck, Properties, QoS, ReasonCode, TopicFilter, TopicName};

/// Names one publish, subscribe or unsubscribe until it is settled; ascending, never used again by the same session (with a store: no token of a
/// message that was reported as kept is).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub(super) u64);

impl Token {
    /// The token as a number, for a caller that keeps sessions.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The token of [`Token::as_u64`].
    pub const fn from_u64(token: u64) -> Self {
        Self(token)
    }
}

/// Names one received message until it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AckToken(pub(super) u64);

impl AckToken {
    /// The token as a number. With a store, that of a QoS 2 message is the same when it is handed out again after a restart, later messages
    /// have greater ones, and none is used twice (see [`Client::with_store`](super::Client::with_store)).
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// Something for the adapter to do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Output {
    /// Open a transport to this server, an index below [`ClientConfig::servers`](super::ClientConfig::servers); then call
    /// [`Client::handle_connected`](super::Client::handle_connected) or [`Client::handle_disconnected`](super::Client::handle_disconnected).
    Connect {
        /// Which server.
        server: usize,
    },
    /// [`Client::transmit`](super::Client::transmit) has bytes to write. Reported once until all of them were written.
    Writable,
    /// [`Client::wants_read`](super::Client::wants_read) became true again: hand in what is buffered, then read on.
    Readable,
    /// Write what [`Client::transmit`](super::Client::transmit) still holds (bounded in time), close the transport, or stop opening it. Nothing is to
    /// be reported after that.
    Close,
    /// Keep these changes, and report to [`Client::handle_completion`](super::Client::handle_completion). Only with a store
    /// ([`Client::with_store`](super::Client::with_store)).
    Store(StoreBatch),
    /// Something that happened.
    Event(Event),
}

/// Something that happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// An attempt begins.
    Connecting {
        /// Which server.
        server: usize,
    },
    /// The Server accepted the connection.
    Connected(Box<Connected>),
    /// A connection, or an attempt, ended.
    Disconnected {
        /// Why.
        reason: DisconnectReason,
        /// Whether CONNACK had accepted the connection.
        was_connected: bool,
        /// The delay until the next attempt; `None` when the machine waits for [`Client::connect`](super::Client::connect).
        retry_in: Option<Duration>,
    },
    /// The store has kept this message of QoS 1 or 2: it is sent even if the process is killed. Only with a store; comes once for each message,
    /// mostly before it is settled.
    Kept {
        /// The token of `publish`.
        token: Token,
    },
    /// The store could not keep something. What depends on it waits, and the store is asked again every second.
    StoreFailed,
    /// A token's fate.
    Settled {
        /// The token.
        token: Token,
        /// What became of it.
        result: Result<Outcome, Failure>,
    },
    /// A subscription that the machine made again after the Server lost the session was refused; it is no longer desired.
    SubscriptionLost {
        /// The filter.
        filter: TopicFilter,
        /// Why.
        reason: ReasonCode,
    },
    /// The Server asks for the next step of enhanced authentication: answer with [`Client::authenticate`](super::Client::authenticate).
    Auth(AuthStep),
    /// A re-authentication succeeded (section 4.12.1).
    ReAuthenticated(AuthStep),
    /// QoS 0 messages were dropped because they were not taken in time while an acknowledgment was awaited.
    Dropped {
        /// How many since the last such event.
        count: u64,
    },
}

/// A connection as the Server granted it. Limits that CONNACK leaves out have the standard's defaults.
#[derive(Clone, Debug)]
pub struct Connected {
    /// Which server.
    pub server: usize,
    /// Whether the Server kept the session; in 3.1, which cannot tell, whether it was asked to.
    pub session_present: bool,
    /// Whether the machine's own session state was discarded although it had one (see [`SessionLoss`](super::SessionLoss)).
    pub session_lost: bool,
    /// The Client Identifier in force.
    pub client_id: mqtt_proto::ClientId,
    /// What the Server grants.
    pub server_limits: ServerLimits,
    /// CONNACK as it came: Response Information, Authentication Data, User Properties …
    pub connack: ConnAck,
}

/// What the Server grants in CONNACK (section 3.2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Keep Alive in force, in seconds; 0 is off.
    pub keep_alive: u16,
    /// Session Expiry Interval in force, in seconds.
    pub session_expiry: u32,
    /// Receive Maximum of the Server. Default: 65,535.
    pub receive_maximum: u16,
    /// Maximum QoS.
    pub maximum_qos: QoS,
    /// Whether retained messages are supported.
    pub retain_available: bool,
    /// Maximum Packet Size of the Server, in bytes. Default: none, then the largest that the encoding has.
    pub maximum_packet_size: u32,
    /// Topic Alias Maximum of the Server. Default: 0.
    pub topic_alias_maximum: u16,
    /// Whether wildcard subscriptions are supported.
    pub wildcards: bool,
    /// Whether Subscription Identifiers are supported.
    pub subscription_identifiers: bool,
    /// Whether Shared Subscriptions are supported.
    pub shared_subscriptions: bool,
}

/// One step of enhanced authentication (section 4.12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthStep {
    /// Authentication Method.
    pub method: String,
    /// Authentication Data of the Server.
    pub data: Option<Bytes>,
}

/// A message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Topic Name.
    pub topic: TopicName,
    /// Application Message.
    pub payload: Bytes,
    /// Quality of Service.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
    /// PUBLISH properties (5.0). A Message Expiry Interval counts from the call of `publish`, and what is left of it is sent. Topic Alias and
    /// Subscription Identifier are not allowed.
    pub properties: Properties,
}

impl Message {
    /// A message that is not retained and has no properties.
    pub fn new(topic: TopicName, payload: impl Into<Bytes>, qos: QoS) -> Self {
        Self { topic, payload: payload.into(), qos, retain: false, properties: Properties::new() }
    }

    /// Bytes that a queue is charged with for it.
    pub fn cost(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.len()
    }
}

/// A message that the Server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Topic Name, a Topic Alias resolved.
    pub topic: TopicName,
    /// Application Message.
    pub payload: Bytes,
    /// Quality of Service.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
    /// DUP flag: the Server may have sent it before. QoS 2 messages are handed out once nevertheless.
    pub dup: bool,
    /// PUBLISH properties.
    pub properties: Properties,
    /// With manual acknowledgments and QoS above 0: pass it to [`Client::acknowledge`](super::Client::acknowledge).
    pub ack: Option<AckToken>,
}

/// Success of what a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// A QoS 0 message was handed to the transport; nothing more can be known.
    Sent,
    /// A QoS 1 or 2 message was acknowledged by PUBACK or PUBCOMP: Success, or No matching subscribers (5.0).
    Acknowledged(ReasonCode),
    /// One Reason Code per Topic Filter of `subscribe`, in its order: the granted QoS or a failure.
    Subscribed(Vec<ReasonCode>),
    /// One Reason Code per Topic Filter of `unsubscribe`, in its order.
    Unsubscribed(Vec<ReasonCode>),
}

/// What happened so far; all counters only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections that CONNACK accepted.
    pub connections: u64,
    /// Packets sent and received.
    pub packets_sent: u64,
    /// Packets received.
    pub packets_received: u64,
    /// PUBLISH packets sent, re-deliveries included.
    pub publishes_sent: u64,
    /// PUBLISH packets sent again with DUP.
    pub publishes_resent: u64,
    /// Messages handed out.
    pub messages_received: u64,
    /// QoS 2 copies that were suppressed.
    pub duplicates_suppressed: u64,
    /// Outgoing messages dropped from a full queue.
    pub dropped_queue_full: u64,
    /// Outgoing messages that expired in the queue.
    pub dropped_expired: u64,
    /// Outgoing messages that the Server's limits forbid.
    pub dropped_unsupported: u64,
    /// Received QoS 0 messages dropped because they were not taken in time.
    pub dropped_incoming: u64,
    /// Acknowledgments for identifiers that are not in flight; they are ignored.
    pub unexpected_acks: u64,
}
