//! Timers: [`sleep`], [`interval`] and [`timeout`], and [`Backoff`], which computes the pauses
//! between retries.
//!
//! A timer is a deadline and a waker. The reactor waits no longer than until the nearest deadline,
//! and after each wait it calls the wakers of the timers that are due. A timer may fire late, but
//! never early. The resolution is a millisecond, as in `epoll_wait`.
//!
//! # What does not port by changing imports
//!
//! - The first tick of [`interval`] comes after one period. In tokio it comes immediately; for
//!   that, write `interval_at(Instant::now(), period)`.
//! - [`MissedTickBehavior::Skip`] is the default. Tokio's default is `Burst`.
//! - [`Sleep::deadline`] returns an `Option`, because a deadline can lie beyond the end of the
//!   clock. [`Sleep::reset`] takes `&mut self`, because `Sleep` is `Unpin` and needs no pinning.
//! - A sleep can be made outside of `block_on`. If it is polled there, it panics.
//! - Deadlines are [`std::time::Instant`]s. [`pause`] stops the clock for a test, and [`now`] reads it.

mod backoff;
mod clock;

use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use futures_core::Stream;
use log::trace;
use pin_project_lite::pin_project;

use crate::Reactor;
use crate::budget::{self, Cooperative, cooperative};
use crate::timer::TimerKey;

pub use backoff::Backoff;
pub use clock::{Paused, now, pause};
pub(crate) use clock::{is_paused, poll_or_advance};

/// Waits for `duration`.
///
/// The sleep never ends early. It ends after the first turn of the reactor whose wait ends at the
/// deadline or later. A sleep of zero ends after the next turn, which then does not wait. If the
/// deadline lies beyond the end of the clock, the sleep never ends.
///
/// # Panics
///
/// Panics at the first poll outside of `block_on`. The message names the caller of this function.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// executor::block_on(async {
///     let before = Instant::now();
///     reactor::time::sleep(Duration::from_millis(5)).await;
///     assert!(before.elapsed() >= Duration::from_millis(5));
///     reactor::time::sleep_until(before + Duration::from_millis(8)).await;
///     assert!(before.elapsed() >= Duration::from_millis(8));
/// });
/// ```
#[track_caller]
pub fn sleep(duration: Duration) -> Sleep {
    Sleep::new(now().checked_add(duration))
}

/// Waits until `deadline`. Like [`sleep`], it never ends early.
///
/// # Panics
///
/// Panics at the first poll outside of `block_on`. The message names the caller of this function.
#[track_caller]
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep::new(Some(deadline))
}

/// Calls [`sleep`] on behalf of `caller`: a panic for lack of a reactor names `caller`.
pub(crate) fn sleep_for(duration: Duration, caller: &'static Location<'static>) -> Sleep {
    let mut sleep = sleep(duration);
    sleep.caller = caller;
    sleep
}

/// The future of [`sleep`] and [`sleep_until`].
///
/// Dropping the sleep removes its timer. A sleep that has ended returns `Ready` from every further
/// poll.
///
/// # Panics
///
/// Panics if it is first polled outside of `block_on`.
///
/// # Cancel safety
///
/// The deadline is fixed when the sleep is made, so awaiting `&mut sleep` again continues the same
/// sleep. If another executor polls the sleep, its timer moves to the reactor of that executor.
#[must_use = "futures do nothing unless they are awaited"]
pub struct Sleep {
    /// `None` if the sleep never ends, because its deadline lies beyond the end of the clock.
    deadline: Option<Instant>,
    /// The timer, and the reactor that has it. Set by the first poll that has to wait.
    timer: Option<(Weak<Reactor>, TimerKey)>,
    /// The line that made the sleep, for the panic of a poll without a reactor.
    caller: &'static Location<'static>,
}

impl Sleep {
    #[track_caller]
    fn new(deadline: Option<Instant>) -> Sleep {
        Sleep { deadline, timer: None, caller: Location::caller() }
    }

    /// Returns the deadline, or `None` if it lies beyond the end of the clock.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::time::sleep;
    /// use std::time::{Duration, Instant};
    ///
    /// assert!(sleep(Duration::from_secs(1)).deadline() > Some(Instant::now()));
    /// assert_eq!(sleep(Duration::MAX).deadline(), None);
    /// ```
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Returns whether the deadline has passed.
    ///
    /// This function reads the clock. A poll compares the deadline with an older reading, taken at
    /// the end of the reactor's last wait. So `is_elapsed` may return true before a poll returns
    /// `Ready`. Tokio's `is_elapsed` returns true only after the sleep was polled.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::time::sleep;
    /// use std::time::Duration;
    ///
    /// executor::block_on(async {
    ///     let mut sleep = sleep(Duration::from_millis(1));
    ///     assert!(!sleep.is_elapsed());
    ///     (&mut sleep).await;
    ///     assert!(sleep.is_elapsed());
    /// });
    /// ```
    pub fn is_elapsed(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now())
    }

    /// Moves the deadline to an earlier or a later time. A sleep that has ended starts again.
    ///
    /// A task that already waits for this sleep need not poll it again: the reactor wakes the task
    /// at the new deadline instead of the old one. If the timer has already fired, poll the sleep
    /// again; that sets a new timer.
    ///
    /// # Cancel safety
    ///
    /// This function does not wait. Resetting a sleep has the same effect as dropping it and making
    /// another one, but is cheaper.
    ///
    /// # Examples
    ///
    /// An idle timeout, which each read restarts:
    ///
    /// ```
    /// use futures_lite::future::or;
    /// use reactor::io::{self, AsyncReadExt, AsyncWriteExt};
    /// use reactor::time::sleep;
    /// use std::time::{Duration, Instant};
    ///
    /// # fn main() -> io::Result<()> {
    /// const IDLE: Duration = Duration::from_millis(20);
    ///
    /// executor::block_on(async {
    ///     let (mut stream, mut peer) = reactor::net::UnixStream::pair()?;
    ///     peer.write_all(b"hello").await?;
    ///     let (mut idle, mut bytes) = (sleep(IDLE), [0; 2]);
    ///     let error = loop {
    ///         let limit = async {
    ///             (&mut idle).await;
    ///             Err(io::ErrorKind::TimedOut.into())
    ///         };
    ///         match or(stream.read(&mut bytes), limit).await {
    ///             Ok(_bytes) => idle.reset(Instant::now() + IDLE),
    ///             Err(error) => break error,
    ///         }
    ///     };
    ///     assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn reset(&mut self, deadline: Instant) {
        self.set_deadline(Some(deadline));
    }

    /// Returns whether the sleep has a timer that has not fired.
    pub(crate) fn is_waiting(&self) -> bool {
        self.timer()
            .is_some_and(|(reactor, key)| reactor.timers().borrow().waiting.contains_key(&key))
    }

    /// Returns whether the sleep has a timer that will wake the same task as `waker`.
    pub(crate) fn will_wake(&self, waker: &Waker) -> bool {
        self.timer().is_some_and(|(reactor, key)| {
            !reactor.shared.is_displaced() && reactor.timers().borrow().will_wake(key, waker)
        })
    }

    fn timer(&self) -> Option<(Rc<Reactor>, TimerKey)> {
        let (reactor, key) = self.timer.as_ref()?;
        Some((reactor.upgrade()?, *key))
    }

    fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
        // If there is no timer (the sleep was not polled, or the timer has fired), the next poll
        // sets one.
        let Some((reactor, waker)) = self.remove_timer() else { return };
        if let Some(deadline) = deadline {
            self.set_timer(&reactor, deadline, waker);
        }
    }

    /// Sets a timer that calls `waker`, or updates the existing one.
    ///
    /// The sleep may have moved to another task since its last poll. Then its timer still holds the
    /// waker of the previous task.
    fn wake_at(&mut self, reactor: &Rc<Reactor>, deadline: Instant, waker: &Waker) {
        // A spurious poll finds its own waker already stored.
        if self.will_wake(waker) {
            return;
        }
        let waker = waker.clone();
        let Some((_, key)) = self.timer else { return self.set_timer(reactor, deadline, waker) };
        let replaced = reactor.timers().borrow_mut().replace(key, waker);
        match replaced {
            Ok(old) => drop(old),
            // Reentrancy: the timer has fired, because `clone` ran user code that turned the
            // reactor. It will not fire again, so wake the task now.
            Err(waker) => waker.wake(),
        }
    }

    fn set_timer(&mut self, reactor: &Rc<Reactor>, deadline: Instant, waker: Waker) {
        let data = waker.data();
        let key = reactor.timers().borrow_mut().set(deadline, waker);
        trace!(waker:? = data, after:? = deadline - now(); "timer set");
        self.timer = Some((Rc::downgrade(reactor), key));
    }

    /// Takes the timer out of the reactor, if it has not fired, and returns the reactor and the
    /// waker.
    ///
    /// Reentrancy: dropping the waker runs user code, so the caller drops it when no `RefCell` is
    /// borrowed.
    fn remove_timer(&mut self) -> Option<(Rc<Reactor>, Waker)> {
        let (reactor, key) = self.timer.take()?;
        let reactor = reactor.upgrade()?;
        let waker = reactor.timers().borrow_mut().remove(key)?;
        trace!(waker:? = waker.data(); "timer dropped");
        Some((reactor, waker))
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        // The thread sleeps in its current reactor, so the timer must be there. If the timer's
        // reactor is gone or another reactor is current, move the timer. Unlike a socket, a timer
        // belongs to no OS object, so it can move.
        let reactor = match self.timer.as_ref().and_then(|(reactor, _)| reactor.upgrade()) {
            Some(reactor) if !reactor.shared.is_displaced() => reactor,
            _ => {
                self.remove_timer();
                Reactor::current_for(self.caller)
            }
        };
        // All timers compare with one clock reading, from the end of the last wait. A sleep that is
        // due at its first poll needs budget, because it completes without waiting. If the task has
        // none left, the sleep sets a timer instead. The timer fires in the next turn, and then the
        // sleep completes even without budget.
        if deadline <= reactor.now() && (self.timer.is_some() || budget::has_budget_remaining()) {
            budget::charge(1);
            self.remove_timer();
            return Poll::Ready(());
        }
        self.wake_at(&reactor, deadline, cx.waker());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.remove_timer();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline).finish()
    }
}

/// Returns a stream that ticks every `period`. The first tick comes after one period.
///
/// Ticks are due at multiples of `period` after the start, even if a tick is taken late. A tick
/// that was missed altogether is skipped, because a task that was too slow for one tick does not
/// benefit from ten in a row. [`Interval::set_missed_tick_behavior`] changes this.
///
/// For a first tick that comes immediately, as in tokio, use [`interval_at`] with `Instant::now()`.
///
/// # Panics
///
/// Panics if `period` is zero.
///
/// # Examples
///
/// ```
/// use futures_lite::StreamExt;
/// use std::time::Duration;
///
/// executor::block_on(async {
///     let mut ticks = reactor::time::interval(Duration::from_millis(2));
///     let first = ticks.next().await.unwrap();
///     assert!(ticks.next().await.unwrap() >= first + Duration::from_millis(2));
/// });
/// ```
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    Interval::new(now().checked_add(period), period)
}

/// Returns a stream that ticks every `period`. The first tick comes at `start`.
///
/// # Panics
///
/// Panics if `period` is zero.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// executor::block_on(async {
///     let start = Instant::now();
///     let mut ticks = reactor::time::interval_at(start, Duration::from_millis(2));
///     assert_eq!(ticks.tick().await, start);
///     assert_eq!(ticks.tick().await, start + Duration::from_millis(2));
/// });
/// ```
#[track_caller]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    Interval::new(Some(start), period)
}

/// Which tick follows one that was taken late; see [`Interval::set_missed_tick_behavior`].
///
/// In the examples, the interval has a period of 10 ms, and its task is busy from 0 ms until 45 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTickBehavior {
    /// Delivers every tick, the missed ones immediately one after another.
    ///
    /// At 45 ms, the task gets the ticks of 10, 20, 30 and 40 ms. The next ticks come on time, at
    /// 50 and 60 ms.
    Burst,
    /// Shifts all later ticks, so that a full period passes after a late tick.
    ///
    /// At 45 ms, the task gets the tick of 10 ms. The next ticks come at 55 and 65 ms.
    Delay,
    /// Skips the missed ticks. Later ticks are still due at multiples of the period.
    ///
    /// At 45 ms, the task gets the tick of 10 ms. The next ticks come at 50 and 60 ms.
    ///
    /// A tick that is overdue by less than a period is late, but not missed. So a task that is busy
    /// until 25 ms gets the ticks of 10 and 20 ms then, and the next one at 30 ms. Tokio's `Skip`
    /// would skip the tick of 20 ms.
    #[default]
    Skip,
}

/// The stream of [`interval`] and [`interval_at`]. Each item is the time at which the tick was due.
///
/// # Panics
///
/// Panics if it is first polled outside of `block_on`.
///
/// # Cancel safety
///
/// Dropping a future that waits for a tick loses no tick: the next call returns it.
#[derive(Debug)]
#[must_use = "streams do nothing unless they are polled"]
pub struct Interval {
    period: Duration,
    missed: MissedTickBehavior,
    sleep: Sleep,
}

impl Interval {
    #[track_caller]
    fn new(start: Option<Instant>, period: Duration) -> Interval {
        assert!(!period.is_zero(), "the period of an interval must not be zero");
        Interval { period, missed: MissedTickBehavior::default(), sleep: Sleep::new(start) }
    }

    /// Waits for the next tick, and returns when it was due.
    ///
    /// # Panics
    ///
    /// Panics if it is first polled outside of `block_on`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no tick: the next call returns it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// executor::block_on(async {
    ///     let start = Instant::now();
    ///     let mut ticks = reactor::time::interval(Duration::from_millis(2));
    ///     assert!(ticks.tick().await >= start + Duration::from_millis(2));
    /// });
    /// ```
    pub async fn tick(&mut self) -> Instant {
        poll_fn(|cx| self.poll_tick(cx)).await
    }

    /// [`tick`](Interval::tick) as a `poll` function.
    ///
    /// # Panics
    ///
    /// Panics if it is first called outside of `block_on`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::future::poll_fn;
    /// use std::time::{Duration, Instant};
    ///
    /// executor::block_on(async {
    ///     let mut ticks = reactor::time::interval(Duration::from_millis(2));
    ///     let due = poll_fn(|cx| ticks.poll_tick(cx)).await;
    ///     assert!(due <= Instant::now());
    /// });
    /// ```
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        ready!(Pin::new(&mut self.sleep).poll(cx));
        let due = self.sleep.deadline.expect("a sleep without a deadline never ends");
        self.sleep.set_deadline(self.next_due(due, now()));
        Poll::Ready(due)
    }

    /// Returns when the next tick is due if the tick of `due` is taken at `now`.
    fn next_due(&self, due: Instant, now: Instant) -> Option<Instant> {
        match self.missed {
            MissedTickBehavior::Burst => due.checked_add(self.period),
            MissedTickBehavior::Delay => now.checked_add(self.period),
            MissedTickBehavior::Skip => self.next_not_missed(due, now),
        }
    }

    /// Returns the first tick after `due` that is in the future, or is overdue by less than a
    /// period.
    fn next_not_missed(&self, due: Instant, now: Instant) -> Option<Instant> {
        let next = due.checked_add(self.period)?;
        let late = now.saturating_duration_since(next);
        if late < self.period {
            return Some(next);
        }
        let rest = self.period.as_nanos() - late.as_nanos() % self.period.as_nanos();
        // A `u64` holds the nanoseconds of 584 years. The conversion fails only for a longer
        // period, and no program runs long enough to miss a tick of that.
        now.checked_add(Duration::from_nanos(u64::try_from(rest).unwrap_or(u64::MAX)))
    }

    /// Returns the period.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::time::{MissedTickBehavior, interval};
    /// use std::time::Duration;
    ///
    /// let mut ticks = interval(Duration::from_millis(2));
    /// assert_eq!(ticks.period(), Duration::from_millis(2));
    /// assert_eq!(ticks.missed_tick_behavior(), MissedTickBehavior::Skip);
    /// ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    /// ```
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Returns which tick follows one that was taken late.
    pub fn missed_tick_behavior(&self) -> MissedTickBehavior {
        self.missed
    }

    /// Sets which tick follows one that was taken late.
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.missed = behavior;
    }

    /// Restarts the interval: the next tick is due one period from now.
    ///
    /// A tick that is due but was not taken is discarded. A task that already waits for a tick need
    /// not poll again; see [`Sleep::reset`].
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::time::interval;
    /// use std::time::{Duration, Instant};
    ///
    /// executor::block_on(async {
    ///     let period = Duration::from_secs(3600);
    ///     let mut ticks = interval(period);
    ///     ticks.reset(); // In an hour from now.
    ///     ticks.reset_after(Duration::from_millis(2)); // In 2 ms from now, then every hour.
    ///     ticks.reset_at(Instant::now() + Duration::from_millis(1));
    ///     ticks.tick().await;
    ///     ticks.reset_immediately();
    ///     assert!(ticks.tick().await <= Instant::now());
    /// });
    /// ```
    pub fn reset(&mut self) {
        self.reset_after(self.period);
    }

    /// Restarts the interval: the next tick is due now.
    pub fn reset_immediately(&mut self) {
        self.reset_after(Duration::ZERO);
    }

    /// Restarts the interval: the next tick is due after `duration`, and then one every period.
    pub fn reset_after(&mut self, duration: Duration) {
        self.sleep.set_deadline(now().checked_add(duration));
    }

    /// Restarts the interval: the next tick is due at `deadline`, and then one every period.
    pub fn reset_at(&mut self, deadline: Instant) {
        self.sleep.reset(deadline);
    }
}

impl Stream for Interval {
    type Item = Instant;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Instant>> {
        self.poll_tick(cx).map(Some)
    }
}

/// Waits for `future`, and drops it if it has not completed after `duration`.
///
/// The future is polled before the timer, so a future that is immediately ready completes even with
/// a timeout of zero.
///
/// A timeout takes effect at an `.await` of `future`. It cannot interrupt a poll: a future that
/// computes for 200 ms without waiting completes with `Ok` after 200 ms, even if `duration` is
/// 50 ms, and every other task of the thread waits as long. Move such work to another thread with
/// [`unblock`](crate::blocking::unblock).
///
/// # Errors
///
/// Returns [`Elapsed`] if `duration` passes before `future` completes.
///
/// # Panics
///
/// Panics if it is polled outside of `block_on` and `future` is not immediately ready.
///
/// # Cancel safety
///
/// The timeout is cancel safe if `future` is. Dropping the timeout drops `future`. To wait for the
/// same future again after a timeout, pass `&mut future`. The future must be [`Unpin`] for that, as
/// a `JoinHandle` is. Pin an `async` block first, with [`std::pin::pin!`].
///
/// # Examples
///
/// ```
/// use reactor::time::timeout;
/// use std::future::{pending, ready};
/// use std::time::Duration;
///
/// executor::block_on(async {
///     assert_eq!(timeout(Duration::ZERO, ready(1)).await, Ok(1));
///     assert!(timeout(Duration::from_millis(1), pending::<()>()).await.is_err());
///
///     let mut task = executor::spawn(reactor::time::sleep(Duration::from_millis(5)));
///     while timeout(Duration::from_millis(1), &mut task).await.is_err() {
///         // The task is still running. Wait for it again.
///     }
///
///     let mut block = std::pin::pin!(async { 2 });
///     assert_eq!(timeout(Duration::ZERO, &mut block).await, Ok(2));
/// });
/// ```
#[track_caller]
pub fn timeout<F: Future>(duration: Duration, future: F) -> Timeout<F> {
    Timeout { future: cooperative(future), sleep: sleep(duration) }
}

/// Waits for `future`, and drops it if it has not completed at `deadline`. Otherwise it behaves like
/// [`timeout`].
///
/// Use it if several futures share one deadline, e.g. the steps of one request.
///
/// # Errors
///
/// Returns [`Elapsed`] if the deadline passes first.
///
/// # Panics
///
/// Panics if it is polled outside of `block_on` and `future` is not immediately ready.
///
/// # Cancel safety
///
/// The same as for [`timeout`].
///
/// # Examples
///
/// ```
/// use reactor::time::timeout_at;
/// use std::future::{pending, ready};
/// use std::time::{Duration, Instant};
///
/// executor::block_on(async {
///     let deadline = Instant::now() + Duration::from_millis(1);
///     assert_eq!(timeout_at(deadline, ready(1)).await, Ok(1));
///     assert!(timeout_at(deadline, pending::<()>()).await.is_err());
///     assert_eq!(timeout_at(deadline, ready(1)).await, Ok(1)); // The future is polled first.
/// });
/// ```
#[track_caller]
pub fn timeout_at<F: Future>(deadline: Instant, future: F) -> Timeout<F> {
    Timeout { future: cooperative(future), sleep: sleep_until(deadline) }
}

pin_project! {
    /// The future of [`timeout`] and [`timeout_at`].
    ///
    /// It is a struct because the future of an `async fn` would store `future` twice.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct Timeout<F> {
        #[pin]
        future: Cooperative<F>,
        sleep: Sleep,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.future.poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => Pin::new(this.sleep).poll(cx).map(|()| Err(Elapsed(()))),
        }
    }
}

/// The error of [`timeout`] and [`timeout_at`]: the deadline passed before the future completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed(());

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadline has elapsed")
    }
}

impl Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(10);

    /// Returns the time between two due ticks if the first one is taken `late` after it was due.
    fn gap_after(late: Duration) -> Duration {
        let due = Instant::now();
        interval(PERIOD).next_due(due, due + late).unwrap() - due
    }

    #[test]
    fn next_tick_is_the_first_that_was_not_missed() {
        assert_eq!(gap_after(Duration::ZERO), PERIOD);
        assert_eq!(gap_after(PERIOD / 2), PERIOD);
        // The next tick is late, but not missed, because it is overdue by less than a period.
        assert_eq!(gap_after(PERIOD * 3 / 2), PERIOD);
        assert_eq!(gap_after(PERIOD * 5 / 2), PERIOD * 3);
        assert_eq!(gap_after(PERIOD * 1001 / 2), PERIOD * 501);
    }

    // Uses the examples in the documentation of `MissedTickBehavior`.
    #[test]
    fn missed_tick_behaviors_match_their_documentation() {
        let start = Instant::now();
        let now = start + PERIOD * 9 / 2;
        let due = |missed| {
            let mut ticks = interval_at(start + PERIOD, PERIOD);
            ticks.set_missed_tick_behavior(missed);
            let second = ticks.next_due(start + PERIOD, now).unwrap();
            [second, ticks.next_due(second, now.max(second)).unwrap()].map(|due| due - start)
        };
        assert_eq!(due(MissedTickBehavior::Burst), [PERIOD * 2, PERIOD * 3]);
        assert_eq!(due(MissedTickBehavior::Delay), [PERIOD * 11 / 2, PERIOD * 13 / 2]);
        assert_eq!(due(MissedTickBehavior::Skip), [PERIOD * 5, PERIOD * 6]);
    }

    // Pitfall: C1
    #[test]
    fn tick_beyond_the_end_of_the_clock_is_never_due() {
        let (interval, now) = (interval(Duration::MAX), Instant::now());
        assert_eq!(interval.next_due(now, now), None);
    }
}
