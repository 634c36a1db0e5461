//! Subscriptions: requests and answers, what happens to them while offline, and reconciling after a reconnect.

use crate::support::*;
use mqtt_session::client::{ClientConfig, Event, Outcome, SubscribeError, SubscribeOptions, Token};
use mqtt_session::proto::{
    Packet, Properties, Property, QoS, ReasonCode, RetainHandling, SubAck, Subscribe, SubscriptionOptions, UnsubAck,
    Version,
};

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

fn persistent(version: Version) -> ClientConfig {
    let session_expiry = if version.is_v5() { 3600 } else { 0 };
    ClientConfig { version, client_id: id("c"), clean_start: false, session_expiry, ..ClientConfig::default() }
}

fn suback(id: u16, reasons: &[ReasonCode]) -> SubAck {
    SubAck { id: pid(id), reasons: reasons.into(), properties: Properties::new() }
}

fn unsuback(id: u16, reasons: &[ReasonCode]) -> UnsubAck {
    UnsubAck { id: pid(id), reasons: reasons.into(), properties: Properties::new() }
}

fn as_subscribe(packet: Packet) -> Subscribe {
    match packet {
        Packet::Subscribe(subscribe) => subscribe,
        other => panic!("{other:?} instead of SUBSCRIBE"),
    }
}

fn names(subscribe: &Subscribe) -> Vec<&str> {
    subscribe.filters.iter().map(|(filter, _)| filter.as_str()).collect()
}

/// Filters of all SUBSCRIBE packets sent.
fn subscribed(net: &mut Net) -> Vec<String> {
    let subscribes = net.sent().into_iter().map(as_subscribe);
    subscribes.flat_map(|s| names(&s).into_iter().map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn unsubscribe(net: &mut Net, name: &str) -> Token {
    let token = net.client.unsubscribe(net.now, vec![filter(name)]).unwrap();
    net.run();
    token
}

// [MQTT-3.8.4-2], [MQTT-3.8.4-6], [MQTT-3.8.4-7], [MQTT-3.9.3-1], [MQTT-2.2.1-6], [3.1.1: MQTT-3.9.3-1]
#[test]
fn one_reason_code_per_filter_settles_the_token() {
    for version in VERSIONS {
        let mut net = Net::online(version);
        let filters = vec![(filter("a"), QoS::AtMostOnce.into()), (filter("b/#"), QoS::ExactlyOnce.into())];
        let token = net.client.subscribe(net.now, filters, SubscribeOptions::default()).unwrap();
        let subscribe = as_subscribe(net.sent_one());
        assert_eq!((subscribe.id, names(&subscribe)), (pid(1), vec!["a", "b/#"]));
        let failure = if version.is_v5() { ReasonCode::NotAuthorized } else { ReasonCode::UnspecifiedError };
        net.send(suback(1, &[ReasonCode::Success, failure]));
        assert_eq!(net.settled(token), Some(Ok(Outcome::Subscribed(vec![ReasonCode::Success, failure]))));
        let desired: Vec<_> =
            net.client.subscriptions().map(|(filter, _, confirmed)| (filter.to_string(), confirmed)).collect();
        assert_eq!(desired, [("a".to_owned(), true)], "what was refused is not asked for again");
    }
}

// [MQTT-3.10.4-4], [MQTT-3.11.3-1]
#[test]
fn unsubscribe_is_settled_by_unsuback() {
    for version in VERSIONS {
        let mut net = Net::online(version);
        net.subscribe("a", QoS::AtLeastOnce);
        net.grant();
        let token = unsubscribe(&mut net, "a");
        assert!(matches!(net.sent_one(), Packet::Unsubscribe(packet) if packet.filters == [filter("a")]));
        let reasons = [ReasonCode::NoSubscriptionExisted];
        net.send(unsuback(2, if version.is_v5() { &reasons } else { &[] }));
        let expected = if version.is_v5() { reasons[0] } else { ReasonCode::Success };
        assert_eq!(net.settled(token), Some(Ok(Outcome::Unsubscribed(vec![expected]))));
    }
}

#[test]
fn answers_that_do_not_fit_are_refused() {
    let mut net = Net::online(Version::V5);
    net.subscribe("a", QoS::AtMostOnce);
    net.send(suback(1, &[ReasonCode::Success, ReasonCode::Success]));
    net.assert_refused(ReasonCode::ProtocolError, "MQTT-3.8.4-6");
    for version in VERSIONS {
        let mut net = Net::online(version);
        net.send(suback(9, &[ReasonCode::Success]));
        net.assert_refused(ReasonCode::ProtocolError, "MQTT-3.8.4-2");
        let mut net = Net::online(version);
        net.send(unsuback(9, if version.is_v5() { &[ReasonCode::Success] } else { &[] }));
        net.assert_refused(ReasonCode::ProtocolError, "MQTT-3.10.4-4");
    }
    let mut net = Net::online(Version::V5);
    unsubscribe(&mut net, "a");
    net.send(unsuback(1, &[ReasonCode::Success, ReasonCode::Success]));
    net.assert_refused(ReasonCode::ProtocolError, "MQTT-3.11.3-1");
}

// [MQTT-3.8.3-2], [MQTT-3.8.3-4], [MQTT-3.10.3-2]
#[test]
fn misuse_is_told_before_anything_is_sent() {
    let mut net = Net::online_with(ClientConfig { max_subscriptions: 2, ..persistent(Version::V5) });
    let mut subscribe = |names: &[&str], options: SubscriptionOptions, more: SubscribeOptions| {
        let filters = names.iter().map(|name| (filter(name), options)).collect();
        net.client.subscribe(net.now, filters, more).map(drop)
    };
    let plain = SubscriptionOptions::default();
    let none = SubscribeOptions::default;
    assert_eq!(subscribe(&[], plain, none()), Err(SubscribeError::Empty));
    assert_eq!(subscribe(&["a", "b", "c"], plain, none()), Err(SubscribeError::TooMany));
    let no_local = SubscriptionOptions { no_local: true, ..plain };
    assert_eq!(subscribe(&["$share/g/a"], no_local, none()), Err(SubscribeError::NoLocalShared));
    let identifier = |id| SubscribeOptions { identifier: Some(id), ..none() };
    assert_eq!(subscribe(&["a"], plain, identifier(0)), Err(SubscribeError::Identifier));
    assert_eq!(subscribe(&["a"], plain, identifier(268_435_456)), Err(SubscribeError::Identifier));
    assert_eq!(net.client.unsubscribe(net.now, vec![]), Err(SubscribeError::Empty));
    assert_eq!(net.sent(), []);
    let mut net = Net::online(Version::V3_1_1);
    let filters = vec![(filter("a"), no_local)];
    assert_eq!(net.client.subscribe(net.now, filters, none()), Err(SubscribeError::NotInVersion));
}

#[test]
fn options_identifier_and_user_properties_travel() {
    let mut net = Net::online(Version::V5);
    let options = SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    let user_properties = Properties::builder().with(Property::UserProperty("k", "v")).build();
    let more = SubscribeOptions { identifier: Some(5), user_properties };
    net.client.subscribe(net.now, vec![(filter("a"), options)], more).unwrap();
    let subscribe = as_subscribe(net.sent_one());
    assert_eq!(subscribe.filters, [(filter("a"), options)]);
    assert_eq!(subscribe.properties.subscription_identifiers().collect::<Vec<_>>(), [5]);
    assert_eq!(subscribe.properties.user_properties().collect::<Vec<_>>(), [("k", "v")]);
}

#[test]
fn offline_requests_are_reduced_to_the_difference() {
    let mut net = Net::new(persistent(Version::V5));
    let first = net.subscribe("a", QoS::AtMostOnce);
    net.subscribe("b", QoS::AtMostOnce);
    let second = net.subscribe("a", QoS::ExactlyOnce);
    let gone = net.subscribe("c", QoS::AtMostOnce);
    let unsubscribed = unsubscribe(&mut net, "c");
    assert!(net.settled(first).is_some() && net.settled(gone).is_some(), "overtaken");
    net.go_online(false, &[]);
    let subscribe = as_subscribe(net.sent_one());
    assert_eq!(subscribe.filters, [(filter("b"), QoS::AtMostOnce.into()), (filter("a"), QoS::ExactlyOnce.into())]);
    assert_eq!(net.settled(unsubscribed), Some(Ok(Outcome::Unsubscribed(vec![ReasonCode::NoSubscriptionExisted]))));
    net.send(suback(1, &[ReasonCode::Success, ReasonCode::GrantedQoS2]));
    assert_eq!(net.settled(second), Some(Ok(Outcome::Subscribed(vec![ReasonCode::GrantedQoS2]))));
}

#[test]
fn a_kept_session_is_not_subscribed_again_and_a_lost_one_is() {
    for version in [Version::V3_1_1, Version::V5] {
        let mut net = Net::new(persistent(version));
        net.go_online(false, &[]);
        net.subscribe("a", QoS::AtLeastOnce);
        net.grant();
        net.reconnect(true);
        assert_eq!(net.sent(), []);
        net.reconnect(false);
        let subscribe = as_subscribe(net.sent_one());
        assert_eq!(subscribe.filters, [(filter("a"), QoS::AtLeastOnce.into())]);
    }
}

#[test]
fn clean_sessions_are_subscribed_again_and_3_1_always_is() {
    for version in VERSIONS {
        let mut net = Net::online(version);
        net.subscribe("a", QoS::AtLeastOnce);
        net.grant();
        net.reconnect(false);
        assert_eq!(subscribed(&mut net), ["a"]);
    }
    let mut net = Net::new(persistent(Version::V3_1));
    net.go_online(false, &[]);
    net.subscribe("a", QoS::AtLeastOnce);
    net.grant();
    net.reconnect(false);
    assert_eq!(subscribed(&mut net), ["a"]);
}

#[test]
fn a_session_that_may_be_new_is_subscribed_again() {
    // The session was over, and the CONNACK that said so was lost: the next one finds the session that was made then.
    for version in [Version::V3_1_1, Version::V5] {
        let mut net = Net::new(persistent(version));
        net.go_online(false, &[]);
        net.subscribe("a", QoS::AtLeastOnce);
        net.grant();
        net.lose();
        net.client.connect(net.now);
        net.accept();
        net.lose();
        net.go_online(true, &[]);
        let again = as_subscribe(net.sent_one());
        assert_eq!(names(&again), ["a"]);
        net.send(suback(again.id.get(), &[ReasonCode::GrantedQoS1]));
        net.reconnect(true);
        assert_eq!(net.sent(), [], "once is enough");
    }
}

#[test]
fn resubscribing_can_be_turned_off() {
    let mut net = Net::online_with(ClientConfig { resubscribe: false, ..persistent(Version::V5) });
    net.subscribe("a", QoS::AtLeastOnce);
    net.grant();
    net.reconnect(false);
    assert_eq!(net.sent(), []);
    assert_eq!(net.client.subscriptions().count(), 0);
}

#[test]
fn unanswered_requests_are_asked_again_on_any_new_connection() {
    for session_present in [false, true] {
        let mut net = Net::new(persistent(Version::V5));
        net.go_online(false, &[]);
        net.subscribe("kept", QoS::AtLeastOnce);
        net.grant();
        let token = net.subscribe("new", QoS::AtLeastOnce);
        let gone = unsubscribe(&mut net, "old");
        net.sent();
        net.reconnect(session_present);
        let sent = net.sent();
        if session_present {
            assert_eq!(names(&as_subscribe(sent[0].clone())), ["new"]);
            assert!(matches!(&sent[1], Packet::Unsubscribe(packet) if packet.filters == [filter("old")]));
        } else {
            assert_eq!(names(&as_subscribe(sent[0].clone())), ["kept", "new"]);
            assert_eq!(sent.len(), 1, "nothing to unsubscribe from");
            assert!(net.settled(gone).is_some());
        }
        let id = as_subscribe(sent[0].clone()).id.get();
        net.send(suback(id, &vec![ReasonCode::GrantedQoS1; 2 - usize::from(session_present)]));
        assert_eq!(net.settled(token), Some(Ok(Outcome::Subscribed(vec![ReasonCode::GrantedQoS1]))));
    }
}

#[test]
fn a_newer_request_of_the_same_filter_survives_the_older_one() {
    let mut net = Net::new(persistent(Version::V5));
    net.go_online(false, &[]);
    net.subscribe("a", QoS::AtLeastOnce);
    net.sent();
    net.lose();
    unsubscribe(&mut net, "a");
    net.go_online(true, &[]);
    assert!(matches!(net.sent_one(), Packet::Unsubscribe(_)));
    assert_eq!(net.client.subscriptions().count(), 0);
}

#[test]
fn a_subscription_that_cannot_be_made_again_is_reported() {
    let mut net = Net::new(persistent(Version::V5));
    net.go_online(false, &[]);
    net.subscribe("a", QoS::AtLeastOnce);
    net.grant();
    net.reconnect(false);
    let subscribe = as_subscribe(net.sent_one());
    net.send(suback(subscribe.id.get(), &[ReasonCode::NotAuthorized]));
    let lost = net.events.iter().any(
        |event| matches!(event, Event::SubscriptionLost { filter, reason: ReasonCode::NotAuthorized } if filter.as_str() == "a"),
    );
    assert!(lost);
    assert_eq!(net.client.subscriptions().count(), 0);
}

#[test]
fn requests_travel_in_batches_of_one_kind() {
    let mut net = Net::new(ClientConfig { subscribe_batch: 2, ..persistent(Version::V5) });
    for name in ["a", "b", "c"] {
        net.subscribe(name, QoS::AtMostOnce);
    }
    let more = SubscribeOptions { identifier: Some(1), ..SubscribeOptions::default() };
    net.client.subscribe(net.now, vec![(filter("d"), QoS::AtMostOnce.into())], more).unwrap();
    net.go_online(false, &[]);
    let batches: Vec<_> = net.sent().into_iter().map(|packet| names(&as_subscribe(packet)).join(" ")).collect();
    assert_eq!(batches, ["a b", "c", "d"]);
}

// [MQTT-3.2.2-15]
#[test]
fn batches_fit_the_servers_maximum_packet_size() {
    let mut net = Net::new(persistent(Version::V5));
    for n in 0..10 {
        net.subscribe(&format!("{n}{}", "x".repeat(29)), QoS::AtMostOnce);
    }
    let huge = net.subscribe(&"y".repeat(300), QoS::AtMostOnce);
    net.go_online(false, &[Property::MaximumPacketSize(200)]);
    let sent = net.sent();
    assert!(sent.len() > 1 && sent.iter().all(|packet| packet.encoded_len(Version::V5).unwrap() <= 200));
    assert_eq!(sent.into_iter().map(|packet| as_subscribe(packet).filters.len()).sum::<usize>(), 10);
    assert_eq!(net.settled(huge), Some(Ok(Outcome::Subscribed(vec![ReasonCode::PacketTooLarge]))));
}

// Section 3.2.2.3.11 to 3.2.2.3.13: asking would be a Protocol Error.
#[test]
fn what_the_server_does_not_support_is_not_asked_for() {
    let mut net = Net::new(persistent(Version::V5));
    net.go_online(
        false,
        &[
            Property::WildcardSubscriptionAvailable(false),
            Property::SharedSubscriptionAvailable(false),
            Property::SubscriptionIdentifierAvailable(false),
        ],
    );
    let wildcard = net.subscribe("a/#", QoS::AtMostOnce);
    let shared = net.subscribe("$share/g/a", QoS::AtMostOnce);
    let more = SubscribeOptions { identifier: Some(1), ..SubscribeOptions::default() };
    let identified = net.client.subscribe(net.now, vec![(filter("a"), QoS::AtMostOnce.into())], more).unwrap();
    for (token, reason) in [
        (wildcard, ReasonCode::WildcardSubscriptionsNotSupported),
        (shared, ReasonCode::SharedSubscriptionsNotSupported),
        (identified, ReasonCode::SubscriptionIdentifiersNotSupported),
    ] {
        assert_eq!(net.settled(token), Some(Ok(Outcome::Subscribed(vec![reason]))));
    }
    assert_eq!(net.sent(), []);
    net.subscribe("a", QoS::AtMostOnce);
    assert_eq!(subscribed(&mut net), ["a"]);
}

#[test]
fn a_subscription_is_wanted_however_often_the_session_is_lost() {
    let mut net = Net::new(persistent(Version::V5));
    net.go_online(false, &[]);
    net.subscribe("a", QoS::AtLeastOnce);
    net.grant();
    for _ in 0..3 {
        net.reconnect(false);
        assert_eq!(net.client.subscriptions().count(), 1);
        assert_eq!(subscribed(&mut net), ["a"]);
        net.reconnect(false);
        let again = as_subscribe(net.sent_one());
        assert_eq!(names(&again), ["a"], "also where the Server has not answered");
        net.send(suback(again.id.get(), &[ReasonCode::GrantedQoS1]));
        assert!(net.client.subscriptions().all(|(.., confirmed)| confirmed));
    }
    // What was never confirmed is no subscription that the Server has lost.
    let mut net = Net::online_with(ClientConfig { resubscribe: false, ..persistent(Version::V5) });
    net.subscribe("a", QoS::AtLeastOnce);
    net.sent();
    net.reconnect(false);
    assert_eq!(subscribed(&mut net), ["a"]);
    assert_eq!(net.client.subscriptions().count(), 1);
}

// Section 3.8.2.1.2
#[test]
fn a_subscription_identifier_may_be_as_large_as_the_largest() {
    let mut net = Net::online_with(persistent(Version::V5));
    for (number, allowed) in [(0, false), (1, true), (268_435_455, true), (268_435_456, false)] {
        let options = SubscribeOptions { identifier: Some(number), ..SubscribeOptions::default() };
        let filters = vec![(filter("a"), QoS::AtMostOnce.into())];
        assert_eq!(net.client.subscribe(net.now, filters, options).is_ok(), allowed, "{number}");
    }
}
