//! `block_on` returns although a task has not finished.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use executor::{block_on, spawn, yield_now};
use reactor::time::sleep;

use crate::ask::{Answer, Letter};
use crate::{Outcome, Prompt, ms};

pub(crate) const PROMPT: Prompt = Prompt {
    title: "`block_on` returns while a task still sleeps",
    question: "What becomes of the task?",
    answers: [
        Answer {
            text: "It finishes after 20 ms.",
            why: "a spawned task is not a thread. Only `block_on` polls tasks, and it returns as \
                  soon as its own future is ready.",
        },
        Answer {
            text: "It starts, and is dropped before it finishes.",
            why: "`yield_now` let the task run up to its first `await`. Then `block_on` returned \
                  and dropped the executor, and with it the task. To keep the task, await its \
                  handle.",
        },
        Answer {
            text: "It never starts.",
            why: "`spawn` queues the task, and `yield_now` lets every queued task run once. \
                  Without `yield_now`, this answer would be right.",
        },
    ],
    run,
    file: file!(),
    text: include_str!("ends.rs"),
};

// Program:
fn program(step: Rc<Cell<&'static str>>) {
    block_on(async {
        spawn(async move {
            step.set("started");
            sleep(ms(20)).await;
            step.set("finished");
        });
        yield_now().await;
    });
}
// End.

fn run() -> io::Result<Outcome> {
    let step = Rc::new(Cell::new("not started"));
    program(step.clone());
    let answer = match step.get() {
        "finished" => Letter::A,
        "started" => Letter::B,
        _ => Letter::C,
    };
    Ok(Outcome::new(answer, format!("the last step of the task is {:?}", step.get())))
}
