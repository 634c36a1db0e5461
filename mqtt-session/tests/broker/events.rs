//! Events: what an embedder is told, and only that.
use crate::common::*;
use mqtt_session::broker::*;
use mqtt_session::proto::*;
use std::sync::Arc;

const NONE: EventMask =
    EventMask { connections: false, subscriptions: false, published: false, delivered: false, dropped: false };

fn bench(events: EventMask) -> Bench {
    Bench::with(|config| config.events = events)
}

/// Everything that has an event.
fn everything_happens(bench: &mut Bench) {
    let client = bench.open(connect(Version::V3_1, ""));
    assert!(bench.is_closed(client));
    let (publisher, subscriber) = (bench.v5("p"), bench.v5("s"));
    bench.subscribe(subscriber, "a", QoS::AtMostOnce);
    bench.publish(publisher, "a", "x", QoS::AtMostOnce);
    let unsubscribe = Unsubscribe { id: pid(1), filters: vec![filter("a")], properties: Properties::new() };
    bench.send(subscriber, unsubscribe);
    bench.cut(subscriber);
    let (small, _) = bench.connect(with(connect(Version::V5, "small"), [Property::MaximumPacketSize(30)]));
    bench.subscribe(small, "b", QoS::AtMostOnce);
    bench.publish(publisher, "b", &"x".repeat(50), QoS::AtMostOnce);
}

fn kind(event: &Event) -> &'static str {
    match event {
        Event::Connected { .. } | Event::Refused { .. } | Event::Disconnected { .. } => "connections",
        Event::Subscribed { .. } | Event::Unsubscribed { .. } => "subscriptions",
        Event::Published { .. } => "published",
        Event::Delivered { .. } => "delivered",
        Event::Dropped { .. } => "dropped",
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_mask_chooses() {
    for (mask, name, count) in [
        (EventMask { connections: true, ..NONE }, "connections", 5),
        (EventMask { subscriptions: true, ..NONE }, "subscriptions", 3),
        (EventMask { published: true, ..NONE }, "published", 2),
        (EventMask { delivered: true, ..NONE }, "delivered", 1),
        (EventMask { dropped: true, ..NONE }, "dropped", 1),
        (NONE, "", 0),
    ] {
        let mut bench = bench(mask);
        everything_happens(&mut bench);
        let kinds: Vec<&str> = bench.events.iter().map(kind).collect();
        assert_eq!(kinds, vec![name; count]);
    }
}

#[test]
fn connections_are_described() {
    let mut bench = Bench::with(|config| {
        config.authentication = Authentication::Request;
        config.connection.max_keep_alive = 60;
    });
    for version in VERSIONS {
        let first = Connect { keep_alive: 30, ..persistent(version, "c", 100) };
        let (client, _) = bench.connect_as(first.clone(), Some("name"), Grant::everything());
        let (again, _) = bench.connect_as(first, Some("name"), Grant::everything());
        let connected: Vec<_> = bench
            .events
            .drain(..)
            .filter_map(|event| match event {
                Event::Connected {
                    connection,
                    client_id,
                    peer,
                    identity,
                    version,
                    clean_start,
                    session_present,
                    keep_alive,
                } => {
                    assert_eq!((&*client_id, &*peer.address, identity.as_deref()), ("c", "test", Some("name")));
                    assert_eq!((clean_start, keep_alive), (false, 30));
                    Some((connection, version, session_present))
                }
                _ => None,
            })
            .collect();
        assert_eq!(connected, [(client.0, version, false), (again.0, version, true)]);
        let (last, _) = bench.connect_as(connect(Version::V5, "c"), Some("name"), Grant::everything());
        bench.cut(last);
        bench.events.clear();
    }
}

#[test]
fn each_end_has_its_reason() {
    let end = |act: fn(&mut Bench, Client)| {
        let mut bench = Bench::new();
        let client = bench.v5("c");
        bench.events.clear();
        act(&mut bench, client);
        let ends: Vec<_> = bench
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Disconnected { client_id, reason, .. } if &**client_id == "c" => Some(reason.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(ends.len(), 1, "once: {ends:?}");
        ends[0].clone()
    };
    assert_eq!(end(Bench::cut), DisconnectReason::Lost);
    let by_client = end(|bench, client| bench.disconnect(client, ReasonCode::Success));
    assert_eq!(by_client, DisconnectReason::Client(ReasonCode::Success));
    let with_will = end(|bench, client| bench.disconnect(client, ReasonCode::DisconnectWithWill));
    assert_eq!(with_will, DisconnectReason::Client(ReasonCode::DisconnectWithWill));
    let taken_over = end(|bench, _| {
        bench.v5("c");
    });
    assert!(matches!(taken_over, DisconnectReason::Server(ReasonCode::SessionTakenOver, _)));
    let wrong = end(|bench, client| bench.send_bytes(client, &[0x00, 0x00]));
    assert!(matches!(wrong, DisconnectReason::Server(ReasonCode::MalformedPacket, _)));
    let shutdown = end(|bench, _| {
        bench.broker.handle_shutdown(bench.now);
        bench.run();
    });
    assert!(matches!(shutdown, DisconnectReason::Server(ReasonCode::ServerShuttingDown, _)));
}

#[test]
fn refusals_name_the_client() {
    let mut bench = Bench::with(|config| config.connection.max_client_id_bytes = 3);
    bench.open(connect(Version::V5, "four"));
    match &bench.events[..] {
        [Event::Refused { client_id, peer, reason }] => {
            assert_eq!((&**client_id, &*peer.address), ("four", "test"));
            assert_eq!(*reason, ReasonCode::ClientIdentifierNotValid);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn subscriptions_are_told_as_granted() {
    let mut bench = Bench::with(|config| {
        config.events = EventMask { subscriptions: true, ..NONE };
        config.features.maximum_qos = QoS::AtLeastOnce;
    });
    let client = bench.v5("c");
    let filters = [("a", QoS::ExactlyOnce.into()), ("$share/g/b", QoS::AtMostOnce.into())];
    bench.try_subscribe(client, &filters, Properties::new());
    let filters = vec![filter("a"), filter("none"), filter("$share/g/b")];
    bench.send(client, Unsubscribe { id: pid(1), filters, properties: Properties::new() });
    bench.recv_all(client);
    let told: Vec<_> = bench
        .events
        .iter()
        .map(|event| match event {
            Event::Subscribed { client_id, filter, qos } => (&**client_id, &**filter, Some(*qos)),
            Event::Unsubscribed { client_id, filter } => (&**client_id, &**filter, None),
            other => panic!("{other:?}"),
        })
        .collect();
    let (one, zero) = (Some(QoS::AtLeastOnce), Some(QoS::AtMostOnce));
    let expected = [("c", "a", one), ("c", "$share/g/b", zero), ("c", "a", None), ("c", "$share/g/b", None)];
    assert_eq!(told, expected);
    // The end of a session is no event of its subscriptions.
    bench.events.clear();
    bench.subscribe(client, "a", QoS::AtMostOnce);
    bench.cut(client);
    assert_eq!(bench.events.len(), 1);
}

#[test]
fn published_names_publisher_and_message() {
    let mut bench = bench(EventMask { published: true, ..NONE });
    let client = bench.v5("c");
    bench.send(client, Publish { retain: true, ..message("a", "x", QoS::ExactlyOnce) });
    bench.send(client, Publish { retain: true, ..message("a", "x", QoS::ExactlyOnce) }); // the same again
    bench.broker.publish(bench.now, Message::new(TopicName::try_from("b").unwrap(), "inside"));
    bench.run();
    match &bench.events[..] {
        [
            Event::Published { client_id: Some(name), message },
            Event::Published { client_id: None, message: inside },
        ] => {
            assert_eq!((&**name, &*message.topic, &message.payload[..]), ("c", "a", &b"x"[..]));
            assert_eq!((message.qos, message.retain), (QoS::ExactlyOnce, true));
            assert_eq!(&inside.payload[..], b"inside");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn delivered_means_sent_at_qos_0_and_acknowledged_above() {
    for version in VERSIONS {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for subscriber in [connect(version, "s"), persistent(version, "s", 100)] {
                let mut bench = bench(EventMask { delivered: true, ..NONE });
                let publisher = bench.v5("p");
                let (subscriber, _) = bench.connect(subscriber);
                bench.subscribe(subscriber, "a", qos);
                bench.publish(publisher, "a", "x", qos);
                let publish = bench.recv_publish(subscriber);
                assert_eq!(bench.events.len(), usize::from(qos == QoS::AtMostOnce), "{version:?} {qos:?}");
                bench.acknowledge(subscriber, &publish);
                match &bench.events[..] {
                    [Event::Delivered { client_id, message }] => {
                        assert_eq!((&**client_id, &message.payload[..]), ("s", &b"x"[..]));
                    }
                    other => panic!("{version:?} {qos:?} {other:?}"),
                }
            }
        }
    }
}

#[test]
fn dropped_says_who_lost_how_many_and_why() {
    let mut bench = Bench::with(|config| {
        config.events = EventMask { dropped: true, ..NONE };
        config.session.max_queued_messages = 2;
    });
    let publisher = bench.v5("p");
    let (sleeper, _) = bench.connect(persistent(Version::V5, "sleeper", 100));
    bench.subscribe(sleeper, "a", QoS::AtLeastOnce);
    bench.cut(sleeper);
    for payload in ["1", "2", "3", "4", "5"] {
        bench.publish(publisher, "a", payload, QoS::AtLeastOnce);
    }
    let (sleeper, _) = bench.connect(persistent(Version::V5, "sleeper", 100));
    assert_eq!(bench.recv_texts(sleeper), ["4", "5"]);
    let name: Arc<str> = Arc::from("sleeper");
    match &bench.events[..] {
        // Three times the log, at once; the session, when it is back.
        [logs @ .., Event::Dropped { receiver, count: 3, reason: DropReason::QueueFull }] => {
            assert_eq!(*receiver, name);
            assert_eq!(logs.len(), 3);
            let of_log = |event: &Event| matches!(event, Event::Dropped { receiver, count: 1, reason: DropReason::LogFull } if &**receiver == "a");
            assert!(logs.iter().all(of_log), "{logs:?}");
        }
        other => panic!("{other:?}"),
    }
}
