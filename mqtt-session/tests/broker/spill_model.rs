//! A broker with little memory beside one with plenty: the same history gives every client the same messages.
use crate::common::world::*;
use crate::common::*;
use mqtt_session::broker::Completion;
use mqtt_session::proto::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;

/// What happens to both. Nobody unsubscribes: that ends what was not sent yet, which is not the same for both.
#[derive(Clone, Copy, Debug)]
enum Step {
    Publish {
        topic: usize,
        qos: QoS,
        count: u32,
    },
    Connect(usize),
    Cut(usize),
    /// The client takes what has come, and acknowledges so many.
    Acknowledge(usize, usize),
    Subscribe {
        client: usize,
        filter: usize,
        qos: QoS,
    },
    Crash,
    /// The store answers the question that has waited for so many others, or fails to.
    Load {
        index: usize,
        fails: bool,
    },
}

const FILTERS: [&str; 4] = ["a", "a/+", "#", "a/b"];
const TOPICS: [&str; 3] = ["a", "a/b", "c"];
const CLIENTS: usize = 3;
/// One message for each client may come on top of the limit.
const ON_TOP: u64 = 3 * 256;

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    let qos = || prop_oneof![Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)];
    prop_oneof![
        8 => (0..TOPICS.len(), qos(), 1_u32..8).prop_map(|(topic, qos, count)| Step::Publish { topic, qos, count }),
        3 => client.clone().prop_map(Step::Connect),
        2 => client.clone().prop_map(Step::Cut),
        6 => (client.clone(), 0_usize..8).prop_map(|(client, count)| Step::Acknowledge(client, count)),
        1 => (client, 0..FILTERS.len(), qos())
            .prop_map(|(client, filter, qos)| Step::Subscribe { client, filter, qos }),
        1 => Just(Step::Crash),
        6 => (0_usize..4, prop::bool::weighted(0.2)).prop_map(|(index, fails)| Step::Load { index, fails }),
    ]
}

/// A session's client: what it got for the first time, in order, and what it owes.
struct Reader {
    client: Option<Client>,
    seen: BTreeSet<String>,
    got: Vec<String>,
    owed: Vec<Packet>,
    /// Whether it is the member of a group.
    shares: bool,
}

struct Run {
    world: World,
    readers: Vec<Reader>,
    published: u32,
}

impl Run {
    fn new(memory: u64, load_at_once: bool) -> Self {
        let mut world = World::with_memory(memory);
        world.bench.load_at_once = load_at_once;
        let reader = |client| Reader {
            client: None,
            seen: BTreeSet::new(),
            got: Vec::new(),
            owed: Vec::new(),
            shares: client == 2,
        };
        let mut run = Self { world, readers: (0..CLIENTS).map(reader).collect(), published: 0 };
        for (client, filters) in [&["#"][..], &["a/+", "a/b"], &["$share/g/#", "a"]].into_iter().enumerate() {
            let connection = run.connect(client);
            for filter in filters {
                run.world.bench.send(connection, subscribe(filter, QoS::ExactlyOnce));
                run.world.keep_all();
            }
        }
        run
    }

    fn connect(&mut self, client: usize) -> Client {
        if let Some(connection) = self.readers[client].client {
            return connection;
        }
        let (connection, _) = self.world.bench.connect(persistent(Version::V5, &format!("c{client}"), FOREVER));
        self.readers[client].client = Some(connection);
        self.readers[client].owed.clear();
        self.world.keep_all();
        connection
    }

    /// Takes what has come, and sends so many of the acknowledgments that are due.
    fn acknowledge(&mut self, client: usize, count: usize) {
        let reader = &mut self.readers[client];
        let Some(connection) = reader.client else { return };
        for packet in self.world.bench.recv_all(connection) {
            match packet {
                Packet::Publish(publish) => {
                    let name = text(&publish).to_owned();
                    if reader.seen.insert(name.clone()) {
                        reader.got.push(name);
                    }
                    let once = publish.delivery.qos() == QoS::AtLeastOnce;
                    let id = ack(id_of(&publish));
                    reader.owed.push(if once { Packet::PubAck(id) } else { Packet::PubRec(id) });
                }
                Packet::PubRel(released) => reader.owed.push(Packet::PubComp(ack(released.id.get()))),
                Packet::SubAck(_) | Packet::UnsubAck(_) => {}
                other => panic!("{other:?}"),
            }
        }
        let count = count.min(reader.owed.len());
        for packet in reader.owed.drain(..count).collect::<Vec<_>>() {
            self.world.bench.send(connection, packet);
        }
        self.world.keep_all();
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::Publish { topic, qos, count } => {
                for _ in 0..count {
                    self.published += 1;
                    let name = format!("{:06}", self.published);
                    self.world.bench.inject(TOPICS[topic], &name, qos);
                    self.world.keep_all();
                }
            }
            Step::Connect(client) => drop(self.connect(client)),
            Step::Cut(client) => {
                self.acknowledge(client, 0);
                if let Some(connection) = self.readers[client].client.take() {
                    self.world.bench.cut(connection);
                }
            }
            Step::Acknowledge(client, count) => self.acknowledge(client, count),
            Step::Subscribe { client, filter, qos } => {
                let connection = self.connect(client);
                self.world.bench.send(connection, subscribe(FILTERS[filter], qos));
            }
            Step::Crash => {
                for client in 0..CLIENTS {
                    self.acknowledge(client, 0);
                    self.readers[client].client = None;
                }
                self.world.crash();
            }
            Step::Load { index, fails } => self.answer(index, fails),
        }
        self.world.keep_all();
    }

    fn answer(&mut self, index: usize, fails: bool) {
        let bench = &mut self.world.bench;
        let Some(index) = index.checked_rem(bench.loads.len()) else { return };
        if fails {
            let request = bench.loads.remove(index).unwrap();
            let failed = Completion::LoadFailed { filter: request.filter, from: request.from };
            bench.broker.handle_completion(bench.now, failed);
            bench.run();
        } else {
            bench.load(index);
        }
    }

    /// Everybody comes back and takes everything.
    fn finish(&mut self) {
        for client in 0..CLIENTS {
            self.connect(client);
        }
        loop {
            let before: usize = self.readers.iter().map(|reader| reader.got.len()).sum();
            while !self.world.bench.loads.is_empty() {
                self.answer(0, false);
                self.world.keep_all();
            }
            self.world.bench.sleep(Duration::from_secs(11)); // whatever failed is tried again
            for client in 0..CLIENTS {
                self.acknowledge(client, usize::MAX);
            }
            let after: usize = self.readers.iter().map(|reader| reader.got.len()).sum();
            let idle = self.readers.iter().all(|reader| reader.owed.is_empty()) && self.world.bench.loads.is_empty();
            if before == after && idle && self.world.bench.levels() == (0, 0, 0) {
                return;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whatever happens, and however late, out of order or in vain the store answers: who waits gets the same messages in
    /// the same order, and nothing is left.
    #[test]
    fn little_memory_gives_what_plenty_gives(steps in prop::collection::vec(step(), 1..80)) {
        let mut plenty = Run::new(1 << 30, true);
        let mut little = Run::new(4 << 10, false);
        for step in steps {
            plenty.play(step);
            little.play(step);
            let memory = little.world.bench.broker.stats().memory_bytes;
            prop_assert!(memory <= (4 << 10) + ON_TOP, "{}", memory);
        }
        plenty.finish();
        little.finish();
        for (with, without) in plenty.readers.iter_mut().zip(&mut little.readers).rev() {
            if with.shares {
                with.got.sort(); // a group and the logs of its member are not merged
                without.got.sort();
            }
            prop_assert_eq!(&with.got, &without.got);
        }
        let stats = little.world.bench.broker.stats();
        prop_assert_eq!((stats.memory_bytes, stats.spilled, stats.spilled_bytes), (0, 0, 0));
        prop_assert_eq!((little.world.bench.disk.entries(), little.world.bench.disk.messages()), (0, 0));
        prop_assert_eq!(stats.trimmed_log_full + stats.dropped_queue_full + stats.dropped_expired, 0);
    }
}
