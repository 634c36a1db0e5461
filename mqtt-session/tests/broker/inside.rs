//! The embedder's own publishes and subscriptions.
use crate::common::*;
use mqtt_session::broker::*;
use mqtt_session::proto::*;
use std::time::Duration;

fn name(text: &str) -> TopicName {
    TopicName::try_from(text).unwrap()
}

fn publish(bench: &mut Bench, message: Message) {
    bench.broker.publish(bench.now, message);
    bench.run();
}

fn subscribe(bench: &mut Bench, text: &str, options: impl Into<SubscriptionOptions>) -> Option<LocalId> {
    let id = bench.broker.subscribe(bench.now, &filter(text), options.into());
    bench.run();
    id
}

/// What came to the inside: subscription, payload, retained.
fn messages(bench: &mut Bench) -> Vec<(LocalId, String, bool)> {
    let text = |payload: &[u8]| String::from_utf8(payload.to_vec()).unwrap();
    bench.messages.drain(..).map(|(id, message, retained)| (id, text(&message.payload), retained)).collect()
}

#[test]
fn publishes_from_inside_reach_clients_of_each_kind() {
    for version in VERSIONS {
        let mut bench = Bench::new();
        let (live, _) = bench.connect(connect(version, "live"));
        let (durable, _) = bench.connect(persistent(version, "durable", 100));
        let (member, _) = bench.connect(connect(version, "member"));
        for client in [live, durable] {
            bench.subscribe(client, "a/+", QoS::ExactlyOnce);
        }
        bench.subscribe(member, "$share/g/a/b", QoS::AtLeastOnce);
        publish(&mut bench, Message { qos: QoS::AtLeastOnce, ..Message::new(name("a/b"), "x") });
        for client in [live, durable, member] {
            let received = bench.recv_publish(client);
            assert_eq!((text(&received), received.delivery.qos()), ("x", QoS::AtLeastOnce));
        }
    }
}

#[test]
fn publishes_from_inside_may_go_anywhere() {
    let mut bench = Bench::new();
    let client = bench.v5("c");
    bench.subscribe(client, "$SYS/#", QoS::AtMostOnce);
    publish(&mut bench, Message::new(name("$SYS/mine"), "x"));
    assert_eq!(bench.recv_texts(client), ["x"]);
}

#[test]
fn properties_and_expiry_go_with_the_message() {
    let mut bench = Bench::new();
    let client = bench.v5("c");
    let properties = properties([Property::ContentType("text/plain"), Property::UserProperty("k", "v")]);
    let expires_at = Some(bench.now + Duration::from_mins(1));
    let message = Message { retain: true, properties, expires_at, ..Message::new(name("a"), "x") };
    publish(&mut bench, message);
    bench.sleep(Duration::from_secs(20));
    bench.subscribe(client, "a", QoS::AtMostOnce);
    let received = bench.recv_publish(client);
    assert_eq!(received.properties.content_type(), Some("text/plain"));
    assert_eq!(received.properties.user_properties().collect::<Vec<_>>(), [("k", "v")]);
    assert_eq!(received.properties.message_expiry_interval(), Some(40)); // [MQTT-3.3.2-6]
    bench.sleep(Duration::from_secs(40));
    assert_eq!(bench.broker.stats().retained, 0);
}

#[test]
fn the_publisher_named_by_the_inside_is_spared_by_no_local() {
    // [MQTT-3.8.3-3]
    let mut bench = Bench::new();
    let client = bench.v5("c");
    bench.subscribe(client, "a", SubscriptionOptions { no_local: true, ..QoS::AtMostOnce.into() });
    publish(&mut bench, Message { publisher: Some("c".into()), ..Message::new(name("a"), "own") });
    publish(&mut bench, Message { publisher: Some("d".into()), ..Message::new(name("a"), "other") });
    publish(&mut bench, Message::new(name("a"), "inside"));
    assert_eq!(bench.recv_texts(client), ["other", "inside"]);
}

#[test]
fn subscriptions_from_inside_get_every_match() {
    let mut bench = Bench::new();
    let client = bench.v3("c");
    let wide = subscribe(&mut bench, "a/#", QoS::AtMostOnce).unwrap();
    let exact = subscribe(&mut bench, "a/b", QoS::AtMostOnce).unwrap();
    bench.publish(client, "a/b", "1", QoS::ExactlyOnce);
    bench.publish(client, "b", "not this", QoS::AtMostOnce);
    publish(&mut bench, Message::new(name("a"), "2"));
    let mut got = messages(&mut bench);
    got.sort();
    let mut expected =
        vec![(wide, "1".to_owned(), false), (exact, "1".to_owned(), false), (wide, "2".to_owned(), false)];
    expected.sort();
    assert_eq!(got, expected);
    assert!(bench.broker.unsubscribe(wide));
    assert!(!bench.broker.unsubscribe(wide), "it is gone");
    bench.publish(client, "a/b", "3", QoS::AtMostOnce);
    assert_eq!(messages(&mut bench), [(exact, "3".to_owned(), false)]);
    assert!(bench.broker.unsubscribe(exact));
    bench.publish(client, "a/b", "4", QoS::AtMostOnce);
    assert_eq!(messages(&mut bench), []);
    assert_eq!(subscribe(&mut bench, "$share/g/a", QoS::AtMostOnce), None);
}

#[test]
fn an_old_identifier_does_not_end_a_new_subscription() {
    let mut bench = Bench::new();
    let old = subscribe(&mut bench, "a", QoS::AtMostOnce).unwrap();
    assert!(bench.broker.unsubscribe(old));
    let new = subscribe(&mut bench, "b", QoS::AtMostOnce).unwrap();
    assert!(!bench.broker.unsubscribe(old));
    publish(&mut bench, Message::new(name("b"), "x"));
    assert_eq!(messages(&mut bench), [(new, "x".to_owned(), false)]);
}

#[test]
fn retained_messages_come_first_if_wanted() {
    let mut bench = Bench::new();
    let client = bench.v5("c");
    bench.retain(client, "a/1", "one");
    bench.retain(client, "a/2", "two");
    bench.retain(client, "b", "other");
    let id = subscribe(&mut bench, "a/+", QoS::AtMostOnce).unwrap();
    let mut got = messages(&mut bench);
    got.sort();
    assert_eq!(got, [(id, "one".to_owned(), true), (id, "two".to_owned(), true)]);
    let options = SubscriptionOptions { retain_handling: RetainHandling::DoNotSend, ..QoS::AtMostOnce.into() };
    subscribe(&mut bench, "a/+", options).unwrap();
    assert_eq!(messages(&mut bench), []);
}

#[test]
fn the_inside_retains_and_clears() {
    let mut bench = Bench::with(|config| config.max_retained_messages = 1);
    publish(&mut bench, Message { retain: true, ..Message::new(name("a"), "x") });
    assert_eq!(bench.broker.stats().retained, 1);
    // One too many is passed on alone.
    let id = subscribe(&mut bench, "b", QoS::AtMostOnce).unwrap();
    publish(&mut bench, Message { retain: true, ..Message::new(name("b"), "y") });
    assert_eq!(messages(&mut bench), [(id, "y".to_owned(), false)]);
    assert_eq!(bench.broker.stats().retained, 1);
    publish(&mut bench, Message { retain: true, ..Message::new(name("a"), "") });
    assert_eq!(bench.broker.stats().retained, 0);
}
