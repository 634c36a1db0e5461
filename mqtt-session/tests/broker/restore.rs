//! A broker that goes on with what the store of the last one has kept.
use crate::common::world::*;
use crate::common::*;
use mqtt_session::broker::*;
use mqtt_session::proto::*;
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// The client `s` connects, with a session that lasts; the store has kept all of it.
fn join(world: &mut World) -> Client {
    let (client, _) = world.bench.connect(persistent(Version::V5, "s", FOREVER));
    world.keep_all();
    client
}

#[test]
fn sessions_subscriptions_and_messages_come_back() {
    let mut world = World::new();
    for version in VERSIONS {
        let name = version.level().to_string();
        let (client, _) = world.bench.connect(persistent(version, &name, FOREVER));
        for (text, qos) in [("a", QoS::ExactlyOnce), ("b/+", QoS::AtLeastOnce), ("c", QoS::AtMostOnce)] {
            world.bench.send(client, subscribe(text, qos));
        }
        world.keep_all();
        world.bench.recv_all(client);
    }
    let (publisher, _) = world.bench.connect(connect(Version::V5, "p"));
    for (id, topic, qos) in [(1, "a", QoS::ExactlyOnce), (2, "b/1", QoS::AtLeastOnce)] {
        let delivery = with_id(qos, id, false);
        world.bench.send(publisher, Publish { retain: true, delivery, ..message(topic, "before", QoS::AtMostOnce) });
    }
    world.keep_all();
    assert_eq!(world.bench.recv_all(publisher).len(), 2);
    world.crash();
    assert!(world.levels().iter().all(|(live, kept)| *live == *kept as u64), "{:?}", world.levels());
    for version in VERSIONS {
        let name = version.level().to_string();
        let (client, connack) = world.bench.connect(persistent(version, &name, FOREVER));
        assert_eq!(connack.session_present, version != Version::V3_1);
        world.keep_all();
        assert_eq!(world.bench.recv_texts(client), ["before", "before"]);
        let (publisher, _) = world.bench.connect(connect(Version::V5, "p"));
        world.bench.send(publisher, message("c", "after", QoS::AtMostOnce));
        assert_eq!(world.bench.recv_texts(client), ["after"]);
        let late = world.bench.v5("late");
        world.bench.subscribe(late, "#", QoS::AtMostOnce);
        assert_eq!(world.bench.recv_texts(late).len(), 2, "the retained ones");
        world.bench.cut(client);
        world.bench.cut(late);
    }
}

#[test]
fn a_session_still_belongs_to_its_owner() {
    let config = Config { authentication: Authentication::Request, sys_interval: Duration::ZERO, ..Config::default() };
    let mut world = World { config: Arc::new(config), ..World::new() };
    world.crash();
    let first = persistent(Version::V5, "s", FOREVER);
    world.bench.connect_as(first.clone(), Some("owner"), Grant::everything());
    world.keep_all();
    world.crash();
    let (_, connack) = world.bench.connect_as(first.clone(), Some("stranger"), Grant::everything());
    assert_eq!(connack.reason, ReasonCode::NotAuthorized);
    assert!(world.bench.connect_as(first, Some("owner"), Grant::everything()).1.session_present);
}

#[test]
fn only_durable_sessions_come_back() {
    let mut world = World::new();
    let (transient, _) = world.bench.connect(connect(Version::V5, "t"));
    world.bench.send(transient, subscribe("a", QoS::ExactlyOnce));
    world.bench.send(transient, subscribe("$share/g/a", QoS::ExactlyOnce));
    world.bench.send(transient, message("a", "x", QoS::AtLeastOnce));
    world.keep_all();
    world.crash();
    world.keep_all();
    assert_eq!(world.levels(), [(0, 0); 4]);
    assert_eq!(world.bench.disk.messages(), 0);
    // Neither does one that was about to end.
    let (client, _) = world.bench.connect(persistent(Version::V5, "s", 100));
    world.keep_all();
    world.bench.cut(client);
    world.bench.connect(Connect { clean_start: false, ..connect(Version::V5, "s") });
    world.keep_all();
    world.crash();
    world.keep_all();
    assert_eq!(world.levels(), [(0, 0); 4]);
}

#[test]
fn a_subscription_does_not_reach_back() {
    // The log of its filter is older than the second subscriber.
    let mut world = World::new();
    let (old, _) = world.bench.connect(persistent(Version::V5, "old", FOREVER));
    world.bench.send(old, subscribe("a", QoS::AtLeastOnce));
    world.bench.cut(old);
    let publisher = world.bench.v5("p");
    world.bench.send(publisher, message("a", "1", QoS::AtLeastOnce));
    let (new, _) = world.bench.connect(persistent(Version::V5, "new", FOREVER));
    world.bench.send(new, subscribe("a", QoS::AtLeastOnce));
    world.bench.send(publisher, message("a", "2", QoS::AtLeastOnce));
    world.keep_all();
    world.crash();
    let (new, _) = world.bench.connect(persistent(Version::V5, "new", FOREVER));
    assert_eq!(world.bench.recv_texts(new), ["2"]);
    let (old, _) = world.bench.connect(persistent(Version::V5, "old", FOREVER));
    assert_eq!(world.bench.recv_texts(old), ["1", "2"]);
}

#[test]
fn what_comes_after_a_restart_does_not_lie_behind_its_reader() {
    // The log is empty when the broker stops, and its reader is far beyond the first position of all.
    let mut world = World::new();
    let publisher = world.bench.v5("p");
    for _ in 0..5 {
        world.bench.send(publisher, message("elsewhere", "0", QoS::AtMostOnce));
    }
    let (client, _) = world.bench.connect(persistent(Version::V5, "s", FOREVER));
    world.bench.send(client, subscribe("a", QoS::AtLeastOnce));
    world.keep_all();
    world.crash();
    let publisher = world.bench.v5("p");
    world.bench.send(publisher, message("a", "1", QoS::AtLeastOnce));
    world.keep_all();
    let (client, _) = world.bench.connect(persistent(Version::V5, "s", FOREVER));
    world.keep_all();
    assert_eq!(world.bench.recv_texts(client), ["1"]);
}

#[test]
fn a_delivery_keeps_its_identifier_and_its_words() {
    // [MQTT-4.4.0-1], [MQTT-4.6.0-1] after a restart
    let mut world = World::new();
    let (client, _) = world.bench.connect(persistent(Version::V5, "s", FOREVER));
    let options = SubscriptionOptions { retain_as_published: true, ..QoS::ExactlyOnce.into() };
    let identified = properties([Property::SubscriptionIdentifier(7)]);
    world.bench.send(client, Subscribe { id: pid(1), filters: vec![(filter("a"), options)], properties: identified });
    world.keep_all();
    let publisher = world.bench.v5("p");
    for id in 1..=3 {
        let delivery = with_id(QoS::ExactlyOnce, id, false);
        let publish = Publish { delivery, retain: id == 1, ..message("a", &id.to_string(), QoS::AtMostOnce) };
        world.bench.send(publisher, publish);
    }
    world.keep_all();
    world.bench.recv_all(client);
    // The second is done, out of turn; the third has come half the way.
    world.bench.send(client, Packet::PubRec(ack(2)));
    world.bench.send(client, Packet::PubRec(ack(3)));
    world.bench.send(client, Packet::PubComp(ack(2)));
    world.keep_all();
    world.crash();
    let (client, _) = world.bench.connect(persistent(Version::V5, "s", FOREVER));
    world.keep_all();
    assert_eq!(world.bench.recv(client), Some(Packet::PubRel(ack(3))));
    let first = world.bench.recv_publish(client);
    assert_eq!((text(&first), first.delivery), ("1", with_id(QoS::ExactlyOnce, 1, true)));
    assert!(first.retain);
    assert_eq!(first.properties.subscription_identifiers().collect::<Vec<_>>(), [7]);
    world.bench.assert_silent(client);
    world.bench.send(client, Packet::PubComp(ack(3)));
    world.bench.send(client, Packet::PubRec(ack(1)));
    world.keep_all();
    world.bench.send(client, Packet::PubComp(ack(1)));
    world.keep_all();
    assert_eq!((world.bench.disk.entries(), world.bench.disk.messages()), (0, 0));
    assert_eq!(world.bench.broker.stats().inflight, 0);
}

#[test]
fn qos_2_from_a_publisher_is_taken_once() {
    let mut world = World::new();
    let (watcher, _) = world.bench.connect(persistent(Version::V5, "w", FOREVER));
    world.bench.send(watcher, subscribe("a", QoS::AtLeastOnce));
    world.bench.cut(watcher);
    let (publisher, _) = world.bench.connect(persistent(Version::V5, "p", FOREVER));
    world.bench.send(publisher, message("a", "1", QoS::ExactlyOnce));
    world.keep_all();
    world.crash();
    let (publisher, _) = world.bench.connect(persistent(Version::V5, "p", FOREVER));
    let again = Publish { delivery: with_id(QoS::ExactlyOnce, 10, true), ..message("a", "1", QoS::AtMostOnce) };
    world.bench.send(publisher, again);
    world.bench.send(publisher, Packet::PubRel(ack(10)));
    world.keep_all();
    let packets = world.bench.recv_all(publisher);
    assert_eq!(packets, [Packet::PubRec(ack(10)), Packet::PubComp(ack(10))]);
    // The identifier is free for another, after another restart, too.
    world.crash();
    let (publisher, _) = world.bench.connect(persistent(Version::V5, "p", FOREVER));
    world.bench.send(publisher, message("a", "2", QoS::ExactlyOnce));
    let (watcher, _) = world.bench.connect(persistent(Version::V5, "w", FOREVER));
    world.keep_all();
    assert_eq!(world.bench.recv_texts(watcher), ["1", "2"]);
}

#[test]
fn a_refused_qos_2_message_leaves_its_identifier_free() {
    // [MQTT-4.3.3-9]: what a quota refused must not swallow the next message under the same identifier
    let config = Config { max_retained_messages: 0, sys_interval: Duration::ZERO, ..Config::default() };
    let mut world = World { config: Arc::new(config), ..World::new() };
    world.crash();
    let (publisher, _) = world.bench.connect(persistent(Version::V5, "p", FOREVER));
    world.bench.send(publisher, Publish { retain: true, ..message("a", "1", QoS::ExactlyOnce) });
    world.keep_all();
    assert!(
        matches!(world.bench.recv(publisher), Some(Packet::PubRec(ack)) if ack.reason == ReasonCode::QuotaExceeded)
    );
    world.crash();
    let watcher = world.bench.v5("w");
    world.bench.subscribe(watcher, "a", QoS::AtMostOnce);
    let (publisher, _) = world.bench.connect(persistent(Version::V5, "p", FOREVER));
    world.bench.send(publisher, message("a", "2", QoS::ExactlyOnce));
    assert_eq!(world.bench.recv_texts(watcher), ["2"]);
}

#[test]
fn time_goes_on_while_the_broker_is_down() {
    // [MQTT-3.1.3-9], [MQTT-3.3.2-5], [MQTT-3.3.2-6], [MQTT-4.1.0-2]
    let mut world = World::new();
    let delay = properties([Property::WillDelayInterval(50)]);
    let delayed = Will { properties: delay, ..will("will", "delayed") };
    for (name, expiry) in [("short", 30), ("long", 100)] {
        let (client, _) = world.bench.connect(Connect {
            will: Some(Will { topic: TopicName::try_from(name).unwrap(), ..delayed.clone() }),
            ..persistent(Version::V5, name, expiry)
        });
        world.bench.send(client, subscribe("a", QoS::AtLeastOnce));
        world.bench.cut(client);
    }
    let (connected, _) = world
        .bench
        .connect(Connect { will: Some(will("connected", "lost")), ..persistent(Version::V5, "connected", 10) });
    world.bench.send(connected, subscribe("b", QoS::AtLeastOnce));
    let publisher = world.bench.v5("p");
    for (id, seconds) in [(1, 20), (2, 60)] {
        let properties = properties([Property::MessageExpiryInterval(seconds)]);
        let delivery = with_id(QoS::AtLeastOnce, id, false);
        let publish =
            Publish { properties, delivery, retain: true, ..message("a", &seconds.to_string(), QoS::AtMostOnce) };
        world.bench.send(publisher, publish);
    }
    world.keep_all();
    // It is down for 40 seconds, and another process begins on another clock.
    world.bench.now = world.bench.now + 40 * SECOND;
    world.crash();
    world.keep_all();
    assert_eq!(world.bench.broker.stats().sessions, 2, "the short one is over");
    let watcher = world.bench.v5("watcher");
    world.bench.subscribe(watcher, "#", QoS::AtMostOnce);
    let retained = world.bench.recv_publish(watcher);
    assert_eq!((text(&retained), retained.properties.message_expiry_interval()), ("60", Some(20)));
    world.bench.sleep(9 * SECOND);
    world.bench.assert_silent(watcher);
    world.bench.sleep(SECOND);
    let late = world.bench.recv_publish(watcher);
    assert_eq!((late.topic.as_deref(), text(&late)), (Some("long"), "delayed"));
    assert_eq!(world.bench.broker.stats().sessions, 2 - 1 + 1, "the watcher came, the connected one expired");
    let (client, connack) = world.bench.connect(persistent(Version::V5, "long", 100));
    assert!(connack.session_present);
    let publish = world.bench.recv_publish(client);
    assert_eq!((text(&publish), publish.properties.message_expiry_interval()), ("60", Some(10)));
    world.bench.assert_silent(client);
}

#[test]
fn wills_do_not_need_sessions_that_last() {
    // [MQTT-3.1.2-7], [MQTT-3.1.2-8], [MQTT-3.1.2-10]; [3.1.1: MQTT-3.1.2-8]
    for version in VERSIONS {
        let mut world = World::new();
        let watched = persistent(Version::V5, "w", FOREVER);
        let (watcher, _) = world.bench.connect(watched.clone());
        world.bench.send(watcher, subscribe("will/+", QoS::AtLeastOnce));
        let clients = ["connected", "lost", "left"].map(|name| {
            let will = Will { qos: QoS::AtLeastOnce, ..will(&format!("will/{name}"), name) };
            world.bench.connect(Connect { will: Some(will), ..connect(version, name) }).0
        });
        world.bench.cut(clients[1]);
        world.bench.disconnect(clients[2], ReasonCode::Success);
        world.keep_all();
        for _ in 0..2 {
            world.crash();
            world.keep_all();
        }
        let (watcher, _) = world.bench.connect(watched);
        assert_eq!(world.bench.recv_texts(watcher), ["lost", "connected"]);
        assert_eq!(world.bench.disk.sessions(), 1, "the watcher's");
    }
}

#[test]
fn the_wills_of_those_who_were_connected_fire() {
    let mut world = World::new();
    let watched = persistent(Version::V5, "w", FOREVER);
    let (watcher, _) = world.bench.connect(watched.clone());
    world.bench.send(watcher, subscribe("will/+", QoS::AtLeastOnce));
    for (name, expiry) in [("lasting", 100), ("ending", 1)] {
        let will = Will { qos: QoS::AtLeastOnce, ..will(&format!("will/{name}"), name) };
        world.bench.connect(Connect { will: Some(will), ..persistent(Version::V5, name, expiry) });
    }
    world.keep_all();
    world.crash();
    world.keep_all();
    world.crash(); // once is enough
    let (watcher, _) = world.bench.connect(watched);
    let mut texts = world.bench.recv_texts(watcher);
    texts.sort();
    assert_eq!(texts, ["ending", "lasting"]);
}

#[test]
fn a_subscription_that_is_at_qos_0_by_now_still_owes_what_was_on_its_way() {
    let mut world = World::new();
    let (client, _) = world.bench.connect(persistent(Version::V5, "s", FOREVER));
    world.bench.send(client, subscribe("a", QoS::AtLeastOnce));
    let publisher = world.bench.v5("p");
    world.bench.send(publisher, message("a", "1", QoS::AtLeastOnce));
    world.bench.send(client, subscribe("a", QoS::AtMostOnce));
    world.bench.send(publisher, message("a", "2", QoS::AtLeastOnce));
    world.keep_all();
    world.crash();
    let (client, _) = world.bench.connect(persistent(Version::V5, "s", FOREVER));
    let publish = world.bench.recv_publish(client);
    assert_eq!((text(&publish), publish.delivery.qos()), ("1", QoS::AtLeastOnce));
    world.bench.assert_silent(client); // the second was sent at QoS 0, and that was that
    world.bench.acknowledge(client, &publish);
    world.keep_all();
    assert_eq!((world.bench.disk.entries(), world.bench.broker.stats().queued), (0, 0));
}

#[test]
fn a_subscription_that_is_at_qos_2_by_now_still_owes_at_qos_1() {
    let mut world = World::new();
    let client = join(&mut world);
    let publisher = world.bench.v5("p");
    for (n, qos) in [QoS::AtLeastOnce, QoS::ExactlyOnce].into_iter().enumerate() {
        world.bench.send(client, subscribe("a", qos));
        let delivery = with_id(QoS::ExactlyOnce, n as u16 + 1, false);
        let text = ["first", "second"][n];
        world.bench.send(publisher, Publish { delivery, ..message("a", text, QoS::AtMostOnce) });
        world.keep_all();
    }
    // Nothing is acknowledged.
    let qos = |world: &mut World, client| {
        let publishes = world.bench.recv_all(client).into_iter().filter_map(|packet| match packet {
            Packet::Publish(publish) => Some(publish.delivery.qos()),
            _ => None,
        });
        publishes.collect::<Vec<_>>()
    };
    let both = [QoS::AtLeastOnce, QoS::ExactlyOnce];
    assert_eq!(qos(&mut world, client), both);
    for _ in 0..2 {
        world.crash();
        let client = join(&mut world);
        assert_eq!(qos(&mut world, client), both, "as it went out first: nothing of the store speaks of QoS 2");
    }
}

#[test]
fn what_was_acknowledged_behind_a_loss_is_not_kept_for_ever() {
    for filter in ["a", "$share/g/a"] {
        let config = Config { sys_interval: Duration::ZERO, ..Config::default() };
        let config = Config { session: SessionLimits { max_queued_messages: 3, ..config.session }, ..config };
        let mut world = World { config: Arc::new(config), ..World::new() };
        world.crash(); // the broker gets its limit
        let (client, _) = world.bench.connect(persistent(Version::V5, "s", FOREVER));
        world.bench.send(client, subscribe(filter, QoS::AtLeastOnce));
        world.keep_all();
        world.bench.recv_all(client);
        for number in 0..3 {
            world.bench.inject("a", &number.to_string(), QoS::AtLeastOnce);
        }
        let first = world.bench.recv_publish(client);
        assert_eq!((text(&first), world.bench.take_texts(client).len()), ("0", 2), "the first is not acknowledged");
        world.bench.inject("a", "3", QoS::AtLeastOnce); // the first gives way
        assert_eq!(world.bench.take_texts(client), ["3"]);
        world.keep_all();
        world.crash();
        world.keep_all();
        let levels = (world.bench.disk.entries(), world.bench.broker.stats().queued);
        assert_eq!(levels, (0, 0), "{filter}");
    }
}

#[test]
fn deliveries_keep_their_order_when_identifiers_begin_anew() {
    // [MQTT-4.6.0-1]: the second restart finds a later message under a lower identifier.
    let mut world = World::new();
    let client = join(&mut world);
    world.bench.send(client, subscribe("a", QoS::ExactlyOnce));
    for text in ["1", "2"] {
        world.bench.inject("a", text, QoS::ExactlyOnce);
    }
    world.keep_all();
    world.bench.send(client, Packet::PubRec(ack(1)));
    world.bench.send(client, Packet::PubComp(ack(1)));
    world.keep_all();
    world.crash();
    let client = join(&mut world);
    assert_eq!(world.bench.recv_texts(client), ["2"]);
    world.bench.inject("a", "3", QoS::ExactlyOnce);
    world.keep_all();
    assert_eq!(id_of(&world.bench.recv_publish(client)), 1);
    world.crash();
    let client = join(&mut world);
    assert_eq!(world.bench.recv_texts(client), ["2", "3"]);
}

#[test]
fn a_group_keeps_its_messages_when_its_last_member_that_is_kept_leaves() {
    // [MQTT-2.2.1-4]: what the group still gives out at QoS 2 holds its identifier over a restart.
    let mut world = World::new();
    let client = join(&mut world);
    world.bench.send(client, subscribe("$share/g/a", QoS::ExactlyOnce));
    world.bench.cut(client);
    let passing = world.bench.v5("t");
    world.bench.subscribe(passing, "$share/g/a", QoS::AtLeastOnce);
    world.bench.inject("a", "1", QoS::ExactlyOnce);
    assert_eq!(world.bench.recv_texts(passing), ["1"]);
    let client = join(&mut world);
    world
        .bench
        .send(client, Unsubscribe { id: pid(78), filters: vec![filter("$share/g/a")], properties: Properties::new() });
    world.keep_all();
    assert_eq!(world.bench.disk.entries(), 1, "the group goes on");
    world.bench.send(client, subscribe("$share/g/a", QoS::ExactlyOnce));
    world.keep_all();
    world.bench.recv_all(client);
    world.bench.cut(passing);
    world.keep_all();
    assert_eq!(world.bench.recv_texts(client), ["1"]);
    world.crash();
    let client = join(&mut world);
    world.bench.inject("a", "2", QoS::ExactlyOnce);
    world.keep_all();
    let sent = [(); 2].map(|()| world.bench.recv_publish(client));
    assert_eq!(sent.each_ref().map(|publish| (text(publish), id_of(publish))), [("1", 1), ("2", 2)]);
    // The group ends with its last member, whoever that is, and so does its log.
    world
        .bench
        .send(client, Unsubscribe { id: pid(78), filters: vec![filter("$share/g/a")], properties: Properties::new() });
    for id in [1, 2] {
        world.bench.send(client, Packet::PubRec(ack(id)));
        world.bench.send(client, Packet::PubComp(ack(id)));
    }
    world.keep_all();
    assert_eq!((world.bench.disk.entries(), world.bench.disk.messages()), (0, 0));
}

#[test]
fn late_acknowledgments_do_not_hit_a_group_that_came_later() {
    // The first group's message is still on its way when the broker stops; the second has had none yet.
    let mut world = World::new();
    let leave = Unsubscribe { id: pid(78), filters: vec![filter("$share/g/a")], properties: Properties::new() };
    let client = join(&mut world);
    world.bench.send(client, subscribe("$share/g/a", QoS::ExactlyOnce));
    world.bench.inject("a", "old", QoS::ExactlyOnce);
    world.bench.send(client, leave);
    world.bench.send(client, subscribe("$share/g/a", QoS::ExactlyOnce));
    world.keep_all();
    world.crash();
    let client = join(&mut world);
    assert_eq!(world.bench.recv_texts(client), ["old"]);
    world.bench.inject("a", "new", QoS::AtLeastOnce);
    assert_eq!(world.bench.recv_texts(client), ["new"]);
    world.bench.send(client, Packet::PubRec(ack(1)));
    world.bench.send(client, Packet::PubComp(ack(1)));
    world.keep_all();
    assert_eq!((world.bench.disk.entries(), world.bench.broker.stats().dropped_queue_full), (1, 0));
    world.crash();
    let client = join(&mut world);
    assert_eq!(world.bench.recv_texts(client), ["new"]);
}
