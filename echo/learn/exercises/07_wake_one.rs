//! Exercise 7: wake one waiter instead of all. The task is in section 7 of the README of this
//! folder.
//!
//! ```text
//! cargo run --example exercise -- 7
//! ```

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// A queue from which several tasks take items. It is used on one thread only.
pub(crate) struct Queue<T> {
    items: RefCell<VecDeque<T>>,
    waiters: RefCell<Vec<Waker>>,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Queue<T> {
        Queue { items: RefCell::default(), waiters: RefCell::default() }
    }

    /// Adds an item, and wakes the tasks that wait.
    pub(crate) fn push(&self, item: T) {
        self.items.borrow_mut().push_back(item);
        for waker in self.waiters.take() {
            waker.wake();
        }
    }

    /// Waits for an item, and takes it.
    pub(crate) async fn pop(&self) -> T {
        poll_fn(|cx| {
            let item = self.items.borrow_mut().pop_front();
            if let Some(item) = item {
                return Poll::Ready(item);
            }
            let waker = cx.waker().clone();
            self.waiters.borrow_mut().push(waker);
            Poll::Pending
        })
        .await
    }
}

#[path = "checks/07_wake_one.rs"]
pub(crate) mod check;
