//! Six classic faults of async runtimes and of their users, each on a switch: beside the right
//! version stands the wrong one, the same program but for one line.
//!
//! ```text
//! fault                      lists the six
//! fault NAME                 runs both versions, the right one first
//! fault NAME right|wrong     runs one
//! … --trace FILE.html        also records them, to step through: two, one over the other
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
use std::fs::File;
use std::io::{self, ErrorKind, Write, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use recorder::{Page, Program, Recorder, Run};

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

/// What is left of the run of one version.
struct Ran {
    symptom: String,
    lost: usize,
    run: Option<Run>,
}

fn main() -> io::Result<ExitCode> {
    match tell() {
        // Whoever asked has read enough: `fault block | head -3`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        told => told,
    }
}

fn tell() -> io::Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let trace = match arguments.iter().position(|argument| *argument == "--trace") {
        Some(place) if arguments.get(place + 1).is_some_and(|file| file.ends_with(".html")) => {
            let file = Path::new(arguments[place + 1]);
            arguments.drain(place..place + 2);
            Some(file)
        }
        Some(_) => return Ok(refuse("after --trace comes a file: --trace run.html")),
        None => None,
    };
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
    let file = match trace.map(|path| File::create(path).map(|file| (path, file))).transpose() {
        Ok(file) => file,
        Err(error) => return Ok(refuse(&format!("cannot write the file of --trace: {error}"))),
    };
    let recorder = lost::install(file.is_some());
    recorder.into_iter().for_each(sockets::wait_for);
    writeln!(stdout(), "{}: {}", fault.name, fault.sentence)?;
    let runs: io::Result<Vec<Ran>> =
        versions.iter().map(|version| run(fault, *version, recorder)).collect();
    if let Some((path, mut file)) = file {
        file.write_all(page(fault, runs?).html().as_bytes())?;
        writeln!(stdout(), "\nstep through: {}", path.display())?;
    }
    writeln!(stdout(), "\nread next: {}", fault.next)?;
    Ok(ExitCode::SUCCESS)
}

/// The page of one version, or of both, one over the other.
fn page(fault: &Fault, runs: Vec<Ran>) -> Page {
    let title = format!("fault {}", fault.name);
    let mut last = None;
    let mut symptoms = Vec::new();
    let mut pages = Vec::new();
    for ran in runs {
        symptoms.push(ran.symptom);
        last = Some(ran.lost);
        pages.extend(ran.run);
    }
    match <[Run; 2]>::try_from(pages) {
        Ok(pages) => {
            let stuck = match last {
                Some(1..) => {
                    "**Nothing can wake the task**: no source, timer, thread or queue holds its \
                     waker. "
                }
                _ => "",
            };
            let verdict =
                format!("{stuck}With the fault: **{}**. Without: {}.", symptoms[1], symptoms[0]);
            Page::compare(&title, pages, &verdict)
        }
        Err(pages) => {
            Page::new(&title, pages.into_iter().next().expect("at least one version has run"))
        }
    }
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

fn run(fault: &Fault, version: Version, recorder: Option<&'static Recorder>) -> io::Result<Ran> {
    let (name, label, mark) = match version {
        Version::Right => ("right", "right", "// Right:"),
        Version::Wrong => ("wrong", "with the fault", "// Wrong:"),
    };
    recorder.into_iter().for_each(Recorder::start);
    let before = lost::count();
    let Symptom(symptom) = (fault.run)(version)?;
    let lost = lost::count() - before;
    writeln!(stdout(), "\n{name}  {symptom}")?;
    if lost > 0 {
        writeln!(stdout(), "       lost tasks, as the executor reports: {lost}")?;
    }
    let (number, code) = line_below(mark, fault.text);
    writeln!(stdout(), "       {}:{number}\n       {code}", fault.file)?;
    let run = recorder.map(|recorder| {
        let mut run = Run::new(&format!("A real run: {}.", fault.sentence), recorder.recording());
        run.label = label.to_owned();
        // Both of its lines, and what stands around them.
        let lines =
            (line_below("// Right:", fault.text).0 - 3, line_below("// Wrong:", fault.text).0 + 1);
        run.program = Some(Program::new(fault.file, fault.text).showing(lines.0, lines.1));
        run.read = fault.next.rsplit(' ').next().unwrap_or_default().to_owned();
        run
    });
    Ok(Ran { symptom, lost, run })
}

/// The first line of code below the comment that begins with `mark`, and its number.
fn line_below<'a>(mark: &str, text: &'a str) -> (usize, &'a str) {
    let lines = (1..).zip(text.lines().map(str::trim));
    let mut below = lines.skip_while(|(_, line)| !line.starts_with(mark));
    below.find(|(_, line)| !line.starts_with("//")).expect("each fault marks both of its lines")
}
