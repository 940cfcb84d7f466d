//! Check of exercise 2.

use std::future::Future;
use std::hint;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::{Closed, Receiver, channel};
use crate::check::{Seen, Step, Task, Wakes, count_of, require, times};
use crate::lock::{after_release, changes, has_acted, watch};

pub(crate) const STEPS: &[Step] = &[
    ("a value that was sent before the poll arrives", sent_before),
    ("a value from another thread wakes the task", other_thread),
    ("a sender that is dropped without a value ends the wait", dropped),
    ("the waker may poll the receiver while it is called", waker_polls),
    ("no lock is held while a waker is cloned or dropped", unlocked),
    ("a value that is sent between two locks of a poll is not lost", between_locks),
    ("no value is lost if both threads act at the same time", race),
];

/// How often the two threads race, if that takes no longer than `PAUSE`.
const ROUNDS: usize = 20_000;

/// How long the race lasts at most, and how long a sender may wait for a lock.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a wakeup may take. It comes from another thread, which the OS may delay.
const PATIENCE: Duration = Duration::from_secs(1);

/// Waits until the waker has been called, and returns how often.
fn wait_for_wake(wakes: &Wakes) -> usize {
    let start = Instant::now();
    while wakes.count() == 0 && start.elapsed() < PATIENCE {
        thread::yield_now();
    }
    wakes.count()
}

fn sent_before() -> Seen {
    let (sender, receiver) = channel();
    sender.send(7);
    let polled = Task::new(receiver).poll();
    require(polled == Poll::Ready(Ok(7)), format!("the poll returned {polled:?}"), "Ready(Ok(7))")
}

fn other_thread() -> Seen {
    let (sender, mut receiver) = channel();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let first = Pin::new(&mut receiver).poll(&mut Context::from_waker(&waker));
    require(
        first.is_pending(),
        format!("before the send, the poll returned {first:?}"),
        "Pending",
    )?;
    thread::spawn(move || sender.send(7)).join().map_err(|_| "the sending thread panicked")?;
    let wakes = wakes.count();
    let saw = format!("the other thread sent, and called {}", count_of(wakes, "waker"));
    require(wakes > 0, saw.clone(), "1: the task is never polled again")?;
    let second = Pin::new(&mut receiver).poll(&mut Context::from_waker(&waker));
    let saw = format!("{saw}; the second poll returned {second:?}");
    require(second == Poll::Ready(Ok(7)), saw, "Ready(Ok(7))")
}

fn dropped() -> Seen {
    let (sender, receiver) = channel::<u8>();
    let mut task = Task::new(receiver);
    let _ = task.poll();
    drop(sender);
    let wakes = task.wakes();
    let saw = format!("the drop of the sender called {}", count_of(wakes, "waker"));
    require(wakes > 0, saw.clone(), "1: the task waits forever")?;
    let polled = task.poll();
    let is_right = polled == Poll::Ready(Err(Closed));
    require(is_right, format!("{saw}; the next poll returned {polled:?}"), "Ready(Err(Closed))")
}

/// A waker that polls the receiver, and stores the result.
struct Polls {
    receiver: Mutex<Receiver<u8>>,
    result: Mutex<Option<Poll<Result<u8, Closed>>>>,
}

impl Wake for Polls {
    fn wake(self: Arc<Self>) {
        let mut receiver = self.receiver.lock().unwrap();
        let polled = Pin::new(&mut *receiver).poll(&mut Context::from_waker(Waker::noop()));
        *self.result.lock().unwrap() = Some(polled);
    }
}

fn waker_polls() -> Seen {
    let (sender, receiver) = channel();
    let polls = Arc::new(Polls { receiver: Mutex::new(receiver), result: Mutex::new(None) });
    let waker = Waker::from(polls.clone());
    let mut receiver = polls.receiver.lock().unwrap();
    let _ = Pin::new(&mut *receiver).poll(&mut Context::from_waker(&waker));
    drop(receiver);
    // If `send` holds a lock while it calls the waker, the poll in the waker locks it again.
    sender.send(7);
    let result = polls.result.lock().unwrap().take();
    let saw = match &result {
        None => "the send called 0 wakers".to_owned(),
        Some(polled) => format!("the waker polled the receiver, which returned {polled:?}"),
    };
    require(result == Some(Poll::Ready(Ok(7))), saw, "1 call of the waker, and Ready(Ok(7))")
}

/// Polls with two wakers, and compares how many clones of the first there are when a lock is taken
/// and when it is released.
fn unlocked() -> Seen {
    let (_sender, mut receiver) = channel::<u8>();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let clones = wakes.clone();
    watch(move || Arc::strong_count(&clones));
    let before = Arc::strong_count(&wakes);
    let _ = Pin::new(&mut receiver).poll(&mut Context::from_waker(&waker));
    let kept = Arc::strong_count(&wakes) - before;
    let _ = Pin::new(&mut receiver).poll(&mut Context::from_waker(Waker::noop()));
    let (cloned, dropped): (Vec<_>, Vec<_>) =
        changes().into_iter().partition(|(before, after)| after > before);
    require(kept == 1, format!("the poll kept {}", count_of(kept, "waker")), "1")?;
    let saw = format!(
        "two wakers polled; while a lock was held, a waker was cloned {} and dropped {}",
        times(cloned.len()),
        times(dropped.len())
    );
    require(cloned.is_empty() && dropped.is_empty(), saw, "0 and 0: both may run user code")
}

/// Sends from another thread, each time after one more release of a lock in `poll`.
fn between_locks() -> Seen {
    for releases in 0..10 {
        let (sender, receiver) = channel();
        let mut task = Task::new(receiver);
        after_release(releases, move || {
            let sending = thread::spawn(move || sender.send(7));
            // If the poll still holds another lock, the sender waits for it, so do not join.
            let start = Instant::now();
            while !sending.is_finished() && start.elapsed() < PAUSE {
                thread::yield_now();
            }
        });
        let polled = task.poll();
        if !has_acted() {
            return Ok(format!("{} tried", count_of(releases, "point")));
        }
        let start = Instant::now();
        while polled.is_pending() && task.wakes() == 0 && start.elapsed() < PATIENCE {
            thread::yield_now();
        }
        let saw = format!(
            "the other thread sent after release {} of a lock in the poll, which returned \
             {polled:?}; {} called",
            releases + 1,
            if task.wakes() == 1 {
                "1 waker was".to_owned()
            } else {
                format!("{} wakers were", task.wakes())
            }
        );
        require(polled.is_ready() || task.wakes() > 0, saw, "1: the wakeup is lost")?;
    }
    Ok("10 points tried".to_owned())
}

fn race() -> Seen {
    let (senders, to_send) = mpsc::channel::<super::Sender<usize>>();
    let begun = Arc::new(AtomicUsize::new(0));
    let to_begin = begun.clone();
    let sending = thread::spawn(move || {
        for (round, sender) in (1..).zip(to_send) {
            // Begin when the other thread polls, and then a little later in each round.
            while to_begin.load(Ordering::Acquire) < round {
                thread::yield_now();
            }
            (0..round % 256).for_each(|_| hint::spin_loop());
            sender.send(round);
        }
    });
    let start = Instant::now();
    let mut rounds = 0;
    while rounds < ROUNDS && start.elapsed() < PAUSE {
        rounds += 1;
        let round = rounds;
        let (sender, mut receiver) = channel();
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        let cx = &mut Context::from_waker(&waker);
        senders.send(sender).map_err(|_| "the sending thread has ended")?;
        begun.store(round, Ordering::Release);
        let mut polled = Pin::new(&mut receiver).poll(cx);
        if polled.is_pending() {
            if wait_for_wake(&wakes) == 0 {
                return Err(format!(
                    "in round {round}, the poll returned Pending, the other thread sent, and no \
                     waker was called: the wakeup is lost"
                ));
            }
            polled = Pin::new(&mut receiver).poll(cx);
        }
        let saw = format!("in round {round}, after the wakeup, the poll returned {polled:?}");
        require(polled == Poll::Ready(Ok(round)), saw, "the value that was sent")?;
    }
    drop(senders);
    sending.join().map_err(|_| "the sending thread panicked")?;
    Ok(format!("{rounds} rounds, and as many values"))
}
