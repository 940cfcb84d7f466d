//! Whoever has what the task waits for: the reactor, for events and timers; another task; another
//! thread. Each on the thread on which it runs, for a waker may be called anywhere.
//!
//! `wake` only puts the task into the run queue. It never polls: that is done by the executor, on its
//! own thread, after whoever called has gone on. From another thread the way into the queue leads
//! through an inbox, and a notification ends the sleep of the executor's thread.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use executor::{block_on, spawn, yield_now};
use log::Record;
use log::kv::Key;
use reactor::io::AsyncReadExt;
use reactor::net::TcpStream;
use reactor::time::sleep;

use crate::connection::{at_rest, connected, send};
use crate::ladder::listen;
use crate::{Question, say};

pub(crate) const QUESTION: Question =
    Question { text: "Who calls wake, on which thread, and what does wake do?", run };

/// The task that waits; 0, while none does.
static WAITS: AtomicU64 = AtomicU64::new(0);

fn run() -> io::Result<()> {
    listen(hear);
    block_on(main())
}

async fn main() -> io::Result<()> {
    let (stream, client) = connected().await?;
    say("thread  where                act")?;
    say("an event of a socket:")?;
    let reader = spawn(read(stream));
    let client = send(client, 1);
    reader.await??;
    client.join().expect("the client does not panic")?;
    say("a timer:")?;
    spawn(sleep(Duration::from_millis(10))).await?;
    say("another task:")?;
    let slot = Rc::new(Cell::new(None));
    let waits = spawn(leave_waker(slot.clone()));
    spawn(async move { slot.take().into_iter().for_each(Waker::wake) }).await?;
    waits.await?;
    say("another thread:")?;
    let slot = Rc::new(Cell::new(None));
    let waits = spawn(leave_waker(slot.clone()));
    yield_now().await;
    let waker = slot.take();
    let other = at_rest("other", move || waker.into_iter().for_each(Waker::wake));
    waits.await?;
    other.join().expect("a wake does not panic");
    Ok(())
}

async fn read(mut stream: TcpStream) -> io::Result<usize> {
    stream.read(&mut [0; 16]).await
}

/// Waits until it is woken, once.
async fn leave_waker(slot: Rc<Cell<Option<Waker>>>) {
    let mut left = false;
    poll_fn(|cx| match std::mem::replace(&mut left, true) {
        true => Poll::Ready(()),
        false => {
            slot.set(Some(cx.waker().clone()));
            Poll::Pending
        }
    })
    .await;
}

/// Tells what happens from the moment a task waits until it is polled again.
fn hear(record: &Record<'_>) {
    let Some(act @ ("pending" | "wake" | "queue" | "notified" | "poll")) = record.args().as_str()
    else {
        return;
    };
    let task = record.key_values().get(Key::from("task")).and_then(|task| task.to_u64());
    match (act, task) {
        // The main task, which only looks on.
        (_, Some(0)) => return,
        ("pending", Some(task)) => return WAITS.store(task, Ordering::Relaxed),
        _ if WAITS.load(Ordering::Relaxed) == 0 => return,
        _ => {}
    }
    if act == "poll" && task == Some(WAITS.load(Ordering::Relaxed)) {
        WAITS.store(0, Ordering::Relaxed);
    }
    let thread = thread::current();
    let (thread, place) = (thread.name().unwrap_or_default(), record.target());
    let task = task.map_or(String::new(), |task| format!(" task {task}"));
    // If nobody reads it any more, the program learns so soon.
    let _ = say(format_args!("{thread:<7} {place:<20} {act}{task}"));
}
