//! A well-behaved client: the machine under test, and a user who publishes, subscribes, leaves and comes back.
use crate::history::{Diary, Got, Name, Sent, Wish};
use crate::trace::Trace;
use mqtt_session::client::{
    AliasPolicy, Backoff, Client, ClientConfig, DisconnectReason, Event, Message, Outcome, SessionLoss,
    SubscribeOptions,
};
use mqtt_session::proto::{
    ClientId, Disconnect, Properties, QoS, ReasonCode, SubscriptionOptions, TopicFilter, TopicName, Version, Will,
};
use mqtt_session::{Instant, Rng};
use std::time::Duration;

/// A client and its user.
#[derive(Debug)]
pub(crate) struct Actor {
    pub(crate) index: usize,
    pub(crate) machine: Client,
    pub(crate) diary: Diary,
    /// The link in use, by its key.
    pub(crate) link: Option<u64>,
    /// Stands still until then, with its clock.
    pub(crate) frozen_until: Option<Instant>,
    /// Does not take messages until then.
    pub(crate) slow_until: Option<Instant>,
    /// Left by itself; comes back when the user wants.
    away: bool,
    version: Version,
}

const FILTERS: [&str; 8] = ["t/0/0", "t/+/1", "t/1/#", "t/#", "+/2/+", "$share/g/t/+/2", "$share/h/t/#", "t/2/2"];

fn qos(rng: &mut Rng) -> QoS {
    QoS::new(rng.below(3) as u8).expect("below 3")
}

fn config(index: usize, durable: bool, version: Version, rng: &mut Rng) -> ClientConfig {
    let has_will = rng.below(2) == 0;
    ClientConfig {
        version,
        client_id: ClientId::try_from(format!("client-{index}").as_str()).expect("ASCII text"),
        clean_start: !durable,
        session_expiry: if durable && version.is_v5() { u32::MAX } else { 0 },
        keep_alive: 5,
        ping_timeout: Duration::from_secs(2),
        connect_timeout: Duration::from_secs(3),
        will: has_will.then(|| Will {
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: TopicName::try_from(format!("w/{index}").as_str()).expect("a sound topic"),
            payload: format!("w{index}").into(),
            properties: Properties::new(),
        }),
        receive_maximum: 1 + rng.below(8) as u16,
        max_inflight: 1 + rng.below(16) as u16,
        topic_alias: [AliasPolicy::Off, AliasPolicy::FirstCome, AliasPolicy::Lru][rng.below(3) as usize],
        topic_alias_maximum: rng.below(4) as u16,
        topic_alias_limit: 2,
        on_session_loss: SessionLoss::Fail,
        max_incoming: 1 + rng.below(20) as usize,
        reconnect: Some(Backoff { min: Duration::from_millis(10), max: Duration::from_secs(2), ..Backoff::default() }),
        retry_refused: true,
        ..ClientConfig::default()
    }
}

impl Actor {
    pub(crate) fn new(index: usize, broker: usize, rng: &mut Rng, now: Instant) -> Self {
        let durable = rng.below(10) < 7;
        let version = [Version::V3_1, Version::V3_1_1, Version::V5, Version::V5][rng.below(4) as usize];
        let config = config(index, durable, version, rng);
        let diary = Diary { broker, durable, has_will: config.will.is_some(), ..Diary::default() };
        let mut seed = [index as u8; 32];
        seed[..8].copy_from_slice(&rng.next_u64().to_le_bytes());
        let machine = Client::new(config, seed, now).expect("a sound configuration");
        Self { index, machine, diary, link: None, frozen_until: None, slow_until: None, away: false, version }
    }

    pub(crate) fn is_frozen(&self, now: Instant) -> bool {
        self.frozen_until.is_some_and(|until| until > now)
    }

    /// The user does something.
    pub(crate) fn act(&mut self, now: Instant, rng: &mut Rng, trace: &mut Trace) {
        if self.away && rng.below(2) == 0 {
            self.come_back(now);
            return;
        }
        match rng.below(100) {
            0..55 => {
                let topic = format!("t/{}/{}", rng.below(3), rng.below(3));
                let qos = qos(rng);
                self.publish(now, topic, qos, false, false, trace);
            }
            55..62 => {
                // One QoS: a QoS 1 message that is sent again may come after a later one of QoS 2 (section 4.6).
                let qos = if self.index.is_multiple_of(2) { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
                self.publish(now, format!("r/{}", self.index), qos, true, false, trace);
            }
            62..80 => {
                let filter = FILTERS[rng.below(FILTERS.len() as u64) as usize];
                let qos = qos(rng);
                self.subscribe(now, filter, qos, trace);
            }
            80..84 => self.subscribe(now, "w/#", QoS::AtLeastOnce, trace),
            84..92 => self.unsubscribe(now, rng, trace),
            92..96 => self.leave(now, trace),
            _ => self.slow_until = Some(now + Duration::from_millis(rng.below(3000))),
        }
    }

    pub(crate) fn come_back(&mut self, now: Instant) {
        self.away = false;
        self.machine.connect(now);
    }

    /// Publishes; the payload names the message.
    pub(crate) fn publish(
        &mut self,
        now: Instant,
        topic: String,
        qos: QoS,
        retain: bool,
        probe: bool,
        trace: &mut Trace,
    ) {
        let name = (self.index, self.diary.sent.len() as u32);
        let mut message = Message::new(
            TopicName::try_from(topic.as_str()).expect("a sound topic"),
            format!("{}.{}", name.0, name.1),
            qos,
        );
        message.retain = retain;
        match self.machine.publish(now, message) {
            Ok(token) => {
                trace
                    .add(now, format_args!("client {} publishes {}.{} on {topic} {qos:?}", self.index, name.0, name.1));
                self.diary.sent.push(Sent { topic, qos, at: now, token, settled: None, probe });
            }
            Err(error) => trace.add(now, format_args!("client {} cannot publish: {error}", self.index)),
        }
    }

    pub(crate) fn subscribe(&mut self, now: Instant, filter: &str, qos: QoS, trace: &mut Trace) {
        if self.diary.wishes.iter().any(|wish| wish.filter == filter && wish.gone.is_none()) {
            return; // changing a subscription's QoS has tests of its own
        }
        let filters = vec![(TopicFilter::try_from(filter).expect("a sound filter"), SubscriptionOptions::from(qos))];
        let token = self.machine.subscribe(now, filters, SubscribeOptions::default()).expect("a sound request");
        trace.add(now, format_args!("client {} subscribes {filter} {qos:?}", self.index));
        let wish = Wish { filter: filter.into(), qos, asked: now, token, granted: None, ended: None, gone: None };
        self.diary.wishes.push(wish);
    }

    fn unsubscribe(&mut self, now: Instant, rng: &mut Rng, trace: &mut Trace) {
        let open = self.diary.wishes.iter_mut().filter(|wish| wish.granted.is_some() && wish.ended.is_none());
        let mut open: Vec<&mut Wish> = open.collect();
        if open.is_empty() {
            return;
        }
        let index = rng.below(open.len() as u64) as usize;
        let wish = &mut *open[index];
        let filter = TopicFilter::try_from(wish.filter.as_str()).expect("a sound filter");
        let token = self.machine.unsubscribe(now, vec![filter]).expect("a sound request");
        trace.add(now, format_args!("client {} unsubscribes {}", self.index, wish.filter));
        wish.ended = Some((now, token));
    }

    fn leave(&mut self, now: Instant, trace: &mut Trace) {
        if !self.machine.is_connected() {
            return;
        }
        trace.add(now, format_args!("client {} leaves", self.index));
        let disconnect = Disconnect { reason: ReasonCode::Success, properties: Properties::new() };
        self.machine.disconnect(now, &disconnect).expect("a sound packet");
        self.away = true;
    }

    /// Takes the messages that the machine hands out.
    pub(crate) fn take_messages(&mut self, now: Instant, trace: &mut Trace) -> bool {
        if self.slow_until.is_some_and(|until| until > now) {
            return false;
        }
        self.slow_until = None;
        let mut any = false;
        while let Some(message) = self.machine.poll_message(now) {
            any = true;
            let text = String::from_utf8_lossy(&message.payload).into_owned();
            trace.add(now, format_args!("client {} gets {text} on {} {:?}", self.index, &*message.topic, message.qos));
            if let Some(of) = text.strip_prefix('w') {
                *self.diary.wills.entry(of.parse().unwrap_or(usize::MAX)).or_default() += 1;
                continue;
            }
            let name: Option<Name> = text.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
            let name = name.unwrap_or((usize::MAX, 0)); // no such message: `check` will say so
            if message.topic.starts_with("r/") {
                self.diary.retained.insert(message.topic.to_string(), name);
            }
            self.diary.got.push(Got { name, qos: message.qos, retain: message.retain });
        }
        any
    }

    /// Notes what the machine reports.
    pub(crate) fn note(&mut self, now: Instant, event: &Event, trace: &mut Trace) {
        match event {
            Event::Connected(connected) => {
                trace.add(
                    now,
                    format_args!("client {} is connected, session {}", self.index, connected.session_present),
                );
                self.diary.connections += 1;
                if self.diary.connections > 1 && !connected.session_present && self.version != Version::V3_1 {
                    self.diary.sessions_lost += 1;
                }
            }
            Event::Disconnected { reason, was_connected, .. } => {
                trace.add(now, format_args!("client {} is disconnected: {reason}", self.index));
                if *was_connected && *reason != DisconnectReason::ByCaller {
                    self.diary.lost_connections += 1;
                }
                if let DisconnectReason::Protocol(error) = reason {
                    self.diary.protocol_errors.push(error.to_string());
                }
                if let DisconnectReason::ByServer(packet) = reason
                    && !matches!(packet.reason, ReasonCode::SessionTakenOver | ReasonCode::KeepAliveTimeout)
                {
                    self.diary
                        .protocol_errors
                        .push(format!("the broker found fault with the client: {:?}", packet.reason));
                }
            }
            Event::Settled { token, result } => {
                trace.add(now, format_args!("client {} settles {}: {result:?}", self.index, token.as_u64()));
                if let Some(sent) = self.diary.sent.iter_mut().find(|sent| sent.token == *token) {
                    sent.settled = Some(result.is_ok());
                }
                for wish in &mut self.diary.wishes {
                    if wish.token == *token && matches!(result, Ok(Outcome::Subscribed(codes)) if !codes[0].is_error())
                    {
                        wish.granted = Some(now);
                    }
                    if wish.ended.is_some_and(|(_, ended)| ended == *token) {
                        wish.gone = Some(now);
                    }
                }
            }
            other => trace.add(now, format_args!("client {}: {other:?}", self.index)),
        }
    }
}
