//! `cargo xtask bench`: the benchmarks, by time or by instruction count.
use crate::run::{self, Result};

const PACKAGE: &str = "zanzara-benches";

/// `args`: `--instructions` counts instructions with valgrind instead of measuring time; the rest are names of cases.
pub(crate) fn run(args: &[String]) -> Result {
    let (flags, filters): (Vec<&String>, Vec<&String>) = args.iter().partition(|arg| arg.starts_with("--"));
    match flags.as_slice() {
        [] => {
            let mut cargo = run::cargo();
            run::run(cargo.args(["bench", "--locked", "--package", PACKAGE, "--"]).args(filters))
        }
        [flag] if *flag == "--instructions" => instructions(&filters),
        [flag, ..] => Err(format!("unknown flag `{flag}`").into()),
    }
}

/// Runs the bench binary `instructions` once for each of its cases; it prints their names when called with `--list`.
fn instructions(filters: &[&String]) -> Result {
    if run::find_program("valgrind", &[]).is_none() {
        return Err("counting instructions takes valgrind (Debian: apt-get install valgrind)".into());
    }
    let mut cargo = run::cargo();
    run::run(cargo.args(["build", "--release", "--locked", "--package", PACKAGE, "--bin", "instructions"]))?;
    let binary = run::target().join("release/instructions");
    let list = run::output(run::program(&binary).arg("--list"))?;
    let is_wanted = |name: &&str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    for name in list.lines().filter(is_wanted) {
        println!("{:>12}  {name}", count(&binary, name)?);
    }
    Ok(())
}

/// Instructions of one case: a run of it less a run that does nothing but set up.
fn count(binary: &std::path::Path, name: &str) -> Result<u64> {
    let total = |rounds: &str| -> Result<u64> {
        let mut valgrind = run::program("valgrind");
        valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(binary).args([name, rounds]);
        let report = String::from_utf8(valgrind.output()?.stderr)?;
        let collected =
            report.lines().find_map(|line| line.split_once("Collected : ")).ok_or("valgrind counted nothing")?;
        Ok(collected.1.trim().parse()?)
    };
    const ROUNDS: u64 = 1000;
    Ok(total(&ROUNDS.to_string())?.saturating_sub(total("0")?) / ROUNDS)
}
