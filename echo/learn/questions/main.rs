//! Fifteen questions about async I/O, each answered by a small program.
//!
//! ```text
//! question        lists the questions
//! question N      runs the program that answers question N
//! ```
//!
//! Each program uses only the public API, and prints what it observes: no answer is written down in
//! advance. The guide shows the answers in
//! `echo/learn/questions.md`.

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

/// Columns available for the text of a question in the list.
const TEXT_WIDTH: usize = 76;

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
            None => return Ok(usage_error(&format!("there is no question {number:?}"))),
        },
        _ => return Ok(usage_error("too many arguments")),
    };
    match answered {
        // The reader has closed the pipe, as in `question 5 | head -3`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        answered => answered.map(|()| ExitCode::SUCCESS),
    }
}

/// Returns the question with this number, counted from 1.
fn question(number: usize) -> Option<&'static Question> {
    QUESTIONS.get(number.checked_sub(1)?)
}

fn list() -> io::Result<()> {
    for (number, question) in (1..).zip(&QUESTIONS) {
        print_line(format_args!("{number:2}  {}", wrap(question.text)))?;
    }
    print_line("\nto see an answer: cargo run --example question -- N")
}

/// Breaks a text that does not fit into one line into two.
fn wrap(text: &str) -> String {
    match text.get(..TEXT_WIDTH).and_then(|line| line.rfind(' ')) {
        Some(end) if text.len() > TEXT_WIDTH => {
            format!("{}\n    {}", &text[..end], &text[end + 1..])
        }
        _ => text.to_owned(),
    }
}

fn usage_error(why: &str) -> ExitCode {
    eprintln!("question: {why}; run it without arguments to list the questions");
    ExitCode::from(2)
}

/// Prints a line.
fn print_line(what: impl std::fmt::Display) -> io::Result<()> {
    writeln!(stdout(), "{what}")
}
