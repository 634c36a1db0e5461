//! Clients that send whatever they like, sockets that stall and a store that fails: the broker never panics, and in the end
//! nothing is left (sections 4.8 and 4.13).
use crate::common::*;
use mqtt_session::broker::{Completion, Request};
use mqtt_session::proto::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

const CLIENTS: usize = 3;
const FILTERS: [&str; 7] = ["a", "+", "#", "$share/g/a", "$share/g/#", "$share/h/+", "b/c"];
const TOPICS: [&str; 3] = ["a", "b", "b/c"];

#[derive(Clone, Debug)]
enum Op {
    Connect {
        clean: bool,
        expiry: u32,
        old: bool,
        window: u16,
        packet: u32,
    },
    Cut,
    Bye,
    Subscribe {
        filters: Vec<(usize, u8)>,
    },
    Unsubscribe {
        filter: usize,
    },
    Publish {
        topic: usize,
        qos: u8,
        id: u16,
        dup: bool,
        retain: bool,
        expiry: Option<u32>,
        size: usize,
    },
    Acknowledge {
        kind: u8,
        id: u16,
        error: bool,
    },
    /// Answers what was received, properly.
    Answer,
    Socket {
        bytes: Option<usize>,
    },
    Sleep {
        seconds: u32,
    },
    Store {
        at_once: bool,
    },
    Stored,
    StoreFailed,
}

fn op() -> impl Strategy<Value = Op> {
    let id = 1..6_u16;
    prop_oneof![
        4 => (any::<bool>(), prop::sample::select(vec![0, 10, u32::MAX]), any::<bool>(), 1..4_u16, 20..200_u32)
            .prop_map(|(clean, expiry, old, window, packet)| Op::Connect { clean, expiry, old, window, packet }),
        1 => Just(Op::Cut),
        1 => Just(Op::Bye),
        4 => prop::collection::vec((0..FILTERS.len(), 0..3_u8), 1..3).prop_map(|filters| Op::Subscribe { filters }),
        2 => (0..FILTERS.len()).prop_map(|filter| Op::Unsubscribe { filter }),
        8 => (0..TOPICS.len(), 0..3_u8, id.clone(), any::<bool>(), any::<bool>(), prop::option::of(0..20_u32), 0..150_usize)
            .prop_map(|(topic, qos, id, dup, retain, expiry, size)| {
                Op::Publish { topic, qos, id, dup, retain, expiry, size }
            }),
        3 => (0..4_u8, id, prop::bool::weighted(0.2)).prop_map(|(kind, id, error)| Op::Acknowledge { kind, id, error }),
        8 => Just(Op::Answer),
        1 => prop::option::of(0..100_usize).prop_map(|bytes| Op::Socket { bytes }),
        2 => (0..15_u32).prop_map(|seconds| Op::Sleep { seconds }),
        1 => prop::bool::weighted(0.7).prop_map(|at_once| Op::Store { at_once }),
        2 => Just(Op::Stored),
        1 => Just(Op::StoreFailed),
    ]
}

fn qos(level: u8) -> QoS {
    [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(level)]
}

/// What a client said in CONNECT, and what it knows.
#[derive(Clone)]
struct Link {
    client: Client,
    version: Version,
    aliases: u16,
    packet: usize,
    names: BTreeMap<u16, String>,
}

struct World {
    bench: Bench,
    links: [Option<Link>; CLIENTS],
}

impl World {
    fn send(&mut self, who: usize, packet: impl Into<Packet>) {
        let link = self.links[who].as_ref().filter(|link| !self.bench.is_closed(link.client));
        if let Some(client) = link.map(|link| link.client) {
            self.bench.send(client, packet);
        }
    }

    fn apply(&mut self, who: usize, op: &Op) {
        let v5 = self.links[who].as_ref().is_some_and(|link| link.version.is_v5());
        match op {
            Op::Connect { clean, expiry, old, window, packet } => {
                let id = format!("c{who}");
                let connect = if *old {
                    Connect { clean_start: *clean, ..connect(Version::V3_1_1, &id) }
                } else {
                    let properties = properties([
                        Property::SessionExpiryInterval(*expiry),
                        Property::ReceiveMaximum(*window),
                        Property::MaximumPacketSize(*packet),
                        Property::TopicAliasMaximum(*window - 1),
                    ]);
                    Connect { clean_start: *clean, properties, ..connect(Version::V5, &id) }
                };
                let version = connect.version;
                let (aliases, packet) = if *old { (0, usize::MAX) } else { (*window - 1, *packet as usize) };
                let client = self.bench.open(connect);
                self.links[who] = Some(Link { client, version, aliases, packet, names: BTreeMap::new() });
            }
            Op::Cut => {
                let link = self.links[who].take().filter(|link| !self.bench.is_closed(link.client));
                if let Some(link) = link {
                    self.bench.cut(link.client);
                }
            }
            Op::Bye => {
                let reason = ReasonCode::Success;
                self.send(who, Packet::Disconnect(Disconnect { reason, properties: Properties::new() }));
            }
            Op::Subscribe { filters } => {
                let filters =
                    filters.iter().map(|(index, level)| (filter(FILTERS[*index]), qos(*level).into())).collect();
                let properties = Properties::new();
                self.send(who, Subscribe { id: pid(9), filters, properties });
            }
            Op::Unsubscribe { filter: index } => {
                let filters = vec![filter(FILTERS[*index])];
                self.send(who, Unsubscribe { id: pid(9), filters, properties: Properties::new() });
            }
            Op::Publish { topic, qos, id, dup, retain, expiry, size } => {
                let (id, dup) = (pid(*id), *dup);
                let delivery = match qos {
                    0 => Delivery::AtMostOnce,
                    1 => Delivery::AtLeastOnce { id, dup },
                    _ => Delivery::ExactlyOnce { id, dup },
                };
                let properties = match expiry.filter(|_| v5) {
                    Some(seconds) => properties([Property::MessageExpiryInterval(seconds)]),
                    None => Properties::new(),
                };
                let payload =
                    if *size > 5 { format!("{} {}", TOPICS[*topic], "x".repeat(*size)) } else { String::new() };
                let plain = message(TOPICS[*topic], &payload, QoS::AtMostOnce);
                self.send(who, Publish { delivery, retain: *retain, properties, ..plain });
            }
            Op::Acknowledge { kind, id, error } => {
                let error = *error && v5 && *kind < 2;
                let reason = if error { ReasonCode::UnspecifiedError } else { ReasonCode::Success };
                let ack = Ack { reason, ..ack(*id) };
                let kinds = [Packet::PubAck, Packet::PubRec, Packet::PubRel, Packet::PubComp];
                self.send(who, kinds[usize::from(*kind)](ack));
            }
            Op::Answer => self.answer(who),
            Op::Socket { bytes } => {
                if let Some(link) = &self.links[who] {
                    self.bench.set_window(link.client, *bytes);
                }
            }
            Op::Sleep { seconds } => self.bench.sleep(Duration::from_secs((*seconds).into())),
            Op::Store { at_once } => self.bench.store_at_once = *at_once,
            Op::Stored => self.bench.stored(),
            Op::StoreFailed => {
                if let Some(last) = self.bench.batches.last().filter(|_| !self.bench.store_at_once) {
                    let seq = last.seq;
                    self.bench.broker.handle_completion(self.bench.now, Completion::StoreFailed { seq });
                    self.bench.run();
                    self.bench.stored();
                }
            }
        }
        while let Some(request) = self.bench.requests.pop_front() {
            assert!(matches!(request, Request::Store(_)), "{request:?}");
        }
    }

    fn answer(&mut self, who: usize) {
        while let Some(link) = &mut self.links[who]
            && let Some(packet) = self.bench.recv(link.client)
        {
            let mut bytes = bytes::BytesMut::new();
            packet.encode(link.version, &mut bytes).unwrap();
            assert!(bytes.len() <= link.packet, "[MQTT-3.1.2-24]: {packet:?}");
            if let Packet::Publish(publish) = &packet {
                check_topic(link, publish);
            }
            match packet {
                Packet::Publish(publish) => match publish.delivery {
                    Delivery::AtMostOnce => {}
                    Delivery::AtLeastOnce { id, .. } => self.send(who, Packet::PubAck(ack(id.get()))),
                    Delivery::ExactlyOnce { id, .. } => self.send(who, Packet::PubRec(ack(id.get()))),
                },
                Packet::PubRec(received) if !received.reason.is_error() => {
                    self.send(who, Packet::PubRel(ack(received.id.get())));
                }
                Packet::PubRel(released) => self.send(who, Packet::PubComp(ack(released.id.get()))),
                _ => {}
            }
        }
    }
}

/// The topic is one that exists, by its name or by an alias that the client was told [MQTT-3.3.2-11].
fn check_topic(link: &mut Link, publish: &Publish) {
    let alias = publish.properties.topic_alias();
    assert!(alias.is_none_or(|alias| (1..=link.aliases).contains(&alias)));
    let name = match (&publish.topic, alias) {
        (Some(name), Some(alias)) => {
            link.names.insert(alias, name.to_string());
            name.to_string()
        }
        (Some(name), None) => name.to_string(),
        (None, alias) => link.names[&alias.expect("a name or an alias")].clone(),
    };
    // The payload says which topic it is, where it is long enough.
    let said = publish.payload.iter().position(|byte| *byte == b' ').map(|end| &publish.payload[..end]);
    assert!(TOPICS.contains(&name.as_str()) && said.is_none_or(|said| said == name.as_bytes()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_a_client_does_hurts(
        history in prop::collection::vec((0..CLIENTS, op()), 1..120),
        queue_qos0 in any::<bool>(),
        most in 2..20_usize,
    ) {
        let bench = Bench::with(|config| {
            config.session.queue_qos0 = queue_qos0;
            config.session.max_queued_messages = most;
            config.session.max_queued_bytes = 2000;
            config.max_queued_bytes = 4000;
            config.connection.max_transmit_bytes = 500;
            config.connection.receive_maximum = 3;
            config.events.delivered = true;
            config.events.published = true;
        });
        let mut world = World { bench, links: [const { None }; CLIENTS] };
        for (who, op) in &history {
            world.apply(*who, op);
        }
        world.bench.store_at_once = true;
        world.bench.stored();
        for who in 0..CLIENTS {
            world.apply(who, &Op::Connect { clean: true, expiry: 0, old: false, window: 1, packet: 200 });
            world.apply(who, &Op::Cut);
        }
        world.bench.sleep(Duration::from_secs(100));
        let stats = world.bench.broker.stats();
        assert_eq!((stats.sessions, stats.subscriptions, stats.connections), (0, 0, 0));
        assert_eq!(world.bench.levels(), (0, 0, 0));
        assert_eq!(world.bench.broker.poll_timeout(), None);
    }
}
