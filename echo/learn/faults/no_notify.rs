//! A wakeup from another thread that does not notify the sleeping reactor.
//!
//! This is the smallest executor on this reactor: it has one future, and one flag instead of a run
//! queue. Its thread sleeps in `Reactor::turn`. A wakeup from another thread sets the flag. If it
//! does not also end the sleep, the thread sees the flag only after something else ends the sleep,
//! here a timer.

use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use reactor::time::timeout;
use reactor::{Notifier, Reactor};

use crate::ask::{Answer, Letter};
use crate::sockets::{LOOPBACK, connect};
use crate::{DEADLINE, Fault, Symptom, Version};

pub(crate) const FAULT: Fault = Fault {
    name: "no-notify",
    sentence: "a wakeup from another thread leaves the reactor asleep",
    next: "`fn send` in executor/src/inbox.rs",
    answers: [
        Answer {
            text: "The task is polled late: when a timer ends the sleep.",
            why: "the wakeup was stored but not announced. Any event or timer ends the sleep, and then the thread finds the flag. With no timer, the task would wait forever.",
        },
        Answer {
            text: "The task is polled immediately, because its flag is set.",
            why: "the thread sleeps in `epoll_wait`, and a flag in memory does not end a system call. The thread sees the flag after the sleep.",
        },
        Answer {
            text: "The task is never polled: the wakeup is lost.",
            why: "the wakeup is not lost, because the flag stays set. It is only late.",
        },
    ],
    reasons: [
        "The other thread holds the waker of the task. Its call sets the flag and also ends the sleep.",
        "The other thread holds the waker of the task. Its call only sets the flag, so the executor's thread sleeps until a timer expires.",
    ],
    run,
    file: file!(),
    text: include_str!("no_notify.rs"),
};

/// How long the client waits before it sends a byte. By then the reactor sleeps.
const DELAY: Duration = Duration::from_millis(50);

/// The part of the task that wakers point to.
struct Task {
    queued: AtomicBool,
    notifier: Notifier,
    version: Version,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.queued.store(true, Ordering::Release);
        match self.version.noted() {
            // Right: end the sleep, or the next one if the thread is about to sleep.
            Version::Right => self.notifier.notify(),
            // Wrong: the task is queued, but the thread stays asleep.
            Version::Wrong => {}
        }
    }
}

/// Polls the future whenever its task has been woken, and sleeps in between.
fn block_on<F: Future>(future: F, version: Version) -> io::Result<F::Output> {
    let reactor = Reactor::new()?;
    let _entered = reactor.enter();
    let queued = AtomicBool::new(true);
    let task = Arc::new(Task { queued, notifier: reactor.notifier(), version });
    let waker = Waker::from(task.clone());
    let mut future = pin!(future);
    loop {
        if task.queued.swap(false, Ordering::AcqRel)
            && let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker))
        {
            return Ok(output);
        }
        reactor.turn(None)?;
    }
}

fn run(version: Version) -> io::Result<Symptom> {
    let listener = TcpListener::bind(LOOPBACK)?;
    let mut client = connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    server.set_read_timeout(Some(DEADLINE))?;
    let (wakers, waiting) = channel();
    let (send_time, received) = channel();
    let reader = thread::spawn(move || read(&server, &waiting, &send_time));
    let client = thread::spawn(move || {
        thread::sleep(DELAY);
        client.write_all(b"x")
    });
    let delay = async {
        let received = timeout(DEADLINE, next(&received, &wakers)).await;
        received.map(|received: Instant| received.elapsed())
    };
    let begin = Instant::now();
    let delay = block_on(delay, version)?;
    let ended_by = if begin.elapsed() < DEADLINE { "the wakeup" } else { "a timer" };
    reader.join().expect("the reader does not panic")?;
    client.join().expect("the client does not panic")?;
    Ok(match delay {
        Ok(delay) => {
            let answer = if ended_by == "the wakeup" { Letter::B } else { Letter::A };
            let delay = delay.as_secs_f64() * 1e3;
            let text = format!("polled {delay:.1} ms after its wakeup; {ended_by} ended the sleep");
            Symptom::new(answer, text)
        }
        Err(_) => Symptom::new(Letter::C, format!("not woken within {} ms", DEADLINE.as_millis())),
    })
}

/// Blocks until a byte arrives, sends the time of arrival to the task, and wakes the task.
fn read(
    mut stream: &TcpStream,
    waiting: &Receiver<Waker>,
    received: &Sender<Instant>,
) -> io::Result<()> {
    // This fails if the task has ended without waiting.
    let Ok(waker) = waiting.recv() else { return Ok(()) };
    stream.read_exact(&mut [0])?;
    let _ = received.send(Instant::now());
    waker.wake();
    Ok(())
}

/// Receives a value. Sends the waker to the other thread whenever it has to wait.
async fn next<T>(receiver: &Receiver<T>, wakers: &Sender<Waker>) -> T {
    poll_fn(|cx| match receiver.try_recv() {
        Ok(value) => Poll::Ready(value),
        Err(_) => {
            let _ = wakers.send(cx.waker().clone());
            Poll::Pending
        }
    })
    .await
}
