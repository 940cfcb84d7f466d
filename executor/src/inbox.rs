//! The inbox: what other threads send to an executor.
//!
//! A waker may be called on any thread, but the run queue belongs to one. So another thread sends a
//! message through a channel, and it ends the executor's sleep if the executor is asleep.
//!
//! The danger is a message that arrives while the executor is about to sleep: it must not stay in
//! the channel while the thread sleeps. Two rules exclude that:
//!
//! - A sender first sends its message, then swaps `asleep`.
//! - The executor first swaps `asleep`, then looks into the channel, and sleeps only if that is empty.
//!
//! Swaps of one flag have an order. If the sender's swap comes second, it reads `true` and notifies.
//! If the executor's swap comes second, it *acquires* what the sender did before its own swap, so
//! the executor finds the message. `tests/tests/wake_protocol.rs` checks this file with loom.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use log::trace;

use super::sync::{AtomicBool, Notifier, Ordering, Receiver, Sender, unbounded};

/// What another thread wants.
pub(crate) enum Message {
    /// A task was woken.
    Wake(Arc<Header>),
    /// A task is to be spawned. The function makes the future on the executor's thread, where the
    /// future stays.
    Spawn(Box<dyn FnOnce() + Send>),
}

/// The sending side of the channel, and the protocol that ends the executor's sleep.
pub(crate) struct Inbox {
    /// Unbounded, because `wake` must not block.
    sender: Sender<Message>,
    /// Whether the executor waits for the kernel, or is about to: then a sender must notify.
    ///
    /// Set only by the executor. Cleared by the first sender, which notifies, and by the executor
    /// when it continues.
    asleep: AtomicBool,
    notifier: Notifier,
}

impl Inbox {
    pub(crate) fn new(notifier: Notifier) -> (Arc<Inbox>, Receiver<Message>) {
        let (sender, messages) = unbounded();
        (Arc::new(Inbox { sender, asleep: AtomicBool::new(true), notifier }), messages)
    }

    /// Sends a message, and ends the executor's sleep. Returns false if the executor is gone.
    pub(crate) fn send(&self, message: Message) -> bool {
        let sent = self.sender.send(message).is_ok();
        self.notify();
        sent
    }

    /// Ends the executor's sleep, unless the executor is awake or another caller has done so.
    pub(crate) fn notify(&self) {
        if self.asleep.swap(false, Ordering::AcqRel) {
            self.notifier.notify();
        }
    }

    /// Declares that the executor is about to sleep. Returns whether it may: the inbox is empty.
    pub(crate) fn fall_asleep(&self, messages: &Receiver<Message>) -> bool {
        self.asleep.swap(true, Ordering::AcqRel);
        messages.is_empty()
    }

    /// Declares that the executor is awake and will look into the inbox before it sleeps again.
    pub(crate) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}

/// The part of a task that wakers point to.
///
/// It refers only to `Send` data and to nothing of the future, which must stay on its thread: a
/// waker may be used and dropped anywhere, even after its executor.
pub(crate) struct Header {
    /// The task's place in the table of tasks.
    pub(crate) key: usize,
    /// The task's ID, for log records of other threads.
    pub(crate) id: AtomicU64,
    /// Whether a wakeup of this task is in the inbox. Wakeups from other threads coalesce here.
    sent: AtomicBool,
    pub(crate) inbox: Arc<Inbox>,
}

impl Header {
    pub(crate) fn new(key: usize, inbox: Arc<Inbox>) -> Arc<Header> {
        Arc::new(Header { key, id: AtomicU64::new(0), sent: AtomicBool::new(false), inbox })
    }

    /// Wakes the task from another thread.
    ///
    /// A swap, and `AcqRel`: a thread that finds the flag set sends nothing, so it must publish what
    /// it wrote before this call through the flag itself.
    pub(crate) fn send(self: &Arc<Self>) {
        let id = self.id.load(Ordering::Relaxed);
        if self.sent.swap(true, Ordering::AcqRel) {
            trace!(task = id; "queued already");
            return;
        }
        // Log before sending. A record written afterwards could follow the poll that it causes.
        trace!(task = id; "queue");
        self.inbox.send(Message::Wake(self.clone()));
    }

    /// Whether a wakeup from another thread is in the inbox, or about to be.
    pub(crate) fn is_sent(&self) -> bool {
        self.sent.load(Ordering::Relaxed)
    }

    /// Declares that the wakeup was taken from the inbox. The executor calls this before the poll.
    ///
    /// A swap, not a store, because it must also *acquire*: the poll must see what was written by
    /// each thread whose wakeup coalesced with this one.
    pub(crate) fn received(&self) {
        self.sent.swap(false, Ordering::AcqRel);
    }
}
