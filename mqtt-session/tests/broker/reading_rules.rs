//! What readers of logs are told, and what they are spared, where memory is short.
use crate::common::world::*;
use crate::common::*;
use mqtt_session::broker::*;
use mqtt_session::proto::*;

const ONE: QoS = QoS::AtLeastOnce;

/// Each message that found no room in a log is a loss of each of its readers, once.
#[test]
fn every_reader_learns_what_found_no_room() {
    let mut bench = Bench::on_disk(8 * 1024, |_| {});
    for id in ["s", "t"] {
        let client = bench.connect(persistent(Version::V5, id, FOREVER)).0;
        bench.subscribe(client, "a", ONE);
        bench.cut(client);
    }
    // Some are in the store alone: those that follow cannot push them out.
    for number in 0..60 {
        bench.inject("a", &number.to_string(), ONE);
    }
    assert!(bench.broker.stats().spilled > 0);
    bench.store_at_once = false;
    for number in 0..60 {
        bench.inject("a", &number.to_string(), ONE);
    }
    let lost = losses(&bench, "a", DropReason::LogFull);
    assert!((5..60).contains(&lost), "{lost}");
    for batch in &bench.batches {
        bench.disk.apply(batch);
    }
    bench.stored();
    bench.store_at_once = true;
    bench.inject("a", "behind them", ONE);
    for id in ["s", "t"] {
        let client = bench.connect(persistent(Version::V5, id, FOREVER)).0;
        let got = bench.take_texts(client);
        assert_eq!((got.len() as u64, got.last().unwrap().as_str()), (121 - lost, "behind them"));
        assert_eq!(losses(&bench, id, DropReason::QueueFull), lost);
    }
    assert_eq!(bench.levels(), (0, 0, 0));
}

/// One that the store has lost is a loss of one message: those around it are read.
#[test]
fn what_is_lost_in_the_middle_takes_nothing_along() {
    let mut bench = Bench::on_disk(64 * 1024, |_| {});
    let client = bench.connect(persistent(Version::V5, "s", FOREVER)).0;
    bench.subscribe(client, "a", ONE);
    bench.cut(client);
    for number in 0..600 {
        bench.inject("a", &number.to_string(), ONE);
    }
    bench.load_at_once = false;
    let client = bench.connect(persistent(Version::V5, "s", FOREVER)).0;
    let (mut got, mut gone) = (Vec::new(), 0);
    while got.len() + gone < 600 {
        while let Some(request) = bench.loads.pop_front() {
            let mut loaded = bench.disk.load(&request);
            if (3..6).contains(&bench.broker.stats().loads_total) && gone < 2 {
                loaded.entries.remove(2);
                gone += 1;
            }
            bench.broker.handle_completion(bench.now, Completion::Loaded(loaded));
            bench.run();
        }
        let more = bench.take_texts(client);
        assert!(!more.is_empty() || !bench.loads.is_empty());
        got.extend(more);
    }
    assert_eq!((gone, got.len()), (2, 598));
    assert!(got.is_sorted_by_key(|text| text.parse::<u32>().unwrap()));
    assert_eq!(losses(&bench, "s", DropReason::Expired), 2);
    assert_eq!(bench.levels(), (0, 0, 0));
}

/// What is asked for ahead, for a reader of several logs, is there.
#[test]
fn nothing_is_asked_for_that_has_given_way() {
    let mut bench = Bench::on_disk(64 * 1024, |config| config.session.max_queued_messages = 300);
    let client = bench.connect(persistent(Version::V5, "s", FOREVER)).0;
    for text in ["a", "b", "c"] {
        bench.subscribe(client, text, ONE);
    }
    bench.cut(client);
    for number in 0..900_u32 {
        for text in ["a", "b", "c"].into_iter().filter(|text| *text != "a" || number < 250) {
            bench.inject(text, &number.to_string(), ONE);
        }
    }
    bench.load_at_once = false;
    let client = bench.connect(persistent(Version::V5, "s", FOREVER)).0;
    let mut got = 0;
    while got < 850 {
        while let Some(request) = bench.loads.pop_front() {
            assert!(request.from < request.until, "{request:?}");
            let loaded = bench.disk.load(&request);
            assert_eq!(loaded.entries.first().map(|entry| entry.at), Some(request.from), "{request:?}");
            bench.broker.handle_completion(bench.now, Completion::Loaded(loaded));
            bench.run();
        }
        got += bench.take(client).len();
    }
    assert_eq!((got, bench.levels()), (850, (0, 0, 0)));
    assert_eq!(losses(&bench, "s", DropReason::QueueFull), 1200);
}

/// A message of a log comes once, with what subscriptions at QoS 0 add to it, unless it is the client's own and they do
/// not want that [MQTT-3.3.4-4], [MQTT-3.8.3-3].
#[test]
fn subscriptions_at_qos_0_add_their_identifiers_to_a_message_of_a_log() {
    let mut bench = Bench::new();
    let client = bench.connect(persistent(Version::V5, "s", FOREVER)).0;
    let publisher = bench.v5("p");
    bench.subscribe_with(client, "a/#", ONE, 1);
    bench.subscribe_with(client, "a/b", SubscriptionOptions { no_local: true, ..QoS::AtMostOnce.into() }, 2);
    let as_published = SubscriptionOptions { retain_as_published: true, ..QoS::AtMostOnce.into() };
    bench.subscribe_with(client, "a/+", as_published, 3);
    bench.publish(publisher, "a/b", "another's", ONE);
    bench.publish_to_itself(client, "a/b", "its own");
    bench.send(publisher, Publish { retain: true, ..message("a/b", "kept", ONE) });
    let got = bench.take(client);
    let got: Vec<_> = got.iter().map(|publish| (text(publish), identifiers(publish), publish.retain)).collect();
    // [MQTT-3.3.1-12], [MQTT-3.3.1-13]
    let expected = [("another's", vec![1, 2, 3], false), ("its own", vec![1, 3], false), ("kept", vec![1, 2, 3], true)];
    assert_eq!(got, expected);
}

/// A message takes room in each log that it comes to, and is refused if it does not find so much.
#[test]
fn a_message_for_many_logs_needs_room_in_all_of_them() {
    for (filters, taken) in [(3, true), (4, false), (8, false)] {
        let mut bench = Bench::on_disk(64 * 1024, |_| {});
        let client = bench.connect(persistent(Version::V5, "s", FOREVER)).0;
        for text in ["a", "a/#", "+", "#", "+/#", "$share/g/a", "$share/g/+", "$share/h/#"].into_iter().take(filters) {
            bench.subscribe(client, text, ONE);
        }
        bench.cut(client);
        let publisher = bench.v5("p");
        // Forty KiB are for queues: room for four, one of which might be the retained message.
        bench.send(publisher, message("a", &"x".repeat(9 * 1024), ONE));
        let Some(Packet::PubAck(ack)) = bench.recv(publisher) else { panic!("no answer") };
        assert_eq!(ack.reason == ReasonCode::QuotaExceeded, !taken, "{filters}: {ack:?}");
        assert_eq!(bench.levels().0, if taken { filters as u64 } else { 0 });
    }
}

/// What a log took that is over does not stand in the way of others.
#[test]
fn a_log_that_is_over_is_not_looked_for() {
    let mut bench = Bench::on_disk(64 * 1024, |_| {});
    for id in ["large", "other"] {
        let client = bench.connect(persistent(Version::V5, id, FOREVER)).0;
        bench.subscribe(client, id, ONE);
        bench.cut(client);
    }
    let payload = "x".repeat(1000);
    for _ in 0..33 {
        bench.inject("large", &payload, ONE);
    }
    let client = bench.connect(connect(Version::V5, "large")).0;
    bench.cut(client);
    assert_eq!(bench.levels(), (0, 0, 0));
    for _ in 0..100 {
        bench.inject("other", &payload, ONE);
    }
    let stats = bench.broker.stats();
    assert_eq!((stats.queued, stats.trimmed_log_full, stats.spilled > 0), (100, 0, true));
}
