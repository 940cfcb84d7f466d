//! One job: where its result meets the waker of the task that waits for it.
//!
//! The task and the pool's thread share a [`Meeting`]. Whichever comes second finds what the first
//! one left: the thread finds a waker and calls it, or the task finds the result and takes it.
//!
//! Invariant: a waker in the meeting is called when the job ends. Each side checks and
//! changes the state under one lock, so a job cannot end between a task's check and the storing of
//! its waker.
//!
//! Reentrancy: no waker is cloned, called or dropped under the lock, and no result is dropped under
//! it. All of these run user code, which may poll or drop the same job.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::thread;

use log::trace;

use super::threads::{Job, Pool};
use super::waits::Waits;
use crate::budget;

/// A job that is queued, running or done, for the one future that waits for its result.
///
/// Dropping the handle neither stops the job nor removes it from the pool's queue.
pub(crate) struct JobHandle<T: Send + 'static>(Arc<Meeting<T>>);

struct Meeting<T> {
    /// Identifies the job in log records and in the task table. Never reused.
    number: u64,
    state: Mutex<State<T>>,
}

enum State<T> {
    /// The job has not ended. It calls this waker when it does.
    Unfinished(Option<Waker>),
    /// What the job returned, or its panic.
    Finished(thread::Result<T>),
    /// The result was taken, or the handle was dropped: the job drops a result that comes later.
    Closed,
}

impl<T: Send + 'static> JobHandle<T> {
    /// Gives `f` to the pool.
    pub(crate) fn begin(f: impl FnOnce() -> T + Send + 'static) -> JobHandle<T> {
        JobHandle::begin_by(Pool::submit, f)
    }

    /// Makes a job of `f` and passes it to `submit`, which must pass it to `Pool::submit`, now or
    /// later.
    pub(crate) fn begin_by(
        submit: impl FnOnce(&'static Pool, Job),
        f: impl FnOnce() -> T + Send + 'static,
    ) -> JobHandle<T> {
        let pool = Pool::current();
        let meeting = pool.unfinished().register(|number| {
            Arc::new(Meeting { number, state: Mutex::new(State::Unfinished(None)) })
        });
        let handle = JobHandle(meeting.clone());
        let job: Job = Box::new(move || {
            let result = catch_unwind(AssertUnwindSafe(f));
            meeting.finish(result, pool)
        });
        trace!(job = handle.0.number; "job submitted");
        submit(pool, job);
        handle
    }

    /// Waits for the result, and returns it once: what `f` returned, or its panic.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<thread::Result<T>> {
        if !self.0.store(cx.waker()) {
            return Poll::Pending;
        }
        // Without budget, `spend` wakes the task, and the result stays here until the next poll.
        ready!(budget::spend(cx));
        match mem::replace(&mut *self.0.lock(), State::Closed) {
            State::Finished(result) => Poll::Ready(result),
            _ => unreachable!("the result is there until it is taken, and it is taken once"),
        }
    }
}

impl<T: Send + 'static> Drop for JobHandle<T> {
    fn drop(&mut self) {
        // This statement releases the lock. The old waker or result is dropped after it.
        let _left = mem::replace(&mut *self.0.lock(), State::Closed);
    }
}

impl<T> Meeting<T> {
    /// No panic can happen under the lock: it is held for a few moves.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the waker, and returns whether the job has ended; then no waker is needed.
    fn store(&self, waker: &Waker) -> bool {
        match &*self.lock() {
            // A spurious poll finds its own waker already stored.
            State::Unfinished(Some(kept)) if kept.will_wake(waker) => return false,
            State::Unfinished(_) => {}
            _ => return true,
        }
        let mut kept = Some(waker.clone());
        match &mut *self.lock() {
            State::Unfinished(place) => mem::swap(place, &mut kept),
            // The job has ended since the first look.
            _ => return true,
        }
        trace!(job = self.number, waker:? = waker.data(); "job awaited");
        // `kept` holds the previous waker now, and is dropped without the lock.
        false
    }

    /// Ends the job on the pool's thread, and returns the waker that the caller must call.
    fn finish(&self, result: thread::Result<T>, pool: &Pool) -> Option<Waker> {
        let ok = result.is_ok();
        let (waker, unwanted) = self.leave(result);
        trace!(job = self.number, ok, waker:? = waker.as_ref().map(Waker::data); "job done");
        pool.unfinished().deregister(self.number);
        // Drop the result last, because its destructor may panic.
        drop(unwanted);
        waker
    }

    /// Stores the result and takes out the waker. If no task wants the result, returns it instead.
    fn leave(&self, result: thread::Result<T>) -> (Option<Waker>, Option<thread::Result<T>>) {
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

impl<T: Send> Waits for Meeting<T> {
    fn waker(&self) -> Option<usize> {
        match &*self.lock() {
            State::Unfinished(waker) => waker.as_ref().map(|waker| waker.data().addr()),
            _ => None,
        }
    }
}
