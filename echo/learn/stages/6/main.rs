//! Stage 6: how tasks wait for bytes, and which wakeup comes late.

#[path = "../4/executor.rs"]
mod executor;
mod reactor;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
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
    let (begin, calls) = (Instant::now(), Rc::new(Cell::new(0)));
    for _ in 0..3 {
        let (socket, mut peer) = UnixStream::pair().expect("the OS provides sockets");
        spawn(answer(socket, calls.clone()));
        spawn(async move { peer.write_all(b"?").expect("the buffer has space") });
    }
    block_on(async {});
    let (time, calls) = (begin.elapsed().as_millis(), calls.get());
    println!("works now: three answers, each due 20 ms after its question, took {time} ms");
    println!("works now: calls of `read` for three questions: {calls}");

    block_on(async {
        spawn(sleep(5 * PAUSE));
        let late = woken_by_another_thread().await.as_millis();
        println!("still wrong: the poll after a wakeup from another thread came {late} ms late");
    });
}

/// Waits for a question. The answer is due 20 ms later.
async fn answer(socket: UnixStream, calls: Rc<Cell<u32>>) {
    let mut socket = Async::new(socket).expect("epoll accepts sockets");
    let question = socket.read_with(|socket| {
        calls.set(calls.get() + 1);
        socket.read(&mut [0])
    });
    question.await.expect("the question arrives");
    sleep(PAUSE).await;
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
