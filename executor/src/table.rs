//! The table of all tasks of one executor, and the run queue. A waker finds both here.
//!
//! Only [`Tasks::queue`] puts a task into the run queue. While the executor runs, a wakeup on its
//! own thread calls `queue` directly, without atomic read-modify-write operations. Every other
//! wakeup goes through the *inbox* (`inbox.rs`), and the executor calls `queue` when it receives
//! the message.
//!
//! Invariant: a task is in the run queue at most once, and [`Task::queued`] says whether it is.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Wake;

use log::trace;
use reactor::Reactor;

use crate::inbox::{Header, Inbox, Message};
use crate::metrics::Counters;
use crate::sync::Receiver;
use crate::task::{BoxStage, State, Task};
use crate::unwind::contain;

/// Capacity: a table or a run queue that is larger than this shrinks after a burst of tasks.
const BURST: usize = 1024;
/// Capacity: the number of tasks at which a table shrinks. The comparison is for equality, so a
/// table is searched once after a burst and not at the end of each task.
const SURVIVORS: usize = 64;

thread_local! {
    /// The tasks of the executor that runs on this thread. `spawn` and wakers find them here.
    ///
    /// Never dropped, so that the destructors of other thread-locals can still spawn and wake.
    static CURRENT: ManuallyDrop<RefCell<Option<Rc<Tasks>>>> =
        const { ManuallyDrop::new(RefCell::new(None)) };
}

/// The tasks of one executor, its run queue and its inbox.
pub(crate) struct Tasks {
    /// Reentrancy: never borrowed while user code runs, which may spawn or wake. A second borrow
    /// would panic. User code is a future that is polled or dropped, a waker that is cloned, called
    /// or dropped, and a logger.
    lists: RefCell<Lists>,
    pub(crate) inbox: Arc<Inbox>,
    /// The receiving end of the inbox. `None` as soon as the executor is being dropped.
    messages: RefCell<Option<Rc<Receiver<Message>>>>,
    pub(crate) reactor: Rc<Reactor>,
    /// Whether `block_on` or `tick` is running. If so, its loop will poll what is queued.
    running: Cell<bool>,
    /// The ID of the next task.
    next_id: Cell<u64>,
    pub(crate) counters: Counters,
}

#[derive(Default)]
struct Lists {
    /// All slots, by key. Free slots stay here for later tasks.
    slots: Vec<Rc<Task>>,
    /// The keys of the free slots.
    free: Vec<usize>,
    /// The tasks to poll, first in, first out.
    queue: VecDeque<Rc<Task>>,
}

impl Lists {
    /// Drops the free slots at the end of the table. The other slots must keep their keys.
    #[cold]
    fn shrink(&mut self) {
        while self.slots.last().is_some_and(|slot| slot.state.get() == State::Free) {
            self.slots.pop();
        }
        let left = self.slots.len();
        self.free.retain(|&key| key < left);
        self.slots.shrink_to_fit();
        self.free.shrink_to_fit();
    }
}

impl Wake for Header {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !Tasks::wake_here(self) {
            self.send();
        }
    }
}

impl Tasks {
    pub(crate) fn new(reactor: Rc<Reactor>) -> Rc<Tasks> {
        let (inbox, messages) = Inbox::new(reactor.notifier());
        Rc::new(Tasks {
            lists: RefCell::default(),
            inbox,
            messages: RefCell::new(Some(Rc::new(messages))),
            reactor,
            running: Cell::new(false),
            next_id: Cell::new(0),
            counters: Counters::default(),
        })
    }

    /// Returns the tasks of the executor that runs on this thread.
    ///
    /// # Panics
    ///
    /// Panics if there is none: outside `block_on`, `tick` and `Executor::enter`.
    #[track_caller]
    pub(crate) fn current() -> Rc<Tasks> {
        Tasks::try_current().expect(
            "no executor on this thread: call this inside `executor::block_on`, or after \
             `Executor::enter`",
        )
    }

    pub(crate) fn try_current() -> Option<Rc<Tasks>> {
        CURRENT.with(|current| current.borrow().clone())
    }

    /// Makes this executor and its reactor current on this thread, until the guards are dropped.
    pub(crate) fn enter(self: &Rc<Self>) -> (Enter, reactor::Enter) {
        let before = CURRENT.with(|current| current.replace(Some(self.clone())));
        (Enter { before }, self.reactor.enter())
    }

    /// Wakes the task if its executor is current on this thread. Returns false otherwise.
    fn wake_here(header: &Arc<Header>) -> bool {
        CURRENT.with(|current| {
            let current = current.borrow();
            let Some(tasks) = current.as_ref().filter(|tasks| tasks.owns(header)) else {
                return false;
            };
            // Reentrancy: `wake` logs, and the logger may run another executor, which borrows
            // `CURRENT`.
            let tasks = tasks.clone();
            drop(current);
            if let Some(task) = tasks.find(header) {
                tasks.wake(task);
            }
            true
        })
    }

    fn owns(&self, header: &Header) -> bool {
        Arc::ptr_eq(&self.inbox, &header.inbox)
    }

    /// Returns the task that a waker points to; `None` if the waker is stale. A waker is *stale* if
    /// its task has ended and the slot has been replaced by one with another header.
    fn find(&self, header: &Arc<Header>) -> Option<Rc<Task>> {
        let lists = self.lists.borrow();
        let task = lists.slots.get(header.key)?;
        Arc::ptr_eq(&task.header, header).then(|| task.clone())
    }

    /// Returns the task with this key and ID. A later task in the same slot has another ID.
    pub(crate) fn get(&self, key: usize, id: u64) -> Option<Rc<Task>> {
        let lists = self.lists.borrow();
        lists.slots.get(key).filter(|task| task.id() == id).cloned()
    }

    /// Wakes a task on the executor's own thread. Does nothing if the task has ended.
    #[inline]
    pub(crate) fn wake(&self, task: Rc<Task>) {
        if task.state.get() != State::Live {
            return;
        }
        if task.queued.get() {
            trace!(task = task.id(); "queued already");
        } else {
            trace!(task = task.id(); "queue");
            self.queue(task);
        }
    }

    /// Puts a task into the run queue, unless it is already there.
    #[inline]
    fn queue(&self, task: Rc<Task>) {
        if task.queued.replace(true) {
            return;
        }
        self.counters.wakes.add(1);
        self.lists.borrow_mut().queue.push_back(task);
        // Usually the loop of `block_on` or `tick` will find the task. Two cases need a
        // notification:
        // 1. No such loop runs. Another event loop may be about to wait for the reactor's
        //    descriptor.
        // 2. The reactor is logging `sleep`, and the logger woke the task. The executor has already
        //    decided to sleep.
        if !self.running.get() || self.reactor.is_waiting() {
            self.inbox.notify();
        }
    }

    /// Takes the next task out of the run queue, and clears its flag `queued`.
    #[inline]
    pub(crate) fn pop(&self) -> Option<Rc<Task>> {
        let next = self.lists.borrow_mut().queue.pop_front()?;
        next.queued.set(false);
        Some(next)
    }

    /// Capacity: gives back the memory of a run queue that is empty after a burst.
    pub(crate) fn shrink_queue(&self) {
        let queue = &mut self.lists.borrow_mut().queue;
        if queue.is_empty() && queue.capacity() > BURST {
            queue.shrink_to_fit();
        }
    }

    /// Returns the number of tasks in the run queue.
    pub(crate) fn queue_len(&self) -> usize {
        self.lists.borrow().queue.len()
    }

    /// Whether the inbox contains a message.
    pub(crate) fn has_messages(&self) -> bool {
        self.messages.borrow().as_ref().is_some_and(|messages| !messages.is_empty())
    }

    /// Receives the messages that are in the inbox now.
    #[cold]
    pub(crate) fn take_messages(&self) {
        // Reentrancy: spawning runs user code, so the loop uses a clone and not the borrow.
        let Some(messages) = self.messages.borrow().clone() else { return };
        self.counters.notifications.add(1);
        // Without `take`, threads that send faster than this loop receives would keep it here.
        for message in messages.try_iter().take(messages.len()) {
            match message {
                Message::Wake(header) => {
                    header.received();
                    self.counters.remote_wakes.add(1);
                    // Not `wake`, because the sender has already logged the wakeup.
                    if let Some(task) = self.find(&header)
                        && task.state.get() == State::Live
                    {
                        self.queue(task);
                    }
                }
                Message::Call(call) => contain("a function from another thread", call),
            }
        }
    }

    /// Declares that the executor is about to sleep. Returns false if it must first receive a
    /// message; see [`Inbox::fall_asleep`].
    pub(crate) fn fall_asleep(&self) -> bool {
        self.messages.borrow().as_ref().is_none_or(|messages| self.inbox.fall_asleep(messages))
    }

    /// Starts a task in a free slot. The caller queues it for its first poll.
    pub(crate) fn add(
        &self,
        name: &'static str,
        location: &'static Location<'static>,
        stage: Option<BoxStage>,
    ) -> Rc<Task> {
        let task = self.claim_slot();
        task.begin(self.next_id(), name, location, self.reactor.now(), stage);
        self.counters.tasks.add(1);
        task
    }

    /// Makes a task that has already ended, for a `spawn` on a closed executor. It is not in the
    /// table.
    pub(crate) fn add_ended(
        &self,
        name: &'static str,
        location: &'static Location<'static>,
        stage: BoxStage,
    ) -> Rc<Task> {
        let task = Task::new(Header::new(usize::MAX, self.inbox.clone()), self.reactor.now());
        task.begin(self.next_id(), name, location, self.reactor.now(), Some(stage));
        task.state.set(State::Ended);
        task
    }

    fn next_id(&self) -> u64 {
        self.next_id.replace(self.next_id.get() + 1)
    }

    /// Returns a free slot: one that an earlier task used, or a new one.
    fn claim_slot(&self) -> Rc<Task> {
        let lists = &mut *self.lists.borrow_mut();
        let new = |key| Task::new(Header::new(key, self.inbox.clone()), self.reactor.now());
        let Some(key) = lists.free.pop() else {
            let task = new(lists.slots.len());
            lists.slots.push(task.clone());
            return task;
        };
        let slot = &mut lists.slots[key];
        // If a waker of the last task still exists, it must not wake the next task. A slot with
        // another header makes that waker stale.
        if slot.wakers() > 0 {
            *slot = new(key);
        }
        slot.clone()
    }

    /// Frees the slot of a task that has ended and whose result was taken or is not wanted.
    pub(crate) fn free(&self, task: &Rc<Task>) {
        let mut lists = self.lists.borrow_mut();
        let key = task.header.key;
        // A task from `add_ended` is not in the table.
        if !lists.slots.get(key).is_some_and(|slot| Rc::ptr_eq(slot, task)) {
            return;
        }
        task.state.set(State::Free);
        lists.free.push(key);
        // Capacity: shrink after a burst.
        if lists.slots.len() > BURST && lists.slots.len() - lists.free.len() == SURVIVORS {
            lists.shrink();
        }
    }

    /// Returns all slots, including free ones.
    pub(crate) fn slots(&self) -> Vec<Rc<Task>> {
        self.lists.borrow().slots.clone()
    }

    /// Closes the inbox: drops the messages in it, and makes later sends fail.
    pub(crate) fn close(&self) {
        let Some(messages) = self.messages.take() else { return };
        // Panic safety: drop them one by one, because the channel would leak those that follow a
        // panic, and then the handles of other threads would wait forever.
        for message in messages.try_iter().take(messages.len()) {
            contain("the destructor of a message", || drop(message));
        }
        contain("the destructor of a message", || drop(messages));
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.messages.borrow().is_none()
    }

    /// Declares that the loop of `block_on` or `tick` is running, until the guard is dropped.
    pub(crate) fn run(&self) -> Running<'_> {
        self.running.set(true);
        self.inbox.wake_up();
        Running { tasks: self }
    }
}

/// Restores the previous current executor when it is dropped; see [`Tasks::enter`].
pub(crate) struct Enter {
    before: Option<Rc<Tasks>>,
}

impl Drop for Enter {
    fn drop(&mut self) {
        let before = self.before.take();
        CURRENT.with(|current| current.replace(before));
    }
}

/// Declares the end of the loop when it is dropped; see [`Tasks::run`].
pub(crate) struct Running<'a> {
    tasks: &'a Tasks,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.tasks.running.set(false);
        // From here on, each wakeup makes the reactor's descriptor readable. `tick` returns whether
        // there is work already.
        self.tasks.fall_asleep();
    }
}
