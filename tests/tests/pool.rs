//! The thread pool for blocking jobs: every job runs once, and its waiter gets the result.

use std::collections::HashSet;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use executor::{Executor, JoinSet, spawn_blocking};
use reactor::blocking::{KEEP_ALIVE, MAX_THREADS, unblock};
use reactor::fs;
use reactor::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, SeekFrom};
use reactor::net::lookup_host;
use reactor::stdio::{stderr, stdin, stdout};
use reactor::time::sleep;
use tests::child::is_child;
use tests::records::capture;
use tests::wakers::{Counter, poll};
use tests::{run, within_deadline};

#[test]
fn job_runs_on_another_thread_while_tasks_run() {
    run(|| async {
        let (sender, receiver) = channel();
        let job = executor::spawn(unblock(move || {
            receiver.recv().unwrap();
            thread::current().id()
        }));
        // The job waits for this task, so the sleep completes only if the job does not block this
        // thread.
        sleep(Duration::from_millis(1)).await;
        sender.send(()).unwrap();
        assert_ne!(job.await.unwrap(), thread::current().id());
    });
}

#[test]
fn job_starts_at_the_first_poll() {
    run(|| async {
        let (sender, receiver) = channel::<()>();
        drop(unblock(move || sender.send(())));
        assert!(receiver.recv().is_err(), "the closure was dropped without running");
    });
}

// Pitfall: X12
#[test]
fn panic_of_a_job_reaches_only_its_waiter() {
    run(|| async {
        let job = spawn_blocking(|| panic!("in the job"));
        let panic = job.await.unwrap_err().into_panic();
        assert_eq!(panic.downcast_ref(), Some(&"in the job"));
        for n in 0..100 {
            assert_eq!(unblock(move || n).await, n);
        }
    });
}

// Pitfall: X12
#[test]
fn every_job_runs_exactly_once() {
    run(|| async {
        let done = Arc::new(AtomicUsize::new(0));
        let mut jobs = JoinSet::new();
        for round in 0..10 {
            for n in 0..10_000_usize {
                let done = done.clone();
                jobs.spawn(unblock(move || {
                    done.fetch_add(1, Ordering::SeqCst);
                    n
                }));
            }
            let mut seen = HashSet::new();
            while let Some(result) = jobs.join_next().await {
                assert!(seen.insert(result.unwrap()), "a job completed twice");
            }
            assert_eq!((seen.len(), done.load(Ordering::SeqCst)), (10_000, (round + 1) * 10_000));
        }
    });
}

// Pitfall: X12
#[test]
fn job_runs_although_its_future_was_dropped() {
    run(|| async {
        let (sender, receiver) = channel();
        {
            let mut job = pin!(unblock(move || sender.send("done").unwrap()));
            let _ = poll(job.as_mut(), Waker::noop());
        }
        assert_eq!(receiver.recv().unwrap(), "done");
        assert_eq!(unblock(|| 7).await, 7);
    });
}

#[test]
fn dropped_future_of_a_job_releases_its_waker() {
    within_deadline(|| {
        let (release, wait) = channel::<()>();
        let (counter, waker) = Counter::with_waker();
        let mut job = Box::pin(unblock(move || wait.recv()));
        assert!(poll(job.as_mut(), &waker).is_pending());
        assert_eq!(Arc::strong_count(&counter), 3, "the job stores a waker");
        drop(job);
        assert_eq!(Arc::strong_count(&counter), 2, "the job still stores the waker");
        drop(release);
    });
}

#[test]
fn spurious_poll_of_a_job_does_not_store_its_waker_again() {
    within_deadline(|| {
        let (release, wait) = channel::<()>();
        let (_counter, waker) = Counter::with_waker();
        let (_, records) = capture(|| {
            let mut job = Box::pin(unblock(move || wait.recv()));
            for _ in 0..3 {
                assert!(poll(job.as_mut(), &waker).is_pending());
            }
        });
        drop(release);
        assert_eq!(records.iter().filter(|record| record.kind == "job awaited").count(), 1);
    });
}

// The future is dropped first, so the result is dropped on a thread of the pool, where its
// destructor panics.
// Pitfall: X12
#[test]
fn pool_survives_a_panicking_drop_of_a_result() {
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped on the pool's thread");
        }
    }

    run(|| async {
        for _ in 0..20 {
            let (begin, wait) = channel::<()>();
            {
                let mut job = pin!(unblock(move || {
                    let _ = wait.recv();
                    Bomb
                }));
                assert!(poll(job.as_mut(), Waker::noop()).is_pending());
            }
            drop(begin);
            assert_eq!(unblock(|| 7).await, 7);
        }
    });
}

// Pitfall: X12, X9
#[test]
fn jobs_complete_after_their_executor_is_dropped() {
    within_deadline(|| {
        let done = Arc::new(AtomicUsize::new(0));
        let (begin, wait) = channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let executor = Executor::new().unwrap();
        const JOBS: usize = 1000;
        for _ in 0..JOBS {
            let (done, wait) = (done.clone(), wait.clone());
            drop(executor.spawn(unblock(move || {
                // Wait until the executor is gone.
                let _ = wait.lock().unwrap().recv();
                done.fetch_add(1, Ordering::SeqCst);
            })));
        }
        let waiting = || executor.tasks().iter().filter(|task| !task.awaits.is_empty()).count();
        while waiting() < JOBS {
            executor.tick();
        }
        drop(executor);
        drop(begin);
        executor::block_on(async {
            tests::until(|| done.load(Ordering::SeqCst) == JOBS).await;
            assert_eq!(unblock(|| 7).await, 7);
        });
    });
}

// Pitfall: X9
#[test]
fn job_of_a_dropped_executor_is_awaited_in_another() {
    within_deadline(|| {
        let (begin, wait) = channel::<()>();
        let mut job = Box::pin(unblock(move || wait.recv()));
        executor::block_on(async {
            assert!(poll(job.as_mut(), Waker::noop()).is_pending());
        });
        drop(begin);
        assert!(executor::block_on(async { executor::spawn(job).await }).unwrap().is_err());
    });
}

/// Uses the pool through each part of the public interface that needs no reactor.
async fn use_the_pool() {
    assert_eq!(unblock(|| 7).await, 7);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "hello").await.unwrap();
    assert_eq!(fs::read_to_string(&path).await.unwrap(), "hello");
    let mut entries = fs::read_dir(directory.path()).await.unwrap();
    assert_eq!(entries.next_entry().await.unwrap().unwrap().file_name(), "file");
    let mut file = fs::File::open(&path).await.unwrap();
    assert_eq!(file.metadata().await.unwrap().len(), 5);
    assert_eq!(file.read(&mut [0; 9]).await.unwrap(), 5);
    assert!(lookup_host("localhost:1").await.unwrap().next().is_some());
    stderr().write_all(b"").await.unwrap();
    stderr().flush().await.unwrap();
}

#[test]
fn pool_works_under_any_executor_without_a_reactor() {
    within_deadline(|| futures_executor::block_on(use_the_pool()));
    within_deadline(|| {
        let executor = async_executor::LocalExecutor::new();
        let task = executor.spawn(use_the_pool());
        futures_lite::future::block_on(executor.run(task));
    });
}

// Three threads run the tasks, so a future moves from one thread to another while it waits.
#[test]
fn jobs_are_awaited_by_tasks_that_move_between_threads() {
    within_deadline(|| {
        let executor = async_executor::Executor::new();
        thread::scope(|scope| {
            let (stop, stopped) = async_channel::bounded::<()>(1);
            for _ in 0..3 {
                let (executor, stopped) = (&executor, stopped.clone());
                scope.spawn(move || futures_lite::future::block_on(executor.run(stopped.recv())));
            }
            let tasks: Vec<_> = (0..100)
                .map(|n| {
                    executor.spawn(async move {
                        for _ in 0..100 {
                            assert_eq!(unblock(move || n).await, n);
                        }
                    })
                })
                .collect();
            for task in tasks {
                futures_lite::future::block_on(task);
            }
            drop(stop);
        });
    });
}

/// Checks at compile time that a value is `Send`.
fn assert_send(_: &impl Send) {}

fn assert_send_and_sync<T: Send + Sync>() {}

// Pitfall: P3
#[test]
fn futures_of_the_pool_are_send() {
    assert_send_and_sync::<fs::File>();
    assert_send(&unblock(|| ()));
    assert_send(&fs::read("x"));
    assert_send(&fs::write("x", "y"));
    assert_send(&fs::copy("x", "y"));
    assert_send(&fs::read_dir("x"));
    assert_send(&fs::File::open("x"));
    assert_send(&fs::File::options().open("x"));
    assert_send(&lookup_host("localhost:1"));
    assert_send(&async {
        let mut file = fs::File::open("x").await?;
        file.seek(SeekFrom::Start(1)).await?;
        file.read_at(&mut [0], 0).await?;
        file.write_all(b"x").await?;
        file.sync_all().await
    });
    assert_send(&async { stdin().read(&mut [0]).await });
    assert_send(&async { stdout().write_all(b"").await });
    assert_send(&async {
        let mut entries = fs::read_dir("x").await?;
        let entry = entries.next_entry().await?.expect("an entry");
        entry.metadata().await
    });
}

/// The number of threads of this process.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

// Runs in a process of its own, so that no other test uses the pool.
// Pitfall: X12
#[test]
fn pool_is_bounded_and_its_idle_threads_end() {
    if !is_child() {
        let name = "pool_is_bounded_and_its_idle_threads_end";
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args([name, "--exact"]).env("TESTS_CHILD", name).stdout(Stdio::null());
        return assert!(child.status().unwrap().success());
    }
    run(|| async {
        let before = threads();
        // Each job blocks until the sender is dropped.
        let (release, wait) = channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let mut jobs = JoinSet::new();
        for _ in 0..MAX_THREADS + 100 {
            let wait = wait.clone();
            jobs.spawn(unblock(move || wait.lock().unwrap().recv().unwrap_err()));
        }
        // One more thread, the starter, only starts the other threads. It works beside this task.
        tests::until(|| threads() - before > MAX_THREADS).await;
        // The tasks that have not been polled yet give their jobs to the pool now. They must not
        // start more threads.
        for _ in 0..10 {
            assert_eq!(threads() - before, MAX_THREADS + 1);
            sleep(Duration::from_millis(5)).await;
        }
        let start = Instant::now();
        drop(release);
        while let Some(job) = jobs.join_next().await {
            job.unwrap();
        }
        while threads() > before {
            sleep(Duration::from_millis(50)).await;
        }
        assert!(start.elapsed() >= KEEP_ALIVE, "idle threads ended early");
    });
}
