//! The examples of sections 4.7 and 4.8.2, as clients of each version meet them.
use crate::common::*;
use mqtt_session::proto::*;

/// Filter, topic, and whether the message arrives (sections 4.7.1.2, 4.7.1.3, 4.7.2 and 4.7.3).
const MATCHES: &[(&str, &str, bool)] = &[
    ("sport/tennis/player1/#", "sport/tennis/player1", true),
    ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
    ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
    ("sport/#", "sport", true),
    ("#", "sport/tennis/player1", true),
    ("#", "/", true),
    ("sport/tennis/#", "sport/tennis/player1", true),
    ("sport/tennis/+", "sport/tennis/player1", true),
    ("sport/tennis/+", "sport/tennis/player2", true),
    ("sport/tennis/+", "sport/tennis/player1/ranking", false),
    ("sport/+", "sport", false),
    ("sport/+", "sport/", true),
    ("+", "sport", true),
    ("+/tennis/#", "sport/tennis/player1", true),
    ("+/tennis/#", "sport/golf/player1", false),
    ("sport/+/player1", "sport/tennis/player1", true),
    ("sport/+/player1", "sport/tennis/player2", false),
    ("+/+", "/finance", true),
    ("/+", "/finance", true),
    ("+", "/finance", false),
    ("ACCOUNTS", "ACCOUNTS", true),
    ("ACCOUNTS", "Accounts", false),
    ("Accounts payable", "Accounts payable", true),
    ("/finance", "/finance", true),
    ("/finance", "finance", false),
    ("finance", "/finance", false),
    ("/", "/", true),
];

#[test]
fn a_message_arrives_where_the_filter_matches() {
    // [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.3-4]; [3.1.1: MQTT-4.7.1-2], [3.1.1: MQTT-4.7.1-3], [3.1.1: MQTT-4.7.3-4]
    for version in VERSIONS {
        let mut bench = Bench::new();
        let (publisher, subscriber) = (bench.v3("p"), bench.connect(connect(version, "s")).0);
        for (filter, topic, arrives) in MATCHES {
            bench.subscribe(subscriber, filter, QoS::AtMostOnce);
            bench.publish(publisher, topic, "x", QoS::AtMostOnce);
            let topics: Vec<_> = bench.take(subscriber).into_iter().map(|publish| publish.topic.unwrap()).collect();
            assert_eq!(topics == [*topic], *arrives, "{version:?}: {filter} on {topic}: {topics:?}");
            assert!(*arrives || topics.is_empty());
            bench.unsubscribe(subscriber, &[filter]);
            // A retained message is found by the same rule.
            bench.retain(publisher, topic, "kept");
            bench.subscribe(subscriber, filter, QoS::AtMostOnce);
            assert_eq!(bench.take_texts(subscriber).len(), usize::from(*arrives), "retained: {filter} on {topic}");
            bench.unsubscribe(subscriber, &[filter]);
            bench.retain(publisher, topic, "");
        }
    }
}

#[test]
fn topics_of_the_server_arrive_where_they_are_named() {
    // [MQTT-4.7.2-1], [3.1.1: MQTT-4.7.2-1]
    for version in VERSIONS {
        let mut bench = Bench::new();
        for (filters, topics) in [
            (&["#"][..], &["sport"][..]),
            (&["+/monitor/Clients"], &[]),
            (&["$SYS/#"], &["$SYS/monitor/Clients"]),
            (&["$SYS/monitor/+"], &["$SYS/monitor/Clients"]),
            (&["#", "$SYS/#"], &["$SYS/monitor/Clients", "sport"]),
        ] {
            let (subscriber, _) = bench.connect(connect(version, "s"));
            for filter in filters {
                bench.subscribe(subscriber, filter, QoS::AtMostOnce);
            }
            for topic in ["$SYS/monitor/Clients", "sport"] {
                bench.inject(topic, "x", QoS::AtMostOnce);
            }
            let got: Vec<_> = bench.take(subscriber).into_iter().map(|publish| publish.topic.unwrap()).collect();
            assert!(got.iter().map(|topic| &**topic).eq(topics.iter().copied()), "{version:?} {filters:?}: {got:?}");
        }
    }
}

#[test]
fn filters_that_are_not_valid_end_the_connection() {
    // [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.8.2-1], [MQTT-4.8.2-2]; [3.1.1: MQTT-4.7.1-2], [3.1.1: MQTT-4.7.1-3]
    let everywhere = ["sport/tennis#", "sport/tennis/#/ranking", "sport+"].map(|filter| (filter, &VERSIONS[..]));
    // The ShareName is empty or has a wildcard, or no filter follows it.
    let shared =
        ["$share//finance", "$share/con+sumer/a", "$share/consumer#/a", "$share/consumer1", "$share/consumer1/"]
            .map(|filter| (filter, &VERSIONS[2..]));
    for (filter, versions) in everywhere.into_iter().chain(shared) {
        for version in versions {
            let mut bench = Bench::new();
            let (client, _) = bench.connect(connect(*version, "c"));
            let mut body = vec![0, 1];
            if version.is_v5() {
                body.push(0);
            }
            body.extend_from_slice(&[0, filter.len() as u8]);
            body.extend_from_slice(filter.as_bytes());
            body.push(0);
            let packet = [&[0x82, body.len() as u8][..], &body].concat();
            bench.send_bytes(client, &packet);
            assert!(bench.is_closed(client), "{version:?}: {filter}");
        }
    }
}

#[test]
fn shared_subscriptions_are_distinct_by_name_and_filter() {
    // [MQTT-4.8.2-1], [MQTT-4.8.2-2]
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    bench.retain(publisher, "sport/tennis/player1", "retained");
    let subscribers = [
        ("$share/consumer1/sport/tennis/+", 2),
        ("$share/consumer2/sport/tennis/+", 2),
        ("$share/consumer1//finance", 2),
        ("sport/tennis/+", 2),
        ("/finance", 1),
    ];
    let groups = subscribers.map(|(filter, count)| {
        let clients: Vec<Client> = (0..count).map(|number| bench.v5(&format!("{filter} {number}"))).collect();
        for client in &clients {
            bench.subscribe(*client, filter, QoS::AtMostOnce);
            // Retained messages are sent for a subscription of one's own alone, to the first member as to the others.
            assert_eq!(bench.take_texts(*client).len(), usize::from(filter == "sport/tennis/+"), "{filter}");
        }
        clients
    });
    // Copies that the clients of each line get together.
    for (topic, copies) in
        [("sport/tennis/player2", [1, 1, 0, 2, 0]), ("/finance", [0, 0, 1, 0, 1]), ("finance", [0, 0, 0, 0, 0])]
    {
        for _ in 0..4 {
            bench.publish(publisher, topic, "x", QoS::AtMostOnce);
            let got: [usize; 5] =
                groups.each_ref().map(|clients| clients.iter().map(|client| bench.take(*client).len()).sum());
            assert_eq!(got, copies, "{topic}");
        }
    }
    // It is left by its full name alone, and stays as long as somebody is in it.
    let members = &groups[0];
    assert_eq!(bench.unsubscribe(members[0], &["sport/tennis/+"]), [ReasonCode::NoSubscriptionExisted]);
    assert_eq!(bench.unsubscribe(members[0], &["$share/consumer1/sport/tennis/+"]), [ReasonCode::Success]);
    bench.publish(publisher, "sport/tennis/player2", "x", QoS::AtMostOnce);
    assert_eq!((bench.take(members[0]).len(), bench.take(members[1]).len()), (0, 1));
}
