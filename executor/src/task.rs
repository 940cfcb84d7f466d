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
//! ```
//!
//! A task occupies one *place* in the table of tasks (`table.rs`). When the task has ended and its
//! result is no longer wanted, the next task reuses the place, and with it the memory of [`Task`]
//! and the waker.
//!
//! Invariant: a future is polled only while its task is [`State::Live`], and it is dropped before the
//! handle of its task gives the result.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use pin_project_lite::pin_project;

use crate::error::JoinError;
use crate::inbox::Header;

/// A task, whatever the type of its future.
pub(crate) struct Task {
    /// What wakers point to. It stays with the place.
    pub(crate) header: Arc<Header>,
    /// The waker that each poll of the task gets. Made once for the place.
    pub(crate) waker: Waker,
    /// The future and later its result; `None` for the future of `block_on`, which stays on the
    /// stack of its caller, and for a free place.
    pub(crate) stage: RefCell<Option<BoxStage>>,
    /// What to notify when the task has ended.
    pub(crate) joiner: Cell<Joiner>,

    /// Whether the task is in the run queue: a wakeup has nothing to do then.
    ///
    /// Set by `Tasks::queue`, cleared when the task is taken out of the queue, before its poll. So
    /// wakeups before the poll coalesce, and a wakeup during the poll queues the task again.
    pub(crate) queued: Cell<bool>,
    /// Whether [`abort`](crate::JoinHandle::abort) was called. The loop drops the future instead of
    /// polling it.
    pub(crate) aborted: Cell<bool>,
    pub(crate) state: Cell<State>,
    /// Whether the handle was dropped: no code will ask for the result.
    pub(crate) detached: Cell<bool>,

    /// How often the task was polled.
    pub(crate) polls: Cell<u64>,
    /// The reactor's time at the last poll, or at the spawn.
    pub(crate) since: Cell<Instant>,
    pub(crate) name: Cell<&'static str>,
    /// Where the task was spawned.
    pub(crate) location: Cell<&'static Location<'static>>,
}

impl Task {
    /// Makes a free place.
    pub(crate) fn new(header: Arc<Header>, now: Instant) -> Rc<Task> {
        Rc::new(Task {
            waker: Waker::from(header.clone()),
            header,
            stage: RefCell::new(None),
            joiner: Cell::default(),
            queued: Cell::new(false),
            aborted: Cell::new(false),
            state: Cell::new(State::Free),
            detached: Cell::new(false),
            polls: Cell::new(0),
            since: Cell::new(now),
            name: Cell::new(""),
            location: Cell::new(Location::caller()),
        })
    }

    /// Lets a new task begin in this place.
    pub(crate) fn begin(
        &self,
        id: u64,
        name: &'static str,
        location: &'static Location<'static>,
        now: Instant,
        stage: Option<BoxStage>,
    ) {
        self.stage.replace(stage);
        self.aborted.set(false);
        self.detached.set(false);
        self.state.set(State::Live);
        self.polls.set(0);
        self.header.id.store(id, Ordering::Relaxed);
        self.since.set(now);
        self.name.set(name);
        self.location.set(location);
    }

    /// Identifies the task in log records. Unlike a place, an ID is never reused.
    pub(crate) fn id(&self) -> u64 {
        self.header.id.load(Ordering::Relaxed)
    }

    pub(crate) fn described(&self) -> Described {
        Described { id: self.id(), name: self.name.get(), location: self.location.get() }
    }

    /// Whether the result is there.
    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.state.get(), State::Ended | State::Free)
    }

    /// Whether the task is in the run queue, or a wakeup of it is in the inbox.
    pub(crate) fn is_queued(&self) -> bool {
        self.queued.get() || self.header.is_sent()
    }

    /// Whether no code can ever wake the task: no waker of it exists but its own, and it is not
    /// queued.
    ///
    /// Exact, because whatever is about to wake the task refers to its header: a waker, or a message
    /// in the inbox.
    pub(crate) fn is_lost(&self) -> bool {
        self.wakers() == 0 && !self.queued.get()
    }

    /// The number of wakers of this task, beside its own.
    pub(crate) fn wakers(&self) -> usize {
        // The two references are `header` and `waker`.
        Arc::strong_count(&self.header).saturating_sub(2)
    }
}

/// How far a task has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The place is free.
    Free,
    /// The future is polled when the task is woken.
    Live,
    /// The future is being dropped, and never polled again.
    Ending,
    /// The future was dropped, and the result is there.
    Ended,
}

/// What to notify when a task has ended.
#[derive(Default)]
pub(crate) enum Joiner {
    #[default]
    None,
    /// Another task awaits the handle.
    Task(Waker),
    /// The task belongs to a set, under this key.
    Set(Weak<Finished>, usize),
}

impl Joiner {
    pub(crate) fn notify(self) {
        match self {
            Joiner::None => {}
            Joiner::Task(waker) => waker.wake(),
            Joiner::Set(finished, key) => {
                if let Some(finished) = finished.upgrade() {
                    finished.push(key);
                }
            }
        }
    }
}

/// The tasks of a set that have ended, in the order in which they ended.
#[derive(Default)]
pub(crate) struct Finished {
    pub(crate) keys: RefCell<VecDeque<usize>>,
    /// The task that waits for the next one.
    pub(crate) waiter: Cell<Option<Waker>>,
}

impl Finished {
    fn push(&self, key: usize) {
        self.keys.borrow_mut().push_back(key);
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }
}

pin_project! {
    /// A future and, after it completed, its result: one allocation for both.
    #[project = StageOf]
    pub(crate) enum Stage<F: Future> {
        Running { #[pin] future: F },
        Ended { result: Option<Result<F::Output, JoinError>> },
    }
}

pub(crate) type BoxStage = Pin<Box<dyn AnyStage>>;

/// A [`Stage`], whatever the type of its future.
pub(crate) trait AnyStage {
    /// Polls the future. If it is ready, drops it and keeps its output.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;

    fn is_ended(&self) -> bool;

    /// Drops the future or its output, and keeps the error instead.
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
        let StageOf::Running { future } = self.as_mut().project() else { return Poll::Ready(()) };
        let Poll::Ready(output) = future.poll(cx) else { return Poll::Pending };
        // Panic safety: if the future's destructor panics here, the new stage is stored all the same.
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
        if let (StageOf::Ended { result }, Some(to)) = (self.project(), to.downcast_mut()) {
            *to = mem::take(result);
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.described().fmt(f)
    }
}

/// A task in messages: `task 1 "name", spawned at src/main.rs:1:1`. A copy, because a place that is
/// free can have a new task at any time.
#[derive(Clone, Copy)]
pub(crate) struct Described {
    pub(crate) id: u64,
    pub(crate) name: &'static str,
    pub(crate) location: &'static Location<'static>,
}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Described { id, name, location } = self;
        match *name {
            "" => write!(f, "task {id}, spawned at {location}"),
            _ => write!(f, "task {id} \"{name}\", spawned at {location}"),
        }
    }
}
