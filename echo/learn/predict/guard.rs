//! A lock guard of std that is held across an `await`.

use std::io;
use std::sync::Mutex;

use executor::{JoinSet, block_on};
use reactor::time::sleep;

use crate::ask::{Answer, Letter};
use crate::{End, Outcome, Prompt, ms, on_thread};

pub(crate) const PROMPT: Prompt = Prompt {
    title: "two tasks hold the guard of a `std::sync::Mutex` across a sleep",
    question: "What happens to the second task?",
    answers: [
        Answer {
            text: "It gets the lock after the first task.",
            why: "this needs a lock whose `lock` is a future. std's `lock` blocks the thread, and \
                  the first task needs this thread to wake up and release the lock.",
        },
        Answer {
            text: "It blocks the thread forever, and all tasks with it.",
            why: "the second task blocks the only thread that could poll the first one. Release \
                  the guard before the `await`. The lint `await_holding_lock` of clippy finds this.",
        },
        Answer {
            text: "It panics, because the lock is taken.",
            why: "a `RefCell` would panic here. A `Mutex` waits, because usually another thread \
                  holds it and will release it.",
        },
    ],
    run,
    file: file!(),
    text: include_str!("guard.rs"),
};

#[expect(clippy::await_holding_lock, reason = "this is what the program shows")]
// Program:
async fn hold(lock: &'static Mutex<()>) {
    let guard = lock.lock().expect("no task panics");
    sleep(ms(10)).await;
    drop(guard);
}

fn program() {
    static LOCK: Mutex<()> = Mutex::new(());
    block_on(async {
        let mut tasks = JoinSet::new();
        tasks.spawn(hold(&LOCK));
        tasks.spawn(hold(&LOCK));
        while tasks.join_next().await.is_some() {}
    });
}
// End.

fn run() -> io::Result<Outcome> {
    Ok(match on_thread(ms(500), program) {
        End::Returned(()) => Outcome::new(Letter::A, "both tasks have finished"),
        End::Panicked(message) => Outcome::new(Letter::C, format!("panic: {message}")),
        End::Blocked => Outcome::new(Letter::B, "the thread is still blocked after 500 ms"),
    })
}
