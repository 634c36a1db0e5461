//! A run from beginning to end: users act while faults happen, then everything settles, and probes show what is there.
//!
//! Invariant: whatever is chosen is chosen by a generator of the scenario's seed, in an order that the seed decides.
mod broker_side;
mod client_side;
mod faults;
mod time;

use crate::actor::{Actor, Shape};
use crate::check::{self, Violation, violation};
use crate::disk::{Disk, Synced};
use crate::history::History;
use crate::network::{Link, Owner};
use crate::noise;
use crate::scenario::{Faults, Scenario, generator};
use crate::trace::Trace;
use mqtt_session::broker::{
    self, AuthOutcome, Authentication, Broker, Completion, Config, ConnId, Decision, DisconnectReason, DropReason,
    Grant, Greeting, Peer, Request,
};
use mqtt_session::client;
use mqtt_session::proto::{QoS, ReasonCode};
use mqtt_session::{Instant, Rng, UnixTime};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What a simulation came to.
#[derive(Debug)]
pub struct Report {
    pub violation: Option<Violation>,
    pub trace: Trace,
    /// Messages that were published, and that were handed out.
    pub published: usize,
    pub delivered: usize,
    pub crashes: u32,
    /// Virtual time that passed.
    pub lasted: Duration,
}

/// Virtual time that everything may take to settle once the faults have ended.
const SETTLE: Duration = Duration::from_mins(5);
/// Rounds at one moment after which nothing can come of it any more.
const ROUNDS: u32 = 10_000;

/// A broker with its disk; `machine` is `None` while it is down.
struct Node {
    machine: Option<Broker>,
    disk: Disk,
    config: Arc<Config>,
    up_at: Option<Instant>,
    /// Stands still until then.
    stalled_until: Option<Instant>,
    /// Crashes after so many outputs more.
    doomed: Option<u64>,
    /// The time of day that it believes in, against the true one.
    wall: UnixTime,
    links: BTreeMap<ConnId, u64>,
    /// Answers on their way to the broker, by their time and number.
    answers: BTreeMap<(Instant, u64), Completion>,
    next_answer: u64,
    /// How many times it was started.
    starts: u8,
}

struct World {
    scenario: Scenario,
    now: Instant,
    actors: Vec<Actor>,
    nodes: Vec<Node>,
    links: BTreeMap<u64, Link>,
    next_link: u64,
    strangers: usize,
    /// Separate generators: users, the network and the faults do not disturb each other.
    users: Rng,
    net: Rng,
    fate: Rng,
    disks: Rng,
    trace: Trace,
    /// Whether faults still happen.
    troubled: bool,
    crashes: u32,
    store_failures: u32,
    dropped: BTreeMap<String, u64>,
    dropped_late: BTreeMap<String, u64>,
    slow: BTreeSet<String>,
    /// When the brokers saw clients go, by client, and whether a Will waits: only what is certain.
    parted: BTreeMap<usize, Parted>,
    /// Clients that the brokers see connected.
    present: BTreeSet<usize>,
}

/// How a broker and a client parted.
#[derive(Clone, Copy, Debug)]
struct Parted {
    at: Instant,
    /// When the Will is to fire.
    will_at: Option<Instant>,
}

/// Runs a scenario from beginning to end.
pub fn run(scenario: &Scenario, keep_trace: bool) -> Report {
    let mut world = World::new(scenario, keep_trace);
    let outcome = world.play();
    world.fire_wills();
    let history = History {
        clients: world.actors.iter_mut().map(|actor| std::mem::take(&mut actor.diary)).collect(),
        crashes: world.crashes,
        store_failures: world.store_failures,
        slow: std::mem::take(&mut world.slow),
        dropped: std::mem::take(&mut world.dropped),
        dropped_late: std::mem::take(&mut world.dropped_late),
    };
    let violation = outcome.and_then(|()| check::check(&history)).err();
    Report {
        violation,
        published: history.clients.iter().map(|diary| diary.sent.len()).sum(),
        delivered: history.clients.iter().map(|diary| diary.got.len()).sum(),
        crashes: history.crashes,
        lasted: world.now - START,
        trace: world.trace,
    }
}

const START: Instant = Instant::from_secs(1_000_000);

fn config(faults: Faults) -> Arc<Config> {
    let mut config = Config { sys_interval: Duration::ZERO, ..Config::default() };
    if faults.slow_answers {
        config.authentication = Authentication::Request;
    }
    if faults.small_queues {
        config.session.max_queued_messages = 12;
    }
    config.connection.connect_timeout = Duration::from_secs(3);
    config.connection.receive_maximum = 8;
    config.connection.max_inflight = 8;
    config.connection.topic_alias_maximum = 3;
    config.connection.max_outgoing_aliases = 3;
    config.connection.max_transmit_bytes = 64 * 1024;
    config.max_queued_bytes = 8 << 20;
    if faults.small_memory {
        config.max_memory_bytes = 6 << 10;
    }
    Arc::new(config)
}

/// The time of day at the start.
const EPOCH: UnixTime = UnixTime::from_millis(1_800_000_000_000);

impl World {
    fn new(scenario: &Scenario, keep_trace: bool) -> Self {
        let mut users = generator(scenario.seed, 1);
        let node = |_| Node {
            machine: None,
            disk: Disk::default(),
            config: config(scenario.faults),
            up_at: Some(START),
            stalled_until: None,
            doomed: None,
            wall: EPOCH,
            links: BTreeMap::new(),
            answers: BTreeMap::new(),
            next_answer: 0,
            starts: 0,
        };
        let actors = (0..scenario.clients).map(|index| {
            Actor::new(index, index % scenario.brokers, &mut generator(scenario.seed, 100 + index as u64), START)
        });
        let mut actors: Vec<Actor> = actors.collect();
        for actor in &mut actors {
            actor.broker_may_fail = scenario.faults.failing_disk;
        }
        users.next_u64();
        Self {
            scenario: scenario.clone(),
            now: START,
            actors,
            nodes: (0..scenario.brokers).map(node).collect(),
            links: BTreeMap::new(),
            next_link: 0,
            strangers: 0,
            users,
            net: generator(scenario.seed, 2),
            fate: generator(scenario.seed, 3),
            disks: generator(scenario.seed, 4),
            trace: Trace::new(keep_trace),
            troubled: true,
            crashes: 0,
            store_failures: 0,
            dropped: BTreeMap::new(),
            dropped_late: BTreeMap::new(),
            slow: BTreeSet::new(),
            parted: BTreeMap::new(),
            present: BTreeSet::new(),
        }
    }

    /// Users act while faults happen; then faults stop, everything settles, and probes show what is there.
    fn play(&mut self) -> Result<(), Violation> {
        for index in 0..self.actors.len() {
            self.actors[index].come_back(self.now);
        }
        for _ in 0..self.scenario.steps {
            let pause = Duration::from_micros(self.users.below(200_000));
            self.advance(self.now + pause)?;
            let index = self.users.below(self.actors.len() as u64) as usize;
            if !self.actors[index].is_frozen(self.now) {
                self.actors[index].act(self.now, &mut self.users, &mut self.trace);
            }
            self.trouble();
            self.react()?;
        }
        let lost = self.actors.iter().find(|actor| actor.diary.missed_goodbyes > 0);
        if let Some(actor) = lost.filter(|_| self.scenario.faults == Faults::NONE) {
            let what = format!("the broker lost client {} though nothing was in the way", actor.index);
            return Err(violation("no-protocol-error", what));
        }
        self.calm()?;
        self.probe()?;
        self.newcomers()?;
        self.check_stores()
    }

    fn add_link(&mut self, link: Link) -> u64 {
        self.next_link += 1;
        self.links.insert(self.next_link, link);
        self.next_link
    }

    /// The faults end.
    fn calm(&mut self) -> Result<(), Violation> {
        self.trace.add(self.now, format_args!("the faults end"));
        self.troubled = false;
        for actor in &mut self.actors {
            actor.frozen_until = actor.frozen_until.map(|until| until.min(self.now));
            actor.slow_until = None;
        }
        for node in &mut self.nodes {
            node.up_at = node.up_at.map(|at| at.min(self.now));
            node.stalled_until = node.stalled_until.map(|until| until.min(self.now));
            node.doomed = None;
        }
        for link in self.links.values_mut().filter(|link| link.up.dead && link.down.dead) {
            link.reset_at = Some(self.now); // half-open no longer
        }
        for actor in self.actors.iter_mut().filter(|actor| actor.killed) {
            actor.frozen_until = None;
            actor.revive(self.now, &mut self.trace);
        }
        self.react()?;
        for index in 0..self.actors.len() {
            if self.actors[index].machine.is_idle() {
                if !self.actors[index].away {
                    return Err(violation("progress", format!("client {index} gave up")));
                }
                self.actors[index].come_back(self.now);
            }
        }
        self.react()?;
        self.settle()
    }

    /// Everything comes to rest, or the law of progress is broken.
    fn settle(&mut self) -> Result<(), Violation> {
        let end = self.now + SETTLE;
        while self.now < end {
            let settled = self.is_settled();
            self.advance(self.now + Duration::from_secs(1))?; // a moment more, for what nobody waits for
            if settled && self.is_settled() {
                return Ok(());
            }
        }
        let (clients, queued) = self.unsettled();
        let what = format!("after {} s clients {clients:?} still wait, brokers hold {queued:?}", SETTLE.as_secs());
        Err(violation(if clients.is_empty() { "levels" } else { "progress" }, what))
    }

    fn unsettled(&self) -> (Vec<usize>, Vec<(u64, u64)>) {
        let waiting = |actor: &&Actor| !actor.machine.is_connected() || !actor.machine.is_drained();
        let clients = self.actors.iter().filter(waiting).map(|actor| actor.index).collect();
        let levels = |node: &Node| {
            let stats = node.machine.as_ref().map(Broker::stats).unwrap_or_default();
            (stats.queued, stats.inflight)
        };
        (clients, self.nodes.iter().map(levels).collect())
    }

    fn is_settled(&self) -> bool {
        let (clients, levels) = self.unsettled();
        let strangers = self.links.values().any(|link| matches!(link.owner, Owner::Stranger(_)));
        let open = |link: &Link| link.reset_at.is_some() || !link.up.is_empty() || !link.down.is_empty();
        let travelling = self.links.values().any(open);
        clients.is_empty() && !strangers && !travelling && self.scenario_levels(&levels)
    }

    /// Sessions of strangers may hold on to what nobody will ever take; those of clients may not.
    fn scenario_levels(&self, levels: &[(u64, u64)]) -> bool {
        self.scenario.faults.noise || levels.iter().all(|(queued, inflight)| *queued == 0 && *inflight == 0)
    }

    /// When nothing is on its way, no store holds a message that somebody waits for.
    fn check_stores(&self) -> Result<(), Violation> {
        for Actor { index, disk, .. } in &self.actors {
            let messages = disk.as_ref().map(|disk| disk.contents().messages());
            if let Some((messages @ 1.., _)) = messages {
                let what = format!("the store of client {index} holds {messages} messages that it does not owe");
                return Err(violation("levels", what));
            }
        }
        if self.scenario.faults.noise {
            return Ok(()); // nobody knows what strangers wait for
        }
        for (node, Node { disk, .. }) in self.nodes.iter().enumerate() {
            let (entries, messages) = (disk.kept().entries(), disk.kept().messages());
            if disk.is_synced() && (entries, messages) != (0, 0) {
                let what = format!("the store of broker {node} holds {entries} entries of logs, {messages} messages");
                return Err(violation("levels", what));
            }
            self.check_sessions(node)?;
        }
        Ok(())
    }

    /// With everybody connected, a broker has a session for each client and the subscriptions that its client believes in;
    /// its store has those of them that are to outlive a connection.
    fn check_sessions(&self, node: usize) -> Result<(), Violation> {
        let Node { machine: Some(machine), disk, .. } = &self.nodes[node] else { return Ok(()) };
        let actors = || self.actors.iter().filter(|actor| actor.diary.broker == node);
        let wishes = |actor: &Actor| actor.diary.wishes.iter().filter(|wish| wish.ended.is_none()).count();
        let lasts = |actor: &&Actor| !actor.session_expiry.is_zero();
        let (stats, store) = (machine.stats(), disk.kept());
        let newcomer = actors().next_back();
        let retained = newcomer.map_or(0, |newcomer| newcomer.diary.retained.len());
        // One that expires may have gone since.
        let expires =
            actors().flat_map(|actor| &actor.diary.sent).any(|sent| sent.expires && sent.topic.starts_with('r'));
        let stored = actors().filter(|actor| lasts(actor) || actor.diary.has_will).count();
        for (what, is, should) in [
            ("sessions in broker", stats.sessions as usize, actors().count()),
            ("sessions in the store of broker", store.sessions(), stored),
            ("subscriptions in broker", stats.subscriptions as usize, actors().map(wishes).sum()),
            ("subscriptions in the store of broker", store.subscriptions(), actors().filter(lasts).map(wishes).sum()),
            ("retained messages in the store of broker", store.retained(), stats.retained as usize),
            (
                "retained messages in broker",
                stats.retained as usize,
                if expires { retained.min(stats.retained as usize) } else { retained },
            ),
        ] {
            if is != should {
                return Err(violation("levels", format!("{is} {what} {node} instead of {should}")));
            }
        }
        Ok(())
    }

    /// One message on each topic, when nothing is in the way.
    fn probe(&mut self) -> Result<(), Violation> {
        for broker in 0..self.nodes.len() {
            let Some(index) = self.actors.iter().position(|actor| actor.diary.broker == broker) else { continue };
            let probe = Shape { probe: true, ..Shape::default() };
            for topic in (0..9).map(|n| format!("t/{}/{}", n / 3, n % 3)) {
                self.actors[index].publish(self.now, topic, QoS::AtLeastOnce, probe, &mut self.trace);
            }
        }
        self.react()?;
        self.settle()
    }

    /// Newcomers look at the retained messages.
    fn newcomers(&mut self) -> Result<(), Violation> {
        for broker in 0..self.nodes.len() {
            let index = self.actors.len();
            let mut newcomer = Actor::new(index, broker, &mut generator(self.scenario.seed, 99), self.now);
            newcomer.subscribe(self.now, "r/#", QoS::AtLeastOnce, &mut self.trace);
            newcomer.come_back(self.now);
            self.actors.push(newcomer);
        }
        self.react()?;
        self.settle()
    }

    fn forget(&mut self, key: u64) {
        if self.links.get(&key).is_some_and(|link| link.client_gone && link.broker_gone) {
            self.links.remove(&key);
        }
    }
}
