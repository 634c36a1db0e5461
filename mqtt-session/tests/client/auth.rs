//! Enhanced authentication and re-authentication (section 4.12).

use crate::support::*;
use mqtt_session::client::{AuthStep, ClientConfig, Event, StateError};
use mqtt_session::proto::{Auth, Packet, Properties, Property, ReasonCode};

fn config() -> ClientConfig {
    ClientConfig {
        client_id: id("c"),
        auth_method: Some("TEST".into()),
        auth_data: Some("first".into()),
        ..ClientConfig::default()
    }
}

fn auth(reason: ReasonCode, method: &str, data: &'static str) -> Packet {
    let properties = Properties::builder().with(Property::AuthenticationMethod(method));
    Packet::Auth(Auth { reason, properties: properties.with(Property::AuthenticationData(data.as_bytes())).build() })
}

fn step(data: &'static str) -> AuthStep {
    AuthStep { method: "TEST".into(), data: Some(data.into()) }
}

fn handshake() -> Net {
    let mut net = Net::new(config());
    net.client.connect(net.now);
    let (_, connect) = net.accept();
    assert_eq!(connect.properties.authentication_method(), Some("TEST"));
    assert_eq!(connect.properties.authentication_data(), Some(&b"first"[..]));
    net
}

// [MQTT-4.12.0-2], [MQTT-4.12.0-3], [MQTT-4.12.0-5], [MQTT-3.1.2-30], [MQTT-3.15.2-1], [MQTT-3.15.2-3]
#[test]
fn an_exchange_before_connack() {
    let mut net = handshake();
    net.publish("t", "x", mqtt_session::proto::QoS::AtLeastOnce);
    net.send(auth(ReasonCode::ContinueAuthentication, "TEST", "challenge"));
    assert!(matches!(net.events.back(), Some(Event::Auth(asked)) if *asked == step("challenge")));
    net.client.authenticate(net.now, Some("answer".into())).unwrap();
    assert_eq!(net.sent_one(), auth(ReasonCode::ContinueAuthentication, "TEST", "answer"));
    assert_eq!(net.client.authenticate(net.now, None), Err(StateError::NotAsked));
    net.connack(false, &[Property::AuthenticationMethod("TEST"), Property::AuthenticationData(b"proof")]);
    assert_eq!(net.connected().connack.properties.authentication_data(), Some(&b"proof"[..]));
    as_publish(net.sent_one());
}

// [MQTT-4.12.0-5], [MQTT-4.12.0-2]
#[test]
fn other_methods_and_reasons_are_refused() {
    let mut net = handshake();
    net.send(auth(ReasonCode::ContinueAuthentication, "OTHER", "x"));
    net.assert_refused(ReasonCode::ProtocolError, "MQTT-4.12.0-5");
    let mut net = handshake();
    net.send(auth(ReasonCode::Success, "TEST", "x"));
    net.assert_refused(ReasonCode::ProtocolError, "MQTT-4.12.0-2");
    let mut net = handshake();
    net.connack(false, &[]);
    net.assert_refused(ReasonCode::ProtocolError, "MQTT-4.12.0-5");
}

// [MQTT-4.12.0-6], [MQTT-4.12.0-7]
#[test]
fn without_a_method_there_is_no_auth() {
    let plain = || {
        let mut net = Net::new(ClientConfig { client_id: id("c"), ..ClientConfig::default() });
        net.client.connect(net.now);
        net.accept();
        net
    };
    let mut net = plain();
    net.send(auth(ReasonCode::ContinueAuthentication, "TEST", "x"));
    net.assert_refused(ReasonCode::ProtocolError, "MQTT-4.12.0-6");
    let mut net = plain();
    net.connack(false, &[Property::AuthenticationMethod("TEST")]);
    net.assert_refused(ReasonCode::ProtocolError, "MQTT-4.12.0-6");
    let mut net = plain();
    net.connack(false, &[]);
    assert_eq!(net.client.authenticate(net.now, None), Err(StateError::NotAsked));
    assert_eq!(net.client.reauthenticate(net.now, None), Err(StateError::NotAsked));
    assert_eq!(net.sent(), []);
}

fn online() -> Net {
    let mut net = handshake();
    net.connack(false, &[Property::AuthenticationMethod("TEST")]);
    net
}

// [MQTT-4.12.1-1]
#[test]
fn re_authentication_on_a_connection_in_use() {
    let mut net = online();
    net.client.reauthenticate(net.now, Some("again".into())).unwrap();
    assert_eq!(net.sent_one(), auth(ReasonCode::ReAuthenticate, "TEST", "again"));
    assert_eq!(net.client.reauthenticate(net.now, None), Err(StateError::NotAsked), "one at a time");
    net.publish("t", "meanwhile", mqtt_session::proto::QoS::AtMostOnce);
    as_publish(net.sent_one());
    net.send(auth(ReasonCode::ContinueAuthentication, "TEST", "challenge"));
    net.client.authenticate(net.now, Some("answer".into())).unwrap();
    assert_eq!(net.sent_one(), auth(ReasonCode::ContinueAuthentication, "TEST", "answer"));
    net.send(auth(ReasonCode::Success, "TEST", "done"));
    assert!(matches!(net.events.back(), Some(Event::ReAuthenticated(done)) if *done == step("done")));
    net.client.reauthenticate(net.now, None).unwrap();
}

#[test]
fn an_auth_out_of_turn_is_refused() {
    let mut net = online();
    net.send(auth(ReasonCode::ContinueAuthentication, "TEST", "x"));
    net.assert_refused(ReasonCode::ProtocolError, "section 4.12.1");
    let mut net = handshake();
    net.send(auth(ReasonCode::ContinueAuthentication, "TEST", "x"));
    net.send(auth(ReasonCode::ContinueAuthentication, "TEST", "x"));
    net.assert_refused(ReasonCode::ProtocolError, "section 4.12");
}

// [MQTT-3.15.2-2], [MQTT-3.2.2-15]
#[test]
fn an_auth_that_the_server_cannot_take_ends_the_connection() {
    let mut net = handshake();
    net.connack(false, &[Property::AuthenticationMethod("TEST"), Property::MaximumPacketSize(20)]);
    net.client.reauthenticate(net.now, Some("more than twenty bytes of it".into())).unwrap();
    net.assert_refused(ReasonCode::PacketTooLarge, "MQTT-3.2.2-15");
}

#[test]
fn each_connection_begins_anew_with_its_own_data() {
    let mut net = online();
    net.client.reauthenticate(net.now, None).unwrap();
    net.client.set_auth_data(Some("second".into()));
    net.lose();
    assert_eq!(net.client.reauthenticate(net.now, None), Err(StateError::NotConnected));
    net.client.connect(net.now);
    let (_, connect) = net.accept();
    assert_eq!(connect.properties.authentication_data(), Some(&b"second"[..]));
    net.connack(false, &[Property::AuthenticationMethod("TEST")]);
    net.client.reauthenticate(net.now, None).unwrap();
}
