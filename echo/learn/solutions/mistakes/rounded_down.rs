//! Mistake: deadlines are rounded down to a tick, so timers fire early.

use std::collections::HashMap;
use std::task::Waker;
use std::time::{Duration, Instant};

/// Identifies a timer: its deadline and a serial number.
pub(crate) type TimerKey = (Instant, u64);

const SLOTS: usize = 64;

/// A slot of level 0 is one tick, and a slot of each further level is as long as the whole level
/// below it. Ten levels last for 36 million years.
const LEVELS: usize = 10;

struct Timer {
    serial: u64,
    /// The last tick that is not after the deadline.
    tick: u64,
    waker: Waker,
}

struct Level {
    /// Has a bit for each slot that is not empty.
    occupied: u64,
    /// The timers by their serial numbers. In a list, removing one would be O(n).
    slots: [HashMap<u64, Timer>; SLOTS],
}

/// The timers of one reactor, in wheels of 64 slots. A tick is one millisecond.
///
/// Invariant: a timer is in the lowest level whose current turn includes its tick. So each timer of
/// a level is due before every timer of the next level, and the first occupied slot comes next.
pub(crate) struct Timers {
    start: Instant,
    levels: Vec<Level>,
    /// The tick up to which all slots have been emptied.
    done: u64,
    /// The timers that are due.
    due: Vec<Timer>,
    /// The serial number of the timer that was set last.
    last: u64,
}

impl Timers {
    pub(crate) fn new(start: Instant) -> Timers {
        let level = |_| Level { occupied: 0, slots: std::array::from_fn(|_| HashMap::new()) };
        let levels = (0..LEVELS).map(level).collect();
        Timers { start, levels, done: 0, due: Vec::new(), last: 0 }
    }

    /// Adds a timer. `pop_due` returns `waker` at `deadline`, or up to one millisecond later.
    pub(crate) fn set(&mut self, deadline: Instant, waker: Waker) -> TimerKey {
        self.last += 1;
        let tick = self.tick(deadline);
        self.insert(Timer { serial: self.last, tick, waker });
        (deadline, self.last)
    }

    /// Removes a timer, and returns its waker. Returns `None` if the timer has already fired.
    pub(crate) fn remove(&mut self, (deadline, serial): TimerKey) -> Option<Waker> {
        let tick = self.tick(deadline);
        if tick <= self.done {
            let at = self.due.iter().position(|timer| timer.serial == serial)?;
            return Some(self.due.swap_remove(at).waker);
        }
        let (level, slot) = self.place(tick);
        let Level { occupied, slots } = &mut self.levels[level];
        let timer = slots[slot].remove(&serial)?;
        if slots[slot].is_empty() {
            *occupied &= !(1 << slot);
        }
        Some(timer.waker)
    }

    /// Returns when to call `pop_due` next: not later than one millisecond after the nearest
    /// deadline. It may be earlier.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let tick = match self.due.first() {
            Some(timer) => timer.tick,
            None => self.next_slot()?.2,
        };
        Some(self.start + Duration::from_millis(tick))
    }

    /// Takes out a timer that is due, if there is one. Never returns a timer before its deadline.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Waker> {
        // Rounded down: a tick is over only when all of it has passed.
        let now = now.duration_since(self.start).as_millis() as u64;
        while self.due.is_empty()
            && let Some((level, slot, begin)) = self.next_slot()
            && begin <= now
        {
            self.done = begin;
            self.levels[level].occupied &= !(1 << slot);
            // These timers are due now, or they belong to a lower level from now on.
            for timer in std::mem::take(&mut self.levels[level].slots[slot]).into_values() {
                self.insert(timer);
            }
        }
        if self.due.is_empty() {
            self.done = self.done.max(now);
        }
        self.due.pop().map(|timer| timer.waker)
    }

    fn insert(&mut self, timer: Timer) {
        if timer.tick <= self.done {
            return self.due.push(timer);
        }
        let (level, slot) = self.place(timer.tick);
        self.levels[level].occupied |= 1 << slot;
        self.levels[level].slots[slot].insert(timer.serial, timer);
    }

    /// Returns the level and the slot of a tick that is later than `done`.
    ///
    /// The level is the number of the highest group of six bits in which the two ticks differ.
    fn place(&self, tick: u64) -> (usize, usize) {
        let highest = 63 - (tick ^ self.done).leading_zeros() as usize;
        let level = highest / 6;
        (level, (tick >> (6 * level)) as usize % SLOTS)
    }

    /// Returns the level, the index and the first tick of the first slot that is not empty.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.levels.iter().position(|level| level.occupied != 0)?;
        let slot = self.levels[level].occupied.trailing_zeros() as usize;
        // The slot has the higher bits of the current tick, and its lower bits are 0.
        let turn = self.done >> (6 * (level + 1)) << (6 * (level + 1));
        Some((level, slot, turn + ((slot as u64) << (6 * level))))
    }

    /// Returns the last tick that is not after the deadline.
    fn tick(&self, deadline: Instant) -> u64 {
        let since = deadline.saturating_duration_since(self.start);
        let tick = since.as_millis() as u64;
        tick.min((1 << (6 * LEVELS)) - 1)
    }
}

#[path = "../../exercises/checks/10_wheel.rs"]
pub(crate) mod check;
