//! Stage 1: what the loop does, and how often it polls.

mod executor;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::time::{Duration, Instant};

use executor::{block_on, sleep};

pub(crate) fn main() {
    let (begin, polls) = (Instant::now(), Cell::new(0));
    let output = block_on(counted(&polls, async {
        sleep(Duration::from_millis(20)).await;
        "done"
    }));
    let time = begin.elapsed().as_millis();
    println!("works now: the future returned {output:?} after {time} ms");
    println!("still wrong: the wait of {time} ms took about {} polls", polls.get());
}

/// Counts the polls of a future.
fn counted<F: Future>(polls: &Cell<u32>, future: F) -> impl Future<Output = F::Output> {
    let mut future = Box::pin(future);
    poll_fn(move |cx| {
        polls.set(polls.get() + 1);
        future.as_mut().poll(cx)
    })
}
