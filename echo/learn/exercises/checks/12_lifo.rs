//! Check of exercise 12.

use std::iter;

use super::{LIMIT, Scheduler};
use crate::check::{Seen, Step, count_of, require};

pub(crate) const STEPS: &[Step] = &[
    ("tasks that the reactor wakes run in the order of their wakeups", first_in_first_out),
    ("a task that the running task wakes runs next", latency),
    ("if the running task wakes two, both run", displaced),
    ("a task that wakes itself lets the others run", yields),
    ("two tasks that wake each other do not keep out a third", fairness),
    ("the slot is used again after a task from the queue", share),
];

/// Returns all tasks in the order in which they run.
fn order(scheduler: &mut Scheduler) -> Vec<usize> {
    iter::from_fn(|| scheduler.next()).take(2000).collect()
}

fn first_in_first_out() -> Seen {
    let mut scheduler = Scheduler::default();
    (1..=5).for_each(|task| scheduler.wake(task, None));
    let order = order(&mut scheduler);
    require(order == [1, 2, 3, 4, 5], format!("{order:?}"), "[1, 2, 3, 4, 5]")
}

fn latency() -> Seen {
    let mut scheduler = Scheduler::default();
    (1..=1000).for_each(|task| scheduler.wake(task, None));
    let client = scheduler.next();
    // The client sends a request: it wakes the task 2000.
    scheduler.wake(2000, client);
    let order = order(&mut scheduler);
    let before = order.iter().position(|task| *task == 2000).unwrap_or(order.len());
    let saw = format!("{} ran between the wakeup and the poll", count_of(before, "other task"));
    require(before == 0 && order.len() == 1000, saw, "0, of 999 that are queued")
}

fn displaced() -> Seen {
    let mut scheduler = Scheduler::default();
    (1..=3).for_each(|task| scheduler.wake(task, None));
    let running = scheduler.next();
    scheduler.wake(10, running);
    scheduler.wake(11, running);
    let order = order(&mut scheduler);
    let saw = format!("task 1 woke 10 and 11, while 2 and 3 were queued; the order was {order:?}");
    require(order == [11, 2, 3, 10], saw, "[11, 2, 3, 10]")
}

fn yields() -> Seen {
    let mut scheduler = Scheduler::default();
    (1..=3).for_each(|task| scheduler.wake(task, None));
    let running = scheduler.next();
    scheduler.wake(1, running);
    let order = order(&mut scheduler);
    require(order == [2, 3, 1], format!("task 1 yielded; the order was {order:?}"), "[2, 3, 1]")
}

/// Polls `polls` tasks. The tasks 1 and 2 wake each other, and the others yield. Returns the order.
fn ping_pong(others: &[usize], polls: usize) -> Vec<usize> {
    let mut scheduler = Scheduler::default();
    scheduler.wake(1, None);
    others.iter().for_each(|task| scheduler.wake(*task, None));
    let mut order = Vec::new();
    while order.len() < polls
        && let Some(task) = scheduler.next()
    {
        order.push(task);
        let woken = match task {
            1 => 2,
            2 => 1,
            other => other,
        };
        scheduler.wake(woken, Some(task));
    }
    order
}

fn fairness() -> Seen {
    let order = ping_pong(&[3], 1000);
    let before = order.iter().position(|task| *task == 3);
    let saw = match before {
        Some(before) => format!("the third task ran after {}", count_of(before, "poll")),
        None => format!("the third task did not run in {}", count_of(order.len(), "poll")),
    };
    let most = LIMIT + 1;
    require(before.is_some_and(|before| before <= most), saw, &format!("{most} polls at most"))
}

fn share() -> Seen {
    let order = ping_pong(&[3, 4, 5], 1000);
    let pair = order.iter().filter(|task| **task < 3).count();
    let saw = format!("of 1000 polls, the pair had {pair}, and three others {}", 1000 - pair);
    let is_fair = order.chunk_by(|one, next| (*one < 3) == (*next < 3));
    let longest = is_fair.filter(|run| run[0] < 3).map(<[usize]>::len).max().unwrap_or(0);
    let saw = format!("{saw}; the pair had {longest} in a row at most");
    let is_right = longest > 1 && longest <= LIMIT + 1 && pair < 800;
    require(is_right && order.len() == 1000, saw, &format!("2 to {} in a row", LIMIT + 1))
}
