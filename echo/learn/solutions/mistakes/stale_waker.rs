//! Mistake: a push takes any one of the stored wakers, even if its task no longer waits.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// A queue from which several tasks take items. It is used on one thread only.
pub(crate) struct Queue<T> {
    items: RefCell<VecDeque<T>>,
    waiters: RefCell<VecDeque<Waker>>,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Queue<T> {
        Queue { items: RefCell::default(), waiters: RefCell::default() }
    }

    /// Adds an item, and wakes the task that stored the oldest waker.
    pub(crate) fn push(&self, item: T) {
        self.items.borrow_mut().push_back(item);
        let waker = self.waiters.borrow_mut().pop_front();
        waker.into_iter().for_each(Waker::wake);
    }

    /// Waits for an item, and takes it.
    pub(crate) async fn pop(&self) -> T {
        poll_fn(|cx| {
            let item = self.items.borrow_mut().pop_front();
            if let Some(item) = item {
                return Poll::Ready(item);
            }
            let waker = cx.waker().clone();
            self.waiters.borrow_mut().push_back(waker);
            Poll::Pending
        })
        .await
    }
}

#[path = "../../exercises/checks/07_wake_one.rs"]
pub(crate) mod check;
