//! A broker that stops at any moment of any history: nothing acknowledged is lost, and QoS 2 arrives exactly once.
use crate::common::world::*;
use crate::common::*;
use mqtt_session::proto::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

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

    fn play(&mut self, step: &Step) {
        let bench = &mut self.world.bench;
        match *step {
            Step::Publish { publisher, qos, retain } => self.publishers[publisher].send(bench, qos, retain),
            Step::Receive(publisher) => self.publishers[publisher].receive(bench),
            Step::Acknowledge { subscriber, index } => {
                self.subscribers[subscriber].acknowledge(bench, index);
            }
            Step::Connect(subscriber) => {
                self.subscribers[subscriber].connect(bench);
            }
            Step::Cut(subscriber) => {
                let subscriber = &mut self.subscribers[subscriber];
                subscriber.receive(bench);
                if let Some(client) = subscriber.client.take() {
                    bench.cut(client);
                }
            }
            Step::CutPublisher(publisher) => {
                if let Some(client) = self.publishers[publisher].client.take() {
                    bench.cut(client);
                }
            }
            Step::Keep(most) => self.world.keep(most),
            Step::Crash => {
                for subscriber in &mut self.subscribers {
                    subscriber.receive(bench);
                    subscriber.client = None;
                }
                for publisher in &mut self.publishers {
                    publisher.client = None;
                }
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
            for text in received {
                *counts.entry(text).or_default() += 1;
            }
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
        assert_eq!((self.world.bench.disk.entries(), self.world.bench.disk.messages()), (0, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whatever happens, and whenever the broker stops: nothing acknowledged is lost, QoS 2 comes once.
    #[test]
    fn nothing_is_lost_and_nothing_comes_twice(steps in prop::collection::vec(step(), 1..120)) {
        let mut cast = Cast::new();
        for step in steps {
            cast.play(&step);
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
