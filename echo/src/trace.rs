//! The log, and the recordings of a run that the recorder makes from it.

use std::env::{self, VarError};
use std::io::{self, ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use log::{LevelFilter, Log};
use recorder::{Format, Ladder, Options, Page, Program, Recorder, Recording, Run, SlowPolls};

use crate::arguments::{Arguments, Explain};
use crate::demo;
use crate::output::{self, MORE_DESCRIPTORS, is_out_of_descriptors, print_error};
use crate::replacement::Replacement;

/// The titles of a recording.
pub(crate) const DEMO: &str = "echod --demo";
pub(crate) const SERVER: &str = "echod";

/// The capacity of a recording of the demo. The demo has about fifty steps, so none is dropped.
const DEMO_EVENTS: usize = 10_000;

/// The names of the tasks that accept connections, and of the tasks that serve them.
pub(crate) const ACCEPTS: &str = "accept";
pub(crate) const SERVES: &str = "echo";

/// Starts the log, configured by `RUST_LOG` or otherwise by the flags. Also starts the recorder if a
/// flag needs it.
pub(crate) fn start(arguments: &Arguments) -> Result<Option<&'static Recorder>, String> {
    let logger = logger(arguments)?;
    let level = logger.filter();
    let mut options = Options::recording(match &arguments.trace {
        _ if arguments.demo => DEMO_EVENTS,
        Some(_) => arguments.trace_events,
        None => 0,
    });
    // Only a page shows the lines of the program.
    options.stacks = matches!(arguments.trace, Some((_, Format::Html)));
    options.slow_polls = arguments.warn_blocking.map(SlowPolls::new);
    options.explain = arguments.explain.map(|which| {
        let every = which == Explain::All;
        let out = Box::new(output::Ladder);
        let ladder = Ladder::new(false, wants_color()).fit(columns());
        recorder::Explain::new(out, ACCEPTS, SERVES, every, ladder)
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
    let mut builder = filter(env::var("RUST_LOG"), arguments.log)?;
    builder.target(env_logger::Target::Pipe(Box::new(output::Log)));
    Ok(builder.build())
}

/// Returns a logger that selects the records of `RUST_LOG` or, if that is not set, those of the level.
fn filter(
    rust_log: Result<String, VarError>,
    level: LevelFilter,
) -> Result<env_logger::Builder, String> {
    let mut builder = env_logger::Builder::new();
    match rust_log {
        Ok(filters) => {
            let parsed = env_filter::Builder::new().try_parse(&filters).map(drop);
            parsed.map_err(|error| {
                format!("RUST_LOG={filters}: {error} (write e.g. reactor=trace)")
            })?;
            builder.parse_filters(&filters);
        }
        Err(VarError::NotPresent) => {
            builder.filter_level(level);
        }
        Err(VarError::NotUnicode(filters)) => {
            return Err(format!("RUST_LOG={}: it is not UTF-8", filters.to_string_lossy()));
        }
    }
    Ok(builder)
}

/// Returns whether to print colors: standard output must be a terminal that supports them, and
/// `NO_COLOR` (<https://no-color.org>) must not be set.
fn wants_color() -> bool {
    let is_unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    io::stdout().is_terminal() && !is_unwanted && !is_dumb
}

/// Returns the number of columns of the terminal, if a shell exports it. Otherwise, and if standard output
/// is not a terminal, returns 80.
fn columns() -> usize {
    let columns = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    columns.filter(|_| io::stdout().is_terminal()).unwrap_or(80)
}

/// Returns what the demo prints. `page` is the page of this run, if there is one.
pub(crate) fn ladder(recording: &Recording, all: bool, page: Option<&Path>) -> String {
    let columns = columns();
    let mut ladder = Ladder::new(all, wants_color()).fit(columns);
    let header = ladder.header();
    let mut text = format!("One server thread, one client, one byte: a real run.\n\n{header}\n");
    text += &ladder.lines(&recording.events);
    // On a narrow terminal, each sentence and each command has its own line.
    let (then, next, verify) = match columns < 80 {
        true => (";\n", "\n  ", "Verify it:"),
        false => ("; ", "  ", "Verify it:      "),
    };
    let summary = recorder::summary(&recording.counts()).replace("; ", then);
    text += &format!("\n{summary}\n");
    text += &match page {
        Some(page) => format!("Step through it:{next}open {}\n", page.display()),
        None => format!(
            "Step through it:{next}cargo run -q -- --demo --trace run.html   (open run.html)\n"
        ),
    };
    let command = "strace -qq -e %net,epoll_wait target/debug/echod --demo";
    text += &format!("{verify}{next}{command}\n");
    text
}

/// The file of `--trace`. It is written once: when the server ends, or before that at a second signal.
pub(crate) struct Trace {
    recorder: &'static Recorder,
    path: PathBuf,
    format: Format,
    file: Mutex<Option<Replacement>>,
}

impl Trace {
    /// Opens the file. This happens before the run, so that an error does not lose a recording. An
    /// existing file keeps its content until the recording is complete.
    pub(crate) fn open(
        recorder: &'static Recorder,
        (path, format): (PathBuf, Format),
    ) -> Result<Trace, String> {
        let file = Replacement::of(&path).map_err(|error| unwritable(&path, &error))?;
        Ok(Trace { recorder, path, format, file: Mutex::new(Some(file)) })
    }

    /// Returns the file if it is a page to step through.
    pub(crate) fn page(&self) -> Option<&Path> {
        matches!(self.format, Format::Html).then_some(&*self.path)
    }

    /// Writes the recording, unless it has already been written. A second caller waits until the first
    /// has finished.
    pub(crate) fn save(&self) -> Result<(), String> {
        self.write(SERVER, || self.recorder.finish())
    }

    /// Writes a recording of the demo.
    pub(crate) fn save_demo(&self, recording: Recording) -> Result<(), String> {
        self.write(DEMO, || recording)
    }

    fn write(&self, title: &str, recording: impl FnOnce() -> Recording) -> Result<(), String> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = file.take() else { return Ok(()) };
        let recording = recording();
        let summary = summary(&self.path, &recording);
        let written = file.finish(|out| match self.format {
            Format::Html => Page::new(title, run(recording, title)).write_html(out),
            Format::Chrome => recorder::write_chrome(&recording, out),
            Format::Lines => recorder::write_json_lines(&recording, out),
        });
        written.map_err(|error| unwritable(&self.path, &error))?;
        print_error(&summary);
        Ok(())
    }
}

/// Returns the line that reports how many steps were written and how many were dropped.
fn summary(path: &Path, recording: &Recording) -> String {
    let written = format!("wrote {}: {} steps", path.display(), recording.steps());
    match recording.dropped {
        0 => written,
        dropped => {
            format!("{written}; {dropped} earlier steps were dropped (--trace-events keeps more)")
        }
    }
}

fn unwritable(path: &Path, error: &io::Error) -> String {
    let advice = match error.kind() {
        _ if is_out_of_descriptors(error) => MORE_DESCRIPTORS,
        ErrorKind::NotFound => "create its directory first",
        ErrorKind::IsADirectory => "name a file, not a directory",
        ErrorKind::PermissionDenied => "choose a directory that you may write to",
        ErrorKind::StorageFull => "free some disk space",
        _ => "choose another file",
    };
    format!("cannot write {}: {error}: {advice}", path.display())
}

/// Adds to a recording what the page shows beside it: a title, the program, and commands for runs with
/// a fault.
fn run(recording: Recording, title: &str) -> Run {
    let claim = match title {
        DEMO => "A recorded run of the echo server: one connection, one byte.",
        _ => "A recorded run of echod.",
    };
    let mut run = Run::new(claim, recording);
    run.asks = title == DEMO;
    let text = include_str!("serve.rs");
    let from = text.lines().position(|line| line.contains("async fn accept")).unwrap_or(0) + 1;
    let to = text.lines().count();
    run.program = Some(Program::new("echo/src/serve.rs", text).showing(from, to));
    if title == DEMO {
        run.files.push(demo::FILE);
    }
    let faults = [
        ("forget-waker", "a future does not store its waker"),
        ("read-once", "only one read for each event, although the read filled the buffer"),
        ("await-connection", "the connection is awaited instead of spawned"),
    ];
    let command = |name| format!("cargo run -q --example fault -- {name} --trace run.html");
    run.again = faults.map(|(name, fault)| (command(name), fault.to_owned())).into();
    run
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::tests::cases;
    use log::Record;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use rustix::io::Errno;

    #[test]
    fn each_error_of_the_file_has_its_own_advice() {
        for (errno, advice) in [
            (Errno::MFILE, MORE_DESCRIPTORS),
            (Errno::NFILE, MORE_DESCRIPTORS),
            (Errno::NOENT, "create its directory first"),
            (Errno::ISDIR, "name a file, not a directory"),
            (Errno::ACCESS, "choose a directory that you may write to"),
            (Errno::NOSPC, "free some disk space"),
            (Errno::FBIG, "choose another file"),
        ] {
            let error = io::Error::from(errno);
            let text = unwritable(Path::new("run.html"), &error);
            assert_eq!(text, format!("cannot write run.html: {error}: {advice}"));
        }
    }

    /// The parts of filters, and other text.
    fn filters() -> impl Strategy<Value = String> {
        let parts = [
            "reactor",
            "executor",
            "::",
            "=",
            ",",
            "/",
            "trace",
            "off",
            "warn",
            "TRACE",
            "tracee",
            "6",
            "[",
            "]",
            "{",
            "}",
            "(",
            ")",
            "*",
            "+",
            "?",
            "|",
            "\\",
            "{9999}",
            "x{1000}{1000}",
            " ",
            "\n",
            "\u{1b}[2J",
        ];
        let part =
            prop_oneof![6 => select(parts.to_vec()).prop_map(str::to_owned), 1 => any::<String>()];
        vec(part, 0..8).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: cases(300), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_value_of_rust_log_selects_records_or_is_an_error(filters in filters()) {
            match filter(Ok(filters.clone()), LevelFilter::Info) {
                Ok(mut builder) => {
                    builder.target(env_logger::Target::Pipe(Box::new(io::sink())));
                    let text = format_args!("a record");
                    builder.build().log(&Record::builder().target("reactor").args(text).build());
                }
                Err(message) => {
                    let begin = format!("RUST_LOG={filters}: ");
                    prop_assert!(message.starts_with(&begin), "{}", message);
                }
            }
        }
    }
}
