//! A `RefCell` that is still borrowed while a waker is called.
//!
//! `wake` runs the code of another executor. That code may poll the task immediately, and the task
//! may use the same object again. If the object is still borrowed, the second borrow panics.
//!
//! Our executor only queues a task in `wake`, so this fault would stay hidden with it. Here the
//! receiver belongs to an executor that polls the task inside `wake`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::panic;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use executor::{block_on, spawn_named};

use crate::ask::{Answer, Letter};
use crate::{Fault, Symptom, Version};

pub(crate) const FAULT: Fault = Fault {
    name: "borrow-while-waking",
    sentence: "a RefCell is still borrowed while a waker is called",
    next: "`fn deliver` in reactor/src/source.rs",
    answers: [
        Answer {
            text: "The receiver gets the value.",
            why: "it would with an executor that only queues tasks in `wake`. A waker may also run \
                  the task immediately, and code that calls one must expect that.",
        },
        Answer {
            text: "The receiver waits until the sender has ended the borrow.",
            why: "a `RefCell` never waits. All of this happens on one thread, inside one call, so \
                  waiting would never end.",
        },
        Answer {
            text: "The sender panics: the `RefCell` is already borrowed.",
            why: "`wake` polls the receiver, the receiver borrows the channel, and the sender's \
                  borrow is still alive. End a borrow before you call user code.",
        },
    ],
    reasons: [
        "The sender ends its borrow and then calls the waker of the receiver, so the receiver can borrow the channel.",
        "The sender calls the waker of the receiver during its own borrow. `wake` polls the receiver, whose borrow of the channel panics.",
    ],
    run,
    file: file!(),
    text: include_str!("borrow_while_waking.rs"),
};

thread_local! {
    /// The channel. Wakers reach it from here, because they cannot hold an `Rc`.
    static CHANNEL: RefCell<Channel> = RefCell::default();
    /// The number of values that the receiver has got.
    static RECEIVED: Cell<u32> = const { Cell::new(0) };
}

#[derive(Default)]
struct Channel {
    values: VecDeque<u32>,
    waker: Option<Waker>,
}

fn send(channel: &RefCell<Channel>, value: u32, version: Version) {
    let mut borrow = channel.borrow_mut();
    borrow.values.push_back(value);
    let waker = borrow.waker.take();
    match version.noted() {
        // Right: end the borrow before `wake` runs the code of another executor.
        Version::Right => drop(borrow),
        // Wrong: the borrow lives until the end of this function.
        Version::Wrong => {}
    }
    waker.into_iter().for_each(Waker::wake);
}

fn poll_receive(channel: &RefCell<Channel>, cx: &mut Context<'_>) -> Poll<u32> {
    let mut channel = channel.borrow_mut();
    match channel.values.pop_front() {
        Some(value) => Poll::Ready(value),
        None => {
            channel.waker = Some(cx.waker().clone());
            Poll::Pending
        }
    }
}

/// An executor with one task, the receiver, which it polls inside `wake`.
struct Inline;

impl Inline {
    fn poll(self: &Arc<Self>) {
        let waker = Waker::from(self.clone());
        let received = CHANNEL
            .with(|channel| poll_receive(channel, &mut Context::from_waker(&waker)).is_ready());
        RECEIVED.set(RECEIVED.get() + u32::from(received));
    }
}

impl Wake for Inline {
    fn wake(self: Arc<Self>) {
        self.poll();
    }
}

fn run(version: Version) -> io::Result<Symptom> {
    CHANNEL.take();
    RECEIVED.set(0);
    // The panic is part of the symptom, so it must not be printed, too.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let sent = block_on(async {
        Arc::new(Inline).poll();
        let send = async move { CHANNEL.with(|channel| send(channel, 7, version)) };
        spawn_named("sender", send).await
    });
    panic::set_hook(hook);
    let received = RECEIVED.get();
    let (answer, end) = match &sent {
        Err(error) if error.is_panic() => (Some(Letter::C), "the sender panics"),
        Err(_) => (None, "the sender is cancelled"),
        Ok(()) if received == 1 => (Some(Letter::A), "the sender finishes"),
        Ok(()) => (Some(Letter::B), "the sender finishes"),
    };
    Ok(Symptom::new(answer, format!("{received} of 1 values received; {end}")))
}
