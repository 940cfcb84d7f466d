//! A future that returns `Pending` and stores no waker.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;

use executor::{block_on, spawn};
use reactor::time::sleep;

use crate::ask::{Answer, Letter};
use crate::{Outcome, Prompt, lost, ms};

pub(crate) const PROMPT: Prompt = Prompt {
    title: "a future that returns `Pending` and does nothing else",
    question: "How often is the task polled in 50 ms?",
    answers: [
        Answer {
            text: "Again and again, until it is ready.",
            why: "an executor that polled every task again and again would use the whole CPU. It \
                  polls only the tasks that were woken.",
        },
        Answer {
            text: "Once more: the executor polls all tasks after the timer has fired.",
            why: "the timer wakes the task that sleeps, and no other. A wakeup concerns one task.",
        },
        Answer {
            text: "Only once, and the executor reports it as lost.",
            why: "the future ignored its waker, so nothing can ever wake the task. The executor \
                  sees that no waker of the task is left and logs `lost`.",
        },
    ],
    run,
    file: file!(),
    text: include_str!("unheld.rs"),
};

// Program:
fn program(polls: Rc<Cell<u32>>) {
    block_on(async {
        spawn(poll_fn(move |_cx| {
            polls.set(polls.get() + 1);
            Poll::<()>::Pending
        }));
        sleep(ms(50)).await;
    });
}
// End.

fn run() -> io::Result<Outcome> {
    let polls = Rc::new(Cell::new(0));
    let before = lost::count();
    program(polls.clone());
    let (polls, lost) = (polls.get(), lost::count() - before);
    let answer = match (polls, lost) {
        (1, 1) => Some(Letter::C),
        (2, _) => Some(Letter::B),
        (3.., _) => Some(Letter::A),
        _ => None,
    };
    Ok(Outcome::new(answer, format!("polls: {polls}; tasks reported as lost: {lost}")))
}
