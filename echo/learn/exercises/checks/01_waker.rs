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
    ("the waker may ring the bell while it is dropped", dropped_waker_rings),
];

thread_local! {
    /// The bells of the last two steps. A waker cannot hold one, because a waker must be `Send`.
    static BELLS: [Bell; 2] = <[Bell; 2]>::default();
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

/// A waker that polls the bell, stores what the poll returned, and rings the bell again. Only its
/// first call does so, because a ring may call it again.
#[derive(Default)]
struct Rings(Mutex<Option<Poll<()>>>);

impl Wake for Rings {
    fn wake(self: Arc<Self>) {
        if self.0.lock().unwrap().is_none() {
            BELLS.with(|[bell, _]| {
                let polled = bell.poll_ring(&mut Context::from_waker(Waker::noop()));
                *self.0.lock().unwrap() = Some(polled);
                bell.ring();
            });
        }
    }
}

fn waker_uses_the_bell() -> Seen {
    let rings = Arc::new(Rings::default());
    let waker = Waker::from(rings.clone());
    BELLS.with(|[bell, _]| {
        let _ = bell.poll_ring(&mut Context::from_waker(&waker));
        bell.ring();
    });
    let polled = *rings.0.lock().unwrap();
    let saw = match polled {
        None => "the waker was called 0 times".to_owned(),
        Some(polled) => format!("the waker polled the bell, which returned {polled:?}"),
    };
    require(polled == Some(Poll::Ready(())), saw, "1 call, in which the poll returns Ready(())")
}

/// A waker that rings the bell when it is dropped.
struct RingsAtDrop;

impl Wake for RingsAtDrop {
    fn wake(self: Arc<Self>) {}
}

impl Drop for RingsAtDrop {
    fn drop(&mut self) {
        // An error means that the thread ends, and drops a bell that still keeps this waker.
        let _ = BELLS.try_with(|[_, bell]| bell.ring());
    }
}

fn dropped_waker_rings() -> Seen {
    BELLS.with(|[_, bell]| {
        let first = Waker::from(Arc::new(RingsAtDrop));
        let _ = bell.poll_ring(&mut Context::from_waker(&first));
        // The bell keeps the only other clone, and drops it when the second task polls.
        drop(first);
        let mut second = Task::new(poll_fn(|cx| bell.poll_ring(cx)));
        let polled = second.poll();
        let wakes = second.wakes();
        let saw = format!(
            "a second task polled, and the first waker rang when it was dropped; the poll returned \
             {polled:?}, and the second waker was called {}",
            times(wakes)
        );
        require(polled.is_ready() || wakes == 1, saw, "1 call: the ring is lost")
    })
}
