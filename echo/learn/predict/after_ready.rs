//! A wakeup of a task that has finished.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::task::Poll;
use std::thread;

use executor::{block_on, spawn};
use reactor::time::sleep;

use crate::ask::{Answer, Letter};
use crate::{Outcome, Prompt, count_polls, ms};

pub(crate) const PROMPT: Prompt = Prompt {
    title: "a thread calls `wake` for a task that has finished",
    question: "What does the late `wake` do?",
    answers: [
        Answer {
            text: "Nothing.",
            why: "the waker is stale, and the executor ignores it. Late wakeups are normal: a timer \
                  and a socket can hold wakers of the same task.",
        },
        Answer {
            text: "The task that was spawned after it is polled.",
            why: "a waker points to the slot of its task. When a new task needs that slot and an \
                  old waker still exists, the executor puts a new slot in its place.",
        },
        Answer {
            text: "The finished task is polled again, and panics.",
            why: "the executor drops a future that has returned `Ready`, so nothing is left to \
                  poll. Polling it again would be a bug of the executor, not of the thread.",
        },
    ],
    run,
    file: file!(),
    text: include_str!("after_ready.rs"),
};

// Program:
fn program(finished: Rc<Cell<u32>>, next: Rc<Cell<u32>>) {
    block_on(async move {
        let (sender, wakers) = channel();
        let task = spawn(poll_fn(move |cx| {
            finished.set(finished.get() + 1);
            sender.send(cx.waker().clone()).expect("the receiver exists");
            Poll::Ready(())
        }));
        task.await.expect("the task does not panic");
        spawn(async move { count_polls(&next, sleep(ms(1000))).await });
        sleep(ms(10)).await;
        let waker = wakers.recv().expect("the task has sent its waker");
        thread::spawn(move || waker.wake());
        sleep(ms(50)).await;
    });
}
// End.

fn run() -> io::Result<Outcome> {
    let (finished, next) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    program(finished.clone(), next.clone());
    let (finished, next) = (finished.get(), next.get());
    let answer = match (finished, next) {
        (1, 1) => Letter::A,
        (1, _) => Letter::B,
        _ => Letter::C,
    };
    let happened = format!("polls of the finished task: {finished}; polls of the next one: {next}");
    Ok(Outcome::new(answer, happened))
}
