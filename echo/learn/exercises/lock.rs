//! A mutex in which a check can act at the moment of a release, and can see what has changed while
//! the lock was held. Exercise 2 uses it.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::ptr;
use std::sync::{self, PoisonError};

thread_local! {
    /// What to do after a release of a lock on this thread, and how many releases come before.
    static AFTER: Cell<Option<(usize, Act)>> = const { Cell::new(None) };
    /// The addresses of the mutexes that this thread has locked.
    static LOCKED: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    /// What `watch` has set.
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

type Act = Box<dyn FnOnce()>;

struct Watch {
    read: Box<dyn Fn() -> usize>,
    changes: Vec<(usize, usize)>,
}

/// A mutex like that of std, except that `lock` returns no `Result`, and panics where that of std
/// may wait forever: if this thread holds the lock already.
pub(crate) struct Mutex<T>(sync::Mutex<T>);

/// Releases the lock when it is dropped.
pub(crate) struct Guard<'a, T> {
    guard: Option<sync::MutexGuard<'a, T>>,
    address: usize,
    /// What `WATCH` read after the lock was taken.
    before: Option<usize>,
}

const HELD: &str = "the lock is held until the guard is dropped";

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(sync::Mutex::new(value))
    }

    /// Waits until no other thread holds the lock.
    #[track_caller]
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        let address = ptr::from_ref(self).addr();
        let is_locked = LOCKED.with_borrow(|locked| locked.contains(&address));
        assert!(
            !is_locked,
            "this thread locks a mutex that it holds already, so it would wait forever: a guard is \
             still alive, or the lock is held while the waker is called"
        );
        let guard = Some(self.0.lock().unwrap_or_else(PoisonError::into_inner));
        LOCKED.with_borrow_mut(|locked| locked.push(address));
        let before = WATCH.with_borrow(|watch| watch.as_ref().map(|watch| (watch.read)()));
        Guard { guard, address, before }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_ref().expect(HELD)
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().expect(HELD)
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        WATCH.with_borrow_mut(|watch| {
            if let (Some(watch), Some(before)) = (watch, self.before) {
                let after = (watch.read)();
                if after != before {
                    watch.changes.push((before, after));
                }
            }
        });
        LOCKED.with_borrow_mut(|locked| locked.retain(|address| *address != self.address));
        self.guard = None;
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

/// Reads a number when this thread takes a lock and when it releases it. Ends an earlier watch.
pub(crate) fn watch(read: impl Fn() -> usize + 'static) {
    WATCH.set(Some(Watch { read: Box::new(read), changes: Vec::new() }));
}

/// Ends the watch. Returns the number before and after each time in which a lock was held and the
/// number changed.
pub(crate) fn changes() -> Vec<(usize, usize)> {
    WATCH.take().map(|watch| watch.changes).unwrap_or_default()
}
