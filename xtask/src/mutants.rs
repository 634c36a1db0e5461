//! `cargo xtask sim --bugs`: plants bugs in a copy of the tree, one after the other, and sees whether the simulation finds them.
//!
//! A bug is a block of `xtask/sim/bugs/*.txt`: its name, what it means, the file below `mqtt-session/src`, and lines with
//! `-`, `+` or a space in front, as in a diff. Indentation does not count; the lines before must stand in the file exactly once.
use crate::run::{self, Result};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Runs of the simulation after which a bug counts as missed, unless `--runs` says otherwise.
const RUNS: u64 = 3000;
/// A simulation that takes longer hangs.
const PATIENCE: Duration = Duration::from_mins(2);

/// A planted bug.
#[derive(Debug, Default)]
struct Bug {
    name: String,
    meaning: String,
    file: String,
    before: Vec<String>,
    after: Vec<String>,
    /// The test of `mqtt-session` that finds it where the simulation cannot: an integration test, or `lib::` and a name.
    test: Option<String>,
}

/// Plants the bugs that are named, or all.
pub(crate) fn run(args: &[String]) -> Result {
    let mut runs = RUNS;
    let mut names = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--runs" {
            runs = args.next().and_then(|count| count.parse().ok()).ok_or("--runs takes a number")?;
        } else {
            names.push(arg.as_str());
        }
    }
    let bugs = read()?;
    if let Some(unknown) = names.iter().find(|name| !bugs.iter().any(|bug| bug.name == **name)) {
        return Err(format!("no bug is called `{unknown}`").into());
    }
    let chosen: Vec<&Bug> = bugs.iter().filter(|bug| names.is_empty() || names.contains(&bug.name.as_str())).collect();
    let tree = copy_tree()?;
    if let Outcome::Found(how) | Outcome::Broken(how) = simulate(&tree, runs)? {
        return Err(format!("without any bug: {how}").into()); // nothing could be said of the bugs
    }
    let (mut found, mut held, mut missed) = (0, 0, Vec::new());
    for bug in &chosen {
        let file = tree.join("mqtt-session/src").join(&bug.file);
        let sound = fs::read_to_string(&file)?;
        write(&file, plant(bug, &sound)?.as_bytes())?;
        let outcome = try_bug(&tree, bug, runs);
        write(&file, sound.as_bytes())?;
        let outcome = outcome.unwrap_or_else(|error| Outcome::Broken(error.to_string()));
        match outcome {
            Outcome::Broken(error) => {
                missed.push(bug.name.clone());
                println!("{:28} cannot be tried: {error}", bug.name);
            }
            Outcome::Found(how) => {
                found += 1;
                println!("{:28} found: {how}", bug.name);
            }
            Outcome::Held(test) => {
                held += 1;
                println!("{:28} not found in {runs} runs; the test {test} finds it", bug.name);
            }
            Outcome::Missed => {
                missed.push(bug.name.clone());
                println!("{:28} MISSED in {runs} runs: {}", bug.name, bug.meaning);
            }
        }
    }
    println!(
        "{} bugs planted: {found} found by the simulation, {held} by a test, {} missed",
        chosen.len(),
        missed.len()
    );
    if missed.is_empty() { Ok(()) } else { Err(format!("missed: {}", missed.join(", ")).into()) }
}

enum Outcome {
    Found(String),
    Held(String),
    Missed,
    Broken(String),
}

fn try_bug(tree: &Path, bug: &Bug, runs: u64) -> Result<Outcome> {
    let outcome = simulate(tree, runs)?;
    match &bug.test {
        Some(test) if matches!(outcome, Outcome::Missed) => run_test(tree, test),
        _ => Ok(outcome),
    }
}

/// Builds and runs the simulation.
fn simulate(tree: &Path, runs: u64) -> Result<Outcome> {
    build(tree)?;
    let program = tree.join("target/release/zanzara-sim");
    let runs = runs.to_string();
    let mut simulation = Command::new(program);
    simulation.args(["--seed", "1", "--runs", &runs, "--no-shrink"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let (text, status) = patiently(simulation.spawn()?)?;
    let last = text.lines().rfind(|line| line.starts_with("breaks the law") || line.starts_with("panics"));
    Ok(match (status, last) {
        (Some(status), _) if status.success() => Outcome::Missed,
        (Some(_), Some(law)) => {
            let after = text.lines().rfind(|line| line.starts_with("after "));
            Outcome::Found(format!("{} {law}", after.unwrap_or_default()))
        }
        (Some(status), None) if status.code() == Some(101) => Outcome::Found("the simulation panics".into()),
        (Some(status), None) => Outcome::Broken(format!("the simulation ends with {status}")),
        (None, _) => Outcome::Found("the simulation does not end".into()),
    })
}

/// Whether a test of `mqtt-session` fails with the bug.
fn run_test(tree: &Path, test: &str) -> Result<Outcome> {
    let mut cargo = cargo(tree);
    let (name, filter) = test.split_once("::").unwrap_or((test, ""));
    cargo.args(["test", "--offline", "--quiet", "-p", "mqtt-session"]);
    match name {
        "lib" => cargo.args(["--lib", filter]),
        _ => cargo.args(["--test", name, filter]),
    };
    let output = cargo.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let failed = !output.status.success() && text.contains("test result: FAILED");
    Ok(if failed { Outcome::Held(test.into()) } else { Outcome::Missed })
}

/// What a child prints, and how it ended; `None`: it did not end.
fn patiently(mut child: Child) -> Result<(String, Option<ExitStatus>)> {
    let end = Instant::now() + PATIENCE;
    let mut stdout = child.stdout.take().ok_or("no output")?;
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let text = reader.join().map_err(|_| "cannot read what the simulation prints")??;
    Ok((text, status))
}

/// Builds quickly rather than well: the code changes every time.
fn cargo(tree: &Path) -> Command {
    let mut cargo = run::cargo();
    cargo.current_dir(tree).env_remove("CARGO_TARGET_DIR");
    for (key, value) in [("LTO", "off"), ("CODEGEN_UNITS", "16"), ("DEBUG", "0"), ("INCREMENTAL", "true")] {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
    }
    cargo.env("RUSTFLAGS", "-Awarnings");
    cargo
}

fn build(tree: &Path) -> Result {
    let mut cargo = cargo(tree);
    run::output(cargo.args(["build", "--offline", "--release", "--quiet", "-p", "zanzara-sim"])).map(|_| ())
}

/// A workspace of the pure crates and the simulation, below the target folder. Files that are the same are left alone, so
/// that cargo builds what changed.
fn copy_tree() -> Result<PathBuf> {
    let tree = run::target().join("bugs");
    for part in ["mqtt-proto", "topic-trie", "mqtt-session", "xtask/sim"] {
        copy(&run::root().join(part), &tree.join(part))?;
    }
    let manifest = fs::read_to_string(run::root().join("Cargo.toml"))?;
    let members = |line: &str| match line {
        _ if line.starts_with("members = ") => {
            r#"members = ["mqtt-proto", "topic-trie", "mqtt-session", "xtask/sim"]"#.to_string()
        }
        _ if line.starts_with("exclude = ") || line.starts_with("mqtt-tokio = ") => String::new(),
        _ => line.to_string(),
    };
    let manifest: Vec<String> = manifest.lines().map(members).collect();
    write(&tree.join("Cargo.toml"), manifest.join("\n").as_bytes())?;
    if !tree.join("Cargo.lock").exists() {
        fs::copy(run::root().join("Cargo.lock"), tree.join("Cargo.lock"))?;
    }
    Ok(tree)
}

fn copy(from: &Path, to: &Path) -> Result {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if entry.path().is_file() && !from.join(entry.file_name()).exists() {
            fs::remove_file(entry.path())?; // it was moved, or is no more
        }
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        if name == "target" {
            continue;
        }
        if path.is_dir() {
            copy(&path, &to.join(name))?;
        } else {
            write(&to.join(name), &fs::read(path)?)?;
        }
    }
    Ok(())
}

fn write(path: &Path, text: &[u8]) -> Result {
    if fs::read(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    Ok(fs::write(path, text)?)
}

/// All bugs, in the order of their files.
fn read() -> Result<Vec<Bug>> {
    let folder = run::root().join("xtask/sim/bugs");
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<_>>()?;
    files.sort();
    let mut bugs = Vec::new();
    for file in files {
        bugs.extend(parse(&fs::read_to_string(&file)?).map_err(|error| format!("{}: {error}", file.display()))?);
    }
    Ok(bugs)
}

fn parse(text: &str) -> Result<Vec<Bug>> {
    let mut bugs: Vec<Bug> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(name) = line.strip_prefix("# ") {
            bugs.push(Bug { name: name.into(), ..Bug::default() });
            continue;
        }
        if line.is_empty() {
            continue;
        }
        let bug = bugs.last_mut().ok_or("the file begins without `# name`")?;
        if let Some(file) = line.strip_prefix("file: ") {
            bug.file = file.into();
        } else if let Some(test) = line.strip_prefix("test: ") {
            bug.test = Some(test.into());
        } else if let Some(line) = line.strip_prefix('-') {
            bug.before.push(line.trim().into());
        } else if let Some(line) = line.strip_prefix('+') {
            bug.after.push(line.into());
        } else if let Some(line) = line.strip_prefix(' ') {
            bug.before.push(line.trim().into());
            bug.after.push(line.into());
        } else if bug.file.is_empty() {
            bug.meaning = line.into();
        } else {
            return Err(format!("line {}: `{line}`", number + 1).into());
        }
    }
    Ok(bugs)
}

/// The text with the bug in it.
fn plant(bug: &Bug, text: &str) -> Result<String> {
    let lines: Vec<&str> = text.lines().collect();
    let places: Vec<usize> = (0..lines.len())
        .filter(|start| {
            let window = lines.get(*start..start + bug.before.len());
            window.is_some_and(|window| window.iter().zip(&bug.before).all(|(line, before)| line.trim() == before))
        })
        .collect();
    let [start] = places[..] else {
        let count = places.len();
        return Err(format!("bug `{}`: its lines stand {count} times in {}, not once", bug.name, bug.file).into());
    };
    let after = bug.after.iter().map(String::as_str);
    let behind = &lines[start + bug.before.len()..];
    let all: Vec<&str> = lines[..start].iter().copied().chain(after).chain(behind.iter().copied()).collect();
    Ok(all.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_can_be_planted() {
        let bugs = read().unwrap();
        assert!(bugs.len() >= 40, "{} bugs", bugs.len());
        for bug in &bugs {
            assert_eq!(bugs.iter().filter(|other| other.name == bug.name).count(), 1, "{} is there twice", bug.name);
            assert!(!bug.meaning.is_empty() && !bug.before.is_empty(), "{bug:?}");
            let file = run::root().join("mqtt-session/src").join(&bug.file);
            let text = fs::read_to_string(&file).unwrap();
            assert_ne!(plant(bug, &text).unwrap(), text, "{} changes nothing", bug.name);
            if let Some(test) = &bug.test {
                let name = test.split("::").next().unwrap();
                let tests = run::root().join("mqtt-session/tests");
                let there = name == "lib"
                    || tests.join(format!("{name}.rs")).exists()
                    || tests.join(name).join("main.rs").exists();
                assert!(there, "{}: no test {name}", bug.name);
            }
        }
    }
}
