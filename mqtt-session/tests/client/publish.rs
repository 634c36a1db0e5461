//! Publishing: the flows of QoS 0 to 2, the send quota, sending again, the queue, and the server's limits.

use crate::support::*;
use mqtt_session::client::{
    AliasPolicy, Client, ClientConfig, Failure, Message, Outcome, PublishError, QueueConfig, QueuePolicy, SessionLoss,
};
use mqtt_session::proto::{Delivery, Packet, Properties, Property, QoS, ReasonCode, Version};
use std::time::Duration;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

fn persistent(version: Version) -> ClientConfig {
    let session_expiry = if version.is_v5() { 3600 } else { 0 };
    ClientConfig { version, client_id: id("c"), clean_start: false, session_expiry, ..ClientConfig::default() }
}

const ACKNOWLEDGED: Option<Result<Outcome, Failure>> = Some(Ok(Outcome::Acknowledged(ReasonCode::Success)));

/// Topics and payloads of the PUBLISH packets among these.
fn payloads(packets: Vec<Packet>) -> Vec<String> {
    let text = |packet| match packet {
        Packet::Publish(publish) => Some(String::from_utf8(publish.payload.to_vec()).unwrap()),
        _ => None,
    };
    packets.into_iter().filter_map(text).collect()
}

// [MQTT-4.3.1-1], [MQTT-2.2.1-2]
#[test]
fn qos0_is_settled_when_it_is_sent() {
    for version in VERSIONS {
        let mut net = Net::online(version);
        let token = net.publish("t", "x", QoS::AtMostOnce);
        let publish = as_publish(net.sent_one());
        assert_eq!((publish.delivery, publish.topic), (Delivery::AtMostOnce, Some(topic("t"))));
        assert_eq!(net.settled(token), Some(Ok(Outcome::Sent)));
    }
}

// [MQTT-4.3.2-1], [MQTT-4.3.2-2], [MQTT-4.3.2-3], [3.1.1: MQTT-4.3.2-1]
#[test]
fn qos1_is_settled_by_puback() {
    for version in VERSIONS {
        let mut net = Net::online(version);
        let token = net.publish("t", "x", QoS::AtLeastOnce);
        assert_eq!(as_publish(net.sent_one()).delivery, qos1(1));
        assert_eq!(net.settled(token), None);
        net.send(Packet::PubAck(ack(pid(1))));
        assert_eq!(net.settled(token), ACKNOWLEDGED);
        assert!(net.client.is_drained());
    }
}

// [MQTT-4.3.3-1], [MQTT-4.3.3-2], [MQTT-4.3.3-3], [MQTT-4.3.3-4], [MQTT-4.3.3-5], [MQTT-2.2.1-5], [3.1.1: MQTT-4.3.3-1]
#[test]
fn qos2_is_settled_by_pubcomp() {
    for version in VERSIONS {
        let mut net = Net::online(version);
        let token = net.publish("t", "x", QoS::ExactlyOnce);
        assert_eq!(as_publish(net.sent_one()).delivery, qos2(1));
        net.send(Packet::PubRec(ack(pid(1))));
        assert_eq!(net.sent_one(), Packet::PubRel(ack(pid(1))));
        assert_eq!(net.settled(token), None);
        net.send(Packet::PubComp(ack(pid(1))));
        assert_eq!(net.settled(token), ACKNOWLEDGED);
    }
}

#[test]
fn successes_beside_success_are_told() {
    let mut net = Net::online(Version::V5);
    let one = net.publish("t", "x", QoS::AtLeastOnce);
    net.send(Packet::PubAck(ack_with(pid(1), ReasonCode::NoMatchingSubscribers)));
    assert_eq!(net.settled(one), Some(Ok(Outcome::Acknowledged(ReasonCode::NoMatchingSubscribers))));
    let two = net.publish("t", "x", QoS::ExactlyOnce);
    net.send(Packet::PubRec(ack_with(pid(2), ReasonCode::NoMatchingSubscribers)));
    net.send(Packet::PubComp(ack(pid(2))));
    assert_eq!(net.settled(two), Some(Ok(Outcome::Acknowledged(ReasonCode::NoMatchingSubscribers))));
}

// [MQTT-4.4.0-2] A refused message is done with, and its identifier and quota are free.
#[test]
fn refused_messages_fail_and_are_not_sent_again() {
    let mut net = Net::new(persistent(Version::V5));
    net.go_online(false, &[Property::ReceiveMaximum(2)]);
    let one = net.publish("t", "1", QoS::AtLeastOnce);
    let two = net.publish("t", "2", QoS::ExactlyOnce);
    net.sent();
    let properties = Properties::builder().with(Property::ReasonString("not here")).build();
    net.send(Packet::PubAck(mqtt_session::proto::Ack { properties, ..ack_with(pid(1), ReasonCode::NotAuthorized) }));
    net.send(Packet::PubRec(ack_with(pid(2), ReasonCode::QuotaExceeded)));
    let text = Some("not here".parse().unwrap());
    assert_eq!(net.settled(one), Some(Err(Failure::Refused { reason: ReasonCode::NotAuthorized, text })));
    assert_eq!(net.settled(two), Some(Err(Failure::Refused { reason: ReasonCode::QuotaExceeded, text: None })));
    assert_eq!(net.sent(), [], "no PUBREL after an error");
    net.reconnect(true);
    assert_eq!(net.sent(), []);
}

// [MQTT-3.3.4-7], [MQTT-4.9.0-1], [MQTT-4.9.0-2] and the order of messages
#[test]
fn the_servers_receive_maximum_is_respected() {
    let mut net = Net::new(persistent(Version::V5));
    net.go_online(false, &[Property::ReceiveMaximum(2)]);
    for (payload, qos) in
        [("1", QoS::AtLeastOnce), ("2", QoS::ExactlyOnce), ("3", QoS::AtLeastOnce), ("4", QoS::AtMostOnce)]
    {
        net.publish("t", payload, qos);
    }
    assert_eq!(payloads(net.sent()), ["1", "2"]);
    net.send(Packet::PubRec(ack(pid(2))));
    assert_eq!(net.sent_one(), Packet::PubRel(ack(pid(2))), "[MQTT-3.3.4-8], [MQTT-4.9.0-3]: PUBREL waits for nothing");
    net.send(Packet::PubComp(ack(pid(2))));
    assert_eq!(payloads(net.sent()), ["3", "4"], "QoS 0 kept its place");
}

#[test]
fn our_own_limit_holds_where_the_server_has_none() {
    let mut net = Net::online_with(ClientConfig { max_inflight: 3, ..persistent(Version::V3_1_1) });
    for n in 0..5 {
        net.publish("t", &n.to_string(), QoS::AtLeastOnce);
    }
    assert_eq!(payloads(net.sent()), ["0", "1", "2"]);
    net.send(Packet::PubAck(ack(pid(2))));
    assert_eq!(payloads(net.sent()), ["3"]);
}

// [MQTT-4.4.0-1], [MQTT-3.3.1-1], [MQTT-3.3.1-3], [3.1.1: MQTT-3.3.1-3], [3.1.1: MQTT-3.1.2-4], [MQTT-4.6.0-1], [MQTT-4.6.0-4], [MQTT-4.3.3-6]
#[test]
fn a_resumed_session_sends_again_in_order_with_dup_and_the_same_identifiers() {
    for version in VERSIONS {
        let mut net = Net::new(persistent(version));
        net.go_online(false, &[]);
        for (payload, qos) in
            [("1", QoS::ExactlyOnce), ("2", QoS::AtLeastOnce), ("3", QoS::ExactlyOnce), ("4", QoS::AtLeastOnce)]
        {
            net.publish("t", payload, qos);
        }
        net.sent();
        net.send(Packet::PubRec(ack(pid(3))));
        net.send(Packet::PubRec(ack(pid(1))));
        net.send(Packet::PubAck(ack(pid(4))));
        net.sent();
        net.reconnect(true);
        let sent = net.sent();
        assert_eq!(
            sent[..2],
            [Packet::PubRel(ack(pid(3))), Packet::PubRel(ack(pid(1)))],
            "in the order of the PUBRECs"
        );
        let again = as_publish(sent[2].clone());
        assert_eq!(again.delivery, Delivery::AtLeastOnce { id: pid(2), dup: true });
        assert_eq!(sent.len(), 3);
        assert_eq!(net.client.stats().publishes_resent, 1);
    }
}

#[test]
fn a_message_that_never_left_is_sent_for_the_first_time_after_a_reconnect() {
    let mut net = Net::new(persistent(Version::V5));
    net.go_online(false, &[Property::ReceiveMaximum(1)]);
    net.publish("t", "1", QoS::AtLeastOnce);
    net.publish("t", "2", QoS::AtLeastOnce);
    net.sent();
    net.lose();
    net.client.connect(net.now);
    net.accept();
    net.connack(true, &[Property::ReceiveMaximum(1)]);
    assert_eq!(as_publish(net.sent_one()).delivery, Delivery::AtLeastOnce { id: pid(1), dup: true });
    net.send(Packet::PubAck(ack(pid(1))));
    assert_eq!(as_publish(net.sent_one()).delivery, qos1(2), "DUP 0");
}

// [MQTT-4.9.0-2] for what is sent again
#[test]
fn a_smaller_receive_maximum_holds_for_what_is_sent_again() {
    let mut net = Net::new(persistent(Version::V5));
    net.go_online(false, &[]);
    for n in 0..4 {
        net.publish("t", &n.to_string(), QoS::AtLeastOnce);
    }
    net.sent();
    net.lose();
    net.client.connect(net.now);
    net.accept();
    net.connack(true, &[Property::ReceiveMaximum(2)]);
    assert_eq!(payloads(net.sent()), ["0", "1"]);
    net.publish("t", "new", QoS::AtLeastOnce);
    for (done, next) in [(1, "2"), (2, "3"), (3, "new")] {
        net.send(Packet::PubAck(ack(pid(done))));
        assert_eq!(payloads(net.sent()), [next]);
    }
}

// [MQTT-3.2.2-5], [MQTT-4.4.0-1]
#[test]
fn a_lost_session_is_discarded_as_configured() {
    for (policy, expected) in [(SessionLoss::Republish, vec!["1", "queued"]), (SessionLoss::Fail, vec!["queued"])] {
        let mut net = Net::new(ClientConfig { on_session_loss: policy, max_inflight: 3, ..persistent(Version::V5) });
        net.go_online(false, &[]);
        let one = net.publish("t", "1", QoS::AtLeastOnce);
        let two = net.publish("t", "2", QoS::ExactlyOnce);
        let three = net.publish("t", "3", QoS::ExactlyOnce);
        let queued = net.publish("t", "queued", QoS::AtLeastOnce);
        net.send(Packet::PubRec(ack(pid(3))));
        net.sent();
        net.reconnect(false);
        assert!(net.connected().session_lost);
        let sent = net.sent();
        assert!(
            sent.iter().all(|packet| matches!(packet, Packet::Publish(p) if !p.delivery.dup())),
            "as new messages: {sent:?}"
        );
        assert_eq!(payloads(sent), expected);
        for token in [two, three] {
            assert_eq!(net.settled(token), Some(Err(Failure::SessionLost)));
        }
        let failed = policy == SessionLoss::Fail;
        assert_eq!(net.settled(one), failed.then_some(Err(Failure::SessionLost)));
        assert_eq!(net.settled(queued), None);
    }
}

// [3.1.1: MQTT-3.1.2-6], [MQTT-3.1.2-4]
#[test]
fn a_clean_session_begins_without_the_old_one() {
    for version in VERSIONS {
        let mut net = Net::online(version);
        let one = net.publish("t", "1", QoS::AtLeastOnce);
        let two = net.publish("t", "2", QoS::ExactlyOnce);
        net.send(incoming("t", "in", qos2(1)));
        net.messages();
        net.sent();
        net.reconnect(false);
        assert!(!as_publish(net.sent_one()).delivery.dup(), "message 1, as a new one");
        assert_eq!((net.settled(one), net.settled(two)), (None, Some(Err(Failure::SessionLost))));
        net.send(incoming("t", "another", qos2(1)));
        assert_eq!(net.messages().len(), 1);
    }
}

// 3.1 cannot say whether the session is there
#[test]
fn version_3_1_sends_again_without_knowing() {
    let mut net = Net::new(persistent(Version::V3_1));
    net.go_online(false, &[]);
    net.publish("t", "1", QoS::AtLeastOnce);
    net.sent();
    net.reconnect(false);
    assert_eq!(as_publish(net.sent_one()).delivery, Delivery::AtLeastOnce { id: pid(1), dup: true });
}

// [MQTT-2.2.1-5] and the acknowledgments of nobody
#[test]
fn wrong_acknowledgments_are_refused_and_unknown_ones_ignored() {
    let cases = [
        (Packet::PubAck as fn(_) -> _, QoS::ExactlyOnce),
        (Packet::PubRec, QoS::AtLeastOnce),
        (Packet::PubComp, QoS::ExactlyOnce),
    ];
    for version in VERSIONS {
        for (packet, qos) in cases {
            let mut net = Net::online(version);
            net.publish("t", "x", qos);
            net.sent();
            net.send(packet(ack(pid(1))));
            net.assert_refused(ReasonCode::ProtocolError, "MQTT-2.2.1-5");
        }
        let mut net = Net::online(version);
        net.send(Packet::PubAck(ack(pid(9))));
        net.send(Packet::PubComp(ack(pid(9))));
        assert_eq!(net.sent(), []);
        net.send(Packet::PubRec(ack(pid(9))));
        let reason = if version.is_v5() { ReasonCode::PacketIdentifierNotFound } else { ReasonCode::Success };
        assert_eq!(net.sent_one(), Packet::PubRel(ack_with(pid(9), reason)));
        assert_eq!(net.client.stats().unexpected_acks, 3);
    }
}

#[test]
fn what_is_published_offline_waits_in_order() {
    let mut net = Net::new(persistent(Version::V3_1_1));
    for n in 0..5 {
        net.publish("t", &n.to_string(), QoS::new(n % 3).unwrap());
    }
    assert_eq!(net.client.queued().0, 5);
    net.go_online(false, &[]);
    assert_eq!(payloads(net.sent()), ["0", "1", "2", "3", "4"]);
}

#[test]
fn qos0_may_be_refused_offline() {
    let queue = QueueConfig { qos0: false, ..QueueConfig::default() };
    let mut net = Net::new(ClientConfig { queue, ..persistent(Version::V5) });
    assert_eq!(net.client.publish(net.now, message("t", "x", QoS::AtMostOnce)), Err(PublishError::Offline));
    net.publish("t", "x", QoS::AtLeastOnce);
    net.go_online(false, &[]);
    net.publish("t", "x", QoS::AtMostOnce);
}

#[test]
fn the_queue_is_bounded_and_its_policy_holds() {
    let with = |policy, max_messages, max_bytes| {
        let queue = QueueConfig { policy, max_messages, max_bytes, ..QueueConfig::default() };
        Net::new(ClientConfig { queue, ..persistent(Version::V5) })
    };
    for (max_messages, max_bytes) in [(2, usize::MAX), (usize::MAX, 5)] {
        let mut net = with(QueuePolicy::Refuse, max_messages, max_bytes);
        net.publish("t", "1", QoS::AtLeastOnce);
        net.publish("t", "2", QoS::AtLeastOnce);
        assert_eq!(net.client.publish(net.now, message("t", "3", QoS::AtLeastOnce)), Err(PublishError::QueueFull));

        let mut net = with(QueuePolicy::DropOldest, max_messages, max_bytes);
        let tokens: Vec<_> = ["1", "2", "3"].map(|n| net.publish("t", n, QoS::AtLeastOnce)).into();
        assert_eq!(net.settled(tokens[0]), Some(Err(Failure::Dropped)));
        assert_eq!(net.client.stats().dropped_queue_full, 1);
        net.go_online(false, &[]);
        assert_eq!(payloads(net.sent()), ["2", "3"]);

        let mut net = with(QueuePolicy::DropNewest, max_messages, max_bytes);
        let tokens: Vec<_> = ["1", "2", "3"].map(|n| net.publish("t", n, QoS::AtLeastOnce)).into();
        assert_eq!(net.settled(tokens[2]), Some(Err(Failure::Dropped)));
        net.go_online(false, &[]);
        assert_eq!(payloads(net.sent()), ["1", "2"]);
    }
    let mut net = with(QueuePolicy::Refuse, 10, 5);
    net.publish("t", "larger than all of it", QoS::AtLeastOnce);
}

#[test]
fn a_socket_that_takes_nothing_fills_the_queue_and_not_the_memory() {
    let queue = QueueConfig { max_messages: 10, ..QueueConfig::default() };
    let mut net = Net::online_with(ClientConfig { queue, max_transmit_bytes: 1000, ..persistent(Version::V5) });
    let payload = "x".repeat(300);
    let accepted =
        (0..100).take_while(|_| net.client.publish(net.now, message("t", &payload, QoS::AtMostOnce)).is_ok()).count();
    assert_eq!(accepted, 14, "four for the socket, ten in the queue");
    assert!(net.client.transmit().len() < 1000 + 400);
    assert_eq!(payloads(net.sent()).len(), 14);
}

// [MQTT-3.2.2-11], [MQTT-3.2.2-14], [MQTT-3.2.2-15]
#[test]
fn messages_beyond_the_servers_limits_fail() {
    let mut net = Net::new(persistent(Version::V5));
    let limits = [Property::MaximumQoS(true), Property::RetainAvailable(false), Property::MaximumPacketSize(50)];
    let retained = |qos| Message { retain: true, ..message("t", "x", qos) };
    let queued = net.publish("t", "queued", QoS::ExactlyOnce);
    net.go_online(false, &limits);
    assert_eq!(net.settled(queued), Some(Err(Failure::QoSNotSupported(QoS::AtLeastOnce))));
    let token = net.publish_message(retained(QoS::AtMostOnce));
    assert_eq!(net.settled(token), Some(Err(Failure::RetainNotSupported)));
    let token = net.publish("t", &"x".repeat(60), QoS::AtLeastOnce);
    assert_eq!(net.settled(token), Some(Err(Failure::TooLarge(50))));
    assert_eq!(net.sent(), []);
    assert_eq!(net.client.stats().dropped_unsupported, 3);
    net.publish("t", &"x".repeat(43), QoS::AtMostOnce);
    assert_eq!(net.sent_one().encoded_len(Version::V5), Ok(49));
}

#[test]
fn in_flight_messages_beyond_the_limits_of_a_new_connection_fail() {
    let mut net = Net::new(persistent(Version::V5));
    net.go_online(false, &[]);
    let token = net.publish("t", &"x".repeat(60), QoS::AtLeastOnce);
    net.sent();
    net.lose();
    net.client.connect(net.now);
    net.accept();
    net.connack(true, &[Property::MaximumPacketSize(50)]);
    assert_eq!(net.settled(token), Some(Err(Failure::TooLarge(50))));
    assert!(net.client.is_drained());
}

// [MQTT-3.3.4-6], and what only 5.0 can say
#[test]
fn properties_are_checked() {
    let with = |property| Message {
        properties: Properties::builder().with(property).build(),
        ..message("t", "x", QoS::AtMostOnce)
    };
    let mut net = Net::online(Version::V5);
    for property in [Property::TopicAlias(1), Property::SubscriptionIdentifier(1), Property::ReasonString("no")] {
        assert_eq!(net.client.publish(net.now, with(property)), Err(PublishError::Property));
    }
    let all = [
        Property::UserProperty("a", "b"),
        Property::ContentType("text"),
        Property::ResponseTopic("r"),
        Property::CorrelationData(b"id"),
        Property::PayloadFormatIndicator(true),
    ];
    let properties: Properties = all.into_iter().collect();
    net.publish_message(Message { properties: properties.clone(), ..message("t", "x", QoS::AtMostOnce) });
    assert_eq!(as_publish(net.sent_one()).properties, properties);
    let mut net = Net::online(Version::V3_1_1);
    assert_eq!(net.client.publish(net.now, with(Property::ContentType("text"))), Err(PublishError::NotInVersion));
}

fn expiring(seconds: u32) -> Message {
    let properties = Properties::builder().with(Property::MessageExpiryInterval(seconds)).build();
    Message { properties, ..message("t", "x", QoS::AtLeastOnce) }
}

// Section 3.3.2.3.3, [MQTT-4.3.3-7] and [MQTT-4.3.3-13]
#[test]
fn message_expiry_counts_from_publish_and_ends_with_the_first_sending() {
    let mut net = Net::new(persistent(Version::V5));
    let short = net.publish_message(expiring(5));
    let long = net.publish_message(expiring(20));
    net.pass(secs(4));
    assert_eq!(net.settled(short), None);
    net.pass(Duration::from_millis(1500));
    assert_eq!(net.settled(short), Some(Err(Failure::Expired)), "by the timer, although nothing else happened");
    assert_eq!(net.client.stats().dropped_expired, 1);
    net.go_online(false, &[]);
    let sent = as_publish(net.sent_one());
    assert_eq!(sent.properties.message_expiry_interval(), Some(15), "14.5 s, rounded up");
    net.pass(secs(30));
    assert_eq!(net.settled(long), None);
    net.reconnect(true);
    let again = as_publish(net.sent_one());
    assert_eq!(again.properties.message_expiry_interval(), Some(1));
}

// [MQTT-3.2.2-17], [MQTT-3.3.2-7], [MQTT-3.3.2-9]
#[test]
fn topic_aliases_are_assigned_within_the_servers_maximum() {
    let mut net = Net::new(ClientConfig { topic_alias: AliasPolicy::Lru, ..persistent(Version::V5) });
    net.go_online(false, &[Property::TopicAliasMaximum(1)]);
    let next = |net: &mut Net, topic: &str, qos| {
        net.publish(topic, "x", qos);
        let publish = as_publish(net.sent_one());
        (publish.topic.map(|topic| topic.to_string()), publish.properties.topic_alias())
    };
    let full = |name: &str| Some(name.to_owned());
    assert_eq!(next(&mut net, "long/one", QoS::AtMostOnce), (full("long/one"), Some(1)));
    assert_eq!(next(&mut net, "long/one", QoS::AtLeastOnce), (None, Some(1)));
    assert_eq!(next(&mut net, "long/two", QoS::AtMostOnce), (full("long/two"), Some(1)));
    net.reconnect(true);
    let again = as_publish(net.sent_one());
    assert_eq!((again.topic, again.properties.topic_alias()), (Some(topic("long/one")), None));
    assert_eq!(next(&mut net, "long/two", QoS::AtMostOnce), (full("long/two"), None), "this connection allows none");
}

#[test]
fn large_payloads_are_not_copied() {
    let mut net = Net::online(Version::V5);
    let payload = bytes::Bytes::from(vec![7; 100_000]);
    let message = Message::new(topic("t"), payload.clone(), QoS::AtLeastOnce);
    net.client.publish(net.now, message).unwrap();
    assert!(net.client.transmit().chunks().any(|chunk| chunk.as_ptr() == payload.as_ptr()));
    assert_eq!(as_publish(net.sent_one()).payload, payload);
}

#[test]
fn a_client_is_a_plain_value() {
    fn assert_send<T: Send + Sync>() {}
    assert_send::<Client>();
}
