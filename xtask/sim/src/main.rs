//! `sim`: runs scenarios, and shrinks and explains the first that breaks a law.
use std::process::ExitCode;
use std::time::{Duration, Instant};
use zanzara_sim::{CHECKS, Faults, Scenario, run, shrink};

const HELP: &str = "\
Simulates clients, brokers, disks and the network between them, and checks what came of it.

sim [--seed N] [--steps N] [--minutes M] [--runs N]

  --seed N      the first seed                              [random]
  --steps N     things that users do in each run            [150]
  --runs N      how many seeds, one after the other         [1 with --seed, else until the time is over]
  --minutes M   for how long                                [1]
  --trace       print the whole trace
  --no-shrink   stop at the first failure without making it smaller
  --laws        say which laws are checked
  --clients N, --brokers N, --faults LIST|none: what the seed would decide otherwise";

struct Options {
    seed: Option<u64>,
    steps: u32,
    runs: Option<u64>,
    minutes: f64,
    trace: bool,
    shrinks: bool,
    clients: Option<usize>,
    brokers: Option<usize>,
    faults: Option<Faults>,
}

fn main() -> ExitCode {
    let options = match parse() {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let first = options.seed.unwrap_or_else(fresh_seed);
    let runs = options.runs.or(options.seed.map(|_| 1)).unwrap_or(u64::MAX);
    let end = Instant::now() + Duration::from_secs_f64(options.minutes * 60.0);
    let (mut count, mut published, mut delivered, mut crashes, mut virtual_time) = (0_u64, 0, 0, 0, Duration::ZERO);
    let mut hash = 0_u64;
    while count < runs && (options.runs.is_some() || options.seed.is_some() || Instant::now() < end) {
        let scenario = scenario(&options, first.wrapping_add(count));
        let report = run(&scenario, options.trace);
        for line in report.trace.lines() {
            println!("{line}");
        }
        if let Some(violation) = report.violation {
            println!("sim {scenario}\nafter {} runs\nbreaks the law {violation}", count + 1);
            if options.shrinks {
                explain(&scenario, violation.law);
            }
            return ExitCode::FAILURE;
        }
        hash = hash.rotate_left(1) ^ report.trace.hash();
        count += 1;
        published += report.published;
        delivered += report.delivered;
        crashes += report.crashes;
        virtual_time += report.lasted;
    }
    println!(
        "{count} runs from seed {first}: {published} messages published, {delivered} handed out, {crashes} crashes, \
         {:.1} hours of virtual time; every law holds; trace hash {hash:016x}",
        virtual_time.as_secs_f64() / 3600.0
    );
    ExitCode::SUCCESS
}

fn scenario(options: &Options, seed: u64) -> Scenario {
    let mut scenario = Scenario::of(seed, options.steps);
    scenario.clients = options.clients.unwrap_or(scenario.clients);
    scenario.brokers = options.brokers.unwrap_or(scenario.brokers).min(scenario.clients);
    scenario.faults = options.faults.unwrap_or(scenario.faults);
    scenario
}

/// Makes a failure small, and prints what matters of its trace.
fn explain(scenario: &Scenario, law: &str) {
    println!("making it smaller …");
    let small = shrink(scenario, law, |smaller| println!("  {smaller}"));
    let report = run(&small, true);
    let lines = report.trace.lines();
    if let Some(violation) = report.violation {
        let told = violation.story(lines);
        println!("{} of {} lines of its trace:", told.len(), lines.len());
        for line in told {
            println!("{line}");
        }
        println!("breaks the law {violation}");
    }
    println!("again: cargo xtask sim {small}");
}

/// A seed that nobody has chosen.
fn fresh_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) >> 32
}

fn parse() -> Result<Option<Options>, String> {
    let mut options = Options {
        seed: None,
        steps: 150,
        runs: None,
        minutes: 1.0,
        trace: false,
        shrinks: true,
        clients: None,
        brokers: None,
        faults: None,
    };
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{flag} takes a value"));
        match flag.as_str() {
            "--help" => {
                println!("{HELP}");
                return Ok(None);
            }
            "--laws" => {
                for (name, meaning) in CHECKS {
                    println!("{name:20} {meaning}");
                }
                return Ok(None);
            }
            "--no-shrink" => options.shrinks = false,
            "--trace" => options.trace = true,
            "--seed" => options.seed = Some(number(&flag, &value()?)?),
            "--steps" => options.steps = number(&flag, &value()?)?,
            "--runs" => options.runs = Some(number(&flag, &value()?)?),
            "--minutes" => options.minutes = number(&flag, &value()?)?,
            "--clients" => options.clients = Some(number::<usize>(&flag, &value()?)?.max(1)),
            "--brokers" => options.brokers = Some(number::<usize>(&flag, &value()?)?.max(1)),
            "--faults" => options.faults = Some(faults(&value()?)?),
            _ => return Err(format!("unknown flag {flag}")),
        }
    }
    Ok(Some(options))
}

fn number<T: std::str::FromStr>(flag: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{flag}: `{text}` is no number"))
}

fn faults(list: &str) -> Result<Faults, String> {
    let mut faults = Faults::NONE;
    for name in list.split(',').filter(|name| *name != "none") {
        let mut switches = faults.switches();
        let Some((_, switch)) = switches.iter_mut().find(|(known, _)| *known == name) else {
            let known: Vec<&str> = switches.iter().map(|(name, _)| *name).collect();
            return Err(format!("--faults: `{name}` is none of {}", known.join(", ")));
        };
        **switch = true;
    }
    Ok(faults)
}
