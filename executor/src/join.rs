//! A task's future, and where its result goes: [`JoinHandle`], [`JoinSet`], [`JoinError`].
//!
//! Called by: the executor, which polls and ends tasks through [`AnyTask`] without knowing their
//! types; and by those who await a task.
//!
//! Invariant: the handle is done only after the future has been dropped. It never refers to the
//! task's header, so that whoever only awaits a task does not count as somebody who could wake it.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use log::error;
use pin_project_lite::pin_project;
use reactor::budget;
use slab::Slab;

use crate::executor::Core;
use crate::task::Header;

/// A task, whatever its future's type.
pub(crate) trait AnyTask {
    fn poll(self: Pin<&mut Self>) -> Poll<()>;

    /// Drops the future, then tells the handle. Never panics.
    fn end(self: Pin<Box<Self>>, end: End);
}

/// How a task came to its end.
pub(crate) enum End {
    Ready,
    Abort,
    Panic(Box<dyn Any + Send>),
}

pin_project! {
    /// A future on the heap, where it stays; with its waker, made once for all polls.
    pub(crate) struct Task<F: Future> {
        #[pin]
        future: F,
        waker: Waker,
        join: Rc<Join<F::Output>>,
    }
}

/// What a task and its handle share.
struct Join<T> {
    /// What the future returned, or why it did not.
    result: Cell<Option<Result<T, JoinError>>>,
    /// Set once, when the future has been dropped and `result` is there to be taken.
    done: Cell<bool>,
    /// Who awaits the handle.
    waiter: Cell<Option<Waker>>,
    set: Option<Membership>,
    number: u64,
    name: &'static str,
    place: &'static Location<'static>,
}

impl<F> Task<F>
where
    F: Future + 'static,
    F::Output: 'static,
{
    pub(crate) fn with_handle(
        future: F,
        waker: Waker,
        set: Option<Membership>,
        header: &Arc<Header>,
        core: Weak<Core>,
    ) -> (Pin<Box<dyn AnyTask>>, JoinHandle<F::Output>) {
        let join = Join::new(set, header.number, header.name, header.place);
        let task = Box::pin(Task { future, waker, join: join.clone() });
        (task, JoinHandle { join, core, key: header.key, waited: false })
    }
}

impl<F: Future> AnyTask for Task<F> {
    fn poll(self: Pin<&mut Self>) -> Poll<()> {
        let task = self.project();
        match task.future.poll(&mut Context::from_waker(task.waker)) {
            Poll::Ready(output) => {
                task.join.result.set(Some(Ok(output)));
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn end(self: Pin<Box<Self>>, end: End) {
        let join = self.join.clone();
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(self)));
        let error = match (end, dropped) {
            (End::Ready, Ok(())) => None,
            (End::Abort, Ok(())) => Some(Cause::Cancelled),
            (End::Panic(panic), Ok(())) | (End::Abort, Err(panic)) => Some(panic.into()),
            (End::Panic(panic), Err(second)) => {
                forget(second, "a destructor");
                Some(panic.into())
            }
            // The future gave its output, and that is what counts.
            (End::Ready, Err(panic)) => {
                forget(panic, "a destructor");
                None
            }
        };
        // Foreign code again: the waker of whoever awaits, and the output, if nobody does, which
        // is dropped with `join`.
        contain("a waker or the destructor of an output", move || join.finish(error));
    }
}

/// Runs foreign code whose panic nobody awaits, and which must not end the loop.
pub(crate) fn contain(what: &str, foreign: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(foreign)) {
        forget(panic, what);
    }
}

/// A panic that nobody will see. Its value is not dropped: its destructor might panic again.
fn forget(panic: Box<dyn Any + Send>, what: &str) {
    error!("{what} panicked");
    mem::forget(panic);
}

impl<T> Join<T> {
    fn new(
        set: Option<Membership>,
        number: u64,
        name: &'static str,
        place: &'static Location<'static>,
    ) -> Rc<Join<T>> {
        Rc::new(Join {
            result: Cell::new(None),
            done: Cell::new(false),
            waiter: Cell::new(None),
            set,
            number,
            name,
            place,
        })
    }

    fn finish(self: Rc<Self>, error: Option<Cause>) {
        if let Some(cause) = error {
            let Join { number, name, place, .. } = *self;
            self.result.set(Some(Err(JoinError { cause, number, name, place })));
        }
        self.done.set(true);
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
        if let Some(set) = &self.set {
            set.tell();
        }
    }
}

/// Awaits a task; or aborts it. Dropping the handle lets the task run on.
///
/// So it is with tokio's, and with that of a thread in std; to drop smol's `Task` would cancel it.
///
/// # Panics
///
/// When it is polled after it gave its result.
///
/// # Cancel safety
///
/// Whoever awaits `&mut handle` can give up and await it again. The output of a task whose handle
/// was dropped is dropped at its end.
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
///     assert!(task.is_finished());
///     assert!(task.await.unwrap_err().is_cancelled());
/// });
/// ```
#[must_use = "dropping the handle detaches the task: say so with `drop`, or await it"]
pub struct JoinHandle<T> {
    join: Rc<Join<T>>,
    /// Weak: a handle may lie in a task of this executor, or outlive it, and shall not keep it.
    core: Weak<Core>,
    key: usize,
    /// Set by a poll that returned `Pending`: from then on the result needs no budget.
    waited: bool,
}

impl<T> JoinHandle<T> {
    /// The handle of a task that was never spawned, because the executor is closed.
    pub(crate) fn cancelled(
        number: u64,
        name: &'static str,
        place: &'static Location<'static>,
        set: Option<Membership>,
    ) -> JoinHandle<T> {
        let join = Join::new(set, number, name, place);
        join.clone().finish(Some(Cause::Cancelled));
        JoinHandle { join, core: Weak::new(), key: 0, waited: false }
    }

    /// Ends the task: its future is dropped, and the handle gives a cancelled [`JoinError`].
    ///
    /// A task that waits or is queued ends before this returns. The one that calls this for
    /// itself ends after its poll, unless that returns `Ready`. For one that is done it does
    /// nothing. If the drop panics, the handle gives that panic.
    pub fn abort(&self) {
        // Not done: so the slot is still this task's.
        if !self.is_finished()
            && let Some(core) = self.core.upgrade()
        {
            core.abort(self.key);
        }
    }

    /// Whether the task has ended, in whatever way.
    pub fn is_finished(&self) -> bool {
        self.join.done.get()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.is_finished() {
            // Anew at each poll: the handle may have moved to another task since the last one.
            let waiter = Some(cx.waker().clone());
            drop(self.join.waiter.replace(waiter));
        }
        // Asked again: to clone a waker is foreign code, which may have aborted the task.
        if !self.is_finished() {
            self.waited = true;
            return Poll::Pending;
        }
        ready!(budget::poll_consume_budget(cx, &mut self.waited));
        Poll::Ready(self.join.result.take().expect("a handle gives its result only once"))
    }
}

/// The task runs on, and nobody awaits it any more: at its end nobody is woken.
impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        drop(self.join.waiter.take());
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Join { number, name, .. } = &*self.join;
        f.debug_struct("JoinHandle")
            .field("task", number)
            .field("name", name)
            .field("finished", &self.is_finished())
            .finish()
    }
}

/// Why a task has no output: it was aborted, or it panicked.
///
/// # Examples
///
/// ```
/// executor::block_on(async {
///     let task = executor::spawn(async { panic!("mine alone") });
///     let error = task.await.unwrap_err();
///     assert!(error.is_panic() && !error.is_cancelled());
///     assert_eq!(error.into_panic().downcast_ref(), Some(&"mine alone"));
/// });
/// ```
pub struct JoinError {
    cause: Cause,
    number: u64,
    name: &'static str,
    place: &'static Location<'static>,
}

enum Cause {
    Cancelled,
    /// In a mutex only so that the error is `Sync`, and goes into a `Box` of any error type.
    Panic(Mutex<Box<dyn Any + Send>>),
}

impl From<Box<dyn Any + Send>> for Cause {
    fn from(panic: Box<dyn Any + Send>) -> Cause {
        Cause::Panic(Mutex::new(panic))
    }
}

impl JoinError {
    /// Whether the task was aborted, or dropped with its executor.
    ///
    /// Not, if the destructor of its future panicked then: the error is that panic.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.cause, Cause::Cancelled)
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.cause, Cause::Panic(_))
    }

    /// The value that the task panicked with, for [`std::panic::resume_unwind`].
    ///
    /// # Panics
    ///
    /// If the task was cancelled.
    #[track_caller]
    pub fn into_panic(self) -> Box<dyn Any + Send> {
        match self.cause {
            Cause::Panic(panic) => panic.into_inner().unwrap_or_else(PoisonError::into_inner),
            Cause::Cancelled => panic!("the task was cancelled, it did not panic"),
        }
    }

    /// What the panic said, if it said it with words.
    fn message(&self) -> Option<String> {
        let Cause::Panic(panic) = &self.cause else { return None };
        let panic = panic.lock().unwrap_or_else(PoisonError::into_inner);
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| panic.downcast_ref::<String>().cloned())
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let JoinError { number, name, place, .. } = self;
        write!(f, "task {number}")?;
        if !name.is_empty() {
            write!(f, " \"{name}\"")?;
        }
        write!(f, ", spawned at {place}, ")?;
        match (self.is_cancelled(), self.message()) {
            (true, _) => f.write_str("was cancelled"),
            (false, Some(message)) => write!(f, "panicked: {message}"),
            (false, None) => f.write_str("panicked"),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl Error for JoinError {}

impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> io::Error {
        io::Error::other(error)
    }
}

/// A set of tasks, awaited in the order in which they finish. Dropping it aborts them all.
///
/// A task that has finished stays in the set until `join_next` takes its result: a server that only
/// spawns into one grows. If nobody wants the results, [`spawn`](crate::spawn) and drop the handle.
///
/// The idea is tokio's `JoinSet`.
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
    finished: Rc<Finished>,
    /// Set by a poll that returned `Pending`: from then on the next result needs no budget.
    waited: bool,
}

/// What the finished tasks of a set leave for it.
#[derive(Default)]
struct Finished {
    keys: RefCell<VecDeque<usize>>,
    waiter: Cell<Option<Waker>>,
}

/// The way of one task to its set.
pub(crate) struct Membership {
    finished: Weak<Finished>,
    key: usize,
}

impl Membership {
    fn tell(&self) {
        let Some(finished) = self.finished.upgrade() else { return };
        finished.keys.borrow_mut().push_back(self.key);
        if let Some(waiter) = finished.waiter.take() {
            waiter.wake();
        }
    }
}

impl<T: 'static> JoinSet<T> {
    /// An empty set.
    pub fn new() -> JoinSet<T> {
        JoinSet { handles: Slab::new(), finished: Rc::default(), waited: false }
    }

    /// Spawns a task on the current executor and adds it to the set.
    ///
    /// # Panics
    ///
    /// Outside of `block_on`.
    #[track_caller]
    pub fn spawn(&mut self, future: impl Future<Output = T> + 'static) {
        self.spawn_named("", future);
    }

    /// [`spawn`](JoinSet::spawn), with a name for records and panics.
    ///
    /// # Panics
    ///
    /// Outside of `block_on`.
    #[track_caller]
    pub fn spawn_named(&mut self, name: &'static str, future: impl Future<Output = T> + 'static) {
        let entry = self.handles.vacant_entry();
        let set = Membership { finished: Rc::downgrade(&self.finished), key: entry.key() };
        entry.insert(Core::current().spawn(name, Location::caller(), Some(set), future));
    }
}

impl<T> JoinSet<T> {
    /// Waits for the next task that finishes; `None`, if the set is empty.
    ///
    /// # Errors
    ///
    /// A [`JoinError`], if that task was aborted or panicked.
    ///
    /// # Cancel safety
    ///
    /// A result that was not returned stays in the set.
    pub async fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        poll_fn(|cx| self.poll_join_next(cx)).await
    }

    /// [`join_next`](JoinSet::join_next) for those who write a `poll` function.
    ///
    /// # Errors
    ///
    /// As [`join_next`](JoinSet::join_next).
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
        if self.handles.is_empty() || !self.finished.keys.borrow().is_empty() {
            ready!(budget::poll_consume_budget(cx, &mut self.waited));
        }
        let key = self.finished.keys.borrow_mut().pop_front();
        if let Some(key) = key {
            let handle = self.handles.remove(key);
            return Poll::Ready(handle.join.result.take());
        }
        if self.handles.is_empty() {
            return Poll::Ready(None);
        }
        self.waited = true;
        // Anew at each poll: the set may have moved to another task since the last one.
        let waiter = Some(cx.waker().clone());
        drop(self.finished.waiter.replace(waiter));
        Poll::Pending
    }

    /// Aborts all tasks. They are still to be joined, as cancelled.
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

    /// Tasks in the set: those that run, and those whose result nobody has taken.
    pub fn len(&self) -> usize {
        self.handles.len()
    }

    /// Whether the set holds no task.
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
        f.debug_struct("JoinSet").field("len", &self.len()).finish()
    }
}
