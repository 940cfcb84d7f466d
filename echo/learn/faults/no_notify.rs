//! A wake from another thread, and no notification for the reactor that sleeps.
//!
//! The smallest executor on this reactor: one future, and one flag in the place of a run queue. Its
//! thread sleeps in `Reactor::turn`. A wake from another thread sets the flag; if it does not end
//! the sleep too, the thread looks at the flag when something else wakes it, in this case a timer.

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

use crate::sockets::{LOOPBACK, connect};
use crate::{DEADLINE, Fault, Symptom, Version};

pub(crate) const FAULT: Fault = Fault {
    name: "no-notify",
    sentence: "a wake from another thread does not end the reactor's sleep",
    next: "`fn send` in executor/src/inbox.rs",
    run,
    file: file!(),
    text: include_str!("no_notify.rs"),
};

/// When the client speaks: the reactor has long been asleep.
const LATE: Duration = Duration::from_millis(50);

/// The one task of the executor, as its wakers know it.
struct Task {
    queued: AtomicBool,
    notifier: Notifier,
    version: Version,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.queued.store(true, Ordering::Release);
        match self.version {
            // Right: ends the sleep, or the next one if the thread is just about to.
            Version::Right => self.notifier.notify(),
            // Wrong: the task is queued, and the thread sleeps on.
            Version::Wrong => {}
        }
    }
}

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
    let (tell, received) = channel();
    let reader = thread::spawn(move || read(&server, &waiting, &tell));
    let client = thread::spawn(move || {
        thread::sleep(LATE);
        client.write_all(b"x")
    });
    let delay = async {
        let received = timeout(DEADLINE, next(&received, &wakers)).await;
        received.map(|received: Instant| received.elapsed())
    };
    let begin = Instant::now();
    let delay = block_on(delay, version)?;
    let ended_by = if begin.elapsed() < DEADLINE { "the wake" } else { "a timer" };
    reader.join().expect("the reader does not panic")?;
    client.join().expect("the client does not panic")?;
    Ok(Symptom(match delay {
        Ok(delay) => {
            let delay = delay.as_secs_f64() * 1e3;
            format!("polled {delay:.1} ms after its wake; {ended_by} ended the sleep")
        }
        Err(_) => format!("not woken within {} ms", DEADLINE.as_millis()),
    }))
}

/// Blocks until a byte has come, tells the task when that was, and wakes it.
fn read(
    mut stream: &TcpStream,
    waiting: &Receiver<Waker>,
    received: &Sender<Instant>,
) -> io::Result<()> {
    // None comes, if the task has gone.
    let Ok(waker) = waiting.recv() else { return Ok(()) };
    stream.read_exact(&mut [0])?;
    let _ = received.send(Instant::now());
    waker.wake();
    Ok(())
}

/// Waits for what that thread sends.
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
