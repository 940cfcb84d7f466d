//! What the server tells of itself: the log, and the recordings that are made of it.

use std::env::{self, VarError};
use std::io::{self, ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use log::Log;
use recorder::{
    Format, HEAD, Ladder, Options, Page, Program, Recorder, Recording, Run, SlowPolls, sum,
};

use crate::arguments::{Arguments, Explain};
use crate::output::{self, MORE_DESCRIPTORS, complain, is_out_of_descriptors};
use crate::replacement::Replacement;

/// The titles of recordings.
pub(crate) const DEMO: &str = "echod --demo";
pub(crate) const SERVER: &str = "echod";

/// Steps of a demo, of which there are some fifty; none is dropped.
const DEMO_EVENTS: usize = 10_000;

/// The task that accepts connections, and those that serve them, by their names.
pub(crate) const ACCEPTS: &str = "accept";
pub(crate) const SERVES: &str = "echo";

/// Starts the log, as `RUST_LOG` says, or else the flags; and the recorder, if anything needs it.
pub(crate) fn start(arguments: &Arguments) -> Result<Option<&'static Recorder>, String> {
    let logger = logger(arguments)?;
    let level = logger.filter();
    let mut options = Options::recording(match &arguments.trace {
        _ if arguments.demo => DEMO_EVENTS,
        Some(_) => arguments.trace_events,
        None => 0,
    });
    options.slow_polls = arguments.warn_blocking.map(SlowPolls::new);
    options.explain = arguments.explain.map(|which| {
        let every = which == Explain::All;
        let out = Box::new(output::Ladder);
        recorder::Explain::new(out, ACCEPTS, SERVES, every, is_colourful())
    });
    let logger: Box<dyn Log> = Box::new(logger);
    let started = if options.is_idle() {
        log::set_max_level(level);
        log::set_boxed_logger(logger).map(|()| None)
    } else {
        Recorder::install(logger, level, options).map(Some)
    };
    started.map_err(|error| format!("cannot start the log: {error}"))
}

fn logger(arguments: &Arguments) -> Result<env_logger::Logger, String> {
    let mut builder = env_logger::Builder::new();
    builder.target(env_logger::Target::Pipe(Box::new(output::Log)));
    match env::var("RUST_LOG") {
        Ok(filters) => {
            let parsed = env_filter::Builder::new().try_parse(&filters).map(drop);
            parsed.map_err(|error| format!("RUST_LOG={filters}: {error}: write reactor=trace"))?;
            builder.parse_filters(&filters);
        }
        Err(VarError::NotPresent) => {
            builder.filter_level(arguments.log);
        }
        Err(VarError::NotUnicode(filters)) => {
            return Err(format!("RUST_LOG={}: it is not UTF-8", filters.to_string_lossy()));
        }
    }
    Ok(builder.build())
}

/// Whether standard output shows colours, and its reader wants them: <https://no-color.org>.
fn is_colourful() -> bool {
    let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    io::stdout().is_terminal() && !unwanted && !dumb
}

/// Returns what the demo prints.
pub(crate) fn ladder(recording: &Recording, all: bool) -> String {
    let mut ladder = Ladder::new(all, is_colourful());
    let mut text = format!("One server thread, one client, one byte: a real run.\n\n{HEAD}\n");
    text += &ladder.lines(&recording.events);
    text += &format!("\n{}\n", sum(&recording.counts()));
    text += "Step through it:  cargo run -q -- --demo --trace run.html   (open run.html)\n";
    text += "Is it true?       strace -qq -e %net,epoll_wait target/debug/echod --demo\n";
    text
}

/// Where the recording goes. It is written once: at the end of the server or, if that takes too
/// long, at a second signal.
pub(crate) struct Trace {
    recorder: &'static Recorder,
    path: PathBuf,
    format: Format,
    file: Mutex<Option<Replacement>>,
}

impl Trace {
    /// Opens the file now, because an error is better reported before the run than after it. What
    /// the file holds stays until the recording is complete.
    pub(crate) fn open(
        recorder: &'static Recorder,
        (path, format): (PathBuf, Format),
    ) -> Result<Trace, String> {
        let file = Replacement::of(&path).map_err(|error| unwritable(&path, &error))?;
        Ok(Trace { recorder, path, format, file: Mutex::new(Some(file)) })
    }

    /// Writes what has been recorded so far, unless it has been written. A second caller waits until
    /// the first one has finished.
    pub(crate) fn save(&self) -> Result<(), String> {
        self.write(SERVER, || self.recorder.finish())
    }

    /// The same for a recording that was made of it.
    pub(crate) fn save_demo(&self, recording: Recording) -> Result<(), String> {
        self.write(DEMO, || recording)
    }

    fn write(&self, title: &str, recording: impl FnOnce() -> Recording) -> Result<(), String> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = file.take() else { return Ok(()) };
        let recording = recording();
        let told = told(&self.path, &recording);
        let written = file.finish(|out| match self.format {
            Format::Html => Page::new(title, run(recording, title)).write_html(out),
            Format::Chrome => recorder::write_chrome(&recording, out),
            Format::Lines => recorder::write_lines(&recording, out),
        });
        written.map_err(|error| unwritable(&self.path, &error))?;
        complain(&told);
        Ok(())
    }
}

/// What was written, and what it lacks.
fn told(path: &Path, recording: &Recording) -> String {
    let written = format!("wrote {}: {} steps", path.display(), recording.steps());
    match recording.dropped {
        0 => written,
        dropped => {
            format!("{written}; {dropped} earlier ones were dropped, --trace-events keeps more")
        }
    }
}

fn unwritable(path: &Path, error: &io::Error) -> String {
    let cure = match error.kind() {
        _ if is_out_of_descriptors(error) => MORE_DESCRIPTORS,
        ErrorKind::NotFound => "make its folder first",
        ErrorKind::IsADirectory => "that is a folder; name a file",
        ErrorKind::PermissionDenied => "choose a folder of yours",
        ErrorKind::StorageFull => "make room for it",
        _ => "choose another file",
    };
    format!("cannot write {}: {error}: {cure}", path.display())
}

/// The run with the words around it.
fn run(recording: Recording, title: &str) -> Run {
    let claim = match title {
        DEMO => "A real run of the echo server, recorded: one connection, one byte.",
        _ => "A real run of echod, recorded.",
    };
    let mut run = Run::new(claim, recording);
    let text = include_str!("serve.rs");
    let from = text.lines().position(|line| line.contains("async fn accept")).unwrap_or(0) + 1;
    let to = text.lines().count();
    run.program = Some(Program::new("echo/src/serve.rs", text).showing(from, to));
    let again = [
        ("forget-waker", "a future forgets to leave its waker"),
        ("read-once", "one read for each event, although the buffer came back full"),
        ("await-connection", "the connection is awaited, not spawned"),
    ];
    let command = |name| format!("cargo run -q --example fault -- {name} --trace run.html");
    run.again = again.map(|(name, says)| (command(name), says.to_owned())).into();
    run
}
