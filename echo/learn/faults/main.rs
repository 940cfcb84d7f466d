//! Six classic faults of async runtimes and of their users, each on a switch: beside the right
//! version stands the wrong one, the same program but for one line.
//!
//! ```text
//! fault                      lists the six
//! fault NAME                 runs both versions, the right one first
//! fault NAME right|wrong     runs one
//! ```
//!
//! The runtime has no part in this: each fault is a wrong future, task or executor over the public
//! interface, in a file of its own. Its line is the one below `// Wrong:`.

mod await_connection;
mod block;
mod forget_waker;
mod lost;
mod no_notify;
mod one_slot;
mod read_once;
mod sockets;

use std::env;
use std::io::{self, Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

/// After this the server of a run gives up: with a fault, most wait for ever.
const DEADLINE: Duration = Duration::from_secs(1);

const FAULTS: [Fault; 6] = [
    forget_waker::FAULT,
    read_once::FAULT,
    one_slot::FAULT,
    no_notify::FAULT,
    block::FAULT,
    await_connection::FAULT,
];

/// One fault, and where to read on.
struct Fault {
    name: &'static str,
    sentence: &'static str,
    next: &'static str,
    /// Runs one version to its end, on this thread.
    run: fn(Version) -> io::Result<Symptom>,
    file: &'static str,
    text: &'static str,
}

#[derive(Clone, Copy)]
enum Version {
    Right,
    Wrong,
}

/// What can be seen from outside, in numbers.
struct Symptom(String);

fn main() -> io::Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (name, versions) = match arguments[..] {
        [] => return list().map(|()| ExitCode::SUCCESS),
        [name] => (name, &[Version::Right, Version::Wrong][..]),
        [name, "right"] => (name, &[Version::Right][..]),
        [name, "wrong"] => (name, &[Version::Wrong][..]),
        _ => return Ok(refuse("after the name comes nothing, `right` or `wrong`")),
    };
    let Some(fault) = FAULTS.iter().find(|fault| fault.name == name) else {
        return Ok(refuse(&format!("no fault is named {name:?}; without a name, all are listed")));
    };
    lost::install();
    writeln!(stdout(), "{}: {}", fault.name, fault.sentence)?;
    for version in versions {
        run(fault, *version)?;
    }
    writeln!(stdout(), "\nread next: {}", fault.next)?;
    Ok(ExitCode::SUCCESS)
}

fn list() -> io::Result<()> {
    for fault in FAULTS {
        writeln!(stdout(), "{:17} {}", fault.name, fault.sentence)?;
    }
    writeln!(stdout(), "\none of them, right and wrong: cargo run --example fault -- NAME")
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("fault: {why}");
    ExitCode::from(2)
}

fn run(fault: &Fault, version: Version) -> io::Result<()> {
    let (name, mark) = match version {
        Version::Right => ("right", "// Right:"),
        Version::Wrong => ("wrong", "// Wrong:"),
    };
    let lost = lost::count();
    let Symptom(symptom) = (fault.run)(version)?;
    writeln!(stdout(), "\n{name}  {symptom}")?;
    match lost::count() - lost {
        0 => {}
        lost => writeln!(stdout(), "       lost tasks, as the executor reports: {lost}")?,
    }
    let (number, code) = line_below(mark, fault.text);
    writeln!(stdout(), "       {}:{number}\n       {code}", fault.file)
}

/// The first line of code below the comment that begins with `mark`, and its number.
fn line_below<'a>(mark: &str, text: &'a str) -> (usize, &'a str) {
    let lines = (1..).zip(text.lines().map(str::trim));
    let mut below = lines.skip_while(|(_, line)| !line.starts_with(mark));
    below.find(|(_, line)| !line.starts_with("//")).expect("each fault marks both of its lines")
}
