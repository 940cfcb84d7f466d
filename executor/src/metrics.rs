//! What the executor counts.

use std::cell::Cell;

use reactor::Reactor;

/// What an executor has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Polls of tasks, and of the futures given to `block_on`.
    pub polls: u64,
    /// Those, other than a task's first, that completed no operation and had to wait again.
    pub spurious_polls: u64,
    /// Wakes that put a task into the run queue; spawning is one.
    pub wakes: u64,
    /// Those that came from other threads.
    pub remote_wakes: u64,
    /// Times that messages from other threads were received, however many at once.
    pub notifications: u64,
    /// Waits of the reactor, those that only looked included.
    pub turns: u64,
    /// Events that the kernel reported.
    pub events: u64,
    /// Operations that would have blocked.
    pub would_blocks: u64,
    /// Tasks that have not finished, the future given to `block_on` included.
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
