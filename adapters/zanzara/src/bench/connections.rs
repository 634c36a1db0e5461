//! Many connections at once.
use super::arguments::TargetArgs;
use super::hello::{Hello, Target};
use super::herd::{Entry, Herd, Script, Step};
use super::process::Usage;
use super::progress::Progress;
use super::report::{self, Check, Delay, Figure, Report};
use super::wire::{self, Frame};
use super::{failed, settings};
use crate::exit::Failure;
use std::io;
use std::time::Duration;

/// Asks whether the broker is there.
struct Ping;

impl Script for Ping {
    fn begin(&mut self, _: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&wire::PINGREQ);
    }

    fn packet(&mut self, _: usize, frame: &Frame<'_>, _: &mut Vec<u8>) -> io::Result<Step> {
        if frame.kind == wire::PINGRESP { Ok(Step::Done) } else { Err(frame.unexpected(frame.kind)) }
    }
}

/// Connects, waits, pings.
pub(super) fn run(
    count: usize,
    at_once: usize,
    rate: Option<f64>,
    hold: Duration,
    arguments: &TargetArgs,
) -> Result<Report, Failure> {
    let target = Target::new(arguments)?;
    let what = format!("{count} connections, {at_once} at once on their way");
    let settings = settings(&target, None, what);
    let found = measure(count, Entry { at_once, rate }, hold, &target).map_err(|error| failed(&target, &error))?;
    let (figures, delays, check) = found;
    Ok(Report { command: "connections", settings, figures, delays, check })
}

fn measure(
    count: usize,
    entry: Entry,
    hold: Duration,
    target: &Target,
) -> io::Result<(Vec<Figure>, Vec<Delay>, Check)> {
    let mut progress = Progress::new();
    let mut herd = Herd::new(target.address)?;
    let usage = || target.pid.and_then(Usage::of);
    let before = usage();
    let mut hello = Hello::new(target);
    progress.begin("connecting");
    let made = herd.run(0..count, entry, &mut hello, &mut progress)?;
    made.tell("connecting");
    let after = usage();
    std::thread::sleep(hold);

    progress.begin("pinging");
    let connected = herd.connected();
    let everybody = Entry { at_once: count, rate: None };
    let pinged = herd.run(connected.iter().copied(), everybody, &mut Ping, &mut progress)?;
    pinged.tell("pinging");
    herd.leave();

    let done = made.done as u64;
    let plain = |name: &str, count: usize| Figure {
        name: name.to_owned(),
        value: report::amount(count as u64),
        unit: "connections",
        better: "higher",
    };
    let mut figures = vec![plain("connected at once", connected.len()), plain("answered a ping", pinged.done)];
    figures.extend(report::rate("connected", done, made.elapsed.as_secs_f64(), "connections/s"));
    figures.extend(report::costs("broker CPU", "µs/connection", done, before, after));
    figures.extend(report::memory("memory per connection", done, before, after));
    let delays = [("time to connect", &made), ("time to answer a ping", &pinged)];
    let delays = delays
        .into_iter()
        .filter_map(|(name, phase)| Some(Delay { name, unit: "µs", summary: phase.delays.summary()? }));
    let check = Check { failed_clients: (count - pinged.done.min(count)) as u64, ..Check::default() };
    Ok((figures, delays.collect(), check.judged()))
}
