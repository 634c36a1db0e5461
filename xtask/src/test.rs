//! `cargo xtask test`: every test of the workspace, with the clients and brokers of other vendors where they
//! can be had. What was skipped is told at the end, with the way to run it.
use crate::{
    run::{self, Result},
    tools::{self, Tools},
};
use std::{collections::BTreeSet, fs};

/// `args`: `--install`, and filters for the names of tests.
pub(crate) fn run(args: &[String]) -> Result {
    let (flags, filters): (Vec<&String>, Vec<&String>) = args.iter().partition(|arg| arg.starts_with("--"));
    if let Some(flag) = flags.iter().find(|flag| **flag != "--install") {
        return Err(format!("unknown flag `{flag}`").into());
    }
    // Who asks for the installation wants every test, and so does CI.
    let complete = !flags.is_empty() || run::is_ci();
    let tools = tools::prepare(complete)?;

    let skip_log = run::target().join("xtask/skipped.txt");
    fs::create_dir_all(skip_log.parent().expect("has a folder"))?;
    fs::write(&skip_log, "")?;
    let mut cargo = run::cargo();
    cargo.args(["test", "--workspace", "--locked", "--no-fail-fast"]).env("ZANZARA_SKIP_LOG", &skip_log);
    set_tools(&mut cargo, &tools, complete);
    if !filters.is_empty() {
        cargo.arg("--").args(&filters);
    }
    let outcome = run::run(&mut cargo);

    let log = fs::read_to_string(&skip_log)?;
    let skipped: BTreeSet<&str> = log.lines().filter(|line| !line.is_empty()).collect();
    report(&skipped, &tools, complete);
    outcome?;
    let is_short = !skipped.is_empty() || !tools.missing.is_empty();
    if complete && is_short { Err("tests were skipped".into()) } else { Ok(()) }
}

/// The names under which the tests look for what they drive.
fn set_tools(cargo: &mut std::process::Command, tools: &Tools, complete: bool) {
    let found = [
        ("ZANZARA_PYTHON", &tools.python),
        ("ZANZARA_NODE_MODULES", &tools.node_modules),
        ("ZANZARA_MOSQUITTO", &tools.mosquitto),
        ("ZANZARA_MOSQUITTO_CLIENTS", &tools.mosquitto_clients),
    ];
    for (name, path) in found {
        match path {
            Some(path) => cargo.env(name, path),
            None => cargo.env_remove(name),
        };
    }
    if complete {
        cargo.env("ZANZARA_REQUIRE_TOOLS", "1");
    }
}

fn report(skipped: &BTreeSet<&str>, tools: &Tools, complete: bool) {
    if skipped.is_empty() && tools.missing.is_empty() {
        return;
    }
    println!("\nNot everything could run here:");
    for line in skipped {
        println!("  {line}");
    }
    for reason in &tools.missing {
        println!("  missing: {reason}");
    }
    if !complete {
        println!("To run all of it: `cargo xtask test --install` on a Debian system, as root.");
    }
}
