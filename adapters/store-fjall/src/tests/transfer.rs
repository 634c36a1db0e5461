//! Contents as lines, and lines that are wrong.
use super::failing::{Faulty, committer};
use crate::ledger::Ledger;
use crate::transfer::{ImportError, export, import};
use crate::{Durability, FjallStore, OpenError};
use mqtt_session::broker::MemoryStore;
use proptest::prelude::*;
use std::path::Path;

fn exported(disk: &Faulty) -> String {
    let mut text = Vec::new();
    let report = export(&mut Ledger::empty(disk.clone()), Path::new("here"), &mut text).unwrap();
    assert_eq!(report.lost, []);
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.lines().count() as u64, report.lines);
    text
}

fn imported(text: &str) -> Result<Faulty, ImportError> {
    let mut ledger = Ledger::empty(Faulty::default());
    import(&mut ledger, Path::new("here"), text.as_bytes())?;
    Ok(ledger.records.disk)
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_exported_and_imported_is_the_same(batches in mqtt_store_contract::histories()) {
        let (mut committer, mut model) = (committer(Durability::Os), MemoryStore::new());
        for batch in batches {
            model.apply(&batch);
            committer.group(vec![batch], &mut |_| {});
        }
        let text = exported(&committer.ledger.records.disk);
        let again = imported(&text).unwrap();
        let (contents, report) = again.contents();
        prop_assert_eq!(report.lost, []);
        prop_assert_eq!(contents, model.contents());
        let second = exported(&again);
        prop_assert_eq!(sorted(&second), sorted(&text), "entries and messages, too");
    }

    #[test]
    fn no_line_makes_it_panic(line in "\\{?(\"[a-z_]{1,8}\":(\"[a-z/#+]*\"|[0-9]{1,3}|null|\\[\\]|\\{\\}),?){0,4}\\}?") {
        let error = imported(&format!("{{\"kind\":\"zanzara-export\",\"format\":1}}\n{line}\n")).err().unwrap();
        prop_assert!(matches!(error, ImportError::Line { line: 2, .. }), "{error}");
    }
}

#[test]
fn a_line_that_is_wrong_is_named() {
    let good = [
        r#"{"kind":"zanzara-export","format":1}"#,
        r#"{"kind":"session","client":"c","identity":null,"expiry":9,"disconnected_at":7,"will":null}"#,
        r#"{"kind":"message","id":1,"topic":"t","qos":1,"retain":false,"payload":"x"}"#,
        r#"{"kind":"entry","filter":"t","at":5,"message":1}"#,
    ];
    imported(&good.join("\n")).unwrap();
    for (line, field, why) in [
        (r"", "line", "EOF"),
        (r#"{"kind":"incoming","client":"c","id":1"#, "line", "EOF"),
        (r"[]", "line", "no JSON object"),
        (r#"{"client":"c"}"#, "kind", "a text is expected"),
        (r#"{"kind":"session"}"#, "client", "a text is expected"),
        (r#"{"kind":"poem"}"#, "kind", "not known"),
        (r#"{"kind":"zanzara-export","format":1}"#, "kind", "not known"),
        (r#"{"kind":"incoming","client":"d","id":1}"#, "client", "no line before this one"),
        (r#"{"kind":"incoming","client":"c","id":0}"#, "id", "no Packet Identifier"),
        (r#"{"kind":"incoming","client":"c","id":70000}"#, "id", "no Packet Identifier"),
        (r#"{"kind":"incoming","client":"c","id":1,"note":"hello"}"#, "note", "not known here"),
        (r#"{"kind":"entry","filter":"t","at":5,"message":1}"#, "at", "have to ascend"),
        (r#"{"kind":"entry","filter":"t","at":6,"message":2}"#, "message", "no line before this one"),
        (r#"{"kind":"entry","filter":"a/#/b","at":6,"message":1}"#, "filter", "no Topic Filter"),
        (r#"{"kind":"entry","filter":"t","at":-6,"message":1}"#, "at", "a number is expected"),
        (r#"{"kind":"retained","topic":"t","qos":3,"retain":true,"payload":""}"#, "qos", "0, 1 or 2"),
        (r#"{"kind":"retained","topic":"t","qos":0,"retain":1,"payload":""}"#, "retain", "true or false"),
        (r#"{"kind":"retained","topic":"+","qos":0,"retain":true,"payload":""}"#, "topic", "no Topic Name"),
        (r#"{"kind":"retained","topic":"t","qos":0,"retain":true}"#, "payload_base64", "a text is expected"),
        (
            r#"{"kind":"retained","topic":"t","qos":0,"retain":true,"payload_base64":"?"}"#,
            "payload_base64",
            "no base64",
        ),
        (
            r#"{"kind":"retained","topic":"t","qos":0,"retain":true,"payload":"","properties":"AAAA"}"#,
            "properties",
            "no properties",
        ),
        (r#"{"kind":"session","client":"c","expiry":9,"will":{"topic":"t","qos":9}}"#, "will.payload_base64", "a text"),
        (
            r#"{"kind":"session","client":"c","expiry":9,"will":{"topic":"t","payload":"","qos":9}}"#,
            "will.qos",
            "0, 1 or 2",
        ),
        (r#"{"kind":"session","client":"c","expiry":4294967296}"#, "expiry", "too large"),
        (
            r#"{"kind":"outgoing","client":"c","id":1,"order":1,"message":1,"places":[{"filter":"t"}]}"#,
            "places.at",
            "a number is expected",
        ),
    ] {
        let text = [&good[..], &[line, good[1]]].concat().join("\n");
        let error = imported(&text).err().unwrap_or_else(|| panic!("{line} is taken"));
        let ImportError::Line { line: number, field: found, why: says } = &error else { panic!("{error}") };
        assert_eq!((*number, found.as_str()), (5, field), "{line}: {error}");
        assert!(says.contains(why), "{line}: {error}");
        assert!(error.to_string().contains("line 5"));
    }
    for (text, line) in [("", 1), (good[1], 1), (r#"{"kind":"zanzara-export","format":2}"#, 1)] {
        let error = imported(text).err().unwrap();
        assert!(matches!(error, ImportError::Line { line: found, .. } if found == line), "{error}");
    }
}

#[test]
fn an_import_wants_a_new_folder() {
    let path = std::env::temp_dir().join(format!("mqtt-store-fjall-{}-import", std::process::id()));
    let _ = std::fs::remove_dir_all(&path); // of an earlier process with the same number
    let text = r#"{"kind":"zanzara-export","format":1}"#;
    assert!(matches!(FjallStore::import(&path, text.as_bytes()), Ok(1)));
    let error = FjallStore::import(&path, text.as_bytes()).unwrap_err();
    assert!(matches!(error, ImportError::Folder(OpenError::NotEmpty(_))), "{error}");
    let mut out = Vec::new();
    FjallStore::export(&path, &mut out).unwrap();
    assert_eq!(String::from_utf8(out.clone()).unwrap().lines().count(), 2, "the first line, and the counters");
    let missing = FjallStore::export(&path.join("nothing"), &mut out).unwrap_err();
    assert!(matches!(missing, OpenError::Missing(_)), "{missing}");
    std::fs::remove_dir_all(&path).unwrap();
}
