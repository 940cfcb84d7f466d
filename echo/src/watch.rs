//! A value that tasks can wait for, on all threads: the number of connections, the order to stop.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use slab::Slab;

/// A value, and the tasks that wait until it is as they want it.
#[derive(Default)]
pub(crate) struct Watch<T> {
    /// Counts the updates. Grows only under the lock.
    updates: AtomicUsize,
    state: Mutex<State<T>>,
}

#[derive(Default)]
struct State<T> {
    value: T,
    /// One entry for each [`Until`] that waits; empty between its wake and its poll.
    waiters: Slab<Option<Waker>>,
}

impl<T> Watch<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing panics under the lock, but for what a condition may do; then the value is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the value.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.lock().value)
    }

    /// Changes the value, and lets all who wait look at it.
    pub(crate) fn update<R>(&self, update: impl FnOnce(&mut T) -> R) -> R {
        let mut state = self.lock();
        let result = update(&mut state.value);
        self.updates.fetch_add(1, Ordering::Release);
        let woken: Vec<Waker> =
            state.waiters.iter_mut().filter_map(|(_, waker)| waker.take()).collect();
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        result
    }

    /// Waits until the condition finds the value as it wants it, and returns what it made of it.
    /// It may change the value, in a way that nobody waits for.
    pub(crate) fn until<R, C: FnMut(&mut T) -> Option<R>>(&self, condition: C) -> Until<'_, T, C> {
        Until { watch: self, condition, kept: None }
    }
}

/// The future of [`Watch::until`]. It may be polled again when it has returned.
pub(crate) struct Until<'a, T, C> {
    watch: &'a Watch<T>,
    condition: C,
    /// Given up when it is dropped, so that a connection which ends leaves nothing behind.
    kept: Option<Kept>,
}

/// An entry among the waiters.
#[derive(Clone, Copy)]
struct Kept {
    key: usize,
    /// The updates that were seen when it was made.
    updates: usize,
    /// Which waker is in it: no other one has this address while the entry holds that one.
    waker: *const (),
}

impl<T, R, C: FnMut(&mut T) -> Option<R> + Unpin> Future for Until<'_, T, C> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        let (watch, waker) = (self.watch, cx.waker().data());
        // A connection asks with each message, and so without the lock: nothing has changed since
        // the last look, and whoever changes it finds this waker.
        let updates = watch.updates.load(Ordering::Acquire);
        if self.kept.is_some_and(|kept| (kept.updates, kept.waker) == (updates, waker)) {
            return Poll::Pending;
        }
        let mut state = watch.lock();
        if let Some(result) = (self.condition)(&mut state.value) {
            drop(state);
            self.give_up();
            return Poll::Ready(result);
        }
        // Kept under the lock under which the value was seen: no update falls in between.
        let key = self.kept.map_or_else(|| state.waiters.insert(None), |kept| kept.key);
        let replaced = state.waiters[key].replace(cx.waker().clone());
        let updates = watch.updates.load(Ordering::Relaxed);
        drop(state);
        drop(replaced);
        self.kept = Some(Kept { key, updates, waker });
        Poll::Pending
    }
}

impl<T, C> Until<'_, T, C> {
    fn give_up(&mut self) {
        let Some(kept) = self.kept.take() else { return };
        let waker = self.watch.lock().waiters.remove(kept.key);
        // What it frees is freed without the lock.
        drop(waker);
    }
}

impl<T, C> Drop for Until<'_, T, C> {
    fn drop(&mut self) {
        self.give_up();
    }
}
