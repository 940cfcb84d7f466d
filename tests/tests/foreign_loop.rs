//! The executor within a foreign event loop, and the reactor under foreign executors.

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

/// What any event loop does: sleeps until the descriptor of the reactor is readable, or its next
/// timer is due. Counts the sleeps.
fn wait_for(reactor: &Reactor, sleeps: &Cell<usize>) {
    sleeps.set(sleeps.get() + 1);
    let left = reactor.next_deadline().map(|due| due.saturating_duration_since(Instant::now()));
    let left = left.map(|left| Timespec {
        tv_sec: left.as_secs() as i64,
        tv_nsec: i64::from(left.subsec_nanos()),
    });
    poll(&mut [PollFd::new(reactor, PollFlags::IN)], left.as_ref()).unwrap();
}

/// A foreign event loop around an executor. It fails if it is kept from sleeping.
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
fn a_foreign_event_loop_drives_tasks_sockets_timers_jobs_and_other_threads() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let remote = executor.remote();
        let task = executor.spawn(async move {
            let (mut ours, mut theirs) = tcp_pair_with_std().await.unwrap();
            let (go, told) = channel();
            let peer = thread::spawn(move || {
                told.recv().unwrap();
                theirs.write_all(b"hello").unwrap();
            });
            go.send(()).unwrap();
            let mut text = String::new();
            ours.read_to_string(&mut text).await.unwrap();
            peer.join().unwrap();
            sleep(Duration::from_millis(2)).await;
            let job = unblock(|| "job").await;
            let (sender, receiver) = async_flag();
            let from_outside = unblock(move || remote.spawn(move || async move { sender.set() }));
            from_outside.await.await.unwrap();
            receiver.await;
            spawn(yield_now()).await.unwrap();
            format!("{text} {job}")
        });
        drive(&executor, || task.is_finished());
        assert_eq!(executor.block_on(task).unwrap(), "hello job");
    });
}

/// A flag that can be set from any thread, and awaited.
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
fn a_foreign_loop_sleeps_while_nothing_happens() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let task = executor.spawn(sleep(Duration::from_millis(30)));
        let sleeps = drive(&executor, || task.is_finished());
        // One for the timer; and one more, for the precision of the wait.
        assert!((1..=3).contains(&sleeps), "{sleeps} sleeps");
    });
}

#[test]
fn a_wake_from_another_thread_makes_the_descriptor_readable() {
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

// Of an abort that the loop makes between two ticks, the descriptor tells as well: whoever awaits
// the task, or whatever its destructor wakes, must be polled.
#[test]
fn an_abort_from_outside_of_a_tick_makes_the_descriptor_readable() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let task = Rc::new(RefCell::new(executor.spawn(pending::<()>())));
        let awaited = task.clone();
        let joiner = executor.spawn(poll_fn(move |cx| pin!(&mut *awaited.borrow_mut()).poll(cx)));
        while executor.tick() {}
        task.borrow().abort();
        // As the loop does that was told by the last tick that nothing is queued.
        wait_for(executor.reactor(), &Cell::new(0));
        drive(&executor, || joiner.is_finished());
    });
}

// Tokio's `AsyncFd` watches a descriptor like this.
// Pitfall: W12
#[test]
fn foreign_loop_may_watch_the_descriptor_edge_triggered() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let mut outer = mio::Poll::new().unwrap();
        let descriptor = executor.reactor().as_fd().as_raw_fd();
        let mut watched = mio::unix::SourceFd(&descriptor);
        outer.registry().register(&mut watched, mio::Token(0), mio::Interest::READABLE).unwrap();
        let entered = executor.enter();
        // No task waits for the first event of each of these: that there is space to write.
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
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            outer.poll(&mut events, left).unwrap();
            while executor.tick() {}
        }
        drop(idle);
    });
}

#[test]
fn tick_tells_whether_tasks_are_queued_and_polls_no_more_than_a_round() {
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
fn a_task_that_yields_lets_events_be_fetched_before_it_is_polled_again() {
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

// Method: while it spins, the thread turns the reactor over and over without sleeping.
#[test]
fn set_spin_looks_for_events_for_a_while_after_each_piece_of_work() {
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
        // The time begins anew with each wake: each of the sleeps is spun through, though together
        // they take longer than the time for which the thread spins.
        executor.set_spin(Duration::from_millis(30));
        turns_of_sleeps(5);
        // More than one try, for a busy machine may leave the thread no time to spin.
        assert!((0..100).any(|_| turns_of_sleeps(1) > 10));
        executor.set_spin(Duration::from_nanos(1));
        assert!(turns_of_sleeps(1) <= 5);
    });
}

/// Wakes a foreign executor's thread, which sleeps in the reactor.
struct Notify(Notifier);

impl Wake for Notify {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

/// The smallest executor on top of the reactor: one future, polled after every turn.
fn foreign_block_on<F: Future>(future: F) -> io::Result<F::Output> {
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

/// Runs `future` on futures' executor, turning the reactor when it has nothing to do.
fn on_local_pool(future: impl Future<Output = ()>) {
    let reactor = Reactor::new().unwrap();
    let _entered = reactor.enter();
    let mut pool = LocalPool::new();
    let mut future = pin!(future);
    while pool.run_until(poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx)))).is_pending() {
        reactor.turn(None).unwrap();
    }
}

/// Runs `future` on smol's executor, turning the reactor when it has nothing to do.
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

/// Much more than the budget of one poll, and sockets and a timer that really wait.
async fn a_thousand_operations_and_some_waits() {
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
fn the_budget_is_unlimited_under_a_foreign_executor() {
    within_deadline(|| {
        // Ours leaves nothing of its budget behind.
        executor::block_on(yield_now());
        let (socket, _peer) = mio::net::UnixStream::pair().unwrap();
        let turns = foreign_block_on(async {
            let socket = Async::new(socket).unwrap();
            for _ in 0..1_000 {
                socket.read_with(|_| Ok(())).await.unwrap();
            }
            Reactor::current().metrics().turns
        });
        assert_eq!(turns.unwrap(), 0, "all in one poll");
    });
}

// Pitfall: E8
#[test]
fn sockets_and_timers_work_under_any_executor_in_steps() {
    within_deadline(|| foreign_block_on(a_thousand_operations_and_some_waits()).unwrap());
    within_deadline(|| on_local_pool(a_thousand_operations_and_some_waits()));
    within_deadline(|| on_async_executor(a_thousand_operations_and_some_waits()));
}

// A job wakes its task from the pool's thread, so the executor's waker must end the turn.
// Pitfall: E8
#[test]
fn jobs_work_under_any_executor_whose_wakes_end_the_turn() {
    within_deadline(|| assert_eq!(foreign_block_on(unblock(|| 7)).unwrap(), 7));
    within_deadline(|| {
        let executor = async_executor::LocalExecutor::new();
        let task = executor.spawn(unblock(|| 7));
        assert_eq!(foreign_block_on(executor.run(task)).unwrap(), 7);
    });
}
