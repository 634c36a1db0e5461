//! kill -9 of a client at random moments: what it had kept arrives, QoS 2 once both ways, order is kept.
//!
//! `ZANZARA_KILL_ROUNDS` sets the number of rounds (default 10), `ZANZARA_KILL_SEED` the moments.
mod cli_support;

use cli_support::{Broker, PATIENCE};
use mqtt_store_fjall::{ClientFolder, Durability};
use mqtt_tokio::client::{
    Backoff, Client, Delivery, Messages, QoS, ReasonCode, Store, StoreBatch, StoreDone, SubscribeOptions, Subscription,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What the last message says.
const END: &str = "end";
/// Messages that the application has on their way at once.
const WINDOW: usize = 20;

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn builder(port: &str, id: &str) -> mqtt_tokio::client::Builder {
    let backoff = Backoff { min: Duration::from_millis(20), max: Duration::from_millis(100), ..Backoff::default() };
    Client::builder(&format!("mqtt://127.0.0.1:{port}"))
        .client_id(id)
        .persistent(Duration::from_hours(1))
        .capacity(1_000_000)
        .reconnect(backoff)
}

/// The store, as the client takes it.
struct Folder(ClientFolder);

impl Store for Folder {
    fn start(&mut self, done: StoreDone) -> std::io::Result<()> {
        self.0.start(done)
    }

    fn write(&mut self, batch: StoreBatch) {
        self.0.write(batch);
    }
}

/// The lines that the application has written; each is there as a whole, or not at all.
struct Journal(File);

impl Journal {
    fn open(path: &Path) -> Self {
        Self(OpenOptions::new().create(true).append(true).open(path).expect("the journal opens"))
    }

    fn write(&mut self, word: &str, number: u64, text: &str) {
        self.0.write_all(format!("{word} {number} {text}\n").as_bytes()).expect("the journal is written");
    }

    /// All lines with this word.
    fn read(path: &Path, word: &str) -> Vec<(u64, String)> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.strip_prefix(word)?.trim_start().split_once(' '));
        lines.map(|(number, text)| (number.parse().expect("a number"), text.to_owned())).collect()
    }
}

/// The application. It publishes numbers, and journals each before it is published and when it is kept; it journals what it
/// receives with its token, and acknowledges it then.
#[test]
#[ignore = "the process that the other tests kill"]
fn application() {
    let Ok(place) = std::env::var("ZANZARA_TEST_PLACE") else { return };
    let variable = |name| std::env::var(name).expect("the other tests set it");
    let durability = if variable("ZANZARA_TEST_LEVEL") == "os" { Durability::Os } else { Durability::Disk };
    let (port, last) = (variable("ZANZARA_TEST_PORT"), variable("ZANZARA_TEST_LAST") == "yes");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    runtime.block_on(live(Path::new(&place), durability, &port, last));
}

async fn live(place: &Path, durability: Durability, port: &str, last: bool) {
    let journal = place.join("journal");
    let (folder, contents, report) = ClientFolder::open(&place.join("session"), durability).expect("the folder opens");
    assert_eq!(report.lost_records, 0, "{:?}", report.lost);
    let client = builder(port, "app").manual_acks(true).store(Folder(folder), contents).open().expect("it opens");
    let messages = client.messages();
    let done = Journal::read(&journal, "in").into_iter().map(|(token, _)| token).max().unwrap_or(0);
    let receiving = tokio::spawn(receive(client.clone(), messages, Journal::open(&journal), done));
    if last {
        receiving.await.expect("the end comes");
        assert!(client.drained().await);
        client.end().await.expect("it ends");
        return;
    }
    let mut tried = Journal::read(&journal, "try").len() as u64;
    let mut out = Journal::open(&journal);
    let mut window: VecDeque<(u64, Delivery)> = VecDeque::new();
    loop {
        while window.len() < WINDOW {
            out.write("try", tried, "");
            let (topic, qos) = [("up/1", QoS::AtLeastOnce), ("up/2", QoS::ExactlyOnce)][usize::from(tried % 2 == 1)];
            window.push_back((tried, client.try_publish(topic, tried.to_string(), qos).expect("there is room")));
            tried += 1;
        }
        if let Some((number, mut delivery)) = window.pop_front() {
            delivery.kept().await.expect("it is kept");
            out.write("kept", number, "");
            if client.unfinished() > 1000 {
                delivery.await.expect("it is acknowledged in the end");
            }
        }
    }
}

async fn receive(client: Client, mut messages: Messages, mut journal: Journal, mut done: u64) {
    loop {
        let message = messages.recv().await.expect("the client goes on");
        let token = message.ack.expect("QoS 2");
        let text = String::from_utf8(message.payload.to_vec()).expect("text");
        if token.as_u64() > done {
            done = token.as_u64();
            journal.write("in", done, &text);
        }
        client.acknowledge(token, ReasonCode::Success);
        if text == END {
            return;
        }
    }
}

/// The process, which does not outlive the test.
struct Application(Child);

impl Drop for Application {
    fn drop(&mut self) {
        let _ = self.0.kill(); // SIGKILL
        let _ = self.0.wait();
    }
}

/// Where the application lives, removed when it is dropped.
struct Place {
    path: PathBuf,
    port: String,
    level: &'static str,
}

impl Place {
    fn start(&self, last: bool) -> Application {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["application", "--exact", "--ignored", "--nocapture"]);
        command.env("ZANZARA_TEST_PLACE", &self.path).env("ZANZARA_TEST_LEVEL", self.level);
        command.env("ZANZARA_TEST_PORT", &self.port).env("ZANZARA_TEST_LAST", if last { "yes" } else { "no" });
        Application(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("it starts"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Publishes numbers to the application until it is told to stop.
async fn send(client: Client, mut stop: tokio::sync::watch::Receiver<bool>) -> u64 {
    let (mut number, mut window) = (0, VecDeque::new());
    while !*stop.borrow_and_update() {
        while window.len() < WINDOW {
            window.push_back(client.try_publish("down", number.to_string(), QoS::ExactlyOnce).expect("there is room"));
            number += 1;
        }
        if let Some(delivery) = window.pop_front() {
            delivery.await.expect("it is acknowledged");
        }
        tokio::time::sleep(Duration::from_millis(1)).await; // the application has to come after
    }
    client.publish("down", END, QoS::ExactlyOnce).await.expect("it is acknowledged");
    number
}

/// What came from the application, so far.
fn take(stream: &mut Subscription, all: &mut [Vec<u64>; 2]) {
    while let Some(message) = stream.try_recv() {
        let number = std::str::from_utf8(&message.payload).expect("text").parse().expect("a number");
        all[usize::from(&*message.topic == "up/2")].push(number);
    }
}

async fn rounds(level: &'static str) {
    let broker = Broker::start(&["--log-level", "error"]);
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-client-{level}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path); // of an earlier process with the same number
    std::fs::create_dir_all(&path).expect("a folder");
    let place = Place { path, port: broker.port.clone(), level };
    let journal = place.path.join("journal");

    let other = builder(&broker.port, "other").connect().await.expect("it connects");
    let filters = [("up/1", QoS::ExactlyOnce), ("up/2", QoS::ExactlyOnce)];
    let mut stream = other.subscribe_many(filters, SubscribeOptions::default()).await.expect("it is subscribed");
    // The session of the application is there before anything is published to it.
    let first = builder(&broker.port, "app").connect().await.expect("it connects");
    first.subscribe("down", QoS::ExactlyOnce).await.expect("it is subscribed");
    first.end().await.expect("it ends");
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let sending = tokio::spawn(send(other.clone(), stopped));

    let mut random = from_environment("ZANZARA_KILL_SEED", 1);
    let mut all = [Vec::new(), Vec::new()];
    for _ in 0..from_environment("ZANZARA_KILL_ROUNDS", 10) {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut application = place.start(false);
        tokio::time::sleep(Duration::from_millis(150 + (random >> 33) % 350)).await;
        assert!(application.0.try_wait().expect("its state").is_none(), "it lives until it is killed");
        drop(application);
        take(&mut stream, &mut all);
    }
    stop.send(true).expect("it sends");
    let sent = sending.await.expect("it has sent");
    let mut application = place.start(true);
    let ended = tokio::time::timeout(PATIENCE, async {
        while application.0.try_wait().expect("its state").is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    ended.await.expect("what is left is done in time");
    assert!(application.0.wait().expect("its end").success());
    take(&mut stream, &mut all);

    check(&journal, &all, sent);
    let kept = Journal::read(&journal, "kept").len();
    println!("{level}: {kept} messages kept, {sent} received");
    assert!(kept > 50 && sent > 50, "there was load: {kept} and {sent}");
}

fn check(journal: &Path, [one, two]: &[Vec<u64>; 2], sent: u64) {
    let mut counts = BTreeMap::<u64, usize>::new();
    for number in one.iter().chain(two) {
        *counts.entry(*number).or_default() += 1;
    }
    for (number, _) in Journal::read(journal, "kept") {
        assert!(counts.contains_key(&number), "{number} was kept, and is lost");
    }
    assert!(two.is_sorted_by(|a, b| a < b), "QoS 2: doubled, or out of order: {two:?}");
    let mut seen = BTreeSet::new();
    assert!(one.iter().filter(|number| seen.insert(**number)).is_sorted(), "QoS 1: out of order: {one:?}");
    let received = Journal::read(journal, "in");
    let expected = (0..sent).map(|number| number.to_string()).chain([END.to_owned()]);
    assert!(received.iter().map(|(_, text)| text.clone()).eq(expected), "lost, doubled or out of order: {received:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_client_had_kept_arrives_at_the_level_os() {
    rounds("os").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_client_had_kept_arrives_at_the_level_disk() {
    rounds("disk").await;
}
