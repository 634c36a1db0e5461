//! The broker machine under any order of calls: clients that send packets, fragments and nonsense, sockets that take a
//! part, a store that fails, connections that vanish (MQTT 5.0 section 4).
//!
//! What must hold: calls come to an end; whatever the broker sends is a packet that its receiver may get; it keeps within
//! Receive Maximum and Topic Alias Maximum; no Packet Identifier is used twice at once; the same input gives the same output.
use crate::script::{a_qos, an_id, delivery, pick, run_twice};
use arbitrary::{Arbitrary, Unstructured};
use bytes::BytesMut;
use mqtt_session::broker::{Broker, Completion, Config, ConnId, Greeting, Output, Peer, Request, StoreSeq};
use mqtt_session::proto::{
    Ack, ClientId, Connect, Decoder, Disconnect, Packet, PacketId, Properties, Property, Publish, QoS, ReasonCode,
    RetainHandling, Subscribe, SubscriptionOptions, TopicName, Unsubscribe, Version, Will,
};
use mqtt_session::{Instant, UnixTime};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const TOPICS: [&str; 5] = ["a", "a/b", "b", "", "$SYS/x"];
const FILTERS: [&str; 8] = ["a", "a/b", "a/+", "#", "$share/g/a", "$share/g/#", "b", "$SYS/#"];
const CLIENTS: [&str; 3] = ["", "x", "y"];
const SLOTS: usize = 3;

#[derive(Arbitrary, Debug)]
enum Step {
    Open {
        slot: u8,
        version: u8,
        client: u8,
        clean: bool,
        will: bool,
        expiry: u8,
        receive_maximum: u8,
        aliases: u8,
    },
    Publish {
        slot: u8,
        topic: u8,
        qos: u8,
        id: u8,
        dup: bool,
        retain: bool,
        alias: u8,
        expiry: u8,
        size: u16,
    },
    Subscribe {
        slot: u8,
        id: u8,
        filters: [(u8, u8); 2],
        identifier: u8,
    },
    Unsubscribe {
        slot: u8,
        id: u8,
        filter: u8,
    },
    /// Acknowledges the oldest message that waits for it, or some other identifier.
    Acknowledge {
        slot: u8,
        other: Option<u8>,
        refuse: bool,
    },
    Ping {
        slot: u8,
    },
    Disconnect {
        slot: u8,
        with_will: bool,
    },
    Bytes {
        slot: u8,
        bytes: [u8; 4],
    },
    /// How many bytes the socket takes from now on, in each turn.
    Window {
        slot: u8,
        bytes: u8,
    },
    Vanish {
        slot: u8,
    },
    Wait {
        millis: u32,
    },
    /// What the store does from now on.
    Store {
        keeps: bool,
        fails: bool,
    },
    Kick {
        client: u8,
    },
}

/// Runs the steps that the bytes describe, twice.
///
/// # Panics
/// Where a promise is broken.
pub fn broker(data: &[u8]) {
    run_twice(data, run);
}

/// Everything that was sent and said.
fn run(data: &[u8]) -> String {
    let mut steps = Unstructured::new(data);
    let mut world = World::new();
    while !steps.is_empty() {
        let Ok(step) = steps.arbitrary() else { break };
        world.step(step);
        world.settle();
    }
    world.said
}

struct World {
    broker: Broker,
    now: Instant,
    links: [Option<Link>; SLOTS],
    /// Answers that the store owes.
    owed: Vec<StoreSeq>,
    keeps: bool,
    fails: bool,
    said: String,
}

/// The client's end of a connection.
struct Link {
    id: ConnId,
    version: Version,
    decoder: Decoder,
    received: BytesMut,
    /// What the broker has not taken yet.
    unread: BytesMut,
    window: usize,
    receive_maximum: usize,
    alias_maximum: u16,
    aliases: BTreeSet<u16>,
    /// Messages that wait for the client, with the answer that is due.
    inflight: BTreeMap<PacketId, QoS>,
}

impl World {
    fn new() -> Self {
        let mut config = Config { max_queued_bytes: 64 << 10, sys_interval: Duration::ZERO, ..Config::default() };
        config.connection.max_transmit_bytes = 4 << 10;
        config.session.max_queued_messages = 20;
        let now = Instant::from_secs(1);
        Self {
            broker: Broker::new(Arc::new(config), [7; 32], now, UnixTime::from_millis(0)),
            now,
            links: [None, None, None],
            owed: Vec::new(),
            keeps: true,
            fails: false,
            said: String::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Open { slot, version, client, clean, will, expiry, receive_maximum, aliases } => {
                let version = [Version::V3_1, Version::V3_1_1, Version::V5, Version::V5][usize::from(version % 4)];
                let mut properties = Properties::builder();
                if version.is_v5() {
                    properties = properties
                        .with(Property::SessionExpiryInterval(u32::from(expiry)))
                        .with(Property::ReceiveMaximum(u16::from(receive_maximum.max(1))))
                        .with(Property::TopicAliasMaximum(u16::from(aliases % 4)));
                }
                let connect = Connect {
                    version,
                    clean_start: clean,
                    keep_alive: u16::from(expiry),
                    client_id: pick(&CLIENTS, client),
                    will: will.then(a_will),
                    username: None,
                    password: None,
                    properties: properties.build(),
                };
                self.open(usize::from(slot) % SLOTS, &connect);
            }
            Step::Publish { slot, topic, qos, id, dup, retain, alias, expiry, size } => {
                let mut properties = Properties::builder();
                if alias % 4 > 0 {
                    properties = properties.with(Property::TopicAlias(u16::from(alias % 4)));
                }
                if expiry > 0 {
                    properties = properties.with(Property::MessageExpiryInterval(u32::from(expiry)));
                }
                let publish = Publish {
                    delivery: delivery(qos, id, dup),
                    retain,
                    topic: TopicName::try_from(pick::<&str>(&TOPICS, topic)).ok(),
                    payload: vec![b'x'; usize::from(size % 3000)].into(),
                    properties: properties.build(),
                };
                self.send(slot, &publish.into());
            }
            Step::Subscribe { slot, id, filters, identifier } => {
                let filters =
                    filters.map(|(filter, options)| (pick(&FILTERS, filter), subscription_options(options))).to_vec();
                let mut properties = Properties::builder();
                if identifier > 0 {
                    properties = properties.with(Property::SubscriptionIdentifier(u32::from(identifier)));
                }
                self.send(slot, &Subscribe { id: an_id(id), filters, properties: properties.build() }.into());
            }
            Step::Unsubscribe { slot, id, filter } => {
                let filters = vec![pick(&FILTERS, filter)];
                self.send(slot, &Unsubscribe { id: an_id(id), filters, properties: Properties::new() }.into());
            }
            Step::Acknowledge { slot, other, refuse } => self.acknowledge(slot, other, refuse),
            Step::Ping { slot } => self.send(slot, &Packet::PingReq),
            Step::Disconnect { slot, with_will } => {
                let reason = if with_will { ReasonCode::DisconnectWithWill } else { ReasonCode::Success };
                self.send(slot, &Disconnect::from(reason).into());
            }
            Step::Bytes { slot, bytes } => self.receive(slot, &bytes),
            Step::Window { slot, bytes } => {
                if let Some(link) = self.link(slot) {
                    link.window = usize::from(bytes) * 16;
                }
            }
            Step::Vanish { slot } => {
                if let Some(link) = self.links[usize::from(slot) % SLOTS].take() {
                    self.broker.handle_closed(self.now, link.id);
                }
            }
            Step::Wait { millis } => self.wait(millis % 100_000),
            Step::Store { keeps, fails } => (self.keeps, self.fails) = (keeps, fails),
            Step::Kick { client } => {
                let client: ClientId = pick(&CLIENTS, client);
                self.broker.handle_kick(self.now, &client, ReasonCode::AdministrativeAction);
            }
        }
    }

    fn link(&mut self, slot: u8) -> Option<&mut Link> {
        self.links[usize::from(slot) % SLOTS].as_mut()
    }

    fn open(&mut self, slot: usize, connect: &Connect) {
        if self.links[slot].is_some() {
            return;
        }
        let mut bytes = BytesMut::new();
        if connect.encode(&mut bytes).is_err() {
            return;
        }
        let Ok(Some(received)) = Greeting::new(&Config::default(), self.now).handle_input(&mut bytes) else { return };
        assert_eq!(&received, connect);
        let version = connect.version;
        let window = usize::MAX;
        let receive_maximum = connect.properties.receive_maximum().unwrap_or(u16::MAX).into();
        let alias_maximum = connect.properties.topic_alias_maximum().unwrap_or(0);
        self.links[slot] = Some(Link {
            id: self.broker.handle_open(self.now, Peer::default(), received),
            version,
            decoder: Decoder::client(version, u32::MAX),
            received: BytesMut::new(),
            unread: BytesMut::new(),
            window,
            receive_maximum,
            alias_maximum,
            aliases: BTreeSet::new(),
            inflight: BTreeMap::new(),
        });
    }

    fn send(&mut self, slot: u8, packet: &Packet) {
        let Some(link) = self.link(slot) else { return };
        let mut bytes = BytesMut::new();
        if packet.encode(link.version, &mut bytes).is_ok() {
            self.receive(slot, &bytes);
        }
    }

    fn receive(&mut self, slot: u8, bytes: &[u8]) {
        if let Some(link) = self.link(slot) {
            link.unread.extend_from_slice(bytes);
            self.read(usize::from(slot) % SLOTS);
        }
    }

    fn read(&mut self, slot: usize) {
        if let Some(link) = &mut self.links[slot] {
            self.broker.handle_input(self.now, link.id, &mut link.unread);
        }
    }

    fn acknowledge(&mut self, slot: u8, other: Option<u8>, refuse: bool) {
        let Some(link) = self.link(slot) else { return };
        let oldest = link.inflight.iter().next().map(|(id, qos)| (*id, *qos));
        let reason = if refuse && link.version.is_v5() { ReasonCode::QuotaExceeded } else { ReasonCode::Success };
        let packet = match (other, oldest) {
            (Some(id), _) => Packet::PubRel(an_id(id).into()),
            (None, None) => return,
            (None, Some((id, QoS::ExactlyOnce))) => {
                if reason.is_error() {
                    link.inflight.remove(&id);
                }
                Packet::PubRec(Ack { reason, ..id.into() })
            }
            (None, Some((id, _))) => {
                link.inflight.remove(&id);
                Packet::PubAck(Ack { reason, ..id.into() })
            }
        };
        self.send(slot, &packet);
    }

    fn wait(&mut self, millis: u32) {
        let until = self.now + Duration::from_millis(millis.into());
        let mut calls = 0;
        while let Some(due) = self.broker.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.broker.handle_timeout(self.now);
            self.settle();
            calls += 1;
            assert!(calls < 10_000, "deadlines do not end");
        }
        self.now = until;
    }

    /// Carries out what the broker wants until it wants nothing.
    fn settle(&mut self) {
        let mut turns = 0;
        while let Some(output) = self.broker.poll_output() {
            turns += 1;
            assert!(turns < 100_000, "outputs do not end");
            match output {
                Output::Writable(id) => self.write(id),
                Output::Readable(id) => {
                    if let Some(slot) = self.slot(id) {
                        self.read(slot);
                    }
                }
                Output::Close(id) => {
                    self.write(id);
                    if let Some(slot) = self.slot(id) {
                        self.links[slot] = None;
                    }
                    self.broker.handle_closed(self.now, id);
                }
                Output::Request(Request::Store(batch)) => self.owed.push(batch.seq),
                other => self.said.push_str(&format!("{other:?}\n")),
            }
            self.answer_for_the_store();
        }
        self.write_all();
        self.answer_for_the_store();
    }

    fn answer_for_the_store(&mut self) {
        if !self.keeps {
            return;
        }
        for seq in self.owed.drain(..) {
            let completion =
                if self.fails { Completion::StoreFailed { seq } } else { Completion::Stored { upto: seq } };
            self.broker.handle_completion(self.now, completion);
        }
    }

    fn slot(&self, id: ConnId) -> Option<usize> {
        self.links.iter().position(|link| link.as_ref().is_some_and(|link| link.id == id))
    }

    fn write_all(&mut self) {
        let ids: Vec<ConnId> = self.links.iter().flatten().map(|link| link.id).collect();
        for id in ids {
            self.write(id);
        }
    }

    /// Takes what the socket has room for.
    fn write(&mut self, id: ConnId) {
        let Some(slot) = self.slot(id) else { return };
        let Some(link) = &mut self.links[slot] else { return };
        let mut room = link.window;
        let mut taken = 0;
        for chunk in self.broker.transmit(id).chunks() {
            let part = &chunk[..chunk.len().min(room)];
            link.received.extend_from_slice(part);
            taken += part.len();
            room -= part.len();
        }
        self.broker.transmitted(self.now, id, taken);
        while let Some(packet) = link.decoder.decode(&mut link.received).expect("the broker sends well-formed packets")
        {
            self.said.push_str(&format!("{slot}: {packet:?}\n"));
            link.judge(&packet);
        }
    }
}

impl Link {
    /// Keeps the client's account of what is on its way.
    fn judge(&mut self, packet: &Packet) {
        match packet {
            Packet::Publish(publish) => self.judge_publish(publish),
            Packet::PubRel(ack) => {
                self.inflight.insert(ack.id, QoS::ExactlyOnce);
                let mut bytes = BytesMut::new();
                if Packet::PubComp(ack.id.into()).encode(self.version, &mut bytes).is_ok() {
                    self.unread.extend_from_slice(&bytes);
                    self.inflight.remove(&ack.id);
                }
            }
            _ => {}
        }
    }

    fn judge_publish(&mut self, publish: &Publish) {
        if let Some(alias) = publish.properties.topic_alias() {
            // [MQTT-3.1.2-26], [MQTT-3.1.2-27]
            assert!(alias <= self.alias_maximum, "alias {alias} of {}", self.alias_maximum);
            assert!(publish.topic.is_some() || self.aliases.contains(&alias), "an unknown alias");
            self.aliases.insert(alias);
        }
        if let Some(id) = publish.delivery.id() {
            let before = self.inflight.insert(id, publish.delivery.qos());
            // [MQTT-2.2.1-4] and within the Receive Maximum [MQTT-3.3.4-9].
            assert!(before.is_none(), "{id:?} is in use");
            assert!(self.inflight.len() <= self.receive_maximum, "{} in flight", self.inflight.len());
        }
    }
}

fn a_will() -> Will {
    Will {
        qos: QoS::AtLeastOnce,
        retain: true,
        topic: "a/b".try_into().expect("valid"),
        payload: "gone".into(),
        properties: Properties::new(),
    }
}

fn subscription_options(bits: u8) -> SubscriptionOptions {
    SubscriptionOptions {
        qos: a_qos(bits),
        no_local: bits & 4 != 0,
        retain_as_published: bits & 8 != 0,
        retain_handling: [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend]
            [usize::from(bits >> 4) % 3],
    }
}
