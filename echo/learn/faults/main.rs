//! Fourteen classic faults of async runtimes and of programs that use them. Each exists in a right and a
//! wrong version, which differ in one line.
//!
//! ```text
//! fault                      lists the faults
//! fault NAME                 runs both versions, the right one first
//! fault NAME right|wrong     runs one version
//! … --trace FILE.html        also records the runs, to step through in a browser
//! fault NAME --tell          explains what happens, without asking
//! ```
//!
//! On a terminal, `fault NAME` first shows the program and asks what the wrong version will do.
//!
//! The runtime contains no code for this: each fault is a wrong future, task or executor that uses
//! the public API, in a file of its own. The wrong line is the one below `// Wrong:`.

#[path = "../ask.rs"]
mod ask;

mod await_connection;
mod block;
mod borrow_while_waking;
mod busy_poll;
mod drop_write;
mod forget_waker;
mod ignore_eof;
mod late_waker;
mod lost;
mod never_yield;
mod no_notify;
mod one_slot;
mod read_once;
mod reregister;
mod sockets;
mod stale_waker;

use std::env;
use std::fs::File;
use std::io::{self, ErrorKind, Write, stdout};
use std::panic::Location;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use log::{Level, Record, log_enabled, logger};
use recorder::{NOTE, Page, Program, Recorder, Run};

use ask::{Answer, Letter};

/// The server of a run gives up after this time. With the fault, most servers would wait forever.
const DEADLINE: Duration = Duration::from_secs(1);

/// The most notes of a run: more of them tell nothing new.
const NOTES: usize = 10;

/// How often the marked line has run so far in this run.
static NOTED: AtomicUsize = AtomicUsize::new(0);

const FAULTS: [Fault; 14] = [
    forget_waker::FAULT,
    stale_waker::FAULT,
    late_waker::FAULT,
    one_slot::FAULT,
    no_notify::FAULT,
    busy_poll::FAULT,
    borrow_while_waking::FAULT,
    read_once::FAULT,
    ignore_eof::FAULT,
    reregister::FAULT,
    drop_write::FAULT,
    block::FAULT,
    never_yield::FAULT,
    await_connection::FAULT,
];

/// One fault, and what to read about it.
struct Fault {
    name: &'static str,
    sentence: &'static str,
    /// The code to read next, and its file.
    next: &'static str,
    /// What the wrong version could do.
    answers: [Answer; 3],
    /// Why the right version works and why the wrong one does not: what holds which waker.
    reasons: [&'static str; 2],
    /// Runs one version to completion, on this thread.
    run: fn(Version) -> io::Result<Symptom>,
    /// The source file of the fault, and its text.
    file: &'static str,
    text: &'static str,
}

#[derive(Clone, Copy)]
enum Version {
    Right,
    Wrong,
}

impl Version {
    fn mark(self) -> &'static str {
        match self {
            Version::Right => "// Right:",
            Version::Wrong => "// Wrong:",
        }
    }

    /// Returns the version. If the run is recorded, this also logs which of the two marked lines of the
    /// caller's file runs now, the first ten times.
    #[track_caller]
    fn noted(self) -> Version {
        let file = Location::caller().file();
        if log_enabled!(target: NOTE, Level::Trace)
            && NOTED.fetch_add(1, Ordering::Relaxed) < NOTES
            && let Some(fault) = FAULTS.iter().find(|fault| fault.file == file)
        {
            let (line, _) = line_below(self.mark(), fault.text);
            let note = comment(self.mark(), fault.text);
            logger().log(
                &Record::builder()
                    .target(NOTE)
                    .level(Level::Trace)
                    .file_static(Some(fault.file))
                    .line(Some(line as u32))
                    .args(format_args!("Here the two versions differ. {note}"))
                    .build(),
            );
        }
        self
    }
}

/// What an observer outside the runtime sees.
struct Symptom {
    /// In numbers.
    text: String,
    /// The answer that describes it, if one of them does.
    answer: Option<Letter>,
}

impl Symptom {
    fn new(answer: impl Into<Option<Letter>>, text: impl Into<String>) -> Symptom {
        Symptom { text: text.into(), answer: answer.into() }
    }
}

/// The outcome of running one version.
struct Outcome {
    symptom: Symptom,
    run: Option<Run>,
}

fn main() -> io::Result<ExitCode> {
    match run_command() {
        // The reader has closed the pipe, as in `fault block | head -3`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) if error.kind() == ErrorKind::InvalidInput => {
            Ok(usage_error(&error.to_string()))
        }
        result => result,
    }
}

fn run_command() -> io::Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let trace = match arguments.iter().position(|argument| *argument == "--trace") {
        Some(at) if arguments.get(at + 1).is_some_and(|file| file.ends_with(".html")) => {
            let file = Path::new(arguments[at + 1]);
            arguments.drain(at..at + 2);
            Some(file)
        }
        Some(_) => return Ok(usage_error("--trace requires a file name that ends in .html")),
        None => None,
    };
    let number = arguments.len();
    arguments.retain(|argument| *argument != "--tell");
    let tells = arguments.len() < number;
    let (name, versions) = match arguments[..] {
        [] => return list().map(|()| ExitCode::SUCCESS),
        [name] => (name, &[Version::Right, Version::Wrong][..]),
        [name, "right"] => (name, &[Version::Right][..]),
        [name, "wrong"] => (name, &[Version::Wrong][..]),
        _ => {
            return Ok(usage_error(
                "the name of a fault may be followed by `right` or `wrong` only",
            ));
        }
    };
    let Some(fault) = FAULTS.iter().find(|fault| fault.name == name) else {
        return Ok(usage_error(&format!(
            "there is no fault {name:?}; run it without arguments to list the faults"
        )));
    };
    let file = match trace.map(|path| File::create(path).map(|file| (path, file))).transpose() {
        Ok(file) => file,
        Err(error) => {
            return Ok(usage_error(&format!("cannot create the file of --trace: {error}")));
        }
    };
    let recorder = lost::install(file.is_some());
    recorder.into_iter().for_each(sockets::set_recorder);
    writeln!(stdout(), "{}: {}", fault.name, fault.sentence)?;
    let asks = !tells && file.is_none() && versions.len() == 2 && ask::is_possible();
    let chosen = if tells || asks { show(fault, asks)? } else { None };
    let runs: io::Result<Vec<Outcome>> =
        versions.iter().map(|version| run(fault, *version, recorder)).collect();
    let runs = runs?;
    if tells || asks {
        writeln!(stdout())?;
        let happened = runs.last().and_then(|outcome| outcome.symptom.answer);
        ask::explain(&fault.answers, happened, chosen)?;
    }
    if let Some((path, mut file)) = file {
        file.write_all(page(fault, runs).html().as_bytes())?;
        writeln!(stdout(), "\nstep through: {}", path.display())?;
    }
    writeln!(stdout(), "\nread next: {}", fault.next)?;
    Ok(ExitCode::SUCCESS)
}

/// Shows the program and the answers. Returns the answer of the user, who is asked if `asks`.
fn show(fault: &Fault, asks: bool) -> io::Result<Option<Letter>> {
    let (line, item) = item_around("// Wrong:", fault.text);
    writeln!(stdout(), "\n{}:{line}\n\n{item}", fault.file)?;
    let question = "What happens with the line below `// Wrong:` in place of the line above it?";
    ask::show(question, &fault.answers)?;
    if asks { ask::ask().map(Some) } else { Ok(None) }
}

/// Returns the page of one version, or of both for comparison.
fn page(fault: &Fault, runs: Vec<Outcome>) -> Page {
    let title = format!("fault {}", fault.name);
    let pages: Vec<Run> = runs.into_iter().filter_map(|outcome| outcome.run).collect();
    match <[Run; 2]>::try_from(pages) {
        Ok(pages) => Page::compare(&title, pages),
        Err(pages) => {
            Page::new(&title, pages.into_iter().next().expect("at least one version has run"))
        }
    }
}

/// Returns the symptom as a sentence, in bold, and the reason for it.
fn verdict(symptom: &Symptom, reason: &str) -> String {
    let (first, rest) = symptom.text.split_at(1);
    format!("**{}{rest}.** {reason}", first.to_uppercase())
}

fn list() -> io::Result<()> {
    for fault in FAULTS {
        writeln!(stdout(), "{:19} {}", fault.name, fault.sentence)?;
    }
    writeln!(stdout(), "\nto run both versions of a fault: cargo run --example fault -- NAME")
}

fn usage_error(why: &str) -> ExitCode {
    eprintln!("fault: {why}");
    ExitCode::from(2)
}

fn run(
    fault: &Fault,
    version: Version,
    recorder: Option<&'static Recorder>,
) -> io::Result<Outcome> {
    let (name, label) = match version {
        Version::Right => ("right", "right"),
        Version::Wrong => ("wrong", "with the fault"),
    };
    recorder.into_iter().for_each(Recorder::start);
    NOTED.store(0, Ordering::Relaxed);
    let before = lost::count();
    let symptom = (fault.run)(version)?;
    let lost = lost::count() - before;
    writeln!(stdout(), "\n{name}  {}", symptom.text)?;
    if lost > 0 {
        writeln!(stdout(), "       lost tasks reported by the executor: {lost}")?;
    }
    let (number, code) = line_below(version.mark(), fault.text);
    writeln!(stdout(), "       {}:{number}\n       {code}", fault.file)?;
    let run = recorder.map(|recorder| {
        let mut run = Run::new(&format!("A real run: {}.", fault.sentence), recorder.recording());
        run.label = label.to_owned();
        run.verdict = verdict(&symptom, fault.reasons[version as usize]);
        run.line = Some(number);
        // Show both marked lines and the lines around them.
        let lines =
            (line_below("// Right:", fault.text).0 - 3, line_below("// Wrong:", fault.text).0 + 1);
        run.program = Some(Program::new(fault.file, fault.text).showing(lines.0, lines.1));
        run.read = fault.next.rsplit(' ').next().unwrap_or_default().to_owned();
        run
    });
    Ok(Outcome { symptom, run })
}

/// Returns the item that contains the mark, indented, and the number of its first line.
fn item_around(mark: &str, text: &str) -> (usize, String) {
    let lines: Vec<&str> = text.lines().collect();
    let begins_item = |line: &str| line.starts_with(|c: char| c.is_ascii_lowercase());
    let at = lines.iter().position(|line| line.trim().starts_with(mark)).unwrap_or_default();
    let first = lines[..at].iter().rposition(|line| begins_item(line)).unwrap_or_default();
    let item = lines[first..].split_inclusive(|line| *line == "}").next().unwrap_or_default();
    let indented = item.iter().map(|line| match *line {
        "" => "\n".to_owned(),
        line => format!("    {line}\n"),
    });
    (first + 1, indented.collect())
}

/// Returns the text of the comment that begins with `mark`, with its first word in bold.
fn comment(mark: &str, text: &str) -> String {
    let lines = text.lines().map(str::trim).skip_while(|line| !line.starts_with(mark));
    let words = lines.map_while(|line| line.strip_prefix("//")).map(str::trim);
    let comment = words.collect::<Vec<_>>().join(" ");
    let (word, rest) = comment.split_once(':').unwrap_or((&comment, ""));
    format!("**{word}**:{rest}")
}

/// Returns the first line of code below the comment that begins with `mark`, and its number.
fn line_below<'a>(mark: &str, text: &'a str) -> (usize, &'a str) {
    let lines = (1..).zip(text.lines().map(str::trim));
    let mut below = lines.skip_while(|(_, line)| !line.starts_with(mark));
    below.find(|(_, line)| !line.starts_with("//")).expect("each fault marks both of its lines")
}
