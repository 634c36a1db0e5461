//! Acknowledgments of what was sent to clients, and what follows from them for logs and groups (section 4.3, the sender's
//! part). Which states a message goes through stands at [`Stage`].
//!
//! Invariants: a message is settled once; the cursor of a log never moves past an entry that is not settled.
use super::connection::{Fault, Reply, ack};
use super::log::Removed;
use super::session::{Origin, Stage};
use super::{Broker, Event, Position, StoreOp};
use mqtt_proto::{Ack, Packet, PacketId, QoS, ReasonCode};

impl Broker {
    /// A message reached the client, or never will: those who keep it for the client are told.
    pub(super) fn settle_origin(&mut self, slot: u32, origin: &Origin) {
        match origin {
            Origin::Pushed => {}
            Origin::Logs(places) => {
                for (key, at) in places {
                    self.move_cursor(slot, *key, *at);
                }
            }
            Origin::Group(group, at) => self.settle_group(*group, *at),
        }
    }

    fn move_cursor(&mut self, slot: u32, key: u32, at: Position) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let (Some(cursor), Some(log)) = (session.cursors.get_mut(&key), self.logs.get_mut(key)) else { return };
        if let Some(gaps) = &mut session.gaps
            && cursor.next <= at
        {
            gaps.held.remove(&(key, at)); // the cursor has still to come by
            gaps.settled.insert((key, at));
        }
        let settled = cursor.acknowledge(at);
        // It may stand right at the cursor, which has not come by yet.
        if settled == cursor.acked && at >= settled {
            self.store.push(StoreOp::Settled(Some(session.client_id.clone()), log.filter.clone(), at));
        }
        self.settle_cursor(slot, key);
    }

    /// The store and the log hear how far a cursor has come: by what was acknowledged, or by entries that nobody is to acknowledge.
    pub(super) fn settle_cursor(&mut self, slot: u32, key: u32) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let (Some(cursor), Some(log)) = (session.cursors.get_mut(&key), self.logs.get_mut(key)) else { return };
        let settled = cursor.settled();
        if settled != cursor.acked {
            log.move_cursor(cursor.acked, settled);
            cursor.acked = settled;
            self.store.push(StoreOp::Cursor(session.client_id.clone(), log.filter.clone(), settled));
            self.trim_log(key);
        }
    }

    /// Removes what every reader of a log has left behind.
    pub(super) fn trim_log(&mut self, key: u32) {
        let Some(log) = self.logs.get_mut(key) else { return };
        let removed = log.trim();
        if removed.entries > 0 {
            self.store.push(StoreOp::Trim(log.filter.clone(), log.start()));
            if removed.spilled > 0 {
                self.loads.trim(key, log.start());
            }
            self.note_removed(&removed);
        }
    }

    /// Counts entries that are gone from a log.
    pub(super) fn note_removed(&mut self, removed: &Removed) {
        self.stats.queued -= removed.entries;
        self.stats.queued_bytes -= removed.bytes;
        self.stats.memory_bytes -= removed.freed;
        self.stats.spilled -= removed.spilled;
        self.stats.spilled_bytes -= removed.bytes - removed.freed;
    }

    /// PUBACK: a QoS 1 message reached the client.
    pub(super) fn handle_puback(&mut self, slot: u32, ack: &Ack) -> Result<(), Fault> {
        self.expect_stage(slot, ack.id, QoS::AtLeastOnce, Stage::Published)?;
        self.complete(slot, ack);
        Ok(())
    }

    /// PUBREC: a QoS 2 message reached the client; PUBREL follows, unless the client refused it [MQTT-4.3.3-4].
    pub(super) fn handle_pubrec(&mut self, slot: u32, received: &Ack) -> Result<(), Fault> {
        let id = received.id;
        let Some(session) = self.session_of_mut(slot) else { return Ok(()) };
        let durable = session.durable;
        let client_id = session.client_id.clone();
        let found = session.inflight_index(id);
        let Some(inflight) = found.and_then(|index| session.inflight.get_mut(index)) else {
            if !received.reason.is_error() {
                let v5 = self.connections.get(slot).is_some_and(|conn| conn.version.is_v5());
                let reason = if v5 { ReasonCode::PacketIdentifierNotFound } else { ReasonCode::Success };
                let packet = Packet::PubRel(ack(id, reason)); // [MQTT-3.6.2-1]
                self.reply(slot, self.store.watermark, Reply::Ack(packet)); // [MQTT-4.6.0-4]
            }
            return Ok(());
        };
        if inflight.head.qos != QoS::ExactlyOnce {
            return Err(Fault(ReasonCode::ProtocolError, "section 4.3.2: PUBREC for a QoS 1 message"));
        }
        if received.reason.is_error() {
            self.complete(slot, received); // [MQTT-4.4.0-2]
            return Ok(());
        }
        inflight.stage = Stage::Released; // [MQTT-4.3.3-6]: no PUBLISH under this identifier after PUBREL
        if durable {
            self.store.push(StoreOp::Released(client_id, id));
        }
        let packet = Packet::PubRel(ack(id, ReasonCode::Success)); // [MQTT-4.3.3-4]
        let due = if durable { self.store.due() } else { self.store.watermark };
        self.reply(slot, due, Reply::Ack(packet));
        Ok(())
    }

    /// PUBCOMP: the Packet Identifier is free again.
    pub(super) fn handle_pubcomp(&mut self, slot: u32, ack: &Ack) -> Result<(), Fault> {
        self.expect_stage(slot, ack.id, QoS::ExactlyOnce, Stage::Released)?;
        self.complete(slot, ack);
        Ok(())
    }

    /// An acknowledgment must fit the message that it names. One that names none is ignored: it may be late.
    fn expect_stage(&self, slot: u32, id: PacketId, qos: QoS, stage: Stage) -> Result<(), Fault> {
        let inflight = self.session_of(slot).and_then(|s| s.inflight_index(id).and_then(|index| s.inflight.get(index)));
        match inflight {
            Some(inflight) if inflight.head.qos != qos || inflight.stage != stage => {
                Err(Fault(ReasonCode::ProtocolError, "section 4.3: an acknowledgment that does not fit its PUBLISH"))
            }
            _ => Ok(()),
        }
    }

    /// The delivery of a message is over [MQTT-4.3.2-3], [MQTT-4.3.3-6], successfully or not [MQTT-4.8.2-6].
    fn complete(&mut self, slot: u32, ack: &Ack) {
        let Some(conn) = self.connections.get_mut(slot) else { return };
        let Some(session_slot) = conn.session else { return };
        let Some(session) = self.sessions.get_mut(session_slot) else { return };
        let Some(index) = session.inflight_index(ack.id) else { return };
        let Some(inflight) = session.inflight.remove(index) else { return };
        if index < conn.resent {
            conn.resent -= 1;
        }
        if inflight.counted {
            conn.sending = conn.sending.saturating_sub(1); // [MQTT-4.9.0-2]
        }
        self.stats.inflight -= 1;
        self.under_way_bytes -= inflight.message.cost();
        if session.durable && inflight.head.qos == QoS::ExactlyOnce {
            let client_id = session.client_id.clone();
            self.store.push(StoreOp::OutgoingEnd(client_id, ack.id));
        }
        let client_id = session.client_id.clone();
        self.settle_origin(session_slot, &inflight.head.origin);
        if !ack.reason.is_error() {
            let message = inflight.message;
            self.emit(|mask| mask.delivered, || Event::Delivered { client_id, message });
        }
        self.wake(session_slot);
    }
}
