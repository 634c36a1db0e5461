//! The server ends connections: all of them, or one (sections 3.14 and 4.13).
use crate::common::*;
use mqtt_session::broker::*;
use mqtt_session::proto::*;
use std::time::Duration;

fn shut_down(bench: &mut Bench) {
    bench.broker.handle_shutdown(bench.now);
    bench.run();
}

fn kick(bench: &mut Bench, name: &str, reason: ReasonCode) -> bool {
    let known = bench.broker.handle_kick(bench.now, &ClientId::try_from(name).unwrap(), reason);
    bench.run();
    known
}

#[test]
fn shutting_down_ends_every_connection_and_refuses_new_ones() {
    // [MQTT-4.13.2-1], [MQTT-3.14.4-2]
    let mut bench = Bench::new();
    let clients = VERSIONS.map(|version| bench.connect(connect(version, &version.level().to_string())).0);
    shut_down(&mut bench);
    for (client, version) in clients.into_iter().zip(VERSIONS) {
        let told = version.is_v5().then_some(ReasonCode::ServerShuttingDown);
        assert_eq!(bench.disconnect_reason(client), told);
        let late = bench.open(connect(version, "late"));
        assert_eq!(bench.refusal(late).unwrap().reason, ReasonCode::ServerUnavailable);
    }
    shut_down(&mut bench); // once more changes nothing
    assert_eq!(bench.broker.stats().connections, 0);
}

#[test]
fn clients_on_their_way_in_are_told_too() {
    // [MQTT-3.14.0-1]: by CONNACK, which has no code of that name
    let mut bench = Bench::with(|config| config.authentication = Authentication::Request);
    for version in VERSIONS {
        let client = bench.open(connect(version, "c"));
        shut_down(&mut bench);
        assert_eq!(bench.refusal(client).unwrap().reason, ReasonCode::ServerUnavailable);
        bench.accept(None, Grant::everything()); // too late
        assert_eq!(bench.broker.stats().connections, 0);
        bench = Bench::with(|config| config.authentication = Authentication::Request);
    }
}

#[test]
fn what_was_queued_is_written_before_the_close() {
    let mut bench = Bench::new();
    let (publisher, subscriber) = (bench.v5("p"), bench.v5("s"));
    bench.subscribe(subscriber, "a", QoS::AtMostOnce);
    bench.set_window(subscriber, Some(0));
    bench.publish(publisher, "a", "last words", QoS::AtMostOnce);
    bench.broker.handle_shutdown(bench.now);
    bench.set_window(subscriber, None);
    let packets = bench.recv_all(subscriber);
    assert!(matches!(&packets[..], [Packet::Publish(_), Packet::Disconnect(_)]), "{packets:?}");
    assert!(bench.is_closed(subscriber));
}

#[test]
fn sessions_and_their_messages_outlast_the_shutdown_of_connections() {
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    let (client, _) = bench.connect(Connect { will: Some(will("will", "gone")), ..persistent(Version::V5, "s", 100) });
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    let watcher = bench.broker.subscribe(bench.now, &filter("will"), QoS::AtMostOnce.into());
    bench.publish(publisher, "a", "x", QoS::AtLeastOnce);
    shut_down(&mut bench);
    assert_eq!(bench.messages.len(), 1, "the Will");
    assert_eq!(Some(bench.messages[0].0), watcher);
    let stats = bench.broker.stats();
    assert_eq!((stats.sessions, stats.queued, stats.inflight), (1, 1, 1));
    bench.sleep(Duration::from_secs(100));
    let stats = bench.broker.stats();
    assert_eq!((stats.sessions, stats.queued, stats.inflight), (0, 0, 0), "time goes on");
}

#[test]
fn an_operator_ends_one_connection() {
    let mut bench = Bench::new();
    for version in VERSIONS {
        let (client, _) = bench.connect(persistent(version, "c", 100));
        let other = bench.v5("other");
        assert!(kick(&mut bench, "c", ReasonCode::AdministrativeAction));
        let told = version.is_v5().then_some(ReasonCode::AdministrativeAction);
        assert_eq!(bench.disconnect_reason(client), told);
        assert!(!bench.is_closed(other));
        assert!(!kick(&mut bench, "c", ReasonCode::AdministrativeAction), "its session has no connection");
        assert!(!kick(&mut bench, "nobody", ReasonCode::AdministrativeAction));
        bench.connect(connect(version, "c"));
    }
}

#[test]
fn a_kick_uses_a_code_that_disconnect_has() {
    // [MQTT-3.14.2-1], [MQTT-3.14.2-2]
    for code in (0..=u8::MAX).filter_map(ReasonCode::new) {
        let mut bench = Bench::new();
        let client = bench.v5("c");
        kick(&mut bench, "c", code);
        let told = bench.disconnect_reason(client).expect("DISCONNECT");
        assert!(told.is_error() && told.allowed_in(PacketType::Disconnect));
        if code.is_error() && code.allowed_in(PacketType::Disconnect) {
            assert_eq!(told, code);
        }
    }
}

#[test]
fn calls_about_connections_that_are_gone_do_nothing() {
    let mut bench = Bench::new();
    let old = bench.v5("c");
    bench.cut(old);
    let new = bench.v5("d"); // in the same place
    assert_eq!(old.0.slot(), new.0.slot());
    let mut bytes = encode(Packet::PingReq, Version::V5);
    bench.broker.handle_input(bench.now, old.0, &mut bytes);
    assert!(bytes.is_empty());
    bench.broker.handle_closed(bench.now, old.0);
    bench.broker.transmitted(bench.now, old.0, 10);
    bench.run();
    assert!(bench.broker.transmit(old.0).is_empty());
    assert!(!bench.broker.wants_read(old.0));
    bench.assert_silent(new);
    assert!(bench.broker.wants_read(new.0));
    assert_eq!(bench.broker.stats().connections, 1);
}
