//! The project's files, and just enough of Rust's grammar to read them: tokens without comments and
//! strings, and which lines are compiled for tests alone.
use crate::run::{self, Result};
use std::{collections::BTreeSet, fs, ops::RangeInclusive};

/// One file of the project.
pub(crate) struct Source {
    /// Path from the workspace's folder, with `/`.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
    test: TestCode,
}

enum TestCode {
    Whole,
    Lines(Vec<RangeInclusive<usize>>),
}

/// A word, number or punctuation character outside of comments, strings and characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

impl Source {
    /// A file by itself; only its path and its own attributes tell test code.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let whole = !has_extension(path, "rs") || path.split('/').any(|part| matches!(part, "tests" | "testdata"));
        let test = if whole { TestCode::Whole } else { TestCode::Lines(test_items(&tokens(text)).lines) };
        Self { path: path.to_owned(), text: text.to_owned(), test }
    }

    /// Whether the line (from 1) is compiled for tests alone, or is test data.
    pub(crate) fn is_test(&self, line: usize) -> bool {
        match &self.test {
            TestCode::Whole => true,
            TestCode::Lines(ranges) => ranges.iter().any(|range| range.contains(&line)),
        }
    }

    /// The tokens that are compiled without `cfg(test)`.
    pub(crate) fn tokens(&self) -> Vec<Token<'_>> {
        tokens(&self.text).into_iter().filter(|token| !self.is_test(token.line)).collect()
    }
}

/// Every file that git tracks or would track, as paths from the workspace's folder.
pub(crate) fn tracked() -> Result<Vec<String>> {
    let list = run::output(run::program("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]))?;
    let files: BTreeSet<&str> = list.lines().filter(|path| run::root().join(path).is_file()).collect();
    Ok(files.into_iter().map(str::to_owned).collect())
}

/// Reads those of the tracked files that `wanted` names. Files of modules that are declared under
/// `#[cfg(test)]` in another file count as test code.
pub(crate) fn read(wanted: impl Fn(&str) -> bool) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in tracked()?.into_iter().filter(|path| wanted(path)) {
        // What is not text has nothing to say here.
        if let Ok(text) = String::from_utf8(fs::read(run::root().join(&path))?) {
            sources.push(Source::new(&path, &text));
        }
    }
    mark_test_modules(&mut sources);
    Ok(sources)
}

/// Whether the path ends with that extension, spelled just so.
pub(crate) fn has_extension(path: &str, extension: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, found)| found == extension)
}

fn mark_test_modules(sources: &mut [Source]) {
    let mut stems = Vec::new();
    for source in sources.iter().filter(|source| has_extension(&source.path, "rs")) {
        let (dir, file) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
        let dir = match file {
            "lib.rs" | "main.rs" | "mod.rs" => dir.to_owned(),
            _ => source.path.trim_end_matches(".rs").to_owned(),
        };
        let modules = test_items(&tokens(&source.text)).modules;
        stems.extend(modules.into_iter().map(|module| format!("{dir}/{module}")));
    }
    for source in sources {
        let is_below = |stem: &String| {
            source.path.strip_prefix(stem.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        if stems.iter().any(is_below) {
            source.test = TestCode::Whole;
        }
    }
}

#[derive(Default)]
struct TestItems<'a> {
    lines: Vec<RangeInclusive<usize>>,
    /// Modules whose body lies in another file.
    modules: Vec<&'a str>,
}

/// Finds the items under `#[cfg(test)]` (or `all`, `any` with `test` in it) and `#[test]`.
fn test_items<'a>(tokens: &[Token<'a>]) -> TestItems<'a> {
    let mut found = TestItems::default();
    let mut at = 0;
    while at < tokens.len() {
        let Some(after) = attribute_end(tokens, at) else {
            at += 1;
            continue;
        };
        if !is_test_attribute(&tokens[at..after]) {
            at = after;
            continue;
        }
        let mut item = after;
        while let Some(next) = attribute_end(tokens, item) {
            item = next;
        }
        let end = item_end(tokens, item);
        let body = &tokens[item..end];
        if let Some([_, name, semicolon]) =
            body.iter().position(|token| token.text == "mod").and_then(|i| body.get(i..i + 3))
            && semicolon.text == ";"
        {
            found.modules.push(name.text);
        }
        found.lines.push(tokens[at].line..=tokens[end - 1].line);
        at = end;
    }
    found
}

/// The index after an outer attribute that begins at `at`.
fn attribute_end(tokens: &[Token<'_>], at: usize) -> Option<usize> {
    let is = |index: usize, text: &str| tokens.get(index).is_some_and(|token| token.text == text);
    (is(at, "#") && is(at + 1, "[")).then(|| closing(tokens, at + 1) + 1)
}

fn is_test_attribute(attribute: &[Token<'_>]) -> bool {
    let has = |word: &str| attribute.iter().any(|token| token.text == word);
    match attribute.get(2).map(|token| token.text) {
        Some("cfg") => has("test") && !has("not"),
        Some("test") => true,
        _ => false,
    }
}

/// The index after the item that begins at `at`: past its `;` or its braces.
fn item_end(tokens: &[Token<'_>], mut at: usize) -> usize {
    while let Some(token) = tokens.get(at) {
        match token.text {
            ";" => return at + 1,
            "{" => return closing(tokens, at) + 1,
            "(" | "[" => at = closing(tokens, at),
            _ => {}
        }
        at += 1;
    }
    tokens.len()
}

/// The index of the bracket that closes the one at `open`; the last token when none does.
fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return index;
        }
    }
    tokens.len() - 1
}

/// Splits Rust text into tokens; comments, strings, characters and lifetimes leave none.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut line = 1;
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let len = if let Some(len) = skipped(rest) {
            len
        } else if is_word(first) {
            let len = word_len(rest);
            found.push(Token { text: &rest[..len], line });
            len
        } else {
            let len = first.len_utf8();
            if !first.is_whitespace() {
                found.push(Token { text: &rest[..len], line });
            }
            len
        };
        line += rest[..len].matches('\n').count();
        at += len;
    }
    found
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn word_len(rest: &str) -> usize {
    rest.find(|c| !is_word(c)).unwrap_or(rest.len())
}

/// The length of a comment, string, character or lifetime at the start of `rest`.
fn skipped(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment_len(rest));
    }
    if rest.starts_with('\'') {
        return Some(quote_len(rest));
    }
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        rest.strip_prefix(prefix).is_some_and(|rest| {
            rest.starts_with('"') || (prefix.ends_with('r') && rest.trim_start_matches('#').starts_with('"'))
        })
    })?;
    let body = &rest[prefix.len()..];
    let len = if prefix.ends_with('r') { raw_string_len(body) } else { escaped_len(body, '"') };
    Some(prefix.len() + len)
}

fn block_comment_len(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match rest.get(at..at + 2) {
            Some("/*") => depth += 1,
            Some("*/") => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// A character such as `'"'` or `'\''`; else a lifetime, of which only the quote is skipped.
fn quote_len(rest: &str) -> usize {
    let mut chars = rest.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => escaped_len(rest, '\''),
        (Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => 1,
    }
}

fn escaped_len(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (index, c) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return index + 1;
        }
    }
    rest.len()
}

fn raw_string_len(rest: &str) -> usize {
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let end = format!("\"{}", &rest[..hashes]);
    let open = hashes + 1;
    rest[open..].find(&end).map_or(rest.len(), |found| open + found + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        tokens(text).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_strings_and_characters_leave_no_token() {
        assert_eq!(words("a // std\nb /* std /* std */ std */ c"), ["a", "b", "c"]);
        assert_eq!(words(r#"a("st\"d", b"std", r"std\", br"std")"#), ["a", "(", ",", ",", ",", ")"]);
        assert_eq!(words(r###"x = r##"a "# std"## ;"###), ["x", "=", ";"]);
        assert_eq!(words(r"['\'', '\u{41}', 'é', '\\'] std"), ["[", ",", ",", ",", "]", "std"]);
        assert_eq!(words("&'a str"), ["&", "a", "str"]);
        assert_eq!(words("\"never closed // std"), [] as [&str; 0]);
    }

    #[test]
    fn lines_are_counted_through_skipped_text() {
        let found = tokens("/*\n\n*/ a \"\n\" b");
        assert_eq!(found, [Token { text: "a", line: 3 }, Token { text: "b", line: 4 }]);
    }

    #[test]
    fn items_for_tests_are_told_apart() {
        let text = "fn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n fn b() { {} }\n}\nfn c() {}\n";
        let source = Source::new("x/src/lib.rs", text);
        let lines: Vec<usize> = (1..=7).filter(|line| source.is_test(*line)).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6]);
        assert!(!Source::new("x/src/lib.rs", "#[cfg(not(test))]\nfn a() {}").is_test(2));
        assert!(Source::new("x/src/lib.rs", "#[cfg(all(test, unix))]\nfn a(x: [u8; 2]) {}").is_test(2));
        assert!(Source::new("x/tests/it.rs", "fn a() {}").is_test(1));
    }

    #[test]
    fn files_of_test_modules_are_test_code() {
        let mut sources = [
            Source::new("x/src/lib.rs", "mod a;\n#[cfg(test)]\nmod helpers;"),
            Source::new("x/src/a.rs", "mod other;\n#[cfg(test)]\nmod tests;"),
            Source::new("x/src/helpers.rs", "fn h() {}"),
            Source::new("x/src/a/tests.rs", "fn t() {}"),
            Source::new("x/src/a/tests/deep.rs", "fn t() {}"),
            Source::new("x/src/a/other.rs", "fn o() {}"),
        ];
        mark_test_modules(&mut sources);
        let whole: Vec<bool> = sources.iter().map(|source| source.is_test(1)).collect();
        assert_eq!(whole, [false, false, true, true, true, false]);
    }
}
