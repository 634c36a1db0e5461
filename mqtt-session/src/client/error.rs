//! What can go wrong for a client: with a message, with a connection, and with a call.
//!
//! Invariants: what the Server did and what the caller did never share a type; every text says what to do, or what happened.
use alloc::boxed::Box;
use core::fmt;
use mqtt_proto::{ConnAck, DecodeError, Disconnect, Properties, QoS, ReasonCode, Utf8String};

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
            Self::Refused(connack) if connack.reason == ReasonCode::UnsupportedProtocolVersion => {
                f.write_str("the server does not speak this version of MQTT: choose another, such as 3.1.1")
            }
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
