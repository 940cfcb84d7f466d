//! Stage 3: what several tasks cost, and what the flag is good for.

mod executor;

use std::cell::Cell;
use std::fs;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use executor::{CHECKS_FLAG, block_on, sleep, spawn};

const PAUSE: Duration = Duration::from_millis(20);

pub(crate) fn main() {
    let begin = Instant::now();
    block_on(async { (0..3).for_each(|_| spawn(sleep(PAUSE))) });
    let time = begin.elapsed().as_millis();
    println!("works now: three tasks that wait 20 ms each took {time} ms");

    for (without, checks_flag) in [("the bug, without", false), ("works now, with", true)] {
        CHECKS_FLAG.store(checks_flag, Ordering::Relaxed);
        let polls = Rc::new(Cell::new(0));
        block_on(woken_five_times(polls.clone()));
        // Neither the first poll nor the last one is an effect of the five wakeups.
        println!("{without} the flag: polls after five wakeups: {}", polls.get() - 2);
    }

    block_on(async {
        (0..100).for_each(|_| spawn(sleep(10 * PAUSE)));
        spawn(async { println!("still wrong: threads while 100 tasks sleep: {}", threads()) });
    });
}

/// Wakes itself five times in its first poll, and is ready when a timer wakes it.
fn woken_five_times(polls: Rc<Cell<u32>>) -> impl Future<Output = ()> {
    let deadline = Instant::now() + PAUSE;
    poll_fn(move |cx| {
        polls.set(polls.get() + 1);
        if polls.get() == 1 {
            (0..5).for_each(|_| cx.waker().wake_by_ref());
            let waker = cx.waker().clone();
            spawn(async move {
                sleep(PAUSE).await;
                waker.wake();
            });
        }
        if Instant::now() < deadline { Poll::Pending } else { Poll::Ready(()) }
    })
}

/// Returns the number of threads of this process.
fn threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}
