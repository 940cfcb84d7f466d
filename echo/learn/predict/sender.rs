//! A channel whose sender is still alive.

use std::cell::Cell;
use std::io;

use executor::{block_on, spawn};
use reactor::time::timeout;

use crate::ask::{Answer, Letter};
use crate::{Outcome, Prompt, ms};

pub(crate) const PROMPT: Prompt = Prompt {
    title: "`while rx.recv().await.is_ok()`, with the sender cloned into a task",
    question: "How does the loop end?",
    answers: [
        Answer {
            text: "It ends after 3 messages, because the task has ended.",
            why: "a channel is closed when its last sender is dropped, and not when the task that \
                  sent the messages ends.",
        },
        Answer {
            text: "It gets 3 messages, and waits forever.",
            why: "the original `tx` lives until the end of this function, so another message could \
                  still come. Move `tx` into the task, or drop it before the loop.",
        },
        Answer {
            text: "It panics at the fourth `recv`.",
            why: "an empty channel is not an error. `recv` waits as long as a sender exists.",
        },
    ],
    run,
    file: file!(),
    text: include_str!("sender.rs"),
};

// Program:
async fn program(received: &Cell<u32>) {
    let (tx, rx) = async_channel::unbounded();
    let sender = tx.clone();
    spawn(async move {
        for number in 1..=3 {
            sender.send(number).await.expect("the receiver exists");
        }
    });
    while rx.recv().await.is_ok() {
        received.set(received.get() + 1);
    }
}
// End.

fn run() -> io::Result<Outcome> {
    let received = Cell::new(0);
    let result = block_on(timeout(ms(200), program(&received)));
    let (answer, state) = match (result, received.get()) {
        (Ok(()), 3) => (Some(Letter::A), "the loop has ended"),
        (Err(_), 3) => (Some(Letter::B), "the loop still waits after 200 ms"),
        _ => (None, "neither"),
    };
    Ok(Outcome::new(answer, format!("{} messages, and {state}", received.get())))
}
