//! Sessions: offline mode, takeover, expiry, redelivery, restore (sections 3.1.2 and 4.1, 4.4).
use crate::world::*;
use mqtt_session::client::{Client, ClientConfig, DisconnectReason, Event, Outcome};
use mqtt_session::proto::*;
use std::time::Duration;

#[test]
fn offline_mode_in_three_steps() {
    for version in VERSIONS {
        let mut world = World::new();
        let subscriber = world.join(lasting(version, "s"));
        world.subscribe(subscriber, "mqtt/+", QoS::AtLeastOnce);
        end(&mut world, subscriber);
        let publisher = world.join(config(Version::V5, "p"));
        for n in 0..5 {
            world.publish(publisher, "mqtt/demo", &n.to_string(), QoS::ExactlyOnce);
        }
        assert_eq!(world.broker().broker.stats().queued, 5);
        world.connect(subscriber);
        if version != Version::V3_1 {
            assert!(world.connected(subscriber).session_present); // [MQTT-3.2.2-3]
        }
        assert_eq!(world.texts(subscriber), ["0", "1", "2", "3", "4"]);
        let stats = world.broker().broker.stats();
        assert_eq!((stats.queued, stats.inflight), (0, 0));
    }
}

fn end(world: &mut World, client: C) {
    let now = world.now;
    let disconnect = Disconnect { reason: ReasonCode::Success, properties: Properties::new() };
    world.machine(client).disconnect(now, &disconnect).unwrap();
    world.run();
}

#[test]
fn a_cut_in_any_flow_loses_and_doubles_nothing() {
    // [MQTT-4.3.2-3], [MQTT-4.3.3-7], [MQTT-4.4.0-1]: manual acknowledgments keep messages on their way while the wire is cut
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut world = World::new();
        let publisher = world.join(lasting(Version::V5, "p"));
        let subscriber = world.join(ClientConfig { manual_acks: true, ..lasting(Version::V5, "s") });
        world.subscribe(subscriber, "t", qos);
        let first = world.publish(publisher, "t", "first", qos);
        let now = world.now;
        let received = world.machine(subscriber).poll_message(now).expect("the first message");
        assert!(!received.dup);
        world.cut(subscriber);
        world.cut(publisher);
        let second = world.publish(publisher, "t", "second", qos);
        assert_eq!(world.settled(publisher, second), None, "it waits for the connection");
        world.sleep(Duration::from_secs(5));
        assert!(world.machine(subscriber).is_connected() && world.machine(publisher).is_connected());
        let now = world.now;
        let mut texts = Vec::new();
        while let Some(message) = world.machine(subscriber).poll_message(now) {
            if qos == QoS::AtLeastOnce {
                assert_eq!(message.dup, message.payload == "first"); // [MQTT-3.3.1-1]
            }
            texts.push(String::from_utf8(message.payload.to_vec()).unwrap());
            let ack = message.ack.expect("manual acknowledgments");
            world.machine(subscriber).acknowledge(now, ack, ReasonCode::Success);
            world.run();
        }
        match qos {
            QoS::AtLeastOnce => assert_eq!(texts, ["first", "second"]),
            _ => assert_eq!(texts, ["second"], "the first was handed out before"),
        }
        if let Some(ack) = received.ack {
            world.machine(subscriber).acknowledge(now, ack, ReasonCode::Success);
            world.run();
        }
        for token in [first, second] {
            assert!(matches!(world.settled(publisher, token), Some(Ok(Outcome::Acknowledged(_)))));
        }
        assert_eq!(world.broker().broker.stats().inflight, 0, "{qos:?}");
    }
}

#[test]
fn the_second_connection_takes_over() {
    // [MQTT-3.1.4-3]
    for version in VERSIONS {
        let mut world = World::new();
        let first = world.join(ClientConfig { reconnect: None, ..lasting(version, "same") });
        world.subscribe(first, "t", QoS::AtLeastOnce);
        let second = world.join(lasting(version, "same"));
        let reason = world.disconnected(first);
        match (version, reason) {
            (Version::V5, DisconnectReason::ByServer(packet)) => {
                assert_eq!(packet.reason, ReasonCode::SessionTakenOver);
            }
            (_, reason) => assert_eq!(reason, DisconnectReason::TransportLost),
        }
        let publisher = world.join(config(version, "p"));
        world.publish(publisher, "t", "for the second", QoS::AtLeastOnce);
        assert_eq!(world.texts(second), ["for the second"]);
        assert!(world.messages(first).is_empty());
    }
}

#[test]
fn a_session_ends_at_its_expiry() {
    // [MQTT-3.1.2-23]
    for (away, present) in [(59, true), (61, false)] {
        let mut world = World::new();
        let client = world.join(ClientConfig { session_expiry: 60, ..lasting(Version::V5, "c") });
        world.subscribe(client, "t", QoS::AtLeastOnce);
        end(&mut world, client);
        let publisher = world.join(config(Version::V5, "p"));
        world.publish(publisher, "t", "waiting", QoS::AtLeastOnce);
        world.sleep(Duration::from_secs(away));
        world.connect(client);
        assert_eq!(world.connected(client).session_present, present);
        assert_eq!(world.texts(client).len(), usize::from(present));
        // Desired subscriptions are made again where the server lost them.
        world.publish(publisher, "t", "live", QoS::AtLeastOnce);
        assert_eq!(world.texts(client), ["live"]);
    }
}

#[test]
fn the_servers_limit_on_expiry_wins() {
    let mut world = World::with(|config| config.session.max_expiry = 100);
    let client = world.join(lasting(Version::V5, "c"));
    assert_eq!(world.connected(client).server_limits.session_expiry, 100);
}

#[test]
fn an_exported_session_goes_on_in_another_machine() {
    // [MQTT-4.1.0-1]: the application is killed between PUBLISH and its acknowledgment
    let mut world = World::new();
    let config = lasting(Version::V5, "c");
    let client = world.join(config.clone());
    world.subscribe(client, "in", QoS::ExactlyOnce);
    world.brokers[0].up = false;
    world.cut(client);
    let token = world.publish(client, "out", "kept", QoS::ExactlyOnce);
    let state = world.machine(client).export(mqtt_session::Instant::ZERO);
    world.brokers[0].up = true;
    let observer = world.join(ClientConfig { client_id: ClientId::try_from("o").unwrap(), ..config.clone() });
    world.subscribe(observer, "out", QoS::ExactlyOnce);
    world.publish(observer, "in", "while away", QoS::ExactlyOnce);
    let now = world.now;
    let machine = Client::restore(config, state, [9; 32], now).unwrap();
    end(&mut world, client);
    let restored = world.add(machine);
    world.connect(restored);
    assert!(world.connected(restored).session_present);
    assert_eq!(world.texts(restored), ["while away"]);
    assert_eq!(world.texts(observer), ["kept"]);
    assert!(matches!(world.settled(restored, token), Some(Ok(Outcome::Acknowledged(_)))));
}

#[test]
fn clients_fail_over_to_the_next_server() {
    let mut world = World::many(2, |_| {});
    let client = world.join(ClientConfig { servers: 2, ..config(Version::V5, "c") });
    world.subscribe(client, "t", QoS::AtLeastOnce);
    assert_eq!(world.connected(client).server, 0);
    world.brokers[0].up = false;
    world.cut(client);
    world.sleep(Duration::from_secs(5));
    assert_eq!(world.connected(client).server, 1);
    // The other server knows nothing: the client subscribes again by itself.
    world.publish(client, "t", "x", QoS::AtLeastOnce);
    assert_eq!(world.texts(client), ["x"]);
    assert_eq!(world.brokers[1].broker.stats().subscriptions, 1);
}

#[test]
fn a_silent_client_is_disconnected_and_its_will_published() {
    // [MQTT-3.1.2-22], [MQTT-3.1.2-8]
    let mut world = World::new();
    let observer = world.join(ClientConfig { keep_alive: 0, ..config(Version::V5, "o") });
    world.subscribe(observer, "wills/#", QoS::AtLeastOnce);
    let will = Will {
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: TopicName::try_from("wills/c").unwrap(),
        payload: "gone".into(),
        properties: properties([Property::WillDelayInterval(20)]),
    };
    let client = world.join(ClientConfig { will: Some(will), ..lasting(Version::V5, "c") });
    world.brokers[0].up = false;
    world.cut(client);
    world.sleep(Duration::from_secs(19));
    assert!(world.texts(observer).is_empty(), "the delay has not passed [MQTT-3.1.3-9]");
    world.sleep(Duration::from_secs(2));
    assert_eq!(world.texts(observer), ["gone"]);
    world.brokers[0].up = true;
    world.sleep(Duration::from_mins(1));
    world.cut(client);
    world.sleep(Duration::from_mins(5));
    assert!(world.texts(observer).is_empty(), "the client was back in time");
    // Keep alive works for both: pings went on all the while.
    assert!(world.machine(client).is_connected());
    let pings = world.take_events(client).iter().filter(|event| matches!(event, Event::Disconnected { .. })).count();
    assert!(pings >= 2, "only the cuts and the attempts while the server was down: {pings}");
}

#[test]
fn messages_that_nobody_takes_do_not_keep_connack_away() {
    let mut world = World::new();
    let client = world.join(ClientConfig { max_incoming: 1, ..lasting(Version::V5, "c") });
    world.subscribe(client, "t", QoS::AtLeastOnce);
    let publisher = world.join(config(Version::V5, "p"));
    for n in 0..3 {
        world.publish(publisher, "t", &n.to_string(), QoS::AtLeastOnce);
    }
    world.cut(client); // with a message in hand
    world.sleep(Duration::from_mins(1));
    assert!(world.machine(client).is_connected());
    assert_eq!(world.texts(client).last().map(String::as_str), Some("2"));
}
