//! Random histories with cut connections, against a model server that keeps its session: QoS 1 arrives at least once, QoS 2 exactly once, the
//! order is kept both ways, and no packet identifier is used for two things.

use crate::support::*;
use mqtt_session::client::{ClientConfig, Event};
use mqtt_session::proto::{
    ConnAck, Delivery, Packet, PacketId, Properties, Property, Publish, QoS, ReasonCode, SubAck, UnsubAck, Version,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The user publishes.
    Publish(QoS),
    /// Somebody else publishes what the client subscribed to.
    Incoming(QoS),
    /// The user subscribes, and at once unsubscribes from something else.
    Subscribe,
    /// So many packets reach the server.
    ToServer(usize),
    /// So many packets reach the client.
    ToClient(usize),
    /// The user takes the messages that are there.
    Take,
    /// Everything on the way is lost, and the client connects again.
    Cut,
}

fn step() -> impl Strategy<Value = Step> {
    let qos = prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)];
    prop_oneof![
        3 => qos.clone().prop_map(Step::Publish),
        3 => qos.prop_map(Step::Incoming),
        1 => Just(Step::Subscribe),
        4 => (1..6usize).prop_map(Step::ToServer),
        4 => (1..6usize).prop_map(Step::ToClient),
        2 => Just(Step::Take),
        1 => Just(Step::Cut),
    ]
}

/// The server's half of QoS 1 and 2, written as plainly as the standard's figures.
#[derive(Default)]
struct Server {
    received: Vec<(QoS, u32)>,
    unreleased: BTreeSet<PacketId>,
    /// To the client, in order: what is in flight, and whether PUBREC came.
    inflight: Vec<(PacketId, QoS, u32, bool)>,
    backlog: VecDeque<(QoS, u32)>,
    last_id: u16,
}

const CLIENT_WINDOW: u16 = 4;
const SERVER_WINDOW: u16 = 3;

impl Server {
    fn publish(id: PacketId, qos: QoS, payload: u32, dup: bool) -> Packet {
        let delivery = match qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce { id, dup },
            QoS::ExactlyOnce => Delivery::ExactlyOnce { id, dup },
        };
        incoming("in", &payload.to_string(), delivery).into()
    }

    fn pump(&mut self, out: &mut VecDeque<Packet>) {
        while let Some((qos, payload)) = self.backlog.front().copied() {
            if qos > QoS::AtMostOnce {
                if self.inflight.len() == usize::from(CLIENT_WINDOW) {
                    break;
                }
                self.last_id = self.last_id % 7 + 1; // more identifiers than the window, reused quickly
                while self.inflight.iter().any(|(id, ..)| id.get() == self.last_id) {
                    self.last_id = self.last_id % 7 + 1;
                }
                self.inflight.push((pid(self.last_id), qos, payload, false));
            }
            self.backlog.pop_front();
            out.push_back(Self::publish(pid(self.last_id.max(1)), qos, payload, false));
        }
    }

    fn resume(&mut self, out: &mut VecDeque<Packet>) {
        for (id, qos, payload, released) in self.inflight.clone() {
            out.push_back(if released { Packet::PubRel(ack(id)) } else { Self::publish(id, qos, payload, true) });
        }
        self.pump(out);
    }

    fn handle(&mut self, packet: Packet, out: &mut VecDeque<Packet>) {
        match packet {
            Packet::Publish(publish) => self.receive(&publish, out),
            Packet::PubRel(rel) => {
                self.unreleased.remove(&rel.id);
                out.push_back(Packet::PubComp(ack(rel.id)));
            }
            Packet::PubAck(done) | Packet::PubComp(done) => self.inflight.retain(|(id, ..)| *id != done.id),
            Packet::PubRec(rec) => {
                let found = self.inflight.iter_mut().find(|(id, ..)| *id == rec.id);
                found.expect("PUBREC answers a PUBLISH").3 = true;
                out.push_back(Packet::PubRel(ack(rec.id)));
            }
            Packet::Subscribe(subscribe) => {
                let reasons = vec![ReasonCode::Success; subscribe.filters.len()];
                out.push_back(SubAck { id: subscribe.id, reasons, properties: Properties::new() }.into());
            }
            Packet::Unsubscribe(unsubscribe) => {
                let reasons = vec![ReasonCode::Success; unsubscribe.filters.len()];
                out.push_back(UnsubAck { id: unsubscribe.id, reasons, properties: Properties::new() }.into());
            }
            other => panic!("{other:?}"),
        }
        self.pump(out);
    }

    fn receive(&mut self, publish: &Publish, out: &mut VecDeque<Packet>) {
        let payload = std::str::from_utf8(&publish.payload).unwrap().parse().unwrap();
        let qos = publish.delivery.qos();
        match publish.delivery {
            Delivery::AtMostOnce => self.received.push((qos, payload)),
            Delivery::AtLeastOnce { id, .. } => {
                self.received.push((qos, payload));
                out.push_back(Packet::PubAck(ack(id)));
            }
            Delivery::ExactlyOnce { id, .. } => {
                if self.unreleased.insert(id) {
                    self.received.push((qos, payload));
                }
                out.push_back(Packet::PubRec(ack(id)));
            }
        }
    }
}

struct World {
    net: Net,
    server: Server,
    to_server: VecDeque<Packet>,
    to_client: VecDeque<Packet>,
    /// Identifiers that the client has given out and not got back.
    in_use: BTreeMap<PacketId, bool>,
    published: Vec<(QoS, u32)>,
    offered: Vec<(QoS, u32)>,
    taken: Vec<(QoS, u32)>,
    counter: u32,
}

impl World {
    fn new(version: Version) -> Self {
        let session_expiry = if version.is_v5() { 3600 } else { 0 };
        let config = ClientConfig {
            version,
            client_id: id("c"),
            clean_start: false,
            session_expiry,
            receive_maximum: CLIENT_WINDOW,
            max_inflight: SERVER_WINDOW,
            ..ClientConfig::default()
        };
        let mut world = Self {
            net: Net::new(config),
            server: Server::default(),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            in_use: BTreeMap::new(),
            published: Vec::new(),
            offered: Vec::new(),
            taken: Vec::new(),
            counter: 0,
        };
        world.connect();
        world
    }

    fn connect(&mut self) {
        self.net.client.connect(self.net.now);
        self.net.accept();
        let properties = if self.net.version.is_v5() {
            Properties::builder().with(Property::ReceiveMaximum(SERVER_WINDOW)).build()
        } else {
            Properties::new()
        };
        let session_present = self.counter > 0 || !self.in_use.is_empty();
        self.net.send(ConnAck { session_present, reason: ReasonCode::Success, properties });
        self.server.resume(&mut self.to_client);
        self.collect();
    }

    /// What the client wants to send, checked.
    fn collect(&mut self) {
        for packet in self.net.sent() {
            match &packet {
                Packet::Publish(publish) => {
                    if let Some(id) = publish.delivery.id() {
                        let fresh = self.in_use.insert(id, true).is_none();
                        assert_eq!(fresh, !publish.delivery.dup(), "{id:?} is new if and only if DUP is 0");
                    }
                }
                Packet::Subscribe(packet) => assert_eq!(self.in_use.insert(packet.id, false), None),
                Packet::Unsubscribe(packet) => assert_eq!(self.in_use.insert(packet.id, false), None),
                _ => {}
            }
            self.to_server.push_back(packet);
        }
        let messages = self.in_use.values().filter(|message| **message).count();
        assert!(messages <= usize::from(SERVER_WINDOW), "the window holds");
    }

    fn reach_server(&mut self, count: usize) {
        for _ in 0..count {
            let Some(packet) = self.to_server.pop_front() else { break };
            self.server.handle(packet, &mut self.to_client);
        }
    }

    fn reach_client(&mut self, count: usize) {
        for _ in 0..count {
            let Some(packet) = self.to_client.pop_front() else { break };
            match &packet {
                Packet::PubAck(ack) | Packet::PubComp(ack) => drop(self.in_use.remove(&ack.id)),
                Packet::SubAck(ack) => drop(self.in_use.remove(&ack.id)),
                Packet::UnsubAck(ack) => drop(self.in_use.remove(&ack.id)),
                _ => {}
            }
            self.net.send(packet);
            assert!(self.net.client.is_connected(), "{:?}", self.net.events.back());
            self.collect();
        }
    }

    fn take(&mut self) {
        for message in self.net.messages() {
            self.taken.push((message.qos, std::str::from_utf8(&message.payload).unwrap().parse().unwrap()));
        }
        self.collect();
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Publish(qos) => {
                self.counter += 1;
                self.published.push((qos, self.counter));
                self.net.publish("out", &self.counter.to_string(), qos);
                self.collect();
            }
            Step::Incoming(qos) => {
                self.counter += 1;
                self.offered.push((qos, self.counter));
                self.server.backlog.push_back((qos, self.counter));
                self.server.pump(&mut self.to_client);
            }
            Step::Subscribe => {
                self.counter += 1;
                self.net.subscribe(&format!("f/{}", self.counter), QoS::AtLeastOnce);
                self.net.client.unsubscribe(self.net.now, vec![filter(&format!("f/{}", self.counter - 1))]).unwrap();
                self.collect();
            }
            Step::ToServer(count) => self.reach_server(count),
            Step::ToClient(count) => self.reach_client(count),
            Step::Take => self.take(),
            Step::Cut => {
                self.to_server.clear();
                self.to_client.clear();
                self.in_use.retain(|_, message| *message);
                self.net.lose();
                self.connect();
            }
        }
    }

    fn finish(&mut self) {
        for _ in 0..10_000 {
            self.reach_server(10);
            self.reach_client(10);
            self.take();
            let idle = self.to_server.is_empty() && self.to_client.is_empty() && self.server.inflight.is_empty();
            if idle && self.net.client.is_drained() {
                return;
            }
        }
        panic!("it never comes to rest");
    }
}

fn only(qos: QoS, all: &[(QoS, u32)]) -> Vec<u32> {
    all.iter().filter(|(of, _)| *of == qos).map(|(_, payload)| *payload).collect()
}

/// What arrived, compared with what was sent.
fn check(sent: &[(QoS, u32)], arrived: &[(QoS, u32)]) {
    // [MQTT-4.3.3-10], [MQTT-4.6.0-1]: each once, in order.
    assert_eq!(only(QoS::ExactlyOnce, arrived), only(QoS::ExactlyOnce, sent));
    let mut first = Vec::new();
    for payload in only(QoS::AtLeastOnce, arrived) {
        if !first.contains(&payload) {
            first.push(payload);
        }
    }
    assert_eq!(first, only(QoS::AtLeastOnce, sent), "each at least once, first copies in order");
    let qos0 = only(QoS::AtMostOnce, arrived);
    assert!(qos0.windows(2).all(|pair| pair[0] < pair[1]), "each at most once, in order: {qos0:?}");
}

proptest! {
    #[test]
    fn flows_survive_cut_connections(
        steps in prop::collection::vec(step(), 1..120),
        version in prop_oneof![Just(Version::V3_1_1), Just(Version::V5)],
    ) {
        let mut world = World::new(version);
        for step in steps {
            world.run(step);
        }
        world.finish();
        check(&world.published, &world.server.received);
        check(&world.offered, &world.taken);
        let settled = world.net.events.iter().filter(|event| matches!(event, Event::Settled { result: Ok(_), .. })).count();
        let requests = 2 * world.net.client.subscriptions().count();
        prop_assert!(settled >= world.published.len() + requests, "every token is settled");
    }
}
