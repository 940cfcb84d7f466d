//! What the executor tells of itself: its counts, and the tasks that nobody can wake any more.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use executor::{Executor, Metrics, block_on, spawn, spawn_blocking, spawn_named, yield_now};
use reactor::io::{AsyncReadExt, AsyncWriteExt};
use reactor::time::sleep;
use tests::records::{Record, capture};
use tests::{tcp_pair, within_deadline};

/// What an executor counted during a test, that began with a new one.
fn count<F: Future>(future: F) -> (F::Output, Metrics) {
    let executor = Executor::new().unwrap();
    let output = executor.block_on(future);
    let metrics = executor.metrics();
    (output, metrics)
}

/// Wakes a waker from another thread, which has ended then.
fn wake_from_a_thread(waker: &Waker) {
    thread::scope(|scope| {
        scope.spawn(|| waker.wake_by_ref());
    });
}

#[test]
fn a_future_that_is_ready_at_once_costs_one_wake_and_one_poll() {
    within_deadline(|| {
        let ((), metrics) = count(async {});
        assert_eq!((metrics.polls, metrics.wakes, metrics.turns), (1, 1, 0));
        assert_eq!((metrics.remote_wakes, metrics.notifications, metrics.tasks), (0, 0, 0));
    });
}

#[test]
fn a_task_that_is_spawned_and_awaited_costs_two_wakes_and_two_polls_more() {
    within_deadline(|| {
        let ((), metrics) = count(async { spawn(async {}).await.unwrap() });
        assert_eq!((metrics.polls, metrics.wakes, metrics.turns), (3, 3, 0));
        assert_eq!((metrics.remote_wakes, metrics.tasks), (0, 0));
    });
}

#[test]
fn a_poll_that_panics_is_counted_too() {
    within_deadline(|| {
        let (_, metrics) = count(async {
            spawn(async { std::panic::resume_unwind(Box::new(())) }).await.unwrap_err()
        });
        assert_eq!((metrics.polls, metrics.tasks), (3, 0));
    });
}

#[test]
fn wakes_of_a_queued_task_are_not_counted_again() {
    within_deadline(|| {
        let mut polls = 0;
        let ((), metrics) = count(poll_fn(|cx| {
            polls += 1;
            for _ in 0..10 {
                cx.waker().wake_by_ref();
            }
            if polls == 3 { Poll::Ready(()) } else { Poll::Pending }
        }));
        assert_eq!((metrics.polls, metrics.wakes), (3, 4));
    });
}

// Method: the threads wake while the executor's thread is within a poll, so that all of their
// wakes share one notification and one turn.
#[test]
fn wakes_from_other_threads_share_one_notification() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        executor.block_on(async {
            let wakers = Rc::new(RefCell::new(Vec::<Waker>::new()));
            let handles = [(); 5].map(|()| {
                let (wakers, polled) = (wakers.clone(), Cell::new(false));
                spawn(poll_fn(move |cx| {
                    if polled.replace(true) {
                        return Poll::Ready(());
                    }
                    wakers.borrow_mut().push(cx.waker().clone());
                    Poll::Pending
                }))
            });
            yield_now().await;
            let before = executor.metrics();
            wakers.take().iter().for_each(wake_from_a_thread);
            for handle in handles {
                handle.await.unwrap();
            }
            let after = executor.metrics();
            assert_eq!(after.remote_wakes - before.remote_wakes, 5);
            assert_eq!(after.wakes - before.wakes, 6, "the first task's end wakes this future");
            assert_eq!(after.notifications - before.notifications, 1);
            assert_eq!(after.events - before.events, 0, "the executor was awake");
        });
    });
}

#[test]
fn tasks_are_counted_until_their_end() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let tasks = [(); 3].map(|()| executor.spawn(pending::<()>()));
        assert_eq!(executor.metrics().tasks, 3);
        executor.block_on(async {
            assert_eq!(executor.metrics().tasks, 4, "the main future is one");
            tasks[0].abort();
            yield_now().await;
            assert_eq!(executor.metrics().tasks, 3);
        });
        assert_eq!(executor.metrics().tasks, 2);
        tasks[1].abort();
        tasks[1].abort();
        executor.tick();
        assert_eq!(executor.metrics().tasks, 1);
    });
}

// Method: the reader's waker is woken without an event behind it.
#[test]
fn a_poll_that_finds_nothing_is_counted_as_spurious() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        executor.block_on(async {
            let (mut ours, mut theirs) = tcp_pair().await.unwrap();
            let kept = Rc::new(RefCell::new(None));
            let keep = kept.clone();
            let reader = spawn(async move {
                let mut byte = [0];
                let mut read = pin!(ours.read(&mut byte));
                poll_fn(|cx| {
                    keep.replace(Some(cx.waker().clone()));
                    read.as_mut().poll(cx)
                })
                .await
            });
            yield_now().await;
            let waiting = executor.metrics();
            kept.take().unwrap().wake();
            yield_now().await;
            let woken = executor.metrics();
            assert_eq!(woken.spurious_polls - waiting.spurious_polls, 1);

            theirs.write_all(b"x").await.unwrap();
            assert_eq!(reader.await.unwrap().unwrap(), 1);
            let read = executor.metrics();
            assert_eq!(read.spurious_polls, woken.spurious_polls, "this one was for a byte");
            assert_eq!(read.would_blocks, waiting.would_blocks, "and no further call was made");
        });
    });
}

/// The tasks that were reported as lost during a test.
fn lost<F>(test: impl FnOnce() -> F + Send + 'static) -> Vec<Record>
where
    F: Future<Output = ()>,
{
    let (_, mut records) = within_deadline(|| capture(|| block_on(test())));
    records.retain(|record| record.kind.starts_with("lost"));
    records
}

#[test]
fn a_task_that_dropped_its_waker_is_reported_with_its_name_and_place() {
    let line = line!() + 2;
    let records = lost(|| async {
        drop(spawn_named("forgetful", pending::<()>()));
        yield_now().await;
    });
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0].get("name"), "forgetful");
    let place = format!("{}:{line}:", file!());
    assert!(records[0].get("at").starts_with(&place), "{records:?}");
    assert_eq!(records[0].get("task"), "1");
    let message = "lost: no source, timer, thread or queue holds a waker of this task";
    assert_eq!(records[0].kind, message);
}

#[test]
fn a_task_that_loses_its_waker_later_is_reported_once_it_is_polled_again() {
    let records = lost(|| async {
        drop(spawn(async {
            yield_now().await;
            sleep(Duration::from_micros(1)).await;
            pending::<()>().await;
        }));
        sleep(Duration::from_millis(5)).await;
    });
    assert_eq!(records.len(), 1, "{records:?}");
}

#[test]
fn a_task_whose_waker_somebody_holds_is_not_lost() {
    let records = lost(|| async {
        // A source and a timer.
        let (mut ours, _theirs) = tcp_pair().await.unwrap();
        drop(spawn(async move { drop(ours.read(&mut [0]).await) }));
        drop(spawn(sleep(Duration::from_secs(3600))));
        // A job, and a thread.
        let (sender, receiver) = channel::<()>();
        drop(spawn_blocking(move || receiver.recv()));
        let (wakers, thread) = channel::<Waker>();
        drop(spawn(poll_fn(move |cx| {
            wakers.send(cx.waker().clone()).unwrap();
            Poll::<()>::Pending
        })));
        // Another task's handle.
        let other = spawn(sleep(Duration::from_secs(3600)));
        drop(spawn(async move { drop(other.await) }));
        // A cell that others can reach, as channels have.
        let cell = Rc::new(RefCell::new(None));
        let keep = cell.clone();
        drop(spawn(poll_fn(move |cx| {
            keep.replace(Some(cx.waker().clone()));
            Poll::<()>::Pending
        })));
        // It forgets its waker at each poll, but has been woken already.
        drop(spawn(async {
            for _ in 0..3 {
                yield_now().await;
            }
        }));
        for _ in 0..5 {
            yield_now().await;
        }
        thread.try_iter().for_each(drop);
        // And the main future, of which nobody but the timer holds a waker.
        sleep(Duration::from_millis(1)).await;
        drop((sender, cell));
    });
    assert_eq!(records, []);
}

// Method: a message comes every 20 ms, and the thread spins for longer than that.
#[test]
fn thread_spins_again_after_each_message_of_another_thread() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        executor.set_spin(Duration::from_millis(500));
        let (sender, receiver) = async_channel::bounded::<()>(1);
        let other = thread::spawn(move || {
            for _ in 0..5 {
                thread::sleep(Duration::from_millis(20));
                sender.send_blocking(()).unwrap();
            }
        });
        let turns = executor.block_on(async {
            let (mut turns, mut before) = (Vec::new(), executor.metrics().turns);
            while receiver.recv().await.is_ok() {
                let now = executor.metrics().turns;
                turns.push(now - before);
                before = now;
            }
            turns
        });
        other.join().unwrap();
        assert!(turns.len() == 5 && turns.iter().all(|&turns| turns > 10), "{turns:?}");
    });
}
