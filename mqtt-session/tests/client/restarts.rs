//! What a client with a store knows after the process was killed: which numbers were given out, in which order things were sent,
//! and what is still to be kept.
use crate::support::*;
use mqtt_session::Instant;
use mqtt_session::client::{AckToken, ClientConfig, MemoryStore, Record, StoreBatch, StoreOp, StoreSeq};
use mqtt_session::proto::{Delivery, Packet, QoS, ReasonCode};

fn config() -> ClientConfig {
    let base = ClientConfig { client_id: id("c"), clean_start: false, session_expiry: 3600, ..ClientConfig::default() };
    ClientConfig { manual_acks: true, ..base }
}

/// A connected client, and everything so far is kept.
fn online(mut net: Net, session_present: bool) -> Net {
    net.client.connect(net.now);
    net.keep();
    net.accept();
    net.connack(session_present, &[]);
    net.keep();
    net.events.clear();
    net
}

fn started() -> Net {
    online(Net::with_store(config(), MemoryStore::new(), Instant::ZERO), false)
}

fn restarted(kept: MemoryStore) -> Net {
    Net::with_store(config(), kept, Instant::from_secs(777))
}

fn counters(kept: &MemoryStore) -> Option<(u64, u64)> {
    kept.records().find_map(|record| match record {
        Record::Counters { token, ack } => Some((*token, *ack)),
        _ => None,
    })
}

fn acks(net: &mut Net) -> Vec<AckToken> {
    net.messages().into_iter().map(|message| message.ack.expect("QoS 2")).collect()
}

/// Also those of messages that are not kept, and they are reserved by the thousand.
#[test]
fn tokens_are_never_given_out_again() {
    let mut net = started();
    let mut last = net.publish("t", "kept", QoS::AtLeastOnce);
    net.keep();
    let reserved = counters(&net.kept).expect("they are kept").0;
    for _ in 0..100 {
        last = net.publish("t", "not kept", QoS::AtMostOnce);
    }
    net.keep();
    assert_eq!(counters(&net.kept).unwrap().0, reserved);
    assert!(reserved >= last.as_u64());
    let mut net = online(restarted(net.kept), true);
    let next = net.publish("t", "x", QoS::AtLeastOnce);
    assert!(next.as_u64() > last.as_u64());
    net.keep();
    // They move on when they are used up, and not before.
    let reserved = counters(&net.kept).unwrap().0;
    assert!(reserved >= next.as_u64());
    let mut used = next;
    while used.as_u64() < reserved {
        used = net.publish("t", "x", QoS::AtMostOnce);
    }
    net.keep();
    assert_eq!(counters(&net.kept).unwrap().0, reserved);
    net.publish("t", "x", QoS::AtMostOnce);
    net.keep();
    assert!(counters(&net.kept).unwrap().0 > reserved);
}

/// Where damage took the record of what was reserved, the greatest number that is left counts.
#[test]
fn without_the_counters_what_is_left_tells_how_far_the_numbers_went() {
    let mut net = started();
    let mut last = net.publish("t", "x", QoS::AtMostOnce);
    for _ in 0..20 {
        last = net.publish("t", "x", QoS::AtLeastOnce);
    }
    for number in 1..=20 {
        net.send(incoming("t", "in", qos2(number)));
    }
    net.keep();
    let greatest = *acks(&mut net).last().unwrap();
    let lost = net.kept.records().find(|record| matches!(record, Record::Counters { .. })).unwrap().key();
    net.kept.apply(&StoreBatch { seq: StoreSeq(1), ops: vec![StoreOp::Remove(lost)] });
    let mut net = online(restarted(net.kept), true);
    assert!(net.publish("t", "x", QoS::AtLeastOnce).as_u64() > last.as_u64());
    net.send(incoming("t", "new", qos2(30)));
    net.keep();
    assert!(acks(&mut net).iter().all(|ack| ack.as_u64() > greatest.as_u64()));
}

/// [MQTT-4.3.3-10] Its number is that of the message, wherever the count of the new process stands.
#[test]
fn a_message_keeps_its_number_and_new_ones_get_greater_ones() {
    let mut net = started();
    for number in [1, 2, 3] {
        net.send(incoming("t", "over", qos1(number)));
    }
    net.send(incoming("t", "waits", qos2(9)));
    net.keep();
    let before = *acks(&mut net).last().unwrap();
    let mut net = online(restarted(net.kept), true);
    net.send(incoming("t", "waits", Delivery::ExactlyOnce { id: pid(9), dup: true }));
    net.send(incoming("t", "new", qos2(10)));
    net.keep();
    let after = acks(&mut net);
    assert_eq!(after[0], before);
    assert!(after[1].as_u64() > before.as_u64());
}

/// [MQTT-4.6.0-1] What the earlier process had sent goes out before what this one sent.
#[test]
fn messages_are_sent_again_in_the_order_of_all_processes() {
    let mut net = started();
    for payload in ["1", "2", "3"] {
        net.publish("t", payload, QoS::AtLeastOnce);
    }
    net.keep();
    net.sent();
    for number in [1, 2] {
        net.send(Packet::PubAck(ack(pid(number))));
    }
    net.keep();
    let mut net = online(restarted(net.kept), true);
    net.publish("t", "4", QoS::AtLeastOnce);
    net.publish("t", "5", QoS::AtLeastOnce);
    net.keep();
    net.sent();
    net.lose();
    let mut net = online(net, true);
    let payloads: Vec<_> = net.sent().into_iter().map(|packet| as_publish(packet).payload).collect();
    assert_eq!(payloads, ["3", "4", "5"]);
}

/// Nothing is left only when the store knows so too.
#[test]
fn a_client_is_drained_when_the_end_is_kept() {
    let mut net = started();
    assert!(net.client.is_drained());
    net.publish("t", "x", QoS::AtLeastOnce);
    net.keep();
    net.sent();
    net.send(Packet::PubAck(ack(pid(1))));
    assert!(!net.client.is_drained(), "handed out, and not answered");
    net.keep();
    assert!(net.client.is_drained());
    // Changes that the store has not been given yet count as well.
    net.client.publish(net.now, message("t", "x", QoS::AtMostOnce)).unwrap();
    net.send(incoming("t", "x", qos2(1)));
    assert!(!net.client.is_drained());
    net.keep();
    assert!(net.client.is_drained());
}

/// What waited for the store on a connection that is gone does not go out on the next one.
#[test]
fn an_answer_that_waited_for_the_store_ends_with_its_connection() {
    let mut net = started();
    net.send(incoming("t", "x", qos2(9)));
    net.keep();
    let token = acks(&mut net)[0];
    net.client.acknowledge(net.now, token, ReasonCode::Success);
    assert!(net.sent().is_empty(), "PUBREC waits");
    net.lose();
    let mut net = online(net, true);
    assert!(net.sent().is_empty());
    net.send(incoming("t", "x", Delivery::ExactlyOnce { id: pid(9), dup: true }));
    net.keep();
    assert_eq!(net.sent(), [Packet::PubRec(ack(pid(9)))]);
    assert!(net.messages().is_empty());
}

/// The store hears of CONNECT before it leaves, and of its answer.
#[test]
fn the_store_knows_whether_an_answer_to_connect_is_open() {
    let open = |kept: &MemoryStore| {
        kept.records().find_map(|record| match record {
            Record::Session { connecting, .. } => Some(*connecting),
            _ => None,
        })
    };
    let net = started();
    assert_eq!(open(&net.kept), Some(false));
    let mut net = restarted(net.kept);
    net.client.connect(net.now);
    net.keep();
    net.accept();
    assert_eq!(open(&net.kept), Some(true));
    net.connack(true, &[]);
    net.keep();
    assert_eq!(open(&net.kept), Some(false));
}

/// An identifier is kept as long as a copy could come: not at QoS 1, and not after a refusal [MQTT-4.3.3-9].
#[test]
fn the_store_keeps_the_identifiers_of_accepted_qos_2_messages_alone() {
    let incoming_records = |net: &Net| -> Vec<(u16, bool)> {
        let ids = net.kept.records().filter_map(|record| match record {
            Record::Incoming { id, unacknowledged } => Some((id.get(), unacknowledged.is_some())),
            _ => None,
        });
        ids.collect()
    };
    let (success, refusal) = (ReasonCode::Success, ReasonCode::QuotaExceeded);
    for lost in [false, true] {
        let mut net = started();
        net.send(incoming("t", "1", qos1(1)));
        net.send(incoming("t", "2", qos2(2)));
        net.send(incoming("t", "3", qos2(3)));
        net.keep();
        let tokens = acks(&mut net);
        assert_eq!(incoming_records(&net), [(2, true), (3, true)]);
        if lost {
            net.lose();
        }
        for (token, reason) in tokens.into_iter().zip([success, success, refusal]) {
            net.client.acknowledge(net.now, token, reason);
        }
        net.keep();
        // A refusal that did not leave may have to be said again.
        let expected = if lost { &[(2, false), (3, true)][..] } else { &[(2, false)] };
        assert_eq!(incoming_records(&net), expected, "{lost}");
    }
}

#[test]
fn numbers_of_received_messages_are_reserved_as_they_grow() {
    let mut net = started();
    let mut last = 0;
    for _ in 0..1100 {
        net.send(incoming("t", "x", qos1(1)));
        net.keep();
        let token = acks(&mut net)[0];
        assert!(token.as_u64() > last);
        last = token.as_u64();
        net.client.acknowledge(net.now, token, ReasonCode::Success);
    }
    net.keep();
    net.sent();
    let mut net = online(restarted(net.kept), true);
    net.send(incoming("t", "x", qos1(1)));
    net.keep();
    assert!(acks(&mut net)[0].as_u64() > last);
}
