//! `zanzara store` on the folder of a real broker.
mod cli_support;

use cli_support::{Broker, run, run_with, text};
use std::path::{Path, PathBuf};

/// A folder for folders, removed when it is dropped.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path); // of an earlier process with the same number
        std::fs::create_dir_all(&path).expect("the folder is made");
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a path in UTF-8").to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs to success; gives standard output.
fn succeeds(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// A folder with an offline session, two messages for it and a retained one.
fn filled(data: &str) {
    let broker = Broker::start(&["--data", data]);
    let sleeper = ["-c", "-i", "sleeper", "-q", "1", "-t", "a/#"];
    let subscriber = broker.subscriber(&sleeper);
    subscriber.signal("TERM");
    subscriber.end();
    for message in ["one", "two"] {
        assert!(broker.client("pub", &["-q", "1", "-t", "a/b", "-m", message]).status.success());
    }
    assert!(broker.client("pub", &["-r", "-q", "1", "-t", "kept", "-m", "three"]).status.success());
    broker.running.signal("TERM");
    assert_eq!(broker.running.end().0, Some(0));
}

#[test]
#[cfg(unix)]
fn a_folder_is_checked_counted_exported_and_imported() {
    let place = Place::new("transfer");
    let (data, copy, file) = (place.path("data"), place.path("copy"), place.path("lines"));
    filled(&data);

    let checked = succeeds(&["store", "check", &data]);
    assert!(checked.contains(": ok, 1 sessions, 1 subscriptions, 2 queued and 1 retained messages"), "{checked}");
    let stats = succeeds(&["store", "stats", &data]);
    for line in ["sessions: 1", "queued messages: 2", "messages: 2", "retained messages: 1", "quarantined records: 0"] {
        assert!(stats.lines().any(|found| found == line), "{line} is missing in: {stats}");
    }

    let lines = succeeds(&["store", "export", &data]);
    assert!(
        lines.starts_with('{') && lines.lines().next().is_some_and(|line| line.contains("zanzara-export")),
        "{lines}"
    );
    assert!(lines.contains("\"client\":\"sleeper\"") && lines.contains("\"payload\":\"two\""), "{lines}");
    succeeds(&["store", "export", &data, &file]);
    let again = run(&["store", "export", &data, &file]);
    assert_eq!(again.status.code(), Some(2), "it overwrites nothing: {}", text(&again.stderr));

    succeeds(&["store", "import", &copy, &file]);
    assert_eq!(succeeds(&["store", "export", &copy]), lines);
    let again = run(&["store", "import", &copy, &file]);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("has contents already"), "{}", text(&again.stderr));
    let bad = lines.replace("\"qos\":1", "\"qos\":7");
    let refused = run_with(&["store", "import", &place.path("bad")], bad.as_bytes());
    assert_eq!(refused.status.code(), Some(1));
    let errors = text(&refused.stderr);
    assert!(errors.contains("line ") && errors.contains("field \"qos\": 0, 1 or 2 is expected"), "{errors}");

    // A broker goes on with the copy.
    let broker = Broker::start(&["--data", &copy]);
    let output = broker.client("sub", &["-c", "-i", "sleeper", "-q", "1", "-t", "a/#", "-C", "2"]);
    assert_eq!(text(&output.stdout), "one\ntwo\n", "{}", text(&output.stderr));
    let output = broker.client("sub", &["-t", "kept", "-C", "1"]);
    assert_eq!(text(&output.stdout), "three\n");
}

#[test]
#[cfg(unix)]
fn damage_is_listed_and_does_not_keep_a_broker_from_starting() {
    let place = Place::new("damage");
    let data = place.path("data");
    filled(&data);
    // The list of the files of the tree with the sessions.
    std::fs::remove_file(Path::new(&data).join("db/keyspaces/1/current")).expect("it is there");

    let checked = run(&["store", "check", &data]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(text(&checked.stderr).contains("keyspaces/1/current is missing"), "{}", text(&checked.stderr));
    let broker = Broker::start(&["--data", &data]);
    let banner = broker.banner.join("\n");
    assert!(banner.contains("1 sessions, 1 subscriptions, 2 queued and 1 retained messages"), "{banner}");
    let output = broker.client("sub", &["-c", "-i", "sleeper", "-q", "1", "-t", "a/#", "-C", "2"]);
    assert_eq!(text(&output.stdout), "one\ntwo\n", "{}", text(&output.stderr));
    broker.running.signal("TERM");
    let (_, errors) = broker.running.end();
    assert!(errors.contains("damaged-1"), "{errors}");
    assert!(Path::new(&data).join("damaged-1/version").exists());
    succeeds(&["store", "check", &data]);
}
