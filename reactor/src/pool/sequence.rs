//! [`Sequence`]: jobs that run one at a time, in the order in which they were submitted.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::{Job, JobHandle, Pool};

/// Runs jobs one after the other, for example the operations of one file.
///
/// At most one job of a sequence is with the pool, so a sequence never occupies two threads. Every
/// job has a handle of its own. So each task waits for its own result, and a task whose job has
/// just ended submits its next one behind those of the others.
#[derive(Default)]
pub(crate) struct Sequence(Mutex<State>);

#[derive(Default)]
struct State {
    /// Whether a job is with the pool, or an operation takes the place of one.
    busy: bool,
    /// Jobs that wait until it has ended. Empty if the sequence is not busy.
    waiting: VecDeque<Job>,
}

/// Keeps the jobs of a sequence waiting until it is dropped; see [`Sequence::enter_if_idle`].
pub(crate) struct InPlace<'a>(&'a Arc<Sequence>);

impl Sequence {
    /// Submits `f` behind all jobs that were submitted before.
    pub(crate) fn begin<T: Send + 'static>(
        self: &Arc<Self>,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> JobHandle<T> {
        JobHandle::begin_by(|pool, job| self.submit(pool, job), f)
    }

    /// Takes the place of a job on the calling thread, unless a job runs or waits.
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
        self.clone().give_to(pool, job);
    }

    fn give_to(self: Arc<Self>, pool: &'static Pool, job: Job) {
        pool.submit(Box::new(move || self.run(pool, job)));
    }

    /// Runs one job on a thread of the pool, then submits the next one. It goes to the end of the
    /// pool's queue, so that a sequence that is never idle does not keep a thread to itself.
    fn run(self: Arc<Self>, pool: &'static Pool, job: Job) -> Option<Waker> {
        // A job catches a panic of its closure, but not a panic while it drops an unwanted result.
        let done = catch_unwind(AssertUnwindSafe(job));
        // Do this before the wake, so that the task can find the sequence idle.
        if let Some(next) = self.take_next() {
            self.give_to(pool, next);
        }
        done.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Takes out the job that comes next, or marks the sequence as idle.
    fn take_next(&self) -> Option<Job> {
        let mut state = self.lock();
        let next = state.waiting.pop_front();
        state.busy = next.is_some();
        next
    }

    /// No panic can happen under the lock: it is held for a few moves.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InPlace<'_> {
    fn drop(&mut self) {
        if let Some(next) = self.0.take_next() {
            self.0.clone().give_to(Pool::current(), next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn jobs_run_one_at_a_time_in_order() {
        let sequence = Arc::new(Sequence::default());
        let (sender, receiver) = channel();
        let mut jobs = Vec::new();
        let place = sequence.enter_if_idle().expect("no job yet");
        assert!(sequence.enter_if_idle().is_none());
        for n in 0..100 {
            let sender = sender.clone();
            jobs.push(sequence.begin(move || sender.send(n).unwrap()));
        }
        assert!(receiver.try_recv().is_err(), "they wait for what is done in place");
        drop((place, sender));
        assert!(receiver.iter().eq(0..100));
    }

    #[test]
    fn panic_of_an_unwanted_result_does_not_end_the_sequence() {
        struct Bomb;

        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("dropped on the pool's thread");
            }
        }

        let sequence = Arc::new(Sequence::default());
        let place = sequence.enter_if_idle();
        drop(sequence.begin(|| Bomb));
        let (sender, receiver) = channel();
        let _job = sequence.begin(move || sender.send(7).unwrap());
        drop(place);
        assert_eq!(receiver.recv(), Ok(7));
    }
}
