//! Tracked text names no folder of somebody's machine and no package host, and states the oldest supported
//! compiler once.
use super::Finding;
use crate::source::{Source, has_extension};

/// Split so that this file does not find itself.
const TRACES: &[&str] = &[
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
    concat!("/va", "r/folders/"),
    concat!("C:\\", "Users"),
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("py", "pi.org"),
    concat!("python", "hosted.org"),
    concat!("registry.", "npmjs.org"),
    concat!("deb.", "debian.org"),
];

/// Lock files name what they locked; nobody writes them by hand.
const LOCKS: [&str; 2] = ["Cargo.lock", "package-lock.json"];

/// Finds machine paths and package hosts.
pub(super) fn machine_traces(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| !LOCKS.iter().any(|lock| source.path.ends_with(lock))) {
        for (index, line) in source.text.lines().enumerate() {
            for trace in TRACES.iter().filter(|trace| names(line, trace)) {
                findings.push(Finding::new(&source.path, index + 1, format!("names `{trace}`")));
            }
        }
    }
    findings
}

/// Whether the line names it from its beginning: `job/work/done` is a topic and no folder.
fn names(line: &str, trace: &str) -> bool {
    line.match_indices(trace).any(|(at, _)| !line[..at].ends_with(char::is_alphanumeric))
}

/// `rust-version` stands in the root manifest; members inherit it, and no other file repeats the number.
pub(super) fn stated_once(sources: &[Source]) -> Vec<Finding> {
    let root = sources.iter().find(|source| source.path == "Cargo.toml");
    let stated: Vec<&str> = root.map(|root| root.text.lines().filter_map(rust_version).collect()).unwrap_or_default();
    let [version] = stated[..] else {
        return vec![Finding::new("Cargo.toml", 0, "states `rust-version` once")];
    };
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path != "Cargo.toml") {
        let repeats = |line: &str| {
            rust_version(line).is_some()
                || (has_extension(&source.path, "md") && line.contains(&format!("Rust {version}")))
                || (has_extension(&source.path, "toml") && line.trim_start().starts_with("msrv"))
        };
        for (index, _) in source.text.lines().enumerate().filter(|(_, line)| repeats(line)) {
            findings.push(Finding::new(&source.path, index + 1, "repeats the oldest supported compiler"));
        }
    }
    findings
}

fn rust_version(line: &str) -> Option<&str> {
    let value = line.strip_prefix("rust-version")?.trim_start().strip_prefix('=')?;
    value.trim().strip_prefix('"')?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trace_fires_outside_of_lock_files() {
        for trace in TRACES {
            let text = format!("fine\nsee {trace}somewhere\n");
            let sources = [Source::new("docs/a.md", &text), Source::new("x/Cargo.lock", &text)];
            let found: Vec<(String, usize)> =
                machine_traces(&sources).into_iter().map(|finding| (finding.path, finding.line)).collect();
            assert_eq!(found, [("docs/a.md".to_owned(), 2)], "{trace}");
        }
    }

    #[test]
    fn a_topic_is_no_path() {
        let text = format!("publish(\"job{}done\")", concat!("/wo", "rk/"));
        assert_eq!(machine_traces(&[Source::new("a.js", &text)]), []);
    }

    #[test]
    fn a_second_statement_of_the_compiler_fires() {
        let root = Source::new("Cargo.toml", "rust-version = \"1.80\"\n");
        let sources = |path: &str, text: &str| [Source::new("Cargo.toml", &root.text), Source::new(path, text)];
        for (path, text) in [
            ("a/Cargo.toml", "rust-version = \"1.70\""),
            ("clippy.toml", "msrv = \"1.80\""),
            ("README.md", "needs Rust 1.80"),
        ] {
            assert_eq!(stated_once(&sources(path, text)).len(), 1, "{path}");
        }
        assert_eq!(stated_once(&sources("a/Cargo.toml", "rust-version.workspace = true")), []);
        assert_eq!(stated_once(&[Source::new("Cargo.toml", "[workspace]")]).len(), 1);
    }
}
