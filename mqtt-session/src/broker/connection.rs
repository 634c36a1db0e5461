//! One connection: reading its packets, queueing its replies, closing it (sections 4.8, 4.12 and 4.13).
//!
//! States (each transition is in this file or in `connect.rs`):
//!
//! ```text
//! handle_open --> Authenticating --accept--> Active --close / DISCONNECT--> Closing --handle_closed--> (gone)
//!                       '------------refuse / close / timeout-----------------^
//! ```
//!
//! Invariants: nothing is read in `Closing`; replies leave in the order of their causes; a reply that is gated on the
//! store holds back those behind it [MQTT-4.6.0-2].
use super::io::{Action, RequestId};
use super::timers::Timer;
use super::{Broker, ConnId, DisconnectReason, Grant, Output, Peer, StoreSeq};
use crate::{Instant, TxQueue};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};
use core::time::Duration;
use mqtt_proto::{
    Ack, ClientId, ConnAck, Connect, DecodeError, Disconnect, Frame, Packet, PacketId, PacketType, Properties,
    Property, Publish, ReasonCode, Subscribe, TopicFilter, TopicName, Version,
};

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) peer: Arc<Peer>,
    pub(super) version: Version,
    pub(super) client_id: ClientId,
    /// The session's slot, while the connection is active.
    pub(super) session: Option<u32>,
    pub(super) phase: Phase,
    /// Whether CONNACK was sent: nothing goes either way before.
    pub(super) announced: bool,
    pub(super) tx: TxQueue,
    /// How many of its bytes the broker counts as held.
    pub(super) tx_counted: usize,
    /// Replies that wait for the store, oldest first.
    pub(super) gate: VecDeque<Gated>,
    /// How many of them are PUBLISH packets.
    pub(super) gated_publishes: u32,
    /// Keep Alive in force, in seconds; 0 is off.
    pub(super) keep_alive: u16,
    pub(super) last_input: Instant,
    /// When the connection's timer is armed for.
    pub(super) timer: Option<Instant>,
    /// What the client may do, once it was authenticated.
    pub(super) grant: Option<Arc<Grant>>,
    pub(super) identity: Option<String>,
    /// QoS 1 and 2 messages from the client that are not complete.
    pub(super) receiving: u16,
    /// QoS 1 and 2 messages to the client that are not complete, and how many there may be.
    pub(super) sending: u16,
    pub(super) send_maximum: u16,
    /// Whether the PUBRELs on their way were sent again on this connection.
    pub(super) released_again: bool,
    /// How many of the session's messages on their way were sent again on this connection.
    pub(super) resent: usize,
    /// The client's Maximum Packet Size.
    pub(super) max_packet_size: u32,
    pub(super) aliases_in: Vec<Option<TopicName>>,
    pub(super) aliases_out: BTreeMap<TopicName, u16>,
    pub(super) aliases_out_maximum: u16,
    /// The packet that waits for an authorization.
    pub(super) parked: Option<Box<Parked>>,
    pub(super) authorizations: BTreeMap<(bool, String), (Instant, bool)>,
    /// Authentication Method of the connection.
    pub(super) auth_method: Option<String>,
    /// Whether a re-authentication is under way.
    pub(super) reauthenticating: bool,
    /// The authentication step that is open.
    pub(super) auth_request: Option<RequestId>,
    /// Whether the adapter was told that there are bytes to write.
    pub(super) told_writable: bool,
}

/// The state of a connection.
#[derive(Debug)]
pub(super) enum Phase {
    /// CONNECT was read; CONNACK was not sent.
    Authenticating(Box<Connect>),
    /// CONNACK was sent.
    Active,
    /// Output is being written; input is ignored.
    Closing,
}

/// A reply that waits for the store.
#[derive(Debug)]
pub(super) struct Gated {
    pub(super) seq: StoreSeq,
    pub(super) reply: Reply,
}

/// A reply, and what goes with it.
#[derive(Debug)]
pub(super) enum Reply {
    /// CONNACK of a connection that is accepted.
    ConnAck(Packet),
    /// PUBACK, PUBREC or PUBCOMP.
    Ack(Packet),
    /// SUBACK, with the subscriptions whose retained messages follow it.
    SubAck(Packet, Vec<TopicFilter>),
    /// UNSUBACK.
    UnsubAck(Packet),
    /// A QoS 2 PUBLISH whose Packet Identifier must survive, or one that comes behind it.
    Publish(Bytes),
}

/// A packet that waits for an authorization.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) request: RequestId,
    pub(super) action: Action,
    pub(super) packet: ParkedPacket,
}

/// Which packet waits.
#[derive(Debug)]
pub(super) enum ParkedPacket {
    /// PUBLISH, with its alias resolved.
    Publish(Publish),
    /// SUBSCRIBE: the filters before `decided.len()` are decided.
    Subscribe { subscribe: Subscribe, decided: Vec<ReasonCode> },
    /// CONNECT, for its Will.
    Connect(Admission),
}

/// What authentication has decided, while the Will is still in question.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) identity: Option<String>,
    pub(super) grant: Arc<Grant>,
    /// Authentication Data for CONNACK.
    pub(super) data: Option<Bytes>,
}

impl Connection {
    pub(super) fn new(peer: Peer, connect: Connect, now: Instant) -> Self {
        Self {
            peer: Arc::new(peer),
            version: connect.version,
            client_id: connect.client_id.compact(),
            session: None,
            phase: Phase::Authenticating(Box::new(connect)),
            announced: false,
            tx: TxQueue::new(),
            gate: VecDeque::new(),
            gated_publishes: 0,
            keep_alive: 0,
            last_input: now,
            timer: None,
            grant: None,
            identity: None,
            receiving: 0,
            sending: 0,
            send_maximum: u16::MAX,
            released_again: false,
            resent: 0,
            max_packet_size: u32::MAX,
            aliases_in: Vec::new(),
            aliases_out: BTreeMap::new(),
            aliases_out_maximum: 0,
            parked: None,
            authorizations: BTreeMap::new(),
            auth_method: None,
            reauthenticating: false,
            auth_request: None,
            told_writable: false,
            tx_counted: 0,
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.announced && matches!(self.phase, Phase::Active)
    }

    /// Whether a further QoS 1 or 2 message may be sent [MQTT-3.3.4-9].
    pub(super) fn has_credit(&self) -> bool {
        self.sending < self.send_maximum
    }

    /// Whether a CONNACK is not too large for the client [MQTT-3.2.2-19], [MQTT-3.2.2-20].
    pub(super) fn takes(&self, connack: &ConnAck) -> bool {
        connack.encoded_len(self.version).is_ok_and(|len| len <= self.max_packet_size as usize)
    }

    /// A Reason String for CONNACK or DISCONNECT, where it fits. Other packets carry none, whatever the client's Request
    /// Problem Information [MQTT-3.1.2-29].
    pub(super) fn reason_string(&self, text: &str) -> Properties {
        if text.is_empty() || !self.version.is_v5() || text.len() + 64 > self.max_packet_size as usize {
            return Properties::new(); // [MQTT-3.2.2-19], [MQTT-3.4.2-2], [MQTT-3.9.2-1], [MQTT-3.14.2-3]
        }
        Properties::builder().with(Property::ReasonString(text)).build()
    }
}

/// What the standard calls the end of a connection by the server: why, and with which words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault(pub(super) ReasonCode, pub(super) &'static str);

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        Self(error.reason, error.statement)
    }
}

impl Broker {
    /// Whether the input of a connection may be taken now.
    pub(super) fn takes_input(&self, slot: u32) -> bool {
        self.connections.get(slot).is_some_and(|conn| {
            conn.is_active()
                && conn.parked.is_none()
                && conn.tx.len() < self.config.connection.max_transmit_bytes
                && conn.gate.len() < usize::from(self.config.connection.receive_maximum.max(1))
                || matches!(conn.phase, Phase::Authenticating(_))
                    && conn.auth_request.is_none()
                    && conn.parked.is_none()
        })
    }

    /// Takes whole packets from the front of `input`.
    pub(super) fn read(&mut self, slot: u32, input: &mut BytesMut) {
        while self.takes_input(slot) {
            let before = input.len();
            let result = match Frame::split(input, self.config.connection.max_packet_size) {
                Ok(Some(frame)) => {
                    self.stats.packets_received += 1;
                    self.stats.bytes_received += (before - input.len()) as u64;
                    self.handle_frame(slot, frame)
                }
                Ok(None) => return,
                Err(error) => Err(error.into()), // [MQTT-3.1.2-24]: our own Maximum Packet Size, too
            };
            if let Err(fault) = result {
                self.stats.protocol_errors_total += u64::from(fault.0.is_error());
                self.close(slot, DisconnectReason::Server(fault.0, fault.1));
            }
        }
        if self.connections.get(slot).is_none_or(|conn| matches!(conn.phase, Phase::Closing)) {
            input.clear();
        }
    }

    fn handle_frame(&mut self, slot: u32, frame: Frame) -> Result<(), Fault> {
        let Some(conn) = self.connections.get_mut(slot) else { return Ok(()) };
        conn.last_input = self.now;
        let packet = Packet::decode(frame, conn.version)?;
        if !conn.is_active() && !matches!(packet, Packet::Auth(_) | Packet::Disconnect(_)) {
            // [MQTT-3.1.2-30]: nothing but AUTH and DISCONNECT before CONNACK, when the exchange is under way.
            return Err(Fault(ReasonCode::ProtocolError, "MQTT-3.1.2-30"));
        }
        match packet {
            Packet::Publish(publish) => self.handle_publish(slot, publish),
            Packet::PubAck(ack) => self.handle_puback(slot, &ack),
            Packet::PubRec(ack) => self.handle_pubrec(slot, &ack),
            Packet::PubRel(ack) => {
                self.handle_pubrel(slot, &ack);
                Ok(())
            }
            Packet::PubComp(ack) => self.handle_pubcomp(slot, &ack),
            Packet::Subscribe(subscribe) => self.handle_subscribe(slot, subscribe),
            Packet::Unsubscribe(unsubscribe) => {
                self.handle_unsubscribe(slot, &unsubscribe);
                Ok(())
            }
            Packet::PingReq => {
                self.send(slot, &Packet::PingResp); // [MQTT-3.12.4-1]
                Ok(())
            }
            Packet::Disconnect(disconnect) => self.handle_disconnect(slot, &disconnect),
            Packet::Auth(auth) => self.handle_auth(slot, &auth),
            Packet::Connect(_) => Err(Fault(ReasonCode::ProtocolError, "MQTT-3.1.0-2")),
            // Sent by Servers alone (section 2.1.2).
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                Err(Fault(ReasonCode::ProtocolError, "section 2.1.2"))
            }
        }
    }

    /// The client says good-bye.
    fn handle_disconnect(&mut self, slot: u32, disconnect: &Disconnect) -> Result<(), Fault> {
        let Some(conn) = self.connections.get(slot) else { return Ok(()) };
        let session = conn.session.and_then(|session| self.sessions.get_mut(session));
        if let Some(session) = session {
            if let Some(expiry) = disconnect.properties.session_expiry_interval() {
                let expiry = expiry.min(self.config.session.max_expiry);
                if session.expiry == 0 && expiry != 0 {
                    return Err(Fault(ReasonCode::ProtocolError, "section 3.14.2.2.2: a session that was to end"));
                }
                session.expiry = expiry;
            }
            if disconnect.reason == ReasonCode::Success {
                session.will = None; // [MQTT-3.1.2-8], [MQTT-3.14.4-3]
            }
        }
        self.detach(slot, DisconnectReason::Client(disconnect.reason));
        self.finish(slot); // [MQTT-3.14.4-1], [MQTT-3.14.4-2]: the client closes; so do we
        Ok(())
    }

    /// Encodes a packet for a connection. One that is too large for the client [MQTT-3.1.2-24] cannot be left out, since
    /// the client waits for it: the connection ends.
    pub(super) fn send(&mut self, slot: u32, packet: &Packet) {
        let Some(conn) = self.connections.get_mut(slot) else { return };
        if matches!(conn.phase, Phase::Closing) {
            return;
        }
        let fits = packet.encoded_len(conn.version).is_ok_and(|len| len <= conn.max_packet_size as usize);
        if fits && packet.encode(conn.version, conn.tx.run()).is_ok() {
            self.stats.packets_sent += 1;
        } else if !matches!(packet, Packet::ConnAck(_) | Packet::Disconnect(_)) {
            let reason = ReasonCode::PacketTooLarge;
            return self.close(slot, DisconnectReason::Server(reason, "a reply is too large for the client"));
        }
        self.tell_writable(slot);
    }

    /// Reports a connection that has bytes to write, once.
    pub(super) fn tell_writable(&mut self, slot: u32) {
        let id = self.conn_id(slot);
        if let Some(conn) = self.connections.get_mut(slot)
            && !conn.told_writable
            && !conn.tx.is_empty()
        {
            conn.told_writable = true;
            self.outputs.push_back(Output::Writable(id));
        }
    }

    /// Reports a connection whose input was not welcome, if it is again.
    pub(super) fn tell_readable(&mut self, slot: u32) {
        if self.takes_input(slot) {
            let id = self.conn_id(slot);
            self.outputs.push_back(Output::Readable(id));
        }
    }

    /// Sends a reply when the store has kept all changes up to `seq`, and after the replies before it.
    pub(super) fn reply(&mut self, slot: u32, seq: StoreSeq, reply: Reply) {
        let stored = self.store.watermark >= seq;
        let Some(conn) = self.connections.get_mut(slot) else { return };
        if stored && conn.gate.is_empty() {
            self.release(slot, reply);
        } else {
            let seq = conn.gate.back().map_or(seq, |last| last.seq.max(seq));
            conn.gate.push_back(Gated { seq, reply });
            self.store.gated.insert(slot);
        }
    }

    fn release(&mut self, slot: u32, reply: Reply) {
        match reply {
            Reply::ConnAck(packet) => {
                if let Some(conn) = self.connections.get_mut(slot) {
                    conn.announced = true;
                    let session = conn.session;
                    self.send(slot, &packet);
                    if let Some(session) = session {
                        self.wake(session);
                    }
                }
            }
            Reply::Ack(packet) => {
                self.end_receiving(slot, &packet);
                self.send(slot, &packet);
            }
            Reply::SubAck(packet, scans) => {
                self.send(slot, &packet);
                self.start_scans(slot, scans);
            }
            Reply::UnsubAck(packet) => self.send(slot, &packet),
            Reply::Publish(bytes) => {
                if let Some(conn) = self.connections.get_mut(slot) {
                    conn.tx.push(&bytes);
                    conn.gated_publishes -= 1;
                    self.stats.packets_sent += 1;
                    self.stats.publish_sent += 1;
                    self.tell_writable(slot);
                }
            }
        }
    }

    /// A message from the client is complete once its PUBACK, its PUBCOMP, or a PUBREC with an error leaves [MQTT-4.9.0-2].
    fn end_receiving(&mut self, slot: u32, packet: &Packet) {
        let complete = match packet {
            Packet::PubAck(_) | Packet::PubComp(_) => true,
            Packet::PubRec(ack) => ack.reason.is_error(),
            _ => false,
        };
        if complete && let Some(conn) = self.connections.get_mut(slot) {
            conn.receiving = conn.receiving.saturating_sub(1);
        }
    }

    /// Sends the replies that the store's watermark has reached.
    pub(super) fn open_gates(&mut self) {
        let waiting = core::mem::take(&mut self.store.gated);
        for slot in waiting {
            let blocked = !self.takes_input(slot);
            while let Some(conn) = self.connections.get_mut(slot)
                && conn.gate.front().is_some_and(|gated| gated.seq <= self.store.watermark)
                && let Some(gated) = conn.gate.pop_front()
            {
                self.release(slot, gated.reply);
            }
            if let Some(conn) = self.connections.get_mut(slot) {
                if !conn.gate.is_empty() {
                    self.store.gated.insert(slot);
                } else if conn.receiving == 0 && conn.sending == 0 {
                    conn.gate = VecDeque::new(); // an idle connection holds no memory for replies
                }
            }
            if blocked {
                self.tell_readable(slot);
            }
        }
    }

    /// A batch was lost: what waited for it is refused, never acknowledged. 5.0 publishers get a Reason Code; anything else
    /// is closed, so that the client finds out what is true when it comes back [3.1.1: MQTT-4.8.0-2].
    pub(super) fn fail_gates(&mut self, failed: StoreSeq) {
        self.store.lost(failed);
        for slot in self.store.gated.clone() {
            let Some(conn) = self.connections.get_mut(slot) else { continue };
            let v5 = conn.version.is_v5();
            let mut refused = Vec::new();
            let mut close = false;
            for gated in conn.gate.iter_mut().filter(|gated| gated.seq == failed) {
                match &mut gated.reply {
                    Reply::Ack(Packet::PubAck(ack) | Packet::PubRec(ack)) if v5 => {
                        ack.reason = ReasonCode::ImplementationSpecificError;
                        gated.seq = StoreSeq::default(); // nothing to wait for any more
                        refused.push(ack.id);
                    }
                    _ => close = true,
                }
            }
            if close {
                let reason = ReasonCode::ImplementationSpecificError;
                self.close(slot, DisconnectReason::Server(reason, "the store failed"));
            } else {
                for id in refused {
                    self.release_incoming(slot, id); // [MQTT-4.3.3-9]
                }
            }
        }
        self.open_gates();
    }

    /// Ends a connection from the server's side, with DISCONNECT where the version has it [MQTT-4.13.1-1], [MQTT-4.13.2-1].
    pub(super) fn close(&mut self, slot: u32, reason: DisconnectReason) {
        let Some(conn) = self.connections.get(slot) else { return };
        match (&conn.phase, &reason) {
            (Phase::Closing, _) => return,
            // [MQTT-3.14.0-1]: no DISCONNECT before CONNACK.
            (Phase::Active, DisconnectReason::Server(code, text)) if conn.announced && conn.version.is_v5() => {
                let properties = conn.reason_string(text);
                let reason = farewell(*code);
                // No Session Expiry Interval [MQTT-3.14.2-2] and no User Properties [MQTT-3.14.2-4] in it.
                self.send(slot, &Packet::Disconnect(Disconnect { reason, properties }));
            }
            (Phase::Authenticating(_), DisconnectReason::Server(code, text)) => {
                // [MQTT-3.14.0-1]: no DISCONNECT before CONNACK; CONNACK says why instead.
                return self.refuse(slot, *code, text);
            }
            _ => {}
        }
        self.detach(slot, reason);
        self.finish(slot);
    }

    /// Lets the adapter write what is queued and close.
    pub(super) fn finish(&mut self, slot: u32) {
        let id = self.conn_id(slot);
        self.forget_requests(slot);
        if let Some(conn) = self.connections.get_mut(slot) {
            conn.phase = Phase::Closing;
            conn.gate.clear();
            if let Some(at) = conn.timer.take() {
                self.timers.disarm(at, Timer::Connection(id));
            }
            self.outputs.push_back(Output::Close(id));
        }
    }

    /// Forgets what was asked for a connection: an answer that still comes is ignored.
    pub(super) fn forget_requests(&mut self, slot: u32) {
        let Some(conn) = self.connections.get_mut(slot) else { return };
        let asked = [conn.parked.take().map(|parked| parked.request), conn.auth_request.take()];
        for request in asked.iter().flatten() {
            self.auth_requests.remove(request);
        }
    }

    /// Arms the connection's timer: for keep alive [MQTT-3.1.2-22], or for the next step of authentication.
    pub(super) fn arm_connection(&mut self, slot: u32) {
        let id = self.conn_id(slot);
        let Some(conn) = self.connections.get_mut(slot) else { return };
        if let Some(at) = conn.timer.take() {
            self.timers.disarm(at, Timer::Connection(id));
        }
        let at = match conn.phase {
            Phase::Authenticating(_) => conn.last_input + self.config.connection.connect_timeout,
            Phase::Active if conn.keep_alive > 0 => conn.last_input + keep_alive_limit(conn.keep_alive),
            _ => return,
        };
        conn.timer = Some(at);
        self.timers.arm(at, Timer::Connection(id));
    }

    /// The connection's timer fired; input in between only moved `last_input`.
    pub(super) fn connection_timeout(&mut self, id: ConnId) {
        let slot = id.slot;
        let Some(conn) = self.connection(id) else { return };
        conn.timer = None;
        let (limit, reason, text) = match conn.phase {
            Phase::Authenticating(_) => {
                (self.config.connection.connect_timeout, ReasonCode::NotAuthorized, "authentication took too long")
            }
            Phase::Active => (keep_alive_limit(conn.keep_alive), ReasonCode::KeepAliveTimeout, "MQTT-3.1.2-22"),
            Phase::Closing => return,
        };
        let (now, receive_maximum) = (self.now, usize::from(self.config.connection.receive_maximum.max(1)));
        let Some(conn) = self.connections.get_mut(slot) else { return };
        let unread = !conn.announced || conn.parked.is_some() || conn.gate.len() >= receive_maximum;
        if unread && matches!(conn.phase, Phase::Active) {
            conn.last_input = now; // it is we who do not read: nothing can be said of the client
        }
        if conn.last_input + limit <= now {
            self.close(slot, DisconnectReason::Server(reason, text));
        } else {
            self.arm_connection(slot);
        }
    }
}

/// The Reason Code that a DISCONNECT of the server can carry for this one [MQTT-3.14.2-1].
fn farewell(reason: ReasonCode) -> ReasonCode {
    match reason {
        _ if reason.is_error() && reason.allowed_in(PacketType::Disconnect) => reason,
        ReasonCode::BadUserNameOrPassword | ReasonCode::Banned => ReasonCode::NotAuthorized,
        _ => ReasonCode::UnspecifiedError,
    }
}

/// One and a half times the Keep Alive [MQTT-3.1.2-22].
fn keep_alive_limit(keep_alive: u16) -> Duration {
    Duration::from_millis(u64::from(keep_alive) * 1500)
}

/// An acknowledgment without properties, which fits whatever the client takes [MQTT-3.4.2-2], [MQTT-3.4.2-3],
/// [MQTT-3.5.2-2], [MQTT-3.5.2-3], [MQTT-3.6.2-2], [MQTT-3.6.2-3], [MQTT-3.7.2-2], [MQTT-3.7.2-3].
pub(super) fn ack(id: PacketId, reason: ReasonCode) -> Ack {
    Ack { id, reason, properties: Properties::new() }
}
