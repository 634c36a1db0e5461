//! Rules of deliveries, restarts and groups that nothing else happens to show.
use crate::common::world::*;
use crate::common::*;
use bytes::Bytes;
use mqtt_session::broker::*;
use mqtt_session::proto::*;

const ZERO: QoS = QoS::AtMostOnce;
const TWO: QoS = QoS::ExactlyOnce;

/// [MQTT-3.3.2-12] The largest packet of all has no room for an alias: what it would have set is not set, and what was set
/// before stays.
#[test]
fn an_alias_of_a_packet_that_never_left_is_not_known() {
    let mut bench = Bench::new();
    let (client, _) = bench.connect(with(connect(Version::V5, "c"), [Property::TopicAliasMaximum(5)]));
    bench.subscribe(client, "+", ZERO);
    // Two bytes of length, one of topic, one for the properties.
    let whole = Bytes::from(vec![0; 268_435_455 - 4]);
    let too_large = |bench: &mut Bench, topic: &str| {
        let message = Message::new(TopicName::try_from(topic).unwrap(), whole.clone());
        bench.broker.publish(bench.now, message);
        bench.run();
    };
    let mut got = Vec::new();
    for (large, small) in [("a", "a"), ("a", "b"), ("a", "a"), ("a", "b")] {
        too_large(&mut bench, large);
        bench.inject(small, "x", ZERO);
        let publish = bench.recv_publish(client);
        got.push((publish.topic.map(|topic| topic.to_string()), publish.properties.topic_alias()));
        bench.assert_silent(client);
    }
    let named = |name: &str| Some(name.to_owned());
    assert_eq!(got, [(named("a"), Some(1)), (named("b"), Some(2)), (None, Some(1)), (None, Some(2))]);
}

/// [MQTT-4.4.0-1] A retained message on its way at QoS 2 is kept with its delivery: what is retained may change meanwhile.
#[test]
fn a_retained_message_on_its_way_survives_a_restart() {
    let mut world = World::new();
    let publisher = world.bench.v5("p");
    world.bench.send(publisher, Publish { retain: true, ..message("a", "kept", TWO) });
    let (client, _) = world.bench.connect(persistent(Version::V5, "s", FOREVER));
    world.bench.send(client, subscribe("a", TWO));
    world.keep_all();
    assert!(world.bench.recv_all(client).iter().any(|packet| matches!(packet, Packet::Publish(_))));
    world.bench.retain(publisher, "a", "");
    world.keep_all();
    world.crash();
    let (client, _) = world.bench.connect(persistent(Version::V5, "s", FOREVER));
    world.keep_all();
    assert_eq!(world.bench.take_texts(client), ["kept"]);
}
