//! A read loop that ignores the end of file.
//!
//! A read that returns 0 bytes reports that the peer has closed its direction. That stays so:
//! each further read returns 0 immediately, and never `WouldBlock`. A loop that treats 0 like any
//! other number of bytes never waits and never ends.

use std::io::{self, Read as _, Write};
use std::net::TcpListener;
use std::time::Instant;

use executor::{block_on, spawn_named};
use mio::net::TcpStream;
use reactor::Async;
use reactor::time::timeout;

use crate::ask::{Answer, Letter};
use crate::sockets::{LOOPBACK, accept, client, connect};
use crate::{DEADLINE, Fault, Symptom, Version};

pub(crate) const FAULT: Fault = Fault {
    name: "ignore-eof",
    sentence: "a read loop continues after a read of 0 bytes",
    next: "`fn poll_transfer` in reactor/src/source.rs",
    answers: [
        Answer {
            text: "The task reads 0 bytes again and again.",
            why: "each read succeeds immediately with 0 bytes. The task uses the whole CPU, and \
                  the socket is never closed.",
        },
        Answer {
            text: "The task waits forever for bytes that do not come.",
            why: "it never waits. The end of file is an answer, so there is nothing to wait for, \
                  and no event would follow.",
        },
        Answer {
            text: "The task ends when the peer has closed.",
            why: "only the program can end the task, because only the program knows what 0 means \
                  to it. The reactor passes the result on.",
        },
    ],
    reasons: [
        "The task ends after the first read of 0 bytes, so it needs no wakeup.",
        "A read at the end of file never blocks, so the task never stores its waker in the source and never waits.",
    ],
    run,
    file: file!(),
    text: include_str!("ignore_eof.rs"),
};

/// After so many reads the program ends the loop. Without this limit, it would go on forever.
const LIMIT: u32 = 1000;

fn run(version: Version) -> io::Result<Symptom> {
    let listener = TcpListener::bind(LOOPBACK)?;
    let address = listener.local_addr()?;
    let client = client(move || connect(address)?.write_all(b"x"));
    let begin = Instant::now();
    let reads = block_on(timeout(DEADLINE, async {
        let task = spawn_named("read", read_to_end(accept(listener).await?, version));
        task.await.map_err(io::Error::other)?
    }));
    let took = begin.elapsed().as_secs_f64() * 1e3;
    client.join().expect("the client does not panic")?;
    Ok(match reads {
        Ok(reads) => match reads? {
            1 => Symptom::new(Letter::C, "1 read returned 0 bytes, and the task ended"),
            reads => Symptom::new(
                Letter::A,
                format!("{reads} reads returned 0 bytes within {took:.0} ms"),
            ),
        },
        Err(_) => Symptom::new(Letter::B, "the task waits"),
    })
}

/// Reads until the end of file, and returns how many reads returned 0 bytes.
async fn read_to_end(stream: Async<TcpStream>, version: Version) -> io::Result<u32> {
    let mut ends = 0;
    while ends < LIMIT {
        let bytes = stream.read_with(|mut io| io.read(&mut [0; 16])).await?;
        if bytes > 0 {
            continue;
        }
        ends += 1;
        match version.noted() {
            // Right: 0 is the end of file.
            Version::Right => break,
            // Wrong: read again, as if bytes could still come.
            Version::Wrong => continue,
        }
    }
    Ok(ends)
}
