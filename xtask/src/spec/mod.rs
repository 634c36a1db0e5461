//! `cargo xtask spec`: each normative statement of MQTT 3.1.1 and 5.0 stands beside the code that enforces it
//! and on a test that shows it, or has a reason; `SPEC.md` is generated from what is found.
mod cite;
mod coverage;
mod table;

use crate::{
    run::{self, Result},
    source,
    tidy::PURE,
};
use coverage::Coverage;
use std::fs;

const PAGE: &str = "SPEC.md";

/// `args`: nothing prints what is missing; `--write` makes SPEC.md anew, `--check` fails where it is not
/// current or where something is missing.
pub(crate) fn run(args: &[String]) -> Result {
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            report(&coverage()?);
            Ok(())
        }
        ["--write"] => {
            let coverage = coverage()?;
            report(&coverage);
            Ok(fs::write(run::root().join(PAGE), table::page(&coverage))?)
        }
        ["--check"] => check(),
        _ => Err("takes `--write`, `--check` or nothing".into()),
    }
}

/// Fails where a statement lacks what it needs, and where SPEC.md is not what would be generated.
pub(crate) fn check() -> Result {
    let coverage = coverage()?;
    let problems = report(&coverage);
    if problems > 0 {
        return Err(format!("{problems} things to mend").into());
    }
    let written = fs::read_to_string(run::root().join(PAGE)).unwrap_or_default();
    if written == table::page(&coverage) {
        Ok(())
    } else {
        Err(format!("{PAGE} is not current: run `cargo xtask spec --write`").into())
    }
}

fn coverage() -> Result<Coverage> {
    let data = |name: &str| fs::read_to_string(run::root().join("xtask/spec").join(name));
    let statements = coverage::Statements::parse(
        &data("v3.1.1.txt")?,
        &data("v5.0.txt")?,
        &data("same.txt")?,
        &data("reasons.txt")?,
    )?;
    let sources = source::read(is_read)?;
    Ok(statements.cover(&cite::citations(&sources)))
}

/// Sources and test vectors of what is shipped; tools and benches prove nothing.
fn is_read(path: &str) -> bool {
    let (top, rest) = path.split_once('/').unwrap_or(("", path));
    let is_ours = PURE.contains(&top) || top == "adapters";
    let is_aside = rest.split('/').any(|part| matches!(part, "examples" | "benches"));
    let is_vectors = rest.contains("testdata/") && source::has_extension(path, "txt");
    is_ours && !is_aside && (source::has_extension(path, "rs") || is_vectors)
}

/// Prints what is missing, and returns how much.
fn report(coverage: &Coverage) -> usize {
    for problem in &coverage.problems {
        println!("{problem}");
    }
    for (version, rows) in coverage.versions() {
        let reasons = rows.values().filter(|row| row.reason.is_some()).count();
        let missing = rows.values().filter(|row| row.missing().is_some()).count();
        let total = rows.len();
        println!("MQTT {version}: {total} statements, {reasons} with a reason, {missing} miss something");
    }
    coverage.problems.len()
}
