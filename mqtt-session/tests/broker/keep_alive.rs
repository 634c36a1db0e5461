//! Keep Alive and the time that a client has to come in (sections 3.1.2.10 and 3.12).
use crate::common::*;
use mqtt_session::broker::*;
use mqtt_session::proto::*;
use std::time::Duration;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn with_keep_alive(version: Version, keep_alive: u16) -> Connect {
    Connect { keep_alive, ..connect(version, "c") }
}

#[test]
fn silence_of_one_and_a_half_intervals_ends_the_connection() {
    // [MQTT-3.1.2-22], [3.1.1: MQTT-3.1.2-24]: as if the network had failed, so the Will fires
    for version in VERSIONS {
        for keep_alive in [1, 60, u16::MAX] {
            let mut bench = Bench::new();
            let watcher = bench.v5("watcher");
            bench.subscribe(watcher, "will", QoS::AtMostOnce);
            let connect = Connect { will: Some(will("will", "gone")), ..with_keep_alive(version, keep_alive) };
            let (client, _) = bench.connect(connect);
            bench.sleep(millis(u64::from(keep_alive) * 1500 - 1));
            assert!(!bench.is_closed(client));
            bench.sleep(millis(1));
            assert_eq!(bench.disconnect_reason(client), version.is_v5().then_some(ReasonCode::KeepAliveTimeout));
            assert_eq!(bench.recv_texts(watcher), ["gone"]);
            let lost = bench.events.iter().any(|event| {
                let timeout = DisconnectReason::Server(ReasonCode::KeepAliveTimeout, "MQTT-3.1.2-22");
                matches!(event, Event::Disconnected { reason, .. } if *reason == timeout)
            });
            assert!(lost);
        }
    }
}

#[test]
fn every_packet_counts() {
    // [MQTT-3.1.2-20], [MQTT-3.1.2-22], [MQTT-3.12.4-1]; [3.1.1: MQTT-3.1.2-23], [3.1.1: MQTT-3.12.4-1]
    for version in VERSIONS {
        let mut bench = Bench::new();
        let (client, _) = bench.connect(with_keep_alive(version, 10));
        let subscribe = Subscribe {
            id: pid(1),
            filters: vec![(filter("a"), QoS::AtMostOnce.into())],
            properties: Properties::new(),
        };
        let packets: [Packet; 5] = [
            Packet::PingReq,
            message("x", "", QoS::AtMostOnce).into(),
            subscribe.into(),
            Packet::PubAck(ack(9)),
            Packet::PubRel(ack(9)),
        ];
        for packet in packets {
            bench.sleep(millis(14_999));
            bench.send(client, packet);
            assert!(!bench.is_closed(client));
        }
        assert!(bench.recv_all(client).contains(&Packet::PingResp));
        // What goes to the client does not count.
        let publisher = bench.v5("p");
        bench.sleep(millis(14_000));
        bench.publish(publisher, "a", "x", QoS::AtMostOnce);
        bench.sleep(millis(1000));
        assert!(bench.is_closed(client));
    }
}

#[test]
fn bytes_that_are_no_packet_yet_do_not_count() {
    let mut bench = Bench::new();
    let (client, _) = bench.connect(with_keep_alive(Version::V3_1_1, 10));
    bench.sleep(millis(14_000));
    bench.send_bytes(client, &[0x30, 0x10]);
    bench.sleep(millis(1000));
    assert!(bench.is_closed(client));
}

#[test]
fn zero_turns_it_off() {
    for version in VERSIONS {
        let mut bench = Bench::new();
        let (client, _) = bench.connect(with_keep_alive(version, 0));
        assert_eq!(bench.broker.poll_timeout(), None);
        bench.sleep(Duration::from_secs(1_000_000));
        assert!(!bench.is_closed(client));
    }
}

#[test]
fn the_server_keep_alive_is_what_counts() {
    // [MQTT-3.2.2-21], [MQTT-3.2.2-22]
    for asked in [0, 100] {
        let mut bench = Bench::with(|config| config.connection.max_keep_alive = 10);
        let (v5, _) = bench.connect(with_keep_alive(Version::V5, asked));
        let (v3, _) = bench.connect(Connect { keep_alive: asked, ..connect(Version::V3_1_1, "d") });
        bench.sleep(millis(14_999));
        assert!(!bench.is_closed(v5));
        bench.sleep(millis(1));
        assert!(bench.is_closed(v5));
        // A client before 5.0 cannot be told, so that its own value is in force.
        assert!(!bench.is_closed(v3));
        bench.sleep(millis(135_000));
        assert_eq!(bench.is_closed(v3), asked == 100);
    }
}

#[test]
fn a_client_that_is_not_read_cannot_be_silent() {
    // Its packets wait for an authorization; that is not its fault.
    let mut bench = Bench::with(|config| config.authentication = Authentication::Request);
    let (client, _) = bench.connect_as(with_keep_alive(Version::V5, 10), None, Grant::everything().ask());
    bench.send(client, message("a", "x", QoS::AtMostOnce));
    bench.sleep(millis(10_000));
    bench.send(client, Packet::PingReq);
    bench.sleep(millis(100_000));
    assert!(!bench.is_closed(client));
    bench.authorize(Decision::Allow, Duration::ZERO);
    assert_eq!(bench.recv(client), Some(Packet::PingResp));
    bench.sleep(millis(14_999));
    assert!(!bench.is_closed(client));
    bench.sleep(millis(1));
    assert!(bench.is_closed(client));
}

#[test]
fn a_socket_that_does_not_drain_times_out() {
    // Its input is not read for its own fault: it does not take what it asked for.
    let mut bench = Bench::with(|config| config.connection.max_transmit_bytes = 100);
    let publisher = bench.v5("p");
    let (client, _) = bench.connect(with_keep_alive(Version::V5, 10));
    bench.subscribe(client, "a", QoS::AtMostOnce);
    bench.set_window(client, Some(0));
    bench.publish(publisher, "a", &"x".repeat(200), QoS::AtMostOnce);
    assert!(!bench.broker.wants_read(client.0));
    bench.send(client, Packet::PingReq);
    bench.sleep(millis(15_000));
    assert!(bench.is_closed(client));
}

#[test]
fn authentication_has_its_own_time() {
    // [MQTT-3.1.4-2]
    for version in VERSIONS {
        let mut bench = Bench::with(|config| {
            config.authentication = Authentication::Request;
            config.connection.connect_timeout = Duration::from_secs(5);
        });
        let client = bench.open(with_keep_alive(version, 1));
        bench.sleep(millis(4999));
        assert!(!bench.is_closed(client), "Keep Alive begins with CONNACK");
        bench.sleep(millis(1));
        assert_eq!(bench.refusal(client).unwrap().reason, ReasonCode::NotAuthorized);
        // The answer comes too late.
        bench.accept(None, Grant::everything());
        bench.assert_silent(client);
        assert_eq!((bench.broker.stats().connections, bench.broker.stats().sessions), (0, 0));
        assert_eq!(bench.broker.poll_timeout(), None);
    }
}
