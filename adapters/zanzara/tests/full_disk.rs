//! A disk that is full for a while: nothing is acknowledged that is not kept, messages are delivered on, and once there is room the
//! broker goes on by itself; what was acknowledged is there after a kill.
//!
//! The disk is a small file system where the system lets the test mount one (as root, or in a user namespace), and a limit on the
//! size of files everywhere on Linux.
#![cfg(target_os = "linux")]
mod cli_support;

use cli_support::{Broker, PATIENCE, Running};
use mqtt_tokio::client::{Backoff, Client, QoS, Subscription};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Of most messages.
const PAYLOAD: usize = 64 * 1024;

/// A place for data that can be filled.
trait Disk {
    /// `zanzara` with a folder in it.
    fn command(&self, arguments: &[&str]) -> Command;
    /// From now on, there is little room.
    fn shrink(&self, broker: &Running);
    /// Another broker has as little.
    fn restrict(&self, broker: &Running);
    /// There is room again.
    fn grow(&self, broker: &Running);
}

/// A mount that only this process and its children see.
struct Mount {
    /// Keeps the mount.
    holder: Child,
    enter: Vec<String>,
    path: PathBuf,
    /// Megabytes that fill it, all but a little.
    ballast: usize,
}

impl Mount {
    /// `None`: the system does not allow it.
    fn new(megabytes: usize, ballast: usize) -> Option<Self> {
        let name = format!("{}-mount-{megabytes}", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("the folder is made");
        for (unshare, enter) in [("-m", "-m"), ("-Urm", "-Um")] {
            let mount = format!("mount -t tmpfs -o size={megabytes}m tmpfs {}", path.display());
            let script = format!("{mount} && echo mounted && exec sleep 3600");
            let mut command = Command::new("unshare");
            command
                .args([unshare, "sh", "-c", &script])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null());
            let Ok(mut holder) = command.spawn() else { continue };
            let mut line = [0; 8];
            let mut output = holder.stdout.take().expect("standard output");
            if std::io::Read::read_exact(&mut output, &mut line).is_err() {
                let _ = holder.wait();
                continue;
            }
            let pid = holder.id().to_string();
            let enter = ["nsenter", "--preserve-credentials", enter, "-t", &pid].map(str::to_owned);
            return Some(Self { holder, enter: enter.into(), path, ballast });
        }
        None
    }

    /// The mount as it is seen from outside.
    fn outside(&self) -> PathBuf {
        let path = self.path.strip_prefix("/").expect("an absolute path");
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(path)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        let _ = std::fs::remove_dir(&self.path);
    }
}

impl Disk for Mount {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.enter[0]);
        command.args(&self.enter[1..]).arg(env!("CARGO_BIN_EXE_zanzara")).args(arguments);
        command.arg("--data").arg(self.path.join("data"));
        command
    }

    fn shrink(&self, _: &Running) {
        std::fs::write(self.outside().join("ballast"), vec![1; self.ballast << 20]).expect("there is room for it");
    }

    fn restrict(&self, _: &Running) {}

    fn grow(&self, _: &Running) {
        std::fs::remove_file(self.outside().join("ballast")).expect("it is there");
    }
}

/// A folder whose files may not grow.
struct Limit(PathBuf);

impl Limit {
    fn new() -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-limit", std::process::id()));
        let _ = std::fs::remove_dir_all(&path); // of an earlier process with the same number
        Self(path)
    }

    fn set(broker: &Running, bytes: Option<u64>) {
        use rustix::process::{Pid, Resource, Rlimit, prlimit};
        let pid = i32::try_from(broker.child.id()).ok().and_then(Pid::from_raw);
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(pid, Resource::Fsize, limit).expect("the limit is set");
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Disk for Limit {
    fn command(&self, arguments: &[&str]) -> Command {
        // Without the signal, a write beyond the limit is an error like that of a full disk.
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_zanzara")]).args(arguments);
        command.arg("--data").arg(&self.0);
        command
    }

    fn shrink(&self, broker: &Running) {
        Self::set(broker, Some(2 << 20));
    }

    fn restrict(&self, broker: &Running) {
        self.shrink(broker);
    }

    fn grow(&self, broker: &Running) {
        Self::set(broker, None);
    }
}

async fn client(port: &str, id: &str) -> Client {
    let backoff = Backoff { min: Duration::from_millis(20), max: Duration::from_millis(100), ..Backoff::default() };
    let client = Client::builder(&format!("mqtt://127.0.0.1:{port}")).client_id(id).reconnect(backoff);
    let client = client.persistent(Duration::from_hours(1));
    client.connect().await.expect("it connects")
}

/// A message that begins with its number.
fn numbered(number: usize) -> String {
    let mut payload = format!("{number} ");
    payload.extend(std::iter::repeat_n('x', PAYLOAD));
    payload
}

/// How many lines of a log have this part.
fn count(errors: &str, part: &str) -> usize {
    errors.lines().filter(|line| line.contains(part)).count()
}

/// Waits for a message with this payload.
async fn until(messages: &mut Subscription, payload: &str) {
    loop {
        let message = tokio::time::timeout(PATIENCE, messages.recv()).await.expect("it comes").expect("it goes on");
        if message.payload == payload {
            return;
        }
    }
}

async fn fills_and_recovers(disk: &impl Disk) {
    let arguments = ["--listen", "mqtt://127.0.0.1:0", "--log-level", "info"];
    let broker = Broker::from(Running::spawn(disk.command(&arguments)));
    let port = broker.port.clone();
    let sleeper = client(&port, "sleeper").await;
    sleeper.subscribe("kept", QoS::AtLeastOnce).await.expect("it is subscribed");
    sleeper.end().await.expect("it ends");
    let watcher = Client::connect(&format!("mqtt://127.0.0.1:{port}")).await.expect("it connects");
    let mut seen = watcher.subscribe("seen", QoS::AtMostOnce).await.expect("it is subscribed");

    let mut state = watcher.subscribe("$SYS/broker/store/state", QoS::AtMostOnce).await.expect("it is subscribed");
    until(&mut state, "ok").await;

    // It fills up: from some message on nothing is acknowledged.
    let publisher = client(&port, "publisher").await;
    disk.shrink(&broker.running);
    let mut acknowledged = Vec::new();
    let mut number = 0;
    loop {
        let outcome = publisher.publish("kept", numbered(number), QoS::AtLeastOnce).await;
        number += 1;
        match outcome {
            Ok(_) => acknowledged.push(number - 1),
            Err(_) => break,
        }
        assert!(number < 1000, "the disk is never full");
    }
    assert!(!acknowledged.is_empty(), "there was some room");
    for _ in 0..5 {
        let outcome = publisher.publish("kept", numbered(number), QoS::AtLeastOnce).await;
        assert!(outcome.is_err(), "message {number} is acknowledged, and the disk is full");
        number += 1;
    }
    until(&mut state, "failing").await;
    // Messages are delivered on.
    publisher.publish("seen", "still", QoS::AtMostOnce).await.expect("it is sent");
    let received = tokio::time::timeout(PATIENCE, seen.recv()).await.expect("it comes").expect("the client goes on");
    assert_eq!(received.payload, "still");

    // It is killed, and starts on the full disk.
    broker.running.signal("KILL");
    let (_, errors) = broker.running.end();
    assert_eq!(count(&errors, "cannot keep changes"), 1, "{errors}");
    let same_port = ["--listen", &format!("mqtt://127.0.0.1:{port}"), "--log-level", "info"];
    let broker = Broker::from(Running::spawn(disk.command(&same_port)));
    disk.restrict(&broker.running);
    // What follows may find a little room that the journal has left, but not for long.
    loop {
        let outcome = publisher.publish("kept", numbered(number), QoS::AtLeastOnce).await;
        number += 1;
        match outcome {
            Ok(_) => acknowledged.push(number - 1),
            Err(_) => break,
        }
        assert!(number < 2000, "the disk is never full");
    }

    // There is room again: it goes on without being told.
    disk.grow(&broker.running);
    let mut tries = 0;
    while publisher.publish("kept", numbered(number), QoS::AtLeastOnce).await.is_err() {
        (number, tries) = (number + 1, tries + 1);
        assert!(tries < 1000, "it does not recover");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    acknowledged.push(number);
    until(&mut state, "ok").await;
    publisher.publish("kept", "end", QoS::AtLeastOnce).await.expect("it is acknowledged");

    broker.running.signal("KILL");
    let (_, errors) = broker.running.end();
    assert_eq!(count(&errors, "cannot keep changes"), 1, "{errors}");
    assert_eq!(count(&errors, "keeps changes again"), 1, "{errors}");

    // Everything that was acknowledged is there, in order.
    let broker = Broker::from(Running::spawn(disk.command(&arguments)));
    let sleeper = client(&broker.port, "sleeper").await;
    let mut messages = sleeper.messages();
    let mut found = Vec::new();
    loop {
        let message = tokio::time::timeout(PATIENCE, messages.recv()).await.expect("it comes").expect("it goes on");
        let text = std::str::from_utf8(&message.payload).expect("text");
        match text.split_once(' ') {
            Some((number, _)) => found.push(number.parse::<usize>().expect("a number")),
            None => break,
        }
    }
    assert!(found.is_sorted(), "{found:?}");
    let lost: Vec<_> = acknowledged.iter().filter(|number| !found.contains(number)).collect();
    println!("{} of {} messages were acknowledged", acknowledged.len(), number + 1);
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?} of {acknowledged:?}");
    broker.running.signal("TERM");
    assert_eq!(broker.running.end().0, Some(0));
}

async fn on_a_mount(megabytes: usize, ballast: usize) {
    match Mount::new(megabytes, ballast) {
        Some(mount) => fills_and_recovers(&mount).await,
        None => println!("skipped: nothing can be mounted here; see the test with a limit"),
    }
}

/// Too small for what one commit writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_file_system() {
    on_a_mount(24, 16).await;
}

/// Too small for what is written in the background.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_file_system_that_stops_work_in_the_background() {
    on_a_mount(96, 66).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_may_not_grow() {
    fills_and_recovers(&Limit::new()).await;
}
