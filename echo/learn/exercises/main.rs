//! Exercises: parts of an async runtime to build, and a check for each.
//!
//! ```text
//! exercise                  lists the exercises and whether they are solved
//! exercise N                checks exercise N; the exit code is 0 even if it is not solved
//! exercise all              checks all; the exit code is 1 unless all are solved
//! exercise mistakes         lists wrong solutions that the checks find
//! exercise mistakes NAME    checks one of them
//! … --solutions             checks the solutions instead of the files that you edit
//! ```
//!
//! Each check runs in a child process. So the code of an exercise can hang, panic or overflow its
//! stack, and this program still reports what happened.

#![allow(clippy::duplicate_mod, reason = "a check is compiled beside each version that it checks")]

mod check;
mod kernel;
mod lock;
#[path = "../solutions/mistakes/mod.rs"]
mod mistakes;
#[path = "../solutions/mod.rs"]
mod solutions;

// The files that you edit.
#[path = "08_async_fd.rs"]
mod async_fd;
#[path = "11_budget.rs"]
mod budget;
#[path = "03_join.rs"]
mod join;
#[path = "09_level.rs"]
mod level;
#[path = "12_lifo.rs"]
mod lifo;
#[path = "05_lines.rs"]
mod lines;
#[path = "02_oneshot.rs"]
mod oneshot;
#[path = "04_select.rs"]
mod select;
#[path = "06_semaphore.rs"]
mod semaphore;
#[path = "07_wake_one.rs"]
mod wake_one;
#[path = "01_waker.rs"]
mod waker;
#[path = "10_wheel.rs"]
mod wheel;

use std::env;
use std::io::{self, ErrorKind, Write, stdout};
use std::panic;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use check::Step;

/// A check that runs longer than this hangs, and is ended.
const DEADLINE: Duration = Duration::from_secs(10);

/// An exercise, and what the check runs.
struct Exercise {
    level: &'static str,
    title: &'static str,
    file: &'static str,
    start: &'static [Step],
    solution: &'static [Step],
}

const EXERCISES: [Exercise; 12] = [
    Exercise {
        level: "easy",
        title: "store the waker",
        file: "01_waker.rs",
        start: waker::check::STEPS,
        solution: solutions::waker::check::STEPS,
    },
    Exercise {
        level: "easy",
        title: "a oneshot channel between threads",
        file: "02_oneshot.rs",
        start: oneshot::check::STEPS,
        solution: solutions::oneshot::check::STEPS,
    },
    Exercise {
        level: "easy",
        title: "join by hand",
        file: "03_join.rs",
        start: join::check::STEPS,
        solution: solutions::join::check::STEPS,
    },
    Exercise {
        level: "easy",
        title: "select, and what happens to the loser",
        file: "04_select.rs",
        start: select::check::STEPS,
        solution: solutions::select::check::STEPS,
    },
    Exercise {
        level: "medium",
        title: "lines, cancel safe",
        file: "05_lines.rs",
        start: lines::check::STEPS,
        solution: solutions::lines::check::STEPS,
    },
    Exercise {
        level: "medium",
        title: "a fair semaphore",
        file: "06_semaphore.rs",
        start: semaphore::check::STEPS,
        solution: solutions::semaphore::check::STEPS,
    },
    Exercise {
        level: "medium",
        title: "wake one waiter instead of all",
        file: "07_wake_one.rs",
        start: wake_one::check::STEPS,
        solution: solutions::wake_one::check::STEPS,
    },
    Exercise {
        level: "medium",
        title: "an AsyncFd for any descriptor",
        file: "08_async_fd.rs",
        start: async_fd::check::STEPS,
        solution: solutions::async_fd::check::STEPS,
    },
    Exercise {
        level: "hard",
        title: "level-triggered instead of edge-triggered",
        file: "09_level.rs",
        start: level::check::STEPS,
        solution: solutions::level::check::STEPS,
    },
    Exercise {
        level: "hard",
        title: "a timer wheel",
        file: "10_wheel.rs",
        start: wheel::check::STEPS,
        solution: solutions::wheel::check::STEPS,
    },
    Exercise {
        level: "hard",
        title: "a budget",
        file: "11_budget.rs",
        start: budget::check::STEPS,
        solution: solutions::budget::check::STEPS,
    },
    Exercise {
        level: "hard",
        title: "a LIFO slot",
        file: "12_lifo.rs",
        start: lifo::check::STEPS,
        solution: solutions::lifo::check::STEPS,
    },
];

/// The first panic since the step began: its location and message.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

fn main() -> io::Result<ExitCode> {
    match run_command() {
        // The reader has closed the pipe, as in `exercise all | head -3`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        result => result,
    }
}

fn run_command() -> io::Result<ExitCode> {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    let mut has_flag = |flag: &str| {
        let before = arguments.len();
        arguments.retain(|argument| argument != flag);
        arguments.len() < before
    };
    let (solutions, is_child) = (has_flag("--solutions"), has_flag("--child"));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => list(solutions),
        ["all"] => check_all(solutions),
        ["mistakes"] => {
            for (name, mistake, _) in mistakes::MISTAKES {
                writeln!(stdout(), "{name:20} {mistake}")?;
            }
            writeln!(stdout(), "\nto check one: cargo run --example exercise -- mistakes NAME")?;
            Ok(ExitCode::SUCCESS)
        }
        ["mistakes", name] => {
            let found = mistakes::MISTAKES.iter().find(|(known, ..)| *known == name);
            match found {
                Some((_, _, steps)) if is_child => run_steps(steps),
                Some((_, mistake, _)) => {
                    writeln!(stdout(), "{name}: {mistake}\n")?;
                    check(&["mistakes", name], true).map(|_| ExitCode::SUCCESS)
                }
                None => Ok(usage_error(&format!("there is no mistake {name:?}"))),
            }
        }
        [number] => {
            let at = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
            let Some(exercise) = at.and_then(|at| EXERCISES.get(at)) else {
                let last = EXERCISES.len();
                return Ok(usage_error(&format!("{number:?} is not an exercise: 1 to {last}")));
            };
            if is_child {
                return run_steps(if solutions { exercise.solution } else { exercise.start });
            }
            check_one(number, exercise, solutions)
        }
        _ => Ok(usage_error("give one number, `all`, or `mistakes` and a name")),
    }
}

fn usage_error(why: &str) -> ExitCode {
    eprintln!("exercise: {why}");
    ExitCode::from(2)
}

fn exit_code(is_solved: bool) -> ExitCode {
    if is_solved { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn folder(solutions: bool) -> &'static str {
    if solutions { "echo/learn/solutions" } else { "echo/learn/exercises" }
}

/// Returns the arguments of the child process that checks one exercise.
fn arguments(number: &str, solutions: bool) -> Vec<&str> {
    if solutions { vec![number, "--solutions"] } else { vec![number] }
}

fn list(solutions: bool) -> io::Result<ExitCode> {
    // Some of the checks wait, so run them concurrently.
    let states: Vec<io::Result<bool>> = thread::scope(|scope| {
        let check = |number: usize| check(&arguments(&number.to_string(), solutions), false);
        let checks: Vec<_> =
            (1..=EXERCISES.len()).map(|number| scope.spawn(move || check(number))).collect();
        checks.into_iter().map(|check| check.join().expect("no check panics here")).collect()
    });
    for ((number, exercise), is_solved) in (1..).zip(&EXERCISES).zip(states) {
        let state = if is_solved? { "solved" } else { "open" };
        let Exercise { level, title, .. } = exercise;
        writeln!(stdout(), "{number:>2}  {level:6}  {state:6}  {title}")?;
    }
    writeln!(stdout(), "\nto check one: cargo run --example exercise -- NUMBER")?;
    Ok(ExitCode::SUCCESS)
}

fn check_all(solutions: bool) -> io::Result<ExitCode> {
    let mut solved = 0;
    for (number, exercise) in (1..).zip(&EXERCISES) {
        let number = number.to_string();
        writeln!(stdout(), "{number} {}: {}/{}", exercise.title, folder(solutions), exercise.file)?;
        solved += usize::from(check(&arguments(&number, solutions), true)?);
        writeln!(stdout())?;
    }
    writeln!(stdout(), "{solved} of {} exercises are solved", EXERCISES.len())?;
    Ok(exit_code(solved == EXERCISES.len()))
}

fn check_one(number: &str, exercise: &Exercise, solutions: bool) -> io::Result<ExitCode> {
    let folder = folder(solutions);
    writeln!(stdout(), "{number} {}: {folder}/{}\n", exercise.title, exercise.file)?;
    let is_solved = check(&arguments(number, solutions), true)?;
    match is_solved {
        true => writeln!(stdout(), "\nsolved")?,
        false => writeln!(
            stdout(),
            "\nnot solved yet; the task and two hints are in section {number} of\n\
             echo/learn/exercises/README.md"
        )?,
    }
    // After any other exit code, cargo would print an error below the report.
    Ok(ExitCode::SUCCESS)
}

/// Runs this program again as a child process that checks one exercise. Returns whether all its
/// steps passed.
fn check(arguments: &[&str], show: bool) -> io::Result<bool> {
    stdout().flush()?;
    let mut child = Command::new(env::current_exe()?)
        .args(arguments)
        .arg("--child")
        .stdin(Stdio::null())
        .stdout(if show { Stdio::inherit() } else { Stdio::null() })
        .stderr(if show { Stdio::inherit() } else { Stdio::null() })
        .spawn()?;
    let start = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if start.elapsed() < DEADLINE => sleep(Duration::from_millis(2)),
            None => {
                child.kill()?;
                child.wait()?;
                let limit = DEADLINE.as_secs();
                if show {
                    print_result(
                        "FAIL",
                        &format!(
                            "the code still ran after {limit} s: it loops forever, or it waits for \
                             a lock or an event that does not come"
                        ),
                    )?;
                }
                return Ok(false);
            }
        }
    };
    // Without an exit code, a signal has ended the process: for example after a stack overflow.
    if show && status.code().is_none() {
        print_result("FAIL", &format!("the process of the check was ended by {status}"))?;
    }
    Ok(status.success())
}

/// In the child: runs all steps, and prints what each of them saw.
fn run_steps(steps: &[Step]) -> io::Result<ExitCode> {
    panic::set_hook(Box::new(|info| {
        let mut first = PANIC.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        first.get_or_insert(format!("the code {info}"));
    }));
    let mut is_solved = true;
    for (name, step) in steps {
        // Print the name first, so that it is visible if the step hangs.
        writeln!(stdout(), "{name}")?;
        stdout().flush()?;
        let seen = panic::catch_unwind(step);
        let panicked = PANIC.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        match (seen, panicked) {
            (Ok(Ok(saw)), None) => print_result("ok", &saw)?,
            (Ok(Err(saw)), None) => {
                is_solved = false;
                print_result("FAIL", &saw)?;
            }
            (_, panicked) => {
                is_solved = false;
                print_result("FAIL", &panicked.unwrap_or("the code panicked".to_owned()))?;
            }
        }
    }
    Ok(exit_code(is_solved))
}

/// Prints what a step saw, in lines of at most 80 characters.
fn print_result(result: &str, saw: &str) -> io::Result<()> {
    let mut line = format!("  {result:4} ");
    for word in saw.split_whitespace() {
        if line.len() + 1 + word.len() > 80 {
            writeln!(stdout(), "{line}")?;
            line = " ".repeat(7);
        }
        line += " ";
        line += word;
    }
    writeln!(stdout(), "{line}")
}
