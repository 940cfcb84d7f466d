//! A write that is given up half way, on a connection that continues to be used.
//!
//! Dropping a future stops what it would do next. It does not undo what it has done. If the first
//! half of a message is in the kernel when its write is dropped, the next message follows in the
//! middle of it, and the peer cannot find the boundary.

use std::io::{self, BufRead, BufReader};
use std::net::TcpListener;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use executor::block_on;
use reactor::time::timeout;

use crate::ask::{Answer, Letter};
use crate::sockets::{LOOPBACK, accept, client, connect, write_all};
use crate::{DEADLINE, Fault, Symptom, Version};

pub(crate) const FAULT: Fault = Fault {
    name: "drop-write",
    sentence: "a timeout drops a write half way; another message follows",
    next: "`struct Timeout` in reactor/src/time/mod.rs",
    answers: [
        Answer {
            text: "The peer receives both messages: the kernel finishes the first one.",
            why: "the kernel has only the bytes that were written so far. The rest was in the \
                  future, and was dropped with it.",
        },
        Answer {
            text: "The peer receives only the second message: the first one is withdrawn.",
            why: "a stream cannot be undone. What was written before the timeout is on its way.",
        },
        Answer {
            text: "The peer receives a part of the first message, and then the second one in it.",
            why: "the connection is out of step from here on. After such a timeout, finish the \
                  message or close the connection.",
        },
    ],
    reasons: [
        "The future holds the rest of the first message, and its waker brings the task back until the rest is written.",
        "The rest of the first message was dropped with the future, so no waker can continue it. The second message follows in its middle.",
    ],
    run,
    file: file!(),
    text: include_str!("drop_write.rs"),
};

/// How long a write may take before the server does something else.
const LIMIT: Duration = Duration::from_millis(50);

/// More bytes than the socket buffers of both ends hold.
const BYTES: usize = 16 << 20;

fn run(version: Version) -> io::Result<Symptom> {
    let listener = TcpListener::bind(LOOPBACK)?;
    let address = listener.local_addr()?;
    let (timed_out, may_read) = channel();
    let client = client(move || {
        let stream = connect(address)?;
        // Do not read before the server's timeout, so the first message does not fit.
        let _ = may_read.recv();
        BufReader::new(stream).split(b'\n').collect::<io::Result<Vec<_>>>()
    });
    let served = block_on(timeout(5 * DEADLINE, serve(listener, timed_out, version)));
    served.map_err(io::Error::other)??;
    let messages = client.join().expect("the client does not panic")?;
    let is_intact = |message: &&Vec<u8>| {
        message.iter().all(|byte| *byte == b'1') && message.len() == BYTES || message == &b"2"
    };
    let intact = messages.iter().filter(is_intact).count();
    let answer = match (intact, &messages[..]) {
        (2, _) => Some(Letter::A),
        (1, [_]) => Some(Letter::B),
        (0, [mixed]) if mixed.starts_with(b"1") && mixed.ends_with(b"2") => Some(Letter::C),
        _ => None,
    };
    let bytes = messages.first().map_or(0, Vec::len);
    Ok(Symptom::new(
        answer,
        format!("{intact} of 2 messages are intact; the first has {bytes} bytes"),
    ))
}

/// Writes two messages. The first one takes longer than the server is willing to wait.
async fn serve(listener: TcpListener, timed_out: Sender<()>, version: Version) -> io::Result<()> {
    let stream = accept(listener).await?;
    let message = [vec![b'1'; BYTES], b"\n".to_vec()].concat();
    let mut first = Box::pin(write_all(&stream, &message));
    if timeout(LIMIT, first.as_mut()).await.is_err() {
        // The client reads from now on.
        let _ = timed_out.send(());
        match version.noted() {
            // Right: finish the message before anything else is written.
            Version::Right => first.await?,
            // Wrong: give it up. The peer has a part of it.
            Version::Wrong => drop(first),
        }
    }
    write_all(&stream, b"2\n").await
}
