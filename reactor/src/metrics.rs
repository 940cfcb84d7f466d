//! The counters of the reactor.

use std::cell::Cell;

/// A snapshot of the reactor's counters. Each counts from the creation of the reactor and never
/// decreases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Turns of the reactor, including those that did not sleep.
    pub turns: u64,
    /// Events that the kernel reported.
    pub events: u64,
    /// Attempts that returned `WouldBlock`.
    pub would_blocks: u64,
    /// Polls that returned `Pending` because their task has to wait for a source.
    pub waits: u64,
}

/// The counters behind [`Metrics`], and `deregistrations`, which only the runtime itself uses.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) turns: Counter,
    pub(crate) events: Counter,
    pub(crate) would_blocks: Counter,
    pub(crate) waits: Counter,
    pub(crate) deregistrations: Counter,
}

/// A number that can be increased through a shared reference.
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
