//! [`Remote`] spawns tasks from other threads, and [`RemoteJoinHandle`] awaits them there.
//!
//! A [`JoinHandle`](crate::JoinHandle) must stay on the executor's thread. So the executor sends
//! the result of the task to a *mailbox*, which the two threads share.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};
use std::thread::{self, Thread};

use reactor::budget;

use crate::error::{Described, JoinError};
use crate::executor::spawn_on;
use crate::inbox::{Inbox, Message};
use crate::join::JoinHandle;
use crate::mailbox::Mailbox;
use crate::table::Tasks;
use crate::unwind::catch_and_log;

/// Spawns tasks on an executor from other threads. It can be cloned and sent.
#[derive(Clone, Debug)]
pub struct Remote(Arc<Inbox>);

impl Remote {
    pub(crate) fn new(inbox: &Arc<Inbox>) -> Remote {
        Remote(inbox.clone())
    }

    /// Returns a `Remote` of the executor that runs on this thread.
    ///
    /// # Panics
    ///
    /// Panics if no executor is current on this thread; see
    /// [`Executor::enter`](crate::Executor::enter).
    ///
    /// # Examples
    ///
    /// ```
    /// use executor::{Remote, block_on};
    ///
    /// block_on(async {
    ///     let remote = Remote::current();
    ///     // This thread calls `spawn`, but the task runs on the first one.
    ///     let other = std::thread::spawn(move || remote.spawn(|| async { 42 }));
    ///     assert_eq!(other.join().unwrap().await.unwrap(), 42);
    /// });
    /// ```
    #[track_caller]
    pub fn current() -> Remote {
        Remote::new(&Tasks::current().inbox)
    }

    /// Returns a `Remote` of the executor that runs on this thread; `None` if there is none.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor::{Remote, block_on};
    ///
    /// assert!(Remote::try_current().is_none());
    /// assert!(block_on(async { Remote::try_current() }).is_some());
    /// ```
    pub fn try_current() -> Option<Remote> {
        Tasks::try_current().map(|tasks| Remote::new(&tasks.inbox))
    }

    /// Spawns a task on the executor.
    ///
    /// The executor calls `make` on its own thread, so the future that `make` creates need not be
    /// `Send`. The handle returns the result to this thread, or the panic of `make` or of the future.
    ///
    /// If the executor was dropped, or is dropped before the task ends, the handle reports that the
    /// task was cancelled. `make` may then be dropped without a call, on either thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor::{Executor, JoinError};
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let executor = Executor::new()?;
    /// let remote = executor.remote();
    /// let other = std::thread::spawn(move || {
    ///     let task = remote.spawn(|| async {
    ///         let not_send = Rc::new(Cell::new(42));
    ///         executor::yield_now().await;
    ///         not_send.get()
    ///     });
    ///     task.join()
    /// });
    /// while !other.is_finished() {
    ///     executor.tick();
    /// }
    /// assert_eq!(other.join().unwrap().unwrap(), 42);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn<F>(&self, make: impl FnOnce() -> F + Send + 'static) -> RemoteJoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_named("", make)
    }

    /// Spawns a task with a name for log records and panics; see [`spawn`](Remote::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let remote = executor::Executor::new()?.remote();
    /// // The executor has been dropped.
    /// let error = remote.spawn_named("late", || async {}).join().unwrap_err();
    /// assert!(error.is_cancelled() && error.to_string().contains("\"late\""));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn_named<F>(
        &self,
        name: &'static str,
        make: impl FnOnce() -> F + Send + 'static,
    ) -> RemoteJoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        let location = Location::caller();
        let described = Described { id: None, name, location };
        let mailbox = Arc::new(Mailbox::new());
        let sender = Sender { mailbox: mailbox.clone(), described };
        self.0.send(Message::Call(Box::new(move || {
            let tasks = Tasks::current();
            let task = match catch_unwind(AssertUnwindSafe(make)) {
                Ok(future) => spawn_on(&tasks, name, location, future),
                // The handle must return the panic, so a task has to panic.
                Err(panic) => spawn_on(&tasks, name, location, async { resume_unwind(panic) }),
            };
            sender.mailbox.task.get_or_init(|| task.key());
            task.when_finished(|task| sender.send_result_of(task));
        })));
        RemoteJoinHandle { mailbox, inbox: self.0.clone(), waited: false }
    }
}

impl crate::Executor {
    /// Returns a handle with which other threads can spawn tasks here.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let executor = executor::Executor::new()?;
    /// let remote = executor.remote();
    /// let other = std::thread::spawn(move || remote.spawn(async || "from afar").join());
    /// while !other.is_finished() {
    ///     executor.tick();
    /// }
    /// assert_eq!(other.join().unwrap().unwrap(), "from afar");
    /// # Ok(())
    /// # }
    /// ```
    pub fn remote(&self) -> Remote {
        Remote::new(&self.tasks.inbox)
    }
}

/// Awaits a task from any thread, or aborts it; see [`Remote::spawn`].
///
/// Any executor can poll the handle. A thread without one calls [`join`](RemoteJoinHandle::join).
/// Both wait until the executor of the task has run it, in `block_on` or `tick`.
/// Dropping the handle detaches the task: it continues, and its output is dropped.
///
/// # Panics
///
/// Panics if the handle is polled again after it returned the result.
///
/// # Cancel safety
///
/// Dropping a future that awaits `&mut handle` loses nothing: the handle can be awaited again.
///
/// # Examples
///
/// ```
/// use executor::{Remote, block_on};
/// use std::thread;
///
/// block_on(async {
///     let remote = Remote::current();
///     let other = thread::spawn(move || {
///         // This is another executor, on another thread.
///         block_on(async { remote.spawn(|| async { "from afar" }).await })
///     });
///     while !other.is_finished() {
///         executor::yield_now().await;
///     }
///     assert_eq!(other.join().unwrap().unwrap(), "from afar");
/// });
/// ```
pub struct RemoteJoinHandle<T> {
    mailbox: Arc<Mailbox<Result<T, JoinError>>>,
    inbox: Arc<Inbox>,
    /// Whether the last poll returned `Pending`; see [`budget::poll_consume_budget`].
    waited: bool,
}

impl<T: Send + 'static> RemoteJoinHandle<T> {
    /// Blocks this thread until the task ends, and returns its result.
    ///
    /// # Errors
    ///
    /// Returns a [`JoinError`] if the task panicked, was aborted, or was dropped with its executor.
    ///
    /// # Panics
    ///
    /// Panics on the thread of the task's executor unless the task has finished, because the
    /// executor cannot run the task while this call blocks its thread.
    ///
    /// # Examples
    ///
    /// ```
    /// executor::block_on(async {
    ///     let remote = executor::Remote::current();
    ///     let join = move || remote.spawn(|| async { panic!("at its first poll") }).join();
    ///     let result: Result<(), _> = reactor::blocking::unblock(join).await;
    ///     assert!(result.unwrap_err().is_panic());
    /// });
    /// ```
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        assert!(
            self.is_finished() || thread::current().id() != self.inbox.thread,
            "`join` would block the executor that runs the task: await the handle instead"
        );
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        while !self.mailbox.store(&waker) {
            thread::park();
        }
        self.mailbox.take()
    }

    /// Aborts the task: the executor drops its future instead of polling it again.
    ///
    /// This sends a message to the executor; see [`JoinHandle::abort`](crate::JoinHandle::abort)
    /// for what the executor does. If the task has already completed, or completes before the
    /// executor receives the message, the handle returns the output.
    ///
    /// # Examples
    ///
    /// ```
    /// executor::block_on(async {
    ///     let task = executor::Remote::current().spawn(std::future::pending::<()>);
    ///     task.abort();
    ///     assert!(task.await.unwrap_err().is_cancelled());
    /// });
    /// ```
    pub fn abort(&self) {
        if self.is_finished() {
            return;
        }
        let mailbox = self.mailbox.clone();
        self.inbox.send(Message::Call(Box::new(move || {
            // The inbox keeps the order of messages, so the executor has already spawned the task.
            let Some(&(key, id)) = mailbox.task.get() else { return };
            let tasks = Tasks::current();
            if let Some(task) = tasks.get(key, id) {
                task.abort();
            }
        })));
    }
}

impl<T> RemoteJoinHandle<T> {
    /// Returns whether the task has ended. If so, [`join`](RemoteJoinHandle::join) does not block.
    pub fn is_finished(&self) -> bool {
        self.mailbox.is_finished()
    }
}

impl<T> Future for RemoteJoinHandle<T> {
    type Output = Result<T, JoinError>;

    // So that a panic names the line of the `await`.
    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.mailbox.store(cx.waker()) {
            self.waited = true;
            return Poll::Pending;
        }
        ready!(budget::poll_consume_budget(cx, &mut self.waited));
        Poll::Ready(self.mailbox.take())
    }
}

impl<T> Drop for RemoteJoinHandle<T> {
    fn drop(&mut self) {
        let left = self.mailbox.close();
        catch_and_log("the destructor of the output of a task of another thread", || drop(left));
    }
}

impl<T> fmt::Debug for RemoteJoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RemoteJoinHandle");
        if let Some((_, id)) = self.mailbox.task.get() {
            debug.field("task", id);
        }
        debug.field("finished", &self.is_finished()).finish()
    }
}

/// Wakes a thread that is blocked in [`RemoteJoinHandle::join`].
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The executor's end of a mailbox. If it is dropped without a result, the task was cancelled.
struct Sender<T> {
    mailbox: Arc<Mailbox<Result<T, JoinError>>>,
    /// For the error of a task that never started.
    described: Described,
}

impl<T: 'static> Sender<T> {
    /// Sends the result of a task that has ended, unless the other handle was dropped.
    fn send_result_of(self, mut task: JoinHandle<T>) {
        if !self.mailbox.is_finished()
            && let Some(result) = task.take()
        {
            self.mailbox.put(result);
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if !self.mailbox.is_finished() {
            self.mailbox.put(Err(JoinError::not_started(self.described)));
        }
    }
}
