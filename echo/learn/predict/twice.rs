//! An `async` block that is awaited after it has returned.

use std::io;
use std::pin::pin;

use executor::block_on;
use reactor::time::timeout;

use crate::ask::{Answer, Letter};
use crate::{End, Outcome, Prompt, ms, on_thread};

pub(crate) const PROMPT: Prompt = Prompt {
    title: "one `async` block awaited twice",
    question: "What does the second `await` do?",
    answers: [
        Answer {
            text: "It returns 7 again.",
            why: "the block has moved its value out. A future does not keep its result; to use a \
                  result twice, keep the value.",
        },
        Answer {
            text: "It panics.",
            why: "the state machine is in its final state, and has no code left to resume. The \
                  caller of `poll` must not poll a future again after `Ready`.",
        },
        Answer {
            text: "It waits forever.",
            why: "some hand-written futures behave like this after `Ready`, and the contract of \
                  `Future` allows it. The compiler's `async` blocks panic instead.",
        },
    ],
    run,
    file: file!(),
    text: include_str!("twice.rs"),
};

// Program:
async fn program() -> u32 {
    let mut block = pin!(async { 7 });
    let _first = block.as_mut().await;
    block.as_mut().await
}
// End.

fn run() -> io::Result<Outcome> {
    Ok(match on_thread(ms(2000), || block_on(timeout(ms(200), program()))) {
        End::Returned(Ok(value)) => Outcome::new(Letter::A, format!("returned {value}")),
        End::Returned(Err(_)) | End::Blocked => Outcome::new(Letter::C, "waits after 200 ms"),
        End::Panicked(message) => Outcome::new(Letter::B, format!("panic: {message}")),
    })
}
