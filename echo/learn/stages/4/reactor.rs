//! Stage 4: timers, and the one place where the thread waits.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// Makes the keys of timers different.
static NEXT_KEY: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The wakers of sleeping tasks by deadline, the nearest first. The number makes keys unique.
    static TIMERS: RefCell<BTreeMap<(Instant, usize), Waker>> = RefCell::default();
}

/// Waits for a wakeup or a deadline, but at most for `timeout`. Wakes the tasks that are due.
pub(crate) fn turn(timeout: Option<Duration>) {
    let deadline = TIMERS.with_borrow(|timers| timers.keys().next().map(|key| key.0));
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    match left.into_iter().chain(timeout).min() {
        Some(timeout) => thread::park_timeout(timeout),
        None => thread::park(),
    }
    let later = TIMERS.with_borrow_mut(|timers| timers.split_off(&(Instant::now(), usize::MAX)));
    let due = TIMERS.replace(later);
    // Nothing is borrowed here, because a waker is user code.
    due.into_values().for_each(Waker::wake);
}

/// Returns a future that is ready when `duration` has passed.
pub(crate) fn sleep(duration: Duration) -> impl Future<Output = ()> {
    let key = (Instant::now() + duration, NEXT_KEY.fetch_add(1, Ordering::Relaxed));
    poll_fn(move |cx| {
        if Instant::now() >= key.0 {
            return Poll::Ready(());
        }
        // A future must not block, so it leaves its waker with the reactor, which waits for all.
        let waker = cx.waker().clone();
        let _old = TIMERS.with_borrow_mut(|timers| timers.insert(key, waker));
        Poll::Pending
    })
}
