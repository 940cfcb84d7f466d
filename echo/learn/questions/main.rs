//! Fifteen questions about async I/O, each answered by a small program that runs here and now.
//!
//! ```text
//! question        lists the fifteen
//! question N      answers one
//! ```
//!
//! Each program uses the public interface, as a user would, and prints what it saw: no answer is
//! written down in advance. The guide in `tests/README.md` shows what they print.

mod blocking;
mod connection;
mod context;
mod drops;
mod edge;
mod fairness;
mod halves;
mod holder;
mod ladder;
mod lazy;
mod moved;
mod notification;
mod polls;
mod stuck;
mod timers;
mod wait;
mod wake;

use std::env;
use std::io::{self, ErrorKind, Write, stdout};
use std::process::ExitCode;

const QUESTIONS: [Question; 15] = [
    lazy::QUESTION,
    wait::QUESTION,
    context::QUESTION,
    holder::QUESTION,
    wake::QUESTION,
    stuck::QUESTION,
    moved::QUESTION,
    edge::QUESTION,
    notification::QUESTION,
    polls::QUESTION,
    halves::QUESTION,
    blocking::QUESTION,
    timers::QUESTION,
    drops::QUESTION,
    fairness::QUESTION,
];

/// Columns for the text of a question in the list.
const ROOM: usize = 76;

/// One question, and the program that answers it.
struct Question {
    text: &'static str,
    run: fn() -> io::Result<()>,
}

fn main() -> io::Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let answered = match &arguments[..] {
        [] => list(),
        [number] => match number.parse().ok().and_then(question) {
            Some(question) => (question.run)(),
            None => return Ok(refuse(&format!("no question has the number {number:?}"))),
        },
        _ => return Ok(refuse("one number is enough")),
    };
    match answered {
        // Whoever asked has read enough: `question 5 | head -3`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        answered => answered.map(|()| ExitCode::SUCCESS),
    }
}

/// By its number, which begins with 1.
fn question(number: usize) -> Option<&'static Question> {
    QUESTIONS.get(number.checked_sub(1)?)
}

fn list() -> io::Result<()> {
    for (number, question) in (1..).zip(&QUESTIONS) {
        say(format_args!("{number:2}  {}", wrap(question.text)))?;
    }
    say("\nthe answer to one of them: cargo run --example question -- N")
}

/// In two lines, if one has no room for it.
fn wrap(text: &str) -> String {
    match text.get(..ROOM).and_then(|line| line.rfind(' ')) {
        Some(end) if text.len() > ROOM => format!("{}\n    {}", &text[..end], &text[end + 1..]),
        _ => text.to_owned(),
    }
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("question: {why}; without a number, all are listed");
    ExitCode::from(2)
}

/// Prints a line.
fn say(what: impl std::fmt::Display) -> io::Result<()> {
    writeln!(stdout(), "{what}")
}
