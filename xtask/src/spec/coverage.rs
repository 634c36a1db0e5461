//! Sets the statements against the citations: what each has, and what is missing.
use super::cite::{
    Citation,
    Version::{self, V3_1_1, V5_0},
};
use crate::run::Result;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

/// The data files: which statements there are, which of them agree, and which have no check for a reason.
pub(super) struct Statements {
    /// In the order of the standard.
    ids: BTreeMap<Version, Vec<String>>,
    /// Statements of 3.1.1 and the ones of 5.0 that say the same.
    same: BTreeMap<String, Vec<String>>,
    reasons: BTreeMap<(Version, String), String>,
}

/// The rows of one version.
pub(super) type Rows = BTreeMap<Id, Row>;

/// What was found.
pub(super) struct Coverage {
    old: Rows,
    new: Rows,
    /// Whatever has to be mended, one line each.
    pub(super) problems: Vec<String>,
}

/// Where one statement is cited.
#[derive(Default)]
pub(super) struct Row {
    /// The statements of 5.0 that say the same.
    pub(super) same: Vec<String>,
    pub(super) code: BTreeSet<String>,
    pub(super) tests: BTreeSet<String>,
    pub(super) reason: Option<String>,
}

/// A statement's identifier, in the order of the standard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    numbers: Vec<u32>,
    pub(super) text: String,
}

impl Id {
    fn new(text: &str) -> Self {
        let numbers = text.split(['-', '.']).filter_map(|part| u32::from_str(part).ok()).collect();
        Self { numbers, text: text.to_owned() }
    }
}

impl Row {
    /// What the statement still needs.
    pub(super) fn missing(&self) -> Option<&'static str> {
        match (self.code.is_empty(), self.tests.is_empty(), &self.reason) {
            (_, _, Some(_)) | (false, false, None) => None,
            (true, true, None) => Some("code and test"),
            (true, false, None) => Some("code"),
            (false, true, None) => Some("test"),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            V3_1_1 => "3.1.1",
            V5_0 => "5.0",
        })
    }
}

impl Coverage {
    /// Each version with its rows.
    pub(super) fn versions(&self) -> [(Version, &Rows); 2] {
        [(V5_0, &self.new), (V3_1_1, &self.old)]
    }
}

/// The lines of a data file, without comments; fields are separated by `|`.
fn records(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| line.split('|').map(str::trim).collect())
}

impl Statements {
    /// Reads the four data files, and refuses what does not fit together.
    pub(super) fn parse(old: &str, new: &str, same: &str, reasons: &str) -> Result<Self> {
        let list = |text: &str| records(text).map(|fields| fields[0].to_owned()).collect();
        let mut statements = Self {
            ids: BTreeMap::from([(V3_1_1, list(old)), (V5_0, list(new))]),
            same: BTreeMap::new(),
            reasons: BTreeMap::new(),
        };
        for fields in records(same) {
            let [id, others] = fields[..] else { return Err(format!("same.txt: {fields:?}").into()) };
            let others: Vec<String> = others.split(',').map(|other| other.trim().to_owned()).collect();
            let is_known = statements.has(V3_1_1, id) && others.iter().all(|other| statements.has(V5_0, other));
            if !is_known || statements.same.insert(id.to_owned(), others).is_some() {
                return Err(format!("same.txt: unknown or repeated: {fields:?}").into());
            }
        }
        for fields in records(reasons) {
            let [version, id, reason] = fields[..] else { return Err(format!("reasons.txt: {fields:?}").into()) };
            let version = match version {
                "3.1.1" => V3_1_1,
                "5.0" => V5_0,
                other => return Err(format!("reasons.txt: version `{other}`").into()),
            };
            let key = (version, id.to_owned());
            let is_new = statements.has(version, id) && !reason.is_empty();
            if !is_new || statements.reasons.insert(key, reason.to_owned()).is_some() {
                return Err(format!("reasons.txt: unknown, repeated or empty: {fields:?}").into());
            }
        }
        Ok(statements)
    }

    fn has(&self, version: Version, id: &str) -> bool {
        self.ids[&version].iter().any(|known| known == id)
    }

    /// Fills a row for each statement.
    pub(super) fn cover(&self, citations: &[Citation<'_>]) -> Coverage {
        let rows = |version| self.ids[&version].iter().map(|id| (Id::new(id), Row::default())).collect();
        let mut coverage = Coverage { old: rows(V3_1_1), new: rows(V5_0), problems: Vec::new() };
        for cite in citations {
            let rows = if cite.version == V5_0 { &mut coverage.new } else { &mut coverage.old };
            let Some(row) = rows.get_mut(&Id::new(cite.id)) else {
                let Citation { version, id, path, line, .. } = cite;
                coverage.problems.push(format!("{path}:{line}: MQTT {version} has no statement {id}"));
                continue;
            };
            let places = if cite.test { &mut row.tests } else { &mut row.code };
            places.insert(cite.path.to_owned());
        }
        for (id, others) in &self.same {
            let merged = merge(coverage.old.remove(&Id::new(id)).unwrap_or_default(), others, &coverage.new);
            coverage.old.insert(Id::new(id), merged);
        }
        self.settle(&mut coverage);
        coverage
    }

    /// Adds the reasons, and lists what is missing or said in vain.
    fn settle(&self, coverage: &mut Coverage) {
        let Coverage { old, new, problems } = coverage;
        for ((version, id), reason) in &self.reasons {
            let row = if *version == V5_0 { &mut *new } else { &mut *old }.get_mut(&Id::new(id));
            let row = row.expect("reasons name known statements");
            if row.missing().is_none() {
                problems.push(format!("{version} {id}: cited in code and test; its line in reasons.txt can go"));
            }
            row.reason = Some(reason.clone());
        }
        // A statement that 5.0 makes with a reason has the same reason in 3.1.1.
        for row in old.values_mut().filter(|row| row.missing().is_some()) {
            row.reason = row.same.iter().find_map(|other| new[&Id::new(other)].reason.clone());
        }
        for (version, rows) in [(V5_0, &*new), (V3_1_1, &*old)] {
            for (id, row) in rows {
                if let Some(missing) = row.missing() {
                    problems.push(format!("{version} {}: no {missing}", id.text));
                }
            }
        }
    }
}

/// What a 3.1.1 statement has by itself or through statements of 5.0. It takes all of these: one that lacks code
/// or test lends the others' to nobody.
fn merge(mut row: Row, others: &[String], new: &Rows) -> Row {
    let through: Vec<&Row> = others.iter().map(|other| &new[&Id::new(other)]).collect();
    if through.iter().all(|other| !other.code.is_empty()) {
        row.code.extend(through.iter().flat_map(|other| other.code.iter().cloned()));
    }
    if through.iter().all(|other| !other.tests.is_empty()) {
        row.tests.extend(through.iter().flat_map(|other| other.tests.iter().cloned()));
    }
    row.same = others.to_vec();
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cite(version: Version, id: &'static str, test: bool) -> Citation<'static> {
        Citation { version, id, path: if test { "t.rs" } else { "c.rs" }, line: 7, test }
    }

    fn problems(same: &str, reasons: &str, citations: &[Citation<'_>]) -> Vec<String> {
        Statements::parse("MQTT-1.1-1", "MQTT-2.1-1\nMQTT-2.1-2", same, reasons).unwrap().cover(citations).problems
    }

    #[test]
    fn each_statement_needs_code_and_test() {
        let code = cite(V5_0, "MQTT-2.1-1", false);
        let test = cite(V5_0, "MQTT-2.1-2", true);
        let old = [cite(V3_1_1, "MQTT-1.1-1", false), cite(V3_1_1, "MQTT-1.1-1", true)];
        let [first, second] = old;
        assert_eq!(
            problems("", "", &[code, test, first, second]),
            ["5.0 MQTT-2.1-1: no test", "5.0 MQTT-2.1-2: no code"]
        );
        assert_eq!(problems("", "", &[]).len(), 3);
    }

    #[test]
    fn a_statement_of_several_parts_needs_all_of_them() {
        let same = "MQTT-1.1-1 | MQTT-2.1-1, MQTT-2.1-2";
        let mut citations = vec![cite(V5_0, "MQTT-2.1-1", false), cite(V5_0, "MQTT-2.1-1", true)];
        assert!(problems(same, "", &citations).contains(&"3.1.1 MQTT-1.1-1: no code and test".to_owned()));
        citations.extend([cite(V5_0, "MQTT-2.1-2", false), cite(V5_0, "MQTT-2.1-2", true)]);
        assert_eq!(problems(same, "", &citations), [] as [&str; 0]);
    }

    #[test]
    fn a_reason_stands_for_citations_until_they_come() {
        let same = "MQTT-1.1-1 | MQTT-2.1-1";
        let reasons = "5.0 | MQTT-2.1-1 | because\n5.0 | MQTT-2.1-2 | because";
        assert_eq!(problems(same, reasons, &[]), [] as [&str; 0]);
        let cited = [cite(V5_0, "MQTT-2.1-2", false), cite(V5_0, "MQTT-2.1-2", true)];
        assert_eq!(
            problems(same, reasons, &cited),
            ["5.0 MQTT-2.1-2: cited in code and test; its line in reasons.txt can go"]
        );
    }

    #[test]
    fn unknown_statements_are_told() {
        let found = problems("", "", &[cite(V3_1_1, "MQTT-2.1-1", false)]);
        assert!(found.contains(&"c.rs:7: MQTT 3.1.1 has no statement MQTT-2.1-1".to_owned()), "{found:?}");
        for (same, reasons) in [
            ("MQTT-2.1-1 | MQTT-2.1-1", ""),
            ("MQTT-1.1-1 | MQTT-1.1-1", ""),
            ("", "5.0 | MQTT-1.1-1 | because"),
            ("", "5.0 | MQTT-2.1-1 | "),
            ("", "4 | MQTT-2.1-1 | because"),
        ] {
            assert!(Statements::parse("MQTT-1.1-1", "MQTT-2.1-1", same, reasons).is_err(), "{same}{reasons}");
        }
    }

    #[test]
    fn statements_sort_as_numbers() {
        assert!(Id::new("MQTT-3.1.2-9") < Id::new("MQTT-3.1.2-10"));
        assert!(Id::new("MQTT-3.9.3-1") < Id::new("MQTT-3.10.1-1"));
    }
}
