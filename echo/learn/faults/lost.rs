//! A logger that counts the tasks that the executor reports as lost.

use std::sync::atomic::{AtomicUsize, Ordering};

use log::{LevelFilter, Log, Metadata, Record};
use recorder::{Options, Recorder};

static COUNT: AtomicUsize = AtomicUsize::new(0);

struct LostTasks;

/// More events than any run has.
const EVENTS: usize = 100_000;

/// Installs the logger. If `record` is set, returns a recorder of the runs.
pub(crate) fn install(record: bool) -> Option<&'static Recorder> {
    let mut options = Options::recording(if record { EVENTS } else { 0 });
    // The page shows the line at which each task stands.
    options.stacks = record;
    let recorder = Recorder::install(Box::new(LostTasks), LevelFilter::Warn, options);
    recorder.ok().filter(|_| record)
}

/// Returns the number of lost tasks so far.
pub(crate) fn count() -> usize {
    COUNT.load(Ordering::Relaxed)
}

impl Log for LostTasks {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= LevelFilter::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if record.args().to_string().starts_with("lost: ") {
            COUNT.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}
