//! Polls that hold the thread for long: while one runs, nobody else is served.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::{Metadata, Record};

use crate::record::Values;
use crate::words::time;

/// Reports polls that took longer than a limit, once for each place of spawn.
///
/// A task that blocks does so again and again, and one line is enough to find it.
pub struct SlowPolls {
    limit: Duration,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The name and the place of spawn of each task that has not ended.
    tasks: HashMap<u64, (String, String)>,
    reported: HashSet<String>,
}

thread_local! {
    /// The poll that runs on this thread, and since when.
    static POLL: Cell<Option<(u64, Instant)>> = const { Cell::new(None) };
}

impl SlowPolls {
    /// Reports polls that took longer than `limit`.
    pub fn new(limit: Duration) -> SlowPolls {
        SlowPolls { limit, known: Mutex::default() }
    }

    pub(crate) fn concerns(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "executor::executor"
    }

    /// What to report, if this record ends a poll that took too long.
    pub(crate) fn listen(&self, record: &Record<'_>) -> Option<String> {
        let message = record.args().as_str()?;
        let values = Values::of(record);
        match message {
            "spawn" => self.spawned(values),
            "poll" => POLL.set(Some((values.task, Instant::now()))),
            "pending" => return self.polled(values.task),
            "done" | "panic" | "abort" => {
                let report = self.polled(values.task);
                self.known().tasks.remove(&values.task);
                return report;
            }
            _ => {}
        }
        None
    }

    /// Nothing panics under the lock.
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawned(&self, values: Values) {
        self.known().tasks.insert(values.task, (values.name, values.place));
    }

    fn polled(&self, task: u64) -> Option<String> {
        // A task that another one aborts ends within that one's poll.
        let (_, since) = POLL.get().filter(|(polled, _)| *polled == task)?;
        POLL.set(None);
        let took = since.elapsed();
        if took < self.limit {
            return None;
        }
        let mut known = self.known();
        let (name, place) = known.tasks.get(&task)?.clone();
        known.reported.insert(place.clone()).then(|| report(task, &name, &place, took))
    }
}

fn report(task: u64, name: &str, place: &str, took: Duration) -> String {
    let (who, begins) = match (task, name) {
        // The future of `block_on` is always the first.
        (0, _) => ("the main future".to_owned(), "its block_on is"),
        (_, "") => (format!("task {task}"), "it was spawned"),
        (_, name) => (format!("task {task} \"{name}\""), "it was spawned"),
    };
    let took = time(took);
    format!(
        "one poll of {who} held the thread for {took}: nobody else was served; {begins} at {place}"
    )
}
