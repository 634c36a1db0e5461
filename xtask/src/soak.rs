//! `cargo xtask soak`: real processes, killed again and again under load, with a checker of what clients saw.
use crate::run::{self, Result};

/// What a release should have seen.
const ROUNDS: u32 = 200;

/// Runs the kill tests with many rounds, optimised: about a second a round at each level of durability.
pub(crate) fn run(args: &[String]) -> Result {
    let (mut rounds, mut seed) = (ROUNDS, 1_u64);
    let mut args = args.iter();
    while let Some(option) = args.next() {
        let value = args.next().ok_or_else(|| format!("`{option}` needs a number"))?;
        match option.as_str() {
            "--rounds" => rounds = value.parse().map_err(|error| format!("--rounds {value}: {error}"))?,
            "--seed" => seed = value.parse().map_err(|error| format!("--seed {value}: {error}"))?,
            other => return Err(format!("unexpected argument `{other}`").into()),
        }
    }
    let mut cargo = run::cargo();
    cargo.args(["test", "--locked", "--release", "--package", "zanzara", "--test", "kill", "--test", "kill_client"]);
    cargo.args(["--", "--nocapture", "--test-threads", "1"]);
    cargo.env("ZANZARA_KILL_ROUNDS", rounds.to_string()).env("ZANZARA_KILL_SEED", seed.to_string());
    run::run(&mut cargo)
}
