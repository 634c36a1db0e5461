//! Subscriptions: options, identifiers, sharing, refusals (sections 3.8 to 3.11 and 4.8.2).
use crate::world::*;
use mqtt_session::client::{ClientConfig, Outcome, SubscribeOptions};
use mqtt_session::proto::*;
use std::time::Duration;

#[test]
fn overlapping_subscriptions_deliver_once_with_all_identifiers() {
    // [MQTT-3.3.4-2] to [MQTT-3.3.4-4]
    for config in [config(Version::V5, "c"), lasting(Version::V5, "c")] {
        let mut world = World::new();
        let client = world.join(config);
        for (filter, qos, identifier) in
            [("a/+", QoS::AtMostOnce, 1), ("a/#", QoS::ExactlyOnce, 2), ("a/b", QoS::AtLeastOnce, 268_435_455)]
        {
            let more = SubscribeOptions { identifier: Some(identifier), ..SubscribeOptions::default() };
            world.try_subscribe(client, filter, qos.into(), more);
        }
        world.publish(client, "a/b", "x", QoS::ExactlyOnce);
        let messages = world.messages(client);
        assert_eq!((messages.len(), messages[0].qos), (1, QoS::ExactlyOnce));
        let mut identifiers: Vec<u32> = messages[0].properties.subscription_identifiers().collect();
        identifiers.sort_unstable();
        assert_eq!(identifiers, [1, 2, 268_435_455]);
    }
}

#[test]
fn no_local_keeps_ones_own_messages_away() {
    // [MQTT-3.8.3-3]
    for config_of in [config, lasting] {
        let mut world = World::new();
        let (own, other) = (world.join(config_of(Version::V5, "own")), world.join(config(Version::V5, "other")));
        let options = SubscriptionOptions { no_local: true, ..QoS::AtLeastOnce.into() };
        world.subscribe(own, "t", options);
        world.publish(own, "t", "mine", QoS::AtLeastOnce);
        world.publish(other, "t", "yours", QoS::AtLeastOnce);
        assert_eq!(world.texts(own), ["yours"]);
    }
}

#[test]
fn a_group_shares_and_loses_nothing_when_a_member_goes() {
    // [MQTT-4.8.2-3] and section 4.8.2
    let mut world = World::new();
    let publisher = world.join(config(Version::V5, "p"));
    let steady = world.join(config(Version::V5, "steady"));
    let leaving = world.join(ClientConfig { manual_acks: true, reconnect: None, ..config(Version::V5, "leaving") });
    for client in [steady, leaving] {
        world.subscribe(client, "$share/group/t/+", QoS::AtLeastOnce);
    }
    for n in 0..10 {
        world.publish(publisher, "t/x", &n.to_string(), QoS::AtLeastOnce);
    }
    let mut texts = world.texts(steady);
    assert_eq!(texts.len(), 5, "round robin");
    assert_eq!(world.messages(leaving).len(), 5);
    world.cut(leaving); // nothing of it was acknowledged
    texts.extend(world.texts(steady));
    texts.sort();
    assert_eq!(texts, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    let stats = world.broker().broker.stats();
    assert_eq!((stats.queued, stats.inflight), (0, 0));
}

#[test]
fn refusals_name_their_reason() {
    let mut world = World::with(|config| {
        config.features.shared_subscriptions = false;
        config.features.wildcard_subscriptions = false;
        config.session.max_subscriptions = 1;
        config.features.maximum_qos = QoS::AtLeastOnce;
    });
    let none = SubscribeOptions::default;
    for (version, id) in [(Version::V5, "v5"), (Version::V3_1_1, "v3")] {
        let client = world.join(config(version, id));
        let code = |reason| if version.is_v5() { reason } else { ReasonCode::UnspecifiedError }; // [3.1.1: MQTT-3.9.3-2]
        for (filter, expected) in [
            ("first", ReasonCode::GrantedQoS1), // [MQTT-3.9.3-2]: less than was asked for
            ("second", code(ReasonCode::QuotaExceeded)),
            ("a/+", code(ReasonCode::WildcardSubscriptionsNotSupported)),
            ("$share/g/a", code(ReasonCode::SharedSubscriptionsNotSupported)),
        ] {
            let reason = world.try_subscribe(client, filter, QoS::ExactlyOnce.into(), none());
            assert_eq!(reason, expected, "{filter} in {version:?}");
        }
        assert_eq!(world.machine(client).subscriptions().count(), 1, "what was refused is not desired");
    }
}

#[test]
fn after_unsuback_nothing_comes() {
    // [MQTT-3.10.4-1] to [MQTT-3.10.4-4], [MQTT-3.11.3-1]
    for config in [config(Version::V5, "c"), lasting(Version::V5, "c")] {
        let mut world = World::new();
        let client = world.join(config);
        world.subscribe(client, "t", QoS::AtLeastOnce);
        let now = world.now;
        let filters = ["t", "never"].map(|filter| TopicFilter::try_from(filter).unwrap()).to_vec();
        let token = world.machine(client).unsubscribe(now, filters).unwrap();
        world.run();
        let expected = vec![ReasonCode::Success, ReasonCode::NoSubscriptionExisted];
        assert_eq!(world.settled(client, token), Some(Ok(Outcome::Unsubscribed(expected))));
        let token = world.publish(client, "t", "x", QoS::AtLeastOnce);
        let none = Outcome::Acknowledged(ReasonCode::NoMatchingSubscribers);
        assert_eq!(world.settled(client, token), Some(Ok(none)));
        assert!(world.messages(client).is_empty());
    }
}

#[test]
fn desired_subscriptions_change_while_offline() {
    let mut world = World::new();
    let client = world.join(lasting(Version::V5, "c"));
    world.subscribe(client, "keep", QoS::AtLeastOnce);
    world.subscribe(client, "leave", QoS::AtLeastOnce);
    world.brokers[0].up = false;
    world.cut(client);
    let now = world.now;
    let machine = world.machine(client);
    machine.unsubscribe(now, vec![TopicFilter::try_from("leave").unwrap()]).unwrap();
    let filters = vec![(TopicFilter::try_from("come").unwrap(), QoS::AtLeastOnce.into())];
    machine.subscribe(now, filters, SubscribeOptions::default()).unwrap();
    world.brokers[0].up = true;
    world.sleep(Duration::from_secs(10));
    for topic in ["keep", "leave", "come"] {
        world.publish(client, topic, topic, QoS::AtLeastOnce);
    }
    assert_eq!(world.texts(client), ["keep", "come"]);
}

#[test]
fn before_session_present_an_unsubscribe_is_sent_all_the_same() {
    // 3.1 cannot say whether the session is there: what was unsubscribed offline must not come back.
    let mut world = World::new();
    let client = world.join(lasting(Version::V3_1, "c"));
    world.subscribe(client, "t", QoS::AtLeastOnce);
    world.brokers[0].up = false;
    world.cut(client);
    let now = world.now;
    world.machine(client).unsubscribe(now, vec![TopicFilter::try_from("t").unwrap()]).unwrap();
    world.brokers[0].up = true;
    world.sleep(Duration::from_secs(10));
    world.publish(client, "t", "x", QoS::AtLeastOnce);
    assert!(world.messages(client).is_empty());
    assert_eq!(world.broker().broker.stats().subscriptions, 0);
}
