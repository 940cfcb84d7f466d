//! The timers of one reactor: which wakers to wake when.
//!
//! Called by [`time::Sleep`](crate::time::Sleep), which sets one timer and drops it with itself,
//! and by [`Reactor::turn`](crate::Reactor::turn), which asks for the next deadline before it
//! waits and takes what is due after.
//!
//! Invariant: a timer is in the map from the moment it is set until it fires or is dropped, and
//! never longer: a million cancelled timers leave nothing behind.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Instant;

/// Names a timer: its deadline, and a number that keeps equal deadlines in the order of setting.
pub(crate) type TimerKey = (Instant, u64);

/// The timers of one reactor, the nearest first.
#[derive(Default)]
pub(crate) struct Timers {
    pub(crate) waiting: BTreeMap<TimerKey, Waker>,
    set: u64,
}

impl Timers {
    /// Wakes `waker` in the first turn that ends at `deadline` or later.
    pub(crate) fn set(&mut self, deadline: Instant, waker: Waker) -> TimerKey {
        self.set += 1;
        let key = (deadline, self.set);
        self.waiting.insert(key, waker);
        key
    }

    /// Puts another waker into a timer. The old one comes back, so that the caller drops it when
    /// nothing is borrowed; or else the new one, if the timer has fired: nobody would wake it.
    pub(crate) fn replace(&mut self, key: TimerKey, waker: Waker) -> Result<Waker, Waker> {
        match self.waiting.get_mut(&key) {
            Some(kept) => Ok(std::mem::replace(kept, waker)),
            None => Err(waker),
        }
    }

    /// Whether the timer would wake this very waker.
    pub(crate) fn will_wake(&self, key: TimerKey, waker: &Waker) -> bool {
        self.waiting.get(&key).is_some_and(|kept| kept.will_wake(waker))
    }

    /// Drops a timer that is no longer needed.
    pub(crate) fn remove(&mut self, key: TimerKey) -> Option<Waker> {
        self.waiting.remove(&key)
    }

    /// When the thread must be awake again.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.keys().next().map(|&(deadline, _)| deadline)
    }

    /// Takes out one timer that is due.
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

    struct Silent;

    impl Wake for Silent {
        fn wake(self: Arc<Self>) {
            drop(self);
        }
    }

    fn waker() -> Waker {
        Waker::from(Arc::new(Silent))
    }

    // Pitfall: C5
    #[test]
    fn equal_deadlines_fire_in_the_order_in_which_they_were_set() {
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
    fn a_timer_never_fires_before_its_deadline() {
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
    fn a_removed_timer_leaves_nothing_behind() {
        let (mut timers, now) = (Timers::default(), Instant::now());
        let keys: Vec<_> = (0..1000).map(|_| timers.set(now, waker())).collect();
        assert!(keys.into_iter().all(|key| timers.remove(key).is_some()));
        assert!(timers.waiting.is_empty());
    }
}
