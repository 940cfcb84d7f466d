//! A simulated thread pool: the seed decides when its threads run.
//!
//! The code of jobs, their results and wakers, and sequences of jobs comes from the files of
//! `reactor`. Only the threads are simulated. A thread takes a job from the queue, runs it, and
//! calls the waker of the task that waits for it. Between these steps, tasks and other threads run.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::resume_unwind;
use std::task::Waker;

use crate::kernel::Random;
pub(crate) use job::JobHandle;
pub(crate) use sequence::Sequence;
use sync::{Mutex, MutexGuard, PoisonError};
pub(crate) use threads::Job;
use unfinished::Unfinished;

#[path = "../../reactor/src/pool/job.rs"]
mod job;
#[path = "../../reactor/src/pool/sequence.rs"]
mod sequence;
#[allow(dead_code)]
#[path = "../../reactor/src/pool/unfinished.rs"]
mod unfinished;

mod sync {
    pub(super) use std::sync::{Mutex, MutexGuard, PoisonError};
}

/// Replaces the file of `reactor` that starts threads.
mod threads {
    use std::task::Waker;

    pub(super) use super::Pool;

    pub(crate) type Job = Box<dyn FnOnce() -> Option<Waker> + Send>;
}

/// The pool of one test thread.
#[derive(Default)]
pub(crate) struct Pool {
    unfinished: Unfinished,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queued: VecDeque<Job>,
    /// Jobs that threads have taken from the queue.
    taken: Vec<Job>,
    /// Wakers of jobs that have ended.
    wakers: Vec<Waker>,
    /// The number of threads.
    threads: usize,
}

thread_local! {
    static POOL: &'static Pool = Box::leak(Box::default());
}

impl Pool {
    pub(crate) fn current() -> &'static Pool {
        POOL.with(|pool| *pool)
    }

    fn unfinished(&self) -> &Unfinished {
        &self.unfinished
    }

    pub(crate) fn submit(&'static self, job: Job) {
        self.lock().queued.push_back(job);
    }

    /// Empties the pool, and sets its number of threads.
    pub(crate) fn begin(&self, threads: usize) {
        let before = std::mem::replace(&mut *self.lock(), State { threads, ..State::default() });
        drop(before);
        self.unfinished.lock().clear();
    }

    /// Makes a random thread of the pool take one step. Returns the waker that the thread would
    /// call; the caller must call it.
    pub(crate) fn step(&self, random: &Random) -> Option<Waker> {
        let mut state = self.lock();
        let State { queued, taken, wakers, threads } = &mut *state;
        let can_take = !queued.is_empty() && taken.len() + wakers.len() < *threads;
        let choice = random.below(usize::from(can_take) + taken.len() + wakers.len());
        if choice < wakers.len() {
            return Some(wakers.swap_remove(choice));
        }
        let choice = choice - wakers.len();
        if choice < taken.len() {
            let job = taken.swap_remove(choice);
            drop(state);
            let waker = job();
            self.lock().wakers.extend(waker);
        } else {
            taken.extend(queued.pop_front());
        }
        None
    }

    /// Returns whether no job is queued, and each job that was taken has ended and called its waker.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.queued.is_empty() && state.taken.is_empty() && state.wakers.is_empty()
    }

    /// Returns the addresses of all wakers that unfinished jobs store, and of all wakers that the
    /// threads are about to call.
    pub(crate) fn stored_wakers(&self) -> Vec<usize> {
        let mut wakers: Vec<usize> =
            self.unfinished.lock().values().filter_map(|job| job.waker()).collect();
        wakers.extend(self.lock().wakers.iter().map(|waker| waker.data().addr()));
        wakers
    }

    /// Returns the number of jobs that have not ended.
    pub(crate) fn unfinished_jobs(&self) -> usize {
        self.unfinished.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs `f` on the simulated pool, as `reactor::blocking::unblock` does on the real pool.
pub(crate) async fn unblock<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let job = JobHandle::begin(f);
    match poll_fn(|cx| job.poll(cx)).await {
        Ok(value) => value,
        Err(panic) => resume_unwind(panic),
    }
}
