//! What a [`Client`](super::Client) is told once, with every limit and its default (MQTT 5.0 section 3.1).
//!
//! Invariant: a configuration never changes while a machine runs; what may change between connections (credentials, Authentication
//! Data) has setters on the machine.
use super::alias::AliasPolicy;
use super::backoff::Backoff;
use alloc::string::String;
use bytes::Bytes;
use core::fmt;
use core::time::Duration;
use mqtt_proto::{ClientId, Properties, Property, Utf8String, Version, Will};

/// Everything a client decides beforehand. `ClientConfig::default()` speaks MQTT 5.0, starts clean, and reconnects for ever.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Protocol version. Default: 5.0.
    pub version: Version,
    /// Client Identifier. Default: empty, so that a 5.0 Server assigns one; before 5.0 the machine makes one from its seed.
    /// Either way the identifier is kept for all later connections [MQTT-3.1.3-2].
    pub client_id: ClientId,
    /// 5.0: whether the first connection discards a session that exists; later connections of the same machine resume. Before 5.0 one flag
    /// says both "discard" and "forget me when I go", and is sent each time. Default: true.
    ///
    /// With `false`, the state that the machine was restored with ([`Client::restore`](super::Client::restore)), or an empty one, counts as the
    /// client's Session State for [MQTT-3.2.2-4].
    pub clean_start: bool,
    /// Seconds for which the Server keeps the session after a connection ends (5.0). Default: 0; 0xFFFF_FFFF never expires.
    pub session_expiry: u32,
    /// Keep Alive in seconds; 0 turns it off. The Server may override it. Default: 60.
    pub keep_alive: u16,
    /// How long after a PINGREQ the Server may stay silent. Default: 10 s.
    pub ping_timeout: Duration,
    /// How long a connection may take from [`Output::Connect`](super::Output::Connect) to CONNACK. Default: 30 s.
    pub connect_timeout: Duration,
    /// User Name.
    pub username: Option<Utf8String>,
    /// Password. Before 5.0 it needs a User Name.
    pub password: Option<Bytes>,
    /// Will Message.
    pub will: Option<Will>,
    /// Authentication Method of enhanced authentication (5.0). Default: none.
    pub auth_method: Option<String>,
    /// Authentication Data of CONNECT (5.0); [`Client::set_auth_data`](super::Client::set_auth_data) replaces it per connection.
    pub auth_data: Option<Bytes>,
    /// User Properties of CONNECT, and nothing else (5.0).
    pub user_properties: Properties,
    /// Whether to ask for Response Information (5.0). Default: false.
    pub request_response_information: bool,
    /// Whether the Server may send Reason Strings and User Properties beside failures (5.0). Default: true.
    pub request_problem_information: bool,
    /// QoS 1 and 2 messages that the Server may have on their way to us unacknowledged (5.0); 1 or more. Default: 1,000.
    pub receive_maximum: u16,
    /// Largest packet that is accepted, in bytes. 5.0 tells the Server so. Default: 16 MiB.
    pub maximum_packet_size: u32,
    /// Topic Aliases that the Server may use towards us (5.0). Default: 32.
    pub topic_alias_maximum: u16,
    /// Whether, and how, outgoing topics get aliases (5.0). Default: off.
    pub topic_alias: AliasPolicy,
    /// Most outgoing aliases in use, whatever the Server allows. Default: 32.
    pub topic_alias_limit: u16,
    /// QoS 1 and 2 messages that may be on their way to the Server at once; the Server's Receive Maximum lowers it. 1 or more. Default: 1,000.
    pub max_inflight: u16,
    /// The queue of messages that have not been sent yet, offline or not.
    pub queue: QueueConfig,
    /// What becomes of unacknowledged messages when the Server lost the session. Default: [`SessionLoss::Republish`].
    pub on_session_loss: SessionLoss,
    /// Whether to subscribe again what the Server lost. Default: true.
    pub resubscribe: bool,
    /// Most Topic Filters in one SUBSCRIBE or UNSUBSCRIBE; 0 counts as 1. Default: 100.
    pub subscribe_batch: usize,
    /// Most desired subscriptions. Default: 100,000.
    pub max_subscriptions: usize,
    /// Whether acknowledgments wait for [`Client::acknowledge`](super::Client::acknowledge). Default: false, a message is acknowledged when
    /// [`Client::poll_message`](super::Client::poll_message) hands it out.
    pub manual_acks: bool,
    /// Received messages that may wait for [`Client::poll_message`](super::Client::poll_message) before reading pauses. Default: 1,000.
    pub max_incoming: usize,
    /// Bytes of received messages that may wait before reading pauses. Default: 16 MiB.
    pub max_incoming_bytes: usize,
    /// Bytes that may wait for the socket before messages stay in the queue. Default: 256 KiB.
    pub max_transmit_bytes: usize,
    /// Number of servers, 1 or more; [`Output::Connect`](super::Output::Connect) names one by its index. Default: 1.
    pub servers: usize,
    /// Delays between attempts; `None` never reconnects by itself. Default: 1 s doubling to 60 s, with jitter.
    pub reconnect: Option<Backoff>,
    /// Whether to go on after an answer that will be the same next time: bad credentials, not authorized, banned, unsupported version,
    /// identifier refused, session taken over. Default: false.
    pub retry_refused: bool,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            version: Version::V5,
            client_id: ClientId::default(),
            clean_start: true,
            session_expiry: 0,
            keep_alive: 60,
            ping_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(30),
            username: None,
            password: None,
            will: None,
            auth_method: None,
            auth_data: None,
            user_properties: Properties::new(),
            request_response_information: false,
            request_problem_information: true,
            receive_maximum: 1000,
            maximum_packet_size: 16 * 1024 * 1024,
            topic_alias_maximum: 32,
            topic_alias: AliasPolicy::Off,
            topic_alias_limit: 32,
            max_inflight: 1000,
            queue: QueueConfig::default(),
            on_session_loss: SessionLoss::Republish,
            resubscribe: true,
            subscribe_batch: 100,
            max_subscriptions: 100_000,
            manual_acks: false,
            max_incoming: 1000,
            max_incoming_bytes: 16 * 1024 * 1024,
            max_transmit_bytes: 256 * 1024,
            servers: 1,
            reconnect: Some(Backoff::default()),
            retry_refused: false,
        }
    }
}

impl ClientConfig {
    /// Whether the Server keeps the session between connections.
    pub fn is_persistent(&self) -> bool {
        if self.version.is_v5() { self.session_expiry > 0 } else { !self.clean_start }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let v5 = self.version.is_v5();
        if self.servers == 0 {
            return Err(ConfigError::Zero("servers"));
        }
        if self.receive_maximum == 0 {
            return Err(ConfigError::Zero("receive_maximum")); // a Receive Maximum of 0 is a Protocol Error (section 3.1.2.11.3)
        }
        if self.max_inflight == 0 {
            return Err(ConfigError::Zero("max_inflight"));
        }
        if self.maximum_packet_size == 0 {
            return Err(ConfigError::Zero("maximum_packet_size")); // likewise (section 3.1.2.11.4)
        }
        if self.user_properties.iter().any(|property| !matches!(property, Property::UserProperty(..))) {
            return Err(ConfigError::NotUserProperties);
        }
        if !v5 && self.password.is_some() && self.username.is_none() {
            return Err(ConfigError::PasswordAlone); // [3.1.1: MQTT-3.1.2-22]
        }
        let will_properties = self.will.as_ref().is_some_and(|will| !will.properties.is_empty());
        if !v5
            && (will_properties
                || self.auth_method.is_some()
                || !self.user_properties.is_empty()
                || self.session_expiry > 0)
        {
            return Err(ConfigError::NotInVersion);
        }
        if self.auth_data.is_some() && self.auth_method.is_none() {
            return Err(ConfigError::AuthDataAlone); // a Protocol Error (section 3.1.2.11.10)
        }
        Ok(())
    }
}

/// Limits of the queue of outgoing messages that have not been sent yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Most messages; one is always allowed. Default: 10,000.
    pub max_messages: usize,
    /// Most bytes of topics, payloads and properties; a larger message is taken when the queue is empty. Default: 64 MiB.
    pub max_bytes: usize,
    /// Who gives way when it is full. Default: [`QueuePolicy::Refuse`].
    pub policy: QueuePolicy,
    /// Whether QoS 0 messages are queued while there is no connection; otherwise they are refused then. Default: true.
    pub qos0: bool,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self { max_messages: 10_000, max_bytes: 64 * 1024 * 1024, policy: QueuePolicy::Refuse, qos0: true }
    }
}

/// Who gives way when the queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueuePolicy {
    /// `publish` returns [`PublishError::QueueFull`](super::PublishError::QueueFull); nothing that was accepted is lost.
    #[default]
    Refuse,
    /// The oldest queued messages; their tokens fail with [`Failure::Dropped`](super::Failure::Dropped).
    DropOldest,
    /// The new message; its token fails with [`Failure::Dropped`](super::Failure::Dropped).
    DropNewest,
}

/// What becomes of messages in flight when the Server answers without a session. They cannot be resumed: both sides must
/// discard the session [MQTT-3.2.2-5], and the packet identifiers with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionLoss {
    /// QoS 1 messages are published anew (at least once still holds). QoS 2 messages fail with
    /// [`Failure::SessionLost`](super::Failure::SessionLost), since nobody can say whether they arrived: only the caller knows which is worse, a second
    /// copy or none.
    #[default]
    Republish,
    /// All of them fail with [`Failure::SessionLost`](super::Failure::SessionLost).
    Fail,
}

/// A configuration that contradicts itself or the standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The field must be 1 or more.
    Zero(&'static str),
    /// `user_properties` holds something else than User Properties.
    NotUserProperties,
    /// A password without a user name before 5.0.
    PasswordAlone,
    /// Authentication Data without an Authentication Method.
    AuthDataAlone,
    /// A field that exists in 5.0 alone is set for an earlier version.
    NotInVersion,
    /// The store holds the session of another Client Identifier.
    OtherClient,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero(field) => write!(f, "`{field}` must be 1 or more"),
            Self::NotUserProperties => f.write_str("`user_properties` may hold User Properties only"),
            Self::PasswordAlone => {
                f.write_str("MQTT before 5.0 allows a password with a user name only: set a user name too")
            }
            Self::AuthDataAlone => f.write_str("Authentication Data needs an Authentication Method: set `auth_method`"),
            Self::OtherClient => {
                f.write_str("the store holds the session of another client identifier: use that one, or another store")
            }
            Self::NotInVersion => {
                f.write_str("session expiry, enhanced authentication and properties need MQTT 5.0: set `version`")
            }
        }
    }
}

impl core::error::Error for ConfigError {}
