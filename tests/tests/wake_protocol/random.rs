//! The models under shuttle: more threads and more wakeups, in random orders.
//!
//! shuttle's memory is sequentially consistent, so wrong memory orderings are left to loom.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};

use shuttle::scheduler::RandomScheduler;
use shuttle::{Config, Runner};

use models::Steps;
use sync::Mutant;

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
#[allow(dead_code)]
#[path = "sync.rs"]
mod sync;

/// What the models and the primitives use of shuttle.
mod checker {
    use shuttle::rand::{Rng, thread_rng};

    pub(crate) use shuttle::sync;
    pub(crate) use shuttle::thread::{JoinHandle, spawn, yield_now};

    pub(crate) fn one_in(n: u32) -> bool {
        thread_rng().gen_range(0..n) == 0
    }
}

/// The number of random orders of each model. `SCHEDULES` in the environment replaces it.
const SCHEDULES: usize = 2_000;

/// Runs `model` in random orders, which are the same each time. If a run fails, shuttle prints its
/// order.
fn check(mutant: Mutant, model: fn()) {
    sync::MUTANT.set(mutant);
    let number = |name| env::var(name).ok().map(|value| value.parse().expect("a number"));
    let schedules = number("SCHEDULES").unwrap_or(SCHEDULES);
    let seed = number("SCHEDULES_SEED").unwrap_or(0);
    let scheduler = RandomScheduler::new_from_seed(seed as u64, schedules);
    Runner::new(scheduler, Config::new()).run(model);
}

// Pitfall: W4, W5, W6, W9
#[test]
fn four_wakeups_of_three_threads_all_arrive() {
    check(Mutant::None, || models::threads_write_and_wake(Steps::Shipped, [2, 1, 1]));
}

// Pitfall: W4, W5, W10
#[test]
fn wakeup_and_spawn_in_random_order_both_arrive() {
    check(Mutant::None, models::wakeup_and_spawn);
}

// Pitfall: W12
#[test]
fn task_that_turns_the_reactor_at_random_loses_no_wakeup() {
    check(Mutant::None, || models::task_turns_the_reactor(Steps::Shipped));
}

// Pitfall: X1
#[test]
fn executor_may_be_dropped_while_threads_send() {
    check(Mutant::None, models::executor_drops);
}

// Pitfall: W3
#[test]
fn mailbox_wakes_the_last_waker_or_drops_the_result() {
    check(Mutant::None, || {
        models::mailbox_delivers_to_the_last_waker();
        models::mailbox_drops_an_unwanted_result_once();
    });
}

// Pitfall: X12
#[test]
fn pool_runs_the_jobs_of_four_threads() {
    check(Mutant::None, || models::pool_runs_the_jobs_of(4, false));
}

// Pitfall: X12
#[test]
fn pool_runs_all_jobs_while_its_threads_end() {
    check(Mutant::None, || {
        models::pool_runs_one_job_after_another();
        models::pool_runs_the_jobs_of(3, true);
    });
}

// Pitfall: P1
#[test]
fn pool_retries_the_thread_that_the_system_refused() {
    check(Mutant::None, models::pool_retries_a_refused_thread);
}

// Pitfall: P1, X12
#[test]
fn pool_runs_all_jobs_although_threads_are_refused() {
    check(Mutant::None, || {
        models::pool_without_threads_runs_the_jobs_of_two_callers();
        models::pool_whose_last_thread_has_ended_runs_the_next_job();
    });
}

#[test]
fn pool_drops_an_unwanted_result_once() {
    check(Mutant::None, models::pool_drops_an_unwanted_result_once);
}

#[test]
fn sequence_runs_jobs_and_operations_in_place_one_at_a_time() {
    check(Mutant::None, || {
        models::sequence_runs_one_job_at_a_time(3, true);
        models::sequence_continues_after_an_operation_in_place();
    });
}

/// The wrong protocols that random orders find.
const WRONG_PROTOCOLS: [(&str, Mutant, fn()); 5] = [
    ("takes the wakeup out of the inbox after the poll", Mutant::None, || {
        models::threads_write_and_wake(Steps::PollThenReceive, [2, 1, 1]);
    }),
    ("looks into the inbox before it declares the sleep", Mutant::None, || {
        models::threads_write_and_wake(Steps::LookThenDeclare, [2, 1, 1]);
    }),
    ("sleeps without looking into the inbox", Mutant::None, || {
        models::task_turns_the_reactor(Steps::SleepWithoutLooking);
    }),
    ("does not notify the reactor", Mutant::DropNotify, || {
        models::task_turns_the_reactor(Steps::Shipped);
    }),
    ("does not notify a thread of the pool", Mutant::DropNotifyOne, || {
        models::pool_runs_the_jobs_of(4, false);
    }),
];

// Pitfall: W9, W12
#[test]
fn random_orders_find_the_wrong_protocols() {
    for (name, mutant, model) in WRONG_PROTOCOLS {
        let found = catch_unwind(AssertUnwindSafe(|| check(mutant, model)));
        assert!(found.is_err(), "shuttle did not notice that the protocol {name}");
    }
}
