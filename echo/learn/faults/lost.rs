//! A logger that counts the tasks which the executor reports as lost.

use std::sync::atomic::{AtomicUsize, Ordering};

use log::{LevelFilter, Log, Metadata, Record};
use recorder::{Options, Recorder};

static LOST: AtomicUsize = AtomicUsize::new(0);

struct Lost;

/// More than any of the runs has.
const EVENTS: usize = 100_000;

/// From now on, counts; and records, if asked to.
pub(crate) fn install(record: bool) -> Option<&'static Recorder> {
    let options = Options::recording(if record { EVENTS } else { 0 });
    let recorder = Recorder::install(Box::new(Lost), LevelFilter::Warn, options);
    recorder.ok().filter(|_| record)
}

/// How many there have been.
pub(crate) fn count() -> usize {
    LOST.load(Ordering::Relaxed)
}

impl Log for Lost {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= LevelFilter::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if record.args().to_string().starts_with("lost: ") {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}
