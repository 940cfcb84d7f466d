//! The echo server as a loop on bare mio: what a runtime does for you, done by hand.
//!
//! Each connection is a little state machine: what is left to write, how many bytes were echoed,
//! whether the peer has finished. No waker, no task, no future: the token says which one to run.

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
                        connections.remove(&event.token()).expect("it has just run");
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
                let token = Token(tokens.next().expect("tokens without end"));
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry().register(&mut stream, token, interest)?;
                connections.insert(token, Connection { stream, rest: Vec::new(), echoed: 0 });
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    /// Bytes that were read and could not be written yet.
    rest: Vec<u8>,
    echoed: usize,
}

impl Connection {
    /// Goes on until the socket would block; `Some`, when the connection has come to its end.
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
