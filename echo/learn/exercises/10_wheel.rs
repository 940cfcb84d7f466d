//! Exercise 10: a timer wheel. The task is in section 10 of the README of this folder.
//!
//! ```text
//! cargo run --example exercise -- 10
//! ```

use std::task::Waker;
use std::time::{Duration, Instant};

/// Identifies a timer: its deadline and a serial number.
pub(crate) type TimerKey = (Instant, u64);

const SLOTS: u64 = 64;

struct Timer {
    key: TimerKey,
    waker: Waker,
}

/// The timers of one reactor, in a wheel of 64 slots of one millisecond each.
pub(crate) struct Timers {
    start: Instant,
    slots: Vec<Vec<Timer>>,
    /// The tick up to which `pop_due` has looked.
    done: u64,
    /// The serial number of the timer that was set last.
    last: u64,
}

impl Timers {
    pub(crate) fn new(start: Instant) -> Timers {
        Timers { start, slots: (0..SLOTS).map(|_| Vec::new()).collect(), done: 0, last: 0 }
    }

    /// Adds a timer. `pop_due` returns `waker` at `deadline`, or up to one millisecond later.
    pub(crate) fn set(&mut self, deadline: Instant, waker: Waker) -> TimerKey {
        self.last += 1;
        let key = (deadline, self.last);
        let tick = self.tick(deadline);
        self.slots[(tick % SLOTS) as usize].push(Timer { key, waker });
        key
    }

    /// Removes a timer, and returns its waker. Returns `None` if the timer has already fired.
    pub(crate) fn remove(&mut self, key: TimerKey) -> Option<Waker> {
        let slot = (self.tick(key.0) % SLOTS) as usize;
        let at = self.slots[slot].iter().position(|timer| timer.key == key)?;
        Some(self.slots[slot].swap_remove(at).waker)
    }

    /// Returns when to call `pop_due` next: not later than one millisecond after the nearest
    /// deadline. It may be earlier.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.slots.iter().flatten().map(|timer| timer.key.0).min()
    }

    /// Takes out a timer that is due, if there is one. Never returns a timer before its deadline.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Waker> {
        let now = now.duration_since(self.start).as_millis() as u64;
        while self.done <= now {
            // Wrong: a timer of a later turn of the wheel is in the same slot.
            if let Some(timer) = self.slots[(self.done % SLOTS) as usize].pop() {
                return Some(timer.waker);
            }
            self.done += 1;
        }
        None
    }

    /// Returns the first tick that is not before the deadline.
    fn tick(&self, deadline: Instant) -> u64 {
        let since = deadline.saturating_duration_since(self.start);
        (since + Duration::from_nanos(999_999)).as_millis() as u64
    }
}

#[path = "checks/10_wheel.rs"]
pub(crate) mod check;
