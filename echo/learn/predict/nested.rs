//! `block_on` inside `block_on`.

use std::io;

use executor::block_on;

use crate::ask::{Answer, Letter};
use crate::{End, Outcome, Prompt, ms, on_thread};

pub(crate) const PROMPT: Prompt = Prompt {
    title: "`block_on` inside `block_on`",
    question: "What does the inner `block_on` do?",
    answers: [
        Answer {
            text: "It panics.",
            why: "this thread should drive the outer executor. The message names both calls. \
                  Inside a task, write `.await`.",
        },
        Answer {
            text: "It never returns.",
            why: "a runtime that allowed this would hang as soon as the inner future waits for a \
                  task of the outer executor. This one detects the call instead.",
        },
        Answer {
            text: "It returns 7.",
            why: "it could, but no task of the outer executor would run in the meantime. A call that \
                  stops all other tasks should not look like a call that works.",
        },
    ],
    run,
    file: file!(),
    text: include_str!("nested.rs"),
};

// Program:
fn read_setting() -> u32 {
    block_on(async { 7 })
}

fn program() -> u32 {
    block_on(async { read_setting() })
}
// End.

fn run() -> io::Result<Outcome> {
    Ok(match on_thread(ms(1000), program) {
        End::Returned(value) => Outcome::new(Letter::C, format!("returned {value}")),
        End::Blocked => Outcome::new(Letter::B, "not returned after 1000 ms"),
        End::Panicked(message) => Outcome::new(Letter::A, format!("panic: {message}")),
    })
}
