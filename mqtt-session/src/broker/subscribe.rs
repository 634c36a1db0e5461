//! SUBSCRIBE and UNSUBSCRIBE (sections 3.8 to 3.11).
//!
//! Invariants: the filters of one packet are handled in order, each with one Reason Code [MQTT-3.8.4-5], [MQTT-3.8.4-6];
//! a subscription lives in exactly one place: pushed, in a log, or in a shared group.
use super::connection::{Fault, ParkedPacket, Reply};
use super::io::Action;
use super::log::{Cursor, Removed};
use super::route::{Subscriber, Terms};
use super::session::{Home, Scan, Subscription};
use super::{Broker, Event, StoreOp, Verdict};
use alloc::boxed::Box;
use alloc::vec::Vec;
use mqtt_proto::{
    Packet, QoS, ReasonCode, RetainHandling, SubAck, Subscribe, SubscriptionOptions, TopicFilter, UnsubAck, Unsubscribe,
};

impl Broker {
    /// SUBSCRIBE from a client.
    pub(super) fn handle_subscribe(&mut self, slot: u32, subscribe: Subscribe) -> Result<(), Fault> {
        for (filter, options) in &subscribe.filters {
            if filter.is_shared() && options.no_local {
                return Err(Fault(ReasonCode::ProtocolError, "MQTT-3.8.3-4"));
            }
        }
        self.authorize_subscribe(slot, subscribe, Vec::new());
        Ok(())
    }

    /// Decides filter by filter; stops where the outside has to be asked.
    fn authorize_subscribe(&mut self, slot: u32, subscribe: Subscribe, mut decided: Vec<ReasonCode>) {
        let identified = subscribe.properties.subscription_identifiers().next().is_some();
        while let Some((filter, options)) = subscribe.filters.get(decided.len()) {
            let Some(conn) = self.connections.get(slot) else { return };
            let verdict = match self.refuse_filter(filter, identified) {
                Some(refusal) => Err(refusal),
                None => match conn.grant.as_ref().map_or(Verdict::Deny, |grant| grant.subscribe(filter.filter())) {
                    Verdict::Allow => Ok(()),
                    Verdict::Deny => Err(ReasonCode::NotAuthorized),
                    Verdict::Ask => match self.remembered(slot, false, filter) {
                        Some(true) => Ok(()),
                        Some(false) => Err(ReasonCode::NotAuthorized),
                        None => {
                            let action = Action::Subscribe { filter: filter.clone(), qos: options.qos };
                            return self.park(slot, action, ParkedPacket::Subscribe { subscribe, decided });
                        }
                    },
                },
            };
            decided.push(verdict.err().unwrap_or(self.granted(options.qos)));
        }
        self.apply_subscribe(slot, &subscribe, decided);
    }

    /// The outside has decided on the first undecided filter.
    pub(super) fn decide_subscribe(
        &mut self,
        slot: u32,
        subscribe: Subscribe,
        mut decided: Vec<ReasonCode>,
        allow: bool,
    ) {
        if let Some((_, options)) = subscribe.filters.get(decided.len()) {
            decided.push(if allow { self.granted(options.qos) } else { ReasonCode::NotAuthorized });
        }
        self.authorize_subscribe(slot, subscribe, decided);
    }

    /// The Reason Code of a granted subscription: its Maximum QoS, which may be less than was asked for [MQTT-3.8.4-7],
    /// [MQTT-3.2.2-10].
    fn granted(&self, qos: QoS) -> ReasonCode {
        match qos.min(self.config.features.maximum_qos) {
            QoS::AtMostOnce => ReasonCode::Success,
            QoS::AtLeastOnce => ReasonCode::GrantedQoS1,
            QoS::ExactlyOnce => ReasonCode::GrantedQoS2,
        }
    }

    /// Filters beyond the limits, and what the server does not offer.
    fn refuse_filter(&self, filter: &TopicFilter, identified: bool) -> Option<ReasonCode> {
        let (limits, features) = (&self.config.connection, &self.config.features);
        let levels = filter.filter().bytes().filter(|byte| *byte == b'/').count() + 1;
        if filter.len() > usize::from(limits.max_topic_bytes) || levels > usize::from(limits.max_topic_levels) {
            return Some(ReasonCode::TopicFilterInvalid);
        }
        if filter.is_shared() && !features.shared_subscriptions {
            return Some(ReasonCode::SharedSubscriptionsNotSupported);
        }
        if filter.has_wildcard() && !features.wildcard_subscriptions {
            // [3.1.1: MQTT-3.8.3-2]
            return Some(ReasonCode::WildcardSubscriptionsNotSupported);
        }
        (identified && !features.subscription_identifiers).then_some(ReasonCode::SubscriptionIdentifiersNotSupported)
    }

    /// Makes the subscriptions that were granted, and acknowledges [MQTT-3.8.4-1], [MQTT-3.8.4-2].
    fn apply_subscribe(&mut self, slot: u32, subscribe: &Subscribe, mut reasons: Vec<ReasonCode>) {
        let Some(session_slot) = self.connections.get(slot).and_then(|conn| conn.session) else { return };
        let identifier = subscribe.properties.subscription_identifiers().next().unwrap_or(0);
        let mut scans = Vec::new();
        let mut durable = false;
        for ((filter, options), reason) in subscribe.filters.iter().zip(&mut reasons) {
            if reason.is_error() {
                continue;
            }
            let Some(session) = self.sessions.get(session_slot) else { return };
            let existed = session.subscriptions.contains_key(filter);
            if !existed && session.subscriptions.len() >= self.config.session.max_subscriptions {
                *reason = ReasonCode::QuotaExceeded;
                continue;
            }
            let client_id = session.client_id.clone();
            durable |= session.durable;
            let options = SubscriptionOptions { qos: options.qos.min(self.config.features.maximum_qos), ..*options };
            let filter = filter.compact();
            self.add_subscription(session_slot, &filter, options, identifier);
            let (subject, qos) = (filter.clone(), options.qos);
            self.emit(|mask| mask.subscriptions, || Event::Subscribed { client_id, filter: subject, qos });
            let send = match options.retain_handling {
                RetainHandling::Send => true,          // [MQTT-3.3.1-9]
                RetainHandling::SendIfNew => !existed, // [MQTT-3.3.1-10]
                RetainHandling::DoNotSend => false,    // [MQTT-3.3.1-11]
            };
            if send && !filter.is_shared() {
                scans.push(filter);
            }
        }
        let v5 = self.connections.get(slot).is_some_and(|conn| conn.version.is_v5());
        if !v5 {
            // Before 5.0 there is one failure code [3.1.1: MQTT-3.9.3-2].
            reasons
                .iter_mut()
                .filter(|reason| reason.is_error())
                .for_each(|reason| *reason = ReasonCode::UnspecifiedError);
        }
        let properties = mqtt_proto::Properties::new(); // [MQTT-3.9.2-1], [MQTT-3.9.2-2]
        let suback = Packet::SubAck(SubAck { id: subscribe.id, reasons, properties }); // [MQTT-3.8.4-6], [MQTT-3.9.3-1]
        let due = if durable { self.store.due() } else { self.store.watermark };
        self.reply(slot, due, Reply::SubAck(suback, scans));
    }

    /// Makes or replaces one subscription [MQTT-3.8.4-3].
    pub(super) fn add_subscription(
        &mut self,
        slot: u32,
        filter: &TopicFilter,
        options: SubscriptionOptions,
        identifier: u32,
    ) {
        let Some(session) = self.sessions.get(slot) else { return };
        let (durable, client_id) = (session.durable, session.client_id.clone());
        let old = session.subscriptions.get(filter).copied();
        let home = match old {
            _ if filter.is_shared() => Home::Group(self.join_group(slot, filter, options, identifier)),
            // Even at QoS 0 from now on: what it has not read yet must not be lost [MQTT-3.8.4-4].
            Some(Subscription { home: Home::Log(log), .. }) => Home::Log(log),
            _ if durable && options.qos > QoS::AtMostOnce => Home::Log(self.join_log(slot, filter)),
            _ => Home::Direct,
        };
        if let Some(old) = old.filter(|old| old.home != home) {
            self.leave_home(slot, filter, old.home);
        }
        if home == Home::Direct {
            let terms = Terms { options, identifier };
            let added = self.subscriptions.insert(filter, Subscriber::Session(slot), terms);
            debug_assert!(added.is_ok(), "a TopicFilter is a valid filter");
        }
        if let Some(session) = self.sessions.get_mut(slot) {
            session.put_subscription(filter, Subscription { options, identifier, home });
        }
        if durable {
            let filter = filter.clone();
            self.store.push(StoreOp::Subscription { client_id, filter, options, identifier });
        }
        self.stats.subscriptions += u64::from(old.is_none());
    }

    /// A session starts to read the log of a filter, from here on.
    fn join_log(&mut self, slot: u32, filter: &TopicFilter) -> u32 {
        let key = self.log_for(filter);
        let Some(log) = self.logs.get_mut(key) else { return key };
        if !log.has_cursors() {
            let added = self.subscriptions.insert(filter, Subscriber::Log(key), Terms::default());
            debug_assert!(added.is_ok(), "a TopicFilter is a valid filter");
        }
        let Some(session) = self.sessions.get_mut(slot) else { return key };
        log.add_cursor(log.end());
        if session.connection.is_some() {
            log.online.insert(slot);
        }
        session.cursors.insert(key, Box::new(Cursor::new(log.end())));
        self.store.push(StoreOp::Cursor(session.client_id.clone(), log.filter.clone(), log.end()));
        key
    }

    /// Takes a subscription out of where it lives. What is on its way to the client stays there [MQTT-3.10.4-3].
    pub(super) fn leave_home(&mut self, slot: u32, filter: &TopicFilter, home: Home) {
        match home {
            Home::Direct => {
                self.subscriptions.remove(filter, Subscriber::Session(slot));
                if let Some(session) = self.sessions.get_mut(slot) {
                    session.direct.remove(filter);
                }
            }
            Home::Group(group) => self.leave_group(slot, group),
            Home::Log(key) => {
                let (Some(session), Some(log)) = (self.sessions.get_mut(slot), self.logs.get_mut(key)) else { return };
                log.online.remove(&slot);
                if let Some(cursor) = session.cursors.remove(&key) {
                    log.remove_cursor(cursor.acked);
                    if let Some(bound) = cursor.unread.bound() {
                        session.lagging.remove(&(bound, key));
                    }
                }
                if log.has_cursors() {
                    self.trim_log(key);
                } else {
                    self.subscriptions.remove(filter, Subscriber::Log(key));
                    self.drop_log(key);
                }
            }
        }
    }

    /// A log that nobody reads is over.
    pub(super) fn drop_log(&mut self, key: u32) {
        let Some(mut log) = self.logs.remove(key) else { return };
        self.forget_log(key, &mut log);
        self.note_removed(&Removed {
            entries: log.len(),
            bytes: log.bytes(),
            freed: log.tail_bytes(),
            spilled: log.spilled_len(),
        });
        self.log_by_filter.remove(&log.filter);
        let end = log.end();
        self.store.push(StoreOp::Trim(log.filter, end));
    }

    /// Ends one subscription; `false` if there is none [MQTT-3.10.4-1], [MQTT-3.10.4-2].
    pub(super) fn remove_subscription(&mut self, slot: u32, filter: &TopicFilter) -> bool {
        let Some(session) = self.sessions.get_mut(slot) else { return false };
        let Some(old) = session.subscriptions.remove(filter) else { return false };
        let (durable, client_id) = (session.durable, session.client_id.clone());
        session.scans.remove(filter);
        self.leave_home(slot, filter, old.home);
        if durable {
            self.store.push(StoreOp::SubscriptionEnd(client_id.clone(), filter.clone()));
        }
        self.stats.subscriptions -= 1;
        let filter = filter.clone();
        self.emit(|mask| mask.subscriptions, || Event::Unsubscribed { client_id, filter });
        true
    }

    /// UNSUBSCRIBE from a client [MQTT-3.10.4-4], [MQTT-3.10.4-5], [MQTT-3.10.4-6].
    pub(super) fn handle_unsubscribe(&mut self, slot: u32, unsubscribe: &Unsubscribe) {
        let Some(session_slot) = self.connections.get(slot).and_then(|conn| conn.session) else { return };
        let durable = self.sessions.get(session_slot).is_some_and(|session| session.durable);
        let mut reasons = Vec::with_capacity(unsubscribe.filters.len());
        for filter in &unsubscribe.filters {
            let existed = self.remove_subscription(session_slot, filter);
            reasons.push(if existed { ReasonCode::Success } else { ReasonCode::NoSubscriptionExisted }); // [MQTT-3.11.3-1]
        }
        let due = if durable { self.store.due() } else { self.store.watermark };
        let properties = mqtt_proto::Properties::new(); // [MQTT-3.11.2-1], [MQTT-3.11.2-2]
        self.reply(slot, due, Reply::UnsubAck(Packet::UnsubAck(UnsubAck { id: unsubscribe.id, reasons, properties })));
    }

    /// The connection is over before SUBACK could leave: the retained messages are owed all the same, since a session that
    /// lasts has the subscription from now on [MQTT-3.3.1-10].
    pub(super) fn keep_scans(&mut self, slot: u32) {
        let Some(conn) = self.connections.get_mut(slot) else { return };
        for gated in core::mem::take(&mut conn.gate) {
            if let Reply::SubAck(_, scans) = gated.reply {
                self.start_scans(slot, scans);
            }
        }
    }

    /// The scans of new subscriptions begin, behind their SUBACK.
    pub(super) fn start_scans(&mut self, slot: u32, scans: Vec<TopicFilter>) {
        let Some(session_slot) = self.connections.get(slot).and_then(|conn| conn.session) else { return };
        if scans.is_empty() || self.retained.topics.is_empty() {
            return;
        }
        if let Some(session) = self.sessions.get_mut(session_slot) {
            for filter in scans {
                session.scans.insert(filter, Scan::default()); // a new SUBSCRIBE starts over
            }
            self.wake(session_slot);
        }
    }
}
