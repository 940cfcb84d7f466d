//! The loop that accepts awaits each connection, instead of spawning it.
//!
//! `await` means: I go on when this has ended. Only tasks run beside one another. So a loop that
//! awaits a connection accepts the next one when the peer of the first has gone. The second client
//! is connected all the same, by the kernel, and waits in the backlog.

use std::io;
use std::net::{self, SocketAddr};
use std::time::Instant;

use executor::{JoinSet, block_on};
use reactor::net::{TcpListener, TcpStream};
use reactor::time::timeout;

use crate::sockets::{LOOPBACK, PATIENCE, client, connect, exchange};
use crate::{DEADLINE, Fault, Symptom, Version};

pub(crate) const FAULT: Fault = Fault {
    name: "await-connection",
    sentence: "the accept loop awaits a connection instead of spawning it",
    next: "`fn accept` in echo/src/serve.rs",
    run,
    file: file!(),
    text: include_str!("await_connection.rs"),
};

const CLIENTS: usize = 2;

fn run(version: Version) -> io::Result<Symptom> {
    let listener = net::TcpListener::bind(LOOPBACK)?;
    let address = listener.local_addr()?;
    let clients = client(move || talk(address));
    // What goes wrong here, the clients see.
    let _ = block_on(timeout(DEADLINE, serve(listener, version)));
    clients.join().expect("the clients do not panic")
}

async fn serve(listener: net::TcpListener, version: Version) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    for _ in 0..CLIENTS {
        let (stream, _) = listener.accept().await?;
        match version {
            // Right: a task of its own, and on to the next client.
            Version::Right => drop(connections.spawn(echo(stream))),
            // Wrong: no other client until this one has gone.
            Version::Wrong => echo(stream).await,
        }
    }
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn echo(mut stream: TcpStream) {
    let (reader, writer) = stream.split();
    // The peer sees what goes wrong.
    let _ = reactor::io::copy(reader, writer).await;
}

/// The first client says nothing, and stays until the second has an answer or gives up.
fn talk(address: SocketAddr) -> io::Result<Symptom> {
    let first = connect(address)?;
    let second = connect(address)?;
    let begin = Instant::now();
    let back = exchange(&second, 1);
    let took = begin.elapsed().as_secs_f64() * 1e3;
    drop(first);
    Ok(Symptom(match back {
        0 => format!("the second client has no answer within {} ms", PATIENCE.as_millis()),
        _ => format!("the second client has its answer after {took:.1} ms"),
    }))
}
