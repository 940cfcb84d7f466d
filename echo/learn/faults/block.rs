//! A call in a task that blocks the thread.
//!
//! All tasks share one thread. One task calls a blocking function, here a read from an ordinary std
//! socket. Until it returns, no other task is polled, no event is fetched, and no timer fires.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use executor::{block_on, spawn_blocking, spawn_named, yield_now};
use reactor::time::interval;

use crate::ask::{Answer, Letter};
use crate::sockets::{LOOPBACK, connect};
use crate::{Fault, Symptom, Version};

pub(crate) const FAULT: Fault = Fault {
    name: "block",
    sentence: "a call in one task blocks the thread, and so all other tasks",
    next: "`fn unblock` in reactor/src/pool/mod.rs",
    answers: [
        Answer {
            text: "The ticker ticks on time, because it is another task.",
            why: "tasks are not threads. All tasks of an executor share one thread, and the call blocks it.",
        },
        Answer {
            text: "The ticker does not tick until the call returns.",
            why: "the call blocks the thread. No other task is polled, no event is fetched, and no timer fires.",
        },
        Answer {
            text: "The ticker ticks late, because the executor interrupts the call.",
            why: "nothing interrupts a blocking call. Only the operating system could, and it runs other threads instead.",
        },
    ],
    reasons: [
        "A thread of the pool blocks and will wake the main task. The executor's thread is free to call the waker of the ticker.",
        "The executor's thread blocks. A timer holds the waker of the ticker, but only this thread could call it.",
    ],
    run,
    file: file!(),
    text: include_str!("block.rs"),
};

/// How long the peer takes to answer.
const SLOW: Duration = Duration::from_millis(300);

/// Interval of the ticks.
const PERIOD: Duration = Duration::from_millis(10);

fn run(version: Version) -> io::Result<Symptom> {
    let listener = TcpListener::bind(LOOPBACK)?;
    let stream = connect(listener.local_addr()?)?;
    // Both versions get the answer. The timeout only keeps a broken run from hanging.
    stream.set_read_timeout(Some(20 * SLOW))?;
    let (mut answer, _) = listener.accept()?;
    let peer = thread::spawn(move || {
        thread::sleep(SLOW);
        answer.write_all(b"x")
    });
    let symptom = block_on(ask_while_another_ticks(stream, version));
    peer.join().expect("the peer does not panic")?;
    symptom
}

async fn ask_while_another_ticks(stream: TcpStream, version: Version) -> io::Result<Symptom> {
    let ticks = Rc::new(Ticks::new());
    drop(spawn_named("ticker", tick(ticks.clone())));
    // This returns after the ticker has been polled and has set its timer.
    yield_now().await;
    let ask = move || ask(&stream);
    match version.noted() {
        // Right: a thread of the pool blocks, and this thread continues.
        Version::Right => spawn_blocking(ask).await.map_err(io::Error::other)?,
        // Wrong: this thread blocks, and all tasks share it.
        Version::Wrong => ask(),
    }?;
    Ok(symptom(&ticks))
}

fn symptom(ticks: &Ticks) -> Symptom {
    let call = SLOW.as_millis();
    let (count, gap) = (ticks.count.get(), ticks.longest_gap().as_millis());
    let answer = match count {
        0 => Letter::B,
        1..10 => Letter::C,
        10.. => Letter::A,
    };
    let text = format!("{count} ticks during a call of {call} ms; longest gap {gap} ms");
    Symptom::new(answer, text)
}

/// Blocks until the peer has answered.
fn ask(mut stream: &TcpStream) -> io::Result<()> {
    stream.read_exact(&mut [0])
}

async fn tick(ticks: Rc<Ticks>) {
    let mut interval = interval(PERIOD);
    loop {
        interval.tick().await;
        ticks.add();
    }
}

/// The number of ticks, and the longest time between two of them.
struct Ticks {
    count: Cell<u32>,
    last: Cell<Instant>,
    longest: Cell<Duration>,
}

impl Ticks {
    fn new() -> Ticks {
        let (count, longest) = (Cell::default(), Cell::default());
        Ticks { count, last: Cell::new(Instant::now()), longest }
    }

    fn add(&self) {
        self.longest.set(self.longest_gap());
        self.last.set(Instant::now());
        self.count.set(self.count.get() + 1);
    }

    /// Returns the longest gap, including the one since the last tick.
    fn longest_gap(&self) -> Duration {
        self.longest.get().max(self.last.get().elapsed())
    }
}
