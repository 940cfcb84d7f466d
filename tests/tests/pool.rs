//! The blocking pool: every job is done once, and its end reaches whoever waits.

use std::collections::HashSet;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use executor::{Executor, JoinSet, spawn_blocking, yield_now};
use reactor::Reactor;
use reactor::blocking::{KEEP_ALIVE, MAX_THREADS, unblock};
use reactor::time::sleep;
use tests::child::is_child;
use tests::wakers::poll;
use tests::{run, within_deadline};

#[test]
fn a_job_runs_on_another_thread_while_tasks_go_on() {
    run(|| async {
        let (sender, receiver) = channel();
        let job = executor::spawn(unblock(move || {
            receiver.recv().unwrap();
            thread::current().id()
        }));
        // The job waits for this task: so the thread must be free.
        sleep(Duration::from_millis(1)).await;
        sender.send(()).unwrap();
        assert_ne!(job.await.unwrap(), thread::current().id());
    });
}

#[test]
fn nothing_happens_before_the_first_poll() {
    run(|| async {
        let (sender, receiver) = channel::<()>();
        drop(unblock(move || sender.send(())));
        assert!(receiver.recv().is_err(), "the closure was dropped, and not run");
    });
}

// Pitfall: X12
#[test]
fn a_panic_of_a_job_reaches_whoever_awaits_it_and_no_one_else() {
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
fn a_hundred_thousand_jobs_are_all_done_once() {
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
                assert!(seen.insert(result.unwrap()), "told twice");
            }
            assert_eq!((seen.len(), done.load(Ordering::SeqCst)), (10_000, (round + 1) * 10_000));
        }
    });
}

// Pitfall: X12
#[test]
fn a_job_whose_waiter_was_dropped_is_done_all_the_same() {
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

// Its result is dropped on the pool's thread, and that panics.
// Pitfall: X12
#[test]
fn a_result_that_nobody_waits_for_may_panic_when_it_is_dropped() {
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
fn jobs_that_are_queued_or_run_when_the_executor_ends_do_no_harm() {
    within_deadline(|| {
        let done = Arc::new(AtomicUsize::new(0));
        let (begin, wait) = channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let executor = Executor::new().unwrap();
        const JOBS: usize = 1000;
        for _ in 0..JOBS {
            let (done, wait) = (done.clone(), wait.clone());
            drop(executor.spawn(unblock(move || {
                // Until the executor is gone.
                let _ = wait.lock().unwrap().recv();
                done.fetch_add(1, Ordering::SeqCst);
            })));
        }
        while executor.reactor().metrics().waits < JOBS as u64 {
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

// Nobody would ever turn the reactor that it waits for.
// Pitfall: X9
#[test]
fn a_wait_for_a_job_that_outlives_its_executor_says_so_and_does_not_hang() {
    within_deadline(|| {
        let (begin, wait) = channel::<()>();
        let mut job = Box::pin(unblock(move || wait.recv()));
        executor::block_on(async {
            assert!(poll(job.as_mut(), Waker::noop()).is_pending());
        });
        let joined = executor::block_on(async { executor::spawn(job).await });
        let panic = joined.unwrap_err().into_panic();
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.contains("the reactor of this source is gone"), "{text}");
        drop(begin);
    });
}

#[test]
fn a_finished_job_ends_the_wait_of_its_reactor_alone() {
    within_deadline(|| {
        let (mine, other) = (Reactor::new().unwrap(), Reactor::new().unwrap());
        let _entered = mine.enter();
        let mut job = pin!(unblock(|| 7));
        while poll(job.as_mut(), Waker::noop()).is_pending() {
            mine.turn(Some(Duration::from_secs(10))).unwrap();
        }
        other.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(other.metrics().events, 0);
    });
}

#[test]
#[should_panic(expected = "call this inside `executor::block_on`")]
fn a_job_needs_a_reactor() {
    let _ = poll(pin!(unblock(|| ())), Waker::noop());
}

/// The threads of this process.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

// In a process of its own, where no other test gives the pool work.
// Pitfall: X12
#[test]
fn the_pool_has_so_many_threads_and_no_more_and_without_work_they_end() {
    if !is_child() {
        let name = "the_pool_has_so_many_threads_and_no_more_and_without_work_they_end";
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args([name, "--exact"]).env("TESTS_CHILD", name).stdout(Stdio::null());
        return assert!(child.status().unwrap().success());
    }
    run(|| async {
        let before = threads();
        // Each job waits until the sender is dropped.
        let (release, wait) = channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let mut jobs = JoinSet::new();
        for _ in 0..MAX_THREADS + 100 {
            let wait = wait.clone();
            jobs.spawn(unblock(move || wait.lock().unwrap().recv().unwrap_err()));
        }
        // Each task is polled once meanwhile, and has given its job to the pool.
        for _ in 0..MAX_THREADS {
            yield_now().await;
        }
        assert_eq!(threads() - before, MAX_THREADS);
        drop(release);
        while let Some(job) = jobs.join_next().await {
            job.unwrap();
        }
        let start = Instant::now();
        while threads() > before {
            sleep(Duration::from_millis(50)).await;
        }
        assert!(start.elapsed() > KEEP_ALIVE - Duration::from_secs(2), "they wait for more work");
    });
}
