//! The loop: the next thing that is due happens, everything that follows from it happens, and time jumps on.
//!
//! Invariant: whatever is chosen is chosen by a generator of the scenario's seed, in an order that the seed decides.
use crate::actor::Actor;
use crate::check::{self, Violation, violation};
use crate::disk::Disk;
use crate::history::History;
use crate::network::{Link, Owner};
use crate::noise;
use crate::scenario::{Scenario, generator};
use crate::trace::Trace;
use mqtt_session::broker::{self, Broker, Completion, Config, ConnId, DisconnectReason, Greeting, Peer, Request};
use mqtt_session::client;
use mqtt_session::proto::{QoS, ReasonCode};
use mqtt_session::{Instant, Rng, UnixTime};
use std::collections::BTreeMap;
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
    links: BTreeMap<ConnId, u64>,
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
    trace: Trace,
    /// Whether faults still happen.
    troubled: bool,
    crashes: u32,
}

/// Runs a scenario from beginning to end.
pub fn run(scenario: &Scenario, keep_trace: bool) -> Report {
    let mut world = World::new(scenario, keep_trace);
    let outcome = world.play();
    let history = History {
        clients: world.actors.iter_mut().map(|actor| std::mem::take(&mut actor.diary)).collect(),
        crashes: world.crashes,
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

fn config() -> Arc<Config> {
    let mut config = Config { sys_interval: Duration::ZERO, ..Config::default() };
    config.connection.connect_timeout = Duration::from_secs(3);
    config.connection.receive_maximum = 8;
    config.connection.max_inflight = 8;
    config.connection.topic_alias_maximum = 3;
    config.connection.max_outgoing_aliases = 3;
    config.connection.max_transmit_bytes = 64 * 1024;
    config.max_queued_bytes = 8 << 20;
    Arc::new(config)
}

fn wall(now: Instant) -> UnixTime {
    UnixTime::from_millis(1_800_000_000_000) + (now - START)
}

impl World {
    fn new(scenario: &Scenario, keep_trace: bool) -> Self {
        let mut users = generator(scenario.seed, 1);
        let node = |_| Node {
            machine: None,
            disk: Disk::default(),
            config: config(),
            up_at: Some(START),
            links: BTreeMap::new(),
            starts: 0,
        };
        let actors = (0..scenario.clients).map(|index| {
            Actor::new(index, index % scenario.brokers, &mut generator(scenario.seed, 100 + index as u64), START)
        });
        let actors = actors.collect();
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
            trace: Trace::new(keep_trace),
            troubled: true,
            crashes: 0,
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
        self.calm()?;
        self.probe()?;
        self.newcomers()
    }

    /// Something goes wrong, perhaps.
    fn trouble(&mut self) {
        let faults = self.scenario.faults;
        if self.fate.below(4) > 0 {
            return;
        }
        match self.fate.below(10) {
            0..4 if faults.cuts => self.cut_some_link(),
            4..6 if faults.crashes => {
                let node = self.fate.below(self.nodes.len() as u64) as usize;
                self.crash(node);
            }
            6..8 if faults.freezes => {
                let index = self.fate.below(self.actors.len() as u64) as usize;
                let until = self.now + Duration::from_millis(self.fate.below(15_000));
                self.trace.add(self.now, format_args!("client {index} stands still"));
                self.actors[index].frozen_until = Some(until);
            }
            8..10 if faults.noise => self.stranger(),
            _ => {}
        }
    }

    fn cut_some_link(&mut self) {
        let keys: Vec<u64> = self.links.keys().copied().collect();
        if keys.is_empty() {
            return;
        }
        let key = keys[self.fate.below(keys.len() as u64) as usize];
        let half_open = self.scenario.faults.half_open && self.fate.below(2) == 0;
        let client_first = self.fate.below(2) == 0;
        self.trace.add(self.now, format_args!("link {key} is cut, half-open {half_open}"));
        let Some(link) = self.links.get_mut(&key) else { return };
        link.up.lose();
        link.down.lose();
        link.up.dead = true;
        link.down.dead = true;
        if half_open {
            link.reset_at = Some(self.now + Duration::from_millis(self.fate.below(20_000)));
            if client_first { self.client_loses(key) } else { self.broker_loses(key) }
        } else {
            self.client_loses(key);
            self.broker_loses(key);
        }
    }

    fn crash(&mut self, node: usize) {
        if self.nodes[node].machine.take().is_none() {
            return;
        }
        self.crashes += 1;
        let (kept, lost) = self.nodes[node].disk.crash(&mut self.fate);
        let down = Duration::from_millis(self.fate.below(3000));
        self.trace
            .add(self.now, format_args!("broker {node} crashes; of the unsynced batches {kept} are kept, {lost} lost"));
        self.nodes[node].up_at = Some(self.now + down);
        self.nodes[node].links.clear();
        let keys: Vec<u64> = self.links.iter().filter(|(_, link)| link.broker == node).map(|(key, _)| *key).collect();
        for key in keys {
            if let Some(link) = self.links.get_mut(&key) {
                link.broker_gone = true;
                link.up.lose();
                link.up.dead = true;
                if link.client_gone {
                    self.links.remove(&key);
                } else {
                    // What travels still arrives; then the client finds out.
                    link.reset_at = Some(self.now + Duration::from_millis(self.fate.below(200)));
                }
            }
        }
    }

    fn stranger(&mut self) {
        let node = self.fate.below(self.nodes.len() as u64) as usize;
        if self.nodes[node].machine.is_none() {
            return;
        }
        let script = noise::script(&mut self.fate);
        self.strangers += 1;
        self.trace
            .add(self.now, format_args!("stranger {} sends {} bytes to broker {node}", self.strangers, script.len()));
        let greeting = Greeting::new(&self.nodes[node].config, self.now);
        let mut link = Link::new(Owner::Stranger(self.strangers), node, greeting);
        for portion in script.chunks(1 + self.fate.below(64) as usize) {
            let delay = Duration::from_micros(self.fate.below(500_000));
            link.up.send(self.now + delay, portion);
        }
        // It never reads more than the pipe holds, and goes some time without a word.
        link.reset_at = Some(self.now + Duration::from_millis(1000 + self.fate.below(10_000)));
        self.add_link(link);
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
        }
        for link in self.links.values_mut().filter(|link| link.up.dead && link.down.dead) {
            link.reset_at = Some(self.now); // half-open no longer
        }
        self.react()?;
        for index in 0..self.actors.len() {
            if self.actors[index].machine.is_idle() {
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

    /// One message on each topic, when nothing is in the way.
    fn probe(&mut self) -> Result<(), Violation> {
        for broker in 0..self.nodes.len() {
            let Some(index) = self.actors.iter().position(|actor| actor.diary.broker == broker) else { continue };
            for topic in (0..9).map(|n| format!("t/{}/{}", n / 3, n % 3)) {
                self.actors[index].publish(self.now, topic, QoS::AtLeastOnce, false, true, &mut self.trace);
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

    /// Time passes until `end`; whatever is due on the way happens at its time.
    fn advance(&mut self, end: Instant) -> Result<(), Violation> {
        let mut rounds = 0;
        while let Some(at) = self.next_deadline().filter(|at| *at <= end) {
            rounds = if at > self.now { 0 } else { rounds + 1 };
            if rounds > ROUNDS {
                return Err(violation("progress", "time stands still: something is due for ever"));
            }
            self.now = self.now.max(at);
            self.due();
            self.react()?;
        }
        self.now = end;
        Ok(())
    }

    fn next_deadline(&self) -> Option<Instant> {
        let actors = self.actors.iter().filter_map(|actor| match actor.frozen_until {
            Some(until) => Some(until),
            None => [actor.machine.poll_timeout(), actor.slow_until].into_iter().flatten().min(),
        });
        let nodes = self.nodes.iter().filter_map(|node| {
            let machine = node.machine.as_ref().and_then(Broker::poll_timeout);
            [machine, node.disk.deadline().filter(|_| node.machine.is_some()), node.up_at].into_iter().flatten().min()
        });
        let links = self.links.values().filter_map(|link| {
            let greeting = link.greeting.as_ref().filter(|_| !link.broker_gone).map(Greeting::deadline);
            [link.deadline(), greeting].into_iter().flatten().min()
        });
        actors.chain(nodes).chain(links).min()
    }

    /// Everything that is due now.
    fn due(&mut self) {
        let now = self.now;
        let mut thawed = Vec::new();
        for actor in &mut self.actors {
            if actor.frozen_until.is_some_and(|until| until <= now) {
                actor.frozen_until = None;
                thawed.push((actor.index, actor.link));
            }
            if actor.slow_until.is_some_and(|until| until <= now) {
                actor.slow_until = None;
            }
            if actor.frozen_until.is_none() {
                actor.machine.handle_timeout(now);
            }
        }
        for (index, link) in thawed {
            if let Some(key) = link {
                self.client_reads(key);
            }
            self.client_writes(index);
        }
        let slow = self.scenario.faults.slow_disk && self.troubled;
        for node in 0..self.nodes.len() {
            if self.nodes[node].up_at.is_some_and(|at| at <= now) {
                self.start(node);
            }
            let Node { machine: Some(machine), disk, .. } = &mut self.nodes[node] else { continue };
            if let Some(upto) = disk.sync(now, slow, &mut self.net) {
                machine.handle_completion(now, Completion::Stored { upto });
            }
            machine.handle_timeout(now);
        }
        let keys: Vec<u64> = self.links.keys().copied().collect();
        for key in keys {
            self.link_due(key);
        }
    }

    fn start(&mut self, node: usize) {
        let entry = &mut self.nodes[node];
        entry.up_at = None;
        entry.starts += 1;
        let seed = [entry.starts; 32];
        let machine = Broker::restore(entry.config.clone(), seed, self.now, wall(self.now), entry.disk.contents());
        entry.machine = Some(machine);
        self.trace.add(self.now, format_args!("broker {node} starts"));
    }

    fn link_due(&mut self, key: u64) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&key) else { return };
        if link.reset_at.is_some_and(|at| at <= now) {
            // An orderly end is noticed behind the last byte: a reader that pauses has not come so far.
            let (client_closed, broker_closed) = (link.client_gone, link.broker_gone);
            let reads = matches!(link.owner, Owner::Client(_)); // strangers do not
            if client_closed && !link.up.is_empty() || broker_closed && reads && !link.down.is_empty() {
                link.reset_at = Some(now + Duration::from_millis(5));
                link.arrive(now);
                self.broker_reads(key);
                self.client_reads(key);
                return;
            }
            link.reset_at = None;
            self.client_loses(key);
            self.broker_loses(key);
            return;
        }
        if link.up.arrive(now) {
            self.broker_reads(key);
        }
        if let Some(link) = self.links.get_mut(&key)
            && link.down.arrive(now)
        {
            self.client_reads(key);
        }
        if let Some(link) = self.links.get(&key)
            && link.greeting.as_ref().is_some_and(|greeting| greeting.deadline() <= now)
        {
            self.broker_hangs_up(key);
        }
    }

    /// The client's end learns that the connection is gone.
    fn client_loses(&mut self, key: u64) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&key) else { return };
        link.client_gone = true;
        if let Owner::Client(index) = link.owner
            && self.actors[index].link == Some(key)
        {
            self.actors[index].link = None;
            self.actors[index].machine.handle_disconnected(now);
        }
        self.forget(key);
    }

    /// The broker's end learns that the connection is gone.
    fn broker_loses(&mut self, key: u64) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&key) else { return };
        link.broker_gone = true;
        link.greeting = None;
        if let Some(conn) = link.conn.take() {
            let node = &mut self.nodes[link.broker];
            node.links.remove(&conn);
            if let Some(machine) = &mut node.machine {
                machine.handle_closed(now, conn);
            }
        }
        self.forget(key);
    }

    fn forget(&mut self, key: u64) {
        if self.links.get(&key).is_some_and(|link| link.client_gone && link.broker_gone) {
            self.links.remove(&key);
        }
    }

    /// The broker closes: what it wrote still arrives, then the client learns it.
    fn broker_hangs_up(&mut self, key: u64) {
        let delay = self.delay();
        let Some(link) = self.links.get_mut(&key) else { return };
        let last = link.down.next_arrival().unwrap_or(self.now).max(self.now);
        link.reset_at = Some(last + delay + Duration::from_millis(1));
        link.up.lose();
        link.up.dead = true;
        self.broker_loses(key);
    }

    /// The client closes: what it wrote still arrives, then the broker learns it.
    fn client_hangs_up(&mut self, key: u64) {
        let delay = self.delay();
        let Some(link) = self.links.get_mut(&key) else { return };
        let last = link.up.next_arrival().unwrap_or(self.now).max(self.now);
        link.reset_at = Some(last + delay + Duration::from_millis(1));
        link.client_gone = true;
        link.down.lose();
        link.down.dead = true;
        self.forget(key);
    }

    fn delay(&mut self) -> Duration {
        let most = if self.scenario.faults.portions && self.troubled { 50_000_000 } else { 1_000_000 };
        Duration::from_nanos(self.net.below(most))
    }

    /// How many of `count` bytes a socket takes at once.
    fn portion(&mut self, count: usize) -> usize {
        if count > 1 && self.scenario.faults.portions && self.net.below(3) == 0 {
            1 + self.net.below(count as u64 - 1) as usize
        } else {
            count
        }
    }

    /// Lets everything that follows from what happened happen, without time passing.
    fn react(&mut self) -> Result<(), Violation> {
        for _ in 0..ROUNDS {
            let mut any = false;
            for index in 0..self.actors.len() {
                any |= self.serve_actor(index);
            }
            for node in 0..self.nodes.len() {
                any |= self.serve_node(node);
                self.check_budget(node)?;
            }
            if !any {
                return Ok(());
            }
        }
        Err(violation("progress", "outputs without end at one moment"))
    }

    fn check_budget(&self, node: usize) -> Result<(), Violation> {
        let Node { machine: Some(machine), config, links, .. } = &self.nodes[node] else { return Ok(()) };
        let stats = machine.stats();
        if stats.queued_bytes > config.max_queued_bytes {
            return Err(violation("budget", format!("broker {node} holds {} bytes of messages", stats.queued_bytes)));
        }
        // Acknowledgments and one pull may come on top of the limit.
        let most = config.connection.max_transmit_bytes + 512 * 1024;
        match links.keys().map(|conn| machine.transmit(*conn).len()).max() {
            Some(bytes) if bytes > most => Err(violation("budget", format!("{bytes} bytes wait for one socket"))),
            _ => Ok(()),
        }
    }

    fn serve_actor(&mut self, index: usize) -> bool {
        let now = self.now;
        if self.actors[index].is_frozen(now) {
            return false;
        }
        let mut any = self.actors[index].take_messages(now, &mut self.trace);
        while let Some(output) = self.actors[index].machine.poll_output() {
            any = true;
            match output {
                client::Output::Connect { .. } => self.dial(index),
                client::Output::Writable => self.client_writes(index),
                client::Output::Readable => {
                    if let Some(key) = self.actors[index].link {
                        self.client_reads(key);
                    }
                }
                client::Output::Close => {
                    self.client_writes(index);
                    if let Some(key) = self.actors[index].link.take() {
                        self.client_hangs_up(key);
                    }
                }
                client::Output::Event(event) => self.actors[index].note(now, &event, &mut self.trace),
                other => self.trace.add(now, format_args!("client {index}: {other:?}")),
            }
        }
        any
    }

    fn dial(&mut self, index: usize) {
        let now = self.now;
        let broker = self.actors[index].diary.broker;
        if self.nodes[broker].machine.is_none() {
            self.actors[index].machine.handle_disconnected(now); // refused
            return;
        }
        let greeting = Greeting::new(&self.nodes[broker].config, now);
        let key = self.add_link(Link::new(Owner::Client(index), broker, greeting));
        self.actors[index].link = Some(key);
        self.actors[index].machine.handle_connected(now);
    }

    fn client_writes(&mut self, index: usize) {
        let now = self.now;
        let Some(key) = self.actors[index].link else { return };
        loop {
            let delay = self.delay();
            let Some(link) = self.links.get(&key) else { return };
            let room = link.up.room();
            let chunk = self.actors[index].machine.transmit().chunks().next().map(<[u8]>::to_vec);
            let Some(chunk) = chunk else { return };
            let count = self.portion(chunk.len().min(room));
            let Some(link) = self.links.get_mut(&key) else { return };
            link.up.blocked = count == 0;
            if count == 0 {
                return;
            }
            link.up.send(now + delay, &chunk[..count]);
            self.actors[index].machine.transmitted(now, count);
        }
    }

    fn client_reads(&mut self, key: u64) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&key) else { return };
        let Owner::Client(index) = link.owner else { return };
        if self.actors[index].link != Some(key) || self.actors[index].is_frozen(now) {
            return;
        }
        let before = link.down.arrived.len();
        self.actors[index].machine.handle_input(now, &mut link.down.arrived);
        link.down.taken(before);
        if link.down.blocked && link.down.room() > 0 {
            self.broker_writes(key);
        }
    }

    fn broker_reads(&mut self, key: u64) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&key) else { return };
        let Node { machine: Some(machine), links, .. } = &mut self.nodes[link.broker] else { return };
        let before = link.up.arrived.len();
        if let Some(greeting) = &mut link.greeting {
            match greeting.handle_input(&mut link.up.arrived) {
                Ok(None) => {}
                Ok(Some(connect)) => {
                    let conn = machine.handle_open(now, Peer::default(), connect);
                    link.greeting = None;
                    link.conn = Some(conn);
                    links.insert(conn, key);
                }
                Err(refusal) => {
                    link.down.send(now, &refusal.reply);
                    return self.broker_hangs_up(key);
                }
            }
        }
        if let Some(conn) = link.conn {
            machine.handle_input(now, conn, &mut link.up.arrived);
        }
        link.up.taken(before);
        if link.up.blocked
            && link.up.room() > 0
            && let Owner::Client(index) = link.owner
            && !self.actors[index].is_frozen(now)
        {
            self.client_writes(index);
        }
    }

    fn broker_writes(&mut self, key: u64) {
        let now = self.now;
        loop {
            let delay = self.delay();
            let Some(link) = self.links.get(&key) else { return };
            let (room, broker) = (link.down.room(), link.broker);
            let (Some(conn), Some(machine)) = (link.conn, &self.nodes[broker].machine) else { return };
            let Some(chunk) = machine.transmit(conn).chunks().next().map(<[u8]>::to_vec) else { return };
            let count = self.portion(chunk.len().min(room));
            let Some(link) = self.links.get_mut(&key) else { return };
            link.down.blocked = count == 0;
            if count == 0 {
                return;
            }
            link.down.send(now + delay, &chunk[..count]);
            if let Some(machine) = &mut self.nodes[broker].machine {
                machine.transmitted(now, conn, count);
            }
        }
    }

    fn note(&mut self, node: usize, event: &broker::Event) {
        self.trace.add(self.now, format_args!("broker {node}: {event:?}"));
        if let broker::Event::Disconnected { client_id, reason, .. } = event
            && *reason != DisconnectReason::Client(ReasonCode::Success)
            && let Some(actor) = self.actors.iter_mut().find(|actor| actor.machine.client_id() == client_id)
        {
            actor.diary.losses.push(self.now);
        }
    }

    fn serve_node(&mut self, node: usize) -> bool {
        let now = self.now;
        let slow = self.scenario.faults.slow_disk && self.troubled;
        let mut any = false;
        while let Some(output) = self.nodes[node].machine.as_mut().and_then(Broker::poll_output) {
            any = true;
            let link_of = |conn: &ConnId| self.nodes[node].links.get(conn).copied();
            match output {
                broker::Output::Writable(conn) => {
                    if let Some(key) = link_of(&conn) {
                        self.broker_writes(key);
                    }
                }
                broker::Output::Readable(conn) => {
                    if let Some(key) = link_of(&conn) {
                        self.broker_reads(key);
                    }
                }
                broker::Output::Close(conn) => match link_of(&conn) {
                    Some(key) => {
                        self.broker_writes(key);
                        self.broker_hangs_up(key);
                    }
                    None => {
                        if let Some(machine) = &mut self.nodes[node].machine {
                            machine.handle_closed(now, conn);
                        }
                    }
                },
                broker::Output::Request(Request::Store(batch)) => {
                    self.nodes[node].disk.write(now, batch, slow, &mut self.net);
                }
                broker::Output::Event(event) => self.note(node, &event),
                other => self.trace.add(now, format_args!("broker {node}: {other:?}")),
            }
        }
        any
    }
}
