//! Epoll is used edge-triggered: it reports once that bytes have arrived, and does not repeat the
//! event because some are left. No system call is needed to ask for the next event. In return, a
//! task that stops reading too early waits for bytes that are already there. So it reads until
//! `WouldBlock`. On a TCP stream a short read means the same, and saves the last call. On a pipe in
//! packet mode it does not, because there every read stops at the end of a packet.
//!
//! Because epoll reports every change, a source is registered once, and not once per message.

use std::io::{self, Read, Write};
use std::net;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use executor::{block_on, spawn};
use futures_lite::future::poll_once;
use log::Record;
use mio::{Events, Interest, Poll, Token};
use reactor::Reactor;
use reactor::io::{AsyncReadExt, copy};

use crate::connection::{connected, send};
use crate::ladder::set_listener;
use crate::{Question, print_line, scene};

pub(crate) const QUESTION: Question =
    Question { text: "Edge-triggered or level-triggered: why read until WouldBlock?", run };

const BYTES: usize = 100;
const MESSAGES: usize = 1000;

/// How many sources were registered with the kernel.
static REGISTERED: AtomicU64 = AtomicU64::new(0);

fn run() -> io::Result<()> {
    set_listener(|record: &Record<'_>| {
        let registers = record.args().as_str() == Some("register");
        REGISTERED.fetch_add(u64::from(registers), Ordering::Relaxed);
    });
    print_line(format_args!("bare mio, one read of 16 bytes per event; {BYTES} bytes are sent:"))?;
    read_once()?;
    block_on(async {
        print_line(format_args!("a task that reads 16 bytes at a time; {BYTES} bytes are sent:"))?;
        scene::begin();
        read_all().await?;
        scene::end();
        #[cfg(target_os = "linux")]
        read_packets().await?;
        print_line(format_args!("an echo of {MESSAGES} messages:"))?;
        echo().await
    })
}

fn read_once() -> io::Result<()> {
    let listener = net::TcpListener::bind("127.0.0.1:0")?;
    let mut client = net::TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    server.set_nonblocking(true)?;
    let mut server = mio::net::TcpStream::from_std(server);
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(16));
    poll.registry().register(&mut server, Token(0), Interest::READABLE)?;
    client.write_all(&[b'x'; BYTES])?;
    for limit in [10_000, 50] {
        poll.poll(&mut events, Some(Duration::from_millis(limit)))?;
        let count = events.iter().count();
        let bytes = if count > 0 { server.read(&mut [0; 16])? } else { 0 };
        let left = server.peek(&mut [0; BYTES])?;
        print_line(format_args!("  events: {count}, read: {bytes}, left: {left}"))?;
    }
    Ok(())
}

async fn read_all() -> io::Result<()> {
    let (mut server, client) = connected().await?;
    let before = Reactor::current().metrics();
    let client = send(client, BYTES);
    let mut reads = Vec::new();
    while reads.iter().sum::<usize>() < BYTES {
        reads.push(server.read(&mut [0; 16]).await?);
    }
    let all = Reactor::current().metrics();
    print_line(format_args!("  events: {}, read: {reads:?}", all.events - before.events))?;
    let waits = poll_once(server.read(&mut [0; 16])).await.is_none();
    let would_blocks = Reactor::current().metrics().would_blocks - all.would_blocks;
    print_line(format_args!(
        "  one more read waits: {waits}; calls that got WouldBlock: {would_blocks}"
    ))?;
    client.join().expect("the client does not panic").map(drop)
}

#[cfg(target_os = "linux")]
async fn read_packets() -> io::Result<()> {
    use rustix::pipe::{PipeFlags, pipe_with};
    print_line("a pipe in packet mode, reads of 64 bytes; packets of 3 and 5 bytes are sent:")?;
    let (reader, writer) = pipe_with(PipeFlags::DIRECT | PipeFlags::NONBLOCK)?;
    let reader = mio::unix::pipe::Receiver::from(reader);
    let reader = reactor::Async::with_interest(reader, Interest::READABLE)?;
    let mut writer = std::fs::File::from(writer);
    let read = || reader.read_with(|mut pipe| pipe.read(&mut [0; 64]));
    assert!(poll_once(read()).await.is_none(), "nothing was sent");
    let before = Reactor::current().metrics();
    writer.write_all(b"abc")?;
    writer.write_all(b"defgh")?;
    let (first, second) = (read().await?, read().await?);
    let third = poll_once(read()).await.is_none();
    let events = Reactor::current().metrics().events - before.events;
    print_line(format_args!(
        "  events: {events}, read: {first}, then {second}; one more read waits: {third}"
    ))
}

async fn echo() -> io::Result<()> {
    let before = REGISTERED.load(Ordering::Relaxed);
    let (mut server, mut client) = connected().await?;
    let echo = spawn(async move {
        let (reader, writer) = server.split();
        copy(reader, writer).await
    });
    let client = thread::spawn(move || {
        (0..MESSAGES).try_for_each(|_| {
            client.write_all(b"x")?;
            client.read_exact(&mut [0])
        })
    });
    let bytes = echo.await??;
    client.join().expect("the client does not panic")?;
    let registered = REGISTERED.load(Ordering::Relaxed) - before;
    print_line(format_args!("  bytes: {bytes}, registrations with the kernel: {registered}"))
}
