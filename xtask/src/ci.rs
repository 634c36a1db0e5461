//! `cargo xtask ci`: all that must hold before a merge, beside the tests. Every step runs; the failed ones are
//! named at the end.
use crate::{
    no_std,
    run::{self, Result},
    sim, spec, tidy,
};
use std::time::Instant;

/// A step and its name.
type Step = (&'static str, fn() -> Result);

/// Runs every step.
pub(crate) fn run() -> Result {
    let steps: [Step; 10] = [
        ("fmt", fmt),
        ("clippy", clippy),
        ("docs", docs),
        ("tidy", tidy::run),
        ("spec", spec::check),
        ("no_std", no_std::run),
        ("sim", sim::check),
        ("fuzz", fuzz),
        ("package", package),
        ("licences", licences),
    ];
    let mut failed = Vec::new();
    for (name, step) in steps {
        println!("== {name}");
        let start = Instant::now();
        if let Err(error) = step() {
            println!("{error}");
            failed.push(name);
        }
        println!("== {name}: {:.0} s", start.elapsed().as_secs_f32());
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", ")).into()) }
}

const FUZZ: [&str; 2] = ["--manifest-path", "fuzz/Cargo.toml"];

fn fmt() -> Result {
    run::run(run::cargo().args(["fmt", "--all", "--check"]))?;
    run::run(run::cargo().args(["fmt", "--check"]).args(FUZZ))
}

/// All targets: benches and examples are compiled by this, too.
fn clippy() -> Result {
    run::run(run::cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
}

fn docs() -> Result {
    run::run(run::cargo().args(["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings"))
}

/// The fuzz targets compile, and what they once found stays found; no fuzzer is needed for either.
fn fuzz() -> Result {
    run::run(run::cargo().args(["clippy", "--all-targets", "--locked"]).args(FUZZ).args(["--", "-D", "warnings"]))?;
    run::run(run::cargo().args(["test", "--locked"]).args(FUZZ))
}

/// What would be published is complete. Building it again from the archives would show little for its time.
fn package() -> Result {
    let unpublished = ["xtask", "zanzara-benches", "zanzara-sim"].map(|name| ["--exclude", name]);
    let mut cargo = run::cargo();
    run::run(
        cargo.args(["package", "--workspace", "--locked", "--allow-dirty", "--no-verify"]).args(unpublished.concat()),
    )
}

/// Licences and sources of what we depend on, where the tool for it is installed.
fn licences() -> Result {
    if run::output(run::cargo().args(["deny", "--version"])).is_err() {
        println!("note: cargo-deny is not installed; licences and sources of dependencies were not checked");
        return Ok(());
    }
    run::run(run::cargo().args(["deny", "check", "licenses", "bans", "sources"]))
}
