//! The echo server as a loop on bare mio: it does by hand what a runtime does for you.
//!
//! Each connection is a small state machine: the bytes that are not yet written, the number of
//! bytes echoed, and whether the peer has finished. There is no future, task or waker. The token of
//! an event identifies the connection to continue.

use std::collections::HashMap;
use std::io::{self, ErrorKind::WouldBlock, Read, Write};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const LISTENER: Token = Token(0);

pub(crate) fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7777".to_owned());
    let address = address.parse().map_err(io::Error::other)?;
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;

    let mut connections = HashMap::new();
    let mut events = Events::with_capacity(1024);
    let mut tokens = 1..;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            if event.token() != LISTENER {
                let Some(connection) = connections.get_mut(&event.token()) else { continue };
                if let Some(end) = Connection::run(connection, &mut buffer).transpose() {
                    let Connection { mut stream, echoed, .. } =
                        connections.remove(&event.token()).expect("the connection exists");
                    poll.registry().deregister(&mut stream)?;
                    match end {
                        Ok(()) => println!("{echoed} bytes echoed"),
                        Err(error) => println!("connection lost: {error}"),
                    }
                }
                continue;
            }
            loop {
                let mut stream = match listener.accept() {
                    Ok((stream, _)) => stream,
                    Err(error) if error.kind() == WouldBlock => break,
                    Err(error) => return Err(error),
                };
                let token = Token(tokens.next().expect("tokens do not run out"));
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry().register(&mut stream, token, interest)?;
                connections.insert(token, Connection { stream, rest: Vec::new(), echoed: 0 });
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    /// Bytes that have been read and not yet written.
    rest: Vec<u8>,
    echoed: usize,
}

impl Connection {
    /// Reads and writes until the socket would block. Returns `Some(())` at the end of the stream.
    fn run(&mut self, buffer: &mut [u8]) -> io::Result<Option<()>> {
        loop {
            while !self.rest.is_empty() {
                match self.stream.write(&self.rest) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => {
                        self.echoed += written;
                        self.rest.drain(..written);
                    }
                    Err(error) if error.kind() == WouldBlock => return Ok(None),
                    Err(error) => return Err(error),
                }
            }
            match self.stream.read(buffer) {
                Ok(0) => return Ok(Some(())),
                Ok(read) => self.rest.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}
