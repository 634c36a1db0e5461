//! MQTT.js (Node.js), in the versions 3.1, 3.1.1 and 5; the scenarios are in `node/mqttjs_client.js`. And its command line.

use crate::support::{Broker, Process, READY, retain, scenarios, tools};
use std::process::Command;

scenarios! {
    tools::node("mqttjs_client.js");
    levels burst retained unsubscribing wills offline takeover large publish_properties will_properties subscription_options topic_alias
    receive_maximum sessions message_expiry shared request_response;
    alone: reconnecting;
    departs: takeover
}

#[test]
fn a_client_finds_back_after_the_broker_crashed() {
    let Some(mut script) = tools::node("mqttjs_client.js") else { return };
    let mut broker = Broker::start();
    let mut client = Process::start(script.args(["reconnecting", &broker.port()]));
    client.until("subscribed");
    broker.crash_and_restart();
    client.until("back");
    client.success();
}

/// The options that make the command line speak each version.
const VERSIONS: [&[&str]; 3] =
    [&["--protocolVersion", "3", "--protocolId", "MQIsdp"], &["--protocolVersion", "4"], &["--protocolVersion", "5"]];

/// A broker with the retained message of [`READY`], if there is a command line to use it.
fn start() -> Option<Broker> {
    tools::mqtt_js()?;
    let broker = Broker::start();
    retain(broker.port, READY, READY);
    Some(broker)
}

/// The command line with what every call has in common.
fn command(broker: &Broker, action: &str, version: &[&str], arguments: &[&str]) -> Command {
    let mut command = tools::mqtt_js().expect("`start` has found it");
    command.arg(action).args(["-h", "127.0.0.1", "-p", &broker.port()]).args(version).args(arguments);
    command
}

#[test]
fn its_command_line_publishes_and_subscribes() {
    let Some(broker) = start() else { return };
    for version in VERSIONS {
        for qos in ["0", "1", "2"] {
            let topics = ["-v", "-q", qos, "-t", READY, "-t", "line/+"];
            let mut subscriber = Process::start(&mut command(&broker, "subscribe", version, &topics));
            subscriber.until(READY);
            for text in ["hello", "Grüße, 世界"] {
                let message = ["-q", qos, "-t", "line/x", "-m", text];
                Process::start(&mut command(&broker, "publish", version, &message)).success();
                assert_eq!(subscriber.line(), format!("line/x {text}"), "{version:?} QoS {qos}");
            }
        }
    }
}

#[test]
fn its_command_line_publishes_lines_of_standard_input() {
    let Some(broker) = start() else { return };
    let topics = ["-q", "1", "-t", READY, "-t", "lines"];
    let mut subscriber = Process::start(&mut command(&broker, "subscribe", VERSIONS[1], &topics));
    subscriber.until(READY);
    let arguments = ["-q", "1", "-t", "lines", "-s", "-M"];
    let mut publisher = Process::start(&mut command(&broker, "publish", VERSIONS[1], &arguments));
    publisher.feed(b"one\ntwo\nthree\n");
    publisher.success();
    assert_eq!(subscriber.lines(3), ["one", "two", "three"]);
}

#[test]
fn its_command_line_retains_and_leaves_a_will() {
    let Some(broker) = start() else { return };
    for version in VERSIONS {
        let kept = ["-r", "-q", "1", "-t", READY, "-m", READY];
        Process::start(&mut command(&broker, "publish", version, &kept)).success();
        let watched = ["-v", "-q", "1", "-t", READY, "-t", "will/+"];
        let mut watcher = Process::start(&mut command(&broker, "subscribe", version, &watched));
        watcher.until(READY);
        let will = ["--will-topic", "will/x", "--will-message", "gone", "--will-qos", "1", "-t", READY];
        let mut testator = Process::start(&mut command(&broker, "subscribe", version, &will));
        testator.until(READY);
        testator.kill();
        assert_eq!(watcher.line(), "will/x gone", "{version:?}");
    }
}

#[test]
fn its_command_line_sleeps_offline() {
    let Some(broker) = start() else { return };
    for (number, version) in VERSIONS.into_iter().enumerate() {
        // (Its option for the client id is understood by both actions in this form only.)
        let id = format!("sleeper-{number}");
        let mut session = vec!["--no-clean", "--clientId", &id, "-q", "1", "-t", READY, "-t", "sleep"];
        if version.contains(&"5") {
            session.extend(["--properties.sessionExpiryInterval", "1000"]);
        }
        let mut command_line = command(&broker, "subscribe", version, &session);
        let mut first = Process::start(&mut command_line);
        first.until(READY);
        first.kill();
        for text in ["one", "two", "three"] {
            let message = ["-q", "1", "-t", "sleep", "-m", text];
            Process::start(&mut command(&broker, "publish", version, &message)).success();
        }
        let mut second = Process::start(&mut command_line);
        // The message that told it was ready may come again among them: subscribing anew sends it, and the kill may have been faster
        // than its acknowledgement.
        let mut woken = Vec::new();
        while woken.len() < 3 {
            woken.extend(Some(second.line()).filter(|line| line != READY));
        }
        assert_eq!(woken, ["one", "two", "three"], "{version:?}");
    }
}
