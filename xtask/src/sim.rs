//! `cargo xtask sim`: the simulation, in a release build; `--bugs` plants bugs for it to find. See `docs/simulation.md`.
use crate::mutants;
use crate::run::{self, Result};

/// Everything after `sim` goes to the simulation, or behind `--bugs` to those who plant them.
pub(crate) fn run(args: &[String]) -> Result {
    if let [first, rest @ ..] = args
        && first == "--bugs"
    {
        return mutants::run(rest);
    }
    let mut cargo = run::cargo();
    run::run(cargo.args(["run", "--quiet", "--release", "--locked", "--package", "zanzara-sim", "--"]).args(args))
}

/// What CI runs: seeds that are always the same, then fresh ones for two minutes. A failure prints its seed, a smaller
/// scenario, what matters of its trace and the command that shows it again. A fresh seed that breaks a law is news, not a
/// fault of the change at hand: it fails nobody's build as long as some are left to find.
pub(crate) fn check() -> Result {
    run(&["--seed", "1", "--runs", "1000"].map(String::from))?;
    if run(&["--minutes", "2"].map(String::from)).is_err() {
        println!("note: a fresh seed broke a law; the lines above say how to see it again");
    }
    Ok(())
}
