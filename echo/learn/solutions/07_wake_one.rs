//! Solution of exercise 7: wake one waiter instead of all.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A queue from which several tasks take items. It is used on one thread only.
///
/// Invariant: if an item is there and a task waits, some task has been woken and not polled since.
pub(crate) struct Queue<T> {
    items: RefCell<VecDeque<T>>,
    /// The tasks that wait and have not been woken, in the order in which they came.
    waiters: RefCell<VecDeque<Rc<Waiter>>>,
}

/// A task that waits for an item.
#[derive(Default)]
struct Waiter {
    /// Whether a push has woken this task, and it has not been polled since.
    is_woken: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// A waiter inside the future of `pop`. Dropping the future drops it.
struct Waiting<'a, T> {
    queue: &'a Queue<T>,
    waiter: Rc<Waiter>,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Queue<T> {
        Queue { items: RefCell::default(), waiters: RefCell::default() }
    }

    /// Adds an item, and wakes the task that has waited longest.
    pub(crate) fn push(&self, item: T) {
        self.items.borrow_mut().push_back(item);
        self.wake_one();
    }

    /// Waits for an item, and takes it.
    pub(crate) async fn pop(&self) -> T {
        let waiter = Rc::<Waiter>::default();
        self.waiters.borrow_mut().push_back(waiter.clone());
        let waiting = Waiting { queue: self, waiter };
        poll_fn(|cx| waiting.poll(cx)).await
    }

    fn wake_one(&self) {
        let first = self.waiters.borrow_mut().pop_front();
        if let Some(waiter) = first {
            waiter.is_woken.set(true);
            let waker = waiter.waker.take();
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

impl<T> Waiting<'_, T> {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<T> {
        let was_woken = self.waiter.is_woken.take();
        let item = self.queue.items.borrow_mut().pop_front();
        if let Some(item) = item {
            return Poll::Ready(item);
        }
        // Another task took the item in the meantime. Queue this task again.
        if was_woken {
            self.queue.waiters.borrow_mut().push_back(self.waiter.clone());
        }
        let before = self.waiter.waker.replace(Some(cx.waker().clone()));
        drop(before);
        Poll::Pending
    }
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        self.queue.waiters.borrow_mut().retain(|waiter| !Rc::ptr_eq(waiter, &self.waiter));
        // The wakeup was for an item that this task will not take. Wake the next task instead.
        // Otherwise the item stays in the queue while a task waits for it.
        if self.waiter.is_woken.get() && !self.queue.items.borrow().is_empty() {
            self.queue.wake_one();
        }
    }
}

#[path = "../exercises/checks/07_wake_one.rs"]
pub(crate) mod check;
