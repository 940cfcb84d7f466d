//! A loop whose awaits are always ready.
//!
//! An `await` yields only if its future returns `Pending`. A loop over work that is always there,
//! such as a full queue, contains an `await` and still never returns to the executor. No other task
//! runs until the work is done.

use std::cell::Cell;
use std::future::ready;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use executor::{block_on, spawn_named, yield_now};
use reactor::time::interval;

use crate::ask::{Answer, Letter};
use crate::{Fault, Symptom, Version};

pub(crate) const FAULT: Fault = Fault {
    name: "never-yield",
    sentence: "a loop awaits only futures that are ready, and never yields",
    next: "`async fn yield_now` in executor/src/lib.rs",
    answers: [
        Answer {
            text: "The ticker does not tick until the loop has ended.",
            why: "the whole loop is one poll. The executor cannot interrupt it, so the timer and \
                  all other tasks wait.",
        },
        Answer {
            text: "The ticker ticks on time, because each `await` lets it run.",
            why: "an `await` is only a place where a task can yield. It yields if the future \
                  returns `Pending`, and these futures never do.",
        },
        Answer {
            text: "The ticker ticks late, because the executor interrupts the loop.",
            why: "tasks are cooperative: nothing interrupts a poll. Operations of this runtime \
                  yield when the task's budget is spent, but this loop contains none.",
        },
    ],
    reasons: [
        "The task calls its own waker after each item and yields, so the reactor can call the waker of the ticker.",
        "The loop is a single poll. A timer holds the waker of the ticker, but the reactor cannot call it before the poll ends.",
    ],
    run,
    file: file!(),
    text: include_str!("never_yield.rs"),
};

/// Interval of the ticks.
const PERIOD: Duration = Duration::from_millis(10);

/// Number of items in the queue, and how long each of them takes.
const ITEMS: u32 = 100;
const ITEM: Duration = Duration::from_millis(1);

fn run(version: Version) -> io::Result<Symptom> {
    let (ticks, took) = block_on(async {
        let ticks = Rc::new(Cell::new(0));
        drop(spawn_named("ticker", tick(ticks.clone())));
        // This returns after the ticker has been polled and has set its timer.
        yield_now().await;
        let begin = Instant::now();
        work(version).await;
        (ticks.get(), begin.elapsed())
    });
    let expected = (took.as_millis() / PERIOD.as_millis()) as u32;
    let answer = match ticks {
        0 => Letter::A,
        ticks if ticks < expected / 2 => Letter::C,
        _ => Letter::B,
    };
    Ok(Symptom::new(
        answer,
        format!("{ticks} ticks during {ITEMS} items of {} ms", ITEM.as_millis()),
    ))
}

async fn work(version: Version) {
    for _ in 0..ITEMS {
        // The next item is always there, so this await is ready immediately.
        ready(()).await;
        compute();
        match version.noted() {
            // Right: let other tasks run after each item.
            Version::Right => yield_now().await,
            // Wrong: continue with the next item.
            Version::Wrong => {}
        }
    }
}

fn compute() {
    let begin = Instant::now();
    while begin.elapsed() < ITEM {}
}

async fn tick(ticks: Rc<Cell<u32>>) {
    let mut interval = interval(PERIOD);
    // The first tick is immediate.
    interval.tick().await;
    loop {
        interval.tick().await;
        ticks.set(ticks.get() + 1);
    }
}
