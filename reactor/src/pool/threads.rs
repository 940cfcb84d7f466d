//! The threads of the pool, which take jobs from one queue.
//!
//! A job that finds no idle thread starts one. If the OS refuses, the job waits until another
//! thread of the pool is free. But all threads may be blocked forever, e.g. in a read from standard
//! input. So the pool has one more thread, the *starter*, which runs no jobs. It sleeps until the
//! OS refuses a thread, and then retries until no job needs another thread.
//!
//! Invariant: while the queue holds a job, at least one of these is true: an idle thread has been
//! notified, a thread is being started, [`MAX_THREADS`] threads are busy, or the starter is
//! retrying.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;
use std::time::Duration;

use log::{error, warn};

use super::PerProcess;
use super::sync::{Condvar, Mutex, MutexGuard, PoisonError, thread};
use super::unfinished::Unfinished;

/// The maximum number of threads that run jobs, as in tokio.
///
/// It is far larger than the number of cores, because a job may wait for another one. The pool
/// has one more thread, which runs no jobs and sleeps unless the OS refuses to start a thread.
pub const MAX_THREADS: usize = 512;

/// How long a thread waits for its next job before it ends, as in tokio.
///
/// It is long enough to span the pauses in a burst of file reads.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The starter's first pause before it retries. Each pause after a failure is twice as long as the
/// previous one, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The starter's stack size in bytes. The starter only starts threads and logs.
const STARTER_STACK: usize = 256 * 1024;

/// A job. It returns the waker of the task that waits for it, if any, and the caller must call it.
pub(crate) type Job = Box<dyn FnOnce() -> Option<Waker> + Send>;

static POOL: PerProcess<Pool> = PerProcess::new();

/// The pool of this process.
#[derive(Default)]
pub(crate) struct Pool {
    unfinished: Unfinished,
    state: Mutex<State>,
    /// Notified once for each job that an idle thread must take.
    work: Condvar,
    /// Notified when the starter must retry, or end.
    starter: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// The number of threads that wait for `work`.
    idle: usize,
    /// The number of threads that run jobs, wait for them, or are being started.
    threads: usize,
    /// Whether the starter exists. It is started before the first thread and ends after the last
    /// one.
    has_starter: bool,
    /// Whether the OS has refused a thread, so that the starter must retry.
    was_refused: bool,
}

/// Calls a waker. Panic safety: catches its panic, because the calling thread must survive it.
pub(crate) fn wake(waker: Waker) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        // Forget the panic payload, because its destructor might panic again.
        mem::forget(panic);
        error!("a waker panicked");
    }
}

impl Pool {
    /// Returns the pool of this process. Costs one `getpid` system call.
    pub(crate) fn current() -> &'static Pool {
        POOL.get(Pool::default)
    }

    pub(super) fn unfinished(&self) -> &Unfinished {
        &self.unfinished
    }

    /// Returns whether no job is queued, and each job that was taken has ended and called its waker.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.jobs.is_empty() && state.idle == state.threads
    }

    /// Ignores poisoning, because no code under this lock can panic: jobs run outside of it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job for the next free thread.
    pub(crate) fn submit(&'static self, job: Job) {
        let mut state = self.lock();
        state.jobs.push_back(job);
        // Each job that was queued earlier will take one idle thread. An idle thread remains for
        // this job unless the queue is now longer than the number of idle threads.
        if !state.needs_thread() {
            // Unlock first. Otherwise the thread would wake up only to wait for the lock.
            drop(state);
            self.work.notify_one();
        } else if state.threads < MAX_THREADS {
            self.add_thread(state);
        }
    }

    /// Starts a thread. If the OS refuses, the starter retries. If the pool has no thread at all,
    /// the queued jobs run on the calling thread.
    fn add_thread(&'static self, mut state: MutexGuard<'_, State>) {
        state.threads += 1;
        // Start the starter under the lock, so that no thread ever runs jobs without a starter.
        if !state.has_starter {
            state.has_starter = self.start_starter().is_ok();
        }
        let has_starter = state.has_starter;
        drop(state);
        if has_starter {
            match self.start_thread() {
                Ok(()) => return,
                Err(error) => warn_of_refusal(&error),
            }
        }
        let mut state = self.lock();
        state.threads -= 1;
        if state.threads > 0 {
            state.was_refused = true;
            drop(state);
            return self.starter.notify_one();
        }
        // Run all queued jobs, not only the caller's. If the OS has refused a thread to another
        // caller in the meantime, that caller left its job to the thread that failed to start here.
        let jobs = mem::take(&mut state.jobs);
        drop(state);
        self.starter.notify_one();
        jobs.into_iter().for_each(run);
    }

    fn start_thread(&'static self) -> io::Result<()> {
        thread::Builder::new().name("blocking".into()).spawn(|| self.run()).map(drop)
    }

    /// Runs jobs on one thread of the pool, until none arrives for [`KEEP_ALIVE`].
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
                drop(state);
                // If this was the last thread, the starter ends.
                return self.starter.notify_one();
            }
        }
    }

    fn start_starter(&'static self) -> io::Result<()> {
        let starter = thread::Builder::new().name("blocking starter".into());
        starter.stack_size(STARTER_STACK).spawn(|| self.run_starter()).map(drop)
    }

    /// Runs the starter: after each refusal, it retries until no job needs another thread. Returns
    /// when the last thread has ended.
    fn run_starter(&'static self) {
        let mut state = self.lock();
        loop {
            let sleeps = |state: &mut State| !state.was_refused && state.threads > 0;
            state = self.starter.wait_while(state, sleeps).unwrap_or_else(PoisonError::into_inner);
            if state.threads == 0 {
                state.has_starter = false;
                state.was_refused = false;
                return;
            }
            let mut pause = FIRST_PAUSE;
            loop {
                drop(state);
                thread::sleep(pause);
                state = self.lock();
                if !state.needs_thread() || state.threads == MAX_THREADS {
                    break;
                }
                // Start the thread under the lock, and count it only if it exists. A caller whose
                // own attempt failed leaves its job to any thread that is counted.
                match self.start_thread() {
                    Ok(()) => state.threads += 1,
                    Err(error) => {
                        drop(state);
                        warn_of_refusal(&error);
                        state = self.lock();
                        pause = LONGEST_PAUSE.min(pause * 2);
                    }
                }
            }
            state.was_refused = false;
        }
    }
}

fn warn_of_refusal(error: &io::Error) {
    warn!("cannot start a thread of the blocking pool: {error}");
}

impl State {
    /// Returns whether there are more queued jobs than idle threads.
    fn needs_thread(&self) -> bool {
        self.jobs.len() > self.idle
    }
}

/// Runs one job and wakes the task that waits for it.
///
/// Panic safety: a job catches a panic in its closure. But it also drops a result that no task
/// waits for, and the destructor of the result may panic.
fn run(job: Job) {
    match catch_unwind(AssertUnwindSafe(job)) {
        Ok(waker) => waker.into_iter().for_each(wake),
        Err(panic) => {
            warn!("the destructor of a blocking job's result panicked");
            // The destructor of the panic payload could panic again, which would end the thread.
            mem::forget(panic);
        }
    }
}
