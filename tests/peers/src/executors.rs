//! Tasks, wakeups and timers, each runtime in this process.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::hint::{black_box, spin_loop};
use std::io::{Error, Result};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::poll_once;
use monoio::{IoUringDriver, LegacyDriver};
use nix::time::{ClockId, clock_gettime};

use crate::heap::{self, Heap};
use crate::interleave;
use crate::process::{LOAD, MEASURED, pin_to};
use crate::report::{Better, Table};
use crate::runtimes::{LocalSet, Monoio, Ours, Runtime, Smol, Tokio};

/// What is measured.
#[derive(Clone, Copy)]
pub(crate) enum Act {
    /// Spawn 10,000 tasks, then await them, again and again.
    SpawnAndJoin,
    /// 1,000 tasks yield in turn.
    Yield,
    /// One task wakes another and waits until that one has woken it.
    Wake,
    /// A thread wakes a task of an executor that sleeps, and waits until the task has run.
    WakeParked,
    /// A thread wakes a task as soon as the task has run.
    WakeBackToBack,
    /// Create a timer, wait for it and drop it before it fires.
    CreateTimer,
    /// Spawn 10,000 tasks that sleep, and await them.
    FireTimer,
}

/// A runtime: its name, the time that it needs to do something so many times, and the heap that
/// its tasks use. A time is `None` if the runtime cannot do it.
pub(crate) struct Executor {
    pub(crate) name: &'static str,
    pub(crate) time: fn(Act, usize) -> Result<Option<Duration>>,
    pub(crate) heap: fn() -> Result<TaskHeap>,
}

impl Executor {
    const fn new<R: Runtime>(name: &'static str) -> Executor {
        Executor { name, time: time::<R>, heap: task_heap::<R> }
    }
}

/// All of them; ours comes first.
pub(crate) const EXECUTORS: [Executor; 6] = [
    Executor::new::<Ours>("ours"),
    Executor::new::<Tokio>("tokio"),
    Executor::new::<LocalSet>("tokio LocalSet"),
    Executor::new::<Smol>("smol"),
    Executor::new::<Monoio<LegacyDriver>>("monoio"),
    Executor::new::<Monoio<IoUringDriver>>("monoio uring"),
];

pub(crate) const TIMES: &str = "Tasks, wakeups and timers, ns";

/// What is measured: its row, and how often it is done in a round.
pub(crate) const ACTS: [(&str, Act, usize); 7] = [
    ("spawn + join", Act::SpawnAndJoin, 50_000),
    ("yield, 1,000 tasks", Act::Yield, 200_000),
    ("wake round trip", Act::Wake, 100_000),
    ("wake from another thread, parked", Act::WakeParked, 1000),
    ("wake from another thread, back to back", Act::WakeBackToBack, 5000),
    ("timer: create and drop", Act::CreateTimer, 50_000),
    ("timer: sleep and fire, with its task", Act::FireTimer, 10_000),
];

const ROUNDS: usize = 15;

/// Returns two tables: times, and heap use.
pub(crate) fn measure() -> Result<Vec<Table>> {
    pin_to(MEASURED)?;
    let names = EXECUTORS.each_ref().map(|executor| executor.name);
    let mut times = Table::new(TIMES, Better::Less, &names);
    for (name, act, operations) in ACTS {
        let medians = interleave(ROUNDS, &EXECUTORS, |executor| {
            let time = (executor.time)(act, operations)?;
            Ok(time.map(|time| [time.as_secs_f64() * 1e9 / operations as f64]))
        })?;
        times.push(name, medians.iter().map(|median| median.map(|[median]| median)));
    }
    let heap = EXECUTORS.iter().map(|executor| (executor.heap)()).collect::<Result<Vec<_>>>()?;
    let mut table = Table::new("Heap use of a task", Better::Less, &names);
    table.push("allocations, steady", heap.iter().map(|heap| Some(heap.allocations)));
    table.push("bytes, steady", heap.iter().map(|heap| Some(heap.bytes)));
    table.push("bytes, cold, before it runs", heap.iter().map(|heap| Some(heap.cold_bytes)));
    Ok(vec![times, table])
}

fn time<R: Runtime>(act: Act, operations: usize) -> Result<Option<Duration>> {
    let runtime = R::new()?;
    Ok(Some(match act {
        Act::SpawnAndJoin => spawn_and_join(&runtime, operations),
        Act::Yield => yield_in_turn(&runtime, operations),
        Act::Wake => wake_each_other(&runtime, operations),
        Act::CreateTimer => create_timers(&runtime, operations),
        Act::FireTimer => fire_timers(&runtime, operations),
        Act::WakeParked | Act::WakeBackToBack if !R::WAKES_FROM_THREADS => return Ok(None),
        Act::WakeParked => wake_from_thread(&runtime, operations, true)?,
        Act::WakeBackToBack => wake_from_thread(&runtime, operations, false)?,
    }))
}

/// The CPU time of this process. Unlike the time of day, it does not grow while other processes
/// have the core.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID);
    time.expect("every process has this clock").into()
}

/// Tasks that are spawned before the first of them is awaited.
const BATCH: usize = 10_000;

fn spawn_and_join<R: Runtime>(runtime: &R, operations: usize) -> Duration {
    runtime.block_on(async {
        let mut tasks = Vec::with_capacity(BATCH);
        let mut spawn_and_join = async || {
            tasks.extend((0..BATCH).map(|number| runtime.spawn(async move { black_box(number) })));
            for task in tasks.drain(..) {
                task.await;
            }
        };
        spawn_and_join().await;
        let begin = cpu_time();
        for _ in 0..operations.div_ceil(BATCH) {
            spawn_and_join().await;
        }
        cpu_time() - begin
    })
}

fn yield_in_turn<R: Runtime>(runtime: &R, operations: usize) -> Duration {
    const TASKS: usize = 1000;
    runtime.block_on(async {
        let begin = cpu_time();
        let yield_often = || async move {
            for _ in 0..operations / TASKS {
                R::yield_now().await;
            }
        };
        let tasks: Vec<_> = (0..TASKS).map(|_| runtime.spawn(yield_often())).collect();
        for task in tasks {
            task.await;
        }
        cpu_time() - begin
    })
}

thread_local! {
    /// Which of two tasks goes on, and the wakers of both. Tasks that refer to a thread-local are
    /// `Send` without the cost of an atomic.
    static TURN: Cell<usize> = const { Cell::new(0) };
    static WAITING: RefCell<[Option<Waker>; 2]> = const { RefCell::new([None, None]) };
}

fn wake_each_other<R: Runtime>(runtime: &R, operations: usize) -> Duration {
    let take_turns = |me: usize| async move {
        for _ in 0..operations {
            poll_fn(|cx| {
                if TURN.get() == me {
                    return Poll::Ready(());
                }
                WAITING.with_borrow_mut(|waiting| waiting[me] = Some(cx.waker().clone()));
                Poll::Pending
            })
            .await;
            TURN.set(1 - me);
            let other = WAITING.with_borrow_mut(|waiting| waiting[1 - me].take());
            if let Some(other) = other {
                other.wake();
            }
        }
    };
    TURN.set(0);
    runtime.block_on(async {
        let begin = cpu_time();
        let tasks = [0, 1].map(|me| runtime.spawn(take_turns(me)));
        for task in tasks {
            task.await;
        }
        cpu_time() - begin
    })
}

/// The time from a wakeup by another thread until that thread sees that the task has run.
fn wake_from_thread<R: Runtime>(runtime: &R, operations: usize, parked: bool) -> Result<Duration> {
    /// Long enough for any executor to go to sleep.
    const PAUSE: Duration = Duration::from_micros(50);
    let asked = Arc::new(AtomicUsize::new(0));
    let answered = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = mpsc::channel::<Waker>();
    let waker = {
        let (asked, answered) = (asked.clone(), answered.clone());
        thread::spawn(move || -> Result<Duration> {
            pin_to(LOAD)?;
            let waker = receiver.recv().map_err(Error::other)?;
            let mut sum = Duration::ZERO;
            for number in 1..=operations {
                let pause = Instant::now();
                while parked && pause.elapsed() < PAUSE {
                    spin_loop();
                }
                let begin = Instant::now();
                asked.store(number, Ordering::Release);
                waker.wake_by_ref();
                while answered.load(Ordering::Acquire) < number {
                    spin_loop();
                }
                sum += begin.elapsed();
            }
            Ok(sum)
        })
    };
    let mut sender = Some(sender);
    let task = poll_fn(move |cx| {
        if let Some(sender) = sender.take() {
            let _ = sender.send(cx.waker().clone());
        }
        let number = asked.load(Ordering::Acquire);
        answered.store(number, Ordering::Release);
        if number == operations { Poll::Ready(()) } else { Poll::Pending }
    });
    runtime.block_on(async { runtime.spawn(task).await });
    waker.join().map_err(|_| Error::other("the thread that wakes has panicked"))?
}

fn create_timers<R: Runtime>(runtime: &R, operations: usize) -> Duration {
    runtime.block_on(async {
        let begin = cpu_time();
        for _ in 0..operations {
            let sleep = pin!(R::sleep(Duration::from_secs(60)));
            poll_once(sleep).await;
        }
        cpu_time() - begin
    })
}

fn fire_timers<R: Runtime>(runtime: &R, operations: usize) -> Duration {
    runtime.block_on(async {
        let mut tasks = Vec::with_capacity(BATCH);
        let begin = cpu_time();
        for _ in 0..operations.div_ceil(BATCH) {
            // Each has a deadline of its own, within a millisecond.
            let first = Instant::now() + Duration::from_millis(1);
            let deadlines = (0..BATCH).map(|n| first + Duration::from_nanos(100) * n as u32);
            tasks.extend(deadlines.map(|deadline| runtime.spawn_sleep(deadline)));
            for task in tasks.drain(..) {
                task.await;
            }
        }
        cpu_time() - begin
    })
}

/// What one task uses of the heap.
pub(crate) struct TaskHeap {
    /// Allocations and their bytes, for each of 10,000 tasks that follow as many others.
    pub(crate) allocations: f64,
    pub(crate) bytes: f64,
    /// Bytes in use after 10,000 tasks were spawned on a new executor, before they run.
    pub(crate) cold_bytes: f64,
}

fn task_heap<R: Runtime>() -> Result<TaskHeap> {
    let runtime = R::new()?;
    let mut tasks = Vec::with_capacity(BATCH);
    let (cold, steady) = runtime.block_on(async {
        let spawn = |tasks: &mut Vec<_>| {
            tasks.extend((0..BATCH).map(|number| runtime.spawn(async move { black_box(number) })));
        };
        heap::count(true);
        let before = heap::now();
        spawn(&mut tasks);
        let cold = heap::now() - before;
        for task in tasks.drain(..) {
            task.await;
        }
        let before = heap::now();
        spawn(&mut tasks);
        for task in tasks.drain(..) {
            task.await;
        }
        let steady = heap::now() - before;
        heap::count(false);
        (cold, steady)
    });
    let each = |heap: u64| heap as f64 / BATCH as f64;
    let Heap { allocations, bytes, .. } = steady;
    Ok(TaskHeap {
        allocations: each(allocations),
        bytes: each(bytes),
        cold_bytes: each(cold.bytes - cold.freed),
    })
}
