//! Tasks run concurrently, and `async` blocks only while they are awaited.

use std::io;
use std::time::{Duration, Instant};

use executor::{block_on, spawn};
use reactor::time::sleep;

use crate::ask::{Answer, Letter};
use crate::{Outcome, Prompt, ms};

pub(crate) const PROMPT: Prompt = Prompt {
    title: "three tasks awaited in turn, then three `async` blocks awaited in turn",
    question: "How long do `tasks` and `blocks` take?",
    answers: [
        Answer {
            text: "50 ms and 150 ms",
            why: "a handle only watches a task that runs anyway. An `async` block runs only while \
                  it is awaited, so the three sleeps add up.",
        },
        Answer {
            text: "150 ms and 150 ms",
            why: "a task does not run because its handle is awaited. The executor polls all three \
                  tasks while the first handle is awaited, so they sleep at the same time.",
        },
        Answer {
            text: "50 ms and 50 ms",
            why: "an `async` block does nothing until it is polled, so the second block begins to \
                  sleep only when the first one is over.",
        },
    ],
    run,
    file: file!(),
    text: include_str!("sequence.rs"),
};

// Program:
async fn tasks() {
    let handles = [1, 2, 3].map(|_| spawn(async { sleep(ms(50)).await }));
    for handle in handles {
        handle.await.expect("the task does not panic");
    }
}

async fn blocks() {
    let blocks = [1, 2, 3].map(|_| async { sleep(ms(50)).await });
    for block in blocks {
        block.await;
    }
}
// End.

fn run() -> io::Result<Outcome> {
    // One executor runs both, so that a recording has one numbering of tasks.
    let (tasks, blocks) = block_on(async {
        let begin = Instant::now();
        tasks().await;
        let took = begin.elapsed();
        blocks().await;
        (took, begin.elapsed() - took)
    });
    let is_sum = |time: Duration| time >= ms(150);
    let answer = match (is_sum(tasks), is_sum(blocks)) {
        (false, false) => Some(Letter::C),
        (true, true) => Some(Letter::B),
        (false, true) => Some(Letter::A),
        (true, false) => None,
    };
    let happened = format!("{} ms and {} ms", tasks.as_millis(), blocks.as_millis());
    Ok(Outcome::new(answer, happened))
}
