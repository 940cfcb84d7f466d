//! Tasks that other threads spawn through `Remote`, and their handles.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread::{self, ThreadId};
use std::time::Duration;

use executor::{Executor, Remote, RemoteJoinHandle, block_on, metrics, spawn, tasks, yield_now};
use reactor::time::{sleep, timeout};
use tests::wakers::{Counter, poll, waker_fn};
use tests::{run, until, within_deadline};

/// Sets a flag when it is dropped, which must happen on the given thread.
struct Guard(Arc<AtomicBool>, ThreadId);

impl Drop for Guard {
    fn drop(&mut self) {
        assert_eq!(thread::current().id(), self.1);
        self.0.store(true, Ordering::Release);
    }
}

fn fail(text: &'static str) {
    resume_unwind(Box::new(text))
}

/// Runs `test` on another thread, with a `Remote` of an executor that runs until `test` returns.
fn beside<T: Send + 'static>(test: impl FnOnce(Remote) -> T + Send + 'static) -> T {
    run(|| async {
        let remote = Remote::current();
        let other = thread::spawn(move || test(remote));
        until(|| other.is_finished()).await;
        let result = other.join().unwrap_or_else(|panic| resume_unwind(panic));
        until(|| metrics().tasks == 1).await;
        result
    })
}

#[test]
fn remote_handle_gives_the_output_to_a_blocked_thread() {
    let output = beside(|remote| {
        let task = remote.spawn(|| async {
            let not_send = Rc::new(Cell::new(1));
            sleep(Duration::from_millis(1)).await;
            not_send.set(2);
            not_send.get()
        });
        task.join()
    });
    assert_eq!(output.unwrap(), 2);
}

#[test]
fn remote_handle_can_be_awaited_in_any_executor() {
    beside(|remote| {
        let task = || remote.spawn(|| async { sleep(Duration::from_millis(1)).await });
        block_on(task()).unwrap();
        futures_executor::block_on(task()).unwrap();
        futures_lite::future::block_on(async_executor::LocalExecutor::new().run(task())).unwrap();
        let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let spawned = tokio.block_on(async { tokio::spawn(task()).await.unwrap() });
        spawned.unwrap();
    });
}

#[test]
fn remote_handle_gives_the_panic_of_the_task() {
    let error = beside(|remote| {
        let make = || async { fail("remote") };
        remote.spawn_named("fragile", make).join().unwrap_err()
    });
    assert!(error.is_panic() && error.to_string().contains("\"fragile\", spawned at"));
    assert_eq!(*error.into_panic().downcast::<&str>().unwrap(), "remote");
}

#[test]
fn remote_handle_resolves_after_the_future_is_dropped() {
    run(|| async {
        let (remote, here) = (Remote::current(), thread::current().id());
        let other = thread::spawn(move || {
            for abort in [false, true] {
                let dropped = Arc::new(AtomicBool::new(false));
                let guard = dropped.clone();
                let (sender, started) = channel();
                let task = remote.spawn(move || {
                    let guard = Guard(guard, here);
                    poll_fn(move |_| {
                        let _ = &guard;
                        sender.send(()).unwrap();
                        if abort { Poll::Pending } else { Poll::Ready(()) }
                    })
                });
                started.recv().unwrap();
                if abort {
                    task.abort();
                }
                assert_eq!(task.join().is_err(), abort);
                assert!(dropped.load(Ordering::Acquire));
            }
        });
        until(|| other.is_finished()).await;
        other.join().unwrap();
    });
}

#[test]
fn dropping_a_remote_handle_detaches_the_task() {
    run(|| async {
        let (sender, receiver) = channel();
        let remote = Remote::current();
        let make = move || async move {
            yield_now().await;
            sender.send("ran").unwrap();
            // The handle is gone, so the output is dropped on this thread.
            Guard(Arc::default(), thread::current().id())
        };
        thread::spawn(move || drop(remote.spawn(make))).join().unwrap();
        until(|| receiver.try_recv() == Ok("ran")).await;
        until(|| metrics().tasks == 1).await;
    });
}

#[test]
fn abort_of_a_remote_handle_ends_a_waiting_task() {
    beside(|remote| {
        let early = remote.spawn(pending::<()>);
        early.abort();
        let (sender, receiver) = channel();
        let waiting = remote.spawn(move || async move {
            sender.send(()).unwrap();
            pending::<()>().await;
        });
        receiver.recv().unwrap();
        waiting.abort();
        waiting.abort();
        for task in [early, waiting] {
            assert!(task.join().unwrap_err().is_cancelled());
        }
        // An abort after completion keeps the output.
        let ended = remote.spawn(|| async { 7 });
        while !ended.is_finished() {
            thread::yield_now();
        }
        ended.abort();
        assert_eq!(ended.join().unwrap(), 7);
    });
}

// Method: the abort is sent while the first task waits. When the executor receives it, the task has
// ended and the next task occupies its slot.
#[test]
fn late_abort_spares_the_next_task_in_the_slot() {
    run(|| async {
        let (sender, receiver) = async_channel::bounded(1);
        let first = Remote::current().spawn(move || async move { receiver.recv().await });
        until(|| tasks().len() == 2 && tasks()[1].polls == 1).await;
        sender.try_send(()).unwrap();
        let spawner = spawn(async { Some(spawn(sleep(Duration::from_millis(1)))) });
        first.abort();
        let next = spawner.await.unwrap().unwrap();
        first.await.unwrap().unwrap();
        next.await.unwrap();
    });
}

#[test]
fn dropped_executor_cancels_the_tasks_of_remote_handles() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let remote = executor.remote();
        let started = remote.spawn(pending::<()>);
        executor.tick();
        let waiting = remote.spawn(pending::<()>);
        let (sender, receiver) = channel();
        let other = thread::spawn(move || {
            let mut waiting = pin!(waiting);
            let (counter, waker) = Counter::with_waker();
            assert!(poll(waiting.as_mut(), &waker).is_pending());
            sender.send(()).unwrap();
            assert!(started.join().unwrap_err().is_cancelled());
            assert!(futures_lite::future::block_on(waiting).unwrap_err().is_cancelled());
            counter
        });
        receiver.recv().unwrap();
        drop(executor);
        other.join().unwrap();
        let late = remote.spawn(pending::<()>);
        assert!(late.is_finished() && late.join().unwrap_err().is_cancelled());
    });
}

#[test]
fn join_on_the_executors_thread_panics_instead_of_hanging() {
    run(|| async {
        let task = Remote::current().spawn(|| async { 7 });
        let panic = catch_unwind(AssertUnwindSafe(|| drop(task.join()))).unwrap_err();
        let text = *panic.downcast::<&str>().unwrap();
        assert!(text.starts_with("`join` would block the executor"), "{text}");
        // `join` need not block for a task that has ended.
        let task = Remote::current().spawn(|| async { 7 });
        until(|| task.is_finished()).await;
        assert_eq!(task.join().unwrap(), 7);
    });
}

#[test]
fn join_on_the_executors_thread_panics_if_not_current() {
    within_deadline(|| {
        let (executor, other) = (Executor::new().unwrap(), Executor::new().unwrap());
        let join = || {
            let task = executor.remote().spawn(|| async { 7 });
            assert!(catch_unwind(AssertUnwindSafe(|| drop(task.join()))).is_err());
        };
        join();
        other.block_on(async { join() });
    });
}

#[test]
fn dropped_await_of_a_remote_handle_keeps_the_output() {
    run(|| async {
        let make = || async { sleep(Duration::from_millis(5)).await };
        let mut task = Remote::current().spawn(make);
        assert!(timeout(Duration::from_millis(1), &mut task).await.is_err());
        task.await.unwrap();
    });
}

// Method: the handle is polled with two wakers. Only the second one may be called.
// Pitfall: W3
#[test]
fn remote_handle_wakes_the_task_that_polled_it_last() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let mut task = pin!(executor.remote().spawn(yield_now));
        let ((first, a), (last, b)) = (Counter::with_waker(), Counter::with_waker());
        assert!(poll(task.as_mut(), &a).is_pending());
        assert!(poll(task.as_mut(), &b).is_pending());
        while executor.tick() {}
        assert_eq!((first.wakes(), last.wakes()), (0, 1));
        assert!(poll(task, &a).is_ready());
    });
}

#[test]
fn panic_in_a_remote_destructor_keeps_the_output() {
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            fail("in the destructor");
        }
    }

    let output = beside(|remote| {
        let make = || {
            let bomb = Bomb;
            poll_fn(move |_| {
                let _ = &bomb;
                Poll::Ready(7)
            })
        };
        remote.spawn(make).join()
    });
    assert_eq!(output.unwrap(), 7);
}

// Pitfall: X3
#[test]
fn waker_may_drop_the_remote_handle_that_calls_it() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let handle = Arc::new(Mutex::new(Some(executor.remote().spawn(yield_now))));
        let owner = handle.clone();
        let waker = waker_fn(move || drop(owner.lock().unwrap().take()));
        let mut task = handle.lock().unwrap();
        assert!(poll(pin!(task.as_mut().unwrap()), &waker).is_pending());
        drop(task);
        while executor.tick() {}
        assert!(handle.lock().unwrap().is_none());
    });
}

#[test]
fn threads_spawn_join_and_abort_concurrently() {
    run(|| async {
        let threads: Vec<_> = (0..4)
            .map(|seed| {
                let remote = Remote::current();
                thread::spawn(move || {
                    for n in 0..500 {
                        let task = remote.spawn(move || async move {
                            yield_now().await;
                            n
                        });
                        match (n + seed) % 3 {
                            0 => assert_eq!(task.join().unwrap(), n),
                            1 => drop(task),
                            _ => {
                                task.abort();
                                // The task may have completed before the abort arrives.
                                match task.join() {
                                    Ok(output) => assert_eq!(output, n),
                                    Err(error) => assert!(error.is_cancelled()),
                                }
                            }
                        }
                    }
                })
            })
            .collect();
        until(|| threads.iter().all(|thread| thread.is_finished())).await;
        for thread in threads {
            thread.join().unwrap();
        }
        until(|| tasks().len() == 1).await;
    });
}

#[test]
fn current_remote_is_none_outside_of_an_executor() {
    within_deadline(|| {
        assert!(Remote::try_current().is_none());
        let executor = Executor::new().unwrap();
        let entered = executor.enter();
        let task = Remote::try_current().unwrap().spawn(|| async { 7 });
        assert_eq!(executor.block_on(task).unwrap(), 7);
        assert_eq!(metrics(), executor.metrics());
        drop(entered);
        assert!(Remote::try_current().is_none());
        assert!(catch_unwind(metrics).is_err());
    });
}

// Pitfall: B1
#[test]
fn ready_remote_handles_spend_the_budget() {
    run(|| async {
        let handles: Vec<_> = (0..300).map(|_| Remote::current().spawn(|| async {})).collect();
        until(|| handles.iter().all(RemoteJoinHandle::is_finished)).await;
        let neighbor = spawn(async {});
        for handle in handles {
            handle.await.unwrap();
        }
        assert!(neighbor.is_finished());
    });
}
