//! The run queue: the keys of the tasks that want to be polled, first in, first out.
//!
//! The third of the runtime's single places is [`Queue::push`]: here a woken task is queued. On
//! its own thread that is a push to a queue without locks; from any other thread the key goes
//! through the *inbox*, a channel, and a notification ends the wait of the reactor.
//!
//! Why two ways? A task wakes its neighbours far more often than another thread does, and then a
//! channel's atomics, and above all a system call for the notification, would be paid for nothing:
//! the thread is awake, for it is the one that wakes.
//!
//! Called by: wakers, through [`Header::schedule`], and by the executor's loop, which pops.
//!
//! Invariant: a key that was pushed is popped. For the inbox this rests on `notified`: whoever
//! finds it clear notifies, and the executor does not sleep while it is set.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::Arc;

use log::trace;

use super::sync::{AtomicBool, Notifier, Ordering, Receiver, Sender, thread_local, unbounded};
use super::task::Header;

/// A queue that grew beyond this with a burst of wakes is shrunk after it. Below, to keep the room
/// costs less than to ask for it again.
const BURST: usize = 1024;

thread_local! {
    /// The queue of the executor that runs on this thread. A waker finds it here, and has no
    /// pointer to it: a waker may be on any thread, and the queue must not.
    ///
    /// Never dropped, so that it is there also for the destructors of other thread-locals.
    static CURRENT: ManuallyDrop<RefCell<Option<Rc<Queue>>>> =
        const { ManuallyDrop::new(RefCell::new(None)) };
}

/// What comes from other threads.
pub(crate) enum Message {
    /// A task was woken.
    Key(usize),
    /// A task is to be spawned: the future is made on the executor's thread, and stays there.
    Spawn(Box<dyn FnOnce() + Send>),
}

/// The entrance for other threads. All of an executor that its wakers can reach is in here, and it
/// is `Send`.
pub(crate) struct Inbox {
    /// Without a limit: a wake must never wait for room, least of all on the executor's thread.
    sender: Sender<Message>,
    /// A notification is on its way, or the executor is about to look into the inbox.
    ///
    /// Set by the first sender, which notifies. Cleared by the executor, before it takes the
    /// messages out; never by anybody else.
    notified: AtomicBool,
    /// Ends the wait of the reactor.
    notifier: Notifier,
}

/// The run queue of one executor.
pub(crate) struct Queue {
    /// Keys, and not references: a push counts nothing and keeps nothing alive. First in, first
    /// out, so that nobody is overtaken twice by the same neighbour.
    keys: RefCell<VecDeque<usize>>,
    /// Wakes on the own thread.
    pushed: Cell<u64>,
    /// By its address this queue is known again among those of other executors.
    inbox: Arc<Inbox>,
    /// Where the messages of the inbox come out.
    messages: Receiver<Message>,
}

impl Queue {
    pub(crate) fn new(notifier: Notifier) -> Rc<Queue> {
        let (sender, messages) = unbounded();
        let inbox = Arc::new(Inbox { sender, notified: AtomicBool::new(false), notifier });
        Rc::new(Queue { keys: RefCell::default(), pushed: Cell::new(0), inbox, messages })
    }

    /// Queues a woken task.
    pub(crate) fn push(header: &Header) {
        // The push is owed, even if the logger panics: so it happens when the guard is dropped.
        // The record comes first, or it could tell of the poll before the wake.
        let _push = Push(header);
        trace!(task = header.number; "queue");
    }

    /// Makes this the queue of the thread, until the guard is dropped. What was there before comes
    /// back then: a task of one executor may abort, or drop, what belongs to another.
    pub(crate) fn enter(self: &Rc<Self>) -> Enter {
        Enter { before: CURRENT.with(|current| current.replace(Some(self.clone()))) }
    }

    /// What a new task's header needs for wakes from other threads.
    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// The next key. That its task still lives is not promised: it may have ended meanwhile.
    pub(crate) fn pop(&self) -> Option<usize> {
        let mut keys = self.keys.borrow_mut();
        let key = keys.pop_front();
        // Only when it is empty, and so nothing has to be moved.
        if key.is_none() && keys.capacity() > BURST {
            keys.shrink_to_fit();
        }
        key
    }

    /// Keys in the queue; those in the inbox are not among them.
    pub(crate) fn len(&self) -> usize {
        self.keys.borrow().len()
    }

    /// Wakes on the own thread, so far.
    pub(crate) fn pushed(&self) -> u64 {
        self.pushed.get()
    }

    /// Something is in the inbox, or about to be: the thread must not sleep.
    pub(crate) fn is_notified(&self) -> bool {
        self.inbox.notified.load(Ordering::Acquire)
    }

    /// Moves keys from the inbox into the queue, and hands the rest to `spawn`: the executor calls
    /// them, or drops them at its end. Returns how many keys there were; `None`, if nobody had
    /// notified.
    ///
    /// First the flag, then the messages: a message that this misses finds the flag clear, so its
    /// sender notifies again. The other way round it would lie in the inbox, with the flag set,
    /// and the thread asleep.
    pub(crate) fn take_messages(
        &self,
        mut spawn: impl FnMut(Box<dyn FnOnce() + Send>),
    ) -> Option<u64> {
        // Nearly always so, and asked in every round: to look costs less than to swap.
        if !self.is_notified() {
            return None;
        }
        // A swap: it also reads what was written before each of the skipped notifications.
        self.inbox.notified.swap(false, Ordering::AcqRel);
        let mut keys = 0;
        // No more than there are now: other threads may send faster than this takes. For what they
        // send later the flag is set again, and a notification is on its way.
        for _ in 0..self.messages.len() {
            match self.messages.try_recv() {
                Ok(Message::Key(key)) => {
                    // Not by `push`: that was called by whoever woke, and has told of it.
                    keys += 1;
                    self.keys.borrow_mut().push_back(key);
                }
                Ok(Message::Spawn(make)) => spawn(make),
                Err(_) => break,
            }
        }
        Some(keys)
    }

    /// Pushes onto the queue of this thread, if it is the one that belongs to `inbox`. If not, the
    /// thread is another one; or it is the right one outside of `block_on`, which is as good as
    /// another, for whoever enters next looks into the inbox.
    fn push_here(inbox: &Arc<Inbox>, key: usize) -> bool {
        CURRENT.with(|current| {
            let current = current.borrow();
            let Some(queue) = current.as_ref().filter(|queue| Arc::ptr_eq(&queue.inbox, inbox))
            else {
                return false;
            };
            queue.keys.borrow_mut().push_back(key);
            queue.pushed.set(queue.pushed.get() + 1);
            true
        })
    }
}

/// Pushes the key of a task when it is dropped.
struct Push<'a>(&'a Header);

impl Drop for Push<'_> {
    fn drop(&mut self) {
        let Header { key, inbox, .. } = self.0;
        if !Queue::push_here(inbox, *key) {
            inbox.send(Message::Key(*key));
        }
    }
}

impl Inbox {
    /// Sends, and ends the wait of the executor, unless somebody else has just done so. False, if
    /// the executor is gone.
    pub(crate) fn send(&self, message: Message) -> bool {
        // First the message, then the flag. The other way round the executor could find the flag,
        // clear it, find no message yet, and sleep.
        let sent = self.sender.send(message).is_ok();
        if sent && !self.notified.swap(true, Ordering::AcqRel) {
            self.notifier.notify();
        }
        sent
    }
}

/// Takes the queue from its thread again; see [`Queue::enter`].
pub(crate) struct Enter {
    before: Option<Rc<Queue>>,
}

impl Drop for Enter {
    fn drop(&mut self) {
        let before = self.before.take();
        CURRENT.with(|current| current.replace(before));
    }
}
