//! Shared subscriptions (section 4.8.2).
use crate::common::*;
use mqtt_session::broker::{DropReason, Event, SharedStrategy};
use mqtt_session::proto::*;
use std::time::Duration;

const ZERO: QoS = QoS::AtMostOnce;
const ONE: QoS = QoS::AtLeastOnce;
const TWO: QoS = QoS::ExactlyOnce;

fn durable(bench: &mut Bench, id: &str) -> Client {
    bench.connect(persistent(Version::V5, id, 1000)).0
}

fn group(bench: &mut Bench, count: usize, qos: QoS) -> Vec<Client> {
    (0..count)
        .map(|number| {
            let client = bench.v5(&format!("m{number}"));
            bench.subscribe(client, "$share/g/a/#", qos);
            client
        })
        .collect()
}

fn sorted(mut all: Vec<String>) -> Vec<String> {
    all.sort_by_key(|text| text.parse::<u32>().unwrap());
    all
}

#[test]
fn members_take_turns() {
    // [MQTT-4.8.2-3]
    for qos in [ZERO, ONE, TWO] {
        let mut bench = Bench::new();
        let members = group(&mut bench, 3, qos);
        for number in 0..9 {
            bench.inject("a/b", &number.to_string(), qos);
        }
        bench.inject("other", "x", qos);
        for (index, member) in (0..).zip(&members) {
            let got = bench.take(*member);
            let expected: Vec<String> = (0..9).filter(|n| n % 3 == index).map(|n: u32| n.to_string()).collect();
            assert_eq!(got.iter().map(text).collect::<Vec<_>>(), expected, "{qos:?}");
            assert!(got.iter().all(|publish| publish.delivery.qos() == qos));
        }
        assert_eq!(bench.levels(), (0, 0, 0));
    }
}

#[test]
fn the_least_loaded_member_is_chosen() {
    let mut bench = Bench::with(|config| config.shared_strategy = SharedStrategy::LeastLoaded);
    let members = group(&mut bench, 3, ONE);
    for number in 0..6 {
        bench.inject("a", &number.to_string(), ONE);
    }
    let load = |bench: &mut Bench| members.iter().map(|member| bench.recv_all(*member).len()).collect::<Vec<_>>();
    assert_eq!(load(&mut bench), [2, 2, 2]);
    bench.send(members[1], Packet::PubAck(ack(1)));
    bench.send(members[1], Packet::PubAck(ack(2)));
    bench.inject("a", "6", ONE);
    bench.inject("a", "7", ONE);
    assert_eq!(load(&mut bench), [0, 2, 0]);
}

#[test]
fn a_member_without_room_is_passed_over() {
    let mut bench = Bench::with(|config| config.connection.max_transmit_bytes = 1000);
    let narrow = properties([Property::ReceiveMaximum(1)]);
    let busy = bench.connect(Connect { properties: narrow, ..connect(Version::V5, "busy") }).0;
    let frozen = bench.v5("frozen");
    let ready = bench.v5("ready");
    for client in [busy, frozen, ready] {
        bench.subscribe(client, "$share/g/a", ONE);
    }
    bench.subscribe(frozen, "fill", ZERO);
    bench.set_window(frozen, Some(0));
    for _ in 0..20 {
        bench.inject("fill", &"x".repeat(200), ZERO);
    }
    for number in 0..10 {
        bench.inject("a", &number.to_string(), ONE);
    }
    assert_eq!(bench.take_texts(ready), numbers(1..10));
    bench.set_window(frozen, None);
    assert!(bench.take_texts(frozen).iter().all(|text| text.starts_with('x')));
    assert_eq!(bench.take_texts(busy), ["0"]);
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn what_nobody_can_take_waits() {
    let mut bench = Bench::with(|config| config.connection.max_inflight = 1);
    let members = group(&mut bench, 2, ONE);
    for number in 0..10 {
        bench.inject("a", &number.to_string(), ONE);
    }
    assert_eq!((bench.broker.stats().queued, bench.broker.stats().inflight), (10, 2));
    let mut all = Vec::new();
    for round in 0.. {
        let got = bench.recv_all(members[round % 2]);
        if got.is_empty() {
            break;
        }
        let [Packet::Publish(publish)] = &got[..] else { panic!("{got:?}") };
        all.push(text(publish).to_owned());
        bench.send(members[round % 2], Packet::PubAck(ack(id_of(publish))));
    }
    assert_eq!(sorted(all), numbers(0..10));
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn whoever_can_take_something_serves_the_groups_that_wait() {
    let mut bench = Bench::new();
    let narrow = || properties([Property::ReceiveMaximum(1)]);
    let member = bench.connect(Connect { properties: narrow(), ..connect(Version::V5, "m") }).0;
    for filter in ["$share/g/a", "$share/g/b", "$share/g/c"] {
        bench.subscribe(member, filter, ONE);
    }
    for topic in ["a", "b", "b"] {
        bench.inject(topic, topic, ONE);
    }
    assert_eq!(bench.recv_texts(member), ["a"]);
    // A message that comes while its group waits goes behind the others.
    bench.send(member, Packet::PubAck(ack(1)));
    assert_eq!(bench.recv_texts(member), ["b"]);
    bench.inject("c", "c", ONE);
    bench.inject("b", "later", ONE);
    // A further member takes what one group has at once; the other group waits on.
    let other = bench.v5("other");
    bench.subscribe(other, "$share/g/b", ONE);
    assert_eq!(bench.recv_texts(other), ["b", "later"]);
    bench.send(member, Packet::PubAck(ack(2)));
    assert_eq!(bench.recv_texts(member), ["c"]);
    // One that leaves a group that waits is no longer woken for it.
    bench.inject("a", "gone", ONE);
    let filters = vec![filter("$share/g/a")];
    bench.send(member, Unsubscribe { id: pid(7), filters, properties: Properties::new() });
    bench.send(member, Packet::PubAck(ack(3)));
    assert!(matches!(bench.recv_all(member)[..], [Packet::UnsubAck(_)]));
    assert_eq!(bench.levels().0, 2, "those that the other member has");
}

#[test]
fn unacknowledged_qos_1_goes_to_another_member() {
    for lasts in [false, true] {
        let mut bench = Bench::new();
        let leaver = if lasts { durable(&mut bench, "leaver") } else { bench.v5("leaver") };
        let stayer = bench.v5("stayer");
        for client in [leaver, stayer] {
            bench.subscribe(client, "$share/g/a", ONE);
        }
        for number in 0..10 {
            bench.inject("a", &number.to_string(), ONE);
        }
        let first = bench.recv_publish(leaver);
        bench.send(leaver, Packet::PubAck(ack(id_of(&first))));
        bench.cut(leaver);
        let got = bench.take(stayer);
        assert!(got.iter().all(|publish| !publish.delivery.dup()), "new to this client [MQTT-3.3.1-3]");
        let all = got.iter().map(|publish| text(publish).to_owned()).collect();
        assert_eq!(sorted(all), numbers(1..10));
        assert_eq!(bench.levels(), (0, 0, 0));
        if lasts {
            let leaver = durable(&mut bench, "leaver");
            bench.assert_silent(leaver);
            bench.inject("a", "x", ONE);
            bench.inject("a", "y", ONE);
            assert_eq!(bench.take(leaver).len() + bench.take(stayer).len(), 2);
        }
    }
}

#[test]
fn the_last_member_gets_its_messages_back() {
    let mut bench = Bench::new();
    let client = durable(&mut bench, "s");
    bench.subscribe(client, "$share/g/a", ONE);
    for number in 0..5 {
        bench.inject("a", &number.to_string(), ONE);
    }
    assert_eq!(bench.recv_all(client).len(), 5);
    for id in [2, 4] {
        bench.send(client, Packet::PubAck(ack(id)));
    }
    bench.cut(client);
    assert_eq!(bench.broker.stats().inflight, 0);
    for number in 5..8 {
        bench.inject("a", &number.to_string(), ONE);
    }
    let client = durable(&mut bench, "s");
    assert_eq!(bench.take_texts(client), ["0", "2", "4", "5", "6", "7"]);
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn qos_2_is_completed_by_the_member_that_began() {
    // [MQTT-4.8.2-4]
    let mut bench = Bench::new();
    let (first, second) = (durable(&mut bench, "first"), durable(&mut bench, "second"));
    for client in [first, second] {
        bench.subscribe(client, "$share/g/a", TWO);
    }
    for number in 0..4 {
        bench.inject("a", &number.to_string(), TWO);
    }
    assert_eq!(bench.recv_all(first).len(), 2);
    bench.send(first, Packet::PubRec(ack(1)));
    bench.cut(first);
    assert_eq!(bench.take_texts(second), ["1", "3"]);
    assert_eq!((bench.broker.stats().inflight, bench.broker.stats().queued), (2, 4));
    let first = durable(&mut bench, "first");
    assert_eq!(bench.recv(first), Some(Packet::PubRel(ack(1))));
    let again = bench.recv_publish(first);
    assert_eq!((text(&again), again.delivery), ("2", Delivery::ExactlyOnce { id: pid(2), dup: true }));
    bench.send(first, Packet::PubComp(ack(1)));
    bench.send(first, Packet::PubRec(ack(2)));
    assert_eq!(bench.recv(first), Some(Packet::PubRel(ack(2))));
    bench.send(first, Packet::PubComp(ack(2)));
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn qos_2_of_a_session_that_ends_goes_to_nobody() {
    // [MQTT-4.8.2-5]
    for how in 0..3 {
        let mut bench = Bench::new();
        let first = if how == 0 { bench.v5("first") } else { durable(&mut bench, "first") };
        let second = bench.v5("second");
        for client in [first, second] {
            bench.subscribe(client, "$share/g/a", TWO);
        }
        for number in 0..6 {
            bench.inject("a", &number.to_string(), TWO);
        }
        assert_eq!(bench.recv_all(first).len(), 3);
        bench.send(first, Packet::PubRec(ack(2)));
        bench.cut(first);
        match how {
            0 => {}
            1 => bench.sleep(Duration::from_secs(1000)),
            _ => {
                bench.v5("first");
            }
        }
        assert_eq!(bench.take_texts(second), ["1", "3", "5"], "{how}");
        assert_eq!(bench.levels(), (0, 0, 0));
    }
}

#[test]
fn a_refused_message_is_discarded() {
    // [MQTT-4.8.2-6]
    for (qos, answer) in [(ONE, Packet::PubAck as fn(Ack) -> Packet), (TWO, Packet::PubRec)] {
        let mut bench = Bench::new();
        let members = group(&mut bench, 2, qos);
        bench.inject("a", "x", qos);
        bench.recv_publish(members[0]);
        bench.send(members[0], answer(Ack { reason: ReasonCode::UnspecifiedError, ..ack(1) }));
        assert_eq!(bench.levels(), (0, 0, 0));
        bench.cut(members[0]);
        bench.assert_silent(members[1]);
    }
}

#[test]
fn an_offline_group_queues_and_its_first_member_gets_it() {
    let mut bench = Bench::new();
    let (first, second) = (durable(&mut bench, "first"), durable(&mut bench, "second"));
    for client in [first, second] {
        bench.subscribe(client, "$share/g/a", TWO);
        bench.cut(client);
    }
    for number in 0..10 {
        bench.inject("a", &number.to_string(), ONE);
        bench.inject("a", "zero", ZERO);
    }
    let stats = bench.broker.stats();
    assert_eq!((stats.queued, stats.dropped_no_member), (10, 10));
    let second = durable(&mut bench, "second");
    assert_eq!(bench.take_texts(second), numbers(0..10));
    let first = durable(&mut bench, "first");
    bench.assert_silent(first);
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn queued_qos_0_for_a_group() {
    let mut bench = Bench::with(|config| config.session.queue_qos0 = true);
    let client = durable(&mut bench, "s");
    bench.subscribe(client, "$share/g/a", ONE);
    bench.cut(client);
    bench.inject("a", "zero", ZERO);
    bench.inject("a", "one", ONE);
    let client = durable(&mut bench, "s");
    let got = bench.take(client);
    assert_eq!(got.iter().map(|publish| publish.delivery.qos()).collect::<Vec<_>>(), [ZERO, ONE]);
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn a_full_group_gives_up_its_oldest() {
    let mut bench = Bench::with(|config| config.session.max_queued_messages = 5);
    let client = durable(&mut bench, "s");
    bench.subscribe(client, "$share/g/a", ONE);
    bench.cut(client);
    for number in 0..12 {
        bench.inject("a", &number.to_string(), ONE);
    }
    assert_eq!(bench.broker.stats().queued, 5);
    let client = durable(&mut bench, "s");
    assert_eq!(bench.take_texts(client), numbers(7..12));
    let lost: u64 = bench
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Dropped { receiver, count, reason: DropReason::QueueFull } if &**receiver == "$share/g/a" => {
                Some(*count)
            }
            _ => None,
        })
        .sum();
    assert_eq!((lost, bench.broker.stats().dropped_queue_full), (7, 7));
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn returned_messages_that_give_way_do_not_hold_the_queue() {
    let mut bench = Bench::with(|config| config.session.max_queued_messages = 4);
    let client = durable(&mut bench, "s");
    bench.subscribe(client, "$share/g/a", ONE);
    for number in 0..3 {
        bench.inject("a", &number.to_string(), ONE);
    }
    bench.cut(client);
    for number in 3..10 {
        bench.inject("a", &number.to_string(), ONE);
    }
    for _ in 0..2 {
        let client = durable(&mut bench, "s");
        for number in 10..20 {
            bench.inject("a", &number.to_string(), ONE);
        }
        bench.take(client);
        assert_eq!(bench.levels(), (0, 0, 0), "nothing is left when all is acknowledged");
        bench.cut(client);
    }
}

#[test]
fn what_was_acknowledged_behind_a_loss_does_not_hold_the_queue() {
    let mut bench = Bench::with(|config| config.session.max_queued_messages = 3);
    let client = durable(&mut bench, "s");
    bench.subscribe(client, "$share/g/a", ONE);
    for number in 0..3 {
        bench.inject("a", &number.to_string(), ONE);
    }
    let first = bench.recv_publish(client);
    bench.take_texts(client);
    assert_eq!((text(&first), bench.levels().0), ("0", 3), "the first is not acknowledged");
    bench.cut(client);
    bench.inject("a", "3", ONE); // the first gives way
    let client = durable(&mut bench, "s");
    assert_eq!(text(&bench.recv_publish(client)), "3");
    assert_eq!(bench.levels().0, 1);
}

#[test]
fn expired_messages_are_skipped() {
    // [MQTT-3.3.2-5], [MQTT-3.3.2-6]
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    let client = durable(&mut bench, "s");
    bench.subscribe(client, "$share/g/a", ONE);
    bench.cut(client);
    for (payload, seconds) in [("1", 10), ("2", 50), ("3", 10)] {
        let properties = properties([Property::MessageExpiryInterval(seconds)]);
        bench.send(publisher, Publish { properties, ..message("a", payload, ONE) });
    }
    bench.sleep(Duration::from_secs(20));
    let client = durable(&mut bench, "s");
    let got = bench.take(client);
    assert_eq!((got.len(), text(&got[0]), got[0].properties.message_expiry_interval()), (1, "2", Some(30)));
    assert_eq!(bench.broker.stats().dropped_expired, 2);
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn shared_and_own_subscriptions_of_one_session_each_deliver() {
    // [MQTT-3.3.4-5]
    for expiry in [0, 1000] {
        let mut bench = Bench::new();
        let client = bench.connect(persistent(Version::V5, "s", expiry)).0;
        bench.subscribe_with(client, "a", ONE, 1);
        bench.subscribe_with(client, "$share/g/a", TWO, 2);
        bench.subscribe_with(client, "$share/h/+", ZERO, 3);
        for qos in [ZERO, ONE, TWO] {
            bench.inject("a", "x", qos);
            let mut got: Vec<(Vec<u32>, QoS)> =
                bench.take(client).iter().map(|publish| (identifiers(publish), publish.delivery.qos())).collect();
            got.sort();
            assert_eq!(got, [(vec![1], qos.min(ONE)), (vec![2], qos), (vec![3], ZERO)], "{qos:?}");
        }
        assert_eq!(bench.levels(), (0, 0, 0));
    }
}

#[test]
fn each_group_gets_each_message_once() {
    let mut bench = Bench::new();
    let clients: Vec<Client> = (0..4)
        .map(|number| {
            let client = bench.v5(&number.to_string());
            bench.subscribe(client, ["$share/g/a", "$share/h/a"][number % 2], ONE);
            client
        })
        .collect();
    for number in 0..10 {
        bench.inject("a", &number.to_string(), ONE);
    }
    for start in 0..2 {
        let mut all = bench.take_texts(clients[start]);
        all.extend(bench.take_texts(clients[start + 2]));
        assert_eq!(sorted(all), numbers(0..10));
    }
}

#[test]
fn each_member_gets_its_own_qos_and_options() {
    // [MQTT-4.8.2-3]
    let mut bench = Bench::new();
    let (zero, two, old) = (bench.v5("zero"), bench.v5("two"), bench.v3("old"));
    bench.subscribe_with(zero, "$share/g/a", ZERO, 1);
    let keep = SubscriptionOptions { retain_as_published: true, ..TWO.into() };
    bench.subscribe_with(two, "$share/g/a", keep, 2);
    bench.subscribe(old, "$share/g/a", ONE);
    let publisher = bench.v5("p");
    for _ in 0..3 {
        bench.send(publisher, Publish { retain: true, ..message("a", "x", TWO) });
        bench.send(publisher, Packet::PubRel(ack(10)));
    }
    for (client, qos, retain, ids) in
        [(zero, ZERO, false, &[1][..]), (two, TWO, true, &[2][..]), (old, ONE, false, &[][..])]
    {
        let got = bench.take(client);
        assert_eq!(got.len(), 1);
        assert_eq!((got[0].delivery.qos(), got[0].retain), (qos, retain));
        assert_eq!(identifiers(&got[0]), ids);
    }
    assert_eq!(bench.levels(), (0, 0, 0));
    // New terms for the same membership.
    bench.subscribe_with(zero, "$share/g/a", ONE, 3);
    bench.unsubscribe(two, &["$share/g/a"]);
    bench.unsubscribe(old, &["$share/g/a"]);
    bench.inject("a", "x", TWO);
    let got = bench.take(zero);
    assert_eq!((got.len(), got[0].delivery.qos(), identifiers(&got[0])), (1, ONE, vec![3]));
    assert_eq!(bench.broker.stats().subscriptions, 1);
}

#[test]
fn a_group_ends_with_its_last_member() {
    let mut bench = Bench::new();
    for end in 0..3 {
        let (first, second) = (durable(&mut bench, "first"), durable(&mut bench, "second"));
        for client in [first, second] {
            bench.subscribe(client, "$share/g/a", ONE);
        }
        bench.cut(second);
        bench.unsubscribe(first, &["$share/g/a"]);
        bench.inject("a", "x", ONE);
        bench.assert_silent(first);
        assert_eq!(bench.broker.stats().queued, 1, "for the member that is offline");
        match end {
            0 => bench.sleep(Duration::from_secs(1000)),
            1 => {
                bench.v5("second");
            }
            _ => {
                let second = durable(&mut bench, "second");
                assert_eq!(text(&bench.recv_publish(second)), "x");
                bench.unsubscribe(second, &["$share/g/a"]);
                assert_eq!(bench.broker.stats().queued, 0);
                // Its delivery has begun and goes on, though the group is gone [MQTT-3.10.4-3].
                bench.cut(second);
                let second = durable(&mut bench, "second");
                assert_eq!(bench.take_texts(second), ["x"]);
            }
        }
        assert_eq!(bench.levels(), (0, 0, 0));
        assert_eq!(bench.broker.stats().subscriptions, 0);
        bench.inject("a", "nobody", ONE);
        assert_eq!(bench.levels(), (0, 0, 0));
        bench.v5("second");
    }
}

#[test]
fn late_acknowledgments_do_not_hit_a_group_that_came_later() {
    let mut bench = Bench::new();
    let first = durable(&mut bench, "first");
    bench.subscribe(first, "$share/g/a", ONE);
    bench.inject("a", "old", ONE);
    let old = bench.recv_publish(first);
    bench.unsubscribe(first, &["$share/g/a"]);
    // The same keys again, for another group and its log.
    let second = durable(&mut bench, "second");
    bench.subscribe(second, "$share/h/b", ONE);
    bench.inject("b", "new", ONE);
    assert_eq!(text(&bench.recv_publish(second)), "new");
    bench.send(first, Packet::PubAck(ack(id_of(&old))));
    assert_eq!((bench.broker.stats().queued, bench.broker.stats().inflight), (1, 1));
    bench.cut(second);
    bench.cut(first);
    let second = durable(&mut bench, "second");
    assert_eq!(bench.take_texts(second), ["new"]);
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn a_member_that_unsubscribes_completes_what_it_has() {
    // [MQTT-3.10.4-3]
    let mut bench = Bench::new();
    let members = group(&mut bench, 2, ONE);
    for number in 0..4 {
        bench.inject("a", &number.to_string(), ONE);
    }
    assert_eq!(bench.recv_all(members[0]).len(), 2);
    bench.unsubscribe(members[0], &["$share/g/a/#"]);
    bench.send(members[0], Packet::PubAck(ack(1)));
    bench.inject("a", "4", ONE);
    bench.assert_silent(members[0]);
    assert_eq!(bench.take_texts(members[1]), ["1", "3", "4"]);
    bench.cut(members[0]);
    assert_eq!(bench.take_texts(members[1]), ["2"], "given up without an acknowledgment");
    assert_eq!(bench.levels(), (0, 0, 0));
}
