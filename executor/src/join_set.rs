//! [`JoinSet`] awaits tasks in the order in which they end.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};

use reactor::budget;
use slab::Slab;

use crate::error::JoinError;
use crate::executor::spawn_on;
use crate::join::{AbortHandle, JoinHandle};
use crate::table::{Tasks, held_up_by};
use crate::task::Joiner;

/// A set of tasks that are awaited in the order in which they end. Dropping the set aborts them
/// all.
///
/// A task that has ended stays in the set until [`join_next`](JoinSet::join_next) takes its result.
/// So the set of a server that only spawns grows without bound. If the results are not needed, call
/// [`spawn`](crate::spawn) and drop the handle.
///
/// The type follows tokio's `JoinSet`.
///
/// # Examples
///
/// ```
/// executor::block_on(async {
///     let mut squares = executor::JoinSet::new();
///     for n in 1..=3 {
///         squares.spawn(async move { n * n });
///     }
///     let mut sum = 0;
///     while let Some(square) = squares.join_next().await {
///         sum += square.unwrap();
///     }
///     assert_eq!(sum, 14);
/// });
/// ```
pub struct JoinSet<T> {
    handles: Slab<JoinHandle<T>>,
    /// The executor of the tasks. Set when a task is spawned into an empty set.
    tasks: Weak<Tasks>,
    finished: Rc<Finished>,
    /// Whether the last poll returned `Pending`; see [`budget::poll_consume_budget`].
    waited: bool,
}

/// The tasks of a [`JoinSet`] whose results were not taken yet.
#[derive(Default)]
struct Finished {
    /// The keys of these tasks, in the order in which the tasks ended.
    keys: RefCell<VecDeque<usize>>,
    /// The waker of the task that waits for the next one.
    waiter: Cell<Option<Waker>>,
}

impl Finished {
    fn push(&self, key: usize) {
        self.keys.borrow_mut().push_back(key);
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }
}

impl<T: 'static> JoinSet<T> {
    /// Creates an empty set.
    pub fn new() -> JoinSet<T> {
        JoinSet { handles: Slab::new(), tasks: Weak::new(), finished: Rc::default(), waited: false }
    }

    /// Spawns a task on the current executor and adds it to the set.
    ///
    /// # Panics
    ///
    /// Panics if no executor is current on this thread; see [`Executor::enter`](crate::Executor::enter).
    #[track_caller]
    pub fn spawn(&mut self, future: impl Future<Output = T> + 'static) -> AbortHandle {
        self.spawn_named("", future)
    }

    /// Spawns a task with a name for log records and panics, and adds it to the set.
    ///
    /// # Panics
    ///
    /// Panics if no executor is current on this thread; see [`Executor::enter`](crate::Executor::enter).
    #[track_caller]
    pub fn spawn_named(
        &mut self,
        name: &'static str,
        future: impl Future<Output = T> + 'static,
    ) -> AbortHandle {
        let tasks = Tasks::current();
        if self.handles.is_empty() {
            self.tasks = Rc::downgrade(&tasks);
        }
        let handle = spawn_on(&tasks, name, Location::caller(), future);
        let abort = handle.abort_handle();
        let entry = self.handles.vacant_entry();
        let (finished, key) = (Rc::downgrade(&self.finished), entry.key());
        // Panic safety: insert the handle first. If the task has ended already, because the executor
        // is being dropped, `set_joiner` calls the waker of the set, which may panic.
        entry.insert(handle).set_joiner(Joiner::Call(Box::new(move || {
            if let Some(finished) = finished.upgrade() {
                finished.push(key);
            }
        })));
        abort
    }

    /// Waits until a task ends, and returns its result. Returns `None` if the set is empty.
    ///
    /// # Errors
    ///
    /// Returns a [`JoinError`] if that task was aborted or panicked.
    ///
    /// # Panics
    ///
    /// Panics if it has to wait inside `block_on` of another executor on the same thread, because
    /// the tasks cannot run there.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: a result that was not returned stays in the set.
    pub async fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        poll_fn(|cx| self.poll_join_next(cx)).await
    }

    /// Polls for the result of the next task that ends; see [`join_next`](JoinSet::join_next).
    ///
    /// # Errors
    ///
    /// Returns a [`JoinError`] if that task was aborted or panicked.
    ///
    /// # Panics
    ///
    /// Panics if it has to wait inside `block_on` of another executor on the same thread, because
    /// the tasks cannot run there.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::future::poll_fn;
    ///
    /// executor::block_on(async {
    ///     let mut tasks = executor::JoinSet::new();
    ///     tasks.spawn(async { 1 });
    ///     let joined = poll_fn(|cx| tasks.poll_join_next(cx)).await;
    ///     assert_eq!(joined.unwrap().unwrap(), 1);
    /// });
    /// ```
    pub fn poll_join_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, JoinError>>> {
        self.poll_ended(cx).map(|key| self.handles.remove(key?).take())
    }

    /// Waits until a task ends, and returns its ID and its result; see
    /// [`join_next`](JoinSet::join_next).
    ///
    /// The [`AbortHandle`] that [`spawn`](JoinSet::spawn) returned has the same ID. So a program
    /// can know which task has panicked.
    ///
    /// # Errors
    ///
    /// Returns a [`JoinError`] if that task was aborted or panicked.
    ///
    /// # Panics
    ///
    /// Panics if it has to wait inside `block_on` of another executor on the same thread, because
    /// the tasks cannot run there.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: a result that was not returned stays in the set.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::HashMap;
    ///
    /// executor::block_on(async {
    ///     let mut tasks = executor::JoinSet::new();
    ///     let spawn = |n: u32| (tasks.spawn(async move { 6 / n }).id(), n);
    ///     let divisors: HashMap<u64, u32> = (0..3).map(spawn).collect();
    ///     while let Some((id, result)) = tasks.join_next_with_id().await {
    ///         assert_eq!(result.is_err(), divisors[&id] == 0);
    ///     }
    /// });
    /// ```
    pub async fn join_next_with_id(&mut self) -> Option<(u64, Result<T, JoinError>)> {
        let key = poll_fn(|cx| self.poll_ended(cx)).await?;
        let mut handle = self.handles.remove(key);
        let id = handle.id();
        handle.take().map(|result| (id, result))
    }

    /// Polls for the key of the next task that ends.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        if !self.is_empty() && self.finished.keys.borrow().is_empty() {
            // Store the waker on each poll, because the set may have moved to another task.
            let waker = cx.waker().clone();
            drop(self.finished.waiter.replace(Some(waker)));
            // Reentrancy: `clone` is user code. It may have run the executor, which ended a task.
            if self.finished.keys.borrow().is_empty() {
                if let Some(outer) = held_up_by(&self.tasks) {
                    let count = self.len();
                    panic!(
                        "this set of {count} tasks belongs to another executor, which cannot run \
                         inside `block_on` at {outer}: await the set in its own executor"
                    );
                }
                self.waited = true;
                return Poll::Pending;
            }
        }
        ready!(budget::poll_consume_budget(cx, &mut self.waited));
        Poll::Ready(self.pop_ended())
    }

    /// Returns the result of a task that has already ended; `None` if there is none.
    ///
    /// # Examples
    ///
    /// ```
    /// executor::block_on(async {
    ///     let mut tasks = executor::JoinSet::new();
    ///     tasks.spawn(async { 1 });
    ///     assert!(tasks.try_join_next().is_none());
    ///     executor::yield_now().await;
    ///     assert_eq!(tasks.try_join_next().unwrap().unwrap(), 1);
    /// });
    /// ```
    pub fn try_join_next(&mut self) -> Option<Result<T, JoinError>> {
        let key = self.pop_ended()?;
        self.handles.remove(key).take()
    }

    /// Takes out the key of the task that ended first.
    fn pop_ended(&self) -> Option<usize> {
        self.finished.keys.borrow_mut().pop_front()
    }

    /// Waits for all tasks, and returns their outputs in the order in which the tasks ended.
    ///
    /// # Panics
    ///
    /// Propagates the panic of a task. Panics if a task was aborted.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future aborts the remaining tasks and loses the outputs.
    ///
    /// # Examples
    ///
    /// ```
    /// executor::block_on(async {
    ///     let mut tasks = executor::JoinSet::new();
    ///     (1..=3).for_each(|n| drop(tasks.spawn(async move { n })));
    ///     assert_eq!(tasks.join_all().await, [1, 2, 3]);
    /// });
    /// ```
    pub async fn join_all(mut self) -> Vec<T> {
        let mut outputs = Vec::with_capacity(self.len());
        while let Some(result) = self.join_next().await {
            match result {
                Ok(output) => outputs.push(output),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(error) => panic!("{error}"),
            }
        }
        outputs
    }

    /// Aborts all tasks, and waits until the future of each has been dropped.
    ///
    /// # Cancel safety
    ///
    /// The first poll aborts all tasks. Dropping the future after it only ends the wait.
    ///
    /// # Examples
    ///
    /// ```
    /// executor::block_on(async {
    ///     let mut tasks = executor::JoinSet::new();
    ///     tasks.spawn(std::future::pending::<()>());
    ///     tasks.shutdown().await;
    ///     assert!(tasks.is_empty());
    /// });
    /// ```
    pub async fn shutdown(&mut self) {
        self.abort_all();
        while self.join_next().await.is_some() {}
    }
}

impl<T> JoinSet<T> {
    /// Aborts all tasks. [`join_next`](JoinSet::join_next) then returns each of them as cancelled.
    ///
    /// # Examples
    ///
    /// ```
    /// executor::block_on(async {
    ///     let mut tasks = executor::JoinSet::new();
    ///     tasks.spawn_named("patient", std::future::pending::<()>());
    ///     tasks.abort_all();
    ///     assert_eq!(tasks.len(), 1);
    ///     assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
    ///     assert!(tasks.is_empty());
    /// });
    /// ```
    pub fn abort_all(&self) {
        for (_, handle) in &self.handles {
            handle.abort();
        }
    }

    /// Removes all tasks from the set without aborting them.
    ///
    /// # Examples
    ///
    /// ```
    /// executor::block_on(async {
    ///     let mut tasks = executor::JoinSet::new();
    ///     tasks.spawn(async {});
    ///     tasks.detach_all();
    ///     assert!(tasks.is_empty());
    /// });
    /// ```
    pub fn detach_all(&mut self) {
        drop(mem::take(&mut self.handles));
        // Reentrancy: a destructor of an output may have run the executor and ended more tasks.
        self.finished.keys.borrow_mut().clear();
    }

    /// Returns the number of tasks in the set, including ended ones whose result was not taken.
    pub fn len(&self) -> usize {
        self.handles.len()
    }

    /// Returns whether the set contains no task.
    pub fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }
}

impl<T: 'static> Default for JoinSet<T> {
    fn default() -> JoinSet<T> {
        JoinSet::new()
    }
}

impl<T> Drop for JoinSet<T> {
    fn drop(&mut self) {
        self.abort_all();
    }
}

impl<T> fmt::Debug for JoinSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finished = self.finished.keys.borrow().len();
        f.debug_struct("JoinSet").field("len", &self.len()).field("finished", &finished).finish()
    }
}
