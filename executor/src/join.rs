//! [`JoinHandle`] and [`AbortHandle`]: the ways to a task from outside.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};

use reactor::budget;

use crate::error::JoinError;
use crate::executor::held_up_by;
use crate::table::Tasks;
use crate::task::{Joiner, Task};
use crate::unwind::contain;

/// Awaits a task, or aborts it. Dropping the handle detaches the task.
///
/// These are the semantics of tokio's handle and of std's for threads; dropping smol's `Task`
/// cancels it.
///
/// # Panics
///
/// Panics if it is polled after it gave its result, or if it would have to wait inside `block_on` of
/// another executor on the same thread, because the task cannot run there.
///
/// # Cancel safety
///
/// Awaiting `&mut handle` can be given up and repeated. The output of a task whose handle was
/// dropped is dropped when the task completes.
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
    /// Weak, because a handle may be held by a task of the same executor, or outlive the executor.
    tasks: Weak<Tasks>,
    /// Whether the handle gave its result: the place may belong to another task.
    joined: bool,
    /// Whether the last poll returned `Pending`: the result then needs no budget.
    waited: bool,
    output: PhantomData<T>,
}

/// A handle never refers to a pinned value.
impl<T> Unpin for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    pub(crate) fn new(task: Rc<Task>, tasks: &Rc<Tasks>) -> JoinHandle<T> {
        let tasks = Rc::downgrade(tasks);
        JoinHandle { task, tasks, joined: false, waited: false, output: PhantomData }
    }

    /// Aborts the task: the executor drops its future instead of polling it again.
    ///
    /// The future is dropped in the executor's next round, not within this call. Until then
    /// [`is_finished`](JoinHandle::is_finished) returns false. The handle then gives a cancelled
    /// [`JoinError`], or the panic of the future's destructor. A task that has completed, or that
    /// completes in the poll that is in progress, gives its output.
    pub fn abort(&self) {
        abort(&self.task, &self.tasks);
    }

    /// Returns a second handle that can only abort the task.
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
        AbortHandle { id: self.task.id(), task: self.task.clone(), tasks: self.tasks.clone() }
    }

    /// Returns whether the task has completed, was aborted, or has panicked.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Detaches the task: it continues, and its output is dropped. The same as dropping the handle.
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

    /// Lets the task notify `joiner` when it ends, or notifies it now.
    pub(crate) fn set_joiner(&self, joiner: Joiner) {
        match self.is_finished() {
            false => self.task.joiner.set(joiner),
            true => joiner.notify(),
        }
    }

    fn free(&self) {
        if let Some(tasks) = self.tasks.upgrade() {
            tasks.free(&self.task);
        }
    }
}

fn abort(task: &Rc<Task>, tasks: &Weak<Tasks>) {
    if let Some(tasks) = tasks.upgrade()
        && !task.is_finished()
    {
        task.aborted.set(true);
        tasks.wake(task.clone());
    }
}

/// Reports a wait for a task that cannot run before `block_on` at `outer` has returned.
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
            let joiner = self.task.joiner.take();
            let joiner = match joiner {
                Joiner::Task(waker) if waker.will_wake(cx.waker()) => waker,
                _ => cx.waker().clone(),
            };
            // Reentrancy: `clone` is user code, and may have run the executor and ended the task.
            if !self.task.is_finished() {
                self.task.joiner.set(Joiner::Task(joiner));
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
        self.task.detached.set(true);
        drop(self.task.joiner.take());
        if self.is_finished() {
            let (stage, named) = (self.task.stage.take(), self.task.described());
            self.free();
            contain(format_args!("the destructor of the output of {named},"), || drop(stage));
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
    tasks: Weak<Tasks>,
    /// The task's place may have a new owner. The owner has another ID.
    id: u64,
}

impl AbortHandle {
    /// Aborts the task, as [`JoinHandle::abort`] does.
    pub fn abort(&self) {
        if self.is_current() {
            abort(&self.task, &self.tasks);
        }
    }

    /// Returns whether the task has ended.
    pub fn is_finished(&self) -> bool {
        !self.is_current() || self.task.is_finished()
    }

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
