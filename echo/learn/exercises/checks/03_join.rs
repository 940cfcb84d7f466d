//! Check of exercise 3.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use executor::block_on;
use reactor::time::{sleep, timeout};

use super::join;
use crate::check::{Pipe, Seen, Step, Task, require, times};

pub(crate) const STEPS: &[Step] = &[
    ("the first poll of join polls both futures", both_polled),
    ("each output stands in its place, whichever future ends first", order),
    ("a future that has completed is not polled again", not_again),
    ("join waits, and does not poll while nothing happens", no_busy_loop),
    ("two sleeps of 100 ms take 100 ms, not 200", sleeps),
];

/// A future that completes in its poll number `ready`, and counts the polls. It wakes the task each
/// time. It accepts further polls, unlike an `async` block.
fn counted(ready: usize, polls: &Rc<Cell<usize>>) -> impl Future<Output = usize> + use<> {
    let polls = polls.clone();
    poll_fn(move |cx| {
        polls.set(polls.get() + 1);
        cx.waker().wake_by_ref();
        if polls.get() >= ready { Poll::Ready(ready) } else { Poll::Pending }
    })
}

fn both_polled() -> Seen {
    let (first, second) = (Rc::default(), Rc::default());
    let _ = Task::new(join(counted(2, &first), counted(2, &second))).poll();
    let (first, second) = (first.get(), second.get());
    let saw = format!("the first future was polled {}, the second {}", times(first), times(second));
    require((first, second) == (1, 1), saw, "1 and 1")
}

fn order() -> Seen {
    let mut outputs = Vec::new();
    for (first, second) in [(1, 3), (3, 1), (2, 2)] {
        let both = join(counted(first, &Rc::default()), counted(second, &Rc::default()));
        let (output, _) = Task::new(both).run();
        let saw = format!(
            "with futures that complete in polls {first} and {second}, join returned {output:?}"
        );
        require(output == Some((first, second)), saw, &format!("Some(({first}, {second}))"))?;
        outputs.extend(output);
    }
    Ok(format!("{outputs:?}"))
}

fn not_again() -> Seen {
    let (early, late) = (Rc::default(), Rc::default());
    let (output, _) = Task::new(join(counted(1, &early), counted(4, &late))).run();
    let (early, late) = (early.get(), late.get());
    let saw = format!(
        "a future that completes in its 1st poll was polled {}, the other {}",
        times(early),
        times(late)
    );
    require(output.is_some() && (early, late) == (1, 4), saw, "1 and 4")
}

fn no_busy_loop() -> Seen {
    let (left, right) = (Pipe::default(), Pipe::default());
    let mut task = Task::new(join(left.byte(), right.byte()));
    let (output, polls) = task.run();
    let saw = format!("before any byte came, the task was polled {}", times(polls));
    require(output.is_none() && polls == 1, saw, "1 time")?;
    right.write(b"r");
    let (output, more) = task.run();
    require(output.is_none() && more == 1, format!("1 of 2 bytes, {}", times(more)), "1 poll")?;
    left.write(b"l");
    let (output, last) = task.run();
    let saw = format!("3 polls for 2 bytes; join returned {output:?}");
    require(last == 1 && output == Some((Some(b'l'), Some(b'r'))), saw, "both bytes")
}

fn sleeps() -> Seen {
    let start = Instant::now();
    let nap = Duration::from_millis(100);
    let joined = block_on(timeout(Duration::from_secs(2), join(sleep(nap), sleep(nap))));
    let millis = start.elapsed().as_millis();
    require(joined.is_ok() && millis < 180, format!("it took {millis} ms"), "about 100 ms")
}
