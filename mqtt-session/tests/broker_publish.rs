//! PUBLISH through the broker at each QoS (sections 3.3 and 4.3).
mod common;
use common::*;
use mqtt_session::proto::*;

#[test]
fn qos_0_reaches_matching_subscribers_of_every_version() {
    let mut bench = Bench::new();
    let publisher = bench.v5("publisher");
    let subscribers: Vec<Client> = [Version::V3_1, Version::V3_1_1, Version::V5]
        .into_iter()
        .map(|version| {
            let client = bench.connect(connect(version, version.protocol_name())).0;
            bench.subscribe(client, "mqtt/+", QoS::AtMostOnce);
            client
        })
        .collect();
    bench.publish(publisher, "mqtt/demo", "hello world!", QoS::AtMostOnce);
    bench.publish(publisher, "other/demo", "not for you", QoS::AtMostOnce);
    // `MQTT` at level 5 took over `MQTT` at level 4.
    assert!(bench.is_closed(subscribers[1]));
    for client in [subscribers[0], subscribers[2]] {
        let publish = bench.recv_publish(client);
        assert_eq!((publish.topic.as_deref(), text(&publish)), (Some("mqtt/demo"), "hello world!"));
        bench.assert_silent(client);
    }
}

#[test]
fn qos_1_is_acknowledged_on_both_sides() {
    // [MQTT-4.3.2-1] to [MQTT-4.3.2-5]
    let mut bench = Bench::new();
    let (publisher, subscriber) = (bench.v3("p"), bench.v3("s"));
    bench.subscribe(subscriber, "a", QoS::AtLeastOnce);
    bench.publish(publisher, "a", "one", QoS::AtLeastOnce);
    let publish = bench.recv_publish(subscriber);
    assert_eq!(publish.delivery, Delivery::AtLeastOnce { id: pid(1), dup: false });
    assert_eq!(bench.broker.stats().inflight, 1);
    bench.send(subscriber, Packet::PubAck(ack(1)));
    assert_eq!(bench.broker.stats().inflight, 0);
}

#[test]
fn qos_2_flows_in_four_steps_on_both_sides() {
    // [MQTT-4.3.3-1] to [MQTT-4.3.3-12]
    let mut bench = Bench::new();
    let (publisher, subscriber) = (bench.v5("p"), bench.v5("s"));
    bench.subscribe(subscriber, "a", QoS::ExactlyOnce);
    let again = message("a", "one", QoS::ExactlyOnce);
    bench.send(publisher, again.clone());
    bench.send(publisher, again);
    assert_eq!(bench.recv_all(publisher).len(), 2, "PUBREC for each [MQTT-4.3.3-10]");
    bench.send(publisher, Packet::PubRel(ack(10)));
    assert_eq!(bench.recv(publisher), Some(Packet::PubComp(ack(10))));
    let publish = bench.recv_publish(subscriber);
    assert_eq!(publish.delivery, Delivery::ExactlyOnce { id: pid(1), dup: false });
    bench.assert_silent(subscriber);
    bench.send(subscriber, Packet::PubRec(ack(1)));
    assert_eq!(bench.recv(subscriber), Some(Packet::PubRel(ack(1))));
    bench.send(subscriber, Packet::PubComp(ack(1)));
    assert_eq!(bench.broker.stats().inflight, 0);
}

#[test]
fn offline_messages_wait_in_order_for_a_durable_session() {
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    for version in [Version::V3_1_1, Version::V5] {
        let (subscriber, _) = bench.connect(persistent(version, "s", 3600));
        bench.subscribe(subscriber, "a/#", QoS::AtLeastOnce);
        bench.subscribe(subscriber, "+/b", QoS::ExactlyOnce);
        bench.cut(subscriber);
        for payload in ["1", "2", "3"] {
            bench.publish(publisher, "a/b", payload, QoS::ExactlyOnce);
        }
        bench.publish(publisher, "a/c", "4", QoS::AtLeastOnce);
        let (subscriber, connack) = bench.connect(persistent(version, "s", 3600));
        assert!(connack.session_present);
        for (id, payload) in (1..).zip(["1", "2", "3", "4"]) {
            let publish = bench.recv_publish(subscriber);
            assert_eq!(text(&publish), payload);
            if payload == "4" {
                assert_eq!(publish.delivery, Delivery::AtLeastOnce { id: pid(id), dup: false });
                bench.send(subscriber, Packet::PubAck(ack(id)));
            } else {
                assert_eq!(publish.delivery, Delivery::ExactlyOnce { id: pid(id), dup: false });
            }
        }
        bench.assert_silent(subscriber);
        for id in 1..4 {
            bench.send(subscriber, Packet::PubRec(ack(id)));
            assert_eq!(bench.recv(subscriber), Some(Packet::PubRel(ack(id))));
            bench.send(subscriber, Packet::PubComp(ack(id)));
        }
        let stats = bench.broker.stats();
        assert_eq!((stats.queued, stats.queued_bytes, stats.inflight), (0, 0, 0));
        bench.cut(subscriber);
        bench.connect(connect(version, "s")); // the clean start ends the session
    }
}
