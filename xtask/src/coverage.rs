//! `cargo xtask coverage`: which share of the pure crates' lines their own tests reach, where the compiler's component
//! `llvm-tools` is present.
use crate::{
    run::{self, Result},
    tidy::PURE,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What each pure crate must reach, in percent of its lines.
const LEAST: f64 = 95.0;

/// Measures all pure crates, shows a line for each file that is below the limit, and fails where a crate is.
pub(crate) fn run() -> Result {
    let Some((profdata, cov)) = llvm_tools()? else {
        println!("coverage: not measured; `rustup component add llvm-tools` brings what is missing");
        return Ok(());
    };
    let dir = run::target().join("xtask/coverage");
    let mut low = Vec::new();
    for name in PURE {
        let profiles = dir.join("profiles").join(name);
        if profiles.is_dir() {
            fs::remove_dir_all(&profiles)?;
        }
        let tests = test(name, &dir, &profiles)?;
        let merged = profiles.join("merged.profdata");
        run::output(run::program(&profdata).args(["merge", "--sparse", "-o"]).arg(&merged).arg(&profiles))?;
        let mut report = run::program(&cov);
        report.args(["export", "--format=lcov", "--instr-profile"]).arg(&merged);
        for test in &tests {
            report.arg("--object").arg(test);
        }
        let lines = run::output(report.arg("--sources").arg(run::root().join(name).join("src")))?;
        let percent = summary(name, &lines);
        if percent < LEAST {
            low.push(format!("{name} {percent:.1} %"));
        }
    }
    if low.is_empty() { Ok(()) } else { Err(format!("below {LEAST} % of lines: {}", low.join(", ")).into()) }
}

/// `llvm-profdata` and `llvm-cov` of the compiler that is in use.
fn llvm_tools() -> Result<Option<(PathBuf, PathBuf)>> {
    let libraries = run::output(run::program("rustc").args(["--print", "target-libdir"]))?;
    let bin = Path::new(libraries.trim()).with_file_name("bin");
    let tools = (bin.join("llvm-profdata"), bin.join("llvm-cov"));
    Ok((tools.0.is_file() && tools.1.is_file()).then_some(tools))
}

/// Runs the tests of a crate with counters and gives their binaries.
fn test(name: &str, dir: &Path, profiles: &Path) -> Result<Vec<PathBuf>> {
    let cargo = || {
        let mut cargo = run::cargo();
        cargo.args(["test", "--quiet", "--locked", "--lib", "--tests", "--package", name, "--target-dir"]).arg(dir);
        cargo.env("RUSTFLAGS", "-C instrument-coverage").env("LLVM_PROFILE_FILE", profiles.join("%m-%p.profraw"));
        cargo
    };
    let messages = run::output(cargo().args(["--no-run", "--message-format=json"]))?;
    run::output(&mut cargo())?;
    let executables = messages.lines().filter_map(|line| line.split_once("\"executable\":\""));
    Ok(executables.filter_map(|(_, rest)| rest.split_once('"')).map(|(path, _)| path.into()).collect())
}

/// Prints what a report in the format of lcov says, and gives the share of lines that were reached.
fn summary(name: &str, lcov: &str) -> f64 {
    let (mut file, mut found, mut hit) = ("", 0_u32, 0_u32);
    let (mut all_found, mut all_hit) = (0_u32, 0_u32);
    let mut missed = Vec::new();
    for line in lcov.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            (file, found, hit) = (path, 0, 0);
            missed.clear();
        } else if let Some((number, count)) = line.strip_prefix("DA:").and_then(|data| data.split_once(',')) {
            found += 1;
            if count == "0" {
                missed.push(number.to_owned());
            } else {
                hit += 1;
            }
        } else if line == "end_of_record" {
            (all_found, all_hit) = (all_found + found, all_hit + hit);
            if percent(hit, found) < LEAST {
                let short = file.rsplit_once("/src/").map_or(file, |(_, rest)| rest);
                println!("  {name} {short}: {:.1} %, missing {}", percent(hit, found), missed.join(" "));
            }
        }
    }
    println!("{name}: {:.1} % of {all_found} lines", percent(all_hit, all_found));
    percent(all_hit, all_found)
}

fn percent(part: u32, of: u32) -> f64 {
    if of == 0 { 0.0 } else { f64::from(part) * 100.0 / f64::from(of) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_counted() {
        let report = "SF:/x/src/a.rs\nDA:1,5\nDA:2,0\nend_of_record\nSF:/x/src/b.rs\nDA:1,1\nDA:9,2\nend_of_record\n";
        assert!((summary("x", report) - 75.0).abs() < 1e-9);
        assert!(summary("x", "").abs() < 1e-9);
    }
}
