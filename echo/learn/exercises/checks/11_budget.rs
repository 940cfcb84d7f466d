//! Check of exercise 11.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::Poll;

use super::{Channel, OPERATIONS, Task, run};
use crate::check::{self, Seen, Step, count_of, require};

pub(crate) const STEPS: &[Step] = &[
    ("a task that never waits lets its neighbor run", neighbor),
    ("each of two such tasks has a budget of its own", two_greedy),
    ("no item is lost or changes its place", all_items),
    ("waiting is free", waiting_is_free),
    ("outside of run there is no limit", no_limit_outside),
];

const ITEMS: usize = 10_000;

fn full_channel() -> Channel {
    let channel = Channel::default();
    (0..ITEMS).for_each(|item| channel.push(item));
    channel
}

/// Takes all items of a channel, and calls `each` with each of them.
fn drain<'a>(channel: &'a Channel, mut each: impl FnMut(usize) + 'a) -> Task<'a> {
    Box::pin(async move {
        for _ in 0..ITEMS {
            each(poll_fn(|cx| channel.poll_pop(cx)).await);
        }
    })
}

/// Yields until `is_over`, and calls `each` in each poll.
fn yields<'a>(is_over: &'a Cell<bool>, mut each: impl FnMut() + 'a) -> Task<'a> {
    Box::pin(poll_fn(move |cx| {
        each();
        if is_over.get() {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }))
}

fn neighbor() -> Seen {
    let channel = full_channel();
    let (done, is_over) = (Cell::new(0), Cell::new(false));
    // How many operations the first task completed at most between two polls of the second.
    let (before, longest) = (Cell::new(0), Cell::new(0));
    let greedy = drain(&channel, |_| {
        done.set(done.get() + 1);
        is_over.set(done.get() == ITEMS);
    });
    let mut polls = 0;
    let watching = yields(&is_over, || {
        // Give up if the first task makes no progress.
        polls += 1;
        is_over.set(is_over.get() || polls > ITEMS);
        longest.set(longest.get().max(done.get() - before.get()));
        before.set(done.get());
    });
    let left = run(vec![greedy, watching]);
    let saw =
        format!("the neighbor waited while {} of {ITEMS} operations completed", longest.get());
    require(left == 0, format!("{} never completed", count_of(left, "task")), "0: a task hangs")?;
    require(longest.get() <= OPERATIONS, saw, &format!("{OPERATIONS} at most"))
}

fn two_greedy() -> Seen {
    let channels = [full_channel(), full_channel()];
    let order = RefCell::new(Vec::new());
    let greedy = |task: usize| {
        drain(&channels[task], {
            let order = &order;
            move |_| order.borrow_mut().push(task)
        })
    };
    let left = run(vec![greedy(0), greedy(1)]);
    require(left == 0, format!("{} never completed", count_of(left, "task")), "0: a task hangs")?;
    let order = order.borrow();
    let runs: Vec<usize> = order.chunk_by(|one, next| one == next).map(<[usize]>::len).collect();
    let saw = format!("the first polls completed {:?} operations", &runs[..runs.len().min(4)]);
    let is_right = runs.iter().take(4).all(|length| *length == OPERATIONS);
    require(is_right && runs.len() >= 4, saw, &format!("{OPERATIONS} in each"))
}

fn all_items() -> Seen {
    let channel = full_channel();
    let items = RefCell::new(Vec::new());
    let left = run(vec![drain(&channel, |item| items.borrow_mut().push(item))]);
    let items = items.borrow();
    let wrong = items.iter().zip(0..).find(|(item, place)| **item != *place);
    if let Some((item, place)) = wrong {
        return Err(format!("item {place} was {item}; expected {place}: an item is lost"));
    }
    let saw =
        format!("{} of {ITEMS} items arrived, {}", items.len(), count_of(left, "task is left"));
    require(left == 0 && items.len() == ITEMS, saw, "all, in order, and 0")
        .map(|_| format!("{ITEMS} items, in order"))
}

fn waiting_is_free() -> Seen {
    let empty: Vec<Channel> = (0..10 * OPERATIONS).map(|_| Channel::default()).collect();
    let full = full_channel();
    let (polls, got) = (Cell::new(0), Cell::new(0));
    let task = poll_fn(|cx| {
        polls.set(polls.get() + 1);
        for channel in &empty {
            let _ = channel.poll_pop(cx);
        }
        full.poll_pop(cx).map(|_| got.set(polls.get()))
    });
    // Give up after some polls.
    let task = async {
        futures_lite::future::or(task, yields_times(5)).await;
    };
    run(vec![Box::pin(task)]);
    let saw = format!(
        "in one poll, a task tried {} empty channels and then a full one; it got an item in poll {}",
        empty.len(),
        got.get()
    );
    require(got.get() == 1, saw, "poll 1 (0 means never)")
}

async fn yields_times(times: usize) {
    for _ in 0..times {
        futures_lite::future::yield_now().await;
    }
}

fn no_limit_outside() -> Seen {
    // `run` must not leave a limit behind.
    run(vec![Box::pin(async {})]);
    let channel = full_channel();
    let mut task = check::Task::new(drain(&channel, |_| {}));
    let polled = task.poll();
    let saw = format!("another executor polled a task that pops {ITEMS} items: {polled:?}");
    require(polled.is_ready(), saw, "Ready: that executor does not know the budget")
}
