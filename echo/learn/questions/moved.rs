//! A waker belongs to a task, and a future can move from one task to another. So each poll that has
//! to wait stores the waker that it is given; otherwise the event would wake the wrong task. The
//! wakers of earlier polls stay until the next event of the source, which wakes those tasks too,
//! spuriously and once.
//!
//! If another thread causes the event, the poll must check again after it has stored its waker: an
//! event between the check and the store finds no waker. A socket needs no second check,
//! because the reactor delivers events on the same thread, in its next turn. By then the waker is
//! stored.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use executor::{block_on, spawn, spawn_named, tasks, yield_now};
use mio::Interest;
use reactor::io::AsyncReadExt;
use reactor::time::timeout;
use reactor::{Async, Awaited, Reactor};

use crate::connection::{connected, send};
use crate::{Question, print_line};

pub(crate) const QUESTION: Question = Question {
    text: "Why is the waker stored on every poll, and when must I check again after storing it?",
    run,
};

fn run() -> io::Result<()> {
    block_on(async {
        print_line("task A polls a read, and then task B polls the same read:")?;
        move_to_another_task().await?;
        print_line("another thread sets a flag between the check and the store:")?;
        wait_for_a_flag(false).await?;
        wait_for_a_flag(true).await?;
        print_line("a byte arrives between the failed read and the store:")?;
        wait_for_a_byte().await
    })
}

type Reading = Pin<Box<dyn Future<Output = io::Result<usize>>>>;

async fn move_to_another_task() -> io::Result<()> {
    let (mut stream, client) = connected().await?;
    let read: Reading = Box::pin(async move { stream.read(&mut [0; 16]).await });
    let moved = Rc::new(Cell::new(None));
    let a = spawn_named("A", poll_once(read, moved.clone()));
    yield_now().await;
    print_line(format_args!(
        "  after the poll of A, the source stores wakers of: {}",
        stored_wakers()
    ))?;
    let b = spawn_named("B", async move { moved.take().expect("A has polled it").await });
    yield_now().await;
    print_line(format_args!(
        "  after the poll of B, the source stores wakers of: {}",
        stored_wakers()
    ))?;
    let client = send(client, 1);
    let bytes = b.await??;
    let spurious = a.is_finished();
    print_line(format_args!(
        "  a byte arrives: B reads {bytes} byte; A is polled spuriously: {spurious}"
    ))?;
    client.join().expect("the client does not panic").map(drop)
}

/// Polls the read once and puts it into `to`. Completes on the next wakeup.
async fn poll_once(read: Reading, to: Rc<Cell<Option<Reading>>>) {
    let mut read = Some(read);
    poll_fn(|cx| match read.take() {
        Some(mut read) => {
            let polled = read.as_mut().poll(cx).map(drop);
            to.set(Some(read));
            polled
        }
        None => Poll::Ready(()),
    })
    .await;
}

/// Returns the names of the tasks whose wakers the source of the socket stores.
fn stored_wakers() -> String {
    let tasks = tasks().into_iter();
    let kept = tasks.filter(|task| matches!(task.awaits[..], [Awaited::Source { .. }]));
    kept.map(|task| task.name).collect::<Vec<_>>().join(" and ")
}

/// A flag that one thread sets, with the waker of the task that waits for it.
#[derive(Default)]
struct Flag {
    set: AtomicBool,
    slot: Mutex<Option<Waker>>,
}

impl Flag {
    fn set(&self) {
        self.set.store(true, Ordering::Release);
        let waker = self.slot.lock().expect("no thread panics while it holds the lock").take();
        waker.into_iter().for_each(Waker::wake);
    }

    fn poll(self: &Arc<Self>, cx: &mut Context<'_>, check_again: bool) -> Poll<()> {
        if self.set.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        // The other thread sets the flag at the worst moment.
        let flag = self.clone();
        thread::spawn(move || flag.set()).join().expect("setting the flag does not panic");
        *self.slot.lock().expect("no thread panics while it holds the lock") =
            Some(cx.waker().clone());
        match check_again && self.set.load(Ordering::Acquire) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

async fn wait_for_a_flag(check_again: bool) -> io::Result<()> {
    let flag = Arc::new(Flag::default());
    let shared = flag.clone();
    let waits = spawn(async move { poll_fn(|cx| shared.poll(cx, check_again)).await });
    let ended = timeout(Duration::from_millis(100), waits).await.is_ok();
    let order = if check_again { "check, store, check again" } else { "check, store" };
    let set = flag.set.load(Ordering::Acquire);
    print_line(format_args!("  {order:<25}  set: {set}; task completed within 100 ms: {ended}"))
}

async fn wait_for_a_byte() -> io::Result<()> {
    let (server, mut client) = connected().await?;
    let server = mio::net::TcpStream::from_std(server.into_std()?);
    // Do not register for writing, because the kernel would immediately report that.
    let server = Async::with_interest(server, Interest::READABLE)?;
    let before = Reactor::current().metrics();
    let mut calls = 0;
    let read = |mut server: &mio::net::TcpStream| {
        calls += 1;
        let read = server.read(&mut [0; 16]);
        if calls == 1 {
            // The byte arrives at the worst moment.
            client.write_all(b"x")?;
            while server.peek(&mut [0]).is_err() {}
        }
        read
    };
    let bytes = server.read_with(read).await?;
    let after = Reactor::current().metrics();
    let blocks = after.would_blocks - before.would_blocks;
    let events = after.events - before.events;
    print_line(format_args!("  WouldBlock: {blocks}, events: {events}, then read: {bytes}"))
}
