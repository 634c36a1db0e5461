//! Desired subscriptions, and the requests that make the Server agree (MQTT 5.0 sections 3.8 to 3.11).
//!
//! Invariants: at most one request per filter waits to be sent, so what piles up while offline is the difference and not the history;
//! a subscription that the Server refused is not desired any more.
use super::flights::Flight;
use super::flights::Flights;
use super::{
    Client, Event, Outcome, ProtocolError, Record, RecordKey, StoreOp, SubscribeError, SubscriptionState, Token,
};
use crate::Instant;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use mqtt_proto::{
    Packet, PacketId, Properties, PropertiesBuilder, Property, ReasonCode, SubAck, Subscribe, SubscriptionOptions,
    TopicFilter, UnsubAck, Unsubscribe,
};

/// What one SUBSCRIBE says beside its filters (5.0).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// Subscription Identifier, 1 to 268,435,455.
    pub identifier: Option<u32>,
    /// User Properties, and nothing else.
    pub user_properties: Properties,
}

/// A subscription that the user wants.
#[derive(Clone, Debug)]
pub(super) struct Desired {
    pub(super) options: SubscriptionOptions,
    pub(super) more: SubscribeOptions,
    /// Whether a SUBACK ever confirmed it.
    pub(super) confirmed: bool,
}

/// Something to ask the Server for, for one filter.
#[derive(Clone, Debug)]
pub(super) struct Request {
    filter: TopicFilter,
    /// `None` asks to unsubscribe.
    subscribe: Option<(SubscriptionOptions, SubscribeOptions)>,
    /// Whose answer it is, and at which place; none if the machine asks by itself.
    reply: Option<(Token, usize)>,
}

#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    pub(super) desired: BTreeMap<TopicFilter, Desired>,
    /// Requests to send, in the order of the calls.
    waiting: BTreeMap<u64, Request>,
    /// The place of each filter in `waiting`.
    place: BTreeMap<TopicFilter, u64>,
    next_place: u64,
    /// Answers that are not complete: one place per filter of the call.
    replies: BTreeMap<Token, Reply>,
}

#[derive(Debug)]
struct Reply {
    subscribe: bool,
    reasons: Vec<Option<ReasonCode>>,
}

impl Subscriptions {
    pub(super) fn is_settled(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Filters for which an UNSUBSCRIBE waits to be sent or answered, in no order.
    pub(super) fn unwanted(&self, flights: &Flights) -> Vec<TopicFilter> {
        let unanswered = flights.iter().filter_map(|(_, flight)| match flight {
            Flight::Unsubscribe(requests) => Some(requests),
            _ => None,
        });
        let requests = unanswered.flatten().chain(self.waiting.values());
        let unwanted = |request: &&Request| request.subscribe.is_none() && !self.desired.contains_key(&request.filter);
        let mut filters: Vec<_> = requests.filter(unwanted).map(|request| request.filter.clone()).collect();
        filters.sort_unstable();
        filters.dedup();
        filters
    }

    /// Adds a request, and takes out the one of the same filter that still waited.
    fn wait(&mut self, request: Request) -> Option<Request> {
        let place = self.next_place;
        self.next_place += 1;
        let before = self.place.insert(request.filter.clone(), place).and_then(|old| self.waiting.remove(&old));
        self.waiting.insert(place, request);
        before
    }

    fn take_first(&mut self) -> Option<Request> {
        let (_, request) = self.waiting.pop_first()?;
        self.place.remove(&request.filter);
        Some(request)
    }
}

impl Client {
    /// Wants these subscriptions: now, and after each reconnect until [`Client::unsubscribe`]. The token is settled with a Reason Code per filter.
    /// A request that a later one for the same filter overtakes before it was sent shares that one's fate as Success. O(n log m).
    #[expect(clippy::needless_pass_by_value, reason = "it is cloned per filter, and callers rarely keep it")]
    pub fn subscribe(
        &mut self,
        now: Instant,
        filters: Vec<(TopicFilter, SubscriptionOptions)>,
        more: SubscribeOptions,
    ) -> Result<Token, SubscribeError> {
        self.check_subscribe(&filters, &more)?;
        let token = self.new_token();
        let reply = Reply { subscribe: true, reasons: alloc::vec![None; filters.len()] };
        self.subscriptions.replies.insert(token, reply);
        for (at, (filter, options)) in filters.into_iter().enumerate() {
            let desired = Desired { options, more: more.clone(), confirmed: false };
            self.keep_desired(&filter, &desired);
            self.subscriptions.desired.insert(filter.clone(), desired);
            self.request(Request { filter, subscribe: Some((options, more.clone())), reply: Some((token, at)) });
        }
        self.pump(now);
        Ok(token)
    }

    /// Wants these subscriptions no more. The token is settled with a Reason Code per filter; before 5.0, which knows none, with Success.
    pub fn unsubscribe(&mut self, now: Instant, filters: Vec<TopicFilter>) -> Result<Token, SubscribeError> {
        if filters.is_empty() {
            return Err(SubscribeError::Empty); // [MQTT-3.10.3-2]
        }
        let token = self.new_token();
        let reply = Reply { subscribe: false, reasons: alloc::vec![None; filters.len()] };
        self.subscriptions.replies.insert(token, reply);
        for (at, filter) in filters.into_iter().enumerate() {
            self.subscriptions.desired.remove(&filter);
            self.keep(|| StoreOp::Put(Record::Unsubscribe(filter.clone())));
            self.request(Request { filter, subscribe: None, reply: Some((token, at)) });
        }
        self.pump(now);
        Ok(token)
    }

    /// The desired subscriptions, in the order of their filters, and whether the Server confirmed each.
    pub fn subscriptions(&self) -> impl Iterator<Item = (&TopicFilter, SubscriptionOptions, bool)> {
        self.subscriptions.desired.iter().map(|(filter, desired)| (filter, desired.options, desired.confirmed))
    }

    fn check_subscribe(
        &self,
        filters: &[(TopicFilter, SubscriptionOptions)],
        more: &SubscribeOptions,
    ) -> Result<(), SubscribeError> {
        if filters.is_empty() {
            return Err(SubscribeError::Empty); // [MQTT-3.8.3-2]
        }
        // [MQTT-3.8.3-4]
        if filters.iter().any(|(filter, options)| options.no_local && filter.is_shared()) {
            return Err(SubscribeError::NoLocalShared);
        }
        let plain = |options: &SubscriptionOptions| *options == SubscriptionOptions::from(options.qos);
        let v5_only = more != &SubscribeOptions::default() || !filters.iter().all(|(_, options)| plain(options));
        if v5_only && !self.config.version.is_v5() {
            return Err(SubscribeError::NotInVersion);
        }
        if more.identifier.is_some_and(|id| id == 0 || id > 268_435_455) {
            return Err(SubscribeError::Identifier);
        }
        if more.user_properties.iter().any(|property| !matches!(property, Property::UserProperty(..))) {
            return Err(SubscribeError::Property);
        }
        let new = filters.iter().filter(|(filter, _)| !self.subscriptions.desired.contains_key(filter)).count();
        if self.subscriptions.desired.len() + new > self.config.max_subscriptions {
            return Err(SubscribeError::TooMany);
        }
        Ok(())
    }

    fn request(&mut self, request: Request) {
        if let Some(overtaken) = self.subscriptions.wait(request) {
            self.reply(overtaken.reply, ReasonCode::Success);
        }
    }

    /// A subscription of an exported session that the Server never confirmed.
    pub(super) fn want_again(&mut self, filter: TopicFilter, options: SubscriptionOptions, more: SubscribeOptions) {
        self.request(Request { filter, subscribe: Some((options, more)), reply: None });
    }

    /// A subscription of an exported session that is to end.
    pub(super) fn want_gone(&mut self, filter: TopicFilter) {
        self.request(Request { filter, subscribe: None, reply: None });
    }

    fn keep_desired(&mut self, filter: &TopicFilter, desired: &Desired) {
        self.keep(|| StoreOp::Put(Record::Subscription(desired.state(filter))));
    }

    /// The subscription is over, unless it is wanted anew.
    fn keep_nothing_of(&mut self, filter: &TopicFilter) {
        if !self.subscriptions.desired.contains_key(filter) {
            self.keep(|| StoreOp::Remove(RecordKey::Subscription(filter.clone())));
        }
    }

    /// Requests that the lost connection left unanswered wait again, before newer ones: SUBSCRIBE and UNSUBSCRIBE are no part of a session.
    pub(super) fn requeue_requests(&mut self, requests: Vec<Request>) {
        if requests.is_empty() {
            return;
        }
        let newer = core::mem::take(&mut self.subscriptions.waiting);
        self.subscriptions.place.clear();
        for request in requests.into_iter().chain(newer.into_values()) {
            self.request(request);
        }
    }

    /// After CONNACK: what the Server has not got is asked for, what it lost need not be taken back. `None`: nobody can know
    /// what it has, so it is asked for everything.
    pub(super) fn reconcile_subscriptions(&mut self, session_present: Option<bool>) {
        if session_present == Some(true) {
            return; // what waits is all the difference there is
        }
        let mut waiting = core::mem::take(&mut self.subscriptions.waiting);
        self.subscriptions.place.clear();
        waiting.retain(|_, request| {
            let keep = request.subscribe.is_some() || session_present.is_none();
            if !keep {
                self.keep_nothing_of(&request.filter);
                self.reply(request.reply, ReasonCode::NoSubscriptionExisted);
            }
            keep
        });
        let resubscribe = self.config.resubscribe;
        let mut lost = Vec::new();
        self.subscriptions.desired.retain(|filter, desired| {
            let keep = resubscribe || !desired.confirmed;
            if desired.confirmed {
                desired.confirmed = false;
                lost.push((filter.clone(), desired.clone()));
            }
            keep
        });
        for (filter, desired) in lost {
            if resubscribe {
                self.keep_desired(&filter, &desired);
                let Desired { options, more, .. } = desired;
                self.request(Request { filter, subscribe: Some((options, more)), reply: None });
            } else {
                self.keep_nothing_of(&filter);
            }
        }
        for request in waiting.into_values() {
            self.request(request);
        }
    }

    /// Sends all requests that wait, in batches of one kind and one set of properties.
    pub(super) fn pump_requests(&mut self, now: Instant) {
        while !self.subscriptions.is_settled() && !self.flights.is_full() {
            let batch = self.take_batch();
            if batch.is_empty() {
                continue; // all of them were answered by what the Server's limits forbid
            }
            self.send_batch(now, batch);
        }
    }

    fn take_batch(&mut self) -> Vec<Request> {
        let mut batch: Vec<Request> = Vec::new();
        let mut length = 32; // fixed header, identifier, property length and Subscription Identifier
        let room = self.limits.maximum_packet_size as usize;
        while batch.len() < self.config.subscribe_batch.max(1) {
            let Some((_, next)) = self.subscriptions.waiting.first_key_value() else { break };
            if batch.first().is_some_and(|first| !first.travels_with(next)) {
                break;
            }
            let (refused, cost) = (self.forbidden(next), next.cost());
            if refused.is_none() && !batch.is_empty() && length + cost > room {
                break;
            }
            let Some(request) = self.subscriptions.take_first() else { break };
            if let Some(reason) = refused {
                self.answer_request(request, reason);
            } else {
                length += cost;
                batch.push(request);
            }
        }
        batch
    }

    /// What the Server announced not to support is a Protocol Error to ask for (section 3.2.2.3.11 to 13).
    fn forbidden(&self, request: &Request) -> Option<ReasonCode> {
        let (_, more) = request.subscribe.as_ref()?;
        let limits = &self.limits;
        if !limits.wildcards && request.filter.has_wildcard() {
            return Some(ReasonCode::WildcardSubscriptionsNotSupported);
        }
        if !limits.shared_subscriptions && request.filter.is_shared() {
            return Some(ReasonCode::SharedSubscriptionsNotSupported);
        }
        (!limits.subscription_identifiers && more.identifier.is_some())
            .then_some(ReasonCode::SubscriptionIdentifiersNotSupported)
    }

    fn send_batch(&mut self, now: Instant, batch: Vec<Request>) {
        let subscribe = batch.first().is_some_and(|request| request.subscribe.is_some());
        let flight = if subscribe { Flight::Subscribe(batch.clone()) } else { Flight::Unsubscribe(batch.clone()) };
        let Some(id) = self.flights.insert(flight) else { return };
        if self.send(now, &batch_packet(id, batch)).is_ok() {
            return;
        }
        // A single filter that is larger than the Server's Maximum Packet Size [MQTT-3.2.2-15], or User Properties that are.
        if let Some(Flight::Subscribe(requests) | Flight::Unsubscribe(requests)) = self.flights.remove(id) {
            for request in requests {
                self.answer_request(request, ReasonCode::PacketTooLarge);
            }
        }
    }

    /// SUBACK: one Reason Code per filter of the SUBSCRIBE with its identifier [MQTT-3.8.4-2], [MQTT-3.8.4-6], [MQTT-2.2.1-6].
    pub(super) fn on_suback(&mut self, suback: SubAck) -> Result<(), ProtocolError> {
        match self.flights.get(suback.id) {
            Some(Flight::Subscribe(requests)) if requests.len() == suback.reasons.len() => {}
            Some(Flight::Subscribe(_)) => {
                return Err(ProtocolError::new("MQTT-3.8.4-6", "SUBACK with another number of Reason Codes"));
            }
            _ => return Err(ProtocolError::new("MQTT-3.8.4-2", "SUBACK for no SUBSCRIBE of ours")),
        }
        self.answered(suback.id, suback.reasons);
        Ok(())
    }

    /// UNSUBACK likewise; before 5.0 it has no Reason Codes.
    pub(super) fn on_unsuback(&mut self, unsuback: UnsubAck) -> Result<(), ProtocolError> {
        let Some(Flight::Unsubscribe(requests)) = self.flights.get(unsuback.id) else {
            return Err(ProtocolError::new("MQTT-3.10.4-4", "UNSUBACK for no UNSUBSCRIBE of ours"));
        };
        let mut reasons = unsuback.reasons;
        if !self.config.version.is_v5() {
            reasons = alloc::vec![ReasonCode::Success; requests.len()];
        }
        if requests.len() != reasons.len() {
            return Err(ProtocolError::new("MQTT-3.11.3-1", "UNSUBACK with another number of Reason Codes"));
        }
        self.answered(unsuback.id, reasons);
        Ok(())
    }

    /// Reason Codes come in the order of the filters [MQTT-3.9.3-1], [MQTT-3.11.3-1], [3.1.1: MQTT-3.9.3-1].
    fn answered(&mut self, id: PacketId, reasons: Vec<ReasonCode>) {
        if let Some(Flight::Subscribe(requests) | Flight::Unsubscribe(requests)) = self.flights.remove(id) {
            for (request, reason) in requests.into_iter().zip(reasons) {
                self.answer_request(request, reason);
            }
        }
    }

    fn answer_request(&mut self, request: Request, reason: ReasonCode) {
        let newer = self.subscriptions.place.contains_key(&request.filter);
        if let (Some(asked), false) = (&request.subscribe, newer) {
            let matches = |desired: &Desired| desired.options == asked.0 && desired.more == asked.1;
            if reason.is_error() {
                // The Server says no, in 3.x by 0x80: asking again after each reconnect would not change that.
                self.subscriptions.desired.remove(&request.filter);
                self.keep_nothing_of(&request.filter);
                if request.reply.is_none() {
                    self.event(Event::SubscriptionLost { filter: request.filter, reason });
                }
            } else if let Some(desired) = self.subscriptions.desired.get_mut(&request.filter).filter(|d| matches(d)) {
                desired.confirmed = true;
                let desired = desired.clone();
                self.keep_desired(&request.filter, &desired);
            }
        } else if !newer {
            self.keep_nothing_of(&request.filter);
        }
        self.reply(request.reply, reason);
    }

    /// Fills one place of an answer, and settles the token with the last.
    fn reply(&mut self, reply: Option<(Token, usize)>, reason: ReasonCode) {
        let Some((token, at)) = reply else { return };
        let Some(answer) = self.subscriptions.replies.get_mut(&token) else { return };
        answer.reasons[at] = Some(reason);
        if answer.reasons.iter().all(Option::is_some) {
            let subscribe = answer.subscribe;
            let answer = self.subscriptions.replies.remove(&token);
            let reasons = answer.into_iter().flat_map(|answer| answer.reasons).flatten().collect();
            let outcome = if subscribe { Outcome::Subscribed(reasons) } else { Outcome::Unsubscribed(reasons) };
            self.settle_when_kept(token, outcome);
        }
    }
}

impl Desired {
    pub(super) fn state(&self, filter: &TopicFilter) -> SubscriptionState {
        let Self { options, more, confirmed } = self.clone();
        SubscriptionState { filter: filter.clone(), options, more, confirmed }
    }
}

impl Request {
    /// Whether both can stand in one packet.
    fn travels_with(&self, other: &Self) -> bool {
        match (&self.subscribe, &other.subscribe) {
            (None, None) => true,
            (Some((_, a)), Some((_, b))) => a == b,
            _ => false,
        }
    }

    /// Bytes in its packet, generously.
    fn cost(&self) -> usize {
        let properties = self.subscribe.as_ref().map_or(0, |(_, more)| more.user_properties.len());
        3 + self.filter.as_bytes().len() + properties
    }
}

fn batch_packet(id: PacketId, batch: Vec<Request>) -> Packet {
    let Some((_, more)) = batch.first().and_then(|request| request.subscribe.clone()) else {
        let filters = batch.into_iter().map(|request| request.filter).collect();
        return Packet::Unsubscribe(Unsubscribe { id, filters, properties: Properties::new() });
    };
    let mut properties = PropertiesBuilder::default();
    for property in more.identifier.map(Property::SubscriptionIdentifier).into_iter().chain(more.user_properties.iter())
    {
        properties = properties.with(property);
    }
    let filters = batch.into_iter().filter_map(|request| Some((request.filter, request.subscribe?.0))).collect();
    Packet::Subscribe(Subscribe { id, filters, properties: properties.build() })
}
