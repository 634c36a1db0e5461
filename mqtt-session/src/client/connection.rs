//! The states of the connection and all their transitions (MQTT 5.0 sections 3.1, 3.2, 3.14 and 4.13).
//!
//! ```text
//!                connect                 handle_connected              CONNACK
//!        Idle ────────────► Opening ────────────────────► Handshake ────────────► Online
//!         ▲ ▲                ▲   │ failed, timeout          │ refused, timeout      │ lost, DISCONNECT, silence,
//!         │ │                │   ▼                          ▼ broken protocol       ▼ broken protocol
//!         │ │ give up        │ ┌───────────────────────────────────────────────────────┐
//!         │ └────────────────┼─┤ end()                                                 │
//!         │                  │ └─┬─────────────────────────────────────────────────────┘
//!         │ disconnect       │   │ try again
//!         │ (from anywhere)  │   ▼
//!         └──────────────────┴─ Waiting (no delay: straight to Opening)
//! ```
//!
//! Invariants: every way out of a connection passes `end`, which settles what ends with it; CONNECT is the first packet of a
//! connection [MQTT-3.1.0-1], and nothing follows a DISCONNECT [MQTT-3.14.4-1].
use super::auth::Exchange;
use super::keep_alive::Due;
use super::store::Waiting;
use super::{Client, DisconnectReason, Event, Output, ProtocolError, StateError};
use crate::Instant;
use bytes::{Buf, BytesMut};
use mqtt_proto::{ConnAck, Disconnect, Frame, FrameRef, Packet, PacketType, Properties, PublishRef, ReasonCode};

/// A PUBLISH shorter than this is copied out of the read buffer, so that a small message does not pin a large buffer.
const COPY_BELOW: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No connection is wanted.
    Idle,
    /// Between attempts.
    Waiting { until: Instant },
    /// The adapter opens a transport.
    Opening { deadline: Instant },
    /// CONNECT was sent.
    Handshake { deadline: Instant },
    /// CONNACK accepted the connection.
    Online,
}

impl Client {
    /// Connects, or cuts a delay short. A no-op while an attempt or a connection is there.
    pub fn connect(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Idle | Phase::Waiting { .. }) {
            self.retry.reset();
            self.open(now);
        }
    }

    /// Whether CONNACK accepted the connection, and it lasts.
    pub fn is_connected(&self) -> bool {
        self.phase == Phase::Online
    }

    /// Whether a connection is neither there nor to come without [`Client::connect`].
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    /// The transport that [`Output::Connect`] asked for is up.
    pub fn handle_connected(&mut self, now: Instant) {
        let Phase::Opening { deadline } = self.phase else { return };
        self.tx.clear();
        self.writable_reported = false;
        self.unwritten_acks = 0;
        self.input_left = 0;
        self.phase = Phase::Handshake { deadline };
        self.send_connect(now);
    }

    /// The transport could not be opened, or was lost.
    pub fn handle_disconnected(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Opening { .. } | Phase::Handshake { .. } | Phase::Online) {
            self.tx.clear();
            self.end(now, DisconnectReason::TransportLost);
        }
    }

    /// Takes complete packets out of `input`. What remains is an incomplete packet, or not wanted yet (see [`Client::wants_read`]).
    pub fn handle_input(&mut self, now: Instant, input: &mut BytesMut) {
        if input.len() > self.input_left {
            self.keep_alive.received(now);
        }
        while matches!(self.phase, Phase::Handshake { .. } | Phase::Online) && self.wants_read() {
            match self.take_packet(now, input) {
                Ok(true) => self.stats.packets_received += 1,
                Ok(false) => break,
                Err(error) => self.refuse(now, error),
            }
        }
        if !matches!(self.phase, Phase::Handshake { .. } | Phase::Online) {
            input.clear();
        }
        self.input_left = input.len();
        self.pump(now);
    }

    /// Serves the deadline of [`Client::poll_timeout`]; too early it is a no-op.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.phase {
            Phase::Waiting { until } if until <= now => self.open(now),
            Phase::Opening { deadline } | Phase::Handshake { deadline } if deadline <= now => {
                self.tx.clear();
                self.outputs.push_back(Output::Close);
                self.end(now, DisconnectReason::ConnectTimeout);
            }
            Phase::Online => match self.keep_alive.deadline(self.takes_messages()) {
                // [MQTT-3.1.2-20]
                Some((at, Due::Ping)) if at <= now => {
                    let _ = self.send(now, &Packet::PingReq); // two bytes, which no limit forbids
                    self.keep_alive.ping_sent(now);
                }
                Some((at, Due::Timeout)) if at <= now => {
                    self.tx.clear();
                    self.outputs.push_back(Output::Close);
                    self.end(now, DisconnectReason::PingTimeout);
                }
                _ => {}
            },
            _ => {}
        }
        self.drop_expired(now);
        self.ask_store_again(now);
        self.pump(now);
    }

    /// When [`Client::handle_timeout`] is to be called next. Every input may change the answer.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Idle => None,
            Phase::Waiting { until: at } | Phase::Opening { deadline: at } | Phase::Handshake { deadline: at } => {
                Some(at)
            }
            Phase::Online => self.keep_alive.deadline(self.takes_messages()).map(|(at, _)| at),
        };
        phase.into_iter().chain(self.outbox.next_expiry()).chain(self.store_deadline()).min()
    }

    /// Ends the connection with this DISCONNECT, and stays disconnected until [`Client::connect`]. What is queued or in flight stays.
    ///
    /// Before 5.0, [`ReasonCode::DisconnectWithWill`] closes without DISCONNECT, which is how a Will is had there.
    pub fn disconnect(&mut self, now: Instant, packet: &Disconnect) -> Result<(), StateError> {
        let v5 = self.config.version.is_v5();
        let expiry = packet.properties.session_expiry_interval();
        // Section 3.14.2.2.2: an expiry cannot be given to a session that CONNECT gave none.
        if (!v5 && !packet.properties.is_empty()) || (expiry.unwrap_or(0) > 0 && self.config.session_expiry == 0) {
            return Err(StateError::Property);
        }
        if self.phase == Phase::Online && (v5 || packet.reason != ReasonCode::DisconnectWithWill) {
            // [MQTT-3.14.2-1], [MQTT-3.14.2-2]
            let packet = Packet::from(packet.clone());
            packet.check_sender(mqtt_proto::Sender::Client, self.config.version).map_err(|_| StateError::Property)?;
            match self.send(now, &packet) {
                // [MQTT-3.14.2-3], [MQTT-3.14.2-4] What does not fit is left out.
                Err(mqtt_proto::EncodeError::TooLarge) => self.send_disconnect(now, ReasonCode::Success),
                other => other.map_err(|_| StateError::Property)?,
            }
        }
        // [MQTT-3.14.4-2] Then the connection is closed.
        self.close(now, DisconnectReason::ByCaller);
        Ok(())
    }

    /// Ends the connection, if there is one, and connects anew at once.
    pub fn reconnect(&mut self, now: Instant) {
        if self.phase == Phase::Online {
            self.send_disconnect(now, ReasonCode::Success);
        }
        self.close(now, DisconnectReason::ByCaller);
        self.connect(now);
    }

    /// CONNACK accepted the connection: the rest is in [`super::connect`].
    pub(super) fn go_online(&mut self, now: Instant) {
        self.phase = Phase::Online;
        self.connected_before = true;
        self.stats.connections += 1;
        self.retry.connected(now);
    }

    /// Answers an error of the Server: DISCONNECT with the Reason Code in 5.0 [MQTT-4.13.2-1], and a close
    /// [MQTT-4.13.1-1], [3.1.1: MQTT-4.8.0-1].
    pub(super) fn refuse(&mut self, now: Instant, error: ProtocolError) {
        if self.config.version.is_v5() {
            self.send_disconnect(now, error.reason);
        }
        self.close(now, DisconnectReason::Protocol(error));
    }

    /// The connection ends by our doing, after what `tx` holds was written.
    pub(super) fn close(&mut self, now: Instant, reason: DisconnectReason) {
        match self.phase {
            Phase::Opening { .. } | Phase::Handshake { .. } | Phase::Online => {
                self.outputs.push_back(Output::Close);
                self.end(now, reason);
            }
            Phase::Waiting { .. } if reason == DisconnectReason::ByCaller => {
                self.phase = Phase::Idle;
                self.event(Event::Disconnected { reason, was_connected: false, retry_in: None });
            }
            Phase::Waiting { .. } | Phase::Idle => {}
        }
    }

    fn send_disconnect(&mut self, now: Instant, reason: ReasonCode) {
        let _ = self.send(now, &Packet::Disconnect(reason.into())); // four bytes at most: no limit forbids them
    }

    fn open(&mut self, now: Instant) {
        let server = self.retry.server();
        self.phase = Phase::Opening { deadline: now + self.config.connect_timeout };
        self.event(Event::Connecting { server });
        // A kill before the answer to CONNECT is kept leaves the session in doubt, which must be known then.
        if self.connected_before && self.config.is_persistent() {
            self.keep_session(true);
        }
        self.when_kept(now, Waiting::Connect { server });
    }

    /// The one way out of Opening, Handshake and Online.
    fn end(&mut self, now: Instant, reason: DisconnectReason) {
        let was_connected = self.phase == Phase::Online;
        let unanswered =
            matches!(self.phase, Phase::Handshake { .. }) && !matches!(reason, DisconnectReason::Refused(_));
        self.doubtful |= unanswered && self.connected_before && self.config.is_persistent();
        self.phase = Phase::Idle;
        self.auth = Exchange::default();
        self.paused = false;
        self.inbox.connection_lost();
        self.forget_waiting_packets();
        let requests = self.flights.connection_lost(); // messages stay [MQTT-3.1.2-23], [3.1.1: MQTT-3.1.2-4]
        self.requeue_requests(requests);
        self.outbox.connection_lost();
        let retry_in = if self.may_retry(&reason) {
            self.retry.failed(now, self.config.reconnect.as_ref(), &mut self.rng)
        } else {
            None
        };
        self.event(Event::Disconnected { reason, was_connected, retry_in });
        match retry_in {
            Some(delay) if delay.is_zero() => self.open(now),
            Some(delay) => self.phase = Phase::Waiting { until: now + delay },
            None => {}
        }
    }

    fn may_retry(&self, reason: &DisconnectReason) -> bool {
        use ReasonCode::*;
        let code = match reason {
            DisconnectReason::ByCaller => return false,
            DisconnectReason::Refused(connack) => connack.reason,
            DisconnectReason::ByServer(disconnect) => disconnect.reason,
            _ => return true,
        };
        // The same answer would come again; and two clients of one identifier would take the session from each other for ever.
        let lasting = matches!(
            code,
            BadUserNameOrPassword
                | NotAuthorized
                | Banned
                | ClientIdentifierNotValid
                | UnsupportedProtocolVersion
                | BadAuthenticationMethod
                | SessionTakenOver
        );
        !lasting || self.config.retry_refused
    }

    /// Handles the first packet of `input`; `false` if none is complete.
    #[expect(
        clippy::inline_always,
        reason = "called for each packet, from one place; a call of its own costs 2 % of all instructions"
    )]
    #[inline(always)]
    fn take_packet(&mut self, now: Instant, input: &mut BytesMut) -> Result<bool, ProtocolError> {
        if self.phase == Phase::Online && input.first().is_some_and(|first| first >> 4 == PacketType::Publish as u8) {
            let max = self.config.maximum_packet_size;
            let Some(frame) = FrameRef::peek(input, max)? else { return Ok(false) };
            let length = frame.len();
            let publish = if length < COPY_BELOW {
                let publish = PublishRef::decode(frame, self.config.version)?.to_publish();
                input.advance(length);
                publish
            } else {
                let Some(frame) = Frame::split(input, max)? else { return Ok(false) };
                mqtt_proto::Publish::decode(frame, self.config.version)?
            };
            self.on_publish(now, publish)?;
            return Ok(true);
        }
        let packet = if self.refuses_version(input) {
            input.clear();
            let (reason, properties) = (ReasonCode::UnsupportedProtocolVersion, Properties::new());
            Packet::ConnAck(ConnAck { session_present: false, reason, properties })
        } else {
            let Some(packet) = self.decoder.decode(input)? else { return Ok(false) };
            packet
        };
        self.on_packet(now, packet)?;
        Ok(true)
    }

    /// Whether a Server of an earlier version answers a CONNECT of 5.0, in its own words (return code 1) [3.1.1: MQTT-3.1.2-2].
    fn refuses_version(&self, input: &[u8]) -> bool {
        self.config.version.is_v5() && matches!(self.phase, Phase::Handshake { .. }) && input == [0x20, 2, 0, 1]
    }

    /// The decoder has seen to it that CONNACK or AUTH come first [MQTT-3.2.0-1], [MQTT-3.14.0-1], CONNACK once [MQTT-3.2.0-2], and nothing that only a
    /// Client sends.
    fn on_packet(&mut self, now: Instant, packet: Packet) -> Result<(), ProtocolError> {
        match packet {
            Packet::ConnAck(connack) => self.on_connack(now, connack),
            Packet::Auth(auth) => self.on_auth(now, &auth),
            Packet::Publish(publish) => self.on_publish(now, publish),
            Packet::PubAck(ack) => self.on_puback(now, &ack),
            Packet::PubRec(ack) => self.on_pubrec(now, &ack),
            Packet::PubRel(ack) => self.on_pubrel(now, &ack),
            Packet::PubComp(ack) => self.on_pubcomp(&ack),
            Packet::SubAck(suback) => self.on_suback(suback),
            Packet::UnsubAck(unsuback) => self.on_unsuback(unsuback),
            Packet::PingResp => {
                self.keep_alive.answered();
                Ok(())
            }
            Packet::Disconnect(disconnect) => {
                // [MQTT-3.14.4-3] is the Server's; we close, and send nothing more.
                self.tx.clear();
                self.close(now, DisconnectReason::ByServer(disconnect.into()));
                Ok(())
            }
            Packet::Connect(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::PingReq => {
                Err(ProtocolError::new("section 2.1.2", "a packet that only a client may send"))
            }
        }
    }
}
