//! The models under loom: every order of the steps with at most two or three preemptions.

use std::env;
use std::process::Command;
use std::sync::Arc;

use checker::sync::atomic::AtomicUsize;
use models::{Model, Steps};
use sync::{Mutant, Ordering};

#[allow(dead_code)]
#[path = "../../../executor/src/inbox.rs"]
mod inbox;
#[allow(dead_code)]
#[path = "../../../executor/src/mailbox.rs"]
mod mailbox;
#[allow(dead_code)]
#[path = "models.rs"]
mod models;
#[allow(dead_code)]
#[path = "pool.rs"]
mod pool;
#[path = "sync.rs"]
mod sync;

/// What the models and the primitives use of loom.
mod checker {
    pub(crate) use loom::sync;
    pub(crate) use loom::thread::{JoinHandle, spawn, yield_now};

    /// loom tries orders, but makes no random choices.
    pub(crate) fn one_in(_n: u32) -> bool {
        false
    }
}

/// Runs `model` for every order of its steps with at most `preemptions`. With
/// `LOOM_MAX_PREEMPTIONS` in the environment, that number holds for all models.
fn check(preemptions: usize, mutant: Mutant, model: impl Fn() + Send + Sync + 'static) {
    sync::MUTANT.set(mutant);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.check(model);
}

// Pitfall: W4, W5, W6
#[test]
fn coalesced_wakeup_publishes_earlier_writes() {
    check(3, Mutant::None, || models::threads_write_and_wake(Steps::Shipped, [1, 1]));
}

// Method: three threads, one of which is the executor's, and four wakeups.
// Pitfall: W4, W5, W6, W9
#[test]
fn four_wakeups_of_two_threads_all_arrive() {
    check(3, Mutant::None, || models::threads_write_and_wake(Steps::Shipped, [2, 2]));
}

// Pitfall: W4, W5, W10
#[test]
fn wakeup_and_spawn_that_share_a_notification_both_arrive() {
    check(3, Mutant::None, models::wakeup_and_spawn);
}

// Pitfall: W4, W5, W12
#[test]
fn task_that_turns_the_reactor_loses_no_wakeup() {
    check(3, Mutant::None, || models::task_turns_the_reactor(Steps::Shipped));
}

// Pitfall: W9
#[test]
fn each_wakeup_of_a_waiting_task_is_followed_by_a_poll() {
    check(3, Mutant::None, models::each_wakeup_is_followed_by_a_poll);
}

#[test]
fn executor_that_does_not_run_is_notified() {
    check(3, Mutant::None, models::idle_executor_is_notified);
}

// Pitfall: X22
#[test]
fn executor_that_is_awake_is_not_notified() {
    check(3, Mutant::None, models::awake_executor_is_not_notified);
}

// Pitfall: X1
#[test]
fn wakers_and_remotes_work_while_the_executor_drops() {
    check(3, Mutant::None, models::executor_drops);
}

// Method: loom does not model the reference count of an `Arc`. The atomic `gone` stands for it.
#[test]
fn task_is_lost_only_if_no_wakeup_can_come() {
    check(3, Mutant::None, || {
        let model = Model::new(Steps::Shipped);
        let gone = Arc::new(AtomicUsize::new(0));
        let (going, wake) = (gone.clone(), model.waker());
        let thread = checker::spawn(move || {
            wake();
            going.store(1, Ordering::Release);
        });
        assert!(model.drain());
        let is_lost = || Arc::strong_count(&model.header) == 1 && !model.queued.get();
        let lost = gone.load(Ordering::Relaxed) == 1 && is_lost();
        thread.join().unwrap();
        assert!(!(lost && model.drain()), "a lost task has been woken");
        model.drain();
        assert!(is_lost(), "no waker is left");
    });
}

// Pitfall: W3
#[test]
fn result_reaches_the_task_that_polled_the_handle_last() {
    check(3, Mutant::None, models::mailbox_delivers_to_the_last_waker);
}

#[test]
fn result_for_a_dropped_handle_is_dropped_once() {
    check(3, Mutant::None, models::mailbox_drops_an_unwanted_result_once);
}

// Pitfall: X12
#[test]
fn jobs_of_two_threads_reach_threads_that_wait() {
    check(2, Mutant::None, || models::pool_runs_the_jobs_of(2, false));
}

// Pitfall: X12
#[test]
fn job_that_follows_the_end_of_a_thread_runs() {
    check(3, Mutant::None, models::pool_runs_one_job_after_another);
}

// Pitfall: X12
#[test]
fn job_runs_on_its_caller_if_no_thread_can_start() {
    check(3, Mutant::None, models::pool_without_threads_runs_the_job_itself);
}

// Pitfall: X12
#[test]
fn jobs_of_two_callers_run_if_no_thread_can_start() {
    check(3, Mutant::None, models::pool_without_threads_runs_the_jobs_of_two_callers);
}

#[test]
fn result_of_a_job_whose_handle_was_dropped_is_dropped_once() {
    check(3, Mutant::None, models::pool_drops_an_unwanted_result_once);
}

#[test]
fn jobs_of_a_sequence_run_one_at_a_time() {
    check(2, Mutant::None, || models::sequence_runs_one_job_at_a_time(2, false));
}

#[test]
fn job_behind_an_operation_in_place_runs_afterwards() {
    check(3, Mutant::None, models::sequence_continues_after_an_operation_in_place);
}

/// The environment variable that selects the wrong protocol for a child process.
const WRONG: &str = "WAKE_PROTOCOL_WRONG";

/// How loom reports that all threads wait, and that a thread loops forever.
const DEADLOCK: &str = "deadlock";
const LIVELOCK: &str = "exceeded maximum number of branches";

/// The wrong protocols: what each does, loom's report, and the model that shows the fault.
const WRONG_PROTOCOLS: [(&str, &str, fn()); 8] = [
    ("clears the flags with a store, not a swap", DEADLOCK, || {
        let model = || models::threads_write_and_wake(Steps::Shipped, [1, 1]);
        check(2, Mutant::StoreForSwap, model);
    }),
    ("swaps without ordering", DEADLOCK, || {
        check(2, Mutant::Relaxed, || models::threads_write_and_wake(Steps::Shipped, [1, 1]));
    }),
    ("takes the wakeup out of the inbox after the poll", DEADLOCK, || {
        let model = || models::threads_write_and_wake(Steps::PollThenReceive, [1, 1]);
        check(2, Mutant::None, model);
    }),
    ("looks into the inbox before it declares the sleep", DEADLOCK, || {
        let model = || models::threads_write_and_wake(Steps::LookThenDeclare, [1, 1]);
        check(2, Mutant::None, model);
    }),
    ("sleeps without looking into the inbox", DEADLOCK, || {
        check(2, Mutant::None, || models::task_turns_the_reactor(Steps::SleepWithoutLooking));
    }),
    ("looks into the inbox only after its own notification", LIVELOCK, || {
        check(2, Mutant::None, || models::task_turns_the_reactor(Steps::LookOnlyIfNotified));
    }),
    ("does not notify the reactor", DEADLOCK, || {
        check(2, Mutant::DropNotify, || models::task_turns_the_reactor(Steps::Shipped));
    }),
    ("does not notify a thread of the pool", DEADLOCK, || {
        check(2, Mutant::DropNotifyOne, || models::pool_runs_the_jobs_of(2, false));
    }),
];

// Method: each protocol runs in its own process, because loom aborts when it finds a deadlock.
// Pitfall: W6, W9, W12
#[test]
fn every_wrong_protocol_loses_a_wakeup() {
    if let Ok(wrong) = env::var(WRONG) {
        let (.., model) = WRONG_PROTOCOLS.into_iter().find(|(name, ..)| *name == wrong).unwrap();
        return model();
    }
    for (name, expected, _) in WRONG_PROTOCOLS {
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "exhaustive::every_wrong_protocol_loses_a_wakeup", "--nocapture"])
            .env(WRONG, name)
            .env("RUST_BACKTRACE", "0")
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "loom did not notice that the protocol {name}");
        assert!(stderr.contains(expected), "{name}: expected {expected}, but: {stderr}");
    }
}
