//! `zanzara bench`: loads any MQTT broker over the network, and checks what it does. See `docs/bench.md`.
//!
//! Invariants: it shares no code with the broker and the client beside it, apart from reading URLs; and a measurement in which something was lost,
//! repeated or out of order ends with an exit code that says so.
mod arguments;
mod check;
mod connections;
mod engine;
mod flow;
mod hello;
mod herd;
mod offline;
mod pace;
mod plan;
mod process;
mod progress;
mod report;
mod retained;
mod sender;
mod socket;
mod spread;
mod subscriptions;
mod wire;

pub(crate) use arguments::BenchCommand;

use crate::exit::Failure;
use arguments::{FlowArgs, MessageArgs, TargetArgs};
use flow::Times;
use hello::Target;
use plan::{Plan, Shape};
use progress::Progress;
use report::{Report, Settings};
use std::io;

/// Messages a second of `latency`, unless it is told.
const LATENCY_RATE: f64 = 1000.0;

/// Measures, prints what it found, and fails if that is not sound.
pub(crate) fn run(command: &BenchCommand) -> Result<(), Failure> {
    crate::broker::raise_open_files();
    use BenchCommand::*;
    let report = match command {
        PointToPoint { pairs, flow } => flow_of("point-to-point", Shape::Pairs(*pairs as usize), flow),
        FanIn { publishers, flow } => flow_of("fan-in", Shape::FanIn(*publishers as usize), flow),
        FanOut { subscribers, flow } => flow_of("fan-out", Shape::FanOut(*subscribers as usize), flow),
        Shared { publishers, members, group, flow } => {
            let (publishers, members) = (*publishers as usize, *members as usize);
            flow_of("shared", Shape::Shared { publishers, members, group: group.clone() }, flow)
        }
        Latency { pairs, flow } => {
            let flow = FlowArgs { rate: flow.rate.or(Some(LATENCY_RATE)), ..flow.clone() };
            flow_of("latency", Shape::Pairs(*pairs as usize), &flow)
        }
        Connections { count, at_once, rate, hold, target } => {
            connections::run(*count as usize, *at_once as usize, *rate, *hold, target)
        }
        Subscriptions { count, clients, exact, batch, publishers, flow } => {
            let spread = subscriptions::spread(*count, *clients, *publishers, *exact)?;
            subscriptions::run(&spread, *batch as usize, flow)
        }
        Retained { count, publishers, subscribers, keep, message, target } => {
            retained::run(*count, *publishers as usize, *subscribers as usize, *keep, message, target)
        }
        Offline { sessions, messages, at_once, message, target } => {
            offline::run(sessions, *messages, *at_once as usize, message, target)
        }
    }?;
    let target = command.target();
    // A closed output is no reason to call the broker unsound.
    let text = if target.json { report.json() + "\n" } else { report.text() };
    let _ = io::Write::write_all(&mut io::stdout(), text.as_bytes());
    if report.check.sound {
        Ok(())
    } else {
        Err(Failure::run(format_args!("{}: {}", report.command, report.check.faults())))
    }
}

impl BenchCommand {
    fn target(&self) -> &TargetArgs {
        match self {
            Self::PointToPoint { flow, .. }
            | Self::FanIn { flow, .. }
            | Self::FanOut { flow, .. }
            | Self::Shared { flow, .. }
            | Self::Latency { flow, .. }
            | Self::Subscriptions { flow, .. } => &flow.target,
            Self::Connections { target, .. } | Self::Retained { target, .. } | Self::Offline { target, .. } => target,
        }
    }
}

impl Shape {
    fn words(&self) -> String {
        match self {
            Self::Pairs(count) => format!("{count} publishers, each to a subscriber of its own"),
            Self::FanIn(count) => format!("{count} publishers to one subscriber"),
            Self::FanOut(count) => format!("one publisher to {count} subscribers"),
            Self::Shared { publishers, members, .. } => {
                format!("{publishers} publishers to {members} members of a shared subscription")
            }
            Self::Spread(spread) => format!(
                "{} publishers, {} subscriptions of {} clients, {} of them for each topic",
                spread.publishers,
                spread.subscriptions,
                spread.clients,
                spread.copies()
            ),
        }
    }
}

/// The plan of a flow.
fn plan(shape: Shape, flow: &FlowArgs, target: &Target) -> Plan {
    let message = &flow.message;
    let window = if flow.rate.is_some() { 10_000 } else { WINDOW };
    Plan {
        shape,
        qos: message.qos.unwrap_or(0),
        size: message.size,
        window: message.window.unwrap_or(window),
        topics: flow.topics,
        count: flow.messages,
        rate: flow.rate,
        spin: !flow.no_spin,
        threads: usize::from(flow.threads),
        frozen: usize::from(flow.frozen),
        persistent: flow.persistent,
        protocol: target.protocol,
        prefix: target.topic.clone(),
        run: target.run,
    }
}

/// Messages on their way, unless it is told.
const WINDOW: u64 = 100;

fn settings(target: &Target, message: Option<(&MessageArgs, u8, u64)>, what: String) -> Settings {
    Settings {
        url: target.url.clone(),
        protocol: target.protocol.name(),
        qos: message.map(|(_, qos, _)| qos),
        payload_bytes: message.map(|(message, ..)| message.size),
        window: message.map(|(.., window)| window),
        what,
    }
}

/// Connects and measures one of the simple shapes.
fn flow_of(command: &'static str, shape: Shape, flow: &FlowArgs) -> Result<Report, Failure> {
    if flow.frozen > 0 && matches!(shape, Shape::Shared { .. }) {
        return Err(Failure::usage(
            "--frozen: a member of a shared subscription that never reads keeps messages from the others",
        ));
    }
    let target = Target::new(&flow.target)?;
    let plan = plan(shape, flow, &target);
    let mut progress = Progress::new();
    let settings = settings(&target, Some((&flow.message, plan.qos, plan.window)), words(&plan));
    let found = flow::connect(&plan, &target, &mut progress).and_then(|connections| {
        let found = flow::run(&plan, connections, times(flow), target.pid, &mut progress)?;
        if plan.persistent {
            flow::forget(&plan, &target, &mut progress)?;
        }
        Ok(found)
    });
    let flow::Flow { figures, delays, check } = found.map_err(|error| failed(&target, &error))?;
    Ok(Report { command, settings, figures, delays, check })
}

fn words(plan: &Plan) -> String {
    let topics =
        (plan.topics > 1 && !matches!(plan.shape, Shape::Spread(_))).then(|| format!("{} topics of each", plan.topics));
    let rate = plan.rate.map(|rate| format!("{rate} messages/s"));
    let threads = (plan.threads > 1).then(|| format!("{} threads of load", plan.threads));
    let sessions = plan.persistent.then(|| "sessions that last".to_owned());
    let frozen = (plan.frozen > 0).then(|| format!("{} subscribers that never read", plan.frozen));
    [Some(plan.shape.words()), topics, rate, sessions, frozen, threads]
        .into_iter()
        .flatten()
        .collect::<Vec<String>>()
        .join(", ")
}

fn times(flow: &FlowArgs) -> Times {
    Times { warm_up: flow.warm_up, length: flow.duration }
}

fn failed(target: &Target, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::ConnectionRefused => "; is a broker running there?",
        _ => "",
    };
    Failure::run(format_args!("{}: {error}{hint}", target.url))
}
