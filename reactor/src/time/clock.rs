//! The clock of the timers, which a test can pause.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::Reactor;
use crate::blocking::Pool;

/// How long to wait, in real time, before checking again whether the thread pool is idle.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

thread_local! {
    static CLOCK: Cell<Clock> = const { Cell::new(Clock::Real) };
}

/// The clock of one thread.
#[derive(Clone, Copy)]
enum Clock {
    /// The clock of the OS.
    Real,
    /// The clock stands at this time.
    Paused(Instant),
    /// The clock was paused and runs again. It showed `then` when the clock of the OS showed `real`.
    Resumed { then: Instant, real: Instant },
}

/// Returns the time on the clock that the timers of this thread use.
///
/// This is [`Instant::now`], unless the thread has paused its clock with [`pause`]. Code that is
/// tested with a paused clock must use this function instead of `Instant::now`.
///
/// # Examples
///
/// ```
/// let before = std::time::Instant::now();
/// assert!(reactor::time::now() >= before);
/// ```
pub fn now() -> Instant {
    match CLOCK.get() {
        Clock::Real => Instant::now(),
        Clock::Paused(at) => at,
        Clock::Resumed { then, real } => then + real.elapsed(),
    }
}

/// Pauses the clock of this thread until the returned guard is dropped.
///
/// Tests of timeouts and intervals then take no real time. While the clock is paused, [`now`] returns
/// the same time at each call. The clock moves only in two ways:
///
/// - [`Paused::advance`] moves it forward.
/// - If all tasks wait, the reactor moves it to the nearest deadline instead of sleeping. So a
///   `sleep` of an hour returns immediately, and a `timeout` elapses as soon as nothing else
///   can happen.
///
/// The reactor fetches events before it moves the clock, so bytes that the kernel has already
/// delivered come first. It cannot know what another process or another thread is about to send,
/// and does not wait for it. But it does wait for jobs of the thread pool, such as
/// [`unblock`](crate::blocking::unblock) and file operations: while the pool is busy, the clock
/// stands still.
///
/// Only the timers of this crate use this clock: [`sleep`](super::sleep),
/// [`interval`](super::interval), [`timeout`](super::timeout) and [`Backoff`](super::Backoff).
/// `Instant::now`, `SystemTime` and the timeouts of the kernel still use real time. After the guard
/// is dropped, the clock continues from the time that it shows, so it never goes backwards.
///
/// Tokio's `time::pause` inspired this function. Here the clock belongs to the thread and not to the
/// runtime, so a test can pause it before `block_on`. A guard resumes it. Deadlines remain
/// `std::time::Instant`s, and a paused clock is exact to the nanosecond.
///
/// # Panics
///
/// Panics if the clock of this thread is paused already.
///
/// # Examples
///
/// ```
/// use reactor::time::{now, pause, sleep};
/// use std::time::{Duration, Instant};
///
/// let started = Instant::now();
/// let _clock = pause();
/// executor::block_on(async {
///     let before = now();
///     sleep(Duration::from_secs(3600)).await;
///     assert_eq!(now() - before, Duration::from_secs(3600));
/// });
/// assert!(started.elapsed() < Duration::from_secs(60));
/// ```
#[track_caller]
pub fn pause() -> Paused {
    assert!(!is_paused(), "the clock of this thread is paused already");
    CLOCK.set(Clock::Paused(now()));
    Paused { not_send: PhantomData }
}

/// Keeps the clock of this thread paused; see [`pause`].
#[derive(Debug)]
#[must_use = "dropping this resumes the clock"]
pub struct Paused {
    /// Makes the guard `!Send`, because the clock is a thread-local.
    not_send: PhantomData<*const ()>,
}

impl Paused {
    /// Moves the clock forward, and waits until each task whose timer is then due has been polled.
    ///
    /// Tasks that were queued before are polled first, so that they set their timers at the old
    /// time.
    ///
    /// The clock moves in one step. A timer whose deadline lies in between fires late, as it would
    /// after a poll that blocked the thread.
    ///
    /// # Panics
    ///
    /// Panics if awaited outside `block_on`, or if the time lies beyond the end of the clock.
    ///
    /// # Cancel safety
    ///
    /// The clock moves once the tasks that were queued before have been polled. If the future is
    /// dropped afterwards, the clock does not move back.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::time::{pause, sleep};
    /// use std::time::Duration;
    ///
    /// let clock = pause();
    /// executor::block_on(async {
    ///     let task = executor::spawn(sleep(Duration::from_secs(10)));
    ///     clock.advance(Duration::from_secs(9)).await;
    ///     assert!(!task.is_finished());
    ///     clock.advance(Duration::from_secs(1)).await;
    ///     assert!(task.is_finished());
    /// });
    /// ```
    pub async fn advance(&self, duration: Duration) {
        // A task that was spawned just now sets its timer here, before the clock moves.
        next_turn().await;
        advance(duration);
        // The first turn wakes the tasks whose timers are due. The second turn comes after the polls
        // of these tasks.
        next_turn().await;
        next_turn().await;
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        CLOCK.set(Clock::Resumed { then: now(), real: Instant::now() });
    }
}

pub(crate) fn is_paused() -> bool {
    matches!(CLOCK.get(), Clock::Paused(_))
}

/// Fetches events. If there are none, moves the paused clock by `timeout` instead of sleeping.
#[cold]
pub(crate) fn poll_or_advance(
    poll: &mut mio::Poll,
    events: &mut mio::Events,
    timeout: Option<Duration>,
) -> io::Result<()> {
    // Leave the clock as it is if the wait has no deadline, or does not sleep because it is zero.
    let Some(duration) = timeout.filter(|timeout| !timeout.is_zero()) else {
        return poll.poll(events, timeout);
    };
    let mut timeout = Duration::ZERO;
    loop {
        // Check the pool before fetching events: a job that ends in between causes an event.
        let pool_was_idle = Pool::current().is_idle();
        poll.poll(events, Some(timeout))?;
        if !events.is_empty() {
            return Ok(());
        }
        if pool_was_idle {
            advance(duration);
            return Ok(());
        }
        // No event reports that the pool is idle, so check again.
        timeout = LOOK_AGAIN;
    }
}

/// Moves the paused clock forward.
fn advance(duration: Duration) {
    let then = now().checked_add(duration).expect("the time lies beyond the end of the clock");
    CLOCK.set(Clock::Paused(then));
}

/// Waits until the reactor has been turned, and the tasks that were queued before have been polled.
async fn next_turn() {
    let mut queued = false;
    poll_fn(|cx| {
        if queued {
            return Poll::Ready(());
        }
        queued = true;
        let waker = cx.waker().clone();
        Reactor::current().woken.borrow_mut().push(waker);
        Poll::Pending
    })
    .await;
}
