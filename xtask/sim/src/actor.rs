//! A well-behaved client: the machine under test, and a user who publishes, subscribes, leaves and comes back.
use crate::client_disk::ClientDisk;
use crate::history::{Diary, Got, Name, Sent, Wish};
use crate::trace::Trace;
use bytes::BytesMut;
use mqtt_session::client::{
    AckToken, AliasPolicy, Backoff, Client, ClientConfig, DisconnectReason, Event, MemoryStore, Message, Outcome,
    Received, Record, SessionLoss, SubscribeOptions, Token,
};
use mqtt_session::proto::{
    ClientId, Disconnect, Properties, Property, QoS, ReasonCode, SubscriptionOptions, TopicFilter, TopicName, Version,
    Will,
};
use mqtt_session::{Instant, Rng, UnixTime};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A client and its user.
#[derive(Debug)]
pub(crate) struct Actor {
    pub(crate) index: usize,
    pub(crate) machine: Client,
    pub(crate) diary: Diary,
    config: Arc<ClientConfig>,
    seed: [u8; 32],
    /// Keeps its session, if it has one.
    pub(crate) disk: Option<ClientDisk>,
    /// Was killed; begins anew when it thaws.
    pub(crate) killed: bool,
    /// The acknowledgment token of the last QoS 2 message that its user has, who keeps it together with the message.
    last_taken: u64,
    /// The link in use, by its key.
    pub(crate) link: Option<u64>,
    /// Stands still until then, with its clock.
    pub(crate) frozen_until: Option<Instant>,
    /// Does not take messages until then.
    pub(crate) slow_until: Option<Instant>,
    /// Left by itself; comes back when the user wants.
    pub(crate) away: bool,
    version: Version,
    /// How far its clock is ahead.
    pub(crate) ahead: Duration,
    /// Acknowledges by hand, later and in any order; these are not acknowledged yet.
    by_hand: Option<Vec<AckToken>>,
    /// The disk of its broker may fail, so that the broker may close the connection.
    pub(crate) broker_may_fail: bool,
    /// How long the broker is to keep its session, and how long to wait with its Will.
    pub(crate) session_expiry: Duration,
    pub(crate) will_delay: Duration,
}

/// Bytes that clients with small packets take.
const SMALL_PACKET: u32 = 90;
/// Bytes of messages that are larger.
const LARGE_PAYLOAD: usize = 120;

const FILTERS: [&str; 8] = ["t/0/0", "t/+/1", "t/1/#", "t/#", "+/2/+", "$share/g/t/+/2", "$share/h/t/#", "t/2/2"];

fn qos(rng: &mut Rng) -> QoS {
    QoS::new(rng.below(3) as u8).expect("below 3")
}

/// How long a session lasts: to the end, some seconds, or no longer than its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasts {
    Always,
    Seconds(u32),
    Connected,
}

fn config(index: usize, lasts: Lasts, version: Version, rng: &mut Rng) -> ClientConfig {
    let has_will = rng.below(2) == 0;
    let delay = if version.is_v5() && rng.below(2) == 0 { 1 + rng.below(5) as u32 } else { 0 };
    let will_properties = match delay {
        0 => Properties::new(),
        delay => Properties::builder().with(Property::WillDelayInterval(delay)).build(),
    };
    ClientConfig {
        version,
        client_id: ClientId::try_from(format!("client-{index}").as_str()).expect("ASCII text"),
        clean_start: lasts == Lasts::Connected,
        session_expiry: match lasts {
            Lasts::Always if version.is_v5() => u32::MAX,
            Lasts::Seconds(seconds) => seconds,
            _ => 0,
        },
        maximum_packet_size: if version.is_v5() && rng.below(6) == 0 { SMALL_PACKET } else { 1 << 20 },
        manual_acks: rng.below(4) == 0,
        keep_alive: 5,
        ping_timeout: Duration::from_secs(2),
        connect_timeout: Duration::from_secs(3),
        will: has_will.then(|| Will {
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: TopicName::try_from(format!("w/{index}").as_str()).expect("a sound topic"),
            payload: format!("w{index}").into(),
            properties: will_properties,
        }),
        receive_maximum: 1 + rng.below(8) as u16,
        max_inflight: 1 + rng.below(16) as u16,
        topic_alias: [AliasPolicy::Off, AliasPolicy::FirstCome, AliasPolicy::Lru][rng.below(3) as usize],
        topic_alias_maximum: rng.below(4) as u16,
        topic_alias_limit: 4,
        on_session_loss: SessionLoss::Fail,
        max_incoming: 1 + rng.below(20) as usize,
        reconnect: Some(Backoff { min: Duration::from_millis(10), max: Duration::from_secs(2), ..Backoff::default() }),
        retry_refused: true,
        ..ClientConfig::default()
    }
}

/// The token of the message that a record is about.
fn token_of(record: &Record) -> Option<Token> {
    match record {
        Record::Message { token, .. } | Record::Flight { token, .. } => Some(*token),
        _ => None,
    }
}

/// The time of day by the clock of a client.
fn wall(clock: Instant) -> UnixTime {
    UnixTime::from_millis(1_800_000_000_000) + clock.saturating_since(Instant::ZERO)
}

/// What is special about a message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shape {
    pub(crate) retain: bool,
    pub(crate) expires: bool,
    pub(crate) large: bool,
    pub(crate) clears: bool,
    pub(crate) probe: bool,
}

impl Actor {
    pub(crate) fn new(index: usize, broker: usize, rng: &mut Rng, now: Instant) -> Self {
        let durable = rng.below(10) < 7;
        let version = [Version::V3_1, Version::V3_1_1, Version::V5, Version::V5][rng.below(4) as usize];
        let lasts = match rng.below(3) {
            _ if durable => Lasts::Always,
            0 => Lasts::Connected,
            _ if version.is_v5() => Lasts::Seconds(1 + rng.below(6) as u32),
            _ => Lasts::Connected,
        };
        let mut config = config(index, lasts, version, rng);
        let stores = durable && rng.below(2) == 0;
        config.manual_acks |= stores; // or nobody could say which messages a restart hands out for the second time
        let (has_will, small) = (config.will.is_some(), config.maximum_packet_size == SMALL_PACKET);
        let will_delay = config.will.as_ref().and_then(|will| will.properties.will_delay_interval()).unwrap_or(0);
        let session_expiry = if durable { u32::MAX } else { config.session_expiry };
        let by_hand = config.manual_acks.then(Vec::new);
        let diary = Diary { broker, durable, has_will, small, v5: version.is_v5(), ..Diary::default() };
        let mut seed = [index as u8; 32];
        seed[..8].copy_from_slice(&rng.next_u64().to_le_bytes());
        let config = Arc::new(config);
        let disk = stores.then(|| ClientDisk::new(Rng::new(std::array::from_fn(|at| seed[at] ^ 0x55))));
        let machine = match &disk {
            Some(_) => Client::with_store(config.clone(), &MemoryStore::new(), seed, now, wall(now)),
            None => Client::new(config.clone(), seed, now),
        };
        Self {
            index,
            machine: machine.expect("a sound configuration"),
            config,
            seed,
            disk,
            killed: false,
            last_taken: 0,
            diary,
            link: None,
            frozen_until: None,
            slow_until: None,
            away: false,
            version,
            ahead: Duration::ZERO,
            by_hand,
            broker_may_fail: false,
            session_expiry: Duration::from_secs(session_expiry.into()),
            will_delay: Duration::from_secs(will_delay.into()),
        }
    }

    /// The client is killed, and its user with it; the messages that he has taken and published are written down elsewhere.
    pub(crate) fn kill(&mut self, until: Instant) -> Option<(usize, usize)> {
        let kept = self.disk.as_mut()?.kill();
        self.killed = true;
        self.frozen_until = Some(until);
        self.slow_until = None;
        self.by_hand = self.by_hand.as_ref().map(|_| Vec::new());
        Some(kept)
    }

    /// It begins anew with what its store has kept. Its user asks once more for what was not answered.
    pub(crate) fn revive(&mut self, now: Instant, trace: &mut Trace) {
        let Some(disk) = self.disk.as_ref().filter(|_| std::mem::take(&mut self.killed)) else { return };
        self.seed[31] = self.seed[31].wrapping_add(1);
        let (clock, seed) = (self.clock(now), self.seed);
        self.machine = Client::with_store(self.config.clone(), disk.contents(), seed, clock, wall(clock))
            .expect("a sound configuration");
        trace.add(now, format_args!("client {} begins anew", self.index));
        let tokens: BTreeSet<Token> = disk.contents().records().filter_map(token_of).collect();
        for sent in self.diary.sent.iter_mut().filter(|sent| sent.settled.is_none()) {
            sent.token = sent.token.filter(|token| tokens.contains(token));
            sent.kept |= sent.token.is_some();
        }
        if !self.away {
            self.machine.connect(clock);
        }
        for wish in self.diary.wishes.iter_mut().filter(|wish| wish.gone.is_none()) {
            let filter = TopicFilter::try_from(wish.filter.as_str()).expect("a sound filter");
            if let Some((_, token)) = &mut wish.ended {
                *token = self.machine.unsubscribe(clock, vec![filter]).expect("a sound request");
            } else if !wish.answered {
                let filters = vec![(filter, SubscriptionOptions::from(wish.qos))];
                wish.token =
                    self.machine.subscribe(clock, filters, SubscribeOptions::default()).expect("a sound request");
            }
        }
    }

    /// Whether its user has had a message before: a restart hands out QoS 2 messages again whose acknowledgments were not
    /// kept, under the same tokens.
    fn had_before(&mut self, message: &Received) -> bool {
        let Some(ack) = message.ack.filter(|_| self.disk.is_some() && message.qos == QoS::ExactlyOnce) else {
            return false;
        };
        let before = ack.as_u64() <= self.last_taken;
        self.last_taken = self.last_taken.max(ack.as_u64());
        before
    }

    /// What its clock says.
    pub(crate) fn clock(&self, now: Instant) -> Instant {
        now + self.ahead
    }

    pub(crate) fn handle_connected(&mut self, now: Instant) {
        self.machine.handle_connected(self.clock(now));
    }

    pub(crate) fn handle_disconnected(&mut self, now: Instant) {
        self.machine.handle_disconnected(self.clock(now));
    }

    pub(crate) fn handle_input(&mut self, now: Instant, input: &mut BytesMut) {
        self.machine.handle_input(self.clock(now), input);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.machine.handle_timeout(self.clock(now));
    }

    /// Its disk has come so far.
    pub(crate) fn sync(&mut self, now: Instant, slow: bool, fails: bool) {
        let clock = self.clock(now);
        for completion in self.disk.as_mut().map(|disk| disk.sync(now, slow, fails)).unwrap_or_default() {
            self.machine.handle_completion(clock, completion);
        }
    }

    pub(crate) fn transmitted(&mut self, now: Instant, count: usize) {
        self.machine.transmitted(self.clock(now), count);
    }

    /// When its machine wants to be called, by everybody's clock.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let disk = self.disk.as_ref().and_then(ClientDisk::deadline);
        let machine = self.machine.poll_timeout();
        let machine = machine.map(|at| Instant::ZERO + (at.saturating_since(Instant::ZERO).saturating_sub(self.ahead)));
        machine.into_iter().chain(disk).min()
    }

    pub(crate) fn is_frozen(&self, now: Instant) -> bool {
        self.killed || self.frozen_until.is_some_and(|until| until > now)
    }

    /// The user does something.
    pub(crate) fn act(&mut self, now: Instant, rng: &mut Rng, trace: &mut Trace) {
        if self.away && rng.below(2) == 0 {
            self.come_back(now);
            return;
        }
        match rng.below(100) {
            0..52 => {
                let topic = format!("t/{}/{}", rng.below(3), rng.below(3));
                let qos = qos(rng);
                let shape = Shape { expires: rng.below(8) == 0, large: rng.below(12) == 0, ..Shape::default() };
                let flood = if rng.below(40) == 0 { rng.below(40) } else { 0 };
                for _ in 0..=flood {
                    self.publish(now, topic.clone(), qos, shape, trace);
                }
            }
            52..55 => self.acknowledge_some(now, rng),
            55..62 => {
                // One QoS: a QoS 1 message that is sent again may come after a later one of QoS 2 (section 4.6).
                let qos = if self.index.is_multiple_of(2) { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
                let (expires, clears) = (rng.below(4) == 0, rng.below(5) == 0);
                let shape = Shape { retain: true, expires, clears, ..Shape::default() };
                self.publish(now, format!("r/{}", self.index), qos, shape, trace);
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
        self.machine.connect(self.clock(now));
    }

    /// Publishes; the payload names the message.
    pub(crate) fn publish(&mut self, now: Instant, topic: String, qos: QoS, shape: Shape, trace: &mut Trace) {
        let name = (self.index, self.diary.sent.len() as u32);
        let mut text = format!("{}.{}", name.0, name.1);
        if shape.clears {
            text.clear();
        }
        if shape.large {
            text.extend(std::iter::repeat_n(' ', LARGE_PAYLOAD));
        }
        let mut message = Message::new(TopicName::try_from(topic.as_str()).expect("a sound topic"), text, qos);
        message.retain = shape.retain;
        let expires = shape.expires && self.version.is_v5();
        if expires {
            let seconds = 1 + name.1 % 4;
            message.properties = Properties::builder().with(Property::MessageExpiryInterval(seconds)).build();
        }
        let Shape { large, probe, clears, .. } = shape;
        match self.machine.publish(self.clock(now), message) {
            Ok(token) => {
                trace
                    .add(now, format_args!("client {} publishes {}.{} on {topic} {qos:?}", self.index, name.0, name.1));
                self.diary.sent.push(Sent {
                    topic,
                    qos,
                    at: now,
                    token: Some(token),
                    settled: None,
                    kept: false,
                    expires,
                    large,
                    clears,
                    probe,
                });
            }
            Err(error) => trace.add(now, format_args!("client {} cannot publish: {error}", self.index)),
        }
    }

    pub(crate) fn subscribe(&mut self, now: Instant, filter: &str, qos: QoS, trace: &mut Trace) {
        let alive = self.diary.wishes.iter().position(|wish| wish.filter == filter && wish.gone.is_none());
        if alive.is_some_and(|at| self.diary.wishes[at].granted.is_none() || self.diary.wishes[at].ended.is_some()) {
            return; // one request at a time
        }
        let filters = vec![(TopicFilter::try_from(filter).expect("a sound filter"), SubscriptionOptions::from(qos))];
        let token =
            self.machine.subscribe(self.clock(now), filters, SubscribeOptions::default()).expect("a sound request");
        trace.add(now, format_args!("client {} subscribes {filter} {qos:?}", self.index));
        if let Some(at) = alive {
            let wish = &mut self.diary.wishes[at];
            (wish.qos, wish.least, wish.most) = (qos, wish.least.min(qos), wish.most.max(qos));
            (wish.token, wish.answered) = (token, false);
            return;
        }
        let wish = Wish {
            filter: filter.into(),
            qos,
            least: qos,
            most: qos,
            asked: now,
            token,
            answered: false,
            granted: None,
            ended: None,
            gone: None,
        };
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
        let token = self.machine.unsubscribe(now + self.ahead, vec![filter]).expect("a sound request");
        trace.add(now, format_args!("client {} unsubscribes {}", self.index, wish.filter));
        wish.ended = Some((now, token));
    }

    /// Acknowledges some of what waits for it, in any order.
    fn acknowledge_some(&mut self, now: Instant, rng: &mut Rng) {
        let clock = self.clock(now);
        let Some(tokens) = self.by_hand.as_mut().filter(|tokens| !tokens.is_empty()) else { return };
        for _ in 0..=rng.below(tokens.len() as u64) {
            let token = tokens.swap_remove(rng.below(tokens.len() as u64) as usize);
            self.machine.acknowledge(clock, token, ReasonCode::Success);
        }
    }

    /// Acknowledges all that it has; whether there was any.
    pub(crate) fn acknowledge_all(&mut self, now: Instant) -> bool {
        let clock = self.clock(now);
        let tokens = self.by_hand.as_mut().map(std::mem::take).unwrap_or_default();
        for token in &tokens {
            self.machine.acknowledge(clock, *token, ReasonCode::Success);
        }
        !tokens.is_empty()
    }

    fn leave(&mut self, now: Instant, trace: &mut Trace) {
        if !self.machine.is_connected() {
            return;
        }
        trace.add(now, format_args!("client {} leaves", self.index));
        let disconnect = Disconnect { reason: ReasonCode::Success, properties: Properties::new() };
        self.machine.disconnect(self.clock(now), &disconnect).expect("a sound packet");
        self.away = true;
    }

    /// Takes the messages that the machine hands out.
    pub(crate) fn take_messages(&mut self, now: Instant, trace: &mut Trace) -> bool {
        if self.slow_until.is_some_and(|until| until > now) {
            return false;
        }
        self.slow_until = None;
        let mut any = false;
        while let Some(message) = self.machine.poll_message(self.clock(now)) {
            any = true;
            let text = String::from_utf8_lossy(&message.payload).into_owned();
            trace.add(now, format_args!("client {} gets {text} on {} {:?}", self.index, &*message.topic, message.qos));
            if let (Some(tokens), Some(token)) = (&mut self.by_hand, message.ack) {
                tokens.push(token);
            }
            if self.had_before(&message) {
                continue;
            }
            let left = message.properties.message_expiry_interval();
            if left == Some(0) && !message.dup {
                self.diary.expired.push(text.trim_end().into());
            }
            let text = text.trim_end();
            if let Some(of) = text.strip_prefix('w') {
                let (seen, first) = self.diary.wills.entry(of.parse().unwrap_or(usize::MAX)).or_default();
                *seen += 1;
                *first += u32::from(!message.dup);
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
                    && !(self.broker_may_fail && packet.reason == ReasonCode::ImplementationSpecificError)
                {
                    self.diary
                        .protocol_errors
                        .push(format!("the broker found fault with the client: {:?}", packet.reason));
                }
            }
            Event::Kept { token } => {
                trace.add(now, format_args!("client {} has kept {}", self.index, token.as_u64()));
                if let Some(sent) = self.diary.sent.iter_mut().find(|sent| sent.token == Some(*token)) {
                    sent.kept = true;
                }
            }
            Event::Settled { token, result } => {
                trace.add(now, format_args!("client {} settles {}: {result:?}", self.index, token.as_u64()));
                if let Some(sent) = self.diary.sent.iter_mut().find(|sent| sent.token == Some(*token)) {
                    sent.settled = Some(result.is_ok());
                }
                for wish in &mut self.diary.wishes {
                    if wish.token == *token && matches!(result, Ok(Outcome::Subscribed(codes)) if !codes[0].is_error())
                    {
                        wish.granted.get_or_insert(now);
                        wish.answered = true;
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
