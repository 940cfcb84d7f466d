//! Makes every system call of `echod` fail with every error that the kernel can return there, and
//! checks what the server does.
//!
//! ```text
//! cargo run --release -p tests --example inject              all cases, and the table
//! cargo run --release -p tests --example inject -- --page    also writes tests/FAULTS.md
//! cargo run --release -p tests --example inject -- --quick   the most valuable cases
//! cargo run --release -p tests --example inject -- --call sendto [--error PIPE]   one call
//! ```
//!
//! strace injects the errors. Each case is a call, an error and a pattern: once while the server
//! starts, once under load, every third call, all calls for a stretch, while the server shuts down,
//! and while it writes a recording. See `cases.rs` for what a server must do, and `catalog.rs` for
//! the calls. A first run without errors lists the calls that the server makes; the program fails if
//! the catalog lacks one of them, and if a server does something that it must not do.

mod cases;
mod catalog;
mod load;
mod strace;
mod table;

use std::env;
use std::fs;
use std::io::Result;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use cases::{Outcome, Pattern, Reference};
use catalog::{CALLS, WITHOUT_ERRORS};
use table::Case;

/// How many servers run at the same time. Most of the time they wait.
const SIDE_BY_SIDE: usize = 12;

/// The maximum number of positions at which one call fails in turn: with `--quick`, and without it.
const POSITIONS: [usize; 2] = [1, 4];

/// The cases of `--quick`. Each checks a different path of the server, or once found a fault. None
/// is of a call that only the table of tasks makes: beside other tests, the lists of sockets that the
/// table reads are long, and strace stops the server at each read, so clients wait too long.
const QUICK: [(&str, &str, Pattern); 23] = [
    ("socket", "MFILE", Pattern::Start),
    ("bind", "ADDRINUSE", Pattern::Start),
    ("clone3", "AGAIN", Pattern::Start),
    ("eventfd2", "MFILE", Pattern::Start),
    ("pipe2", "NFILE", Pattern::Start),
    ("accept4", "CONNABORTED", Pattern::Third),
    ("accept4", "MFILE", Pattern::Stretch),
    ("close", "INTR", Pattern::Third),
    ("epoll_ctl", "NOSPC", Pattern::Once),
    ("epoll_wait", "INTR", Pattern::Stretch),
    ("recvfrom", "CONNRESET", Pattern::Third),
    ("recvfrom", "INTR", Pattern::Stretch),
    ("recvfrom", "NOMEM", Pattern::Stretch),
    ("sendto", "NOBUFS", Pattern::Stretch),
    ("sendto", "PIPE", Pattern::Third),
    ("setsockopt", "NOBUFS", Pattern::Once),
    ("write", "NOSPC", Pattern::Stretch),
    ("epoll_wait", "INTR", Pattern::Shutdown),
    ("shutdown", "NOTCONN", Pattern::Shutdown),
    ("fsync", "IO", Pattern::Recording),
    ("rename", "XDEV", Pattern::Recording),
    ("sendto", "NOBUFS", Pattern::Recording),
    ("write", "NOSPC", Pattern::Recording),
];

fn main() -> ExitCode {
    let arguments = match Arguments::parse() {
        Ok(arguments) => arguments,
        Err(text) => {
            eprintln!("inject: {text}; the options are --page, --quick, --call NAME, --error NAME");
            return ExitCode::from(2);
        }
    };
    let is_installed = Command::new("strace").arg("-V").output().is_ok();
    if !is_installed {
        eprintln!("inject: strace is not installed: install it (apt-get install strace)");
        return ExitCode::from(2);
    }
    match run(&arguments) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(faults) => {
            eprintln!("inject: {faults} cases failed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("inject: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct Arguments {
    page: bool,
    quick: bool,
    call: Option<String>,
    error: Option<String>,
}

impl Arguments {
    fn parse() -> std::result::Result<Arguments, String> {
        let mut parsed = Arguments::default();
        let mut arguments = env::args().skip(1);
        while let Some(option) = arguments.next() {
            match option.as_str() {
                "--page" => parsed.page = true,
                "--quick" => parsed.quick = true,
                "--call" => parsed.call = arguments.next(),
                "--error" => parsed.error = arguments.next(),
                _ => return Err(format!("{option} is not an option")),
            }
        }
        Ok(parsed)
    }

    /// Returns the cases to run.
    fn cases(&self) -> Vec<Case> {
        let is =
            |choice: &Option<String>, name: &str| choice.as_deref().is_none_or(|it| it == name);
        let errors =
            CALLS.iter().flat_map(|call| call.errors.iter().map(|&error| (call.name, error)));
        let chosen =
            errors.filter(|(call, error)| is(&self.call, call) && is(&self.error, error.0));
        let cases = chosen.flat_map(|(call, error)| {
            Pattern::ALL.map(|pattern| Case { call, error, pattern, outcomes: Default::default() })
        });
        let is_quick = |case: &Case| QUICK.contains(&(case.call, case.error.0, case.pattern));
        cases.filter(|case| !self.quick || is_quick(case)).collect()
    }
}

/// Runs all cases, and returns the number of those that failed.
fn run(arguments: &Arguments) -> Result<usize> {
    let begin = Instant::now();
    let extent = usize::from(!arguments.quick);
    let reference = Reference::record(POSITIONS[extent])?;
    let is_known = |name: &String| {
        WITHOUT_ERRORS.contains(&name.as_str()) || CALLS.iter().any(|call| call.name == *name)
    };
    let unknown: Vec<String> =
        reference.names().into_iter().filter(|name| !is_known(name)).collect();
    if !unknown.is_empty() {
        eprintln!("inject: add the errors of these calls to the catalog: {}", unknown.join(", "));
    }
    let cases = Mutex::new(arguments.cases().into_iter());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                loop {
                    let next = cases.lock().expect("no thread panics").next();
                    let Some(mut case) = next else { break };
                    case.run(&reference);
                    done.lock().expect("no thread panics").push(case);
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no thread panics");
    done.sort_by_key(|case| (case.call, case.error.0, case.pattern));
    let text = table::markdown(&done, begin.elapsed());
    println!("{text}");
    if arguments.page {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("FAULTS.md"), table::page(&text)?)?;
    }
    let is_fault = |outcome: &Outcome| matches!(outcome, Outcome::Fault(_));
    let faults = done.iter().filter(|case| case.outcomes.iter().any(is_fault)).count();
    // Each case of the selection must check something.
    let checked = done.iter().filter(|case| !case.outcomes.is_empty()).count();
    let unchecked = if arguments.quick { done.len() - checked } else { 0 };
    Ok(faults + unknown.len() + unchecked)
}
