//! A client with a store: what waits for it, what a restart finds, and a store that fails (sections 4.1, 4.3 and 4.4).
use crate::support::*;
use mqtt_session::client::{
    Client, ClientConfig, Completion, ConfigError, Event, Failure, MemoryStore, Message, Outcome, QueueConfig,
    QueuePolicy, Record, RecordKey, SessionLoss, StoreBatch, StoreOp, StoreSeq, SubscribeOptions, Token,
};
use mqtt_session::proto::{Delivery, Packet, Properties, Property, QoS, ReasonCode, SubAck, UnsubAck, Version};
use mqtt_session::{Instant, UnixTime};
use std::collections::VecDeque;

fn config() -> ClientConfig {
    ClientConfig { client_id: id("c"), clean_start: false, session_expiry: 3600, ..ClientConfig::default() }
}

/// A connected client whose store has kept everything so far.
fn online(config: ClientConfig) -> Net {
    let mut net = Net::with_store(config, MemoryStore::new(), Instant::ZERO);
    net.go_online(false, &[]);
    net.keep();
    net.events.clear();
    net
}

/// The process is killed; another begins with what was kept.
fn restarted(net: Net, config: ClientConfig) -> Net {
    Net::with_store(config, net.kept, Instant::from_secs(777))
}

fn kept(events: &VecDeque<Event>) -> Vec<Token> {
    let token = |event: &Event| match event {
        Event::Kept { token } => Some(*token),
        _ => None,
    };
    events.iter().filter_map(token).collect()
}

#[test]
fn qos_2_waits_for_the_store_and_qos_1_does_not() {
    let mut net = online(config());
    let first = net.publish("t", "1", QoS::AtLeastOnce);
    let second = net.publish("t", "2", QoS::ExactlyOnce);
    let third = net.publish("t", "3", QoS::AtLeastOnce);
    net.publish("t", "0", QoS::AtMostOnce);
    assert_eq!(as_publish(net.sent_one()).payload, "1");
    assert_eq!(kept(&net.events), []);
    net.keep();
    assert_eq!(kept(&net.events), [first, second, third]);
    let payloads: Vec<_> = net.sent().into_iter().map(|packet| as_publish(packet).payload).collect();
    assert_eq!(payloads, ["2", "3", "0"], "in the order of the calls");
}

// [MQTT-4.3.3-4], [MQTT-4.3.3-6], [MQTT-4.3.3-8], [MQTT-4.3.3-11]
#[test]
fn each_step_of_qos_2_waits_for_the_one_before_to_be_kept() {
    let mut net = online(config());
    let token = net.publish("t", "x", QoS::ExactlyOnce);
    net.keep();
    assert_eq!(as_publish(net.sent_one()).delivery, qos2(1));
    net.send(Packet::PubRec(ack(pid(1))));
    assert!(net.sent().is_empty());
    net.keep();
    assert_eq!(net.sent(), [Packet::PubRel(ack(pid(1)))]);
    net.send(Packet::PubComp(ack(pid(1))));
    assert!(matches!(net.settled(token), Some(Ok(_))));
    net.keep();

    net.send(incoming("t", "in", qos2(9)));
    assert!(net.messages().is_empty());
    net.keep();
    assert_eq!(net.messages().len(), 1);
    assert!(net.sent().is_empty());
    net.keep();
    assert_eq!(net.sent(), [Packet::PubRec(ack(pid(9)))]);
    net.send(Packet::PubRel(ack(pid(9))));
    assert!(net.sent().is_empty());
    net.keep();
    assert_eq!(net.sent(), [Packet::PubComp(ack(pid(9)))]);
    assert!(net.client.is_drained());
    let keys: Vec<_> = net.kept.records().map(Record::key).collect();
    assert_eq!(keys, [RecordKey::Session, RecordKey::Counters]);
}

// [MQTT-4.1.0-1], [MQTT-3.3.1-1]
#[test]
fn a_restart_finds_what_was_kept() {
    let mut net = online(ClientConfig { max_inflight: 2, ..config() });
    net.subscribe("confirmed", QoS::ExactlyOnce);
    net.grant();
    net.subscribe("unconfirmed", QoS::AtLeastOnce);
    net.client.unsubscribe(net.now, vec![filter("gone")]).unwrap();
    let tokens = ["1", "2", "3"].map(|payload| net.publish("t", payload, QoS::ExactlyOnce));
    net.publish("t", "not kept", QoS::AtMostOnce);
    net.keep();
    let ids = net.sent().into_iter().filter_map(|packet| match packet {
        Packet::Publish(publish) => publish.delivery.id(),
        _ => None,
    });
    let ids: Vec<_> = ids.collect();
    net.send(Packet::PubRec(ack(ids[0])));
    net.keep();
    assert_eq!(net.kept.messages(), (3, 1));

    let mut net = restarted(net, config());
    assert_eq!(net.client.unfinished(), 3);
    assert!(net.connects.is_empty());
    net.client.connect(net.now);
    net.keep();
    net.accept();
    net.connack(true, &[]);
    net.keep();
    let sent = net.sent();
    assert_eq!(sent[0], Packet::PubRel(ack(ids[0])));
    let Packet::Subscribe(subscribe) = &sent[1] else { panic!("{sent:?}") };
    assert_eq!(subscribe.filters, [(filter("unconfirmed"), QoS::AtLeastOnce.into())]);
    let Packet::Unsubscribe(unsubscribe) = &sent[2] else { panic!("{sent:?}") };
    assert_eq!(unsubscribe.filters, [filter("gone")]);
    assert_eq!(as_publish(sent[3].clone()).delivery, Delivery::ExactlyOnce { id: ids[1], dup: true });
    let last = as_publish(sent[4].clone());
    assert_eq!((&last.payload[..], last.delivery.dup()), (&b"3"[..], false));
    assert_eq!(sent.len(), 5);
    net.send(Packet::PubComp(ack(ids[0])));
    assert_eq!(net.settled(tokens[0]), Some(Ok(Outcome::Acknowledged(ReasonCode::Success))));
    let answer = UnsubAck { id: unsubscribe.id, reasons: vec![ReasonCode::Success], properties: Properties::new() };
    net.send(answer);
    net.keep();
    assert!(!net.kept.records().any(|record| matches!(record, Record::Unsubscribe(_))));
    assert!(net.publish("t", "new", QoS::AtMostOnce) > tokens[2]);
}

#[test]
fn lifetimes_go_on_while_there_is_no_process() {
    let mut net = Net::with_store(config(), MemoryStore::new(), Instant::ZERO);
    for seconds in [60, 600] {
        let properties = Properties::builder().with(Property::MessageExpiryInterval(seconds)).build();
        net.publish_message(Message { properties, ..message("t", "x", QoS::AtLeastOnce) });
    }
    net.pass(secs(10));
    net.keep();
    let mut net = Net::with_store_at(config(), net.kept, Instant::from_secs(5), WALL + 100_000);
    net.go_online(false, &[]);
    let publish = as_publish(net.sent_one());
    assert_eq!(publish.properties.message_expiry_interval(), Some(500), "the other one is over");
}

// [MQTT-4.3.3-10]
#[test]
fn a_message_that_was_not_acknowledged_comes_again_under_its_token() {
    let config = ClientConfig { manual_acks: true, ..config() };
    let mut net = online(config.clone());
    for number in [8, 9] {
        net.send(incoming("t", &number.to_string(), qos2(number)));
    }
    net.keep();
    let before: Vec<_> = net.messages().into_iter().map(|message| message.ack.unwrap()).collect();
    net.client.acknowledge(net.now, before[0], ReasonCode::Success);
    net.keep();
    let mut net = restarted(net, config);
    net.client.connect(net.now);
    net.keep();
    net.accept();
    net.connack(true, &[]);
    for number in [8, 9] {
        net.send(incoming("t", &number.to_string(), Delivery::ExactlyOnce { id: pid(number), dup: true }));
    }
    net.send(incoming("t", "new", qos2(10)));
    net.keep();
    assert_eq!(net.sent(), [Packet::PubRec(ack(pid(8)))], "acknowledged, and known");
    let after = net.messages();
    let payloads: Vec<_> = after.iter().map(|message| &message.payload[..]).collect();
    assert_eq!(payloads, [&b"9"[..], b"new"]);
    assert_eq!(after[0].ack, Some(before[1]));
    assert!(after[1].ack.unwrap().as_u64() > before[1].as_u64());
}

// The Server forgot the session while the process was dead, or just before it was killed.
#[test]
fn a_connect_whose_answer_was_not_kept_leaves_the_session_in_doubt() {
    let mut net = online(config());
    net.subscribe("t", QoS::ExactlyOnce);
    net.grant();
    net.keep();
    net.send(incoming("t", "old", qos2(9)));
    net.keep();
    net.messages();
    net.keep();
    net.sent();
    net.lose();
    net.client.connect(net.now);
    net.run();
    assert!(net.connects.is_empty(), "that a CONNECT leaves must be kept before");
    net.keep();
    net.accept();
    net.connack(false, &[]); // and killed before that is kept
    let mut net = restarted(net, config());
    net.client.connect(net.now);
    net.keep();
    net.accept();
    net.connack(true, &[]); // the session of the CONNECT before
    net.keep();
    assert!(matches!(&net.sent()[..], [Packet::Subscribe(_)]), "nobody knows whether the server has it");
    net.send(incoming("t", "new", qos2(9))); // not a copy
    net.keep();
    let payloads: Vec<_> = net.messages().into_iter().map(|message| message.payload).collect();
    assert_eq!(payloads, ["new"]);
}

#[test]
fn a_failure_is_told_when_the_message_is_gone_for_good() {
    let mut net = online(config());
    let refused = net.publish("t", "x", QoS::AtLeastOnce);
    net.keep();
    net.sent();
    net.send(Packet::PubAck(ack_with(pid(1), ReasonCode::QuotaExceeded)));
    assert_eq!(net.settled(refused), None);
    assert_eq!(net.kept.messages(), (1, 0));
    net.keep();
    assert!(matches!(net.settled(refused), Some(Err(Failure::Refused { .. }))));
    assert_eq!(net.kept.messages(), (0, 0));

    let queue = QueueConfig { max_messages: 1, policy: QueuePolicy::DropOldest, ..QueueConfig::default() };
    let mut net = Net::with_store(ClientConfig { queue, ..config() }, MemoryStore::new(), Instant::ZERO);
    let (oldest, _) = (net.publish("t", "1", QoS::AtLeastOnce), net.publish("t", "2", QoS::AtLeastOnce));
    assert_eq!(net.settled(oldest), None);
    net.keep();
    assert_eq!(net.settled(oldest), Some(Err(Failure::Dropped)));
    assert_eq!(net.kept.messages(), (1, 0));
}

// [MQTT-3.2.2-5]
#[test]
fn a_session_that_the_server_lost_is_lost_in_the_store_too() {
    let mut net = online(config());
    let tokens = [QoS::AtLeastOnce, QoS::ExactlyOnce].map(|qos| net.publish("t", "x", qos));
    net.send(incoming("t", "in", qos2(9)));
    net.keep();
    let late = net.publish("t", "never sent", QoS::ExactlyOnce);
    net.lose();
    net.client.connect(net.now);
    net.keep();
    net.accept();
    net.connack(false, &[]);
    assert_eq!(net.settled(tokens[1]), None);
    net.keep();
    assert_eq!(net.settled(tokens[1]), Some(Err(Failure::SessionLost)));
    let payloads: Vec<_> = net.sent().into_iter().map(|packet| as_publish(packet).payload).collect();
    assert_eq!(payloads, ["x", "never sent"]);
    assert_eq!(net.settled(late), None, "it was never on its way, so it still can be");
    assert_eq!(net.kept.messages(), (2, 0));
    assert!(!net.kept.records().any(|record| matches!(record, Record::Incoming { .. })));

    let fail = ClientConfig { on_session_loss: SessionLoss::Fail, ..config() };
    let mut net = restarted(net, fail);
    net.client.connect(net.now);
    net.keep();
    net.accept();
    net.connack(false, &[]);
    net.keep();
    assert_eq!(net.client.unfinished(), 0, "a process that was killed cannot know what it had sent");
}

#[test]
fn a_store_that_fails_holds_everything_up_and_is_asked_again() {
    let mut net = online(config());
    let token = net.publish("t", "x", QoS::ExactlyOnce);
    net.fail_to_keep();
    assert!(net.events.iter().any(|event| matches!(event, Event::StoreFailed)));
    assert!(net.sent().is_empty());
    assert!(net.batches.is_empty(), "not in a loop");
    net.pass(secs(1));
    assert_eq!(net.batches.len(), 1);
    assert!(net.batches[0].ops.is_empty());
    net.fail_to_keep();
    net.pass(secs(1));
    net.keep();
    assert_eq!(kept(&net.events), [token]);
    assert_eq!(as_publish(net.sent_one()).payload, "x");
    net.pass(secs(5));
    assert!(net.batches.is_empty(), "it works again");
}

#[test]
fn an_answer_that_means_several_batches_or_none_is_understood() {
    let mut net = online(config());
    let stray = Completion::Stored { upto: StoreSeq(u64::MAX) };
    let first = net.publish("t", "1", QoS::AtLeastOnce);
    net.client.handle_completion(net.now, stray); // for all that was handed out
    net.run();
    assert_eq!(kept(&net.events), [first]);
    let second = net.publish("t", "2", QoS::AtLeastOnce);
    net.client.handle_completion(net.now, Completion::Stored { upto: StoreSeq(1) }); // old
    net.run();
    assert_eq!(kept(&net.events), [first]);
    net.client.handle_completion(net.now, stray);
    net.run();
    assert_eq!(kept(&net.events), [first, second]);
    let mut net = Net::new(config());
    net.client.handle_completion(net.now, stray); // no store: a no-op
    assert!(net.client.poll_output().is_none());
}

#[test]
fn a_store_that_is_behind_slows_the_client_down() {
    let mut net = online(config());
    let mut published = 0;
    while net.client.wants_read() {
        net.publish("t", "x", QoS::AtLeastOnce);
        let publish = as_publish(net.sent_one());
        published += 1;
        net.send(Packet::PubAck(ack(publish.delivery.id().unwrap())));
        assert!(published < 10_000, "it goes on and on");
    }
    assert_eq!(net.batches.len(), 64, "no more are without an answer");
    net.publish("t", "later", QoS::AtLeastOnce);
    assert!(net.sent().is_empty());
    net.readable = false;
    while net.keep() > 0 {}
    assert!(net.readable && net.client.wants_read(), "the store has caught up");
    assert_eq!(as_publish(net.sent_one()).payload, "later");
}

#[test]
fn the_store_belongs_to_one_client_identifier() {
    let net = online(config());
    let other = ClientConfig { client_id: id("other"), ..config() };
    let result = Client::with_store(other, &net.kept, SEED, net.now, UnixTime::default());
    assert_eq!(result.unwrap_err(), ConfigError::OtherClient);
    let anonymous = ClientConfig { client_id: id(""), ..config() };
    let client = Client::with_store(anonymous, &net.kept, SEED, net.now, UnixTime::default()).unwrap();
    assert_eq!(&**client.client_id(), "c");
}

#[test]
fn an_assigned_identifier_is_kept() {
    let anonymous = || ClientConfig { client_id: id(""), ..config() };
    let mut net = Net::with_store(anonymous(), MemoryStore::new(), Instant::ZERO);
    net.go_online(false, &[Property::AssignedClientIdentifier("given")]);
    net.keep();
    let mut net = restarted(net, anonymous());
    net.client.connect(net.now);
    net.keep();
    let (_, connect) = net.accept();
    assert_eq!((&*connect.client_id, connect.clean_start), ("given", false));
}

#[test]
fn an_empty_store_makes_a_new_client() {
    for version in [Version::V3_1_1, Version::V5] {
        let config = ClientConfig { version, client_id: id("c"), ..ClientConfig::default() };
        let mut net = Net::with_store(config, MemoryStore::new(), Instant::ZERO);
        net.publish("t", "x", QoS::AtLeastOnce);
        net.keep();
        assert!(net.go_online(false, &[]).clean_start);
        assert_eq!(as_publish(net.sent_one()).payload, "x");
    }
}

#[test]
fn a_flight_whose_message_is_lost_is_ended_without_it() {
    let mut net = online(config());
    net.publish("t", "x", QoS::ExactlyOnce);
    net.keep();
    let mut kept = net.kept.clone();
    let lost = kept.records().find(|record| matches!(record, Record::Message { .. })).unwrap().key();
    kept.apply(&StoreBatch { seq: StoreSeq(1), ops: vec![StoreOp::Remove(lost)] });
    let mut net = Net::with_store(config(), kept, Instant::ZERO);
    net.client.connect(net.now);
    net.keep();
    net.accept();
    net.connack(true, &[]);
    net.keep();
    assert_eq!(net.sent(), [Packet::PubRel(ack(pid(1)))], "the identifier is not used for another one before");
}

#[test]
fn subscriptions_in_the_store_are_the_desired_ones() {
    let mut net = online(config());
    net.subscribe("a", QoS::AtLeastOnce);
    net.grant();
    let more = SubscribeOptions { identifier: Some(7), ..SubscribeOptions::default() };
    net.client.subscribe(net.now, vec![(filter("b"), QoS::ExactlyOnce.into())], more.clone()).unwrap();
    net.client.unsubscribe(net.now, vec![filter("a")]).unwrap();
    net.subscribe("a", QoS::ExactlyOnce); // while the UNSUBSCRIBE is not answered
    for packet in net.sent() {
        if let Packet::Unsubscribe(packet) = packet {
            let reasons = vec![ReasonCode::Success];
            net.send(UnsubAck { id: packet.id, reasons, properties: Properties::new() });
        }
    }
    net.keep();
    let state = net.kept.session(UnixTime::from_millis(WALL));
    let all: Vec<_> = state.subscriptions.iter().map(|one| (&*one.filter, one.options.qos, one.confirmed)).collect();
    assert_eq!(all, [("a", QoS::ExactlyOnce, false), ("b", QoS::ExactlyOnce, false)]);
    assert_eq!(state.subscriptions[1].more, more);
    assert!(state.unsubscribe.is_empty());
}

#[test]
fn the_end_of_a_subscription_is_told_when_it_cannot_come_back() {
    let mut net = online(config());
    net.subscribe("a", QoS::AtLeastOnce);
    net.grant();
    net.keep();
    let token = net.client.unsubscribe(net.now, vec![filter("a")]).unwrap();
    let Packet::Unsubscribe(packet) = net.sent_one() else { panic!("no UNSUBSCRIBE") };
    net.send(UnsubAck { id: packet.id, reasons: vec![ReasonCode::Success], properties: Properties::new() });
    assert_eq!(net.settled(token), None);
    net.keep();
    assert_eq!(net.settled(token), Some(Ok(Outcome::Unsubscribed(vec![ReasonCode::Success]))));
    let net = restarted(net, config());
    assert_eq!(net.client.subscriptions().count(), 0);
}

/// A flight has its message if that is there, has not gone over to the Server, and can be on its way at all.
#[test]
fn a_flight_whose_message_makes_no_sense_counts_as_released() {
    for (qos, released, sent_again) in [
        (QoS::AtLeastOnce, false, true),
        (QoS::ExactlyOnce, false, true),
        (QoS::ExactlyOnce, true, false),
        (QoS::AtMostOnce, false, false),
    ] {
        let token = Token::from_u64(5);
        let mut kept = MemoryStore::new();
        kept.put(Record::Session { client_id: id("c"), connecting: false });
        let message = Message::new(topic("t"), "x", qos);
        kept.put(Record::Message { token, message, expires_at: None });
        kept.put(Record::Flight { id: pid(3), token, order: 1, released });
        let state = kept.session(UnixTime::from_millis(0));
        let flights: Vec<_> = state.inflight.iter().map(|flight| (flight.id, flight.message.is_some())).collect();
        assert_eq!((flights, state.queue.len()), (vec![(pid(3), sent_again)], 0), "{qos:?} {released}");
    }
}

/// The store is asked again as long as it lacks anything, and not for nothing.
#[test]
fn a_store_that_caught_up_is_not_asked_again() {
    let mut net = online(config());
    net.publish("t", "1", QoS::ExactlyOnce);
    net.run();
    let first = net.batches.pop_front().unwrap();
    net.publish("t", "2", QoS::ExactlyOnce);
    net.run();
    let second = net.batches.pop_front().unwrap();
    net.client.handle_completion(net.now, Completion::StoreFailed { seq: second.seq });
    net.client.handle_completion(net.now, Completion::Stored { upto: first.seq });
    net.pass(secs(1));
    let asked = net.batches.pop_front().expect("the second is still missing");
    net.client.handle_completion(net.now, Completion::StoreFailed { seq: asked.seq });
    net.client.handle_completion(net.now, Completion::Stored { upto: asked.seq });
    net.run();
    net.batches.clear();
    net.pass(secs(5));
    assert!(net.batches.is_empty());
}

#[test]
fn an_attempt_that_was_given_up_is_not_made_when_the_store_answers() {
    let mut net = online(config());
    net.lose();
    net.client.connect(net.now);
    net.run();
    assert!(net.connects.is_empty() && !net.batches.is_empty(), "CONNECT waits for the store");
    net.client.disconnect(net.now, &ReasonCode::Success.into()).unwrap();
    net.keep();
    assert!(net.connects.is_empty() && net.client.is_idle());
}

/// An answer that changes nothing that is kept has nothing to wait for.
#[test]
fn an_answer_to_older_options_is_passed_on_at_once() {
    let mut net = online(config());
    let first = net.subscribe("a", QoS::AtLeastOnce);
    let second = net.subscribe("a", QoS::ExactlyOnce);
    net.keep();
    let sent = net.sent();
    let answer = |packet: &Packet, reason| match packet {
        Packet::Subscribe(packet) => SubAck { id: packet.id, reasons: vec![reason], properties: Properties::new() },
        other => panic!("{other:?}"),
    };
    net.send(answer(&sent[0], ReasonCode::GrantedQoS1));
    assert!(net.batches.is_empty());
    assert!(matches!(net.settled(first), Some(Ok(_))));
    net.send(answer(&sent[1], ReasonCode::GrantedQoS2));
    assert!(net.settled(second).is_none(), "that one is to be kept");
    net.keep();
    assert!(matches!(net.settled(second), Some(Ok(_))));
}
