//! The session as a value: exported, restored, and going on where it was.

use crate::support::*;
use mqtt_session::Instant;
use mqtt_session::client::{ClientConfig, Message, Outcome, SessionState, Token};
use mqtt_session::proto::{Delivery, Packet, PacketId, Properties, Property, QoS, ReasonCode, Version};

fn config(version: Version) -> ClientConfig {
    let session_expiry = if version.is_v5() { 3600 } else { 0 };
    ClientConfig {
        version,
        client_id: id("c"),
        clean_start: false,
        session_expiry,
        max_inflight: 3,
        ..ClientConfig::default()
    }
}

/// One message in each state, an incoming one too, and two subscriptions of which one is confirmed.
fn busy(version: Version) -> (Net, Vec<Token>) {
    let mut net = Net::new(config(version));
    net.go_online(false, &[]);
    net.subscribe("confirmed", QoS::ExactlyOnce);
    net.grant();
    net.subscribe("unconfirmed", QoS::AtLeastOnce);
    let tokens = [("1", QoS::ExactlyOnce), ("2", QoS::ExactlyOnce), ("3", QoS::AtLeastOnce), ("4", QoS::AtLeastOnce)]
        .map(|(payload, qos)| net.publish("t", payload, qos));
    net.send(incoming("t", "in", qos2(9)));
    net.messages();
    net.sent();
    net.send(Packet::PubRec(ack(pid(3)))); // message 1: the subscriptions had 1 and 2
    net.sent();
    (net, tokens.into())
}

// [MQTT-4.1.0-1], [MQTT-3.1.2-23], [MQTT-4.4.0-1]
#[test]
fn a_restored_session_goes_on_where_it_was() {
    for version in [Version::V3_1_1, Version::V5] {
        let (net, tokens) = busy(version);
        let state = net.client.export(net.now);
        assert_eq!(state.inflight.len(), 3);
        let mut net = Net::restore(config(version), state, Instant::from_secs(1_000_000));
        let connect = net.go_online(true, &[]);
        assert_eq!((&*connect.client_id, connect.clean_start), ("c", false));
        let sent = net.sent();
        assert_eq!(sent[0], Packet::PubRel(ack(pid(3))));
        let Packet::Subscribe(subscribe) = &sent[1] else { panic!("{sent:?}") };
        assert_eq!(subscribe.filters, [(filter("unconfirmed"), QoS::AtLeastOnce.into())], "the server has the other");
        assert_eq!(as_publish(sent[2].clone()).delivery, Delivery::ExactlyOnce { id: pid(4), dup: true });
        assert_eq!(as_publish(sent[3].clone()).delivery, Delivery::AtLeastOnce { id: pid(5), dup: true });
        assert_eq!(sent.len(), 4, "the window is full");
        net.send(incoming("t", "in", Delivery::ExactlyOnce { id: pid(9), dup: true }));
        assert!(net.messages().is_empty(), "known already");
        assert_eq!(net.sent(), [Packet::PubRec(ack(pid(9)))]);
        net.send(Packet::PubComp(ack(pid(3))));
        assert_eq!(net.settled(tokens[0]), Some(Ok(Outcome::Acknowledged(ReasonCode::Success))));
        let last = as_publish(net.sent_one());
        assert_eq!((&last.payload[..], last.delivery.dup()), (&b"4"[..], false));
    }
}

// [MQTT-2.2.1-3]
#[test]
fn new_identifiers_avoid_restored_ones() {
    let (net, _) = busy(Version::V5);
    let mut state = net.client.export(net.now);
    for (inflight, number) in state.inflight.iter_mut().zip([1, 2, 4]) {
        inflight.id = pid(number);
    }
    let mut net = Net::restore(ClientConfig { max_inflight: 100, ..config(Version::V5) }, state, Instant::ZERO);
    net.go_online(true, &[]);
    net.publish("t", "new", QoS::AtLeastOnce);
    let ids: Vec<u16> = net
        .sent()
        .iter()
        .filter_map(|packet| match packet {
            Packet::Publish(publish) if !publish.delivery.dup() => publish.delivery.id().map(PacketId::get),
            Packet::Subscribe(subscribe) => Some(subscribe.id.get()),
            _ => None,
        })
        .collect();
    assert_eq!(ids, [3, 5, 6]);
}

#[test]
fn tokens_are_never_given_out_twice() {
    let (net, tokens) = busy(Version::V5);
    let state = net.client.export(net.now);
    let last = *tokens.last().unwrap();
    assert_eq!(Token::from_u64(state.last_token), last);
    let mut net = Net::restore(config(Version::V5), state, Instant::ZERO);
    assert!(net.publish("t", "x", QoS::AtMostOnce) > last);
}

#[test]
fn lifetimes_go_on() {
    let mut net = Net::new(config(Version::V5));
    let properties =
        Properties::builder().with(Property::MessageExpiryInterval(60)).with(Property::ContentType("x")).build();
    net.publish_message(Message { properties, ..message("t", "x", QoS::AtLeastOnce) });
    net.pass(secs(20));
    let state = net.client.export(net.now);
    assert_eq!(state.queue[0].expires_in, Some(secs(40)));
    let mut net = Net::restore(config(Version::V5), state, Instant::from_secs(777));
    net.pass(secs(10));
    net.go_online(false, &[]);
    let publish = as_publish(net.sent_one());
    assert_eq!(publish.properties.message_expiry_interval(), Some(30));
    assert_eq!(publish.properties.content_type(), Some("x"));
}

#[test]
fn exporting_what_was_restored_gives_the_same() {
    let (net, _) = busy(Version::V5);
    let state = net.client.export(net.now);
    let again = Net::restore(config(Version::V5), state.clone(), Instant::from_secs(5));
    assert_eq!(again.client.export(again.now), state);
    let empty = Net::restore(config(Version::V5), SessionState::default(), Instant::ZERO);
    assert_eq!(empty.client.export(Instant::ZERO), SessionState { client_id: id("c"), ..SessionState::default() });
}

#[test]
fn the_assigned_identifier_is_part_of_the_session() {
    let anonymous = || ClientConfig { client_id: id(""), ..config(Version::V5) };
    let mut net = Net::new(anonymous());
    net.go_online(false, &[Property::AssignedClientIdentifier("given")]);
    let state = net.client.export(net.now);
    let mut net = Net::restore(anonymous(), state, Instant::ZERO);
    assert_eq!(&*net.go_online(true, &[]).client_id, "given");
}

#[test]
fn restoring_is_resuming() {
    let clean = || ClientConfig { clean_start: true, ..config(Version::V5) };
    let mut net = Net::restore(clean(), busy(Version::V5).0.client.export(Instant::ZERO), Instant::ZERO);
    assert!(!net.go_online(true, &[]).clean_start);
    assert!(net.connected().session_present && !net.connected().session_lost);
}

#[test]
fn a_server_without_the_session_gets_everything_anew() {
    let (net, tokens) = busy(Version::V5);
    let mut net = Net::restore(config(Version::V5), net.client.export(net.now), Instant::ZERO);
    net.go_online(false, &[]);
    assert!(net.connected().session_lost);
    assert!(matches!(net.settled(tokens[0]), Some(Err(_))), "QoS 2: nobody knows");
    let sent = net.sent();
    let Packet::Subscribe(subscribe) = &sent[0] else { panic!("{sent:?}") };
    assert_eq!(subscribe.filters.len(), 2);
    let payloads: Vec<_> = sent[1..].iter().cloned().map(|packet| as_publish(packet).payload).collect();
    assert_eq!(payloads, ["3", "4"]);
}

// [MQTT-4.6.0-1] The order is that of the first sending, also where identifiers have wrapped around.
#[test]
fn sending_again_follows_the_order_and_not_the_identifiers() {
    let mut net = Net::new(ClientConfig { max_inflight: 10, ..config(Version::V3_1_1) });
    net.go_online(false, &[]);
    for n in 0..4 {
        net.publish("t", &n.to_string(), QoS::ExactlyOnce);
    }
    for number in [2, 1] {
        net.send(Packet::PubRec(ack(pid(number))));
    }
    let mut state = net.client.export(net.now);
    for (inflight, number) in state.inflight.iter_mut().zip([65_535, 1, 9, 3]) {
        inflight.id = pid(number);
    }
    let mut net = Net::restore(config(Version::V3_1_1), state, Instant::ZERO);
    net.go_online(true, &[]);
    let ids: Vec<_> = net
        .sent()
        .iter()
        .map(|packet| match packet {
            Packet::PubRel(ack) => ack.id.get(),
            Packet::Publish(publish) => publish.delivery.id().unwrap().get(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, [9, 3, 65_535], "PUBREL first, then PUBLISH as far as the window of 3 allows");
    net.send(Packet::PubComp(ack(pid(9))));
    assert_eq!(as_publish(net.sent_one()).delivery.id(), Some(pid(1)));
}
