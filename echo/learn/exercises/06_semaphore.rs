//! Exercise 6: a fair semaphore. The task is in section 6 of the README of this folder.
//!
//! ```text
//! cargo run --example exercise -- 6
//! ```

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;

/// Gives out a limited number of permits. It is used on one thread only.
pub(crate) struct Semaphore {
    free: Cell<usize>,
}

/// Permission to go on. Dropping it gives the permit back.
pub(crate) struct Permit<'a>(&'a Semaphore);

impl Semaphore {
    pub(crate) fn new(permits: usize) -> Semaphore {
        Semaphore { free: Cell::new(permits) }
    }

    /// Returns how many permits are free. A permit that was handed to a waiting task is not free,
    /// even if that task has not been polled yet.
    pub(crate) fn free(&self) -> usize {
        self.free.get()
    }

    /// Waits for a permit.
    pub(crate) async fn acquire(&self) -> Permit<'_> {
        poll_fn(|cx| {
            if let Some(left) = self.free.get().checked_sub(1) {
                self.free.set(left);
                return Poll::Ready(Permit(self));
            }
            // Wrong: a busy loop. It uses a whole processor, and it is not fair.
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.free.set(self.0.free.get() + 1);
    }
}

#[path = "checks/06_semaphore.rs"]
pub(crate) mod check;
