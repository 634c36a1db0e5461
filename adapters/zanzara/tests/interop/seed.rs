//! The programs that a person tries first, once with MQTT.js, once with our own command line and once with our own library.

use crate::own_library::{run, text};
use crate::support::{Broker, Process, READY, own, retain, tools};
use mqtt_tokio::client::{Client, QoS};
use std::process::Command;
use std::time::Duration;

/// A program of `node/seed.js`.
fn node(program: &str, broker: &Broker) -> Command {
    let mut command = tools::node("seed.js").expect("the test has found it");
    command.args([program, &broker.port()]);
    command
}

#[test]
fn hello_world_with_mqtt_js() {
    let Some(_) = tools::node("seed.js") else { return };
    let broker = Broker::start();
    assert_eq!(Process::start(&mut node("demo", &broker)).rest(), ["mqtt/demo hello world!"]);
}

#[test]
fn a_pattern_with_mqtt_js() {
    let Some(_) = tools::node("seed.js") else { return };
    let broker = Broker::start();
    let mut subscriber = Process::start(&mut node("pattern", &broker));
    subscriber.until("subscribed");
    Process::start(&mut node("publish", &broker)).success();
    assert_eq!(subscriber.rest(), ["mqtt/demo hello world!"]);
}

#[test]
fn offline_mode_with_mqtt_js() {
    let Some(_) = tools::node("seed.js") else { return };
    let broker = Broker::start();
    Process::start(&mut node("subscribe", &broker)).success();
    Process::start(&mut node("publish", &broker)).success();
    assert_eq!(Process::start(&mut node("receive", &broker)).rest(), ["mqtt/demo hello world!"]);
}

#[test]
fn hello_world_with_our_command_line() {
    let broker = Broker::start();
    retain(broker.port, READY, READY);
    let mut subscriber = Process::start(&mut own("sub", &broker, &["-t", READY, "-t", "mqtt/demo", "-C", "2"]));
    subscriber.until(READY);
    Process::start(&mut own("pub", &broker, &["-t", "mqtt/demo", "-m", "hello world!"])).success();
    assert_eq!(subscriber.rest(), ["hello world!"]);
}

#[test]
fn a_pattern_with_our_command_line() {
    let broker = Broker::start();
    retain(broker.port, "mqtt/ready", READY);
    let mut subscriber = Process::start(&mut own("sub", &broker, &["-v", "-t", "mqtt/+", "-C", "2"]));
    subscriber.until(READY);
    Process::start(&mut own("pub", &broker, &["-t", "mqtt/demo", "-m", "hello world!"])).success();
    assert_eq!(subscriber.rest(), ["mqtt/demo hello world!"]);
}

#[test]
fn offline_mode_with_our_command_line() {
    let broker = Broker::start();
    retain(broker.port, READY, READY);
    let session = ["-v", "-c", "-i", "offline", "-q", "1", "-t", "mqtt/demo"];
    // The first step ends by itself when it has the retained message of the other topic, so that it leaves its session behind.
    Process::start(&mut own("sub", &broker, &[&session[..], &["-t", READY, "-C", "1"]].concat())).success();
    Process::start(&mut own("pub", &broker, &["-q", "1", "-t", "mqtt/demo", "-m", "hello world!"])).success();
    let woken = Process::start(&mut own("sub", &broker, &[&session[..], &["-C", "1"]].concat()));
    assert_eq!(woken.rest(), ["mqtt/demo hello world!"]);
}

#[test]
fn hello_world_with_our_library() {
    let broker = Broker::start();
    run(async {
        let client = Client::connect(&broker.url()).await.expect("a connection");
        let mut messages = client.subscribe("mqtt/demo", QoS::AtMostOnce).await.expect("a subscription");
        client.publish("mqtt/demo", "hello world!", QoS::AtMostOnce).await.expect("a socket");
        assert_eq!(text(&mut messages).await, "hello world!");
        client.end().await.expect("an end");
    });
}

#[test]
fn a_pattern_with_our_library() {
    let broker = Broker::start();
    run(async {
        let subscriber = Client::connect(&broker.url()).await.expect("a connection");
        let mut messages = subscriber.subscribe("mqtt/+", QoS::AtMostOnce).await.expect("a subscription");
        let publisher = Client::connect(&broker.url()).await.expect("a connection");
        publisher.publish("mqtt/demo", "hello world!", QoS::AtMostOnce).await.expect("a socket");
        assert_eq!(text(&mut messages).await, "hello world!");
    });
}

#[test]
fn offline_mode_with_our_library() {
    let broker = Broker::start();
    run(async {
        let sleeper = || Client::builder(&broker.url()).client_id("offline").persistent(Duration::MAX).connect();
        let first = sleeper().await.expect("a connection");
        first.subscribe("mqtt/demo", QoS::AtLeastOnce).await.expect("a subscription");
        first.end().await.expect("an end");
        let publisher = Client::connect(&broker.url()).await.expect("a connection");
        publisher.publish("mqtt/demo", "hello world!", QoS::AtLeastOnce).await.expect("an acknowledgement");
        let woken = sleeper().await.expect("a connection");
        let message = woken.messages().recv().await.expect("a message");
        assert_eq!((message.topic.as_str(), &message.payload[..]), ("mqtt/demo", &b"hello world!"[..]));
    });
}
