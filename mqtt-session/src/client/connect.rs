//! CONNECT, and what CONNACK grants (MQTT 5.0 sections 3.1 and 3.2).
//!
//! Invariant: after CONNACK both sides have the same idea of the session, or the connection is closed.
use super::alias::{IncomingAliases, OutgoingAliases};
use super::connection::Phase;
use super::keep_alive::KeepAlive;
use super::{Client, ClientConfig, Connected, DisconnectReason, Event, ProtocolError, ServerLimits};
use crate::{Instant, Rng};
use alloc::boxed::Box;
use alloc::string::String;
use mqtt_proto::{
    ClientId, ConnAck, Connect, Decoder, Packet, Properties, PropertiesBuilder, Property, QoS, ReasonCode, Version,
};

/// The largest packet that the encoding has: four length bytes and one of type before 268,435,455.
const MAX_PACKET: u32 = 268_435_455 + 5;

/// Before 5.0 a Server need not take an empty identifier (3.1 forbids it, 3.1.1 allows it for clean sessions), so one is made.
/// At most 23 bytes of digits and letters, which every Server must allow [MQTT-3.1.3-5].
pub(super) fn first_client_id(config: &ClientConfig, rng: &mut Rng) -> ClientId {
    if config.version.is_v5() || !config.client_id.is_empty() {
        return config.client_id.clone();
    }
    const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut id = String::from("zanzara");
    for _ in 0..16 {
        let letter = usize::try_from(rng.below(36)).unwrap_or(0);
        id.push(char::from(LETTERS[letter]));
    }
    ClientId::try_from(id).expect("letters and digits")
}

impl ServerLimits {
    /// Before CONNACK the standard's defaults hold.
    pub(super) fn before_connack(config: &ClientConfig) -> Self {
        Self::of(config, &Properties::new())
    }

    fn of(config: &ClientConfig, properties: &Properties) -> Self {
        Self {
            keep_alive: properties.server_keep_alive().unwrap_or(config.keep_alive), // [MQTT-3.1.2-21], [MQTT-3.2.2-21]
            session_expiry: properties.session_expiry_interval().unwrap_or(config.session_expiry),
            receive_maximum: properties.receive_maximum().unwrap_or(u16::MAX),
            maximum_qos: properties.maximum_qos().unwrap_or(QoS::ExactlyOnce),
            retain_available: properties.retain_available().unwrap_or(true),
            maximum_packet_size: properties.maximum_packet_size().unwrap_or(MAX_PACKET).min(MAX_PACKET),
            topic_alias_maximum: properties.topic_alias_maximum().unwrap_or(0),
            wildcards: properties.wildcard_subscription_available().unwrap_or(true),
            subscription_identifiers: properties.subscription_identifier_available().unwrap_or(true),
            shared_subscriptions: properties.shared_subscription_available().unwrap_or(true),
        }
    }
}

impl Client {
    /// The first packet of a connection [MQTT-3.1.0-1]. Nothing but AUTH and DISCONNECT follows it before CONNACK [MQTT-3.1.2-30].
    pub(super) fn send_connect(&mut self, now: Instant) {
        let config = &self.config;
        self.decoder = Decoder::client(config.version, config.maximum_packet_size);
        self.limits = ServerLimits::before_connack(config);
        self.keep_alive = KeepAlive::new(0, config.ping_timeout, now);
        let connect = Connect {
            version: config.version,
            clean_start: self.starts_clean(),
            keep_alive: config.keep_alive,
            client_id: self.id.clone(),
            will: config.will.clone(),
            username: self.username.clone(),
            password: self.password.clone(),
            properties: if config.version.is_v5() { self.connect_properties() } else { Properties::new() },
        };
        if self.send(now, &Packet::from(connect)).is_err() {
            // Credentials that were set later and that the version cannot say.
            self.refuse(
                now,
                ProtocolError::new("section 3.1", "CONNECT cannot be encoded: check credentials and will"),
            );
        }
    }

    fn starts_clean(&self) -> bool {
        self.config.clean_start && !(self.config.version.is_v5() && self.connected_before)
    }

    fn connect_properties(&self) -> Properties {
        let config = &self.config;
        let mut all = PropertiesBuilder::default();
        if config.session_expiry > 0 {
            all = all.with(Property::SessionExpiryInterval(config.session_expiry));
        }
        if config.receive_maximum < u16::MAX {
            all = all.with(Property::ReceiveMaximum(config.receive_maximum));
        }
        if config.maximum_packet_size < MAX_PACKET {
            all = all.with(Property::MaximumPacketSize(config.maximum_packet_size));
        }
        if config.topic_alias_maximum > 0 {
            all = all.with(Property::TopicAliasMaximum(config.topic_alias_maximum));
        }
        if config.request_response_information {
            all = all.with(Property::RequestResponseInformation(true));
        }
        if !config.request_problem_information {
            all = all.with(Property::RequestProblemInformation(false));
        }
        // Texts beyond 65,535 bytes cannot be said: the Server then refuses what is missing.
        if let Some(method) = &config.auth_method {
            let _ = all.push(Property::AuthenticationMethod(method));
            let _ = self.auth_data.as_ref().map(|data| all.push(Property::AuthenticationData(data)));
        }
        for property in config.user_properties.iter() {
            all = all.with(property);
        }
        all.build()
    }

    pub(super) fn on_connack(&mut self, now: Instant, connack: ConnAck) -> Result<(), ProtocolError> {
        if !matches!(self.phase, Phase::Handshake { .. }) {
            return Err(ProtocolError::new("MQTT-3.2.0-2", "a second CONNACK"));
        }
        // The Server closes after a refusal [MQTT-3.2.2-7], and so do we.
        if connack.reason != ReasonCode::Success {
            self.tx.clear();
            self.close(now, DisconnectReason::Refused(Box::new(connack)));
            return Ok(());
        }
        if self.config.auth_method.is_some() || connack.properties.authentication_method().is_some() {
            self.auth_step(&connack.properties)?;
        }
        // [MQTT-3.2.2-4], [3.1.1: MQTT-3.2.2-1] We asked for a new session, so have no state of an old one.
        if connack.session_present && self.starts_clean() {
            return Err(ProtocolError::new("MQTT-3.2.2-4", "an old session is present after a clean start"));
        }
        self.adopt_client_id(&connack)?;
        // Before Session Present existed, a session that was asked for may be there.
        let unknown = self.config.version == Version::V3_1 && !self.config.clean_start
            || core::mem::take(&mut self.doubtful) && connack.session_present;
        let session_present = connack.session_present || unknown;
        self.limits = ServerLimits::of(&self.config, &connack.properties);
        self.keep_alive = KeepAlive::new(self.limits.keep_alive, self.config.ping_timeout, now);
        let aliases = self.limits.topic_alias_maximum.min(self.config.topic_alias_limit);
        self.aliases = OutgoingAliases::new(self.config.topic_alias, aliases); // [MQTT-3.3.2-7]
        self.inbox.new_connection(IncomingAliases::new(if self.config.version.is_v5() {
            self.config.topic_alias_maximum
        } else {
            0
        }));
        let session_lost = self.connected_before && !session_present && self.config.is_persistent();
        self.go_online(now);
        self.keep_session(false);
        self.event(Event::Connected(Box::new(Connected {
            server: self.retry.server(),
            session_present,
            session_lost,
            client_id: self.id.clone(),
            server_limits: self.limits,
            connack,
        })));
        if session_present {
            self.resume_session(now, unknown);
        } else {
            self.discard_session(now); // [MQTT-3.2.2-5], [MQTT-3.1.2-4], [3.1.1: MQTT-3.1.2-6]
        }
        self.reconcile_subscriptions((!unknown).then_some(session_present));
        Ok(())
    }

    /// An identifier that the Server assigned is ours from now on [MQTT-3.1.3-2].
    fn adopt_client_id(&mut self, connack: &ConnAck) -> Result<(), ProtocolError> {
        if !self.id.is_empty() || !self.config.version.is_v5() {
            return Ok(());
        }
        let assigned = connack.properties.assigned_client_identifier().filter(|id| !id.is_empty());
        // [MQTT-3.1.3-7], [MQTT-3.2.2-16]
        let missing = ProtocolError::new("MQTT-3.1.3-7", "no Assigned Client Identifier in answer to an empty one");
        self.id = assigned.and_then(|id| ClientId::try_from(id).ok()).ok_or(missing)?;
        Ok(())
    }
}
