//! Stage 7: how soon a wakeup from another thread arrives, and what a panic ends.

mod executor;
#[path = "../6/reactor.rs"]
mod reactor;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::Read;
use std::panic::{catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use executor::{block_on, spawn};
use mio::net::UnixStream;
use reactor::{Async, sleep};

const PAUSE: Duration = Duration::from_millis(20);

pub(crate) fn main() {
    let (socket, peer) = UnixStream::pair().expect("the OS provides sockets");
    let mut socket = Async::new(socket).expect("epoll accepts sockets");
    block_on(async move {
        // No timer and no event ends the wait of the reactor, until the peer is dropped.
        spawn(async move { drop(socket.read_with(|socket| socket.read(&mut [0])).await) });
        let late = woken_by_another_thread().await.as_millis();
        println!("works now: the poll after a wakeup from another thread came {late} ms late");
        drop(peer);
    });

    let completed = Rc::new(Cell::new(0));
    for number in 1..=10 {
        spawn(task(number, completed.clone()));
    }
    let panicked = catch_unwind(|| block_on(async {})).is_err();
    assert!(panicked, "the panic of a task ends `block_on`");
    println!("still wrong: one task of ten panicked; completed: {}", completed.get());
}

/// Waits, then completes or, if it is the fifth, panics.
async fn task(number: u32, completed: Rc<Cell<u32>>) {
    sleep(PAUSE).await;
    if number == 5 {
        // This is a panic without a message on the terminal.
        resume_unwind(Box::new("the fifth task"));
    }
    completed.set(completed.get() + 1);
}

/// Waits until another thread calls the waker. Returns how much later the task is polled.
fn woken_by_another_thread() -> impl Future<Output = Duration> {
    let woken = Arc::new(OnceLock::new());
    poll_fn(move |cx| {
        if let Some(woken) = woken.get() {
            return Poll::Ready(Instant::now() - *woken);
        }
        let (woken, waker) = (woken.clone(), cx.waker().clone());
        thread::spawn(move || {
            thread::sleep(PAUSE);
            woken.get_or_init(Instant::now);
            waker.wake();
        });
        Poll::Pending
    })
}
