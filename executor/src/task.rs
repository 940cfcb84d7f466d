//! A task: its future or its result, and what the executor knows about it.
//!
//! ```text
//!            spawn                      poll returns Pending
//!   (new) ──────────► queued ──► running ─────────────────────► waiting
//!                       ▲          │ │                             │
//!                       │   woken  │ │ Ready, panic, abort         │ wake
//!                       ├──────────┘ ▼                             │
//!                       │           ended                          │
//!                       └──────────────────────────────────────────┘
//!    queued:           true       false                          false
//! ```
//!
//! The last line is the flag [`Task::queued`]. Queued, running and waiting tasks are all [`State::Live`].
//! A waiting task is in no queue. Whatever it waits for, such as a source, holds its waker.
//! A task that has been aborted ends when the executor takes it out of the run queue.
//!
//! A task occupies one *slot* in the table of tasks (`table.rs`). When the task has ended and its
//! result has been taken or is not wanted, the next task reuses the slot: the memory of [`Task`]
//! and the waker. [`Task::begin`] resets the rest.
//!
//! Invariant: a future is polled only while its task is [`State::Live`], and it is dropped before
//! the [`JoinHandle`](crate::JoinHandle) returns the result.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use pin_project_lite::pin_project;

use crate::error::{Described, JoinError};
use crate::inbox::Header;

/// One slot of the table, and the task in it. The type of the future is erased.
///
/// The fields that each wakeup and each poll uses come first, on one or two cache lines, and
/// `repr(C)` keeps them there.
#[repr(C)]
pub(crate) struct Task {
    /// The part that wakers point to. Made once for the slot.
    pub(crate) header: Arc<Header>,
    /// Whether the task is in the run queue. If it is, a wakeup has nothing to do.
    ///
    /// Set by `Tasks::queue`. Cleared by `Tasks::pop`, before the poll. So wakeups before the poll
    /// coalesce, and a wakeup during the poll queues the task again.
    pub(crate) queued: Cell<bool>,
    pub(crate) state: Cell<State>,
    /// Whether the handle was dropped. If so, the result is not wanted.
    pub(crate) detached: Cell<bool>,
    /// The waker for each poll of the task, made from `header` once for the slot.
    pub(crate) waker: Waker,
    /// The future, and later its result. `None` in a free slot, and for the future of `block_on`,
    /// which stays on the stack of its caller.
    pub(crate) stage: RefCell<Option<BoxStage>>,
    /// The number of polls so far.
    pub(crate) polls: Cell<u64>,
    /// When the task was last polled, or spawned if it was not polled yet. Read from `Reactor::now`.
    pub(crate) since: Cell<Instant>,

    /// What to notify when the task ends.
    pub(crate) joiner: Cell<Joiner>,
    pub(crate) name: Cell<&'static str>,
    /// Where the task was spawned.
    pub(crate) location: Cell<&'static Location<'static>>,
}

impl Task {
    /// Makes a free slot.
    pub(crate) fn new(header: Arc<Header>, now: Instant) -> Rc<Task> {
        Rc::new(Task {
            waker: Waker::from(header.clone()),
            header,
            stage: RefCell::new(None),
            joiner: Cell::default(),
            queued: Cell::new(false),
            state: Cell::new(State::Free),
            detached: Cell::new(false),
            polls: Cell::new(0),
            since: Cell::new(now),
            name: Cell::new(""),
            location: Cell::new(Location::caller()),
        })
    }

    /// Starts a new task in this slot, which must be free.
    pub(crate) fn begin(
        &self,
        id: u64,
        name: &'static str,
        location: &'static Location<'static>,
        now: Instant,
        stage: Option<BoxStage>,
    ) {
        self.stage.replace(stage);
        // `queued` keeps its value. If the last task ended while it was in the run queue, the slot
        // is still in the queue.
        self.detached.set(false);
        self.state.set(State::Live);
        self.polls.set(0);
        self.header.id.store(id, Ordering::Relaxed);
        self.since.set(now);
        self.name.set(name);
        self.location.set(location);
    }

    /// Returns the ID of the task in log records. Unlike a slot, an ID is never reused.
    pub(crate) fn id(&self) -> u64 {
        self.header.id()
    }

    /// Returns what identifies the task in messages.
    pub(crate) fn described(&self) -> Described {
        Described { id: Some(self.id()), name: self.name.get(), location: self.location.get() }
    }

    /// Returns whether the executor will still poll the future, or drop it because of an abort.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.state.get(), State::Live | State::Aborted)
    }

    /// Marks the task as aborted and wakes it, so that the executor drops its future instead of
    /// polling it again. Does nothing if the task has ended.
    pub(crate) fn abort(&self) {
        if self.state.get() == State::Live {
            self.state.set(State::Aborted);
            self.waker.wake_by_ref();
        }
    }

    /// Returns whether the task has ended. Its result may have been taken.
    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.state.get(), State::Ended | State::Free)
    }

    /// Returns whether the task is in the run queue, or a wakeup by another thread is on its way there.
    pub(crate) fn is_queued(&self) -> bool {
        self.queued.get() || self.header.is_sent()
    }

    /// Returns whether nothing can wake the task anymore: it is not queued, and no waker of it
    /// exists except its own. It ends only if it is aborted or the executor is dropped.
    ///
    /// This is exact, because whatever is about to wake the task refers to its header: a waker or a
    /// message in the inbox.
    pub(crate) fn is_lost(&self) -> bool {
        self.wakers() == 0 && !self.queued.get()
    }

    /// Returns the number of wakers and messages that refer to this task, except its own waker.
    pub(crate) fn wakers(&self) -> usize {
        // The two references are `header` and `waker`.
        Arc::strong_count(&self.header).saturating_sub(2)
    }
}

/// The states that matter to the executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No task is in the slot.
    Free,
    /// The executor polls the future when the task is woken.
    Live,
    /// [`abort`](Task::abort) was called. The executor drops the future instead of polling it.
    Aborted,
    /// The future must not be polled again. It has been dropped, or is about to be.
    Ending,
    /// The future has been dropped. The result exists until the handle takes it.
    Ended,
}

/// What to notify when a task ends.
#[derive(Default)]
pub(crate) enum Joiner {
    #[default]
    None,
    /// The handle was polled with this waker.
    Task(Waker),
    /// A function of a [`JoinSet`](crate::JoinSet) or of a handle on another thread.
    Call(Box<dyn FnOnce()>),
}

impl Joiner {
    pub(crate) fn notify(self) {
        match self {
            Joiner::None => {}
            Joiner::Task(waker) => waker.wake(),
            Joiner::Call(call) => call(),
        }
    }
}

pin_project! {
    /// A future or, after it has completed, its result. They share one allocation.
    #[project = StageProj]
    pub(crate) enum Stage<F: Future> {
        Running { #[pin] future: F },
        Ended { result: Option<Result<F::Output, JoinError>> },
    }
}

pub(crate) type BoxStage = Pin<Box<dyn AnyStage>>;

/// A [`Stage`] whose type of future is erased.
pub(crate) trait AnyStage {
    /// Polls the future. When it is ready, replaces it with its output.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;

    fn is_ended(&self) -> bool;

    /// Replaces the future or its result with the error.
    fn fail(self: Pin<&mut Self>, error: JoinError);

    /// Moves the result into `to`, which is an `Option<Result<F::Output, JoinError>>`.
    fn take(self: Pin<&mut Self>, to: &mut dyn Any);
}

impl<F> AnyStage for Stage<F>
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let StageProj::Running { future } = self.as_mut().project() else { return Poll::Ready(()) };
        let Poll::Ready(output) = future.poll(cx) else { return Poll::Pending };
        // Panic safety: `set` drops the future, then stores the new stage even if the drop
        // panicked.
        self.set(Stage::Ended { result: Some(Ok(output)) });
        Poll::Ready(())
    }

    fn is_ended(&self) -> bool {
        matches!(self, Stage::Ended { .. })
    }

    fn fail(mut self: Pin<&mut Self>, error: JoinError) {
        self.set(Stage::Ended { result: Some(Err(error)) });
    }

    fn take(self: Pin<&mut Self>, to: &mut dyn Any) {
        if let (StageProj::Ended { result }, Some(to)) = (self.project(), to.downcast_mut()) {
            *to = mem::take(result);
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.described().fmt(f)
    }
}
