//! A socket that is registered again for each read.
//!
//! epoll remembers a registration, so one `epoll_ctl` call serves the whole life of a socket. A
//! program that registers before each read and deregisters afterwards works, but makes two more
//! system calls per message. Only a count of the calls shows it.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::rc::Rc;
use std::task::Poll;

use executor::block_on;
use mio::event::Source;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use reactor::Async;
use reactor::time::timeout;

use crate::ask::{Answer, Letter};
use crate::sockets::{LOOPBACK, client, connect};
use crate::{DEADLINE, Fault, Symptom, Version};

pub(crate) const FAULT: Fault = Fault {
    name: "reregister",
    sentence: "a socket is registered again for each read",
    next: "`struct Async` in reactor/src/async_io.rs",
    answers: [
        Answer {
            text: "About 2 calls of `epoll_ctl`: registering again costs nothing.",
            why: "each registration is a system call, and so is each deregistration.",
        },
        Answer {
            text: "About 100 calls: one for each message.",
            why: "registering for one message needs two calls: one adds the socket, and the other \
                  removes it.",
        },
        Answer {
            text: "About 200 calls: two for each message.",
            why: "each read adds the socket to epoll and removes it. With the read and the write, \
                  every message costs four system calls instead of two.",
        },
    ],
    reasons: [
        "One registration serves the whole life of the socket, and the source keeps its waker slots.",
        "Each read makes a new source, with empty waker slots. The result is the same, but each message costs two more system calls.",
    ],
    run,
    file: file!(),
    text: include_str!("reregister.rs"),
};

const MESSAGES: u32 = 100;

/// A socket that counts the calls of `epoll_ctl`: mio makes one in each of these functions.
struct Counted {
    stream: TcpStream,
    calls: Rc<Cell<u32>>,
}

impl Counted {
    fn add(&self) {
        self.calls.set(self.calls.get() + 1);
    }
}

impl Source for Counted {
    fn register(&mut self, registry: &Registry, key: Token, interest: Interest) -> io::Result<()> {
        self.add();
        self.stream.register(registry, key, interest)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        key: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.add();
        self.stream.reregister(registry, key, interest)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.add();
        self.stream.deregister(registry)
    }
}

fn run(version: Version) -> io::Result<Symptom> {
    let listener = TcpListener::bind(LOOPBACK)?;
    let address = listener.local_addr()?;
    let client = client(move || {
        let mut stream = connect(address)?;
        (0..MESSAGES).try_for_each(|_| {
            stream.write_all(b"x")?;
            stream.read_exact(&mut [0])
        })
    });
    let (stream, _) = listener.accept()?;
    stream.set_nonblocking(true)?;
    let calls = Rc::new(Cell::new(0));
    let socket = Counted { stream: TcpStream::from_std(stream), calls: calls.clone() };
    let messages = block_on(timeout(5 * DEADLINE, echo(socket, version)));
    client.join().expect("the client does not panic")?;
    let messages = messages.map_err(io::Error::other)??;
    let answer = match calls.get() {
        ..10 => Some(Letter::A),
        90..150 => Some(Letter::B),
        190..250 => Some(Letter::C),
        _ => None,
    };
    let calls = calls.get();
    Ok(Symptom::new(answer, format!("{calls} calls of epoll_ctl for {messages} messages")))
}

/// Echoes until the end of file, and returns the number of messages.
async fn echo(socket: Counted, version: Version) -> io::Result<u32> {
    let mut socket = Async::new(socket)?;
    let mut messages = 0;
    loop {
        match version.noted() {
            // Right: the registration stays for the life of the socket.
            Version::Right => {}
            // Wrong: remove the registration and add it again.
            Version::Wrong => socket = Async::new(socket.into_inner()?)?,
        }
        let byte = &mut [0];
        let read = poll_fn(|cx| socket.poll_read_with(cx, |io| (&io.stream).read(byte)));
        if read.await? == 0 {
            return Ok(messages);
        }
        let write = poll_fn(|cx| match (&socket.get_ref().stream).write(byte) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket.poll_write_with(cx, |io| (&io.stream).write(byte))
            }
            result => Poll::Ready(result),
        });
        write.await?;
        messages += 1;
    }
}
