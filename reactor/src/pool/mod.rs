//! Blocking work on other threads: [`unblock`].
//!
//! Some calls cannot be told not to block: reading a file, looking up a name, a long computation.
//! On the thread of the executor they would hold up every task, so a pool of threads makes them.
//! For the task that waits, a finished job is one more event from the outside world: it comes
//! back through [`Reactor::turn`] as any other.
//!
//! The pool is shared by all reactors of the process. Its threads are started when jobs come, at
//! most [`MAX_THREADS`], and end after [`KEEP_ALIVE`] without one. When the process ends, jobs that
//! still run are not waited for; a job that must finish is awaited before `main` returns.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError, bounded};
use log::{trace, warn};

use crate::Reactor;
use crate::notifier::Finisher;
use crate::source::Registration;

/// Threads of the pool at most: tokio's number.
///
/// Many more than cores, because a job may wait for another one.
pub const MAX_THREADS: usize = 512;

/// How long a thread waits for its next job, before it ends: tokio's time.
///
/// Long enough to span a burst of file reads.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

static POOL: Pool = Pool {
    state: Mutex::new(State { jobs: VecDeque::new(), idle: 0, threads: 0 }),
    work: Condvar::new(),
};

struct Pool {
    state: Mutex<State>,
    /// Signalled once for each job that an idle thread shall take.
    work: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    /// Threads that wait for `work`.
    idle: usize,
    threads: usize,
}

/// Runs `f` on a thread of the blocking pool, and waits for its result.
///
/// Nothing happens before the first poll. If the system refuses to start a thread while the pool
/// has none, `f` runs on the calling thread: late is better than never.
///
/// The name is that of the crate blocking, which smol uses.
///
/// # Panics
///
/// With the panic of `f`, if it panics; outside of `block_on`; and when it still waits after the
/// end of the executor in which it began.
///
/// # Cancel safety
///
/// Once polled, dropping the future does not stop `f`, nor take it out of the pool's queue; its
/// result is dropped on the pool's thread, or with the future, if it was there already.
///
/// # Examples
///
/// ```
/// let sum = executor::block_on(reactor::blocking::unblock(|| (1..=100).sum::<u32>()));
/// assert_eq!(sum, 5050);
/// ```
pub async fn unblock<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let job = JobHandle::begin(f);
    match poll_fn(|cx| job.poll(cx)).await {
        Ok(Ok(value)) => value,
        Ok(Err(panic)) => resume_unwind(panic),
        Err(error) => panic!("cannot wait for a blocking job: {error}"),
    }
}

/// A job that is queued or runs, for one who keeps it: the future of [`unblock`], or a file.
pub(crate) struct JobHandle<T> {
    /// Without a descriptor, and gone when nobody waits any more. A job that ends later reports a
    /// key that is free, or has a new owner: for that one it is a false hint, and harmless.
    source: Registration,
    result: Receiver<thread::Result<T>>,
}

impl<T: Send + 'static> JobHandle<T> {
    /// Queues `f` at once. Dropping the job does not take it out of the queue.
    ///
    /// # Panics
    ///
    /// Outside of `block_on`.
    pub(crate) fn begin(f: impl FnOnce() -> T + Send + 'static) -> JobHandle<T> {
        let (source, finisher) = {
            let reactor = Reactor::current();
            (reactor.add_source("blocking job"), reactor.finisher())
        };
        let (sender, result) = bounded(1);
        let key = source.key;
        submit(key, finisher, move || {
            let result = catch_unwind(AssertUnwindSafe(f));
            let ok = result.is_ok();
            // Refused when nobody waits any more.
            let _ = sender.send(result);
            ok
        });
        JobHandle { source, result }
    }

    /// Waits for the result, which is given once: what `f` returned, or its panic.
    ///
    /// # Errors
    ///
    /// When the executor in which the job began is gone.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<io::Result<thread::Result<T>>> {
        self.source.poll_io(&self.source.read, "unblock", cx, || match self.result.try_recv() {
            Ok(result) => Ok(result),
            Err(TryRecvError::Empty) => Err(ErrorKind::WouldBlock.into()),
            Err(TryRecvError::Disconnected) => Err(io::Error::other("the job is lost")),
        })
    }
}

/// Gives the pool a job, which tells whether it ended well, and reports its end to a source.
///
/// Called by [`unblock`], and by the standard streams, whose jobs outlive those who wait for them.
pub(crate) fn submit(key: usize, finisher: Finisher, job: impl FnOnce() -> bool + Send + 'static) {
    trace!(source = key; "job submitted");
    POOL.submit(Box::new(move || {
        let ok = job();
        let _finishing = Finishing(finisher, key);
        trace!(source = key, ok; "job done");
    }));
}

/// Reports the end of a job when it is dropped: after the record, and also if the logger panics.
struct Finishing(Finisher, usize);

impl Drop for Finishing {
    fn drop(&mut self) {
        self.0.finish(self.1);
    }
}

impl Pool {
    /// No panic can happen under the lock: jobs run outside of it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&'static self, job: Job) {
        let mut state = self.lock();
        state.jobs.push_back(job);
        // Every idle thread is already promised to one of the jobs before this one, unless there
        // are more of them than jobs.
        if state.jobs.len() <= state.idle {
            // Unlocked first, or the thread would wake up only to wait for the lock.
            drop(state);
            self.work.notify_one();
        } else if state.threads < MAX_THREADS {
            state.threads += 1;
            drop(state);
            self.start_thread();
        }
    }

    fn start_thread(&'static self) {
        let started = thread::Builder::new().name("blocking".into()).spawn(|| self.run());
        let Err(error) = started else { return };
        warn!("cannot start a thread for blocking work: {error}");
        let mut state = self.lock();
        state.threads -= 1;
        // With other threads alive, the jobs wait for one of them. All jobs, not only ours: the
        // thread of another one may just have been refused too, while it counted on this one.
        let stranded =
            if state.threads == 0 { mem::take(&mut state.jobs) } else { VecDeque::new() };
        drop(state);
        stranded.into_iter().for_each(run);
    }

    /// One thread of the pool.
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
                return;
            }
        }
    }
}

/// Runs one job. A job catches the panic of what it runs, but a result that nobody waits for is
/// dropped here, and that may panic too.
fn run(job: Job) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(job)) {
        warn!("a result of a blocking job panicked when it was dropped");
        // Its destructor could panic again, and end the thread.
        mem::forget(panic);
    }
}
