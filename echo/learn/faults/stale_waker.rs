//! A future that keeps the waker of its first poll.
//!
//! A future can move to another task between two polls. Only the waker of the latest poll belongs
//! to the task that owns the future now. A future that stores a waker once, and then keeps it, wakes
//! the task that polled it first.
//!
//! Here the main task polls the future once, under a timeout, and then passes it to another task.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use executor::{block_on, spawn_named};
use reactor::time::{sleep, timeout};

use crate::ask::{Answer, Letter};
use crate::{DEADLINE, Fault, Symptom, Version};

pub(crate) const FAULT: Fault = Fault {
    name: "stale-waker",
    sentence: "a future that moves to another task keeps its first waker",
    next: "`fn store` in reactor/src/source.rs",
    answers: [
        Answer {
            text: "The first task is woken, and the second one is never polled again.",
            why: "a waker names a task, and the stored one names the task of the first poll. That \
                  task gets a spurious poll, and no waker of the second task exists.",
        },
        Answer {
            text: "The second task is woken, because it owns the future now.",
            why: "the event holds only a waker. It does not know which task owns the future.",
        },
        Answer {
            text: "Both tasks are woken.",
            why: "there is one stored waker, and it wakes one task.",
        },
    ],
    reasons: [
        "The event holds the waker of the second task, which owns the future now, and wakes this task.",
        "The event still holds the waker of the main task and wakes that task. Nothing holds a waker of the second task.",
    ],
    run,
    file: file!(),
    text: include_str!("stale_waker.rs"),
};

/// How long the first task waits, and after what time the event happens.
const FIRST: Duration = Duration::from_millis(10);
const EVENT: Duration = Duration::from_millis(30);

/// Something that happens once.
#[derive(Default)]
struct Event {
    happened: Cell<Option<Instant>>,
    waker: Cell<Option<Waker>>,
}

impl Event {
    fn happen(&self) {
        self.happened.set(Some(Instant::now()));
        self.waker.take().into_iter().for_each(Waker::wake);
    }
}

/// Waits for an event, and returns when it happened.
struct Wait {
    event: Rc<Event>,
    version: Version,
}

impl Future for Wait {
    type Output = Instant;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Instant> {
        if let Some(at) = self.event.happened.get() {
            return Poll::Ready(at);
        }
        let stored = self.event.waker.take();
        let waker = match self.version.noted() {
            // Right: store the waker of this poll. It belongs to the task that owns the future now.
            Version::Right => cx.waker().clone(),
            // Wrong: keep the waker of the first poll.
            Version::Wrong => stored.unwrap_or_else(|| cx.waker().clone()),
        };
        self.event.waker.set(Some(waker));
        Poll::Pending
    }
}

fn run(version: Version) -> io::Result<Symptom> {
    let delay = block_on(async {
        let event = Rc::new(Event::default());
        let source = event.clone();
        drop(spawn_named("event", async move {
            sleep(EVENT).await;
            source.happen();
        }));
        let mut wait = Wait { event, version };
        // The event comes later, so this only polls the future in the main task.
        let _ = timeout(FIRST, &mut wait).await;
        let second = spawn_named("second", async move { wait.await.elapsed() });
        timeout(DEADLINE, second).await.map(|delay| delay.expect("the task does not panic"))
    });
    Ok(match delay {
        Ok(delay) => {
            let delay = delay.as_secs_f64() * 1e3;
            Symptom::new(
                Letter::B,
                format!("the second task is polled {delay:.1} ms after the event"),
            )
        }
        Err(_) => {
            let limit = DEADLINE.as_millis();
            Symptom::new(Letter::A, format!("the second task is not polled within {limit} ms"))
        }
    })
}
