//! `cargo xtask fuzz`: runs a fuzz target for a while, with cargo-fuzz on a nightly compiler or on the stable
//! one with its unstable features opened.
use crate::run::{self, Result};
use std::{fs, path::Path, process::Command};

/// `args`: a target (all of them without one), `--time SECONDS` for each, `--list`, `--install` for cargo-fuzz.
pub(crate) fn run(args: &[String]) -> Result {
    let mut wanted = Vec::new();
    let (mut seconds, mut install) = (60_u32, run::is_ci());
    let known = targets()?;
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--list" => {
                println!("{}", known.join("\n"));
                return Ok(());
            }
            "--install" => install = true,
            "--time" => seconds = args.next().ok_or("--time takes seconds")?.parse()?,
            name if known.iter().any(|target| target == name) => wanted.push(name.to_owned()),
            other => return Err(format!("no target `{other}`; there are: {}", known.join(" ")).into()),
        }
    }
    if run::output(run::cargo().args(["fuzz", "--version"])).is_err() {
        if !install {
            return Err("cargo-fuzz is not installed; `--install` brings it".into());
        }
        run::run(run::cargo().args(["install", "--locked", "cargo-fuzz"]))?;
    }
    let root = run::root().join("fuzz");
    for target in if wanted.is_empty() { known } else { wanted } {
        // New inputs go into the first folder, which is nobody's; the others are committed.
        let corpora = ["corpus", "seeds", "regressions"].map(|folder| root.join(folder).join(&target));
        fs::create_dir_all(&corpora[0])?;
        if target.starts_with("decode") {
            plant_vectors(&corpora[0])?;
        }
        let corpora = corpora.iter().filter(|folder| folder.is_dir());
        let limits = [format!("-max_total_time={seconds}"), "-timeout=10".to_owned()];
        run::run(fuzzer().args(["fuzz", "run", &target]).args(corpora).arg("--").args(limits)).map_err(|error| {
            format!(
                "{error}
keep what was found: move it from fuzz/artifacts/{target}/ to fuzz/regressions/{target}/"
            )
        })?;
    }
    Ok(())
}

/// The names of the files in `fuzz/fuzz_targets/`.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(run::root().join("fuzz/fuzz_targets"))? {
        if let Some(name) = entry?.file_name().to_string_lossy().strip_suffix(".rs") {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Gives a decoder's corpus the codec's test vectors: name, version, bytes in hexadecimal, and more on a line.
fn plant_vectors(corpus: &Path) -> Result {
    for entry in fs::read_dir(run::root().join("mqtt-proto/testdata"))? {
        for line in fs::read_to_string(entry?.path())?.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<&str> = line.split('|').map(str::trim).collect();
            if let [name, _, hex, ..] = fields[..] {
                let packet: std::result::Result<Vec<u8>, _> =
                    hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16)).collect();
                fs::write(corpus.join(name), packet?)?;
            }
        }
    }
    Ok(())
}

/// Sanitizers are unstable: take a nightly compiler, or tell the stable one to pretend.
fn fuzzer() -> Command {
    // The proxy in PATH chooses the toolchain; the cargo that runs us is one toolchain's own.
    let mut cargo = run::program("cargo");
    if run::output(run::program("rustup").args(["run", "nightly", "rustc", "--version"])).is_ok() {
        cargo.arg("+nightly");
    } else {
        cargo.env("RUSTC_BOOTSTRAP", "1");
    }
    cargo
}
