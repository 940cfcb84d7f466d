//! [`Watch`]: a value that tasks on all threads can wait for, such as the number of connections.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use slab::Slab;

/// A value, and the wakers of the tasks that wait until a condition holds for it.
#[derive(Default)]
pub(crate) struct Watch<T>(Mutex<State<T>>);

#[derive(Default)]
struct State<T> {
    value: T,
    /// One entry for each [`Until`] that waits. It is `None` after `update` has woken the task, until
    /// the task is polled.
    waiters: Slab<Option<Waker>>,
}

impl<T> Watch<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Only a caller's closure can panic under the lock. The waiters are consistent even then.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what `look` returns for the value.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.lock().value)
    }

    /// Changes the value, and wakes all waiting tasks, which check their conditions again.
    pub(crate) fn update<R>(&self, update: impl FnOnce(&mut T) -> R) -> R {
        let mut state = self.lock();
        let result = update(&mut state.value);
        let woken: Vec<Waker> =
            state.waiters.iter_mut().filter_map(|(_, waker)| waker.take()).collect();
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        result
    }

    /// Waits until `condition` returns `Some`, and returns its content.
    ///
    /// `condition` may change the value, but this wakes no task. So the change must not make the
    /// condition of another task true.
    pub(crate) fn until<R, C: FnMut(&mut T) -> Option<R>>(&self, condition: C) -> Until<'_, T, C> {
        Until { watch: self, condition, key: None }
    }
}

/// The future of [`Watch::until`]. It may be polled again after it has completed, and then waits
/// again.
pub(crate) struct Until<'a, T, C> {
    watch: &'a Watch<T>,
    condition: C,
    /// The key of its waiter, which is removed when this is dropped.
    key: Option<usize>,
}

impl<T, R, C: FnMut(&mut T) -> Option<R> + Unpin> Future for Until<'_, T, C> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        // Reentrancy: cloning and dropping a waker run user code, so do neither under the lock.
        let waker = cx.waker().clone();
        let mut state = self.watch.lock();
        if let Some(result) = (self.condition)(&mut state.value) {
            drop(state);
            self.remove_waiter();
            return Poll::Ready(result);
        }
        // Store the waker before releasing the lock, so that no update comes between the check and the
        // store. Such an update would wake no task.
        let key = *self.key.get_or_insert_with(|| state.waiters.insert(None));
        let replaced = state.waiters[key].replace(waker);
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl<T, C> Until<'_, T, C> {
    fn remove_waiter(&mut self) {
        let Some(key) = self.key.take() else { return };
        let waker = self.watch.lock().waiters.remove(key);
        // Drop the waker after the lock is released.
        drop(waker);
    }
}

impl<T, C> Drop for Until<'_, T, C> {
    fn drop(&mut self) {
        self.remove_waiter();
    }
}
