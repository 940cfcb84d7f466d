//! A mutex in which a check can act at the moment of a release. Exercise 2 uses it.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::{self, PoisonError};

thread_local! {
    /// What to do after a release of a lock on this thread, and how many releases come before.
    static AFTER: Cell<Option<(usize, Act)>> = const { Cell::new(None) };
}

type Act = Box<dyn FnOnce()>;

/// A mutex like that of std, except that `lock` returns no `Result`.
pub(crate) struct Mutex<T>(sync::Mutex<T>);

/// Releases the lock when it is dropped.
pub(crate) struct Guard<'a, T>(Option<sync::MutexGuard<'a, T>>);

const HELD: &str = "the lock is held until the guard is dropped";

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(sync::Mutex::new(value))
    }

    /// Waits until no other thread holds the lock.
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        Guard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect(HELD)
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect(HELD)
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.0 = None;
        match AFTER.take() {
            Some((0, act)) => act(),
            Some((before, act)) => AFTER.set(Some((before - 1, act))),
            None => {}
        }
    }
}

/// Calls `act` when this thread has released a lock `before` + 1 times.
pub(crate) fn after_release(before: usize, act: impl FnOnce() + 'static) {
    AFTER.set(Some((before, Box::new(act))));
}

/// Returns whether `act` has been called. If not, it will not be called any more.
pub(crate) fn has_acted() -> bool {
    AFTER.take().is_none()
}
