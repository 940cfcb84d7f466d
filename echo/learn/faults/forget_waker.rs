//! A future that returns `Pending` without storing its waker.
//!
//! A future that returns `Pending` promises that something holds the waker and will call it. Here
//! that is the source of the socket. If the future does not store its waker there, the byte arrives
//! and epoll reports it, but the reactor finds no waker to call.
//!
//! The executor detects this exactly: after the poll, no waker of the task exists.

use std::future::Future;
use std::io::{self, ErrorKind, Read as _};
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll};

use executor::{block_on, spawn_named, yield_now};
use mio::net::TcpStream;
use reactor::Async;
use reactor::time::timeout;

use crate::ask::{Answer, Letter};
use crate::sockets::{LOOPBACK, accept, came_back, client, connect, exchange, write_all};
use crate::{DEADLINE, Fault, Symptom, Version};

pub(crate) const FAULT: Fault = Fault {
    name: "forget-waker",
    sentence: "a future returns Pending without storing its waker",
    next: "`fn poll_io` in reactor/src/source.rs",
    answers: [
        Answer {
            text: "The byte comes back, because the reactor polls the task when the byte arrives.",
            why: "the reactor polls no task. It calls the wakers that it holds, and this future has given it none.",
        },
        Answer {
            text: "The byte never comes back, and the executor reports the task as lost.",
            why: "the byte arrives and epoll reports it, but nothing can wake the task. The executor sees after the poll that no waker of the task is left.",
        },
        Answer {
            text: "The byte comes back, because the executor polls the task again and again.",
            why: "an executor polls only the tasks that were woken. Otherwise it would use the whole CPU.",
        },
    ],
    reasons: [
        "The source holds the waker of the task, so the event of the byte wakes the task.",
        "No waker is stored, so the reactor finds none when it gets the event of the byte. Nothing can wake the task.",
    ],
    run,
    file: file!(),
    text: include_str!("forget_waker.rs"),
};

fn run(version: Version) -> io::Result<Symptom> {
    let listener = TcpListener::bind(LOOPBACK)?;
    let address = listener.local_addr()?;
    let (server_waits, started) = channel();
    let client = client(move || {
        let stream = connect(address)?;
        Ok(started.recv().map_or(0, |()| exchange(&stream, 1)))
    });
    // The client reports the symptom, so the result of the server does not matter.
    let _ = block_on(timeout(DEADLINE, serve(listener, server_waits, version)));
    let back = client.join().expect("the client does not panic")?;
    Ok(came_back(back, 1, if back == 0 { Letter::B } else { Letter::A }))
}

async fn serve(
    listener: TcpListener,
    server_waits: Sender<()>,
    version: Version,
) -> io::Result<()> {
    let stream = accept(listener).await?;
    let echo = spawn_named("echo", echo(stream, version));
    // This returns after the task has been polled and has found nothing to read.
    yield_now().await;
    let _ = server_waits.send(());
    echo.await.map_err(io::Error::other)?
}

async fn echo(stream: Async<TcpStream>, version: Version) -> io::Result<()> {
    let mut buffer = [0; 16];
    loop {
        let bytes = Read { stream: &stream, buffer: &mut buffer, version }.await?;
        if bytes == 0 {
            return Ok(());
        }
        write_all(&stream, &buffer[..bytes]).await?;
    }
}

/// A read of a non-blocking socket, as a hand-written future.
struct Read<'a> {
    stream: &'a Async<TcpStream>,
    buffer: &'a mut [u8],
    version: Version,
}

impl Future for Read<'_> {
    type Output = io::Result<usize>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Read { stream, buffer, version } = self.get_mut();
        match stream.get_ref().read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            result => return Poll::Ready(result),
        }
        match version.noted() {
            // Right: try again, and store the waker in the source.
            Version::Right => stream.poll_read_with(cx, |mut io| io.read(buffer)),
            // Wrong: the waker in `cx` is not stored anywhere.
            Version::Wrong => Poll::Pending,
        }
    }
}
