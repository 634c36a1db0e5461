//! Sessions that are offline while messages come, and then get them.
use super::arguments::{MessageArgs, TargetArgs};
use super::check::{Arrival, Order};
use super::flow::AT_ONCE;
use super::hello::{Hello, Target};
use super::herd::{Entry, Herd, Script, Step};
use super::process::Usage;
use super::progress::Progress;
use super::report::{self, Check, Figure, Report};
use super::sender::{Kind, Sender};
use super::wire::{self, Frame, Keep};
use super::{WINDOW, failed, settings};
use crate::exit::Failure;
use std::io;

/// What the names of the sessions begin with.
const ROLE: &str = "offline-";

/// Comes back and leaves with everything.
struct Drain<'a> {
    target: &'a Target,
    size: usize,
    qos: u8,
    messages: u64,
    order: Order,
    /// For each session: messages that it has, and how many of them are settled.
    received: Vec<(u64, u64)>,
    duplicated: u64,
    reordered: u64,
    foreign: u64,
}

impl Drain<'_> {
    fn receive(&mut self, client: usize, message: &wire::Message) {
        let own = message.stamp.filter(|stamp| stamp.run == self.target.run && stamp.sequence < self.messages);
        let Some(stamp) = own else {
            self.foreign += 1;
            return;
        };
        match self.order.arrive(client, stamp.sequence) {
            Arrival::Duplicate => {
                self.duplicated += 1;
                return;
            }
            Arrival::Late => self.reordered += 1,
            Arrival::Next | Arrival::Skipped(_) => {}
        }
        self.received[client].0 += 1;
    }
}

impl Script for Drain<'_> {
    fn begin(&mut self, client: usize, out: &mut Vec<u8>) {
        self.target.connect(&format!("{ROLE}{client}"), Keep::Resumed, out);
    }

    fn packet(&mut self, client: usize, frame: &Frame<'_>, out: &mut Vec<u8>) -> io::Result<Step> {
        match frame.kind {
            wire::CONNACK => {
                if !frame.connected()? {
                    return Err(io::Error::other("the broker has lost a session"));
                }
            }
            wire::PUBLISH => {
                let message = frame.message(self.size, self.target.protocol)?;
                self.receive(client, &message);
                let reply = message.reply();
                if self.qos < 2 {
                    self.received[client].1 += 1;
                }
                out.extend(reply.into_iter().flatten());
            }
            _ => {
                out.extend(frame.acknowledge()?.0.into_iter().flatten());
                self.received[client].1 += 1;
            }
        }
        let (received, settled) = self.received[client];
        Ok(if received == self.messages && settled >= received { Step::Leave } else { Step::More })
    }
}

/// Measures each number of sessions.
pub(super) fn run(
    sessions: &[u32],
    messages: u32,
    at_once: usize,
    message: &MessageArgs,
    arguments: &TargetArgs,
) -> Result<Report, Failure> {
    let qos = message.qos.unwrap_or(1);
    if qos == 0 {
        return Err(Failure::usage("--qos: brokers need not keep messages of QoS 0; use 1 or 2"));
    }
    let target = Target::new(arguments)?;
    let numbers = sessions.iter().map(ToString::to_string).collect::<Vec<String>>().join(", ");
    let what = format!("{numbers} sessions offline, {messages} messages for each, {at_once} connected at once");
    let settings = settings(&target, Some((message, qos, message.window.unwrap_or(WINDOW))), what);
    let mut progress = Progress::new();
    let (mut figures, mut check) = (Vec::new(), Check::default());
    for count in sessions {
        let parts = Parts { sessions: *count as usize, messages: u64::from(messages), at_once, qos };
        let found = measure(&parts, message, &target, &mut progress).map_err(|error| failed(&target, &error))?;
        figures.extend(found.0);
        check.published += found.1.published;
        check.expected += found.1.expected;
        check.delivered += found.1.delivered;
        check.duplicated += found.1.duplicated;
        check.reordered += found.1.reordered;
        check.foreign += found.1.foreign;
        check.unacknowledged += found.1.unacknowledged;
        check.failed_clients += found.1.failed_clients;
    }
    Ok(Report { command: "offline", settings, figures, delays: Vec::new(), check: check.judged() })
}

struct Parts {
    sessions: usize,
    messages: u64,
    at_once: usize,
    qos: u8,
}

fn measure(
    parts: &Parts,
    message: &MessageArgs,
    target: &Target,
    progress: &mut Progress,
) -> io::Result<(Vec<Figure>, Check)> {
    let Parts { sessions, messages, at_once, qos } = *parts;
    let entry = Entry { at_once, rate: None };
    let mut herd = Herd::new(target.address)?;
    let topic = format!("{}/offline", target.topic);
    let filter = |_| Some(topic.clone());
    let named = |name: &str| format!("{name}, {sessions} offline");
    progress.begin("making sessions");
    let mut make = Hello { keep: Keep::New, role: ROLE, qos, filter: &filter, end: Step::Leave, ..Hello::new(target) };
    herd.run(0..sessions, entry, &mut make, progress)?.complete("making sessions")?;

    let mut publisher = Herd::new(target.address)?;
    let mut hello = Hello { role: "publisher", qos, window: message.window.unwrap_or(WINDOW), ..Hello::new(target) };
    publisher.run(0..1, AT_ONCE, &mut hello, progress)?.complete("connecting")?;
    let usage = || target.pid.and_then(Usage::of);
    let mut figures = Vec::new();
    let mut sender = Sender::new(target, &topic, messages, 1, Kind { message, qos, retain: false, empty: false });
    progress.begin("publishing");
    let before = usage();
    let queued = publisher.run(0..1, AT_ONCE, &mut sender, progress)?.complete("publishing")?;
    let after = usage();
    publisher.leave();
    figures.extend(report::rate(named("published"), messages, queued.elapsed.as_secs_f64(), "messages/s"));
    figures.extend(report::costs(named("broker CPU publishing"), "µs/message", messages, before, after));
    figures.extend(report::memory(named("memory per message"), messages, before, after));

    let mut drain = Drain {
        target,
        size: message.size,
        qos,
        messages,
        order: Order::new(sessions),
        received: vec![(0, 0); sessions],
        duplicated: 0,
        reordered: 0,
        foreign: 0,
    };
    progress.begin("draining");
    let before = usage();
    let drained = herd.run(0..sessions, entry, &mut drain, progress)?;
    let after = usage();
    let delivered = drain.received.iter().map(|(count, _)| count).sum();
    figures.extend(report::rate(named("drained"), delivered, drained.elapsed.as_secs_f64(), "messages/s"));
    figures.extend(report::costs(named("broker CPU draining"), "µs/message", delivered, before, after));
    drained.tell("draining");
    herd.leave();

    progress.begin("removing sessions");
    let mut herd = Herd::new(target.address)?;
    let mut remove = Hello { role: ROLE, end: Step::Leave, ..Hello::new(target) };
    herd.run(0..sessions, entry, &mut remove, progress)?.complete("removing sessions")?;
    let check = Check {
        published: messages,
        expected: messages * sessions as u64,
        delivered,
        duplicated: drain.duplicated,
        reordered: drain.reordered,
        foreign: drain.foreign,
        unacknowledged: sender.unacknowledged(),
        failed_clients: (drained.failed + drained.hanging) as u64,
        ..Check::default()
    };
    Ok((figures, check))
}
