//! A timeout around a computation.

use std::io;
use std::thread;
use std::time::Instant;

use executor::block_on;
use reactor::time::timeout;

use crate::ask::{Answer, Letter};
use crate::{Outcome, Prompt, ms};

pub(crate) const PROMPT: Prompt = Prompt {
    title: "a timeout of 50 ms around a computation of 200 ms",
    question: "What does `timeout` return, and when?",
    answers: [
        Answer {
            text: "`Err(Elapsed)` after 50 ms",
            why: "a timeout cannot interrupt code that runs. It can only refuse to poll a future \
                  again, and this future is still inside its first poll.",
        },
        Answer {
            text: "`Err(Elapsed)` after 200 ms",
            why: "`timeout` polls its future first and looks at the clock only if that returns \
                  `Pending`. So a result that is ready is not thrown away.",
        },
        Answer {
            text: "`Ok(7)` after 200 ms",
            why: "a poll runs until it returns. After 200 ms the future is ready, and `timeout` \
                  returns its result although the deadline has passed.",
        },
    ],
    run,
    file: file!(),
    text: include_str!("compute.rs"),
};

// Program:
async fn compute() -> u32 {
    thread::sleep(ms(200)); // In place of a long computation.
    7
}

fn program() -> Option<u32> {
    block_on(timeout(ms(50), compute())).ok()
}
// End.

fn run() -> io::Result<Outcome> {
    let begin = Instant::now();
    let result = program();
    let took = begin.elapsed();
    let answer = match result {
        None if took < ms(200) => Letter::A,
        None => Letter::B,
        Some(_) => Letter::C,
    };
    let result = result.map_or("Err(Elapsed)".to_owned(), |value| format!("Ok({value})"));
    Ok(Outcome::new(answer, format!("{result} after {} ms", took.as_millis())))
}
