//! Mistake: the waker is called while the `RefCell` is borrowed.

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
        if let Some(waker) = self.waiter.borrow_mut().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Returns `Ready` if the bell has rung. Otherwise the task waits.
    pub(crate) fn poll_ring(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_rung.get() {
            return Poll::Ready(());
        }
        self.waiter.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}

#[path = "../../exercises/checks/01_waker.rs"]
pub(crate) mod check;
