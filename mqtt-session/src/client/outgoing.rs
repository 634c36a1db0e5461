//! Publishing: the queue, the send quota, and the sender's side of QoS 1 and 2 (MQTT 5.0 sections 4.3, 4.4, 4.6 and 4.9).
//!
//! Invariants: messages leave in the order of the calls, and are sent again in that order [MQTT-4.6.0-1]; at most Receive Maximum messages are
//! unacknowledged [MQTT-3.3.4-7]; the DUP flag says only whether *we* sent the message before [MQTT-3.3.1-3].
use super::alias::Alias;
use super::connection::Phase;
use super::flights::{Flight, Outgoing};
use super::{
    Client, Failure, Message, Outcome, ProtocolError, PublishError, QueuePolicy, Record, RecordKey, SessionLoss,
    StoreOp, StoreSeq, Token,
};
use crate::Instant;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;
use mqtt_proto::{
    Ack, Delivery, EncodeError, Packet, PacketId, Properties, PropertyId, PublishHead, QoS, ReasonCode, SharedPublish,
    Utf8String,
};

/// A message as the machine keeps it.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    /// Without Message Expiry Interval, which is written anew when it is sent.
    pub(super) publish: SharedPublish,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) expires_at: Option<Instant>,
}

impl Stored {
    pub(super) fn new(now: Instant, message: Message) -> Self {
        let expiry = message.properties.message_expiry_interval();
        let properties = message.properties.forwardable();
        Self {
            publish: SharedPublish { topic: message.topic, payload: message.payload, properties },
            qos: message.qos,
            retain: message.retain,
            expires_at: expiry.map(|seconds| now + Duration::from_secs(seconds.into())),
        }
    }

    /// The message without its lifetime.
    pub(super) fn to_message(&self) -> Message {
        Message {
            topic: self.publish.topic.clone(),
            payload: self.publish.payload.clone(),
            qos: self.qos,
            retain: self.retain,
            properties: self.publish.properties.clone(),
        }
    }

    fn cost(&self) -> usize {
        self.publish.topic.as_bytes().len() + self.publish.payload.len() + self.publish.properties.len()
    }

    fn is_expired(&self, now: Instant) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Message Expiry Interval that is left, in seconds rounded up. A message that was sent before is sent again even when it is over
    /// [MQTT-4.3.3-7], so 1 is the least.
    fn remaining_expiry(&self, now: Instant) -> Option<u32> {
        let left = self.expires_at?.saturating_since(now);
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        Some(u32::try_from(seconds).unwrap_or(u32::MAX).max(1))
    }
}

/// Messages that were not sent yet, and the order of those to be sent again.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<(Token, Stored)>,
    bytes: usize,
    /// Messages in flight that this connection has still to see, oldest first.
    resend: VecDeque<PacketId>,
    /// No queued message expires before.
    next_expiry: Option<Instant>,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn size(&self) -> (usize, usize) {
        (self.queue.len(), self.bytes)
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.next_expiry
    }

    pub(super) fn connection_lost(&mut self) {
        self.resend.clear();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(Token, Stored)> {
        self.queue.iter()
    }

    pub(super) fn push_back(&mut self, token: Token, message: Stored) {
        self.note(&message);
        self.queue.push_back((token, message));
    }

    fn push_front(&mut self, token: Token, message: Stored) {
        self.note(&message);
        self.queue.push_front((token, message));
    }

    fn note(&mut self, message: &Stored) {
        self.bytes += message.cost();
        self.next_expiry = self.next_expiry.into_iter().chain(message.expires_at).min();
    }

    fn pop(&mut self) -> Option<(Token, Stored)> {
        let (token, message) = self.queue.pop_front()?;
        self.bytes -= message.cost();
        if self.queue.is_empty() {
            self.next_expiry = None;
        }
        Some((token, message))
    }
}

impl Client {
    /// Takes a message on for delivery. It is sent in its turn: at once, when the Server's quota allows, or when there is a connection again.
    /// The token is settled when QoS 0 is sent or QoS 1 and 2 are acknowledged, or with the reason why not. With a store, [`Event::Kept`](super::Event::Kept)
    /// says when a message of QoS 1 or 2 is kept. O(log n).
    pub fn publish(&mut self, now: Instant, message: Message) -> Result<Token, PublishError> {
        self.check_message(&message)?;
        let config = self.config.queue;
        if self.phase != Phase::Online && message.qos == QoS::AtMostOnce && !config.qos0 {
            return Err(PublishError::Offline);
        }
        let cost = message.cost();
        while !self.has_room_for(cost) {
            match config.policy {
                QueuePolicy::Refuse => return Err(PublishError::QueueFull),
                QueuePolicy::DropNewest => {
                    let token = self.new_token();
                    self.drop_for_room(now, token);
                    return Ok(token);
                }
                QueuePolicy::DropOldest => match self.outbox.pop() {
                    Some((oldest, _)) => self.drop_for_room(now, oldest),
                    None => break,
                },
            }
        }
        let token = self.new_token();
        let message = Stored::new(now, message);
        if self.store.is_some() && message.qos > QoS::AtMostOnce {
            self.keep_message(token, &message);
        }
        self.outbox.push_back(token, message);
        self.pump(now);
        Ok(token)
    }

    /// Whether [`Client::publish`] would find room for a message of this cost ([`Message::cost`]). An empty queue has room for any.
    pub fn has_room_for(&self, cost: usize) -> bool {
        let (messages, bytes) = self.outbox.size();
        let config = &self.config.queue;
        messages == 0 || (messages < config.max_messages && bytes.saturating_add(cost) <= config.max_bytes)
    }

    fn drop_for_room(&mut self, now: Instant, token: Token) {
        self.stats.dropped_queue_full += 1;
        self.keep(|| StoreOp::Remove(RecordKey::Message(token)));
        self.settle_failed(now, token, Failure::Dropped);
    }

    fn check_message(&self, message: &Message) -> Result<(), PublishError> {
        let properties = &message.properties;
        if !self.config.version.is_v5() && !properties.is_empty() {
            return Err(PublishError::NotInVersion);
        }
        // [MQTT-3.3.4-6]; aliases are the machine's.
        if properties.contains(PropertyId::SubscriptionIdentifier) || properties.contains(PropertyId::TopicAlias) {
            return Err(PublishError::Property);
        }
        let publish = mqtt_proto::Publish {
            delivery: delivery(message.qos, PacketId::MIN, false),
            retain: message.retain,
            topic: Some(message.topic.clone()),
            payload: message.payload.clone(),
            properties: properties.clone(),
        };
        match publish.encoded_len(self.config.version) {
            Ok(_) => Ok(()),
            Err(EncodeError::TooLarge) => Err(PublishError::TooLarge),
            Err(_) => Err(PublishError::Property),
        }
    }

    /// Sends again what the last connection left, then the queue, as far as quota and socket allow.
    pub(super) fn pump_messages(&mut self, now: Instant) {
        while self.tx.len() < self.config.max_transmit_bytes && !self.store_is_behind() {
            if self.store.is_some() {
                self.assign_identifiers(now);
            }
            if let Some(id) = self.outbox.resend.front().copied() {
                if !self.has_quota() || !self.may_leave(id) {
                    break;
                }
                self.outbox.resend.pop_front();
                self.send_late(now, id);
                continue;
            }
            let Some((_, head)) = self.outbox.queue.front() else { break };
            let unsent = if head.is_expired(now) { Some(Failure::Expired) } else { self.unsupported(head) };
            // [MQTT-4.9.0-2]; a message of QoS 0 behind waits too, which keeps the order.
            if unsent.is_none() && head.qos > QoS::AtMostOnce && (!self.has_quota() || self.flights.is_full()) {
                break;
            }
            let Some((token, message)) = self.outbox.pop() else { break };
            match unsent {
                Some(failure) => self.give_up(now, token, failure),
                None => self.send_first(now, token, message),
            }
        }
    }

    /// Gives identifiers to all messages that have room in the quota, so that the store keeps them together: which identifier a QoS 2 message has
    /// must be kept before it is sent. They leave from `resend`.
    fn assign_identifiers(&mut self, now: Instant) {
        while let Some((_, head)) = self.outbox.queue.front() {
            let room = self.has_quota_behind(self.outbox.resend.len()) && !self.flights.is_full();
            if head.qos == QoS::AtMostOnce || !room || head.is_expired(now) || self.unsupported(head).is_some() {
                return;
            }
            let Some((token, message)) = self.outbox.pop() else { return };
            let (qos, order) = (message.qos, self.flights.next_order());
            let flight = Outgoing { token, message, order, on_wire: false, sent: false, gate: StoreSeq(0) };
            let Some(id) = self.flights.insert(Flight::Publish(flight)) else { return }; // it is not full
            self.keep(|| StoreOp::Put(Record::Flight { id, token, order, released: false }));
            let gate = self.gate();
            if qos == QoS::ExactlyOnce
                && let Some(Flight::Publish(out)) = self.flights.get_mut(id)
            {
                out.gate = gate; // at QoS 1 a second copy is allowed
            }
            self.outbox.resend.push_back(id);
        }
    }

    fn may_leave(&self, id: PacketId) -> bool {
        !matches!(self.flights.get(id), Some(Flight::Publish(out)) if !self.is_open(out.gate))
    }

    /// Only PUBLISH waits for quota; every other packet goes at once [MQTT-3.3.4-8], [MQTT-4.9.0-3].
    fn has_quota(&self) -> bool {
        self.has_quota_behind(0)
    }

    /// Whether there is quota left behind so many messages that are about to use it.
    fn has_quota_behind(&self, messages: usize) -> bool {
        let quota = self.limits.receive_maximum.min(self.config.max_inflight); // [MQTT-4.9.0-1]
        self.flights.window_used() + messages < usize::from(quota)
    }

    /// Why the Server's limits forbid this message.
    fn unsupported(&self, message: &Stored) -> Option<Failure> {
        let limits = &self.limits;
        if message.qos > limits.maximum_qos {
            return Some(Failure::QoSNotSupported(limits.maximum_qos)); // [MQTT-3.2.2-11]
        }
        if message.retain && !limits.retain_available {
            return Some(Failure::RetainNotSupported); // [MQTT-3.2.2-14]
        }
        let length = self.encoded_len(message).unwrap_or(usize::MAX);
        (length > limits.maximum_packet_size as usize).then_some(Failure::TooLarge(limits.maximum_packet_size)) // [MQTT-3.2.2-15]
    }

    fn encoded_len(&self, message: &Stored) -> Result<usize, EncodeError> {
        let mut head = PublishHead::from(delivery(message.qos, PacketId::MIN, false));
        head.message_expiry_interval = message.expires_at.map(|_| 1);
        message.publish.encoded_len(self.config.version, &head)
    }

    fn give_up(&mut self, now: Instant, token: Token, failure: Failure) {
        match failure {
            Failure::Expired => self.stats.dropped_expired += 1,
            _ => self.stats.dropped_unsupported += 1,
        }
        self.keep(|| StoreOp::Remove(RecordKey::Message(token)));
        self.settle_failed(now, token, failure);
    }

    /// First sending: an unused identifier and DUP 0 [MQTT-4.3.1-1], [MQTT-4.3.2-1], [MQTT-4.3.2-2], [MQTT-4.3.3-1], [MQTT-4.3.3-2].
    fn send_first(&mut self, now: Instant, token: Token, message: Stored) {
        if message.qos == QoS::AtMostOnce {
            self.write_publish(now, &message, Delivery::AtMostOnce, true);
            self.settle(token, Ok(Outcome::Sent));
            return;
        }
        let order = self.flights.next_order();
        let copy = message.clone(); // shares the bytes
        let gate = StoreSeq(0);
        match self.flights.insert(Flight::Publish(Outgoing { token, message, order, on_wire: true, sent: true, gate }))
        {
            Some(id) => self.write_publish(now, &copy, delivery(copy.qos, id, false), true),
            None => self.outbox.push_front(token, copy),
        }
    }

    /// Sending again on a new connection: the original identifier and DUP 1 [MQTT-3.3.1-1]. Or for the first time, when the store has kept the
    /// identifier.
    fn send_late(&mut self, now: Instant, id: PacketId) {
        let Some(Flight::Publish(out)) = self.flights.get(id) else { return };
        let (token, message, again) = (out.token, out.message.clone(), out.sent);
        if let Some(failure) = self.unsupported(&message) {
            self.end_flight(id);
            self.give_up(now, token, failure);
            return;
        }
        self.flights.sent_again(id);
        self.stats.publishes_resent += u64::from(again);
        // Aliases begin anew with the connection [MQTT-3.3.2-7]; messages sent again carry their topic.
        self.write_publish(now, &message, delivery(message.qos, id, again), !again);
    }

    fn write_publish(&mut self, now: Instant, message: &Stored, delivery: Delivery, alias: bool) {
        let version = self.config.version;
        let mut head = PublishHead::from(delivery);
        head.retain = message.retain;
        if version.is_v5() {
            head.message_expiry_interval = message.remaining_expiry(now);
            let room = self.limits.maximum_packet_size as usize;
            if alias && self.encoded_len(message).is_ok_and(|length| length + 4 <= room) {
                (head.topic_alias, head.omit_topic) = match self.aliases.choose(&message.publish.topic) {
                    Alias::None => (None, false),
                    Alias::Set(alias) => (Some(alias), false),
                    Alias::Use(alias) => (Some(alias), true),
                };
            }
        }
        message.publish.encode_head(version, &head, self.tx.run()).expect("checked by `publish` and `unsupported`");
        self.tx.push(&message.publish.payload);
        self.stats.packets_sent += 1;
        self.stats.publishes_sent += 1;
        self.keep_alive.sent(now);
    }

    fn end_flight(&mut self, id: PacketId) -> Option<Flight> {
        self.keep(|| StoreOp::Remove(RecordKey::Flight(id)));
        self.flights.remove(id)
    }

    /// Settles a message that PUBACK or PUBREC ended. A failure waits for the store, or the message might be sent once more.
    fn settle_acknowledged(&mut self, now: Instant, token: Token, ack: &Ack) {
        self.keep(|| StoreOp::Remove(RecordKey::Message(token)));
        match acknowledged(ack) {
            Ok(outcome) => self.settle(token, Ok(outcome)),
            Err(failure) => self.settle_failed(now, token, failure),
        }
    }

    /// PUBACK ends QoS 1, well or ill [MQTT-4.4.0-2].
    pub(super) fn on_puback(&mut self, now: Instant, ack: &Ack) -> Result<(), ProtocolError> {
        match self.flights.get(ack.id) {
            Some(Flight::Publish(out)) if out.message.qos == QoS::AtLeastOnce => {}
            None => {
                self.stats.unexpected_acks += 1;
                return Ok(());
            }
            // [MQTT-2.2.1-5]
            Some(_) => {
                return Err(ProtocolError::new(
                    "MQTT-2.2.1-5",
                    "PUBACK for an identifier that stands for something else",
                ));
            }
        }
        if let Some(Flight::Publish(out)) = self.end_flight(ack.id) {
            self.settle_acknowledged(now, out.token, ack);
        }
        Ok(())
    }

    /// PUBREC hands the message over, and is answered with PUBREL in the order of the PUBRECs [MQTT-4.6.0-4]; an error ends the flow.
    pub(super) fn on_pubrec(&mut self, now: Instant, ack: &Ack) -> Result<(), ProtocolError> {
        let reason = match self.flights.get(ack.id) {
            Some(Flight::Publish(out)) if out.message.qos == QoS::ExactlyOnce => {
                let token = out.token;
                if ack.reason.is_error() {
                    self.end_flight(ack.id);
                    self.settle_acknowledged(now, token, ack);
                    return Ok(());
                }
                let order = self.flights.next_order();
                // The message itself is gone: it cannot be sent again any more [MQTT-4.3.3-6].
                self.flights.put(ack.id, Flight::Release { token, reason: ack.reason, order, on_wire: true });
                self.keep(|| StoreOp::Put(Record::Flight { id: ack.id, token, order, released: true }));
                self.keep(|| StoreOp::Remove(RecordKey::Message(token)));
                ReasonCode::Success
            }
            Some(Flight::Release { .. }) => ReasonCode::Success,
            Some(_) => {
                return Err(ProtocolError::new(
                    "MQTT-2.2.1-5",
                    "PUBREC for an identifier that stands for something else",
                ));
            }
            None => {
                self.stats.unexpected_acks += 1;
                ReasonCode::PacketIdentifierNotFound
            }
        };
        self.send_kept(now, Packet::PubRel, ack.id, reason); // [MQTT-4.3.3-4]
        Ok(())
    }

    /// PUBCOMP ends QoS 2. That the Server no longer knows the identifier is how it looks after a PUBCOMP that was lost.
    pub(super) fn on_pubcomp(&mut self, ack: &Ack) -> Result<(), ProtocolError> {
        match self.flights.get(ack.id) {
            Some(Flight::Release { .. }) => {}
            None => {
                self.stats.unexpected_acks += 1;
                return Ok(());
            }
            Some(_) => return Err(ProtocolError::new("MQTT-2.2.1-5", "PUBCOMP before PUBREL")),
        }
        if let Some(Flight::Release { token, reason, .. }) = self.end_flight(ack.id) {
            self.settle(token, Ok(Outcome::Acknowledged(reason)));
        }
        Ok(())
    }

    pub(super) fn send_ack(&mut self, now: Instant, packet: fn(Ack) -> Packet, id: PacketId, reason: ReasonCode) {
        let reason = if self.config.version.is_v5() { reason } else { ReasonCode::Success };
        // Without Reason String and User Properties, which might not fit [MQTT-3.4.2-3], [MQTT-3.5.2-3], [MQTT-3.6.2-3], [MQTT-3.7.2-3].
        let ack = Ack { id, reason, properties: Properties::new() };
        self.unwritten_acks += 1;
        let _ = self.send(now, &packet(ack)); // five bytes at most: no limit that makes sense forbids them
    }

    /// The Server kept the session: PUBREL is due again at once, PUBLISH as the quota allows [MQTT-4.4.0-1].
    pub(super) fn resume_session(&mut self, now: Instant, unknown: bool) {
        let (publishes, releases) = self.flights.to_resend();
        self.outbox.resend = publishes.into();
        for id in releases {
            self.flights.sent_again(id);
            self.send_ack(now, Packet::PubRel, id, ReasonCode::Success); // that PUBREC came was kept before we connected
        }
        if unknown {
            self.inbox.doubt_session();
        } else {
            self.inbox.forget_unacknowledged();
        }
    }

    /// The Server has no session: neither have we, but for what was never sent [MQTT-3.2.2-5], [3.1.1: MQTT-3.1.2-6].
    pub(super) fn discard_session(&mut self, now: Instant) {
        for id in self.inbox.discard_session() {
            self.keep(|| StoreOp::Remove(RecordKey::Incoming(id)));
        }
        let republish = self.config.on_session_loss == SessionLoss::Republish;
        let mut again = Vec::new();
        for (id, flight) in self.flights.take_session() {
            self.keep(|| StoreOp::Remove(RecordKey::Flight(id)));
            match flight {
                Flight::Publish(out) if !out.sent || (republish && out.message.qos == QoS::AtLeastOnce) => {
                    again.push((out.token, out.message));
                }
                Flight::Publish(Outgoing { token, .. }) | Flight::Release { token, .. } => {
                    self.keep(|| StoreOp::Remove(RecordKey::Message(token)));
                    self.settle_failed(now, token, Failure::SessionLost);
                }
                Flight::Subscribe(_) | Flight::Unsubscribe(_) => {} // went back to the requests when the connection ended
            }
        }
        for (token, message) in again.into_iter().rev() {
            self.outbox.push_front(token, message);
        }
    }

    /// Settles queued messages whose time is over; what was sent once goes its way to the end [MQTT-4.3.3-13]. The queue is looked through once a second at most.
    pub(super) fn drop_expired(&mut self, now: Instant) {
        if self.outbox.next_expiry.is_none_or(|at| at > now) {
            return;
        }
        let (mut kept, mut expired) = (VecDeque::with_capacity(self.outbox.queue.len()), Vec::new());
        for (token, message) in self.outbox.queue.drain(..) {
            if message.is_expired(now) {
                self.outbox.bytes -= message.cost();
                expired.push(token);
            } else {
                kept.push_back((token, message));
            }
        }
        self.outbox.queue = kept;
        let next = self.outbox.queue.iter().filter_map(|(_, message)| message.expires_at).min();
        self.outbox.next_expiry = next.map(|at| at.max(now + Duration::from_secs(1)));
        for token in expired {
            self.give_up(now, token, Failure::Expired);
        }
    }
}

fn delivery(qos: QoS, id: PacketId, dup: bool) -> Delivery {
    match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce, // [MQTT-2.2.1-2], [MQTT-3.3.1-2]
        QoS::AtLeastOnce => Delivery::AtLeastOnce { id, dup },
        QoS::ExactlyOnce => Delivery::ExactlyOnce { id, dup },
    }
}

fn acknowledged(ack: &Ack) -> Result<Outcome, Failure> {
    if !ack.reason.is_error() {
        return Ok(Outcome::Acknowledged(ack.reason));
    }
    let text = ack.properties.reason_string().and_then(|text| Utf8String::try_from(text).ok());
    Err(Failure::Refused { reason: ack.reason, text })
}
