//! Mistake: nothing limits how many tasks are taken from the slot one after the other.

use std::collections::VecDeque;

/// How many tasks may be taken from the slot one after the other, while others are queued.
pub(crate) const LIMIT: usize = 3;

/// The run queue of an executor. Tasks have numbers.
#[derive(Default)]
pub(crate) struct Scheduler {
    queue: VecDeque<usize>,
    /// The task that was woken last by the running task. It is polled before the queue.
    slot: Option<usize>,
}

impl Scheduler {
    /// Queues a task that was woken.
    ///
    /// `running` is the task that the executor is polling, if it is polling one: that task, or code
    /// that it called, is the caller of the waker. Outside of polls, the reactor calls wakers.
    ///
    /// The caller makes sure that a task is queued only once.
    pub(crate) fn wake(&mut self, task: usize, running: Option<usize>) {
        // A task that wakes itself yields: it wants others to run first.
        if running.is_none_or(|running| running == task) {
            return self.queue.push_back(task);
        }
        // The message for the task is still in the cache. An earlier task in the slot has to wait.
        self.queue.extend(self.slot.replace(task));
    }

    /// Returns the task to poll next.
    pub(crate) fn next(&mut self) -> Option<usize> {
        self.slot.take().or_else(|| self.queue.pop_front())
    }
}

#[path = "../../exercises/checks/12_lifo.rs"]
pub(crate) mod check;
