//! Where the act of a record is: the line that a reader shall see, which is never the log call.
//!
//! A record stands alone on the line directly under the act that it tells of; so its act is found
//! by looking at the source. Some records stand above their act instead, since what they cause
//! would else be told first: see the contract in `executor/README.md`.

use std::collections::HashMap;

use crate::event::Event;
use crate::files::text;

/// The lines of a statement, from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Act {
    pub(crate) first: u32,
    pub(crate) last: u32,
}

/// A cache of the acts of records. A recording may have millions of steps, but their records are on
/// about fifty lines of source.
#[derive(Default)]
pub(crate) struct Acts(HashMap<(&'static str, u32), Option<Act>>);

impl Acts {
    /// Returns the act that the record of this event describes, if its file is known.
    pub(crate) fn of(&mut self, event: &Event) -> Option<Act> {
        let look = || text(event.file).map(|text| act(text, event.line));
        *self.0.entry((event.file, event.line)).or_insert_with(look)
    }
}

/// Longer statements are marked by their first line.
const LONGEST: u32 = 3;

/// Finds the act that the record at `line` tells of.
fn act(text: &str, line: u32) -> Act {
    let lines: Vec<&str> = text.lines().collect();
    let record = (line as usize).saturating_sub(1);
    let (first, last) = below(&lines, record).unwrap_or_else(|| above(&lines, record));
    let (first, last) = (first as u32 + 1, last as u32 + 1);
    if last - first < LONGEST { Act { first, last } } else { Act { first, last: first } }
}

fn code<'a>(lines: &[&'a str], at: usize) -> &'a str {
    lines.get(at).map_or("", |line| line.trim())
}

fn is_code(line: &str) -> bool {
    !line.is_empty() && !line.starts_with("//")
}

/// The messages of records that stand above their act.
const ABOVE_THEIR_ACT: [&str; 5] =
    ["\"wake\"", "\"poll\"", "\"sleep\"", "\"send\"", "\"job submitted\""];

fn below(lines: &[&str], record: usize) -> Option<(usize, usize)> {
    let tells = code(lines, record);
    if !ABOVE_THEIR_ACT.iter().any(|message| tells.contains(message)) {
        return None;
    }
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

/// The block that ends in this line.
fn block(lines: &[&str], last: usize) -> Option<(usize, usize)> {
    let indentation = lines[last].strip_suffix('}').filter(|rest| rest.trim().is_empty())?;
    let opens = |line: &str| {
        let rest = line.strip_prefix(indentation);
        rest.is_some_and(|rest| rest.ends_with('{') && !rest.starts_with([' ', '}']))
    };
    let first = lines[..last].iter().rposition(|line| opens(line))?;
    Some((first, last))
}

/// The `match` whose arm this is; or, if that only looks at a variable, what made it.
fn matched(lines: &[&str], arm: usize) -> Option<(usize, usize)> {
    let at = (0..arm).rev().find(|&at| code(lines, at).starts_with("match "))?;
    if code(lines, at).contains('(') {
        return Some((at, at));
    }
    let before = (0..at).rev().find(|&at| is_code(code(lines, at)))?;
    Some(statement(lines, before))
}

/// The statement that ends in this line.
fn statement(lines: &[&str], last: usize) -> (usize, usize) {
    let begins = |at: usize| {
        let before = (0..at).rev().find(|&at| is_code(code(lines, at)));
        before.is_none_or(|before| ends_a_statement(code(lines, before)))
    };
    let first = (0..=last).rev().find(|&at| is_code(code(lines, at)) && begins(at));
    (first.unwrap_or(last), last)
}
