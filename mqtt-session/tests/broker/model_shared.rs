//! Random histories of shared groups: nothing is lost at QoS 1, nothing comes twice at QoS 2 (section 4.8.2).
use crate::common::*;
use mqtt_session::broker::SharedStrategy;
use mqtt_session::proto::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const CLIENTS: usize = 4;
const GROUPS: [&str; 2] = ["$share/g/a", "$share/h/+"];

#[derive(Clone, Debug)]
enum Op {
    Connect { client: usize, clean: bool, lasts: bool },
    Cut { client: usize },
    Join { client: usize, group: usize },
    Leave { client: usize, group: usize },
    Publish { qos: usize },
    Receive { client: usize, packets: usize, acknowledges: bool },
    Socket { client: usize, bytes: Option<usize> },
}

fn op() -> impl Strategy<Value = Op> {
    let client = 0..CLIENTS;
    prop_oneof![
        3 => (client.clone(), prop::bool::weighted(0.1), prop::bool::weighted(0.8))
            .prop_map(|(client, clean, lasts)| Op::Connect { client, clean, lasts }),
        1 => client.clone().prop_map(|client| Op::Cut { client }),
        4 => (client.clone(), 0..GROUPS.len()).prop_map(|(client, group)| Op::Join { client, group }),
        1 => (client.clone(), 0..GROUPS.len()).prop_map(|(client, group)| Op::Leave { client, group }),
        8 => (0..3_usize).prop_map(|qos| Op::Publish { qos }),
        8 => (client.clone(), 1..6_usize, prop::bool::weighted(0.7))
            .prop_map(|(client, packets, acknowledges)| Op::Receive { client, packets, acknowledges }),
        1 => (client, prop::option::of(0..60_usize)).prop_map(|(client, bytes)| Op::Socket { client, bytes }),
    ]
}

#[derive(Default)]
struct Session {
    lasts: bool,
    groups: BTreeSet<usize>,
    /// QoS 2 identifiers between PUBLISH and PUBREL.
    incoming: BTreeMap<u16, u32>,
}

/// One message in one group.
struct Sent {
    qos: QoS,
    /// It must arrive; otherwise it may.
    must: bool,
    arrived: u32,
}

struct Model {
    bench: Bench,
    links: Vec<Option<Client>>,
    sessions: Vec<Option<Session>>,
    /// By group, in the order of publication.
    sent: [BTreeMap<u32, Sent>; 2],
    published: u32,
}

impl Model {
    fn new(strategy: SharedStrategy) -> Self {
        Self {
            bench: Bench::with(|config| {
                config.connection.max_inflight = 3;
                config.shared_strategy = strategy;
            }),
            links: vec![None; CLIENTS],
            sessions: (0..CLIENTS).map(|_| None).collect(),
            sent: Default::default(),
            published: 0,
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Connect { client, clean, lasts } => {
                self.cut_model(client);
                if clean {
                    self.end(client);
                }
                let connect = Connect {
                    clean_start: clean,
                    ..persistent(Version::V5, &client.to_string(), if lasts { u32::MAX } else { 0 })
                };
                self.links[client] = Some(self.bench.connect(connect).0);
                self.sessions[client].get_or_insert_default().lasts = lasts;
            }
            Op::Cut { client } => {
                if let Some(link) = self.links[client] {
                    self.bench.cut(link);
                    self.cut_model(client);
                }
            }
            Op::Join { client, group } => {
                let Some(link) = self.links[client] else { return };
                self.sessions[client].as_mut().unwrap().groups.insert(group);
                // The group decides who receives, its identifier which group it was.
                let identifier = u32::try_from(group).unwrap() + 1;
                let properties = properties([Property::SubscriptionIdentifier(identifier)]);
                let filters = vec![(filter(GROUPS[group]), QoS::ExactlyOnce.into())];
                self.bench.send(link, Subscribe { id: pid(60_000), filters, properties });
            }
            Op::Leave { client, group } => {
                let Some(link) = self.links[client] else { return };
                self.sessions[client].as_mut().unwrap().groups.remove(&group);
                self.left(group);
                let filters = vec![filter(GROUPS[group])];
                self.bench.send(link, Unsubscribe { id: pid(60_001), filters, properties: Properties::new() });
            }
            Op::Publish { qos } => {
                let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][qos];
                for group in 0..GROUPS.len() {
                    if self.sessions.iter().flatten().any(|session| session.groups.contains(&group)) {
                        let sent = Sent { qos, must: qos > QoS::AtMostOnce, arrived: 0 };
                        self.sent[group].insert(self.published, sent);
                    }
                }
                self.bench.inject("a", &self.published.to_string(), qos);
                self.published += 1;
            }
            Op::Receive { client, packets, acknowledges } => {
                for _ in 0..packets {
                    self.receive(client, acknowledges);
                }
            }
            Op::Socket { client, bytes } => {
                if let Some(link) = self.links[client] {
                    self.bench.set_window(link, bytes);
                }
            }
        }
    }

    /// A member has left: what the group held is over if it was the last.
    fn left(&mut self, group: usize) {
        if self.sessions.iter().flatten().all(|session| !session.groups.contains(&group)) {
            self.sent[group].values_mut().for_each(|sent| sent.must = false);
        }
    }

    fn cut_model(&mut self, client: usize) {
        if self.links[client].take().is_some() && self.sessions[client].as_ref().is_some_and(|session| !session.lasts) {
            self.end(client);
        }
    }

    /// A session ends: QoS 2 messages that it had begun to receive are lost [MQTT-4.8.2-5].
    fn end(&mut self, client: usize) {
        let Some(session) = self.sessions[client].take() else { return };
        let two = |sent: &&mut Sent| sent.qos == QoS::ExactlyOnce;
        for group in 0..GROUPS.len() {
            self.sent[group].values_mut().filter(two).for_each(|sent| sent.must = false);
            if session.groups.contains(&group) {
                self.left(group);
            }
        }
    }

    fn receive(&mut self, client: usize, acknowledges: bool) -> bool {
        let Some(link) = self.links[client] else { return false };
        let Some(packet) = self.bench.recv(link) else { return false };
        let session = self.sessions[client].as_mut().unwrap();
        match packet {
            Packet::Publish(publish) => {
                let number: u32 = text(&publish).parse().unwrap();
                let group = identifiers(&publish)[0] as usize - 1;
                let sent = self.sent[group].get_mut(&number).expect("a message for this group");
                assert_eq!(publish.delivery.qos(), sent.qos, "[MQTT-4.8.2-3]");
                let answer = match publish.delivery {
                    Delivery::AtMostOnce => None,
                    Delivery::AtLeastOnce { id, .. } => Some(Packet::PubAck(ack(id.get()))),
                    Delivery::ExactlyOnce { id, .. } => Some(Packet::PubRec(ack(id.get()))),
                };
                let id = publish.delivery.id().map(PacketId::get);
                let again =
                    sent.qos == QoS::ExactlyOnce && session.incoming.insert(id.unwrap(), number) == Some(number);
                if !again {
                    sent.arrived += 1;
                    assert!(sent.arrived == 1 || sent.qos == QoS::AtLeastOnce, "{number} came twice");
                }
                if let Some(answer) = answer.filter(|_| acknowledges) {
                    self.bench.send(link, answer);
                }
            }
            Packet::PubRel(released) => {
                session.incoming.remove(&released.id.get());
                self.bench.send(link, Packet::PubComp(ack(released.id.get())));
            }
            Packet::SubAck(_) | Packet::UnsubAck(_) => {}
            other => panic!("{other:?}"),
        }
        true
    }

    fn finish(&mut self) {
        for client in 0..CLIENTS {
            if self.sessions[client].is_some() {
                self.apply(&Op::Connect { client, clean: false, lasts: true });
            }
        }
        while (0..CLIENTS).any(|client| self.receive(client, true)) {}
        for (group, sent) in GROUPS.iter().zip(&self.sent) {
            for (number, sent) in sent.iter().filter(|(_, sent)| sent.must) {
                assert!(sent.arrived > 0, "{group} lost {number}");
            }
        }
        assert_eq!(self.bench.levels(), (0, 0, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_group_keeps_its_promises(history in prop::collection::vec(op(), 1..120), least in any::<bool>()) {
        // [MQTT-4.8.2-4], [MQTT-4.8.2-5]
        let mut model = Model::new(if least { SharedStrategy::LeastLoaded } else { SharedStrategy::RoundRobin });
        for op in &history {
            model.apply(op);
        }
        model.finish();
    }
}
