//! The operations that a broker gives to its store, replayed: they make what the broker has.
use crate::common::world::*;
use crate::common::*;
use mqtt_session::broker::MemoryStore;
use mqtt_session::proto::*;
use proptest::prelude::*;
use std::time::Duration;

/// Anything that changes what is kept.
#[derive(Clone, Debug)]
enum Change {
    Connect { client: usize, clean_start: bool, expiry: u32, with_will: bool },
    Cut(usize),
    Disconnect(usize),
    Subscribe { client: usize, filter: usize, qos: QoS },
    Unsubscribe { client: usize, filter: usize },
    Publish { client: usize, topic: usize, qos: QoS, retain: bool, empty: bool, expires: bool },
    Acknowledge(usize),
    Release(usize),
    Sleep(u64),
}

const FILTERS: [&str; 6] = ["a", "a/+", "#", "$share/g/a", "$share/h/#", "a/b"];
const TOPICS: [&str; 3] = ["a", "a/b", "c"];

fn change() -> impl Strategy<Value = Change> {
    let client = 0_usize..3;
    let qos = || prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)];
    prop_oneof![
        4 => (client.clone(), prop::bool::weighted(0.2), prop_oneof![Just(0), Just(20), Just(FOREVER)], any::<bool>())
            .prop_map(|(client, clean_start, expiry, with_will)| Change::Connect { client, clean_start, expiry, with_will }),
        2 => client.clone().prop_map(Change::Cut),
        1 => client.clone().prop_map(Change::Disconnect),
        5 => (client.clone(), 0..FILTERS.len(), qos())
            .prop_map(|(client, filter, qos)| Change::Subscribe { client, filter, qos }),
        2 => (client.clone(), 0..FILTERS.len()).prop_map(|(client, filter)| Change::Unsubscribe { client, filter }),
        8 => (client.clone(), 0..TOPICS.len(), qos(), any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.2))
            .prop_map(|(client, topic, qos, retain, empty, expires)| Change::Publish { client, topic, qos, retain, empty, expires }),
        6 => client.clone().prop_map(Change::Acknowledge),
        2 => client.prop_map(Change::Release),
        2 => (1_u64..15).prop_map(Change::Sleep),
    ]
}

/// The client whose change it is, and the packet that it sends; the rest is done at once.
fn apply(world: &mut World, clients: &mut [Option<Client>; 3], change: &Change) {
    let bench = &mut world.bench;
    let (who, packet): (usize, Packet) = match *change {
        Change::Connect { client, clean_start, expiry, with_will } => {
            let will = with_will.then(|| Will { qos: QoS::AtLeastOnce, retain: true, ..will("a/b", "will") });
            let connect = Connect { clean_start, will, ..persistent(Version::V5, &format!("c{client}"), expiry) };
            clients[client] = Some(bench.connect(connect).0);
            return;
        }
        Change::Cut(client) => return clients[client].into_iter().for_each(|client| bench.cut(client)),
        Change::Sleep(seconds) => return bench.sleep(Duration::from_secs(seconds)),
        Change::Acknowledge(client) => return clients[client].into_iter().for_each(|c| acknowledge_all(bench, c)),
        Change::Disconnect(client) => (client, Disconnect::from(ReasonCode::Success).into()),
        Change::Subscribe { client, filter, qos } => (client, subscribe(FILTERS[filter], qos).into()),
        Change::Unsubscribe { client, filter: index } => {
            let filters = vec![filter(FILTERS[index])];
            (client, Unsubscribe { id: pid(78), filters, properties: Properties::new() }.into())
        }
        Change::Publish { client, topic, qos, retain, empty, expires } => {
            let properties = properties(expires.then_some(Property::MessageExpiryInterval(100_000)));
            let payload = if empty { "" } else { "x" };
            (client, Publish { retain, properties, ..message(TOPICS[topic], payload, qos) }.into())
        }
        Change::Release(client) => (client, Packet::PubRel(ack(10))),
    };
    if let Some(client) = clients[who].filter(|client| !bench.is_closed(*client)) {
        bench.send(client, packet);
    }
}

/// Takes what has come and acknowledges it.
fn acknowledge_all(bench: &mut Bench, client: Client) {
    for packet in bench.recv_all(client) {
        let answer = match packet {
            Packet::Publish(publish) => match publish.delivery {
                Delivery::AtMostOnce => continue,
                Delivery::AtLeastOnce { id, .. } => Packet::PubAck(ack(id.get())),
                Delivery::ExactlyOnce { id, .. } => Packet::PubRec(ack(id.get())),
            },
            Packet::PubRel(release) => Packet::PubComp(ack(release.id.get())),
            _ => continue,
        };
        if !bench.is_closed(client) {
            bench.send(client, answer);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    /// Replaying all operations makes what the broker has, and applying them twice makes no difference; a broker made of
    /// it has it again.
    #[test]
    fn the_operations_tell_all(changes in prop::collection::vec(change(), 1..80)) {
        let mut world = World::new();
        let mut clients = [None; 3];
        for change in &changes {
            apply(&mut world, &mut clients, change);
            world.keep_all();
        }
        // What ends with its connection is not kept: end it.
        for client in clients.into_iter().flatten() {
            world.bench.cut(client);
        }
        world.keep_all();
        let levels = world.levels();
        prop_assert!(levels.iter().all(|(live, kept)| *live == *kept as u64), "{:?}", levels);
        let mut twice = MemoryStore::new();
        for batch in &world.bench.batches {
            twice.apply(batch);
            twice.apply(batch);
        }
        let sizes = |store: &MemoryStore| {
            (store.sessions(), store.subscriptions(), store.retained(), store.entries(), store.messages())
        };
        prop_assert_eq!(sizes(&twice), sizes(&world.bench.disk));
        let before = world.bench.broker.stats();
        world.crash();
        let after = world.bench.broker.stats();
        prop_assert_eq!(
            (after.sessions, after.subscriptions, after.retained, after.queued, after.queued_bytes),
            (before.sessions, before.subscriptions, before.retained, before.queued, before.queued_bytes)
        );
        world.keep_all();
        prop_assert!(world.levels().iter().all(|(live, kept)| *live == *kept as u64), "{:?}", world.levels());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// The same inputs give the same outputs, bit for bit.
    #[test]
    fn a_history_repeats_itself(changes in prop::collection::vec(change(), 1..60)) {
        let run = || {
            let mut world = World::new();
            let mut clients = [None; 3];
            for change in &changes {
                apply(&mut world, &mut clients, change);
                world.keep_all();
            }
            let last: Vec<_> = clients.into_iter().flatten().map(|client| world.bench.recv_all(client)).collect();
            let World { bench, .. } = world;
            (format!("{:?}", bench.batches), format!("{:?}", bench.events), last, bench.broker.stats(), bench.disk)
        };
        prop_assert_eq!(run(), run());
    }

    /// A store that loses batches harms those who waited for them, not the broker: it goes on, and so does its successor.
    #[test]
    fn a_store_with_holes_harms_nobody_else(changes in prop::collection::vec((change(), 0_u8..4), 1..80)) {
        let mut world = World::new();
        let mut clients = [None; 3];
        for (change, luck) in &changes {
            // What was lost may have taken the connection with it.
            apply(&mut world, &mut clients, change);
            match luck {
                0 => world.lose(),
                1 => world.keep(1),
                _ => world.keep_all(),
            }
        }
        for _ in 0..2 {
            let (client, _) = world.bench.connect(persistent(Version::V5, "new", FOREVER));
            world.bench.send(client, subscribe("well/kept", QoS::ExactlyOnce));
            world.keep_all();
            world.bench.cut(client);
            let publisher = world.bench.v3("p");
            world.bench.send(publisher, message("well/kept", "x", QoS::AtLeastOnce));
            world.keep_all();
            prop_assert_eq!(world.bench.recv_all(publisher), [Packet::PubAck(ack(10))]);
            world.crash();
            let (client, connack) = world.bench.connect(persistent(Version::V5, "new", FOREVER));
            prop_assert!(connack.session_present);
            let publish = world.bench.recv_publish(client);
            world.bench.acknowledge(client, &publish);
            world.keep_all();
        }
    }
}
