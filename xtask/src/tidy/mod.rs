//! `cargo xtask tidy`: the rules of the house that no compiler checks. Each rule is a function from files to
//! findings, with a test beside it that shows that it fires.
mod deps;
mod docs;
mod purity;
mod text;

use crate::{
    run::Result,
    source::{self, Source, has_extension},
};
use std::fmt;

/// Crates that hold decisions and no effects; their sources may name nothing that reaches the world.
pub(crate) const PURE: [&str; 3] = ["mqtt-proto", "topic-trie", "mqtt-session"];

/// One thing that breaks a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    /// From 1; 0 for the whole file.
    line: usize,
    what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// Runs every rule; long files are told and no failure.
pub(crate) fn run() -> Result {
    let sources = source::read(|_| true)?;
    for long in docs::long_files(&sources) {
        println!("note: {long}");
    }
    let mut findings = Vec::new();
    findings.extend(purity::banned_words(&sources));
    findings.extend(purity::attributes(&sources));
    findings.extend(docs::module_docs(&sources));
    findings.extend(docs::unfinished(&sources));
    findings.extend(text::machine_traces(&sources));
    findings.extend(text::stated_once(&sources));
    findings.extend(deps::one_way(&deps::graph()?));
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("tidy: {} files, nothing to mend", sources.len());
            Ok(())
        }
        count => Err(format!("{count} findings").into()),
    }
}

/// The pure crate whose shipped sources the file belongs to.
fn pure_crate(source: &Source) -> Option<&'static str> {
    let (dir, rest) = source.path.split_once('/')?;
    let is_source = rest.starts_with("src/") && has_extension(rest, "rs");
    PURE.into_iter().find(|name| *name == dir && is_source)
}
