//! What the reactor counts.

use std::cell::Cell;

/// What the reactor has counted since it was made. All numbers only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Waits of the reactor, those that only looked included.
    pub turns: u64,
    /// Events that the kernel reported.
    pub events: u64,
    /// Operations that would have blocked.
    pub would_blocks: u64,
    /// Times a task was told to wait for a source.
    pub waits: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) turns: Counter,
    pub(crate) events: Counter,
    pub(crate) would_blocks: Counter,
    pub(crate) waits: Counter,
    pub(crate) deregistrations: Counter,
}

#[derive(Default)]
pub(crate) struct Counter(Cell<u64>);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.set(self.0.get().wrapping_add(n));
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.get()
    }
}

impl Counters {
    pub(crate) fn metrics(&self) -> Metrics {
        Metrics {
            turns: self.turns.get(),
            events: self.events.get(),
            would_blocks: self.would_blocks.get(),
            waits: self.waits.get(),
        }
    }
}
