//! The executor takes woken tasks from the run queue and polls them. When the queue is empty, the
//! reactor waits for events.
//!
//! A program enters through [`block_on`](crate::block_on), and another event loop through
//! [`Executor::tick`]. Tasks call [`spawn`](crate::spawn).
//!
//! Invariant: no `RefCell` is borrowed while user code runs. The one exception is the stage of a
//! task, which is borrowed while its future is polled.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::future::{Future, Pending};
use std::hint;
use std::io;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use log::{debug, trace, warn};
use reactor::Reactor;
use reactor::budget::{self, Budget};

use crate::error::{Cause, JoinError};
use crate::join::JoinHandle;
use crate::metrics::Metrics;
use crate::table::{Enter, Tasks};
use crate::task::{BoxStage, Stage, State, Task};
use crate::unwind::{catch_and_log, log_panic};

/// The most polls in one round, unless more tasks were queued when the round began.
///
/// It is large enough that tasks that pass work to each other seldom wait for a system call. It is
/// small enough that an event or a timer waits only a fraction of a millisecond.
const ROUND: usize = 256;

/// How many times the executor looks into the inbox before it sleeps, if messages had arrived when
/// it last turned the reactor. This takes about a microsecond. If the next message arrives in that
/// time, it costs neither a notification nor a sleep.
const LOOKS: u32 = 50;

/// Tasks, their run queue, and the reactor that wakes them, all on one thread.
///
/// The function [`block_on`](crate::block_on) is enough for most programs. It drops all tasks when it
/// returns. An explicit `Executor` keeps its tasks between two calls of `block_on`, can be driven by
/// another event loop, and returns its counters.
///
/// Dropping the executor drops the futures of all tasks while the reactor still exists. A task that
/// one of their destructors spawns is canceled immediately.
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
    pub(crate) tasks: Rc<Tasks>,
    /// Whether the inbox contained a message after the last turn of the reactor.
    notified: Cell<bool>,
    /// How long to look for events before the thread sleeps; see [`set_spin`](Executor::set_spin).
    spin: Cell<Duration>,
    /// When the thread began to spin. `None` after it has woken a task or received a message.
    idle_since: Cell<Option<Instant>>,
}

impl Executor {
    /// Creates an executor with its own reactor.
    ///
    /// # Errors
    ///
    /// Returns an error if the operating system cannot create the descriptors of the reactor.
    #[track_caller]
    pub fn new() -> io::Result<Executor> {
        Ok(Executor {
            tasks: Tasks::new(Reactor::new()?),
            notified: Cell::new(false),
            spin: Cell::new(Duration::ZERO),
            idle_since: Cell::new(None),
        })
    }

    /// Spawns a task on this executor.
    ///
    /// The task is first polled in the next [`block_on`](Executor::block_on) or
    /// [`tick`](Executor::tick).
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        spawn_on(&self.tasks, "", Location::caller(), future)
    }

    /// Makes this the current executor of the thread until the guard is dropped.
    ///
    /// Inside [`block_on`](Executor::block_on) and [`tick`](Executor::tick) the executor is current
    /// anyway. Call `enter` to use it outside of them: [`spawn`](crate::spawn), sockets and timers
    /// then belong to this executor and its reactor. Nothing runs before the next `block_on` or
    /// `tick`.
    ///
    /// Guards nest, and must be dropped in the reverse order: each guard restores the executor that
    /// was current before it. `block_on` and `tick` of any executor may be called while a guard
    /// exists, and restore the current executor when they return. A task that enters another
    /// executor must drop the guard before its next `await`, because otherwise the next tasks of
    /// this thread run with the wrong current executor.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::io::AsyncReadExt;
    /// use reactor::pipe;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let executor = executor::Executor::new()?;
    /// let entered = executor.enter();
    /// let (sender, mut receiver) = pipe::pipe()?;
    /// let task = executor::spawn(async move { receiver.read(&mut [0]).await });
    /// drop((sender, entered));
    /// assert_eq!(executor.block_on(task).unwrap()?, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn enter(&self) -> Enter<'_> {
        self.tasks.enter()
    }

    /// Runs `future` to completion, and other tasks while it waits.
    ///
    /// The loop alternates between a *round* of polls and a *turn* of the reactor:
    ///
    /// 1. Round: poll every task that was queued when the round began. Then poll tasks that were
    ///    queued since, until the queue is empty, the round has made 256 polls, or a task has
    ///    yielded. `future` is one of these tasks; when it is ready, this function returns.
    /// 2. Turn: fetch events. If no task is queued and no other thread has sent a message, the
    ///    thread sleeps until an event, a timer or a notification.
    ///
    /// Messages from other threads are received at the start of each round and whenever the run
    /// queue is empty. The executor looks for them even after a turn that reported no notification,
    /// because a task may turn the reactor too, and consume the notification.
    ///
    /// If `future` is ready at its first poll, there is no turn. Tasks that were queued before it
    /// are polled, but no event is fetched, however often this is called. Use
    /// [`tick`](Executor::tick) to fetch events.
    ///
    /// # Panics
    ///
    /// Panics if called inside another `block_on` or `tick` on the same thread, or if the operating
    /// system cannot wait for events; [`try_block_on`](Executor::try_block_on) returns that error. A
    /// panic in `future` propagates to the caller, and the executor can be used again afterwards.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.try_block_on(future).unwrap_or_else(|error| cannot_wait(&error))
    }

    /// Runs `future` as [`block_on`](Executor::block_on) does, but returns an error of the wait for
    /// events instead of panicking.
    ///
    /// # Errors
    ///
    /// Returns the error of the system call that waits for events, `epoll_wait` on Linux. In
    /// this case `future` is dropped, but the other tasks stay in the executor.
    ///
    /// # Panics
    ///
    /// Panics if called inside another `block_on` or `tick` on the same thread. A panic in `future`
    /// propagates to the caller.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let executor = executor::Executor::new()?;
    /// let answer = executor.try_block_on(async { 42 })?;
    /// # assert_eq!(answer, 42);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn try_block_on<F: Future>(&self, future: F) -> io::Result<F::Output> {
        let _running = self.tasks.run(Location::caller(), true);
        let _main = Main::new(&self.tasks, Location::caller());
        let mut future = pin!(future);
        loop {
            if let Some(output) = self.round(Some(future.as_mut())) {
                return Ok(output);
            }
            self.park()?;
        }
    }

    /// Runs one round and one turn without sleeping. Returns whether more work is queued.
    ///
    /// Another event loop calls this to drive the executor; [`block_on`](Executor::block_on)
    /// explains rounds and turns. After `true` it calls `tick` again. After `false` it first waits
    /// until the descriptor of the [`reactor`](Executor::reactor) is readable, or until the
    /// [`next_deadline`](Reactor::next_deadline). Outside `tick`, a spawn, an abort and a wakeup
    /// make the descriptor readable. `block_on` may leave tasks queued, so call `tick` after it
    /// before waiting.
    ///
    /// # Panics
    ///
    /// Panics if called inside `block_on` or another `tick` on the same thread, or if the operating
    /// system cannot fetch events.
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
    ///     // This loop only waits for a deadline. A real one also watches the descriptor.
    ///     let deadline = executor.reactor().next_deadline();
    ///     let left = deadline.map(|deadline| deadline - Instant::now());
    ///     std::thread::sleep(left.unwrap_or_default());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn tick(&self) -> bool {
        let running = self.tasks.run(Location::caller(), false);
        self.round::<Pending<()>>(None);
        let turned = self.tasks.reactor.turn(Some(Duration::ZERO));
        turned.unwrap_or_else(|error| cannot_wait(&error));
        drop(running);
        let has_work = self.tasks.queue_len() > 0 || self.tasks.has_messages();
        if !has_work {
            self.tasks.shrink();
        }
        has_work
    }

    /// Returns the reactor of this executor.
    pub fn reactor(&self) -> &Rc<Reactor> {
        &self.tasks.reactor
    }

    /// Returns the counters of this executor and its reactor.
    pub fn metrics(&self) -> Metrics {
        self.tasks.counters.metrics(&self.tasks.reactor)
    }

    /// Sets how long the thread spins, looking for events, before it sleeps.
    ///
    /// The default is zero. Spinning lowers the latency, because the thread need not sleep in the
    /// kernel and be woken, but it occupies a core.
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
        self.spin.set(spin);
    }

    /// Runs one round. Returns the output of `main`, the future of `block_on`, if it is ready.
    ///
    /// Panic safety: a panic in a poll unwinds to here. It ends the task that was polled, and the
    /// round. One `catch_unwind` around all polls is cheaper than one around each.
    fn round<F: Future>(&self, main: Option<Pin<&mut F>>) -> Option<F::Output> {
        let budget = budget::enter();
        let mut current = None;
        let polls = AssertUnwindSafe(|| self.poll_queued(&mut current, main, &budget));
        catch_unwind(polls).unwrap_or_else(|panic| {
            self.end_in_panic(current, panic);
            None
        })
    }

    /// Polls tasks until the round ends; see [`block_on`](Executor::block_on). Stores each task in
    /// `current` before it polls the task, because a panic in the task unwinds through this function.
    fn poll_queued<F: Future>(
        &self,
        current: &mut Option<Rc<Task>>,
        mut main: Option<Pin<&mut F>>,
        budget: &Budget,
    ) -> Option<F::Output> {
        let tasks = &*self.tasks;
        if tasks.has_messages() {
            self.take_messages();
        }
        let due = tasks.queue_len();
        let mut limit = due.max(ROUND);
        let mut taken = 0;
        while taken < limit {
            *current = self.next();
            let Some(task) = current else { break };
            taken += 1;
            match task.state.get() {
                State::Live => {}
                State::Aborted => {
                    self.end(task, Some(Cause::Cancelled));
                    continue;
                }
                // The task ended after it was queued.
                _ => continue,
            }
            task.polls.set(task.polls.get() + 1);
            task.since.set(tasks.reactor.now());
            tasks.counters.polls.add(1);
            let waits = tasks.reactor.waits_so_far();
            budget.refill();

            trace!(task = task.id(); "poll");
            let polled = self.poll(task, &mut main);

            let spent = budget.spent();
            if spent == budget::OPERATIONS {
                // The task yielded although it could have continued. Poll only the tasks that were
                // queued when this round began, so that events are fetched before this task is
                // polled again.
                limit = due;
            }
            if polled.is_pending() {
                trace!(task = task.id(); "pending");
                let waited = tasks.reactor.waits_so_far() > waits;
                self.diagnose(task, waited && spent == 0);
            }
            match polled {
                Poll::Ready(Some(output)) => return Some(output),
                Poll::Ready(None) => self.end(task, None),
                Poll::Pending => {}
            }
        }
        None
    }

    /// Counts a spurious poll, and reports a task that nothing can wake.
    ///
    /// A *spurious* poll completed no operation and then waited for a source again. It is not a bug,
    /// because `poll` may be called at any time, but it costs time. The count is an estimate, because
    /// the executor cannot see what else the future does.
    fn diagnose(&self, task: &Task, only_waited: bool) {
        if only_waited && task.polls.get() > 1 {
            self.tasks.counters.spurious_polls.add(1);
        }
        if task.is_lost() {
            report_lost(task);
        }
    }

    /// Polls one task. Returns the output of `main`; the output of a spawned task stays in its
    /// stage.
    ///
    /// Here the waker enters `cx`, the argument of every `poll`. Each future passes `cx` on to the
    /// futures that it awaits, down to `Source::store`, which clones the waker.
    fn poll<F: Future>(
        &self,
        task: &Task,
        main: &mut Option<Pin<&mut F>>,
    ) -> Poll<Option<F::Output>> {
        let cx = &mut Context::from_waker(&task.waker);
        match (&mut *task.stage.borrow_mut(), main) {
            (Some(stage), _) => stage.as_mut().poll(cx).map(|()| None),
            (None, Some(main)) => main.as_mut().poll(cx).map(Some),
            (None, None) => Poll::Pending,
        }
    }

    /// Takes the next task to poll: from the run queue or, if that is empty, from the inbox.
    #[inline]
    fn next(&self) -> Option<Rc<Task>> {
        self.tasks.pop().or_else(|| self.next_from_inbox())
    }

    fn next_from_inbox(&self) -> Option<Rc<Task>> {
        let tasks = &self.tasks;
        let looks = if self.notified.get() { LOOKS } else { 1 };
        for _ in 0..looks {
            if tasks.has_messages() {
                self.take_messages();
                return tasks.pop();
            }
            hint::spin_loop();
        }
        None
    }

    /// Ends the task whose poll has panicked. A panic of `main` propagates to the caller of
    /// `block_on`.
    #[cold]
    fn end_in_panic(&self, task: Option<Rc<Task>>, panic: Box<dyn Any + Send>) {
        let Some(task) = task.filter(|task| task.is_live()) else { resume_unwind(panic) };
        let is_ended = task.stage.borrow().as_ref().map(|stage| stage.is_ended());
        match is_ended {
            None => resume_unwind(panic),
            Some(false) => self.end(&task, Some(panic.into())),
            // The future returned its output, then its destructor panicked. Keep the output.
            Some(true) => {
                log_panic(panic, format_args!("the destructor of the future of {task},"));
                self.end(&task, None);
            }
        }
    }

    /// Ends a task: drops its future, then notifies the handle or, if the task is detached, frees
    /// the slot. `failure` is why the task has no output.
    ///
    /// The order is a guarantee: a task that awaits the handle finds the sockets of this task
    /// closed.
    fn end(&self, task: &Rc<Task>, failure: Option<Cause>) {
        task.state.set(State::Ending);
        match &failure {
            // `Stage::poll` has already dropped the future.
            None => debug!(task = task.id(); "done"),
            Some(Cause::Cancelled) => debug!(task = task.id(); "abort"),
            Some(cause) => {
                warn!(task = task.id(), name = task.name.get(), at:% = task.location.get(), message = &*cause.message(); "panic");
            }
        }
        if let Some(cause) = failure {
            fail(task, cause);
        }
        task.state.set(State::Ended);
        self.tasks.counters.tasks.subtract(1);
        if task.detached.get() {
            let (stage, named) = (task.stage.take(), task.described());
            self.tasks.free(task);
            catch_and_log(format_args!("the destructor of the output of {named},"), || drop(stage));
        } else {
            let named = task.described();
            catch_and_log(format_args!("a waker of a task that awaits {named},"), || {
                task.joiner.take().notify()
            });
        }
    }

    /// Turns the reactor. The thread sleeps here if there is nothing else to do.
    ///
    /// Returns the error of the wait. This error ends the loop, because without events no task can
    /// continue.
    fn park(&self) -> io::Result<()> {
        let tasks = &self.tasks;
        let is_idle = tasks.queue_len() == 0 && !self.spins();
        let turned = tasks.turn(is_idle, |sleep| {
            if sleep {
                tasks.shrink();
            }
            tasks.reactor.turn(if sleep { None } else { Some(Duration::ZERO) })
        });
        self.notified.set(tasks.has_messages());
        if tasks.queue_len() > 0 {
            self.idle_since.set(None);
        }
        turned
    }

    /// Receives what other threads have sent. The thread then has work, so it is not idle.
    fn take_messages(&self) {
        self.tasks.take_messages();
        self.idle_since.set(None);
    }

    /// Returns whether to spin, which means to fetch events without sleeping.
    fn spins(&self) -> bool {
        let spin = self.spin.get();
        if spin.is_zero() {
            return false;
        }
        // Not the reactor's clock: a test may have paused that, and spinning would not move it.
        let now = Instant::now();
        let since = self.idle_since.get().unwrap_or(now);
        self.idle_since.set(Some(since));
        now.duration_since(since) < spin
    }
}

/// Makes a task from the future and queues it.
pub(crate) fn spawn_on<F>(
    tasks: &Rc<Tasks>,
    name: &'static str,
    location: &'static Location<'static>,
    future: F,
) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let stage: BoxStage = Box::pin(Stage::Running { future });
    if tasks.is_closed() {
        // The executor is being dropped and will not poll the task.
        let task = tasks.add_ended(name, location, stage);
        fail(&task, Cause::Cancelled);
        return JoinHandle::new(task, tasks);
    }
    JoinHandle::new(begin(tasks, name, location, Some(stage)), tasks)
}

/// Adds a task and queues it for its first poll.
///
/// `spawn` does not poll, so tasks can call it while they are being polled.
fn begin(
    tasks: &Tasks,
    name: &'static str,
    location: &'static Location<'static>,
    stage: Option<BoxStage>,
) -> Rc<Task> {
    let task = tasks.add(name, location, stage);
    debug!(task = task.id(), key = task.header.key, name, at:% = location, waker:? = Arc::as_ptr(&task.header); "spawn");
    tasks.start(&task);
    task
}

/// Drops the future of a task, and stores an error as its result.
fn fail(task: &Task, cause: Cause) {
    // Reentrancy: take the stage out, so that it is not borrowed while the future's destructor
    // runs.
    let Some(mut stage) = task.stage.take() else { return };
    let is_abort = matches!(cause, Cause::Cancelled);
    let error = JoinError::new(task.described(), cause);
    let dropped = catch_unwind(AssertUnwindSafe(|| stage.as_mut().fail(error)));
    match dropped {
        Ok(()) => {}
        // The handle reports the first panic of a task. After an abort, this one is the first.
        Err(panic) if is_abort => {
            stage.as_mut().fail(JoinError::new(task.described(), panic.into()))
        }
        Err(panic) => log_panic(panic, format_args!("the destructor of the future of {task},")),
    }
    task.stage.replace(Some(stage));
}

/// Logs that a task waits although no waker of it exists. It will never be polled again.
///
/// The usual cause is a future that returned `Pending` without storing the waker. `pending()` does
/// so on purpose. A task whose waker exists is not lost, but it waits as long as no code calls that
/// waker.
#[cold]
fn report_lost(task: &Task) {
    warn!(task = task.id(), name = task.name.get(), at:% = task.location.get(); "lost: no source, timer, thread or queue holds a waker of this task");
}

/// The task of the future given to `block_on`. It ends when this guard is dropped.
///
/// The future itself stays on the stack of `block_on`, because it need not be `'static`.
struct Main<'a> {
    tasks: &'a Tasks,
    task: Rc<Task>,
}

impl<'a> Main<'a> {
    fn new(tasks: &'a Tasks, location: &'static Location<'static>) -> Main<'a> {
        Main { tasks, task: begin(tasks, "main", location, None) }
    }
}

impl Drop for Main<'_> {
    fn drop(&mut self) {
        let panics = thread::panicking();
        self.tasks.counters.tasks.subtract(1);
        self.tasks.free(&self.task);
        match panics {
            false => debug!(task = self.task.id(); "done"),
            true => debug!(task = self.task.id(); "panic"),
        }
    }
}

/// Panics because a wait failed, in functions that return no error.
#[track_caller]
fn cannot_wait(error: &io::Error) -> ! {
    panic!("the system cannot wait for events: {error}");
}

impl Drop for Executor {
    fn drop(&mut self) {
        let _entered = self.tasks.enter();
        self.tasks.close();
        for task in self.tasks.slots() {
            if task.is_live() {
                self.end(&task, Some(Cause::Cancelled));
            }
        }
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tasks.fmt(f)
    }
}
