//! Receiving: acknowledgments, QoS 2 once, manual acknowledgment, topic aliases, Receive Maximum and back-pressure.

use crate::support::*;
use mqtt_session::client::{ClientConfig, Event};
use mqtt_session::proto::{Delivery, Packet, Properties, Property, Publish, QoS, ReasonCode, Version};

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

fn persistent() -> ClientConfig {
    ClientConfig { client_id: id("c"), clean_start: false, session_expiry: 3600, ..ClientConfig::default() }
}

fn payloads(net: &mut Net) -> Vec<String> {
    net.messages().into_iter().map(|message| String::from_utf8(message.payload.to_vec()).unwrap()).collect()
}

// [MQTT-3.3.4-1], [MQTT-4.3.2-4], [MQTT-4.3.3-8], [MQTT-4.3.3-11], [MQTT-4.5.0-2]
#[test]
fn messages_are_acknowledged_when_they_are_handed_out() {
    for version in VERSIONS {
        let mut net = Net::online(version);
        net.send(incoming("t", "0", Delivery::AtMostOnce));
        net.send(incoming("t", "1", qos1(7)));
        net.send(incoming("t", "2", qos2(8)));
        assert_eq!(net.sent(), [], "nobody has them yet");
        assert_eq!(payloads(&mut net), ["0", "1", "2"]);
        assert_eq!(net.sent(), [Packet::PubAck(ack(pid(7))), Packet::PubRec(ack(pid(8)))]);
        net.send(Packet::PubRel(ack(pid(8))));
        assert_eq!(net.sent_one(), Packet::PubComp(ack(pid(8))));
    }
}

#[test]
fn messages_come_with_all_they_carry() {
    let mut net = Net::online(Version::V5);
    let properties: Properties =
        [Property::UserProperty("k", "v"), Property::SubscriptionIdentifier(3)].into_iter().collect();
    let delivery = Delivery::AtLeastOnce { id: pid(1), dup: true };
    net.send(Publish { retain: true, properties: properties.clone(), ..incoming("a/b", "x", delivery) });
    let message = net.messages().remove(0);
    assert_eq!((&*message.topic, message.qos, message.retain, message.dup), ("a/b", QoS::AtLeastOnce, true, true));
    assert_eq!((message.properties, message.ack), (properties, None));
}

// [MQTT-4.3.3-10], [MQTT-4.3.3-12]
#[test]
fn qos2_is_handed_out_once_until_pubrel() {
    let mut net = Net::online(Version::V5);
    let copy = incoming("t", "x", Delivery::ExactlyOnce { id: pid(1), dup: true });
    net.send(incoming("t", "x", qos2(1)));
    net.send(copy.clone());
    assert_eq!(payloads(&mut net), ["x"]);
    assert_eq!(net.sent(), [Packet::PubRec(ack(pid(1)))], "the copy came before the answer");
    net.send(copy);
    assert_eq!(net.sent(), [Packet::PubRec(ack(pid(1)))]);
    assert_eq!(payloads(&mut net), Vec::<String>::new());
    assert_eq!(net.client.stats().duplicates_suppressed, 2);
    net.send(Packet::PubRel(ack(pid(1))));
    net.send(incoming("t", "y", qos2(1)));
    assert_eq!(payloads(&mut net), ["y"], "a new message");
}

// [MQTT-4.3.2-5]
#[test]
fn qos1_with_a_used_identifier_is_a_new_message() {
    let mut net = Net::online(Version::V5);
    net.send(incoming("t", "x", qos1(1)));
    payloads(&mut net);
    net.send(incoming("t", "x", Delivery::AtLeastOnce { id: pid(1), dup: true }));
    assert_eq!(payloads(&mut net), ["x"]);
}

#[test]
fn an_unknown_pubrel_is_answered() {
    for version in VERSIONS {
        let mut net = Net::online(version);
        net.send(Packet::PubRel(ack(pid(5))));
        let reason = if version.is_v5() { ReasonCode::PacketIdentifierNotFound } else { ReasonCode::Success };
        assert_eq!(net.sent_one(), Packet::PubComp(ack_with(pid(5), reason)));
    }
}

// [MQTT-4.3.3-4], [MQTT-2.2.1-4]
#[test]
fn confused_flows_are_refused() {
    let mut net = Net::online(Version::V5);
    net.send(incoming("t", "x", qos2(1)));
    net.send(Packet::PubRel(ack(pid(1))));
    net.assert_refused(ReasonCode::ProtocolError, "MQTT-4.3.3-4");
    let mut net = Net::online(Version::V5);
    net.send(incoming("t", "x", qos2(1)));
    net.send(incoming("t", "x", qos1(1)));
    net.assert_refused(ReasonCode::ProtocolError, "MQTT-2.2.1-4");
}

// [MQTT-3.4.2-2], [MQTT-3.4.2-3], [MQTT-3.5.2-2], [MQTT-3.5.2-3], [MQTT-3.6.2-2], [MQTT-3.6.2-3], [MQTT-3.7.2-2], [MQTT-3.7.2-3]
#[test]
fn acknowledgments_fit_any_maximum_packet_size() {
    let mut net = Net::new(persistent());
    net.go_online(false, &[Property::MaximumPacketSize(12)]);
    net.publish("t", "x", QoS::ExactlyOnce);
    net.sent();
    net.send(Packet::PubRec(ack(pid(1))));
    net.send(Packet::PubRec(ack(pid(77))));
    net.send(Packet::PubRel(ack(pid(77))));
    net.send(incoming("t", "x", qos1(1)));
    net.send(incoming("t", "x", qos2(2)));
    net.messages();
    let sent = net.sent();
    assert_eq!(sent.len(), 5);
    for packet in sent {
        let (Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack)) = &packet else {
            panic!("{packet:?}")
        };
        assert!(ack.properties.is_empty() && packet.encoded_len(Version::V5).unwrap() <= 5);
    }
}

// The session remembers QoS 2 identifiers; QoS 1 messages that nobody saw come again instead of twice.
#[test]
fn a_resumed_session_repeats_nothing_of_qos2() {
    let mut net = Net::new(persistent());
    net.go_online(false, &[]);
    net.send(incoming("t", "seen", qos2(1)));
    assert_eq!(payloads(&mut net), ["seen"]);
    net.send(incoming("t", "unseen", qos2(2)));
    net.send(incoming("t", "unseen 1", qos1(3)));
    net.sent();
    net.reconnect(true);
    for (payload, number) in [("seen", 1), ("unseen", 2)] {
        net.send(incoming("t", payload, Delivery::ExactlyOnce { id: pid(number), dup: true }));
    }
    net.send(incoming("t", "unseen 1", Delivery::AtLeastOnce { id: pid(3), dup: true }));
    assert_eq!(net.sent_one(), Packet::PubRec(ack(pid(1))));
    assert_eq!(payloads(&mut net), ["unseen", "unseen 1"]);
    assert_eq!(net.sent(), [Packet::PubRec(ack(pid(2))), Packet::PubAck(ack(pid(3)))]);
}

// The session was over, and the CONNACK that said so was lost: identifiers may stand for what they stood for, or for something new.
#[test]
fn a_session_that_may_be_new_gives_identifiers_new_meanings() {
    for dup in [false, true] {
        let mut net = Net::new(ClientConfig { receive_maximum: 1, ..persistent() });
        net.go_online(false, &[]);
        net.send(incoming("t", "old", qos2(1)));
        assert_eq!(payloads(&mut net), ["old"]);
        net.lose();
        net.client.connect(net.now);
        net.accept();
        net.lose();
        net.go_online(true, &[]);
        let (text, expected) = if dup { ("old", &[][..]) } else { ("new", &["new"][..]) };
        net.send(incoming("t", text, Delivery::ExactlyOnce { id: pid(1), dup }));
        assert_eq!(payloads(&mut net), expected, "and the window has room for it");
        assert_eq!(net.sent(), [Packet::PubRec(ack(pid(1)))]);
        net.send(Packet::PubRel(ack(pid(1))));
        assert_eq!(net.sent(), [Packet::PubComp(ack(pid(1)))]);
        net.send(incoming("t", "next", qos1(1)));
        assert_eq!(payloads(&mut net), ["next"]);
    }
}

#[test]
fn a_lost_session_forgets_identifiers() {
    let mut net = Net::new(persistent());
    net.go_online(false, &[]);
    net.send(incoming("t", "old", qos2(1)));
    payloads(&mut net);
    net.reconnect(false);
    net.send(incoming("t", "new", qos2(1)));
    assert_eq!(payloads(&mut net), ["new"]);
}

fn manual() -> Net {
    let mut net = Net::new(ClientConfig { manual_acks: true, ..persistent() });
    net.go_online(false, &[]);
    net
}

// [MQTT-4.6.0-2], [MQTT-4.6.0-3]
#[test]
fn manual_acknowledgments_leave_in_the_order_of_arrival() {
    let mut net = manual();
    for (payload, delivery) in [("1", qos1(1)), ("2", qos2(2)), ("3", qos1(3))] {
        net.send(incoming("t", payload, delivery));
    }
    net.send(incoming("t", "0", Delivery::AtMostOnce));
    let messages = net.messages();
    let tokens: Vec<_> = messages.iter().map(|message| message.ack).collect();
    assert!(tokens[3].is_none(), "QoS 0 needs none");
    let acknowledge = |net: &mut Net, at: usize, reason| {
        let token = tokens[at].unwrap();
        net.client.acknowledge(net.now, token, reason);
        net.client.acknowledge(net.now, token, ReasonCode::Success); // a second time it does nothing
        net.sent()
    };
    assert_eq!(acknowledge(&mut net, 2, ReasonCode::Success), []);
    assert_eq!(acknowledge(&mut net, 1, ReasonCode::Success), []);
    assert_eq!(
        acknowledge(&mut net, 0, ReasonCode::QuotaExceeded),
        [
            Packet::PubAck(ack_with(pid(1), ReasonCode::QuotaExceeded)),
            Packet::PubRec(ack(pid(2))),
            Packet::PubAck(ack(pid(3)))
        ]
    );
}

// [MQTT-4.3.3-9]
#[test]
fn a_refused_qos2_message_frees_its_identifier() {
    let mut net = manual();
    net.send(incoming("t", "1", qos2(1)));
    let token = net.messages()[0].ack.unwrap();
    net.client.acknowledge(net.now, token, ReasonCode::NotAuthorized);
    assert_eq!(net.sent_one(), Packet::PubRec(ack_with(pid(1), ReasonCode::NotAuthorized)));
    net.send(incoming("t", "2", qos2(1)));
    assert_eq!(payloads(&mut net), ["2"]);
}

// [MQTT-3.4.2-1], [MQTT-3.5.2-1] Codes that PUBACK and PUBREC do not have are not sent.
#[test]
fn only_reason_codes_of_the_packet_are_sent() {
    let mut net = manual();
    net.send(incoming("t", "1", qos1(1)));
    let token = net.messages()[0].ack.unwrap();
    net.client.acknowledge(net.now, token, ReasonCode::ServerBusy);
    assert_eq!(net.sent_one(), Packet::PubAck(ack(pid(1))));
}

#[test]
fn acknowledgments_given_while_offline_count_for_qos2() {
    let mut net = manual();
    net.send(incoming("t", "1", qos1(1)));
    net.send(incoming("t", "2", qos2(2)));
    let messages = net.messages();
    net.lose();
    for message in &messages {
        net.client.acknowledge(net.now, message.ack.unwrap(), ReasonCode::Success);
    }
    net.go_online(true, &[]);
    assert_eq!(net.sent(), []);
    net.send(incoming("t", "1", Delivery::AtLeastOnce { id: pid(1), dup: true }));
    net.send(incoming("t", "2", Delivery::ExactlyOnce { id: pid(2), dup: true }));
    assert_eq!(net.sent(), [], "the QoS 1 message came again and waits");
    let again = net.messages();
    assert_eq!(again.len(), 1);
    net.client.acknowledge(net.now, again[0].ack.unwrap(), ReasonCode::Success);
    assert_eq!(net.sent(), [Packet::PubAck(ack(pid(1))), Packet::PubRec(ack(pid(2)))]);
}

// [MQTT-3.3.4-9]
#[test]
fn more_than_the_receive_maximum_is_refused() {
    let mut net = Net::new(ClientConfig { receive_maximum: 2, manual_acks: true, ..persistent() });
    net.go_online(false, &[]);
    net.send(incoming("t", "1", qos1(1)));
    net.send(incoming("t", "2", qos2(2)));
    net.send(incoming("t", "0", Delivery::AtMostOnce));
    let messages = net.messages();
    net.client.acknowledge(net.now, messages[0].ack.unwrap(), ReasonCode::Success);
    net.client.acknowledge(net.now, messages[1].ack.unwrap(), ReasonCode::Success);
    net.send(incoming("t", "3", qos1(3)));
    net.sent();
    assert!(net.client.is_connected(), "QoS 2 counts until PUBCOMP, PUBACK has freed one");
    net.send(incoming("t", "4", qos1(4)));
    net.assert_refused(ReasonCode::ReceiveMaximumExceeded, "MQTT-3.3.4-9");
}

fn aliased(name: Option<&str>, alias: u16, delivery: Delivery) -> Publish {
    let properties = Properties::builder().with(Property::TopicAlias(alias)).build();
    Publish { topic: name.map(topic), properties, ..incoming("t", "x", delivery) }
}

// [MQTT-3.3.2-10], [MQTT-3.3.2-11], [MQTT-3.1.2-26], [MQTT-3.1.2-27], [MQTT-3.3.2-7]
#[test]
fn topic_aliases_of_the_server_are_resolved_and_bounded() {
    let mut net = Net::new(ClientConfig { topic_alias_maximum: 2, ..persistent() });
    net.go_online(false, &[]);
    net.send(aliased(Some("long/topic"), 2, Delivery::AtMostOnce));
    net.send(aliased(None, 2, Delivery::AtMostOnce));
    let topics: Vec<String> = net.messages().iter().map(|message| message.topic.to_string()).collect();
    assert_eq!(topics, ["long/topic", "long/topic"]);
    net.reconnect(true);
    net.send(aliased(None, 2, Delivery::AtMostOnce));
    net.assert_refused(ReasonCode::ProtocolError, "section 3.3.2.3.4");
    for maximum in [0, 2] {
        let mut net = Net::new(ClientConfig { topic_alias_maximum: maximum, ..persistent() });
        net.go_online(false, &[]);
        net.send(aliased(Some("t"), maximum + 1, Delivery::AtMostOnce));
        net.assert_refused(ReasonCode::TopicAliasInvalid, "MQTT-3.3.2-11");
    }
}

#[test]
fn reading_pauses_when_nobody_takes_messages() {
    let mut net = Net::online_with(ClientConfig { max_incoming: 3, ..persistent() });
    for n in 0..5 {
        let mut more = bytes::BytesMut::new();
        Packet::from(incoming("t", &n.to_string(), Delivery::AtMostOnce)).encode(Version::V5, &mut more).unwrap();
        net.input.extend_from_slice(&more);
    }
    net.deliver();
    assert!(!net.client.wants_read());
    assert!(!net.input.is_empty(), "the rest is left where it is");
    assert!(!net.readable);
    let first = net.client.poll_message(net.now).unwrap();
    net.run();
    assert!(net.readable && &*first.payload == b"0");
    net.deliver();
    let rest = payloads(&mut net);
    net.deliver();
    assert_eq!([rest, payloads(&mut net)].concat(), ["1", "2", "3", "4"], "nothing is lost, and the order is kept");
    assert_eq!(net.client.stats().dropped_incoming, 0);
}

// A server that sends and never reads must not fill our memory with acknowledgments, nor be waited for without end.
#[test]
fn unread_acknowledgments_pause_reading_until_the_server_is_given_up() {
    let mut net = Net::online_with(ClientConfig { keep_alive: 60, ..persistent() });
    let mut packets = bytes::BytesMut::new();
    Packet::PubRel(ack(pid(1))).encode(Version::V5, &mut packets).unwrap();
    let packets = packets.repeat(100_000);
    net.input.extend_from_slice(&packets);
    net.client.handle_input(net.now, &mut net.input);
    assert!(!net.client.wants_read() && net.client.transmit().len() <= 250_000);
    assert!(!net.input.is_empty());
    net.now = net.now + secs(60);
    net.client.handle_timeout(net.now);
    net.now = net.now + secs(10);
    net.client.handle_timeout(net.now);
    assert!(!net.client.is_connected());

    let mut net = Net::online_with(persistent());
    net.input.extend_from_slice(&packets);
    net.client.handle_input(net.now, &mut net.input);
    net.run();
    assert!(net.readable, "written, so reading goes on");
    while !net.input.is_empty() {
        net.deliver();
    }
    assert_eq!(net.sent().len(), 100_000);
}

#[test]
fn bytes_pause_reading_too() {
    let mut net = Net::online_with(ClientConfig { max_incoming_bytes: 100, ..persistent() });
    net.send(incoming("t", &"x".repeat(60), Delivery::AtMostOnce));
    assert!(net.client.wants_read());
    net.send(incoming("t", &"x".repeat(60), Delivery::AtMostOnce));
    assert!(!net.client.wants_read());
    payloads(&mut net);
    assert!(net.client.wants_read());
}

// Who publishes and waits for the acknowledgment instead of taking messages must not wait for ever.
#[test]
fn reading_goes_on_while_an_acknowledgment_is_awaited() {
    let mut net = Net::online_with(ClientConfig { max_incoming: 3, ..persistent() });
    let token = net.publish("t", "mine", QoS::AtLeastOnce);
    net.sent();
    for n in 0..20 {
        net.send(incoming("t", &n.to_string(), Delivery::AtMostOnce));
    }
    assert!(net.client.wants_read());
    net.send(incoming("t", "important", qos1(1)));
    net.send(Packet::PubAck(ack(pid(1))));
    assert!(net.settled(token).is_some());
    assert!(!net.client.wants_read(), "now it can pause again");
    let taken = payloads(&mut net);
    assert_eq!(taken.len(), 12 + 1, "four times the limit; QoS 1 is never dropped");
    assert_eq!(taken.last().map(String::as_str), Some("important"));
    net.run();
    let dropped: u64 =
        net.events.iter().map(|event| if let Event::Dropped { count } = event { *count } else { 0 }).sum();
    assert_eq!((dropped, net.client.stats().dropped_incoming), (8, 8));
}

#[test]
fn small_messages_do_not_pin_the_read_buffer_and_large_ones_are_not_copied() {
    let mut net = Net::online(Version::V5);
    let large = "x".repeat(100_000);
    net.send(incoming("t", &large, Delivery::AtMostOnce));
    let message = net.messages().remove(0);
    assert_eq!(message.payload, large.as_bytes());
    net.input.extend_from_slice(&[0x30, 5, 0, 1, b't', 0, b'y']);
    let buffer = net.input.as_ptr_range();
    net.deliver();
    let message = net.messages().remove(0);
    assert!(!buffer.contains(&message.payload.as_ptr()));
}
