//! `mosquitto_pub`, `mosquitto_sub` and `mosquitto_rr`, in every version they speak.

use crate::support::{Broker, PATIENCE, Process, READY, pattern, retain, scratch, tools};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

const VERSIONS: [&str; 3] = ["mqttv31", "mqttv311", "mqttv5"];

/// The programs and the broker that they talk to.
struct Clients {
    folder: PathBuf,
    broker: Broker,
}

impl Clients {
    fn start() -> Option<Self> {
        let folder = tools::mosquitto_clients()?;
        let broker = Broker::start();
        retain(broker.port, READY, READY);
        Some(Self { folder, broker })
    }

    fn command(&self, program: &str, version: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.folder.join(program));
        command.args(["-h", "127.0.0.1", "-p", &self.broker.port(), "-V", version]).args(arguments);
        command
    }

    /// Publishes, and returns when the program has ended well.
    fn publish(&self, version: &str, arguments: &[&str]) {
        Process::start(&mut self.command("mosquitto_pub", version, arguments)).success();
    }

    /// Publishes each line as a message of its own.
    fn publish_lines(&self, version: &str, arguments: &[&str], lines: impl Iterator<Item = String>) {
        let mut publisher = Process::start(self.command("mosquitto_pub", version, arguments).arg("-l"));
        publisher.feed((lines.collect::<Vec<_>>().join("\n") + "\n").as_bytes());
        publisher.success();
    }

    /// Starts a subscriber without waiting for anything.
    fn subscriber(&self, version: &str, arguments: &[&str]) -> Process {
        Process::start(&mut self.command("mosquitto_sub", version, arguments))
    }

    /// Starts a subscriber and returns when its subscriptions stand.
    fn subscribe(&self, version: &str, arguments: &[&str]) -> Process {
        let mut subscriber = Process::start(self.command("mosquitto_sub", version, arguments).args(["-t", READY]));
        subscriber.until(READY);
        subscriber
    }
}

#[test]
fn each_quality_of_service_arrives_as_the_lower_of_both() {
    let Some(clients) = Clients::start() else { return };
    for version in VERSIONS {
        for granted in ["0", "1", "2"] {
            let mut subscriber = clients.subscribe(version, &["-t", "level/+/x", "-q", granted, "-F", "%t %q %r %p"]);
            for sent in ["0", "1", "2"] {
                clients.publish(version, &["-t", &format!("level/{sent}/x"), "-q", sent, "-m", "hello"]);
                let delivered = granted.min(sent);
                assert_eq!(subscriber.line(), format!("level/{sent}/x {delivered} 0 hello"), "{version}");
            }
            assert!(subscriber.terminate().success(), "{version}");
        }
    }
}

#[test]
fn one_publisher_keeps_its_order_through_a_thousand_messages() {
    let Some(clients) = Clients::start() else { return };
    // (mosquitto 2.0 passes the receive maximum of a QoS 2 subscriber.)
    let highest = if clients.broker.is_mosquitto() { "1" } else { "2" };
    for (version, qos) in VERSIONS.into_iter().zip(["0", "1", highest]) {
        let mut subscriber = clients.subscribe(version, &["-t", "order", "-q", "2"]);
        clients.publish_lines(version, &["-t", "order", "-q", qos], (0..1000).map(|number| number.to_string()));
        for number in 0..1000 {
            assert_eq!(subscriber.line(), number.to_string(), "{version}");
        }
    }
}

#[test]
fn a_retained_message_is_kept_replaced_and_cleared() {
    let Some(clients) = Clients::start() else { return };
    for version in VERSIONS {
        let all = ["-t", "kept/#", "-q", "1", "-F", "%t %r %p"];
        let once = [&all[..], &["-C", "1"]].concat();
        clients.publish(version, &["-t", "kept/a", "-q", "1", "-r", "-m", "first"]);
        assert_eq!(clients.subscriber(version, &once).rest(), ["kept/a 1 first"], "{version}");
        clients.publish(version, &["-t", "kept/a", "-q", "1", "-r", "-m", "second"]);
        assert_eq!(clients.subscriber(version, &once).rest(), ["kept/a 1 second"], "{version}");
        // A live subscriber sees the message without the flag, and the empty one that clears it.
        let mut live = clients.subscriber(version, &all);
        assert_eq!(live.line(), "kept/a 1 second", "{version}");
        clients.publish(version, &["-t", "kept/a", "-q", "1", "-r", "-m", "third"]);
        assert_eq!(live.line(), "kept/a 0 third", "{version}");
        clients.publish(version, &["-t", "kept/a", "-q", "1", "-r", "-n"]);
        assert_eq!(live.line(), "kept/a 0 ", "{version}");
        // What was cleared does not come: the message of `READY` is the only retained one left.
        let rest = clients.subscriber(version, &["-t", "#", "-C", "1", "-v"]).rest();
        assert_eq!(rest, [format!("{READY} {READY}")], "{version}");
    }
}

#[test]
fn filters_with_wildcards_match_what_they_should() {
    let Some(clients) = Clients::start() else { return };
    for version in VERSIONS {
        let mut subscriber = clients.subscribe(version, &["-t", "+/b", "-t", "/#", "-t", "deep/+/c/#", "-v"]);
        for topic in ["a/b", "/b/c", "deep/x/c", "deep/x/c/d/e", "a/b/c", "deep/x/y", "$odd/b", "b"] {
            clients.publish(version, &["-t", topic, "-m", "x"]);
        }
        clients.publish(version, &["-t", "end/b", "-m", "x"]);
        let topics = ["a/b x", "/b/c x", "deep/x/c x", "deep/x/c/d/e x", "end/b x"];
        assert_eq!(subscriber.lines(topics.len()), topics, "{version}");
    }
}

#[test]
fn a_will_speaks_for_a_killed_client_and_not_for_one_that_leaves() {
    let Some(clients) = Clients::start() else { return };
    for version in VERSIONS {
        let mut watcher = clients.subscribe(version, &["-t", "will/+", "-q", "2", "-F", "%t %q %r %p"]);
        let will = |name: &str| {
            let topic = format!("will/{name}");
            let arguments = ["-t", "none", "--will-topic", &topic, "--will-payload", "gone", "--will-qos", "2"];
            clients.command("mosquitto_sub", version, &[&arguments[..], &["--will-retain", "-t", READY]].concat())
        };
        Process::start(will("leaves").args(["-C", "1"])).success();
        let mut killed = Process::start(&mut will("killed"));
        killed.until(READY);
        killed.kill();
        assert_eq!(watcher.line(), "will/killed 2 0 gone", "{version}");
        let late = clients.subscriber(version, &["-t", "will/+", "-q", "2", "-C", "1", "-F", "%t %q %r %p"]);
        assert_eq!(late.rest(), ["will/killed 2 1 gone"], "{version}");
        clients.publish(version, &["-t", "will/killed", "-r", "-n"]);
    }
}

#[test]
fn a_client_of_version_5_can_leave_and_have_its_will_sent() {
    let Some(clients) = Clients::start() else { return };
    let mut watcher = clients.subscribe("mqttv5", &["-t", "will/+"]);
    // The program answers SIGTERM with DISCONNECT and the reason 0x04.
    let leaving = clients.subscribe("mqttv5", &["-t", "none", "--will-topic", "will/asked", "--will-payload", "adieu"]);
    assert!(leaving.terminate().success());
    assert_eq!(watcher.line(), "adieu");
}

#[test]
fn offline_messages_wait_for_a_persistent_session() {
    let Some(clients) = Clients::start() else { return };
    for version in VERSIONS {
        let topic = format!("offline/{version}");
        if version == "mqttv5" && clients.broker.is_mosquitto() {
            continue; // (It passes the receive maximum of a QoS 2 subscriber.)
        }
        let session = ["-c", "-i", "sleeper", "-q", "2", "-t", &topic];
        clients.subscriber(version, &[&session[..], &["-E"]].concat()).success();
        for qos in ["1", "2"] {
            clients.publish_lines(version, &["-t", &topic, "-q", qos], (0..50).map(|n| format!("{qos}-{n}")));
        }
        let woken = clients.subscriber(version, &[&session[..], &["-C", "100"]].concat());
        let expected: Vec<String> =
            ["1", "2"].iter().flat_map(|qos| (0..50).map(move |n| format!("{qos}-{n}"))).collect();
        assert_eq!(woken.rest(), expected, "{version}");
        // A clean session ends the stored one, so that the next version starts afresh.
        clients.subscriber(version, &["-i", "sleeper", "-t", &topic, "-E"]).success();
    }
}

#[test]
fn a_persistent_session_survives_kills_of_its_client() {
    let Some(clients) = Clients::start() else { return };
    for version in VERSIONS {
        for qos in ["1", "2"] {
            if version == "mqttv5" && qos == "2" && clients.broker.is_mosquitto() {
                continue; // (It passes the receive maximum of a QoS 2 subscriber.)
            }
            let topic = format!("kills/{version}/{qos}");
            let session = ["-c", "-i", &format!("k-{version}-{qos}"), "-q", qos, "-t", &topic];
            clients.subscriber(version, &[&session[..], &["-E"]].concat()).success();
            let mut seen = Vec::new();
            for round in 0..3 {
                let numbers = (round * 100)..(round * 100 + 100);
                clients.publish_lines(version, &["-t", &topic, "-q", qos], numbers.map(|n| format!("{n:03}")));
                let mut subscriber = clients.subscriber(version, &session);
                seen.extend(subscriber.lines(30));
                seen.extend(subscriber.kill());
            }
            clients.publish(version, &["-t", &topic, "-q", qos, "-m", "end"]);
            let mut subscriber = clients.subscriber(version, &session);
            while let line = subscriber.line()
                && line != "end"
            {
                seen.push(line);
            }
            let all: BTreeSet<String> = (0..300).map(|n| format!("{n:03}")).collect();
            let distinct: BTreeSet<String> = seen.iter().cloned().collect();
            let lost: Vec<&String> = all.difference(&distinct).collect();
            assert!(distinct.is_subset(&all), "{version}: {seen:?}");
            if qos == "1" {
                // The program acknowledges a message and then prints it: each kill may swallow one, and the broker must lose none.
                assert!(lost.len() <= 3, "{version}: lost {lost:?}");
            } else {
                // With QoS 2 a killed client takes along all it had received and not yet released; nothing may come twice.
                assert!(distinct.len() == seen.len() && seen.is_sorted(), "{version}: {seen:?}");
            }
        }
    }
}

#[test]
fn large_payloads_arrive_unharmed() {
    let Some(clients) = Clients::start() else { return };
    let file = scratch("payload");
    for (version, size) in
        [("mqttv31", 1_000_000), ("mqttv311", 10_000_000), ("mqttv5", 1_000_000), ("mqttv5", 10_000_000)]
    {
        let mut payload = pattern(size);
        fs::write(&file, &payload).expect("a payload file");
        payload.push(b'\n');
        let path = file.to_str().expect("a path in UTF-8");
        for qos in ["0", "1", "2"] {
            // Live, then retained; the program ends each message with a line feed.
            let topic = format!("large/{version}/{size}/{qos}");
            let live = clients.subscribe(version, &["-t", &topic, "-q", qos, "-C", "2"]);
            clients.publish(version, &["-t", &topic, "-q", qos, "-r", "-f", path]);
            assert!(live.success() == payload, "{version} QoS {qos}: {size} bytes live");
            let late = clients.subscriber(version, &["-t", &topic, "-q", qos, "-C", "1"]);
            assert!(late.success() == payload, "{version} QoS {qos}: {size} bytes retained");
            clients.publish(version, &["-t", &topic, "-r", "-n"]);
        }
    }
    let _ = fs::remove_file(file);
}

#[test]
fn a_shared_subscription_gives_each_message_to_one_member() {
    let Some(clients) = Clients::start() else { return };
    let member = || clients.subscribe("mqttv5", &["-t", "$share/crew/job/+", "-q", "1"]);
    let mut members = [member(), member(), member()];
    let mut outsider = clients.subscribe("mqttv5", &["-t", "job/+", "-q", "1"]);
    clients.publish_lines("mqttv5", &["-t", "job/x", "-q", "1"], (0..300).map(|number| number.to_string()));
    let deadline = Instant::now() + PATIENCE;
    let mut shares = [0; 3];
    let mut seen = BTreeSet::new();
    while seen.len() < 300 {
        for (member, share) in members.iter_mut().zip(&mut shares) {
            while let Some(line) = member.line_soon() {
                assert!(seen.insert(line.clone()), "{line} came twice");
                *share += 1;
            }
        }
        assert!(Instant::now() < deadline, "only {} of 300 arrived", seen.len());
    }
    assert!(shares.iter().all(|share| *share > 0), "each member has a share: {shares:?}");
    let all: Vec<String> = (0..300).map(|number| number.to_string()).collect();
    assert_eq!(outsider.lines(300), all);
}

#[test]
fn request_and_response_find_each_other() {
    let Some(clients) = Clients::start() else { return };
    // Two requesters share a response topic and are told apart by it alone; the responder copies the correlation data.
    let mut responder = clients.subscribe("mqttv5", &["-t", "ask/+", "-q", "1", "-F", "%R|%D|%p"]);
    for qos in ["0", "1", "2"] {
        let answers = format!("answers/{qos}");
        let arguments =
            ["-t", "ask/time", "-e", &answers, "-m", "now?", "-q", qos, "-D", "publish", "correlation-data", "id-7"];
        let requester = Process::start(&mut clients.command("mosquitto_rr", "mqttv5", &arguments));
        let request = responder.line();
        let [topic, correlation, payload] = request.split('|').collect::<Vec<_>>()[..] else {
            panic!("not a request: {request}");
        };
        assert_eq!((topic, correlation, payload), (&answers[..], "id-7", "now?"));
        clients.publish(
            "mqttv5",
            &["-t", topic, "-q", qos, "-m", "noon", "-D", "publish", "correlation-data", correlation],
        );
        assert_eq!(requester.rest(), ["noon"]);
    }
    // Without the properties of version 5 the response topic is an agreement.
    let requester =
        Process::start(&mut clients.command("mosquitto_rr", "mqttv311", &["-t", "ask/old", "-e", "old", "-m", "now?"]));
    assert_eq!(responder.line(), "||now?");
    clients.publish("mqttv311", &["-t", "old", "-m", "midnight"]);
    assert_eq!(requester.rest(), ["midnight"]);
}

#[test]
fn properties_of_version_5_reach_the_subscriber() {
    let Some(clients) = Clients::start() else { return };
    let format = "%t|%p|%C|%R|%D|%F|%E|%P|%S";
    let mut subscriber = clients.subscribe(
        "mqttv5",
        &["-t", "props/#", "-q", "1", "-F", format, "-D", "subscribe", "subscription-identifier", "77"],
    );
    let properties = [
        ["content-type", "text/plain"],
        ["response-topic", "reply/here"],
        ["correlation-data", "c0ffee"],
        ["payload-format-indicator", "1"],
        ["message-expiry-interval", "1000"],
    ];
    let mut arguments = vec!["-t", "props/all", "-q", "1", "-m", "päyload"];
    for [name, value] in properties {
        arguments.extend(["-D", "publish", name, value]);
    }
    for [name, value] in [["color", "red"], ["color", "blue"], ["", "empty"]] {
        arguments.extend(["-D", "publish", "user-property", name, value]);
    }
    clients.publish("mqttv5", &arguments);
    let line = subscriber.line();
    let fields: Vec<&str> = line.split('|').collect();
    assert_eq!(fields[..6], ["props/all", "päyload", "text/plain", "reply/here", "c0ffee", "1"], "{line}");
    let expiry: u32 = fields[6].parse().expect("a remaining time");
    assert!((900..=1000).contains(&expiry), "{line}");
    assert_eq!(fields[7].split_whitespace().collect::<Vec<_>>(), ["color:red", "color:blue", ":empty"], "{line}");
    assert_eq!(fields[8], "77", "{line}");
    // A subscriber of an older version gets the message without them.
    let mut old = clients.subscribe("mqttv311", &["-t", "props/#", "-q", "1"]);
    clients.publish("mqttv5", &arguments);
    assert_eq!(old.line(), "päyload");
}

#[test]
fn a_will_of_version_5_carries_its_properties() {
    let Some(clients) = Clients::start() else { return };
    let mut watcher = clients.subscribe("mqttv5", &["-t", "will/+", "-q", "1", "-F", "%t|%p|%C|%P"]);
    let mut will = vec!["-t", "none", "--will-topic", "will/props", "--will-payload", "gone", "--will-qos", "1"];
    will.extend(["-D", "will", "content-type", "text/plain", "-D", "will", "user-property", "why", "killed"]);
    clients.subscribe("mqttv5", &will).kill();
    assert_eq!(watcher.line(), "will/props|gone|text/plain|why:killed");
}

#[test]
fn a_delayed_will_waits_for_its_session_to_come_back_or_to_end() {
    let Some(clients) = Clients::start() else { return };
    let mut watcher = clients.subscribe("mqttv5", &["-t", "will/+", "-v"]);
    let start_and_kill = |id: &str, expiry: &str, delay: &str| {
        let topic = format!("will/{id}");
        let mut session =
            vec!["-t", "none", "-c", "-x", expiry, "-i", id, "--will-topic", &topic, "--will-payload", "x"];
        session.extend(["-D", "will", "will-delay-interval", delay]);
        clients.subscribe("mqttv5", &session).kill();
    };
    // The first comes back in time, so that the second, which starts later, is the first to be heard of.
    start_and_kill("resumed", "600", "5");
    clients.subscriber("mqttv5", &["-t", "none", "-c", "-x", "600", "-i", "resumed", "-E"]).success();
    start_and_kill("silent", "600", "5");
    assert_eq!(watcher.line(), "will/silent x");
    // The end of a session brings its will forward.
    start_and_kill("expired", "1", "600");
    assert_eq!(watcher.line(), "will/expired x");
}

#[test]
fn a_delayed_will_is_due_when_a_clean_start_ends_its_session() {
    let Some(clients) = Clients::start() else { return };
    let mut watcher = clients.subscribe("mqttv5", &["-t", "will/+", "-v"]);
    if clients.broker.is_mosquitto() {
        return; // (It goes on waiting.)
    }
    let mut session =
        vec!["-t", "none", "-c", "-x", "600", "-i", "again", "--will-topic", "will/again", "--will-payload", "x"];
    session.extend(["-D", "will", "will-delay-interval", "500"]);
    clients.subscribe("mqttv5", &session).kill();
    clients.subscriber("mqttv5", &["-t", "none", "-i", "again", "-E"]).success();
    assert_eq!(watcher.line(), "will/again x");
}

#[test]
fn retain_as_published_is_kept() {
    let Some(clients) = Clients::start() else { return };
    let format = ["-q", "1", "-F", "%t %r %p"];
    let mut as_published =
        clients.subscribe("mqttv5", &[&format[..], &["-t", "rap", "--retain-as-published"]].concat());
    let mut plain = clients.subscribe("mqttv5", &[&format[..], &["-t", "rap"]].concat());
    clients.publish("mqttv5", &["-t", "rap", "-q", "1", "-r", "-m", "x"]);
    assert_eq!(as_published.line(), "rap 1 x");
    assert_eq!(plain.line(), "rap 0 x");
}
