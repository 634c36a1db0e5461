//! `cargo xtask sim`: the simulation, in a release build. See `docs/simulation.md`.
use crate::run::{self, Result};

/// Everything after `sim` goes to the simulation.
pub(crate) fn run(args: &[String]) -> Result {
    let mut cargo = run::cargo();
    run::run(cargo.args(["run", "--quiet", "--release", "--locked", "--package", "zanzara-sim", "--"]).args(args))
}

/// What CI runs: seeds that are always the same, then fresh ones for two minutes.
pub(crate) fn check() -> Result {
    run(&["--seed", "1", "--runs", "2000"].map(String::from))?;
    run(&["--minutes", "2"].map(String::from))
}
