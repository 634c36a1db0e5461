//! A client that is killed at any moment and comes back with its store: nothing that it accepted for good is lost, QoS 2 arrives once
//! both ways (sections 4.1, 4.3 and 4.4).
use crate::world::*;
use mqtt_session::client::{AckToken, ClientConfig, Event, Record, SubscribeOptions, Token};
use mqtt_session::proto::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// An application that is killed with its client, and what it keeps itself.
struct Application {
    client: C,
    config: ClientConfig,
    /// Messages that it published, by their numbers: the QoS, and whether they were reported as kept.
    published: Vec<(QoS, bool)>,
    /// What its tokens stand for.
    tokens: BTreeMap<Token, usize>,
    /// What it made of received messages (refusing them included), kept at once with the tokens of QoS 2 messages.
    received: Vec<usize>,
    /// What it refused: that may come again, as a new message, if the refusal did not arrive.
    refused: BTreeSet<usize>,
    done: BTreeSet<u64>,
    /// What it has still to acknowledge; dies with it.
    owed: VecDeque<(AckToken, bool)>,
}

impl Application {
    fn publish(&mut self, world: &mut World, qos: QoS) {
        let number = self.published.len();
        self.published.push((qos, false));
        let token = world.publish(self.client, "up", &format!("{number:05}"), qos);
        if let Some(before) = self.tokens.insert(token, number) {
            assert!(!self.published[before].1, "{token:?} was reported as kept for {before}");
        }
    }

    /// Looks at what was reported.
    fn look(&mut self, world: &mut World) {
        for event in world.take_events(self.client) {
            match event {
                Event::Kept { token } => self.published[self.tokens[&token]].1 = true,
                Event::Settled { token, result } => {
                    assert!(result.is_ok(), "{token:?}: {result:?}");
                }
                _ => {}
            }
        }
    }

    /// Takes messages; the last one it may refuse, for good.
    fn receive(&mut self, world: &mut World, most: usize, refuse: bool) {
        for n in 1..=most {
            let now = world.now;
            let Some(message) = world.machine(self.client).poll_message(now) else { return };
            let (ack, once) = (message.ack.expect("manual acknowledgments"), message.qos == QoS::ExactlyOnce);
            let known = once && self.done.contains(&ack.as_u64());
            let refused = refuse && n == most && once && !known;
            self.owed.push_back((ack, refused));
            if once && self.refused.is_empty() {
                let last = self.done.last().is_some_and(|last| ack.as_u64() <= *last);
                assert_eq!(known, last, "the last token says all");
            }
            if known {
                continue;
            }
            let number: usize = std::str::from_utf8(&message.payload).unwrap().parse().unwrap();
            self.received.push(number);
            if once {
                self.done.insert(ack.as_u64());
            }
            if refused {
                self.refused.insert(number);
            }
        }
    }

    fn acknowledge(&mut self, world: &mut World, index: usize) {
        if let Some((token, refused)) = self.owed.remove(index % self.owed.len().max(1)) {
            let now = world.now;
            let reason = if refused { ReasonCode::UnspecifiedError } else { ReasonCode::Success };
            world.machine(self.client).acknowledge(now, token, reason);
            world.run();
        }
    }

    fn kill(&mut self, world: &mut World, more: usize, arrives: bool, taken: usize) {
        self.look(world);
        for _ in 0..taken {
            let now = world.now;
            let _ = world.machine(self.client).poll_message(now); // and nothing comes of it
        }
        world.kill(self.client, self.config.clone(), more, arrives);
        self.owed.clear();
        world.connect(self.client);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Publish(QoS),
    /// The other client publishes.
    Send(QoS),
    Keep(usize),
    Receive {
        most: usize,
        refuse: bool,
    },
    Acknowledge(usize),
    Cut,
    Kill {
        more: usize,
        arrives: bool,
        taken: usize,
    },
    /// So many bytes go on, each way.
    Travel(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let qos = || prop_oneof![Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)];
    prop_oneof![
        8 => qos().prop_map(Step::Publish),
        8 => qos().prop_map(Step::Send),
        10 => (1_usize..4).prop_map(Step::Keep),
        6 => (1_usize..4, prop::bool::weighted(0.2)).prop_map(|(most, refuse)| Step::Receive { most, refuse }),
        6 => (0_usize..3).prop_map(Step::Acknowledge),
        10 => prop_oneof![1_usize..30, Just(100), Just(usize::MAX)].prop_map(Step::Travel),
        1 => Just(Step::Cut),
        2 => (0_usize..4, any::<bool>(), 0_usize..3)
            .prop_map(|(more, arrives, taken)| Step::Kill { more, arrives, taken }),
    ]
}

fn play(version: Version, window: u16, steps: &[Step]) {
    let mut world = World::new();
    let other = world.join(lasting(version, "other"));
    world.subscribe(other, "up", QoS::ExactlyOnce);
    let config = ClientConfig { manual_acks: true, max_inflight: window, ..lasting(version, "app") };
    let client = world.idle_with_store(config.clone());
    let mut app = Application {
        client,
        config,
        published: Vec::new(),
        tokens: BTreeMap::new(),
        received: Vec::new(),
        refused: BTreeSet::new(),
        done: BTreeSet::new(),
        owed: VecDeque::new(),
    };
    world.connect(client);
    let filters = vec![("down".parse().unwrap(), QoS::ExactlyOnce.into())];
    let now = world.now;
    world.machine(client).subscribe(now, filters, SubscribeOptions::default()).unwrap();
    world.run();
    world.keep(client, usize::MAX);
    let mut sent = Vec::new();
    world.hold(client, true);
    for step in steps {
        match *step {
            Step::Publish(qos) => app.publish(&mut world, qos),
            Step::Send(qos) => {
                world.publish(other, "down", &format!("{:05}", sent.len()), qos);
                sent.push(qos);
            }
            Step::Keep(batches) => world.keep(client, batches),
            Step::Receive { most, refuse } => app.receive(&mut world, most, refuse),
            Step::Acknowledge(index) => app.acknowledge(&mut world, index),
            Step::Cut => {
                world.cut(client);
                world.sleep(Duration::from_secs(2));
            }
            Step::Kill { more, arrives, taken } => app.kill(&mut world, more, arrives, taken),
            Step::Travel(bytes) => world.let_through(client, bytes),
        }
        app.look(&mut world);
    }
    world.hold(client, false);
    world.sleep(Duration::from_secs(5));
    for _ in 0..1000 {
        world.keep(client, usize::MAX);
        if !world.machine(client).is_connected() {
            world.sleep(Duration::from_secs(1));
        }
        app.receive(&mut world, usize::MAX, false);
        while !app.owed.is_empty() {
            app.acknowledge(&mut world, 0);
        }
    }
    app.look(&mut world);
    check(&mut world, &app, other, &sent);
}

fn check(world: &mut World, app: &Application, other: C, sent: &[QoS]) {
    let arrived: Vec<usize> = world.texts(other).iter().map(|text| text.parse().unwrap()).collect();
    for (number, (qos, kept)) in app.published.iter().enumerate() {
        let count = arrived.iter().filter(|arrived| **arrived == number).count();
        assert!(count >= usize::from(*kept), "{number} was kept and is lost");
        assert!(count <= 1 || *qos == QoS::AtLeastOnce, "{number} came {count} times");
    }
    assert!(firsts(&arrived).is_sorted(), "{arrived:?}"); // [MQTT-4.6.0-1]
    for (number, qos) in sent.iter().enumerate() {
        let count = app.received.iter().filter(|received| **received == number).count();
        assert!(count >= 1, "{number} did not arrive");
        assert!(
            count == 1 || *qos == QoS::AtLeastOnce || app.refused.contains(&number),
            "{number} was handed out {count} times"
        );
    }
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let own: Vec<usize> = app.received.iter().copied().filter(|number| sent[*number] == qos).collect();
        assert!(firsts(&own).is_sorted(), "{qos:?}: {own:?}"); // [MQTT-4.6.0-6]
    }
    assert!(world.machine(app.client).is_drained());
    assert_eq!(world.broker().broker.stats().inflight, 0);
    for record in world.kept(app.client).records() {
        let lasting = matches!(record, Record::Session { .. } | Record::Counters { .. } | Record::Subscription(_));
        assert!(lasting, "{record:?} is left");
    }
}

fn firsts(numbers: &[usize]) -> Vec<usize> {
    let mut seen = Vec::new();
    for number in numbers {
        if !seen.contains(number) {
            seen.push(*number);
        }
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    // [MQTT-4.1.0-1], [MQTT-4.3.2-3], [MQTT-4.3.3-3], [MQTT-4.3.3-10], [MQTT-4.4.0-1]
    #[test]
    fn killed_at_any_moment_nothing_kept_is_lost_and_nothing_comes_twice(
        version in prop_oneof![Just(Version::V5), Just(Version::V3_1_1), Just(Version::V3_1)],
        window in 1_u16..20,
        steps in prop::collection::vec(step(), 1..100),
    ) {
        play(version, window, &steps);
    }
}
