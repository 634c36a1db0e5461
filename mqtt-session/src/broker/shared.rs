//! Shared subscriptions (section 4.8.2): a group is one reader of one log, and its members compete for the entries.
//!
//! Invariants: an entry stays in the group's log until a member has acknowledged it; a QoS 1 entry of a member that is
//! lost goes back to the group; a QoS 2 entry stays with its member [MQTT-4.8.2-4].
use super::loads::{Found, Reader};
use super::log::{Cursor, Entry, Place};
use super::route::{Outgoing, Subscriber, Terms};
use super::session::{Head, Origin};
use super::{Broker, DropReason, Position, SharedStrategy, StoreOp};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use mqtt_proto::{QoS, SubscriptionOptions, TopicFilter};

/// A shared group: `$share/{ShareName}/{filter}`.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) filter: TopicFilter,
    pub(super) log: u32,
    members: Vec<Member>,
    /// Whose turn it is.
    turn: usize,
    cursor: Cursor,
    /// Entries that came back from lost members; they go out first.
    returned: BTreeSet<Position>,
    ready: bool,
    /// Whether no member could take the next entry. Each has noted the group among its backlogs and wakes it; until then
    /// a further entry costs the same however many members are away.
    waiting: bool,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    session: u32,
    terms: Terms,
}

impl Broker {
    /// A session joins a group, or changes its terms in it.
    pub(super) fn join_group(
        &mut self,
        slot: u32,
        filter: &TopicFilter,
        options: SubscriptionOptions,
        identifier: u32,
    ) -> u32 {
        let key = if let Some(key) = self.group_by_filter.get(filter) {
            *key
        } else {
            let log = self.log_for(filter);
            let at = self.logs.get(log).map_or(Position::default(), super::log::Log::end);
            if let Some(log) = self.logs.get_mut(log) {
                log.add_cursor(at);
            }
            let filter = filter.compact();
            let key = self.groups.insert(Group {
                filter: filter.clone(),
                log,
                members: Vec::new(),
                turn: 0,
                cursor: Cursor::new(at),
                returned: BTreeSet::new(),
                ready: false,
                waiting: false,
            });
            let added = self.subscriptions.insert(filter.filter(), Subscriber::Group(key), Terms::default());
            debug_assert!(added.is_ok(), "a TopicFilter is a valid filter");
            self.group_by_filter.insert(filter, key);
            key
        };
        let terms = Terms { options, identifier };
        if let Some(group) = self.groups.get_mut(key) {
            match group.members.iter_mut().find(|member| member.session == slot) {
                Some(member) => member.terms = terms,
                None => group.members.push(Member { session: slot, terms }),
            }
        }
        self.wake_waiting(key);
        key
    }

    /// A session leaves a group; the group ends with its last member.
    pub(super) fn leave_group(&mut self, slot: u32, key: u32) {
        if let Some(session) = self.sessions.get_mut(slot)
            && let Ok(index) = session.backlogs.binary_search(&key)
        {
            session.backlogs.remove(index);
        }
        let Some(group) = self.groups.get_mut(key) else { return };
        group.members.retain(|member| member.session != slot);
        if group.members.is_empty() {
            let Some(group) = self.groups.remove(key) else { return };
            self.group_by_filter.remove(&group.filter);
            self.subscriptions.remove(group.filter.filter(), Subscriber::Group(key));
            self.drop_log(group.log);
        }
    }

    /// Puts a group on the list of those to be served.
    pub(super) fn wake_group(&mut self, key: u32) {
        if let Some(group) = self.groups.get_mut(key)
            && !(group.ready || group.waiting)
            && let Some(log) = self.logs.get(group.log)
            && (group.cursor.next < log.end() || !group.returned.is_empty())
        {
            group.ready = true;
            self.ready_groups.push(key);
        }
    }

    /// As [`Broker::wake_group`], now that a member may be able to take what none could.
    fn wake_waiting(&mut self, key: u32) {
        if let Some(group) = self.groups.get_mut(key) {
            group.waiting = false;
            self.wake_group(key);
        }
    }

    /// Wakes the groups whose entries a session has waited for. O(those groups), whatever others it is a member of.
    pub(super) fn wake_backlogs(&mut self, slot: u32) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let mut backlogs = core::mem::take(&mut session.backlogs);
        for group in backlogs.drain(..) {
            self.wake_waiting(group);
        }
        if let Some(session) = self.sessions.get_mut(slot) {
            session.backlogs = backlogs; // keeps its memory
        }
    }

    /// No member can take the next entry: whoever can first serves the group again.
    fn await_members(&mut self, key: u32) {
        let Some(group) = self.groups.get_mut(key) else { return };
        group.waiting = true;
        for member in &group.members {
            if let Some(session) = self.sessions.get_mut(member.session)
                && let Err(index) = session.backlogs.binary_search(&key)
            {
                session.backlogs.insert(index, key);
            }
        }
    }

    /// Hands entries to members as long as there are both.
    pub(super) fn serve_group(&mut self, key: u32) {
        if let Some(group) = self.groups.get_mut(key) {
            group.ready = false;
        }
        while let Some((at, entry)) = self.next_of_group(key) {
            if entry.message.is_expired(self.now) {
                self.skip_entry(key, at);
                continue;
            }
            let Some((slot, conn_slot, terms)) = self.available_member(key, entry.message.qos) else {
                return self.await_members(key);
            };
            self.take_entry(key, at);
            let qos = entry.message.qos.min(terms.options.qos);
            let retain = entry.message.retain && terms.options.retain_as_published;
            let mut head = Head { qos, retain, origin: Origin::Group(key, at), ..Head::default() };
            head.identifiers.push(terms.identifier);
            if qos == QoS::AtMostOnce {
                self.deliver_now(slot, conn_slot, entry.message, head);
            } else {
                self.start_delivery(slot, conn_slot, entry.message, entry.id, head);
            }
        }
    }

    /// The entry that goes out next: one that came back, else the first that was never given out. `None`, too, while it has
    /// to be loaded.
    fn next_of_group(&mut self, key: u32) -> Option<(Position, Entry)> {
        loop {
            self.note_group_losses(key);
            let group = self.groups.get(key)?;
            let (log, at) = (group.log, group.returned.first().copied().unwrap_or(group.cursor.next));
            match self.logs.get(log)?.read(at) {
                Place::Entry(entry) => return Some((at, entry.clone())),
                Place::End => return None,
                Place::Spilled => {}
            }
            match self.loads.find(log, self.logs.get(log)?, at) {
                Found::Entry(entry) => return Some((at, entry)),
                // The store has lost it: it reads as a message that has expired.
                Found::Lost => self.skip_entry(key, at),
                Found::Unknown => {
                    // It is loaded once a member can take it.
                    if self.find_member(key, QoS::AtLeastOnce).is_some() {
                        self.loads.want(log, self.logs.get(log)?, at, Some(Reader::Group(key)));
                    } else {
                        self.await_members(key);
                    }
                    return None;
                }
            }
        }
    }

    /// Passes by an entry that nobody can have any more.
    fn skip_entry(&mut self, key: u32, at: Position) {
        if let Some(group) = self.groups.get(key) {
            let name = alloc::sync::Arc::from(&*group.filter);
            self.count_dropped(DropReason::Expired, &name, 1); // [MQTT-3.3.2-5]
        }
        self.take_entry(key, at);
        self.settle_group(key, at);
    }

    /// Notes the entries that a full log has lost before the group gave them out.
    fn note_group_losses(&mut self, key: u32) {
        let Some(group) = self.groups.get_mut(key) else { return };
        let Some(log) = self.logs.get_mut(group.log) else { return };
        let mut lost = 0;
        while let Some(at) = group.returned.first().copied().filter(|at| *at < log.start()) {
            group.returned.pop_first();
            group.cursor.acknowledge(at);
            lost += 1;
        }
        if group.cursor.next < log.start() {
            lost += log.start().0 - group.cursor.next.0;
            group.cursor.next = log.start();
        }
        if lost > 0 {
            let settled = group.cursor.settled();
            log.move_cursor(group.cursor.acked, settled);
            group.cursor.acked = settled;
            // Behind what was lost there may be entries that members have acknowledged long ago.
            let (log, name) = (group.log, alloc::sync::Arc::from(&*group.filter));
            self.trim_log(log);
            self.count_dropped(DropReason::QueueFull, &name, lost);
        }
    }

    /// The entry is on its way.
    fn take_entry(&mut self, key: u32, at: Position) {
        let Some(group) = self.groups.get_mut(key) else { return };
        if !group.returned.remove(&at) {
            group.cursor.unacked.push_back(at);
            group.cursor.next = at.forward(1);
            let missed = self.logs.get(group.log).map_or(0, |log| log.missed_before(at));
            if missed > 0 {
                let name = alloc::sync::Arc::from(&*group.filter);
                self.count_dropped(DropReason::QueueFull, &name, missed);
            }
        }
    }

    /// A member that is connected and has credit and room, by the configured strategy; then it is the next one's turn.
    fn available_member(&mut self, key: u32, qos: QoS) -> Option<(u32, u32, Terms)> {
        let (index, conn_slot) = self.find_member(key, qos)?;
        let group = self.groups.get_mut(key)?;
        group.turn = (index + 1) % group.members.len();
        let member = group.members[index];
        Some((member.session, conn_slot, member.terms))
    }

    fn find_member(&self, key: u32, qos: QoS) -> Option<(usize, u32)> {
        let group = self.groups.get(key)?;
        let (count, most) = (group.members.len(), self.pull_up_to());
        let mut best: Option<(u16, usize, u32)> = None;
        for step in 0..count {
            let index = (group.turn + step) % count;
            let member = group.members[index];
            let Some(conn_slot) = self.sessions.get(member.session).and_then(|session| session.connection) else {
                continue;
            };
            let Some(conn) = self.connections.get(conn_slot) else { continue };
            let tracked = qos.min(member.terms.options.qos) > QoS::AtMostOnce;
            let resending = self
                .sessions
                .get(member.session)
                .is_some_and(|session| conn.resent < session.inflight.len() || session.gaps.is_some());
            let room = conn.is_active() && conn.tx.len() < most;
            if !room || tracked && (!self.has_credit(conn) || resending) {
                continue;
            }
            if self.config.shared_strategy == SharedStrategy::RoundRobin {
                best = Some((0, index, conn_slot));
                break;
            }
            if best.is_none_or(|(least, ..)| conn.sending < least) {
                best = Some((conn.sending, index, conn_slot));
            }
        }
        best.map(|(_, index, conn_slot)| (index, conn_slot))
    }

    /// A QoS 0 message goes to a member that can take it now, or nowhere.
    pub(super) fn give_to_member(&mut self, outgoing: &mut Outgoing, key: u32) {
        let Some((slot, conn_slot, terms)) = self.available_member(key, QoS::AtMostOnce) else {
            if let Some(group) = self.groups.get(key) {
                let name = alloc::sync::Arc::from(&*group.filter);
                self.count_dropped(DropReason::NoMember, &name, 1);
            }
            return;
        };
        let retain = outgoing.retain && terms.options.retain_as_published;
        let mut head = Head { retain, ..Head::default() };
        head.identifiers.push(terms.identifier);
        let message = outgoing.keep();
        self.deliver_now(slot, conn_slot, message, head);
    }

    /// A group of a broker that was restored goes on: `settled` entries are over, `held` ones are on their way to
    /// members, and those between that are neither come first.
    pub(super) fn resume_group(&mut self, key: u32, settled: &BTreeSet<Position>, held: &BTreeSet<Position>) {
        let Some(group) = self.groups.get_mut(key) else { return };
        let Some(log) = self.logs.get_mut(group.log) else { return };
        let last = |places: &BTreeSet<Position>| places.range(log.start()..log.end()).next_back().copied();
        let last = last(settled).max(last(held));
        group.cursor.next = last.map_or(log.start(), |last| last.forward(1));
        let mut at = log.start();
        while at < group.cursor.next {
            if !settled.contains(&at) {
                group.cursor.unacked.push_back(at);
                if !held.contains(&at) {
                    group.returned.insert(at);
                }
            }
            at = at.forward(1);
        }
        let begun = group.cursor.acked;
        group.cursor.acked = group.cursor.settled();
        log.move_cursor(begun, group.cursor.acked);
        self.wake_group(key);
    }

    /// A member acknowledged an entry, or refused it: it is over for the group [MQTT-4.8.2-6].
    pub(super) fn settle_group(&mut self, key: u32, at: Position) {
        let Some(group) = self.groups.get_mut(key) else { return };
        let Some(log) = self.logs.get_mut(group.log) else { return };
        let settled = group.cursor.acknowledge(at);
        if settled == group.cursor.acked {
            if at > settled {
                self.store.push(StoreOp::Settled(None, log.filter.clone(), at));
            }
            return;
        }
        log.move_cursor(group.cursor.acked, settled);
        group.cursor.acked = settled;
        let log = group.log;
        self.trim_log(log);
    }

    /// A member's connection is gone: its QoS 1 entries go back to the group; its QoS 2 entries stay with it, unless its
    /// session ends: then nobody else may have them [MQTT-4.8.2-5].
    pub(super) fn return_to_groups(&mut self, slot: u32, session_ends: bool) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let (mut back, mut over, mut bytes) = (Vec::new(), Vec::new(), 0);
        let groups = &self.groups;
        session.inflight.retain(|inflight| {
            let Origin::Group(group, at) = inflight.head.origin else { return true };
            let waits = groups.get(group).is_some_and(|group| group.cursor.unacked.binary_search(&at).is_ok());
            match inflight.head.qos {
                QoS::AtLeastOnce if waits => back.push((group, at)),
                _ if session_ends => over.push((group, at)),
                _ => return true,
            }
            bytes += inflight.message.cost();
            false
        });
        self.under_way_bytes -= bytes;
        self.stats.inflight -= (back.len() + over.len()) as u64;
        for (key, at) in over {
            self.settle_group(key, at);
        }
        for (key, at) in back {
            if let Some(group) = self.groups.get_mut(key) {
                group.returned.insert(at);
                self.wake_group(key);
            }
        }
    }
}
