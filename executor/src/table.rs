//! All tasks of one executor, and the run queue. A waker finds both here.
//!
//! [`Tasks::queue`] is the third of the runtime's single places: it puts a woken task into the run
//! queue. On the executor's own thread a wakeup calls it directly, without atomics. From any other
//! thread the wakeup goes through the inbox, and the executor calls it for each message.
//!
//! Invariant: a task is in the run queue at most once, and `queued` says whether it is.

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

/// Capacity: a table that a burst of tasks made larger than this shrinks after the burst.
const BURST: usize = 1024;
/// Capacity: … when so few tasks are left. A constant, so that a table of many tasks is not searched
/// at the end of each.
const SURVIVORS: usize = 64;

thread_local! {
    /// The executor that runs on this thread. `spawn` and wakers find it here.
    ///
    /// Never dropped, so that destructors of other thread-locals can use it.
    static CURRENT: ManuallyDrop<RefCell<Option<Rc<Tasks>>>> =
        const { ManuallyDrop::new(RefCell::new(None)) };
}

/// The tasks of one executor.
pub(crate) struct Tasks {
    /// Never borrowed while user code runs: while a waker is cloned, called or dropped, a future is
    /// polled or dropped, or a record is logged.
    lists: RefCell<Lists>,
    pub(crate) inbox: Arc<Inbox>,
    /// The receiving end of the inbox; `None` after the executor was dropped.
    messages: RefCell<Option<Rc<Receiver<Message>>>>,
    pub(crate) reactor: Rc<Reactor>,
    /// Whether `block_on` or `tick` is running: it will take the next task from the run queue.
    running: Cell<bool>,
    /// The ID of the next task.
    next_id: Cell<u64>,
    /// The task that is being polled.
    pub(crate) polled: Cell<Option<u64>>,
    pub(crate) counters: Counters,
}

#[derive(Default)]
struct Lists {
    /// All places, by key. A place whose task has ended stays for the next one.
    places: Vec<Rc<Task>>,
    /// The keys of the free places.
    free: Vec<usize>,
    /// The tasks to poll, first in, first out.
    queue: VecDeque<Rc<Task>>,
}

impl Lists {
    #[cold]
    fn shrink(&mut self) {
        while self.places.last().is_some_and(|place| place.state.get() == State::Free) {
            self.places.pop();
        }
        let left = self.places.len();
        self.free.retain(|&key| key < left);
        self.places.shrink_to_fit();
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
            polled: Cell::new(None),
            counters: Counters::default(),
        })
    }

    /// The executor that runs on this thread.
    ///
    /// # Panics
    ///
    /// Panics outside `block_on`.
    #[track_caller]
    pub(crate) fn current() -> Rc<Tasks> {
        let current = CURRENT.with(|current| current.borrow().clone());
        current.expect("no executor on this thread: call this inside `executor::block_on`")
    }

    /// Makes this the current executor of the thread, and its reactor the current reactor, until
    /// the guards are dropped.
    pub(crate) fn enter(self: &Rc<Self>) -> (Enter, reactor::Enter) {
        let before = CURRENT.with(|current| current.replace(Some(self.clone())));
        (Enter { before }, self.reactor.enter())
    }

    /// Wakes the task if it belongs to the executor of this thread. Returns false if it does not.
    fn wake_here(header: &Arc<Header>) -> bool {
        CURRENT.with(|current| {
            let current = current.borrow();
            let Some(tasks) = current.as_ref().filter(|tasks| tasks.owns(header)) else {
                return false;
            };
            // Reentrancy: `wake` logs, and the logger may enter another executor.
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

    /// The task that a waker points to; `None` if the waker is stale: the task has ended, and its
    /// place has a new owner, which has another header.
    fn find(&self, header: &Arc<Header>) -> Option<Rc<Task>> {
        let lists = self.lists.borrow();
        let task = lists.places.get(header.key)?;
        Arc::ptr_eq(&task.header, header).then(|| task.clone())
    }

    /// Wakes a task on the executor's own thread. A task that has ended stays as it is.
    pub(crate) fn wake(&self, task: Rc<Task>) {
        if task.state.get() != State::Live {
            return;
        }
        if task.is_queued() {
            trace!(task = task.id(); "queued already");
        } else {
            trace!(task = task.id(); "queue");
            self.queue(task);
        }
    }

    /// Puts a task into the run queue, unless it is there or has ended.
    fn queue(&self, task: Rc<Task>) {
        if task.state.get() != State::Live || task.queued.replace(true) {
            return;
        }
        self.counters.wakes.add(1);
        self.lists.borrow_mut().queue.push_back(task);
        // The loop will poll the task, except in two cases. Outside `block_on` and `tick`, an event
        // loop may be about to wait for the reactor's descriptor. And while `sleep` is logged, the
        // executor has already decided to sleep. Both end with a notification.
        if !self.running.get() || self.reactor.is_waiting() {
            self.inbox.notify();
        }
    }

    /// Takes the next task out of the run queue.
    pub(crate) fn pop(&self) -> Option<Rc<Task>> {
        let lists = &mut *self.lists.borrow_mut();
        let next = lists.queue.pop_front();
        match &next {
            Some(task) => task.queued.set(false),
            None if lists.queue.capacity() > BURST => lists.queue.shrink_to_fit(),
            None => {}
        }
        next
    }

    /// The number of tasks in the run queue.
    pub(crate) fn queued(&self) -> usize {
        self.lists.borrow().queue.len()
    }

    /// Whether other threads have sent something.
    pub(crate) fn has_messages(&self) -> bool {
        self.messages.borrow().as_ref().is_some_and(|messages| !messages.is_empty())
    }

    /// Receives what other threads have sent.
    #[cold]
    pub(crate) fn take_messages(&self) {
        // Reentrancy: spawning runs user code, so nothing is borrowed in the loop.
        let Some(messages) = self.messages.borrow().clone() else { return };
        self.counters.notifications.add(1);
        // No more than there are now: other threads may send faster than this loop receives.
        for message in messages.try_iter().take(messages.len()) {
            match message {
                Message::Wake(header) => {
                    header.received();
                    self.counters.remote_wakes.add(1);
                    // Not `wake`: the other thread has logged the wakeup.
                    if let Some(task) = self.find(&header) {
                        self.queue(task);
                    }
                }
                Message::Spawn(spawn) => contain("a function from another thread", spawn),
            }
        }
    }

    /// Declares that the executor is about to sleep. Returns false if another thread has sent
    /// something, which must be looked at first.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.messages.borrow().as_ref().is_none_or(|messages| self.inbox.fall_asleep(messages))
    }

    /// Lets a task begin in a free place. The caller queues it for its first poll.
    pub(crate) fn add(
        &self,
        name: &'static str,
        location: &'static Location<'static>,
        stage: Option<BoxStage>,
    ) -> Rc<Task> {
        let task = self.free_place();
        task.begin(self.next_id(), name, location, self.reactor.now(), stage);
        self.counters.tasks.add(1);
        task
    }

    /// Makes a task that has ended and has no place: its executor is closed.
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

    fn free_place(&self) -> Rc<Task> {
        let lists = &mut *self.lists.borrow_mut();
        let new = |key| Task::new(Header::new(key, self.inbox.clone()), self.reactor.now());
        let Some(key) = lists.free.pop() else {
            let task = new(lists.places.len());
            lists.places.push(task.clone());
            return task;
        };
        let place = &mut lists.places[key];
        // A waker of the last task still exists. It must not wake the next one.
        if place.wakers() > 0 {
            *place = new(key);
        }
        place.clone()
    }

    /// Frees the place of a task that has ended and whose result is taken or not wanted.
    pub(crate) fn free(&self, task: &Rc<Task>) {
        let mut lists = self.lists.borrow_mut();
        let key = task.header.key;
        // The task of a closed executor has no place.
        if !lists.places.get(key).is_some_and(|place| Rc::ptr_eq(place, task)) {
            return;
        }
        task.state.set(State::Free);
        lists.free.push(key);
        // Capacity: after a burst, give back the places at the end of the table.
        if lists.places.len() > BURST && lists.places.len() - lists.free.len() == SURVIVORS {
            lists.shrink();
        }
    }

    /// The tasks in all places, also those that have ended.
    pub(crate) fn places(&self) -> Vec<Rc<Task>> {
        self.lists.borrow().places.clone()
    }

    /// Refuses everything that other threads send from now on, and drops what they have sent.
    pub(crate) fn close(&self) {
        let messages = self.messages.take();
        contain("the destructor of a message", || drop(messages));
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.messages.borrow().is_none()
    }

    /// Declares that the loop of `block_on` or `tick` runs until the guard is dropped.
    pub(crate) fn run(&self) -> Running<'_> {
        self.running.set(true);
        self.inbox.wake_up();
        Running { tasks: self }
    }
}

/// Makes an executor current; see [`Tasks::enter`].
pub(crate) struct Enter {
    before: Option<Rc<Tasks>>,
}

impl Drop for Enter {
    fn drop(&mut self) {
        let before = self.before.take();
        CURRENT.with(|current| current.replace(before));
    }
}

/// The loop is running; see [`Tasks::run`].
pub(crate) struct Running<'a> {
    tasks: &'a Tasks,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.tasks.running.set(false);
        // From here on nothing looks at the queue or the inbox until the next `block_on` or `tick`.
        // An event loop that calls them waits for the reactor's descriptor, so that must be readable
        // as long as something is left.
        if !self.tasks.fall_asleep() || self.tasks.queued() > 0 {
            self.tasks.inbox.notify();
        }
    }
}
