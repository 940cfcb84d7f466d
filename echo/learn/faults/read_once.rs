//! One read per event, although the read filled the buffer.
//!
//! The reactor registers sockets edge-triggered: epoll reports once that bytes have arrived, and
//! does not repeat the event because some are left. So a task must read until `WouldBlock`. A task
//! that reads once and then waits for the next event waits for bytes that have already arrived.

use std::io::{self, ErrorKind, Read};
use std::mem;
use std::net::TcpListener;

use executor::block_on;
use mio::net::TcpStream;
use reactor::Async;
use reactor::time::timeout;

use crate::ask::{Answer, Letter};
use crate::sockets::{LOOPBACK, accept, came_back, client, connect, exchange, write_all};
use crate::{DEADLINE, Fault, Symptom, Version};

pub(crate) const FAULT: Fault = Fault {
    name: "read-once",
    sentence: "a task reads once per event, and leaves bytes behind",
    next: "`fn poll_transfer` in reactor/src/source.rs",
    answers: [
        Answer {
            text: "All 100 bytes come back: epoll reports the socket until it is empty.",
            why: "this is level-triggered epoll. The reactor registers sockets edge-triggered, so epoll reports each arrival once.",
        },
        Answer {
            text: "Some bytes come back, and the rest stays in the socket.",
            why: "the task reads once, and then waits for an event. No event follows, because no more bytes arrive.",
        },
        Answer {
            text: "No byte comes back.",
            why: "the first event is reported, and the first read takes what fits into the buffer. These bytes come back.",
        },
    ],
    reasons: [
        "The task reads until `WouldBlock`, so the source holds its waker only when no bytes are left.",
        "The source holds the waker of the task, but the bytes that are left cause no other event, so nothing calls it.",
    ],
    run,
    file: file!(),
    text: include_str!("read_once.rs"),
};

/// More bytes than the server's buffer holds, but few enough for one segment and so one event.
const BYTES: usize = 100;

fn run(version: Version) -> io::Result<Symptom> {
    let listener = TcpListener::bind(LOOPBACK)?;
    let address = listener.local_addr()?;
    let client = client(move || Ok(exchange(&connect(address)?, BYTES)));
    // The client reports the symptom, so the result of the server does not matter.
    let _ = block_on(timeout(DEADLINE, echo(listener, version)));
    let back = client.join().expect("the client does not panic")?;
    let answer = match back {
        BYTES => Letter::A,
        1.. => Letter::B,
        0 => Letter::C,
    };
    Ok(came_back(back, BYTES, answer))
}

async fn echo(listener: TcpListener, version: Version) -> io::Result<()> {
    let stream = accept(listener).await?;
    let mut buffer = [0; 16];
    next_event(&stream).await?;
    loop {
        let bytes = match stream.get_ref().read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                next_event(&stream).await?;
                continue;
            }
            Err(error) => return Err(error),
        };
        write_all(&stream, &buffer[..bytes]).await?;
        match version.noted() {
            // Right: read again. Only `WouldBlock` means that nothing is left.
            Version::Right => {}
            // Wrong: wait, as if one read had taken everything that the event reported.
            Version::Wrong => next_event(&stream).await?,
        }
    }
}

/// Waits until the kernel next reports the socket as readable.
///
/// To do so, it claims that a read returned `WouldBlock`. The reactor has no such operation,
/// because it would cause exactly this fault.
async fn next_event(stream: &Async<TcpStream>) -> io::Result<()> {
    let mut waited = false;
    let blocks_once = |_: &TcpStream| match mem::replace(&mut waited, true) {
        false => Err(ErrorKind::WouldBlock.into()),
        true => Ok(()),
    };
    stream.read_with(blocks_once).await
}
