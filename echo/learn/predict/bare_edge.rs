//! One read per event on bare mio, which is edge-triggered.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};

use crate::ask::{Answer, Letter};
use crate::{Outcome, Prompt, ms};

pub(crate) const PROMPT: Prompt = Prompt {
    title: "bare mio: 100 bytes have arrived, and each event leads to one read of 16",
    question: "How many events are reported?",
    answers: [
        Answer {
            text: "1 event, and 84 bytes stay unread",
            why: "an edge is a change. After one read the program waits for bytes that are already \
                  there. It must read until `WouldBlock` before it waits again.",
        },
        Answer {
            text: "2 events: one for the bytes, and one for the rest",
            why: "the rest did not arrive again. Reading a part of the bytes is not a change that \
                  epoll reports.",
        },
        Answer {
            text: "7 events, until all 100 bytes are read",
            why: "this is level-triggered epoll. mio registers sockets edge-triggered, so epoll \
                  reports that bytes arrive and not that bytes are there.",
        },
    ],
    run,
    file: file!(),
    text: include_str!("bare_edge.rs"),
};

// Program:
fn program(stream: &mut mio::net::TcpStream, limit: Duration) -> io::Result<(u32, usize)> {
    let (mut events, mut poll) = (Events::with_capacity(8), Poll::new()?);
    poll.registry().register(stream, Token(0), Interest::READABLE)?;
    let (mut count, mut bytes) = (0, 0);
    loop {
        poll.poll(&mut events, Some(limit))?;
        if events.is_empty() {
            return Ok((count, bytes));
        }
        count += 1;
        bytes += stream.read(&mut [0; 16])?;
    }
}
// End.

fn run() -> io::Result<Outcome> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut peer = TcpStream::connect(listener.local_addr()?)?;
    let (stream, _) = listener.accept()?;
    peer.write_all(&[b'x'; 100])?;
    stream.set_nonblocking(true)?;
    let (count, bytes) = program(&mut mio::net::TcpStream::from_std(stream), ms(100))?;
    let answer = match count {
        7 => Some(Letter::C),
        2 => Some(Letter::B),
        1 => Some(Letter::A),
        _ => None,
    };
    let left = 100 - bytes;
    Ok(Outcome::new(answer, format!("events: {count}; bytes read: {bytes}; bytes left: {left}")))
}
