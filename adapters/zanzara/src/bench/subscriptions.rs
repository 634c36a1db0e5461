//! Many subscriptions, and the way of messages among them.
use super::arguments::FlowArgs;
use super::flow::{self, Flow};
use super::hello::{Hello, Target};
use super::herd::{Entry, Herd, Script, Step};
use super::plan::Shape;
use super::process::Usage;
use super::progress::Progress;
use super::report::{self, Delay, Figure, Report};
use super::spread::{SITE, Spread};
use super::wire::{self, Frame, Protocol};
use super::{failed, plan, settings, times, words};
use crate::exit::Failure;
use std::io;

/// How the subscriptions lie, if they can.
pub(super) fn spread(count: u32, clients: u32, publishers: u32, exact: bool) -> Result<Spread, Failure> {
    let mixed = !exact;
    let (count, clients) = (count as usize, clients as usize);
    if mixed && clients < Spread::MIXED_CLIENTS {
        let least = Spread::MIXED_CLIENTS;
        return Err(Failure::usage(format_args!(
            "--clients: mixed subscriptions take {least} at least; or use --exact"
        )));
    }
    if count < clients {
        return Err(Failure::usage("--count: fewer subscriptions than --clients"));
    }
    let subscriptions = if mixed { count.next_multiple_of(SITE) } else { count };
    Ok(Spread { publishers: publishers as usize, clients, subscriptions, mixed })
}

/// Clients subscribe one batch after the other.
struct Subscriber<'a> {
    spread: &'a Spread,
    pattern: String,
    /// Clients before the first.
    first: usize,
    batch: usize,
    qos: u8,
    protocol: Protocol,
    /// For each client, the numbers of its subscriptions that are not asked for yet.
    todo: Vec<Vec<u32>>,
    granted: u64,
}

impl Subscriber<'_> {
    fn next(&mut self, client: usize, out: &mut Vec<u8>) -> bool {
        let todo = &mut self.todo[client - self.first];
        let batch = todo.split_off(todo.len() - todo.len().min(self.batch));
        let filters: Vec<String> =
            batch.iter().map(|number| self.spread.subscription(*number as usize, &self.pattern).1).collect();
        if !filters.is_empty() {
            wire::subscribe(1, &filters, self.qos, self.protocol, out);
        }
        !filters.is_empty()
    }
}

impl Script for Subscriber<'_> {
    fn begin(&mut self, client: usize, out: &mut Vec<u8>) {
        self.next(client, out);
    }

    fn packet(&mut self, client: usize, frame: &Frame<'_>, out: &mut Vec<u8>) -> io::Result<Step> {
        self.granted += frame.subscribed(self.qos, self.protocol)? as u64;
        Ok(if self.next(client, out) { Step::More } else { Step::Done })
    }
}

/// Subscribes, then measures the flow.
pub(super) fn run(spread: &Spread, batch: usize, flow: &FlowArgs) -> Result<Report, Failure> {
    if flow.topics != 1 || flow.persistent || flow.frozen > 0 {
        return Err(Failure::usage("--topics, --persistent and --frozen do not go with `subscriptions`"));
    }
    let target = Target::new(&flow.target)?;
    let mut plan = plan(Shape::Spread(spread.clone()), flow, &target);
    plan.topics = spread.topics();
    let settings = settings(&target, Some((&flow.message, plan.qos, plan.window)), words(&plan));
    let mut progress = Progress::new();
    let measured = subscribe(spread, batch, (plan.qos, plan.window), &target, &mut progress).and_then(
        |(herd, mut figures, mut delays)| {
            let found = flow::run(&plan, herd.into_connections()?, times(flow), target.pid, &mut progress)?;
            figures.extend(found.figures);
            delays.extend(found.delays);
            Ok(Flow { figures, delays, check: found.check })
        },
    );
    let Flow { figures, delays, check } = measured.map_err(|error| failed(&target, &error))?;
    Ok(Report { command: "subscriptions", settings, figures, delays, check })
}

fn subscribe(
    spread: &Spread,
    batch: usize,
    (qos, window): (u8, u64),
    target: &Target,
    progress: &mut Progress,
) -> io::Result<(Herd, Vec<Figure>, Vec<Delay>)> {
    let mut herd = Herd::new(target.address)?;
    let first = spread.publishers;
    let clients = first..first + spread.clients;
    let mut hello = Hello { qos, window, ..Hello::new(target) };
    progress.begin("connecting");
    herd.run(0..clients.end, flow::AT_ONCE, &mut hello, progress)?.complete("connecting")?;

    let pattern = spread.pattern(&target.topic);
    let mut todo = vec![Vec::new(); spread.clients];
    for number in 0..spread.subscriptions {
        todo[spread.subscription(number, &pattern).0].push(number as u32);
    }
    let mut script = Subscriber { spread, pattern, first, batch, qos, protocol: target.protocol, todo, granted: 0 };
    let usage = || target.pid.and_then(Usage::of);
    let before = usage();
    progress.begin("subscribing");
    let everybody = Entry { at_once: clients.len(), rate: None };
    let made = herd.run(clients, everybody, &mut script, progress)?.complete("subscribing")?;
    let after = usage();

    let seconds = made.elapsed.as_secs_f64();
    let mut figures = Vec::new();
    figures.extend(report::rate("subscribed", script.granted, seconds, "subscriptions/s"));
    figures.extend(report::costs("broker CPU subscribing", "µs/subscription", script.granted, before, after));
    figures.extend(report::memory("memory per subscription", script.granted, before, after));
    Ok((herd, figures, Vec::new()))
}
