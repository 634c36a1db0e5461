//! A broker with a fake clock and clients made of bare packets, without any socket.
#![allow(dead_code)] // each test file uses its part

mod answers;
pub mod world;
#[allow(unused_imports)] // likewise
pub use answers::*;

use bytes::{Bytes, BytesMut};
use mqtt_session::broker::*;
use mqtt_session::proto::*;
use mqtt_session::{Instant, UnixTime};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// A broker, its clock, and what came out of it.
pub struct Bench {
    pub broker: Broker,
    pub now: Instant,
    pub events: Vec<Event>,
    pub messages: Vec<(LocalId, Arc<Message>, bool)>,
    /// Requests that the test answers itself.
    pub requests: VecDeque<Request>,
    /// Whether batches count as stored at once, as with the ephemeral store.
    pub store_at_once: bool,
    pub batches: Vec<StoreBatch>,
    /// How many of them the test said are stored.
    pub promised: usize,
    /// What is kept, for a broker that reads its logs from there.
    pub disk: MemoryStore,
    /// Whether what is stored at once is kept there.
    pub on_disk: bool,
    /// Whether its questions are answered at once, or by the test.
    pub load_at_once: bool,
    pub loads: VecDeque<LoadRequest>,
    links: HashMap<ConnId, Link>,
    started: Instant,
    started_wall: UnixTime,
}

/// The client's end of a connection.
struct Link {
    version: Version,
    received: BytesMut,
    /// Input that the broker has not taken yet.
    unread: BytesMut,
    /// Bytes that the socket takes; `None` for all.
    window: Option<usize>,
    closed: bool,
}

/// A connection of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(pub ConnId);

impl Bench {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// A broker whose configuration differs from the default.
    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { sys_interval: Duration::ZERO, ..Config::default() };
        change(&mut config);
        let now = Instant::from_secs(1000);
        let wall = UnixTime::from_millis(1_800_000_000_000);
        Self {
            broker: Broker::new(Arc::new(config), [42; 32], now, wall),
            now,
            events: Vec::new(),
            messages: Vec::new(),
            requests: VecDeque::new(),
            store_at_once: true,
            batches: Vec::new(),
            promised: 0,
            disk: MemoryStore::new(),
            on_disk: false,
            load_at_once: true,
            loads: VecDeque::new(),
            links: HashMap::new(),
            started: now,
            started_wall: wall,
        }
    }

    /// A broker that has so much memory for messages, and a store to leave others to.
    pub fn on_disk(memory: u64, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { sys_interval: Duration::ZERO, max_memory_bytes: memory, ..Config::default() };
        change(&mut config);
        let mut bench = Self::new();
        bench.on_disk = true;
        bench.broker = Broker::restore(Arc::new(config), [42; 32], bench.now, bench.started_wall, Contents::new());
        bench
    }

    /// Answers the question for a part of a log that has waited for this many others.
    pub fn load(&mut self, index: usize) {
        let request = self.loads.remove(index).expect("an open question");
        let loaded = self.disk.load(&request);
        self.broker.handle_completion(self.now, Completion::Loaded(loaded));
        self.run();
    }

    /// Sends CONNECT and leaves CONNACK to be received.
    pub fn open(&mut self, connect: Connect) -> Client {
        let version = connect.version;
        let peer = Peer { address: "test".into(), identity: None };
        let id = self.broker.handle_open(self.now, peer, connect);
        let link = Link { version, received: BytesMut::new(), unread: BytesMut::new(), window: None, closed: false };
        self.links.insert(id, link);
        self.run();
        Client(id)
    }

    /// Connects and returns the client with its successful CONNACK; if that waits for the store, everything is stored.
    pub fn connect(&mut self, connect: Connect) -> (Client, ConnAck) {
        let client = self.open(connect);
        let mut first = self.recv(client);
        if first.is_none() {
            self.stored();
            first = self.recv(client);
        }
        match first {
            Some(Packet::ConnAck(ack)) => {
                assert_eq!(ack.reason, ReasonCode::Success, "{ack:?}");
                (client, ack)
            }
            other => panic!("expected CONNACK, got {other:?}"),
        }
    }

    /// A 5.0 client with a clean start.
    pub fn v5(&mut self, id: &str) -> Client {
        self.connect(connect(Version::V5, id)).0
    }

    /// A 3.1.1 client with a clean session.
    pub fn v3(&mut self, id: &str) -> Client {
        self.connect(connect(Version::V3_1_1, id)).0
    }

    /// Serves the broker until nothing is left to do.
    pub fn run(&mut self) {
        while let Some(output) = self.broker.poll_output() {
            match output {
                Output::Writable(id) => self.write(id),
                Output::Readable(id) => self.read(id),
                Output::Close(id) => {
                    self.write(id);
                    if let Some(link) = self.links.get_mut(&id) {
                        link.closed = true;
                    }
                    self.broker.handle_closed(self.now, id);
                }
                Output::Request(Request::Store(batch)) => {
                    let upto = batch.seq;
                    if self.store_at_once && self.on_disk {
                        self.disk.apply(&batch);
                    }
                    self.batches.push(batch);
                    if self.store_at_once {
                        self.broker.handle_completion(self.now, Completion::Stored { upto });
                    }
                }
                Output::Request(Request::Load(request)) if self.load_at_once => {
                    let loaded = self.disk.load(&request);
                    self.broker.handle_completion(self.now, Completion::Loaded(loaded));
                }
                Output::Request(Request::Load(request)) => self.loads.push_back(request),
                Output::Request(request) => self.requests.push_back(request),
                Output::Message { subscription, message, retained } => {
                    self.messages.push((subscription, message, retained));
                }
                Output::Event(event) => self.events.push(event),
                other => panic!("unknown output {other:?}"),
            }
        }
    }

    fn write(&mut self, id: ConnId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        loop {
            let queue = self.broker.transmit(id);
            let mut room = link.window.unwrap_or(usize::MAX);
            let mut taken = 0;
            for chunk in queue.chunks() {
                let part = chunk.len().min(room);
                link.received.extend_from_slice(&chunk[..part]);
                taken += part;
                room -= part;
            }
            if let Some(window) = &mut link.window {
                *window -= taken;
            }
            if taken == 0 {
                return;
            }
            self.broker.transmitted(self.now, id, taken);
        }
    }

    fn read(&mut self, id: ConnId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if !link.closed {
            self.broker.handle_input(self.now, id, &mut link.unread);
        }
    }

    /// Sets how many more bytes the client's socket takes; `None` for all.
    pub fn set_window(&mut self, client: Client, window: Option<usize>) {
        self.links.get_mut(&client.0).unwrap().window = window;
        self.write(client.0);
        self.run();
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, client: Client, bytes: &[u8]) {
        self.links.get_mut(&client.0).unwrap().unread.extend_from_slice(bytes);
        self.read(client.0);
        self.run();
    }

    /// Sends a packet.
    pub fn send(&mut self, client: Client, packet: impl Into<Packet>) {
        let version = self.links[&client.0].version;
        let mut bytes = BytesMut::new();
        packet.into().encode(version, &mut bytes).expect("a packet that can be encoded");
        self.send_bytes(client, &bytes);
    }

    /// The next packet that the client has received.
    pub fn recv(&mut self, client: Client) -> Option<Packet> {
        let link = self.links.get_mut(&client.0).unwrap();
        let frame = Frame::split(&mut link.received, u32::MAX).expect("the broker's packets are well-formed")?;
        Some(Packet::decode(frame, link.version).expect("the broker's packets are well-formed"))
    }

    /// All packets that the client has received.
    pub fn recv_all(&mut self, client: Client) -> Vec<Packet> {
        std::iter::from_fn(|| self.recv(client)).collect()
    }

    /// The next packet, which must be a PUBLISH.
    pub fn recv_publish(&mut self, client: Client) -> Publish {
        match self.recv(client) {
            Some(Packet::Publish(publish)) => publish,
            other => panic!("expected PUBLISH, got {other:?}"),
        }
    }

    /// Nothing was received.
    pub fn assert_silent(&mut self, client: Client) {
        assert_eq!(self.recv(client), None);
    }

    /// Whether the broker has closed the connection.
    pub fn is_closed(&self, client: Client) -> bool {
        self.links[&client.0].closed
    }

    /// The DISCONNECT reason that a 5.0 client got as the last packet before its connection was closed.
    pub fn disconnect_reason(&mut self, client: Client) -> Option<ReasonCode> {
        assert!(self.is_closed(client), "the connection is open");
        match self.recv_all(client).pop() {
            Some(Packet::Disconnect(disconnect)) => Some(disconnect.reason),
            _ => None,
        }
    }

    /// The network loses the connection.
    pub fn cut(&mut self, client: Client) {
        self.links.get_mut(&client.0).unwrap().closed = true;
        self.broker.handle_closed(self.now, client.0);
        self.run();
    }

    /// Time passes; every deadline is served at its time.
    pub fn sleep(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.broker.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.broker.handle_timeout(self.now);
            self.run();
        }
        self.now = end;
    }

    /// Subscribes and checks that SUBACK grants it.
    pub fn subscribe(&mut self, client: Client, filter: &str, options: impl Into<SubscriptionOptions>) {
        let reasons = self.try_subscribe(client, &[(filter, options.into())], Properties::new());
        assert!(!reasons[0].is_error(), "{reasons:?}");
    }

    /// Subscribes and returns the Reason Codes. SUBACK must be the first packet to come.
    pub fn try_subscribe(
        &mut self,
        client: Client,
        filters: &[(&str, SubscriptionOptions)],
        properties: Properties,
    ) -> Vec<ReasonCode> {
        let filters = filters.iter().map(|(text, options)| (filter(text), *options)).collect();
        self.send(client, Subscribe { id: pid(77), filters, properties });
        match self.recv(client) {
            Some(Packet::SubAck(ack)) => {
                assert_eq!(ack.id, pid(77));
                ack.reasons
            }
            other => panic!("expected SUBACK, got {other:?}"),
        }
    }

    /// Publishes; at QoS 1 and 2 under identifier 10, and takes the acknowledgments.
    pub fn publish(&mut self, client: Client, topic: &str, payload: &str, qos: QoS) {
        self.send(client, message(topic, payload, qos));
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => assert!(matches!(self.recv(client), Some(Packet::PubAck(_)))),
            QoS::ExactlyOnce => {
                assert!(matches!(self.recv(client), Some(Packet::PubRec(_))));
                self.send(client, Packet::PubRel(ack(10)));
                assert!(matches!(self.recv(client), Some(Packet::PubComp(_))));
            }
        }
    }

    /// Publishes a retained QoS 0 message.
    pub fn retain(&mut self, client: Client, topic: &str, payload: &str) {
        self.send(client, Publish { retain: true, ..message(topic, payload, QoS::AtMostOnce) });
    }
}

/// CONNECT with a clean start, without keep alive.
pub fn connect(version: Version, id: &str) -> Connect {
    Connect {
        version,
        clean_start: true,
        keep_alive: 0,
        client_id: ClientId::try_from(id).unwrap(),
        will: None,
        username: None,
        password: None,
        properties: Properties::new(),
    }
}

/// CONNECT that resumes or begins a session that lasts: 5.0 with this Session Expiry Interval, before with Clean Session 0.
pub fn persistent(version: Version, id: &str, expiry: u32) -> Connect {
    let properties =
        if version.is_v5() { properties([Property::SessionExpiryInterval(expiry)]) } else { Properties::new() };
    Connect { clean_start: false, properties, ..connect(version, id) }
}

/// A PUBLISH without properties, under identifier 10 where it needs one.
pub fn message(topic: &str, payload: &str, qos: QoS) -> Publish {
    Publish {
        delivery: match qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce { id: pid(10), dup: false },
            QoS::ExactlyOnce => Delivery::ExactlyOnce { id: pid(10), dup: false },
        },
        retain: false,
        topic: Some(TopicName::try_from(topic).unwrap()),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        properties: Properties::new(),
    }
}

/// A successful acknowledgment.
pub fn ack(id: u16) -> Ack {
    Ack { id: pid(id), reason: ReasonCode::Success, properties: Properties::new() }
}

pub fn pid(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

pub fn filter(text: &str) -> TopicFilter {
    TopicFilter::try_from(text).unwrap()
}

pub fn properties<'a>(all: impl IntoIterator<Item = Property<'a>>) -> Properties {
    all.into_iter().fold(Properties::builder(), PropertiesBuilder::with).build()
}

/// The payload of a PUBLISH as text.
pub fn text(publish: &Publish) -> &str {
    std::str::from_utf8(&publish.payload).unwrap()
}

/// All versions.
pub const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

/// The Packet Identifier of a PUBLISH.
pub fn id_of(publish: &Publish) -> u16 {
    publish.delivery.id().expect("QoS 1 or 2").get()
}

impl Bench {
    /// Receives everything, completes every QoS flow, and returns what was published to the client, in order.
    pub fn take(&mut self, client: Client) -> Vec<Publish> {
        let mut all = Vec::new();
        while let Some(packet) = self.recv(client) {
            match packet {
                Packet::Publish(publish) => {
                    match publish.delivery {
                        Delivery::AtMostOnce => {}
                        Delivery::AtLeastOnce { id, .. } => self.send(client, Packet::PubAck(ack(id.get()))),
                        Delivery::ExactlyOnce { id, .. } => self.send(client, Packet::PubRec(ack(id.get()))),
                    }
                    all.push(publish);
                }
                Packet::PubRel(released) => self.send(client, Packet::PubComp(ack(released.id.get()))),
                other => panic!("expected PUBLISH or PUBREL, got {other:?}"),
            }
        }
        all
    }

    /// As [`Bench::take`], the payloads alone.
    pub fn take_texts(&mut self, client: Client) -> Vec<String> {
        self.take(client).iter().map(|publish| text(publish).to_owned()).collect()
    }

    /// Queue levels: entries, bytes, on their way.
    pub fn levels(&self) -> (u64, u64, u64) {
        let stats = self.broker.stats();
        (stats.queued, stats.queued_bytes, stats.inflight)
    }

    /// Publishes at QoS 1 under identifier 10; PUBACK is expected after what the client gets of its own.
    pub fn publish_to_itself(&mut self, client: Client, topic: &str, payload: &str) {
        self.send(client, message(topic, payload, QoS::AtLeastOnce));
        let link = self.links.get_mut(&client.0).unwrap();
        // Puts PUBACK aside, so that only messages are left to be received.
        let mut rest = BytesMut::new();
        let mut acknowledged = false;
        while let Some(frame) = Frame::split(&mut link.received, u32::MAX).unwrap() {
            let packet = Packet::decode(frame, link.version).unwrap();
            if matches!(&packet, Packet::PubAck(ack) if ack.id == pid(10)) {
                acknowledged = true;
            } else {
                packet.encode(link.version, &mut rest).unwrap();
            }
        }
        link.received = rest;
        assert!(acknowledged, "no PUBACK");
    }

    /// Acknowledges identifiers 1 to 10 at QoS 1.
    pub fn take_inflight(&mut self, client: Client) {
        for id in 1..=10 {
            self.send(client, Packet::PubAck(ack(id)));
        }
    }

    /// Publishes from inside.
    pub fn inject(&mut self, topic: &str, payload: &str, qos: QoS) {
        let topic = TopicName::try_from(topic).unwrap();
        self.broker.publish(self.now, Message { qos, ..Message::new(topic, payload.to_owned()) });
        self.run();
    }

    /// Subscribes with a Subscription Identifier.
    pub fn subscribe_with(&mut self, client: Client, filter: &str, options: impl Into<SubscriptionOptions>, id: u32) {
        let properties = properties([Property::SubscriptionIdentifier(id)]);
        let reasons = self.try_subscribe(client, &[(filter, options.into())], properties);
        assert!(!reasons[0].is_error(), "{reasons:?}");
    }

    /// All batches so far are stored.
    pub fn stored(&mut self) {
        self.promised = self.batches.len();
        if let Some(last) = self.batches.last() {
            self.broker.handle_completion(self.now, Completion::Stored { upto: last.seq });
            self.run();
        }
    }

    /// Unsubscribes and returns the Reason Codes.
    pub fn unsubscribe(&mut self, client: Client, filters: &[&str]) -> Vec<ReasonCode> {
        let filters = filters.iter().map(|text| filter(text)).collect();
        self.send(client, Unsubscribe { id: pid(78), filters, properties: Properties::new() });
        match self.recv(client) {
            Some(Packet::UnsubAck(ack)) => {
                assert_eq!(ack.id, pid(78));
                ack.reasons
            }
            other => panic!("expected UNSUBACK, got {other:?}"),
        }
    }
}

/// The Subscription Identifiers of a PUBLISH, ascending.
pub fn identifiers(publish: &Publish) -> Vec<u32> {
    let mut all: Vec<u32> = publish.properties.subscription_identifiers().collect();
    all.sort_unstable();
    all
}

/// The texts of messages that are numbered.
pub fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// How many messages were reported as lost for this reader and reason.
pub fn losses(bench: &Bench, who: &str, why: DropReason) -> u64 {
    let loss = |event: &Event| match event {
        Event::Dropped { receiver, count, reason } if &**receiver == who && *reason == why => *count,
        _ => 0,
    };
    bench.events.iter().map(loss).sum()
}
