//! Stage 2: how often the loop polls now, and how long three futures take.

mod executor;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::time::{Duration, Instant};

use executor::{block_on, sleep};

const PAUSE: Duration = Duration::from_millis(20);

pub(crate) fn main() {
    let (begin, polls) = (Instant::now(), Cell::new(0));
    block_on(counted(&polls, sleep(PAUSE)));
    let time = begin.elapsed().as_millis();
    println!("works now: the wait of {time} ms took {} polls", polls.get());

    let begin = Instant::now();
    for _ in 0..3 {
        block_on(sleep(PAUSE));
    }
    let time = begin.elapsed().as_millis();
    println!("still wrong: three futures that wait 20 ms each took {time} ms");
}

/// Counts the polls of a future.
fn counted<F: Future>(polls: &Cell<u32>, future: F) -> impl Future<Output = F::Output> {
    let mut future = Box::pin(future);
    poll_fn(move |cx| {
        polls.set(polls.get() + 1);
        future.as_mut().poll(cx)
    })
}
