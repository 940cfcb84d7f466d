//! The executor: it takes woken tasks from the run queue and polls them, and when there are none
//! it lets the reactor wait.
//!
//! Called by: `main`, through [`block_on`](crate::block_on); by tasks, through `spawn`; and by a
//! foreign event loop, through [`Executor::tick`].
//!
//! Invariant: a future is polled, dropped or ended with nothing borrowed, and never after its end.
//! The executor does not know what a socket is.
//!
//! A task has three parts, in three places: its *slot* here, which says where its future is; its
//! *header* in `task.rs`, to which wakers point; and its future, on the heap, in `join.rs`. In the
//! queue, its key stands for all three.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use log::{debug, trace, warn};
use reactor::{Reactor, budget};
use slab::Slab;

use crate::Remote;
use crate::current::Inside;
use crate::join::{AnyTask, End, JoinHandle, Membership, Task, contain};
use crate::metrics::{Counters, Metrics};
use crate::queue::Queue;
use crate::task::Header;

/// Polls in one round, if the queue was shorter than this when the round began. Tasks that pass
/// work to and fro finish many steps before the kernel is asked again; yet a socket or a timer
/// waits for no more than these.
const ROUND: usize = 64;

/// A slab that grew beyond this with a burst of tasks is shrunk when fewer than [`ROUND`] are left.
const SLOTS: usize = 1024;

/// A run queue, its tasks, and the reactor that they wait for; all on one thread.
///
/// [`block_on`](crate::block_on) is enough for most programs. An `Executor` of one's own outlives a
/// `block_on`, can be stepped by a foreign event loop, and tells what it counted.
///
/// Dropping it drops the tasks that are left, while the reactor still lives. It is the current
/// executor then, but closed: what their destructors spawn is dropped at once, as cancelled.
///
/// # Examples
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let executor = executor::Executor::new()?;
/// let task = executor.spawn(async { "done" });
/// assert_eq!(executor.block_on(task).unwrap(), "done");
/// assert_eq!(executor.metrics().tasks, 0);
/// assert!(executor.tasks().is_empty());
/// # Ok(())
/// # }
/// ```
pub struct Executor {
    pub(crate) core: Rc<Core>,
}

/// What the executor shares with `spawn` and with the handles of its tasks.
pub(crate) struct Core {
    /// Where the thread sleeps, and where the tasks' sockets and timers are.
    reactor: Rc<Reactor>,
    /// Shared with nobody but the thread-local through which wakers find it.
    queue: Rc<Queue>,
    /// All tasks that have not ended, by key; and the tombstones of some that have.
    pub(crate) tasks: RefCell<Slab<Slot>>,
    /// The number of the future of `block_on`, while it is not polled: its slot does not tell.
    pub(crate) main: Cell<Option<u64>>,
    /// Set when the executor is dropped: nothing is spawned any more, for nobody would poll it. And
    /// the list of those to drop is made by then: what is spawned by a destructor would miss it.
    closed: Cell<bool>,
    /// A task of this round had more to do than one poll may.
    overspent: Cell<bool>,
    /// How long to look for events before the thread sleeps.
    spin: Cell<Duration>,
    /// Since when there has been nothing to do, if the thread spins.
    idle_since: Cell<Option<Instant>>,
    /// Tasks so far, and so the number of the next one.
    spawned: Cell<u64>,
    counters: Counters,
}

/// One task, as the executor has it.
pub(crate) struct Slot {
    /// The executor's own reference: by the count of the others it knows whether anybody is left
    /// who could wake.
    pub(crate) header: Arc<Header>,
    /// How often it was polled.
    pub(crate) polls: u64,
    /// The turn's time at the last of them, or at the spawn.
    pub(crate) since: Instant,
    pub(crate) body: Body,
}

/// Which poll it is that follows: taken out of the slot, which is not borrowed during it.
struct PollOf {
    task: u64,
    /// Not the task's first.
    again: bool,
}

impl Slot {
    /// The key was popped: clears the flag, for a poll. One function for spawned tasks and for the
    /// future of `block_on`, so that neither is polled without it.
    fn begin(&mut self, now: Instant) -> PollOf {
        self.header.begin();
        self.polls += 1;
        self.since = now;
        PollOf { task: self.header.number, again: self.polls > 1 }
    }

    /// The task will never be polled again. Said before its future is dropped: what that wakes, or
    /// aborts, finds a task that is done.
    fn end(&mut self) -> u64 {
        self.body = Body::Done;
        self.header.number
    }
}

/// Where the future of a task is.
pub(crate) enum Body {
    /// Here: it waits, or its key is in the queue.
    Waiting(Pin<Box<dyn AnyTask>>),
    /// Not here: in the loop that polls it, or on its way in from `spawn`. That of `block_on` never
    /// leaves its stack. Whoever wants to abort it now leaves a word, which the loop reads.
    Running { aborted: bool },
    /// Dropped. A slot in this state is a tombstone: it waits for its key to be popped.
    Done,
}

impl Executor {
    /// Makes an executor with a reactor of its own.
    ///
    /// # Errors
    ///
    /// When the operating system refuses a descriptor for the reactor.
    pub fn new() -> io::Result<Executor> {
        let reactor = Reactor::new()?;
        let queue = Queue::new(reactor.notifier());
        Ok(Executor {
            core: Rc::new(Core {
                reactor,
                queue,
                tasks: RefCell::default(),
                main: Cell::new(None),
                closed: Cell::new(false),
                overspent: Cell::new(false),
                spin: Cell::new(Duration::ZERO),
                idle_since: Cell::new(None),
                spawned: Cell::new(0),
                counters: Counters::default(),
            }),
        })
    }

    /// Spawns a task on this executor.
    ///
    /// It first runs in the next [`block_on`](Executor::block_on) or [`tick`](Executor::tick).
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.core.spawn("", Location::caller(), None, future)
    }

    /// Runs `future` to its end, and all tasks meanwhile.
    ///
    /// The loop is a sequence of *rounds*. One round:
    ///
    /// 1. Poll tasks from the run queue until it is empty, but no more than were in it when the
    ///    round began, or 64 if there were fewer and none spends its budget. `future` is one of
    ///    them, and returns from here.
    /// 2. Turn the reactor. If tasks are queued, or another thread has notified, it only looks
    ///    for events; else the thread sleeps until there is an event, a timer or a notification.
    /// 3. If another thread has notified, move what lies in the inbox into the run queue.
    ///
    /// That the inbox is empty is never concluded from a turn of the reactor: a task may turn it
    /// too, and swallow the notification. Only the flag tells.
    ///
    /// So with a `future` that is ready at its first poll only the first step happens: tasks that are
    /// queued already are polled, but no event and no wake of another thread comes in, however often
    /// this is called. To look now and then what there is, call [`tick`](Executor::tick).
    ///
    /// # Panics
    ///
    /// Inside another `block_on` on the same thread, and with the panic of `future`. The executor
    /// can be used again after that. Also if the system refuses to wait for events.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let _inside = Inside::enter(Location::caller());
        // From here on `spawn`, sockets and timers of this thread find this executor. Dropped after
        // the two below, for what their destructors do may still ask for it.
        let _entered = self.core.enter();
        let main = Main::new(&self.core, Location::caller());
        // Dropped before `main` ends its slot.
        let mut future = pin!(future);
        // The first poll comes as every other one: by way of the queue.
        main.header.schedule();
        loop {
            for key in self.core.round() {
                // The one future that is not in its slot, and the one whose panic is not caught:
                // it belongs to the caller, on whose stack it lies.
                if key != main.header.key {
                    self.core.run(key);
                } else if let Poll::Ready(output) = main.poll(future.as_mut()) {
                    return output;
                }
            }
            self.core.park(true);
        }
    }

    /// Runs one round without sleeping, and tells whether tasks are queued for another one at once.
    ///
    /// This is for a foreign event loop. When no tasks are queued, it waits until the descriptor of
    /// [`reactor`](Executor::reactor) is readable, or its [`next_deadline`](Reactor::next_deadline)
    /// comes, and ticks again. After `block_on` it ticks before it waits: that may leave tasks queued.
    ///
    /// # Panics
    ///
    /// Inside `block_on` or another `tick` on the same thread, and if the system refuses to tell
    /// events.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let executor = executor::Executor::new()?;
    /// let task = executor.spawn(reactor::time::sleep(Duration::from_millis(2)));
    /// while !task.is_finished() {
    ///     if executor.tick() {
    ///         continue;
    ///     }
    ///     // A loop that waits for a deadline alone; others watch the descriptor too.
    ///     let deadline = executor.reactor().next_deadline();
    ///     let left = deadline.map(|deadline| deadline - Instant::now());
    ///     std::thread::sleep(left.unwrap_or_default());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn tick(&self) -> bool {
        let _inside = Inside::enter(Location::caller());
        let _entered = self.core.enter();
        // The round of `block_on`, without a main future and without a sleep.
        for key in self.core.round() {
            self.core.run(key);
        }
        self.core.park(false);
        // Also by the flag: a function from another thread, called by `park`, may have turned the
        // reactor, and swallowed the notification of the next one. The descriptor is silent then.
        self.core.queue.len() > 0 || self.core.queue.is_notified()
    }

    /// The reactor that the tasks wait for.
    pub fn reactor(&self) -> &Rc<Reactor> {
        &self.core.reactor
    }

    /// The way in for other threads.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let executor = executor::Executor::new()?;
    /// let remote = executor.remote();
    /// let other = std::thread::spawn(move || remote.spawn(async || println!("from afar")));
    /// assert!(other.join().unwrap().is_ok());
    /// while executor.tick() {}
    /// # Ok(())
    /// # }
    /// ```
    pub fn remote(&self) -> Remote {
        self.core.remote()
    }

    /// What was counted so far.
    pub fn metrics(&self) -> Metrics {
        self.core.counters.metrics(&self.core.queue, &self.core.reactor)
    }

    /// Sets how long the thread, with nothing to do, looks for events before it sleeps.
    ///
    /// Zero at first. Spinning spends a core to spare each message the way into the kernel's sleep
    /// and out of it.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let executor = executor::Executor::new()?;
    /// executor.set_spin(std::time::Duration::from_micros(50));
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_spin(&self, spin: Duration) {
        self.core.spin.set(spin);
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        let _entered = self.core.enter();
        self.core.closed.set(true);
        // The keys first: what a destructor does may end other tasks, and borrows the slab.
        let keys: Vec<usize> = self.core.tasks.borrow().iter().map(|(key, _)| key).collect();
        for key in keys {
            self.core.abort(key);
        }
        // Once: what is sent from now on is refused, or dropped with the queue.
        self.core.queue.take_messages(|make| contain("a destructor", || drop(make)));
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("metrics", &self.metrics()).finish_non_exhaustive()
    }
}

impl Core {
    pub(crate) fn reactor(&self) -> &Rc<Reactor> {
        &self.reactor
    }

    pub(crate) fn queue(&self) -> &Rc<Queue> {
        &self.queue
    }

    pub(crate) fn remote(&self) -> Remote {
        Remote::new(self.queue.inbox())
    }

    /// Makes a task of the future, and queues it for its first poll: it is not polled here. So
    /// `spawn` returns at once, also in the middle of a poll, and no task runs inside another.
    pub(crate) fn spawn<F>(
        self: &Rc<Self>,
        name: &'static str,
        place: &'static Location<'static>,
        set: Option<Membership>,
        future: F,
    ) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        if self.closed.get() {
            drop(future);
            return JoinHandle::cancelled(self.next_number(), name, place, set);
        }
        // The slot comes first: the waker needs its key, and the task needs the waker.
        let header = self.add_slot(name, place);
        let waker = Waker::from(header.clone());
        let (task, handle) = Task::with_handle(future, waker, set, &header, Rc::downgrade(self));
        self.tasks.borrow_mut()[header.key].body = Body::Waiting(task);
        debug!(task = header.number, key = header.key, name, at:% = place, waker:? = Arc::as_ptr(&header); "spawn");
        header.schedule();
        handle
    }

    /// Numbers name tasks in records, and are never used twice, as keys are.
    fn next_number(&self) -> u64 {
        self.spawned.replace(self.spawned.get() + 1)
    }

    /// A slot for a task that is about to come.
    fn add_slot(&self, name: &'static str, place: &'static Location<'static>) -> Arc<Header> {
        let mut tasks = self.tasks.borrow_mut();
        let number = self.next_number();
        self.counters.unfinished.add(1);
        let inbox = self.queue.inbox().clone();
        let header = Arc::new(Header::new(tasks.vacant_key(), number, name, place, inbox));
        let body = Body::Running { aborted: false };
        tasks.insert(Slot { header: header.clone(), polls: 0, since: self.reactor.now(), body });
        header
    }

    /// The keys to poll in one round: what is queued now, and what that brings forth, up to
    /// [`ROUND`]. But once a task had more to do than a poll may, only the former: it would else
    /// have its share many times before the kernel is asked what the others have received.
    ///
    /// An iterator, so that each key is popped when its turn has come: the loop may return in the
    /// middle, and what is left stays queued.
    fn round(&self) -> impl Iterator<Item = usize> {
        let queued = self.queue.len();
        self.overspent.set(false);
        (0..queued.max(ROUND))
            .take_while(move |&polls| polls < queued || !self.overspent.get())
            .map_while(|_| self.queue.pop())
    }

    /// Polls the task whose key was popped.
    fn run(&self, key: usize) {
        let Some((mut task, of)) = self.take_body(key) else { return };
        // A panic ends this task, and nothing else. That it may leave broken values behind concerns
        // only who shares them with the task, and they can learn of it from its handle.
        let polled = catch_unwind(AssertUnwindSafe(|| self.poll(of, || task.as_mut().poll())));
        match polled {
            Ok(Poll::Ready(())) => self.end(key, task, End::Ready),
            Ok(Poll::Pending) => self.suspend(key, task),
            Err(panic) => self.end(key, task, End::Panic(panic)),
        }
    }

    /// Takes the task out of its slot, for a poll: the poll may spawn and abort, and for that the
    /// slab must not be borrowed. If the key was that of a task that has ended meanwhile, its slot
    /// is free now.
    fn take_body(&self, key: usize) -> Option<(Pin<Box<dyn AnyTask>>, PollOf)> {
        let mut tasks = self.tasks.borrow_mut();
        let slot = &mut tasks[key];
        match mem::replace(&mut slot.body, Body::Running { aborted: false }) {
            Body::Waiting(task) => Some((task, slot.begin(self.reactor.now()))),
            Body::Running { .. } => unreachable!("a task is not polled from within itself"),
            Body::Done => {
                tasks.remove(key);
                None
            }
        }
    }

    /// One poll, of a task or of the future of `block_on`: with a budget, and counted.
    ///
    /// A *spurious* poll is one that could be spared: not the first, without an operation that gave
    /// a result, and at its end the task waits for a source again. That is an estimate, for the
    /// executor cannot see what else a future does.
    fn poll<T>(&self, of: PollOf, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        self.counters.polls.add(1);
        let waits = self.reactor.metrics().waits;
        let budget = budget::enter();
        trace!(task = of.task; "poll");
        let polled = poll();
        let spent = budget.spent();
        // All of its budget, so it would probably have gone on: see `round`.
        if spent == budget::OPERATIONS {
            self.overspent.set(true);
        }
        if polled.is_pending() {
            trace!(task = of.task; "pending");
            if of.again && spent == 0 {
                let waited = self.reactor.metrics().waits > waits;
                self.counters.spurious_polls.add(u64::from(waited));
            }
        }
        polled
    }

    /// Puts a task that returned `Pending` back into its slot.
    fn suspend(&self, key: usize, task: Pin<Box<dyn AnyTask>>) {
        let mut tasks = self.tasks.borrow_mut();
        let slot = &mut tasks[key];
        // Aborted in the middle of its own poll: it ends here, after it.
        if matches!(slot.body, Body::Running { aborted: true }) {
            drop(tasks);
            return self.end(key, task, End::Abort);
        }
        // Whether it was woken meanwhile is not asked here: whoever woke it has pushed its key.
        slot.body = Body::Waiting(task);
        // One reference is the slot's, the other that of the waker in the task. Whoever could wake
        // it has a third; and if a key of it is out, that is a wake that is still to come.
        let lost = Header::is_lost(&slot.header, 2).then(|| slot.header.clone());
        // Told with nothing borrowed, and so of a reference of its own: a logger is foreign code.
        drop(tasks);
        if let Some(header) = lost {
            report_lost(&header);
        }
    }

    /// Every end of a spawned task goes through here. The order matters: the future is dropped,
    /// then the handle learns of it, and last the slot is given up. Whoever awaits the handle may
    /// rely on it that the task's sockets are closed; and a wake on the way finds a slot that is
    /// its own.
    fn end(&self, key: usize, task: Pin<Box<dyn AnyTask>>, end: End) {
        let number = self.tasks.borrow_mut()[key].end();
        // Before the future is dropped: its destructor has things to tell, and they come after.
        match end {
            End::Ready => debug!(task = number; "done"),
            End::Abort => debug!(task = number; "abort"),
            End::Panic(_) => warn!(task = number; "panic"),
        }
        task.end(end);
        self.end_slot(key);
    }

    /// Frees the slot; or, if its key is still out, leaves the tombstone for whoever pops it.
    fn end_slot(&self, key: usize) {
        self.counters.unfinished.subtract(1);
        let mut tasks = self.tasks.borrow_mut();
        let slot = &mut tasks[key];
        // Said of a spawned task already; of the future of `block_on` only here.
        slot.body = Body::Done;
        // With its key still out, the slot would be somebody else's when the key is popped, and
        // that task would be polled in its place.
        if !slot.header.end() {
            tasks.remove(key);
        }
        if tasks.capacity() > SLOTS && tasks.len() < ROUND {
            tasks.shrink_to_fit();
        }
    }

    /// Ends a task from outside: now, if it waits; after its poll, if it runs.
    pub(crate) fn abort(self: &Rc<Self>, key: usize) {
        let mut tasks = self.tasks.borrow_mut();
        let Some(slot) = tasks.get_mut(key) else { return };
        match mem::replace(&mut slot.body, Body::Done) {
            Body::Waiting(task) => {
                // What follows is foreign code: the destructor of the future.
                drop(tasks);
                // What its destructor spawns, it spawns here.
                let _entered = self.enter_from_outside();
                self.end(key, task, End::Abort);
            }
            // Its future is on the stack below us, in the middle of a poll: it ends after that.
            Body::Running { .. } => slot.body = Body::Running { aborted: true },
            Body::Done => {}
        }
    }

    /// The second and third step of a round: events, then the inbox.
    fn park(&self, may_sleep: bool) {
        // Between this look at `notified` and the sleep another thread may push: then it finds the
        // flag clear and notifies, and `epoll_wait` returns at once. No wake falls in between.
        let idle = self.queue.len() == 0 && !self.queue.is_notified();
        let sleep = idle && may_sleep && !self.spins();
        let timeout = if sleep { None } else { Some(Duration::ZERO) };
        // Without events there is nothing to wait for, and nobody to tell it to: the only error
        // that ends the loop.
        if let Err(error) = self.reactor.turn(timeout) {
            panic!("the system cannot wait for events: {error}");
        }
        // After the turn, which they may have ended. But only the flag tells whether there are any:
        // see `block_on`.
        let keys = self.queue.take_messages(|make| contain("a function from another thread", make));
        if let Some(keys) = keys {
            self.counters.notifications.add(1);
            self.counters.remote_wakes.add(keys);
        }
        if self.queue.len() > 0 {
            self.idle_since.set(None);
        }
    }

    /// Whether to look for events once more instead of sleeping.
    fn spins(&self) -> bool {
        let spin = self.spin.get();
        if spin.is_zero() {
            return false;
        }
        let now = self.reactor.now();
        // By the clock of the turns: the loop that spins reads it each time anyway.
        let since = self.idle_since.get().unwrap_or(now);
        self.idle_since.set(Some(since));
        now.duration_since(since) < spin
    }
}

/// The slot of the future given to `block_on`, which itself stays on the stack. It obeys the same
/// rules as any task: a waker of it that is kept for too long wakes nobody else.
struct Main<'a> {
    core: &'a Core,
    header: Arc<Header>,
    /// One for all polls, as each task has.
    waker: Waker,
}

impl<'a> Main<'a> {
    fn new(core: &'a Core, place: &'static Location<'static>) -> Main<'a> {
        // It borrows what its caller has, and so cannot be `'static` as a spawned future: it stays
        // with `block_on`, and its slot remains in the state of one that runs.
        let header = core.add_slot("main", place);
        debug!(task = header.number, name = "main", at:% = place, waker:? = Arc::as_ptr(&header); "spawn");
        core.main.set(Some(header.number));
        Main { core, waker: Waker::from(header.clone()), header }
    }

    /// As [`Core::run`] does it for the others, but for its end, which is that of `block_on`.
    fn poll<F: Future>(&self, future: Pin<&mut F>) -> Poll<F::Output> {
        let of = self.core.tasks.borrow_mut()[self.header.key].begin(self.core.reactor.now());
        self.core.main.set(None);
        let polled = self.core.poll(of, || future.poll(&mut Context::from_waker(&self.waker)));
        if polled.is_pending() {
            self.core.main.set(Some(self.header.number));
            // One reference is the slot's, one is here, and one is that of the waker.
            if Header::is_lost(&self.header, 3) {
                report_lost(&self.header);
            }
        }
        polled
    }
}

/// Also when the future panics: else its slot, and the count of tasks, would be left behind in an
/// executor that may be used again.
impl Drop for Main<'_> {
    fn drop(&mut self) {
        let panics = thread::panicking();
        // In this order: a logger that panics must not leave the slot to a key in the queue.
        self.core.end_slot(self.header.key);
        match panics {
            false => debug!(task = self.header.number; "done"),
            true => debug!(task = self.header.number; "panic"),
        }
    }
}

/// Nobody holds a waker of the task, so it waits for ever, and with it whoever awaits it. The
/// usual cause is a future that returned `Pending` without keeping the waker; unless it waits for
/// ever on purpose, as `pending()` does, or a sleep beyond the clock's end.
fn report_lost(header: &Header) {
    warn!(task = header.number, name = header.name, at:% = header.place; "lost: no source, timer, thread or queue holds a waker of this task");
}
