//! Five tests that small runtimes tend to fail. Each runs on our runtime and on stage 8 of
//! `echo/learn/stages`. As a control, each also runs on tokio's current-thread runtime, which shows
//! that the tests check nothing specific to ours.

// The tests do not use the sockets and timers of the stage.
#[allow(dead_code)]
mod stage_8;

use std::any::Any;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::task::{Poll, Waker};
use std::thread;

use tests::within_deadline;

type Panic = Box<dyn Any + Send>;

/// A runtime under test.
trait Runtime {
    fn block_on<T: 'static>(future: impl Future<Output = T> + 'static) -> T;

    /// Spawns a task. The handle resolves to the task's output or panic.
    fn spawn<T: 'static>(
        future: impl Future<Output = T> + 'static,
    ) -> impl Future<Output = Result<T, Panic>>;
}

struct Ours;

impl Runtime for Ours {
    fn block_on<T: 'static>(future: impl Future<Output = T> + 'static) -> T {
        executor::block_on(future)
    }

    fn spawn<T: 'static>(
        future: impl Future<Output = T> + 'static,
    ) -> impl Future<Output = Result<T, Panic>> {
        let task = executor::spawn(future);
        async { task.await.map_err(|error| error.into_panic()) }
    }
}

struct Stage8;

impl Runtime for Stage8 {
    fn block_on<T: 'static>(future: impl Future<Output = T> + 'static) -> T {
        stage_8::join::block_on(future)
    }

    fn spawn<T: 'static>(
        future: impl Future<Output = T> + 'static,
    ) -> impl Future<Output = Result<T, Panic>> {
        stage_8::join::spawn(future)
    }
}

struct Tokio;

impl Runtime for Tokio {
    fn block_on<T: 'static>(future: impl Future<Output = T> + 'static) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, future)
    }

    fn spawn<T: 'static>(
        future: impl Future<Output = T> + 'static,
    ) -> impl Future<Output = Result<T, Panic>> {
        let task = tokio::task::spawn_local(future);
        async { task.await.map_err(|error| error.into_panic()) }
    }
}

/// Wakes itself `wakes` times and returns `Ready` in the same poll. Panics if it is polled again.
fn wakes_itself_and_is_ready(wakes: usize) -> impl Future<Output = &'static str> {
    let mut done = false;
    poll_fn(move |cx| {
        assert!(!done, "polled after completion");
        done = true;
        for _ in 0..wakes {
            cx.waker().wake_by_ref();
        }
        Poll::Ready("ready")
    })
}

// Pitfall: W8, W9
#[test]
fn self_woken_ready_future_is_not_polled_again() {
    fn probe<R: Runtime>() {
        for wakes in 0..3 {
            assert_eq!(R::block_on(wakes_itself_and_is_ready(wakes)), "ready");
            R::block_on(async move {
                let task = R::spawn(wakes_itself_and_is_ready(wakes));
                assert_eq!(task.await.unwrap(), "ready");
                // A stale queue entry of the first task would be popped while this task runs.
                assert_eq!(R::spawn(async { "after" }).await.unwrap(), "after");
            });
        }
    }
    within_deadline(probe::<Ours>);
    within_deadline(probe::<Stage8>);
    within_deadline(probe::<Tokio>);
}

// Method: the other thread wakes as soon as it has the waker. So over many repetitions the wake
// comes before, while and after the runtime's thread goes to sleep.
// Pitfall: W4, W8
#[test]
fn wake_from_another_thread_ends_the_sleep() {
    fn probe<R: Runtime>() {
        let (sender, wakers) = channel::<(Waker, Arc<AtomicBool>)>();
        let other = thread::spawn(move || {
            for (waker, flag) in wakers {
                flag.store(true, Ordering::Release);
                waker.wake();
            }
        });
        let wait = move || {
            let flag = Arc::new(AtomicBool::new(false));
            let sender = sender.clone();
            let mut sent = false;
            poll_fn(move |cx| {
                if flag.load(Ordering::Acquire) {
                    return Poll::Ready(());
                }
                if !sent {
                    sent = true;
                    sender.send((cx.waker().clone(), flag.clone())).unwrap();
                }
                Poll::Pending
            })
        };
        R::block_on(async move {
            for _ in 0..500 {
                wait().await;
                R::spawn(wait()).await.unwrap();
            }
        });
        // `wait` has dropped the sender of the wakers, so this thread ends.
        other.join().unwrap();
    }
    within_deadline(probe::<Ours>);
    within_deadline(probe::<Stage8>);
    within_deadline(probe::<Tokio>);
}

// Pitfall: E4
#[test]
fn self_waking_task_does_not_starve_a_ready_one() {
    fn probe<R: Runtime>() {
        R::block_on(async move {
            let stop = Rc::new(Cell::new(false));
            let stopped = stop.clone();
            let spinning = R::spawn(poll_fn(move |cx| {
                if stopped.get() {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            }));
            R::spawn(async move { stop.set(true) }).await.unwrap();
            spinning.await.unwrap();
        });
    }
    within_deadline(probe::<Ours>);
    within_deadline(probe::<Stage8>);
    within_deadline(probe::<Tokio>);
}

// Pitfall: W9
#[test]
fn wake_during_a_poll_leads_to_one_more_poll() {
    fn probe<R: Runtime>() {
        let from_here: fn(&Waker) = |waker| {
            waker.wake_by_ref();
            waker.wake_by_ref();
        };
        let from_a_thread: fn(&Waker) = |waker| {
            let waker = waker.clone();
            thread::spawn(move || waker.wake()).join().unwrap();
        };
        for wake in [from_here, from_a_thread] {
            R::block_on(async move {
                let polls = Rc::new(Cell::new(0));
                let counted = polls.clone();
                let task = R::spawn(poll_fn(move |cx| {
                    counted.set(counted.get() + 1);
                    if counted.get() == 2 {
                        return Poll::Ready(());
                    }
                    wake(cx.waker());
                    Poll::Pending
                }));
                task.await.unwrap();
                assert_eq!(polls.get(), 2);
            });
        }
    }
    within_deadline(probe::<Ours>);
    within_deadline(probe::<Stage8>);
    within_deadline(probe::<Tokio>);
}

// Pitfall: X5
#[test]
fn panic_of_a_task_reaches_only_its_handle() {
    fn probe<R: Runtime>() {
        R::block_on(async move {
            let before = R::spawn(async { 1 });
            // Unwinds like a panic, but prints no message.
            let panics = R::spawn(async { resume_unwind(Box::new("only here")) });
            let after = R::spawn(async { 2 });
            let panic = panics.await.unwrap_err();
            assert_eq!(panic.downcast_ref::<&str>(), Some(&"only here"));
            assert_eq!((before.await.unwrap(), after.await.unwrap()), (1, 2));
        });
    }
    within_deadline(probe::<Ours>);
    within_deadline(probe::<Stage8>);
    within_deadline(probe::<Tokio>);
}
