//! Acknowledgments follow the store: none leaves before the batch that carries its change is kept.
use crate::common::*;
use mqtt_session::broker::*;
use mqtt_session::proto::*;

/// A broker whose store answers when the test says so.
fn slow_store() -> Bench {
    let mut bench = Bench::new();
    bench.store_at_once = false;
    bench
}

/// A durable client whose batches so far are kept.
fn durable(bench: &mut Bench, version: Version, name: &str) -> Client {
    let (client, _) = bench.connect(persistent(version, name, 100));
    bench.stored();
    client
}

/// A durable subscriber of `a`, whose batches so far are kept.
fn subscriber(bench: &mut Bench, version: Version, qos: QoS) -> Client {
    let client = durable(bench, version, "s");
    let filters = vec![(filter("a"), qos.into())];
    bench.send(client, Subscribe { id: pid(1), filters, properties: Properties::new() });
    bench.stored();
    assert!(matches!(bench.recv(client), Some(Packet::SubAck(_))));
    client
}

fn last(bench: &Bench) -> StoreSeq {
    bench.batches.last().unwrap().seq
}

#[test]
fn batches_are_numbered_without_gaps() {
    let mut bench = slow_store();
    let client = subscriber(&mut bench, Version::V5, QoS::AtLeastOnce);
    for _ in 0..5 {
        bench.send(client, message("a", "x", QoS::AtLeastOnce));
    }
    assert!(bench.batches.iter().map(|batch| batch.seq.0).eq(1..=bench.batches.len() as u64));
    assert!(bench.batches.iter().all(|batch| !batch.ops.is_empty()));
}

#[test]
fn puback_waits_for_the_store() {
    // [MQTT-4.3.2-4] as late as the message is safe
    for version in VERSIONS {
        let mut bench = slow_store();
        subscriber(&mut bench, version, QoS::AtLeastOnce);
        let publisher = bench.v5("p");
        bench.send(publisher, message("a", "x", QoS::AtLeastOnce));
        bench.assert_silent(publisher);
        bench.stored();
        assert_eq!(bench.recv_all(publisher), [Packet::PubAck(ack(10))]);
        // A retained message is a change, too.
        bench.send(publisher, Publish { retain: true, ..message("b", "x", QoS::AtLeastOnce) });
        bench.assert_silent(publisher);
        bench.stored();
        assert_eq!(bench.recv_all(publisher).len(), 1);
        // Nothing changes when nobody keeps the message.
        bench.send(publisher, message("c", "x", QoS::AtLeastOnce));
        assert_eq!(bench.recv_all(publisher).len(), 1);
    }
}

#[test]
fn the_steps_of_qos_2_wait_for_the_store() {
    // [MQTT-4.3.3-8], [MQTT-4.3.3-11]
    for version in VERSIONS {
        let mut bench = slow_store();
        let publisher = durable(&mut bench, version, "p");
        bench.send(publisher, message("a", "x", QoS::ExactlyOnce));
        bench.assert_silent(publisher);
        bench.stored();
        assert!(matches!(&bench.recv_all(publisher)[..], [Packet::PubRec(_)]));
        bench.send(publisher, Packet::PubRel(ack(10)));
        bench.assert_silent(publisher);
        bench.stored();
        assert_eq!(bench.recv_all(publisher), [Packet::PubComp(ack(10))]);
    }
}

#[test]
fn subscriptions_wait_for_the_store() {
    // [MQTT-3.8.4-1], [MQTT-3.10.4-4]
    for version in VERSIONS {
        let mut bench = slow_store();
        let client = durable(&mut bench, version, "s");
        let filters = vec![(filter("a"), QoS::AtMostOnce.into()), (filter("$share/g/b"), QoS::ExactlyOnce.into())];
        bench.send(client, Subscribe { id: pid(1), filters, properties: Properties::new() });
        bench.assert_silent(client);
        bench.stored();
        assert!(matches!(&bench.recv_all(client)[..], [Packet::SubAck(_)]));
        bench.send(client, Unsubscribe { id: pid(2), filters: vec![filter("a")], properties: Properties::new() });
        bench.assert_silent(client);
        bench.stored();
        assert!(matches!(&bench.recv_all(client)[..], [Packet::UnsubAck(_)]));
        // What ends with its connection waits for nothing.
        let (transient, _) = bench.connect(connect(version, "t"));
        bench.subscribe(transient, "a", QoS::ExactlyOnce);
    }
}

#[test]
fn qos_2_to_a_durable_client_waits_for_the_store() {
    // [MQTT-4.3.3-1], [MQTT-4.3.3-4]: its Packet Identifier must survive; and PUBREL says that PUBREC will be remembered
    for version in VERSIONS {
        let mut bench = slow_store();
        let client = subscriber(&mut bench, version, QoS::ExactlyOnce);
        let publisher = bench.v5("p");
        bench.send(publisher, message("a", "1", QoS::ExactlyOnce));
        bench.assert_silent(client);
        bench.stored();
        assert_eq!(bench.recv_texts(client), ["1"]);
        bench.send(client, Packet::PubRec(ack(1)));
        bench.assert_silent(client);
        bench.stored();
        assert_eq!(bench.recv_all(client), [Packet::PubRel(ack(1))]);
        // QoS 1 is sent at once, unless it would overtake.
        bench.send(publisher, message("a", "2", QoS::AtLeastOnce));
        assert_eq!(bench.recv_texts(client), ["2"]);
        let delivery = Delivery::ExactlyOnce { id: pid(12), dup: false };
        bench.send(publisher, Publish { delivery, ..message("a", "3", QoS::AtMostOnce) });
        let delivery = Delivery::AtLeastOnce { id: pid(11), dup: false };
        bench.send(publisher, Publish { delivery, ..message("a", "4", QoS::AtMostOnce) });
        bench.assert_silent(client);
        bench.stored();
        assert_eq!(bench.recv_texts(client), ["3", "4"]); // [MQTT-4.6.0-1]
    }
}

#[test]
fn acknowledgments_keep_their_order() {
    // [MQTT-4.6.0-2], [MQTT-4.6.0-3]: those that need not wait stay behind those that do
    let mut bench = slow_store();
    subscriber(&mut bench, Version::V5, QoS::AtLeastOnce);
    let publisher = bench.v5("p");
    for (id, topic) in [(1, "a"), (2, "nobody"), (3, "a"), (4, "$SYS/denied")] {
        let delivery = Delivery::AtLeastOnce { id: pid(id), dup: false };
        bench.send(publisher, Publish { delivery, ..message(topic, "x", QoS::AtMostOnce) });
    }
    bench.assert_silent(publisher);
    bench.send(publisher, Packet::PingReq);
    assert_eq!(bench.recv_all(publisher), [Packet::PingResp], "PINGRESP acknowledges nothing");
    let ids = |packets: Vec<Packet>| -> Vec<u16> {
        packets
            .into_iter()
            .map(|packet| match packet {
                Packet::PubAck(ack) => ack.id.get(),
                other => panic!("{other:?}"),
            })
            .collect()
    };
    let first = bench.batches[bench.batches.len() - 2].seq;
    bench.broker.handle_completion(bench.now, Completion::Stored { upto: first });
    bench.run();
    assert_eq!(ids(bench.recv_all(publisher)), [1, 2]);
    bench.stored();
    assert_eq!(ids(bench.recv_all(publisher)), [3, 4]);
    // A watermark beyond what was handed out says nothing of the next batch.
    bench.broker.handle_completion(bench.now, Completion::Stored { upto: StoreSeq(u64::MAX) });
    bench.send(publisher, message("a", "x", QoS::AtLeastOnce));
    bench.assert_silent(publisher);
    bench.stored();
    bench.recv_all(publisher);
    // An older watermark takes nothing back.
    bench.broker.handle_completion(bench.now, Completion::Stored { upto: first });
    bench.send(publisher, message("nobody", "x", QoS::AtLeastOnce));
    assert_eq!(bench.recv_all(publisher).len(), 1);
}

#[test]
fn a_closed_connection_gets_no_acknowledgment() {
    let mut bench = slow_store();
    subscriber(&mut bench, Version::V5, QoS::AtLeastOnce);
    let publisher = bench.v5("p");
    bench.send(publisher, message("a", "x", QoS::AtLeastOnce));
    bench.disconnect(publisher, ReasonCode::Success);
    bench.stored();
    bench.assert_silent(publisher);
}

#[test]
fn clients_before_5_0_are_slowed_down_by_a_slow_store() {
    let mut bench = Bench::with(|config| config.connection.receive_maximum = 3);
    bench.store_at_once = false;
    subscriber(&mut bench, Version::V5, QoS::AtLeastOnce);
    let publisher = bench.v3("p");
    for id in 1..=10 {
        let delivery = Delivery::AtLeastOnce { id: pid(id), dup: false };
        bench.send(publisher, Publish { delivery, ..message("a", "x", QoS::AtMostOnce) });
    }
    assert!(!bench.broker.wants_read(publisher.0));
    assert_eq!(bench.broker.stats().publish_received, 3);
    while !bench.broker.wants_read(publisher.0) {
        bench.stored();
    }
    bench.stored();
    assert_eq!(bench.recv_all(publisher).len(), 10);
}

#[test]
fn what_the_store_lost_is_not_acknowledged() {
    // [3.1.1: MQTT-4.8.0-2]
    for version in VERSIONS {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut bench = slow_store();
            subscriber(&mut bench, Version::V5, QoS::AtLeastOnce);
            let publisher = durable(&mut bench, version, "p");
            bench.send(publisher, message("a", "x", qos));
            let failed = last(&bench);
            bench.store_failed(failed);
            if !version.is_v5() {
                assert_eq!(bench.disconnect_reason(publisher), None);
                continue;
            }
            let refusal = Ack { reason: ReasonCode::ImplementationSpecificError, ..ack(10) };
            let packet = if qos == QoS::AtLeastOnce { Packet::PubAck(refusal) } else { Packet::PubRec(refusal) };
            assert_eq!(bench.recv_all(publisher), [packet]);
            // Later batches are fine; the identifier is free [MQTT-4.3.3-9].
            bench.send(publisher, message("a", "y", qos));
            bench.stored();
            let packets = bench.recv_all(publisher);
            let fine = |ack: &Ack| !ack.reason.is_error();
            assert!(matches!(&packets[..], [Packet::PubAck(ack) | Packet::PubRec(ack)] if fine(ack)), "{packets:?}");
        }
    }
}

#[test]
fn other_replies_to_lost_changes_close_the_connection() {
    for version in VERSIONS {
        let told = version.is_v5().then_some(ReasonCode::ImplementationSpecificError);
        // SUBACK
        let mut bench = slow_store();
        let client = durable(&mut bench, version, "c");
        let filters = vec![(filter("a"), QoS::AtLeastOnce.into())];
        bench.send(client, Subscribe { id: pid(1), filters, properties: Properties::new() });
        let failed = last(&bench);
        bench.store_failed(failed);
        assert_eq!(bench.disconnect_reason(client), told);
        // PUBCOMP
        let mut bench = slow_store();
        let client = durable(&mut bench, version, "c");
        bench.send(client, message("b", "x", QoS::ExactlyOnce));
        bench.stored();
        bench.recv_all(client);
        bench.send(client, Packet::PubRel(ack(10)));
        let failed = last(&bench);
        bench.store_failed(failed);
        assert_eq!(bench.disconnect_reason(client), told);
        // PUBLISH at QoS 2
        let mut bench = slow_store();
        let client = subscriber(&mut bench, version, QoS::ExactlyOnce);
        let publisher = bench.v5("p");
        bench.send(publisher, message("a", "x", QoS::ExactlyOnce));
        let failed =
            bench.batches.iter().rev().find(|batch| batch.ops.iter().any(|op| matches!(op, StoreOp::Outgoing { .. })));
        let failed = failed.unwrap().seq;
        bench.store_failed(failed);
        assert_eq!(bench.disconnect_reason(client), told);
    }
}

#[test]
fn only_those_who_wait_for_the_lost_batch_suffer() {
    let mut bench = slow_store();
    subscriber(&mut bench, Version::V5, QoS::AtLeastOnce);
    let (one, two) = (bench.v5("one"), bench.v3("two"));
    bench.send(one, message("a", "x", QoS::AtLeastOnce));
    let failed = last(&bench);
    bench.send(two, message("a", "y", QoS::AtLeastOnce));
    bench.store_failed(failed);
    bench.assert_silent(two);
    bench.stored();
    assert_eq!(bench.recv_all(two), [Packet::PubAck(ack(10))]);
}

#[test]
fn after_a_lost_batch_a_message_without_changes_is_still_acknowledged() {
    // Nobody subscribes `b`, so that its PUBACK has nothing to wait for but what was lost before it.
    for kept in [true, false] {
        let mut bench = slow_store();
        subscriber(&mut bench, Version::V5, QoS::AtLeastOnce);
        let publisher = bench.v5("p");
        bench.send(publisher, message("a", "x", QoS::AtLeastOnce));
        let failed = last(&bench);
        bench.store_failed(failed);
        bench.recv_all(publisher);
        bench.send(publisher, message("b", "x", QoS::AtLeastOnce));
        bench.assert_silent(publisher);
        let batch = bench.batches.last().unwrap();
        assert!(batch.ops.is_empty() && batch.seq > failed);
        let batch = batch.seq;
        if kept {
            bench.stored();
        } else {
            bench.store_failed(batch);
        }
        let packets = bench.recv_all(publisher);
        assert!(matches!(&packets[..], [Packet::PubAck(ack)] if ack.reason.is_error() != kept), "{packets:?}");
        assert_eq!(last(&bench), batch, "an empty batch is handed out where it is waited for alone");
    }
}

#[test]
fn what_a_reconnect_repeats_waits_for_the_store_as_well() {
    // CONNACK waits for all that came before it, so that nothing of it is repeated before it is kept.
    let reopen = |bench: &mut Bench, version, id| {
        let client = bench.open(persistent(version, id, 100));
        bench.assert_silent(client);
        bench.stored();
        assert!(matches!(bench.recv(client), Some(Packet::ConnAck(_))));
        client
    };
    for version in VERSIONS {
        // PUBREC for the PUBLISH of an earlier connection.
        let mut bench = slow_store();
        let publisher = durable(&mut bench, version, "p");
        bench.send(publisher, message("b", "x", QoS::ExactlyOnce));
        bench.cut(publisher);
        let publisher = reopen(&mut bench, version, "p");
        bench.send(publisher, message("b", "x", QoS::ExactlyOnce));
        assert_eq!(bench.recv_all(publisher), [Packet::PubRec(ack(10))]);
        // PUBLISH under an identifier that is not kept yet, and what follows it.
        let mut bench = slow_store();
        let client = subscriber(&mut bench, version, QoS::ExactlyOnce);
        let publisher = bench.v5("p");
        bench.send(publisher, message("a", "1", QoS::ExactlyOnce));
        bench.cut(client);
        bench.send(publisher, message("a", "2", QoS::AtLeastOnce));
        let client = reopen(&mut bench, version, "s");
        bench.stored();
        assert_eq!(bench.recv_texts(client), ["1", "2"]);
        // PUBREL for a PUBREC that is not kept yet.
        bench.send(client, Packet::PubRec(ack(1)));
        bench.cut(client);
        let client = reopen(&mut bench, version, "s");
        assert_eq!(bench.recv(client), Some(Packet::PubRel(ack(1))));
        assert_eq!(bench.recv_texts(client), ["2"]);
    }
}

#[test]
fn connack_of_a_lasting_session_waits_for_the_store() {
    for version in VERSIONS {
        let mut bench = slow_store();
        let client = bench.open(persistent(version, "c", 100));
        bench.assert_silent(client);
        // What follows CONNECT is not looked at before CONNACK has left, and a QoS 0 message passes by.
        bench.send(client, Packet::PingReq);
        bench.inject("a", "x", QoS::AtMostOnce);
        bench.assert_silent(client);
        bench.stored();
        let packets = bench.recv_all(client);
        assert!(matches!(packets[..], [Packet::ConnAck(_), Packet::PingResp]), "{packets:?}");
        // A session that ends with its connection has nothing to wait for.
        bench.connect(connect(version, "other"));
        // Closed before: no DISCONNECT either [MQTT-3.14.0-1].
        let client = bench.open(persistent(version, "d", 100));
        bench.broker.handle_shutdown(bench.now);
        bench.run();
        assert!(bench.is_closed(client));
        bench.assert_silent(client);
    }
}

#[test]
fn a_client_that_waits_for_connack_is_not_silent() {
    // Its Keep Alive begins, but its input is not read.
    for lost in [false, true] {
        let mut bench = slow_store();
        let client = bench.open(Connect { keep_alive: 1, ..persistent(Version::V5, "c", 100) });
        bench.send(client, Packet::PingReq);
        bench.sleep(std::time::Duration::from_secs(100));
        assert!(!bench.is_closed(client));
        if lost {
            let failed = last(&bench);
            bench.store_failed(failed);
            assert_eq!(bench.disconnect_reason(client), None); // [MQTT-3.14.0-1]
            continue;
        }
        bench.stored();
        let packets = bench.recv_all(client);
        assert!(matches!(&packets[..], [Packet::ConnAck(_), Packet::PingResp]), "{packets:?}");
    }
}
