//! What stands exactly at a limit, what is counted, and what must not happen too early.
use crate::support::*;
use mqtt_session::Instant;
use mqtt_session::client::*;
use mqtt_session::proto::*;
use std::time::Duration;

fn config() -> ClientConfig {
    let reconnect = Some(Backoff { jitter_percent: 0, ..Backoff::default() });
    ClientConfig { client_id: id("c"), session_expiry: 1000, reconnect, ..ClientConfig::default() }
}

/// The properties of CONNECT.
fn said(config: ClientConfig) -> Properties {
    Net::new(config).go_online(false, &[]).properties
}

#[test]
fn connect_says_what_is_not_the_standards_default() {
    let plain = ClientConfig {
        receive_maximum: u16::MAX,
        maximum_packet_size: u32::MAX,
        topic_alias_maximum: 0,
        client_id: id("c"),
        ..ClientConfig::default()
    };
    assert_eq!(said(plain.clone()), Properties::new());
    let property = said(ClientConfig { receive_maximum: u16::MAX - 1, ..plain.clone() });
    assert_eq!(property, [Property::ReceiveMaximum(u16::MAX - 1)].into_iter().collect());
    // No packet is larger than five bytes and 268,435,455.
    assert_eq!(said(ClientConfig { maximum_packet_size: 268_435_460, ..plain.clone() }), Properties::new());
    let property = said(ClientConfig { maximum_packet_size: 268_435_459, ..plain.clone() });
    assert_eq!(property, [Property::MaximumPacketSize(268_435_459)].into_iter().collect());
    let property = said(ClientConfig { topic_alias_maximum: 1, ..plain.clone() });
    assert_eq!(property, [Property::TopicAliasMaximum(1)].into_iter().collect());
    let property = said(ClientConfig { request_problem_information: false, ..plain });
    assert_eq!(property, [Property::RequestProblemInformation(false)].into_iter().collect());
}

#[test]
fn what_only_5_0_has_is_refused_before() {
    let new = |config| Client::new(config, SEED, Instant::ZERO).err();
    let old = |version| ClientConfig { version, client_id: id("c"), ..ClientConfig::default() };
    let user = || [Property::UserProperty("a", "b")].into_iter().collect::<Properties>();
    let will = || Will {
        qos: QoS::AtMostOnce,
        retain: false,
        topic: topic("w"),
        payload: "x".into(),
        properties: Properties::new(),
    };
    for version in [Version::V3_1, Version::V3_1_1] {
        assert_eq!(new(ClientConfig { will: Some(will()), ..old(version) }), None);
        let with_properties = Will { properties: user(), ..will() };
        for config in [
            ClientConfig { will: Some(with_properties), ..old(version) },
            ClientConfig { auth_method: Some("m".into()), ..old(version) },
            ClientConfig { user_properties: user(), ..old(version) },
            ClientConfig { session_expiry: 1, ..old(version) },
        ] {
            assert_eq!(new(config), Some(ConfigError::NotInVersion));
        }
    }
    let v5 = || old(Version::V5);
    assert_eq!(new(ClientConfig { user_properties: user(), ..v5() }), None);
    let other = [Property::UserProperty("a", "b"), Property::ContentType("c")].into_iter().collect();
    assert_eq!(new(ClientConfig { user_properties: other, ..v5() }), Some(ConfigError::NotUserProperties));
}

#[test]
fn a_session_lasts_where_the_configuration_says_so() {
    let v5 = |session_expiry| ClientConfig { session_expiry, ..ClientConfig::default() };
    assert!(!v5(0).is_persistent());
    assert!(v5(1).is_persistent());
    for clean_start in [false, true] {
        let old = ClientConfig { version: Version::V3_1_1, clean_start, ..ClientConfig::default() };
        assert_eq!(old.is_persistent(), !clean_start);
    }
}

#[test]
fn a_timeout_that_comes_too_early_changes_nothing() {
    let mut net = Net::new(ClientConfig { keep_alive: 60, ..config() });
    let early = Duration::from_nanos(1);
    let served_early = |net: &mut Net| {
        let deadline = net.client.poll_timeout().expect("a deadline");
        net.client.handle_timeout(Instant::from_nanos(deadline.as_nanos() - early.as_nanos() as u64));
        assert_eq!(net.client.poll_timeout(), Some(deadline));
        assert!(net.client.transmit().is_empty());
    };
    // Opening, waiting, and the handshake.
    net.client.connect(net.now);
    assert!(!net.client.is_idle());
    served_early(&mut net);
    net.lose();
    served_early(&mut net);
    net.pass(secs(1));
    net.accept();
    served_early(&mut net);
    // PINGREQ, and its answer.
    net.connack(false, &[]);
    assert!(net.client.is_connected() && !net.client.is_idle());
    net.events.clear();
    served_early(&mut net);
    net.pass(secs(60));
    assert_eq!(net.sent(), [Packet::PingReq]);
    served_early(&mut net);
    net.run();
    assert!(net.events.is_empty() && !net.closed, "{:?}", net.events);
    net.pass(secs(10));
    assert!(matches!(net.disconnected().0, DisconnectReason::PingTimeout));
}

/// Bytes are a sign of life; the same bytes looked at again are none.
#[test]
fn only_new_input_is_a_sign_of_life() {
    let mut net = Net::online_with(ClientConfig { keep_alive: 60, ..config() });
    net.send_bytes(&[0xD0]); // half a PINGRESP
    let deadline = net.client.poll_timeout();
    net.now = net.now + secs(30);
    net.publish("a", "x", QoS::AtMostOnce);
    net.deliver();
    assert_eq!(net.client.poll_timeout(), deadline);
    net.send_bytes(&[0x00]);
    assert_eq!(net.client.poll_timeout(), Some(net.now + secs(60)));
}

#[test]
fn events_say_whether_there_was_a_connection() {
    let was = |net: &Net| {
        net.events.iter().rev().find_map(|event| match event {
            Event::Disconnected { was_connected, .. } => Some(*was_connected),
            _ => None,
        })
    };
    let mut net = Net::new(config());
    net.client.connect(net.now);
    net.lose();
    assert_eq!(was(&net), Some(false));
    net.go_online(false, &[]);
    net.lose();
    assert_eq!(was(&net), Some(true));
}

/// The caller who connects starts over, with the server that the session lives on.
#[test]
fn connecting_by_hand_forgets_what_failed() {
    let fail = |net: &mut Net| {
        net.run();
        let server = net.connects.pop_front().expect("an attempt");
        net.lose();
        (server, net.disconnected().1)
    };
    let mut net = Net::new(config());
    net.client.connect(net.now);
    assert_eq!(fail(&mut net), (0, Some(secs(1))));
    net.pass(secs(1));
    assert_eq!(fail(&mut net), (0, Some(secs(2))));
    net.client.connect(net.now);
    assert_eq!(fail(&mut net), (0, Some(secs(1))));

    let mut net = Net::new(ClientConfig { servers: 2, ..config() });
    net.client.connect(net.now);
    assert_eq!(fail(&mut net), (0, Some(Duration::ZERO)));
    assert_eq!(net.accept().0, 1);
    net.connack(false, &[]);
    net.lose();
    net.client.connect(net.now);
    assert_eq!(net.accept().0, 1);
}

#[test]
fn what_happens_is_counted() {
    let mut net = Net::new(config());
    net.go_online(false, &[]);
    net.publish("a", "x", QoS::AtMostOnce);
    net.publish("a", "x", QoS::AtLeastOnce);
    net.send(Packet::PubAck(ack(pid(1))));
    for _ in 0..3 {
        net.send(incoming("b", "x", Delivery::AtMostOnce));
    }
    assert_eq!(net.messages().len(), 3);
    let stats = net.client.stats();
    // CONNECT and two PUBLISH; CONNACK, PUBACK and three PUBLISH.
    assert_eq!((stats.connections, stats.packets_sent, stats.publishes_sent), (1, 3, 2));
    assert_eq!((stats.packets_received, stats.messages_received), (5, 3));
    net.reconnect(true);
    assert_eq!(net.client.stats().connections, 2);
}

#[test]
fn a_client_is_drained_when_nothing_is_left() {
    let mut net = Net::new(config());
    assert!(net.client.is_drained());
    assert_eq!((net.client.unfinished(), net.client.queued()), (0, (0, 0)));
    // Queued.
    let (first, second) = (net.publish("a", "xy", QoS::AtLeastOnce), net.publish("abc", "", QoS::ExactlyOnce));
    assert_eq!((net.client.unfinished(), net.client.queued()), (2, (2, 6)));
    assert!(!net.client.is_drained());
    // In flight.
    net.go_online(false, &[]);
    assert_eq!((net.client.unfinished(), net.client.queued()), (2, (0, 0)));
    assert!(!net.client.is_drained());
    net.send(Packet::PubAck(ack(pid(1))));
    net.send(Packet::PubRec(ack(pid(2))));
    assert_eq!(net.client.unfinished(), 1);
    assert!(!net.client.is_drained(), "PUBCOMP is missing");
    net.send(Packet::PubComp(ack(pid(2))));
    assert!(net.client.is_drained());
    assert_eq!(net.client.unfinished(), 0);
    assert_ne!(first.as_u64(), second.as_u64());
    // A request is no message, but it waits for its answer.
    net.subscribe("f", QoS::AtMostOnce);
    assert_eq!(net.client.unfinished(), 0);
    assert!(!net.client.is_drained());
    net.grant();
    assert!(net.client.is_drained());
    // Bytes that the socket has not taken.
    net.client.publish(net.now, message("a", "x", QoS::AtMostOnce)).unwrap();
    assert!(!net.client.is_drained());
    net.run();
    assert!(net.client.is_drained());
}

#[test]
fn what_was_sent_no_longer_weighs_on_the_queue() {
    let mut net = Net::new(config());
    net.publish("abc", "de", QoS::AtLeastOnce);
    assert_eq!(net.client.queued(), (1, 5));
    net.go_online(false, &[]);
    assert_eq!(net.client.queued(), (0, 0));
}

/// A late look at the clock is as good as one in time.
#[test]
fn queued_messages_expire_however_late_somebody_looks() {
    let mut net = Net::new(config());
    let mut short = message("a", "x", QoS::AtLeastOnce);
    short.properties = [Property::MessageExpiryInterval(10)].into_iter().collect();
    let token = net.publish_message(short);
    let stays = net.publish("abc", "de", QoS::AtLeastOnce);
    net.now = net.now + secs(9);
    net.client.handle_timeout(net.now);
    assert_eq!(net.settled(token), None);
    net.now = net.now + secs(1000);
    net.client.handle_timeout(net.now);
    assert_eq!(net.settled(token), Some(Err(Failure::Expired)));
    assert_eq!(net.settled(stays), None);
    assert_eq!(net.client.queued(), (1, 5));
}

/// [MQTT-3.2.2-15] A packet may be as large as the Server's Maximum Packet Size.
#[test]
fn packets_may_be_as_large_as_the_server_takes() {
    let publish = message("abcdef", "payload", QoS::AtLeastOnce);
    let mut probe = Net::online_with(config());
    probe.publish_message(publish.clone());
    let sent = probe.sent_one();
    let length = sent.encoded_len(Version::V5).unwrap() as u32;
    for (room, fits) in [(length, true), (length - 1, false)] {
        let mut net = Net::new(config());
        net.go_online(false, &[Property::MaximumPacketSize(room)]);
        net.sent();
        let token = net.publish_message(publish.clone());
        assert_eq!(net.sent().len(), usize::from(fits));
        let expected = if fits { None } else { Some(Err(Failure::TooLarge(room))) };
        assert_eq!(net.settled(token), expected);
    }
}

/// An alias makes the first packet with it longer: it is not chosen where the packet would be too large for the Server.
#[test]
fn an_alias_is_set_where_there_is_room_for_it() {
    let publish = message("abcdef", "payload", QoS::AtLeastOnce);
    let mut probe = Net::online_with(config());
    probe.publish_message(publish.clone());
    let length = probe.sent_one().encoded_len(Version::V5).unwrap() as u32;
    for (room, alias) in [(length, None), (length + 3, None), (length + 4, Some(1))] {
        let mut net = Net::new(ClientConfig { topic_alias: AliasPolicy::FirstCome, ..config() });
        net.go_online(false, &[Property::MaximumPacketSize(room), Property::TopicAliasMaximum(5)]);
        net.sent();
        net.publish_message(publish.clone());
        let sent = as_publish(net.sent_one());
        assert_eq!(sent.properties.topic_alias(), alias, "{room} of {length}");
    }
}

/// [MQTT-3.3.2-7] A message that is sent again carries its topic, and no alias.
#[test]
fn a_message_sent_again_has_no_alias() {
    let mut net = Net::new(ClientConfig { topic_alias: AliasPolicy::FirstCome, ..config() });
    net.go_online(false, &[Property::TopicAliasMaximum(5)]);
    net.publish("abcdef", "x", QoS::AtLeastOnce);
    assert_eq!(as_publish(net.sent_one()).properties.topic_alias(), Some(1));
    net.lose();
    net.go_online(true, &[Property::TopicAliasMaximum(5)]);
    let again = as_publish(net.sent_one());
    assert_eq!(
        (again.delivery, again.properties.topic_alias()),
        (Delivery::AtLeastOnce { id: pid(1), dup: true }, None)
    );
    assert_eq!(again.topic.as_deref(), Some("abcdef"));
}

/// The alias that was used longest ago gives way; a topic of three bytes gains nothing by one.
#[test]
fn the_least_recently_used_alias_gives_way() {
    let mut net = Net::new(ClientConfig { topic_alias: AliasPolicy::Lru, ..config() });
    net.go_online(false, &[Property::TopicAliasMaximum(2)]);
    for (name, alias, named) in [
        ("abc", None, true),
        ("abc", None, true),
        ("aaaa", Some(1), true),
        ("bbbb", Some(2), true),
        ("aaaa", Some(1), false),
        ("cccc", Some(2), true),
        ("dddd", Some(1), true),
        ("cccc", Some(2), false),
        ("aaaa", Some(1), true),
    ] {
        net.publish(name, "x", QoS::AtMostOnce);
        let sent = as_publish(net.sent_one());
        assert_eq!((sent.properties.topic_alias(), sent.topic.is_some()), (alias, named), "{name}");
    }
}

#[test]
fn subscriptions_are_counted_to_their_limit() {
    let mut net = Net::online_with(ClientConfig { max_subscriptions: 2, ..config() });
    let mut ask = |names: &[&str]| {
        let filters = names.iter().map(|name| (filter(name), QoS::AtMostOnce.into())).collect();
        net.client.subscribe(net.now, filters, SubscribeOptions::default()).map(|_| ())
    };
    assert_eq!(ask(&["a"]), Ok(()));
    assert_eq!(ask(&["b", "c"]), Err(SubscribeError::TooMany));
    assert_eq!(ask(&["b"]), Ok(()));
    assert_eq!(ask(&["b", "a"]), Ok(()), "neither is new");
    assert_eq!(ask(&["c"]), Err(SubscribeError::TooMany));
}

/// 32 bytes are set aside for the head of a packet, and three beside each filter.
#[test]
fn batches_are_filled_to_the_servers_limit() {
    for (room, sizes) in
        [(32 + 8 + 13 + 5, &[3][..]), (32 + 8 + 13 + 4, &[2, 1]), (32 + 8 + 13 - 1, &[1, 2]), (40, &[1, 1, 1])]
    {
        let mut net = Net::new(config());
        let filters = ["aaaaa", "bbbbbbbbbb", "cc"].map(|name| (filter(name), QoS::AtMostOnce.into())).to_vec();
        net.client.subscribe(net.now, filters.clone(), SubscribeOptions::default()).unwrap();
        net.go_online(false, &[Property::MaximumPacketSize(room)]);
        let packets = net.sent().into_iter().map(|packet| match packet {
            Packet::Subscribe(subscribe) => subscribe.filters.len(),
            other => panic!("{other:?}"),
        });
        assert_eq!(packets.collect::<Vec<_>>(), sizes, "{room}");
    }
    // [MQTT-3.2.2-15] One filter that is too large with what is set aside may fit all the same.
    for (room, sent) in [(13, 1), (12, 0)] {
        let mut net = Net::new(config());
        net.go_online(false, &[Property::MaximumPacketSize(room)]);
        net.subscribe("aaaaa", QoS::AtMostOnce);
        assert_eq!(net.sent().len(), sent, "{room}");
    }
    // Filters that are given up travel together, too.
    let mut net = Net::online_with(config());
    net.client.unsubscribe(net.now, vec![filter("a"), filter("b")]).unwrap();
    assert!(matches!(net.sent_one(), Packet::Unsubscribe(unsubscribe) if unsubscribe.filters.len() == 2));
}

/// What was handed out, or fetched again, no longer weighs on what may wait.
#[test]
fn waiting_messages_are_charged_until_they_are_handed_out() {
    let limited = || ClientConfig { max_incoming_bytes: 20, ..config() };
    let mut net = Net::online_with(limited());
    for _ in 0..50 {
        net.send(incoming("abcd", "123456", qos1(1)));
        assert!(net.client.wants_read(), "10 of 20 bytes");
        net.send(incoming("abcd", "123456", qos1(2)));
        assert!(!net.client.wants_read(), "20 of 20 bytes");
        assert_eq!(net.messages().len(), 2);
        assert!(net.client.wants_read());
    }
    let mut net = Net::online_with(ClientConfig { max_incoming_bytes: 11, ..config() });
    for _ in 0..3 {
        net.send(incoming("abcd", "123456", qos1(1)));
        assert!(net.client.wants_read(), "10 of 11 bytes");
        assert_eq!(net.messages().len(), 1);
    }
    // A connection that is lost with one waiting: the Server sends it again, and the first copy is gone.
    let mut net = Net::online_with(limited());
    for _ in 0..5 {
        net.send(incoming("abcd", "123456", qos1(1)));
        net.reconnect(true);
    }
    net.send(incoming("abcd", "123456", qos1(1)));
    assert!(net.client.wants_read(), "10 of 20 bytes");
    assert_eq!(net.messages().len(), 1);
}

#[test]
fn errors_say_what_was_wrong_with_a_packet() {
    let detail = |bytes: &[u8]| {
        let mut net = Net::online_with(ClientConfig { maximum_packet_size: 50, ..config() });
        net.send_bytes(bytes);
        match net.disconnected().0 {
            DisconnectReason::Protocol(error) => error.detail,
            other => panic!("{other:?}"),
        }
    };
    assert!(detail(&[0x30, 100]).contains("larger"));
    let bad = detail(&[0xD0, 1, 0]);
    assert_ne!(bad, detail(&[0xC0, 0]), "the one is malformed, the other a packet of clients");
}

/// [MQTT-4.3.3-11] The Server's session may be ours or not: PUBREL of an identifier that we knew is answered as known.
#[test]
fn pubrel_in_a_doubtful_session_finds_its_identifier() {
    let mut net = Net::new(config());
    net.go_online(false, &[]);
    net.send(incoming("t", "x", qos2(9)));
    assert_eq!(net.messages().len(), 1);
    assert!(matches!(net.sent_one(), Packet::PubRec(_)));
    // CONNACK of the next connection is lost.
    net.lose();
    net.client.connect(net.now);
    net.accept();
    net.lose();
    net.go_online(true, &[]);
    net.sent();
    net.send(Packet::PubRel(ack(pid(9))));
    assert_eq!(net.sent(), [Packet::PubComp(ack(pid(9)))]);
    net.send(Packet::PubRel(ack(pid(9))));
    assert_eq!(net.sent(), [Packet::PubComp(ack_with(pid(9), ReasonCode::PacketIdentifierNotFound))]);
}

/// The end of a subscription that nobody has confirmed belongs to the session: waiting, on its way, or both; not if it was made again.
#[test]
fn an_exported_session_knows_what_is_to_be_unsubscribed() {
    let unsubscribe = |net: &mut Net, name: &str| {
        net.client.unsubscribe(net.now, vec![filter(name)]).unwrap();
        net.run();
    };
    let unwanted = |net: &Net| net.client.export(net.now).unsubscribe;
    let mut net = Net::online_with(config());
    for name in ["a", "b", "c"] {
        net.subscribe(name, QoS::AtMostOnce);
    }
    net.grant();
    assert!(unwanted(&net).is_empty());
    unsubscribe(&mut net, "b");
    assert_eq!(unwanted(&net), [filter("b")], "on its way");
    net.lose();
    assert_eq!(unwanted(&net), [filter("b")], "it waits again");
    unsubscribe(&mut net, "a");
    assert_eq!(unwanted(&net), [filter("a"), filter("b")]);
    net.subscribe("b", QoS::AtLeastOnce);
    assert_eq!(unwanted(&net), [filter("a")], "it is wanted again");
    // Wanted again before the answer to UNSUBSCRIBE came.
    let mut net = Net::online_with(config());
    net.subscribe("a", QoS::AtMostOnce);
    net.grant();
    unsubscribe(&mut net, "a");
    net.subscribe("a", QoS::AtMostOnce);
    assert!(unwanted(&net).is_empty());
}
