//! Twenty small programs whose outcome is to be predicted before they run.
//!
//! ```text
//! predict              lists the programs
//! predict N            shows program N, asks what will happen, runs it, and explains the answers
//! predict N --tell     does not ask
//! ```
//!
//! The code that is shown is the code that runs: each file contains its program between
//! `// Program:` and `// End.`. Which answer is right is not written down anywhere. The function
//! around the program derives the answer from what the run has done.

#[path = "../ask.rs"]
mod ask;
#[path = "../faults/lost.rs"]
mod lost;

mod after_ready;
mod bare_edge;
mod buffered;
mod closed;
mod compute;
mod ends;
mod guard;
mod joined;
mod nested;
mod other_executor;
mod pinned_timer;
mod recreated_read;
mod recreated_timer;
mod sender;
mod sequence;
mod sizes;
mod twice;
mod unflushed;
mod unheld;
mod unstoppable;

use std::cell::Cell;
use std::env;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Write, stdout};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use reactor::net::TcpStream;

use ask::{Answer, Letter};

const PROMPTS: [Prompt; 20] = [
    ends::PROMPT,
    sequence::PROMPT,
    unheld::PROMPT,
    joined::PROMPT,
    after_ready::PROMPT,
    twice::PROMPT,
    compute::PROMPT,
    nested::PROMPT,
    other_executor::PROMPT,
    guard::PROMPT,
    recreated_read::PROMPT,
    recreated_timer::PROMPT,
    pinned_timer::PROMPT,
    unflushed::PROMPT,
    sizes::PROMPT,
    sender::PROMPT,
    buffered::PROMPT,
    bare_edge::PROMPT,
    closed::PROMPT,
    unstoppable::PROMPT,
];

/// One program, and the question about it.
struct Prompt {
    /// A line for the list.
    title: &'static str,
    question: &'static str,
    answers: [Answer; 3],
    /// Runs the program.
    run: fn() -> io::Result<Outcome>,
    /// The source file of the program, and its text.
    file: &'static str,
    text: &'static str,
}

/// What a run has shown.
struct Outcome {
    /// What happened, in numbers.
    happened: String,
    /// The answer that describes it, if one of them does.
    answer: Option<Letter>,
}

impl Outcome {
    fn new(answer: impl Into<Option<Letter>>, happened: impl Into<String>) -> Outcome {
        Outcome { happened: happened.into(), answer: answer.into() }
    }
}

fn main() -> io::Result<ExitCode> {
    match run_command() {
        // The reader has closed the pipe, as in `predict 5 | head -3`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) if error.kind() == ErrorKind::InvalidInput => {
            eprintln!("predict: {error}");
            Ok(ExitCode::from(2))
        }
        result => result.map(|()| ExitCode::SUCCESS),
    }
}

fn run_command() -> io::Result<()> {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    let number = arguments.len();
    arguments.retain(|argument| argument != "--tell");
    let asks = arguments.len() == number && ask::is_possible();
    match &arguments[..] {
        [] => list(),
        [number] => match number.parse().ok().and_then(prompt) {
            Some(prompt) => play(number, prompt, asks),
            None => Err(usage_error(&format!("there is no program {number:?}"))),
        },
        _ => Err(usage_error("too many arguments")),
    }
}

/// Returns the prompt with this number, counted from 1.
fn prompt(number: usize) -> Option<&'static Prompt> {
    PROMPTS.get(number.checked_sub(1)?)
}

fn list() -> io::Result<()> {
    for (number, prompt) in (1..).zip(&PROMPTS) {
        writeln!(stdout(), "{number:2}  {}", prompt.title)?;
    }
    writeln!(stdout(), "\nto predict one: cargo run --example predict -- N")
}

fn usage_error(why: &str) -> io::Error {
    let why = format!("{why}; run it without arguments to list the programs");
    io::Error::new(ErrorKind::InvalidInput, why)
}

/// Shows the program, asks for a prediction, runs the program, and explains the answers.
fn play(number: &str, prompt: &Prompt, asks: bool) -> io::Result<()> {
    let (line, program) = program(prompt.text);
    writeln!(stdout(), "{number}  {}\n\n{}:{line}\n\n{program}", prompt.title, prompt.file)?;
    ask::show(prompt.question, &prompt.answers)?;
    let chosen = if asks { Some(ask::ask()?) } else { None };
    lost::install(false);
    let Outcome { happened, answer } = (prompt.run)()?;
    let letter = answer.map_or("none of these".to_owned(), |letter| letter.to_string());
    let happened = ask::wrapped(&format!("what happened ({letter}): {happened}"), "   ");
    writeln!(stdout(), "\n{happened}\n")?;
    ask::explain(&prompt.answers, answer, chosen)
}

/// Returns the program in the text of a file, indented, and the number of its first line.
fn program(text: &str) -> (usize, String) {
    let lines: Vec<&str> = text.lines().collect();
    let at = |mark| lines.iter().position(|line| *line == mark).expect("each file has both marks");
    let (begin, end) = (at("// Program:") + 1, at("// End."));
    let indented = lines[begin..end].iter().map(|line| match *line {
        "" => "\n".to_owned(),
        line => format!("    {line}\n"),
    });
    (begin + 1, indented.collect())
}

// What several programs use.

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Counts the polls of a future.
async fn count_polls<F: Future>(polls: &Cell<u32>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        polls.set(polls.get() + 1);
        future.as_mut().poll(cx)
    })
    .await
}

/// Returns two connected sockets.
async fn connected() -> io::Result<(TcpStream, TcpStream)> {
    let listener = reactor::net::TcpListener::bind("127.0.0.1:0").await?;
    let near = TcpStream::connect(listener.local_addr()?).await?;
    let (far, _) = listener.accept().await?;
    Ok((near, far))
}

/// What became of a program that may panic or never return.
enum End<T> {
    Returned(T),
    Panicked(String),
    /// It has not returned within the time limit, and its thread still exists.
    Blocked,
}

/// Runs a program on a thread of its own.
fn on_thread<T: Send + 'static>(limit: Duration, f: impl FnOnce() -> T + Send + 'static) -> End<T> {
    let (sender, result) = channel();
    thread::spawn(move || {
        let hook = panic::take_hook();
        // The message is part of the outcome, so the default hook must not print it, too.
        panic::set_hook(Box::new(|_| {}));
        let end = catch_unwind(AssertUnwindSafe(f));
        panic::set_hook(hook);
        let _ = sender.send(end.map_err(|payload| match payload.downcast_ref::<&str>() {
            Some(message) => (*message).to_owned(),
            None => payload.downcast_ref::<String>().cloned().unwrap_or_default(),
        }));
    });
    match result.recv_timeout(limit) {
        Ok(Ok(value)) => End::Returned(value),
        Ok(Err(message)) => End::Panicked(message),
        Err(_) => End::Blocked,
    }
}
