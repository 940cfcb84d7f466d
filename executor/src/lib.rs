// Where the chapter's links lead in this documentation: the first definition of a link counts, and
// those at the end of the README are for who reads it as a file.
//! [reactor]: ../reactor/index.html
//! [echo]: ../echod/index.html
//! [`task.rs`]: ../src/executor/task.rs.html
//! [`table.rs`]: ../src/executor/table.rs.html
//! [`inbox.rs`]: ../src/executor/inbox.rs.html
//! [`executor.rs`]: ../src/executor/executor.rs.html
//! [`join.rs`]: ../src/executor/join.rs.html
//! [`budget.rs`]: ../src/reactor/budget.rs.html
//! [`JoinHandle`]: JoinHandle
//! [`yield_now`]: yield_now
//! [`JoinError`]: JoinError
//! [`tasks()`]: tasks
//! [`TaskList`]: TaskList
//! [`Executor::tasks`]: Executor::tasks
//!
#![doc = include_str!("../README.md")]

// The mechanism, in the order of reading.
mod executor;
mod inbox;
mod join;
mod table;
mod task;

mod error;
mod join_set;
mod metrics;
mod remote;
mod sync;
mod task_list;
mod tasks;
mod unwind;

use std::future::{Future, poll_fn};
use std::panic::Location;
use std::task::Poll;

use executor::spawn_on;
use reactor::budget;
use table::Tasks;

pub use error::JoinError;
pub use executor::Executor;
pub use join::{AbortHandle, JoinHandle};
pub use join_set::JoinSet;
pub use metrics::Metrics;
pub use remote::{Closed, Remote};
pub use task_list::TaskList;
pub use tasks::{State, TaskInfo, tasks};

/// Runs a future to its end on this thread, and all tasks that it spawns meanwhile.
///
/// Tasks that have not finished when `future` has are dropped; await their handles to wait for
/// them. This makes an [`Executor`] of its own and calls [`Executor::block_on`].
///
/// # Panics
///
/// If the operating system refuses the descriptors that an executor needs; inside another
/// `block_on` on the same thread; and with the panic of `future`.
///
/// # Examples
///
/// ```
/// let sum = executor::block_on(async {
///     let two = executor::spawn(async { 2 });
///     1 + two.await.unwrap()
/// });
/// assert_eq!(sum, 3);
/// ```
#[track_caller]
pub fn block_on<F: Future>(future: F) -> F::Output {
    let executor = Executor::new().expect("the system refuses a descriptor for the reactor");
    executor.block_on(future)
}

/// Spawns a task on the executor that runs on this thread.
///
/// The task runs whether its handle is awaited or dropped. Its panic stays in the handle.
///
/// Tasks may share an `Rc` and a `RefCell`, as one thread polls them all. To wait for each other's
/// messages they need a channel of a crate that asks for no runtime: async-channel, for instance.
///
/// # Panics
///
/// Outside of `block_on`.
///
/// # Examples
///
/// ```
/// use std::{cell::Cell, rc::Rc};
///
/// executor::block_on(async {
///     let sum = Rc::new(Cell::new(0));
///     let tasks = [1, 2, 3].map(|number| {
///         let sum = sum.clone();
///         executor::spawn(async move { sum.set(sum.get() + number) })
///     });
///     for task in tasks {
///         task.await.unwrap();
///     }
///     assert_eq!(sum.get(), 6);
/// });
/// ```
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    spawn_on(&Tasks::current(), "", Location::caller(), future)
}

/// [`spawn`], with a name by which records and panics tell the task.
///
/// # Panics
///
/// Outside of `block_on`.
///
/// # Examples
///
/// ```
/// executor::block_on(async {
///     let answer = executor::spawn_named("answer", async { panic!("unknown") });
///     let error = answer.await.unwrap_err();
///     assert!(error.to_string().starts_with("task 1 \"answer\", spawned at "));
/// });
/// ```
#[track_caller]
pub fn spawn_named<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    spawn_on(&Tasks::current(), name, Location::caller(), future)
}

/// Lets all other tasks that are queued run first.
///
/// # Cancel safety
///
/// The task is queued by the first poll, and polled once more in any case.
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
        // As one whose budget is spent: then the round ends with those that are queued now, and
        // events and timers get their turn too, not only the neighbours.
        budget::yield_to_neighbours(cx);
        Poll::Pending
    })
    .await;
}

/// Runs `f` on a thread of the blocking pool; the handle gives its result.
///
/// It is `spawn(unblock(f))`, so `f` begins with the first poll of that task. If the task is aborted
/// before, or the executor dropped, `f` never runs; after it, neither stops `f`.
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
