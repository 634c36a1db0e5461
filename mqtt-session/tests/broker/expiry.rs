//! Message Expiry Interval (section 3.3.2.3.3).
use crate::common::*;
use mqtt_session::proto::*;
use std::time::Duration;

const ONE: QoS = QoS::AtLeastOnce;

fn expiring(topic: &str, payload: &str, qos: QoS, seconds: u32) -> Publish {
    Publish { properties: properties([Property::MessageExpiryInterval(seconds)]), ..message(topic, payload, qos) }
}

fn left(publish: &Publish) -> Option<u32> {
    publish.properties.message_expiry_interval()
}

#[test]
fn the_interval_is_what_is_left() {
    // [MQTT-3.3.2-6]
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    let (live, old) = (bench.v5("live"), bench.v3("old"));
    let offline = bench.connect(persistent(Version::V5, "s", 1000)).0;
    for client in [live, old, offline] {
        bench.subscribe(client, "a", ONE);
    }
    bench.cut(offline);
    for seconds in [100, 1, u32::MAX] {
        bench.send(publisher, expiring("a", "x", QoS::AtMostOnce, seconds));
        bench.send(publisher, expiring("a", "x", ONE, seconds));
        assert_eq!(bench.take(live).iter().map(left).collect::<Vec<_>>(), [Some(seconds); 2]);
        assert_eq!(bench.take(old).len(), 2);
    }
    bench.publish(publisher, "a", "x", ONE);
    bench.take(old);
    assert_eq!(left(&bench.take(live)[0]), None, "none comes from nowhere");
    bench.sleep(Duration::from_millis(40_200));
    let offline = bench.connect(persistent(Version::V5, "s", 1000)).0;
    let got: Vec<Option<u32>> = bench.take(offline).iter().map(left).collect();
    assert_eq!(got, [Some(60), Some(u32::MAX - 40), None], "rounded up, so that none is announced as over");
    assert_eq!(bench.levels(), (0, 0, 0));
}

#[test]
fn a_message_is_deleted_when_its_time_is_over() {
    // [MQTT-3.3.2-5]
    for wait in [9_999, 10_000] {
        let mut bench = Bench::new();
        let publisher = bench.v5("p");
        let client = bench.connect(persistent(Version::V5, "s", 1000)).0;
        bench.subscribe(client, "a", ONE);
        bench.cut(client);
        bench.send(publisher, expiring("a", "x", ONE, 10));
        bench.sleep(Duration::from_millis(wait));
        let client = bench.connect(persistent(Version::V5, "s", 1000)).0;
        let expected: &[Option<u32>] = if wait < 10_000 { &[Some(1)] } else { &[] };
        assert_eq!(bench.take(client).iter().map(left).collect::<Vec<_>>(), expected);
        assert_eq!(bench.broker.stats().dropped_expired, u64::from(wait == 10_000));
        assert_eq!(bench.levels(), (0, 0, 0));
    }
}

#[test]
fn what_was_sent_does_not_expire() {
    // [MQTT-4.3.3-7], [MQTT-4.3.3-13], [MQTT-4.4.0-1]
    for qos in [ONE, QoS::ExactlyOnce] {
        let mut bench = Bench::new();
        let publisher = bench.v5("p");
        let client = bench.connect(persistent(Version::V5, "s", 1000)).0;
        bench.subscribe(client, "a", qos);
        bench.send(publisher, expiring("a", "x", qos, 10));
        bench.recv_publish(client);
        bench.cut(client);
        bench.sleep(Duration::from_secs(20));
        let client = bench.connect(persistent(Version::V5, "s", 1000)).0;
        let again = bench.recv_publish(client);
        assert!(again.delivery.dup());
        assert_eq!(left(&again), Some(0));
        assert_eq!(bench.broker.stats().dropped_expired, 0);
    }
}

#[test]
fn an_interval_of_zero_never_waits() {
    // [MQTT-3.3.2-5]
    let mut bench = Bench::new();
    let publisher = bench.v5("p");
    let live = bench.v5("live");
    let offline = bench.connect(persistent(Version::V5, "s", 1000)).0;
    for client in [live, offline] {
        bench.subscribe(client, "a", QoS::ExactlyOnce);
    }
    bench.cut(offline);
    for qos in [QoS::AtMostOnce, ONE, QoS::ExactlyOnce] {
        bench.send(publisher, Publish { retain: true, ..expiring("a", "x", qos, 0) });
        assert_eq!(bench.take(live).iter().map(left).collect::<Vec<_>>(), [Some(0)], "{qos:?}");
    }
    let offline = bench.connect(persistent(Version::V5, "s", 1000)).0;
    bench.subscribe(offline, "a", QoS::ExactlyOnce);
    bench.assert_silent(offline);
    bench.sleep(Duration::ZERO);
    assert_eq!(bench.broker.stats().retained, 0);
    assert_eq!(bench.levels(), (0, 0, 0));
}
