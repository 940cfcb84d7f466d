//! One job of the pool: its result, and the waker of the task that waits for it.
//!
//! The waiting task and the pool's thread share one [`State`] behind a lock. If the task polls
//! first, it stores its waker, and the thread calls the waker when the job ends. If the job ends
//! first, the thread stores the result, and the task takes it at its next poll.
//!
//! Invariant: a stored waker is called when the job ends. The task checks for the result and stores
//! its waker under one lock, so the job cannot end in between.
//!
//! Reentrancy: no waker is cloned, called or dropped under the lock, and no result is dropped under
//! it. All of these run user code, which may poll or drop the same job.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::thread;

use log::trace;

use super::sync::{Mutex, MutexGuard, PoisonError};
use super::threads::{Job, Pool};
use super::unfinished::Waits;
use crate::budget;

/// Waits for the result of one job. Each job has exactly one handle.
///
/// Dropping the handle neither stops the job nor removes it from the pool's queue.
pub(crate) struct JobHandle<T: Send + 'static>(Arc<Shared<T>>);

/// What the handle and the pool's thread share.
struct Shared<T> {
    /// Identifies the job in log records and in the task table. Never reused.
    number: u64,
    state: Mutex<State<T>>,
}

enum State<T> {
    /// The job has not ended. Holds the waker to call at its end, if a task waits.
    Unfinished(Option<Waker>),
    /// The job has ended. Holds its return value, or its panic.
    Finished(thread::Result<T>),
    /// The task has taken the result, or the handle was dropped. A job that ends in this state
    /// drops its result.
    Closed,
}

impl<T: Send + 'static> JobHandle<T> {
    /// Submits `f` to the pool.
    pub(crate) fn begin(f: impl FnOnce() -> T + Send + 'static) -> JobHandle<T> {
        JobHandle::begin_by(Pool::submit, f)
    }

    /// Makes a job of `f` and passes it to `submit`. The closure must pass the job to
    /// `Pool::submit`, now or later.
    pub(crate) fn begin_by(
        submit: impl FnOnce(&'static Pool, Job),
        f: impl FnOnce() -> T + Send + 'static,
    ) -> JobHandle<T> {
        let pool = Pool::current();
        let shared = pool.unfinished().register(|number| {
            Arc::new(Shared { number, state: Mutex::new(State::Unfinished(None)) })
        });
        let handle = JobHandle(shared.clone());
        let job: Job = Box::new(move || {
            let result = catch_unwind(AssertUnwindSafe(f));
            shared.finish(result, pool)
        });
        trace!(job = handle.0.number; "job submitted");
        submit(pool, job);
        handle
    }

    /// Waits for the result: the return value of `f`, or its panic. Must not be called again after
    /// it has returned the result.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<thread::Result<T>> {
        let has_finished = self.0.store_unless_finished(cx.waker());
        if !has_finished {
            return Poll::Pending;
        }
        // If the budget is used up, this wakes the task and returns `Pending`. The result stays in
        // the state until the next poll.
        ready!(budget::spend(cx));
        match mem::replace(&mut *self.0.lock(), State::Closed) {
            State::Finished(result) => Poll::Ready(result),
            _ => unreachable!("`poll` was called again after it had returned the result"),
        }
    }
}

impl<T: Send + 'static> Drop for JobHandle<T> {
    fn drop(&mut self) {
        // The lock is released at the end of this statement. The old waker or result is dropped
        // after it, at the end of the function.
        let _previous = mem::replace(&mut *self.0.lock(), State::Closed);
    }
}

impl<T> Shared<T> {
    /// Ignores poisoning, because no code under this lock can panic: it only moves values.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns true if the job has ended. Otherwise stores the waker and returns false.
    fn store_unless_finished(&self, waker: &Waker) -> bool {
        match &*self.lock() {
            // A spurious poll finds its own waker already stored.
            State::Unfinished(Some(stored)) if stored.will_wake(waker) => return false,
            State::Unfinished(_) => {}
            _ => return true,
        }
        // The lock is not held here, so the job may end. Check again below.
        let mut stored = Some(waker.clone());
        match &mut *self.lock() {
            State::Unfinished(slot) => mem::swap(slot, &mut stored),
            _ => return true,
        }
        trace!(job = self.number, waker:? = waker.data(); "job awaited");
        // `stored` now holds the previous waker, which is dropped here, without the lock.
        false
    }

    /// Ends the job on the pool's thread, and returns the waker that the caller must call.
    fn finish(&self, result: thread::Result<T>, pool: &Pool) -> Option<Waker> {
        let ok = result.is_ok();
        let (waker, unwanted) = self.store_result(result);
        trace!(job = self.number, ok, waker:? = waker.as_ref().map(Waker::data); "job done");
        pool.unfinished().deregister(self.number);
        // Panic safety: drop the unwanted result last, because its destructor may panic.
        drop(unwanted);
        waker
    }

    /// Stores the result and takes out the waker. If the handle was dropped, returns the result
    /// instead.
    fn store_result(
        &self,
        result: thread::Result<T>,
    ) -> (Option<Waker>, Option<thread::Result<T>>) {
        let mut state = self.lock();
        match mem::replace(&mut *state, State::Closed) {
            State::Unfinished(waker) => {
                *state = State::Finished(result);
                (waker, None)
            }
            _ => (None, Some(result)),
        }
    }
}

impl<T: Send> Waits for Shared<T> {
    fn waker(&self) -> Option<usize> {
        match &*self.lock() {
            State::Unfinished(waker) => waker.as_ref().map(|waker| waker.data().addr()),
            _ => None,
        }
    }
}
