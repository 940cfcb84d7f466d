//! A waker that is called on another thread sends its task to the executor's inbox. If the executor
//! sleeps or is about to, the waker also notifies it: it makes a descriptor readable that
//! `epoll_wait` waits for, so `epoll_wait` returns.
//!
//! Between rounds, the executor moves the tasks from the inbox to its run queue. So a busy executor
//! needs no notification. When it next looks into the inbox, it receives all waiting wakeups.

use std::future::poll_fn;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Poll, Waker};
use std::thread;

use executor::{Executor, JoinSet, Metrics, block_on, yield_now};

use crate::connection::DEADLINE;
use crate::ladder::{RECORDER, print_steps};
use crate::{Question, print_line};

pub(crate) const QUESTION: Question =
    Question { text: "How does another thread end epoll_wait?", run };

fn run() -> io::Result<()> {
    print_steps(one_wake)?;
    let Metrics { remote_wakes, notifications, .. } = many_wakes(100)?;
    print_line(format_args!(
        "\nwhile this thread was busy, another thread woke a hundred tasks:\n    \
         wakeups from other threads: {remote_wakes}, times the inbox was emptied: {notifications}"
    ))
}

/// Runs a task that waits for a message from another thread. The task and the thread share only std
/// channels and the waker.
fn one_wake() -> io::Result<()> {
    let (wakers, waker) = channel::<Waker>();
    let (sender, receiver) = channel();
    let other = thread::Builder::new().name("other".to_owned()).spawn(move || {
        let waker = waker.recv().expect("the task sends its waker");
        RECORDER.wait_until_asleep(DEADLINE);
        sender.send("it").expect("the task waits");
        waker.wake();
    })?;
    block_on(next(receiver, wakers));
    other.join().map_err(|_| io::Error::other("the other thread panicked"))
}

/// Receives a message, and sends the waker to the other thread whenever it has to wait.
async fn next<T>(receiver: Receiver<T>, wakers: Sender<Waker>) -> T {
    poll_fn(|cx| match receiver.try_recv() {
        Ok(value) => Poll::Ready(value),
        Err(_) => {
            // This fails if the thread has ended. Then no message will come either.
            let _ = wakers.send(cx.waker().clone());
            Poll::Pending
        }
    })
    .await
}

/// Wakes `count` tasks from another thread while this one is busy, and returns the metrics.
fn many_wakes(count: usize) -> io::Result<Metrics> {
    let executor = Executor::new()?;
    executor.block_on(async {
        let (wakers, waiting) = channel::<Waker>();
        let mut tasks = JoinSet::new();
        let mut senders = Vec::new();
        for _ in 0..count {
            let (sender, receiver) = channel();
            senders.push(sender);
            tasks.spawn(next(receiver, wakers.clone()));
        }
        // This returns after each task has been polled and has sent its waker.
        yield_now().await;
        let wake_all = move || {
            senders.iter().for_each(|sender| _ = sender.send(()));
            waiting.try_iter().for_each(Waker::wake);
        };
        // This task blocks the executor's thread until all of them have been woken.
        thread::spawn(wake_all).join().expect("waking does not panic");
        while tasks.join_next().await.is_some() {}
    });
    Ok(executor.metrics())
}
