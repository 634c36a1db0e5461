//! Developer commands: `cargo xtask <command>`. One file per command; no shell is needed.
mod bench;
mod ci;
mod compare;
mod coverage;
mod fuzz;
mod mutants;
mod no_std;
mod run;
mod sim;
mod soak;
mod source;
mod spec;
mod test;
mod tidy;
mod tools;

use run::Result;
use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask <command>

  test [--install] [filter…]    every test; with --install also the Debian packages that the interop tests need
  ci                            everything else that must hold before a merge
  tidy                          rules of the house that no compiler checks
  spec [--write | --check]      which statements of the standards are cited in code and tests
  fuzz [--list | target] [--time SECONDS] [--install]
  bench [--instructions] [filter]
  soak [--rounds N] [--seed N]  kill -9 under load, 200 rounds at each level of durability unless said
  compare [--peer NAME] [--scenario NAME] [--rounds N] …    this broker beside others; --help says more
  coverage                      lines of the pure crates that their tests reach
  sim [--seed N] [--steps N] [--minutes M] …    a whole system under one virtual clock; --help says more
  sim --bugs [--runs N] [name…]    plants bugs in a copy of the tree, and says which the simulation finds

With CI=true in the environment `test` and `fuzz` install what they need, and a skipped test is a failure.";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let outcome = match command.as_str() {
        "ci" => no_arguments(&rest).and_then(|()| ci::run()),
        "test" => test::run(&rest),
        "tidy" => no_arguments(&rest).and_then(|()| tidy::run()),
        "spec" => spec::run(&rest),
        "fuzz" => fuzz::run(&rest),
        "bench" => bench::run(&rest),
        "sim" => sim::run(&rest),
        "soak" => soak::run(&rest),
        "compare" => compare::run(&rest),
        "coverage" => no_arguments(&rest).and_then(|()| coverage::run()),
        "" | "help" | "-h" | "--help" => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        other => Err(format!("no command `{other}`\n\n{USAGE}").into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {command}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn no_arguments(rest: &[String]) -> Result {
    match rest {
        [] => Ok(()),
        [first, ..] => Err(format!("unexpected argument `{first}`").into()),
    }
}
