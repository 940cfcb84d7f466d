//! Answers that are told as the demo is: step by step.

use std::io;
use std::sync::{LazyLock, OnceLock};

use log::{LevelFilter, Log, Metadata, Record};
use recorder::{HEAD, Kind, Ladder, Options, Recorder, Recording};

use crate::say;

/// More than any of the programs has.
const STEPS: usize = 10_000;

/// A log that nobody reads, unless the program listens itself: the recorder does so before it.
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

/// The recorder of this process. Programs whose steps are not told never ask for it, and so run
/// without.
pub(crate) static RECORDER: LazyLock<&'static Recorder> = LazyLock::new(|| {
    let options = Options::recording(STEPS);
    let installed = Recorder::install(Box::new(Listener), LevelFilter::Off, options);
    installed.expect("this process has no other logger")
});

/// From now on, the program hears each record of the runtime.
pub(crate) fn listen(listener: fn(&Record<'_>)) {
    LISTENER.set(listener).expect("a program has one listener");
    LazyLock::force(&RECORDER);
}

/// Runs the program, and tells those of its steps that concern these tasks. A program may `start`
/// the recorder once more, when what it had to prepare is done.
pub(crate) fn told_following(
    tasks: &[u64],
    program: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    RECORDER.start();
    program()?;
    print(&RECORDER.recording().following(tasks))
}

/// Runs the program, and tells its steps.
pub(crate) fn told(program: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    RECORDER.start();
    program()?;
    print(&RECORDER.recording())
}

/// Runs the program, and tells those of its steps that are of the kinds asked for. Their numbers
/// show where others are left out.
pub(crate) fn told_of(
    kinds: fn(&Kind) -> bool,
    program: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    RECORDER.start();
    program()?;
    let mut recording = RECORDER.recording();
    recording.events.retain(|event| kinds(&event.kind));
    let told: Vec<u64> = recording.events.iter().map(|event| event.number).collect();
    for event in &mut recording.events {
        event.causes.retain(|cause| told.contains(cause));
    }
    print(&recording)
}

fn print(recording: &Recording) -> io::Result<()> {
    say(HEAD)?;
    say(Ladder::new(false, false).lines(&recording.events).trim_end())
}
