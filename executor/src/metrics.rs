//! The counters of an executor.

use std::cell::Cell;

use reactor::Reactor;

/// The counters of an executor and its reactor, since the executor was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Polls of tasks, and of the futures given to `block_on`.
    pub polls: u64,
    /// Polls that completed no operation and had to wait again. A task's first poll is never
    /// spurious.
    pub spurious_polls: u64,
    /// Wakeups that put a task into the run queue. Spawning a task is one.
    pub wakes: u64,
    /// Wakeups received from the inbox, even if the task had ended or was already in the run queue.
    /// They come from other threads, or from this thread outside `block_on`.
    pub remote_wakes: u64,
    /// How often the executor received messages from the inbox, one or several at a time.
    pub notifications: u64,
    /// Turns of the reactor, including those that did not sleep.
    pub turns: u64,
    /// Events that the kernel reported.
    pub events: u64,
    /// Operations that returned `WouldBlock`.
    pub would_blocks: u64,
    /// Tasks that have not ended, including the future given to `block_on`.
    pub tasks: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) polls: Counter,
    pub(crate) spurious_polls: Counter,
    pub(crate) wakes: Counter,
    pub(crate) remote_wakes: Counter,
    pub(crate) notifications: Counter,
    /// Tasks that have not ended.
    pub(crate) tasks: Counter,
}

#[derive(Default)]
pub(crate) struct Counter(Cell<u64>);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.set(self.0.get() + n);
    }

    pub(crate) fn subtract(&self, n: u64) {
        self.0.set(self.0.get() - n);
    }
}

impl Counters {
    pub(crate) fn metrics(&self, reactor: &Reactor) -> Metrics {
        let reactor = reactor.metrics();
        Metrics {
            polls: self.polls.0.get(),
            spurious_polls: self.spurious_polls.0.get(),
            wakes: self.wakes.0.get(),
            remote_wakes: self.remote_wakes.0.get(),
            notifications: self.notifications.0.get(),
            turns: reactor.turns,
            events: reactor.events,
            would_blocks: reactor.would_blocks,
            tasks: self.tasks.0.get(),
        }
    }
}
