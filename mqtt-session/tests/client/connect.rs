//! CONNECT, CONNACK, the ways a connection ends, and when the next one begins.

use crate::support::*;
use mqtt_session::Instant;
use mqtt_session::client::{Backoff, Client, ClientConfig, ConfigError, DisconnectReason, StateError};
use mqtt_session::proto::{ConnAck, Disconnect, Packet, Properties, Property, QoS, ReasonCode, Version, Will};
use std::time::Duration;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

fn refusal(reason: ReasonCode) -> ConnAck {
    ConnAck { session_present: false, reason, properties: Properties::new() }
}

// [MQTT-3.1.0-1] The first packet is CONNECT, and it says what was configured.
#[test]
fn connect_carries_the_configuration_in_each_version() {
    for version in VERSIONS {
        let will = Will {
            qos: QoS::AtLeastOnce,
            retain: true,
            topic: topic("w"),
            payload: "gone".into(),
            properties: Properties::new(),
        };
        let mut net = Net::new(ClientConfig {
            version,
            client_id: id("me"),
            keep_alive: 7,
            username: Some("u".parse().unwrap()),
            password: Some("p".into()),
            will: Some(will.clone()),
            ..ClientConfig::default()
        });
        net.client.connect(net.now);
        let (server, connect) = net.accept();
        assert_eq!((server, connect.version, connect.keep_alive, connect.clean_start), (0, version, 7, true));
        assert_eq!((&*connect.client_id, connect.will), ("me", Some(will)));
        assert_eq!((connect.username.as_deref(), connect.password.as_deref()), (Some("u"), Some(&b"p"[..])));
        if version.is_v5() {
            assert_eq!(connect.properties.receive_maximum(), Some(1000));
            assert_eq!(connect.properties.maximum_packet_size(), Some(16 * 1024 * 1024));
            assert_eq!(connect.properties.topic_alias_maximum(), Some(32));
            assert_eq!(connect.properties.session_expiry_interval(), None);
        }
    }
}

#[test]
fn configurations_that_contradict_themselves_are_refused() {
    let check = |config| Client::new(config, SEED, Instant::ZERO).err();
    let v3 = || ClientConfig { version: Version::V3_1_1, ..ClientConfig::default() };
    assert_eq!(check(ClientConfig { servers: 0, ..v3() }), Some(ConfigError::Zero("servers")));
    assert_eq!(check(ClientConfig { receive_maximum: 0, ..v3() }), Some(ConfigError::Zero("receive_maximum")));
    assert_eq!(check(ClientConfig { password: Some("p".into()), ..v3() }), Some(ConfigError::PasswordAlone));
    assert_eq!(check(ClientConfig { session_expiry: 1, ..v3() }), Some(ConfigError::NotInVersion));
    assert_eq!(
        check(ClientConfig { auth_data: Some("d".into()), ..ClientConfig::default() }),
        Some(ConfigError::AuthDataAlone)
    );
    assert_eq!(check(v3()), None);
}

// [3.1.1: MQTT-3.1.3-7] No session without an identifier. [MQTT-3.1.3-5] Identifiers that are made have digits and letters, 23 at most.
#[test]
fn before_v5_an_identifier_is_made_from_the_seed() {
    for version in [Version::V3_1, Version::V3_1_1] {
        let name = |seed| {
            let config = ClientConfig { version, ..ClientConfig::default() };
            Client::new(config, seed, Instant::ZERO).unwrap().client_id().to_string()
        };
        assert_eq!(name([1; 32]), name([1; 32]));
        assert_ne!(name([1; 32]), name([2; 32]));
        assert!((1..=23).contains(&name(SEED).len()) && name(SEED).chars().all(|c| c.is_ascii_alphanumeric()));
    }
}

// [MQTT-3.1.3-2], [MQTT-3.1.3-7] The assigned identifier is kept for the connections to come.
#[test]
fn an_assigned_identifier_is_kept() {
    let mut net = Net::new(ClientConfig::default());
    let first = net.go_online(false, &[Property::AssignedClientIdentifier("given")]);
    assert_eq!(&*first.client_id, "");
    assert_eq!(&*net.connected().client_id, "given");
    let second = net.reconnect(false);
    assert_eq!(&*second.client_id, "given");
}

// [MQTT-3.1.3-7]
#[test]
fn an_empty_identifier_must_be_answered_with_one() {
    let mut net = Net::new(ClientConfig::default());
    net.client.connect(net.now);
    net.accept();
    net.connack(false, &[]);
    net.assert_refused(ReasonCode::ProtocolError, "MQTT-3.1.3-7");
}

#[test]
fn v5_starts_clean_once_and_v3_each_time() {
    for version in VERSIONS {
        let mut net = Net::online(version);
        assert_eq!(net.reconnect(false).clean_start, !version.is_v5());
    }
}

// [MQTT-3.2.2-4], [3.1.1: MQTT-3.2.2-1]
#[test]
fn an_old_session_after_a_clean_start_is_refused() {
    for version in [Version::V3_1_1, Version::V5] {
        let mut net = Net::new(ClientConfig { version, client_id: id("c"), ..ClientConfig::default() });
        net.client.connect(net.now);
        net.accept();
        net.connack(true, &[]);
        net.assert_refused(ReasonCode::ProtocolError, "MQTT-3.2.2-4");
    }
}

// [MQTT-3.2.0-1], [MQTT-3.2.0-2], [MQTT-3.14.0-1]
#[test]
fn connack_comes_first_and_once() {
    for version in VERSIONS {
        let mut net = Net::new(ClientConfig { version, client_id: id("c"), ..ClientConfig::default() });
        net.client.connect(net.now);
        net.accept();
        net.send(if version.is_v5() { Packet::Disconnect(ReasonCode::ServerBusy.into()) } else { Packet::PingResp });
        net.assert_refused(ReasonCode::ProtocolError, "MQTT-3.2.0-1");
        let mut net = Net::online(version);
        net.connack(false, &[]);
        net.assert_refused(ReasonCode::ProtocolError, "MQTT-3.2.0-2");
    }
}

// [MQTT-3.2.2-7] After a refusal the connection is closed; a Server Reference is handed on.
#[test]
fn refusals_are_told_and_lasting_ones_are_not_repeated() {
    let mut net = Net::new(ClientConfig { client_id: id("c"), ..ClientConfig::default() });
    net.client.connect(net.now);
    net.accept();
    let properties = Properties::builder().with(Property::ServerReference("other:1883")).build();
    let connack = ConnAck { properties, ..refusal(ReasonCode::UseAnotherServer) };
    net.send(connack.clone());
    assert!(net.closed);
    let (reason, retry) = net.disconnected();
    assert_eq!(reason, DisconnectReason::Refused(connack.into()));
    assert!(reason.to_string().contains("other:1883"), "{reason}");
    assert!(retry.is_some(), "another time it may work");
    net.pass(secs(1));
    net.accept();
    net.send(refusal(ReasonCode::BadUserNameOrPassword));
    assert_eq!(net.disconnected().1, None);
    assert!(net.client.is_idle());
    net.pass(secs(1000));
    assert!(net.connects.is_empty());
}

// [3.1.1: MQTT-3.1.2-2]
#[test]
fn an_old_server_that_does_not_know_5_0_is_understood() {
    let mut net = Net::new(ClientConfig { client_id: id("c"), ..ClientConfig::default() });
    net.client.connect(net.now);
    net.accept();
    net.send_bytes(&[0x20, 2, 0, 1]);
    let (reason, retry) = net.disconnected();
    assert_eq!(reason, DisconnectReason::Refused(refusal(ReasonCode::UnsupportedProtocolVersion).into()));
    assert!(net.closed && retry.is_none());
}

#[test]
fn lasting_refusals_are_repeated_on_request() {
    let mut net = Net::new(ClientConfig { retry_refused: true, version: Version::V3_1_1, ..ClientConfig::default() });
    net.client.connect(net.now);
    net.accept();
    net.send(refusal(ReasonCode::NotAuthorized));
    assert!(net.disconnected().1.is_some());
}

#[test]
fn credentials_can_be_renewed_between_connections() {
    let mut net = Net::online(Version::V5);
    net.client.set_credentials(Some("u".parse().unwrap()), Some("token 2".into()));
    assert_eq!(net.reconnect(false).password.as_deref(), Some(&b"token 2"[..]));
}

#[test]
fn connect_timeout_covers_transport_and_connack() {
    for reach_transport in [false, true] {
        let mut net =
            Net::new(ClientConfig { client_id: id("c"), connect_timeout: secs(5), ..ClientConfig::default() });
        net.client.connect(net.now);
        if reach_transport {
            net.pass(secs(3));
            net.accept();
            net.pass(secs(1));
        } else {
            net.pass(secs(4));
        }
        assert!(!net.closed);
        net.pass(secs(1));
        assert!(net.closed);
        assert_eq!(net.disconnected().0, DisconnectReason::ConnectTimeout);
    }
}

#[test]
fn fail_over_tries_each_server_before_it_waits() {
    let mut net = Net::new(ClientConfig { client_id: id("c"), servers: 3, ..ClientConfig::default() });
    net.client.connect(net.now);
    net.run();
    for server in 0..3 {
        assert_eq!(net.connects.pop_front(), Some(server));
        net.lose();
    }
    assert!(net.connects.is_empty(), "now it waits");
    let retry = net.disconnected().1.unwrap();
    assert!(retry > Duration::from_millis(500) && retry <= secs(1), "{retry:?}");
    net.pass(retry);
    assert_eq!(net.connects.front(), Some(&0));
    net.lose();
    let (server, _) = net.accept();
    assert_eq!(server, 0, "the queue of wishes is served in order");
}

#[test]
fn a_lost_connection_goes_back_to_its_server_first() {
    let mut net = Net::new(ClientConfig { client_id: id("c"), servers: 2, ..ClientConfig::default() });
    net.client.connect(net.now);
    net.run();
    net.connects.clear();
    net.lose();
    assert_eq!(net.accept().0, 1);
    net.connack(false, &[]);
    net.pass(secs(30));
    net.lose();
    net.pass(secs(2));
    assert_eq!(net.connects.pop_front(), Some(1));
}

#[test]
fn backoff_grows_and_gives_up() {
    let backoff = Backoff { min: secs(1), max: secs(4), factor: 2, jitter_percent: 0, max_rounds: Some(4) };
    let mut net = Net::new(ClientConfig { client_id: id("c"), reconnect: Some(backoff), ..ClientConfig::default() });
    net.client.connect(net.now);
    let mut delays = Vec::new();
    loop {
        net.run();
        net.connects.clear();
        net.lose();
        let Some(delay) = net.disconnected().1 else { break };
        delays.push(delay.as_secs());
        net.pass(delay);
    }
    assert_eq!(delays, [1, 2, 4, 4]);
    assert!(net.client.is_idle());
    net.client.connect(net.now);
    net.accept();
}

#[test]
fn without_reconnect_a_loss_is_final() {
    let mut net = Net::online_with(ClientConfig { client_id: id("c"), reconnect: None, ..ClientConfig::default() });
    net.lose();
    assert_eq!(net.disconnected(), (DisconnectReason::TransportLost, None));
    assert!(net.client.poll_timeout().is_none());
}

// [MQTT-3.14.4-1], [MQTT-3.14.4-2], [3.1.1: MQTT-3.14.4-1] After DISCONNECT nothing is sent, and the connection is closed.
#[test]
fn disconnect_is_the_last_packet() {
    for version in VERSIONS {
        let mut net = Net::online(version);
        net.client.disconnect(net.now, &ReasonCode::NORMAL_DISCONNECTION.into()).unwrap();
        assert_eq!(net.sent_one(), Packet::Disconnect(ReasonCode::NORMAL_DISCONNECTION.into()));
        assert!(net.closed);
        net.publish("t", "later", QoS::AtLeastOnce);
        assert_eq!(net.sent(), []);
        assert_eq!(net.disconnected(), (DisconnectReason::ByCaller, None));
        net.go_online(false, &[]);
        as_publish(net.sent_one());
    }
}

#[test]
fn disconnect_with_will_has_the_will_published_in_each_version() {
    for version in VERSIONS {
        let mut net = Net::online(version);
        net.client.disconnect(net.now, &ReasonCode::DisconnectWithWill.into()).unwrap();
        let sent = net.sent();
        if version.is_v5() {
            assert_eq!(sent, [Packet::Disconnect(ReasonCode::DisconnectWithWill.into())]);
        } else {
            assert_eq!(sent, [], "a close without DISCONNECT");
        }
        assert!(net.closed);
    }
}

// [MQTT-3.14.2-1], section 3.14.2.2.2
#[test]
fn disconnect_checks_what_the_caller_says() {
    let expiry = |seconds| Properties::builder().with(Property::SessionExpiryInterval(seconds)).build();
    let packet = |properties| Disconnect { reason: ReasonCode::Success, properties };
    let mut net = Net::online(Version::V5);
    assert_eq!(net.client.disconnect(net.now, &packet(expiry(9))), Err(StateError::Property));
    assert_eq!(net.client.disconnect(net.now, &ReasonCode::ServerBusy.into()), Err(StateError::Property));
    assert!(net.client.is_connected());
    let mut net = Net::new(ClientConfig { client_id: id("c"), session_expiry: 60, ..ClientConfig::default() });
    net.go_online(false, &[]);
    net.client.disconnect(net.now, &packet(expiry(9))).unwrap();
    assert_eq!(net.sent_one(), Packet::Disconnect(packet(expiry(9))));
}

// [MQTT-3.14.2-3], [MQTT-3.14.2-4], [MQTT-3.2.2-15]
#[test]
fn a_disconnect_that_is_too_large_says_less() {
    let mut net = Net::new(ClientConfig { client_id: id("c"), ..ClientConfig::default() });
    net.go_online(false, &[Property::MaximumPacketSize(20)]);
    let properties = Properties::builder().with(Property::ReasonString("more than twenty bytes of it")).build();
    net.client.disconnect(net.now, &Disconnect { reason: ReasonCode::Success, properties }).unwrap();
    assert_eq!(net.sent_one(), Packet::Disconnect(ReasonCode::Success.into()));
    assert!(net.closed);
}

#[test]
fn disconnect_stops_attempts() {
    let mut net = Net::new(ClientConfig::default());
    net.client.connect(net.now);
    net.run();
    net.client.disconnect(net.now, &ReasonCode::Success.into()).unwrap();
    net.run();
    assert!(net.closed, "the adapter stops opening");
    assert!(net.client.is_idle());
    net.client.connect(net.now);
    net.lose();
    assert!(net.client.poll_timeout().is_some());
    net.client.disconnect(net.now, &ReasonCode::Success.into()).unwrap();
    assert!(net.client.poll_timeout().is_none());
}

#[test]
fn reconnect_is_at_once() {
    let mut net = Net::online(Version::V5);
    net.client.reconnect(net.now);
    assert!(matches!(net.sent_one(), Packet::Disconnect(_)));
    assert_eq!(net.connects.len(), 1);
    net.accept();
    net.connack(false, &[]);
    assert!(net.client.is_connected());
}

#[test]
fn a_server_that_disconnects_is_heard() {
    let mut net = Net::online(Version::V5);
    net.send(Disconnect::from(ReasonCode::ServerShuttingDown));
    assert!(net.closed);
    assert_eq!(net.sent(), [], "no answer");
    let (reason, retry) = net.disconnected();
    assert_eq!(reason, DisconnectReason::ByServer(Box::new(ReasonCode::ServerShuttingDown.into())));
    assert!(retry.is_some());
}

#[test]
fn a_session_that_was_taken_over_is_not_fought_for() {
    let mut net = Net::online(Version::V5);
    net.send(Disconnect::from(ReasonCode::SessionTakenOver));
    assert_eq!(net.disconnected().1, None);
}

// [MQTT-4.13.1-1], [MQTT-4.13.2-1], [3.1.1: MQTT-4.8.0-1]
#[test]
fn what_no_server_may_send_is_refused() {
    for version in VERSIONS {
        let mut net = Net::online(version);
        net.send(Packet::PingReq);
        net.assert_refused(ReasonCode::ProtocolError, "section 2.1.2");
        let mut net = Net::online(version);
        net.send_bytes(&[0x36, 0x03, 0, 1, b't']); // QoS 3
        net.assert_refused(ReasonCode::MalformedPacket, "MQTT-3.3.1-4");
        assert!(net.disconnected().1.is_some(), "it may be better after a reconnect");
    }
}

// [MQTT-3.1.2-24]
#[test]
fn packets_beyond_the_maximum_are_refused_before_they_are_buffered() {
    let mut net =
        Net::online_with(ClientConfig { client_id: id("c"), maximum_packet_size: 100, ..ClientConfig::default() });
    net.send_bytes(&[0x30, 0x80, 0x01]); // 128 bytes are announced, none is there
    net.assert_refused(ReasonCode::PacketTooLarge, "section 3.1.2.11.4");
}

#[test]
fn spurious_calls_are_no_ops() {
    let mut net = Net::new(ClientConfig { client_id: id("c"), ..ClientConfig::default() });
    let late = |net: &mut Net| {
        net.client.handle_connected(net.now);
        net.client.handle_disconnected(net.now);
        net.client.handle_timeout(net.now);
        net.client.transmitted(net.now, 10);
        net.send_bytes(&[0x20, 0x03, 0, 0, 0]);
    };
    late(&mut net);
    assert!(net.events.is_empty() && net.connects.is_empty());
    net.go_online(false, &[]);
    net.client.connect(net.now);
    net.client.handle_connected(net.now);
    net.client.handle_timeout(net.now);
    net.run();
    assert!(net.client.is_connected() && net.connects.is_empty());
    net.lose();
    let events = net.events.len();
    net.lose();
    assert_eq!(net.events.len(), events);
}
