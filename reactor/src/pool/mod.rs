//! Blocking work on other threads: [`unblock`].
//!
//! Some work blocks its thread: reading a file, resolving a host name, a long computation. On the
//! executor's thread it would hold up every task, so a thread pool does it.
//!
//! The pool does not need a reactor. When a job ends, its thread stores the result and calls the
//! waker of the task that waits for it. This is an ordinary wake from another thread, so the
//! futures of this module, of [`fs`](crate::fs) and of [`stdio`](crate::stdio) are `Send` and work
//! under any executor.
//!
//! The whole process shares one pool. It starts threads when jobs arrive, at most [`MAX_THREADS`],
//! and a thread ends after [`KEEP_ALIVE`] without a job. When the process ends, it does not wait
//! for running jobs: await a job that must finish before `main` returns.
//!
//! A job that is in progress during a `fork` exists in the parent only. The child starts its own
//! pool with its first job. In the child, a future that waits for a job of the parent never
//! completes.
//!
//! | file | contents |
//! |---|---|
//! | `job.rs` | one job: its result, and the waker of the task that waits for it |
//! | `sequence.rs` | jobs that run one at a time, in order, e.g. the operations of one file |
//! | `threads.rs` | the threads: how many there are, and what happens if the OS refuses one |
//! | `unfinished.rs` | the list of jobs that have not ended |
//! | `diagnostics.rs` | which tasks wait for which jobs, for the task table |
//! | `sync.rs` | the primitives of the files above, for the model checkers |
//! | `process.rs` | one pool per process, even after a `fork` |

mod diagnostics;
mod job;
mod process;
mod sequence;
mod sync;
#[cfg(test)]
mod tests;
mod threads;
mod unfinished;

use std::future::poll_fn;
use std::panic::resume_unwind;

pub use diagnostics::stored_wakers;
pub(crate) use job::JobHandle;
pub(crate) use process::PerProcess;
pub(crate) use sequence::Sequence;
pub(crate) use threads::{Job, Pool, wake};
pub use threads::{KEEP_ALIVE, MAX_THREADS};
pub(crate) use unfinished::next_number;

/// Runs `f` on a thread of the blocking pool and waits for its result.
///
/// The first poll submits `f`. If the pool has no thread and the OS refuses to start one, `f` runs
/// on the calling thread.
///
/// The function is named after `unblock` of the crate `blocking`, which smol uses.
///
/// # Panics
///
/// A panic in `f` propagates to the caller.
///
/// # Cancel safety
///
/// Dropping the future after its first poll neither stops `f` nor removes it from the pool's
/// queue. The result is then dropped on the pool's thread, or with the future if the job has
/// already ended.
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
        Ok(value) => value,
        Err(panic) => resume_unwind(panic),
    }
}
