//! Timers: [`sleep`], [`interval`] and [`timeout`].
//!
//! A timer is a waker and a deadline. The reactor waits no longer than until the nearest
//! deadline, and wakes what is due after each wait: the precision is that of `epoll_wait`, a
//! millisecond, and never too early.

use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
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

/// Waits for `duration`: never less, and the reactor's turn longer.
///
/// Zero is over with the next turn, which does not wait then; what lies beyond the clock's end
/// never comes.
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
pub fn sleep(duration: Duration) -> Sleep {
    Sleep { deadline: Instant::now().checked_add(duration), timer: None }
}

/// Waits until `deadline`; as [`sleep`], never less, and the reactor's turn longer.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline: Some(deadline), timer: None }
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
/// The deadline is fixed when it is made: awaiting `&mut sleep` again goes on where it was.
#[must_use = "futures do nothing unless they are awaited"]
pub struct Sleep {
    /// `None`: beyond the end of the clock, so never.
    deadline: Option<Instant>,
    /// Set by the first poll that has to wait.
    timer: Option<(Weak<Reactor>, TimerKey)>,
}

impl Sleep {
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

    /// Leaves the waker with the timer; anew, if the sleep has moved to another task.
    fn set_timer(&mut self, reactor: &Rc<Reactor>, deadline: Instant, waker: &Waker) {
        match self.timer {
            Some((_, key)) if reactor.timers().borrow().will_wake(key, waker) => {}
            Some((_, key)) => {
                let kept = waker.clone();
                let replaced = reactor.timers().borrow_mut().replace(key, kept);
                match replaced {
                    Ok(old) => drop(old),
                    // To clone it is foreign code, which has turned the reactor.
                    Err(kept) => kept.wake(),
                }
            }
            None => {
                let kept = waker.clone();
                let key = reactor.timers().borrow_mut().set(deadline, kept);
                trace!(waker:? = waker.data(), after:? = deadline - Instant::now(); "timer set");
                self.timer = Some((Rc::downgrade(reactor), key));
            }
        }
    }

    fn remove_timer(&mut self) {
        let Some((reactor, key)) = self.timer.take() else { return };
        let Some(reactor) = reactor.upgrade() else { return };
        let Some(waker) = reactor.timers().borrow_mut().remove(key) else { return };
        trace!(waker:? = waker.data(); "timer dropped");
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        // A timer whose reactor is gone is set anew, with the one that is current now.
        let reactor = match self.timer.as_ref().and_then(|(reactor, _)| reactor.upgrade()) {
            Some(reactor) => reactor,
            None => {
                self.timer = None;
                Reactor::current()
            }
        };
        // One clock for all timers, that of the last turn. A sleep that is due at its first poll
        // completes without waiting, so it needs budget. If the task has none left, the sleep sets
        // a timer, which fires in the next turn: after that it has waited, and completes.
        if deadline <= reactor.now() && (self.timer.is_some() || budget::has_budget_remaining()) {
            budget::charge(1);
            self.remove_timer();
            return Poll::Ready(());
        }
        self.set_timer(&reactor, deadline, cx.waker());
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
/// Ticks keep to the grid of the start: one that is taken late shifts no other. Those that were
/// missed altogether are skipped, since whoever was too slow for one tick is not helped by ten.
///
/// The name is tokio's. There the first tick comes at once, and `MissedTickBehavior::Skip`, which
/// comes nearest, skips also a tick that is only late.
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
    assert!(!period.is_zero(), "the period of an interval must not be zero");
    Interval { period, sleep: sleep(period) }
}

/// The stream of [`interval`]; its items are the moments at which the ticks were due.
///
/// # Panics
///
/// As [`Sleep`].
///
/// # Cancel safety
///
/// A tick that nobody took stays.
#[derive(Debug)]
#[must_use = "streams do nothing unless they are polled"]
pub struct Interval {
    period: Duration,
    sleep: Sleep,
}

impl Interval {
    /// Waits for the next tick, and tells when it was due.
    ///
    /// # Panics
    ///
    /// As [`Sleep`].
    ///
    /// # Cancel safety
    ///
    /// A tick that nobody took stays.
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

    fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        ready!(Pin::new(&mut self.sleep).poll(cx));
        let due = self.sleep.deadline.expect("a sleep without a deadline never ends");
        self.sleep = Sleep { deadline: self.following(due, Instant::now()), timer: None };
        Poll::Ready(due)
    }

    /// The first tick of the grid after `due` that was not missed: one is, when at `now` the tick
    /// after it is due too.
    fn following(&self, due: Instant, now: Instant) -> Option<Instant> {
        let next = due.checked_add(self.period)?;
        let late = now.saturating_duration_since(next);
        if late < self.period {
            return Some(next);
        }
        let rest = self.period.as_nanos() - late.as_nanos() % self.period.as_nanos();
        // Longer periods than 584 years are missed by nobody.
        now.checked_add(Duration::from_nanos(u64::try_from(rest).unwrap_or(u64::MAX)))
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
/// The future has the first word: one that is ready at once wins against a time of zero.
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
pub fn timeout<F: Future>(duration: Duration, future: F) -> Timeout<F> {
    Timeout { future: cooperative(future), sleep: sleep(duration) }
}

pin_project! {
    /// The future of [`timeout`]. A struct, because an `async fn` would hold `future` twice.
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

    // Pitfall: C1
    #[test]
    fn a_tick_beyond_the_clocks_end_never_comes() {
        let (interval, now) = (interval(Duration::MAX), Instant::now());
        assert_eq!(interval.following(now, now), None);
    }
}
