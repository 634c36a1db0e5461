//! kill -9 at random moments under load: nothing acknowledged is lost, QoS 2 arrives exactly once, order is kept.
//!
//! `ZANZARA_KILL_ROUNDS` sets the number of rounds (default 10), `ZANZARA_KILL_SEED` the moments.
mod cli_support;

use cli_support::{Broker, PATIENCE, Running, Scratch};
use mqtt_tokio::client::{Backoff, Client, Messages, QoS, Received, SubscribeOptions, Subscription};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

/// Messages that are on their way at once, at each QoS.
const WINDOW: usize = 30;
/// What ends a stream.
const END: &[u8] = b"end";

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// A data folder, removed when it is dropped.
struct Data(PathBuf);

impl Data {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path); // of an earlier process with the same number
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a path in UTF-8")
    }

    /// A broker on this folder; on any port for 0.
    fn broker(&self, port: &str, durability: &str, more: &[&str]) -> Broker {
        let url = format!("mqtt://127.0.0.1:{port}");
        let arguments = ["--listen", &url, "--data", self.path(), "--durability", durability, "--log-level", "error"];
        Broker::from(Running::start(&[&arguments, more].concat()))
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn client(port: &str, id: &str) -> Client {
    let backoff = Backoff { min: Duration::from_millis(20), max: Duration::from_millis(100), ..Backoff::default() };
    Client::builder(&format!("mqtt://127.0.0.1:{port}"))
        .client_id(id)
        .persistent(Duration::from_hours(1))
        .capacity(1_000_000)
        .reconnect(backoff)
        .connect()
        .await
        .expect("it connects")
}

/// Numbers messages from 0 and publishes them until it is told to stop; gives how many there were. All of them are
/// acknowledged in the end.
async fn publish(client: Client, topic: &str, qos: QoS, mut stop: tokio::sync::watch::Receiver<bool>) -> u64 {
    let mut number = 0;
    let mut window = VecDeque::new();
    while !*stop.borrow_and_update() {
        while window.len() < WINDOW {
            window.push_back(client.try_publish(topic, number.to_string(), qos).expect("there is room"));
            number += 1;
        }
        if let Some(delivery) = window.pop_front() {
            delivery.await.expect("it is acknowledged in the end");
        }
    }
    for delivery in window {
        delivery.await.expect("it is acknowledged in the end");
    }
    client.publish(topic, END, qos).await.expect("the end is acknowledged");
    number
}

/// Where messages come from.
enum Source {
    Subscribed(Subscription),
    Kept(Messages),
}

impl Source {
    async fn next(&mut self) -> Option<Received> {
        match self {
            Self::Subscribed(stream) => stream.recv().await,
            Self::Kept(stream) => stream.recv().await,
        }
    }
}

/// What came, up to the ends of both topics.
async fn collect(mut source: Source) -> [Vec<u64>; 2] {
    let mut all = [Vec::new(), Vec::new()];
    let mut ended = [false; 2];
    while ended != [true; 2] {
        let received = tokio::time::timeout(PATIENCE, source.next()).await;
        let message = received.expect("it goes on").expect("the client goes on");
        let which = usize::from(&*message.topic == "two");
        if message.payload == END {
            ended[which] = true;
        } else {
            let text = std::str::from_utf8(&message.payload).expect("a number");
            all[which].push(text.parse().expect("a number"));
        }
    }
    all
}

/// QoS 1: each at least once, the first time in order. QoS 2: each once, in order.
fn check(who: &str, [one, two]: &[Vec<u64>; 2], published: [u64; 2]) {
    let mut next = 0;
    for number in one {
        assert!(*number <= next, "{who}, QoS 1: {number} came where {next} is missing");
        next = next.max(number + 1);
    }
    assert_eq!(next, published[0], "{who}, QoS 1: acknowledged messages are lost at the end");
    for (expected, number) in (0..).zip(two) {
        assert_eq!(*number, expected, "{who}, QoS 2: lost, doubled or out of order");
    }
    assert_eq!(two.len() as u64, published[1], "{who}, QoS 2: lost or doubled at the end");
}

async fn subscribe(client: &Client) -> Subscription {
    let filters = [("one", QoS::ExactlyOnce), ("two", QoS::ExactlyOnce)];
    client.subscribe_many(filters, SubscribeOptions::default()).await.expect("it is subscribed")
}

async fn rounds(name: &str, durability: &str, more: &[&str]) {
    let data = Data::new(name);
    let mut broker = data.broker("0", durability, more);
    let port = broker.port.clone();

    // One reads all the time, one is away until the end.
    let sleeper = client(&port, "sleeper").await;
    subscribe(&sleeper).await;
    sleeper.end().await.expect("it ends");
    let reader = client(&port, "reader").await;
    let reading = tokio::spawn(collect(Source::Subscribed(subscribe(&reader).await)));
    let publisher = client(&port, "publisher").await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let one = tokio::spawn(publish(publisher.clone(), "one", QoS::AtLeastOnce, stopped.clone()));
    let two = tokio::spawn(publish(publisher.clone(), "two", QoS::ExactlyOnce, stopped));

    let mut random = from_environment("ZANZARA_KILL_SEED", 1);
    for round in 0..from_environment("ZANZARA_KILL_ROUNDS", 10) {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        tokio::time::sleep(Duration::from_millis(20 + (random >> 33) % 250)).await;
        broker.running.child.kill().expect("it is killed"); // SIGKILL
        broker.running.child.wait().expect("it is dead");
        broker = data.broker(&port, durability, more);
        let banner = broker.banner.join("\n");
        assert!(banner.contains("Restored in") && banner.contains(data.path()), "round {round}: {banner}");
    }
    stop.send(true).expect("they publish");
    let published = [one.await.expect("it published"), two.await.expect("it published")];
    check("the reader", &reading.await.expect("it read"), published);

    let sleeper = client(&port, "sleeper").await;
    check("the sleeper", &collect(Source::Kept(sleeper.messages())).await, published);
    println!("{name}: {published:?} messages at QoS 1 and 2");
    assert!(published.iter().all(|count| *count > 100), "there was load: {published:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_at_the_level_os() {
    rounds("os", "os", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_at_the_level_disk() {
    rounds("disk", "disk", &[]).await;
}

/// What is queued is on the disk alone, and read back while the broker is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_with_little_memory() {
    let config = Scratch::new("kill.toml", "[broker]\nmax_memory_bytes = \"64KB\"\n");
    rounds("spilled", "os", &["--config", config.path()]).await;
}
