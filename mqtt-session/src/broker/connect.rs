//! CONNECT: checks, authentication, takeover, CONNACK (sections 3.1, 3.2 and 4.12).
//!
//! Invariants: a refused CONNECT changes nothing [MQTT-3.1.4-6]; a session moves from one connection to the next in one step.
use super::connection::{Admission, Connection, Fault, ParkedPacket, Phase, Reply};
use super::io::{Action, AuthOutcome, AuthStage, Authenticate, RequestId};
use super::log::Unread;
use super::publish::exceeds;
use super::session::{Inflight, Session};
use super::timers::Timer;
use super::{Authentication, Broker, Decision, DisconnectReason, Event, Grant, MessageId, Output, Request, Verdict};
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use bytes::Bytes;
use mqtt_proto::{
    Auth, ClientId, ConnAck, Connect, Packet, PacketType, Properties, PropertiesBuilder, Property, QoS, ReasonCode,
    Version, Will,
};

impl Broker {
    /// A new connection and its CONNECT. Always ends in CONNACK, in AUTH, or in a request.
    pub(super) fn connect(&mut self, slot: u32) {
        if let Err(Fault(reason, text)) = self.check_connect(slot) {
            return self.refuse(slot, reason, text);
        }
        match self.config.authentication {
            Authentication::Open => {
                let grant = self.everything.clone();
                self.accept(slot, Admission { identity: None, grant, data: None });
            }
            Authentication::Request => self.request_authentication(slot, AuthStage::Connect, None),
        }
    }

    /// What can be said of a CONNECT without asking anybody [MQTT-3.1.4-1], [MQTT-3.1.4-2].
    fn check_connect(&mut self, slot: u32) -> Result<(), Fault> {
        let config = &*self.config;
        let full = self.connections.len() > config.max_connections;
        let Some(conn) = self.connections.get_mut(slot) else { return Ok(()) };
        let Phase::Authenticating(connect) = &conn.phase else { return Ok(()) };
        // First of all, since a refusal must keep to it, too.
        conn.max_packet_size = connect.properties.maximum_packet_size().unwrap_or(u32::MAX);
        if self.shutting_down {
            return Err(Fault(ReasonCode::ServerUnavailable, "the server is shutting down"));
        }
        if full {
            return Err(Fault(ReasonCode::ServerBusy, "too many connections"));
        }
        if let Some(redirect) = &config.redirect {
            let reason = if redirect.permanent { ReasonCode::ServerMoved } else { ReasonCode::UseAnotherServer };
            return Err(Fault(reason, "connect elsewhere"));
        }
        if connect.version.level() < config.features.min_protocol_level {
            return Err(Fault(ReasonCode::UnsupportedProtocolVersion, "this protocol version is not served"));
        }
        if let Some(will) = &connect.will {
            if will.qos > config.features.maximum_qos {
                return Err(Fault(ReasonCode::QoSNotSupported, "MQTT-3.2.2-12"));
            }
            if will.retain && !config.features.retain {
                return Err(Fault(ReasonCode::RetainNotSupported, "MQTT-3.2.2-13"));
            }
            if exceeds(&will.topic, &config.connection) {
                return Err(Fault(ReasonCode::TopicNameInvalid, "the Will Topic is too long"));
            }
        }
        let method = connect.properties.authentication_method();
        if method.is_some() && config.authentication == Authentication::Open {
            return Err(Fault(ReasonCode::BadAuthenticationMethod, "MQTT-4.12.0-1"));
        }
        conn.auth_method = method.map(ToString::to_string);
        if connect.client_id.len() > usize::from(config.connection.max_client_id_bytes) {
            // [MQTT-3.1.3-8], [3.1.1: MQTT-3.1.3-9]
            return Err(Fault(ReasonCode::ClientIdentifierNotValid, "the Client Identifier is too long"));
        }
        if connect.client_id.is_empty() {
            // [MQTT-3.1.3-6], [MQTT-3.1.3-7]; [3.1.1: MQTT-3.1.3-7], [3.1.1: MQTT-3.1.3-8]; 3.1 knows no empty identifiers
            let may = match connect.version {
                Version::V5 => true,
                Version::V3_1_1 => connect.clean_start,
                _ => false,
            };
            if !may || !config.features.assign_client_ids {
                return Err(Fault(ReasonCode::ClientIdentifierNotValid, "MQTT-3.1.3-8"));
            }
            let assigned = self.assigned_client_id();
            if let Some(conn) = self.connections.get_mut(slot) {
                conn.client_id = assigned;
            }
        }
        Ok(())
    }

    /// A Client Identifier that no session has [MQTT-3.1.3-6].
    fn assigned_client_id(&mut self) -> ClientId {
        loop {
            let text = alloc::format!("zanzara-{:016x}{:08x}", self.rng.next_u64(), self.rng.next_u64() as u32);
            let id = ClientId::try_from(text.as_str()).expect("ASCII text of 32 bytes is a Client Identifier");
            if !self.by_client_id.contains_key(&id) {
                return id;
            }
        }
    }

    fn request_authentication(&mut self, slot: u32, stage: AuthStage, data: Option<Bytes>) {
        let request = self.next_request();
        let connection = self.conn_id(slot);
        let Some(conn) = self.connections.get_mut(slot) else { return };
        conn.auth_request = Some(request);
        let (username, password, first) = match &conn.phase {
            Phase::Authenticating(connect) if stage == AuthStage::Connect => {
                let data = connect.properties.authentication_data().map(Bytes::copy_from_slice);
                (connect.username.clone(), connect.password.clone(), data)
            }
            Phase::Authenticating(connect) => (connect.username.clone(), None, None),
            _ => (None, None, None),
        };
        let authenticate = Authenticate {
            id: request,
            connection,
            stage,
            peer: conn.peer.clone(),
            version: conn.version,
            client_id: conn.client_id.clone(),
            username,
            password,
            method: conn.auth_method.clone(),
            data: data.or(first),
        };
        self.auth_requests.insert(request, connection);
        self.outputs.push_back(Output::Request(Request::Authenticate(authenticate)));
        self.arm_connection(slot);
    }

    /// AUTH from the client (section 4.12).
    pub(super) fn handle_auth(&mut self, slot: u32, auth: &Auth) -> Result<(), Fault> {
        let Some(conn) = self.connections.get(slot) else { return Ok(()) };
        let Some(method) = &conn.auth_method else {
            return Err(Fault(ReasonCode::ProtocolError, "MQTT-4.12.0-7"));
        };
        if auth.properties.authentication_method() != Some(method) {
            return Err(Fault(ReasonCode::BadAuthenticationMethod, "MQTT-4.12.0-5")); // [MQTT-4.12.1-1]
        }
        let stage = match (conn.is_active(), conn.reauthenticating, auth.reason) {
            (false, _, ReasonCode::ContinueAuthentication) => AuthStage::Continue, // [MQTT-4.12.0-3]
            (true, true, ReasonCode::ContinueAuthentication) => AuthStage::Continue,
            (true, false, ReasonCode::ReAuthenticate) => AuthStage::ReAuthenticate,
            _ => return Err(Fault(ReasonCode::ProtocolError, "MQTT-4.12.0-3")),
        };
        if conn.auth_request.is_some() {
            return Err(Fault(ReasonCode::ProtocolError, "section 4.12: AUTH out of turn"));
        }
        let data = auth.properties.authentication_data().map(Bytes::copy_from_slice);
        if let Some(conn) = self.connections.get_mut(slot) {
            conn.reauthenticating = conn.is_active();
        }
        self.request_authentication(slot, stage, data);
        Ok(())
    }

    /// The answer to one step.
    pub(super) fn handle_authenticated(&mut self, id: RequestId, outcome: AuthOutcome) {
        let Some(connection) = self.auth_requests.remove(&id) else { return };
        let (slot, now) = (connection.slot, self.now);
        let Some(conn) = self.connection(connection) else { return };
        if conn.auth_request != Some(id) || matches!(conn.phase, Phase::Closing) {
            return;
        }
        conn.auth_request = None;
        conn.last_input = now; // each step has its own time
        let active = conn.is_active();
        match outcome {
            AuthOutcome::Accept { identity, grant, data } if active => {
                // Re-authentication keeps the session: the identity it is bound to must stay the same.
                if identity != conn.identity {
                    let reason = DisconnectReason::Server(ReasonCode::NotAuthorized, "MQTT-4.12.1-2");
                    return self.close(slot, reason);
                }
                conn.grant = Some(grant);
                conn.authorizations.clear();
                conn.reauthenticating = false;
                self.send_auth(slot, ReasonCode::Success, data.as_deref());
            }
            AuthOutcome::Accept { identity, grant, data } => self.accept(slot, Admission { identity, grant, data }),
            AuthOutcome::Continue { data } if conn.auth_method.is_some() => {
                self.send_auth(slot, ReasonCode::ContinueAuthentication, data.as_deref()); // [MQTT-4.12.0-2]
                self.arm_connection(slot);
            }
            // [MQTT-4.12.0-6]: a client that named no method gets no AUTH.
            AuthOutcome::Continue { .. } => self.refuse(slot, ReasonCode::BadAuthenticationMethod, "MQTT-4.12.0-6"),
            AuthOutcome::Refuse { reason, .. } if active => {
                self.close(slot, DisconnectReason::Server(reason, "MQTT-4.12.1-2"));
            }
            AuthOutcome::Refuse { reason, reason_string } => {
                self.refuse(slot, reason, &reason_string.unwrap_or_default()); // [MQTT-4.12.0-4]
            }
        }
        self.tell_readable(slot);
    }

    /// AUTH to the client, with its method [MQTT-4.12.0-5], and without Reason String or User Properties that might not
    /// fit [MQTT-3.15.2-2], [MQTT-3.15.2-3].
    fn send_auth(&mut self, slot: u32, reason: ReasonCode, data: Option<&[u8]>) {
        let Some(conn) = self.connections.get(slot) else { return };
        let properties = auth_properties(Properties::builder(), conn.auth_method.as_deref(), data).build();
        self.send(slot, &Packet::Auth(Auth { reason, properties }));
    }

    /// Refuses a CONNECT with CONNACK and closes [MQTT-3.1.4-2], [MQTT-3.2.2-6], [MQTT-3.2.2-7].
    pub(super) fn refuse(&mut self, slot: u32, reason: ReasonCode, text: &str) {
        let Some(conn) = self.connections.get(slot) else { return };
        let reason = refusal(reason);
        let mut properties = conn.reason_string(text);
        let elsewhere = matches!(reason, ReasonCode::UseAnotherServer | ReasonCode::ServerMoved);
        if let Some(redirect) = self.config.redirect.as_ref().filter(|_| elsewhere && conn.version.is_v5()) {
            let reference = &redirect.server_reference;
            properties = Properties::builder().with(Property::ServerReference(reference)).build();
        }
        let mut connack = ConnAck { session_present: false, reason, properties };
        if !conn.takes(&connack) {
            connack.properties = Properties::new();
        }
        let event = Event::Refused { client_id: conn.client_id.clone(), peer: conn.peer.clone(), reason };
        self.stats.refused_total += 1;
        self.send(slot, &Packet::ConnAck(connack));
        self.emit(|mask| mask.connections, || event);
        self.finish(slot);
    }

    /// The client is who it says. Before it is let in, its Will must be allowed, too.
    fn accept(&mut self, slot: u32, admission: Admission) {
        let Some(conn) = self.connections.get_mut(slot) else { return };
        let Phase::Authenticating(connect) = &conn.phase else { return };
        let Some(will) = &connect.will else { return self.admit(slot, admission) };
        match admission.grant.publish(&will.topic) {
            Verdict::Allow => self.admit(slot, admission),
            Verdict::Deny => self.refuse(slot, ReasonCode::NotAuthorized, "the Will Topic is not allowed"),
            Verdict::Ask => {
                let (topic, payload) = (will.topic.clone(), will.payload.clone());
                let action = Action::Publish { topic, payload, qos: will.qos, retain: will.retain };
                conn.identity.clone_from(&admission.identity);
                self.park(slot, action, ParkedPacket::Connect(admission));
            }
        }
    }

    /// The outside has decided on the Will of a CONNECT.
    pub(super) fn decide_will(&mut self, slot: u32, admission: Admission, decision: Decision) {
        let Some(conn) = self.connections.get_mut(slot) else { return };
        let Phase::Authenticating(connect) = &mut conn.phase else { return };
        match decision {
            Decision::Allow => {}
            Decision::Deny => return self.refuse(slot, ReasonCode::NotAuthorized, "the Will Topic is not allowed"),
            Decision::Ignore => connect.will = None,
            Decision::Replace(payload) => {
                if let Some(will) = &mut connect.will {
                    will.payload = payload;
                }
            }
        }
        self.admit(slot, admission);
    }

    /// Lets a client in [MQTT-3.1.4-3] to [MQTT-3.1.4-5].
    fn admit(&mut self, slot: u32, admission: Admission) {
        let Admission { identity, grant, data } = admission;
        let Some(conn) = self.connections.get_mut(slot) else { return };
        let Phase::Authenticating(connect) = core::mem::replace(&mut conn.phase, Phase::Active) else { return };
        let client_id = conn.client_id.clone();
        self.catch_up(&client_id);
        let existing = self.by_client_id.get(&client_id).copied();
        let owner = existing.and_then(|session| self.sessions.get(session));
        if owner.is_some_and(|session| session.identity != identity) {
            return self.refuse(slot, ReasonCode::NotAuthorized, "the session belongs to somebody else");
        }
        if existing.is_none() && self.sessions.len() >= self.config.max_sessions {
            return self.refuse(slot, ReasonCode::QuotaExceeded, "too many sessions");
        }
        let keep_alive = self.keep_alive(&connect);
        let properties = self.connack_properties(slot, &connect, keep_alive, data.as_deref());
        let mut connack = ConnAck { session_present: false, reason: ReasonCode::Success, properties };
        if !self.connections.get(slot).is_some_and(|conn| conn.takes(&connack)) {
            // [MQTT-3.1.2-24]: what it has to know does not fit, so it cannot be let in.
            return self.refuse(slot, ReasonCode::ImplementationSpecificError, "CONNACK is too large for the client");
        }
        let (session, session_present) = self.claim_session(existing, &client_id, identity.clone(), &connect);
        connack.session_present = session_present;
        self.activate(slot, session, &connect, identity, grant, keep_alive);
        // A session that is to last is kept before the client hears of it, or a crash would take back what CONNACK said; so
        // are the QoS 2 steps of the last connection before this one repeats them.
        let durable = self.sessions.get(session).is_some_and(|session| session.durable);
        let due = if durable { self.store.due() } else { self.store.watermark };
        self.reply(slot, due, Reply::ConnAck(Packet::ConnAck(connack))); // [MQTT-3.2.0-1], [MQTT-3.2.0-2]
        self.connected_event(slot, &connect, session_present);
        self.arm_connection(slot);
        self.resume(slot);
    }

    /// Finds or makes the session of a client [MQTT-3.1.2-4] to [MQTT-3.1.2-6]; true when it was there before [MQTT-3.2.2-2], [MQTT-3.2.2-3].
    fn claim_session(
        &mut self,
        existing: Option<u32>,
        client_id: &ClientId,
        identity: Option<String>,
        connect: &Connect,
    ) -> (u32, bool) {
        let mut existing = existing;
        if let Some(session) = existing {
            if connect.clean_start {
                // [MQTT-3.1.2-4], [MQTT-3.1.4-4]; [3.1.1: MQTT-3.1.2-6], [3.1.1: MQTT-3.1.4-3]
                // The old connection's Will fires when its session ends (section 3.1.2.5).
                self.take_over(session);
                self.end_session(session);
                existing = None;
            } else {
                self.take_over(session);
            }
        }
        // A takeover ends a session that was not to outlive its connection.
        let existing = existing.and_then(|_| self.by_client_id.get(client_id).copied());
        if let Some(slot) = existing {
            return (slot, true); // [MQTT-3.1.2-5], [3.1.1: MQTT-3.1.2-5]
        }
        // [MQTT-3.1.2-6], [3.1.1: MQTT-3.1.2-4]
        let slot = self.sessions.insert(Session::new(client_id.clone(), identity));
        self.by_client_id.insert(client_id.clone(), slot);
        (slot, false)
    }

    /// Closes the connection that a session has, if any [MQTT-3.1.4-3].
    fn take_over(&mut self, session: u32) {
        if let Some(old) = self.sessions.get(session).and_then(|session| session.connection) {
            self.close(old, DisconnectReason::Server(ReasonCode::SessionTakenOver, "MQTT-3.1.4-3"));
        }
    }

    /// The Keep Alive in force, in seconds [MQTT-3.2.2-21], [MQTT-3.2.2-22].
    fn keep_alive(&self, connect: &Connect) -> u16 {
        match self.config.connection.max_keep_alive {
            0 => connect.keep_alive,
            most if connect.keep_alive == 0 || connect.keep_alive > most => {
                // Before 5.0 a server cannot say so: the client keeps its own.
                if connect.version.is_v5() { most } else { connect.keep_alive }
            }
            _ => connect.keep_alive,
        }
    }

    /// The Session Expiry Interval in force, in seconds.
    fn session_expiry(&self, connect: &Connect) -> u32 {
        let limits = &self.config.session;
        match connect.version {
            Version::V5 => connect.properties.session_expiry_interval().unwrap_or(0).min(limits.max_expiry),
            _ if connect.clean_start => 0,
            _ => limits.legacy_expiry,
        }
    }

    /// Joins connection and session.
    fn activate(
        &mut self,
        slot: u32,
        session_slot: u32,
        connect: &Connect,
        identity: Option<String>,
        grant: Arc<Grant>,
        keep_alive: u16,
    ) {
        let expiry = self.session_expiry(connect);
        let limits = &self.config.connection;
        let Some(conn) = self.connections.get_mut(slot) else { return };
        conn.phase = Phase::Active;
        conn.session = Some(session_slot);
        conn.grant = Some(grant);
        conn.identity = identity;
        conn.keep_alive = keep_alive;
        conn.last_input = self.now;
        // [MQTT-4.9.0-1]
        conn.send_maximum = connect.properties.receive_maximum().unwrap_or(u16::MAX).min(limits.max_inflight).max(1);
        conn.aliases_out_maximum =
            connect.properties.topic_alias_maximum().unwrap_or(0).min(limits.max_outgoing_aliases);
        let Some(session) = self.sessions.get_mut(session_slot) else { return };
        session.connection = Some(slot);
        session.expiry = expiry;
        // Once and for all: one that ends with its connection is never resumed, so it has no subscriptions yet.
        session.durable |= expiry > 0;
        session.will = connect.will.as_ref().map(|will| Arc::new(compact_will(will))); // [MQTT-3.1.2-7]
        if let Some(at) = session.expires_at.take() {
            self.timers.disarm(at, Timer::SessionExpiry(session_slot));
        }
        if let Some(at) = session.will_at.take() {
            self.timers.disarm(at, Timer::Will(session_slot)); // [MQTT-3.1.3-9]
        }
        self.store_session(session_slot);
        self.stats.connections += 1;
        self.stats.connections_total += 1;
        self.stats.connections_maximum = self.stats.connections_maximum.max(self.stats.connections);
    }

    /// Sends again what was on its way [MQTT-4.4.0-1], and goes on with what waits.
    fn resume(&mut self, slot: u32) {
        let Some(session_slot) = self.connections.get(slot).and_then(|conn| conn.session) else { return };
        let Some(session) = self.sessions.get_mut(session_slot) else { return };
        let logs: alloc::vec::Vec<u32> = session.cursors.keys().copied().collect();
        for log in logs {
            session.lag(log, Unread::After(MessageId::default()));
            if let Some(log) = self.logs.get_mut(log) {
                log.online.insert(session_slot);
            }
        }
        debug_assert!(session.inflight.iter().all(|Inflight { head, .. }| head.qos > QoS::AtMostOnce));
        self.wake(session_slot);
    }

    fn connected_event(&mut self, slot: u32, connect: &Connect, session_present: bool) {
        let connection = self.conn_id(slot);
        let Some(conn) = self.connections.get(slot) else { return };
        let event = Event::Connected {
            connection,
            client_id: conn.client_id.clone(),
            peer: conn.peer.clone(),
            identity: conn.identity.clone(),
            version: conn.version,
            clean_start: connect.clean_start,
            session_present,
            keep_alive: conn.keep_alive,
        };
        self.emit(|mask| mask.connections, || event);
    }

    /// CONNACK Properties: whatever differs from what the client assumes (section 3.2.2.3).
    fn connack_properties(&self, slot: u32, connect: &Connect, keep_alive: u16, data: Option<&[u8]>) -> Properties {
        let (Some(conn), Version::V5) = (self.connections.get(slot), connect.version) else {
            return Properties::new();
        };
        let (limits, features) = (&self.config.connection, &self.config.features);
        let mut properties = auth_properties(Properties::builder(), conn.auth_method.as_deref(), data);
        if connect.client_id.is_empty() {
            properties = properties.with(Property::AssignedClientIdentifier(&conn.client_id)); // [MQTT-3.2.2-16]
        }
        if keep_alive != connect.keep_alive {
            properties = properties.with(Property::ServerKeepAlive(keep_alive)); // [MQTT-3.1.2-21]
        }
        let expiry = self.session_expiry(connect);
        if expiry != connect.properties.session_expiry_interval().unwrap_or(0) {
            properties = properties.with(Property::SessionExpiryInterval(expiry));
        }
        if limits.receive_maximum != u16::MAX {
            properties = properties.with(Property::ReceiveMaximum(limits.receive_maximum.max(1)));
        }
        if features.maximum_qos < QoS::ExactlyOnce {
            let one = features.maximum_qos == QoS::AtLeastOnce;
            properties = properties.with(Property::MaximumQoS(one)); // [MQTT-3.2.2-9]
        }
        if limits.max_packet_size < 268_435_460 {
            properties = properties.with(Property::MaximumPacketSize(limits.max_packet_size));
        }
        if limits.topic_alias_maximum > 0 {
            properties = properties.with(Property::TopicAliasMaximum(limits.topic_alias_maximum));
        }
        for (available, property) in [
            (features.retain, Property::RetainAvailable(false)),
            (features.wildcard_subscriptions, Property::WildcardSubscriptionAvailable(false)),
            (features.subscription_identifiers, Property::SubscriptionIdentifierAvailable(false)),
            (features.shared_subscriptions, Property::SharedSubscriptionAvailable(false)),
        ] {
            if !available {
                properties = properties.with(property);
            }
        }
        if let Some(information) = &features.response_information
            && connect.properties.request_response_information() == Some(true)
        {
            // [MQTT-3.1.2-28]: only when asked for
            let information = information.replace("{client_id}", &conn.client_id);
            properties = properties.with(Property::ResponseInformation(&information));
        }
        properties.build()
    }
}

/// The Reason Code that a refusing CONNACK can carry for this one [MQTT-3.2.2-8].
fn refusal(reason: ReasonCode) -> ReasonCode {
    match reason {
        _ if reason.is_error() && reason.allowed_in(PacketType::ConnAck) => reason,
        ReasonCode::ServerShuttingDown => ReasonCode::ServerUnavailable,
        _ => ReasonCode::UnspecifiedError,
    }
}

fn auth_properties(builder: PropertiesBuilder, method: Option<&str>, data: Option<&[u8]>) -> PropertiesBuilder {
    let Some(method) = method else { return builder };
    let builder = builder.with(Property::AuthenticationMethod(method));
    match data {
        Some(data) => builder.with(Property::AuthenticationData(data)),
        None => builder,
    }
}

/// A Will that does not pin the buffer of its CONNECT.
fn compact_will(will: &Will) -> Will {
    Will {
        qos: will.qos,
        retain: will.retain,
        topic: will.topic.compact(),
        payload: Bytes::copy_from_slice(&will.payload),
        properties: will.properties.compact(),
    }
}

impl Connection {
    /// A connection that has just sent its CONNECT.
    pub(super) fn open(peer: super::Peer, connect: Connect, now: crate::Instant) -> Box<Self> {
        Box::new(Self::new(peer, connect, now))
    }
}
