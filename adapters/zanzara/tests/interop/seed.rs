//! The programs that a person tries first, once with MQTT.js and once with our own command line.

use crate::support::{Broker, Process, READY, own, retain, tools};
use std::process::Command;

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
