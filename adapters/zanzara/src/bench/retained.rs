//! Retained messages: stored, sent to new subscribers, removed.
use super::arguments::{MessageArgs, TargetArgs};
use super::flow::AT_ONCE;
use super::hello::{Hello, Target};
use super::herd::{Entry, Herd, Script, Step};
use super::process::Usage;
use super::progress::Progress;
use super::report::{self, Check, Figure, Report};
use super::sender::{Kind, Sender, first_topic};
use super::wire::{self, Frame};
use super::{WINDOW, failed, settings};
use crate::exit::Failure;
use std::io;

/// Subscribes everything at once and is done when it has all of it.
struct Receiver<'a> {
    target: &'a Target,
    filter: String,
    size: usize,
    qos: u8,
    count: u64,
    publishers: usize,
    /// Clients before the first.
    first: usize,
    /// For each subscriber: which messages it has, and how many.
    seen: Vec<(Vec<bool>, u64)>,
    duplicated: u64,
    foreign: u64,
}

impl Receiver<'_> {
    /// Which of the messages a stamp means.
    fn number(&self, stamp: wire::Origin) -> Option<usize> {
        let publisher = stamp.publisher as usize;
        if stamp.run != self.target.run || publisher >= self.publishers {
            return None;
        }
        let number = first_topic(self.count, publisher, self.publishers).checked_add(stamp.sequence)?;
        (number < first_topic(self.count, publisher + 1, self.publishers)).then_some(number as usize)
    }
}

impl Script for Receiver<'_> {
    fn begin(&mut self, _: usize, out: &mut Vec<u8>) {
        wire::subscribe(1, std::slice::from_ref(&self.filter), self.qos, self.target.protocol, out);
    }

    fn packet(&mut self, client: usize, frame: &Frame<'_>, out: &mut Vec<u8>) -> io::Result<Step> {
        match frame.kind {
            wire::SUBACK => {
                frame.subscribed(self.qos, self.target.protocol)?;
            }
            wire::PUBLISH => {
                let message = frame.message(self.size, self.target.protocol)?;
                out.extend(message.reply().into_iter().flatten());
                // It has to be marked as retained: nothing is published meanwhile.
                match message.stamp.filter(|_| message.retain).and_then(|stamp| self.number(stamp)) {
                    None => self.foreign += 1,
                    Some(number) => {
                        let (seen, count) = &mut self.seen[client - self.first];
                        if std::mem::replace(&mut seen[number], true) {
                            self.duplicated += 1;
                        } else {
                            *count += 1;
                        }
                    }
                }
            }
            _ => out.extend(frame.acknowledge()?.0.into_iter().flatten()),
        }
        let complete = self.seen[client - self.first].1 == self.count;
        Ok(if complete { Step::Done } else { Step::More })
    }
}

/// Stores, receives and removes.
pub(super) fn run(
    count: u32,
    publishers: usize,
    subscribers: usize,
    keep: bool,
    message: &MessageArgs,
    arguments: &TargetArgs,
) -> Result<Report, Failure> {
    let target = Target::new(arguments)?;
    let what = format!("{count} messages of {publishers} publishers, to {subscribers} new subscribers");
    let qos = message.qos.unwrap_or(0);
    let settings = settings(&target, Some((message, qos, message.window.unwrap_or(WINDOW))), what);
    let parts = Parts { count: u64::from(count), publishers, subscribers, keep, qos };
    let (figures, check) = measure(&parts, message, &target).map_err(|error| failed(&target, &error))?;
    Ok(Report { command: "retained", settings, figures, delays: Vec::new(), check })
}

struct Parts {
    count: u64,
    publishers: usize,
    subscribers: usize,
    keep: bool,
    qos: u8,
}

fn measure(parts: &Parts, message: &MessageArgs, target: &Target) -> io::Result<(Vec<Figure>, Check)> {
    let Parts { count, publishers, subscribers, keep, qos } = *parts;
    let mut progress = Progress::new();
    let mut herd = Herd::new(target.address)?;
    let mut hello = Hello { qos, window: message.window.unwrap_or(WINDOW), ..Hello::new(target) };
    progress.begin("connecting");
    let all = publishers + subscribers;
    herd.run(0..all, AT_ONCE, &mut hello, &mut progress)?.complete("connecting")?;
    let usage = || target.pid.and_then(Usage::of);
    let mut figures = Vec::new();
    let everybody = Entry { at_once: all, rate: None };

    let pattern = format!("{}/retained/{}", target.topic, wire::digits(count));
    let kind = Kind { message, qos, retain: true, empty: false };
    let mut sender = Sender::new(target, &pattern, count, publishers, kind);
    progress.begin("storing");
    let before = usage();
    let stored = herd.run(0..publishers, everybody, &mut sender, &mut progress)?.complete("storing")?;
    let after = usage();
    figures.extend(report::rate("stored", count, stored.elapsed.as_secs_f64(), "messages/s"));
    figures.extend(report::costs("broker CPU storing", "µs/message", count, before, after));
    figures.extend(report::memory("memory per message", count, before, after));

    let mut receiver = Receiver {
        target,
        filter: format!("{}/retained/#", target.topic),
        size: message.size,
        qos,
        count,
        publishers,
        first: publishers,
        seen: vec![(vec![false; count as usize], 0); subscribers],
        duplicated: 0,
        foreign: 0,
    };
    progress.begin("receiving");
    let before = usage();
    let received = herd.run(publishers..all, everybody, &mut receiver, &mut progress)?;
    received.tell("receiving");
    let after = usage();
    let delivered = receiver.seen.iter().map(|(_, count)| count).sum();
    figures.extend(report::rate("received", delivered, received.elapsed.as_secs_f64(), "messages/s"));
    figures.extend(report::costs("broker CPU sending", "µs/message", delivered, before, after));
    let check = Check {
        published: sender.sent(),
        expected: count * subscribers as u64,
        delivered,
        duplicated: receiver.duplicated,
        foreign: receiver.foreign,
        unacknowledged: sender.unacknowledged(),
        failed_clients: (received.failed + received.hanging) as u64,
        ..Check::default()
    };
    if !keep {
        // The subscribers need not hear of it.
        herd.close(publishers..all);
        let mut clear = Sender::new(target, &pattern, count, publishers, Kind { empty: true, ..kind });
        progress.begin("removing");
        let removed = herd.run(0..publishers, everybody, &mut clear, &mut progress)?;
        // What was measured before stays measured.
        removed.tell("removing");
        if removed.done == publishers {
            figures.extend(report::rate("removed", count, removed.elapsed.as_secs_f64(), "messages/s"));
        }
    }
    herd.leave();
    Ok((figures, check.judged()))
}
