//! What a waker is: the header of a task, and the one flag that keeps its wakes in order.
//!
//! ```text
//!              spawn                    poll → Pending
//!    (new) ─────────► queued ──► running ─────────────► waiting
//!                       ▲           │ │                    │
//!                       └───────────┘ │ Ready, panic,      │ wake
//!                    woken meanwhile  ▼ abort              ▼
//!                       ▲            done               (woken)
//!                       └──────────────────────────────────┘
//! ```
//!
//! Called by: everybody. `wake` may come from any thread, at any time, also after the task or its
//! executor has ended; the executor calls the rest.
//!
//! Invariant: each change of `scheduled` from false to true owes exactly one push of the key, by
//! the thread that made the change; but for the last, made by the task's end, after which nothing
//! is pushed. So a task is in the queue at most once, however often it is woken, and a wake that
//! finds the flag set may rely on a poll that is still to come, unless the task has ended.

use std::panic::Location;
use std::sync::Arc;
use std::task::Wake;

use log::trace;

use super::queue::{Inbox, Queue};
use super::sync::{AtomicBool, Ordering, fence};

/// The part of a task that wakers point to.
///
/// It holds nothing of the future, which must stay on its thread: a waker may be dropped
/// anywhere, long after the task.
pub(crate) struct Header {
    /// The task's place in the executor's slab; in the queue the key stands for the task.
    pub(crate) key: usize,
    /// Numbers are not reused, keys are.
    pub(crate) number: u64,
    pub(crate) name: &'static str,
    /// Where it was spawned.
    pub(crate) place: &'static Location<'static>,

    /// The key is in the queue or the inbox, or about to be: whoever wakes need do nothing.
    ///
    /// Set by the wake that finds it clear, which then owes the push. Cleared when the key is
    /// taken from the queue, just before the poll. Set for good when the task ends.
    pub(crate) scheduled: AtomicBool,

    /// The way to the executor, for wakes from other threads.
    pub(crate) inbox: Arc<Inbox>,
}

impl Header {
    /// A task that nobody has woken yet; [`schedule`](Header::schedule) is what brings it to its
    /// first poll too.
    pub(crate) fn new(
        key: usize,
        number: u64,
        name: &'static str,
        place: &'static Location<'static>,
        inbox: Arc<Inbox>,
    ) -> Header {
        Header { key, number, name, place, scheduled: AtomicBool::new(false), inbox }
    }

    /// Puts the task into the run queue, unless it is there.
    ///
    /// A swap, and `AcqRel`: also a wake that finds the flag set hands over what its thread wrote
    /// before, for [`begin`](Header::begin) reads the flag with a swap of its own.
    pub(crate) fn schedule(&self) {
        if self.scheduled.swap(true, Ordering::AcqRel) {
            trace!(task = self.number; "queued already");
        } else {
            Queue::push(self);
        }
    }

    /// The key was taken from the queue, and a poll follows.
    ///
    /// The flag is cleared before the poll, so that a wake during it leads to another one. It is a
    /// swap, not a store: a store would not see what a waker wrote whose push was skipped, and
    /// the poll could miss the very thing that it was woken for.
    pub(crate) fn begin(&self) {
        self.scheduled.swap(false, Ordering::AcqRel);
    }

    /// The task has ended, and nothing will be pushed for it any more. Tells whether a key is
    /// still out: then the slot must not be reused before that key has been taken.
    pub(crate) fn end(&self) -> bool {
        self.scheduled.swap(true, Ordering::AcqRel)
    }

    /// Nothing but the executor's `own` references leads to this task, and it is not scheduled: no
    /// one can ever wake it.
    ///
    /// Exact: a thread that wakes keeps its reference until the key is pushed, so if the count is
    /// down to ours, the fence makes its flag visible.
    pub(crate) fn is_lost(header: &Arc<Header>, own: usize) -> bool {
        if Arc::strong_count(header) > own {
            return false;
        }
        fence(Ordering::Acquire);
        !header.scheduled.load(Ordering::Relaxed)
    }
}

impl Wake for Header {
    fn wake(self: Arc<Self>) {
        self.schedule();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.schedule();
    }
}
