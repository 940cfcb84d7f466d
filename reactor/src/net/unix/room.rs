//! Waits for space in the queue of another Unix socket, for which epoll reports no event.
//!
//! On Linux a Unix `connect` returns `EAGAIN` if the listener's backlog is full, and so does a
//! `sendto` to a full queue if the sender is not connected to it. This `EAGAIN` is not the usual
//! "would block": the full queue belongs to another socket, and epoll, which watches our own
//! socket, never reports that the queue has space again. So these operations retry after a pause.

use std::io;
use std::panic::Location;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::Errno;

use crate::budget::{self, consume_budget};
use crate::time::{sleep, sleep_for};

/// The first pause. It doubles up to [`LONGEST_PAUSE`]: a busy server needs no longer to accept.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// The longest pause: twenty attempts a second cost little, and 50 ms are hardly noticed.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The pause of a `poll` function. Such a function keeps no state, so its pauses cannot grow.
const PAUSE_OF_POLL: Duration = Duration::from_millis(5);

/// Returns `None` if the error means that there is no space.
pub(super) fn room<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::AGAIN) => Ok(None),
        result => result.map(Some),
    }
}

/// Repeats the attempt, with growing pauses, until there is space. If there is no reactor to wait
/// in, the panic names `caller`.
pub(super) async fn until_room<T>(
    caller: &'static Location<'static>,
    mut attempt: impl FnMut() -> io::Result<Option<T>>,
) -> io::Result<T> {
    let mut pause = FIRST_PAUSE;
    loop {
        // These attempts do not go through `poll_io`, so they spend the budget here: in a loop,
        // they could complete forever without waiting.
        consume_budget().await;
        if let Some(result) = attempt()? {
            return Ok(result);
        }
        sleep_for(pause, caller).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// Makes one attempt. If there is no space, the reactor wakes the task after a pause.
#[track_caller]
pub(super) fn poll_room<T>(
    cx: &mut Context<'_>,
    attempt: impl FnOnce() -> io::Result<Option<T>>,
) -> Poll<io::Result<T>> {
    ready!(budget::spend(cx));
    match attempt().transpose() {
        Some(result) => Poll::Ready(result),
        None => {
            budget::refund();
            sleep(PAUSE_OF_POLL).wake_later(cx);
            Poll::Pending
        }
    }
}
