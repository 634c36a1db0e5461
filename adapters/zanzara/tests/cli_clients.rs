//! `zanzara pub` and `zanzara sub` against the broker.
mod cli_support;

use cli_support::{Broker, PATIENCE, Scratch, run, run_with, text};
use std::process::Stdio;

#[test]
fn every_way_to_give_a_message_in_every_version() {
    let broker = Broker::start(&[]);
    let file = Scratch::new("payload", "from a file");
    for version in ["31", "mqttv311", "5"] {
        for qos in ["0", "1", "2"] {
            let subscriber = broker.subscriber(&["-V", version, "-q", qos, "-v", "-t", "way/+", "-C", "4"]);
            let common = ["-V", version, "-q", qos, "-t", "way/x"];
            for way in [&["-m", "-dashed message"][..], &["-f", file.path()], &["-n"]] {
                let output = broker.client("pub", &[&common[..], way].concat());
                assert!(output.status.success(), "{}", text(&output.stderr));
            }
            let arguments = [&["pub", "-h", "127.0.0.1", "-p", &broker.port, "-s"], &common[..]].concat();
            assert!(run_with(&arguments, b"two\nlines").status.success());
            let expected = ["way/x -dashed message", "way/x from a file", "way/x ", "way/x two", "lines"];
            assert_eq!(subscriber.rest(), expected);
            assert_eq!(subscriber.end().0, Some(0));
        }
    }
}

#[test]
fn lines_keep_their_order_and_none_is_lost() {
    let broker = Broker::start(&[]);
    let lines: Vec<String> = (0..5000).map(|number| format!("line {number}")).collect();
    let subscriber = broker.subscriber(&["-q", "2", "-t", "lines", "-C", "5000"]);
    let arguments = ["pub", "-h", "127.0.0.1", "-p", &broker.port, "-q", "2", "-t", "lines", "-l"];
    let output = run_with(&arguments, lines.join("\n").as_bytes());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(subscriber.rest(), lines);
}

#[test]
fn a_url_names_server_and_topic() {
    let broker = Broker::start(&[]);
    let url = format!("mqtt://127.0.0.1:{}/a/b", broker.port);
    let subscriber = broker.subscriber(&["-t", "#", "-v", "-C", "1"]);
    assert!(run(&["pub", "-L", &url, "-m", "x"]).status.success());
    assert_eq!(subscriber.line(), "a/b x");
}

#[test]
fn however_it_ends_the_server_is_told() {
    let broker = Broker::start(&[]);
    let with_will = ["--will-topic", "will", "--will-payload", "lost", "-t", "nothing"];
    let watcher = broker.subscriber(&["-t", "will", "-C", "1"]);
    for signal in ["TERM", "INT"] {
        let subscriber = broker.subscriber(&with_will);
        subscriber.signal(signal);
        assert_eq!(subscriber.end().0, Some(0));
    }
    let output = broker.client("sub", &[&with_will[..], &["-W", "1"]].concat());
    assert_eq!(output.status.code(), Some(27), "{}", text(&output.stderr));
    // A Will that was published would be the first message.
    assert!(broker.client("pub", &["-t", "will", "-m", "none"]).status.success());
    assert_eq!(watcher.line(), "none");
}

#[test]
fn a_session_keeps_what_was_not_printed() {
    let broker = Broker::start(&[]);
    for version in ["311", "5"] {
        let keeper = ["-V", version, "-i", "keeper", "-c", "-q", "1", "-t", "kept"];
        let output = broker.client("sub", &[&keeper[..], &["-W", "1"]].concat());
        assert_eq!(output.status.code(), Some(27), "{}", text(&output.stderr));
        for message in ["one", "two", "three"] {
            assert!(broker.client("pub", &["-q", "1", "-t", "kept", "-m", message]).status.success());
        }
        let first = broker.client("sub", &[&keeper[..], &["-C", "1"]].concat());
        assert_eq!(text(&first.stdout), "one\n");
        let others = broker.client("sub", &[&keeper[..], &["-C", "2"]].concat());
        assert_eq!(text(&others.stdout), "two\nthree\n");
        // A clean session ends it.
        assert!(
            broker.client("sub", &["-V", version, "-i", "keeper", "-t", "kept", "-W", "1"]).status.code() == Some(27)
        );
    }
}

#[test]
fn retained_messages_wills_and_properties() {
    let broker = Broker::start(&[]);
    assert!(broker.client("pub", &["-r", "-t", "state", "-m", "kept"]).status.success());
    let output = broker.client("sub", &["-t", "state", "-C", "1", "-N"]);
    assert_eq!(text(&output.stdout), "kept");
    let skipped = broker.client("sub", &["-t", "state", "-R", "-W", "1"]);
    assert_eq!((skipped.status.code(), text(&skipped.stdout)), (Some(27), String::new()));
    assert!(broker.client("pub", &["-r", "-t", "state", "-n"]).status.success());
    let cleared = broker.client("sub", &["-t", "state", "-W", "1", "--quiet"]);
    assert_eq!(
        (cleared.status.code(), text(&cleared.stdout), text(&cleared.stderr)),
        (Some(27), String::new(), String::new())
    );

    let watcher = broker.subscriber(&["-t", "will/+", "-v", "-C", "1"]);
    let mut dying =
        broker.subscriber(&["-t", "x", "--will-topic", "will/x", "--will-payload", "gone", "--will-qos", "1"]);
    dying.child.kill().unwrap();
    assert_eq!(watcher.line(), "will/x gone");

    let property = ["-D", "publish", "user-property", "a", "b", "-D", "publish", "message-expiry-interval", "60"];
    assert!(broker.client("pub", &[&["-t", "x", "-m", "y"][..], &property].concat()).status.success());
}

#[test]
fn what_goes_wrong_has_a_code_and_a_reason() {
    let broker = Broker::start(&[]);
    for (command, arguments, code, part) in [
        ("pub", &["-t", "x"][..], 2, "--message"),
        ("pub", &["-m", "x"], 2, "-t TOPIC"),
        ("pub", &["-t", "a/+", "-m", "x"], 2, "-t: "),
        ("pub", &["-t", "x", "-m", "y", "-n"], 2, "cannot be used with"),
        ("pub", &["-t", "x", "-m", "y", "-q", "3"], 2, "expected 0, 1 or 2"),
        ("pub", &["-t", "x", "-m", "y", "-V", "6"], 2, "mqttv311"),
        ("pub", &["-t", "x", "-f", "/nowhere/file"], 1, "/nowhere/file"),
        ("pub", &["-t", "x", "-m", "y", "-V", "311", "-D", "publish", "content-type", "t"], 2, "-V 5"),
        ("pub", &["-t", "x", "-m", "y", "-D", "publish", "topic-alias", "1"], 2, "no property"),
        ("sub", &[], 2, "-t FILTER"),
        ("sub", &["-t", "a/#/b"], 2, "-t a/#/b"),
        ("sub", &["-t", "x", "-c"], 2, "--id"),
        ("sub", &["-t", "x", "-V", "311", "--no-local"], 2, "-V 5"),
        ("sub", &["-t", "x", "-W", "1"], 27, "within 1 s"),
    ] {
        let output = broker.client(command, arguments);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{command} {arguments:?}: {errors}");
        assert!(errors.contains(part), "{part} is missing in: {errors}");
    }
    // Nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let output = run(&["sub", "-h", "127.0.0.1", "-p", &port, "-t", "x"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is a broker running there?"));
    assert!(text(&run(&["sub", "--help"]).stdout).contains("-h, --host"));
}

#[test]
fn a_closed_output_ends_it_quietly() {
    let broker = Broker::start(&[]);
    let mut subscriber = broker.subscriber(&["-t", "x"]);
    let arguments = ["sub", "-h", "127.0.0.1", "-p", &broker.port, "-t", "x", "-d"];
    let mut closed = cli_support::zanzara(&arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(closed.stdout.take());
    // Until it has subscribed and noticed.
    let deadline = std::time::Instant::now() + PATIENCE;
    let status = loop {
        assert!(broker.client("pub", &["-t", "x", "-m", "y"]).status.success());
        if let Some(status) = closed.try_wait().unwrap() {
            break status;
        }
        assert!(std::time::Instant::now() < deadline, "it ends when nobody reads");
    };
    assert_eq!(status.code(), Some(0));
    subscriber.child.kill().unwrap();
}
