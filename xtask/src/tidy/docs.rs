//! Every module says what it is, none is left half-made, and none grows without notice.
use super::Finding;
use crate::source::{Source, has_extension};

/// Past this many lines a file wants a reason.
const LONG: usize = 600;

/// Every Rust file begins with a module doc.
pub(super) fn module_docs(sources: &[Source]) -> Vec<Finding> {
    rust(sources)
        .filter(|source| !source.text.trim_start().starts_with("//!"))
        .map(|source| Finding::new(&source.path, 1, "begins without a module doc (`//! …`)"))
        .collect()
}

/// Nothing is left for later in a macro or a note.
pub(super) fn unfinished(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in rust(sources) {
        for pair in source.tokens().windows(2) {
            if matches!(pair[0].text, "todo" | "unimplemented") && pair[1].text == "!" {
                findings.push(Finding::new(&source.path, pair[0].line, format!("`{}!` is left", pair[0].text)));
            }
        }
    }
    findings
}

/// Files that are longer than a reader likes.
pub(super) fn long_files(sources: &[Source]) -> Vec<Finding> {
    rust(sources)
        .map(|source| (source, source.text.lines().count()))
        .filter(|(_, lines)| *lines > LONG)
        .map(|(source, lines)| Finding::new(&source.path, 0, format!("{lines} lines, past {LONG} wants a reason")))
        .collect()
}

fn rust(sources: &[Source]) -> impl Iterator<Item = &Source> {
    sources.iter().filter(|source| has_extension(&source.path, "rs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_module_doc_fires() {
        let sources = [
            Source::new("a/src/a.rs", "// no doc\n"),
            Source::new("a/src/b.rs", "\n//! Doc.\n"),
            Source::new("c.md", ""),
        ];
        assert_eq!(module_docs(&sources), [Finding::new("a/src/a.rs", 1, "begins without a module doc (`//! …`)")]);
    }

    #[test]
    fn unfinished_code_fires() {
        let sources =
            [Source::new("a/src/a.rs", "fn a() {\n todo!()\n}\nfn b() { unimplemented!(\"later\") }\n// todo!()")];
        let lines: Vec<usize> = unfinished(&sources).iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [2, 4]);
    }

    #[test]
    fn a_long_file_fires() {
        let sources =
            [Source::new("a/src/a.rs", &"x\n".repeat(LONG)), Source::new("a/src/b.rs", &"x\n".repeat(LONG + 1))];
        let paths: Vec<String> = long_files(&sources).into_iter().map(|finding| finding.path).collect();
        assert_eq!(paths, ["a/src/b.rs"]);
    }
}
