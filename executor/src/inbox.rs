//! The inbox: what other threads send to an executor.
//!
//! A waker may be called on any thread, but the run queue belongs to the executor's thread. So
//! another thread sends a message through a channel. If the executor is asleep, the sender also
//! *notifies* it: a write to the reactor's eventfd, which ends the wait.
//!
//! The danger is a message that arrives while the executor is about to sleep. It must not stay in
//! the channel while the thread sleeps. Two rules prevent that:
//!
//! - A sender first sends its message, then swaps `asleep` to `false`.
//! - The executor first swaps `asleep` to `true`, then looks into the channel. It sleeps only if
//!   the channel is empty.
//!
//! The two swaps happen in some order. If the sender's swap comes second, it reads `true`, and the
//! sender notifies. If the executor's swap comes second, it *acquires* what the sender did before
//! the sender's swap, so the executor finds the message. `tests/tests/wake_protocol` checks this file
//! with the model checkers loom and shuttle.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::{self, ThreadId};

use log::trace;

use super::sync::{AtomicBool, Notifier, Ordering, Receiver, Sender, unbounded};

/// What another thread sends to the executor.
pub(crate) enum Message {
    /// Queue this task, because it was woken.
    Wake(Arc<Header>),
    /// Call this function, which spawns or aborts a task. It creates the future on the executor's
    /// thread, because the future need not be `Send`.
    Call(Box<dyn FnOnce() + Send>),
}

/// The sending side of the channel, and the flag that decides whether a sender must notify.
pub(crate) struct Inbox {
    /// Unbounded, because `wake` must not block.
    sender: Sender<Message>,
    /// Whether a sender must notify: the executor sleeps, is about to, or is not running at all.
    ///
    /// Set only by the executor. Cleared by the first sender, which then notifies, and by the
    /// executor when it continues.
    asleep: AtomicBool,
    notifier: Notifier,
    /// The executor's thread. If it blocked until one of its own tasks ends, it would block forever,
    /// so `RemoteJoinHandle::join` panics on this thread.
    pub(crate) thread: ThreadId,
}

impl Inbox {
    pub(crate) fn new(notifier: Notifier) -> (Arc<Inbox>, Receiver<Message>) {
        let (sender, messages) = unbounded();
        let (asleep, thread) = (AtomicBool::new(true), thread::current().id());
        (Arc::new(Inbox { sender, asleep, notifier, thread }), messages)
    }

    /// Sends a message, and ends the executor's sleep. Returns false if the executor was dropped.
    pub(crate) fn send(&self, message: Message) -> bool {
        let sent = self.sender.send(message).is_ok();
        self.notify();
        sent
    }

    /// Notifies the executor, unless it is awake or another caller has notified it already.
    pub(crate) fn notify(&self) {
        if self.asleep.swap(false, Ordering::AcqRel) {
            self.notifier.notify();
        }
    }

    /// Calls `turn`, which turns the reactor and may sleep only if its argument is true. `is_idle`
    /// says whether the executor may sleep if its inbox is empty.
    pub(crate) fn turn<T>(
        &self,
        messages: Option<&Receiver<Message>>,
        is_idle: bool,
        turn: impl FnOnce(bool) -> T,
    ) -> T {
        // Call `fall_asleep` last. From then on, a message ends the sleep.
        let sleep = is_idle && messages.is_none_or(|messages| self.fall_asleep(messages));
        let turned = turn(sleep);
        self.wake_up();
        turned
    }

    /// Declares that the executor is about to sleep. Returns whether the inbox is empty. Only then may
    /// the executor sleep.
    pub(crate) fn fall_asleep(&self, messages: &Receiver<Message>) -> bool {
        self.asleep.swap(true, Ordering::AcqRel);
        messages.is_empty()
    }

    /// Declares that the executor is awake. It must call `fall_asleep` before it sleeps again.
    ///
    /// A swap, not a store. The executor's next swap may read the value that is written here. It must
    /// still acquire what senders published by earlier swaps, and a store would prevent that.
    pub(crate) fn wake_up(&self) {
        self.asleep.swap(false, Ordering::AcqRel);
    }
}

/// Receives the messages that are in the inbox now. Calls `queue` for each task that was woken, and
/// `call` for each function.
pub(crate) fn receive(
    messages: &Receiver<Message>,
    mut queue: impl FnMut(&Arc<Header>),
    mut call: impl FnMut(Box<dyn FnOnce() + Send>),
) {
    // Without `take`, threads that send faster than this loop receives would keep it here.
    for message in messages.try_iter().take(messages.len()) {
        match message {
            Message::Wake(header) => {
                queue(&header);
                // Call this last, because `queue` logs: the next sender must log after it.
                header.received();
            }
            Message::Call(function) => call(function),
        }
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asleep = self.asleep.load(Ordering::Relaxed);
        let mut debug = f.debug_struct("Inbox");
        debug.field("messages", &self.sender.len()).field("asleep", &asleep).finish()
    }
}

/// The part of a task that wakers point to.
///
/// A waker may be used and dropped on any thread, even after its executor. So the header contains
/// only `Send` data, and does not refer to the future, which must stay on its thread.
pub(crate) struct Header {
    /// The key of the task's slot in the table of tasks.
    pub(crate) key: usize,
    /// The task's ID. Atomic, because other threads read it for their log records.
    pub(crate) id: AtomicU64,
    /// Whether a wakeup of this task is in the inbox, or about to be. Further wakeups coalesce with
    /// it.
    sent: AtomicBool,
    pub(crate) inbox: Arc<Inbox>,
}

impl Header {
    pub(crate) fn new(key: usize, inbox: Arc<Inbox>) -> Arc<Header> {
        Arc::new(Header { key, id: AtomicU64::new(0), sent: AtomicBool::new(false), inbox })
    }

    /// Returns the ID of the task in log records. Unlike a slot, an ID is never reused.
    pub(crate) fn id(&self) -> u64 {
        self.id.load(Ordering::Relaxed)
    }

    /// Wakes the task by a message to its executor.
    ///
    /// A swap with *release* ordering, because a thread that finds the flag set sends no message.
    /// The flag itself must publish what that thread wrote before this call; see
    /// [`received`](Header::received).
    #[cold]
    pub(crate) fn send(self: &Arc<Self>) {
        let id = self.id();
        if self.sent.swap(true, Ordering::AcqRel) {
            trace!(task = id; "queued already");
            return;
        }
        // Log before sending. Otherwise the record could come after the poll that the message
        // causes.
        trace!(task = id; "send");
        self.inbox.send(Message::Wake(self.clone()));
    }

    /// Returns whether a wakeup of this task is in the inbox, or about to be.
    pub(crate) fn is_sent(&self) -> bool {
        self.sent.load(Ordering::Relaxed)
    }

    /// Declares that the executor has received the wakeup. It calls this before the poll, so that a
    /// wakeup during the poll sends another message.
    ///
    /// A swap, not a store, because it must also *acquire*. If the wakeup of another thread coalesced
    /// with this one, the poll must see what that thread wrote before.
    pub(crate) fn received(&self) {
        self.sent.swap(false, Ordering::AcqRel);
    }
}
