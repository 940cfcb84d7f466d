//! The kernel returns a token with each event, and the token is the index of a slot in a table. If a
//! socket is closed, its slot and its token can be reused while an event of the old socket is still
//! in the batch that `epoll_wait` has returned. A loop that handles the events of a batch one by one
//! then takes it for an event of the new socket.
//!
//! This runtime delivers all events of a batch before any task runs. So when a task closes a socket
//! and opens another one, no undelivered event of the old socket is left.

use std::io::{self, ErrorKind, Read, Write};
use std::net;

use executor::{block_on, spawn_named, tasks, yield_now};
use mio::net::TcpStream as MioStream;
use mio::{Events, Interest, Poll, Token};
use reactor::Awaited;
use reactor::io::AsyncReadExt;
use reactor::net::TcpStream;

use crate::connection::{connected, connection, sockets};
use crate::{Question, print_line};

pub(crate) const QUESTION: Question =
    Question { text: "Which source does an event belong to if its token was reused?", run };

fn run() -> io::Result<()> {
    print_line("bare mio; sockets 0 and 1 are readable, and one wait returns both events:")?;
    bare_mio()?;
    print_line("this runtime; the same two events:")?;
    block_on(tasks_and_sources())
}

/// Returns the server's end of a connection for bare mio, and the client's end.
fn mio_socket() -> io::Result<(MioStream, net::TcpStream)> {
    let (ours, peer) = sockets()?;
    ours.set_nonblocking(true)?;
    Ok((MioStream::from_std(ours), peer))
}

fn bare_mio() -> io::Result<()> {
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(16));
    let ((mut first, mut first_peer), (mut second, mut second_peer)) =
        (mio_socket()?, mio_socket()?);
    poll.registry().register(&mut first, Token(0), Interest::READABLE)?;
    poll.registry().register(&mut second, Token(1), Interest::READABLE)?;
    first_peer.write_all(b"x")?;
    second_peer.write_all(b"x")?;
    poll.poll(&mut events, None)?;
    let (mut new, _new_peer) = mio_socket()?;
    for event in &events {
        match event.token() {
            Token(0) => {
                poll.registry().deregister(&mut second)?;
                poll.registry().register(&mut new, Token(1), Interest::READABLE)?;
                print_line("  token 0: closes socket 1, and registers a new socket with token 1")?;
            }
            _ => {
                let read = new.read(&mut [0; 16]).map_err(|error| error.kind());
                let is_false_alarm = read == Err(ErrorKind::WouldBlock);
                print_line(format_args!(
                    "  token 1: the new socket is taken for readable; false alarm: {is_false_alarm}"
                ))?;
            }
        }
    }
    Ok(())
}

async fn tasks_and_sources() -> io::Result<()> {
    let (mut first, mut first_peer) = connected().await?;
    let (second, mut second_peer) = connected().await?;
    let reader = spawn_named("second", read(second));
    yield_now().await;
    let old = key_of("second");

    first_peer.write_all(b"x")?;
    second_peer.write_all(b"x")?;
    first.read(&mut [0; 16]).await?;
    reader.abort();
    let _ = reader.await;
    let (new, mut new_peer) = connection()?;
    let reader = spawn_named("new", read(new));
    yield_now().await;
    let new = key_of("new");
    print_line(format_args!("  socket 1 was source {old}; its task ends; the new one is {new}"))?;

    // Fetch all events that exist.
    yield_now().await;
    yield_now().await;
    let polls = tasks().iter().find(|task| task.name == "new").map_or(0, |task| task.polls);
    print_line(format_args!("  the new socket waits; polls of its task: {polls}"))?;
    new_peer.write_all(b"ab")?;
    let bytes = reader.await.map_err(io::Error::other)??;
    print_line(format_args!("  two bytes arrive at the new socket; it reads: {bytes}"))
}

async fn read(mut stream: TcpStream) -> io::Result<usize> {
    stream.read(&mut [0; 16]).await
}

/// Returns the key of the source that the task with this name waits for.
fn key_of(name: &str) -> usize {
    let tasks = tasks();
    let task = tasks.iter().find(|task| task.name == name).expect("the task has not ended");
    match task.awaits[..] {
        [Awaited::Source { key, .. }] => key,
        _ => unreachable!("the task reads"),
    }
}
