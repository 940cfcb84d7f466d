//! A waker names a task, and a future may move from one task to another: so each poll that has to
//! wait leaves its own, else the wrong task would be woken. That of an earlier poll stays until the
//! source has something to say: who no longer waits is woken in vain, once.
//!
//! And one must look again after storing if the event can come from another thread: between the look
//! and the store it finds nobody to wake. A socket needs no second look: what comes after the failed
//! call is told by the next `epoll_wait`, and the thread that makes that call is the one that stores.

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
use crate::{Question, say};

pub(crate) const QUESTION: Question = Question {
    text: "Why is the waker stored anew at each poll, and when must one look again after storing?",
    run,
};

fn run() -> io::Result<()> {
    block_on(async {
        say("a read that task A begins is moved to task B:")?;
        move_to_another_task().await?;
        say("another thread sets a flag between the look and the store:")?;
        wait_for_a_flag(false).await?;
        wait_for_a_flag(true).await?;
        say("a byte comes between the read that would block and the store:")?;
        wait_for_a_byte().await
    })
}

type Reading = Pin<Box<dyn Future<Output = io::Result<usize>>>>;

async fn move_to_another_task() -> io::Result<()> {
    let (mut stream, client) = connected().await?;
    let read: Reading = Box::pin(async move { stream.read(&mut [0; 16]).await });
    let moved = Rc::new(Cell::new(None));
    let a = spawn_named("A", begin(read, moved.clone()));
    yield_now().await;
    say(format_args!("  after the poll of A the source has the waker of {}", keepers()))?;
    let b = spawn_named("B", async move { moved.take().expect("A has begun").await });
    yield_now().await;
    say(format_args!("  after the poll of B the source has the waker of {}", keepers()))?;
    let client = send(client, 1);
    let bytes = b.await??;
    let in_vain = a.is_finished();
    say(format_args!("  a byte comes: B reads {bytes} byte; A is polled in vain: {in_vain}"))?;
    client.join().expect("the client does not panic").map(drop)
}

/// Polls the read once, and gives it away; then it is over with the next wake.
async fn begin(read: Reading, to: Rc<Cell<Option<Reading>>>) {
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

/// The tasks whose wakers the source of a socket has.
fn keepers() -> String {
    let tasks = tasks().into_iter();
    let kept = tasks.filter(|task| matches!(task.awaits[..], [Awaited::Source { .. }]));
    kept.map(|task| task.name).collect::<Vec<_>>().join(" and ")
}

/// What a thread sets, and where it finds whom to wake.
#[derive(Default)]
struct Flag {
    set: AtomicBool,
    slot: Mutex<Option<Waker>>,
}

impl Flag {
    fn set(&self) {
        self.set.store(true, Ordering::Release);
        let waker = self.slot.lock().expect("nobody panics with it").take();
        waker.into_iter().for_each(Waker::wake);
    }

    fn poll(self: &Arc<Self>, cx: &mut Context<'_>, look_again: bool) -> Poll<()> {
        if self.set.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        // Just here comes the other thread.
        let flag = self.clone();
        thread::spawn(move || flag.set()).join().expect("to set it does not panic");
        *self.slot.lock().expect("nobody panics with it") = Some(cx.waker().clone());
        match look_again && self.set.load(Ordering::Acquire) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

async fn wait_for_a_flag(look_again: bool) -> io::Result<()> {
    let flag = Arc::new(Flag::default());
    let shared = flag.clone();
    let waits = spawn(async move { poll_fn(|cx| shared.poll(cx, look_again)).await });
    let ended = timeout(Duration::from_millis(100), waits).await.is_ok();
    let order = if look_again { "look, store, look again" } else { "look, store" };
    let set = flag.set.load(Ordering::Acquire);
    say(format_args!("  {order:<24} set: {set}; the task has ended within 100 ms: {ended}"))
}

async fn wait_for_a_byte() -> io::Result<()> {
    let (server, mut client) = connected().await?;
    let server = mio::net::TcpStream::from_std(server.into_std()?);
    // Not for writing: the kernel would at once have something to report.
    let server = Async::with_interest(server, Interest::READABLE)?;
    let before = Reactor::current().metrics();
    let mut calls = 0;
    let read = |mut server: &mio::net::TcpStream| {
        calls += 1;
        let read = server.read(&mut [0; 16]);
        if calls == 1 {
            // Just here comes the byte.
            client.write_all(b"x")?;
            while server.peek(&mut [0]).is_err() {}
        }
        read
    };
    let bytes = server.read_with(read).await?;
    let after = Reactor::current().metrics();
    let blocks = after.would_blocks - before.would_blocks;
    let events = after.events - before.events;
    say(format_args!("  WouldBlock: {blocks}, events: {events}, then read: {bytes}"))
}
