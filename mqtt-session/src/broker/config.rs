//! What a broker may be told; every limit with its unit and default.
//!
//! Invariant: a `Config` is a plain value that never changes while a broker uses it.
use alloc::string::String;
use core::time::Duration;
use mqtt_proto::QoS;

/// The configuration of one [`Broker`](super::Broker). [`Config::default`] serves anybody who can connect: an
/// embedder that listens on more than loopback wants `authentication` and `authorization` set.
#[derive(Clone, Debug)]
pub struct Config {
    /// Names this server in `$SYS/{id}/…`. Default `broker`.
    pub id: String,
    /// The version string published at `$SYS/{id}/version`. Default: this crate's.
    pub version: String,
    /// Who decides on CONNECT. Default [`Authentication::Open`].
    pub authentication: Authentication,
    /// Limits of one connection.
    pub connection: ConnectionLimits,
    /// Limits of one session.
    pub session: SessionLimits,
    /// What the server offers; whatever is turned off is announced in CONNACK and refused with its Reason Code.
    pub features: Features,
    /// How a shared subscription chooses among available members. Default [`SharedStrategy::RoundRobin`].
    pub shared_strategy: SharedStrategy,
    /// How often `$SYS` topics are published; zero turns them off. Default 10 s.
    pub sys_interval: Duration,
    /// Which [`Event`](super::Event)s are reported. Default: connections and subscriptions, no messages.
    pub events: EventMask,
    /// Bytes of messages that are held in memory: in logs, groups and sessions, retained, read back from the store, and on
    /// their way to clients. Default 1 GiB. When it is used up, in this order: older entries of logs stay in the store alone,
    /// where there is one that can be [read from](super::Broker::restore); clients get one message at a time; the oldest of
    /// the queue that grows are dropped and counted, or what comes is; a retained message is refused with Quota exceeded
    /// (0x97). Of the whole, an eighth is for what is read back, a quarter for what is on its way.
    ///
    /// A message counts once for each queue or client that has it. One message for each client, and one that is read back and
    /// larger than its share, may come on top.
    pub max_memory_bytes: u64,
    /// Bytes of queued messages (logs, groups and sessions), in memory or in the store, above which the oldest of the queue
    /// that grows are dropped and counted. Default 64 GiB.
    pub max_queued_bytes: u64,
    /// Retained messages; a further topic is refused with Quota exceeded (0x97). Default 10,000,000.
    pub max_retained_messages: usize,
    /// Connections, those that are being authenticated included; a further one is refused with Server busy (0x89).
    /// Default 1,000,000.
    pub max_connections: usize,
    /// Sessions, offline ones included; a further one is refused with Quota exceeded (0x97). Default 10,000,000.
    pub max_sessions: usize,
    /// Tells clients to go elsewhere: every CONNECT is refused with this Reason Code and reference (section 4.11).
    /// Default `None`.
    pub redirect: Option<Redirect>,
}

/// Where clients are sent (section 4.11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// `true`: Server moved (0x9D); `false`: Use another server (0x9C).
    pub permanent: bool,
    /// The Server Reference property.
    pub server_reference: String,
}

/// Who decides on CONNECT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Authentication {
    /// Everybody is accepted and may publish and subscribe everything (`$SYS` is never written by clients).
    #[default]
    Open,
    /// Each CONNECT becomes a [`Request::Authenticate`](super::Request::Authenticate).
    Request,
}

/// Limits of one connection.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// Time from the connection to its CONNECT, and for each step of authentication. Default 10 s.
    pub connect_timeout: Duration,
    /// Bytes of the largest packet accepted, announced as Maximum Packet Size. Default 268,435,460: all that the
    /// format allows is 268,435,455 plus a fixed header of 5.
    pub max_packet_size: u32,
    /// QoS 1 and 2 messages that a client may have on their way to the server, announced as Receive Maximum; 0 counts as 1.
    /// Default 1,000. Clients before 5.0 are slowed down instead.
    pub receive_maximum: u16,
    /// QoS 1 and 2 messages on their way to a client at once, whatever greater Receive Maximum it allows. Default 1,000.
    pub max_inflight: u16,
    /// Topic Aliases that a client may use towards the server, announced. Default 32.
    pub topic_alias_maximum: u16,
    /// Topic Aliases that the server uses towards a client, whatever greater maximum that allows. Default 32.
    pub max_outgoing_aliases: u16,
    /// Keep Alive that the server imposes on clients that ask for more or for none, in seconds; 0 leaves their
    /// choice. Announced as Server Keep Alive. Default 0.
    pub max_keep_alive: u16,
    /// Bytes waiting for the socket above which QoS 0 messages to this connection are dropped and counted, QoS 1
    /// and 2 stay queued, and its own input is no longer read. Default 4 MiB.
    pub max_transmit_bytes: usize,
    /// Levels of a topic name or filter. Default 128.
    pub max_topic_levels: u16,
    /// Bytes of a topic name or filter. Default 65,535.
    pub max_topic_bytes: u16,
    /// Bytes of a Client Identifier. Default 65,535.
    pub max_client_id_bytes: u16,
}

/// Limits of one session.
#[derive(Clone, Debug)]
pub struct SessionLimits {
    /// Longest Session Expiry Interval in seconds; 0xFFFF_FFFF never expires. A client that asks for more is told.
    /// Default 0xFFFF_FFFF.
    pub max_expiry: u32,
    /// Session Expiry Interval of sessions before 5.0 with Clean Session 0, in seconds. Default 0xFFFF_FFFF.
    pub legacy_expiry: u32,
    /// Topic Filters of one session; a further one is refused with Quota exceeded (0x97). Default 100,000.
    pub max_subscriptions: usize,
    /// Messages that wait for one session in one queue: each durable filter's log, each shared group, and the
    /// connection's own queue. Beyond it the oldest is dropped and counted. Default 100,000.
    pub max_queued_messages: usize,
    /// Bytes of messages that wait in one such queue; likewise. Default 64 MiB.
    pub max_queued_bytes: u64,
    /// Whether QoS 0 messages are kept for the QoS 1 and 2 subscriptions of offline sessions. Default no.
    pub queue_qos0: bool,
}

/// What the server offers (section 3.2.2.3).
#[derive(Clone, Debug)]
pub struct Features {
    /// Maximum QoS. Default 2.
    pub maximum_qos: QoS,
    /// Retain Available. Default yes.
    pub retain: bool,
    /// Wildcard Subscription Available. Default yes.
    pub wildcard_subscriptions: bool,
    /// Shared Subscription Available. Default yes.
    pub shared_subscriptions: bool,
    /// Subscription Identifiers Available. Default yes.
    pub subscription_identifiers: bool,
    /// Accept an empty Client Identifier and assign one. Default yes.
    pub assign_client_ids: bool,
    /// Response Information sent to clients that request it: the start of topics for their responses. `None`
    /// sends none. `{client_id}` in it is replaced. Default `None`.
    pub response_information: Option<String>,
    /// Lowest protocol level served: 3, 4 or 5. Default 3.
    pub min_protocol_level: u8,
}

/// How a shared subscription chooses among available members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SharedStrategy {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The one with the fewest messages on their way.
    LeastLoaded,
}

/// Which events are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventMask {
    /// Connected, refused, disconnected.
    pub connections: bool,
    /// Subscribed, unsubscribed.
    pub subscriptions: bool,
    /// Published: one event per accepted PUBLISH.
    pub published: bool,
    /// Delivered: one event per PUBLISH to a client that was acknowledged (QoS 1, 2) or sent (QoS 0).
    pub delivered: bool,
    /// Dropped: one event per message that a limit cost a receiver.
    pub dropped: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            id: String::from("broker"),
            version: String::from(env!("CARGO_PKG_VERSION")),
            authentication: Authentication::default(),
            connection: ConnectionLimits::default(),
            session: SessionLimits::default(),
            features: Features::default(),
            shared_strategy: SharedStrategy::default(),
            sys_interval: Duration::from_secs(10),
            events: EventMask::default(),
            max_memory_bytes: 1 << 30,
            max_queued_bytes: 64 << 30,
            max_retained_messages: 10_000_000,
            max_connections: 1_000_000,
            max_sessions: 10_000_000,
            redirect: None,
        }
    }
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            max_packet_size: 268_435_460,
            receive_maximum: 1000,
            max_inflight: 1000,
            topic_alias_maximum: 32,
            max_outgoing_aliases: 32,
            max_keep_alive: 0,
            max_transmit_bytes: 4 << 20,
            max_topic_levels: 128,
            max_topic_bytes: u16::MAX,
            max_client_id_bytes: u16::MAX,
        }
    }
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            max_expiry: u32::MAX,
            legacy_expiry: u32::MAX,
            max_subscriptions: 100_000,
            max_queued_messages: 100_000,
            max_queued_bytes: 64 << 20,
            queue_qos0: false,
        }
    }
}

impl Default for Features {
    fn default() -> Self {
        Self {
            maximum_qos: QoS::ExactlyOnce,
            retain: true,
            wildcard_subscriptions: true,
            shared_subscriptions: true,
            subscription_identifiers: true,
            assign_client_ids: true,
            response_information: None,
            min_protocol_level: 3,
        }
    }
}

impl Default for EventMask {
    fn default() -> Self {
        Self { connections: true, subscriptions: true, published: false, delivered: false, dropped: true }
    }
}
