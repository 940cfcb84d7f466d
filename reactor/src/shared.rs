//! What a reactor shares with its sources.
//!
//! A source counts its waits, asks for a sweep of its waiters, and must know whether its reactor
//! still delivers events. It holds this value and not the reactor, so each of `source.rs` and
//! `reactor.rs` can be read alone, and a socket that outlives its reactor keeps only a few words of
//! it.

use std::cell::{Cell, RefCell};
use std::io;
use std::panic::Location;

use crate::metrics::Counters;

thread_local! {
    /// Where the current reactor of this thread was created.
    static CURRENT_LOCATION: Cell<Option<&'static Location<'static>>> = const { Cell::new(None) };
}

/// The part of a reactor that its sources use.
pub(crate) struct Shared {
    /// The counters of [`Reactor::metrics`](crate::Reactor::metrics). Three of them are also internal
    /// state: sources number their sweeps by `turns`, the executor recognizes a spurious poll by
    /// `waits`, and a paused listener learns from `deregistrations` that a descriptor may be free.
    pub(crate) counters: Counters,
    /// Whether the reactor is the current one of its thread.
    is_current: Cell<bool>,
    /// Whether the reactor has been dropped.
    is_gone: Cell<bool>,
    /// The keys of the sources that the next turn must sweep.
    pub(crate) to_sweep: RefCell<Vec<usize>>,
    /// Where the reactor was created, for error messages.
    location: &'static Location<'static>,
}

impl Shared {
    pub(crate) fn new(location: &'static Location<'static>) -> Shared {
        Shared {
            counters: Counters::default(),
            is_current: Cell::new(false),
            is_gone: Cell::new(false),
            to_sweep: RefCell::default(),
            location,
        }
    }

    /// Makes `now` the current one of this thread instead of `before`.
    pub(crate) fn replace_current(before: Option<&Shared>, now: Option<&Shared>) {
        if let Some(before) = before {
            before.is_current.set(false);
        }
        if let Some(now) = now {
            now.is_current.set(true);
        }
        CURRENT_LOCATION.set(now.map(|now| now.location));
    }

    /// Returns whether another reactor is the current one of this thread.
    ///
    /// The thread sleeps in the current reactor. A task that waited for this reactor would hang,
    /// because an event of this reactor would not end the sleep.
    pub(crate) fn is_displaced(&self) -> bool {
        !self.is_current.get() && CURRENT_LOCATION.get().is_some()
    }

    /// Records that the reactor has been dropped.
    pub(crate) fn end(&self) {
        self.is_gone.set(true);
    }

    /// Returns an error if a task that waits for this reactor would never be woken.
    #[inline]
    pub(crate) fn can_wait(&self) -> io::Result<()> {
        if self.is_current.get() { Ok(()) } else { self.can_wait_although_not_current() }
    }

    #[cold]
    fn can_wait_although_not_current(&self) -> io::Result<()> {
        if self.is_gone.get() {
            return Err(io::Error::other("the reactor of this source is gone"));
        }
        // Without a current reactor, the program turns its reactors itself.
        let Some(current) = CURRENT_LOCATION.get() else { return Ok(()) };
        let owner = self.location;
        Err(io::Error::other(format!(
            "this source belongs to the reactor that was made at {owner}, but the current one was \
             made at {current}: await it in the executor in which it was made"
        )))
    }
}
