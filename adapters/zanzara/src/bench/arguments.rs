//! The command line of `zanzara bench`.
//!
//! Invariant: what cannot be measured is refused before anything connects.
use super::wire::{Protocol, STAMP};
use clap::{Args, Subcommand};
use std::time::Duration;

/// What to measure.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum BenchCommand {
    /// Publishers, each with a subscriber of its own
    PointToPoint {
        /// Publishers, and as many subscribers
        #[arg(long, default_value_t = 10, value_name = "N", value_parser = clients())]
        pairs: u32,
        #[command(flatten)]
        flow: FlowArgs,
    },
    /// Publishers to one subscriber
    FanIn {
        /// Publishers
        #[arg(long, default_value_t = 200, value_name = "N", value_parser = clients())]
        publishers: u32,
        #[command(flatten)]
        flow: FlowArgs,
    },
    /// One publisher to subscribers that each get everything
    FanOut {
        /// Subscribers
        #[arg(long, default_value_t = 100, value_name = "N", value_parser = clients())]
        subscribers: u32,
        #[command(flatten)]
        flow: FlowArgs,
    },
    /// Publishers to the members of one shared subscription
    Shared {
        /// Publishers
        #[arg(long, default_value_t = 50, value_name = "N", value_parser = clients())]
        publishers: u32,
        /// Members of the group
        #[arg(long, default_value_t = 4, value_name = "N", value_parser = clients())]
        members: u32,
        /// Name of the group
        #[arg(long, default_value = "bench", value_name = "NAME")]
        group: String,
        #[command(flatten)]
        flow: FlowArgs,
    },
    /// How long messages take at a given rate, corrected for coordinated omission
    Latency {
        /// Publishers, and as many subscribers, that share the rate
        #[arg(long, default_value_t = 10, value_name = "N", value_parser = clients())]
        pairs: u32,
        #[command(flatten)]
        flow: FlowArgs,
    },
    /// Many connections at once: how fast they are made, and whether all answer a ping
    Connections {
        /// Connections
        #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clients())]
        count: u32,
        /// Connections that are on their way at once
        #[arg(long, default_value_t = 64, value_name = "N", value_parser = clients())]
        at_once: u32,
        /// Connections begun in a second, at most [default: no limit]
        #[arg(long, value_name = "RATE", value_parser = rate)]
        rate: Option<f64>,
        /// How long they stay before they are pinged
        #[arg(long, default_value = "0s", value_name = "TIME", value_parser = crate::config::duration)]
        hold: Duration,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Many subscriptions: how fast they are made, and how fast messages find their way among them
    Subscriptions {
        /// Subscriptions; rounded up to a multiple of 147 if they are mixed
        #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = things())]
        count: u32,
        /// Clients that share them
        #[arg(long, default_value_t = 100, value_name = "N", value_parser = clients())]
        clients: u32,
        /// Filters without wildcards only [default: 68 % of them, 27 % with `+`, 5 % with `#`, 12 for each topic]
        #[arg(long)]
        exact: bool,
        /// Filters in one SUBSCRIBE
        #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
        batch: u32,
        /// Publishers
        #[arg(long, default_value_t = 10, value_name = "N", value_parser = clients())]
        publishers: u32,
        #[command(flatten)]
        flow: FlowArgs,
    },
    /// Retained messages: stores them, has them sent to a new subscriber, and removes them
    Retained {
        /// Messages, each with a topic of its own
        #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = things())]
        count: u32,
        /// Publishers
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = clients())]
        publishers: u32,
        /// Subscribers that receive all of them at once
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = clients())]
        subscribers: u32,
        /// Leave them in the broker
        #[arg(long)]
        keep: bool,
        #[command(flatten)]
        message: MessageArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Sessions that are offline while messages come: what a publish costs, and how fast they get them afterwards
    Offline {
        /// Numbers of sessions, such as 1,1000,100000; each is measured
        #[arg(long, default_value = "1", value_delimiter = ',', value_name = "LIST", value_parser = things())]
        sessions: Vec<u32>,
        /// Messages for each of them
        #[arg(long, default_value_t = 1000, value_name = "N", value_parser = things())]
        messages: u32,
        /// Sessions that are connected at once
        #[arg(long, default_value_t = 100, value_name = "N", value_parser = clients())]
        at_once: u32,
        #[command(flatten)]
        message: MessageArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
}

/// Which broker, and as whom.
#[derive(Args, Clone, Debug)]
pub(crate) struct TargetArgs {
    /// Broker: mqtt://[user[:password]@]host[:port]
    #[arg(default_value = "mqtt://127.0.0.1:1883", value_name = "URL")]
    pub(super) url: String,
    /// Protocol version: 311 or 5
    #[arg(short = 'V', long = "protocol-version", default_value = "311", value_name = "VERSION", value_parser = protocol)]
    pub(super) protocol: Protocol,
    /// User name; overrides the URL's
    #[arg(short, long, value_name = "NAME")]
    pub(super) username: Option<String>,
    /// Password; overrides the URL's
    #[arg(short = 'P', long, value_name = "PASSWORD", requires = "username")]
    pub(super) password: Option<String>,
    /// What all client identifiers begin with [default: bench-PID]
    #[arg(short = 'i', long, value_name = "TEXT")]
    pub(super) client_id_prefix: Option<String>,
    /// First level of all topics
    #[arg(short, long, default_value = "bench", value_name = "TOPIC", value_parser = topic)]
    pub(super) topic_prefix: String,
    /// Process of the broker, to tell its processor time and memory
    #[arg(long, value_name = "PID")]
    pub(super) pid: Option<u32>,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// What a message is like.
#[derive(Args, Clone, Debug)]
pub(crate) struct MessageArgs {
    /// Quality of service: 0, 1 or 2 [default: 0; offline 1]
    #[arg(short, long, value_name = "QOS", value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(super) qos: Option<u8>,
    /// Bytes of payload
    #[arg(short, long, default_value_t = 64, value_name = "BYTES", value_parser = size)]
    pub(super) size: usize,
    /// Messages of a publisher that may be on their way [default: 100; at a rate 10000]
    // Packet ids are the sequence numbers modulo 65535: all that are on their way must differ.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=30_000))]
    pub(super) window: Option<u64>,
}

/// How messages flow, and for how long.
#[derive(Args, Clone, Debug)]
pub(crate) struct FlowArgs {
    #[command(flatten)]
    pub(super) message: MessageArgs,
    /// Messages a second of all publishers together; with it delays are measured [default: as fast as it goes; latency 1000]
    #[arg(short, long, value_name = "RATE", value_parser = rate)]
    pub(super) rate: Option<f64>,
    /// Sleep until a message is due rather than look for it without pause; costs precision, saves a processor
    #[arg(long)]
    pub(super) no_spin: bool,
    /// Topics of each publisher, in turn; more than one, and order is not checked
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(super) topics: u64,
    /// Time of the measurement
    #[arg(short, long, default_value = "10s", value_name = "TIME", value_parser = crate::config::duration)]
    pub(super) duration: Duration,
    /// Time before it
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = crate::config::duration)]
    pub(super) warm_up: Duration,
    /// Measure this many messages of each publisher instead, without warm-up
    #[arg(short = 'n', long, value_name = "N", conflicts_with_all = ["duration", "warm_up"],
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) messages: Option<u64>,
    /// The subscribers have sessions that last, and are removed at the end
    #[arg(long)]
    pub(super) persistent: bool,
    /// Subscribers beside the first, with its filter, that never read: whether the others suffer
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(super) frozen: u16,
    /// Threads of the load
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) threads: u16,
    #[command(flatten)]
    pub(super) target: TargetArgs,
}

/// A number of clients. Stamps have 32 bits for it, and a machine has fewer files.
fn clients() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=1_000_000)
}

fn things() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=100_000_000)
}

fn size(text: &str) -> Result<usize, String> {
    let range = STAMP..=1 << 27;
    text.parse().ok().filter(|size| range.contains(size)).ok_or(format!("expected {STAMP} to {}", range.end()))
}

fn rate(text: &str) -> Result<f64, String> {
    let possible = |rate: &f64| (0.001..=1e9).contains(rate);
    text.parse().ok().filter(possible).ok_or_else(|| "expected a number from 0.001 to 1e9".to_owned())
}

fn topic(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 1000 || text.starts_with('$') || text.contains(['+', '#', '\0']) {
        return Err("expected a topic of at most 1000 bytes that does not begin with `$`".to_owned());
    }
    Ok(text.to_owned())
}

fn protocol(text: &str) -> Result<Protocol, String> {
    match text.to_ascii_lowercase().trim_start_matches("mqttv") {
        "311" | "3.1.1" | "4" => Ok(Protocol::V311),
        "5" | "5.0" => Ok(Protocol::V5),
        _ => Err("expected 311 or 5".to_owned()),
    }
}
