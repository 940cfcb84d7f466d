//! Waiters: several tasks on one source, futures that change hands, wakers that are left behind,
//! and wakers that run foreign code in the middle of the runtime.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::Write;
use std::net::TcpStream as StdStream;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use executor::Executor;
use futures_lite::StreamExt;
use reactor::Reactor;
use reactor::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use reactor::net::{TcpListener, TcpStream};
use reactor::signal::Signal;
use reactor::time::{interval, sleep};
use signal_hook::consts::SIGUSR1;
use signal_hook::low_level::raise;
use tests::wakers::{Counter, poll, waker_fn};
use tests::{run, std_pair, tcp_pair_with_std, turn_until, within_deadline};

/// A reactor that is turned by hand, current for the test.
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
fn two_tasks_that_read_one_socket_are_both_woken() {
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

/// Polls a future with one waker, then with another, as when it moves to another task; then lets
/// its event come. The second must be woken.
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
fn a_read_that_moved_to_another_task_wakes_that_one() {
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
fn an_accept_that_moved_to_another_task_wakes_that_one() {
    with_reactor(|reactor| {
        let (listener, addr) = listener();
        let fire = || drop(StdStream::connect(addr).unwrap());
        expect_wake_of_last_poller(listener.accept(), fire, |woken| turn_until(reactor, woken));
    });
}

// Pitfall: W3
#[test]
fn a_timer_that_moved_to_another_task_wakes_that_one() {
    with_reactor(|reactor| {
        let sleep = sleep(Duration::from_millis(2));
        expect_wake_of_last_poller(sleep, || (), |woken| turn_until(reactor, woken));
        let mut ticks = interval(Duration::from_millis(2));
        expect_wake_of_last_poller(ticks.next(), || (), |woken| turn_until(reactor, woken));
    });
}

// Pitfall: W3
#[test]
fn a_signal_that_moved_to_another_task_wakes_that_one() {
    with_reactor(|reactor| {
        let mut signal = Signal::new(SIGUSR1).unwrap();
        let fire = || raise(SIGUSR1).unwrap();
        expect_wake_of_last_poller(signal.recv(), fire, |woken| turn_until(reactor, woken));
    });
}

// Pitfall: W3
#[test]
fn a_job_that_moved_to_another_task_wakes_that_one() {
    with_reactor(|reactor| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let job = reactor::blocking::unblock(move || receiver.recv());
        let fire = || sender.send(()).unwrap();
        expect_wake_of_last_poller(job, fire, |woken| turn_until(reactor, woken));
    });
}

// Pitfall: W3
#[test]
fn a_join_handle_that_moved_to_another_task_wakes_that_one() {
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

/// A waker of which one can tell whether it is still kept somewhere.
struct Live {
    _alive: Arc<()>,
}

impl Wake for Live {
    fn wake(self: Arc<Self>) {
        drop(self);
    }
}

// Each operation is polled by a waker of its own and dropped, as after a time-out. What the
// source keeps is counted.
// Pitfall: W11
#[test]
fn an_idle_source_does_not_collect_the_wakers_of_dropped_operations() {
    with_reactor(|reactor| {
        let (ours, _peer) = socket();
        let alive = Arc::new(());
        let mut most = 0;
        for n in 0..100_000 {
            let waker = Waker::from(Arc::new(Live { _alive: alive.clone() }));
            let cx = &mut Context::from_waker(&waker);
            assert!(Pin::new(&mut &ours).poll_read(cx, &mut [0]).is_pending());
            drop(waker);
            // Some turns see one such operation, some see many.
            if n % 7 == 0 {
                reactor.turn(Some(Duration::ZERO)).unwrap();
            }
            most = most.max(Arc::strong_count(&alive) - 1);
        }
        assert!(most <= 64, "{most} wakers at once");
    });
}

#[test]
fn a_task_that_polls_again_and_again_leaves_one_waker_and_is_woken_once() {
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

// In a crowd the same waker may be kept twice; but not again and again.
// Pitfall: W11, E6
#[test]
fn tasks_of_a_crowd_that_poll_again_and_again_do_not_make_it_grow() {
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
        assert!(kept <= 400, "{kept} wakers of 100 tasks");
    });
}

// A sweep asks who is still there; it must not lose those that are.
// Pitfall: W11
#[test]
fn a_task_that_still_waits_survives_the_leftovers_of_others() {
    run(|| async {
        let (ours, mut peer) = tcp_pair_with_std().await.unwrap();
        let ours = Rc::new(ours);
        let reading = ours.clone();
        let honest = executor::spawn(async move {
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
        honest.await.unwrap();
    });
}

// One task, two operations on one source: one waker, and both go on.
// Pitfall: W11
#[test]
fn two_accepts_joined_in_one_task_both_get_their_connection() {
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
fn ten_thousand_waiters_are_woken_first_in_first_out_and_quickly() {
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
        let start = Instant::now();
        wait();
        // So many at once are suspected to be leftovers: all are asked, once.
        reactor.turn(Some(Duration::ZERO)).unwrap();
        assert!(std::mem::take(&mut *woken.lock().unwrap()) == all, "not all, or not in order");
        wait();
        for _ in 0..10 {
            reactor.turn(Some(Duration::ZERO)).unwrap();
            assert!(woken.lock().unwrap().is_empty(), "honest waiters are swept again and again");
        }
        peer.write_all(b"x").unwrap();
        turn_until(reactor, || !woken.lock().unwrap().is_empty());
        assert!(*woken.lock().unwrap() == all, "not all, or not in order");
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    });
}

// Pitfall: E6
#[test]
fn a_hundred_tasks_that_accept_from_one_listener_all_get_a_connection() {
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
    /// What the foreign code of this thread's wakers has made and not yet dropped.
    static FOREIGN: RefCell<Vec<Foreign>> = const { RefCell::new(Vec::new()) };
    static RUNS: Cell<usize> = const { Cell::new(0) };
}

type Foreign = (TcpStream, StdStream, Pin<Box<reactor::time::Sleep>>);

/// Does in the middle of the runtime all that a waker could come to do there: it registers,
/// waits, deregisters, sets and drops timers, and turns the reactor.
fn foreign_code() {
    RUNS.set(RUNS.get() + 1);
    if RUNS.get() > 50 {
        return;
    }
    let reactor = Reactor::current();
    let (mut stream, peer) = socket();
    // Its own waker does the same again, when it is dropped.
    let waker = foreign_waker();
    let cx = &mut Context::from_waker(&waker);
    assert!(Pin::new(&mut stream).poll_read(cx, &mut [0]).is_pending());
    let mut timer = Box::pin(sleep(Duration::from_secs(100)));
    assert!(timer.as_mut().poll(cx).is_pending());
    let old = FOREIGN.with_borrow_mut(|foreign| {
        foreign.push((stream, peer, timer));
        (foreign.len() > 3).then(|| foreign.remove(0))
    });
    drop(old);
    let _ = reactor.next_deadline();
    reactor.turn(Some(Duration::ZERO)).unwrap();
}

/// A waker that runs [`foreign_code`] when it is woken and when it is dropped.
fn foreign_waker() -> Waker {
    struct Hostile;

    impl Wake for Hostile {
        fn wake(self: Arc<Self>) {
            foreign_code();
        }
    }

    impl Drop for Hostile {
        fn drop(&mut self) {
            foreign_code();
        }
    }

    Waker::from(Arc::new(Hostile))
}

fn expect_foreign_code(reactor: &Rc<Reactor>, act: impl FnOnce()) {
    RUNS.set(0);
    act();
    turn_until(reactor, || RUNS.get() > 0);
    RUNS.set(1000);
    let left = FOREIGN.take();
    drop(left);
}

// Pitfall: X3
#[test]
fn a_waker_may_register_deregister_set_timers_and_turn_the_reactor() {
    with_reactor(|reactor| {
        let wait = |stream: &TcpStream, waker: Waker| {
            let cx = &mut Context::from_waker(&waker);
            assert!(Pin::new(&mut &*stream).poll_read(cx, &mut [0]).is_pending());
        };
        // Woken by an event; and dropped there.
        let (ours, mut peer) = socket();
        wait(&ours, foreign_waker());
        expect_foreign_code(reactor, || peer.write_all(b"x").unwrap());
        // Dropped with its source.
        let (ours, _peer) = socket();
        wait(&ours, foreign_waker());
        expect_foreign_code(reactor, || drop(ours));
        // Woken, because it is suspected to be a leftover.
        let (ours, _peer) = socket();
        expect_foreign_code(reactor, || {
            for _ in 0..40 {
                wait(&ours, waker_fn(foreign_code));
            }
        });
        // Woken by a timer.
        expect_foreign_code(reactor, || {
            let mut timer = pin!(sleep(Duration::from_millis(1)));
            assert!(poll(timer.as_mut(), &foreign_waker()).is_pending());
            turn_until(reactor, || RUNS.get() > 0);
        });
        // Dropped with a timer.
        expect_foreign_code(reactor, || {
            let mut timer = pin!(sleep(Duration::from_secs(100)));
            assert!(poll(timer.as_mut(), &foreign_waker()).is_pending());
        });
        // Replaced in a timer.
        expect_foreign_code(reactor, || {
            let mut timer = pin!(sleep(Duration::from_secs(100)));
            assert!(poll(timer.as_mut(), &foreign_waker()).is_pending());
            assert!(poll(timer.as_mut(), Waker::noop()).is_pending());
        });
        // Dropped with a job that nobody awaits any more.
        expect_foreign_code(reactor, || {
            let mut job = pin!(reactor::blocking::unblock(|| ()));
            let _ = poll(job.as_mut(), &foreign_waker());
        });
    });
}

// Pitfall: X3
#[test]
fn a_waker_may_do_the_same_while_the_reactor_is_dropped() {
    within_deadline(|| {
        let (inner, outer) = (Reactor::new().unwrap(), Reactor::new().unwrap());
        let (ours, _peer) = {
            let _entered = inner.enter();
            let (ours, peer) = socket();
            let cx_waker = foreign_waker();
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
        drop(FOREIGN.take());
    });
}

#[test]
fn who_waits_when_the_reactor_ends_is_woken_and_a_timer_goes_on_with_the_next_one() {
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

// A waker that panics does not cost the ones behind it their wake.
// Pitfall: X3, X5
#[test]
fn a_waker_that_panics_does_not_cost_the_others_their_wake() {
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

/// An executor as simple as can be, and not ours: it polls, and it turns the reactor. It never
/// refills a budget.
fn foreign_block_on<F: Future>(reactor: &Rc<Reactor>, future: F) -> F::Output {
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
fn a_foreign_executor_completes_any_number_of_operations_in_one_poll() {
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
        foreign_block_on(reactor, counted);
        assert_eq!(polls.get(), 1, "all was there, so nothing had to wait");
    });
}
