//! Twenty-four questions about async I/O, each answered by a small program.
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
mod concurrency;
mod connection;
mod context;
mod destructors;
mod drops;
mod edge;
mod fairness;
mod files;
mod halves;
mod holder;
mod ladder;
mod lazy;
mod main_future;
mod moved;
mod notification;
mod panic_messages;
mod panics;
mod pins;
mod polls;
mod reads;
mod sizes;
mod streams;
mod stuck;
mod timers;
mod tokens;
mod wait;
mod wake;

use std::env;
use std::io::{self, ErrorKind, Write, stdout};
use std::process::ExitCode;

const QUESTIONS: [Question; 24] = [
    lazy::QUESTION,
    main_future::QUESTION,
    concurrency::QUESTION,
    wait::QUESTION,
    wake::QUESTION,
    context::QUESTION,
    stuck::QUESTION,
    polls::QUESTION,
    moved::QUESTION,
    edge::QUESTION,
    reads::QUESTION,
    tokens::QUESTION,
    halves::QUESTION,
    notification::QUESTION,
    blocking::QUESTION,
    fairness::QUESTION,
    timers::QUESTION,
    drops::QUESTION,
    pins::QUESTION,
    sizes::QUESTION,
    destructors::QUESTION,
    files::QUESTION,
    panics::QUESTION,
    streams::QUESTION,
];

/// Columns available for a text that is indented by four.
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

/// Breaks a text into lines. All but the first are indented by four columns.
fn wrap(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is a first line");
        if last.is_empty() {
            last.push_str(word);
        } else if last.len() + 1 + word.len() <= TEXT_WIDTH {
            *last = format!("{last} {word}");
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join("\n    ")
}

fn usage_error(why: &str) -> ExitCode {
    eprintln!("question: {why}; run it without arguments to list the questions");
    ExitCode::from(2)
}

/// Prints a line.
fn print_line(what: impl std::fmt::Display) -> io::Result<()> {
    writeln!(stdout(), "{what}")
}
