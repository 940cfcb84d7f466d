#![doc = include_str!("../README.md")]

// To be read, in this order.
mod executor;
mod join;
mod queue;
mod task;

mod sync;

use std::future::poll_fn;
use std::task::Poll;

pub use executor::{Closed, Executor, Metrics, Remote, block_on, spawn, spawn_named};
pub use join::{JoinError, JoinHandle, JoinSet};

/// Lets all other tasks that are queued run first.
///
/// # Examples
///
/// ```
/// executor::block_on(async {
///     let task = executor::spawn(async {});
///     while !task.is_finished() {
///         executor::yield_now().await;
///     }
/// });
/// ```
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs `f` on a thread of the blocking pool; the handle gives its result.
///
/// It is `spawn(unblock(f))`: aborting the task, or dropping the executor, does not stop `f`.
///
/// # Panics
///
/// Outside of `block_on`.
///
/// # Examples
///
/// ```
/// executor::block_on(async {
///     let lines = executor::spawn_blocking(|| "slow\nwork".lines().count());
///     assert_eq!(lines.await.unwrap(), 2);
/// });
/// ```
#[track_caller]
pub fn spawn_blocking<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    spawn_named("blocking", reactor::blocking::unblock(f))
}
