//! Twenty small programs whose outcome is to be predicted before they run.
//!
//! ```text
//! predict              lists the programs
//! predict N            shows program N, asks what will happen, runs it, and explains the answers
//! predict N --tell     does not ask
//! predict N --trace FILE.html
//!                      also records the run, to step through in a browser
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
use std::fs::File;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Write, stdout};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use reactor::net::TcpStream;
use recorder::{Page, Program, Recorder, Run};

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

/// The numbers of the programs whose runs are worth stepping through. The others use no runtime, or
/// they end with a panic that says everything.
const SCENES: [usize; 15] = [1, 2, 3, 4, 5, 7, 10, 11, 12, 13, 14, 16, 17, 19, 20];

/// The exit code for `--trace` with another program.
const NO_SCENE: u8 = 3;

/// The largest number of steps of a scene. A reader does not step through more.
const STEPS: usize = 150;

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
        result => result,
    }
}

fn run_command() -> io::Result<ExitCode> {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    let number = arguments.len();
    arguments.retain(|argument| argument != "--tell");
    let asks = arguments.len() == number && ask::is_possible();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => list()?,
        [number] => play(find(number)?, asks, None)?,
        [number, "--trace", path] | ["--trace", path, number] if path.ends_with(".html") => {
            let (number, prompt) = find(number)?;
            if !SCENES.contains(&number) {
                eprintln!("predict: the run of program {number} is not worth stepping through");
                return Ok(ExitCode::from(NO_SCENE));
            }
            let file = File::create(path).map_err(|error| {
                usage_error(&format!("cannot create the file of --trace: {error}"))
            })?;
            play((number, prompt), asks, Some(file))?;
            writeln!(stdout(), "\nstep through: {path}")?;
        }
        [_, "--trace", ..] | ["--trace", ..] => {
            return Err(usage_error("--trace requires a file name that ends in .html"));
        }
        _ => return Err(usage_error("too many arguments")),
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the prompt with this number, which counts from 1.
///
/// # Errors
///
/// Returns a usage error if there is no such prompt.
fn find(number: &str) -> io::Result<(usize, &'static Prompt)> {
    let prompt = number
        .parse::<usize>()
        .ok()
        .and_then(|number| Some((number, PROMPTS.get(number.checked_sub(1)?)?)));
    prompt.ok_or_else(|| usage_error(&format!("there is no program {number:?}")))
}

fn list() -> io::Result<()> {
    for (number, prompt) in (1..).zip(&PROMPTS) {
        writeln!(stdout(), "{number:2}  {}", prompt.title)?;
    }
    writeln!(stdout(), "\nto predict one: cargo run --example predict -- N")?;
    let (last, others) = SCENES.split_last().expect("there are scenes");
    let others: Vec<String> = others.iter().map(usize::to_string).collect();
    let others = others.join(", ");
    let scenes = format!("to step through the run of {others} or {last}: add --trace run.html");
    writeln!(stdout(), "{}", ask::wrapped(&scenes, ""))
}

fn usage_error(why: &str) -> io::Error {
    let why = format!("{why}; run it without arguments to list the programs");
    io::Error::new(ErrorKind::InvalidInput, why)
}

/// Shows the program, asks for a prediction, runs the program, and explains the answers.
///
/// Records the run if there is a file for its page.
fn play((number, prompt): (usize, &Prompt), asks: bool, trace: Option<File>) -> io::Result<()> {
    let (line, program) = program(prompt.text);
    writeln!(stdout(), "{number}  {}\n\n{}:{line}\n\n{program}", prompt.title, prompt.file)?;
    ask::show(prompt.question, &prompt.answers)?;
    let chosen = if asks { Some(ask::ask()?) } else { None };
    let recorder = lost::install(trace.is_some());
    recorder.into_iter().for_each(Recorder::start);
    let Outcome { happened, answer } = (prompt.run)()?;
    if let (Some(recorder), Some(mut file)) = (recorder, trace) {
        file.write_all(page(number, prompt, recorder).html().as_bytes())?;
    }
    let letter = answer.map_or("none of these".to_owned(), |letter| letter.to_string());
    let happened = ask::wrapped(&format!("what happened ({letter}): {happened}"), "   ");
    writeln!(stdout(), "\n{happened}\n")?;
    ask::explain(&prompt.answers, answer, chosen)
}

/// Returns the page on which to step through the run.
fn page(number: usize, prompt: &Prompt, recorder: &Recorder) -> Page {
    let recording = recorder.recording();
    let steps = recording.steps();
    let cut = match steps > STEPS {
        true => format!(" (The first {STEPS} of {steps} steps.)"),
        false => String::new(),
    };
    let mut title = prompt.title.to_owned();
    title[..1].make_ascii_uppercase();
    let claim = format!("{title}. {}{cut}", prompt.question);
    let mut run = Run::new(&claim, recording.first_steps(STEPS));
    let (first, program) = program(prompt.text);
    let last = first + program.lines().count() - 1;
    run.program = Some(Program::new(prompt.file, prompt.text).showing(first, last));
    run.asks = true;
    let command = format!("cargo run --example predict -- {number}");
    run.again = vec![(command, "what each answer means".to_owned())];
    Page::new(&format!("predict {number}"), run)
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
