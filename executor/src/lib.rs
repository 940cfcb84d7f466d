// Link targets for rustdoc. They override those at the end of the README, which are for reading it
// as a file: Markdown uses the first definition of a link.
//! [reactor]: ../reactor/index.html
//! [glossary]: ../echod/index.html#files-of-the-guide
//! [echo]: ../echod/index.html
//! [`task.rs`]: ../src/executor/task.rs.html
//! [`table.rs`]: ../src/executor/table.rs.html
//! [`inbox.rs`]: ../src/executor/inbox.rs.html
//! [`executor.rs`]: ../src/executor/executor.rs.html
//! [`join.rs`]: ../src/executor/join.rs.html
//! [`remote.rs`]: ../src/executor/remote.rs.html
//! [`Remote`]: Remote
//! [`budget.rs`]: ../src/reactor/budget.rs.html
//! [`JoinHandle`]: JoinHandle
//! [`yield_now`]: yield_now
//! [`JoinError`]: JoinError
//! [`tasks()`]: tasks()
//! [`TaskList`]: TaskList
//! [`Executor::tasks`]: Executor::tasks
//!
#![doc = include_str!("../README.md")]

// The mechanism. Read `task`, `table`, `inbox`, `executor`, `join`, in this order.
mod executor;
mod inbox;
mod join;
mod table;
mod task;

mod error;
mod join_set;
mod mailbox;
mod metrics;
mod remote;
mod sync;
mod task_info;
mod task_list;
mod unwind;

use std::future::{Future, poll_fn};
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::task::Poll;

use executor::spawn_on;
use reactor::budget;
use table::Tasks;

pub use error::JoinError;
pub use executor::Executor;
pub use join::{AbortHandle, JoinHandle};
pub use join_set::JoinSet;
pub use metrics::Metrics;
pub use remote::{Remote, RemoteJoinHandle};
pub use table::Enter;
pub use task_info::{State, TaskInfo};
pub use task_list::{TaskList, tasks};

/// Runs a future to completion on this thread, together with the tasks that it spawns.
///
/// This creates an [`Executor`], calls [`Executor::block_on`] and drops the executor. Tasks that
/// have not finished by then are dropped; to wait for a task, await its handle.
///
/// # Panics
///
/// Panics if the operating system cannot create the descriptors that an executor needs, or if
/// called inside another `block_on` on the same thread. A panic in `future` propagates to the
/// caller.
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
/// The task runs even if its handle is never awaited, or dropped. But it does not outlive the
/// executor: when the future of [`block_on`] completes, tasks that are still waiting are dropped
/// at their `.await`. To let a task complete, await its handle.
///
/// The handle returns the panic of the task, if there is one.
///
/// Tasks can share an `Rc<RefCell<T>>`, because one thread polls them all. To wait for messages
/// from each other they need a channel that works without a runtime, such as the crate
/// async-channel.
///
/// # Panics
///
/// Panics if no executor is current on this thread; see [`Executor::enter`].
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

/// Spawns a task with a name for log records and panics; see [`spawn`].
///
/// # Panics
///
/// Panics if no executor is current on this thread; see [`Executor::enter`].
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

// The public types are *unwind safe*: a program may use them after `catch_unwind` has caught a panic
// of user code, for example of the future given to `block_on`. This holds because no `RefCell` is
// borrowed and no invariant is broken while user code runs. Only data of the user, such as an `Rc`
// that two tasks share, can be in the middle of a change. The compiler cannot see it for these types,
// because they contain cells. The others need no such line.
impl UnwindSafe for Executor {}
impl RefUnwindSafe for Executor {}
impl UnwindSafe for Enter<'_> {}
impl RefUnwindSafe for Enter<'_> {}
impl<T> UnwindSafe for JoinHandle<T> {}
impl<T> RefUnwindSafe for JoinHandle<T> {}
impl UnwindSafe for AbortHandle {}
impl RefUnwindSafe for AbortHandle {}
impl<T> UnwindSafe for JoinSet<T> {}
impl<T> RefUnwindSafe for JoinSet<T> {}
impl UnwindSafe for TaskList {}
impl RefUnwindSafe for TaskList {}

/// Yields: lets all other queued tasks run before this one continues.
///
/// # Cancel safety
///
/// Dropping the future loses nothing. The task has been queued and is polled once more.
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
        // Yield in the same way as a task that has used up its budget. The executor then fetches
        // events and fires timers before it polls this task again.
        budget::request_yield(cx);
        Poll::Pending
    })
    .await;
}

/// Runs `f` on a thread of the blocking pool. The handle returns its result.
///
/// This spawns a task with [`unblock(f)`](reactor::blocking::unblock). The first poll of the task
/// submits `f` to the pool. If the task is aborted or dropped before that poll, `f` never runs;
/// later, an abort does not stop `f`.
///
/// # Panics
///
/// Panics if no executor is current on this thread; see [`Executor::enter`].
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

/// Returns the counters of the executor that runs on this thread; see [`Executor::metrics`].
///
/// # Panics
///
/// Panics if no executor is current on this thread; see [`Executor::enter`].
///
/// # Examples
///
/// ```
/// executor::block_on(async {
///     assert_eq!(executor::metrics().tasks, 1); // The future of `block_on`.
/// });
/// ```
#[track_caller]
pub fn metrics() -> Metrics {
    let tasks = Tasks::current();
    tasks.counters.metrics(&tasks.reactor)
}
