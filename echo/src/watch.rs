//! A value that tasks of one thread can wait for: the number of connections, the order to stop.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use slab::Slab;

/// A value, and the tasks that wait until it is as they want it.
#[derive(Default)]
pub(crate) struct Watch<T> {
    value: Cell<T>,
    /// One entry for each [`Until`] that has been polled; empty between its wake and its poll.
    waiters: RefCell<Slab<Option<Waker>>>,
}

impl<T: Copy> Watch<T> {
    pub(crate) fn get(&self) -> T {
        self.value.get()
    }

    /// Changes the value, and lets all who wait look at it.
    pub(crate) fn set(&self, value: T) {
        self.value.set(value);
        let mut woken: Vec<Waker> = Vec::new();
        woken.extend(self.waiters.borrow_mut().iter_mut().filter_map(|(_, waker)| waker.take()));
        woken.into_iter().for_each(Waker::wake);
    }

    /// Waits until the value fulfils the condition, and returns it.
    pub(crate) fn until<C: Fn(T) -> bool>(&self, condition: C) -> Until<'_, T, C> {
        Until { watch: self, condition, key: None }
    }
}

/// The future of [`Watch::until`].
pub(crate) struct Until<'a, T, C> {
    watch: &'a Watch<T>,
    condition: C,
    /// Its entry among the waiters; given up when it is dropped, so that a connection which ends
    /// leaves nothing behind.
    key: Option<usize>,
}

impl<T: Copy, C: Fn(T) -> bool + Unpin> Future for Until<'_, T, C> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let value = self.watch.get();
        if (self.condition)(value) {
            return Poll::Ready(value);
        }
        let mut waiters = self.watch.waiters.borrow_mut();
        let key = *self.key.get_or_insert_with(|| waiters.insert(None));
        if !waiters[key].as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            waiters[key] = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl<T, C> Drop for Until<'_, T, C> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.watch.waiters.borrow_mut().remove(key);
        }
    }
}
