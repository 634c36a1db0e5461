//! The end of connections and sessions, and the Wills that fire then (sections 3.1.2.5, 3.1.2.11.2 and 4.1).
//!
//! Invariants: a Will fires at most once [MQTT-3.1.2-10]; a session ends when its connection does, or when its expiry
//! interval has passed since [MQTT-3.1.2-23].
use super::route::Outgoing;
use super::session::{Home, Session};
use super::timers::Timer;
use super::{Broker, DisconnectReason, Event, SessionRecord, StoreOp};
use crate::Instant;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use mqtt_proto::{ClientId, Properties, Property, SharedPublish, TopicFilter, Will};

impl Broker {
    /// Parts a connection from its session. What the session still has on its way stays with it [MQTT-4.1.0-1].
    pub(super) fn detach(&mut self, slot: u32, reason: DisconnectReason) {
        self.keep_scans(slot);
        let Some(conn) = self.connections.get_mut(slot) else { return };
        let Some(session_slot) = conn.session.take() else { return };
        let (client_id, peer) = (conn.client_id.clone(), conn.peer.clone());
        self.stats.connections -= 1;
        let Some(session) = self.sessions.get_mut(session_slot) else { return };
        session.connection = None;
        let (expiry, will) = (session.expiry, session.will.is_some());
        let logs: Vec<u32> = session.cursors.keys().copied().collect();
        for log in logs {
            if let Some(log) = self.logs.get_mut(log) {
                log.online.remove(&session_slot);
            }
        }
        // Not before they are parted: after DISCONNECT nothing may be sent, `$SYS` messages included [MQTT-3.14.4-1].
        self.emit(|mask| mask.connections, || Event::Disconnected { client_id, peer, reason });
        self.return_to_groups(session_slot, expiry == 0);
        if will {
            self.schedule_will(session_slot);
        }
        if expiry == 0 {
            return self.end_session(session_slot);
        }
        if expiry != u32::MAX {
            let at = self.now + Duration::from_secs(expiry.into());
            if let Some(session) = self.sessions.get_mut(session_slot) {
                session.expires_at = Some(at);
                self.timers.arm(at, Timer::SessionExpiry(session_slot));
            }
        }
        self.store_session(session_slot);
    }

    /// Fires a Will now, or arms it: it waits for its delay or for the end of the session, whichever is first [MQTT-3.1.3-9].
    fn schedule_will(&mut self, slot: u32) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let delay = session.will.as_ref().and_then(|will| will.properties.will_delay_interval()).unwrap_or(0);
        if delay == 0 || session.expiry == 0 {
            return self.fire_will(slot);
        }
        let at = self.now + Duration::from_secs(delay.into());
        session.will_at = Some(at);
        self.timers.arm(at, Timer::Will(slot));
    }

    /// Publishes the Will of a session [MQTT-3.1.2-8], and forgets it [MQTT-3.1.2-10].
    pub(super) fn fire_will(&mut self, slot: u32) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if let Some(at) = session.will_at.take() {
            self.timers.disarm(at, Timer::Will(slot));
        }
        let Some(will) = session.will.take() else { return }; // [3.1.1: MQTT-3.1.2-12]
        let publisher = session.name.clone();
        self.store_session(slot);
        let expires_at =
            will.properties.message_expiry_interval().map(|secs| self.now + Duration::from_secs(secs.into()));
        let shared = SharedPublish {
            topic: will.topic.clone(),
            payload: will.payload.clone(),
            properties: message_properties(&will),
        };
        let id = self.next_message();
        // [MQTT-3.1.2-14], [MQTT-3.1.2-15]: retained or not, as the Will says
        let mut outgoing = Outgoing::new(shared, will.qos, will.retain, expires_at, Some(publisher), id);
        outgoing.on_top = true;
        if self.retain(&mut outgoing).is_ok() {
            self.route(&mut outgoing);
        }
        if self.config.events.published {
            let message = outgoing.keep();
            let client_id = outgoing.publisher.clone();
            self.emit(|mask| mask.published, || Event::Published { client_id, message });
        }
    }

    /// Ends a session with all that belongs to it [MQTT-4.1.0-2]; its Will fires if it has not [MQTT-3.1.3-9]. Retained
    /// messages do not belong to it [3.1.1: MQTT-3.1.2-7].
    pub(super) fn end_session(&mut self, slot: u32) {
        self.return_to_groups(slot, true);
        self.fire_will(slot);
        let subscriptions = self.sessions.get(slot).map(|session| session.subscriptions.keys().cloned());
        let filters: Vec<Box<TopicFilter>> = subscriptions.map(Iterator::collect).unwrap_or_default();
        for filter in &filters {
            self.remove_quietly(slot, filter);
        }
        let Some(session) = self.sessions.remove(slot) else { return };
        self.by_client_id.remove(&session.client_id);
        self.stats.inflight -= session.inflight.len() as u64;
        self.under_way_bytes -= session.inflight.iter().map(|inflight| inflight.message.cost()).sum::<u64>();
        self.note_dequeued(session.pending.len() as u64, session.pending_bytes);
        if let Some(at) = session.expires_at {
            self.timers.disarm(at, Timer::SessionExpiry(slot));
        }
        if session.stored {
            self.store.push(StoreOp::SessionEnd(session.client_id));
        }
    }

    /// Ends a subscription with its session: no event of its own.
    fn remove_quietly(&mut self, slot: u32, filter: &TopicFilter) {
        let home = self.sessions.get_mut(slot).and_then(|session| session.subscriptions.remove(filter));
        if let Some(subscription) = home {
            debug_assert!(matches!(subscription.home, Home::Group(_)) == filter.is_shared());
            self.leave_home(slot, filter, subscription.home);
            self.stats.subscriptions -= 1;
        }
    }

    /// The Session Expiry Interval of a disconnected session has passed.
    pub(super) fn session_expired(&mut self, slot: u32) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if session.expires_at.take().is_some() && session.connection.is_none() {
            self.stats.sessions_expired_total += 1;
            self.end_session(slot);
        }
    }

    /// A session whose time is over ends, and a Will whose delay has passed fires, before a new connection takes the session
    /// [MQTT-3.1.3-9]: a caller that was suspended may hand CONNECT over before it tells the time.
    pub(super) fn catch_up(&mut self, client_id: &ClientId) {
        let Some(slot) = self.by_client_id.get(client_id).copied() else { return };
        let Some(session) = self.sessions.get(slot).filter(|session| session.connection.is_none()) else { return };
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= self.now);
        let (over, will) = (is_due(session.expires_at), is_due(session.will_at));
        if will {
            self.fire_will(slot);
        }
        if over {
            self.stats.sessions_expired_total += 1;
            self.end_session(slot);
        }
    }

    /// Notes a session for the store: one that lasts, or that has a Will, which is published after a crash, too
    /// [MQTT-3.1.2-7], [MQTT-3.1.2-8].
    pub(super) fn store_session(&mut self, slot: u32) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        session.stored |= session.durable || session.will.is_some();
        let Some(session) = self.sessions.get(slot).filter(|session| session.stored) else { return };
        let record = self.record(session);
        self.store.push(StoreOp::Session(record));
    }

    fn record(&self, session: &Session) -> SessionRecord {
        SessionRecord {
            client_id: session.client_id.clone(),
            identity: session.identity.clone(),
            expiry: session.expiry,
            disconnected_at: session.connection.is_none().then(|| self.wall()),
            will: session.will.as_ref().map(Arc::clone),
        }
    }
}

/// The Will Properties that the published message carries, in their order [MQTT-3.1.3-10]: all but the delay and the expiry,
/// which is counted down.
fn message_properties(will: &Will) -> Properties {
    let own = |property: &Property<'_>| {
        !matches!(property, Property::WillDelayInterval(_) | Property::MessageExpiryInterval(_))
    };
    will.properties.iter().filter(own).fold(Properties::builder(), |all, property| all.with(property)).build()
}
