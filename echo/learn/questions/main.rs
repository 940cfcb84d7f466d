//! Twenty-four questions about async I/O, each answered by a small program.
//!
//! ```text
//! question                        lists the questions
//! question N                      runs the program that answers question N
//! question N --trace FILE.html    also records a part of the run, to step through in a browser
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
mod scene;
mod sizes;
mod streams;
mod stuck;
mod timers;
mod tokens;
mod wait;
mod wake;

use std::env;
use std::fs::File;
use std::io::{self, ErrorKind, Write, stdout};
use std::process::ExitCode;

/// Lists the modules of the questions in their order, each with the path and the text of its file.
macro_rules! entries {
    ($($module:ident),* $(,)?) => {
        [$(Entry {
            question: $module::QUESTION,
            file: concat!("echo/learn/questions/", stringify!($module), ".rs"),
            source: include_str!(concat!(stringify!($module), ".rs")),
        }),*]
    };
}

const QUESTIONS: [Entry; 24] = entries![
    lazy,
    main_future,
    concurrency,
    wait,
    wake,
    context,
    stuck,
    polls,
    moved,
    edge,
    reads,
    tokens,
    halves,
    notification,
    blocking,
    fairness,
    timers,
    drops,
    pins,
    sizes,
    destructors,
    files,
    panics,
    streams,
];

/// Columns available for a text that is indented by four.
const TEXT_WIDTH: usize = 76;

/// One question, and the program that answers it.
struct Question {
    text: &'static str,
    run: fn() -> io::Result<()>,
}

/// A question, and the file of its program.
struct Entry {
    question: Question,
    file: &'static str,
    source: &'static str,
}

fn main() -> io::Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (number, trace) = match arguments[..] {
        [] => return ended(list()),
        [number] => (number, None),
        [number, "--trace", path] | ["--trace", path, number] if path.ends_with(".html") => {
            (number, Some(path))
        }
        [_, "--trace", ..] | ["--trace", ..] => {
            return Ok(usage_error("--trace requires a file name that ends in .html"));
        }
        _ => return Ok(usage_error("too many arguments")),
    };
    let Some(number) = number.parse().ok().filter(|number| question(*number).is_some()) else {
        return Ok(usage_error(&format!("there is no question {number:?}")));
    };
    match trace {
        None => ended(answer(number)),
        Some(path) => match File::create(path) {
            Ok(file) => ended(record(number, path, file)),
            Err(error) => Ok(usage_error(&format!("cannot create the file of --trace: {error}"))),
        },
    }
}

/// Returns the exit code of a command.
fn ended(result: io::Result<()>) -> io::Result<ExitCode> {
    match result {
        // The reader has closed the pipe, as in `question 5 | head -3`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        result => result.map(|()| ExitCode::SUCCESS),
    }
}

fn answer(number: usize) -> io::Result<()> {
    question(number).map_or(Ok(()), |entry| (entry.question.run)())
}

/// Runs the program of a question, and writes the page of its scene.
fn record(number: usize, path: &str, mut file: File) -> io::Result<()> {
    scene::request();
    answer(number)?;
    if let Some(entry) = question(number)
        && let Err(error) = scene::write(number, entry, &mut file)
    {
        return Err(io::Error::new(error.kind(), format!("question {number}: {error}")));
    }
    print_line(format_args!("\nstep through: {path}"))
}

/// Returns the question with this number, counted from 1.
fn question(number: usize) -> Option<&'static Entry> {
    QUESTIONS.get(number.checked_sub(1)?)
}

fn list() -> io::Result<()> {
    for (number, entry) in (1..).zip(&QUESTIONS) {
        print_line(format_args!("{number:2}  {}", wrap(entry.question.text)))?;
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
