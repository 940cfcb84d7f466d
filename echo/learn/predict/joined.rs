//! Futures joined in one task: a wakeup polls all of them.

use std::cell::Cell;
use std::io;

use executor::block_on;
use futures_lite::future::zip;
use reactor::time::sleep;

use crate::ask::{Answer, Letter};
use crate::{Outcome, Prompt, count_polls, ms};

pub(crate) const PROMPT: Prompt = Prompt {
    title: "polls of one sleep that is joined with three others in one task",
    question: "How often is the sleep of 60 ms polled?",
    answers: [
        Answer {
            text: "Twice: at the beginning and after 60 ms.",
            why: "this would be so if the sleep were a task of its own. Here it shares a task, and \
                  a waker names a task, not the future inside it that has to continue.",
        },
        Answer {
            text: "Five times: also whenever one of the short sleeps ends.",
            why: "each short sleep wakes the task, and the task polls everything that it joins. \
                  So a future must expect polls for which it has no reason to be ready.",
        },
        Answer {
            text: "Thousands of times: until 60 ms have passed.",
            why: "a sleeping task is not polled. Its deadline is in the reactor's timer, and the \
                  thread sleeps until then.",
        },
    ],
    run,
    file: file!(),
    text: include_str!("joined.rs"),
};

// Program:
fn program(polls: &Cell<u32>) {
    let long = count_polls(polls, sleep(ms(60)));
    let short = async {
        for _ in 0..3 {
            sleep(ms(10)).await;
        }
    };
    block_on(zip(long, short));
}
// End.

fn run() -> io::Result<Outcome> {
    let polls = Cell::new(0);
    program(&polls);
    let answer = match polls.get() {
        2 => Some(Letter::A),
        3..=9 => Some(Letter::B),
        1000.. => Some(Letter::C),
        _ => None,
    };
    Ok(Outcome::new(answer, format!("{} polls", polls.get())))
}
