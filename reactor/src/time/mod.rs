//! Timers: [`sleep`], [`interval`] and [`timeout`]; and [`Backoff`], which computes the pauses
//! between retries.
//!
//! A timer is a waker and a deadline. The reactor waits no longer than until the nearest
//! deadline, and wakes what is due after each wait: the precision is that of `epoll_wait`, a
//! millisecond, and never too early.
//!
//! # What does not port by changing imports
//!
//! - [`interval`] ticks for the first time after one period; tokio's ticks immediately. Write
//!   `interval_at(Instant::now(), period)` for that.
//! - [`MissedTickBehavior::Skip`] is the default; tokio's is `Burst`.
//! - [`Sleep::deadline`] returns an `Option`, because a sleep can be longer than the clock lasts.
//!   [`Sleep::reset`] takes `&mut self`, because a `Sleep` is `Unpin` and needs no pinning.
//! - A sleep can be made outside of `block_on`. It panics at its first poll there.
//! - Deadlines are [`std::time::Instant`]s. There is no clock that a test can pause.

mod backoff;

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

/// Waits for `duration`: never less, and the reactor's turn longer.
///
/// Zero is over with the next turn, which does not wait then; what lies beyond the clock's end
/// never comes.
///
/// # Panics
///
/// As [`Sleep`]. The message names the caller of this function.
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
    Sleep::new(Instant::now().checked_add(duration))
}

/// Waits until `deadline`; as [`sleep`], never less, and the reactor's turn longer.
///
/// # Panics
///
/// As [`Sleep`]. The message names the caller of this function.
#[track_caller]
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep::new(Some(deadline))
}

/// Calls [`sleep`] on behalf of `caller`, which the panic names if there is no reactor.
pub(crate) fn sleep_for(duration: Duration, caller: &'static Location<'static>) -> Sleep {
    let mut sleep = sleep(duration);
    sleep.caller = caller;
    sleep
}

/// The future of [`sleep`] and [`sleep_until`].
///
/// Dropping it drops its timer. Polling it after its end says that it is over, again.
///
/// # Panics
///
/// When it is first polled outside of `block_on`.
///
/// # Cancel safety
///
/// The deadline is fixed when the sleep is made, so awaiting `&mut sleep` again does not start it
/// over. A sleep that is awaited in another executor moves there.
#[must_use = "futures do nothing unless they are awaited"]
pub struct Sleep {
    /// `None`: beyond the end of the clock, so never.
    deadline: Option<Instant>,
    /// Set by the first poll that has to wait.
    timer: Option<(Weak<Reactor>, TimerKey)>,
    /// The line that made the sleep. A poll without a reactor names it in its panic.
    caller: &'static Location<'static>,
}

impl Sleep {
    #[track_caller]
    fn new(deadline: Option<Instant>) -> Sleep {
        Sleep { deadline, timer: None, caller: Location::caller() }
    }

    /// When it will be over; `None`, if never.
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
    /// It reads the clock, so it may return true before a poll returns `Ready`: a poll compares the
    /// deadline with the end of the reactor's last wait. Tokio's `is_elapsed` returns true only
    /// after the sleep was polled.
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
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Moves the deadline to an earlier or a later moment. A sleep that is over begins again.
    ///
    /// A task that waits for this sleep need not poll it again: the reactor wakes the task at the
    /// new deadline instead of the old one. A sleep that has already woken its task must be polled
    /// again, as any future must.
    ///
    /// # Cancel safety
    ///
    /// This function does not wait. Resetting a sleep has the same effect as dropping it and making
    /// another one, and is cheaper.
    ///
    /// # Examples
    ///
    /// A limit on the time without progress, which begins again with each read:
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

    /// Wakes the task at the deadline, although the task keeps no future for it. The timer stays
    /// until it fires, even if the task no longer needs it, so use this only for short sleeps.
    pub(crate) fn wake_later(mut self, cx: &mut Context<'_>) {
        let Some(deadline) = self.deadline else { return };
        self.set_timer(&Reactor::current_for(self.caller), deadline, cx.waker().clone());
        self.timer = None;
    }

    fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
        // No timer: the sleep was not polled, or its timer has fired. The next poll sets one.
        let Some((reactor, waker)) = self.remove_timer() else { return };
        if let Some(deadline) = deadline {
            self.set_timer(&reactor, deadline, waker);
        }
    }

    /// Makes sure that the timer wakes `waker`: if the sleep has moved to another task since the
    /// last poll, the timer still holds the waker of the old one.
    fn wake_at(&mut self, reactor: &Rc<Reactor>, deadline: Instant, waker: &Waker) {
        match self.timer {
            Some((_, key)) if reactor.timers().borrow().will_wake(key, waker) => {}
            Some((_, key)) => {
                let kept = waker.clone();
                let replaced = reactor.timers().borrow_mut().replace(key, kept);
                match replaced {
                    Ok(old) => drop(old),
                    // Reentrancy: cloning the waker ran user code, which has turned the reactor.
                    Err(kept) => kept.wake(),
                }
            }
            None => self.set_timer(reactor, deadline, waker.clone()),
        }
    }

    fn set_timer(&mut self, reactor: &Rc<Reactor>, deadline: Instant, kept: Waker) {
        let data = kept.data();
        let key = reactor.timers().borrow_mut().set(deadline, kept);
        trace!(waker:? = data, after:? = deadline - Instant::now(); "timer set");
        self.timer = Some((Rc::downgrade(reactor), key));
    }

    /// Takes the timer out of the reactor if it has not fired. Reentrancy: dropping the waker runs
    /// user code, so this returns it, and the caller drops it when no `RefCell` is borrowed.
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
        // A timer belongs to no OS object. If its own reactor is gone, or another executor polls
        // the sleep, it moves to the current reactor, in which the thread sleeps.
        let reactor = match self.timer.as_ref().and_then(|(reactor, _)| reactor.upgrade()) {
            Some(reactor) if !reactor.is_displaced() => reactor,
            _ => {
                self.remove_timer();
                Reactor::current_for(self.caller)
            }
        };
        // All timers use one clock reading, from the end of the last wait. A sleep that is due at
        // its first poll completes without waiting, so it needs budget. If the task has none left,
        // the sleep sets a timer, which fires in the next turn, and then completes without budget.
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

/// A stream that yields every `period`, for the first time after one period.
///
/// Ticks keep to the grid of the start: a tick that is taken late does not shift the others. Ticks
/// that were missed altogether are skipped, because ten ticks in a row do not help a task that was
/// too slow for one. [`Interval::set_missed_tick_behavior`] changes this.
///
/// Tokio's `interval` ticks immediately for the first time. [`interval_at`] with `Instant::now()`
/// does the same here.
///
/// # Panics
///
/// If `period` is zero.
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
    Interval::new(Instant::now().checked_add(period), period)
}

/// A stream that yields every `period`, for the first time at `start`.
///
/// # Panics
///
/// If `period` is zero.
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
    /// Yields every tick, and the missed ones immediately one after another: at 45 ms the ticks of
    /// 10, 20, 30 and 40 ms, then those of 50 and 60 ms.
    Burst,
    /// Shifts the ticks, so that a period passes after a late one: at 45 ms the tick of 10 ms, then
    /// those of 55 and 65 ms.
    Delay,
    /// Skips the missed ticks, and keeps to the grid: at 45 ms the tick of 10 ms, then those of 50
    /// and 60 ms.
    ///
    /// A tick that is overdue by less than a period is late, but not missed: a task that is busy
    /// until 25 ms takes the ticks of 10 and 20 ms then, and the next one at 30 ms. Tokio's `Skip`
    /// would skip the tick of 20 ms.
    #[default]
    Skip,
}

/// The stream of [`interval`]; its items are the moments at which the ticks were due.
///
/// # Panics
///
/// As [`Sleep`].
///
/// # Cancel safety
///
/// A tick that was not taken stays.
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

    /// Waits for the next tick, and tells when it was due.
    ///
    /// # Panics
    ///
    /// As [`Sleep`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no tick: a tick that was not taken stays.
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
    /// As [`Sleep`].
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
        self.sleep.set_deadline(self.following(due, Instant::now()));
        Poll::Ready(due)
    }

    /// Returns when the next tick is due, if the tick of `due` is taken at `now`.
    fn following(&self, due: Instant, now: Instant) -> Option<Instant> {
        match self.missed {
            MissedTickBehavior::Burst => due.checked_add(self.period),
            MissedTickBehavior::Delay => now.checked_add(self.period),
            MissedTickBehavior::Skip => self.following_on_the_grid(due, now),
        }
    }

    /// Returns the first tick after `due` that lies after `now`, or less than a period before it.
    fn following_on_the_grid(&self, due: Instant, now: Instant) -> Option<Instant> {
        let next = due.checked_add(self.period)?;
        let late = now.saturating_duration_since(next);
        if late < self.period {
            return Some(next);
        }
        let rest = self.period.as_nanos() - late.as_nanos() % self.period.as_nanos();
        // `Duration::from_nanos` ends at 584 years, and no program runs so long that it misses a
        // tick of a longer period.
        now.checked_add(Duration::from_nanos(u64::try_from(rest).unwrap_or(u64::MAX)))
    }

    /// Returns the time from one tick to the next.
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

    /// Restarts the interval: the next tick comes one period from now.
    ///
    /// A tick that was due but not taken is lost. A task that waits for a tick need not poll again;
    /// see [`Sleep::reset`].
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

    /// Restarts the interval with a tick that is due now.
    pub fn reset_immediately(&mut self) {
        self.reset_after(Duration::ZERO);
    }

    /// Restarts the interval: the next tick comes after `duration`, and then one every period.
    pub fn reset_after(&mut self, duration: Duration) {
        self.sleep.set_deadline(Instant::now().checked_add(duration));
    }

    /// Restarts the interval: the next tick comes at `deadline`, and then one every period.
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

/// Waits for `future`, but no longer than `duration`.
///
/// The future is polled first, so a future that is ready immediately wins even against a timeout of
/// zero.
///
/// # Errors
///
/// [`Elapsed`], when the time is over first.
///
/// # Panics
///
/// As [`Sleep`], when `future` is not ready at once.
///
/// # Cancel safety
///
/// That of `future`, which is dropped with the time-out. To wait for it again, give it as
/// `&mut future`.
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
///         // Not yet; and nothing is lost.
///     }
/// });
/// ```
#[track_caller]
pub fn timeout<F: Future>(duration: Duration, future: F) -> Timeout<F> {
    Timeout { future: cooperative(future), sleep: sleep(duration) }
}

/// Waits for `future`, but no longer than until `deadline`. Otherwise it behaves as [`timeout`].
///
/// Several futures can share one deadline, e.g. the steps of one request.
///
/// # Errors
///
/// Returns [`Elapsed`] if the deadline passes first.
///
/// # Panics
///
/// As [`timeout`].
///
/// # Cancel safety
///
/// As [`timeout`].
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
    /// The future of [`timeout`] and [`timeout_at`]. It is a struct, because the future of an
    /// `async fn` would hold `future` twice.
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

/// The time of a [`timeout`] is over.
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

    /// From a tick to the one that follows it, when it was taken so much later than it was due.
    fn following(late: Duration) -> Duration {
        let due = Instant::now();
        interval(PERIOD).following(due, due + late).unwrap() - due
    }

    #[test]
    fn the_next_tick_is_the_first_of_the_grid_that_was_not_missed() {
        assert_eq!(following(Duration::ZERO), PERIOD);
        assert_eq!(following(PERIOD / 2), PERIOD);
        // It was due, and is given late, as long as the one after it is still to come.
        assert_eq!(following(PERIOD * 3 / 2), PERIOD);
        assert_eq!(following(PERIOD * 5 / 2), PERIOD * 3);
        assert_eq!(following(PERIOD * 1001 / 2), PERIOD * 501);
    }

    // The examples of `MissedTickBehavior`.
    #[test]
    fn each_missed_tick_behavior_schedules_the_next_tick_as_documented() {
        let start = Instant::now();
        let now = start + PERIOD * 9 / 2;
        let due = |missed| {
            let mut ticks = interval_at(start + PERIOD, PERIOD);
            ticks.set_missed_tick_behavior(missed);
            let second = ticks.following(start + PERIOD, now).unwrap();
            [second, ticks.following(second, now.max(second)).unwrap()].map(|due| due - start)
        };
        assert_eq!(due(MissedTickBehavior::Burst), [PERIOD * 2, PERIOD * 3]);
        assert_eq!(due(MissedTickBehavior::Delay), [PERIOD * 11 / 2, PERIOD * 13 / 2]);
        assert_eq!(due(MissedTickBehavior::Skip), [PERIOD * 5, PERIOD * 6]);
    }

    // Pitfall: C1
    #[test]
    fn a_tick_beyond_the_clocks_end_never_comes() {
        let (interval, now) = (interval(Duration::MAX), Instant::now());
        assert_eq!(interval.following(now, now), None);
    }
}
