//! The executor inside the event loop of a host, and the reactor under other executors.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use executor::{Executor, spawn, yield_now};
use futures_executor::LocalPool;
use reactor::blocking::unblock;
use reactor::io::{AsyncReadExt, AsyncWriteExt};
use reactor::time::sleep;
use reactor::{Async, Notifier, Reactor};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tests::{tcp_pair, tcp_pair_with_std, within_deadline};

/// Waits, like a host's event loop, until the reactor's descriptor is readable or the next timer is
/// due. Counts the waits.
fn wait_for(reactor: &Reactor, sleeps: &Cell<usize>) {
    sleeps.set(sleeps.get() + 1);
    let timeout = reactor.next_deadline().map(|due| due.saturating_duration_since(Instant::now()));
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: timeout.as_secs() as i64,
        tv_nsec: i64::from(timeout.subsec_nanos()),
    });
    poll(&mut [PollFd::new(reactor, PollFlags::IN)], timeout.as_ref()).unwrap();
}

/// Drives an executor from a host's event loop until `done` returns true. Returns the number of
/// sleeps.
fn drive(executor: &Executor, mut done: impl FnMut() -> bool) -> usize {
    let sleeps = Cell::new(0);
    while !done() {
        if !executor.tick() && !done() {
            wait_for(executor.reactor(), &sleeps);
        }
    }
    sleeps.get()
}

// Pitfall: W12
#[test]
fn host_event_loop_drives_every_kind_of_wait() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let remote = executor.remote();
        let task = executor.spawn(async move {
            let (mut ours, mut theirs) = tcp_pair_with_std().await.unwrap();
            let (start, started) = channel();
            let peer = thread::spawn(move || {
                started.recv().unwrap();
                theirs.write_all(b"hello").unwrap();
            });
            start.send(()).unwrap();
            let mut text = String::new();
            ours.read_to_string(&mut text).await.unwrap();
            peer.join().unwrap();
            sleep(Duration::from_millis(2)).await;
            let job = unblock(|| "job").await;
            let (sender, receiver) = async_flag();
            let remote_task = unblock(move || remote.spawn(move || async move { sender.set() }));
            remote_task.await.await.unwrap();
            receiver.await;
            spawn(yield_now()).await.unwrap();
            format!("{text} {job}")
        });
        drive(&executor, || task.is_finished());
        assert_eq!(executor.block_on(task).unwrap(), "hello job");
    });
}

/// Returns a flag that any thread can set, and a future that waits for the flag.
fn async_flag() -> (Flag, impl Future<Output = ()>) {
    let flag = Flag(Arc::default());
    let state = flag.0.clone();
    let wait = poll_fn(move |cx| {
        let mut state = state.lock().unwrap();
        if state.0 {
            return Poll::Ready(());
        }
        state.1 = Some(cx.waker().clone());
        Poll::Pending
    });
    (flag, wait)
}

struct Flag(Arc<std::sync::Mutex<(bool, Option<Waker>)>>);

impl Flag {
    fn set(&self) {
        let mut state = self.0.lock().unwrap();
        state.0 = true;
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }
}

#[test]
fn host_event_loop_sleeps_while_nothing_happens() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let task = executor.spawn(sleep(Duration::from_millis(30)));
        let sleeps = drive(&executor, || task.is_finished());
        // One sleep for the timer, and more if `poll` returns early.
        assert!((1..=3).contains(&sleeps), "{sleeps} sleeps");
    });
}

#[test]
fn wake_from_another_thread_makes_the_descriptor_readable() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let (flag, wait) = async_flag();
        let task = executor.spawn(wait);
        while executor.tick() {}
        let before = executor.metrics();
        let thread = thread::spawn(move || flag.set());
        let sleeps = drive(&executor, || task.is_finished());
        thread.join().unwrap();
        assert!(sleeps <= 2, "{sleeps} sleeps");
        assert_eq!(executor.metrics().remote_wakes - before.remote_wakes, 1);
    });
}

// If the host aborts a task between two ticks, the descriptor becomes readable, because a task that
// awaits the aborted one must be polled.
#[test]
fn abort_outside_a_tick_makes_the_descriptor_readable() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let task = Rc::new(RefCell::new(executor.spawn(pending::<()>())));
        let awaited = task.clone();
        let joiner = executor.spawn(poll_fn(move |cx| pin!(&mut *awaited.borrow_mut()).poll(cx)));
        while executor.tick() {}
        task.borrow().abort();
        // The last tick reported an empty run queue, so the host waits.
        wait_for(executor.reactor(), &Cell::new(0));
        drive(&executor, || joiner.is_finished());
    });
}

#[test]
fn spawn_outside_a_tick_makes_the_descriptor_readable() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        while executor.tick() {}
        let task = executor.spawn(async {});
        wait_for(executor.reactor(), &Cell::new(0));
        drive(&executor, || task.is_finished());
    });
}

// Tokio's `AsyncFd` watches descriptors edge-triggered.
// Pitfall: W12
#[test]
fn host_loop_may_watch_the_descriptor_edge_triggered() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let mut outer = mio::Poll::new().unwrap();
        let descriptor = executor.reactor().as_fd().as_raw_fd();
        let mut watched = mio::unix::SourceFd(&descriptor);
        outer.registry().register(&mut watched, mio::Token(0), mio::Interest::READABLE).unwrap();
        let entered = executor.enter();
        // No task waits for the first event of these sockets, which reports that they are writable.
        let pair = || mio::net::UnixStream::pair().unwrap();
        let (idle, _peers): (Vec<_>, Vec<_>) =
            (0..500).map(|_| pair()).map(|(ours, peer)| (Async::new(ours).unwrap(), peer)).unzip();
        let (ours, mut peer) = pair();
        let ours = Async::new(ours).unwrap();
        drop(entered);
        let read =
            move |cx: &mut Context<'_>| ours.poll_read_with(cx, |mut ours| ours.read(&mut [0]));
        let task = executor.spawn(poll_fn(read));
        executor.tick();
        peer.write_all(b"x").unwrap();
        let mut events = mio::Events::with_capacity(1);
        while !task.is_finished() {
            let due = executor.reactor().next_deadline();
            let timeout = due.map(|due| due.saturating_duration_since(Instant::now()));
            outer.poll(&mut events, timeout).unwrap();
            while executor.tick() {}
        }
        drop(idle);
    });
}

#[test]
fn tick_polls_one_round_and_reports_queued_tasks() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        assert!(!executor.tick());
        let polls = Rc::new(Cell::new(0));
        let counted = polls.clone();
        let task = executor.spawn(poll_fn(move |cx| {
            counted.set(counted.get() + 1);
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
        assert!(executor.tick());
        assert_eq!(polls.get(), 256);
        task.abort();
        executor.tick();
        assert!(!executor.tick());
    });
}

#[test]
fn yielding_task_is_polled_once_per_tick() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let polls = Rc::new(Cell::new(0));
        let counted = polls.clone();
        let task = executor.spawn(async move {
            loop {
                counted.set(counted.get() + 1);
                yield_now().await;
            }
        });
        for ticks in 1..=10 {
            assert!(executor.tick());
            assert_eq!(polls.get(), ticks);
        }
        drop(task);
    });
}

// A thread that spins turns the reactor repeatedly without sleeping, so the test counts turns.
#[test]
fn set_spin_polls_for_events_after_each_wakeup() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let turns_of_sleeps = |n| {
            let before = executor.metrics().turns;
            executor.block_on(async {
                for _ in 0..n {
                    sleep(Duration::from_millis(10)).await;
                }
            });
            executor.metrics().turns - before
        };
        assert!(turns_of_sleeps(1) <= 3);
        // Each wakeup restarts the spin time. The thread spins through all of these sleeps,
        // although together they are longer than the spin time.
        executor.set_spin(Duration::from_millis(30));
        turns_of_sleeps(5);
        // Several attempts, because a busy machine may leave the thread no time to spin.
        assert!((0..100).any(|_| turns_of_sleeps(1) > 10));
        executor.set_spin(Duration::from_nanos(1));
        assert!(turns_of_sleeps(1) <= 5);
    });
}

/// A waker for an executor whose thread sleeps in the reactor.
struct Notify(Notifier);

impl Wake for Notify {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

/// The smallest executor on top of the reactor: polls one future after every turn.
fn minimal_block_on<F: Future>(future: F) -> io::Result<F::Output> {
    let reactor = Reactor::new()?;
    let _entered = reactor.enter();
    let waker = Waker::from(Arc::new(Notify(reactor.notifier())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Ok(output);
        }
        reactor.turn(None)?;
    }
}

/// Runs a future on the executor of the crate `futures`. Turns the reactor when that executor is
/// idle.
fn on_local_pool(future: impl Future<Output = ()>) {
    let reactor = Reactor::new().unwrap();
    let _entered = reactor.enter();
    let mut pool = LocalPool::new();
    let mut future = pin!(future);
    while pool.run_until(poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx)))).is_pending() {
        reactor.turn(None).unwrap();
    }
}

/// Runs a future on the executor of smol. Turns the reactor when that executor is idle.
fn on_async_executor(future: impl Future<Output = ()> + 'static) {
    let reactor = Reactor::new().unwrap();
    let _entered = reactor.enter();
    let executor = async_executor::LocalExecutor::new();
    let task = executor.spawn(future);
    while !task.is_finished() {
        if !executor.try_tick() {
            reactor.turn(None).unwrap();
        }
    }
}

/// Completes many more operations than one budget, and waits for a socket and a timer.
async fn many_operations_and_some_waits() {
    let (socket, _peer) = mio::net::UnixStream::pair().unwrap();
    let socket = Async::new(socket).unwrap();
    for _ in 0..1_000 {
        socket.read_with(|_| Ok(())).await.unwrap();
    }
    let (mut ours, mut theirs) = tcp_pair().await.unwrap();
    let mut bytes = [0; 5];
    theirs.write_all(b"hello").await.unwrap();
    ours.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hello");
    sleep(Duration::from_millis(1)).await;
}

// Pitfall: E8
#[test]
fn budget_is_unlimited_under_another_executor() {
    within_deadline(|| {
        // Our executor must not leave a budget on the thread.
        executor::block_on(yield_now());
        let (socket, _peer) = mio::net::UnixStream::pair().unwrap();
        let turns = minimal_block_on(async {
            let socket = Async::new(socket).unwrap();
            for _ in 0..1_000 {
                socket.read_with(|_| Ok(())).await.unwrap();
            }
            Reactor::current().metrics().turns
        });
        assert_eq!(turns.unwrap(), 0, "the operations took more than one poll");
    });
}

// Pitfall: E8
#[test]
fn sockets_and_timers_work_under_other_executors() {
    within_deadline(|| minimal_block_on(many_operations_and_some_waits()).unwrap());
    within_deadline(|| on_local_pool(many_operations_and_some_waits()));
    within_deadline(|| on_async_executor(many_operations_and_some_waits()));
}

// A job wakes its task from the pool's thread, so the executor's waker must end the turn.
// Pitfall: E8
#[test]
fn jobs_work_under_executors_whose_wakes_end_the_turn() {
    within_deadline(|| assert_eq!(minimal_block_on(unblock(|| 7)).unwrap(), 7));
    within_deadline(|| {
        let executor = async_executor::LocalExecutor::new();
        let task = executor.spawn(unblock(|| 7));
        assert_eq!(minimal_block_on(executor.run(task)).unwrap(), 7);
    });
}
