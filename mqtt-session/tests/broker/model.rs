//! Random histories of several clients against a naive model of what each of them is owed (sections 4.1, 4.3, 4.6, 4.8 and 4.9).
use crate::common::*;
use mqtt_session::broker::Message;
use mqtt_session::proto::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const CLIENTS: usize = 4;
const FILTERS: [&str; 6] = ["a", "b", "+", "#", "a/b", "a/+"];
const TOPICS: [&str; 4] = ["a", "b", "a/b", "c"];
const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
/// Session Expiry Interval of 5.0 sessions that last, in seconds.
const EXPIRY: u32 = 1000;

#[derive(Clone, Debug)]
enum Op {
    Connect { client: usize, clean: bool, lasts: bool, window: u16 },
    Cut { client: usize },
    Subscribe { client: usize, filter: usize, qos: usize },
    Unsubscribe { client: usize, filter: usize },
    Publish { from: usize, topic: usize, qos: usize },
    Receive { client: usize, packets: usize },
    Acknowledge { client: usize, which: usize },
    Socket { client: usize, bytes: Option<usize> },
    Sleep { seconds: u32 },
}

fn op() -> impl Strategy<Value = Op> {
    let client = 0..CLIENTS;
    prop_oneof![
        2 => (client.clone(), prop::bool::weighted(0.15), prop::bool::weighted(0.8), 1..5_u16)
            .prop_map(|(client, clean, lasts, window)| Op::Connect { client, clean, lasts, window }),
        1 => client.clone().prop_map(|client| Op::Cut { client }),
        3 => (client.clone(), 0..FILTERS.len(), prop_oneof![1 => Just(0_usize), 8 => 1..3_usize])
            .prop_map(|(client, filter, qos)| Op::Subscribe { client, filter, qos }),
        1 => (client.clone(), 0..FILTERS.len()).prop_map(|(client, filter)| Op::Unsubscribe { client, filter }),
        6 => (0..2 * CLIENTS, 0..TOPICS.len(), 0..3_usize)
            .prop_map(|(from, topic, qos)| Op::Publish { from, topic, qos }),
        5 => (client.clone(), 1..8_usize).prop_map(|(client, packets)| Op::Receive { client, packets }),
        8 => (client.clone(), 0..8_usize).prop_map(|(client, which)| Op::Acknowledge { client, which }),
        1 => (client, prop::option::of(0..60_usize)).prop_map(|(client, bytes)| Op::Socket { client, bytes }),
        1 => prop_oneof![9 => 0..5_u32, 1 => Just(EXPIRY)].prop_map(|seconds| Op::Sleep { seconds }),
    ]
}

/// A message, known by its number.
struct Published {
    topic: &'static str,
    qos: QoS,
    cost: u64,
}

/// What a session is owed of one message.
#[derive(Clone, Debug)]
struct Owed {
    /// Filters under which it was kept at QoS 1 or 2.
    filters: BTreeSet<usize>,
    /// Whether it must arrive; otherwise it may.
    must: bool,
}

/// A session as the model and the client see it.
#[derive(Default)]
struct Session {
    /// Whether QoS 1 and 2 messages are kept in logs.
    logged: bool,
    lasts: bool,
    ends_at: Option<u64>,
    subscriptions: BTreeMap<usize, QoS>,
    owed: BTreeMap<u32, Owed>,
    /// QoS 1 and 2 messages, in order: those that wait, and those on their way.
    waiting: Vec<u32>,
    inflight: Vec<u32>,
    window: usize,
    /// How often each message was received, QoS 2 repetitions not counted, and at which QoS last.
    received: BTreeMap<u32, u32>,
    /// The client's QoS 2 identifiers between PUBLISH and PUBREL.
    incoming: BTreeMap<u16, u32>,
    /// And between PUBREL and PUBCOMP.
    released: BTreeMap<u16, u32>,
    /// The last new message by topic, published and received QoS.
    last: BTreeMap<(&'static str, QoS, QoS), u32>,
}

/// The connection of a client.
struct Link {
    client: Client,
    window: usize,
    /// Messages received on this connection whose flow is not complete.
    open: BTreeMap<u16, u32>,
    /// Acknowledgments that the client may send.
    due: Vec<Packet>,
}

struct Model {
    bench: Bench,
    now: u64,
    published: Vec<Published>,
    sessions: Vec<Option<Session>>,
    links: Vec<Option<Link>>,
    /// A logged subscription became QoS 0: the model no longer knows when its messages are sent.
    vague: bool,
    next_id: u16,
}

const VERSION: [Version; CLIENTS] = [Version::V5, Version::V3_1_1, Version::V5, Version::V3_1];

/// Section 4.7, level by level.
fn matches(filter: &str, topic: &str) -> bool {
    match (filter.split_once('/'), topic.split_once('/')) {
        _ if filter == "#" => true,
        (None, None) => filter == "+" || filter == topic,
        (Some((level, filter)), Some((name, topic))) => (level == "+" || level == name) && matches(filter, topic),
        (Some((level, "#")), None) => level == "+" || level == topic,
        _ => false,
    }
}

impl Model {
    fn new() -> Self {
        Self {
            bench: Bench::with(|config| config.connection.max_inflight = 6),
            now: 0,
            published: Vec::new(),
            sessions: (0..CLIENTS).map(|_| None).collect(),
            links: (0..CLIENTS).map(|_| None).collect(),
            vague: false,
            next_id: 0,
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Connect { client, clean, lasts, window } => self.connect(client, clean, lasts, window),
            Op::Cut { client } => self.cut(client),
            Op::Subscribe { client, filter, qos } => self.subscribe(client, filter, QOS[qos]),
            Op::Unsubscribe { client, filter } => self.unsubscribe(client, filter),
            Op::Publish { from, topic, qos } => self.publish(from, TOPICS[topic], QOS[qos]),
            Op::Receive { client, packets } => {
                for _ in 0..packets {
                    self.receive(client);
                }
            }
            Op::Acknowledge { client, which } => self.acknowledge(client, which),
            Op::Socket { client, bytes } => {
                if let Some(link) = &self.links[client] {
                    self.bench.set_window(link.client, bytes);
                }
            }
            Op::Sleep { seconds } => {
                self.bench.sleep(Duration::from_secs(seconds.into()));
                self.now += u64::from(seconds);
                for session in &mut self.sessions {
                    if session.as_ref().and_then(|session| session.ends_at).is_some_and(|at| at <= self.now) {
                        *session = None;
                    }
                }
            }
        }
        for (session, link) in self.sessions.iter_mut().zip(&self.links) {
            if let (Some(session), Some(_)) = (session, link) {
                while session.inflight.len() < session.window && !session.waiting.is_empty() {
                    session.inflight.push(session.waiting.remove(0));
                }
            }
        }
        self.check_levels();
    }

    fn connect(&mut self, client: usize, clean: bool, lasts: bool, window: u16) {
        self.cut_model(client);
        if clean {
            self.sessions[client] = None;
        }
        let version = VERSION[client];
        let (clean, lasts) = if version.is_v5() { (clean, lasts) } else { (clean || !lasts, lasts && !clean) };
        if clean {
            self.sessions[client] = None; // before 5.0 a session that is not to last begins clean
        }
        let id = format!("c{client}");
        let connect = if version.is_v5() {
            let expiry = if lasts { EXPIRY } else { 0 };
            let properties = properties([Property::SessionExpiryInterval(expiry), Property::ReceiveMaximum(window)]);
            Connect { clean_start: clean, properties, ..persistent(version, &id, expiry) }
        } else {
            Connect { clean_start: clean, ..persistent(version, &id, 0) }
        };
        let (handle, connack) = self.bench.connect(connect);
        if version != Version::V3_1 {
            assert_eq!(connack.session_present, self.sessions[client].is_some());
        }
        let window = if version.is_v5() { window.into() } else { 6 };
        let session = self.sessions[client].get_or_insert_default();
        session.logged |= lasts;
        session.lasts = lasts;
        session.ends_at = None;
        session.window = window;
        self.links[client] = Some(Link { client: handle, window, open: BTreeMap::new(), due: Vec::new() });
    }

    fn cut(&mut self, client: usize) {
        if let Some(link) = &self.links[client] {
            self.bench.cut(link.client);
            self.cut_model(client);
        }
    }

    /// The connection is over, and the session with it unless it lasts.
    fn cut_model(&mut self, client: usize) {
        if self.links[client].take().is_none() {
            return;
        }
        let Some(session) = &mut self.sessions[client] else { return };
        if !session.lasts {
            self.sessions[client] = None;
        } else if VERSION[client].is_v5() {
            session.ends_at = Some(self.now + u64::from(EXPIRY));
        }
    }

    /// Sends a packet and takes its acknowledgment aside from what was received before.
    fn request(&mut self, client: usize, packet: impl Into<Packet>) {
        let handle = self.links[client].as_ref().unwrap().client;
        self.bench.send(handle, packet);
    }

    fn subscribe(&mut self, client: usize, index: usize, qos: QoS) {
        if self.links[client].is_none() {
            return;
        }
        let filters = vec![(filter(FILTERS[index]), qos.into())];
        self.request(client, Subscribe { id: pid(60_000), filters, properties: Properties::new() });
        let session = self.sessions[client].as_mut().unwrap();
        let old = session.subscriptions.insert(index, qos);
        if session.logged && old.is_some_and(|old| old != qos) {
            self.vague |= qos == QoS::AtMostOnce;
            // What waits is sent under the new terms, at QoS 0 perhaps.
            for owed in session.owed.values_mut().filter(|owed| owed.filters.contains(&index)) {
                owed.must &= qos > QoS::AtMostOnce;
            }
        }
    }

    fn unsubscribe(&mut self, client: usize, index: usize) {
        if self.links[client].is_none() {
            return;
        }
        let filters = vec![filter(FILTERS[index])];
        self.request(client, Unsubscribe { id: pid(60_001), filters, properties: Properties::new() });
        let session = self.sessions[client].as_mut().unwrap();
        if session.subscriptions.remove(&index).is_none() || !session.logged {
            return; // what was queued without a log is still sent
        }
        let (owed, inflight) = (&mut session.owed, &session.inflight);
        for (number, owed) in owed.iter_mut() {
            if owed.filters.remove(&index) && owed.filters.is_empty() && !inflight.contains(number) {
                owed.must = false;
                session.waiting.retain(|waiting| waiting != number);
            }
        }
    }

    fn publish(&mut self, from: usize, topic: &'static str, qos: QoS) {
        let number = u32::try_from(self.published.len()).unwrap();
        let payload = number.to_string();
        let message = Message::new(TopicName::try_from(topic).unwrap(), payload.clone());
        self.published.push(Published { topic, qos, cost: message.cost() });
        if self.links.get(from).is_some_and(Option::is_some) {
            self.next_id = self.next_id % 30_000 + 1;
            let id = pid(self.next_id);
            let delivery = match qos {
                QoS::AtMostOnce => Delivery::AtMostOnce,
                QoS::AtLeastOnce => Delivery::AtLeastOnce { id, dup: false },
                QoS::ExactlyOnce => Delivery::ExactlyOnce { id, dup: false },
            };
            self.request(from, Publish { delivery, ..crate::common::message(topic, &payload, qos) });
            if qos == QoS::ExactlyOnce {
                self.request(from, Packet::PubRel(ack(id.get())));
            }
        } else {
            self.bench.inject(topic, &payload, qos);
        }
        for (session, link) in self.sessions.iter_mut().zip(&self.links) {
            let Some(session) = session else { continue };
            let matching: BTreeMap<usize, QoS> = session
                .subscriptions
                .iter()
                .filter(|(index, _)| matches(FILTERS[**index], topic))
                .map(|(index, granted)| (*index, qos.min(*granted)))
                .collect();
            if matching.is_empty() {
                continue;
            }
            let kept: BTreeSet<usize> =
                matching.iter().filter(|(_, qos)| **qos > QoS::AtMostOnce).map(|(index, _)| *index).collect();
            let must = !kept.is_empty() && (session.logged || link.is_some());
            if must {
                session.waiting.push(number);
            }
            session.owed.insert(number, Owed { filters: kept, must });
        }
    }

    /// The client takes one packet from its socket.
    fn receive(&mut self, client: usize) -> bool {
        let Some(link) = &mut self.links[client] else { return false };
        let Some(packet) = self.bench.recv(link.client) else { return false };
        let session = self.sessions[client].as_mut().unwrap();
        match packet {
            Packet::Publish(publish) => {
                let number: u32 = text(&publish).parse().unwrap();
                take_publish(&self.published[number as usize], number, &publish, session, link);
            }
            Packet::PubRel(released) => {
                if let Some(number) = session.incoming.remove(&released.id.get()) {
                    session.released.insert(released.id.get(), number);
                }
                link.due.push(Packet::PubComp(ack(released.id.get())));
            }
            Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubComp(_) | Packet::SubAck(_) | Packet::UnsubAck(_) => {}
            other => panic!("{other:?}"),
        }
        true
    }

    fn acknowledge(&mut self, client: usize, which: usize) {
        let Some(link) = &mut self.links[client] else { return };
        if link.due.is_empty() {
            return;
        }
        let packet = link.due.remove(which % link.due.len());
        let session = self.sessions[client].as_mut().unwrap();
        if let Packet::PubAck(ack) | Packet::PubComp(ack) = &packet {
            let sent = link.open.remove(&ack.id.get());
            let number = session.released.remove(&ack.id.get()).or(sent).expect("a flow that was open");
            session.inflight.retain(|inflight| *inflight != number);
        }
        let handle = link.client;
        self.bench.send(handle, packet);
    }

    /// The broker's levels are those of the model.
    fn check_levels(&self) {
        let stats = self.bench.broker.stats();
        let sessions = || self.sessions.iter().flatten();
        assert_eq!(stats.sessions, sessions().count() as u64);
        assert_eq!(stats.connections, self.links.iter().flatten().count() as u64);
        assert_eq!(stats.subscriptions, sessions().map(|session| session.subscriptions.len() as u64).sum::<u64>());
        if self.vague {
            return;
        }
        assert_eq!(stats.inflight, sessions().map(|session| session.inflight.len() as u64).sum::<u64>());
        let (mut queued, mut bytes) = (0, 0);
        let mut add = |number: u32| {
            queued += 1;
            bytes += self.published[number as usize].cost;
        };
        sessions().filter(|session| !session.logged).flat_map(|session| &session.waiting).copied().for_each(&mut add);
        for (index, filter) in FILTERS.iter().enumerate() {
            // A log holds what came since the oldest message that one of its readers has not acknowledged.
            let oldest = sessions()
                .filter(|session| session.logged)
                .flat_map(|session| {
                    let waits = |number: &&u32| session.owed[number].filters.contains(&index);
                    session.waiting.iter().chain(&session.inflight).filter(waits)
                })
                .min();
            let Some(oldest) = oldest else { continue };
            for (number, published) in (0..).zip(&self.published).skip(*oldest as usize) {
                if published.qos > QoS::AtMostOnce && matches(filter, published.topic) {
                    add(number);
                }
            }
        }
        assert_eq!((stats.queued, stats.queued_bytes), (queued, bytes));
    }

    /// Everybody comes back, reads and acknowledges: nobody is owed anything, and nothing is left.
    fn finish(&mut self) {
        for client in 0..CLIENTS {
            if self.links[client].is_none() && self.sessions[client].is_some() {
                self.apply(&Op::Connect { client, clean: false, lasts: true, window: 3 });
            }
            if let Some(link) = &self.links[client] {
                self.bench.set_window(link.client, None);
                while self.receive(client) || !self.links[client].as_ref().unwrap().due.is_empty() {
                    self.apply(&Op::Acknowledge { client, which: 0 });
                }
            }
            let Some(session) = &self.sessions[client] else { continue };
            for (number, owed) in session.owed.iter().filter(|(_, owed)| owed.must) {
                assert!(session.received.contains_key(number), "client {client} misses {number}: {owed:?}");
            }
        }
        assert_eq!(self.bench.levels(), (0, 0, 0), "everything was acknowledged");
        for client in 0..CLIENTS {
            self.apply(&Op::Connect { client, clean: true, lasts: false, window: 1 });
            self.cut(client);
        }
        let stats = self.bench.broker.stats();
        assert_eq!((stats.sessions, stats.subscriptions, stats.connections), (0, 0, 0));
        assert_eq!(self.bench.levels(), (0, 0, 0));
        assert_eq!(self.bench.broker.poll_timeout(), None);
    }
}

/// A PUBLISH reaches a client: may it, now, here, like this?
fn take_publish(message: &Published, number: u32, publish: &Publish, session: &mut Session, link: &mut Link) {
    assert!(session.owed.contains_key(&number), "{number} was not meant for this session");
    let qos = publish.delivery.qos();
    assert!(qos <= message.qos);
    if let Some(id) = publish.delivery.id().map(PacketId::get) {
        let before = link.open.insert(id, number);
        assert!(
            before.is_none() && !session.released.contains_key(&id),
            "identifier {id} is in use [MQTT-2.2.1-4], [MQTT-4.4.0-1]"
        );
        assert!(link.open.len() <= link.window, "more than the Receive Maximum [MQTT-3.3.4-9]");
        link.due.push(match qos {
            QoS::AtLeastOnce => Packet::PubAck(ack(id)),
            _ => Packet::PubRec(ack(id)),
        });
        if qos == QoS::ExactlyOnce && session.incoming.insert(id, number) == Some(number) {
            assert!(publish.delivery.dup());
            return; // the same again: the client does not deliver it twice
        }
    }
    let times = session.received.entry(number).or_default();
    *times += 1;
    if *times > 1 {
        assert!(qos == QoS::AtLeastOnce && publish.delivery.dup(), "{number} came twice at {qos:?}");
        return;
    }
    let last = session.last.insert((message.topic, message.qos, qos), number);
    assert!(last.is_none_or(|last| last < number), "{number} came after {last:?} [MQTT-4.6.0-6]");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_history_keeps_its_promises(history in prop::collection::vec(op(), 1..150)) {
        let mut model = Model::new();
        for op in &history {
            model.apply(op);
        }
        model.finish();
    }
}
