//! The keys of the configuration file.
//!
//! Invariant: `File::default()` gives exactly `Config::default()`; the binary's own choices stand beside it.
use super::listener::{Listen, Listener};
use super::units::{Expiry, Size, Span};
use crate::logging::{Format, Level};
use mqtt_tokio::broker::{Config, ConnectionLimits, EventMask, Features, SessionLimits, SharedStrategy as Strategy};
use mqtt_tokio::proto::QoS;
use serde::de::{Deserialize, Deserializer, Error, Unexpected};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

/// The whole file.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct File {
    pub(crate) listen: Listen,
    /// In the order of the file.
    pub(crate) listener: Vec<Listener>,
    /// The lines on which they begin.
    #[serde(skip)]
    pub(super) listener_lines: Vec<usize>,
    pub(crate) data: PathBuf,
    pub(crate) ephemeral: bool,
    pub(crate) durability: Durability,
    pub(crate) drain_timeout: Span,
    pub(crate) log: Log,
    pub(crate) broker: Broker,
    pub(crate) connection: Connection,
    pub(crate) session: Session,
    pub(crate) features: FeatureKeys,
    pub(crate) redirect: Option<Redirect>,
}

/// When a change is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Durability {
    /// At once.
    Memory,
    /// When the operating system has it.
    Os,
    /// When the disk has it.
    #[default]
    Disk,
}

#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) format: Format,
    pub(crate) level: Level,
    pub(crate) events: Events,
}

/// Which events of the broker reach the log, each at its level.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Events {
    connections: bool,
    subscriptions: bool,
    published: bool,
    delivered: bool,
    dropped: bool,
}

#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Broker {
    id: String,
    shared_strategy: SharedStrategy,
    sys_interval: Span,
    max_memory_bytes: Size<0, { i64::MAX as u64 }>,
    max_queued_bytes: Size<0, { i64::MAX as u64 }>,
    max_retained_messages: usize,
    max_connections: usize,
    max_sessions: usize,
}

#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Connection {
    connect_timeout: Span,
    max_packet_size: Size<128, 268_435_460>,
    receive_maximum: NonZeroU16,
    max_inflight: NonZeroU16,
    topic_alias_maximum: u16,
    max_outgoing_aliases: u16,
    max_keep_alive: u16,
    max_transmit_bytes: Size<1024, { u32::MAX as u64 }>,
    max_topic_levels: NonZeroU16,
    max_topic_bytes: NonZeroU16,
    max_client_id_bytes: u16,
}

#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Session {
    max_expiry: Expiry,
    legacy_expiry: Expiry,
    max_subscriptions: usize,
    max_queued_messages: usize,
    max_queued_bytes: Size<0, { i64::MAX as u64 }>,
    queue_qos0: bool,
}

#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FeatureKeys {
    #[serde(deserialize_with = "qos")]
    maximum_qos: QoS,
    retain: bool,
    wildcard_subscriptions: bool,
    shared_subscriptions: bool,
    subscription_identifiers: bool,
    assign_client_ids: bool,
    pub(crate) response_information: Option<String>,
    #[serde(deserialize_with = "protocol_level")]
    min_protocol_level: u8,
}

#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redirect {
    #[serde(default)]
    permanent: bool,
    server_reference: String,
}

#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SharedStrategy {
    RoundRobin,
    LeastLoaded,
}

fn qos<'de, D: Deserializer<'de>>(deserializer: D) -> Result<QoS, D::Error> {
    let level = u64::deserialize(deserializer)?;
    u8::try_from(level)
        .ok()
        .and_then(QoS::new)
        .ok_or_else(|| D::Error::invalid_value(Unexpected::Unsigned(level), &"0, 1 or 2"))
}

fn protocol_level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let level = u64::deserialize(deserializer)?;
    match level {
        3 => Ok(3),
        4 => Ok(4),
        5 => Ok(5),
        _ => {
            let allowed = "3 (MQTT 3.1), 4 (3.1.1) or 5 (5.0)";
            Err(D::Error::invalid_value(Unexpected::Unsigned(level), &allowed))
        }
    }
}

impl File {
    /// The broker's configuration.
    pub(crate) fn config(&self) -> Config {
        let Broker {
            id,
            shared_strategy,
            sys_interval,
            max_memory_bytes,
            max_queued_bytes,
            max_retained_messages,
            max_connections,
            max_sessions,
        } = &self.broker;
        let Events { connections, subscriptions, published, delivered, dropped } = self.log.events;
        Config {
            id: id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            connection: self.connection.limits(),
            session: self.session.limits(),
            features: self.features.features(),
            shared_strategy: match shared_strategy {
                SharedStrategy::RoundRobin => Strategy::RoundRobin,
                SharedStrategy::LeastLoaded => Strategy::LeastLoaded,
            },
            sys_interval: sys_interval.0,
            events: EventMask { connections, subscriptions, published, delivered, dropped },
            max_memory_bytes: max_memory_bytes.0,
            max_queued_bytes: max_queued_bytes.0,
            max_retained_messages: *max_retained_messages,
            max_connections: *max_connections,
            max_sessions: *max_sessions,
            redirect: self.redirect.as_ref().map(|redirect| mqtt_tokio::broker::Redirect {
                permanent: redirect.permanent,
                server_reference: redirect.server_reference.clone(),
            }),
            ..Config::default() // authentication needs an embedder
        }
    }
}

impl Connection {
    fn limits(&self) -> ConnectionLimits {
        ConnectionLimits {
            connect_timeout: self.connect_timeout.0,
            max_packet_size: u32::try_from(self.max_packet_size.0).expect("its type bounds it"),
            receive_maximum: self.receive_maximum.get(),
            max_inflight: self.max_inflight.get(),
            topic_alias_maximum: self.topic_alias_maximum,
            max_outgoing_aliases: self.max_outgoing_aliases,
            max_keep_alive: self.max_keep_alive,
            max_transmit_bytes: usize::try_from(self.max_transmit_bytes.0).unwrap_or(usize::MAX),
            max_topic_levels: self.max_topic_levels.get(),
            max_topic_bytes: self.max_topic_bytes.get(),
            max_client_id_bytes: self.max_client_id_bytes,
        }
    }
}

impl Session {
    fn limits(&self) -> SessionLimits {
        SessionLimits {
            max_expiry: self.max_expiry.0,
            legacy_expiry: self.legacy_expiry.0,
            max_subscriptions: self.max_subscriptions,
            max_queued_messages: self.max_queued_messages,
            max_queued_bytes: self.max_queued_bytes.0,
            queue_qos0: self.queue_qos0,
        }
    }
}

impl FeatureKeys {
    fn features(&self) -> Features {
        Features {
            maximum_qos: self.maximum_qos,
            retain: self.retain,
            wildcard_subscriptions: self.wildcard_subscriptions,
            shared_subscriptions: self.shared_subscriptions,
            subscription_identifiers: self.subscription_identifiers,
            assign_client_ids: self.assign_client_ids,
            response_information: self.response_information.clone(),
            min_protocol_level: self.min_protocol_level,
        }
    }
}

impl Default for File {
    fn default() -> Self {
        Self {
            listen: Listen::default(),
            listener: Vec::new(),
            listener_lines: Vec::new(),
            data: "zanzara-data".into(),
            ephemeral: false,
            durability: Durability::default(),
            drain_timeout: Span(Duration::from_secs(5)),
            log: Log::default(),
            broker: Broker::default(),
            connection: Connection::default(),
            session: Session::default(),
            features: FeatureKeys::default(),
            redirect: None,
        }
    }
}

impl Default for Events {
    fn default() -> Self {
        let EventMask { connections, subscriptions, published, delivered, dropped } = EventMask::default();
        Self { connections, subscriptions, published, delivered, dropped }
    }
}

impl Default for Broker {
    fn default() -> Self {
        let config = Config::default();
        Self {
            id: config.id,
            shared_strategy: match config.shared_strategy {
                Strategy::RoundRobin => SharedStrategy::RoundRobin,
                Strategy::LeastLoaded => SharedStrategy::LeastLoaded,
            },
            sys_interval: Span(config.sys_interval),
            max_memory_bytes: Size(config.max_memory_bytes),
            max_queued_bytes: Size(config.max_queued_bytes),
            max_retained_messages: config.max_retained_messages,
            max_connections: config.max_connections,
            max_sessions: config.max_sessions,
        }
    }
}

impl Default for Connection {
    fn default() -> Self {
        let limits = ConnectionLimits::default();
        let some = |number| NonZeroU16::new(number).expect("the default is not zero");
        Self {
            connect_timeout: Span(limits.connect_timeout),
            max_packet_size: Size(limits.max_packet_size.into()),
            receive_maximum: some(limits.receive_maximum),
            max_inflight: some(limits.max_inflight),
            topic_alias_maximum: limits.topic_alias_maximum,
            max_outgoing_aliases: limits.max_outgoing_aliases,
            max_keep_alive: limits.max_keep_alive,
            max_transmit_bytes: Size(limits.max_transmit_bytes as u64),
            max_topic_levels: some(limits.max_topic_levels),
            max_topic_bytes: some(limits.max_topic_bytes),
            max_client_id_bytes: limits.max_client_id_bytes,
        }
    }
}

impl Default for Session {
    fn default() -> Self {
        let limits = SessionLimits::default();
        Self {
            max_expiry: Expiry(limits.max_expiry),
            legacy_expiry: Expiry(limits.legacy_expiry),
            max_subscriptions: limits.max_subscriptions,
            max_queued_messages: limits.max_queued_messages,
            max_queued_bytes: Size(limits.max_queued_bytes),
            queue_qos0: limits.queue_qos0,
        }
    }
}

impl Default for FeatureKeys {
    fn default() -> Self {
        let features = Features::default();
        Self {
            maximum_qos: features.maximum_qos,
            retain: features.retain,
            wildcard_subscriptions: features.wildcard_subscriptions,
            shared_subscriptions: features.shared_subscriptions,
            subscription_identifiers: features.subscription_identifiers,
            assign_client_ids: features.assign_client_ids,
            response_information: features.response_information,
            min_protocol_level: features.min_protocol_level,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_brokers() {
        let ours = File::default().config();
        let theirs = Config { version: ours.version.clone(), ..Config::default() };
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
    }
}
