//! A waiting task costs no time: it is in no queue, and the executor does not look at it. Whatever ends
//! the wait calls `wake`: the reactor for an event or a timer, another task, or another thread. It calls `wake` on the thread on which it runs, because a waker may be called on
//! any thread.
//!
//! `wake` only puts the task into the run queue. It never polls the task. The executor does that
//! later, on its own thread. A wakeup from another thread reaches the run queue through an inbox,
//! and a notification ends the sleep of the executor's thread.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::thread;

use executor::{Executor, spawn, yield_now};
use log::Record;
use log::kv::Key;
use reactor::io::AsyncReadExt;
use reactor::net::TcpStream;

use crate::connection::{connected, send, when_asleep};
use crate::holder::print_three_waits;
use crate::ladder::set_listener;
use crate::{Question, print_line};

pub(crate) const QUESTION: Question = Question {
    text: "Doesn't polling waste CPU? Where is a waiting task, who calls wake, and why does \
           wake not poll?",
    run,
};

/// The task that waits, or 0 if none does.
static WAITING_TASK: AtomicU64 = AtomicU64::new(0);

fn run() -> io::Result<()> {
    let executor = Executor::new()?;
    executor.block_on(async {
        print_three_waits(&executor).await?;
        set_listener(print_record);
        print_wakes().await
    })
}

async fn print_wakes() -> io::Result<()> {
    let (stream, client) = connected().await?;
    print_line("thread  module               action")?;
    print_line("an event on a socket:")?;
    let reader = spawn(read(stream));
    let client = send(client, 1);
    reader.await??;
    client.join().expect("the client does not panic")?;
    print_line("another task:")?;
    let slot = Rc::new(Cell::new(None));
    let waiter = spawn(wait_for_wake(slot.clone()));
    spawn(async move { slot.take().into_iter().for_each(Waker::wake) }).await?;
    waiter.await?;
    print_line("another thread:")?;
    let slot = Rc::new(Cell::new(None));
    let waiter = spawn(wait_for_wake(slot.clone()));
    yield_now().await;
    let waker = slot.take();
    let other = when_asleep("other", move || waker.into_iter().for_each(Waker::wake));
    waiter.await?;
    other.join().expect("waking does not panic");
    Ok(())
}

async fn read(mut stream: TcpStream) -> io::Result<usize> {
    stream.read(&mut [0; 16]).await
}

/// Puts its waker into `slot`, and completes when it is woken.
async fn wait_for_wake(slot: Rc<Cell<Option<Waker>>>) {
    let mut waits = false;
    poll_fn(|cx| match std::mem::replace(&mut waits, true) {
        true => Poll::Ready(()),
        false => {
            slot.set(Some(cx.waker().clone()));
            Poll::Pending
        }
    })
    .await;
}

/// Prints the records from the moment a task waits until it is polled again.
fn print_record(record: &Record<'_>) {
    let Some(action @ ("pending" | "wake" | "queue" | "send" | "notified" | "poll")) =
        record.args().as_str()
    else {
        return;
    };
    let task = record.key_values().get(Key::from("task")).and_then(|task| task.to_u64());
    match (action, task) {
        // The main task only observes.
        (_, Some(0)) => return,
        ("pending", Some(task)) => return WAITING_TASK.store(task, Ordering::Relaxed),
        _ if WAITING_TASK.load(Ordering::Relaxed) == 0 => return,
        _ => {}
    }
    if action == "poll" && task == Some(WAITING_TASK.load(Ordering::Relaxed)) {
        WAITING_TASK.store(0, Ordering::Relaxed);
    }
    let thread = thread::current();
    let (thread, module) = (thread.name().unwrap_or_default(), record.target());
    let task = task.map_or(String::new(), |task| format!(" task {task}"));
    // Ignore the error: the next `print_line` outside the logger returns it too.
    let _ = print_line(format_args!("{thread:<7} {module:<20} {action}{task}"));
}
