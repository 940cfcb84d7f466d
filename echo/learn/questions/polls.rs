//! A wake puts the task into the run queue, unless it is there: two wakes before a poll are one
//! poll. A wake during a poll means one more, for the poll may have looked already. To wake a task
//! that is done wakes nobody, and nobody else.
//!
//! So a poll may come without news, and that is no bug: to be polled means "look again". Such a
//! poll is cheap, since a source that is not ready is not even asked. To rely on news would be the
//! bug.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, Write};
use std::rc::Rc;
use std::task::{Poll, Waker};

use executor::{Executor, spawn, yield_now};
use reactor::io::AsyncReadExt;
use reactor::time::sleep;

use crate::connection::{PATIENCE, connection};
use crate::{Question, say};

pub(crate) const QUESTION: Question = Question {
    text: "What if wake comes twice, during a poll, or after Ready? Are spurious polls bugs?",
    run,
};

/// What a future that was written by hand counts, and what it shall do.
#[derive(Default)]
struct Counted {
    polls: Cell<u64>,
    waker: RefCell<Option<Waker>>,
    wakes_itself: Cell<u32>,
    is_done: Cell<bool>,
}

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

    /// Polls since the last call, and those that are queued now.
    async fn new_polls(&self) -> u64 {
        // Once for those that are queued, and once for what they wake.
        yield_now().await;
        yield_now().await;
        self.polls.take()
    }
}

fn run() -> io::Result<()> {
    let executor = Executor::new()?;
    executor.block_on(async {
        wakes(&executor).await?;
        reads_in_vain(&executor).await
    })
}

async fn wakes(executor: &Executor) -> io::Result<()> {
    let counted = Rc::new(Counted::default());
    let task = spawn(count(counted.clone()));
    counted.new_polls().await;

    counted.wake_twice();
    say(format_args!("woken twice before its poll:  {} poll", counted.new_polls().await))?;

    counted.wakes_itself.set(2);
    counted.wake_twice();
    let more = counted.new_polls().await - 1;
    say(format_args!("woken twice during its poll:  {more} more"))?;

    counted.is_done.set(true);
    counted.wake_twice();
    task.await.map_err(io::Error::other)?;
    // The place of the task that has ended goes to the next one.
    let next = spawn(sleep(PATIENCE));
    counted.new_polls().await;
    let before = executor.metrics().polls;
    counted.wake_twice();
    let polls = counted.new_polls().await;
    // Two are of the task that asks.
    let others = executor.metrics().polls - before - 2;
    next.abort();
    say(format_args!("woken twice after Ready:      {polls}, and {others} of other tasks"))
}

async fn reads_in_vain(executor: &Executor) -> io::Result<()> {
    let (mut ours, mut peer) = connection()?;
    let counted = Rc::new(Counted::default());
    let keeper = counted.clone();
    let reader = spawn(async move {
        keeper.waker.replace(Some(poll_fn(|cx| Poll::Ready(cx.waker().clone())).await));
        ours.read(&mut [0; 16]).await
    });
    counted.new_polls().await;

    let before = executor.metrics();
    for _ in 0..3 {
        counted.wake_twice();
        yield_now().await;
    }
    let after = executor.metrics();
    say(format_args!(
        "a read that is woken 3 times in vain:\n    \
         polls that found nothing: {}; reads that would have blocked: {}",
        after.spurious_polls - before.spurious_polls,
        after.would_blocks - before.would_blocks,
    ))?;
    peer.write_all(b"x")?;
    let bytes = reader.await.map_err(io::Error::other)??;
    say(format_args!("then a byte comes:\n    the same read returns {bytes}"))
}
