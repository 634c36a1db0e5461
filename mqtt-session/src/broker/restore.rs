//! From what a store kept to a broker that goes on where the last one stopped (section 4.1, and 4.4 for what was on its way).
//!
//! Invariants: whatever was acknowledged is there again; a QoS 2 message on its way keeps its Packet Identifier and step, so
//! that it arrives exactly once; a QoS 1 message that was on its way is sent again, under a new identifier. The messages of
//! logs are not read before a client asks for them.
use super::loads::{Look, Reader};
use super::log::{Cursor, Log};
use super::memory::{StoredCursor, StoredDelivery, StoredMessage, StoredSession};
use super::route::{Subscriber, Terms};
use super::session::{Gaps, Head, Home, Identifiers, Inflight, Origin, Places, Session, Stage, Subscription};
use super::timers::Timer;
use super::{Broker, Config, Contents, DropReason, LogHead, Message, MessageId, Position, SessionRecord};
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
    ///
    /// Such a broker reads its logs from the store ([`Request::Load`](super::Request::Load)), and leaves to it what does not
    /// fit into [`Config::max_memory_bytes`]: one that begins with an empty store is restored from an empty [`Contents`].
    pub fn restore(config: Arc<Config>, seed: [u8; 32], now: Instant, wall: UnixTime, contents: Contents) -> Self {
        let mut broker = Self::new(config, seed, now, wall);
        broker.loads.enable();
        let Contents { sessions, messages, logs, retained, last, deliveries: _ } = contents;
        broker.messages = broker.messages.max(last);
        for kept in retained.into_values() {
            broker.restore_retained(kept.at(now, wall));
        }
        let sessions: Vec<(SessionRecord, StoredSession)> =
            sessions.into_values().filter_map(|mut session| Some((session.record.take()?, session))).collect();
        let filters = |session: &StoredSession| -> Vec<TopicFilter> {
            session.subscriptions.keys().filter(|filter| reads(session, filter)).cloned().collect()
        };
        let read: BTreeSet<TopicFilter> = sessions.iter().flat_map(|(_, session)| filters(session)).collect();
        for (filter, (head, _)) in &logs {
            if filter.is_shared() || read.contains(filter) {
                broker.restore_log(filter, head);
            }
        }
        let slots: Vec<u32> =
            sessions.iter().map(|(record, session)| broker.restore_session(record, session)).collect();
        let held = held_places(&sessions, &messages);
        for (filter, (_, settled)) in logs.iter().filter(|(filter, _)| filter.is_shared()) {
            broker.restore_group(filter, settled, held.get(filter).unwrap_or(&BTreeSet::new()));
        }
        for (slot, (record, session)) in slots.iter().zip(&sessions) {
            broker.restore_deliveries(*slot, session, &messages);
            broker.restore_timers(*slot, record);
        }
        // What a full queue lost may have held back what was settled behind it.
        for log in broker.log_by_filter.values().copied().collect::<Vec<_>>() {
            broker.trim_log(log);
        }
        broker.handle_timeout(now);
        broker
    }

    /// A log, none of whose entries is in memory.
    fn restore_log(&mut self, filter: &TopicFilter, head: &LogHead) {
        let mut log = Log::spilled(filter.clone(), head);
        if filter.is_shared() {
            // As every new log: what is still on its way from one before it is not to be taken for its own.
            log.begin_at(Position(self.messages));
        }
        self.stats.queued += log.len();
        self.stats.queued_bytes += log.bytes();
        self.stats.spilled += log.len();
        self.stats.spilled_bytes += log.bytes();
        let key = self.logs.insert(log);
        self.log_by_filter.insert(filter.clone(), key);
    }

    /// A session with its subscriptions and cursors.
    fn restore_session(&mut self, record: &SessionRecord, stored: &StoredSession) -> u32 {
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
    fn restore_group(&mut self, filter: &TopicFilter, settled: &BTreeSet<Position>, held: &BTreeSet<Position>) {
        let Some(group) = self.group_by_filter.get(filter).copied() else {
            // Its members ended with their connections, and so did the group.
            if let Some(key) = self.log_by_filter.get(filter).copied() {
                self.drop_log(key);
            }
            return;
        };
        self.resume_group(group, settled, held);
    }

    /// What was on its way: QoS 2 deliveries as they were kept. What else had been read before them is noted, to be sent
    /// again in its place when the client is back.
    fn restore_deliveries(&mut self, slot: u32, stored: &StoredSession, messages: &BTreeMap<MessageId, StoredMessage>) {
        let mut deliveries: Vec<(PacketId, &StoredDelivery, Arc<Message>)> = Vec::new();
        for (id, delivery) in &stored.outgoing {
            if let Some(message) = messages.get(&delivery.message) {
                deliveries.push((*id, delivery, message.at(self.now, self.wall())));
            }
        }
        deliveries.sort_by_key(|(_, delivery, _)| delivery.order);
        self.restore_reading(slot, stored, &deliveries);
        for (id, delivery, message) in deliveries {
            let mut identifiers = Identifiers::None;
            for identifier in &delivery.identifiers {
                identifiers.push(*identifier);
            }
            let origin = self.origin_of(slot, &delivery.places);
            let head = Head { qos: QoS::ExactlyOnce, retain: delivery.retain, identifiers, origin };
            let stage = if delivery.released { Stage::Released } else { Stage::Published };
            let inflight = Inflight { id, message, message_id: delivery.message, head, stage, counted: false };
            self.stats.inflight += 1;
            self.under_way_bytes += inflight.message.cost();
            if let Some(session) = self.sessions.get_mut(slot) {
                session.inflight.push_back(inflight);
            }
        }
    }

    /// Who is told when a delivery from these places is done: those that are still there.
    fn origin_of(&self, slot: u32, places: &[(TopicFilter, Position)]) -> Origin {
        if let [(filter, at)] = places
            && filter.is_shared()
        {
            return self.group_by_filter.get(filter).map_or(Origin::Pushed, |group| Origin::Group(*group, *at));
        }
        let Some(session) = self.sessions.get(slot) else { return Origin::Pushed };
        let known = places.iter().filter_map(|(filter, at)| Some((*self.log_by_filter.get(filter)?, *at)));
        let known: Places = known.filter(|(key, _)| session.cursors.contains_key(key)).collect();
        if known.is_empty() { Origin::Pushed } else { Origin::Logs(known) }
    }

    /// Notes what the session had read for certain: what it is done with, and what it has on its way at QoS 2. What lies
    /// between had been sent at QoS 1, or was about to be: [`Broker::fill_gaps`] finds it.
    fn restore_reading(
        &mut self,
        slot: u32,
        stored: &StoredSession,
        deliveries: &[(PacketId, &StoredDelivery, Arc<Message>)],
    ) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let (none, mut gaps) = (StoredCursor::default(), Gaps::default());
        for (_, delivery, _) in deliveries {
            for (filter, at) in &delivery.places {
                if let Some(key) = self.log_by_filter.get(filter)
                    && session.cursors.get(key).is_some_and(|cursor| cursor.acked <= *at)
                {
                    gaps.last = gaps.last.max(delivery.message);
                    gaps.held.insert((*key, *at));
                }
            }
        }
        let mut lost = 0;
        for (key, cursor) in &mut session.cursors {
            let Some(log) = self.logs.get_mut(*key) else { continue };
            if cursor.next < log.start() {
                lost += log.start().0 - cursor.next.0; // to a limit
                cursor.next = log.start();
            }
            let settled = &stored.cursors.get(&log.filter).unwrap_or(&none).settled;
            while settled.contains(&cursor.next) {
                cursor.next = cursor.next.forward(1);
            }
            log.move_cursor(cursor.acked, cursor.next);
            cursor.acked = cursor.next;
            let rest = || settled.range(cursor.next..log.end().max(cursor.next)).copied();
            gaps.settled.extend(rest().map(|at| (*key, at)));
            gaps.marks.extend(rest().next_back().map(|at| (*key, at)));
        }
        if !(gaps.marks.is_empty() && gaps.held.is_empty()) {
            session.gaps = Some(Box::new(gaps));
        }
        let name = session.name.clone();
        self.count_dropped(DropReason::QueueFull, &name, lost);
    }

    /// Moves the session's cursors behind all that had been read when the last broker stopped: logs are read in the order of
    /// their messages, all together, so what comes before the last one was. What had been sent and not acknowledged goes
    /// out once more, in its place. `false`: the store has still to give some of it.
    #[cold]
    pub(super) fn fill_gaps(&mut self, slot: u32) -> bool {
        let Some(session) = self.sessions.get_mut(slot) else { return true };
        let Some(mut gaps) = session.gaps.take() else { return true };
        let keys: Vec<u32> = session.cursors.keys().copied().collect();
        let mut last = gaps.last;
        gaps.marks.retain(|(key, at)| match self.look(*key, *at, Reader::Session(slot)) {
            Look::Here(entry) => {
                last = last.max(entry.id);
                false
            }
            Look::Awaited => true,
            Look::Nothing => false,
        });
        gaps.last = last;
        let mut awaited = !gaps.marks.is_empty();
        if !awaited {
            for key in keys {
                awaited |= !gaps.done.contains(&key) && !self.read_again(slot, key, &mut gaps);
            }
        }
        if awaited {
            if let Some(session) = self.sessions.get_mut(slot) {
                session.gaps = Some(gaps);
            }
            return false;
        }
        for (id, (message, places)) in gaps.found {
            self.send_anew(slot, id, message, places);
        }
        true
    }

    /// Reads one log up to the last message that had been read. `false`: the store has still to give some of it.
    fn read_again(&mut self, slot: u32, key: u32, gaps: &mut Gaps) -> bool {
        let (mut lost, mut dropped, mut whole) = (0, 0, true);
        while let Some(session) = self.sessions.get_mut(slot) {
            let (Some(cursor), Some(log)) = (session.cursors.get_mut(&key), self.logs.get(key)) else { break };
            if cursor.next < log.start() {
                dropped += log.start().0 - cursor.next.0; // to a limit, since the restart
                cursor.next = log.start();
            }
            let at = cursor.next;
            let mut unsettled = gaps.held.contains(&(key, at));
            if !unsettled && !gaps.settled.contains(&(key, at)) {
                match self.look(key, at, Reader::Session(slot)) {
                    Look::Here(entry) if entry.id <= gaps.last => {
                        let found = gaps.found.entry(entry.id).or_insert_with(|| (entry.message, Vec::new()));
                        found.1.push((key, at));
                        unsettled = true;
                    }
                    Look::Here(_) => break,
                    Look::Awaited => {
                        whole = false;
                        break;
                    }
                    Look::Nothing => match self.logs.get(key) {
                        Some(log) if at < log.resident() => lost += 1,
                        _ => break,
                    },
                }
            }
            let Some(session) = self.sessions.get_mut(slot) else { break };
            let Some(cursor) = session.cursors.get_mut(&key) else { break };
            if unsettled {
                cursor.unacked.push_back(at);
            }
            cursor.next = at.forward(1);
        }
        if whole {
            gaps.done.insert(key); // so that its messages may leave the memory again
        }
        self.settle_cursor(slot, key);
        let name = self.sessions.get(slot).map(|session| session.name.clone()).unwrap_or_default();
        self.count_dropped(DropReason::Expired, &name, lost);
        self.count_dropped(DropReason::QueueFull, &name, dropped);
        whole
    }

    /// A message that had been read and was not acknowledged: it goes out once more, in its place. At QoS 1,
    /// whatever its subscription says by now: at QoS 0 nothing is acknowledged, and what went out at QoS 2 was kept.
    #[cold]
    fn send_anew(&mut self, slot: u32, message_id: MessageId, message: Arc<Message>, places: Places) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let mut head = Head { qos: QoS::AtLeastOnce, ..Head::default() };
        let (mut own, mut wanted) = (false, false);
        for (key, _) in &places {
            let Some(log) = self.logs.get(*key) else { continue };
            if let Some(Subscription { options, identifier, .. }) = session.subscriptions.get(&log.filter) {
                if options.no_local && message.publisher.as_ref() == Some(&session.name) {
                    own = true; // [MQTT-3.8.3-3]
                    continue;
                }
                wanted = true;
                head.retain |= message.retain && options.retain_as_published;
                head.identifiers.push(*identifier);
            }
        }
        head.origin = Origin::Logs(places);
        if own && !wanted {
            return self.settle_origin(slot, &head.origin);
        }
        let Some(id) = session.allocate_id() else { return };
        self.under_way_bytes += message.cost();
        let later =
            |inflight: &Inflight| matches!(inflight.head.origin, Origin::Logs(_)) && inflight.message_id > message_id;
        let index = session.inflight.iter().position(later).unwrap_or(session.inflight.len());
        let stage = Stage::Published;
        session.inflight.insert(index, Inflight { id, message, message_id, head, stage, counted: false });
        self.stats.inflight += 1;
    }

    /// Expiry and Will, counted from when the connection was lost.
    fn restore_timers(&mut self, slot: u32, record: &SessionRecord) {
        let (now, wall) = (self.now, self.wall());
        let since = record.disconnected_at.unwrap_or(wall);
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
        if record.disconnected_at.is_none() {
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

/// Where QoS 2 messages on their way stand in logs.
fn held_places(
    sessions: &[(SessionRecord, StoredSession)],
    messages: &BTreeMap<MessageId, StoredMessage>,
) -> BTreeMap<TopicFilter, BTreeSet<Position>> {
    let mut held = BTreeMap::<TopicFilter, BTreeSet<Position>>::new();
    let deliveries = sessions.iter().flat_map(|(_, session)| session.outgoing.values());
    for delivery in deliveries.filter(|delivery| messages.contains_key(&delivery.message)) {
        for (filter, at) in &delivery.places {
            held.entry(filter.clone()).or_default().insert(*at);
        }
    }
    held
}
