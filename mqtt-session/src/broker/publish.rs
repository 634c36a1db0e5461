//! Messages from clients: PUBLISH in, with its acknowledgments out (sections 3.3, 3.4 to 3.7 and 4.3, the receiver's part).
//!
//! QoS 2, as receiver (section 4.3.3): the message is passed on at PUBLISH, and its Packet Identifier kept until PUBREL.
//!
//! ```text
//! (none) --PUBLISH / PUBREC--> Incoming --PUBLISH again / PUBREC--> Incoming --PUBREL / PUBCOMP--> (none)
//! ```
use super::connection::{Fault, Parked, ParkedPacket, Reply, ack};
use super::io::{Action, RequestId};
use super::route::Outgoing;
use super::{Broker, ConnectionLimits, Decision, DisconnectReason, Event, Message, Request, StoreOp, Verdict};
use alloc::boxed::Box;
use alloc::string::ToString;
use core::time::Duration;
use mqtt_proto::{Ack, Delivery, Packet, PacketId, Publish, QoS, ReasonCode, SharedPublish, TopicName};

/// Answers of the outside that one connection remembers.
const MAX_AUTHORIZATIONS: usize = 64;

/// What a PUBLISH is parked for that waits for room in memory; requests are numbered from 1.
const ROOM: RequestId = RequestId(0);

impl Broker {
    /// PUBLISH from a client.
    pub(super) fn handle_publish(&mut self, slot: u32, mut publish: Publish) -> Result<(), Fault> {
        self.stats.publish_received += 1;
        self.resolve_alias(slot, &mut publish)?;
        self.check_publish(slot, &publish)?;
        if let Delivery::ExactlyOnce { id, .. } = publish.delivery
            && self.session_of(slot).is_some_and(|session| session.incoming.contains(&id))
        {
            // [MQTT-4.3.3-10]: the same message again; PUBREC again, and nothing is passed on.
            // It may have come over an earlier connection, and not be kept yet.
            let due = self.store.due();
            self.reply(slot, due, Reply::Ack(Packet::PubRec(ack(id, ReasonCode::Success))));
            return Ok(());
        }
        if publish.delivery.qos() > QoS::AtMostOnce {
            let Some(conn) = self.connections.get_mut(slot) else { return Ok(()) };
            // [MQTT-3.3.4-7], [MQTT-3.3.4-8]; versions before 5.0 know no such limit.
            if conn.version.is_v5() && conn.receiving >= self.config.connection.receive_maximum.max(1) {
                return Err(Fault(ReasonCode::ReceiveMaximumExceeded, "MQTT-3.3.4-7"));
            }
            conn.receiving = conn.receiving.saturating_add(1);
        }
        if let Some(refusal) = self.refuse_topic(publish.topic.as_ref()) {
            self.decline(slot, &publish, refusal);
        } else {
            self.authorize_publish(slot, publish);
        }
        Ok(())
    }

    /// Replaces a Topic Alias by its Topic Name (section 3.3.2.3.4).
    fn resolve_alias(&mut self, slot: u32, publish: &mut Publish) -> Result<(), Fault> {
        let maximum = self.config.connection.topic_alias_maximum;
        let Some(conn) = self.connections.get_mut(slot) else { return Ok(()) };
        let alias = publish.properties.topic_alias();
        let Some(alias) = alias else {
            return match publish.topic {
                Some(_) => Ok(()),
                None => Err(Fault(ReasonCode::ProtocolError, "section 3.3.2.1: neither Topic Name nor Topic Alias")),
            };
        };
        if alias == 0 || alias > maximum {
            return Err(Fault(ReasonCode::TopicAliasInvalid, "MQTT-3.3.2-9")); // [MQTT-3.3.2-8], [MQTT-3.3.2-12]
        }
        let index = usize::from(alias) - 1;
        if let Some(topic) = &publish.topic {
            if conn.aliases_in.len() <= index {
                conn.aliases_in.resize(index + 1, None);
            }
            conn.aliases_in[index] = Some(topic.compact());
        } else {
            publish.topic = conn.aliases_in.get(index).cloned().flatten();
            if publish.topic.is_none() {
                return Err(Fault(ReasonCode::ProtocolError, "section 3.3.2.3.4: unknown Topic Alias"));
            }
        }
        Ok(())
    }

    /// What a server announced that it does not do must not be asked of it.
    fn check_publish(&self, slot: u32, publish: &Publish) -> Result<(), Fault> {
        if publish.delivery.qos() > self.config.features.maximum_qos {
            return Err(Fault(ReasonCode::QoSNotSupported, "MQTT-3.2.2-11"));
        }
        if publish.retain && !self.config.features.retain {
            return Err(Fault(ReasonCode::RetainNotSupported, "MQTT-3.2.2-14"));
        }
        let identifiers = publish.properties.subscription_identifiers().next();
        if identifiers.is_some() && self.connections.get(slot).is_some_and(|conn| conn.version.is_v5()) {
            return Err(Fault(ReasonCode::ProtocolError, "MQTT-3.3.4-6"));
        }
        Ok(())
    }

    /// Topics beyond the limits, and those that are the server's own [MQTT-4.7.2-1].
    fn refuse_topic(&self, topic: Option<&TopicName>) -> Option<ReasonCode> {
        exceeds(topic?, &self.config.connection).then_some(ReasonCode::TopicNameInvalid)
    }

    fn authorize_publish(&mut self, slot: u32, publish: Publish) {
        let Some(conn) = self.connections.get(slot) else { return };
        let Some(topic) = &publish.topic else { return };
        match conn.grant.as_ref().map_or(Verdict::Deny, |grant| grant.publish(topic)) {
            Verdict::Allow => self.accept_publish(slot, publish),
            Verdict::Deny => {
                self.stats.publish_denied_total += 1;
                self.decline(slot, &publish, ReasonCode::NotAuthorized);
            }
            Verdict::Ask => {
                if let Some(allowed) = self.remembered(slot, true, topic) {
                    let decision = if allowed { Decision::Allow } else { Decision::Deny };
                    return self.decide_publish(slot, publish, decision);
                }
                let action = Action::Publish {
                    topic: topic.clone(),
                    payload: publish.payload.clone(),
                    qos: publish.delivery.qos(),
                    retain: publish.retain,
                };
                self.park(slot, action, ParkedPacket::Publish(publish));
            }
        }
    }

    /// Stops reading from a connection until the outside has decided.
    pub(super) fn park(&mut self, slot: u32, action: Action, packet: ParkedPacket) {
        let request = self.next_request();
        let connection = self.conn_id(slot);
        let Some(conn) = self.connections.get_mut(slot) else { return };
        let asked = Request::Authorize {
            id: request,
            client_id: conn.client_id.clone(),
            identity: conn.identity.clone(),
            action: action.clone(),
        };
        conn.parked = Some(Box::new(Parked { request, action, packet }));
        self.auth_requests.insert(request, connection);
        self.outputs.push_back(super::Output::Request(asked));
    }

    /// What the outside said before to the same question.
    pub(super) fn remembered(&self, slot: u32, publish: bool, text: &str) -> Option<bool> {
        let conn = self.connections.get(slot)?;
        let (until, allowed) = conn.authorizations.get(&(publish, text.to_string()))?;
        (*until > self.now).then_some(*allowed)
    }

    /// The outside has decided.
    pub(super) fn handle_authorized(&mut self, id: RequestId, decision: Decision, cache_for: Duration) {
        let Some(connection) = self.auth_requests.remove(&id) else { return };
        let (slot, now) = (connection.slot, self.now);
        let Some(conn) = self.connection(connection) else { return };
        let Some(parked) = conn.parked.take_if(|parked| parked.request == id) else { return };
        let cacheable = match decision {
            Decision::Allow => Some(true),
            Decision::Deny => Some(false),
            Decision::Ignore | Decision::Replace(_) => None,
        };
        if let Some(allowed) = cacheable.filter(|_| !cache_for.is_zero()) {
            if conn.authorizations.len() >= MAX_AUTHORIZATIONS {
                conn.authorizations.clear();
            }
            let key = match &parked.action {
                Action::Publish { topic, .. } => (true, topic.to_string()),
                Action::Subscribe { filter, .. } => (false, filter.to_string()),
            };
            conn.authorizations.insert(key, (now + cache_for, allowed));
        }
        match parked.packet {
            ParkedPacket::Publish(publish) => self.decide_publish(slot, publish, decision),
            ParkedPacket::Subscribe { subscribe, decided } => {
                // Whatever else may be said of a message says no to a subscription.
                self.decide_subscribe(slot, subscribe, decided, decision == Decision::Allow);
            }
            ParkedPacket::Connect(admission) => self.decide_will(slot, admission, decision),
        }
        self.tell_readable(slot);
    }

    fn decide_publish(&mut self, slot: u32, mut publish: Publish, decision: Decision) {
        match decision {
            Decision::Allow => self.accept_publish(slot, publish),
            Decision::Replace(payload) => {
                publish.payload = payload;
                self.accept_publish(slot, publish);
            }
            Decision::Ignore => {
                self.note_incoming(slot, publish.delivery);
                let due = self.store.due();
                self.acknowledge(slot, publish.delivery, ReasonCode::Success, due);
            }
            Decision::Deny => {
                self.stats.publish_denied_total += 1;
                self.decline(slot, &publish, ReasonCode::NotAuthorized);
            }
        }
    }

    /// Does not take a message: 5.0 says so in the acknowledgment; before, there is only a positive one
    /// [3.1.1: MQTT-3.3.5-2], and the message is gone either way.
    fn decline(&mut self, slot: u32, publish: &Publish, reason: ReasonCode) {
        let v5 = self.connections.get(slot).is_some_and(|conn| conn.version.is_v5());
        let reason = if v5 { reason } else { ReasonCode::Success };
        self.acknowledge(slot, publish.delivery, reason, self.store.watermark);
    }

    /// Takes a message: routes it, then acknowledges it once its changes are kept [MQTT-4.3.2-4], [MQTT-4.3.3-8].
    fn accept_publish(&mut self, slot: u32, publish: Publish) {
        let Publish { delivery, retain, topic, payload, properties } = publish;
        let Some(topic) = topic else { return };
        if delivery.qos() > QoS::AtMostOnce {
            let bytes = size_of::<Message>() + topic.as_bytes().len() + payload.len() + properties.len();
            if !self.has_room_for(&topic, bytes as u64) {
                let publish = Publish { delivery, retain, topic: Some(topic), payload, properties };
                return self.await_room(slot, publish);
            }
        }
        let Some(session) = self.session_of(slot) else { return };
        let publisher = session.name.clone();
        self.note_incoming(slot, delivery);
        // [MQTT-3.3.2-4] to [MQTT-3.3.2-20]: what is forwarded is forwarded unaltered
        let expires_at = properties.message_expiry_interval().map(|secs| self.now + Duration::from_secs(secs.into()));
        let shared = SharedPublish { topic, payload, properties: properties.forwardable() };
        let mut outgoing =
            Outgoing::new(shared, delivery.qos(), retain, expires_at, Some(publisher), self.next_message());
        let receivers = match self.retain(&mut outgoing) {
            Ok(()) => self.route(&mut outgoing),
            Err(reason) => {
                if let Delivery::ExactlyOnce { id, .. } = delivery {
                    self.release_incoming(slot, id); // [MQTT-4.3.3-9]
                }
                return self.acknowledge(slot, delivery, reason, self.store.watermark);
            }
        };
        if self.config.events.published {
            let message = outgoing.keep();
            let client_id = outgoing.publisher.clone();
            self.emit(|mask| mask.published, || Event::Published { client_id, message });
        }
        let v5 = self.connections.get(slot).is_some_and(|conn| conn.version.is_v5());
        let none = receivers == 0 && v5;
        let reason = if none { ReasonCode::NoMatchingSubscribers } else { ReasonCode::Success };
        let due = self.store.due();
        self.acknowledge(slot, delivery, reason, due);
    }

    /// There is no room in memory for a message: nothing more is read from its client until the store has kept what is there,
    /// so that it can leave the memory. If that does not help, the message is not acknowledged, and the client keeps it. Before
    /// 5.0 that ends the connection [3.1.1: MQTT-4.8.0-2].
    #[cold]
    fn await_room(&mut self, slot: u32, publish: Publish) {
        let connection = self.conn_id(slot);
        let Some(conn) = self.connections.get_mut(slot) else { return };
        if self.store.is_busy() {
            let Some(topic) = publish.topic.clone() else { return };
            let (payload, qos, retain) = (publish.payload.clone(), publish.delivery.qos(), publish.retain);
            let action = Action::Publish { topic, payload, qos, retain };
            conn.parked = Some(Box::new(Parked { request: ROOM, action, packet: ParkedPacket::Publish(publish) }));
            return self.roomless.push(connection);
        }
        self.stats.publish_refused_total += 1;
        let (v5, reason) = (conn.version.is_v5(), ReasonCode::QuotaExceeded);
        if v5 {
            self.acknowledge(slot, publish.delivery, reason, self.store.watermark);
        } else {
            self.close(slot, DisconnectReason::Server(reason, "no room for more messages"));
        }
    }

    /// The store has answered: there may be room for messages that wait for it.
    pub(super) fn seek_room(&mut self) {
        for connection in core::mem::take(&mut self.roomless) {
            let Some(conn) = self.connection(connection) else { continue };
            let Some(parked) = conn.parked.take_if(|parked| parked.request == ROOM) else { continue };
            if let ParkedPacket::Publish(publish) = parked.packet {
                self.accept_publish(connection.slot, publish);
                self.tell_readable(connection.slot);
            }
        }
    }

    /// Remembers the Packet Identifier of a QoS 2 message until PUBREL [MQTT-4.3.3-10].
    fn note_incoming(&mut self, slot: u32, delivery: Delivery) {
        if let Delivery::ExactlyOnce { id, .. } = delivery
            && let Some(session) = self.session_of_mut(slot)
        {
            session.incoming.insert(id);
            if session.durable {
                let client_id = session.client_id.clone();
                self.store.push(StoreOp::Incoming(client_id, id));
            }
        }
    }

    fn acknowledge(&mut self, slot: u32, delivery: Delivery, reason: ReasonCode, due: super::StoreSeq) {
        let packet = match delivery {
            Delivery::AtMostOnce => return,
            Delivery::AtLeastOnce { id, .. } => Packet::PubAck(ack(id, reason)), // [MQTT-4.3.2-4]
            Delivery::ExactlyOnce { id, .. } => Packet::PubRec(ack(id, reason)), // [MQTT-4.3.3-8]
        };
        self.reply(slot, due, Reply::Ack(packet));
    }

    /// PUBREL: the Packet Identifier is free again [MQTT-4.3.3-11], [MQTT-4.3.3-12].
    pub(super) fn handle_pubrel(&mut self, slot: u32, released: &Ack) {
        let id = released.id;
        let known = self.release_incoming(slot, id);
        let v5 = self.connections.get(slot).is_some_and(|conn| conn.version.is_v5());
        let reason = if known || !v5 { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
        let due = self.store.due();
        self.reply(slot, due, Reply::Ack(Packet::PubComp(ack(id, reason))));
    }

    /// Forgets a Packet Identifier of the client; `false` if it was not in use.
    pub(super) fn release_incoming(&mut self, slot: u32, id: PacketId) -> bool {
        let Some(session) = self.session_of_mut(slot) else { return false };
        let known = session.incoming.remove(&id);
        if known && session.durable {
            let client_id = session.client_id.clone();
            self.store.push(StoreOp::IncomingEnd(client_id, id));
        }
        known
    }
}

/// Whether a Topic Name is beyond the limits.
pub(super) fn exceeds(topic: &str, limits: &ConnectionLimits) -> bool {
    let levels = topic.bytes().filter(|byte| *byte == b'/').count() + 1;
    topic.len() > usize::from(limits.max_topic_bytes) || levels > usize::from(limits.max_topic_levels)
}
