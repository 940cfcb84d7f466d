//! Reports slow polls. While a poll runs, no other task of the thread can run.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::{Metadata, Record};

use crate::record::Values;
use crate::units::time;

/// Reports polls that take longer than a limit, once for each location at which tasks are spawned.
///
/// A task that blocks usually does so repeatedly, and one report is enough to find it.
pub struct SlowPolls {
    limit: Duration,
    /// The spawn locations that were reported.
    reported: Mutex<HashSet<String>>,
}

type Tasks = HashMap<u64, (String, String)>;

thread_local! {
    /// The name and the spawn location of each live task. Each executor has a task 1, but a thread runs
    /// only one executor at a time.
    static TASKS: RefCell<Tasks> = RefCell::default();
    /// The task that this thread is polling, and when the poll began.
    static POLL: Cell<Option<(u64, Instant)>> = const { Cell::new(None) };
}

impl SlowPolls {
    /// Reports polls that take longer than `limit`.
    pub fn new(limit: Duration) -> SlowPolls {
        SlowPolls { limit, reported: Mutex::default() }
    }

    pub(crate) fn concerns(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "executor::executor"
    }

    /// Returns the report, if this record ends a poll that took too long.
    pub(crate) fn observe(&self, record: &Record<'_>) -> Option<String> {
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
        // A task may be aborted within another task's poll, which continues.
        let (_, since) = POLL.get().filter(|(polled, _)| *polled == task)?;
        POLL.set(None);
        let took = since.elapsed();
        if took < self.limit {
            return None;
        }
        let (name, location) = with_tasks(|tasks| tasks.get(&task).cloned())?;
        // Code that holds the lock does not panic, so the lock is never poisoned.
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        reported.insert(location.clone()).then(|| report(task, &name, &location, took))
    }
}

/// Returns `None` if the thread-local has been destroyed: an executor may outlive it.
fn with_tasks<T>(act: impl FnOnce(&mut Tasks) -> Option<T>) -> Option<T> {
    TASKS.try_with(|tasks| act(&mut tasks.borrow_mut())).ok().flatten()
}

fn spawned(values: Values) {
    with_tasks(|tasks| tasks.insert(values.task, (values.name, values.location)));
}

fn report(task: u64, name: &str, location: &str, took: Duration) -> String {
    let (which, spawned) = match (task, name) {
        // The future of `block_on` is always task 0.
        (0, _) => ("the main future".to_owned(), "its block_on is"),
        (_, "") => (format!("task {task}"), "it was spawned"),
        (_, name) => (format!("task {task} \"{name}\""), "it was spawned"),
    };
    let took = time(took);
    format!(
        "one poll of {which} blocked the thread for {took}, and no other task could run; {spawned} at {location}"
    )
}
