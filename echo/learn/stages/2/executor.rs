//! Stage 2: the loop sleeps, and a waker ends its sleep.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// What a waker points to: here, the thread that polls the future.
struct Header {
    thread: Thread,
}

impl Wake for Header {
    fn wake(self: Arc<Self>) {
        // If the thread is still awake, its next `park` returns immediately. So a wakeup between
        // the poll and `park` is not lost.
        self.thread.unpark();
    }
}

/// Runs a future to completion, and returns its output.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Header { thread: thread::current() }));
    let cx = &mut Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return output;
        }
        thread::park();
    }
}

/// Returns a future that is ready when `duration` has passed.
pub(crate) fn sleep(duration: Duration) -> impl Future<Output = ()> {
    let deadline = Instant::now() + duration;
    poll_fn(move |cx| {
        if Instant::now() >= deadline {
            return Poll::Ready(());
        }
        // A future must not block, so it leaves its waker with a thread that may.
        let waker = cx.waker().clone();
        thread::spawn(move || {
            thread::sleep(deadline.saturating_duration_since(Instant::now()));
            waker.wake();
        });
        Poll::Pending
    })
}
