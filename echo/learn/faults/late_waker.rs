//! A waker that is stored after the check, although another thread may complete in between.
//!
//! The future checks whether the other thread has finished, and stores its waker if not. If the
//! thread finishes between these two steps, it finds no waker, and it will not look again. So the
//! waker must be stored before the check.
//!
//! On a real machine this race is rare. Here the future stops between the two steps until the
//! other thread has finished, so that each run shows it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Instant;

use executor::{block_on, spawn_named};
use reactor::time::timeout;

use crate::ask::{Answer, Letter};
use crate::{DEADLINE, Fault, Symptom, Version};

pub(crate) const FAULT: Fault = Fault {
    name: "late-waker",
    sentence: "a future stores its waker after it has looked for the result",
    next: "`fn poll` in reactor/src/pool/job.rs",
    answers: [
        Answer {
            text: "The task is woken when the thread finishes.",
            why: "at that moment no waker is stored. A thread that finds none cannot wake the task.",
        },
        Answer {
            text: "The executor reports the task as lost.",
            why: "the executor checks after the poll, and by then the waker is stored. It cannot \
                  know that nothing will call it.",
        },
        Answer {
            text: "The task waits forever, and nothing reports it.",
            why: "the thread finished between the check and the store. The check came too early to \
                  see the result, and the store too late for the wakeup.",
        },
    ],
    reasons: [
        "The waker is stored before the check, so the other thread finds it and wakes the task.",
        "The other thread found no waker, because it finished before the store. The waker is stored now, but nothing will call it.",
    ],
    run,
    file: file!(),
    text: include_str!("late_waker.rs"),
};

/// What the future and the other thread share.
#[derive(Default)]
struct Shared {
    finished: Mutex<Option<Instant>>,
    waker: Mutex<Option<Waker>>,
}

impl Shared {
    fn finish(&self) {
        *self.finished.lock().expect("no thread panics while it holds the lock") =
            Some(Instant::now());
        let waker = self.waker.lock().expect("no thread panics while it holds the lock").take();
        waker.into_iter().for_each(Waker::wake);
    }
}

/// Waits until the other thread has finished.
struct Finished {
    shared: Arc<Shared>,
    /// Starts the other thread, and reports that it has finished.
    gap: Option<(Sender<()>, Receiver<()>)>,
    version: Version,
}

impl Finished {
    fn store(&self, waker: &Waker) {
        let mut stored =
            self.shared.waker.lock().expect("no thread panics while it holds the lock");
        *stored = Some(waker.clone());
    }

    /// Looks for the result. The first time, the other thread finishes immediately afterwards.
    fn look(&mut self) -> Option<Instant> {
        let result =
            *self.shared.finished.lock().expect("no thread panics while it holds the lock");
        if let Some((start, finished)) = self.gap.take() {
            let _ = start.send(());
            let _ = finished.recv();
        }
        result
    }

    fn store_and_look(&mut self, waker: &Waker) -> Option<Instant> {
        self.store(waker);
        self.look()
    }

    fn look_and_store(&mut self, waker: &Waker) -> Option<Instant> {
        let result = self.look();
        self.store(waker);
        result
    }
}

impl Future for Finished {
    type Output = Instant;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Instant> {
        let this = self.get_mut();
        let result = match this.version.noted() {
            // Right: a thread that finishes after the look finds the waker.
            Version::Right => this.store_and_look(cx.waker()),
            // Wrong: a thread that finishes after the look finds no waker.
            Version::Wrong => this.look_and_store(cx.waker()),
        };
        result.map_or(Poll::Pending, Poll::Ready)
    }
}

fn run(version: Version) -> io::Result<Symptom> {
    let shared = Arc::new(Shared::default());
    let (start, starts) = channel();
    let (finished, finishes) = channel();
    let thread = thread::spawn({
        let shared = shared.clone();
        move || {
            // This fails if the task has never been polled.
            if starts.recv().is_ok() {
                shared.finish();
                let _ = finished.send(());
            }
        }
    });
    let wait = Finished { shared, gap: Some((start, finishes)), version };
    let delay = block_on(async {
        let task = spawn_named("waits", async move { wait.await.elapsed() });
        timeout(DEADLINE, task).await.map(|delay| delay.expect("the task does not panic"))
    });
    thread.join().expect("the thread does not panic");
    Ok(match delay {
        Ok(delay) => {
            let delay = delay.as_secs_f64() * 1e3;
            Symptom::new(Letter::A, format!("polled again {delay:.1} ms after the completion"))
        }
        Err(_) => {
            let limit = DEADLINE.as_millis();
            Symptom::new(Letter::C, format!("not polled again within {limit} ms"))
        }
    })
}
