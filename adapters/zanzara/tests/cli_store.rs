//! `zanzara pub --store` and `zanzara sub --store`: what one run leaves, the next one finishes.
mod cli_support;

use cli_support::{Broker, Running, run, run_with, text, zanzara};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

/// A folder for sessions, removed when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-session-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path); // of an earlier process with the same number
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a path in UTF-8")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_could_not_be_sent_is_sent_by_the_next_run() {
    let folder = Folder::new("offline");
    let broker = Broker::start(&[]);
    let port = broker.port.clone();
    let watcher = broker.subscriber(&["-q", "2", "-t", "late", "-C", "3"]);
    let nowhere = ["-h", "127.0.0.1", "-p", "1", "--store", folder.path(), "-i", "p", "-q", "2", "-t", "late"];
    for message in ["one", "two"] {
        let output = run(&[&["pub"], &nowhere[..], &["-m", message]].concat());
        assert_eq!(output.status.code(), Some(1), "no server is there: {}", text(&output.stderr));
    }
    let output = broker.client("pub", &["--store", folder.path(), "-i", "p", "-q", "2", "-t", "late", "-m", "three"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(watcher.rest(), ["one", "two", "three"], "on port {port}");
    let output = broker.client("pub", &["--store", folder.path(), "--pending", "-d"]);
    assert!(output.status.success() && text(&output.stderr).contains("0 messages are still to be sent"));
}

#[test]
fn a_publisher_that_is_killed_goes_on_where_it_was() {
    let folder = Folder::new("killed");
    let broker = Broker::start(&[]);
    let watcher = broker.subscriber(&["-q", "2", "-t", "lines", "-i", "watcher", "-c"]);
    let arguments = ["pub", "-h", "127.0.0.1", "-p", &broker.port, "--store", folder.path(), "--durability", "os"];
    let arguments = [&arguments[..], &["-i", "p", "-q", "2", "-t", "lines"]].concat();
    let mut child = zanzara(&[&arguments[..], &["-l"]].concat()).stdin(Stdio::piped()).spawn().expect("it starts");
    let mut lines = child.stdin.take().expect("standard input");
    for number in 0..3000 {
        writeln!(lines, "{number:04}").expect("it reads");
    }
    let first = watcher.line(); // some have arrived, most have not
    child.kill().expect("it is killed");
    child.wait().expect("it is dead");
    let output = run(&[&arguments[..], &["-m", "end"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut all = vec![first];
    while all.last().is_some_and(|line| line != "end") {
        all.push(watcher.line());
    }
    let expected = (0..all.len() - 1).map(|number| format!("{number:04}")).chain(["end".to_owned()]);
    assert!(all.iter().cloned().eq(expected), "each once, in order: {all:?}");
}

#[test]
fn a_subscriber_prints_what_it_had_not_printed() {
    let folder = Folder::new("subscriber");
    let broker = Broker::start(&[]);
    let subscriber = ["--store", folder.path(), "-i", "s", "-q", "2", "-t", "news"];
    let output = broker.client("sub", &[&subscriber[..], &["-W", "1"]].concat());
    assert_eq!(output.status.code(), Some(27), "{}", text(&output.stderr));
    let lines = (0..100).map(|number| number.to_string()).collect::<Vec<_>>();
    let publish = ["pub", "-h", "127.0.0.1", "-p", &broker.port, "-q", "2", "-t", "news", "-l"];
    assert!(run_with(&publish, lines.join("\n").as_bytes()).status.success());
    let first = broker.client("sub", &[&subscriber[..], &["-C", "40"]].concat());
    let second = broker.client("sub", &[&subscriber[..], &["-C", "60"]].concat());
    let printed = text(&first.stdout) + &text(&second.stdout);
    assert!(printed.lines().eq(lines.iter()), "{printed}");
}

#[test]
fn what_cannot_be_kept_is_refused() {
    let folder = Folder::new("refused");
    let store = ["pub", "-h", "127.0.0.1", "-p", "1", "--store", folder.path()];
    for (arguments, code, part) in [
        (&["-t", "x", "-m", "y"][..], 2, "-q 1 or -q 2"),
        (&["-t", "x", "-q", "1"], 2, "--pending"),
        (&["--pending", "-m", "y"], 2, "cannot be used with"),
    ] {
        let output = run(&[&store[..], arguments].concat());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(text(&output.stderr).contains(part), "{}", text(&output.stderr));
    }
    let output = run(&["pub", "--pending"]);
    assert!(text(&output.stderr).contains("--store"), "{}", text(&output.stderr));
    let broker = Broker::start(&[]);
    let first = broker.subscriber(&["--store", folder.path(), "-i", "s", "-t", "x"]);
    let second = broker.client("sub", &["--store", folder.path(), "-i", "s", "-t", "x"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("another process uses this folder"), "{}", text(&second.stderr));
    drop::<Running>(first);
    let other = broker.client("sub", &["--store", folder.path(), "-i", "other", "-t", "x"]);
    assert!(text(&other.stderr).contains("another client identifier"), "{}", text(&other.stderr));
}
