//! `cargo xtask compare`: this broker beside others, interleaved, with ratios and their spread. See `docs/bench.md`.
//!
//! Invariant: within a round every broker does the same work under the same conditions; a ratio compares brokers within a round.
mod brokers;
mod chart;
mod process;
mod report;
mod scenarios;
mod statistics;

use crate::run::{self, Result};
use brokers::Broker;
use process::{Pins, Running};
use scenarios::Scenario;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

const USAGE: &str = "\
Usage: cargo xtask compare [options]

  --peer NAME            only this peer, may be repeated: mosquitto, aedes, rumqttd; `none` for none  [those that are found]
  --broker NAME=COMMAND  one more; the command may hold {port} and {dir}, a folder of its own
  --scenario NAME        only this scenario, may be repeated; or arguments of `zanzara bench` in quotation marks
  --durable              instead, scenarios and configurations in which messages are kept on disk
  --overload             instead, subscribers that never read, and more than can be read
  --growth               instead, curves: rates and delays against connections, subscriptions, topics, payload, offline sessions
  --rounds N             how often each broker does each scenario  [3]
  --duration TIME        of each measurement of a flow  [3s]
  --broker-cores LIST    cores of the broker, as taskset takes them  [0]
  --load-cores LIST      cores of the load  [1]
  --load-threads N       threads of the load  [1]
  --zanzara FILE         our program  [built in release mode]
  --mosquitto FILE       mosquitto's broker  [ZANZARA_MOSQUITTO in the environment, or the one in PATH]
  --out FOLDER           where compare.json and compare.md go  [target/xtask/compare]
  --list                 the scenarios, and which peers are found

Nothing is compiled but our program. aedes is installed by npm into target/xtask/compare; others have to be there.";

/// The command line.
pub(crate) struct Options {
    peers: Vec<String>,
    custom: Vec<(String, String)>,
    scenarios: Vec<String>,
    /// Which set of scenarios.
    set: &'static str,
    rounds: usize,
    duration: String,
    broker_cores: String,
    load_cores: String,
    load_threads: Option<String>,
    zanzara: Option<PathBuf>,
    mosquitto: Option<PathBuf>,
    out: PathBuf,
    list: bool,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self> {
        let mut options = Self {
            peers: Vec::new(),
            custom: Vec::new(),
            scenarios: Vec::new(),
            set: "plain",
            rounds: 3,
            duration: "3s".to_owned(),
            broker_cores: "0".to_owned(),
            load_cores: "1".to_owned(),
            load_threads: None,
            zanzara: None,
            mosquitto: std::env::var_os("ZANZARA_MOSQUITTO").map(PathBuf::from),
            out: folder(),
            list: false,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().cloned().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--durable" => options.set = "durable",
                "--overload" => options.set = "overload",
                "--growth" => options.set = "growth",
                "--list" => options.list = true,
                "--peer" => options.peers.push(value()?),
                "--scenario" => options.scenarios.push(value()?),
                "--broker" => {
                    let text = value()?;
                    let (name, command) = text.split_once('=').ok_or("--broker takes NAME=COMMAND")?;
                    options.custom.push((name.to_owned(), command.to_owned()));
                }
                "--rounds" => {
                    options.rounds =
                        value()?.parse().ok().filter(|rounds| *rounds > 0).ok_or("--rounds takes a number")?;
                }
                "--duration" => options.duration = value()?,
                "--broker-cores" => options.broker_cores = value()?,
                "--load-cores" => options.load_cores = value()?,
                "--load-threads" => options.load_threads = Some(value()?),
                "--zanzara" => options.zanzara = Some(value()?.into()),
                "--mosquitto" => options.mosquitto = Some(value()?.into()),
                "--out" => options.out = value()?.into(),
                other => return Err(format!("unknown option `{other}`\n\n{USAGE}").into()),
            }
        }
        Ok(options)
    }

    /// Whether the brokers keep things on disk.
    fn durable(&self) -> bool {
        self.set == "durable"
    }
}

/// Where things are kept that need not be made again.
fn folder() -> PathBuf {
    run::target().join("xtask/compare")
}

/// Compares, prints, and writes both files; fails if our broker was not sound.
pub(crate) fn run(args: &[String]) -> Result {
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        println!("{USAGE}");
        return Ok(());
    }
    let options = Options::parse(args)?;
    if options.list {
        list(&options);
        return Ok(());
    }
    fs::create_dir_all(folder())?;
    let scenarios = scenarios::chosen(&options)?;
    let zanzara = if let Some(file) = &options.zanzara {
        file.clone()
    } else {
        run::run(run::cargo().args(["build", "--release", "--locked", "--package", "zanzara"]))?;
        run::target().join("release/zanzara")
    };
    let brokers = brokers::chosen(&options, &zanzara)?;
    let pins = Pins::new(&options.broker_cores, &options.load_cores);
    let mut results = Vec::new();
    for scenario in &scenarios {
        let found = rounds(scenario, &brokers, &options, &pins, &zanzara);
        print!("{}", report::scenario(scenario, &brokers, &found));
        results.push(found);
    }
    let head = head(&options, &brokers, &pins);
    fs::create_dir_all(&options.out)?;
    let files = ["compare.json", "compare.md"].map(|name| options.out.join(name));
    let all: Vec<Value> =
        scenarios.iter().zip(&results).map(|(one, found)| report::json(one, &brokers, found)).collect();
    let mut json = head.clone();
    json["scenarios"] = all.into();
    fs::write(&files[0], serde_json::to_string_pretty(&json)?)?;
    let mut markdown = report::head(&head);
    for (scenario, found) in scenarios.iter().zip(&results) {
        markdown += &report::scenario(scenario, &brokers, found);
    }
    let pictures = report::pictures(&scenarios, &brokers, &results);
    if !pictures.is_empty() {
        markdown += "\n## Curves\n";
    }
    for (name, svg) in &pictures {
        fs::write(options.out.join(name), svg)?;
        markdown.extend(["\n![", name, "](", name, ")\n"]);
    }
    fs::write(&files[1], markdown)?;
    println!("written: {} and {}", files[0].display(), files[1].display());
    let unsound = results.iter().filter(|found| found[0].iter().any(|one| !one.is_sound())).count();
    if unsound > 0 { Err(format!("zanzara was not sound in {unsound} scenarios").into()) } else { Ok(()) }
}

fn list(options: &Options) {
    for set in scenarios::SETS {
        println!("Scenarios{}:", if set == "plain" { String::new() } else { format!(" of --{set}") });
        for scenario in scenarios::known(set) {
            println!("  {:<22}{}", scenario.name, scenario.arguments.join(" "));
        }
    }
    println!("\nPeers:");
    for (name, found) in brokers::found(options) {
        println!("  {name:<22}{}", found.unwrap_or_else(|why| format!("missing: {why}")));
    }
}

/// What one measurement said.
pub(crate) enum Measured {
    /// The JSON of `zanzara bench`.
    Found(Value),
    /// Why there is none.
    Failed(String),
}

impl Measured {
    fn is_sound(&self) -> bool {
        matches!(self, Self::Found(value) if value["check"]["sound"] == true)
    }
}

/// For each broker, all rounds of a scenario.
fn rounds(
    scenario: &Scenario,
    brokers: &[Broker],
    options: &Options,
    pins: &Pins,
    zanzara: &std::path::Path,
) -> Vec<Vec<Measured>> {
    let mut results: Vec<Vec<Measured>> = brokers.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds {
        // Each round begins with another broker, so that none always runs first.
        for turn in 0..brokers.len() {
            let index = (round + turn) % brokers.len();
            let broker = &brokers[index];
            eprintln!("{}, round {} of {}: {}", scenario.name, round + 1, options.rounds, broker.name);
            let measured = Running::start(broker, pins)
                .and_then(|running| process::load(zanzara, scenario, options, pins, &running))
                .unwrap_or_else(|error| Measured::Failed(error.to_string()));
            match &measured {
                Measured::Failed(why) => eprintln!("  {why}"),
                Measured::Found(value) if !measured.is_sound() => eprintln!("  not sound: {}", value["check"]),
                Measured::Found(_) => {}
            }
            results[index].push(measured);
        }
    }
    results
}

/// What all scenarios have in common.
fn head(options: &Options, brokers: &[Broker], pins: &Pins) -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let described =
        |broker: &Broker| json!({ "name": broker.name, "version": broker.version, "settings": broker.settings });
    json!({
        "processor": model.map(|(_, model)| model.trim()),
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "broker_cores": pins.broker(),
        "load_cores": pins.load(),
        "rounds": options.rounds,
        "duration": options.duration,
        "set": options.set,
        "brokers": brokers.iter().map(described).collect::<Vec<Value>>(),
    })
}
