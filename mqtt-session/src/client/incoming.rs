//! Receiving: the receiver's side of QoS 1 and 2, acknowledgments in order, and back-pressure (MQTT 5.0 sections 4.3 to 4.6 and 4.9).
//!
//! Invariants: a message is acknowledged when it was handed out, not before, and in the order of arrival; a QoS 2 message is handed out once per
//! session [MQTT-4.3.3-10]; what waits to be handed out is bounded.
use super::alias::IncomingAliases;
use super::connection::Phase;
use super::{AckToken, Client, Output, ProtocolError, Received, Record, RecordKey, StoreOp, StoreSeq};
use crate::Instant;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use mqtt_proto::{Ack, Delivery, Packet, PacketId, Publish, QoS, ReasonCode};

/// Acknowledgments, of five bytes at most, that may wait for the socket before reading pauses.
const MAX_UNWRITTEN_ACKS: usize = 50_000;

/// Received messages and what is owed for them.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Messages to hand out, with the number of their acknowledgment if they need one.
    ready: VecDeque<Ready>,
    bytes: usize,
    /// Acknowledgments to send on this connection, in the order of arrival.
    owed: VecDeque<Owed>,
    /// How many of `owed` are of QoS 1.
    owed_qos1: usize,
    /// QoS 2 identifiers from PUBLISH to PUBREL: what the session remembers [MQTT-4.3.3-10].
    exactly_once: BTreeSet<PacketId>,
    /// Those of a session that may be another one than the Server's: a copy of a message (DUP) proves one, a new message refutes it.
    doubted: BTreeSet<PacketId>,
    /// QoS 2 messages whose connection ended before their PUBREC.
    unanswered: BTreeMap<PacketId, (u64, Option<ReasonCode>)>,
    /// QoS 2 messages that an earlier process did not acknowledge: the Server sends them again, and they are handed out again under
    /// their numbers. Whether the session is in doubt, see `doubted`.
    returning: BTreeMap<PacketId, (u64, bool)>,
    aliases: IncomingAliases,
    last_number: u64,
    dropped: u64,
}

/// A message to hand out.
#[derive(Debug)]
struct Ready {
    message: Received,
    /// The number of its acknowledgment, if it needs one.
    number: Option<u64>,
    /// What the store must have kept before.
    gate: StoreSeq,
}

/// One acknowledgment.
#[derive(Debug)]
struct Owed {
    number: u64,
    id: PacketId,
    qos2: bool,
    /// What the user said, once he did.
    answer: Option<ReasonCode>,
}

impl Inbox {
    pub(super) fn new_connection(&mut self, aliases: IncomingAliases) {
        self.aliases = aliases; // [MQTT-3.3.2-7]
    }

    pub(super) fn connection_lost(&mut self) {
        self.owed_qos1 = 0;
        for owed in self.owed.drain(..) {
            if owed.qos2 {
                self.unanswered.insert(owed.id, (owed.number, owed.answer));
            }
        }
    }

    /// The Server will send QoS 1 messages again that were not acknowledged: the copies that nobody saw yet give way to them.
    pub(super) fn forget_unacknowledged(&mut self) {
        let bytes = &mut self.bytes;
        self.ready.retain(|Ready { message, .. }| {
            let keep = message.qos != QoS::AtLeastOnce;
            if !keep {
                *bytes -= cost(message);
            }
            keep
        });
    }

    /// The Server has a session, and nobody knows whether it is ours.
    pub(super) fn doubt_session(&mut self) {
        self.doubted.append(&mut self.exactly_once);
        for (_, doubted) in self.returning.values_mut() {
            *doubted = true;
        }
    }

    /// A QoS 1 or 2 message came under this identifier. What was doubted is certain now: the Server sends again with DUP alone
    /// [MQTT-3.3.1-1].
    /// `true`: the identifier stood for a message of another session.
    fn resolve_doubt(&mut self, id: PacketId, is_copy: bool) -> bool {
        let returning = self.returning.get(&id).is_some_and(|(_, doubted)| *doubted);
        if !self.doubted.remove(&id) && !returning {
            return false;
        }
        if !is_copy {
            self.returning.remove(&id);
            self.unanswered.remove(&id);
        } else if !returning {
            self.exactly_once.insert(id);
        }
        !is_copy
    }

    /// Forgets the session; gives its identifiers.
    pub(super) fn discard_session(&mut self) -> BTreeSet<PacketId> {
        let mut all = core::mem::take(&mut self.exactly_once);
        all.append(&mut self.doubted);
        all.extend(core::mem::take(&mut self.returning).into_keys());
        self.unanswered.clear();
        all
    }

    pub(super) fn take_dropped(&mut self) -> Option<u64> {
        let dropped = core::mem::take(&mut self.dropped);
        (dropped > 0).then_some(dropped)
    }

    pub(super) fn session(&self) -> impl Iterator<Item = PacketId> {
        self.exactly_once.union(&self.doubted).copied()
    }

    pub(super) fn restore(&mut self, ids: impl IntoIterator<Item = PacketId>) {
        self.exactly_once.extend(ids);
    }

    /// Messages of an earlier process that were not acknowledged, and the last number that it may have given out.
    pub(super) fn restore_unacknowledged(&mut self, last: u64, messages: impl Iterator<Item = (PacketId, u64)>) {
        self.last_number = last;
        self.returning = messages.map(|(id, number)| (id, (number, false))).collect();
    }

    pub(super) fn last_number(&self) -> u64 {
        self.last_number
    }

    fn push(&mut self, message: Received, number: Option<u64>, gate: StoreSeq) {
        self.bytes += cost(&message);
        self.ready.push_back(Ready { message, number, gate });
    }

    fn owe(&mut self, id: PacketId, qos2: bool, number: u64, answer: Option<ReasonCode>) {
        self.owed_qos1 += usize::from(!qos2);
        self.owed.push_back(Owed { number, id, qos2, answer });
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Messages that count against our Receive Maximum.
    fn unacknowledged(&self) -> usize {
        self.exactly_once.len() + self.owed_qos1
    }

    fn is_full(&self, messages: usize, bytes: usize) -> bool {
        self.ready.len() >= messages || self.bytes >= bytes
    }
}

impl Client {
    /// The next message for the user, which is acknowledged with it unless acknowledgments are manual. Only
    /// [`Client::handle_input`] brings new ones, and with a store [`Client::handle_completion`].
    #[must_use]
    pub fn poll_message(&mut self, now: Instant) -> Option<Received> {
        let gate = self.inbox.ready.front()?.gate;
        if !self.is_open(gate) {
            return None;
        }
        let Ready { mut message, number, .. } = self.inbox.ready.pop_front()?;
        self.inbox.bytes -= cost(&message);
        self.stats.messages_received += 1;
        match number {
            Some(number) if self.config.manual_acks => message.ack = Some(AckToken(number)),
            Some(number) => self.answer(now, number, ReasonCode::Success),
            None => {}
        }
        self.look_at_reading(now);
        Some(message)
    }

    /// Acknowledges a message of [`Client::poll_message`]; `reason` is Success, or in 5.0 an error with which the Server drops the message
    /// [MQTT-3.4.2-1], [MQTT-3.5.2-1]. The acknowledgment leaves when all earlier messages are acknowledged too. A token of a connection or
    /// session that is gone is a no-op: the Server sends the message again.
    pub fn acknowledge(&mut self, now: Instant, token: AckToken, reason: ReasonCode) {
        self.answer(now, token.0, reason);
    }

    /// Whether the transport is to be read. False while the Server does not read our acknowledgments, or the store does not keep up, which must not pile up; and when messages wait that nobody takes, except while something of ours waits for an
    /// acknowledgment that may stand behind them: then reading goes on up to four times the limit, and QoS 0 messages beyond it are dropped and
    /// counted, so that a user who publishes before he takes the next message is never stuck.
    pub fn wants_read(&self) -> bool {
        self.unwritten_acks < MAX_UNWRITTEN_ACKS && self.takes_messages() && !self.store_is_behind()
    }

    /// Whether messages have room. While they have none, the Server is not heard, and so not given up for its silence.
    pub(super) fn takes_messages(&self) -> bool {
        let (messages, bytes) = (self.config.max_incoming, self.config.max_incoming_bytes);
        // Before CONNACK no message can come, and CONNACK must not wait for messages of the last connection to be taken.
        if self.phase != Phase::Online || !self.inbox.is_full(messages, bytes) {
            return true;
        }
        // What is above QoS 0 is bounded by the Receive Maximum, or by the window of a Server that knows none.
        let hard = messages.saturating_mul(4).saturating_add(self.config.receive_maximum.into());
        self.awaits_acks() && !self.inbox.is_full(hard, bytes.saturating_mul(5))
    }

    fn awaits_acks(&self) -> bool {
        !self.flights.is_empty()
    }

    /// Reports [`Output::Readable`] when `wants_read` turned true. While reading was paused the Server could not be heard.
    pub(super) fn look_at_reading(&mut self, now: Instant) {
        let wants = self.wants_read();
        if self.paused && wants {
            self.outputs.push_back(Output::Readable);
            self.keep_alive.received(now);
        }
        self.paused = !wants;
    }

    pub(super) fn on_publish(&mut self, now: Instant, publish: Publish) -> Result<(), ProtocolError> {
        debug_assert!(self.phase == Phase::Online, "nothing comes before CONNACK");
        let alias = publish.properties.topic_alias();
        let topic = self.inbox.aliases.resolve(publish.topic, alias)?;
        let message = Received {
            topic,
            payload: publish.payload,
            qos: publish.delivery.qos(),
            retain: publish.retain,
            dup: publish.delivery.dup(),
            properties: publish.properties,
            ack: None,
        };
        // [MQTT-3.3.4-1], [MQTT-4.5.0-2] Every message is answered as its QoS demands, whether the user cares or not.
        match publish.delivery {
            Delivery::AtMostOnce => {
                let limit = self.config.max_incoming.saturating_mul(4);
                if self.inbox.is_full(limit, self.config.max_incoming_bytes.saturating_mul(4)) {
                    self.inbox.dropped += 1;
                    self.stats.dropped_incoming += 1;
                } else {
                    self.inbox.push(message, None, StoreSeq(0));
                }
                Ok(())
            }
            Delivery::AtLeastOnce { id, .. } => self.on_qos1(id, message),
            Delivery::ExactlyOnce { id, .. } => self.on_qos2(now, id, message),
        }
    }

    /// Each QoS 1 PUBLISH is a new message, whatever its DUP flag says [MQTT-4.3.2-5].
    fn on_qos1(&mut self, id: PacketId, message: Received) -> Result<(), ProtocolError> {
        self.resolve_doubt(id, false);
        // [MQTT-2.2.1-4]
        if self.inbox.exactly_once.contains(&id) || self.inbox.returning.contains_key(&id) {
            return Err(ProtocolError::new("MQTT-2.2.1-4", "QoS 1 PUBLISH with an identifier that is in use"));
        }
        self.check_receive_maximum()?;
        let number = self.next_number();
        self.inbox.owe(id, false, number, None);
        self.inbox.push(message, Some(number), StoreSeq(0));
        Ok(())
    }

    fn on_qos2(&mut self, now: Instant, id: PacketId, message: Received) -> Result<(), ProtocolError> {
        self.resolve_doubt(id, message.dup);
        if !self.inbox.exactly_once.contains(&id) {
            self.check_receive_maximum()?;
            let number = match self.inbox.returning.remove(&id) {
                Some((number, _)) => number,
                None => self.next_number(),
            };
            self.keep(|| StoreOp::Put(Record::Incoming { id, unacknowledged: Some(number) }));
            let gate = self.gate();
            self.inbox.exactly_once.insert(id);
            self.inbox.owe(id, true, number, None);
            self.inbox.push(message, Some(number), gate);
            return Ok(());
        }
        // [MQTT-4.3.3-10] A copy: it is answered, not handed out.
        self.stats.duplicates_suppressed += 1;
        if let Some((number, answer)) = self.inbox.unanswered.remove(&id) {
            self.inbox.owe(id, true, number, answer);
        } else if !self.inbox.owed.iter().any(|owed| owed.qos2 && owed.id == id) {
            let number = self.next_number();
            self.inbox.owe(id, true, number, Some(ReasonCode::Success));
        }
        self.send_owed(now);
        Ok(())
    }

    fn resolve_doubt(&mut self, id: PacketId, is_copy: bool) {
        if self.inbox.resolve_doubt(id, is_copy) {
            self.keep(|| StoreOp::Remove(RecordKey::Incoming(id)));
        }
    }

    fn next_number(&mut self) -> u64 {
        let number = self.inbox.next_number();
        self.reserve();
        number
    }

    /// [MQTT-3.3.4-9] The Server must respect the Receive Maximum of our CONNECT.
    fn check_receive_maximum(&self) -> Result<(), ProtocolError> {
        if self.config.version.is_v5() && self.inbox.unacknowledged() >= usize::from(self.config.receive_maximum) {
            return Err(ProtocolError {
                reason: ReasonCode::ReceiveMaximumExceeded,
                statement: "MQTT-3.3.4-9",
                detail: "more unacknowledged messages than our Receive Maximum",
            });
        }
        Ok(())
    }

    fn answer(&mut self, now: Instant, number: u64, reason: ReasonCode) {
        let v5 = self.config.version.is_v5();
        let allowed = v5 && reason.allowed_in(mqtt_proto::PacketType::PubAck); // PUBREC has the same codes
        let reason = if allowed { reason } else { ReasonCode::Success };
        // Usually the first; not sorted, since a QoS 2 message keeps its number over a reconnect.
        if let Some(owed) = self.inbox.owed.iter_mut().find(|owed| owed.number == number) {
            let kept = (owed.qos2 && owed.answer.is_none() && !reason.is_error()).then_some(owed.id);
            owed.answer.get_or_insert(reason);
            self.keep_acknowledged(kept);
            self.send_owed(now);
        } else if let Some((id, (_, answer))) = self.inbox.unanswered.iter_mut().find(|(_, (of, _))| *of == number) {
            let kept = (answer.is_none() && !reason.is_error()).then_some(*id);
            answer.get_or_insert(reason);
            self.keep_acknowledged(kept);
        }
    }

    /// From now on a copy of this QoS 2 message is answered, and not handed out.
    fn keep_acknowledged(&mut self, id: Option<PacketId>) {
        if let Some(id) = id {
            self.keep(|| StoreOp::Put(Record::Incoming { id, unacknowledged: None }));
        }
    }

    /// Sends what is answered, up to the first message that is not [MQTT-4.6.0-2], [MQTT-4.6.0-3].
    fn send_owed(&mut self, now: Instant) {
        if self.phase != Phase::Online {
            return;
        }
        while let Some(&Owed { id, qos2, answer: Some(reason), .. }) = self.inbox.owed.front() {
            self.inbox.owed.pop_front();
            self.inbox.owed_qos1 -= usize::from(!qos2);
            if qos2 && reason.is_error() {
                self.inbox.exactly_once.remove(&id); // [MQTT-4.3.3-9]
                self.keep(|| StoreOp::Remove(RecordKey::Incoming(id)));
            }
            // [MQTT-4.3.2-4], [MQTT-4.3.3-8], [MQTT-2.2.1-5]
            if qos2 {
                self.send_kept(now, Packet::PubRec, id, reason);
            } else {
                self.send_ack(now, Packet::PubAck, id, reason);
            }
        }
    }

    /// PUBREL frees the identifier [MQTT-4.3.3-12] and is answered with PUBCOMP [MQTT-4.3.3-11].
    pub(super) fn on_pubrel(&mut self, now: Instant, ack: &Ack) -> Result<(), ProtocolError> {
        if self.inbox.owed.iter().any(|owed| owed.qos2 && owed.id == ack.id) {
            return Err(ProtocolError::new("MQTT-4.3.3-4", "PUBREL before our PUBREC"));
        }
        self.inbox.unanswered.remove(&ack.id);
        let returning = self.inbox.returning.remove(&ack.id).is_some();
        let known = self.inbox.exactly_once.remove(&ack.id) | self.inbox.doubted.remove(&ack.id) | returning;
        if known {
            self.keep(|| StoreOp::Remove(RecordKey::Incoming(ack.id)));
        }
        let reason = if known { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
        self.send_kept(now, Packet::PubComp, ack.id, reason);
        Ok(())
    }
}

fn cost(message: &Received) -> usize {
    message.topic.as_bytes().len() + message.payload.len() + message.properties.len()
}
