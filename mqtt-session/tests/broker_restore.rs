//! A broker that stops at any moment, and another that goes on with what the store has kept: nothing acknowledged is lost,
//! and QoS 2 arrives exactly once.
mod common;
use common::*;
use mqtt_session::broker::*;
use mqtt_session::proto::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

const FOREVER: u32 = u32::MAX;
const SECOND: Duration = Duration::from_secs(1);

/// A broker with a store that keeps batches when it is told to.
struct World {
    bench: Bench,
    config: Arc<Config>,
    store: MemoryStore,
    /// How many of the bench's batches are kept.
    kept: usize,
}

impl World {
    fn new() -> Self {
        let mut bench = Bench::new();
        bench.store_at_once = false;
        let config = Arc::new(Config { sys_interval: Duration::ZERO, ..Config::default() });
        Self { bench, config, store: MemoryStore::new(), kept: 0 }
    }

    /// Keeps up to this many batches, and says so.
    fn keep(&mut self, most: usize) {
        for _ in 0..most {
            let Some(batch) = self.bench.batches.get(self.kept) else { return };
            self.store.apply(batch);
            let upto = batch.seq;
            self.kept += 1;
            self.bench.broker.handle_completion(self.bench.now, Completion::Stored { upto });
            self.bench.run();
        }
    }

    fn keep_all(&mut self) {
        while self.kept < self.bench.batches.len() {
            self.keep(1);
        }
    }

    fn crash(&mut self) {
        self.kept = 0;
        self.bench.crash(self.config.clone(), &self.store);
    }

    /// Sessions, subscriptions, retained and queued messages: of the broker, and of the store.
    fn levels(&self) -> [(u64, usize); 4] {
        let stats = self.bench.broker.stats();
        [
            (stats.sessions, self.store.sessions()),
            (stats.subscriptions, self.store.subscriptions()),
            (stats.retained, self.store.retained()),
            (stats.queued, self.store.entries()),
        ]
    }
}

#[test]
fn sessions_subscriptions_and_messages_come_back() {
    let mut world = World::new();
    for version in VERSIONS {
        let name = version.level().to_string();
        let (client, _) = world.bench.connect(persistent(version, &name, FOREVER));
        for (text, qos) in [("a", QoS::ExactlyOnce), ("b/+", QoS::AtLeastOnce), ("c", QoS::AtMostOnce)] {
            world.bench.send(client, subscribe(text, qos));
        }
        world.keep_all();
        world.bench.recv_all(client);
    }
    let (publisher, _) = world.bench.connect(connect(Version::V5, "p"));
    for (id, topic, qos) in [(1, "a", QoS::ExactlyOnce), (2, "b/1", QoS::AtLeastOnce)] {
        let delivery = with_id(qos, id, false);
        world.bench.send(publisher, Publish { retain: true, delivery, ..message(topic, "before", QoS::AtMostOnce) });
    }
    world.keep_all();
    assert_eq!(world.bench.recv_all(publisher).len(), 2);
    world.crash();
    assert!(world.levels().iter().all(|(live, kept)| *live == *kept as u64), "{:?}", world.levels());
    for version in VERSIONS {
        let name = version.level().to_string();
        let (client, connack) = world.bench.connect(persistent(version, &name, FOREVER));
        assert_eq!(connack.session_present, version != Version::V3_1);
        world.keep_all();
        assert_eq!(world.bench.recv_texts(client), ["before", "before"]);
        let (publisher, _) = world.bench.connect(connect(Version::V5, "p"));
        world.bench.send(publisher, message("c", "after", QoS::AtMostOnce));
        assert_eq!(world.bench.recv_texts(client), ["after"]);
        let late = world.bench.v5("late");
        world.bench.subscribe(late, "#", QoS::AtMostOnce);
        assert_eq!(world.bench.recv_texts(late).len(), 2, "the retained ones");
        world.bench.cut(client);
        world.bench.cut(late);
    }
}

#[test]
fn only_durable_sessions_come_back() {
    let mut world = World::new();
    let (transient, _) = world.bench.connect(connect(Version::V5, "t"));
    world.bench.send(transient, subscribe("a", QoS::ExactlyOnce));
    world.bench.send(transient, subscribe("$share/g/a", QoS::ExactlyOnce));
    world.bench.send(transient, message("a", "x", QoS::AtLeastOnce));
    world.keep_all();
    world.crash();
    world.keep_all();
    assert_eq!(world.levels(), [(0, 0); 4]);
    assert_eq!(world.store.messages(), 0);
    // Neither does one that was about to end.
    let (client, _) = world.bench.connect(persistent(Version::V5, "s", 100));
    world.keep_all();
    world.bench.cut(client);
    world.bench.connect(Connect { clean_start: false, ..connect(Version::V5, "s") });
    world.keep_all();
    world.crash();
    world.keep_all();
    assert_eq!(world.levels(), [(0, 0); 4]);
}

#[test]
fn a_subscription_does_not_reach_back() {
    // The log of its filter is older than the second subscriber.
    let mut world = World::new();
    let (old, _) = world.bench.connect(persistent(Version::V5, "old", FOREVER));
    world.bench.send(old, subscribe("a", QoS::AtLeastOnce));
    world.bench.cut(old);
    let publisher = world.bench.v5("p");
    world.bench.send(publisher, message("a", "1", QoS::AtLeastOnce));
    let (new, _) = world.bench.connect(persistent(Version::V5, "new", FOREVER));
    world.bench.send(new, subscribe("a", QoS::AtLeastOnce));
    world.bench.send(publisher, message("a", "2", QoS::AtLeastOnce));
    world.keep_all();
    world.crash();
    let (new, _) = world.bench.connect(persistent(Version::V5, "new", FOREVER));
    assert_eq!(world.bench.recv_texts(new), ["2"]);
    let (old, _) = world.bench.connect(persistent(Version::V5, "old", FOREVER));
    assert_eq!(world.bench.recv_texts(old), ["1", "2"]);
}

#[test]
fn a_delivery_keeps_its_identifier_and_its_words() {
    // [MQTT-4.4.0-1], [MQTT-4.6.0-1] after a restart
    let mut world = World::new();
    let (client, _) = world.bench.connect(persistent(Version::V5, "s", FOREVER));
    let options = SubscriptionOptions { retain_as_published: true, ..QoS::ExactlyOnce.into() };
    let identified = properties([Property::SubscriptionIdentifier(7)]);
    world.bench.send(client, Subscribe { id: pid(1), filters: vec![(filter("a"), options)], properties: identified });
    world.keep_all();
    let publisher = world.bench.v5("p");
    for id in 1..=3 {
        let delivery = with_id(QoS::ExactlyOnce, id, false);
        let publish = Publish { delivery, retain: id == 1, ..message("a", &id.to_string(), QoS::AtMostOnce) };
        world.bench.send(publisher, publish);
    }
    world.keep_all();
    world.bench.recv_all(client);
    // The second is done, out of turn; the third has come half the way.
    world.bench.send(client, Packet::PubRec(ack(2)));
    world.bench.send(client, Packet::PubRec(ack(3)));
    world.bench.send(client, Packet::PubComp(ack(2)));
    world.keep_all();
    world.crash();
    let (client, _) = world.bench.connect(persistent(Version::V5, "s", FOREVER));
    world.keep_all();
    assert_eq!(world.bench.recv(client), Some(Packet::PubRel(ack(3))));
    let first = world.bench.recv_publish(client);
    assert_eq!((text(&first), first.delivery), ("1", with_id(QoS::ExactlyOnce, 1, true)));
    assert!(first.retain);
    assert_eq!(first.properties.subscription_identifiers().collect::<Vec<_>>(), [7]);
    world.bench.assert_silent(client);
    world.bench.send(client, Packet::PubComp(ack(3)));
    world.bench.send(client, Packet::PubRec(ack(1)));
    world.keep_all();
    world.bench.send(client, Packet::PubComp(ack(1)));
    world.keep_all();
    assert_eq!((world.store.entries(), world.store.messages()), (0, 0));
    assert_eq!(world.bench.broker.stats().inflight, 0);
}

#[test]
fn qos_2_from_a_publisher_is_taken_once() {
    let mut world = World::new();
    let (watcher, _) = world.bench.connect(persistent(Version::V5, "w", FOREVER));
    world.bench.send(watcher, subscribe("a", QoS::AtLeastOnce));
    world.bench.cut(watcher);
    let (publisher, _) = world.bench.connect(persistent(Version::V5, "p", FOREVER));
    world.bench.send(publisher, message("a", "1", QoS::ExactlyOnce));
    world.keep_all();
    world.crash();
    let (publisher, _) = world.bench.connect(persistent(Version::V5, "p", FOREVER));
    let again = Publish { delivery: with_id(QoS::ExactlyOnce, 10, true), ..message("a", "1", QoS::AtMostOnce) };
    world.bench.send(publisher, again);
    world.bench.send(publisher, Packet::PubRel(ack(10)));
    world.keep_all();
    let packets = world.bench.recv_all(publisher);
    assert_eq!(packets, [Packet::PubRec(ack(10)), Packet::PubComp(ack(10))]);
    // The identifier is free for another, after another restart, too.
    world.crash();
    let (publisher, _) = world.bench.connect(persistent(Version::V5, "p", FOREVER));
    world.bench.send(publisher, message("a", "2", QoS::ExactlyOnce));
    let (watcher, _) = world.bench.connect(persistent(Version::V5, "w", FOREVER));
    world.keep_all();
    assert_eq!(world.bench.recv_texts(watcher), ["1", "2"]);
}

#[test]
fn a_refused_qos_2_message_leaves_its_identifier_free() {
    // [MQTT-4.3.3-9]: what a quota refused must not swallow the next message under the same identifier
    let mut world = World::new();
    let config = Config { max_retained_messages: 0, sys_interval: Duration::ZERO, ..Config::default() };
    world.config = Arc::new(config);
    world.crash();
    let (publisher, _) = world.bench.connect(persistent(Version::V5, "p", FOREVER));
    world.bench.send(publisher, Publish { retain: true, ..message("a", "1", QoS::ExactlyOnce) });
    world.keep_all();
    assert!(
        matches!(world.bench.recv(publisher), Some(Packet::PubRec(ack)) if ack.reason == ReasonCode::QuotaExceeded)
    );
    world.crash();
    let watcher = world.bench.v5("w");
    world.bench.subscribe(watcher, "a", QoS::AtMostOnce);
    let (publisher, _) = world.bench.connect(persistent(Version::V5, "p", FOREVER));
    world.bench.send(publisher, message("a", "2", QoS::ExactlyOnce));
    assert_eq!(world.bench.recv_texts(watcher), ["2"]);
}

#[test]
fn time_goes_on_while_the_broker_is_down() {
    // [MQTT-3.1.3-9], [MQTT-3.3.2-5], [MQTT-3.3.2-6], [MQTT-4.1.0-2]
    let mut world = World::new();
    let delay = properties([Property::WillDelayInterval(50)]);
    let delayed = Will { properties: delay, ..will("will", "delayed") };
    for (name, expiry) in [("short", 30), ("long", 100)] {
        let (client, _) = world.bench.connect(Connect {
            will: Some(Will { topic: TopicName::try_from(name).unwrap(), ..delayed.clone() }),
            ..persistent(Version::V5, name, expiry)
        });
        world.bench.send(client, subscribe("a", QoS::AtLeastOnce));
        world.bench.cut(client);
    }
    let (connected, _) = world
        .bench
        .connect(Connect { will: Some(will("connected", "lost")), ..persistent(Version::V5, "connected", 10) });
    world.bench.send(connected, subscribe("b", QoS::AtLeastOnce));
    let publisher = world.bench.v5("p");
    for (id, seconds) in [(1, 20), (2, 60)] {
        let properties = properties([Property::MessageExpiryInterval(seconds)]);
        let delivery = with_id(QoS::AtLeastOnce, id, false);
        let publish =
            Publish { properties, delivery, retain: true, ..message("a", &seconds.to_string(), QoS::AtMostOnce) };
        world.bench.send(publisher, publish);
    }
    world.keep_all();
    // It is down for 40 seconds, and another process begins on another clock.
    world.bench.now = world.bench.now + 40 * SECOND;
    world.crash();
    world.keep_all();
    assert_eq!(world.bench.broker.stats().sessions, 2, "the short one is over");
    let watcher = world.bench.v5("watcher");
    world.bench.subscribe(watcher, "#", QoS::AtMostOnce);
    let retained = world.bench.recv_publish(watcher);
    assert_eq!((text(&retained), retained.properties.message_expiry_interval()), ("60", Some(20)));
    world.bench.sleep(9 * SECOND);
    world.bench.assert_silent(watcher);
    world.bench.sleep(SECOND);
    let late = world.bench.recv_publish(watcher);
    assert_eq!((late.topic.as_deref(), text(&late)), (Some("long"), "delayed"));
    assert_eq!(world.bench.broker.stats().sessions, 2 - 1 + 1, "the watcher came, the connected one expired");
    let (client, connack) = world.bench.connect(persistent(Version::V5, "long", 100));
    assert!(connack.session_present);
    let publish = world.bench.recv_publish(client);
    assert_eq!((text(&publish), publish.properties.message_expiry_interval()), ("60", Some(10)));
    world.bench.assert_silent(client);
}

#[test]
fn the_wills_of_those_who_were_connected_fire() {
    let mut world = World::new();
    let watched = persistent(Version::V5, "w", FOREVER);
    let (watcher, _) = world.bench.connect(watched.clone());
    world.bench.send(watcher, subscribe("will/+", QoS::AtLeastOnce));
    for (name, expiry) in [("lasting", 100), ("ending", 1)] {
        let will = Will { qos: QoS::AtLeastOnce, ..will(&format!("will/{name}"), name) };
        world.bench.connect(Connect { will: Some(will), ..persistent(Version::V5, name, expiry) });
    }
    world.keep_all();
    world.crash();
    world.keep_all();
    world.crash(); // once is enough
    let (watcher, _) = world.bench.connect(watched);
    let mut texts = world.bench.recv_texts(watcher);
    texts.sort();
    assert_eq!(texts, ["ending", "lasting"]);
}

#[test]
fn a_subscription_that_is_at_qos_0_by_now_still_owes_what_was_on_its_way() {
    let mut world = World::new();
    let (client, _) = world.bench.connect(persistent(Version::V5, "s", FOREVER));
    world.bench.send(client, subscribe("a", QoS::AtLeastOnce));
    let publisher = world.bench.v5("p");
    world.bench.send(publisher, message("a", "1", QoS::AtLeastOnce));
    world.bench.send(client, subscribe("a", QoS::AtMostOnce));
    world.bench.send(publisher, message("a", "2", QoS::AtLeastOnce));
    world.keep_all();
    world.crash();
    let (client, _) = world.bench.connect(persistent(Version::V5, "s", FOREVER));
    let publish = world.bench.recv_publish(client);
    assert_eq!((text(&publish), publish.delivery.qos()), ("1", QoS::AtLeastOnce));
    world.bench.assert_silent(client); // the second was sent at QoS 0, and that was that
    world.bench.acknowledge(client, &publish);
    world.keep_all();
    assert_eq!((world.store.entries(), world.bench.broker.stats().queued), (0, 0));
}

fn subscribe(text: &str, qos: QoS) -> Subscribe {
    Subscribe { id: pid(77), filters: vec![(filter(text), qos.into())], properties: Properties::new() }
}

fn with_id(qos: QoS, id: u16, dup: bool) -> Delivery {
    match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce { id: pid(id), dup },
        QoS::ExactlyOnce => Delivery::ExactlyOnce { id: pid(id), dup },
    }
}

/// A publisher that follows the standard: it repeats what was not acknowledged.
struct Publisher {
    index: usize,
    client: Option<Client>,
    next: u16,
    /// Identifier, QoS, payload, RETAIN, and whether PUBREC has come.
    open: VecDeque<(u16, QoS, String, bool, bool)>,
    /// QoS of each payload.
    sent: BTreeMap<String, QoS>,
    retained: Option<String>,
}

impl Publisher {
    fn new(index: usize) -> Self {
        Self { index, client: None, next: 1, open: VecDeque::new(), sent: BTreeMap::new(), retained: None }
    }

    fn connect(&mut self, bench: &mut Bench) -> Client {
        match self.client {
            Some(client) if !bench.is_closed(client) => client,
            _ => {
                let version = VERSIONS[self.index % 3];
                let (client, _) = bench.connect(persistent(version, &format!("p{}", self.index), FOREVER));
                self.client = Some(client);
                for (id, qos, payload, retain, received) in &self.open {
                    if *received {
                        bench.send(client, Packet::PubRel(ack(*id)));
                    } else {
                        bench.send(client, self.publish(*id, *qos, payload, *retain, true));
                    }
                }
                client
            }
        }
    }

    fn publish(&self, id: u16, qos: QoS, payload: &str, retain: bool, dup: bool) -> Publish {
        let topic = format!("t/{}", self.index);
        Publish { retain, delivery: with_id(qos, id, dup), ..message(&topic, payload, QoS::AtMostOnce) }
    }

    fn send(&mut self, bench: &mut Bench, qos: QoS, retain: bool) {
        let client = self.connect(bench);
        let id = self.next;
        self.next += 1;
        let payload = format!("{}-{id:05}", self.index);
        // A QoS 1 message may come again behind a later one, and be retained again.
        let retain = retain && qos == QoS::ExactlyOnce;
        self.open.push_back((id, qos, payload.clone(), retain, false));
        self.sent.insert(payload.clone(), qos);
        if retain {
            self.retained = Some(payload.clone());
        }
        bench.send(client, self.publish(id, qos, &payload, retain, false));
    }

    fn receive(&mut self, bench: &mut Bench) {
        let client = self.connect(bench);
        for packet in bench.recv_all(client) {
            match packet {
                Packet::PubAck(ack) => {
                    assert!(!ack.reason.is_error());
                    self.open.retain(|(id, ..)| pid(*id) != ack.id);
                }
                Packet::PubRec(received) => {
                    assert!(!received.reason.is_error());
                    if let Some(open) = self.open.iter_mut().find(|(id, ..)| pid(*id) == received.id) {
                        open.4 = true;
                        bench.send(client, Packet::PubRel(ack(received.id.get())));
                    }
                }
                Packet::PubComp(ack) => self.open.retain(|(id, ..)| pid(*id) != ack.id),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// A subscriber that follows the standard.
struct Subscriber {
    name: String,
    version: Version,
    filters: Vec<(&'static str, QoS)>,
    client: Option<Client>,
    received: Vec<String>,
    /// QoS 2 identifiers that were received and not released.
    held: BTreeSet<u16>,
    acks: VecDeque<Packet>,
}

impl Subscriber {
    fn new(name: &str, version: Version, filters: &[(&'static str, QoS)]) -> Self {
        Self {
            name: name.to_owned(),
            version,
            filters: filters.to_vec(),
            client: None,
            received: Vec::new(),
            held: BTreeSet::new(),
            acks: VecDeque::new(),
        }
    }

    fn connect(&mut self, bench: &mut Bench) -> Client {
        match self.client {
            Some(client) if !bench.is_closed(client) => client,
            _ => {
                let mut connect = persistent(self.version, &self.name, FOREVER);
                if self.version.is_v5() {
                    connect = with(connect, [Property::ReceiveMaximum(4)]);
                }
                let (client, _) = bench.connect(connect);
                self.client = Some(client);
                self.acks.clear();
                client
            }
        }
    }

    fn receive(&mut self, bench: &mut Bench) {
        let Some(client) = self.client.filter(|client| !bench.is_closed(*client)) else { return };
        for packet in bench.recv_all(client) {
            match packet {
                Packet::Publish(publish) => {
                    let payload = text(&publish).to_owned();
                    match publish.delivery {
                        Delivery::AtMostOnce => self.received.push(payload),
                        Delivery::AtLeastOnce { id, .. } => {
                            self.received.push(payload);
                            self.acks.push_back(Packet::PubAck(ack(id.get())));
                        }
                        Delivery::ExactlyOnce { id, .. } => {
                            if self.held.insert(id.get()) {
                                self.received.push(payload);
                            }
                            self.acks.push_back(Packet::PubRec(ack(id.get())));
                        }
                    }
                }
                Packet::PubRel(release) => {
                    self.held.remove(&release.id.get());
                    self.acks.push_back(Packet::PubComp(ack(release.id.get())));
                }
                Packet::SubAck(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Sends one of the acknowledgments that are due.
    fn acknowledge(&mut self, bench: &mut Bench, index: usize) -> bool {
        self.receive(bench);
        let Some(client) = self.client.filter(|client| !bench.is_closed(*client)) else { return false };
        if self.acks.is_empty() {
            return false;
        }
        let packet = self.acks.remove(index % self.acks.len()).unwrap();
        bench.send(client, packet);
        true
    }
}

#[derive(Clone, Debug)]
enum Step {
    Publish {
        publisher: usize,
        qos: QoS,
        retain: bool,
    },
    /// The publisher takes its acknowledgments.
    Receive(usize),
    Acknowledge {
        subscriber: usize,
        index: usize,
    },
    Connect(usize),
    Cut(usize),
    CutPublisher(usize),
    Keep(usize),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let qos = prop_oneof![Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)];
    prop_oneof![
        8 => (0_usize..3, qos, any::<bool>()).prop_map(|(publisher, qos, retain)| Step::Publish { publisher, qos, retain }),
        4 => (0_usize..3).prop_map(Step::Receive),
        12 => (0_usize..5, 0_usize..4).prop_map(|(subscriber, index)| Step::Acknowledge { subscriber, index }),
        4 => (0_usize..5).prop_map(Step::Connect),
        2 => (0_usize..5).prop_map(Step::Cut),
        1 => (0_usize..3).prop_map(Step::CutPublisher),
        8 => (1_usize..8).prop_map(Step::Keep),
        1 => Just(Step::Crash),
    ]
}

/// Publishers, subscribers, and the broker between them.
struct Cast {
    world: World,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
}

impl Cast {
    fn new() -> Self {
        let (one, two) = (QoS::AtLeastOnce, QoS::ExactlyOnce);
        let mut cast = Self {
            world: World::new(),
            publishers: (0..3).map(Publisher::new).collect(),
            subscribers: vec![
                Subscriber::new("all", Version::V5, &[("t/#", two)]),
                Subscriber::new("overlap", Version::V5, &[("+/0", one), ("t/0", two), ("t/1", two), ("t/2", two)]),
                Subscriber::new("once", Version::V3_1_1, &[("t/+", one)]),
                Subscriber::new("left", Version::V5, &[("$share/g/t/#", two)]),
                Subscriber::new("right", Version::V3_1, &[("$share/g/t/#", two)]),
            ],
        };
        for subscriber in &mut cast.subscribers {
            let client = subscriber.connect(&mut cast.world.bench);
            for (text, qos) in &subscriber.filters {
                cast.world.bench.send(client, subscribe(text, *qos));
            }
        }
        for publisher in &mut cast.publishers {
            publisher.connect(&mut cast.world.bench);
        }
        cast.world.keep_all();
        cast
    }

    fn play(&mut self, step: Step) {
        let bench = &mut self.world.bench;
        match step {
            Step::Publish { publisher, qos, retain } => self.publishers[publisher].send(bench, qos, retain),
            Step::Receive(publisher) => self.publishers[publisher].receive(bench),
            Step::Acknowledge { subscriber, index } => {
                self.subscribers[subscriber].acknowledge(bench, index);
            }
            Step::Connect(subscriber) => drop(self.subscribers[subscriber].connect(bench)),
            Step::Cut(subscriber) => {
                let subscriber = &mut self.subscribers[subscriber];
                subscriber.receive(bench);
                subscriber.client.take().into_iter().for_each(|client| bench.cut(client));
            }
            Step::CutPublisher(publisher) => {
                self.publishers[publisher].client.take().into_iter().for_each(|client| bench.cut(client));
            }
            Step::Keep(most) => self.world.keep(most),
            Step::Crash => {
                self.subscribers.iter_mut().for_each(|subscriber| {
                    subscriber.receive(bench);
                    subscriber.client = None;
                });
                self.publishers.iter_mut().for_each(|publisher| publisher.client = None);
                self.world.crash();
            }
        }
    }

    /// Everybody comes back, and all that is open is finished.
    fn finish(&mut self) {
        loop {
            let mut busy = self.world.kept < self.world.bench.batches.len();
            self.world.keep_all();
            for publisher in &mut self.publishers {
                publisher.receive(&mut self.world.bench);
                busy |= !publisher.open.is_empty();
            }
            for subscriber in &mut self.subscribers {
                subscriber.connect(&mut self.world.bench);
                while subscriber.acknowledge(&mut self.world.bench, 0) {
                    busy = true;
                }
            }
            if !busy {
                return;
            }
        }
    }

    fn check(&self) {
        let sent: BTreeMap<&String, QoS> =
            self.publishers.iter().flat_map(|publisher| &publisher.sent).map(|(text, qos)| (text, *qos)).collect();
        let [all, overlap, once, left, right] = &self.subscribers[..] else { panic!() };
        let group = [&left.received[..], &right.received[..]].concat();
        for (name, received) in
            [("all", &all.received), ("overlap", &overlap.received), ("once", &once.received), ("group", &group)]
        {
            let mut counts = BTreeMap::<&String, usize>::new();
            received.iter().for_each(|text| *counts.entry(text).or_default() += 1);
            for (text, qos) in &sent {
                let count = counts.get(text).copied().unwrap_or(0);
                assert!(count >= 1, "{name} lost {text}");
                if *qos == QoS::ExactlyOnce && name != "once" {
                    assert_eq!(count, 1, "{name} got {text} more than once");
                }
            }
            assert!(counts.keys().all(|text| sent.contains_key(text)));
        }
        for subscriber in [all, overlap, once] {
            // [MQTT-4.6.0-6]: what came for the first time came in the order of its publisher.
            for index in 0..3 {
                let mut seen = BTreeSet::new();
                let own = |text: &&String| text.starts_with(&index.to_string());
                let firsts: Vec<&String> =
                    subscriber.received.iter().filter(own).filter(|text| seen.insert(*text)).collect();
                assert!(firsts.is_sorted(), "{}: {firsts:?}", subscriber.name);
            }
        }
        let stats = self.world.bench.broker.stats();
        assert_eq!((stats.queued, stats.queued_bytes, stats.inflight), (0, 0, 0));
        assert_eq!((self.world.store.entries(), self.world.store.messages()), (0, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whatever happens, and whenever the broker stops: nothing acknowledged is lost, QoS 2 comes once.
    #[test]
    fn nothing_is_lost_and_nothing_comes_twice(steps in prop::collection::vec(step(), 1..120)) {
        let mut cast = Cast::new();
        for step in steps {
            cast.play(step);
        }
        cast.finish();
        cast.check();
        // The retained messages are the last ones of their publishers.
        let late = cast.world.bench.v5("late");
        cast.world.bench.subscribe(late, "#", QoS::AtMostOnce);
        let mut retained = cast.world.bench.recv_texts(late);
        retained.sort();
        let expected: Vec<String> = cast.publishers.iter().filter_map(|p| p.retained.clone()).collect();
        prop_assert_eq!(retained, expected);
    }
}

/// Anything that changes what is kept.
#[derive(Clone, Debug)]
enum Change {
    Connect { client: usize, clean_start: bool, expiry: u32, with_will: bool },
    Cut(usize),
    Disconnect(usize),
    Subscribe { client: usize, filter: usize, qos: QoS },
    Unsubscribe { client: usize, filter: usize },
    Publish { client: usize, topic: usize, qos: QoS, retain: bool, empty: bool, expires: bool },
    Acknowledge(usize),
    Release(usize),
    Sleep(u64),
}

const FILTERS: [&str; 6] = ["a", "a/+", "#", "$share/g/a", "$share/h/#", "a/b"];
const TOPICS: [&str; 3] = ["a", "a/b", "c"];

fn change() -> impl Strategy<Value = Change> {
    let client = 0_usize..3;
    let qos = || prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)];
    prop_oneof![
        4 => (client.clone(), prop::bool::weighted(0.2), prop_oneof![Just(0), Just(20), Just(FOREVER)], any::<bool>())
            .prop_map(|(client, clean_start, expiry, with_will)| Change::Connect { client, clean_start, expiry, with_will }),
        2 => client.clone().prop_map(Change::Cut),
        1 => client.clone().prop_map(Change::Disconnect),
        5 => (client.clone(), 0..FILTERS.len(), qos())
            .prop_map(|(client, filter, qos)| Change::Subscribe { client, filter, qos }),
        2 => (client.clone(), 0..FILTERS.len()).prop_map(|(client, filter)| Change::Unsubscribe { client, filter }),
        8 => (client.clone(), 0..TOPICS.len(), qos(), any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.2))
            .prop_map(|(client, topic, qos, retain, empty, expires)| Change::Publish { client, topic, qos, retain, empty, expires }),
        6 => client.clone().prop_map(Change::Acknowledge),
        2 => client.prop_map(Change::Release),
        2 => (1_u64..15).prop_map(Change::Sleep),
    ]
}

fn apply(world: &mut World, clients: &mut [Option<Client>; 3], change: &Change) {
    let bench = &mut world.bench;
    let open = |bench: &Bench, client: &Option<Client>| client.filter(|client| !bench.is_closed(*client));
    match *change {
        Change::Connect { client, clean_start, expiry, with_will } => {
            let will = with_will.then(|| Will { qos: QoS::AtLeastOnce, retain: true, ..will("a/b", "will") });
            let connect = Connect { clean_start, will, ..persistent(Version::V5, &format!("c{client}"), expiry) };
            clients[client] = Some(bench.connect(connect).0);
        }
        Change::Cut(client) => open(bench, &clients[client]).into_iter().for_each(|client| bench.cut(client)),
        Change::Disconnect(client) => {
            open(bench, &clients[client]).into_iter().for_each(|client| bench.disconnect(client, ReasonCode::Success));
        }
        Change::Subscribe { client, filter, qos } => {
            open(bench, &clients[client]).into_iter().for_each(|c| bench.send(c, subscribe(FILTERS[filter], qos)));
        }
        Change::Unsubscribe { client, filter: index } => {
            let filters = vec![filter(FILTERS[index])];
            let unsubscribe = Unsubscribe { id: pid(78), filters, properties: Properties::new() };
            open(bench, &clients[client]).into_iter().for_each(|client| bench.send(client, unsubscribe.clone()));
        }
        Change::Publish { client, topic, qos, retain, empty, expires } => {
            let expiry = expires.then_some(Property::MessageExpiryInterval(10));
            let properties = properties(expiry);
            let payload = if empty { "" } else { "x" };
            let publish = Publish { retain, properties, ..message(TOPICS[topic], payload, qos) };
            open(bench, &clients[client]).into_iter().for_each(|client| bench.send(client, publish.clone()));
        }
        Change::Acknowledge(client) => {
            let Some(client) = open(bench, &clients[client]) else { return };
            for packet in bench.recv_all(client) {
                match packet {
                    Packet::Publish(publish) => match publish.delivery {
                        Delivery::AtMostOnce => {}
                        Delivery::AtLeastOnce { id, .. } => bench.send(client, Packet::PubAck(ack(id.get()))),
                        Delivery::ExactlyOnce { id, .. } => bench.send(client, Packet::PubRec(ack(id.get()))),
                    },
                    Packet::PubRel(release) => bench.send(client, Packet::PubComp(ack(release.id.get()))),
                    _ => {}
                }
            }
        }
        Change::Release(client) => {
            open(bench, &clients[client]).into_iter().for_each(|client| bench.send(client, Packet::PubRel(ack(10))));
        }
        Change::Sleep(seconds) => bench.sleep(Duration::from_secs(seconds)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    /// Replaying all operations makes what the broker has, and applying them twice makes no difference; a broker made of
    /// it has it again.
    #[test]
    fn the_operations_tell_all(changes in prop::collection::vec(change(), 1..80)) {
        let mut world = World::new();
        let mut clients = [None; 3];
        for change in &changes {
            apply(&mut world, &mut clients, change);
            world.keep_all();
        }
        // What ends with its connection is not kept: end it.
        for client in clients.into_iter().flatten() {
            world.bench.cut(client);
        }
        world.keep_all();
        let levels = world.levels();
        prop_assert!(levels.iter().all(|(live, kept)| *live == *kept as u64), "{:?}", levels);
        let mut twice = MemoryStore::new();
        for batch in &world.bench.batches {
            twice.apply(batch);
            twice.apply(batch);
        }
        let sizes = |store: &MemoryStore| {
            (store.sessions(), store.subscriptions(), store.retained(), store.entries(), store.messages())
        };
        prop_assert_eq!(sizes(&twice), sizes(&world.store));
        let before = world.bench.broker.stats();
        world.crash();
        let after = world.bench.broker.stats();
        prop_assert_eq!(
            (after.sessions, after.subscriptions, after.retained, after.queued, after.queued_bytes),
            (before.sessions, before.subscriptions, before.retained, before.queued, before.queued_bytes)
        );
        world.keep_all();
        prop_assert!(world.levels().iter().all(|(live, kept)| *live == *kept as u64), "{:?}", world.levels());
    }
}
