//! Messages both ways: QoS, windows, retained, aliases, expiry, sizes, properties (sections 3.3 and 4.3 to 4.9).
use crate::world::*;
use mqtt_session::client::{AliasPolicy, ClientConfig, Failure, Outcome, SubscribeOptions};
use mqtt_session::proto::*;
use std::time::Duration;

#[test]
fn every_qos_between_every_pair_of_versions() {
    for (from, to) in VERSIONS.into_iter().flat_map(|from| VERSIONS.map(|to| (from, to))) {
        for (published, subscribed) in QOS.into_iter().flat_map(|qos| QOS.map(|other| (qos, other))) {
            let mut world = World::new();
            let (publisher, subscriber) = (world.join(config(from, "publisher")), world.join(config(to, "subscriber")));
            world.subscribe(subscriber, "mqtt/+", subscribed);
            let token = world.publish(publisher, "mqtt/demo", "hello world!", published);
            let outcome = world.settled(publisher, token).expect("settled").expect("accepted");
            let expected =
                if published == QoS::AtMostOnce { Outcome::Sent } else { Outcome::Acknowledged(ReasonCode::Success) };
            assert_eq!(outcome, expected);
            let messages = world.messages(subscriber);
            assert_eq!(messages.len(), 1);
            let message = &messages[0];
            assert_eq!((&*message.topic, &message.payload[..]), ("mqtt/demo", &b"hello world!"[..]));
            assert_eq!((message.qos, message.retain), (published.min(subscribed), false)); // [MQTT-3.8.4-8]
            assert_eq!(world.broker().broker.stats().inflight, 0);
        }
    }
}

#[test]
fn windows_of_one_keep_the_order_both_ways() {
    // [MQTT-3.3.4-7], [MQTT-3.3.4-9], [MQTT-4.6.0-5]
    let mut world = World::with(|config| config.connection.receive_maximum = 1);
    let publisher = world.join(config(Version::V5, "p"));
    let subscriber = world.join(ClientConfig { receive_maximum: 1, ..config(Version::V5, "s") });
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        world.subscribe(subscriber, "t", qos);
        let expected: Vec<String> = (0..50).map(|n| n.to_string()).collect();
        let tokens: Vec<_> = expected.iter().map(|text| world.publish(publisher, "t", text, qos)).collect();
        assert_eq!(world.texts(subscriber), expected);
        for token in tokens {
            assert!(matches!(world.settled(publisher, token), Some(Ok(_))));
        }
    }
}

#[test]
fn retained_messages_follow_the_handling_that_was_asked_for() {
    // [MQTT-3.3.1-5] to [MQTT-3.3.1-13]
    let mut world = World::new();
    let publisher = world.join(config(Version::V5, "p"));
    let retained = |text: &str| {
        let mut message = message("r/1", text, QoS::AtLeastOnce);
        message.retain = true;
        message
    };
    world.send(publisher, retained("old"));
    world.send(publisher, retained("new"));
    for (handling, first, again) in
        [(RetainHandling::Send, 1, 1), (RetainHandling::SendIfNew, 1, 0), (RetainHandling::DoNotSend, 0, 0)]
    {
        let subscriber = world.join(config(Version::V5, "s"));
        let options = SubscriptionOptions { retain_handling: handling, ..QoS::AtLeastOnce.into() };
        for expected in [first, again] {
            world.subscribe(subscriber, "r/#", options);
            let messages = world.messages(subscriber);
            assert_eq!(messages.len(), expected, "{handling:?}");
            assert!(messages.iter().all(|message| message.retain && &message.payload[..] == b"new"));
        }
    }
    for (retain_as_published, expected) in [(false, false), (true, true)] {
        let subscriber = world.join(config(Version::V5, "s"));
        let options = SubscriptionOptions {
            retain_as_published,
            retain_handling: RetainHandling::DoNotSend,
            ..QoS::AtLeastOnce.into()
        };
        world.subscribe(subscriber, "r/#", options);
        world.send(publisher, retained("live"));
        assert_eq!(world.messages(subscriber)[0].retain, expected);
    }
    world.send(publisher, retained(""));
    let late = world.join(config(Version::V3_1_1, "late"));
    world.subscribe(late, "r/#", QoS::AtLeastOnce);
    assert!(world.messages(late).is_empty());
}

#[test]
fn aliases_save_topics_both_ways() {
    // [MQTT-3.3.2-8] to [MQTT-3.3.2-12]; the broker picks its own towards the client
    let topic = "a/rather/long/topic/that/is/worth/an/alias";
    let bytes = |policy, maximum| {
        let mut world = World::new();
        let publisher = world.join(ClientConfig { topic_alias: policy, ..config(Version::V5, "p") });
        let subscriber = world.join(ClientConfig { topic_alias_maximum: maximum, ..config(Version::V5, "s") });
        world.subscribe(subscriber, "#", QoS::AtLeastOnce);
        for n in 0..20 {
            world.publish(publisher, topic, &n.to_string(), QoS::AtLeastOnce);
        }
        let messages = world.messages(subscriber);
        assert_eq!(messages.len(), 20);
        assert!(messages.iter().all(|message| &*message.topic == topic));
        let stats = world.broker().broker.stats();
        (stats.bytes_received, stats.bytes_sent)
    };
    let (received, sent) = bytes(AliasPolicy::Off, 0);
    for policy in [AliasPolicy::FirstCome, AliasPolicy::Lru] {
        let (received_less, sent_less) = bytes(policy, 10);
        assert!(received_less + 600 < received, "{received_less} of {received}");
        assert!(sent_less + 600 < sent, "{sent_less} of {sent}");
    }
}

#[test]
fn expiry_counts_down_while_a_message_waits() {
    // [MQTT-3.3.2-5], [MQTT-3.3.2-6]
    let mut world = World::new();
    let subscriber = world.join(lasting(Version::V5, "s"));
    world.subscribe(subscriber, "t", QoS::AtLeastOnce);
    world.brokers[0].up = false;
    world.cut(subscriber);
    world.brokers[0].up = true;
    let publisher = world.join(config(Version::V5, "p"));
    for seconds in [10, 100] {
        let mut message = message("t", &seconds.to_string(), QoS::AtLeastOnce);
        message.properties = properties([Property::MessageExpiryInterval(seconds)]);
        world.send(publisher, message);
    }
    world.machine(subscriber).disconnect(mqtt_session::Instant::ZERO, &goodbye()).expect("offline already");
    world.sleep(Duration::from_secs(30));
    world.connect(subscriber);
    let messages = world.messages(subscriber);
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].properties.message_expiry_interval(), Some(70));
    assert_eq!(world.broker().broker.stats().dropped_expired, 1);
}

fn goodbye() -> Disconnect {
    Disconnect { reason: ReasonCode::Success, properties: Properties::new() }
}

#[test]
fn sizes_are_kept_both_ways() {
    // [MQTT-3.1.2-24], [MQTT-3.2.2-15]
    let mut world = World::with(|config| config.connection.max_packet_size = 200);
    let publisher = world.join(config(Version::V5, "p"));
    let small = world.join(ClientConfig { maximum_packet_size: 100, ..config(Version::V5, "small") });
    let large = world.join(config(Version::V5, "large"));
    for client in [small, large] {
        world.subscribe(client, "t", QoS::AtLeastOnce);
    }
    world.publish(publisher, "t", &"x".repeat(150), QoS::AtLeastOnce);
    assert_eq!((world.messages(small).len(), world.messages(large).len()), (0, 1));
    assert_eq!(world.broker().broker.stats().dropped_too_large, 1);
    let token = world.publish(publisher, "t", &"x".repeat(300), QoS::AtLeastOnce);
    assert_eq!(world.settled(publisher, token), Some(Err(Failure::TooLarge(200))));
    assert!(world.machine(publisher).is_connected());
}

#[test]
fn properties_are_carried_through() {
    // [MQTT-3.3.2-4], [MQTT-3.3.2-15] to [MQTT-3.3.2-18], [MQTT-3.3.2-20]
    let mut world = World::new();
    let publisher = world.join(config(Version::V5, "p"));
    let (new, old) = (world.join(config(Version::V5, "new")), world.join(config(Version::V3_1_1, "old")));
    let more = SubscribeOptions { identifier: Some(9), ..SubscribeOptions::default() };
    world.try_subscribe(new, "t", QoS::ExactlyOnce.into(), more);
    world.subscribe(old, "t", QoS::ExactlyOnce);
    let all = [
        Property::PayloadFormatIndicator(true),
        Property::ContentType("text/plain"),
        Property::ResponseTopic("answers/1"),
        Property::CorrelationData(b"\x00\xff"),
        Property::UserProperty("k", "1"),
        Property::UserProperty("a", "2"),
        Property::UserProperty("k", "3"),
    ];
    let mut request = message("t", "what?", QoS::ExactlyOnce);
    request.properties = properties(all);
    world.send(publisher, request);
    let messages = world.messages(new);
    let received: Vec<_> =
        messages[0].properties.iter().filter(|one| !matches!(one, Property::TopicAlias(_))).collect();
    assert_eq!(received, [&[Property::SubscriptionIdentifier(9)][..], &all].concat());
    let messages = world.messages(old);
    assert_eq!((&messages[0].payload[..], messages[0].properties.is_empty()), (&b"what?"[..], true));
}

#[test]
fn what_a_server_does_not_offer_fails_at_the_client() {
    // [MQTT-3.2.2-11], [MQTT-3.2.2-14]
    let mut world = World::with(|config| {
        config.features.maximum_qos = QoS::AtLeastOnce;
        config.features.retain = false;
    });
    let client = world.join(config(Version::V5, "c"));
    let token = world.publish(client, "t", "x", QoS::ExactlyOnce);
    assert_eq!(world.settled(client, token), Some(Err(Failure::QoSNotSupported(QoS::AtLeastOnce))));
    let mut retained = message("t", "x", QoS::AtLeastOnce);
    retained.retain = true;
    let token = world.send(client, retained);
    assert_eq!(world.settled(client, token), Some(Err(Failure::RetainNotSupported)));
}

#[test]
fn a_large_payload_arrives_in_one_piece() {
    let mut world = World::new();
    let client = world.join(config(Version::V3_1_1, "c"));
    world.subscribe(client, "t", QoS::ExactlyOnce);
    let payload = "0123456789abcdef".repeat(1 << 16);
    world.publish(client, "t", &payload, QoS::ExactlyOnce);
    assert_eq!(world.texts(client), [payload]);
}
