//! Solution of exercise 12: a LIFO slot.

use std::collections::VecDeque;

/// How many tasks may be taken from the slot one after the other, while others are queued.
pub(crate) const LIMIT: usize = 3;

/// The run queue of an executor. Tasks have numbers.
#[derive(Default)]
pub(crate) struct Scheduler {
    queue: VecDeque<usize>,
    /// The task that was woken last by the running task. It is polled before the queue.
    slot: Option<usize>,
    /// How many tasks were taken from the slot since one was taken from the queue.
    in_a_row: usize,
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
        // Two tasks that wake each other would fill the slot forever.
        if self.in_a_row >= LIMIT && !self.queue.is_empty() {
            self.queue.extend(self.slot.take());
        }
        if let Some(task) = self.slot.take() {
            self.in_a_row += 1;
            return Some(task);
        }
        self.in_a_row = 0;
        self.queue.pop_front()
    }
}

#[path = "../exercises/checks/12_lifo.rs"]
pub(crate) mod check;
