//! A waker that is called on another thread puts the key of its task into the inbox, and notifies:
//! that makes a descriptor readable for which `epoll_wait` waits too, and so it returns.
//!
//! The executor then moves the keys from the inbox into its run queue. Only the first who finds the
//! inbox without a notification sends one: a hundred wakes, while the thread is busy, cost one
//! system call.

use std::future::poll_fn;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Poll, Waker};
use std::thread;

use executor::{Executor, JoinSet, Metrics, block_on, yield_now};

use crate::connection::PATIENCE;
use crate::ladder::{RECORDER, told};
use crate::{Question, say};

pub(crate) const QUESTION: Question =
    Question { text: "How does another thread end epoll_wait?", run };

fn run() -> io::Result<()> {
    told(one_wake)?;
    let Metrics { remote_wakes, notifications, .. } = many_wakes(100)?;
    say(format_args!(
        "\nwhile this thread was busy, another one woke a hundred tasks:\n    \
         {remote_wakes} wakes from other threads; notifications: {notifications}"
    ))
}

/// A task waits for what only another thread can give. Both sides share nothing but channels of
/// std, and the waker.
fn one_wake() -> io::Result<()> {
    let (wakers, waker) = channel::<Waker>();
    let (give, given) = channel();
    let other = thread::Builder::new().name("other".to_owned()).spawn(move || {
        let waker = waker.recv().expect("the task leaves its waker");
        RECORDER.wait_for_rest(PATIENCE);
        give.send("it").expect("the task waits");
        waker.wake();
    })?;
    block_on(next(given, wakers));
    other.join().map_err(|_| io::Error::other("the other thread panicked"))
}

/// Waits for what the other thread gives, and lets it have the waker until then.
async fn next<T>(given: Receiver<T>, wakers: Sender<Waker>) -> T {
    poll_fn(|cx| match given.try_recv() {
        Ok(value) => Poll::Ready(value),
        Err(_) => {
            // Refused, if the thread has gone: then nothing more will be given either.
            let _ = wakers.send(cx.waker().clone());
            Poll::Pending
        }
    })
    .await
}

/// What the executor counted when as many tasks were woken at once, from another thread.
fn many_wakes(count: usize) -> io::Result<Metrics> {
    let executor = Executor::new()?;
    executor.block_on(async {
        let (wakers, waiting) = channel::<Waker>();
        let mut tasks = JoinSet::new();
        let mut gives = Vec::new();
        for _ in 0..count {
            let (give, given) = channel();
            gives.push(give);
            tasks.spawn(next(given, wakers.clone()));
        }
        // When this returns, each has been polled, and has left its waker.
        yield_now().await;
        let wake_all = move || {
            gives.iter().for_each(|give| _ = give.send(()));
            waiting.try_iter().for_each(Waker::wake);
        };
        // This task keeps the thread busy: it blocks until all of them are woken.
        thread::spawn(wake_all).join().expect("it does not panic");
        while tasks.join_next().await.is_some() {}
    });
    Ok(executor.metrics())
}
