//! Measurements of one broker, or of several in turn.

use crate::engine::{Counts, Engine};
use crate::options::{self, Options};
use crate::plan::Plan;
use crate::process::{self, Running};
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What one measurement found.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// Delivered messages a second.
    rate: f64,
    /// Microseconds of the broker's processor time for each delivered message.
    cost: Option<f64>,
    /// The same of this process: where it comes near the time between two messages, the broker was not the limit.
    own: f64,
    counts: Counts,
}

/// `load run`: whether nothing was lost or repeated.
pub(crate) fn run(arguments: &[String]) -> Result<bool, String> {
    let Options { address, pid, rounds, plans, .. } = options::parse(arguments)?;
    let address = address.ok_or("the address of a broker is missing")?;
    process::pin_to_core_1();
    let mut sound = true;
    for plan in &plans {
        println!("{plan}");
        for _ in 0..rounds {
            let round = measure(address, pid, plan).map_err(|error| format!("{plan}: {error}"))?;
            sound &= report("", &[round], None);
        }
    }
    Ok(sound)
}

/// `load compare`: whether nothing was lost or repeated.
pub(crate) fn compare(arguments: &[String]) -> Result<bool, String> {
    let Options { brokers, rounds, plans, .. } = options::parse(arguments)?;
    if brokers.is_empty() {
        return Err("no --broker was given".to_owned());
    }
    let pinned = process::pin_to_core_1();
    let mut sound = true;
    for plan in &plans {
        println!("{plan}");
        let mut results = vec![Vec::new(); brokers.len()];
        for round in 0..rounds {
            // Each round begins with another broker, so that none always runs first.
            for turn in 0..brokers.len() {
                let index = (round + turn) % brokers.len();
                let broker = Running::start(&brokers[index], pinned)?;
                match measure(broker.address, Some(broker.pid()), plan) {
                    Ok(result) => results[index].push(result),
                    Err(error) => eprintln!("{}: {error}", brokers[index].name),
                }
            }
        }
        let base = results[0].clone();
        for (broker, rounds) in brokers.iter().zip(&results) {
            sound &= !rounds.is_empty() && report(&broker.name, rounds, Some(&base));
        }
    }
    Ok(sound)
}

#[expect(clippy::cast_precision_loss, reason = "counts of messages are far below 2^52")]
fn measure(address: SocketAddr, pid: Option<u32>, plan: &Plan) -> io::Result<Round> {
    let mut engine = Engine::connect(address, plan)?;
    let before = engine.work(plan.warm_up)?;
    let times = || (pid.and_then(process::processor_time), process::processor_time(std::process::id()));
    let (start, times_before) = (Instant::now(), times());
    let after = engine.work(plan.length)?;
    let (elapsed, times_after) = (start.elapsed(), times());
    let counts = engine.finish()?;
    let delivered = (after.delivered - before.delivered) as f64;
    let per_message = |before: Option<Duration>, after: Option<Duration>| {
        before.zip(after).map(|(before, after)| after.saturating_sub(before).as_secs_f64() * 1e6 / delivered)
    };
    Ok(Round {
        rate: delivered / elapsed.as_secs_f64(),
        cost: per_message(times_before.0, times_after.0),
        own: per_message(times_before.1, times_after.1).unwrap_or(f64::NAN),
        counts,
    })
}

/// Prints medians, ratios to the first broker, and what went wrong; whether nothing did.
fn report(name: &str, rounds: &[Round], base: Option<&[Round]>) -> bool {
    let rate = |rounds: &[Round]| median(rounds.iter().map(|round| round.rate));
    let cost = |rounds: &[Round]| median(rounds.iter().filter_map(|round| round.cost));
    let mut line = format!("  {name:<16}{:>12.0} messages/s", rate(rounds));
    if rounds.iter().any(|round| round.cost.is_some()) {
        let _ = write!(line, "{:>9.3} µs CPU", cost(rounds));
    }
    let _ = write!(line, "{:>9.3} µs load", median(rounds.iter().map(|round| round.own)));
    if let Some(base) = base.filter(|base| !base.is_empty()) {
        let _ = write!(line, "{:>8.2}× rate{:>8.3}× CPU", rate(rounds) / rate(base), cost(rounds) / cost(base));
    }
    let sum = |count: fn(&Counts) -> u64| rounds.iter().map(|round| count(&round.counts)).sum::<u64>();
    let (published, lost, repeated) = (sum(|c| c.published), sum(|c| c.lost), sum(|c| c.repeated));
    if lost + repeated > 0 {
        let _ = write!(line, "   of {published} published: {lost} deliveries lost, {repeated} repeated");
    }
    println!("{line}");
    lost + repeated == 0
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}
