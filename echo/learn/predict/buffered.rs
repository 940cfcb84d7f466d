//! A buffered stream makes progress only while its consumer asks for an item.

use std::cell::RefCell;
use std::io;

use executor::block_on;
use futures_util::{StreamExt, stream};
use reactor::time::sleep;

use crate::ask::{Answer, Letter};
use crate::{Outcome, Prompt, ms};

pub(crate) const PROMPT: Prompt = Prompt {
    title: "`buffered(2)`, with work between the items",
    question: "The requests take 20 and 40 ms, and the work on each answer 200 ms. When does the \
               second request proceed?",
    answers: [
        Answer {
            text: "After 40 ms, during the work on the first answer.",
            why: "this would be so for two spawned tasks. A buffered stream polls its futures only \
                  while it is polled itself.",
        },
        Answer {
            text: "After 220 ms: it has started, but is not polled during the work.",
            why: "the stream is polled only by `next`. During the work on the first answer nothing \
                  polls the second request, although its timer has fired. Requests that must not \
                  stall belong into tasks.",
        },
        Answer {
            text: "After 260 ms: it starts when the work is over.",
            why: "`buffered(2)` polls two futures from the beginning, so the second timer runs \
                  during the work. Only the code after it has to wait.",
        },
    ],
    run,
    file: file!(),
    text: include_str!("buffered.rs"),
};

// Program:
async fn request(number: u32, events: &Events) -> u32 {
    events.add(format!("{number} starts"));
    sleep(ms(20) * number).await;
    events.add(format!("{number} proceeds"));
    number
}

async fn program(events: &Events) {
    let requests = [request(1, events), request(2, events)];
    let mut answers = stream::iter(requests).buffered(2);
    while let Some(number) = answers.next().await {
        sleep(ms(200)).await; // The work.
        events.add(format!("work on {number} ends"));
    }
}
// End.

/// What happened, in this order.
#[derive(Default)]
struct Events(RefCell<Vec<String>>);

impl Events {
    fn add(&self, event: String) {
        self.0.borrow_mut().push(event);
    }
}

fn run() -> io::Result<Outcome> {
    let events = Events::default();
    block_on(program(&events));
    let events = events.0.take();
    let at = |event| events.iter().position(|known| known == event);
    let work_ends = at("work on 1 ends");
    let answer = match (at("2 starts") < work_ends, at("2 proceeds") < work_ends) {
        (true, true) => Some(Letter::A),
        (true, false) => Some(Letter::B),
        (false, false) => Some(Letter::C),
        (false, true) => None,
    };
    Ok(Outcome::new(answer, events.join("; ")))
}
