//! Check of exercise 1.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use super::Bell;
use crate::check::{Seen, Step, Task, Wakes, count_of, require, times};

pub(crate) const STEPS: &[Step] = &[
    ("a wait ends immediately if the bell has rung before", rung_before),
    ("the ring wakes the task that waits", wakes_the_task),
    ("only the waker of the last poll is called", last_waker),
    ("the waker may use the bell while it is called", waker_uses_the_bell),
];

thread_local! {
    /// The bell of `waker_uses_the_bell`. A waker cannot hold it, because a waker must be `Send`.
    static BELL: Bell = Bell::default();
}

fn rung_before() -> Seen {
    let bell = Bell::default();
    bell.ring();
    let polled = Task::new(poll_fn(|cx| bell.poll_ring(cx))).poll();
    require(polled.is_ready(), format!("the first poll returned {polled:?}"), "Ready(())")
}

fn wakes_the_task() -> Seen {
    let bell = Bell::default();
    let mut task = Task::new(poll_fn(|cx| bell.poll_ring(cx)));
    let first = task.poll();
    let saw = format!("before the ring, the poll returned {first:?}");
    require(first.is_pending(), saw, "Pending")?;
    bell.ring();
    let wakes = task.wakes();
    // An executor polls the task again only if its waker was called.
    let polls = if wakes == 0 { 1 } else { 2 };
    let saw = format!(
        "the task was polled {}, because the ring called {}",
        times(polls),
        count_of(wakes, "waker")
    );
    require(wakes == 1, saw, "2 polls and 1 waker")?;
    let second = task.poll();
    require(second.is_ready(), format!("2 polls; the second returned {second:?}"), "Ready(())")
}

fn last_waker() -> Seen {
    let bell = Bell::default();
    let wakes = [Arc::new(Wakes::default()), Arc::new(Wakes::default())];
    for wakes in &wakes {
        let waker = Waker::from(wakes.clone());
        let _ = bell.poll_ring(&mut Context::from_waker(&waker));
    }
    bell.ring();
    let [first, second] = wakes.map(|wakes| wakes.count());
    let saw = format!(
        "two tasks polled, one after the other; the waker of the first was called {}, the waker \
         of the second {}",
        times(first),
        times(second)
    );
    require((first, second) == (0, 1), saw, "0 and 1: the wait has moved to the second task")
}

/// A waker that polls the bell and rings it again, and stores what the poll returned.
#[derive(Default)]
struct Rings(Mutex<Option<Poll<()>>>);

impl Wake for Rings {
    fn wake(self: Arc<Self>) {
        let polled = BELL.with(|bell| {
            bell.ring();
            bell.poll_ring(&mut Context::from_waker(Waker::noop()))
        });
        *self.0.lock().unwrap() = Some(polled);
    }
}

fn waker_uses_the_bell() -> Seen {
    let rings = Arc::new(Rings::default());
    let waker = Waker::from(rings.clone());
    BELL.with(|bell| {
        let _ = bell.poll_ring(&mut Context::from_waker(&waker));
        bell.ring();
    });
    let polled = *rings.0.lock().unwrap();
    let saw = match polled {
        None => "the waker was called 0 times".to_owned(),
        Some(polled) => format!("the waker rang the bell again, and its poll returned {polled:?}"),
    };
    require(polled == Some(Poll::Ready(())), saw, "1 call, in which the poll returns Ready(())")
}
