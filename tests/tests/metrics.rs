//! What the executor reports: its metrics, and lost tasks, which nothing can wake anymore.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use executor::{Executor, Metrics, block_on, spawn, spawn_blocking, spawn_named, yield_now};
use reactor::Reactor;
use reactor::io::{AsyncReadExt, AsyncWriteExt};
use reactor::time::sleep;
use tests::records::{Record, capture};
use tests::{tcp_pair, within_deadline};

/// Runs a future on a new executor. Returns the output and the metrics.
fn count<F: Future>(future: F) -> (F::Output, Metrics) {
    let executor = Executor::new().unwrap();
    let output = executor.block_on(future);
    let metrics = executor.metrics();
    (output, metrics)
}

/// Calls a waker on another thread, and waits until that thread has ended.
fn wake_from_a_thread(waker: &Waker) {
    thread::scope(|scope| {
        scope.spawn(|| waker.wake_by_ref());
    });
}

#[test]
fn ready_future_costs_one_wake_and_one_poll() {
    within_deadline(|| {
        let ((), metrics) = count(async {});
        assert_eq!((metrics.polls, metrics.wakes, metrics.turns), (1, 1, 0));
        assert_eq!((metrics.remote_wakes, metrics.notifications, metrics.tasks), (0, 0, 0));
    });
}

#[test]
fn awaited_task_adds_two_wakes_and_two_polls() {
    within_deadline(|| {
        let ((), metrics) = count(async { spawn(async {}).await.unwrap() });
        assert_eq!((metrics.polls, metrics.wakes, metrics.turns), (3, 3, 0));
        assert_eq!((metrics.remote_wakes, metrics.tasks), (0, 0));
    });
}

#[test]
fn poll_that_panics_is_counted() {
    within_deadline(|| {
        let (_, metrics) = count(async {
            spawn(async { std::panic::resume_unwind(Box::new(())) }).await.unwrap_err()
        });
        assert_eq!((metrics.polls, metrics.tasks), (3, 0));
    });
}

#[test]
fn wakes_of_a_queued_task_are_counted_once() {
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

// The threads call the wakers while the executor's thread is in a poll, so that all wakeups share
// one notification and one turn.
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
            assert_eq!(
                after.wakes - before.wakes,
                6,
                "five tasks and the main future, which awaits the first task"
            );
            assert_eq!(after.notifications - before.notifications, 1);
            assert_eq!(after.events - before.events, 0, "the executor was awake");
        });
    });
}

#[test]
fn tasks_are_counted_until_they_end() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let tasks = [(); 3].map(|()| executor.spawn(pending::<()>()));
        assert_eq!(executor.metrics().tasks, 3);
        executor.block_on(async {
            assert_eq!(executor.metrics().tasks, 4, "the main future counts as a task");
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

// The test calls the reader's waker although no event has happened.
#[test]
fn poll_without_progress_is_counted_as_spurious() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        executor.block_on(async {
            let (mut ours, mut theirs) = tcp_pair().await.unwrap();
            let kept = Rc::new(RefCell::new(None));
            let stored = kept.clone();
            let reader = spawn(async move {
                let mut byte = [0];
                let mut read = pin!(ours.read(&mut byte));
                poll_fn(|cx| {
                    stored.replace(Some(cx.waker().clone()));
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
            assert_eq!(
                read.spurious_polls, woken.spurious_polls,
                "a poll that reads a byte is not spurious"
            );
            assert_eq!(
                read.would_blocks, waiting.would_blocks,
                "the spurious poll must not make a system call"
            );
        });
    });
}

/// Runs a test and returns the records of lost tasks.
fn lost<F>(test: impl FnOnce() -> F + Send + 'static) -> Vec<Record>
where
    F: Future<Output = ()>,
{
    let (_, mut records) = within_deadline(|| capture(|| block_on(test())));
    records.retain(|record| record.kind.starts_with("lost"));
    records
}

#[test]
fn lost_task_is_reported_with_its_name_and_location() {
    let line = line!() + 2;
    let records = lost(|| async {
        drop(spawn_named("forgetful", pending::<()>()));
        yield_now().await;
    });
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0].get("name"), "forgetful");
    let location = format!("{}:{line}:", file!());
    assert!(records[0].get("at").starts_with(&location), "{records:?}");
    assert_eq!(records[0].get("task"), "1");
    let message = "lost: no source, timer, thread or queue holds a waker of this task";
    assert_eq!(records[0].kind, message);
}

#[test]
fn task_that_loses_its_waker_later_is_reported() {
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
fn task_whose_waker_is_stored_is_not_lost() {
    let records = lost(|| async {
        // A source and a timer hold wakers.
        let (mut ours, _theirs) = tcp_pair().await.unwrap();
        drop(spawn(async move { drop(ours.read(&mut [0]).await) }));
        drop(spawn(sleep(Duration::from_secs(3600))));
        // A job and a thread hold wakers.
        let (sender, receiver) = channel::<()>();
        drop(spawn_blocking(move || receiver.recv()));
        let (wakers, thread) = channel::<Waker>();
        drop(spawn(poll_fn(move |cx| {
            wakers.send(cx.waker().clone()).unwrap();
            Poll::<()>::Pending
        })));
        // The handle of another task holds a waker.
        let other = spawn(sleep(Duration::from_secs(3600)));
        drop(spawn(async move { drop(other.await) }));
        // A shared cell holds a waker, as in a channel.
        let cell = Rc::new(RefCell::new(None));
        let stored = cell.clone();
        drop(spawn(poll_fn(move |cx| {
            stored.replace(Some(cx.waker().clone()));
            Poll::<()>::Pending
        })));
        // This task keeps no waker, but it is already queued again when its poll ends.
        drop(spawn(async {
            for _ in 0..3 {
                yield_now().await;
            }
        }));
        for _ in 0..5 {
            yield_now().await;
        }
        thread.try_iter().for_each(drop);
        // Only a timer holds the waker of the main future.
        sleep(Duration::from_millis(1)).await;
        drop((sender, cell));
    });
    assert_eq!(records, []);
}

// A message arrives every 20 ms, and the thread spins for longer than that.
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

// The reader's first poll waits, its second completes a read and waits, and the last task never waits
// for a source.
#[test]
fn polls_that_make_progress_are_not_spurious() {
    within_deadline(|| {
        let ((), metrics) = count(async {
            let (mut ours, mut theirs) = tcp_pair().await.unwrap();
            let reads = Rc::new(Cell::new(0));
            let counter = reads.clone();
            let reader = spawn(async move {
                while ours.read(&mut [0]).await.unwrap() > 0 {
                    counter.set(counter.get() + 1);
                }
            });
            yield_now().await;
            theirs.write_all(b"x").await.unwrap();
            tests::until(|| reads.get() == 1).await;
            drop(theirs);
            reader.await.unwrap();
            spawn(async {
                yield_now().await;
                yield_now().await;
            })
            .await
            .unwrap();
        });
        assert_eq!(metrics.spurious_polls, 0);
    });
}

#[test]
fn wake_of_another_thread_in_a_round_needs_no_turn() {
    within_deadline(|| {
        count(async {
            let stored = Rc::new(RefCell::new(None));
            let waker = stored.clone();
            let task = spawn(poll_fn(move |cx| match waker.replace(Some(cx.waker().clone())) {
                Some(_) => Poll::Ready(Reactor::current().metrics().turns),
                None => Poll::Pending,
            }));
            yield_now().await;
            let turns = Reactor::current().metrics().turns;
            let waker: Waker = stored.borrow().clone().unwrap();
            wake_from_a_thread(&waker);
            assert_eq!(task.await.unwrap(), turns);
        });
    });
}
