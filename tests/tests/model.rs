//! Random programs against a model of the executor.
//!
//! Each seed is one program. Its tasks and destructors wake, spawn, abort, join, drop handles and
//! panic at random, on the executor's thread and through a helper thread. So do wakers of the
//! program and its logger, which is called before the thread sleeps. Between these actions the
//! program calls `tick` and `block_on`. The model predicts what the executor must do:
//!
//! - which task may be polled now, and which must still be polled (see [`Wakes`]);
//! - whether a task has ended, and with which result;
//! - that each future is dropped once, on its own thread, and only for a reason;
//! - that a handle or a set returns the result only after the future was dropped;
//! - that each output is dropped once;
//! - that the descriptor of the reactor is readable if a task was woken between two ticks.
//!
//! The test prints a seed that fails. A run of only that seed also prints its actions:
//! `MODEL_SEED=7 cargo test -p tests --test model -- --nocapture`. A program with an even seed is
//! deterministic. In a program with an odd seed, the helper thread and the executor's thread also
//! run concurrently.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::env;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

use executor::{
    AbortHandle, Executor, JoinError, JoinHandle, JoinSet, Remote, RemoteJoinHandle, spawn,
    yield_now,
};
use rustix::event::{PollFd, PollFlags, Timespec};
use tests::wakers::poll;
use tests::{DEADLINE, within_deadline};

/// The number of programs. Together they take about 10 seconds on two cores.
const SEEDS: u64 = 10_000;
/// The number of tasks that one program may spawn.
const TASKS: usize = 80;
/// The number of actions in one program, so that it ends.
const FUEL: u32 = 2000;

/// The possible states of the wakeups of one task that no poll has followed yet. Bit `n` is set if
/// state `n` is possible.
///
/// A state is a sum of flags. A flag changes without the model's knowledge: from `COMING` to `SENT`
/// when the helper thread calls the waker, and from `SENT` to `QUEUED` when the executor receives
/// the message. Two wakeups with the same flag coalesce.
#[derive(Clone, Copy)]
struct Wakes(u8);

/// The task is in the run queue.
const QUEUED: u8 = 1;
/// A message that wakes the task is in the inbox.
const SENT: u8 = 2;
/// The helper thread is going to wake the task.
const COMING: u8 = 4;

impl Wakes {
    const NONE: Wakes = Wakes(1);

    fn map(self, step: impl Fn(u8) -> Option<u8>) -> Wakes {
        let states = (0..8).filter(|state| self.0 & (1 << state) != 0).filter_map(step);
        Wakes(states.fold(0, |set, state| set | 1 << state))
    }

    /// Adds a flag to each state.
    fn with(self, flag: u8) -> Wakes {
        self.map(|state| Some(state | flag))
    }

    /// Keeps the states without these flags, after flags may have changed.
    fn without(self, flags: u8) -> Wakes {
        self.moved().map(|state| (state & flags == 0).then_some(state))
    }

    /// Adds the states that can be reached without the model's knowledge.
    fn moved(self) -> Wakes {
        let next = |set: Wakes, from: u8, to: u8| {
            let moved = set.map(|state| (state & from != 0).then_some(state & !from | to));
            Wakes(set.0 | moved.0)
        };
        // A message may have been received before the helper sends the next one.
        next(next(next(self, SENT, QUEUED), COMING, SENT), SENT, QUEUED)
    }

    /// The executor polls the task, so the task was in the run queue.
    fn polled(self) -> Wakes {
        self.moved().map(|state| (state & QUEUED != 0).then_some(state & !QUEUED))
    }

    /// Whether the helper may still be about to wake the task. The program must not request a
    /// second wakeup then, because the executor may poll the task between the two.
    fn may_be_coming(self) -> bool {
        (0..8).any(|state| state & COMING != 0 && self.0 & (1 << state) != 0)
    }

    /// Whether the task is queued, or a message is in the inbox.
    fn is_certain(self) -> bool {
        (0..8).all(|state| state & (QUEUED | SENT) != 0 || self.0 & (1 << state) == 0)
    }

    fn is_impossible(self) -> bool {
        self.0 == 0
    }
}

/// How a task ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Output,
    Panic,
    Cancelled,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Abort {
    No,
    /// A message to abort the task is in the inbox.
    Sent,
    Yes,
}

/// What the model knows about one task.
struct Model {
    wakes: Wakes,
    abort: Abort,
    /// How the last poll ended the task, if it did.
    returned: Option<End>,
    /// The result of the handle. Set when the future has been dropped.
    end: Option<End>,
    is_main: bool,
    /// Whether the message that spawns the task is still in the inbox. If the destructor of the
    /// message panics, the handle does not return that panic.
    is_message: bool,
    /// The task that polled the handle last.
    joiner: Option<usize>,
    /// The set that the task belongs to.
    set: Option<usize>,
    /// The ID that the executor gave to the task, as far as the program can know.
    task_id: Option<u64>,
    /// How often the output has been dropped.
    outputs: Arc<AtomicUsize>,
}

/// What the model knows about one `JoinSet`.
#[derive(Default)]
struct Set {
    /// `None` while the program is calling a method of the set.
    tasks: Option<JoinSet<Output>>,
    /// The members that have ended, in this order.
    ended: VecDeque<usize>,
    /// The members that have not ended.
    live: BTreeSet<usize>,
    /// The task that polled the set last.
    waiter: Option<usize>,
}

enum Handle {
    Local(JoinHandle<Output>),
    Remote(RemoteJoinHandle<Output>),
}

impl Handle {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Output, JoinError>> {
        match self {
            Handle::Local(handle) => Pin::new(handle).poll(cx),
            Handle::Remote(handle) => Pin::new(handle).poll(cx),
        }
    }

    fn is_finished(&self) -> bool {
        match self {
            Handle::Local(handle) => handle.is_finished(),
            Handle::Remote(handle) => handle.is_finished(),
        }
    }
}

/// The output of task `id`. When it is dropped on the executor's thread, it performs random
/// actions.
struct Output {
    id: usize,
    drops: Arc<AtomicUsize>,
    home: ThreadId,
    /// Whether the program has received the output from a handle. If so, its destructor must not
    /// panic.
    delivered: bool,
}

impl Drop for Output {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::Relaxed);
        if thread::current().id() != self.home {
            return;
        }
        let Some(world) = World::current() else { return };
        world.note(|| format!("drop the output of {}", self.id));
        world.act(2);
        if !self.delivered && !thread::panicking() && world.chance(5) {
            resume_unwind(Box::new("output"));
        }
    }
}

/// The future of task `id`.
struct Scripted {
    id: usize,
    /// The number of polls after which it is ready, unless it waits forever.
    polls: u32,
    forever: bool,
    home: ThreadId,
    /// Counts futures that are dropped on another thread.
    strays: Arc<AtomicUsize>,
}

impl Future for Scripted {
    type Output = Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output> {
        let world = World::current().expect("the program runs");
        let id = self.id;
        world.begin_poll(id);
        self.polls = self.polls.saturating_sub(1);
        world.act_in_poll(id, cx);
        if world.chance(4) {
            world.tasks.borrow_mut()[id].returned = Some(End::Panic);
            resume_unwind(Box::new("poll"));
        }
        if self.polls == 0 && !self.forever {
            world.tasks.borrow_mut()[id].returned = Some(End::Output);
            return Poll::Ready(world.output(id));
        }
        let is_main = world.tasks.borrow()[id].is_main;
        if is_main || world.chance(50) {
            world.wake_self(id, cx);
        }
        Poll::Pending
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        if thread::current().id() != self.home {
            self.strays.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if let Some(world) = World::current() {
            world.drop_future(self.id);
        }
    }
}

/// A waker of the program. It acts when it is called and when it is dropped, and may then run the
/// executor or panic.
struct Rude;

impl Wake for Rude {
    fn wake(self: Arc<Self>) {
        let Some(world) = World::current() else { return };
        world.note(|| "call a rude waker".to_owned());
        world.act(1);
        if world.chance(30) && !thread::panicking() {
            resume_unwind(Box::new("waker"));
        }
    }
}

impl Drop for Rude {
    fn drop(&mut self) {
        if !thread::panicking()
            && let Some(world) = World::current()
        {
            world.note(|| "drop a rude waker".to_owned());
            world.act(1);
            world.tick_if_idle();
        }
    }
}

/// The logger of the program.
struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target() == "reactor::reactor"
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata())
            && record.args().as_str() == Some("sleep")
            && let Some(world) = World::current()
        {
            world.act_before_sleep();
        }
    }

    fn flush(&self) {}
}

/// One program: the state of its executor's thread, and its model.
struct World {
    seed: u64,
    random: Cell<u64>,
    fuel: Cell<u32>,
    /// How deeply destructors are nested.
    depth: Cell<u32>,
    tasks: RefCell<Vec<Model>>,
    sets: RefCell<Vec<Set>>,
    handles: RefCell<BTreeMap<usize, Handle>>,
    aborts: RefCell<Vec<(usize, AbortHandle)>>,
    wakers: RefCell<Vec<(usize, Waker)>>,
    /// Whether the executor is current on this thread, so that wakeups need no message.
    inside: Cell<bool>,
    /// Whether the executor is being dropped.
    closed: Cell<bool>,
    polls: Cell<u64>,
    executor: Weak<Executor>,
    /// Whether the last tick in the code of a rude waker has reported that tasks are queued.
    has_work: Cell<bool>,
    /// Whether the logger is being called.
    logging: Cell<bool>,
    /// The main task and its waker, if the logger must wake it.
    sleeper: RefCell<Option<(usize, Waker)>>,
    remote: Remote,
    helper: Helper,
    home: ThreadId,
    strays: Arc<AtomicUsize>,
    errors: RefCell<Vec<String>>,
    verbose: bool,
}

std::thread_local! {
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

impl World {
    /// Returns the program of this thread, or `None` after it has ended.
    fn current() -> Option<Rc<World>> {
        WORLD.with_borrow(Clone::clone)
    }

    fn note(&self, text: impl FnOnce() -> String) {
        if self.verbose {
            println!("{}", text());
        }
    }

    /// Records a fault. A panic would end only the task that is being polled.
    fn check(&self, holds: bool, text: impl Fn() -> String) {
        if !holds {
            self.note(&text);
            self.errors.borrow_mut().push(text());
        }
    }

    /// Whether the helper thread and this thread also run concurrently.
    fn is_racy(&self) -> bool {
        self.seed % 2 == 1
    }

    /// Returns a random number below `limit`.
    fn random(&self, limit: usize) -> usize {
        // This is `splitmix64`.
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as usize % limit
    }

    fn chance(&self, percent: usize) -> bool {
        self.random(100) < percent
    }

    fn burn(&self) -> bool {
        let fuel = self.fuel.get();
        self.fuel.set(fuel.saturating_sub(1));
        fuel > 0
    }

    fn output(&self, id: usize) -> Output {
        let drops = self.tasks.borrow()[id].outputs.clone();
        Output { id, drops, home: self.home, delivered: false }
    }

    /// Adds a task to the model. `flag` is the state of its first wakeup.
    fn scripted(&self, flag: u8, is_main: bool) -> Scripted {
        let mut tasks = self.tasks.borrow_mut();
        let id = tasks.len();
        tasks.push(Model {
            wakes: Wakes::NONE.with(flag),
            abort: Abort::No,
            returned: None,
            end: None,
            is_main,
            is_message: flag == SENT,
            joiner: None,
            set: None,
            task_id: None,
            outputs: Arc::default(),
        });
        drop(tasks);
        let (home, strays) = (self.home, self.strays.clone());
        Scripted {
            id,
            polls: 1 + self.random(4) as u32,
            forever: !is_main && self.chance(25),
            home,
            strays,
        }
    }

    // What the executor does.

    fn begin_poll(&self, id: usize) {
        self.note(|| format!("poll {id}"));
        self.polls.set(self.polls.get() + 1);
        let task = &mut self.tasks.borrow_mut()[id];
        task.wakes = task.wakes.polled();
        let faults = [
            (task.wakes.is_impossible(), "although it was not woken"),
            (task.end.is_some() || task.returned.is_some(), "although it has ended"),
            (task.abort == Abort::Yes, "although it was aborted"),
            (self.closed.get(), "although the executor is being dropped"),
            (thread::current().id() != self.home, "on another thread"),
        ];
        for (fault, text) in faults {
            self.check(!fault, || format!("task {id} is polled {text}"));
        }
        if task.wakes.is_impossible() {
            task.wakes = Wakes::NONE;
        }
    }

    fn drop_future(&self, id: usize) {
        self.note(|| format!("drop the future of {id}"));
        let (returned, has_reason, is_main, is_message) = {
            let task = &self.tasks.borrow()[id];
            self.check(task.end.is_none(), || format!("the future of {id} is dropped twice"));
            let aborted = task.abort != Abort::No || self.closed.get();
            let has_reason = task.returned.is_some() || aborted;
            (task.returned, has_reason, task.is_main, task.is_message)
        };
        self.check(has_reason, || format!("the future of {id} is dropped without a reason"));
        self.act(2);
        let panics = !is_main && !thread::panicking() && self.chance(6);
        let end = match returned {
            Some(end) => end,
            None if panics && !is_message => End::Panic,
            None => End::Cancelled,
        };
        let mut tasks = self.tasks.borrow_mut();
        let task = &mut tasks[id];
        task.end = Some(end);
        // The executor now notifies the handle and the set.
        let (mut woken, set) = (task.joiner.take(), task.set);
        if let Some(set) = set {
            let set = &mut self.sets.borrow_mut()[set];
            if set.live.remove(&id) {
                set.ended.push_back(id);
                woken = set.waiter.take();
            }
        }
        if let Some(woken) = woken {
            tasks[woken].wakes = tasks[woken].wakes.with(QUEUED);
        }
        drop(tasks);
        if panics {
            self.note(|| format!("the destructor of {id} panics"));
            resume_unwind(Box::new("future"));
        }
    }

    /// Checks what a handle or a set has returned for a task.
    fn check_result(&self, id: usize, result: Result<Output, JoinError>) {
        let end = match &result {
            Ok(_) => End::Output,
            Err(error) if error.is_panic() => End::Panic,
            Err(_) => End::Cancelled,
        };
        self.note(|| format!("the result of {id}: {end:?}"));
        let expected = self.tasks.borrow()[id].end;
        self.check(expected == Some(end), || format!("{id} returned {end:?}, not {expected:?}"));
        if let Ok(mut output) = result {
            self.check(output.id == id, || format!("{id} returned the output of {}", output.id));
            output.delivered = true;
        }
    }

    // What the program does.

    /// Performs up to `most` random actions, in a destructor or between two calls of the executor.
    fn act(&self, most: usize) {
        if self.depth.get() == 2 {
            return;
        }
        self.depth.set(self.depth.get() + 1);
        for _ in 0..self.random(most + 1) {
            if self.burn() {
                self.act_once();
            }
        }
        self.depth.set(self.depth.get() - 1);
    }

    /// Acts as the logger that is called before the thread sleeps. It may turn the reactor, and it
    /// may wake tasks.
    fn act_before_sleep(&self) {
        if self.closed.get() || self.logging.replace(true) {
            return;
        }
        let turns = self.chance(20);
        if turns && let Some(executor) = self.executor.upgrade() {
            self.note(|| "the logger turns the reactor".to_owned());
            executor.reactor().turn(Some(Duration::ZERO)).expect("events can be fetched");
        }
        // The executor has decided to sleep, so a wakeup must go through the inbox. After a turn
        // it will not sleep.
        let before = self.inside.replace(turns);
        let sleeper = self.sleeper.take();
        if let Some((id, waker)) = sleeper {
            self.note_woken(id);
            waker.wake();
        } else if self.chance(20) {
            self.act(2);
        }
        self.inside.set(before);
        self.logging.set(false);
    }

    /// Runs the executor, unless it is running.
    fn tick_if_idle(&self) {
        let is_busy = self.inside.get() || self.logging.get() || self.closed.get();
        if !is_busy
            && self.burn()
            && let Some(executor) = self.executor.upgrade()
        {
            self.has_work.set(self.inside(|| executor.tick()));
        }
    }

    /// Returns a rude waker in some cases.
    fn rude_waker(&self) -> Option<Waker> {
        self.chance(15).then(|| Waker::from(Arc::new(Rude)))
    }

    fn act_once(&self) {
        match self.random(16) {
            0..3 => self.wake(),
            3 => drop(self.take_waker()),
            4..7 => self.spawn(),
            7 => self.spawn_in_set(),
            8 => self.abort(),
            9 => {
                let Some(id) = self.pick() else { return };
                self.note(|| format!("drop the handle of {id}"));
                self.tasks.borrow_mut()[id].joiner = None;
                let handle = self.handles.borrow_mut().remove(&id);
                drop(handle);
            }
            10 => self.check_is_finished(),
            11 => self.use_set(),
            12 => self.helper_wakes(),
            13 => {
                if let Some((_, waker)) = self.take_waker() {
                    self.helper.run(self, move || drop(waker));
                }
            }
            14 => self.helper_spawns(),
            _ => self.helper_aborts(),
        }
    }

    /// Performs a few random actions in the poll of task `id`.
    fn act_in_poll(&self, id: usize, cx: &mut Context<'_>) {
        for _ in 0..self.random(4) {
            if !self.burn() {
                return;
            }
            match self.random(10) {
                0..3 => self.wakers.borrow_mut().push((id, cx.waker().clone())),
                3..5 => self.join(id, cx),
                5 => self.join_set(id, cx),
                _ => self.act_once(),
            }
        }
    }

    fn wake_self(&self, id: usize, cx: &mut Context<'_>) {
        let (is_main, is_coming) = {
            let task = &self.tasks.borrow()[id];
            (task.is_main, task.wakes.may_be_coming())
        };
        if is_main && self.is_racy() && !is_coming && self.chance(60) {
            // The helper wakes the task while the executor is going to sleep, or is asleep.
            return self.helper_will_wake(id, cx.waker().clone());
        }
        if is_main && self.sleeper.borrow().is_none() && self.chance(20) {
            self.sleeper.replace(Some((id, cx.waker().clone())));
            return;
        }
        match self.random(2) {
            0 => cx.waker().wake_by_ref(),
            _ => _ = pin!(yield_now()).poll(cx),
        }
        self.note_woken(id);
    }

    /// Records in the model that this thread has woken a task.
    fn note_woken(&self, id: usize) {
        self.note(|| format!("wake {id}"));
        let task = &mut self.tasks.borrow_mut()[id];
        task.wakes = task.wakes.with(if self.inside.get() { QUEUED } else { SENT });
    }

    fn take_waker(&self) -> Option<(usize, Waker)> {
        let mut wakers = self.wakers.borrow_mut();
        let count = wakers.len();
        (count > 0).then(|| wakers.swap_remove(self.random(count)))
    }

    fn wake(&self) {
        let Some((id, waker)) = self.take_waker() else { return };
        self.note_woken(id);
        if self.chance(50) {
            waker.wake();
        } else {
            waker.wake_by_ref();
            self.wakers.borrow_mut().push((id, waker));
        }
    }

    fn can_spawn(&self) -> bool {
        self.tasks.borrow().len() < TASKS
    }

    /// Spawns a task on the current executor. Keeps or drops the handle.
    fn spawn(&self) {
        if !self.inside.get() || !self.can_spawn() {
            return;
        }
        let future = self.scripted(QUEUED, false);
        let id = future.id;
        self.note(|| format!("spawn {id}"));
        self.keep_handle(id, spawn(future));
    }

    fn keep_handle(&self, id: usize, handle: JoinHandle<Output>) {
        self.tasks.borrow_mut()[id].task_id = Some(handle.id());
        if self.chance(30) {
            self.aborts.borrow_mut().push((id, handle.abort_handle()));
        }
        if self.chance(80) {
            self.handles.borrow_mut().insert(id, Handle::Local(handle));
        } else {
            drop(handle);
        }
    }

    fn spawn_in_set(&self) {
        if !self.inside.get() || !self.can_spawn() {
            return;
        }
        let Some((index, mut tasks)) = self.take_set() else { return };
        let future = self.scripted(QUEUED, false);
        let id = future.id;
        self.note(|| format!("spawn {id} in set {index}"));
        self.tasks.borrow_mut()[id].set = Some(index);
        self.sets.borrow_mut()[index].live.insert(id);
        // On an executor that is being dropped, the task ends immediately. That calls the waker of
        // the set, which may panic.
        let spawned = catch_unwind(AssertUnwindSafe(|| tasks.spawn(future)));
        self.check(spawned.is_ok() || self.closed.get(), || format!("the spawn of {id} panics"));
        if let Ok(abort) = spawned {
            self.tasks.borrow_mut()[id].task_id = Some(abort.id());
            if self.chance(30) {
                self.aborts.borrow_mut().push((id, abort));
            }
        }
        self.sets.borrow_mut()[index].tasks = Some(tasks);
    }

    /// Takes a random set out, unless the program is already calling it.
    fn take_set(&self) -> Option<(usize, JoinSet<Output>)> {
        let mut sets = self.sets.borrow_mut();
        let index = self.random(sets.len());
        Some((index, sets[index].tasks.take()?))
    }

    /// Returns a random task whose handle the program has.
    fn pick(&self) -> Option<usize> {
        let handles = self.handles.borrow();
        let count = handles.len();
        (count > 0).then(|| *handles.keys().nth(self.random(count)).unwrap())
    }

    /// Records in the model that this thread has aborted a task.
    fn note_aborted(&self, id: usize) {
        self.note(|| format!("abort {id}"));
        let task = &mut self.tasks.borrow_mut()[id];
        if task.end.is_none() {
            task.abort = Abort::Yes;
        }
    }

    fn abort(&self) {
        if self.chance(50) {
            let aborts = self.aborts.borrow();
            if !aborts.is_empty() {
                let (id, abort) = aborts[self.random(aborts.len())].clone();
                drop(aborts);
                abort.abort();
                self.note_aborted(id);
            }
        } else if let Some(id) = self.pick()
            && let Some(Handle::Local(handle)) = self.handles.borrow().get(&id)
        {
            handle.abort();
            self.note_aborted(id);
        }
    }

    fn check_is_finished(&self) {
        let Some(id) = self.pick() else { return };
        let is_finished = self.handles.borrow()[&id].is_finished();
        let expected = self.tasks.borrow()[id].end.is_some();
        self.check(is_finished == expected, || format!("is_finished of {id}: {is_finished}"));
    }

    /// Polls a random handle in the poll of task `id`.
    fn join(&self, id: usize, cx: &mut Context<'_>) {
        let Some(other) = self.pick() else { return };
        let mut handle = self.handles.borrow_mut().remove(&other).expect("picked");
        let rude = self.rude_waker();
        match handle.poll(&mut Context::from_waker(rude.as_ref().unwrap_or(cx.waker()))) {
            Poll::Ready(result) => self.check_result(other, result),
            Poll::Pending => {
                let task = &mut self.tasks.borrow_mut()[other];
                self.check(task.end.is_none(), || {
                    format!("{other} has ended, but its handle is pending")
                });
                task.joiner = rude.is_none().then_some(id);
                self.handles.borrow_mut().insert(other, handle);
            }
        }
    }

    /// Polls a random set in the poll of task `id`.
    fn join_set(&self, id: usize, cx: &mut Context<'_>) {
        let Some((index, mut tasks)) = self.take_set() else { return };
        let rude = self.rude_waker();
        let cx = &mut Context::from_waker(rude.as_ref().unwrap_or(cx.waker()));
        let polled = pin!(tasks.join_next_with_id()).poll(cx);
        self.check_next(index, polled, rude.is_none().then_some(id));
        self.sets.borrow_mut()[index].tasks = Some(tasks);
    }

    /// Checks which member a set has returned.
    fn check_next(
        &self,
        index: usize,
        polled: Poll<Option<(u64, Result<Output, JoinError>)>>,
        waiter: Option<usize>,
    ) {
        let mut sets = self.sets.borrow_mut();
        let set = &mut sets[index];
        let expected = set.ended.pop_front();
        let is_empty = set.live.is_empty();
        if polled.is_pending() {
            set.waiter = waiter;
        }
        drop(sets);
        match polled {
            Poll::Ready(Some((task_id, result))) => {
                let is_given = |id: usize| {
                    let known = self.tasks.borrow()[id].task_id;
                    known.is_none_or(|known| known == task_id)
                };
                let holds = expected.is_some_and(is_given);
                self.check(holds, || {
                    format!("set {index} returned task {task_id}, not {expected:?}")
                });
                if let Some(id) = expected {
                    self.check_result(id, result);
                }
            }
            Poll::Ready(None) => {
                let holds = expected.is_none() && is_empty;
                self.check(holds, || format!("set {index} is not empty"));
            }
            Poll::Pending => {
                let holds = expected.is_none() && !is_empty;
                self.check(holds, || format!("set {index} waits without a reason"));
            }
        }
    }

    fn use_set(&self) {
        let Some((index, mut tasks)) = self.take_set() else { return };
        match self.random(4) {
            0 => {
                self.forget_members(index);
                tasks.detach_all();
            }
            1 => {
                self.abort_members(index);
                self.forget_members(index);
                self.sets.borrow_mut()[index].waiter = None;
                drop(tasks);
                tasks = JoinSet::new();
            }
            _ => {
                tasks.abort_all();
                self.abort_members(index);
            }
        }
        self.sets.borrow_mut()[index].tasks = Some(tasks);
    }

    fn abort_members(&self, index: usize) {
        let live = self.sets.borrow()[index].live.clone();
        live.into_iter().for_each(|id| self.note_aborted(id));
    }

    fn forget_members(&self, index: usize) {
        let set = &mut self.sets.borrow_mut()[index];
        (set.live, set.ended) = Default::default();
    }

    // What the helper thread does.

    fn helper_wakes(&self) {
        let Some((id, waker)) = self.take_waker() else { return };
        let is_coming = self.tasks.borrow()[id].wakes.may_be_coming();
        if self.is_racy() && !is_coming && self.chance(50) {
            return self.helper_will_wake(id, waker);
        }
        self.helper.run(self, move || waker.wake());
        let task = &mut self.tasks.borrow_mut()[id];
        task.wakes = task.wakes.with(SENT);
    }

    /// Lets the helper wake a task while this thread goes on.
    fn helper_will_wake(&self, id: usize, waker: Waker) {
        self.note(|| format!("the helper will wake {id}"));
        let task = &mut self.tasks.borrow_mut()[id];
        task.wakes = task.wakes.with(COMING);
        self.helper.start(move || waker.wake());
    }

    fn helper_spawns(&self) {
        if self.closed.get() || !self.can_spawn() {
            return;
        }
        let future = self.scripted(SENT, false);
        let (id, remote) = (future.id, self.remote.clone());
        self.note(|| format!("the helper spawns {id}"));
        let make = move || {
            let world = World::current().expect("the program runs");
            world.tasks.borrow_mut()[id].is_message = false;
            future
        };
        if self.chance(20) {
            return self.helper.run(self, move || drop(remote.spawn(make)));
        }
        let (sender, receiver) = channel();
        self.helper.run(self, move || sender.send(remote.spawn(make)).unwrap());
        self.handles.borrow_mut().insert(id, Handle::Remote(receiver.recv().unwrap()));
    }

    fn helper_aborts(&self) {
        let Some(id) = self.pick() else { return };
        let mut handles = self.handles.borrow_mut();
        let Some(Handle::Remote(_)) = handles.get(&id) else { return };
        let Some(Handle::Remote(handle)) = handles.remove(&id) else { return };
        drop(handles);
        self.note(|| format!("the helper aborts {id}"));
        let (sender, receiver) = channel();
        self.helper.run(self, move || {
            handle.abort();
            sender.send(handle).unwrap();
        });
        self.handles.borrow_mut().insert(id, Handle::Remote(receiver.recv().unwrap()));
        let task = &mut self.tasks.borrow_mut()[id];
        if task.end.is_none() && task.abort == Abort::No {
            task.abort = Abort::Sent;
        }
    }

    /// Records in the model that the helper has done all its jobs.
    fn note_helper_idle(&self) {
        for (id, task) in self.tasks.borrow_mut().iter_mut().enumerate() {
            task.wakes = task.wakes.without(COMING);
            self.check(!task.wakes.is_impossible(), || format!("no state of {id} is left"));
        }
    }

    // The program itself.

    /// Calls the executor, which is current during the call.
    fn inside<T>(&self, call: impl FnOnce() -> T) -> T {
        let before = self.inside.replace(true);
        let result = call();
        self.inside.set(before);
        result
    }

    fn run(&self, executor: Rc<Executor>) {
        for _ in 0..1 + self.random(24) {
            match self.random(7) {
                0 => self.act(4),
                1 => {
                    let _entered = executor.enter();
                    self.inside(|| self.act(4));
                }
                2 => self.spawn_from_outside(&executor),
                3 => self.inside(|| _ = executor.tick()),
                4 => self.run_until_idle(&executor),
                5 => self.check_descriptor(&executor),
                _ => {
                    let main = self.scripted(QUEUED, true);
                    self.note(|| format!("block_on {}", main.id));
                    let run = AssertUnwindSafe(|| executor.block_on(main));
                    if let Ok(mut output) = self.inside(|| catch_unwind(run)) {
                        output.delivered = true;
                    }
                }
            }
        }
        if self.chance(70) {
            self.run_until_idle(&executor);
        }
        self.note(|| "drop the executor".to_owned());
        self.closed.set(true);
        self.inside(|| drop(executor));
        self.check_end();
    }

    fn spawn_from_outside(&self, executor: &Executor) {
        if self.can_spawn() {
            let future = self.scripted(QUEUED, false);
            let id = future.id;
            self.note(|| format!("spawn {id} from outside"));
            self.keep_handle(id, executor.spawn(future));
        }
    }

    /// Acts between two ticks. Another event loop, which then waits for the descriptor of the
    /// reactor, must learn of each task to poll.
    fn check_descriptor(&self, executor: &Executor) {
        self.run_until_idle(executor);
        self.has_work.set(false);
        match self.random(3) {
            0 => self.act(4),
            1 => {
                let _entered = executor.enter();
                self.inside(|| self.act(4));
            }
            _ => self.spawn_from_outside(executor),
        }
        if self.has_work.get() {
            // The loop would tick again without waiting.
            return;
        }
        let is_due = |task: &Model| {
            task.end.is_none() && (task.abort != Abort::No || task.wakes.is_certain())
        };
        let Some(id) = self.tasks.borrow().iter().position(is_due) else { return };
        let mut fds = [PollFd::new(executor.reactor(), PollFlags::IN)];
        let readable = rustix::event::poll(&mut fds, Some(&Timespec::default()));
        let readable = readable.expect("the descriptor can be polled") > 0;
        self.check(readable, || format!("task {id} is due, but the descriptor is not readable"));
    }

    fn run_until_idle(&self, executor: &Executor) {
        self.helper.wait(self);
        loop {
            let mut ticks = 0;
            while self.inside(|| executor.tick()) {
                ticks += 1;
                if ticks > 10 * FUEL {
                    return self.check(false, || "the executor does not become idle".to_owned());
                }
            }
            if self.helper.is_free() {
                break;
            }
            self.helper.wait(self);
        }
        self.note(|| "idle".to_owned());
        let (mut live, mut task_ids) = (0, BTreeSet::new());
        for (id, task) in self.tasks.borrow_mut().iter_mut().enumerate() {
            if task.end.is_some() {
                continue;
            }
            live += 1;
            task_ids.extend(task.task_id);
            task.wakes = task.wakes.without(QUEUED | SENT);
            self.check(!task.wakes.is_impossible(), || format!("a wakeup of {id} is lost"));
            self.check(task.abort == Abort::No, || format!("the abort of {id} is lost"));
            self.check(task.returned.is_none(), || format!("the future of {id} is still there"));
        }
        let listed: BTreeSet<u64> = executor.tasks().iter().map(|task| task.id).collect();
        self.check(listed.is_superset(&task_ids), || format!("{task_ids:?} are not in {listed:?}"));
        let counts = (executor.metrics().tasks, listed.len() as u64, executor.metrics().polls);
        let expected = (live, live, self.polls.get());
        self.check(counts == expected, || format!("counts: {counts:?}, not {expected:?}"));
    }

    /// Checks all results after the executor was dropped.
    fn check_end(&self) {
        self.helper.wait(self);
        for (id, task) in self.tasks.borrow().iter().enumerate() {
            self.check(task.end.is_some(), || format!("the future of {id} was not dropped"));
        }
        while let Some((id, mut handle)) = self.pop_handle() {
            match poll_once(|cx| handle.poll(cx)) {
                Poll::Ready(result) => self.check_result(id, result),
                Poll::Pending => self.check(false, || format!("the handle of {id} still waits")),
            }
        }
        let sets = self.sets.borrow().len();
        for index in 0..sets {
            let Some(mut tasks) = self.sets.borrow_mut()[index].tasks.take() else { continue };
            loop {
                let next = poll(pin!(tasks.join_next_with_id()), Waker::noop());
                let has_more = matches!(next, Poll::Ready(Some(_)));
                self.check_next(index, next, None);
                if !has_more {
                    break;
                }
            }
        }
        let late = Scripted {
            id: 0,
            polls: 1,
            forever: false,
            home: self.home,
            strays: self.strays.clone(),
        };
        let remote = self.remote.clone();
        let (sender, receiver) = channel();
        self.helper.run(self, move || sender.send(remote.spawn(move || late).join()).unwrap());
        let refused = receiver.recv().unwrap().is_err_and(|error| error.is_cancelled());
        self.check(refused, || "a dropped executor has accepted a task".to_owned());
        let strays = self.strays.load(Ordering::Relaxed);
        self.check(strays == 1, || format!("{} futures on another thread", strays - 1));

        // The last wakers may outlive the executor.
        while let Some((_, waker)) = self.take_waker() {
            waker.wake();
        }
        for (id, task) in self.tasks.borrow().iter().enumerate() {
            let drops = task.outputs.load(Ordering::Relaxed);
            let expected = usize::from(task.returned == Some(End::Output));
            self.check(drops == expected, || format!("{id} dropped {drops} outputs"));
        }
    }

    fn pop_handle(&self) -> Option<(usize, Handle)> {
        self.handles.borrow_mut().pop_first()
    }
}

fn poll_once<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    poll(&mut Context::from_waker(Waker::noop()))
}

/// Another thread, which runs jobs for the program.
struct Helper {
    jobs: Sender<Box<dyn FnOnce() + Send>>,
    done: Receiver<()>,
    /// The number of jobs that the program has not seen completed.
    open: Cell<usize>,
}

impl Helper {
    fn new() -> Helper {
        let (jobs, receiver) = channel::<Box<dyn FnOnce() + Send>>();
        let (sender, done) = channel();
        thread::spawn(move || {
            for job in receiver {
                job();
                if sender.send(()).is_err() {
                    return;
                }
            }
        });
        Helper { jobs, done, open: Cell::new(0) }
    }

    fn start(&self, job: impl FnOnce() + Send + 'static) {
        self.open.set(self.open.get() + 1);
        self.jobs.send(Box::new(job)).expect("the helper works");
    }

    /// Whether all jobs are known to be done.
    fn is_free(&self) -> bool {
        self.open.get() == 0
    }

    /// Waits until all jobs are done.
    fn wait(&self, world: &World) {
        for _ in 0..self.open.take() {
            self.done.recv().expect("the helper works");
        }
        world.note_helper_idle();
    }

    /// Runs a job and waits for it.
    fn run(&self, world: &World, job: impl FnOnce() + Send + 'static) {
        self.start(job);
        self.wait(world);
    }
}

/// Runs the program of one seed. Returns the faults that the model found.
fn run(seed: u64, verbose: bool) -> Vec<String> {
    let executor = Rc::new(Executor::new().expect("descriptors for a reactor"));
    let world = Rc::new(World {
        seed,
        random: Cell::new(seed),
        fuel: Cell::new(FUEL),
        depth: Cell::new(0),
        tasks: RefCell::default(),
        sets: RefCell::new(
            (0..2).map(|_| Set { tasks: Some(JoinSet::new()), ..Set::default() }).collect(),
        ),
        handles: RefCell::default(),
        aborts: RefCell::default(),
        wakers: RefCell::default(),
        inside: Cell::new(false),
        closed: Cell::new(false),
        polls: Cell::new(0),
        executor: Rc::downgrade(&executor),
        has_work: Cell::new(false),
        logging: Cell::new(false),
        sleeper: RefCell::default(),
        remote: executor.remote(),
        helper: Helper::new(),
        home: thread::current().id(),
        strays: Arc::default(),
        errors: RefCell::default(),
        verbose,
    });
    WORLD.set(Some(world.clone()));
    let escaped = catch_unwind(AssertUnwindSafe(|| world.run(executor)));
    world.check(escaped.is_ok(), || "a panic has escaped".to_owned());
    let errors = world.errors.take();
    world.note(|| format!("seed {}: {errors:?}", world.seed));
    WORLD.set(None);
    errors
}

#[test]
fn random_programs_behave_as_the_model_predicts() {
    log::set_logger(&Logger).expect("this is the only test");
    log::set_max_level(log::LevelFilter::Trace);
    if let Ok(seed) = env::var("MODEL_SEED") {
        let seed = seed.parse().expect("MODEL_SEED is a number");
        return assert_eq!(within_deadline(move || run(seed, true)), [""; 0]);
    }
    let threads = thread::available_parallelism().map_or(2, |count| count.get().min(8));
    let (next, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (sender, receiver) = channel();
    for _ in 0..threads {
        let (next, failed, sender) = (next.clone(), failed.clone(), sender.clone());
        thread::spawn(move || {
            while !failed.load(Ordering::Relaxed) {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= SEEDS {
                    return;
                }
                sender.send((seed, None)).unwrap();
                sender.send((seed, Some(run(seed, false)))).unwrap();
            }
        });
    }
    drop(sender);
    let mut running = BTreeSet::new();
    loop {
        match receiver.recv_timeout(DEADLINE) {
            Ok((seed, None)) => _ = running.insert(seed),
            Ok((seed, Some(errors))) => {
                running.remove(&seed);
                if !errors.is_empty() {
                    failed.store(true, Ordering::Relaxed);
                    panic!("MODEL_SEED={seed}: {errors:#?}");
                }
            }
            Err(RecvTimeoutError::Timeout) => panic!("these seeds hang: MODEL_SEED={running:?}"),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    assert!(running.is_empty(), "the thread of seed {running:?} has ended");
}
