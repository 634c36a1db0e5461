//! `zanzara pub` and `zanzara sub`, against our broker and against mosquitto.

use crate::support::{Broker, Process, READY, against_both, own, pattern, scratch, tools};
use std::fs;
use std::process::Command;

const VERSIONS: [&str; 3] = ["mqttv31", "mqttv311", "mqttv5"];

fn publish(broker: &Broker, arguments: &[&str]) {
    Process::start(&mut own("pub", broker, arguments)).success();
}

/// Starts a subscriber and returns when its subscriptions stand.
fn subscribe(broker: &Broker, arguments: &[&str]) -> Process {
    let mut subscriber = Process::start(own("sub", broker, arguments).args(["-t", READY]));
    subscriber.until(READY);
    subscriber
}

against_both! {
    /// Each QoS in each version.
    fn messages_arrive(broker: &Broker) {
        for version in VERSIONS {
            for qos in ["0", "1", "2"] {
                let mut subscriber = subscribe(broker, &["-V", version, "-q", qos, "-v", "-t", "own/+", "-t", "other/#"]);
                publish(broker, &["-V", version, "-q", qos, "-t", "own/x", "-m", "hello"]);
                publish(broker, &["-V", version, "-q", qos, "-t", "other/x/y", "-m", "Grüße, 世界"]);
                publish(broker, &["-V", version, "-q", qos, "-t", "own/empty", "-n"]);
                assert_eq!(subscriber.lines(2), ["own/x hello", "other/x/y Grüße, 世界"], "{version} QoS {qos}");
                assert!(subscriber.line().starts_with("own/empty"), "{version} QoS {qos}");
            }
        }
    }

    /// Both programs take the address as a URL too.
    fn urls_are_understood(broker: &Broker) {
        let url = broker.url();
        let program = |action: &str, arguments: &[&str]| {
            Process::start(Command::new(env!("CARGO_BIN_EXE_zanzara")).arg(action).args(arguments))
        };
        let mut subscriber = program("sub", &["--url", &url, "-t", READY, "-t", "url"]);
        subscriber.until(READY);
        program("pub", &["--url", &url, "-t", "url", "-m", "x"]).success();
        assert_eq!(subscriber.line(), "x");
    }

    /// Standard input, whole and line by line, and a file.
    fn input_has_several_sources(broker: &Broker) {
        let mut subscriber = subscribe(broker, &["-q", "2", "-t", "input"]);
        let mut whole = Process::start(&mut own("pub", broker, &["-q", "1", "-t", "input", "-s"]));
        whole.feed(b"first\nsecond");
        whole.success();
        assert_eq!(subscriber.lines(2), ["first", "second"]);
        for qos in ["0", "1", "2"] {
            let mut lines = Process::start(&mut own("pub", broker, &["-q", qos, "-t", "input", "-l"]));
            let numbers: Vec<String> = (0..500).map(|number| number.to_string()).collect();
            lines.feed((numbers.join("\n") + "\n").as_bytes());
            lines.success();
            assert_eq!(subscriber.lines(500), numbers, "QoS {qos}");
        }
    }

    /// A megabyte and ten, live and retained.
    fn large_files_arrive_unharmed(broker: &Broker) {
        let file = scratch("payload");
        let path = file.to_str().expect("a path in UTF-8");
        for (version, size) in [("mqttv311", 1_000_000), ("mqttv5", 10_000_000)] {
            let mut payload = pattern(size);
            fs::write(&file, &payload).expect("a payload file");
            payload.push(b'\n');
            for qos in ["0", "1", "2"] {
                let topic = format!("large/{version}/{qos}");
                let live = subscribe(broker, &["-V", version, "-q", qos, "-t", &topic, "-C", "2"]);
                publish(broker, &["-V", version, "-q", qos, "-t", &topic, "-r", "-f", path]);
                assert!(live.success() == payload, "{version} QoS {qos}: {size} bytes live");
                let late = Process::start(&mut own("sub", broker, &["-V", version, "-q", qos, "-t", &topic, "-C", "1"]));
                assert!(late.success() == payload, "{version} QoS {qos}: {size} bytes retained");
            }
        }
        let _ = fs::remove_file(file);
    }

    /// A retained message is kept and cleared; `-R` leaves out what is old.
    fn retained_messages_are_kept(broker: &Broker) {
        for version in VERSIONS {
            publish(broker, &["-V", version, "-q", "1", "-r", "-t", "kept", "-m", "old"]);
            let once = own("sub", broker, &["-V", version, "-t", "kept", "-C", "1"]);
            assert_eq!(Process::start(&mut { once }).rest(), ["old"], "{version}");
            let mut fresh = subscribe_fresh(broker, version);
            // Published until it arrives: with `-R` nothing tells from outside when the subscription stands.
            let first = loop {
                publish(broker, &["-V", version, "-q", "1", "-t", "kept", "-m", "new"]);
                if let Some(line) = fresh.line_soon() {
                    break line;
                }
            };
            assert_eq!(first, "new", "{version}");
            publish(broker, &["-V", version, "-q", "1", "-r", "-t", "kept", "-n"]);
            let rest = Process::start(&mut own("sub", broker, &["-V", version, "-v", "-t", "#", "-C", "1"])).rest();
            assert_eq!(rest, [format!("{READY} {READY}")], "{version}");
        }
    }

    /// A killed subscriber's will is sent; one that leaves takes its will along.
    fn wills_are_sent(broker: &Broker) {
        for version in VERSIONS {
            let mut watcher = subscribe(broker, &["-V", version, "-q", "1", "-v", "-t", "will/+"]);
            let will = |name: &str| {
                let topic = format!("will/{name}");
                let will = ["--will-topic", &topic, "--will-payload", "gone", "--will-qos", "1"];
                own("sub", broker, &[&["-V", version, "-t", READY][..], &will].concat())
            };
            Process::start(will("leaves").args(["-C", "1"])).success();
            let mut killed = Process::start(&mut will("killed"));
            killed.until(READY);
            killed.kill();
            assert_eq!(watcher.line(), "will/killed gone", "{version}");
        }
    }

    /// Messages wait for a stored session, also for one whose program was killed.
    fn sessions_sleep_offline(broker: &Broker) {
        for version in VERSIONS {
            let topic = format!("sleep/{version}");
            let id = format!("own-{version}");
            let session = ["-V", version, "-c", "-i", &id, "-q", "1", "-t", &topic];
            subscribe(broker, &session).kill();
            for text in ["one", "two", "three"] {
                publish(broker, &["-V", version, "-q", "1", "-t", &topic, "-m", text]);
            }
            let mut woken = Process::start(&mut own("sub", broker, &session));
            // The message that told it was ready comes again if the kill was faster than its acknowledgement.
            let mut line = woken.line();
            if line == READY {
                line = woken.line();
            }
            assert_eq!(line, "one", "{version}");
            assert_eq!(woken.lines(2), ["two", "three"], "{version}");
        }
    }

    /// Our programs and mosquitto's understand each other, properties of version 5 included.
    fn programs_of_both_vendors_mix(broker: &Broker) {
        let Some(folder) = tools::mosquitto_clients() else { return };
        let theirs = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(folder.join(program));
            command.args(["-h", "127.0.0.1", "-p", &broker.port(), "-V", "mqttv5", "-q", "1"]).args(arguments);
            Process::start(&mut command)
        };
        let mut subscriber = theirs("mosquitto_sub", &["-F", "%t|%r|%C|%R|%D|%F|%P|%p", "-t", READY, "-t", "mix/#"]);
        subscriber.until(READY);
        let mut arguments = vec!["-V", "5", "-q", "1", "-t", "mix/ours", "-m", "x"];
        arguments.extend(["-D", "publish", "content-type", "text/plain", "-D", "publish", "response-topic", "reply"]);
        arguments.extend(["-D", "publish", "correlation-data", "c-1", "-D", "publish", "payload-format-indicator", "1"]);
        arguments.extend(["-D", "publish", "user-property", "a", "1", "-D", "publish", "user-property", "a", "2"]);
        publish(broker, &arguments);
        let line = subscriber.line();
        let fields: Vec<&str> = line.split('|').collect();
        assert_eq!(fields[..6], ["mix/ours", "0", "text/plain", "reply", "c-1", "1"], "{line}");
        assert_eq!(fields[6].split_whitespace().collect::<Vec<_>>(), ["a:1", "a:2"], "{line}");
        assert_eq!(fields[7], "x", "{line}");
        let mut ours = subscribe(broker, &["-V", "5", "-q", "1", "-v", "-t", "mix/#"]);
        theirs("mosquitto_pub", &["-t", "mix/theirs", "-m", "y", "-D", "publish", "user-property", "a", "1"]).success();
        assert_eq!(ours.line(), "mix/theirs y");
    }

    /// A subscriber that gets nothing ends after the time it was given, with an exit code of its own.
    fn a_timeout_ends_a_subscriber(broker: &Broker) {
        let silent = Process::start(&mut own("sub", broker, &["-t", "silence", "-W", "1"]));
        assert_eq!(silent.end().code(), Some(27));
    }
}

fn subscribe_fresh(broker: &Broker, version: &str) -> Process {
    Process::start(&mut own("sub", broker, &["-V", version, "-q", "1", "-R", "-t", "kept"]))
}

#[test]
fn a_broker_that_is_not_there_is_an_error() {
    let mut broker = Broker::start();
    broker.terminate();
    let status = Process::start(&mut own("pub", &broker, &["-t", "x", "-m", "x"])).end();
    assert!(status.code().is_some_and(|code| code != 0), "{status}");
}
