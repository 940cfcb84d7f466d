//! Polls that hold the thread for long: while one runs, nobody else is served.

use std::cell::{Cell, RefCell};
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
    /// The places that were reported.
    reported: Mutex<HashSet<String>>,
}

type Tasks = HashMap<u64, (String, String)>;

thread_local! {
    /// The name and the place of spawn of each task that has not ended. Each executor has a task 1,
    /// but no thread runs two at once.
    static TASKS: RefCell<Tasks> = RefCell::default();
    /// The poll that runs on this thread, and since when.
    static POLL: Cell<Option<(u64, Instant)>> = const { Cell::new(None) };
}

impl SlowPolls {
    /// Reports polls that took longer than `limit`.
    pub fn new(limit: Duration) -> SlowPolls {
        SlowPolls { limit, reported: Mutex::default() }
    }

    pub(crate) fn concerns(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "executor::executor"
    }

    /// What to report, if this record ends a poll that took too long.
    pub(crate) fn listen(&self, record: &Record<'_>) -> Option<String> {
        let message = record.args().as_str()?;
        let values = Values::of(record);
        match message {
            "spawn" => spawned(values),
            "poll" => POLL.set(Some((values.task, Instant::now()))),
            "pending" => return self.polled(values.task),
            "done" | "panic" | "abort" => {
                let report = self.polled(values.task);
                with_tasks(|tasks| tasks.remove(&values.task));
                return report;
            }
            _ => {}
        }
        None
    }

    fn polled(&self, task: u64) -> Option<String> {
        // A task that another one aborts ends within that one's poll.
        let (_, since) = POLL.get().filter(|(polled, _)| *polled == task)?;
        POLL.set(None);
        let took = since.elapsed();
        if took < self.limit {
            return None;
        }
        let (name, place) = with_tasks(|tasks| tasks.get(&task).cloned())?;
        // Nothing panics under the lock.
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        reported.insert(place.clone()).then(|| report(task, &name, &place, took))
    }
}

/// Nothing, when the thread is about to end: an executor may outlive its thread's variables.
fn with_tasks<T>(act: impl FnOnce(&mut Tasks) -> Option<T>) -> Option<T> {
    TASKS.try_with(|tasks| act(&mut tasks.borrow_mut())).ok().flatten()
}

fn spawned(values: Values) {
    with_tasks(|tasks| tasks.insert(values.task, (values.name, values.place)));
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
        "one poll of {who} blocked the thread for {took}, and no other task could run; {begins} at {place}"
    )
}
