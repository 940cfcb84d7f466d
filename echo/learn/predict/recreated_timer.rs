//! A timer that is created again in each iteration of a loop.

use std::cell::Cell;
use std::io;

use executor::block_on;
use futures_lite::future::or;
use reactor::time::{sleep, timeout};

use crate::ask::{Answer, Letter};
use crate::{Outcome, Prompt, ms};

pub(crate) const PROMPT: Prompt = Prompt {
    title: "a loop that waits for 10 ms or 30 ms, whichever is over first",
    question: "How often does the long sleep win within 200 ms?",
    answers: [
        Answer {
            text: "Never",
            why: "`or` drops the loser, so the long sleep is at most 10 ms old when it is dropped. \
                  A timer in such a loop must be created before the loop.",
        },
        Answer {
            text: "Once",
            why: "a sleep does not continue in the next iteration. The loser was dropped, and the \
                  next iteration creates another one.",
        },
        Answer {
            text: "6 times",
            why: "this would be so for two timers that keep running. Here each iteration starts \
                  both from zero.",
        },
    ],
    run,
    file: file!(),
    text: include_str!("recreated_timer.rs"),
};

// Program:
async fn program(long_wins: &Cell<u32>) {
    loop {
        let short = async { sleep(ms(10)).await };
        let long = async {
            sleep(ms(30)).await;
            long_wins.set(long_wins.get() + 1);
        };
        or(short, long).await;
    }
}
// End.

fn run() -> io::Result<Outcome> {
    let wins = Cell::new(0);
    let _ = block_on(timeout(ms(200), program(&wins)));
    let answer = match wins.get() {
        0 => Letter::A,
        1 => Letter::B,
        2.. => Letter::C,
    };
    Ok(Outcome::new(answer, format!("the long sleep won {} times", wins.get())))
}
