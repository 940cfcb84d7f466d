//! The threads of the pool: they take jobs from one queue.
//!
//! A job that finds no idle thread starts one. If the OS refuses, the job waits for another thread
//! of the pool. But all of those may be blocked forever, for example in a read of the standard
//! input. So the pool has one more thread, which runs no jobs: the *starter* sleeps until the OS
//! refuses a thread, and then keeps trying to start one until no job needs it.
//!
//! Invariant: while a job is in the queue, a thread is on its way to it. It is idle and notified, or
//! being started, or [`MAX_THREADS`] are busy, or the starter tries to start one.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use log::{error, warn};

use super::PerProcess;
use super::waits::Unfinished;

/// The largest number of threads that run jobs: tokio's number.
///
/// It is far larger than the number of cores, because a job may wait for another one. The pool
/// has one more thread, which runs no jobs and sleeps unless the OS refuses threads.
pub const MAX_THREADS: usize = 512;

/// How long a thread waits for its next job before it ends: tokio's time.
///
/// It is long enough to span the pauses in a burst of file reads.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The starter's first pause before it tries to start a thread again. Each pause after a failure is
/// twice as long as the previous one, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Bytes of the starter's stack. It only starts threads, and logs.
const STARTER_STACK: usize = 256 * 1024;

/// A job: it returns the waker to call when it has ended, if a task waits for it.
pub(crate) type Job = Box<dyn FnOnce() -> Option<Waker> + Send>;

static POOL: PerProcess<Pool> = PerProcess::new();

/// The pool of this process.
#[derive(Default)]
pub(crate) struct Pool {
    unfinished: Unfinished,
    state: Mutex<State>,
    /// Notified once for each job that an idle thread must take.
    work: Condvar,
    /// Notified when the starter has something to do, or must end.
    refused: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Threads that wait for `work`.
    idle: usize,
    /// Threads that run jobs, wait for them, or are being started.
    threads: usize,
    /// Whether there is a starter. It starts before the first thread and ends after the last one.
    has_starter: bool,
    /// Whether the OS has refused a thread, so that the starter must try again.
    short: bool,
}

/// Calls a waker on a thread that must survive its panic.
pub(crate) fn wake(waker: Waker) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        // Forget the panic's value, because its destructor might panic again.
        mem::forget(panic);
        error!("a waker panicked");
    }
}

impl Pool {
    /// Returns the pool of this process; one system call.
    pub(crate) fn current() -> &'static Pool {
        POOL.get(Pool::default)
    }

    pub(super) fn unfinished(&self) -> &Unfinished {
        &self.unfinished
    }

    /// No panic can happen under the lock: jobs run outside of it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job for the next thread that is free.
    pub(crate) fn submit(&'static self, job: Job) {
        let mut state = self.lock();
        state.jobs.push_back(job);
        // Each job that was queued before takes one idle thread. One is left for this job unless
        // the queue is now longer than the number of idle threads.
        if !state.is_short() {
            // Unlock first, or the thread would wake up only to wait for the lock.
            drop(state);
            self.work.notify_one();
        } else if state.threads < MAX_THREADS {
            self.add_thread(state);
        }
    }

    /// Starts a thread, or has the starter do it later. Without any thread, the jobs run here.
    fn add_thread(&'static self, mut state: MutexGuard<'_, State>) {
        state.threads += 1;
        // Start it under the lock, so that no thread ever runs jobs without a starter.
        if !state.has_starter {
            state.has_starter = self.start_starter().is_ok();
        }
        let has_starter = state.has_starter;
        drop(state);
        if has_starter && self.start_thread().is_ok() {
            return;
        }
        let mut state = self.lock();
        state.threads -= 1;
        if state.threads > 0 {
            state.short = true;
            drop(state);
            return self.refused.notify_one();
        }
        // Run all jobs, not only the caller's. Another caller may just have been refused a thread,
        // and have left its job to the thread that was refused here.
        let jobs = mem::take(&mut state.jobs);
        drop(state);
        self.refused.notify_one();
        jobs.into_iter().for_each(run);
    }

    fn start_thread(&'static self) -> io::Result<()> {
        let started = thread::Builder::new().name("blocking".into()).spawn(|| self.run());
        let started = started.map(drop);
        if let Err(error) = &started {
            warn!("cannot start a thread for blocking work: {error}");
        }
        started
    }

    /// Runs jobs on one thread of the pool, until none comes for [`KEEP_ALIVE`].
    fn run(&self) {
        let mut state = self.lock();
        loop {
            while let Some(job) = state.jobs.pop_front() {
                drop(state);
                run(job);
                state = self.lock();
            }
            state.idle += 1;
            let idle = |state: &mut State| state.jobs.is_empty();
            let waited = self.work.wait_timeout_while(state, KEEP_ALIVE, idle);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.idle -= 1;
            if state.jobs.is_empty() {
                state.threads -= 1;
                if state.threads == 0 {
                    drop(state);
                    self.refused.notify_one();
                }
                return;
            }
        }
    }

    fn start_starter(&'static self) -> io::Result<()> {
        let starter = thread::Builder::new().name("blocking starter".into());
        starter.stack_size(STARTER_STACK).spawn(|| self.retry_until_the_last_ends()).map(drop)
    }

    /// Runs the starter: after each refusal, it retries until no job needs another thread. It
    /// returns when the last thread has ended.
    fn retry_until_the_last_ends(&'static self) {
        let mut state = self.lock();
        loop {
            let sleeps = |state: &mut State| !state.short && state.threads > 0;
            state = self.refused.wait_while(state, sleeps).unwrap_or_else(PoisonError::into_inner);
            if state.threads == 0 {
                state.has_starter = false;
                state.short = false;
                return;
            }
            let mut pause = FIRST_PAUSE;
            while state.is_short() && state.threads < MAX_THREADS {
                drop(state);
                thread::sleep(pause);
                state = self.lock();
                if !state.is_short() || state.threads == MAX_THREADS {
                    break;
                }
                state.threads += 1;
                drop(state);
                let started = self.start_thread();
                state = self.lock();
                if started.is_err() {
                    state.threads -= 1;
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
            }
            state.short = false;
        }
    }
}

impl State {
    /// Whether there are more jobs than threads to take them.
    fn is_short(&self) -> bool {
        self.jobs.len() > self.idle
    }
}

/// Runs one job and wakes the task that waits for it.
///
/// The job catches the panic of what it runs. But it also drops a result that no task waits
/// for, and the destructor of the result may panic.
fn run(job: Job) {
    match catch_unwind(AssertUnwindSafe(job)) {
        Ok(waker) => waker.into_iter().for_each(wake),
        Err(panic) => {
            warn!("a result of a blocking job panicked when it was dropped");
            // Its destructor could panic again, which would end the thread.
            mem::forget(panic);
        }
    }
}
