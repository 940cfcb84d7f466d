//! A future that wakes itself instead of storing its waker.
//!
//! The future works: it returns the byte when the byte arrives. Until then the executor polls it
//! again and again, the thread never sleeps, and one idle connection uses a whole CPU.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Read as _, Write};
use std::net::TcpListener;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use executor::{block_on, spawn_named};
use mio::net::TcpStream;
use reactor::Async;
use reactor::time::timeout;

use crate::ask::{Answer, Letter};
use crate::sockets::{LOOPBACK, connect};
use crate::{DEADLINE, Fault, Symptom, Version};

pub(crate) const FAULT: Fault = Fault {
    name: "busy-poll",
    sentence: "a future wakes itself instead of waiting for an event",
    next: "`fn poll_io` in reactor/src/source.rs",
    answers: [
        Answer {
            text: "The byte is read after few polls.",
            why: "few polls are the sign of a future that waits for the event. This one asks for \
                  another poll during each poll.",
        },
        Answer {
            text: "The byte is read after hundreds of polls.",
            why: "each poll queues the task again, so the thread never sleeps. The result is \
                  right, which is why this fault is found in the CPU usage and not in a test.",
        },
        Answer {
            text: "The byte is never read, because the task keeps the reactor from running.",
            why: "the executor fetches events after each round, even if tasks are still queued. So \
                  the byte is found, but at the price of a busy CPU.",
        },
    ],
    reasons: [
        "The source holds the waker, so the task is polled again only after the event of the byte.",
        "No source holds the waker. Each poll calls it, which queues the task again, so the thread never sleeps.",
    ],
    run,
    file: file!(),
    text: include_str!("busy_poll.rs"),
};

/// How long the client waits before it sends a byte.
const DELAY: Duration = Duration::from_millis(20);

/// A read of a non-blocking socket, as a hand-written future.
struct Read<'a> {
    stream: &'a Async<TcpStream>,
    version: Version,
}

impl Future for Read<'_> {
    type Output = io::Result<usize>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Read { stream, version } = self.get_mut();
        let mut byte = [0];
        match stream.get_ref().read(&mut byte) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            result => return Poll::Ready(result),
        }
        match version.noted() {
            // Right: try again, and store the waker in the source.
            Version::Right => stream.poll_read_with(cx, |mut io| io.read(&mut byte)),
            // Wrong: ask for the next poll now, whether a byte has arrived or not.
            Version::Wrong => wake_and_return_pending(cx),
        }
    }
}

fn wake_and_return_pending<T>(cx: &mut Context<'_>) -> Poll<T> {
    cx.waker().wake_by_ref();
    Poll::Pending
}

fn run(version: Version) -> io::Result<Symptom> {
    let listener = TcpListener::bind(LOOPBACK)?;
    let mut client = connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    server.set_nonblocking(true)?;
    let client = thread::spawn(move || {
        thread::sleep(DELAY);
        client.write_all(b"x")
    });
    let polls = block_on(timeout(DEADLINE, async {
        let server = Async::new(TcpStream::from_std(server))?;
        let task = spawn_named("read", count_polls(server, version));
        task.await.map_err(io::Error::other)?
    }));
    client.join().expect("the client does not panic")?;
    let delay = DELAY.as_millis();
    Ok(match polls {
        Ok(polls) => {
            let polls = polls?;
            let answer = if polls < 10 { Letter::A } else { Letter::B };
            Symptom::new(answer, format!("{polls} polls until the byte came after {delay} ms"))
        }
        Err(_) => Symptom::new(Letter::C, "the byte was not read"),
    })
}

/// Reads one byte, and returns the number of polls.
async fn count_polls(stream: Async<TcpStream>, version: Version) -> io::Result<u32> {
    let polls = Cell::new(0);
    let mut read = Read { stream: &stream, version };
    poll_fn(|cx| {
        polls.set(polls.get() + 1);
        Pin::new(&mut read).poll(cx)
    })
    .await?;
    Ok(polls.get())
}
