//! The pure crates name no clock, socket, lock, log, random source or `unsafe`, outside of their tests.
use super::{Finding, PURE, pure_crate};
use crate::source::{Source, Token};

/// Banned words with what to do instead. A rule is the text of consecutive tokens, split at spaces.
const BANNED: &[(&str, &str)] = &[
    ("std", "use `core` or `alloc`"),
    ("Instant : : now", "time is an argument"),
    ("SystemTime", "time is an argument"),
    ("println !", "return a value or an event"),
    ("eprintln !", "return a value or an event"),
    ("print !", "return a value or an event"),
    ("eprint !", "return a value or an event"),
    ("dbg !", "return a value or an event"),
    ("tracing", "return a value or an event"),
    ("log : : trace !", "return a value or an event"),
    ("log : : debug !", "return a value or an event"),
    ("log : : info !", "return a value or an event"),
    ("log : : warn !", "return a value or an event"),
    ("log : : error !", "return a value or an event"),
    ("rand", "take a seed"),
    ("getrandom", "take a seed"),
    ("RandomState", "hash with a seed that is passed in"),
    ("HashMap", "use an ordered map, or a table whose seed is passed in"),
    ("HashSet", "use an ordered set, or a table whose seed is passed in"),
    ("Mutex", "the owner of the value decides about sharing"),
    ("RwLock", "the owner of the value decides about sharing"),
    ("OnceLock", "the owner of the value decides about sharing"),
    ("LazyLock", "the owner of the value decides about sharing"),
    ("core : : sync", "the owner of the value decides about sharing"),
    ("atomic", "the owner of the value decides about sharing"),
    ("thread_local", "state lives in values"),
    ("static mut", "state lives in values"),
    ("unsafe", "safe code does"),
];

/// Finds the banned words in what the pure crates ship.
pub(super) fn banned_words(sources: &[Source]) -> Vec<Finding> {
    sources.iter().filter(|source| pure_crate(source).is_some()).flat_map(banned_in).collect()
}

fn banned_in(source: &Source) -> Vec<Finding> {
    let tokens = source.tokens();
    let mut findings = Vec::new();
    for at in 0..tokens.len() {
        for (words, instead) in BANNED {
            if begins_with(&tokens[at..], words) {
                let name = words.replace(' ', "");
                findings.push(Finding::new(
                    &source.path,
                    tokens[at].line,
                    format!("`{name}` in a pure crate: {instead}"),
                ));
            }
        }
    }
    findings
}

fn begins_with(tokens: &[Token<'_>], words: &str) -> bool {
    let mut tokens = tokens.iter();
    words.split(' ').all(|word| tokens.next().is_some_and(|token| token.text == word))
}

/// Each pure crate says `#![no_std]` and `#![forbid(unsafe_code)]`, without a condition.
pub(super) fn attributes(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in PURE {
        let path = format!("{name}/src/lib.rs");
        let text: String = sources
            .iter()
            .find(|source| source.path == path)
            .map(|source| source.tokens().iter().map(|token| token.text).collect())
            .unwrap_or_default();
        for attribute in ["#![no_std]", "#![forbid(unsafe_code)]"] {
            if !text.contains(attribute) {
                findings.push(Finding::new(&path, 0, format!("a pure crate says `{attribute}`")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        banned_words(&[Source::new(path, text)]).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn each_banned_word_fires_once() {
        for (words, _) in BANNED {
            let text = format!("fn f() {{\n    {};\n}}", words.replace(' ', "").replace("staticmut", "static mut"));
            assert_eq!(lines("mqtt-session/src/a.rs", &text), [2], "{words}");
        }
    }

    #[test]
    fn paths_and_imports_fire() {
        assert_eq!(lines("topic-trie/src/lib.rs", "use std::time::Duration;"), [1]);
        assert_eq!(lines("topic-trie/src/lib.rs", "extern crate std;"), [1]);
        assert_eq!(lines("mqtt-proto/src/a/b.rs", "let x = Instant\n  ::now();"), [1]);
        assert_eq!(lines("mqtt-proto/src/lib.rs", "use core::sync::atomic::AtomicU8;"), [1, 1]);
    }

    #[test]
    fn comments_strings_tests_and_other_crates_are_free() {
        assert_eq!(lines("mqtt-proto/src/lib.rs", "// std::net\nconst A: &str = \"std::net\";"), [] as [usize; 0]);
        assert_eq!(lines("mqtt-proto/src/lib.rs", "#[cfg(test)]\nmod t { use std::net; }"), [] as [usize; 0]);
        assert_eq!(lines("mqtt-proto/tests/a.rs", "use std::net;"), [] as [usize; 0]);
        assert_eq!(lines("adapters/tokio/src/lib.rs", "use std::net;"), [] as [usize; 0]);
        let allowed = "use core::cell::Cell; use alloc::sync::Arc; let now: Instant = log.standard();";
        assert_eq!(lines("mqtt-proto/src/lib.rs", allowed), [] as [usize; 0]);
    }

    #[test]
    fn missing_attributes_fire() {
        let lib = |name: &str, text: &str| Source::new(&format!("{name}/src/lib.rs"), text);
        let good = "#![no_std]\n#![forbid(unsafe_code)]";
        let sources = [
            lib("mqtt-proto", good),
            lib("topic-trie", "#![cfg_attr(not(test), no_std)]\n#![forbid(unsafe_code)]"),
            lib("mqtt-session", "#![no_std] // #![forbid(unsafe_code)]"),
        ];
        let paths: Vec<String> = attributes(&sources).into_iter().map(|finding| finding.path).collect();
        assert_eq!(paths, ["topic-trie/src/lib.rs", "mqtt-session/src/lib.rs"]);
    }
}
