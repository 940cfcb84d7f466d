//! Exercise 12: a LIFO slot. The task is in section 12 of the README of this folder.
//!
//! ```text
//! cargo run --example exercise -- 12
//! ```

use std::collections::VecDeque;

/// How many tasks may be taken from the slot one after the other, while others are queued.
pub(crate) const LIMIT: usize = 3;

/// The run queue of an executor. Tasks have numbers.
#[derive(Default)]
pub(crate) struct Scheduler {
    queue: VecDeque<usize>,
}

impl Scheduler {
    /// Queues a task that was woken.
    ///
    /// `running` is the task that the executor is polling, if it is polling one: that task, or code
    /// that it called, is the caller of the waker. Outside of polls, the reactor calls wakers.
    ///
    /// The caller makes sure that a task is queued only once.
    pub(crate) fn wake(&mut self, task: usize, running: Option<usize>) {
        let _ = running;
        self.queue.push_back(task);
    }

    /// Returns the task to poll next.
    pub(crate) fn next(&mut self) -> Option<usize> {
        self.queue.pop_front()
    }
}

#[path = "checks/12_lifo.rs"]
pub(crate) mod check;
