//! From one message to its receivers: live sessions, logs, shared groups, the inside (sections 4.6 to 4.8).
//!
//! Invariants: a session gets a message at most once however many of its subscriptions match, with all their
//! identifiers and at their greatest QoS [MQTT-3.3.4-2], [MQTT-3.3.4-4]; the cost of a durable filter is one append.
use super::deliver::write_publish;
use super::log::{Log, Removed, Unread};
use super::session::{Head, Pending};
use super::{Broker, DropReason, Event, Message, MessageId, Output, Position, StoreOp};
use crate::Instant;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use mqtt_proto::{PublishImage, QoS, SharedPublish, SubscriptionOptions, Version};

/// Who stands behind a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subscriber {
    /// A session that messages are pushed to.
    Session(u32),
    /// A log.
    Log(u32),
    /// A shared group.
    Group(u32),
    /// A subscription made from inside.
    Local(u32),
}

/// What the trie keeps with a subscriber: for a pushed subscription its options and identifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) options: SubscriptionOptions,
    pub(super) identifier: u32,
}

/// A message on its way to its receivers; it becomes a [`Message`] of its own only when something keeps it.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) shared: SharedPublish,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) expires_at: Option<Instant>,
    pub(super) publisher: Option<Arc<str>>,
    pub(super) id: MessageId,
    /// Whether it is kept even where memory is short: there is one Will for each client at most.
    pub(super) on_top: bool,
    kept: Option<Arc<Message>>,
    stored: bool,
    /// Encodings shared by receivers, by version, QoS and RETAIN.
    images: [Option<PublishImage>; 12],
}

impl Outgoing {
    pub(super) fn new(
        shared: SharedPublish,
        qos: QoS,
        retain: bool,
        expires_at: Option<Instant>,
        publisher: Option<Arc<str>>,
        id: MessageId,
    ) -> Self {
        Self {
            shared,
            qos,
            retain,
            expires_at,
            publisher,
            id,
            on_top: false,
            kept: None,
            stored: false,
            images: Default::default(), // large: made in its place
        }
    }

    /// The message as a value that can be kept: copied out of the buffer it came in, once.
    pub(super) fn keep(&mut self) -> Arc<Message> {
        let kept = self.kept.get_or_insert_with(|| {
            Arc::new(Message {
                topic: self.shared.topic.compact(),
                payload: bytes::Bytes::copy_from_slice(&self.shared.payload),
                qos: self.qos,
                retain: self.retain,
                properties: self.shared.properties.compact(),
                expires_at: self.expires_at,
                publisher: self.publisher.clone(),
            })
        });
        kept.clone()
    }

    /// The shared encoding for one kind of receiver.
    pub(super) fn image(&mut self, version: Version, qos: QoS, retain: bool) -> Option<&PublishImage> {
        let index = usize::from(version.is_v5()) * 6 + qos as usize * 2 + usize::from(retain);
        let image = &mut self.images[index];
        if image.is_none() {
            *image = PublishImage::new(&self.shared, version, qos, retain).ok();
        }
        image.as_ref()
    }
}

impl Broker {
    /// Passes a message on; returns how many receivers it has.
    pub(super) fn route(&mut self, outgoing: &mut Outgoing) -> usize {
        let mut hits = mem::take(&mut self.hits);
        // [MQTT-3.3.2-3]: whose filter matches, and nobody else; [MQTT-4.5.0-1]: now, before it is acknowledged
        self.subscriptions.matches(&outgoing.shared.topic, &mut self.scratch, |subscriber, terms| {
            hits.push((subscriber, *terms));
        });
        let receivers = hits.len();
        if receivers > 0 {
            self.append_to_logs(outgoing, &hits);
            self.push_to_sessions(outgoing, &hits);
            for (subscriber, _) in &hits {
                match *subscriber {
                    Subscriber::Group(group) => self.give_to_group(outgoing, group),
                    Subscriber::Local(local) => self.give_to_inside(outgoing, local),
                    Subscriber::Session(_) | Subscriber::Log(_) => {}
                }
            }
        }
        hits.clear();
        self.hits = hits;
        receivers
    }

    /// Appends to every matching log; QoS 0 messages go to those who listen now, unless they are to be kept.
    fn append_to_logs(&mut self, outgoing: &mut Outgoing, hits: &[(Subscriber, Terms)]) {
        for (subscriber, _) in hits {
            let Subscriber::Log(key) = *subscriber else { continue };
            if outgoing.qos == QoS::AtMostOnce && !self.config.session.queue_qos0 {
                continue;
            }
            self.append(outgoing, key);
            let Some(log) = self.logs.get(key) else { continue };
            for session in &log.online {
                if let Some(session_state) = self.sessions.get_mut(*session) {
                    session_state.lag(key, Unread::At(outgoing.id));
                    if !session_state.ready {
                        session_state.ready = true;
                        self.ready.push(*session);
                    }
                }
            }
        }
    }

    /// One more entry in one log, within its limits and the broker's.
    pub(super) fn append(&mut self, outgoing: &mut Outgoing, key: u32) {
        let message = outgoing.keep();
        let cost = message.cost();
        let room = self.make_room(key, cost, outgoing.on_top);
        let Some(log) = self.logs.get_mut(key) else { return };
        if !room {
            // Counted for each reader, too, as what gave way is.
            log.miss();
            let name = Arc::from(&*log.filter);
            return self.count_dropped(DropReason::LogFull, &name, 1);
        }
        if !outgoing.stored {
            outgoing.stored = true;
            self.store.push(StoreOp::Message(outgoing.id, message.clone()));
        }
        let at = log.append(outgoing.id, message);
        self.largest.grown(key, log);
        self.stats.queued += 1;
        self.stats.queued_bytes += cost;
        self.stats.memory_bytes += cost;
        let filter = log.filter.clone();
        self.store.push(StoreOp::Append(filter, at, outgoing.id));
    }

    /// Makes room for one more entry of `cost` bytes. Within the limits of the queue the oldest give way; where memory runs
    /// out, what the store has leaves it first. `false`: what is in memory has to stay.
    fn make_room(&mut self, key: u32, cost: u64, on_top: bool) -> bool {
        let room = on_top || self.stats.memory_bytes + cost <= self.queue_limit() || self.find_room(cost);
        let limits = &self.config.session;
        let (most, most_bytes, all_bytes) =
            (limits.max_queued_messages as u64, limits.max_queued_bytes, self.config.max_queued_bytes);
        let memory = if room { u64::MAX } else { self.queue_limit() };
        let Some(log) = self.logs.get_mut(key) else { return false };
        let (mut removed, stats) = (Removed::default(), self.stats);
        while log.len() > 0
            && (log.len() >= most
                || log.bytes() + cost > most_bytes
                || stats.queued_bytes - removed.bytes + cost > all_bytes
                // Only from a log that is in memory as a whole: its oldest entry is there.
                || (stats.memory_bytes - removed.freed + cost > memory && log.spilled_len() == 0))
        {
            removed.add(&log.pop_oldest());
        }
        if removed.entries > 0 {
            // Each session that had not read them counts its own loss when it reads (see `first_unread`), which may be
            // never: so that somebody learns of it now, the log is the receiver here.
            let (filter, start) = (log.filter.clone(), log.start());
            let name = Arc::from(&*filter);
            self.store.push(StoreOp::Trim(filter, start));
            if removed.spilled > 0 {
                self.loads.trim(key, start);
            }
            self.note_removed(&removed);
            self.count_dropped(DropReason::LogFull, &name, removed.entries);
        }
        self.stats.memory_bytes + cost <= memory
    }

    /// Pushes to the sessions that listen now. Two matches of one session become one delivery.
    fn push_to_sessions(&mut self, outgoing: &mut Outgoing, hits: &[(Subscriber, Terms)]) {
        let mut receivers = mem::take(&mut self.receivers);
        let logged = outgoing.qos > QoS::AtMostOnce || self.config.session.queue_qos0;
        let log_of = |hit: &Subscriber| if let Subscriber::Log(key) = hit { Some(*key) } else { None };
        let logs: Vec<u32> = hits.iter().filter(|_| logged).filter_map(|(hit, _)| log_of(hit)).collect();
        for (subscriber, terms) in hits {
            match *subscriber {
                Subscriber::Session(session) if !self.reads_any(session, &logs) => {
                    self.collect(&mut receivers, outgoing, session, *terms);
                }
                Subscriber::Log(key) if !logged => {
                    let Some(log) = self.logs.get_mut(key) else { continue };
                    let (online, filter) = (mem::take(&mut log.online), log.filter.clone());
                    for &session in &online {
                        let subscription = self.sessions.get(session).and_then(|s| s.subscriptions.get(&filter));
                        if let Some(subscription) = subscription {
                            let terms = Terms { options: subscription.options, identifier: subscription.identifier };
                            self.collect(&mut receivers, outgoing, session, terms);
                        }
                    }
                    if let Some(log) = self.logs.get_mut(key) {
                        log.online = online;
                    }
                }
                _ => {}
            }
        }
        let fan_out = receivers.len() > 1;
        for (session, head) in receivers.drain(..) {
            self.push(outgoing, session, head, fan_out);
        }
        self.receivers = receivers;
    }

    /// Whether a session will read this message from one of the logs that it went to. O(logs).
    fn reads_any(&self, session: u32, logs: &[u32]) -> bool {
        !logs.is_empty()
            && self
                .sessions
                .get(session)
                .is_some_and(|session| logs.iter().any(|key| session.cursors.contains_key(key)))
    }

    /// Notes a receiver, or adds to what was noted for it.
    fn collect(&mut self, receivers: &mut Vec<(u32, Head)>, outgoing: &Outgoing, slot: u32, terms: Terms) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if session.connection.is_none() {
            return; // QoS 0, or a session that ends with its connection
        }
        if terms.options.no_local && outgoing.publisher.as_ref() == Some(&session.name) {
            return; // [MQTT-3.8.3-3]
        }
        let qos = outgoing.qos.min(terms.options.qos); // [MQTT-3.8.4-8]
        let retain = outgoing.retain && terms.options.retain_as_published; // [MQTT-3.3.1-12], [MQTT-3.3.1-13]
        let (mark, index) = session.mark;
        if mark == outgoing.id.0
            && let Some((_, head)) = receivers.get_mut(index as usize)
        {
            head.qos = head.qos.max(qos);
            head.retain |= retain;
            head.identifiers.push(terms.identifier); // [MQTT-3.3.4-4]
            return;
        }
        session.mark = (outgoing.id.0, receivers.len() as u32);
        let mut head = Head { qos, retain, ..Head::default() };
        head.identifiers.push(terms.identifier); // [MQTT-3.3.4-3]
        receivers.push((slot, head));
    }

    /// Writes a message to one session at once, or queues it behind those before it [MQTT-4.6.0-5], [MQTT-4.6.0-6].
    fn push(&mut self, outgoing: &mut Outgoing, slot: u32, head: Head, fan_out: bool) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let Some(conn_slot) = session.connection else { return };
        let Some(conn) = self.connections.get_mut(conn_slot) else { return };
        let limits = &self.config.connection;
        // When much is on its way, one message at a time for each.
        let crowded = self.under_way_bytes > self.config.max_memory_bytes / 4;
        let congested =
            !conn.is_active() || conn.tx.len() >= limits.max_transmit_bytes || (crowded && !conn.tx.is_empty());
        if head.qos == QoS::AtMostOnce {
            if !conn.is_active() {
                return; // CONNACK has still to leave: for messages that nobody keeps, it is not connected yet
            }
            if congested {
                let name = session.name.clone();
                return self.count_dropped(DropReason::SlowReceiver, &name, 1);
            }
            let expiry = super::deliver::expiry_left(outgoing.expires_at, self.now);
            let plain = head.identifiers.as_slice().is_empty()
                && expiry.is_none()
                && (conn.aliases_out_maximum == 0 || !conn.version.is_v5());
            let small = outgoing.shared.payload.len() < crate::transmit::SHARE_FROM;
            let fits = conn.max_packet_size == u32::MAX;
            let image = if fan_out && plain && small && fits {
                outgoing.image(conn.version, head.qos, head.retain)
            } else {
                None
            };
            if let Some(image) = image {
                image.write(None, false, conn.tx.run());
            } else if !write_publish(conn, &outgoing.shared, None, false, &head, expiry) {
                let name = session.name.clone();
                return self.count_dropped(DropReason::TooLarge, &name, 1);
            }
            let client_id = self.config.events.delivered.then(|| session.client_id.clone());
            self.sent_publish(conn_slot);
            if let Some(client_id) = client_id {
                let message = outgoing.keep();
                self.emit(|mask| mask.delivered, || Event::Delivered { client_id, message });
            }
            return;
        }
        let message = outgoing.keep();
        let free = conn.has_credit() && !congested && !(crowded && conn.sending > 0);
        if free && session.pending.is_empty() && conn.resent >= session.inflight.len() && session.gaps.is_none() {
            self.start_delivery(slot, conn_slot, message, outgoing.id, head);
        } else {
            self.queue(slot, Pending { message, head });
        }
    }

    /// Queues a pushed message; the oldest gives way when the queue is full.
    fn queue(&mut self, slot: u32, pending: Pending) {
        let cost = pending.message.cost();
        let memory = if self.find_room(cost) { u64::MAX } else { self.queue_limit() };
        let limits = &self.config.session;
        let (most, most_bytes) = (limits.max_queued_messages, limits.max_queued_bytes);
        let all_bytes = self.config.max_queued_bytes;
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let name = session.name.clone();
        let (mut dropped, mut bytes, stats) = (0, 0, self.stats);
        while !session.pending.is_empty()
            && (session.pending.len() >= most
                || session.pending_bytes + cost > most_bytes
                || stats.queued_bytes - bytes + cost > all_bytes
                || stats.memory_bytes - bytes + cost > memory)
        {
            if let Some(oldest) = session.pop_pending() {
                bytes += oldest.message.cost();
                dropped += 1;
            }
        }
        self.note_dequeued(dropped, bytes);
        if self.stats.memory_bytes + cost <= memory {
            self.push_pending(slot, pending);
        } else {
            dropped += 1;
        }
        self.count_dropped(DropReason::QueueFull, &name, dropped);
        self.wake(slot);
    }

    /// Queues a pushed message behind the others.
    pub(super) fn push_pending(&mut self, slot: u32, pending: Pending) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        self.stats.queued += 1;
        self.stats.queued_bytes += pending.message.cost();
        self.stats.memory_bytes += pending.message.cost();
        session.push_pending(pending);
    }

    /// Counts pushed messages that left their queue.
    pub(super) fn note_dequeued(&mut self, count: u64, bytes: u64) {
        self.stats.queued -= count;
        self.stats.queued_bytes -= bytes;
        self.stats.memory_bytes -= bytes;
    }

    /// Gives a message to a shared group: one of its members gets it [MQTT-4.8.2-3].
    fn give_to_group(&mut self, outgoing: &mut Outgoing, group: u32) {
        if outgoing.qos == QoS::AtMostOnce && !self.config.session.queue_qos0 {
            self.give_to_member(outgoing, group);
        } else if let Some(log) = self.groups.get(group).map(|group| group.log) {
            self.append(outgoing, log);
            self.wake_group(group);
        }
    }

    fn give_to_inside(&mut self, outgoing: &mut Outgoing, local: u32) {
        let message = outgoing.keep();
        let subscription = self.local_id(local);
        self.outputs.push_back(Output::Message { subscription, message, retained: false });
    }

    /// Counts messages that did not reach a receiver, and reports them.
    pub(super) fn count_dropped(&mut self, reason: DropReason, receiver: &Arc<str>, count: u64) {
        if count == 0 {
            return;
        }
        let stats = &mut self.stats;
        *match reason {
            DropReason::SlowReceiver => &mut stats.dropped_slow_receiver,
            DropReason::QueueFull => &mut stats.dropped_queue_full,
            DropReason::LogFull => &mut stats.trimmed_log_full,
            DropReason::Expired => &mut stats.dropped_expired,
            DropReason::TooLarge => &mut stats.dropped_too_large,
            DropReason::NoMember => &mut stats.dropped_no_member,
        } += count;
        let receiver = receiver.clone();
        self.emit(|mask| mask.dropped, || Event::Dropped { receiver, count, reason });
    }

    /// The log of a filter, made if there is none.
    pub(super) fn log_for(&mut self, filter: &mqtt_proto::TopicFilter) -> u32 {
        if let Some(key) = self.log_by_filter.get(filter) {
            return *key;
        }
        let filter = filter.compact();
        let key = self.logs.insert(Log::new(filter.clone(), Position(self.messages)));
        self.log_by_filter.insert(filter, key);
        key
    }
}
