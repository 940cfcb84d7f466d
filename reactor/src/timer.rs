//! The timers of one reactor: wakers to call at a deadline, even if no event arrives.
//!
//! A [`Sleep`](crate::time::Sleep) sets one timer, and removes it when it is dropped.
//! [`Reactor::turn`](crate::Reactor::turn) gets the next deadline, waits no longer than until then,
//! and takes out the timers that are due.
//!
//! Invariant: a timer is in the map from the moment it is set until it fires or is removed. So a
//! million dropped sleeps occupy no memory.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Instant;

/// Identifies a timer: its deadline and a serial number.
///
/// The serial number makes keys unique. It also orders timers with equal deadlines: the timer that
/// was set first fires first.
pub(crate) type TimerKey = (Instant, u64);

/// The timers of one reactor.
#[derive(Default)]
pub(crate) struct Timers {
    /// The wakers, the nearest deadline first.
    pub(crate) waiting: BTreeMap<TimerKey, Waker>,
    /// The serial number of the timer that was set last.
    last: u64,
}

impl Timers {
    /// Adds a timer. The first turn that ends at `deadline` or later calls `waker`.
    pub(crate) fn set(&mut self, deadline: Instant, waker: Waker) -> TimerKey {
        self.last += 1;
        let key = (deadline, self.last);
        self.waiting.insert(key, waker);
        key
    }

    /// Replaces the waker of a timer, and returns the old one.
    ///
    /// Reentrancy: dropping a waker runs user code, so the caller drops the returned one when no
    /// `RefCell` is borrowed.
    ///
    /// # Errors
    ///
    /// Returns `waker` if the timer has already fired. The caller must then call it, because no
    /// timer will.
    pub(crate) fn replace(&mut self, key: TimerKey, waker: Waker) -> Result<Waker, Waker> {
        match self.waiting.get_mut(&key) {
            Some(stored) => Ok(std::mem::replace(stored, waker)),
            None => Err(waker),
        }
    }

    /// Returns whether the timer exists and its waker wakes the same task as `waker`.
    pub(crate) fn will_wake(&self, key: TimerKey, waker: &Waker) -> bool {
        self.waiting.get(&key).is_some_and(|stored| stored.will_wake(waker))
    }

    /// Removes a timer, and returns its waker. Returns `None` if the timer has already fired.
    pub(crate) fn remove(&mut self, key: TimerKey) -> Option<Waker> {
        self.waiting.remove(&key)
    }

    /// Returns the nearest deadline: the thread must not sleep beyond it.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.keys().next().map(|&(deadline, _)| deadline)
    }

    /// Takes out the timer with the nearest deadline, if it is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Waker> {
        let first = self.waiting.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::task::Wake;
    use std::time::Duration;

    struct Distinct;

    impl Wake for Distinct {
        fn wake(self: Arc<Self>) {
            unreachable!("timers return wakers; the reactor calls them");
        }
    }

    /// Returns a waker for which `will_wake` is false with every other one.
    fn waker() -> Waker {
        Waker::from(Arc::new(Distinct))
    }

    // Pitfall: C5
    #[test]
    fn timers_with_equal_deadlines_fire_in_the_order_of_setting() {
        let (mut timers, now) = (Timers::default(), Instant::now());
        let wakers: Vec<_> = (0..10).map(|_| waker()).collect();
        for waker in &wakers {
            timers.set(now, waker.clone());
        }
        for waker in &wakers {
            assert!(timers.pop_due(now).is_some_and(|fired| fired.will_wake(waker)));
        }
        assert!(timers.pop_due(now).is_none());
    }

    // Pitfall: C1
    #[test]
    fn timer_never_fires_before_its_deadline() {
        let (mut timers, now) = (Timers::default(), Instant::now());
        let later = now + Duration::from_nanos(1);
        timers.set(later, waker());
        assert!(timers.pop_due(now).is_none());
        assert_eq!(timers.next_deadline(), Some(later));
        assert!(timers.pop_due(later).is_some());
        assert_eq!(timers.next_deadline(), None);
    }

    // Pitfall: C4
    #[test]
    fn removed_timers_leave_the_map_empty() {
        let (mut timers, now) = (Timers::default(), Instant::now());
        let keys: Vec<_> = (0..1000).map(|_| timers.set(now, waker())).collect();
        assert!(keys.into_iter().all(|key| timers.remove(key).is_some()));
        assert!(timers.waiting.is_empty());
    }
}
