//! A logger that counts the tasks which the executor reports as lost.

use std::sync::atomic::{AtomicUsize, Ordering};

use log::{LevelFilter, Log, Metadata, Record};

static LOST: AtomicUsize = AtomicUsize::new(0);

struct Lost;

/// From now on, counts.
pub(crate) fn install() {
    log::set_logger(&Lost).expect("no other logger");
    log::set_max_level(LevelFilter::Warn);
}

/// How many there have been.
pub(crate) fn count() -> usize {
    LOST.load(Ordering::Relaxed)
}

impl Log for Lost {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if record.args().to_string().starts_with("lost: ") {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}
