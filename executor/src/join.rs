//! [`JoinHandle`] and [`AbortHandle`] control a task after it was spawned.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};

use reactor::budget;

use crate::error::JoinError;
use crate::table::{Tasks, held_up_by};
use crate::task::{Joiner, Task};
use crate::unwind::catch_and_log;

/// Awaits a task, or aborts it. Dropping the handle detaches the task: it continues.
///
/// tokio's handle and std's handle for threads detach in the same way. smol's `Task` cancels
/// instead. When a detached task completes, its output is dropped.
///
/// # Panics
///
/// Panics if the handle is polled again after it returned the result. Panics if it has to wait
/// inside `block_on` of another executor on the same thread, because the task cannot run there.
///
/// # Cancel safety
///
/// Dropping a future that awaits `&mut handle` loses nothing: the handle can be awaited again.
///
/// # Examples
///
/// ```
/// use reactor::time::timeout;
/// use std::future::pending;
/// use std::time::Duration;
///
/// executor::block_on(async {
///     let mut task = executor::spawn(pending::<()>());
///     assert!(timeout(Duration::from_millis(1), &mut task).await.is_err());
///     task.abort();
///     assert!(task.await.unwrap_err().is_cancelled());
/// });
/// ```
pub struct JoinHandle<T> {
    task: Rc<Task>,
    /// Weak, because a handle may outlive its executor, or be held by a task of that executor.
    tasks: Weak<Tasks>,
    /// Whether the handle has returned the result. If so, the slot may belong to another task.
    joined: bool,
    /// Whether the last poll returned `Pending`; see [`budget::poll_consume_budget`].
    waited: bool,
    output: PhantomData<T>,
}

// A handle never pins a `T`.
impl<T> Unpin for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    pub(crate) fn new(task: Rc<Task>, tasks: &Rc<Tasks>) -> JoinHandle<T> {
        let tasks = Rc::downgrade(tasks);
        JoinHandle { task, tasks, joined: false, waited: false, output: PhantomData }
    }

    /// Aborts the task: the executor drops its future instead of polling it again.
    ///
    /// This call only queues the task. The executor drops the future when it takes the task out of
    /// the run queue, and until then [`is_finished`](JoinHandle::is_finished) returns false. The
    /// handle then returns a [`JoinError`]: cancelled, or the panic of the future's destructor. If
    /// the task has already completed, or completes in the poll in progress, the handle returns the
    /// output.
    pub fn abort(&self) {
        self.task.abort();
    }

    /// Returns another handle, which can abort the task but not await it.
    ///
    /// # Examples
    ///
    /// ```
    /// executor::block_on(async {
    ///     let task = executor::spawn(std::future::pending::<()>());
    ///     let abort = task.abort_handle();
    ///     abort.abort();
    ///     assert!(task.await.unwrap_err().is_cancelled());
    ///     assert!(abort.is_finished());
    /// });
    /// ```
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle { id: self.task.id(), task: self.task.clone() }
    }

    /// Returns the ID of the task, by which log records and [`tasks`](crate::tasks()) name it.
    ///
    /// # Panics
    ///
    /// Panics if the handle has returned the result already.
    ///
    /// # Examples
    ///
    /// ```
    /// executor::block_on(async {
    ///     let task = executor::spawn(async {});
    ///     assert_eq!(task.id(), executor::tasks()[1].id);
    /// });
    /// ```
    #[track_caller]
    pub fn id(&self) -> u64 {
        assert!(!self.joined, "the handle has returned the result");
        self.task.id()
    }

    /// Returns whether the task has ended: it completed, panicked, or was dropped after an abort.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Detaches the task, as dropping the handle does.
    ///
    /// # Examples
    ///
    /// ```
    /// executor::block_on(async {
    ///     executor::spawn(async { println!("in the background") }).detach();
    /// });
    /// ```
    pub fn detach(self) {}

    /// Takes the result of a task that has ended.
    pub(crate) fn take(&mut self) -> Option<Result<T, JoinError>>
    where
        T: 'static,
    {
        self.joined = true;
        let mut result: Option<Result<T, JoinError>> = None;
        if let Some(mut stage) = self.task.stage.take() {
            stage.as_mut().take(&mut result);
        }
        self.free();
        result
    }

    /// Notifies `joiner` when the task ends, or immediately if the task has ended already.
    pub(crate) fn set_joiner(&self, joiner: Joiner) {
        match self.is_finished() {
            false => self.task.joiner.set(joiner),
            true => joiner.notify(),
        }
    }

    /// Calls `then` with this handle when the task ends, or immediately if it has ended already.
    pub(crate) fn when_finished(self, then: impl FnOnce(JoinHandle<T>) + 'static)
    where
        T: 'static,
    {
        let task = self.task.clone();
        let joiner = Joiner::Call(Box::new(move || then(self)));
        match task.is_finished() {
            // The task and its handle now refer to each other, until the executor ends the task.
            false => task.joiner.set(joiner),
            true => joiner.notify(),
        }
    }

    /// Returns the key of the task's slot, and its ID. Other threads refer to the task by these.
    pub(crate) fn key(&self) -> (usize, u64) {
        (self.task.header.key, self.task.id())
    }

    /// Frees the slot of the task, unless the executor was dropped.
    fn free(&self) {
        if let Some(tasks) = self.tasks.upgrade() {
            tasks.free(&self.task);
        }
    }
}

/// Panics, because the task cannot run before the `block_on` at `outer` returns.
#[cold]
fn cannot_end(task: &Task, outer: &Location<'_>) -> ! {
    panic!(
        "{task}, belongs to another executor, which cannot run inside `block_on` at {outer}: await the \
         task in its own executor"
    )
}

impl<T: 'static> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    // So that a panic names the line of the `await`.
    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.joined, "a handle gives its result only once");
        if !self.task.is_finished() {
            let joiner = Joiner::Task(cx.waker().clone());
            // Reentrancy: `clone` is user code. It may have run the executor, which ended the task.
            if !self.task.is_finished() {
                self.task.joiner.set(joiner);
                if let Some(outer) = held_up_by(&self.tasks) {
                    cannot_end(&self.task, outer);
                }
                self.waited = true;
                return Poll::Pending;
            }
        }
        ready!(budget::poll_consume_budget(cx, &mut self.waited));
        Poll::Ready(self.take().expect("the result of a task is taken only by its handle"))
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if self.joined {
            return;
        }
        if self.is_finished() {
            let (stage, named) = (self.task.stage.take(), self.task.described());
            self.free();
            catch_and_log(format_args!("the destructor of the output of {named},"), || drop(stage));
        } else {
            self.task.detached.set(true);
            // Reentrancy: dropping the waker runs user code, which may run the executor until the
            // task ends. A detached task frees its slot, so nothing may follow here: a slot that
            // is freed twice would be given to two tasks.
            drop(self.task.joiner.take());
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.joined {
            return f.write_str("JoinHandle(joined)");
        }
        f.debug_struct("JoinHandle")
            .field("task", &self.task.id())
            .field("name", &self.task.name.get())
            .field("finished", &self.is_finished())
            .finish()
    }
}

/// Aborts a task without awaiting it; see [`JoinHandle::abort_handle`].
///
/// # Examples
///
/// ```
/// executor::block_on(async {
///     let mut tasks = executor::JoinSet::new();
///     let abort = tasks.spawn(std::future::pending::<()>());
///     abort.abort();
///     assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
///     assert!(abort.is_finished());
/// });
/// ```
#[derive(Clone)]
pub struct AbortHandle {
    task: Rc<Task>,
    /// The ID of the task. If the slot has another ID, it belongs to a later task.
    id: u64,
}

impl AbortHandle {
    /// Aborts the task, as [`JoinHandle::abort`] does.
    pub fn abort(&self) {
        if self.is_current() {
            self.task.abort();
        }
    }

    /// Returns the ID of the task; see [`JoinHandle::id`].
    ///
    /// # Examples
    ///
    /// ```
    /// executor::block_on(async {
    ///     let task = executor::spawn(async {});
    ///     assert_eq!(task.abort_handle().id(), task.id());
    /// });
    /// ```
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns whether the task has ended.
    pub fn is_finished(&self) -> bool {
        !self.is_current() || self.task.is_finished()
    }

    /// Whether the task is still in its slot.
    fn is_current(&self) -> bool {
        self.task.id() == self.id
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle")
            .field("task", &self.id)
            .field("finished", &self.is_finished())
            .finish()
    }
}
