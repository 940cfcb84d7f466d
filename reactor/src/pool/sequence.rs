//! [`Sequence`]: jobs that run one at a time, in the order in which they were submitted.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::task::Waker;

use super::sync::{Mutex, MutexGuard, PoisonError};
use super::{Job, JobHandle, Pool};

/// Runs jobs one after the other, e.g. the operations of one file.
///
/// The pool has at most one job of a sequence at a time, so a sequence never occupies two threads.
/// Every job has its own handle, so each task waits only for its own result. A task that submits
/// one job after another does not starve other tasks, because each job goes to the end of the
/// queue.
#[derive(Default)]
pub(crate) struct Sequence(Mutex<State>);

#[derive(Default)]
struct State {
    /// Whether the pool has a job of this sequence, or an [`InPlace`] guard exists.
    busy: bool,
    /// Jobs to run afterwards, in this order. Empty if the sequence is not busy.
    waiting: VecDeque<Job>,
}

/// Guard of [`Sequence::enter_if_idle`]. No job of the sequence runs while it exists.
pub(crate) struct InPlace<'a>(&'a Arc<Sequence>);

impl Sequence {
    /// Submits `f`. It runs after all jobs that were submitted before.
    pub(crate) fn begin<T: Send + 'static>(
        self: &Arc<Self>,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> JobHandle<T> {
        JobHandle::begin_by(|pool, job| self.submit(pool, job), f)
    }

    /// Lets the caller carry out an operation on its own thread: no job runs until the caller drops
    /// the guard. Returns `None` if a job runs or waits.
    pub(crate) fn enter_if_idle(self: &Arc<Self>) -> Option<InPlace<'_>> {
        let mut state = self.lock();
        if state.busy {
            return None;
        }
        state.busy = true;
        drop(state);
        Some(InPlace(self))
    }

    fn submit(self: &Arc<Self>, pool: &'static Pool, job: Job) {
        let mut state = self.lock();
        if state.busy {
            return state.waiting.push_back(job);
        }
        state.busy = true;
        drop(state);
        self.clone().submit_to(pool, job);
    }

    fn submit_to(self: Arc<Self>, pool: &'static Pool, job: Job) {
        pool.submit(Box::new(move || self.run(pool, job)));
    }

    /// Runs one job on a thread of the pool, then submits the next one.
    ///
    /// The next job goes to the end of the pool's queue. If this thread ran it directly, a sequence
    /// that is never idle would keep the thread to itself.
    fn run(self: Arc<Self>, pool: &'static Pool, job: Job) -> Option<Waker> {
        // Panic safety: a job catches a panic in its closure, but not in the destructor of an
        // unwanted result.
        let done = catch_unwind(AssertUnwindSafe(job));
        // Do this before the caller wakes the task, so that the task can find the sequence idle.
        if let Some(next) = self.take_next() {
            self.submit_to(pool, next);
        }
        done.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Takes out the next job. If there is none, marks the sequence as idle.
    fn take_next(&self) -> Option<Job> {
        let mut state = self.lock();
        let next = state.waiting.pop_front();
        state.busy = next.is_some();
        next
    }

    /// Ignores poisoning, because no code under this lock can panic: it only moves values.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InPlace<'_> {
    fn drop(&mut self) {
        if let Some(next) = self.0.take_next() {
            self.0.clone().submit_to(Pool::current(), next);
        }
    }
}
