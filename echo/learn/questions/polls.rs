//! A wakeup queues the task unless it is queued already, so two wakeups before a poll cause one
//! poll. A wakeup during a poll causes one more, because the poll may already have checked what the
//! wakeup is about. A wakeup of a completed task does nothing, to this task or any other.
//!
//! So a poll can be spurious: nothing has happened. A waker names the task, and not the future that
//! stored it, so a task that joins several futures polls all of them when one is woken. That is not a
//! bug, because a poll only means "try again". It is cheap, because the operation makes no system call while its source is not
//! ready. A future that relied on news at every poll would have a bug.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, Write};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use executor::{Executor, spawn, yield_now};
use futures_lite::future::zip;
use reactor::io::AsyncReadExt;
use reactor::time::sleep;

use crate::connection::{DEADLINE, connection};
use crate::panic_messages::{hide_panics, message};
use crate::{Question, print_line, scene};

pub(crate) const QUESTION: Question = Question {
    text: "Why was I polled although nothing woke me? What if wake comes twice, during a poll, or \
           after Ready?",
    run,
};

/// Counts the polls of [`count`], and controls what the next poll does.
#[derive(Default)]
struct Counted {
    polls: Cell<u64>,
    waker: RefCell<Option<Waker>>,
    wakes_itself: Cell<u32>,
    is_done: Cell<bool>,
}

/// A future that is written by hand: it waits until `is_done` is set.
async fn count(counted: Rc<Counted>) {
    poll_fn(|cx| {
        counted.polls.set(counted.polls.get() + 1);
        (0..counted.wakes_itself.take()).for_each(|_| cx.waker().wake_by_ref());
        counted.waker.replace(Some(cx.waker().clone()));
        if counted.is_done.get() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await
}

impl Counted {
    fn wake_twice(&self) {
        let waker = self.waker.borrow().clone();
        waker.iter().chain(&waker).for_each(Waker::wake_by_ref);
    }

    /// Returns the number of polls since the last call, including those that are queued now.
    async fn new_polls(&self) -> u64 {
        // The first yield runs the queued polls, and the second one the polls that those caused.
        yield_now().await;
        yield_now().await;
        self.polls.take()
    }
}

fn run() -> io::Result<()> {
    let executor = Executor::new()?;
    executor.block_on(async {
        wakes(&executor).await?;
        scene::end();
        joined().await?;
        spurious_reads(&executor).await?;
        after_ready().await
    })
}

async fn wakes(executor: &Executor) -> io::Result<()> {
    let counted = Rc::new(Counted::default());
    let task = spawn(count(counted.clone()));
    counted.new_polls().await;

    counted.wake_twice();
    print_line(format_args!("woken twice before its poll:  {} poll", counted.new_polls().await))?;

    counted.wakes_itself.set(2);
    counted.wake_twice();
    let more = counted.new_polls().await - 1;
    print_line(format_args!("woken twice during its poll:  {more} more poll"))?;

    counted.is_done.set(true);
    counted.wake_twice();
    task.await.map_err(io::Error::other)?;
    // The next task reuses the slot of the task that has ended.
    let next = spawn(sleep(DEADLINE));
    counted.new_polls().await;
    let before = executor.metrics().polls;
    counted.wake_twice();
    let polls = counted.new_polls().await;
    // Two polls belong to this task.
    let others = executor.metrics().polls - before - 2;
    next.abort();
    print_line(format_args!(
        "woken twice after Ready:      {polls} polls, and {others} of other tasks"
    ))
}

async fn joined() -> io::Result<()> {
    let counted = Rc::new(Counted::default());
    let neighbor = async {
        for _ in 0..3 {
            yield_now().await;
        }
        counted.is_done.set(true);
    };
    // Each wakeup of the neighbor polls both futures.
    zip(neighbor, count(counted.clone())).await;
    let polls = counted.polls.get();
    print_line(format_args!("joined with a future that is woken 3 times: {polls} polls"))
}

async fn after_ready() -> io::Result<()> {
    hide_panics();
    let task = spawn(async {
        let mut future = pin!(async { 1 });
        future.as_mut().await + future.await
    });
    let error = task.await.expect_err("the second await panics");
    let message = message(&*error.into_panic());
    print_line(format_args!(
        "an async block is awaited again after Ready; it panics:\n    {message}"
    ))
}

async fn spurious_reads(executor: &Executor) -> io::Result<()> {
    let (mut ours, mut peer) = connection()?;
    let counted = Rc::new(Counted::default());
    let shared = counted.clone();
    let reader = spawn(async move {
        shared.waker.replace(Some(poll_fn(|cx| Poll::Ready(cx.waker().clone())).await));
        ours.read(&mut [0; 16]).await
    });
    counted.new_polls().await;

    let before = executor.metrics();
    for _ in 0..3 {
        counted.wake_twice();
        yield_now().await;
    }
    let after = executor.metrics();
    print_line(format_args!(
        "a read is woken 3 times, and no byte has arrived:\n    \
         spurious polls: {}, calls that got WouldBlock: {}",
        after.spurious_polls - before.spurious_polls,
        after.would_blocks - before.would_blocks,
    ))?;
    peer.write_all(b"x")?;
    let bytes = reader.await.map_err(io::Error::other)??;
    print_line(format_args!("a byte arrives:\n    the same read returns {bytes}"))
}
