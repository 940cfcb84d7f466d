//! A value that tasks can wait for, on all threads: the number of connections, the order to stop.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use slab::Slab;

/// A value, and the tasks that wait until it is as they want it.
#[derive(Default)]
pub(crate) struct Watch<T>(Mutex<State<T>>);

#[derive(Default)]
struct State<T> {
    value: T,
    /// One entry for each [`Until`] that waits; empty between its wake and its poll.
    waiters: Slab<Option<Waker>>,
}

impl<T> Watch<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing panics under the lock, but for what a condition may do; then the value is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the value.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.lock().value)
    }

    /// Changes the value, and lets all who wait look at it.
    pub(crate) fn update<R>(&self, update: impl FnOnce(&mut T) -> R) -> R {
        let mut state = self.lock();
        let result = update(&mut state.value);
        let woken: Vec<Waker> =
            state.waiters.iter_mut().filter_map(|(_, waker)| waker.take()).collect();
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        result
    }

    /// Waits until the condition finds the value as it wants it, and returns what it made of it.
    /// It may change the value, in a way that nobody waits for.
    pub(crate) fn until<R, C: FnMut(&mut T) -> Option<R>>(&self, condition: C) -> Until<'_, T, C> {
        Until { watch: self, condition, key: None }
    }
}

/// The future of [`Watch::until`]. It may be polled again when it has returned.
pub(crate) struct Until<'a, T, C> {
    watch: &'a Watch<T>,
    condition: C,
    /// The key of its waiter, which is removed when this is dropped.
    key: Option<usize>,
}

impl<T, R, C: FnMut(&mut T) -> Option<R> + Unpin> Future for Until<'_, T, C> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        // Cloned before the lock is taken and dropped after it is released: a waker is foreign code.
        let waker = cx.waker().clone();
        let mut state = self.watch.lock();
        if let Some(result) = (self.condition)(&mut state.value) {
            drop(state);
            self.give_up();
            return Poll::Ready(result);
        }
        // Stored under the lock under which the value was seen, so no update falls in between.
        let key = *self.key.get_or_insert_with(|| state.waiters.insert(None));
        let replaced = state.waiters[key].replace(waker);
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl<T, C> Until<'_, T, C> {
    fn give_up(&mut self) {
        let Some(key) = self.key.take() else { return };
        let waker = self.watch.lock().waiters.remove(key);
        // Dropped after the lock is released.
        drop(waker);
    }
}

impl<T, C> Drop for Until<'_, T, C> {
    fn drop(&mut self) {
        self.give_up();
    }
}
