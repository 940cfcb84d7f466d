//! The table of all cases.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io::Result;
use std::process::Command;
use std::time::Duration;

use crate::cases::{self, Outcome, Pattern, Reference};
use crate::catalog::Error;

/// A call, an error, a pattern, and what servers did.
pub(crate) struct Case {
    pub(crate) call: &'static str,
    pub(crate) error: Error,
    pub(crate) pattern: Pattern,
    /// Empty if the server does not make the call then.
    pub(crate) outcomes: BTreeSet<Outcome>,
}

impl Case {
    /// Runs the case, and prints an outcome that must not be.
    pub(crate) fn run(&mut self, reference: &Reference) {
        let errno = self.error.1.raw_os_error();
        self.outcomes = cases::run(reference, self.call, errno, self.pattern);
        for outcome in &self.outcomes {
            if let Outcome::Fault(text) = outcome {
                eprintln!("{} {} {}: {text}", self.call, name(self.error.0), self.pattern.name());
            }
        }
    }

    fn cell(&self) -> String {
        let names = self.outcomes.iter().map(|outcome| match outcome {
            Outcome::Serves => "serves",
            Outcome::Connections => "connections",
            Outcome::Exits => "exits",
            Outcome::Aborts => "aborts",
            Outcome::Fault(_) => "**fault**",
        });
        let names: Vec<&str> = names.collect();
        if names.is_empty() { "–".to_owned() } else { names.join(", ") }
    }
}

/// A row for each call and its errors that have the same outcomes.
pub(crate) fn markdown(cases: &[Case], time: Duration) -> String {
    let mut rows: Vec<(&str, Vec<&str>, Vec<String>)> = Vec::new();
    for cases in cases.chunk_by(|a, b| (a.call, a.error.0) == (b.call, b.error.0)) {
        let cell = |pattern: Pattern| {
            let case = cases.iter().find(|case| case.pattern == pattern);
            case.map_or(String::new(), Case::cell)
        };
        let cells: Vec<String> = Pattern::ALL.into_iter().map(cell).collect();
        if cells.iter().all(|cell| cell == "–") {
            continue;
        }
        let (call, error) = (cases[0].call, cases[0].error.0);
        match rows.iter_mut().find(|row| row.0 == call && row.2 == cells) {
            Some(row) => row.1.push(error),
            None => rows.push((call, vec![error], cells)),
        }
    }
    let run = cases.iter().filter(|case| !case.outcomes.is_empty()).count();
    let calls: BTreeSet<&str> = cases.iter().map(|case| case.call).collect();
    let mut text =
        format!("{run} cases of {} system calls, run in {} s.\n\n", calls.len(), time.as_secs());
    text += "| call | errors |";
    for pattern in Pattern::ALL {
        write!(text, " {} |", pattern.name()).expect("a string");
    }
    text += "\n|---|---|";
    text += &"---|".repeat(Pattern::ALL.len());
    text += "\n";
    for (call, errors, cells) in rows {
        let errors: Vec<String> = errors.iter().map(|error| name(error)).collect();
        writeln!(text, "| `{call}` | {} | {} |", errors.join(" "), cells.join(" | "))
            .expect("a string");
    }
    text
}

/// Returns the name of an error in the manual pages.
fn name(error: &str) -> String {
    if error == "ACCESS" { "EACCES".to_owned() } else { format!("E{error}") }
}

/// The page in the repository.
pub(crate) fn page(table: &str) -> Result<String> {
    let date = Command::new("date").args(["-u", "+%F"]).output()?.stdout;
    let date = String::from_utf8_lossy(&date).trim().to_owned();
    Ok(format!(
        "# Injected faults\n\n{}\n\nMeasured on {date}: {table}",
        include_str!("introduction.txt").trim()
    ))
}
