//! The command line.

use crate::plan::{Plan, Scenario};
use std::net::SocketAddr;
use std::str::FromStr;

/// A broker to start.
pub(crate) struct Broker {
    pub(crate) name: String,
    pub(crate) command: String,
}

/// What to measure, and of whom.
pub(crate) struct Options {
    pub(crate) address: Option<SocketAddr>,
    pub(crate) pid: Option<u32>,
    pub(crate) brokers: Vec<Broker>,
    pub(crate) rounds: usize,
    pub(crate) plans: Vec<Plan>,
}

/// Reads the arguments after the mode.
pub(crate) fn parse(arguments: &[String]) -> Result<Options, String> {
    let (mut address, mut pid, mut brokers, mut rounds) = (None, None, Vec::new(), 3);
    let (mut scenarios, mut levels, mut sizes, mut windows) = (vec![Scenario::Pairs(10)], vec![0], vec![64], vec![100]);
    let (mut protocol, mut warm_up, mut seconds) = (4, 1.0, 3.0);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if !argument.starts_with("--") {
            address = Some(one(argument, argument)?);
            continue;
        }
        let value = arguments.next().ok_or(format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--pid" => pid = Some(one(argument, value)?),
            "--broker" => brokers.push(broker(value)?),
            "--rounds" => rounds = one(argument, value)?,
            "--scenario" => scenarios = list(argument, value)?,
            "--qos" => levels = list(argument, value)?,
            "--size" => sizes = list(argument, value)?,
            "--window" => windows = list(argument, value)?,
            "--protocol" => protocol = one(argument, value)?,
            "--warm-up" => warm_up = one(argument, value)?,
            "--seconds" => seconds = one(argument, value)?,
            _ => return Err(format!("{argument} is unknown")),
        }
    }
    let mut plans = Vec::new();
    for scenario in scenarios {
        for &qos in &levels {
            for &size in &sizes {
                for &window in &windows {
                    plans.push(Plan::new(scenario, qos, size, window, protocol, warm_up, seconds)?);
                }
            }
        }
    }
    Ok(Options { address, pid, brokers, rounds, plans })
}

fn one<T: FromStr>(option: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{option}: {value:?} is not understood"))
}

fn list<T: FromStr>(option: &str, value: &str) -> Result<Vec<T>, String> {
    value.split(',').map(|item| one(option, item)).collect()
}

fn broker(value: &str) -> Result<Broker, String> {
    let (name, command) = value.split_once('=').ok_or("--broker takes NAME=COMMAND")?;
    Ok(Broker { name: name.to_owned(), command: command.to_owned() })
}
