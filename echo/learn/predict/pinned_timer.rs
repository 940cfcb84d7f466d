//! A timer that is created once, and kept across the iterations of a loop.

use std::io;
use std::pin::pin;
use std::time::{Duration, Instant};

use executor::block_on;
use futures_lite::future::or;
use reactor::time::{sleep, timeout};

use crate::ask::{Answer, Letter};
use crate::{Outcome, Prompt, ms};

pub(crate) const PROMPT: Prompt = Prompt {
    title: "the same loop, with the long sleep created once and pinned",
    question: "When does the long sleep win?",
    answers: [
        Answer {
            text: "Never",
            why: "`or` drops only the reference to the long sleep. The sleep itself stays in \
                  `program`, and its deadline does not change.",
        },
        Answer {
            text: "After 30 ms",
            why: "the future outlives the iterations, so it reaches its deadline. `pin!` promises \
                  that it does not move, and `as_mut` lends it to each iteration.",
        },
        Answer {
            text: "It does not compile, because `long` is moved in the first iteration.",
            why: "`as_mut` lends the pinned future for one iteration, so nothing is moved. Without \
                  `as_mut`, this answer would be right.",
        },
    ],
    run,
    file: file!(),
    text: include_str!("pinned_timer.rs"),
};

// Program:
async fn program() -> Duration {
    let begin = Instant::now();
    let mut long = pin!(async { sleep(ms(30)).await });
    let mut long_wins = false;
    while !long_wins {
        let short = async { sleep(ms(10)).await };
        let long = async {
            long.as_mut().await;
            long_wins = true;
        };
        or(short, long).await;
    }
    begin.elapsed()
}
// End.

fn run() -> io::Result<Outcome> {
    Ok(match block_on(timeout(ms(1000), program())) {
        Ok(time) => Outcome::new(Letter::B, format!("it won after {} ms", time.as_millis())),
        Err(_) => Outcome::new(Letter::A, "it did not win within 1000 ms"),
    })
}
