//! `$SYS`: what the broker tells about itself.
use crate::common::*;
use mqtt_session::proto::*;
use std::collections::BTreeMap;
use std::time::Duration;

fn bench() -> Bench {
    Bench::with(|config| {
        config.sys_interval = Duration::from_secs(10);
        (config.id, config.version) = ("one".to_owned(), "1.2.3".to_owned());
    })
}

/// What a subscriber of `filter` gets at once, by topic below `$SYS/one/`.
fn values(bench: &mut Bench, client: Client, filter: &str) -> BTreeMap<String, String> {
    bench.recv_all(client);
    subscribe(bench, client, filter);
    received(bench, client)
}

/// Subscribes; what `$SYS` tells of that very subscription may precede SUBACK.
fn subscribe(bench: &mut Bench, client: Client, text: &str) {
    let filters = vec![(filter(text), QoS::AtMostOnce.into())];
    bench.send(client, Subscribe { id: pid(1), filters, properties: Properties::new() });
}

fn received(bench: &mut Bench, client: Client) -> BTreeMap<String, String> {
    let entries = bench.recv_all(client).into_iter().filter_map(|packet| match packet {
        Packet::Publish(publish) => {
            let topic = publish.topic.as_deref().unwrap().strip_prefix("$SYS/one/").unwrap();
            Some((topic.to_owned(), text(&publish).to_owned()))
        }
        Packet::SubAck(_) => None,
        other => panic!("{other:?}"),
    });
    entries.collect()
}

#[test]
fn all_documented_topics_are_there_from_the_start() {
    let mut bench = bench();
    let client = bench.v3("c");
    let values = values(&mut bench, client, "$SYS/#");
    let expected = [
        "version",
        "started_at",
        "uptime",
        "clients/connected",
        "clients/maximum",
        "clients/total",
        "clients/disconnected",
        "clients/expired",
        "sessions/count",
        "subscriptions/count",
        "retained messages/count",
        "messages/queued",
        "messages/queued/bytes",
        "messages/inflight",
        "messages/spilled",
        "messages/spilled/bytes",
        "messages/memory/bytes",
        "store/state",
        "store/failures",
        "store/loads",
        "store/loads/failed",
        "publish/received",
        "publish/sent",
        "packets/received",
        "packets/sent",
        "bytes/received",
        "bytes/sent",
        "publish/dropped",
        "publish/refused",
        "load/connections/1min",
        "load/connections/5min",
        "load/connections/15min",
        "load/publish/received/1min",
        "load/publish/received/5min",
        "load/publish/received/15min",
        "load/publish/sent/1min",
        "load/publish/sent/5min",
        "load/publish/sent/15min",
    ];
    let retained: Vec<&str> = values.keys().map(String::as_str).filter(|topic| !topic.starts_with("new/")).collect();
    let mut sorted = expected.to_vec();
    sorted.sort_unstable();
    assert_eq!(retained, sorted);
    assert_eq!(values["version"], "1.2.3");
    assert_eq!(values["started_at"], "1800000000000");
    assert_eq!(values["uptime"], "0");
}

#[test]
fn values_are_renewed_when_they_have_changed() {
    let mut bench = bench();
    let client = bench.v5("c");
    let (sleeper, _) = bench.connect(persistent(Version::V5, "sleeper", 15));
    bench.subscribe(sleeper, "a", QoS::AtLeastOnce);
    bench.publish(client, "a", "x", QoS::AtLeastOnce);
    bench.cut(sleeper);
    bench.publish(client, "a", "y", QoS::AtLeastOnce);
    bench.publish(client, "a", "z", QoS::AtLeastOnce);
    values(&mut bench, client, "$SYS/#");
    bench.sleep(Duration::from_secs(10));
    let first = received(&mut bench, client);
    for (topic, value) in [
        ("uptime", "10"),
        ("clients/connected", "1"),
        ("clients/maximum", "2"),
        ("clients/total", "2"),
        ("clients/disconnected", "1"),
        ("sessions/count", "2"),
        ("subscriptions/count", "2"),
        ("messages/queued", "3"),
        ("messages/inflight", "1"),
        ("publish/received", "3"),
    ] {
        assert_eq!(first.get(topic).map(String::as_str), Some(value), "{topic}");
    }
    assert!(!first.contains_key("version"), "it has not changed");
    // Three in ten seconds are 18 a minute, of which the average of a minute takes a seventh.
    assert_eq!(first["load/publish/received/1min"], "2.57");
    assert!(first["messages/queued/bytes"].parse::<u64>().unwrap() > 0);
    assert!(first["bytes/received"].parse::<u64>().unwrap() > 0);
    bench.sleep(Duration::from_secs(10));
    let second = received(&mut bench, client);
    assert_eq!((&*second["uptime"], &*second["clients/expired"]), ("20", "1"));
    assert_eq!((&*second["messages/queued"], &*second["messages/inflight"]), ("0", "0"));
    assert!(!second.contains_key("publish/received"));
}

#[test]
fn memory_is_told_once_somebody_knows_it() {
    let mut bench = bench();
    let client = bench.v5("c");
    assert!(!values(&mut bench, client, "$SYS/#").contains_key("memory"));
    bench.broker.set_process_memory(12_345);
    bench.sleep(Duration::from_secs(10));
    assert_eq!(received(&mut bench, client)["memory"], "12345");
}

/// Of each interval the average of so many minutes takes x / (1 + x), where x is the interval's part of them.
#[test]
fn averages_decay() {
    let mut bench = bench();
    let publisher = bench.v5("p");
    let subscriber = bench.v5("s");
    subscribe(&mut bench, subscriber, "b");
    // Connections, messages received and messages sent, in each interval of ten seconds.
    let mut averages = [[0.0; 3]; 3];
    for (round, count) in [6, 0, 2, 2].into_iter().enumerate() {
        for number in 0..count {
            bench.publish(publisher, "b", "x", QoS::AtLeastOnce);
            bench.publish(publisher, "nobody", "x", QoS::AtLeastOnce);
            bench.v5(&format!("{round}/{number}"));
        }
        bench.sleep(Duration::from_secs(10));
        let connected = count + if round == 0 { 2 } else { 0 };
        for (row, happened) in averages.iter_mut().zip([connected, 2 * count, count]) {
            for (average, minutes) in row.iter_mut().zip([1.0, 5.0, 15.0]) {
                let part = 1.0 / 6.0 / minutes;
                *average = (*average + f64::from(happened) * 6.0 * part) / (1.0 + part);
            }
        }
    }
    // Looking is a message, too, and comes last.
    let told = values(&mut bench, publisher, "$SYS/one/load/#");
    for (name, row) in ["connections", "publish/received", "publish/sent"].into_iter().zip(averages) {
        for (minutes, average) in [1, 5, 15].into_iter().zip(row) {
            let topic = format!("load/{name}/{minutes}min");
            assert_eq!(told[&topic], format!("{average:.2}"), "{topic}");
        }
    }
}

#[test]
fn what_happens_is_told_as_it_happens() {
    for told in [true, false] {
        // Whether the embedder wants events makes no difference.
        let mut bench = Bench::with(|config| {
            (config.sys_interval, config.id) = (Duration::from_secs(10), "one".to_owned());
            (config.events.connections, config.events.subscriptions) = (told, told);
        });
        let watcher = bench.v5("w");
        for topic in ["new/clients", "disconnect/clients", "new/subscribes", "new/unsubscribes"] {
            subscribe(&mut bench, watcher, &format!("$SYS/one/{topic}"));
        }
        bench.recv_all(watcher);
        let client = bench.v3("c");
        bench.subscribe(client, "a/+", QoS::AtMostOnce);
        bench.send(client, Unsubscribe { id: pid(1), filters: vec![filter("a/+")], properties: Properties::new() });
        bench.cut(client);
        let expected = [
            ("disconnect/clients", "c"),
            ("new/clients", "c"),
            ("new/subscribes", "c\ta/+"),
            ("new/unsubscribes", "c\ta/+"),
        ];
        let expected: BTreeMap<_, _> = expected.map(|(topic, text)| (topic.to_owned(), text.to_owned())).into();
        assert_eq!(received(&mut bench, watcher), expected);
        assert_eq!(bench.events.is_empty(), !told);
        // They are not retained.
        let late = bench.v5("late");
        assert!(!values(&mut bench, late, "$SYS/one/disconnect/clients").contains_key("disconnect/clients"));
    }
}

#[test]
fn a_connection_does_not_hear_of_its_own_end() {
    // [MQTT-3.14.4-1]: nothing follows DISCONNECT
    let mut bench = bench();
    let client = bench.v5("c");
    bench.subscribe(client, "$SYS/one/disconnect/clients", QoS::AtMostOnce);
    bench.recv_all(client);
    bench.v5("c");
    assert_eq!(bench.disconnect_reason(client), Some(ReasonCode::SessionTakenOver));
}

#[test]
fn wildcards_at_the_start_do_not_match_it() {
    // [MQTT-4.7.2-1], [3.1.1: MQTT-4.7.2-1]
    let mut bench = bench();
    for text in ["#", "+/one/uptime", "+/#", "+/+/version"] {
        let client = bench.v5("c");
        bench.subscribe(client, text, QoS::AtMostOnce);
        bench.sleep(Duration::from_secs(10));
        bench.assert_silent(client);
    }
    let client = bench.v5("c");
    assert_eq!(values(&mut bench, client, "$SYS/+/version").len(), 1);
}

#[test]
fn clients_do_not_write_it() {
    let mut bench = bench();
    let (watcher, client) = (bench.v5("w"), bench.v5("c"));
    values(&mut bench, watcher, "$SYS/#");
    for topic in ["$SYS/one/version", "$SYS/other", "$SYS"] {
        bench.send(client, Publish { retain: true, ..message(topic, "forged", QoS::AtLeastOnce) });
        assert_eq!(bench.recv(client), Some(Packet::PubAck(Ack { reason: ReasonCode::NotAuthorized, ..ack(10) })));
    }
    bench.assert_silent(watcher);
    assert_eq!(values(&mut bench, client, "$SYS/one/version")["version"], "1.2.3");
}

#[test]
fn it_can_be_turned_off() {
    let mut bench = Bench::new();
    let client = bench.v5("c");
    bench.subscribe(client, "$SYS/#", QoS::AtMostOnce);
    let other = bench.v5("d");
    bench.cut(other);
    assert_eq!(bench.broker.poll_timeout(), None);
    bench.sleep(Duration::from_secs(1000));
    bench.assert_silent(client);
    assert_eq!(bench.broker.stats().retained, 0);
}
