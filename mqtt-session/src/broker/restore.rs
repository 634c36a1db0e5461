//! From what a store kept to a broker that goes on where the last one stopped (section 4.1, and 4.4 for what was on its way).
//!
//! Invariants: whatever was acknowledged is there again; a QoS 2 message on its way keeps its Packet Identifier and step, so
//! that it arrives exactly once; a QoS 1 message that was on its way is sent again, under a new identifier.
use super::log::{Cursor, Log};
use super::memory::{MemoryStore, StoredDelivery, StoredLog, StoredSession};
use super::route::{Subscriber, Terms};
use super::session::{Head, Home, Identifiers, Inflight, Origin, Session, Stage, Subscription};
use super::timers::Timer;
use super::{Broker, Config, DropReason, Message, MessageId, Position};
use crate::{Instant, UnixTime};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use mqtt_proto::{PacketId, QoS, TopicFilter};

impl Broker {
    /// A broker with the sessions, messages and Wills of a store; otherwise as [`Broker::new`]. Whoever was connected
    /// when the last broker stopped has lost its connection at `wall`. What follows from the time that has passed is
    /// done at once, so outputs may be waiting. O(n log n) in the contents.
    pub fn restore(config: Arc<Config>, seed: [u8; 32], now: Instant, wall: UnixTime, store: &MemoryStore) -> Self {
        let mut broker = Self::new(config, seed, now, wall);
        broker.messages = broker.messages.max(store.last);
        let messages: BTreeMap<MessageId, Arc<Message>> =
            store.messages.iter().map(|(id, kept)| (*id, kept.at(now, wall))).collect();
        for kept in store.retained.values() {
            broker.restore_retained(kept.at(now, wall));
        }
        let sessions = store.sessions.values();
        let read: BTreeSet<&TopicFilter> =
            sessions.flat_map(|session| session.subscriptions.keys().filter(|filter| reads(session, filter))).collect();
        for (filter, log) in &store.logs {
            if filter.is_shared() || read.contains(filter) {
                broker.restore_log(filter, log, &messages);
            }
        }
        let slots: Vec<u32> = store.sessions.values().map(|session| broker.restore_session(session)).collect();
        let all = store.sessions.values().flat_map(|session| session.outgoing.values());
        let held: BTreeSet<(&TopicFilter, MessageId)> =
            all.filter_map(|delivery| Some((delivery.group.as_ref()?, delivery.message))).collect();
        for (filter, log) in store.logs.iter().filter(|(filter, _)| filter.is_shared()) {
            broker.restore_group(filter, log, &held);
        }
        for (slot, session) in slots.iter().zip(store.sessions.values()) {
            broker.restore_deliveries(*slot, session, &messages);
            broker.restore_timers(*slot, session);
        }
        // What a full queue lost may have held back what was settled behind it.
        for log in broker.log_by_filter.values().copied().collect::<Vec<_>>() {
            broker.trim_log(log);
        }
        broker.handle_timeout(now);
        broker
    }

    /// A log with its entries. One that the store has lost reads as a message that has expired.
    fn restore_log(&mut self, filter: &TopicFilter, stored: &StoredLog, messages: &BTreeMap<MessageId, Arc<Message>>) {
        let mut log = Log::new(filter.clone(), stored.start);
        for (at, id) in &stored.entries {
            let Some(message) = messages.get(id) else { continue };
            while log.end() < *at {
                log.append(*id, Arc::new(Message { expires_at: Some(Instant::ZERO), ..Message::clone(message) }));
            }
            log.append(*id, message.clone());
        }
        self.stats.queued += log.len() as u64;
        self.stats.queued_bytes += log.bytes();
        let key = self.logs.insert(log);
        self.log_by_filter.insert(filter.clone(), key);
    }

    /// A session with its subscriptions and cursors.
    fn restore_session(&mut self, stored: &StoredSession) -> u32 {
        let record = &stored.record;
        let mut session = Session::new(record.client_id.clone(), record.identity.clone());
        (session.durable, session.stored) = (true, true);
        session.expiry = record.expiry;
        session.will.clone_from(&record.will);
        session.incoming.clone_from(&stored.incoming);
        let slot = self.sessions.insert(session);
        self.by_client_id.insert(record.client_id.clone(), slot);
        for (filter, (options, identifier)) in &stored.subscriptions {
            let (options, identifier) = (*options, *identifier);
            let home = if filter.is_shared() {
                Home::Group(self.join_group(slot, filter, options, identifier))
            } else if reads(stored, filter) {
                Home::Log(self.restore_cursor(slot, filter, stored))
            } else {
                let added = self.subscriptions.insert(filter, Subscriber::Session(slot), Terms { options, identifier });
                debug_assert!(added.is_ok(), "a TopicFilter is a valid filter");
                Home::Direct
            };
            if let Some(session) = self.sessions.get_mut(slot) {
                session.put_subscription(filter, Subscription { options, identifier, home });
            }
            self.stats.subscriptions += 1;
        }
        slot
    }

    /// The session reads the log of a filter from where it was. What it had read and not acknowledged is unread again:
    /// `restore_deliveries` finds what it had.
    fn restore_cursor(&mut self, slot: u32, filter: &TopicFilter, stored: &StoredSession) -> u32 {
        let key = self.log_for(filter);
        let (Some(log), Some(session)) = (self.logs.get_mut(key), self.sessions.get_mut(slot)) else { return key };
        if !log.has_cursors() {
            let added = self.subscriptions.insert(filter, Subscriber::Log(key), Terms::default());
            debug_assert!(added.is_ok(), "a TopicFilter is a valid filter");
        }
        let at = stored.cursors.get(filter).map_or(log.start(), |cursor| cursor.at);
        log.begin_at(at);
        log.add_cursor(at);
        session.cursors.insert(key, Box::new(Cursor::new(at)));
        key
    }

    /// A group goes on at the first entry that nobody is done with or holds at QoS 2.
    fn restore_group(&mut self, filter: &TopicFilter, stored: &StoredLog, held: &BTreeSet<(&TopicFilter, MessageId)>) {
        let Some(group) = self.group_by_filter.get(filter).copied() else {
            // Its members ended with their connections, and so did the group.
            if let Some(key) = self.log_by_filter.get(filter).copied() {
                self.drop_log(key);
            }
            return;
        };
        let held = stored.entries.iter().filter(|(_, id)| held.contains(&(filter, **id))).map(|(at, _)| *at).collect();
        self.resume_group(group, &stored.settled, &held);
    }

    /// What was on its way: QoS 2 deliveries as they were kept, and everything else that had been read before them.
    fn restore_deliveries(&mut self, slot: u32, stored: &StoredSession, messages: &BTreeMap<MessageId, Arc<Message>>) {
        let mut deliveries: Vec<(PacketId, &StoredDelivery)> = stored.outgoing.iter().map(|(id, d)| (*id, d)).collect();
        deliveries.sort_by_key(|(_, delivery)| delivery.order);
        let places = self.restore_reading(slot, stored, &deliveries);
        let mut all = Vec::with_capacity(deliveries.len());
        for (id, delivery) in deliveries {
            let Some(message) = messages.get(&delivery.message).cloned() else { continue };
            let origin = match &delivery.group {
                Some(filter) => self.group_place(filter, delivery.message),
                None => places.get(&delivery.message).map_or(Origin::Pushed, |places| Origin::Logs(places.clone())),
            };
            let mut identifiers = Identifiers::None;
            for identifier in &delivery.identifiers {
                identifiers.push(*identifier);
            }
            let head = Head { qos: QoS::ExactlyOnce, retain: delivery.retain, identifiers, origin };
            let stage = if delivery.released { Stage::Released } else { Stage::Published };
            all.push(Inflight { id, message, message_id: delivery.message, head, stage, counted: false });
        }
        self.stats.inflight += all.len() as u64;
        if let Some(session) = self.sessions.get_mut(slot) {
            session.inflight.extend(all);
        }
        let held: BTreeSet<MessageId> =
            stored.outgoing.values().filter(|d| d.group.is_none()).map(|d| d.message).collect();
        for (message, places) in places.into_iter().filter(|(message, _)| !held.contains(message)) {
            self.send_anew(slot, message, places);
        }
    }

    /// Moves the session's cursors behind all that it had read for certain, and tells where its messages stand that are
    /// not settled.
    fn restore_reading(
        &mut self,
        slot: u32,
        stored: &StoredSession,
        deliveries: &[(PacketId, &StoredDelivery)],
    ) -> BTreeMap<MessageId, Vec<(u32, Position)>> {
        let mut places = BTreeMap::<MessageId, Vec<(u32, Position)>>::new();
        let Some(session) = self.sessions.get_mut(slot) else { return places };
        let held: BTreeSet<MessageId> =
            deliveries.iter().filter(|(_, d)| d.group.is_none()).map(|(_, d)| d.message).collect();
        let done = BTreeSet::new();
        // Logs are read in the order of their messages, all together: what comes before the last one was read.
        let mut last = None;
        for key in session.cursors.keys() {
            let Some(log) = self.logs.get(*key) else { continue };
            let settled = stored.cursors.get(&log.filter).map_or(&done, |cursor| &cursor.settled);
            let known = settled.iter().filter_map(|at| log.get(*at)).map(|entry| entry.id);
            last = last.max(known.max());
            last = last.max(held.iter().copied().filter(|id| log.find(*id).is_some()).max());
        }
        let mut lost = 0;
        for (key, cursor) in &mut session.cursors {
            let Some(log) = self.logs.get_mut(*key) else { continue };
            if cursor.next < log.start() {
                lost += log.start().0 - cursor.next.0; // to a limit
                cursor.next = log.start();
            }
            let settled = stored.cursors.get(&log.filter).map_or(&done, |cursor| &cursor.settled);
            let begun = cursor.acked;
            while let Some(entry) = log.get(cursor.next).filter(|entry| Some(entry.id) <= last) {
                if !settled.contains(&cursor.next) {
                    cursor.unacked.push_back(cursor.next);
                    places.entry(entry.id).or_default().push((*key, cursor.next));
                }
                cursor.next = cursor.next.forward(1);
            }
            cursor.acked = cursor.settled();
            log.move_cursor(begun, cursor.acked);
        }
        let name = session.name.clone();
        self.count_dropped(DropReason::QueueFull, &name, lost);
        places
    }

    /// A message that had been read and was not acknowledged: it goes out once more, in its place. At QoS 1,
    /// whatever its subscription says by now: at QoS 0 nothing is acknowledged, and what went out at QoS 2 was kept.
    fn send_anew(&mut self, slot: u32, message_id: MessageId, places: Vec<(u32, Position)>) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let mut head = Head { qos: QoS::AtLeastOnce, ..Head::default() };
        let mut found = None;
        for (key, at) in &places {
            let Some((log, entry)) = self.logs.get(*key).and_then(|log| Some((log, log.get(*at)?))) else { continue };
            let message = &entry.message;
            if let Some(Subscription { options, identifier, .. }) = session.subscriptions.get(&log.filter) {
                head.retain |= message.retain && options.retain_as_published;
                head.identifiers.push(*identifier);
            }
            found = Some(message.clone());
        }
        head.origin = Origin::Logs(places);
        let Some(message) = found else { return };
        let Some(id) = session.allocate_id() else { return };
        let later =
            |inflight: &Inflight| matches!(inflight.head.origin, Origin::Logs(_)) && inflight.message_id > message_id;
        let index = session.inflight.iter().position(later).unwrap_or(session.inflight.len());
        let stage = Stage::Published;
        session.inflight.insert(index, Inflight { id, message, message_id, head, stage, counted: false });
        self.stats.inflight += 1;
    }

    /// Where a message stands in the log of a group.
    fn group_place(&self, filter: &TopicFilter, message: MessageId) -> Origin {
        let place = self.group_by_filter.get(filter).and_then(|group| {
            let log = self.logs.get(self.groups.get(*group)?.log)?;
            Some(Origin::Group(*group, log.find(message)?))
        });
        place.unwrap_or(Origin::Pushed)
    }

    /// Expiry and Will, counted from when the connection was lost.
    fn restore_timers(&mut self, slot: u32, stored: &StoredSession) {
        let (now, wall) = (self.now, self.wall());
        let since = stored.record.disconnected_at.unwrap_or(wall);
        let at = |seconds: u32| {
            let due = since + Duration::from_secs(seconds.into());
            now + Duration::from_millis(due.as_millis().saturating_sub(wall.as_millis()))
        };
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if let Some(will) = &session.will {
            let due = at(will.properties.will_delay_interval().unwrap_or(0));
            session.will_at = Some(due);
            self.timers.arm(due, Timer::Will(slot));
        }
        if session.expiry != u32::MAX {
            let due = at(session.expiry);
            session.expires_at = Some(due);
            self.timers.arm(due, Timer::SessionExpiry(slot));
        }
        if stored.record.disconnected_at.is_none() {
            self.store_session(slot);
        }
    }
}

/// Whether a session reads the log of a filter: it has a cursor, which it keeps when its subscription goes down to QoS 0, or
/// should have one.
fn reads(stored: &StoredSession, filter: &TopicFilter) -> bool {
    stored.cursors.contains_key(filter)
        || stored.subscriptions.get(filter).is_some_and(|(options, _)| options.qos > QoS::AtMostOnce)
}

impl Log {
    /// The position of a message. O(log n), since messages ascend.
    fn find(&self, id: MessageId) -> Option<Position> {
        let (mut low, mut high) = (self.start(), self.end());
        while low < high {
            let middle = Position(low.0 + (high.0 - low.0) / 2);
            match self.get(middle).map(|entry| entry.id.cmp(&id))? {
                core::cmp::Ordering::Less => low = middle.forward(1),
                core::cmp::Ordering::Equal => return Some(middle),
                core::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}
