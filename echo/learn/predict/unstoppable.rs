//! A timeout around a job on another thread.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use executor::block_on;
use reactor::blocking::unblock;
use reactor::time::timeout;

use crate::ask::{Answer, Letter};
use crate::{Outcome, Prompt, ms};

pub(crate) const PROMPT: Prompt = Prompt {
    title: "a timeout of 10 ms around a blocking job of 100 ms",
    question: "What happens to the job?",
    answers: [
        Answer {
            text: "It finishes, although `timeout` has returned.",
            why: "the future was only a view of the job. A job that should stop early must check a \
                  flag itself.",
        },
        Answer {
            text: "It finishes, and `timeout` waits for it.",
            why: "`timeout` drops the future and returns. Only the thread of the job continues, \
                  and nothing waits for it.",
        },
        Answer {
            text: "It is stopped after 10 ms.",
            why: "dropping a future stops what a task would do next. The job runs on a thread, \
                  and no other thread can stop it.",
        },
    ],
    run,
    file: file!(),
    text: include_str!("unstoppable.rs"),
};

// Program:
fn program(finished: Arc<AtomicBool>) -> bool {
    let job = move || {
        thread::sleep(ms(100));
        finished.store(true, Ordering::Relaxed);
    };
    block_on(timeout(ms(10), unblock(job))).is_err()
}
// End.

fn run() -> io::Result<Outcome> {
    let finished = Arc::new(AtomicBool::new(false));
    let begin = Instant::now();
    let is_elapsed = program(finished.clone());
    let took = begin.elapsed();
    thread::sleep(ms(300));
    let finished = finished.load(Ordering::Relaxed);
    let answer = match (finished, took < ms(100)) {
        (false, _) => Some(Letter::C),
        (true, false) => Some(Letter::B),
        (true, true) if is_elapsed => Some(Letter::A),
        (true, true) => None,
    };
    let end = if finished { "the job finished" } else { "the job did not finish" };
    Ok(Outcome::new(answer, format!("`timeout` returned after {} ms; {end}", took.as_millis())))
}
