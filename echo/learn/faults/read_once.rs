//! One read for each event, although the buffer came back full.
//!
//! The reactor asks the kernel for *edges*: it hears of a socket once when bytes arrive, and not
//! again because some are left. So whoever has heard must read until `WouldBlock`. A task that
//! reads once and then waits for the next event waits for bytes which the peer has sent already.

use std::io::{self, ErrorKind, Read};
use std::mem;
use std::net::TcpListener;

use executor::block_on;
use mio::net::TcpStream;
use reactor::Async;
use reactor::time::timeout;

use crate::sockets::{LOOPBACK, accept, came_back, client, connect, exchange, write_all};
use crate::{DEADLINE, Fault, Symptom, Version};

pub(crate) const FAULT: Fault = Fault {
    name: "read-once",
    sentence: "a task reads once for each event, and bytes are left",
    next: "`fn poll_transfer` in reactor/src/source.rs",
    run,
    file: file!(),
    text: include_str!("read_once.rs"),
};

/// More than the server's buffer, and in one segment: so it is one event.
const BYTES: usize = 100;

fn run(version: Version) -> io::Result<Symptom> {
    let listener = TcpListener::bind(LOOPBACK)?;
    let address = listener.local_addr()?;
    let client = client(move || Ok(exchange(&connect(address)?, BYTES)));
    // What goes wrong here, the client sees.
    let _ = block_on(timeout(DEADLINE, echo(listener, version)));
    Ok(came_back(client.join().expect("the client does not panic")?, BYTES))
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
        match version {
            // Right: reads again. Only `WouldBlock` says that nothing is left.
            Version::Right => {}
            // Wrong: waits, as if one read had taken all that the event told of.
            Version::Wrong => next_event(&stream).await?,
        }
    }
}

/// Waits until the kernel reports the socket as readable once more. For this it has to tell the
/// reactor that a read would have blocked: there is no such wait among its own, for this reason.
async fn next_event(stream: &Async<TcpStream>) -> io::Result<()> {
    let mut waited = false;
    let blocks_once = |_: &TcpStream| match mem::replace(&mut waited, true) {
        false => Err(ErrorKind::WouldBlock.into()),
        true => Ok(()),
    };
    stream.read_with(blocks_once).await
}
