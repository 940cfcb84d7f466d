//! The table of all tasks of one executor, and the run queue. A waker finds both here.
//!
//! Only [`Tasks::queue`] puts a task into the run queue. While the executor runs, a wakeup on its
//! own thread calls `queue` directly, which needs no lock and no atomic operation. Every other
//! wakeup goes through the *inbox* (`inbox.rs`), and the executor calls `queue` when it receives
//! the message. A wakeup never polls the task: a task that wakes itself would then be polled inside
//! its own poll.
//!
//! Invariant: a task is in the run queue at most once, and [`Task::queued`] says whether it is.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Wake;

use log::trace;
use reactor::Reactor;

use crate::inbox::{self, Header, Inbox, Message};
use crate::metrics::Counters;
use crate::sync::Receiver;
use crate::task::{BoxStage, State, Task};
use crate::unwind::catch_and_log;

/// Capacity: a table or a run queue that is larger than this shrinks after a burst of tasks.
const BURST: usize = 1024;
/// Capacity: a table shrinks when no more than this number of tasks is left.
const SURVIVORS: usize = 64;

thread_local! {
    /// The tasks of the executor that runs on this thread. `spawn` and wakers find them here.
    ///
    /// Never dropped, so that the destructors of other thread-locals can still spawn and wake.
    static CURRENT: ManuallyDrop<RefCell<Option<Rc<Tasks>>>> =
        const { ManuallyDrop::new(RefCell::new(None)) };

    /// The call of `block_on` or `tick` that this thread is inside.
    static CALL: Cell<Option<Call>> = const { Cell::new(None) };
}

/// The tasks of one executor, its run queue and its inbox.
pub(crate) struct Tasks {
    /// Reentrancy: never borrowed while user code runs, which may spawn or wake. A second borrow
    /// would panic. User code is a future that is polled or dropped, a waker that is cloned, called
    /// or dropped, and a logger.
    lists: RefCell<Lists>,
    pub(crate) inbox: Arc<Inbox>,
    /// The receiving end of the inbox. `None` once the executor's destructor has begun.
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

/// What a wakeup did.
enum Woken {
    /// The task is now in the run queue.
    Queued,
    /// The task was in the run queue already, so one poll serves both wakeups.
    QueuedAlready,
    /// Nothing: the task has ended.
    Ended,
}

impl Wake for Header {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let woken = CURRENT.with(|current| {
            let current = current.borrow();
            let tasks = current.as_ref().filter(|tasks| tasks.owns(self) && tasks.is_polling())?;
            Some(tasks.queue(self))
        });
        // Reentrancy: a logger is user code and may run another executor, which borrows `CURRENT`.
        // So log after the borrow has ended.
        match woken {
            Some(Woken::Queued) => trace!(task = self.id(); "queue"),
            Some(Woken::QueuedAlready) => trace!(task = self.id(); "queued already"),
            Some(Woken::Ended) => {}
            None => self.send(),
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

    /// Makes this executor and its reactor current on this thread, until the guard is dropped.
    pub(crate) fn enter(self: &Rc<Self>) -> Enter<'_> {
        let before = CURRENT.with(|current| current.replace(Some(self.clone())));
        Enter { before, _reactor: self.reactor.enter(), tasks: self }
    }

    fn owns(&self, header: &Header) -> bool {
        Arc::ptr_eq(&self.inbox, &header.inbox)
    }

    /// Returns whether the loop of `block_on` or `tick` will look into the run queue before the
    /// thread sleeps. It will not if the loop is not running. Nor will it if the logger of the record
    /// `sleep` calls this, because the executor has then already decided to sleep.
    fn is_polling(&self) -> bool {
        self.running.get() && !self.reactor.is_waiting()
    }

    /// Returns the task with this key and ID. A later task in the same slot has another ID.
    pub(crate) fn get(&self, key: usize, id: u64) -> Option<Rc<Task>> {
        let lists = self.lists.borrow();
        lists.slots.get(key).filter(|task| task.id() == id).cloned()
    }

    /// Queues the task that a waker points to, unless it is in the run queue already or has ended.
    #[inline]
    fn queue(&self, header: &Arc<Header>) -> Woken {
        let Lists { slots, queue, .. } = &mut *self.lists.borrow_mut();
        // A waker may outlive its task. Then the slot at this key has another header, or the task
        // in it has ended.
        let slot = slots.get(header.key).filter(|slot| Arc::ptr_eq(&slot.header, header));
        let Some(task) = slot.filter(|task| task.is_live()) else { return Woken::Ended };
        if task.queued.replace(true) {
            return Woken::QueuedAlready;
        }
        self.counters.wakes.add(1);
        queue.push_back(task.clone());
        Woken::Queued
    }

    /// Queues a new task for its first poll.
    pub(crate) fn start(&self, task: &Task) {
        self.queue(&task.header);
        trace!(task = task.id(); "queue");
        // Another event loop may be about to wait for the reactor's descriptor.
        if !self.is_polling() {
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

    /// Returns the number of tasks in the run queue.
    pub(crate) fn queue_len(&self) -> usize {
        self.lists.borrow().queue.len()
    }

    /// Returns whether the inbox contains a message.
    pub(crate) fn has_messages(&self) -> bool {
        self.messages.borrow().as_ref().is_some_and(|messages| !messages.is_empty())
    }

    /// Receives the messages that are in the inbox now.
    #[cold]
    pub(crate) fn take_messages(&self) {
        // Reentrancy: spawning runs user code, so the loop uses a clone and not the borrow.
        let Some(messages) = self.messages.borrow().clone() else { return };
        self.counters.notifications.add(1);
        let queue = |header: &Arc<Header>| {
            self.counters.remote_wakes.add(1);
            // The sender has logged the wakeup, but could not know whether the task is queued.
            if let Woken::QueuedAlready = self.queue(header) {
                trace!(task = header.id(), inbox = true; "queued already");
            }
        };
        inbox::receive(&messages, queue, |call| {
            catch_and_log("a function from another thread", call);
        });
    }

    /// Turns the reactor with `turn`; see [`Inbox::turn`].
    pub(crate) fn turn<T>(&self, is_idle: bool, turn: impl FnOnce(bool) -> T) -> T {
        // Reentrancy: a turn runs user code, so clone instead of holding the borrow.
        let messages = self.messages.borrow().clone();
        self.inbox.turn(messages.as_deref(), is_idle, turn)
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
        // If a waker of the last task still exists, it must not wake the next task. A new slot has
        // another header, so `queue` ignores that waker.
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
    }

    /// Capacity: frees the memory that a burst of tasks needed.
    ///
    /// The executor calls this before it sleeps, and not at the end of the burst, because the next
    /// burst may follow immediately.
    pub(crate) fn shrink(&self) {
        let Lists { slots, free, queue } = &mut *self.lists.borrow_mut();
        if queue.capacity() > BURST {
            queue.shrink_to_fit();
        }
        if slots.len() <= BURST || slots.len() - free.len() > SURVIVORS {
            return;
        }
        // Drop the free slots at the end of the table. The other slots must keep their keys.
        let last = slots.iter().rposition(|slot| slot.state.get() != State::Free);
        let left = last.map_or(0, |last| last + 1);
        if left < slots.len() {
            slots.truncate(left);
            slots.shrink_to_fit();
            free.retain(|&key| key < left);
            free.shrink_to_fit();
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
            catch_and_log("the destructor of a message", || drop(message));
        }
        catch_and_log("the destructor of a message", || drop(messages));
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.messages.borrow().is_none()
    }

    /// Declares that the loop of `block_on` or `tick` is running, until the guard is dropped.
    ///
    /// # Panics
    ///
    /// Panics if such a loop is running on this thread already: the inner one would block all tasks
    /// of the outer one.
    #[track_caller]
    pub(crate) fn run(
        self: &Rc<Self>,
        location: &'static Location<'static>,
        is_block_on: bool,
    ) -> Running<'_> {
        if let Some(Call { location: outer, .. }) = CALL.get() {
            panic!(
                "`block_on` at {location} is inside `block_on` at {outer}, on the same thread: await \
                 the inner future, or run it on another thread"
            );
        }
        CALL.set(Some(Call { location, blocks: is_block_on.then_some(Rc::as_ptr(self)) }));
        let entered = self.enter();
        self.running.set(true);
        self.inbox.wake_up();
        Running { tasks: self, _entered: entered }
    }
}

/// Describes the executor to which the tasks belong.
impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metrics = self.counters.metrics(&self.reactor);
        f.debug_struct("Executor").field("metrics", &metrics).finish_non_exhaustive()
    }
}

/// Declares the end of the loop when it is dropped; see [`Tasks::run`].
pub(crate) struct Running<'a> {
    tasks: &'a Tasks,
    _entered: Enter<'a>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.tasks.running.set(false);
        // From here on, a wakeup makes the reactor's descriptor readable. Work that is already
        // queued does not, but `tick` reports it to its caller.
        if let Some(messages) = &*self.tasks.messages.borrow() {
            self.tasks.inbox.fall_asleep(messages);
        }
        CALL.set(None);
    }
}

/// Keeps an executor current on this thread; see [`Executor::enter`](crate::Executor::enter).
#[must_use = "the executor is current until the guard is dropped"]
pub struct Enter<'a> {
    before: Option<Rc<Tasks>>,
    _reactor: reactor::Enter,
    /// A guard cannot outlive its executor, because a task spawned later would never run.
    tasks: &'a Tasks,
}

impl Drop for Enter<'_> {
    fn drop(&mut self) {
        let before = self.before.take();
        CURRENT.with(|current| current.replace(before));
    }
}

impl fmt::Debug for Enter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Enter").field(self.tasks).finish()
    }
}

/// A call of `block_on` or `tick` that has not returned yet.
#[derive(Clone, Copy)]
struct Call {
    location: &'static Location<'static>,
    /// For `block_on`, the address of its executor's tasks: until it returns, no other executor can
    /// run on this thread. `None` for `tick`, because several executors can be ticked alternately.
    blocks: Option<*const Tasks>,
}

/// Returns where `block_on` of another executor was called, if this thread is inside it.
///
/// A task of this executor cannot run before that `block_on` returns. So a future in that `block_on`
/// could wait forever for such a task.
pub(crate) fn held_up_by(tasks: &Weak<Tasks>) -> Option<&'static Location<'static>> {
    let Call { location, blocks } = CALL.get()?;
    blocks.filter(|&other| other != tasks.as_ptr()).map(|_| location)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Executor, block_on, spawn, yield_now};

    // Pitfall: T5
    #[test]
    fn slots_of_a_burst_are_reused_until_the_thread_sleeps() {
        block_on(async {
            let tasks = Tasks::current();
            for _ in 0..3 {
                let burst: Vec<_> = (0..2 * BURST).map(|_| spawn(async {})).collect();
                for task in burst {
                    task.await.unwrap();
                }
                assert_eq!(tasks.slots().len(), 1 + 2 * BURST);
            }
            reactor::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(tasks.slots().len(), 1);
            assert!(tasks.lists.borrow().queue.capacity() <= BURST);
        });
    }

    #[test]
    fn tick_frees_the_slots_of_a_burst_once_nothing_is_queued() {
        let executor = Executor::new().unwrap();
        let entered = executor.enter();
        (0..2 * BURST).for_each(|_| drop(spawn(yield_now())));
        let tasks = Tasks::current();
        drop(entered);
        assert!(executor.tick());
        assert_eq!(tasks.slots().len(), 2 * BURST);
        while executor.tick() {}
        assert_eq!(tasks.slots().len(), 0);
    }

    #[test]
    fn slot_without_wakers_is_reused_for_the_next_task() {
        let tasks = table(1, |_| false);
        let slot = Rc::as_ptr(&tasks.slots()[0]);
        assert_eq!(Rc::as_ptr(&tasks.add("", Location::caller(), None)), slot);
    }

    /// Returns a table whose slots are free, except those with the given keys.
    fn table(len: usize, is_taken: impl Fn(usize) -> bool) -> Rc<Tasks> {
        let tasks = Tasks::new(Reactor::new().unwrap());
        let add = |_| tasks.add("", Location::caller(), None);
        let all: Vec<_> = (0..len).map(add).collect();
        for task in all.iter().filter(|task| !is_taken(task.header.key)) {
            tasks.free(task);
        }
        tasks
    }

    #[test]
    fn table_of_burst_slots_keeps_its_free_slots() {
        let tasks = table(BURST, |_| false);
        tasks.shrink();
        assert_eq!(tasks.slots().len(), BURST);
    }

    #[test]
    fn larger_table_drops_the_free_slots_after_its_last_task() {
        let tasks = table(BURST + 1, |key| key < SURVIVORS - 1 || key == 2 * SURVIVORS);
        tasks.shrink();
        let mut lists = tasks.lists.borrow_mut();
        assert_eq!(lists.slots.len(), 2 * SURVIVORS + 1);
        lists.free.sort_unstable();
        assert_eq!(lists.free, (SURVIVORS - 1..2 * SURVIVORS).collect::<Vec<_>>());
    }

    #[test]
    fn table_with_more_tasks_than_survivors_keeps_its_free_slots() {
        let tasks = table(BURST + 1, |key| key <= SURVIVORS);
        tasks.shrink();
        assert_eq!(tasks.slots().len(), BURST + 1);
    }

    #[test]
    fn table_whose_last_slot_is_taken_keeps_its_memory() {
        let tasks = table(BURST + 1, |key| key == BURST);
        tasks.lists.borrow_mut().slots.reserve_exact(7);
        let before = tasks.lists.borrow().slots.capacity();
        assert!(before > BURST + 1);
        tasks.shrink();
        assert_eq!(tasks.lists.borrow().slots.capacity(), before);
    }

    #[test]
    fn run_queue_shrinks_if_it_is_larger_than_a_burst() {
        let tasks = table(0, |_| false);
        for (before, after) in [(BURST, BURST), (BURST + 1, 0)] {
            tasks.lists.borrow_mut().queue = VecDeque::with_capacity(before);
            tasks.shrink();
            assert_eq!(tasks.lists.borrow().queue.capacity(), after);
        }
    }
}
