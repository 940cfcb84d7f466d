//! Finds the source lines of the statement that a log record describes. The page marks these lines, and
//! not the log call.
//!
//! The runtime logs directly below the statement, so this module searches the source text above the
//! record. Some records stand above their statement, because otherwise the records of its effects
//! would come first. `executor/README.md` describes this convention.

use std::collections::HashMap;

use crate::event::{Event, Kind};
use crate::source_files::text;

/// The first and the last line of a statement, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineRange {
    pub(crate) first: u32,
    pub(crate) last: u32,
}

/// A cache of the lines found. A recording may have millions of steps, but their records are on about
/// fifty lines of source.
pub(crate) struct SourceLines {
    /// Path and text of the files of the program.
    program: Vec<(&'static str, &'static str)>,
    found: HashMap<(&'static str, u32), Option<LineRange>>,
}

impl SourceLines {
    pub(crate) fn new(program: Vec<(&'static str, &'static str)>) -> SourceLines {
        SourceLines { program, found: HashMap::new() }
    }

    /// Returns the lines of the statement that this event's record describes, if its file is known.
    pub(crate) fn of(&mut self, event: &Event) -> Option<LineRange> {
        let SourceLines { program, found } = self;
        let own = || program.iter().find(|(path, _)| *path == event.file).map(|(_, text)| *text);
        // A client logs before it acts, but after it has received something.
        let is_below = matches!(event.kind, Kind::Outside { .. }) && event.causes.is_empty();
        let find = || Some(statement_of(text(event.file).or_else(own)?, event.line, is_below));
        *found.entry((event.file, event.line)).or_insert_with(find)
    }
}

/// The most lines of a statement that are marked. Of a longer one, only the first line is marked.
const MAX_LINES: u32 = 3;

/// Returns the lines of the statement that the record at `line` describes. `is_below` is whether the
/// statement is known to stand below the record.
fn statement_of(text: &str, line: u32, is_below: bool) -> LineRange {
    let lines: Vec<&str> = text.lines().collect();
    // A program may pass a source that is shorter than the one of the record.
    let record = (line as usize).saturating_sub(1).min(lines.len());
    let is_below = is_below || is_above_its_statement(code(&lines, record));
    let below = if is_below { below(&lines, record) } else { None };
    let (first, last) = below.unwrap_or_else(|| above(&lines, record));
    let (first, last) = (first as u32 + 1, last as u32 + 1);
    let last = if last - first < MAX_LINES { last } else { first };
    LineRange { first, last }
}

fn code<'a>(lines: &[&'a str], at: usize) -> &'a str {
    lines.get(at).map_or("", |line| line.trim())
}

fn is_code(line: &str) -> bool {
    !line.is_empty() && !line.starts_with("//")
}

/// The messages of records that stand above their statement.
const ABOVE_THEIR_STATEMENT: [&str; 5] =
    ["\"wake\"", "\"poll\"", "\"sleep\"", "\"send\"", "\"job submitted\""];

fn is_above_its_statement(log_call: &str) -> bool {
    ABOVE_THEIR_STATEMENT.iter().any(|message| log_call.contains(message))
}

/// Returns the statement that begins below this line.
fn below(lines: &[&str], record: usize) -> Option<(usize, usize)> {
    let first = (record + 1..lines.len()).find(|&at| is_code(code(lines, at)))?;
    let last = (first..lines.len()).find(|&at| ends_a_statement(code(lines, at)))?;
    Some((first, last))
}

fn ends_a_statement(line: &str) -> bool {
    line.ends_with(';') || line.ends_with('{') || line.ends_with('}')
}

fn above(lines: &[&str], record: usize) -> (usize, usize) {
    let is_arm = code(lines, record).contains("=> ");
    let before = (0..record).rev().find(|&at| is_code(code(lines, at))).unwrap_or(record);
    let opens_arm = code(lines, before).ends_with("=> {");
    if is_arm || opens_arm {
        return matched(lines, record).unwrap_or((before, before));
    }
    block(lines, before).unwrap_or_else(|| statement(lines, before))
}

/// Returns the block that ends on this line.
fn block(lines: &[&str], last: usize) -> Option<(usize, usize)> {
    let indentation = lines.get(last)?.strip_suffix('}').filter(|rest| rest.trim().is_empty())?;
    let opens = |line: &str| {
        let rest = line.strip_prefix(indentation);
        rest.is_some_and(|rest| rest.ends_with('{') && !rest.starts_with([' ', '}']))
    };
    let first = lines[..last].iter().rposition(|line| opens(line))?;
    Some((first, last))
}

/// Returns the line of the `match` whose arm this is. If the `match` only inspects a variable, returns
/// the statement above it, which computed the variable.
fn matched(lines: &[&str], arm: usize) -> Option<(usize, usize)> {
    let at = (0..arm).rev().find(|&at| code(lines, at).starts_with("match "))?;
    if code(lines, at).contains('(') {
        return Some((at, at));
    }
    let before = (0..at).rev().find(|&at| is_code(code(lines, at)))?;
    Some(statement(lines, before))
}

/// Returns the statement that ends on this line.
fn statement(lines: &[&str], last: usize) -> (usize, usize) {
    let begins = |at: usize| {
        let before = (0..at).rev().find(|&at| is_code(code(lines, at)));
        before.is_none_or(|before| ends_a_statement(code(lines, before)))
    };
    let first = (0..=last).rev().find(|&at| is_code(code(lines, at)) && begins(at));
    (first.unwrap_or(last), last)
}

/// Returns the function that contains a line, e.g. `Reactor::turn`: the nearest less indented `fn`
/// above it.
pub(crate) fn function_at(text: &str, line: u32) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let indent = |at: usize| lines[at].find(|c: char| !c.is_whitespace());
    let at = (line as usize).checked_sub(1).filter(|at| *at < lines.len())?;
    let own = indent(at)?;
    for above in (0..at).rev() {
        let Some(outer) = indent(above).filter(|outer| *outer < own) else { continue };
        if let Some(name) = word_after(lines[above], "fn ") {
            let of = (outer > 0).then(|| type_at(&lines[..above])).flatten();
            return Some(of.map_or(name.to_owned(), |of| format!("{of}::{name}")));
        }
        let opens =
            ["impl", "mod ", "trait "].iter().any(|word| lines[above].trim().starts_with(word));
        if opens {
            return None;
        }
    }
    None
}

/// Returns the type of the last `impl` in these lines.
fn type_at<'a>(lines: &[&'a str]) -> Option<&'a str> {
    let header = lines.iter().rev().find(|line| line.starts_with("impl"))?;
    match header.rsplit_once(" for ") {
        Some((_, of)) => word_after(of, ""),
        None => {
            let generics = header.strip_prefix("impl<").and_then(|rest| rest.split_once("> "));
            word_after(generics.map_or(header.strip_prefix("impl ")?, |(_, of)| of), "")
        }
    }
}

/// Returns the identifier that follows `before`.
fn word_after<'a>(line: &'a str, before: &str) -> Option<&'a str> {
    let at = line.find(before)?;
    // Not the end of another word.
    let begins = line[..at].ends_with([' ', '(']) || at == 0;
    let rest = &line[at + before.len()..];
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    Some(&rest[..end]).filter(|word| begins && !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::tests::cases;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    /// Lines of code and of other text.
    fn source() -> impl Strategy<Value = String> {
        let lines = [
            "",
            "// a comment",
            "impl A {",
            "impl<T> B for C<T> {",
            "fn f() {",
            "    fn g() {",
            "    match x {",
            "        X => {",
            "        Y => y,",
            "match f() {",
            "    x",
            "    x;",
            "    }",
            "}",
            "impl",
            "fn ",
            "for ",
        ];
        let line =
            prop_oneof![8 => select(lines.to_vec()).prop_map(str::to_owned), 1 => any::<String>()];
        vec(line, 0..20).prop_map(|lines| lines.join("\n"))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: cases(500), failure_persistence: None, ..ProptestConfig::default() })]

        // A program passes its own source, which may be of another version than the record.
        #[test]
        fn statement_in_any_source_is_short_and_ordered(text in source(), line in prop_oneof![0_u32..25, any::<u32>()], is_below: bool) {
            let LineRange { first, last } = statement_of(&text, line, is_below);
            prop_assert!(first >= 1 && first <= last && last - first < MAX_LINES);
            if let Some(name) = function_at(&text, line) {
                prop_assert!(name.split("::").all(|part| text.contains(part)));
            }
        }
    }

    #[test]
    fn line_is_in_the_nearest_function_around_it() {
        let text = "impl<T> Trait for Type<T> {\n    fn one() {\n        let x = || {\n            y;\n        \
                    };\n    }\n}\n\nimpl Other {\n    pub(crate) fn two() {\n        z;\n    }\n    \
                    const C: u8 = 1;\n}\nfn three() {\n    z;\n}\n";
        let found = |line| function_at(text, line).unwrap_or_default();
        for (line, name) in
            [(4, "Type::one"), (11, "Other::two"), (13, ""), (16, "three"), (99, "")]
        {
            assert_eq!(found(line), name, "line {line}");
        }
    }
}
