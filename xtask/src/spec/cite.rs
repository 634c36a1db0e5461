//! Finds citations: `[MQTT-1.5.4-1]` means MQTT 5.0, `[3.1.1: MQTT-3.1.2-22]` means 3.1.1. A bracket may hold several,
//! separated by commas. A string that is an identifier and nothing else counts, and in vector files every one does.
use crate::source::Source;

/// A version of the standard that numbers its statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    V3_1_1,
    V5_0,
}

/// One place that names a statement.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Citation<'a> {
    pub(super) version: Version,
    /// Such as `MQTT-1.5.4-1`.
    pub(super) id: &'a str,
    pub(super) path: &'a str,
    pub(super) line: usize,
    /// Whether it stands on a test.
    pub(super) test: bool,
}

/// Every citation in the sources.
pub(super) fn citations(sources: &[Source]) -> Vec<Citation<'_>> {
    sources.iter().flat_map(in_source).collect()
}

fn in_source(source: &Source) -> Vec<Citation<'_>> {
    let is_data = source.path.contains("testdata/");
    let mut found = Vec::new();
    for (index, text) in source.text.lines().enumerate() {
        let line = index + 1;
        for (at, _) in text.match_indices("MQTT-") {
            let id = identifier(&text[at..]);
            if let (Some(id), Some(version)) = (id, id.and_then(|id| version(text, at, id, is_data))) {
                found.push(Citation { version, id, path: &source.path, line, test: source.is_test(line) });
            }
        }
    }
    found
}

/// `MQTT-` with section, hyphen and number: the longest such text at the start.
fn identifier(text: &str) -> Option<&str> {
    let section = text.strip_prefix("MQTT-")?;
    let hyphen = section.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number = section[hyphen..].strip_prefix('-')?;
    let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    (hyphen > 0 && digits > 0).then(|| &text[..text.len() - number.len() + digits])
}

/// Which version the place means; `None` where the identifier is only talked about.
fn version(line: &str, at: usize, id: &str, is_data: bool) -> Option<Version> {
    let (before, after) = (&line[..at], &line[at + id.len()..]);
    let inside = match before.rfind('[') {
        Some(open) if !before[open..].contains(']') && after.contains(']') => Some(&before[open + 1..]),
        _ if after.starts_with('"') => before.rsplit_once('"').map(|(_, inside)| inside),
        _ => None,
    };
    let prefix = match inside {
        Some(inside) => inside.trim_start(),
        None if is_data => before,
        None => return None,
    };
    let old = "3.1.1:";
    let is_old = prefix.starts_with(old) || (inside.is_none() && before.trim_end().ends_with(old));
    let is_list = prefix.is_empty() || prefix.starts_with("MQTT-") || is_old || inside.is_none();
    is_list.then_some(if is_old { Version::V3_1_1 } else { Version::V5_0 })
}

#[cfg(test)]
mod tests {
    use super::{
        Version::{V3_1_1, V5_0},
        *,
    };

    fn found(path: &str, text: &str) -> Vec<(Version, String, bool)> {
        let source = [Source::new(path, text)];
        citations(&source).into_iter().map(|cite| (cite.version, cite.id.to_owned(), cite.test)).collect()
    }

    #[test]
    fn brackets_name_the_version() {
        let text = "// [MQTT-1.5.4-1], [3.1.1: MQTT-3.1.2-22] and [MQTT-4.2-1]";
        let expected = [(V5_0, "MQTT-1.5.4-1"), (V3_1_1, "MQTT-3.1.2-22"), (V5_0, "MQTT-4.2-1")];
        assert_eq!(found("mqtt-proto/src/a.rs", text), expected.map(|(version, id)| (version, id.to_owned(), false)));
    }

    #[test]
    fn a_bracket_may_hold_a_list() {
        let ids =
            |text| found("a/src/a.rs", text).into_iter().map(|(version, id, _)| (version, id)).collect::<Vec<_>>();
        assert_eq!(ids("// [MQTT-1.1-1, MQTT-2.2-2]"), [(V5_0, "MQTT-1.1-1".into()), (V5_0, "MQTT-2.2-2".into())]);
        assert_eq!(
            ids("// [3.1.1: MQTT-1.1-1, MQTT-2.2-2]"),
            [(V3_1_1, "MQTT-1.1-1".into()), (V3_1_1, "MQTT-2.2-2".into())]
        );
    }

    #[test]
    fn whole_strings_count_and_prose_does_not() {
        assert_eq!(found("a/src/a.rs", "x(\"MQTT-3.3.1-4\")"), [(V5_0, "MQTT-3.3.1-4".to_owned(), false)]);
        assert_eq!(found("a/src/a.rs", "x(\"3.1.1: MQTT-3.1.2-2\")"), [(V3_1_1, "MQTT-3.1.2-2".to_owned(), false)]);
        assert_eq!(found("a/src/a.rs", "// MQTT-3.3.1-4 is about QoS"), []);
        assert_eq!(found("a/src/a.rs", "// [see MQTT-3.3.1-4]"), []);
        assert_eq!(found("a/src/a.rs", "// [MQTT-x.y.z-n] and [MQTT-3.1]"), []);
    }

    #[test]
    fn tests_and_vectors_are_tests() {
        assert_eq!(found("a/tests/a.rs", "// [MQTT-1.5.4-1]"), [(V5_0, "MQTT-1.5.4-1".to_owned(), true)]);
        assert_eq!(found("a/src/a.rs", "#[cfg(test)]\nmod t {\n// [MQTT-1.5.4-1]\n}").len(), 1);
        let vectors = "30 00 | empty topic | MQTT-4.7.3-1\n30 00 | old | 3.1.1: MQTT-1.5.3-1";
        assert_eq!(
            found("a/testdata/v.txt", vectors),
            [(V5_0, "MQTT-4.7.3-1".to_owned(), true), (V3_1_1, "MQTT-1.5.3-1".to_owned(), true)]
        );
    }
}
