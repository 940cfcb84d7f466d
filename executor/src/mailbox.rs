//! [`Mailbox`]: where the result of a task meets the waker of the code that waits for it on another
//! thread.
//!
//! Invariant: a stored waker is called when the result arrives. [`Mailbox::store`] checks for the
//! result and stores the waker under one lock, so the result cannot arrive in between.
//! `tests/tests/wake_protocol` checks this file with the model checkers loom and shuttle.
//!
//! Reentrancy: no waker is cloned, called or dropped while the lock is held, and no result is
//! dropped. All of these run user code, which may use the same handle.

use std::mem;
use std::sync::OnceLock;
use std::task::Waker;

use super::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) struct Mailbox<R> {
    /// The key and the ID of the task. Set when the executor has spawned it.
    pub(crate) task: OnceLock<(usize, u64)>,
    state: Mutex<State<R>>,
}

enum State<R> {
    /// The task has not ended. This waker is called when it does.
    Unfinished(Option<Waker>),
    /// The result of the task.
    Finished(R),
    /// The result was taken, or the handle was dropped.
    Closed,
}

impl<R> Mailbox<R> {
    pub(crate) fn new() -> Mailbox<R> {
        Mailbox { task: OnceLock::new(), state: Mutex::new(State::Unfinished(None)) }
    }

    /// No panic can happen under the lock: it is held for a few moves.
    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether there is a result, or no code wants one anymore.
    pub(crate) fn is_finished(&self) -> bool {
        !matches!(*self.lock(), State::Unfinished(_))
    }

    /// Stores the waker. Returns whether the task has ended; if so, no waker is needed.
    pub(crate) fn store(&self, waker: &Waker) -> bool {
        let mut waker = Some(waker.clone());
        match &mut *self.lock() {
            State::Unfinished(stored) => mem::swap(stored, &mut waker),
            _ => return true,
        }
        // `waker` now holds the previous waker, and is dropped without the lock.
        false
    }

    /// Takes the result of a task that has ended.
    #[track_caller]
    pub(crate) fn take(&self) -> R {
        let state = mem::replace(&mut *self.lock(), State::Closed);
        let State::Finished(result) = state else { panic!("a handle gives its result only once") };
        result
    }

    /// Stores the result and wakes the code that waits for it, unless there is a result already.
    pub(crate) fn put(&self, result: R) {
        let mut state = self.lock();
        let State::Unfinished(waker) = &mut *state else { return };
        let waker = waker.take();
        *state = State::Finished(result);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Declares that no code wants the result. Returns the waker or the result that is left, which
    /// the caller drops.
    pub(crate) fn close(&self) -> impl Sized + use<R> {
        mem::replace(&mut *self.lock(), State::Closed)
    }
}
