//! What goes into and comes out of a client besides bytes.
//!
//! Invariant: each [`Token`] is settled exactly once, by one [`Event::Settled`], or is still in an exported session.
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use core::time::Duration;
use mqtt_proto::{ConnAck, DecodeError, Disconnect, Properties, QoS, ReasonCode, TopicFilter, TopicName, Utf8String};

/// Names one publish, subscribe or unsubscribe until it is settled; ascending, never used again by the same session.
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

/// Failure of what a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The Server refused the message (PUBACK or PUBREC of 0x80 or greater).
    Refused {
        /// Why.
        reason: ReasonCode,
        /// In the Server's words.
        text: Option<Utf8String>,
    },
    /// The queue was full ([`QueuePolicy`](super::QueuePolicy)).
    Dropped,
    /// The Message Expiry Interval passed before the message was sent.
    Expired,
    /// The packet would be larger than this Server's Maximum Packet Size in bytes [MQTT-3.2.2-15].
    TooLarge(u32),
    /// The Server's Maximum QoS is lower [MQTT-3.2.2-11].
    QoSNotSupported(QoS),
    /// The Server does not support retained messages [MQTT-3.2.2-14].
    RetainNotSupported,
    /// The Server lost the session while the message was on its way ([`SessionLoss`](super::SessionLoss)).
    SessionLost,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { reason, text: Some(text) } => {
                write!(f, "the server refused the message: {reason:?} ({})", text.as_str())
            }
            Self::Refused { reason, text: None } => write!(f, "the server refused the message: {reason:?}"),
            Self::Dropped => f.write_str("dropped from a full queue: raise its limits or publish more slowly"),
            Self::Expired => f.write_str("the message expired before it could be sent"),
            Self::TooLarge(limit) => write!(f, "the server accepts packets of at most {limit} bytes"),
            Self::QoSNotSupported(max) => write!(f, "the server accepts QoS {} at most", *max as u8),
            Self::RetainNotSupported => f.write_str("the server does not support retained messages"),
            Self::SessionLost => {
                f.write_str("the server lost the session while the message was on its way: it may have arrived or not")
            }
        }
    }
}

impl core::error::Error for Failure {}

/// Why a connection, or an attempt, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// [`Client::disconnect`](super::Client::disconnect) or [`Client::reconnect`](super::Client::reconnect) was called.
    ByCaller,
    /// The transport could not be opened, or was closed without a DISCONNECT.
    TransportLost,
    /// No CONNACK within `connect_timeout`.
    ConnectTimeout,
    /// The Server was silent for `ping_timeout` after a PINGREQ.
    PingTimeout,
    /// CONNACK refused the connection; a Server Reference may say where to go instead.
    Refused(Box<ConnAck>),
    /// The Server sent DISCONNECT (5.0); a Server Reference may say where to go instead.
    ByServer(Box<Disconnect>),
    /// The Server broke the protocol, or we could not go on; 5.0 Servers were told the Reason Code.
    Protocol(ProtocolError),
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = |f: &mut fmt::Formatter<'_>, verb, reason: ReasonCode, properties: &Properties| {
            write!(f, "the server {verb}: {reason:?}")?;
            if let Some(text) = properties.reason_string() {
                write!(f, " ({text})")?;
            }
            properties.server_reference().map_or(Ok(()), |other| write!(f, "; it refers to {other}"))
        };
        match self {
            Self::ByCaller => f.write_str("disconnected on request"),
            Self::TransportLost => f.write_str("the connection was lost or could not be opened"),
            Self::ConnectTimeout => f.write_str("the server did not accept the connection in time"),
            Self::PingTimeout => f.write_str("the server stopped answering"),
            Self::Refused(connack) => server(f, "refused the connection", connack.reason, &connack.properties),
            Self::ByServer(packet) => server(f, "closed the connection", packet.reason, &packet.properties),
            Self::Protocol(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for DisconnectReason {}

/// What the Server did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolError {
    /// The Reason Code of our DISCONNECT.
    pub reason: ReasonCode,
    /// The statement or section that was broken.
    pub statement: &'static str,
    /// What is wrong.
    pub detail: &'static str,
}

impl ProtocolError {
    /// A Protocol Error (0x82).
    pub(super) const fn new(statement: &'static str, detail: &'static str) -> Self {
        Self { reason: ReasonCode::ProtocolError, statement, detail }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server broke the protocol: {} [{}]", self.detail, self.statement)
    }
}

impl core::error::Error for ProtocolError {}

impl From<DecodeError> for ProtocolError {
    fn from(error: DecodeError) -> Self {
        let detail = match error.kind {
            mqtt_proto::ErrorKind::Malformed(what) => what,
            mqtt_proto::ErrorKind::TooLarge => "packet larger than maximum_packet_size",
            _ => "packet that no server may send",
        };
        Self { reason: error.reason, statement: error.statement, detail }
    }
}

/// Why a message was not accepted. Nothing was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// The queue is full: wait for room and try again.
    QueueFull,
    /// There is no connection, and QoS 0 messages are not queued ([`QueueConfig::qos0`](super::QueueConfig::qos0)).
    Offline,
    /// Properties need MQTT 5.0.
    NotInVersion,
    /// A property that a client must not set: Topic Alias, Subscription Identifier [MQTT-3.3.4-6] or one of another packet.
    Property,
    /// The packet would be larger than any can be (268,435,455 bytes).
    TooLarge,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::QueueFull => "the queue is full: wait for room and try again, or raise its limits",
            Self::Offline => "not connected, and QoS 0 messages are not queued: wait for the connection or queue them",
            Self::NotInVersion => "message properties need MQTT 5.0",
            Self::Property => "this property cannot be set on a message that a client publishes",
            Self::TooLarge => "the message is larger than any MQTT packet can be",
        })
    }
}

impl core::error::Error for PublishError {}

/// Why subscriptions were not taken on. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeError {
    /// No Topic Filter [MQTT-3.8.3-2], [MQTT-3.10.3-2].
    Empty,
    /// More than [`ClientConfig::max_subscriptions`](super::ClientConfig::max_subscriptions).
    TooMany,
    /// No Local on a Shared Subscription [MQTT-3.8.3-4].
    NoLocalShared,
    /// A Subscription Identifier out of 1 to 268,435,455 (section 3.8.2.1.2).
    Identifier,
    /// Options, identifiers and User Properties need MQTT 5.0.
    NotInVersion,
    /// `user_properties` holds something else than User Properties.
    Property,
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "at least one topic filter is needed",
            Self::TooMany => "too many subscriptions: raise `max_subscriptions`",
            Self::NoLocalShared => "a shared subscription cannot have the option No Local",
            Self::Identifier => "a subscription identifier must be within 1 and 268,435,455",
            Self::NotInVersion => "subscription options beside QoS, identifiers and user properties need MQTT 5.0",
            Self::Property => "`user_properties` may hold User Properties only",
        })
    }
}

impl core::error::Error for SubscribeError {}

/// Why a call cannot be served in the machine's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError {
    /// There is no connection.
    NotConnected,
    /// The Server did not ask for this step, or no Authentication Method is configured [MQTT-4.12.0-7].
    NotAsked,
    /// A Session Expiry Interval in DISCONNECT after 0 in CONNECT (section 3.14.2.2.2), or properties before 5.0.
    Property,
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotConnected => "not connected",
            Self::NotAsked => "no authentication step is due: set `auth_method` and wait for the server to ask",
            Self::Property => "a session that was to end with the connection cannot be given an expiry at its end",
        })
    }
}

impl core::error::Error for StateError {}

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
