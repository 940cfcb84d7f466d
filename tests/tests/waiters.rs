//! Waiters: several tasks that wait for one source, futures that move between tasks, stale wakers
//! of dropped operations, and wakers that run user code inside the runtime.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::Write;
use std::net::TcpStream as StdStream;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use executor::Executor;
use futures_lite::StreamExt;
use reactor::Reactor;
use reactor::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use reactor::net::{TcpListener, TcpStream};
use reactor::signal::Signal;
use reactor::time::{interval, sleep};
use rustix::time::{ClockId, clock_gettime};
use signal_hook::consts::SIGUSR1;
use signal_hook::low_level::raise;
use tests::wakers::{Counter, poll, waker_fn};
use tests::{run, std_pair, tcp_pair_with_std, turn_until, within_deadline};

/// Runs a test inside a reactor that the test turns itself.
fn with_reactor(test: impl FnOnce(&Rc<Reactor>) + Send + 'static) {
    within_deadline(|| {
        let reactor = Reactor::new().unwrap();
        let _entered = reactor.enter();
        test(&reactor);
    });
}

fn listener() -> (TcpListener, std::net::SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (TcpListener::from_std(listener).unwrap(), addr)
}

fn socket() -> (TcpStream, StdStream) {
    let (ours, peer) = std_pair().unwrap();
    (TcpStream::from_std(ours).unwrap(), peer)
}

// Pitfall: W3
#[test]
fn two_readers_of_one_socket_are_both_woken() {
    run(|| async {
        let (ours, mut peer) = tcp_pair_with_std().await.unwrap();
        let ours = Rc::new(ours);
        let read_one = |ours: Rc<TcpStream>| async move {
            let mut byte = [0];
            (&*ours).read_exact(&mut byte).await.unwrap();
            byte[0]
        };
        let first = executor::spawn(read_one(ours.clone()));
        let second = executor::spawn(read_one(ours));
        tests::until(|| Reactor::current().metrics().waits == 2).await;
        peer.write_all(b"12").unwrap();
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (b'1', b'2'));
    });
}

/// Polls a future with two wakers, like a future that moves to another task, and causes its event.
/// Checks that the second waker is woken.
#[track_caller]
fn expect_wake_of_last_poller(
    future: impl Future,
    fire: impl FnOnce(),
    mut turn: impl FnMut(&dyn Fn() -> bool),
) {
    let mut future = pin!(future);
    let (_, before) = Counter::with_waker();
    let (counter, after) = Counter::with_waker();
    assert!(poll(future.as_mut(), &before).is_pending());
    assert!(poll(future.as_mut(), &after).is_pending());
    fire();
    turn(&|| counter.wakes() > 0);
    assert!(poll(future.as_mut(), &after).is_ready());
}

// Pitfall: W3
#[test]
fn read_wakes_the_task_that_polled_it_last() {
    with_reactor(|reactor| {
        let (mut ours, mut peer) = socket();
        let mut byte = [0];
        let read = ours.read(&mut byte);
        let fire = || peer.write_all(b"x").unwrap();
        expect_wake_of_last_poller(read, fire, |woken| turn_until(reactor, woken));
    });
}

// Pitfall: W3
#[test]
fn accept_wakes_the_task_that_polled_it_last() {
    with_reactor(|reactor| {
        let (listener, addr) = listener();
        let fire = || drop(StdStream::connect(addr).unwrap());
        expect_wake_of_last_poller(listener.accept(), fire, |woken| turn_until(reactor, woken));
    });
}

// Pitfall: W3
#[test]
fn timer_wakes_the_task_that_polled_it_last() {
    with_reactor(|reactor| {
        let sleep = sleep(Duration::from_millis(2));
        expect_wake_of_last_poller(sleep, || (), |woken| turn_until(reactor, woken));
        let mut ticks = interval(Duration::from_millis(2));
        expect_wake_of_last_poller(ticks.next(), || (), |woken| turn_until(reactor, woken));
    });
}

// Pitfall: W3
#[test]
fn signal_wakes_the_task_that_polled_it_last() {
    with_reactor(|reactor| {
        let mut signal = Signal::new(SIGUSR1).unwrap();
        let fire = || raise(SIGUSR1).unwrap();
        expect_wake_of_last_poller(signal.recv(), fire, |woken| turn_until(reactor, woken));
    });
}

// Pitfall: W3
#[test]
fn job_wakes_the_task_that_polled_it_last() {
    with_reactor(|reactor| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let job = reactor::blocking::unblock(move || receiver.recv());
        let fire = || sender.send(()).unwrap();
        expect_wake_of_last_poller(job, fire, |woken| turn_until(reactor, woken));
    });
}

// Pitfall: W3
#[test]
fn join_handle_wakes_the_task_that_polled_it_last() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let handle = executor.spawn(executor::yield_now());
        let turn = |woken: &dyn Fn() -> bool| {
            while !woken() {
                executor.tick();
            }
        };
        expect_wake_of_last_poller(handle, || (), turn);
    });
}

/// Returns a new waker. The reference count of `alive` shows how many such wakers still exist.
fn live(alive: &Arc<()>) -> Waker {
    let alive = alive.clone();
    waker_fn(move || _ = &alive)
}

// Each operation is polled with a waker of its own and dropped, like after a timeout. The test
// counts the wakers that the source keeps.
// Pitfall: W11
#[test]
fn idle_source_does_not_accumulate_stale_wakers() {
    with_reactor(|reactor| {
        let (ours, _peer) = socket();
        let alive = Arc::new(());
        let mut most = 0;
        for n in 0..100_000 {
            let waker = live(&alive);
            let cx = &mut Context::from_waker(&waker);
            assert!(Pin::new(&mut &ours).poll_read(cx, &mut [0]).is_pending());
            drop(waker);
            // There are several dropped operations between two turns.
            if n % 7 == 0 {
                reactor.turn(Some(Duration::ZERO)).unwrap();
            }
            most = most.max(Arc::strong_count(&alive) - 1);
        }
        assert!((1..=64).contains(&most), "the source kept {most} wakers");
    });
}

#[test]
fn repeated_polls_store_one_waker() {
    with_reactor(|reactor| {
        let (ours, mut peer) = socket();
        let (others, other) = Counter::with_waker();
        let (counter, waker) = Counter::with_waker();
        for _ in 0..100 {
            for waker in [&other, &waker] {
                let cx = &mut Context::from_waker(waker);
                assert!(Pin::new(&mut &ours).poll_read(cx, &mut [0]).is_pending());
            }
        }
        assert_eq!(Arc::strong_count(&counter), 3);
        peer.write_all(b"x").unwrap();
        turn_until(reactor, || counter.wakes() > 0);
        assert_eq!((counter.wakes(), others.wakes()), (1, 1));
    });
}

// With many waiters, a source may store the same waker twice, but not without bound.
// Pitfall: W11, E6
#[test]
fn repeated_polls_of_many_tasks_store_few_wakers() {
    with_reactor(|reactor| {
        let (ours, _peer) = socket();
        let (counters, wakers): (Vec<_>, Vec<_>) = (0..100).map(|_| Counter::with_waker()).unzip();
        for _ in 0..100 {
            for waker in &wakers {
                let cx = &mut Context::from_waker(waker);
                assert!(Pin::new(&mut &ours).poll_read(cx, &mut [0]).is_pending());
            }
            reactor.turn(Some(Duration::ZERO)).unwrap();
        }
        let kept: usize = counters.iter().map(|counter| Arc::strong_count(counter) - 2).sum();
        assert!(kept <= 400, "{kept} wakers of 100 tasks are stored");
    });
}

// A sweep of stale wakers must not lose the wakers of tasks that still wait.
// Pitfall: W11
#[test]
fn sweep_keeps_the_waker_of_a_waiting_task() {
    run(|| async {
        let (ours, mut peer) = tcp_pair_with_std().await.unwrap();
        let ours = Rc::new(ours);
        let reading = ours.clone();
        let waiting = executor::spawn(async move {
            let mut byte = [0];
            (&*reading).read_exact(&mut byte).await.unwrap();
        });
        executor::yield_now().await;
        for _ in 0..1000 {
            let (_, waker) = Counter::with_waker();
            let cx = &mut Context::from_waker(&waker);
            assert!(Pin::new(&mut &*ours).poll_read(cx, &mut [0]).is_pending());
            executor::yield_now().await;
        }
        peer.write_all(b"x").unwrap();
        waiting.await.unwrap();
    });
}

// Two operations of one task share one waker, and both complete.
// Pitfall: W11
#[test]
fn two_accepts_of_one_task_both_get_a_connection() {
    run(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let accepts = executor::spawn(async move {
            futures_lite::future::zip(listener.accept(), listener.accept()).await
        });
        tests::until(|| Reactor::current().metrics().waits == 2).await;
        let _clients = (StdStream::connect(addr).unwrap(), StdStream::connect(addr).unwrap());
        let (first, second) = accepts.await.unwrap();
        assert!(first.is_ok() && second.is_ok());
    });
}

// Pitfall: E6
#[test]
fn ten_thousand_waiters_are_woken_in_fifo_order() {
    const WAITERS: usize = 10_000;
    with_reactor(|reactor| {
        let (ours, mut peer) = socket();
        let woken = Arc::new(Mutex::new(Vec::new()));
        let wakers: Vec<_> = (0..WAITERS)
            .map(|number| {
                let woken = woken.clone();
                waker_fn(move || woken.lock().unwrap().push(number))
            })
            .collect();
        let wait = || {
            for waker in &wakers {
                let cx = &mut Context::from_waker(waker);
                assert!(Pin::new(&mut &ours).poll_read(cx, &mut [0]).is_pending());
            }
        };
        let all: Vec<_> = (0..WAITERS).collect();
        let start = cpu_time();
        wait();
        // The source suspects stale wakers among so many, so a sweep wakes them all once.
        reactor.turn(Some(Duration::ZERO)).unwrap();
        assert!(
            std::mem::take(&mut *woken.lock().unwrap()) == all,
            "not all wakers, or not in order"
        );
        wait();
        for _ in 0..10 {
            reactor.turn(Some(Duration::ZERO)).unwrap();
            assert!(woken.lock().unwrap().is_empty(), "waiters are swept repeatedly");
        }
        peer.write_all(b"x").unwrap();
        turn_until(reactor, || !woken.lock().unwrap().is_empty());
        assert!(*woken.lock().unwrap() == all, "not all wakers, or not in order");
        // A quadratic search would take much longer.
        let used = cpu_time() - start;
        assert!(used < Duration::from_secs(1), "{used:?}");
    });
}

/// Returns the CPU time of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

// Pitfall: E6
#[test]
fn hundred_tasks_accept_from_one_listener() {
    run(|| async {
        let listener = Rc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let addr = listener.local_addr().unwrap();
        let mut tasks = executor::JoinSet::new();
        for _ in 0..100 {
            let listener = listener.clone();
            tasks.spawn(async move { listener.accept().await.map(drop) });
        }
        executor::yield_now().await;
        for _ in 0..100 {
            drop(StdStream::connect(addr).unwrap());
            tasks.join_next().await.unwrap().unwrap().unwrap();
        }
    });
}

thread_local! {
    /// The objects that this thread's reentrant wakers have created and not yet dropped.
    static CREATED: RefCell<Vec<Created>> = const { RefCell::new(Vec::new()) };
    static RUNS: Cell<usize> = const { Cell::new(0) };
}

type Created = (TcpStream, StdStream, Pin<Box<reactor::time::Sleep>>);

/// Does everything that a waker may do inside the runtime: registers and deregisters a source,
/// waits, sets and drops timers, and turns the reactor.
fn reenter() {
    RUNS.set(RUNS.get() + 1);
    if RUNS.get() > 50 {
        return;
    }
    let reactor = Reactor::current();
    let (mut stream, peer) = socket();
    // This waker does the same when it is dropped.
    let waker = reentrant_waker();
    let cx = &mut Context::from_waker(&waker);
    assert!(Pin::new(&mut stream).poll_read(cx, &mut [0]).is_pending());
    let mut timer = Box::pin(sleep(Duration::from_secs(100)));
    assert!(timer.as_mut().poll(cx).is_pending());
    let old = CREATED.with_borrow_mut(|created| {
        created.push((stream, peer, timer));
        (created.len() > 3).then(|| created.remove(0))
    });
    drop(old);
    let _ = reactor.next_deadline();
    reactor.turn(Some(Duration::ZERO)).unwrap();
}

/// A waker that runs [`reenter`] when it is woken and when it is dropped.
fn reentrant_waker() -> Waker {
    struct Reentrant;

    impl Wake for Reentrant {
        fn wake(self: Arc<Self>) {
            reenter();
        }
    }

    impl Drop for Reentrant {
        fn drop(&mut self) {
            reenter();
        }
    }

    Waker::from(Arc::new(Reentrant))
}

/// Checks that `act` makes a waker run [`reenter`].
fn expect_reenter(reactor: &Rc<Reactor>, act: impl FnOnce()) {
    RUNS.set(0);
    act();
    turn_until(reactor, || RUNS.get() > 0);
    RUNS.set(1000);
    drop(CREATED.take());
}

// Pitfall: X3
#[test]
fn waker_may_call_back_into_the_reactor() {
    with_reactor(|reactor| {
        let wait = |stream: &TcpStream, waker: Waker| {
            let cx = &mut Context::from_waker(&waker);
            assert!(Pin::new(&mut &*stream).poll_read(cx, &mut [0]).is_pending());
        };
        // Woken by an event, and dropped there.
        let (ours, mut peer) = socket();
        wait(&ours, reentrant_waker());
        expect_reenter(reactor, || peer.write_all(b"x").unwrap());
        // Dropped with its source.
        let (ours, _peer) = socket();
        wait(&ours, reentrant_waker());
        expect_reenter(reactor, || drop(ours));
        // Woken by a sweep of stale wakers.
        let (ours, _peer) = socket();
        expect_reenter(reactor, || {
            for _ in 0..40 {
                wait(&ours, waker_fn(reenter));
            }
        });
        // Woken by a timer.
        expect_reenter(reactor, || {
            let mut timer = pin!(sleep(Duration::from_millis(1)));
            assert!(poll(timer.as_mut(), &reentrant_waker()).is_pending());
            turn_until(reactor, || RUNS.get() > 0);
        });
        // Dropped with a timer.
        expect_reenter(reactor, || {
            let mut timer = pin!(sleep(Duration::from_secs(100)));
            assert!(poll(timer.as_mut(), &reentrant_waker()).is_pending());
        });
        // Replaced in a timer.
        expect_reenter(reactor, || {
            let mut timer = pin!(sleep(Duration::from_secs(100)));
            assert!(poll(timer.as_mut(), &reentrant_waker()).is_pending());
            assert!(poll(timer.as_mut(), Waker::noop()).is_pending());
        });
        // Dropped with a job that no task awaits.
        expect_reenter(reactor, || {
            let mut job = pin!(reactor::blocking::unblock(|| ()));
            let _ = poll(job.as_mut(), &reentrant_waker());
        });
    });
}

// Pitfall: X3
#[test]
fn waker_may_call_back_while_the_reactor_is_dropped() {
    within_deadline(|| {
        let (inner, outer) = (Reactor::new().unwrap(), Reactor::new().unwrap());
        let (ours, _peer) = {
            let _entered = inner.enter();
            let (ours, peer) = socket();
            let cx_waker = reentrant_waker();
            let cx = &mut Context::from_waker(&cx_waker);
            assert!(Pin::new(&mut &ours).poll_read(cx, &mut [0]).is_pending());
            let mut timer = Box::pin(sleep(Duration::from_secs(100)));
            assert!(timer.as_mut().poll(cx).is_pending());
            std::mem::forget(timer);
            (ours, peer)
        };
        let _entered = outer.enter();
        RUNS.set(0);
        drop(inner);
        assert!(RUNS.get() > 0);
        let waker = Waker::noop();
        let read = Pin::new(&mut &ours).poll_read(&mut Context::from_waker(waker), &mut [0]);
        assert!(matches!(read, Poll::Ready(Err(_))));
        RUNS.set(1000);
        drop(CREATED.take());
    });
}

#[test]
fn dropped_reactor_wakes_its_waiting_tasks() {
    within_deadline(|| {
        let (inner, outer) = (Reactor::new().unwrap(), Reactor::new().unwrap());
        let [(reads, reading), (sleeps, sleeping)] = [Counter::with_waker(), Counter::with_waker()];
        let mut timer = pin!(sleep(Duration::from_millis(1)));
        let (ours, _peer) = {
            let _entered = inner.enter();
            let (ours, peer) = socket();
            let cx = &mut Context::from_waker(&reading);
            assert!(Pin::new(&mut &ours).poll_read(cx, &mut [0]).is_pending());
            assert!(poll(timer.as_mut(), &sleeping).is_pending());
            (ours, peer)
        };
        drop(inner);
        assert_eq!((reads.wakes(), sleeps.wakes()), (1, 1));

        let _entered = outer.enter();
        let cx = &mut Context::from_waker(&reading);
        assert!(matches!(Pin::new(&mut &ours).poll_read(cx, &mut [0]), Poll::Ready(Err(_))));
        assert!(poll(timer.as_mut(), &sleeping).is_pending());
        turn_until(&outer, || sleeps.wakes() == 2);
        assert!(poll(timer.as_mut(), &sleeping).is_ready());
    });
}

// The wakers stored after a panicking waker are still woken.
// Pitfall: X3, X5
#[test]
fn panicking_waker_does_not_stop_later_wakers() {
    with_reactor(|reactor| {
        let (ours, mut peer) = socket();
        let (counter, waker) = Counter::with_waker();
        for waker in [waker_fn(|| panic!("a waker of the test")), waker] {
            let cx = &mut Context::from_waker(&waker);
            assert!(Pin::new(&mut &ours).poll_read(cx, &mut [0]).is_pending());
        }
        peer.write_all(b"x").unwrap();
        turn_until(reactor, || counter.wakes() == 1);
    });
}

/// A minimal executor that knows nothing of the budget: it polls the future and turns the reactor,
/// but never refills the budget.
fn minimal_block_on<F: Future>(reactor: &Rc<Reactor>, future: F) -> F::Output {
    let mut future = pin!(future);
    let (counter, waker) = Counter::with_waker();
    let mut woken = 0;
    loop {
        if let Poll::Ready(output) = poll(future.as_mut(), &waker) {
            return output;
        }
        turn_until(reactor, || counter.wakes() > woken);
        woken = counter.wakes();
    }
}

// Pitfall: E8
#[test]
fn budget_does_not_limit_other_executors() {
    with_reactor(|reactor| {
        let (ours, mut peer) = socket();
        peer.write_all(&[7; 1000]).unwrap();
        let polls = Cell::new(0);
        let mut read = pin!(async {
            for _ in 0..1000 {
                let mut byte = [0];
                (&ours).read_exact(&mut byte).await.unwrap();
                let written =
                    poll_fn(|cx| Pin::new(&mut &ours).poll_write(cx, &byte)).await.unwrap();
                assert_eq!(written, 1);
            }
        });
        let counted = poll_fn(|cx| {
            polls.set(polls.get() + 1);
            read.as_mut().poll(cx)
        });
        minimal_block_on(reactor, counted);
        assert_eq!(polls.get(), 1, "all bytes had arrived, so no operation had to wait");
    });
}
