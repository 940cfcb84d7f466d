//! The clock of a thread that a test has paused: `time::pause`, and how the reactor moves the clock.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use executor::{block_on, spawn};
use futures_lite::StreamExt;
use futures_lite::future::{or, poll_once, zip};
use reactor::blocking::unblock;
use reactor::io::{AsyncReadExt, AsyncWriteExt};
use reactor::net::{TcpListener, TcpStream, UnixStream};
use reactor::time::{
    Backoff, MissedTickBehavior, interval, interval_at, now, pause, sleep, sleep_until, timeout,
};
use tests::wakers::{Counter, poll};
use tests::within_deadline;

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// Runs the test on a thread of its own, whose clock is not paused yet. A test that needs as much
/// real time as its clock shows misses the deadline.
fn run(test: impl FnOnce() + Send + 'static) {
    within_deadline(test);
}

#[test]
fn clock_of_a_thread_runs_unless_it_is_paused() {
    run(|| {
        let (before, real) = (now(), Instant::now());
        thread::sleep(MS);
        assert!(now() >= before + MS && now() >= real);
    });
}

#[test]
fn paused_clock_stands_still() {
    run(|| {
        let _clock = pause();
        let before = now();
        thread::sleep(2 * MS);
        assert_eq!(now(), before);
    });
}

#[test]
fn clock_of_another_thread_is_not_paused() {
    run(|| {
        let _clock = pause();
        let runs = || {
            let before = now();
            thread::sleep(MS);
            now() > before
        };
        assert!(thread::spawn(runs).join().unwrap());
    });
}

#[test]
fn resumed_clock_runs_on_from_where_it_stood() {
    run(|| {
        let before = now();
        let clock = pause();
        block_on(sleep(HOUR));
        drop(clock);
        let resumed = now();
        assert!((HOUR..HOUR + 60 * SECOND).contains(&(resumed - before)));
        block_on(sleep(2 * MS));
        assert!((2 * MS..60 * SECOND).contains(&(now() - resumed)));

        // Pausing it again keeps the time that it shows.
        let again = pause();
        assert!(now() >= resumed + 2 * MS);
        drop(again);
    });
}

#[test]
fn clock_cannot_be_paused_twice() {
    run(|| {
        let clock = pause();
        let second = catch_unwind(|| drop(pause()));
        let message = *second.unwrap_err().downcast::<&str>().unwrap();
        assert_eq!(message, "the clock of this thread is paused already");
        drop(clock);
        drop(pause());
    });
}

#[test]
fn panic_of_a_test_resumes_the_clock() {
    run(|| {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _clock = pause();
            panic!("in the test");
        }));
        assert!(panicked.is_err());
        drop(pause());
    });
}

#[test]
fn sleep_of_an_hour_takes_exactly_an_hour_of_paused_time() {
    run(|| {
        let _clock = pause();
        let before = now();
        block_on(sleep(HOUR + Duration::from_nanos(1)));
        assert_eq!(now() - before, HOUR + Duration::from_nanos(1));
    });
}

#[test]
fn sleeps_end_in_the_order_of_their_deadlines() {
    run(|| {
        let _clock = pause();
        let start = now();
        let ends = Rc::new(RefCell::new(Vec::new()));
        block_on(async {
            let tasks = [5, 1, 4, 2, 3].map(|seconds| {
                let ends = ends.clone();
                spawn(async move {
                    sleep(seconds * SECOND).await;
                    ends.borrow_mut().push((seconds, now() - start));
                })
            });
            for task in tasks {
                task.await.unwrap();
            }
        });
        let expected: Vec<_> = (1..=5).map(|seconds| (seconds, seconds * SECOND)).collect();
        assert_eq!(*ends.borrow(), expected);
    });
}

#[test]
fn timeout_of_a_future_that_never_completes_elapses_at_its_deadline() {
    run(|| {
        let _clock = pause();
        let before = now();
        let waited = block_on(timeout(HOUR, std::future::pending::<()>()));
        assert!(waited.is_err());
        assert_eq!(now() - before, HOUR);
    });
}

#[test]
fn nearest_deadline_decides_between_two_futures() {
    run(|| {
        let _clock = pause();
        let before = now();
        let first = or(
            async {
                sleep(2 * HOUR).await;
                "long"
            },
            async {
                sleep(HOUR).await;
                "short"
            },
        );
        assert_eq!(block_on(first), "short");
        assert_eq!(now() - before, HOUR);
    });
}

#[test]
fn interval_ticks_at_exact_multiples() {
    run(|| {
        let _clock = pause();
        let start = now();
        let ticks: Vec<Instant> = block_on(interval(SECOND).take(3).collect());
        assert_eq!(ticks, [1, 2, 3].map(|tick| start + tick * SECOND));
    });
}

#[test]
fn advance_makes_an_interval_miss_ticks() {
    run(|| {
        let clock = pause();
        let start = now();
        block_on(async {
            let mut ticks = interval_at(start + SECOND, SECOND);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            clock.advance(3 * SECOND).await;
            let burst: Vec<_> = (&mut ticks).take(3).collect().await;
            assert_eq!(burst, [1, 2, 3].map(|tick| start + tick * SECOND));
            assert_eq!(now(), start + 3 * SECOND);
        });
    });
}

#[test]
fn backoff_measures_paused_time() {
    run(|| {
        let _clock = pause();
        let mut backoff = Backoff::new();
        let first = backoff.failed();
        let second = backoff.failed();
        block_on(sleep(HOUR));
        assert_eq!(backoff.failed(), first);
        assert!(second > first);
    });
}

#[test]
fn deadline_in_the_past_is_due_immediately() {
    run(|| {
        let _clock = pause();
        let before = now();
        block_on(sleep_until(before));
        block_on(sleep(Duration::ZERO));
        assert_eq!(now(), before);
    });
}

#[test]
fn advance_ends_the_sleeps_that_are_due_and_no_other() {
    run(|| {
        let clock = pause();
        block_on(async {
            let [short, long] = [10, 11].map(|seconds| spawn(sleep(seconds * SECOND)));
            clock.advance(10 * SECOND - Duration::from_nanos(1)).await;
            assert!(!short.is_finished());
            clock.advance(Duration::from_nanos(1)).await;
            assert!(short.is_finished() && !long.is_finished());
            clock.advance(SECOND).await;
            assert!(long.is_finished());
        });
    });
}

#[test]
fn task_spawned_before_advance_sets_its_timer_first() {
    run(|| {
        let clock = pause();
        block_on(async {
            let task = spawn(async { sleep(SECOND).await });
            clock.advance(SECOND).await;
            assert!(task.is_finished());
        });
    });
}

#[test]
fn advance_moves_the_clock_by_exactly_its_argument() {
    run(|| {
        let clock = pause();
        let before = now();
        block_on(async {
            // The nearest deadline does not stop it, and idle time does not add to it.
            let _task = spawn(sleep(MS));
            clock.advance(SECOND).await;
            assert_eq!(now() - before, SECOND);
            clock.advance(Duration::ZERO).await;
            assert_eq!(now() - before, SECOND);
        });
    });
}

#[test]
fn sleep_polled_by_hand_is_ready_after_advance() {
    run(|| {
        let clock = pause();
        block_on(async {
            let mut timer = sleep(5 * MS);
            for _ in 0..4 {
                assert_eq!(poll_once(&mut timer).await, None);
                clock.advance(MS).await;
            }
            assert!(!timer.is_elapsed());
            clock.advance(MS).await;
            assert!(timer.is_elapsed());
            assert_eq!(poll_once(&mut timer).await, Some(()));
        });
    });
}

// From tokio's tests: a sleep that nothing has polled yet counts from its creation (time_pause.rs,
// `sleep_no_poll` and `sleep_same_task_no_poll`).
#[test]
fn sleep_that_is_first_polled_after_advance_keeps_its_deadline() {
    run(|| {
        let clock = pause();
        let start = now();
        block_on(async {
            clock.advance(MS).await;
            let mut timer = sleep_until(start + 300 * MS);
            clock.advance(100 * MS).await;
            assert_eq!(now() - start, 101 * MS);
            assert_eq!(poll_once(&mut timer).await, None);
            timer.await;
        });
        assert_eq!(now() - start, 300 * MS);
    });
}

// From tokio's tests: time_pause.rs, `regression_3710_with_submillis_advance`,
// `test_time_advance_sub_ms` and `test_time_advance_3ms_and_change`.
#[test]
fn advance_below_a_millisecond_is_exact_and_ends_no_sleep() {
    run(|| {
        let clock = pause();
        block_on(async {
            clock.advance(MS).await;
            let mut timer = sleep(60 * SECOND);
            assert_eq!(poll_once(&mut timer).await, None);
            for micros in [51_592, 1, 3_141_592, 3_123_456] {
                let (before, step) = (now(), Duration::from_micros(micros));
                clock.advance(step).await;
                assert_eq!(now() - before, step);
                assert_eq!(poll_once(&mut timer).await, None);
            }
        });
    });
}

// From tokio's tests: time_pause.rs, `advance_multi_with_timer` and `advance_once_with_timer`.
#[test]
fn steps_of_a_quarter_millisecond_wake_a_sleep_at_the_fourth() {
    run(|| {
        for steps in [&[250, 250, 250, 250][..], &[250, 1500]] {
            let clock = pause();
            block_on(async {
                let (wakes, waker) = Counter::with_waker();
                let mut timer = pin!(sleep(MS));
                for &micros in steps {
                    assert!(poll(timer.as_mut(), &waker).is_pending());
                    assert_eq!(wakes.wakes(), 0);
                    clock.advance(Duration::from_micros(micros)).await;
                }
                assert_eq!(wakes.wakes(), 1);
                assert!(poll(timer.as_mut(), &waker).is_ready());
            });
        }
    });
}

// From tokio's tests: time_pause.rs, `interval`. There the first tick comes immediately, as here
// with `interval_at` and the present.
#[test]
fn interval_returns_each_missed_tick_once_between_advances() {
    run(|| {
        let clock = pause();
        let start = now();
        block_on(async {
            clock.advance(MS).await;
            let mut ticks = interval_at(start, 300 * MS);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let rows: [(u32, &[u32]); 5] =
                [(0, &[0]), (100, &[]), (200, &[300]), (400, &[600]), (500, &[900, 1200])];
            for (step, expected) in rows {
                clock.advance(step * MS).await;
                for tick in expected {
                    assert_eq!(poll_once(ticks.next()).await, Some(Some(start + *tick * MS)));
                }
                assert_eq!(poll_once(ticks.next()).await, None);
            }
        });
    });
}

#[test]
fn sleep_reset_to_an_earlier_deadline_ends_then() {
    run(|| {
        let _clock = pause();
        let before = now();
        block_on(async {
            let mut timer = sleep(HOUR);
            assert_eq!(poll_once(&mut timer).await, None);
            timer.reset(before + SECOND);
            timer.await;
        });
        assert_eq!(now() - before, SECOND);
    });
}

#[test]
fn advance_beyond_the_end_of_the_clock_panics() {
    run(|| {
        let clock = pause();
        let advanced = catch_unwind(AssertUnwindSafe(|| block_on(clock.advance(Duration::MAX))));
        assert!(advanced.is_err());
    });
}

#[test]
fn bytes_that_have_arrived_come_before_a_timeout() {
    run(|| {
        let _clock = pause();
        block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let client = spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(b"hello").await.unwrap();
                let mut bytes = [0; 5];
                timeout(MS, stream.read_exact(&mut bytes)).await.unwrap().unwrap();
                bytes
            });
            let (mut stream, _) = timeout(MS, listener.accept()).await.unwrap().unwrap();
            let mut bytes = [0; 5];
            timeout(MS, stream.read_exact(&mut bytes)).await.unwrap().unwrap();
            stream.write_all(&bytes).await.unwrap();
            assert_eq!(&client.await.unwrap(), b"hello");
        });
    });
}

#[test]
fn idle_timeout_of_a_silent_peer_needs_no_real_time() {
    run(|| {
        let _clock = pause();
        let before = now();
        block_on(async {
            let (mut ours, _theirs) = UnixStream::pair().unwrap();
            let read = timeout(HOUR, ours.read(&mut [0])).await;
            assert!(read.is_err());
        });
        assert_eq!(now() - before, HOUR);
    });
}

#[test]
fn clock_stands_still_while_a_job_runs() {
    run(|| {
        let _clock = pause();
        let before = now();
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        let released = Rc::new(Cell::new(false));
        block_on(async {
            // The job waits until the main thread has been idle with a timer for a while.
            let job = unblock(move || reader.read(&mut [0]).unwrap());
            let release = thread::spawn(move || {
                thread::sleep(20 * MS);
                writer.write_all(b"x").unwrap();
            });
            let job = async {
                job.await;
                released.set(true);
            };
            let timer = async {
                sleep(SECOND).await;
                assert!(released.get(), "the sleep ended while the job ran");
            };
            zip(job, timer).await;
            release.join().unwrap();
        });
        assert_eq!(now() - before, SECOND);
    });
}

#[test]
fn executor_that_spins_moves_the_paused_clock() {
    run(|| {
        let _clock = pause();
        let before = now();
        let executor = executor::Executor::new().unwrap();
        executor.set_spin(MS);
        executor.block_on(sleep(HOUR));
        assert_eq!(now() - before, HOUR);
    });
}

#[test]
fn without_a_timer_the_reactor_waits_for_an_event() {
    run(|| {
        let _clock = pause();
        let before = now();
        block_on(async {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            let mut theirs = theirs.into_std().unwrap();
            let peer = thread::spawn(move || {
                thread::sleep(5 * MS);
                theirs.write_all(b"x").unwrap();
            });
            ours.read_exact(&mut [0]).await.unwrap();
            peer.join().unwrap();
        });
        assert_eq!(now(), before);
    });
}

#[test]
fn same_program_gives_the_same_times_on_every_run() {
    let program = || {
        let clock = pause();
        let start = now();
        block_on(async {
            let log = Rc::new(RefCell::new(Vec::new()));
            let tasks: Vec<_> = (1..20)
                .map(|n: u32| {
                    let log = log.clone();
                    spawn(async move {
                        for step in 1..5 {
                            sleep(n * step * 7 % 90 * MS).await;
                            log.borrow_mut().push((n, step, now() - start));
                        }
                    })
                })
                .collect();
            clock.advance(30 * MS).await;
            for task in tasks {
                task.await.unwrap();
            }
            log.take()
        })
    };
    run(move || {
        let first = program();
        assert_eq!(first.len(), 19 * 4);
        assert_eq!(program(), first);
    });
}

#[test]
fn tick_late_by_exactly_a_period_is_skipped() {
    run(|| {
        let _clock = pause();
        let start = now();
        block_on(async {
            let mut ticks = interval_at(start, SECOND);
            assert_eq!(ticks.missed_tick_behavior(), MissedTickBehavior::Skip);
            assert_eq!(ticks.tick().await, start);
            sleep(3 * SECOND).await;
            assert_eq!(ticks.tick().await, start + SECOND, "the tick that was due");
            assert_eq!(ticks.tick().await, start + 4 * SECOND);
        });
    });
}
