//! Timers for hyper: [`LocalTimer`].
//!
//! hyper requires that a sleep is `Send` and `Sync`. A sleep of the reactor is neither, because it
//! belongs to the reactor of its thread. So the reactor's sleeps stay in a table of their thread,
//! and hyper gets an [`Alarm`]: a deadline and the key of an entry in that table.
//!
//! An alarm has no entry before its first poll. hyper makes one for every request head, and a head
//! that has already arrived needs no timer.

use std::cell::RefCell;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use reactor::time::{self, sleep_until};
use slab::Slab;

/// Timers of the reactor for hyper's timeouts.
///
/// The sleeps are `Send`, as hyper requires. A sleep that moves to another thread continues there,
/// with the reactor of that thread.
///
/// # Panics
///
/// Polling a sleep panics outside `block_on`.
///
/// # Cancel safety
///
/// Dropping a sleep drops its timer.
///
/// # Examples
///
/// ```
/// use hyper::server::conn::http1;
/// use reactor_hyper::LocalTimer;
/// use std::time::Duration;
///
/// let mut http = http1::Builder::new();
/// // Close a connection whose client does not send a whole request head in time.
/// http.timer(LocalTimer).header_read_timeout(Duration::from_secs(10));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalTimer;

impl Timer for LocalTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(Alarm { deadline: Instant::now().checked_add(duration), entry: None })
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Alarm { deadline: Some(deadline), entry: None })
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<Alarm>() {
            Some(mut alarm) => alarm.deadline = Some(deadline),
            // The sleep belongs to another timer.
            None => *sleep = self.sleep_until(deadline),
        }
    }
}

/// A sleep that hyper owns.
struct Alarm {
    /// `None` if the deadline is beyond what `Instant` can represent. Then the alarm never fires.
    deadline: Option<Instant>,
    /// The entry in the table of the thread that last polled the alarm.
    entry: Option<Entry>,
}

impl Sleep for Alarm {}

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        SLEEPS.with(|sleeps| {
            let entry = self.entry.take().filter(|entry| entry.is_of(sleeps));
            let entry = self.entry.insert(entry.unwrap_or_else(|| sleeps.new_entry()));
            sleeps.poll(entry.key, deadline, cx)
        })
    }
}

/// An entry in the table of one thread. Dropping this removes the entry from the table.
struct Entry {
    key: usize,
    /// Identifies the thread, and collects the keys that other threads drop.
    dropped: Arc<DroppedElsewhere>,
}

impl Entry {
    fn is_of(&self, sleeps: &Sleeps) -> bool {
        Arc::ptr_eq(&self.dropped, &sleeps.dropped)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let removed = SLEEPS.try_with(|sleeps| {
            let here = self.is_of(sleeps);
            if here {
                sleeps.remove(self.key);
            }
            here
        });
        // Another thread owns the table, or this thread has already destroyed it.
        if removed != Ok(true) {
            self.dropped.lock().push(self.key);
        }
    }
}

/// Keys of entries that were dropped on another thread. The thread that owns the table removes
/// these entries when it next adds an entry. Until then a timer may fire without effect.
#[derive(Default)]
struct DroppedElsewhere(Mutex<Vec<usize>>);

impl DroppedElsewhere {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    static SLEEPS: Sleeps = Sleeps::default();
}

/// The sleeps of one thread that hyper waits for.
#[derive(Default)]
struct Sleeps {
    /// `None` in an entry that is new, that is being polled, or whose sleep is over.
    ///
    /// Reentrancy: polling or dropping a sleep runs user code of its waker, which may use this
    /// table. So a sleep is moved out of the table first, and a borrow lasts one statement.
    table: RefCell<Slab<Option<time::Sleep>>>,
    dropped: Arc<DroppedElsewhere>,
}

impl Sleeps {
    fn new_entry(&self) -> Entry {
        let dropped = mem::take(&mut *self.dropped.lock());
        for key in dropped {
            self.remove(key);
        }
        let key = self.table.borrow_mut().insert(None);
        Entry { key, dropped: self.dropped.clone() }
    }

    fn remove(&self, key: usize) {
        let sleep = self.table.borrow_mut().try_remove(key);
        drop(sleep);
    }

    /// Polls the sleep of an entry. After a reset of the alarm, the sleep has another deadline.
    ///
    /// A sleep for an earlier deadline stays. When it is over, a sleep for the new deadline
    /// replaces it. So a connection that postpones its timeout with every message sets a new timer
    /// once per period, and not once per message.
    fn poll(&self, key: usize, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.table.borrow_mut()[key].take();
        let mut sleep = sleep
            .filter(|sleep| sleep.deadline() <= Some(deadline))
            .unwrap_or_else(|| sleep_until(deadline));
        while Pin::new(&mut sleep).poll(cx).is_ready() {
            if sleep.deadline() == Some(deadline) {
                return Poll::Ready(());
            }
            sleep = sleep_until(deadline);
        }
        self.table.borrow_mut()[key] = Some(sleep);
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    use executor::{Executor, block_on};
    use futures_lite::future::poll_once;

    const LONG: Duration = Duration::from_secs(3600);

    fn entries() -> usize {
        SLEEPS.with(|sleeps| sleeps.table.borrow().len())
    }

    #[test]
    fn sleep_that_is_never_polled_adds_no_entry() {
        let sleep = LocalTimer.sleep(LONG);
        assert_eq!(entries(), 0);
        drop(sleep);
    }

    #[test]
    fn dropped_sleep_removes_its_entry() {
        block_on(async {
            let mut sleep = LocalTimer.sleep(LONG);
            assert_eq!(poll_once(&mut sleep).await, None);
            assert_eq!(entries(), 1);
            drop(sleep);
            assert_eq!(entries(), 0);
        });
    }

    #[test]
    fn next_sleep_removes_an_entry_dropped_on_another_thread() {
        block_on(async {
            let mut moved = LocalTimer.sleep(LONG);
            assert_eq!(poll_once(&mut moved).await, None);
            thread::spawn(|| drop(moved)).join().unwrap();
            assert_eq!(entries(), 1);
            let mut sleep = LocalTimer.sleep(LONG);
            assert_eq!(poll_once(&mut sleep).await, None);
            assert_eq!(entries(), 1);
        });
    }

    #[test]
    fn postponed_sleep_keeps_its_timer() {
        let executor = Executor::new().unwrap();
        executor.block_on(async {
            let start = Instant::now();
            let mut sleep = LocalTimer.sleep_until(start + LONG);
            assert_eq!(poll_once(&mut sleep).await, None);
            LocalTimer.reset(&mut sleep, start + 2 * LONG);
            assert_eq!(poll_once(&mut sleep).await, None);
            assert_eq!(executor.reactor().next_deadline(), Some(start + LONG));
        });
    }
}
