//! Messages to clients: PUBLISH out (section 4.3, the sender's part; section 4.9). Their acknowledgments are in `settle.rs`.
//!
//! Invariants: no more than the client's Receive Maximum is on its way [MQTT-3.3.4-9], and nothing but PUBLISH waits for
//! that [MQTT-3.3.4-10]; what is on its way is sent again in its first order after a reconnect [MQTT-4.6.0-1]; a session
//! pulls only while its socket has room.
use super::connection::{Connection, Reply, ack};
use super::session::{Head, Inflight, Origin, Pending, Stage};
use super::{Broker, DropReason, Event, Message, MessageId, StoreOp};
use crate::Instant;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::BytesMut;
use mqtt_proto::{Delivery, Packet, PacketId, PublishHead, QoS, ReasonCode, SharedPublish};
use topic_trie as trie;

/// A session pulls until this many bytes wait for its socket.
pub(super) const PULL_UP_TO: usize = 256 * 1024;

/// Retained topics looked at in one go, before others have their turn.
const SCAN_BUDGET: usize = 512;

/// How often a session may look in one go.
const SCANS_AT_ONCE: u32 = 64;

impl Message {
    /// The parts that all receivers share; no bytes are copied.
    pub(super) fn shared(&self) -> SharedPublish {
        SharedPublish { topic: self.topic.clone(), payload: self.payload.clone(), properties: self.properties.clone() }
    }
}

/// Seconds that a message may still live [MQTT-3.3.2-6].
pub(super) fn expiry_left(expires_at: Option<Instant>, now: Instant) -> Option<u32> {
    let left = expires_at?.saturating_since(now);
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    Some(u32::try_from(seconds).unwrap_or(u32::MAX))
}

fn delivery(qos: QoS, id: Option<PacketId>, dup: bool) -> Delivery {
    match (qos, id) {
        (QoS::AtLeastOnce, Some(id)) => Delivery::AtLeastOnce { id, dup },
        (QoS::ExactlyOnce, Some(id)) => Delivery::ExactlyOnce { id, dup },
        _ => Delivery::AtMostOnce,
    }
}

/// Encodes one PUBLISH for a connection, with a Topic Alias where the client takes them; `false`: it is too large for
/// the client [MQTT-3.1.2-24].
pub(super) fn write_publish(
    conn: &mut Connection,
    shared: &SharedPublish,
    id: Option<PacketId>,
    dup: bool,
    head: &Head,
    expiry: Option<u32>,
) -> bool {
    let mut publish_head = PublishHead {
        delivery: delivery(head.qos, id, dup),
        retain: head.retain,
        topic_alias: None,
        omit_topic: false,
        subscription_identifiers: head.identifiers.as_slice(),
        message_expiry_interval: expiry,
    };
    let mut room_for_alias = true;
    if conn.max_packet_size < u32::MAX {
        let len = shared.encoded_len(conn.version, &publish_head).unwrap_or(usize::MAX);
        if len > conn.max_packet_size as usize {
            return false; // [MQTT-3.1.2-25]
        }
        // Three bytes, and one for each of two lengths that may grow.
        room_for_alias = len + 5 <= conn.max_packet_size as usize;
    }
    if room_for_alias && conn.version.is_v5() && conn.aliases_out_maximum > 0 {
        (publish_head.topic_alias, publish_head.omit_topic) = outgoing_alias(conn, shared);
    }
    if shared.encode_head(conn.version, &publish_head, conn.tx.run()).is_err() {
        if publish_head.topic_alias.is_some() && !publish_head.omit_topic {
            conn.aliases_out.remove(&shared.topic); // the client never heard of it
        }
        return false;
    }
    conn.tx.push(&shared.payload);
    true
}

/// A Topic Alias for a topic, and whether the client knows it already. First come, first served [MQTT-3.1.2-26].
fn outgoing_alias(conn: &mut Connection, shared: &SharedPublish) -> (Option<u16>, bool) {
    if let Some(alias) = conn.aliases_out.get(&shared.topic) {
        return (Some(*alias), true);
    }
    let next = conn.aliases_out.len() as u16 + 1;
    if next > conn.aliases_out_maximum {
        return (None, false);
    }
    conn.aliases_out.insert(shared.topic.compact(), next);
    (Some(next), false)
}

impl Broker {
    /// A PUBLISH was queued for the socket.
    pub(super) fn sent_publish(&mut self, conn_slot: u32) {
        self.stats.packets_sent += 1;
        self.stats.publish_sent += 1;
        let Some(conn) = self.connections.get_mut(conn_slot) else { return };
        let len = conn.tx.len();
        self.under_way_bytes += (len - conn.tx_counted) as u64; // it only grows until it is sent
        conn.tx_counted = len;
        if !conn.told_writable {
            self.tell_writable(conn_slot);
        }
    }

    /// Sends a QoS 1 or 2 message for the first time. The connection has credit; all before it was sent.
    pub(super) fn start_delivery(
        &mut self,
        slot: u32,
        conn_slot: u32,
        message: Arc<Message>,
        message_id: MessageId,
        head: Head,
    ) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let Some(conn) = self.connections.get_mut(conn_slot) else { return };
        let Some(id) = session.allocate_id() else {
            // 65,535 are on their way: more than the credit that any connection has.
            return self.push_pending(slot, Pending { message, head });
        };
        let expiry = expiry_left(message.expires_at, self.now);
        // What follows a PUBLISH that waits for the store waits behind it, so that nothing is overtaken.
        let tracked = session.durable && head.qos == QoS::ExactlyOnce;
        let gated = tracked || conn.gated_publishes > 0;
        let mut detour = None;
        let written = if gated {
            let (bytes, written) = write_aside(conn, &message, id, &head, expiry);
            detour = Some(bytes);
            written
        } else {
            write_publish(conn, &message.shared(), Some(id), false, &head, expiry)
        };
        if !written {
            let name = session.name.clone();
            self.count_dropped(DropReason::TooLarge, &name, 1); // [MQTT-3.1.2-25]: as if it had been sent
            return self.settle_origin(slot, &head.origin);
        }
        let (unstored, kept) = (head.origin == Origin::Pushed, message.clone());
        let record = tracked.then(|| {
            let filter = |log: &u32| self.logs.get(*log).map(|log| log.filter.clone());
            let places = match &head.origin {
                Origin::Pushed => Vec::new(),
                Origin::Logs(places) => places.iter().filter_map(|(log, at)| Some((filter(log)?, *at))).collect(),
                Origin::Group(group, at) => {
                    self.groups.get(*group).map(|group| (group.filter.clone(), *at)).into_iter().collect()
                }
            };
            (places, head.retain, head.identifiers.as_slice().to_vec())
        });
        conn.sending += 1;
        conn.resent += 1;
        self.stats.inflight += 1;
        self.under_way_bytes += message.cost();
        session.inflight.push_back(Inflight { id, message, message_id, head, stage: Stage::Published, counted: true });
        if let Some(bytes) = detour {
            conn.gated_publishes += 1;
            if let Some((places, retain, identifiers)) = record {
                let client_id = session.client_id.clone();
                if unstored {
                    self.store.push(StoreOp::Message(message_id, kept));
                }
                self.store.push(StoreOp::Outgoing { client_id, id, message: message_id, places, retain, identifiers });
            }
            let due = self.store.due();
            self.reply(conn_slot, due, Reply::Publish(bytes.freeze()));
        } else {
            self.sent_publish(conn_slot);
        }
    }

    /// Puts a session on the list of those to be served at the end of this input.
    pub(super) fn wake(&mut self, slot: u32) {
        if let Some(session) = self.sessions.get_mut(slot)
            && !session.ready
        {
            session.ready = true;
            self.ready.push(slot);
        }
    }

    /// Serves the sessions and groups that have something to read and room for it.
    pub(super) fn serve(&mut self) {
        while !self.ready.is_empty() || !self.ready_groups.is_empty() {
            while let Some(slot) = self.ready.pop() {
                if let Some(session) = self.sessions.get_mut(slot) {
                    session.ready = false;
                    self.pull(slot);
                }
            }
            while let Some(group) = self.ready_groups.pop() {
                self.serve_group(group);
            }
        }
        if self.has_loads_to_start() {
            self.start_loads();
        }
    }

    /// Whether a client may get one more QoS 1 or 2 message: as its window allows, and one at a time when much is on its way.
    pub(super) fn has_credit(&self, conn: &Connection) -> bool {
        conn.has_credit() && !(self.is_crowded() && (conn.sending > 0 || !conn.tx.is_empty()))
    }

    /// Bytes that may wait for a socket while a session pulls.
    pub(super) fn pull_up_to(&self) -> usize {
        PULL_UP_TO.min(self.config.connection.max_transmit_bytes).max(1)
    }

    /// Sends what waits for a session while its connection has credit and room: what was on its way, what was pushed,
    /// retained messages, then the logs.
    fn pull(&mut self, slot: u32) {
        let (most, mut looks) = (self.pull_up_to(), SCANS_AT_ONCE);
        loop {
            let Some(session) = self.sessions.get(slot) else { return };
            let Some(conn_slot) = session.connection else { return };
            let Some(conn) = self.connections.get(conn_slot) else { return };
            if !conn.is_active() || conn.tx.len() >= most {
                return; // `transmitted` wakes it again
            }
            if session.gaps.is_some() && !self.fill_gaps(slot) {
                return; // what it waits for wakes it
            }
            let Some(session) = self.sessions.get(slot) else { return };
            let Some(conn) = self.connections.get(conn_slot) else { return };
            if conn.resent < session.inflight.len() {
                if !self.send_again(slot, conn_slot) {
                    return;
                }
                continue;
            }
            let credit = self.has_credit(conn);
            let progress = (credit && self.pull_pending(slot, conn_slot))
                || self.pull_retained(slot, conn_slot, credit, &mut looks)
                || (credit && self.pull_logs(slot, conn_slot));
            if !progress {
                break;
            }
        }
        self.wake_backlogs(slot);
    }

    /// Sends the next message that was on its way when the last connection ended [MQTT-4.4.0-1].
    fn send_again(&mut self, slot: u32, conn_slot: u32) -> bool {
        let (now, crowded) = (self.now, self.is_crowded());
        let Some(session) = self.sessions.get_mut(slot) else { return false };
        let Some(conn) = self.connections.get_mut(conn_slot) else { return false };
        if !conn.released_again {
            self.release_again(slot, conn_slot);
            return true;
        }
        let index = conn.resent;
        let Some(inflight) = session.inflight.get_mut(index) else { return false };
        if inflight.stage == Stage::Released {
            conn.resent += 1; // PUBREL was sent
            return true;
        }
        if !conn.has_credit() || (crowded && conn.sending > 0) {
            return false;
        }
        let expiry = expiry_left(inflight.message.expires_at, now);
        let id = Some(inflight.id);
        // [MQTT-3.3.1-1]: DUP, since it was sent before
        if !write_publish(conn, &inflight.message.shared(), id, true, &inflight.head, expiry) {
            let (id, qos, origin) = (inflight.id, inflight.head.qos, inflight.head.origin.clone());
            let name = session.name.clone();
            self.under_way_bytes -= inflight.message.cost();
            session.inflight.remove(index);
            self.stats.inflight -= 1;
            if session.durable && qos == QoS::ExactlyOnce {
                self.store.push(StoreOp::OutgoingEnd(session.client_id.clone(), id));
            }
            self.count_dropped(DropReason::TooLarge, &name, 1);
            self.settle_origin(slot, &origin);
            return true;
        }
        inflight.counted = true;
        conn.sending += 1;
        conn.resent += 1;
        self.sent_publish(conn_slot);
        true
    }

    /// Sends every PUBREL again, before any PUBLISH: they wait for no window [MQTT-3.3.4-10], though each takes from it.
    fn release_again(&mut self, slot: u32, conn_slot: u32) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let Some(conn) = self.connections.get_mut(conn_slot) else { return };
        conn.released_again = true;
        let mut released = Vec::new();
        for inflight in &mut session.inflight {
            inflight.counted = inflight.stage == Stage::Released;
            if inflight.counted {
                conn.sending += 1;
                released.push(inflight.id);
            }
        }
        for id in released {
            self.send(conn_slot, &Packet::PubRel(ack(id, ReasonCode::Success)));
        }
    }

    fn pull_pending(&mut self, slot: u32, conn_slot: u32) -> bool {
        let Some(session) = self.sessions.get_mut(slot) else { return false };
        let Some(Pending { message, head }) = session.pop_pending() else { return false };
        let name = session.name.clone();
        self.note_dequeued(1, message.cost());
        if message.is_expired(self.now) {
            self.count_dropped(DropReason::Expired, &name, 1); // [MQTT-3.3.2-5]
        } else {
            let id = self.next_message();
            self.start_delivery(slot, conn_slot, message, id, head);
        }
        true
    }

    /// Sends one retained message of the first scan, or looks for more, `looks` times at most.
    fn pull_retained(&mut self, slot: u32, conn_slot: u32, credit: bool, looks: &mut u32) -> bool {
        let (now, budget) = (self.now, SCAN_BUDGET);
        let Some(session) = self.sessions.get_mut(slot) else { return false };
        let Some(mut first) = session.scans.first_entry() else { return false };
        let Some(subscription) = session.subscriptions.get(first.key()) else {
            first.remove();
            return true;
        };
        let filter = first.key().clone();
        let scan = first.get_mut();
        let Some(found) = scan.found.front() else {
            if scan.done {
                first.remove();
                return true;
            }
            if *looks == 0 {
                self.deferred.push(slot); // many subscriptions at once: others have their turn
                return false;
            }
            *looks -= 1;
            let found = &mut scan.found;
            let more = self.retained.topics.scan(&filter, &mut scan.cursor, budget, |_, message| {
                if !message.is_expired(now) {
                    found.push_back(message.clone());
                }
            });
            scan.done = more == trie::Scan::Done;
            if scan.found.is_empty() && !scan.done {
                self.deferred.push(slot); // much to look at, little to send: others have their turn
                return false;
            }
            return true;
        };
        // What was cleared or replaced since it was found must not come as if it were still retained [MQTT-3.3.1-6].
        let Some(message) = self.retained.topics.get(&found.topic).cloned() else {
            scan.found.pop_front();
            return true;
        };
        let options = subscription.options;
        let qos = message.qos.min(options.qos); // [MQTT-3.8.4-8]
        if qos > QoS::AtMostOnce && !credit {
            return false;
        }
        let own = options.no_local && message.publisher.as_ref() == Some(&session.name); // [MQTT-3.8.3-3]
        let mut head = Head { qos, retain: true, ..Head::default() }; // [3.1.1: MQTT-3.3.1-8]
        head.identifiers.push(subscription.identifier);
        scan.found.pop_front();
        if own || message.is_expired(now) {
            return true;
        }
        self.deliver_now(slot, conn_slot, message, head);
        true
    }

    /// Sends a kept message at once: tracked at QoS 1 and 2, done with at QoS 0.
    pub(super) fn deliver_now(&mut self, slot: u32, conn_slot: u32, message: Arc<Message>, head: Head) {
        if head.qos > QoS::AtMostOnce {
            let id = self.next_message();
            return self.start_delivery(slot, conn_slot, message, id, head);
        }
        let Some(conn) = self.connections.get_mut(conn_slot) else { return };
        let expiry = expiry_left(message.expires_at, self.now);
        if write_publish(conn, &message.shared(), None, false, &head, expiry) {
            let client_id = conn.client_id.clone();
            self.sent_publish(conn_slot);
            self.emit(|mask| mask.delivered, || Event::Delivered { client_id, message });
        } else if let Some(name) = self.sessions.get(slot).map(|session| session.name.clone()) {
            self.count_dropped(DropReason::TooLarge, &name, 1);
        }
        self.settle_origin(slot, &head.origin);
    }
}

/// Encodes a PUBLISH that has to wait for the store. Without a Topic Alias: packets written meanwhile would overtake it.
fn write_aside(
    conn: &Connection,
    message: &Message,
    id: PacketId,
    head: &Head,
    expiry: Option<u32>,
) -> (BytesMut, bool) {
    let shared = message.shared();
    let publish_head = PublishHead {
        delivery: delivery(head.qos, Some(id), false),
        retain: head.retain,
        topic_alias: None,
        omit_topic: false,
        subscription_identifiers: head.identifiers.as_slice(),
        message_expiry_interval: expiry,
    };
    let mut bytes = BytesMut::new();
    let fits = shared.encoded_len(conn.version, &publish_head).is_ok_and(|len| len <= conn.max_packet_size as usize);
    let written = fits && shared.encode_head(conn.version, &publish_head, &mut bytes).is_ok();
    bytes.extend_from_slice(&shared.payload);
    (bytes, written)
}
