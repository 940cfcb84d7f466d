//! Every wake is followed by a poll, wherever it comes from, and wakes before that poll coalesce.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use executor::{Executor, Remote, block_on, spawn, yield_now};
use reactor::{Reactor, time::sleep};
use tests::{run, within_deadline};

/// Waits until the flag is set. Passes its waker to the function in each poll.
async fn until(flag: &AtomicBool, waker: impl Fn(&Waker)) {
    poll_fn(|cx| {
        if flag.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        waker(cx.waker());
        Poll::Pending
    })
    .await;
}

/// Wakes on another thread, and returns after the wake.
fn wake_from_a_thread(waker: &Waker) {
    thread::scope(|scope| {
        scope.spawn(|| waker.wake_by_ref());
    });
}

/// A way to wake a future that is being polled.
type Way = fn(&Waker);

/// By reference and by value, on this thread and on another one.
const WAYS: [Way; 4] = [
    |waker| waker.wake_by_ref(),
    |waker| {
        let waker = waker.clone();
        waker.wake();
    },
    wake_from_a_thread,
    |waker| {
        let waker = waker.clone();
        thread::spawn(move || waker.wake()).join().unwrap();
    },
];

/// Wakes itself `wakes` times in each of its first three polls. Counts its polls.
fn wakes_itself(wakes: usize, way: Way, polls: Rc<Cell<usize>>) -> impl Future<Output = ()> {
    poll_fn(move |cx| {
        polls.set(polls.get() + 1);
        if polls.get() == 4 {
            return Poll::Ready(());
        }
        for _ in 0..wakes {
            way(cx.waker());
        }
        Poll::Pending
    })
}

// Pitfall: W8, W9
#[test]
fn wakes_during_a_poll_cause_one_more_poll() {
    run(|| async {
        for way in WAYS {
            for wakes in 1..=3 {
                let polls = Rc::new(Cell::new(0));
                spawn(wakes_itself(wakes, way, polls.clone())).await.unwrap();
                assert_eq!(polls.get(), 4);
            }
        }
    });
    for way in WAYS {
        for wakes in 1..=3 {
            within_deadline(move || {
                let polls = Rc::new(Cell::new(0));
                block_on(wakes_itself(wakes, way, polls.clone()));
                assert_eq!(polls.get(), 4);
            });
        }
    }
}

// Pitfall: W9
#[test]
fn task_that_is_not_woken_is_not_polled_again() {
    run(|| async {
        let polls = Rc::new(Cell::new(0));
        let task = spawn(wakes_itself(0, WAYS[0], polls.clone()));
        for _ in 0..100 {
            yield_now().await;
        }
        assert_eq!((polls.get(), task.is_finished()), (1, false));
    });
}

// Pitfall: W8
#[test]
fn main_future_is_woken_from_tasks_and_threads() {
    run(|| async {
        let flag = Arc::new(AtomicBool::new(false));
        let itself = flag.clone();
        until(&flag, |waker| {
            itself.store(true, Ordering::Release);
            waker.wake_by_ref();
        })
        .await;

        let flag = Arc::new(AtomicBool::new(false));
        let task = flag.clone();
        until(&flag, |waker| {
            let (flag, waker) = (task.clone(), waker.clone());
            drop(spawn(async move {
                flag.store(true, Ordering::Release);
                waker.wake();
            }));
        })
        .await;

        let flag = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = channel::<Waker>();
        let set = flag.clone();
        let thread = thread::spawn(move || {
            let waker = receiver.recv().unwrap();
            set.store(true, Ordering::Release);
            waker.wake();
        });
        until(&flag, |waker| sender.send(waker.clone()).unwrap()).await;
        thread.join().unwrap();
    });
}

// Method: a wake of a scheduled task sends no message. Its write must still be visible to the poll.
// Pitfall: W5, W6
#[test]
fn last_of_a_million_wakes_is_not_lost() {
    const WAKES: u64 = 250_000;
    run(|| async {
        let count = Arc::new(AtomicU64::new(0));
        let mut threads = Vec::new();
        poll_fn(|cx| {
            if threads.is_empty() {
                threads.extend((0..4).map(|_| {
                    let (count, waker) = (count.clone(), cx.waker().clone());
                    thread::spawn(move || {
                        for _ in 0..WAKES {
                            count.fetch_add(1, Ordering::Relaxed);
                            waker.wake_by_ref();
                        }
                    })
                }));
            }
            if count.load(Ordering::Relaxed) == 4 * WAKES { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

// Method: each thread wakes its task only after the task has seen the previous wake. So no wake can
// replace another, and the executor goes to sleep between them.
// Pitfall: W4, W5, W6
#[test]
fn each_wake_from_another_thread_causes_a_poll() {
    const WAKES: usize = 5_000;
    run(|| async {
        let tasks = [0, 1].map(|_| {
            let (sender, wakers) = channel::<Waker>();
            let count = Arc::new(AtomicUsize::new(0));
            let counts = count.clone();
            let thread = thread::spawn(move || {
                for waker in wakers {
                    counts.fetch_add(1, Ordering::Relaxed);
                    waker.wake();
                }
            });
            let mut seen = 0;
            let task = spawn(poll_fn(move |cx| {
                // An unrelated wake would send a second waker, and the count would not add up.
                assert_eq!(count.load(Ordering::Relaxed), seen);
                if seen == WAKES {
                    return Poll::Ready(());
                }
                seen += 1;
                sender.send(cx.waker().clone()).unwrap();
                Poll::Pending
            }));
            (task, thread)
        });
        for (task, thread) in tasks {
            task.await.unwrap();
            thread.join().unwrap();
        }
    });
}

// Pitfall: W10
#[test]
fn remote_spawn_wakes_an_idle_executor() {
    run(|| async {
        for _ in 0..100 {
            let flag = Arc::new(AtomicBool::new(false));
            let remote = Remote::current();
            let (sender, receiver) = channel::<Waker>();
            let set = flag.clone();
            let thread = thread::spawn(move || {
                let waker = receiver.recv().unwrap();
                let make = move || async move {
                    set.store(true, Ordering::Release);
                    waker.wake();
                };
                drop(remote.spawn(make));
            });
            until(&flag, |waker| sender.send(waker.clone()).unwrap()).await;
            thread.join().unwrap();
        }
    });
}

// Pitfall: W10
#[test]
fn spawn_in_a_destructor_runs_without_another_wake() {
    struct SpawnsWhenDropped(Rc<Cell<usize>>);

    impl Drop for SpawnsWhenDropped {
        fn drop(&mut self) {
            let count = self.0.clone();
            drop(spawn(async move { count.set(count.get() + 1) }));
        }
    }

    run(|| async {
        let count = Rc::new(Cell::new(0));
        let guard = SpawnsWhenDropped(count.clone());
        drop(spawn(async move {
            drop(spawn(async move { drop(guard) }));
        }));
        while count.get() == 0 {
            yield_now().await;
        }

        // The executor drops the future of an aborted task while no other task runs.
        let guard = SpawnsWhenDropped(count.clone());
        let task = spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        yield_now().await;
        task.abort();
        while count.get() == 1 {
            yield_now().await;
        }
    });
}

// Pitfall: W10
#[test]
fn ten_thousand_woken_tasks_run_in_order() {
    run(|| async {
        let wakers = Rc::new(RefCell::new(Vec::new()));
        let order = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..10_000)
            .map(|n| {
                let (wakers, order) = (wakers.clone(), order.clone());
                let mut stored = false;
                spawn(poll_fn(move |cx| {
                    if stored {
                        order.borrow_mut().push(n);
                        return Poll::Ready(());
                    }
                    stored = true;
                    wakers.borrow_mut().push(cx.waker().clone());
                    Poll::Pending
                }))
            })
            .collect();
        while wakers.borrow().len() < tasks.len() {
            yield_now().await;
        }
        wakers.take().into_iter().for_each(Waker::wake);
        for task in tasks {
            task.await.unwrap();
        }
        assert!(order.borrow().iter().copied().eq(0..10_000));
    });
}

// Method: the wake has already notified the reactor when the task turns it.
// Pitfall: W12
#[test]
fn turn_in_a_task_does_not_lose_a_remote_wake() {
    run(|| async {
        let mut woken = false;
        poll_fn(|cx| {
            if woken {
                return Poll::Ready(());
            }
            woken = true;
            wake_from_a_thread(cx.waker());
            Reactor::current().turn(Some(Duration::ZERO)).unwrap();
            Poll::Pending
        })
        .await;
    });
}

// Pitfall: W12
#[test]
fn turn_by_the_host_does_not_lose_a_remote_spawn() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let remote = executor.remote();
        let (sender, receiver) = channel();
        let send = move || async move { sender.send("ran").unwrap() };
        thread::spawn(move || drop(remote.spawn(send))).join().unwrap();
        executor.reactor().turn(Some(Duration::ZERO)).unwrap();
        while executor.tick() {}
        assert_eq!(receiver.try_recv(), Ok("ran"));
    });
}

// Pitfall: X1
#[test]
fn wakers_may_be_called_after_the_executor_is_dropped() {
    within_deadline(|| {
        let wakers = Arc::new(Mutex::new(Vec::<Waker>::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let threads = [0; 4].map(|_| {
            let (wakers, stop) = (wakers.clone(), stop.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let all = wakers.lock().unwrap().clone();
                    all.iter().for_each(Waker::wake_by_ref);
                }
            })
        });
        for _ in 0..30 {
            let executor = Executor::new().unwrap();
            for _ in 0..20 {
                let wakers = wakers.clone();
                drop(executor.spawn(poll_fn(move |cx| {
                    wakers.lock().unwrap().push(cx.waker().clone());
                    Poll::<()>::Pending
                })));
            }
            for _ in 0..3 {
                executor.tick();
            }
            drop(executor);
            // The threads keep calling the wakers of the previous executor.
            let mut wakers = wakers.lock().unwrap();
            let old = wakers.len().saturating_sub(40);
            wakers.drain(..old);
        }
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// Returns the waker of a main future that has completed.
fn waker_of_main(executor: &Executor) -> Waker {
    executor.block_on(poll_fn(|cx| Poll::Ready(cx.waker().clone())))
}

/// Counts the polls of a future that calls `during` in its first poll and then sleeps.
async fn count_polls(during: impl FnOnce()) -> usize {
    let mut during = Some(during);
    let mut sleep = pin!(sleep(Duration::from_millis(5)));
    let mut polls = 0;
    poll_fn(move |cx| {
        polls += 1;
        if let Some(during) = during.take() {
            during();
        }
        sleep.as_mut().poll(cx).map(|()| polls)
    })
    .await
}

// Pitfall: X16
#[test]
fn stale_waker_does_not_poll_the_next_main_future() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let stale = waker_of_main(&executor);
        stale.wake_by_ref();
        assert_eq!(executor.block_on(count_polls(|| stale.wake_by_ref())), 2);

        // A wake in the last poll leaves the key of the completed future in the queue.
        let stale = executor.block_on(poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::Ready(cx.waker().clone())
        }));
        assert_eq!(executor.block_on(count_polls(|| stale.wake())), 2);
    });
}

// Pitfall: X16
#[test]
fn wake_of_one_executor_polls_no_task_of_another() {
    within_deadline(|| {
        let (first, second) = (Executor::new().unwrap(), Executor::new().unwrap());
        // This task has the same key in the first executor as the main future in the second.
        let kept = Rc::new(RefCell::new(None));
        let keep = kept.clone();
        let task = first.spawn(poll_fn(move |cx| match keep.replace(Some(cx.waker().clone())) {
            None => Poll::Pending,
            Some(_) => Poll::Ready("woken"),
        }));
        first.tick();
        first.tick();
        let waker = kept.borrow().clone().unwrap();
        assert_eq!(second.block_on(count_polls(|| waker.wake())), 2);
        assert!(!task.is_finished());
        assert_eq!(first.block_on(task).unwrap(), "woken");
    });
}

// Pitfall: X22
#[test]
fn wakes_from_other_threads_do_not_notify_a_busy_executor() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        executor.block_on(async {
            let done = Arc::new(AtomicBool::new(false));
            let (sets, (sender, receiver)) = (done.clone(), channel::<Waker>());
            let woken = spawn(poll_fn(move |cx| {
                let _ = sender.send(cx.waker().clone());
                Poll::<()>::Pending
            }));
            let thread = thread::spawn(move || {
                (0..1_000).for_each(|_| receiver.recv().unwrap().wake());
                sets.store(true, Ordering::Release);
            });
            // This task keeps the executor from sleeping.
            while !done.load(Ordering::Acquire) {
                yield_now().await;
            }
            thread.join().unwrap();
            woken.abort();
        });
        let metrics = executor.metrics();
        assert!(metrics.remote_wakes >= 999, "{metrics:?}");
        // Each notification is an event of the reactor.
        assert!(metrics.events <= 10, "{metrics:?}");
    });
}

#[test]
fn executor_woken_by_a_timer_is_not_notified_while_busy() {
    run(|| async {
        sleep(Duration::from_millis(1)).await;
        poll_fn(|cx| {
            wake_from_a_thread(cx.waker());
            Poll::Ready(())
        })
        .await;
        let reactor = Reactor::current();
        let events = reactor.metrics().events;
        reactor.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(reactor.metrics().events, events);
    });
}
