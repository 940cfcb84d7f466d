//! Answers that are printed step by step, like the demo of `echod`.

use std::io;
use std::sync::{LazyLock, OnceLock};

use log::{LevelFilter, Log, Metadata, Record};
use recorder::{HEADER, Kind, Ladder, Options, Recorder, Recording};

use crate::{print_line, scene};

/// More steps than any of the programs has.
const STEPS: usize = 10_000;

/// A logger that passes each record to the function given to [`set_listener`], if any.
///
/// The recorder is in front of it, and gets every record first.
struct Listener;

static LISTENER: OnceLock<fn(&Record<'_>)> = OnceLock::new();

impl Log for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        LISTENER.get().is_some()
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(listener) = LISTENER.get() {
            listener(record);
        }
    }

    fn flush(&self) {}
}

/// The recorder of this process.
///
/// It is installed on first use, so a program that does not use it runs without one.
pub(crate) static RECORDER: LazyLock<&'static Recorder> = LazyLock::new(|| {
    let mut options = Options::recording(STEPS);
    // Only the page of a scene shows the lines of the program.
    options.stacks = scene::is_requested();
    let installed = Recorder::install(Box::new(Listener), LevelFilter::Off, options);
    installed.expect("this process has no other logger")
});

/// Calls `listener` with each log record of the runtime from now on.
pub(crate) fn set_listener(listener: fn(&Record<'_>)) {
    LISTENER.set(listener).expect("a program has one listener");
    LazyLock::force(&RECORDER);
}

/// Runs the program, and prints its steps that concern the given tasks.
///
/// A program can leave out its preparation: it calls `RECORDER.start()` again when that is done.
pub(crate) fn print_steps_of_tasks(
    tasks: &[u64],
    program: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    RECORDER.start();
    program()?;
    let recording = RECORDER.recording().following(tasks);
    scene::keep(&recording);
    print(&recording)
}

/// Runs the program, and prints its steps.
pub(crate) fn print_steps(program: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    RECORDER.start();
    program()?;
    let recording = RECORDER.recording();
    scene::keep(&recording);
    print(&recording)
}

/// Runs the program, and prints its steps of the given kinds. Gaps in the step numbers show where
/// other steps are left out.
pub(crate) fn print_steps_of_kinds(
    kinds: fn(&Kind) -> bool,
    program: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    RECORDER.start();
    program()?;
    let mut recording = RECORDER.recording();
    scene::keep(&recording);
    recording.events.retain(|event| kinds(&event.kind));
    let numbers: Vec<u64> = recording.events.iter().map(|event| event.number).collect();
    for event in &mut recording.events {
        event.causes.retain(|cause| numbers.contains(cause));
    }
    print(&recording)
}

fn print(recording: &Recording) -> io::Result<()> {
    print_line(HEADER)?;
    print_line(Ladder::new(false, false).lines(&recording.events).trim_end())
}
