//! Exercise 1: store the waker. The task is in section 1 of the README of this folder.
//!
//! ```text
//! cargo run --example exercise -- 1
//! ```

use std::cell::Cell;
use std::task::{Context, Poll};

/// A bell that one task waits for. It is used on one thread only.
#[derive(Default)]
pub(crate) struct Bell {
    has_rung: Cell<bool>,
}

impl Bell {
    /// Rings the bell. From now on, waiting for it ends immediately.
    pub(crate) fn ring(&self) {
        self.has_rung.set(true);
    }

    /// Returns `Ready` if the bell has rung. Otherwise the task waits.
    pub(crate) fn poll_ring(&self, _cx: &mut Context<'_>) -> Poll<()> {
        if self.has_rung.get() { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[path = "checks/01_waker.rs"]
pub(crate) mod check;
