//! An accept loop that awaits each connection instead of spawning a task for it.
//!
//! Code after an `await` runs when the awaited future has completed. So a loop that awaits a
//! connection accepts the next one only after the first peer has gone. Until then, the kernel has
//! connected the second client, but keeps it in the backlog.

use std::io;
use std::net::{self, SocketAddr};
use std::time::Instant;

use executor::{JoinSet, block_on};
use reactor::net::{TcpListener, TcpStream};
use reactor::time::timeout;

use crate::ask::{Answer, Letter};
use crate::sockets::{CLIENT_TIMEOUT, LOOPBACK, client, connect, exchange};
use crate::{DEADLINE, Fault, Symptom, Version};

pub(crate) const FAULT: Fault = Fault {
    name: "await-connection",
    sentence: "the accept loop awaits a connection instead of spawning it",
    next: "`fn accept` in echo/src/serve.rs",
    answers: [
        Answer {
            text: "The second client connects, but gets no answer while the first one is there.",
            why: "`await` means: continue here when the connection is over. A spawned task lets the loop continue.",
        },
        Answer {
            text: "The second client cannot connect.",
            why: "the kernel completes connections without the program, and keeps them in the backlog. So the client believes that it is served.",
        },
        Answer {
            text: "The second client gets its answer immediately.",
            why: "the loop accepts the second client only after the code above it has finished, and that code serves the first client until it leaves.",
        },
    ],
    reasons: [
        "Each source holds the waker of a task of its own, so the byte of the second client wakes the second task.",
        "The source of the first connection holds the only waker, that of the accept loop. The byte of the second client wakes no task.",
    ],
    run,
    file: file!(),
    text: include_str!("await_connection.rs"),
};

const CLIENTS: usize = 2;

fn run(version: Version) -> io::Result<Symptom> {
    let listener = net::TcpListener::bind(LOOPBACK)?;
    let address = listener.local_addr()?;
    let clients = client(move || run_clients(address));
    // The clients report the symptom, so the result of the server does not matter.
    let _ = block_on(timeout(DEADLINE, serve(listener, version)));
    clients.join().expect("the clients do not panic")
}

async fn serve(listener: net::TcpListener, version: Version) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    for _ in 0..CLIENTS {
        let (stream, _) = listener.accept().await?;
        match version.noted() {
            // Right: the connection gets a task of its own, and the loop continues.
            Version::Right => drop(connections.spawn(echo(stream))),
            // Wrong: the loop accepts no other client until this one has gone.
            Version::Wrong => echo(stream).await,
        }
    }
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn echo(mut stream: TcpStream) {
    let (reader, writer) = stream.split();
    // The client reports errors.
    let _ = reactor::io::copy(reader, writer).await;
}

/// Connects two clients. The first one sends nothing, and stays until the second one has an answer
/// or gives up.
fn run_clients(address: SocketAddr) -> io::Result<Symptom> {
    let first = connect(address)?;
    let Ok(second) = connect(address) else {
        return Ok(Symptom::new(Letter::B, "the second client cannot connect"));
    };
    let begin = Instant::now();
    let back = exchange(&second, 1);
    let took = begin.elapsed().as_secs_f64() * 1e3;
    drop(first);
    let limit = CLIENT_TIMEOUT.as_millis();
    Ok(match back {
        0 => Symptom::new(Letter::A, format!("the second client gets no answer within {limit} ms")),
        _ => {
            Symptom::new(Letter::C, format!("the second client gets its answer after {took:.1} ms"))
        }
    })
}
