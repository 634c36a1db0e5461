//! Client machines and broker machines on one fake clock, joined by a network that the test can cut.
use bytes::BytesMut;
use mqtt_session::broker::{self, Broker, Config, ConnId, Greeting, Peer, Request};
use mqtt_session::client::{
    self, Client, ClientConfig, Completion, Connected, Event, Failure, MemoryStore, Outcome, Received, StoreBatch,
    SubscribeOptions, Token,
};
use mqtt_session::proto::*;
use mqtt_session::{Instant, UnixTime};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Brokers, clients, and the wires between them.
pub struct World {
    pub now: Instant,
    pub brokers: Vec<Node>,
    clients: Vec<Wire>,
    /// Bytes that travel at once; small values split packets everywhere.
    pub chunk: usize,
}

/// One broker and what it asked for.
pub struct Node {
    pub broker: Broker,
    config: Arc<Config>,
    /// Whether new connections are accepted.
    pub up: bool,
    pub requests: VecDeque<Request>,
    pub events: Vec<broker::Event>,
    /// The client behind each connection.
    links: HashMap<ConnId, usize>,
    ready: Vec<ConnId>,
}

/// One client machine and its end of the wire.
struct Wire {
    machine: Client,
    events: Vec<Event>,
    /// The broker that it is connected to, and the connection once CONNECT was read.
    server: Option<(usize, Option<ConnId>)>,
    to_broker: BytesMut,
    to_client: BytesMut,
    greeting: Option<Greeting>,
    writable: bool,
    disk: Option<Disk>,
    /// Bytes stay on their way until they are let through.
    held: bool,
}

/// What a client with a store has asked to be kept.
#[derive(Default)]
struct Disk {
    kept: MemoryStore,
    /// Batches that are not kept yet.
    waiting: VecDeque<StoreBatch>,
    /// Processes so far.
    lives: u8,
}

/// Names a client of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct C(usize);

impl World {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// A world with one broker whose configuration differs from the default.
    pub fn with(change: impl Fn(&mut Config)) -> Self {
        Self::many(1, change)
    }

    /// A world with several brokers, which know nothing of each other.
    pub fn many(count: usize, change: impl Fn(&mut Config)) -> Self {
        let now = Instant::from_secs(1_000_000);
        let node = |seed: usize| {
            let mut config = Config { sys_interval: Duration::ZERO, ..Config::default() };
            change(&mut config);
            let config = Arc::new(config);
            let seed = [u8::try_from(seed).unwrap() + 1; 32];
            let broker = Broker::new(config.clone(), seed, now, UnixTime::from_millis(1_800_000_000_000));
            Node {
                broker,
                config,
                up: true,
                requests: VecDeque::new(),
                events: Vec::new(),
                links: HashMap::new(),
                ready: Vec::new(),
            }
        };
        Self { now, brokers: (0..count).map(node).collect(), clients: Vec::new(), chunk: 7 }
    }

    /// Adds a client that is not connected.
    pub fn idle(&mut self, config: ClientConfig) -> C {
        let seed = [u8::try_from(self.clients.len()).unwrap() + 100; 32];
        let machine = Client::new(config, seed, self.now).expect("a sound configuration");
        self.add(machine)
    }

    /// Adds a machine that the test has made.
    pub fn add(&mut self, machine: Client) -> C {
        self.clients.push(Wire {
            machine,
            events: Vec::new(),
            server: None,
            to_broker: BytesMut::new(),
            to_client: BytesMut::new(),
            greeting: None,
            writable: false,
            disk: None,
            held: false,
        });
        C(self.clients.len() - 1)
    }

    /// Adds a client with an empty store, which keeps what [`World::keep`] says.
    pub fn idle_with_store(&mut self, config: ClientConfig) -> C {
        let machine = Client::with_store(config, &MemoryStore::new(), [50; 32], self.now, self.wall()).unwrap();
        let client = self.add(machine);
        self.clients[client.0].disk = Some(Disk::default());
        client
    }

    /// The clock that survives a restart.
    fn wall(&self) -> UnixTime {
        UnixTime::from_millis(1_800_000_000_000) + self.now.saturating_since(Instant::from_secs(1_000_000))
    }

    /// The store keeps so many of the batches that wait, and says so.
    pub fn keep(&mut self, client: C, batches: usize) {
        let peer = &mut self.clients[client.0];
        let disk = peer.disk.as_mut().expect("a client with a store");
        let mut last = None;
        for batch in disk.waiting.drain(..batches.min(disk.waiting.len())) {
            disk.kept.apply(&batch);
            last = Some(batch.seq);
        }
        if let Some(upto) = last {
            peer.machine.handle_completion(self.now, Completion::Stored { upto });
        }
        self.run();
    }

    /// What the store has kept.
    pub fn kept(&self, client: C) -> &MemoryStore {
        &self.clients[client.0].disk.as_ref().expect("a client with a store").kept
    }

    /// From now on bytes of this client stay on their way, both ways, or do no longer.
    pub fn hold(&mut self, client: C, held: bool) {
        let peer = &mut self.clients[client.0];
        peer.held = held;
        if !held {
            peer.machine.handle_input(self.now, &mut peer.to_client);
        }
        self.run();
    }

    /// Lets some of the bytes through that are held, first those to the broker.
    pub fn let_through(&mut self, client: C, bytes: usize) {
        let peer = &mut self.clients[client.0];
        if let Some((node, Some(id))) = peer.server {
            let mut part = peer.to_broker.split_to(bytes.min(peer.to_broker.len()));
            self.brokers[node].broker.handle_input(self.now, id, &mut part);
            let rest = peer.to_broker.split();
            part.extend_from_slice(&rest);
            peer.to_broker = part;
        } else {
            peer.held = false;
            self.carry(client.0); // CONNECT travels whole
            self.clients[client.0].held = true;
        }
        self.run();
        let peer = &mut self.clients[client.0];
        let mut part = peer.to_client.split_to(bytes.min(peer.to_client.len()));
        peer.machine.handle_input(self.now, &mut part);
        let rest = peer.to_client.split();
        part.extend_from_slice(&rest);
        peer.to_client = part;
        self.run();
    }

    /// The process of a client is killed, and comes back with what its store has. That is what it has reported, and so many batches more.
    /// What was written to the socket arrives, or not.
    pub fn kill(&mut self, client: C, config: ClientConfig, more: usize, arrives: bool) {
        self.take_bytes(client.0);
        if arrives {
            let held = std::mem::take(&mut self.clients[client.0].held);
            self.carry(client.0);
            self.clients[client.0].held = held;
        }
        if let Some((node, Some(id))) = self.clients[client.0].server.take() {
            self.brokers[node].links.remove(&id);
            self.brokers[node].broker.handle_closed(self.now, id);
        }
        let wall = self.wall();
        let peer = &mut self.clients[client.0];
        let disk = peer.disk.as_mut().expect("a client with a store");
        for batch in disk.waiting.drain(..).take(more) {
            disk.kept.apply(&batch);
        }
        disk.lives += 1;
        peer.machine = Client::with_store(config, &disk.kept, [50 + disk.lives; 32], self.now, wall).unwrap();
        peer.events.clear();
        peer.to_client.clear();
        peer.to_broker.clear();
        peer.greeting = None;
        peer.writable = false;
    }

    /// Adds a client and lets it connect.
    pub fn join(&mut self, config: ClientConfig) -> C {
        let client = self.idle(config);
        self.connect(client);
        client
    }

    pub fn connect(&mut self, client: C) {
        let now = self.now;
        self.machine(client).connect(now);
        self.run();
    }

    pub fn machine(&mut self, client: C) -> &mut Client {
        &mut self.clients[client.0].machine
    }

    /// The one broker.
    pub fn broker(&mut self) -> &mut Node {
        &mut self.brokers[0]
    }

    /// Lets everything that can happen now happen.
    pub fn run(&mut self) {
        loop {
            let mut moved = false;
            for index in 0..self.clients.len() {
                moved |= self.serve_client(index);
                moved |= self.carry(index);
            }
            for node in 0..self.brokers.len() {
                moved |= self.serve_broker(node);
            }
            if !moved {
                return;
            }
        }
    }

    fn serve_client(&mut self, index: usize) -> bool {
        let now = self.now;
        let mut moved = false;
        while let Some(output) = self.clients[index].machine.poll_output() {
            moved = true;
            let peer = &mut self.clients[index];
            match output {
                client::Output::Connect { server } => {
                    if self.brokers[server].up {
                        peer.server = Some((server, None));
                        peer.greeting = Some(Greeting::new(&self.brokers[server].config, now));
                        peer.machine.handle_connected(now);
                    } else {
                        peer.machine.handle_disconnected(now);
                    }
                }
                client::Output::Writable => peer.writable = true,
                client::Output::Readable if peer.held => {}
                client::Output::Readable => peer.machine.handle_input(now, &mut peer.to_client),
                client::Output::Close => {
                    self.take_bytes(index);
                    self.carry(index);
                    self.hang_up(index);
                }
                client::Output::Event(event) => peer.events.push(event),
                client::Output::Store(batch) => {
                    peer.disk.as_mut().expect("a client with a store").waiting.push_back(batch);
                }
                other => panic!("unknown output {other:?}"),
            }
        }
        if self.clients[index].writable {
            moved |= self.take_bytes(index);
        }
        moved
    }

    /// The client's socket takes what the machine has to write.
    fn take_bytes(&mut self, index: usize) -> bool {
        let (now, peer) = (self.now, &mut self.clients[index]);
        let mut taken = 0;
        for chunk in peer.machine.transmit().chunks() {
            peer.to_broker.extend_from_slice(chunk);
            taken += chunk.len();
        }
        peer.machine.transmitted(now, taken);
        peer.writable = false;
        taken > 0
    }

    /// Moves bytes to the broker, a chunk at a time.
    fn carry(&mut self, index: usize) -> bool {
        let mut moved = false;
        while !self.clients[index].held
            && let Some((server, conn)) = self.clients[index].server
        {
            let peer = &mut self.clients[index];
            let node = &mut self.brokers[server];
            let before = peer.to_broker.len();
            if before == 0 {
                break;
            }
            match conn {
                None => {
                    let Some(greeting) = &mut peer.greeting else { break };
                    match greeting.handle_input(&mut peer.to_broker) {
                        Ok(Some(connect)) => {
                            let id = node.broker.handle_open(self.now, Peer::default(), connect);
                            node.links.insert(id, index);
                            peer.server = Some((server, Some(id)));
                        }
                        Ok(None) => panic!("a client machine writes CONNECT as a whole"),
                        Err(refusal) => panic!("a client machine writes a sound CONNECT: {refusal:?}"),
                    }
                }
                Some(id) => {
                    // Byte by byte as far as `chunk` goes, then the rest.
                    let mut part = peer.to_broker.split_to(self.chunk.min(before));
                    node.broker.handle_input(self.now, id, &mut part);
                    let rest = peer.to_broker.split();
                    part.extend_from_slice(&rest);
                    node.broker.handle_input(self.now, id, &mut part);
                    peer.to_broker = part;
                }
            }
            if self.clients[index].to_broker.len() == before {
                break;
            }
            moved = true;
        }
        moved
    }

    fn serve_broker(&mut self, node_index: usize) -> bool {
        let now = self.now;
        let mut moved = false;
        while let Some(output) = self.brokers[node_index].broker.poll_output() {
            moved = true;
            let node = &mut self.brokers[node_index];
            match output {
                broker::Output::Writable(id) => {
                    if let Some(&index) = node.links.get(&id) {
                        self.deliver(node_index, id, index);
                    }
                }
                broker::Output::Readable(id) => node.ready.push(id),
                broker::Output::Close(id) => {
                    if let Some(&index) = node.links.get(&id) {
                        self.deliver(node_index, id, index);
                        self.hang_up(index);
                        if self.clients[index].server.is_some_and(|(_, conn)| conn == Some(id)) {
                            self.lose(index);
                        }
                    }
                    self.brokers[node_index].broker.handle_closed(now, id);
                }
                broker::Output::Request(Request::Store(batch)) => {
                    node.broker.handle_completion(now, broker::Completion::Stored { upto: batch.seq });
                }
                broker::Output::Request(request) => node.requests.push_back(request),
                broker::Output::Event(event) => node.events.push(event),
                other => panic!("unexpected output {other:?}"),
            }
        }
        moved
    }

    /// The broker's bytes reach the client.
    fn deliver(&mut self, node: usize, id: ConnId, index: usize) {
        let (now, broker) = (self.now, &mut self.brokers[node].broker);
        let peer = &mut self.clients[index];
        if peer.server != Some((node, Some(id))) {
            return;
        }
        let mut taken = 0;
        for chunk in broker.transmit(id).chunks() {
            peer.to_client.extend_from_slice(chunk);
            taken += chunk.len();
        }
        broker.transmitted(now, id, taken);
        if peer.held {
            return;
        }
        let mut part = peer.to_client.split_to(self.chunk.min(peer.to_client.len()));
        peer.machine.handle_input(now, &mut part);
        let rest = peer.to_client.split();
        part.extend_from_slice(&rest);
        peer.machine.handle_input(now, &mut part);
        peer.to_client = part;
    }

    /// The client closes its transport; the broker notices.
    fn hang_up(&mut self, index: usize) {
        let peer = &mut self.clients[index];
        if let Some((node, Some(id))) = peer.server {
            self.brokers[node].links.remove(&id);
            self.brokers[node].broker.handle_closed(self.now, id);
            // What the broker closes itself is reported to the client by `lose`.
            if !self.clients[index].machine.is_connected() {
                self.clients[index].server = None;
            }
        }
        self.clients[index].to_client.clear();
        self.clients[index].to_broker.clear();
    }

    fn lose(&mut self, index: usize) {
        let now = self.now;
        self.clients[index].server = None;
        self.clients[index].machine.handle_disconnected(now);
    }

    /// The network loses the connection of a client.
    pub fn cut(&mut self, client: C) {
        if let Some((node, Some(id))) = self.clients[client.0].server {
            self.brokers[node].links.remove(&id);
            self.brokers[node].broker.handle_closed(self.now, id);
        }
        self.clients[client.0].to_client.clear();
        self.clients[client.0].to_broker.clear();
        self.lose(client.0);
        self.run();
    }

    /// Time passes; every deadline is served at its time.
    pub fn sleep(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let client = self.clients.iter().filter_map(|peer| peer.machine.poll_timeout());
            let broker = self.brokers.iter().filter_map(|node| node.broker.poll_timeout());
            let Some(at) = client.chain(broker).min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            for peer in &mut self.clients {
                peer.machine.handle_timeout(self.now);
            }
            for node in &mut self.brokers {
                node.broker.handle_timeout(self.now);
            }
            self.run();
        }
        self.now = end;
        self.run();
    }

    /// Subscribes; the Reason Codes.
    pub fn try_subscribe(
        &mut self,
        client: C,
        filter: &str,
        options: SubscriptionOptions,
        more: SubscribeOptions,
    ) -> ReasonCode {
        let now = self.now;
        let filters = vec![(TopicFilter::try_from(filter).unwrap(), options)];
        let token = self.machine(client).subscribe(now, filters, more).expect("a sound request");
        self.run();
        match self.settled(client, token) {
            Some(Ok(Outcome::Subscribed(reasons))) => reasons[0],
            other => panic!("not subscribed: {other:?}"),
        }
    }

    /// Subscribes, successfully.
    pub fn subscribe(&mut self, client: C, filter: &str, options: impl Into<SubscriptionOptions>) {
        let reason = self.try_subscribe(client, filter, options.into(), SubscribeOptions::default());
        assert!(!reason.is_error(), "{reason:?}");
    }

    /// Publishes without waiting.
    pub fn publish(&mut self, client: C, topic: &str, payload: &str, qos: QoS) -> Token {
        self.send(client, message(topic, payload, qos))
    }

    pub fn send(&mut self, client: C, message: client::Message) -> Token {
        let now = self.now;
        let token = self.machine(client).publish(now, message).expect("the queue takes it");
        self.run();
        token
    }

    /// What became of a token so far.
    pub fn settled(&mut self, client: C, token: Token) -> Option<Result<Outcome, Failure>> {
        self.clients[client.0].events.iter().find_map(|event| match event {
            Event::Settled { token: settled, result } if *settled == token => Some(result.clone()),
            _ => None,
        })
    }

    /// The messages that a client has received and not taken.
    pub fn messages(&mut self, client: C) -> Vec<Received> {
        let mut all = Vec::new();
        loop {
            let now = self.now;
            let before = all.len();
            all.extend(std::iter::from_fn(|| self.machine(client).poll_message(now)));
            self.run();
            if all.len() == before {
                return all;
            }
        }
    }

    /// Their payloads.
    pub fn texts(&mut self, client: C) -> Vec<String> {
        self.messages(client).iter().map(|message| String::from_utf8(message.payload.to_vec()).unwrap()).collect()
    }

    /// What happened at a client since the last call.
    pub fn take_events(&mut self, client: C) -> Vec<Event> {
        std::mem::take(&mut self.clients[client.0].events)
    }

    /// The last CONNACK's content.
    pub fn connected(&mut self, client: C) -> Connected {
        let found = self.clients[client.0].events.iter().rev().find_map(|event| match event {
            Event::Connected(connected) => Some((**connected).clone()),
            _ => None,
        });
        found.expect("the client is connected")
    }

    /// Why the last connection of a client ended.
    pub fn disconnected(&mut self, client: C) -> client::DisconnectReason {
        let found = self.clients[client.0].events.iter().rev().find_map(|event| match event {
            Event::Disconnected { reason, .. } => Some(reason.clone()),
            _ => None,
        });
        found.expect("the client was disconnected")
    }
}

/// A client with an identifier; clean, not persistent.
pub fn config(version: Version, id: &str) -> ClientConfig {
    ClientConfig { version, client_id: ClientId::try_from(id).unwrap(), ..ClientConfig::default() }
}

/// A client whose session lasts for an hour (5.0), or without end.
pub fn lasting(version: Version, id: &str) -> ClientConfig {
    let session_expiry = if version.is_v5() { 3600 } else { 0 };
    ClientConfig { clean_start: false, session_expiry, ..config(version, id) }
}

pub fn message(topic: &str, payload: &str, qos: QoS) -> client::Message {
    client::Message::new(TopicName::try_from(topic).unwrap(), payload.to_owned(), qos)
}

pub fn properties<'a>(all: impl IntoIterator<Item = Property<'a>>) -> Properties {
    all.into_iter().fold(Properties::builder(), PropertiesBuilder::with).build()
}

/// Every version.
pub const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

/// Every QoS.
pub const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
