//! Retries for two operations that wait for space in the queue of another Unix socket.
//!
//! On Linux, a Unix `connect` returns `EAGAIN` if the listener's backlog is full. So does a
//! `sendto` if the receiver's queue is full and the sender is not connected to the receiver. No
//! event ends these waits: epoll watches our socket, and the full queue belongs to another one.
//! These operations therefore retry after a pause.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::Errno;

use crate::budget::{self, consume_budget};
use crate::time::{Sleep, sleep, sleep_for};

/// The first pause: a busy server usually accepts within this time. Each further pause is twice as
/// long as the previous one, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// The longest pause: twenty attempts a second cost little, and a delay of 50 ms is hardly noticed.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The pause of a `poll` function, which keeps no state between polls, so its pauses cannot grow.
const POLL_PAUSE: Duration = Duration::from_millis(5);

/// Returns `None` if the result is `EAGAIN`, which means that the queue is full.
pub(super) fn none_if_full<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::AGAIN) => Ok(None),
        result => result.map(Some),
    }
}

/// Repeats the attempt, with growing pauses, until the queue has space. If there is no current
/// reactor for the pause, the panic message names `caller`.
pub(super) async fn retry_while_full<T>(
    caller: &'static Location<'static>,
    mut attempt: impl FnMut() -> io::Result<Option<T>>,
) -> io::Result<T> {
    let mut pause = FIRST_PAUSE;
    loop {
        // Spend budget here, because these attempts do not go through `poll_io`. Otherwise a loop
        // of attempts that all succeed would never let other tasks run.
        consume_budget().await;
        if let Some(result) = attempt()? {
            return Ok(result);
        }
        sleep_for(pause, caller).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// The pauses of the tasks that wait in the `poll` function of one socket.
///
/// A poll may come early, because another event woke the task. If each poll began a new pause, the
/// old timer would stay, and both timers would wake the task, and set themselves again, until the
/// queue has space. So a task keeps its pause until the timer fires.
#[derive(Default)]
pub(super) struct Pauses(RefCell<Vec<Sleep>>);

impl Pauses {
    /// Makes one attempt. If the queue is full, returns `Pending`, and a timer wakes the task
    /// [`POLL_PAUSE`] after its first attempt.
    #[track_caller]
    pub(super) fn poll_unless_full<T>(
        &self,
        cx: &mut Context<'_>,
        attempt: impl FnOnce() -> io::Result<Option<T>>,
    ) -> Poll<io::Result<T>> {
        ready!(budget::spend(cx));
        match attempt().transpose() {
            Some(result) => Poll::Ready(result),
            None => {
                // Waiting is free.
                budget::refund();
                self.pause(sleep(POLL_PAUSE), cx);
                Poll::Pending
            }
        }
    }

    /// Sets a timer for the task, unless the task still has one here.
    ///
    /// Reentrancy: storing a waker and dropping one run user code, which may call back into this
    /// socket. So the list is taken out while that code runs, and what the code adds stays in it.
    fn pause(&self, mut pause: Sleep, cx: &mut Context<'_>) {
        let mut pauses = self.0.take();
        pauses.retain(Sleep::is_waiting);
        if !pauses.iter().any(|pause| pause.will_wake(cx.waker())) {
            // Pending: the deadline lies in the future.
            let _ = Pin::new(&mut pause).poll(cx);
            pauses.push(pause);
        }
        self.0.borrow_mut().append(&mut pauses);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::Reactor;
    use crate::time;

    #[test]
    fn pause_that_has_ended_is_removed() {
        let _clock = time::pause();
        let reactor = Reactor::new().unwrap();
        let _entered = reactor.enter();
        let pauses = Pauses::default();
        for _ in 0..10 {
            let cx = &mut Context::from_waker(Waker::noop());
            assert!(pauses.poll_unless_full::<()>(cx, || Ok(None)).is_pending());
            assert_eq!(pauses.0.borrow().len(), 1);
            reactor.turn(None).unwrap();
        }
    }
}
