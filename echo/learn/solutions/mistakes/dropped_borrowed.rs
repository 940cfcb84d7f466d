//! Mistake: the old waker is dropped while the `RefCell` is borrowed.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

/// A bell that one task waits for. It is used on one thread only.
#[derive(Default)]
pub(crate) struct Bell {
    has_rung: Cell<bool>,
    /// The waker of the last poll that returned `Pending`.
    waiter: RefCell<Option<Waker>>,
}

impl Bell {
    /// Rings the bell. From now on, waiting for it ends immediately.
    pub(crate) fn ring(&self) {
        self.has_rung.set(true);
        // The borrow ends with this statement. The waker may call back into the bell, and a second
        // `borrow_mut` would panic.
        let waiter = self.waiter.borrow_mut().take();
        if let Some(waker) = waiter {
            waker.wake();
        }
    }

    /// Returns `Ready` if the bell has rung. Otherwise the task waits.
    pub(crate) fn poll_ring(&self, cx: &mut Context<'_>) -> Poll<()> {
        // Cloning runs user code, which may ring the bell. So clone first, and look at the flag then.
        let waker = cx.waker().clone();
        if self.has_rung.get() {
            return Poll::Ready(());
        }
        *self.waiter.borrow_mut() = Some(waker);
        Poll::Pending
    }
}

#[path = "../../exercises/checks/01_waker.rs"]
pub(crate) mod check;
