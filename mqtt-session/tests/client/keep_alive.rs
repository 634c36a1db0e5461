//! Keep Alive: when PINGREQ is due, whose interval holds, and when a silent server is given up.

use crate::support::*;
use mqtt_session::client::{ClientConfig, DisconnectReason};
use mqtt_session::proto::{Delivery, Packet, Property, QoS, Version};
use std::time::Duration;

fn online(keep_alive: u16, version: Version) -> Net {
    Net::online_with(ClientConfig {
        version,
        client_id: id("c"),
        keep_alive,
        ping_timeout: secs(5),
        ..ClientConfig::default()
    })
}

// [MQTT-3.1.2-20], [3.1.1: MQTT-3.1.2-23]
#[test]
fn pingreq_is_sent_when_nothing_else_is() {
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let mut net = online(60, version);
        net.pass(secs(59));
        assert_eq!(net.sent(), []);
        net.pass(secs(1));
        assert_eq!(net.sent(), [Packet::PingReq]);
        net.send(Packet::PingResp);
        net.pass(secs(60));
        assert_eq!(net.sent(), [Packet::PingReq]);
    }
}

#[test]
fn a_busy_connection_needs_no_ping() {
    let mut net = online(60, Version::V5);
    for _ in 0..4 {
        net.pass(secs(40));
        net.publish("t", "x", QoS::AtMostOnce);
        net.send(incoming("t", "x", Delivery::AtMostOnce));
        net.messages();
        assert!(!net.sent().contains(&Packet::PingReq));
    }
}

#[test]
fn receiving_alone_does_not_replace_the_ping() {
    let mut net = online(60, Version::V5);
    net.pass(secs(59));
    net.send(incoming("t", "x", Delivery::AtMostOnce));
    net.pass(secs(1));
    assert_eq!(net.sent(), [Packet::PingReq]);
}

#[test]
fn sending_into_a_dead_connection_is_noticed() {
    let mut net = online(60, Version::V5);
    for _ in 0..3 {
        net.pass(secs(30));
        net.publish("t", "x", QoS::AtMostOnce);
    }
    assert!(!net.client.is_connected(), "pinged after 60 s of silence, given up 5 s later");
    assert_eq!(net.disconnected().0, DisconnectReason::PingTimeout);
}

// [MQTT-3.1.2-21], [MQTT-3.2.2-21]
#[test]
fn the_servers_keep_alive_holds() {
    let mut net = Net::new(ClientConfig { client_id: id("c"), keep_alive: 60, ..ClientConfig::default() });
    net.go_online(false, &[Property::ServerKeepAlive(10)]);
    assert_eq!(net.connected().server_limits.keep_alive, 10);
    net.pass(secs(10));
    assert_eq!(net.sent(), [Packet::PingReq]);
    net.lose();
    net.go_online(false, &[]);
    net.pass(secs(59));
    assert_eq!(net.sent(), [], "for that connection alone");
    let mut net = Net::new(ClientConfig { client_id: id("c"), keep_alive: 60, ..ClientConfig::default() });
    net.go_online(false, &[Property::ServerKeepAlive(0)]);
    net.pass(secs(10_000));
    assert_eq!(net.sent(), []);
}

#[test]
fn zero_turns_it_off() {
    let mut net = online(0, Version::V3_1_1);
    assert!(net.client.poll_timeout().is_none());
    net.pass(secs(100_000));
    assert!(net.client.is_connected() && net.sent().is_empty());
}

#[test]
fn a_silent_server_is_given_up_and_any_sign_of_life_delays_that() {
    let mut net = online(60, Version::V5);
    net.pass(secs(64));
    net.send_bytes(&[0x30]); // the first byte of a long packet
    net.pass(secs(4));
    assert!(net.client.is_connected());
    net.pass(secs(1));
    assert!(net.closed);
    let (reason, retry) = net.disconnected();
    assert_eq!(reason, DisconnectReason::PingTimeout);
    assert!(retry.is_some_and(|retry| retry <= Duration::from_secs(1)));
}

#[test]
fn a_server_that_we_do_not_listen_to_is_not_silent() {
    let mut net = Net::online_with(ClientConfig {
        client_id: id("c"),
        max_incoming: 1,
        ping_timeout: secs(5),
        ..ClientConfig::default()
    });
    net.send(incoming("t", "x", Delivery::AtMostOnce));
    assert!(!net.client.wants_read());
    net.pass(secs(600));
    assert!(net.client.is_connected());
    assert_eq!(net.sent().len(), 10, "the server hears from us every 60 s");
    net.messages();
    net.pass(secs(4));
    net.send(Packet::PingResp);
    net.pass(secs(30));
    assert!(net.client.is_connected());
}
