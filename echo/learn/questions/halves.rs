//! A connection has two directions, and each stores its own wakers. So one task can wait to read
//! while another task waits to write, and an event wakes only the task that waits for its
//! direction.
//!
//! `split` borrows both halves within one task; `into_split` returns owned halves for two tasks. A
//! spawned task runs beside the task that spawned it. An awaited future completes before the next
//! line runs, so a server that awaits a client makes all other clients wait.

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use executor::{JoinSet, TaskInfo, block_on, spawn_blocking, spawn_named, tasks};
use reactor::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use reactor::net::{TcpListener, TcpStream};
use reactor::time::sleep;

use crate::connection::connection;
use crate::{Question, print_line};

pub(crate) const QUESTION: Question =
    Question { text: "How can two tasks read and write one socket? Spawn or await?", run };

/// How long a client takes for its answer.
const PAUSE: Duration = Duration::from_millis(200);

/// More bytes than the socket buffers of both ends hold.
const FLOOD: usize = 16 << 20;

fn run() -> io::Result<()> {
    block_on(two_halves())?;
    print_line(format_args!("three clients each answer after {} ms:", PAUSE.as_millis()))?;
    print_line(format_args!("    spawned: {}", block_on(three_clients(true))?))?;
    print_line(format_args!("    awaited: {}", block_on(three_clients(false))?))
}

async fn two_halves() -> io::Result<()> {
    let (ours, mut peer) = connection()?;
    let (reader, writer) = ours.into_split();
    drop(spawn_named("reader", read(reader)));
    drop(spawn_named("writer", flood(writer)));
    let [reader, writer] = when_idle().await;
    print_line("one connection; its peer neither sends nor reads:")?;
    print_line(format_args!("    reader: {:?}", reader.awaits))?;
    print_line(format_args!("    writer: {:?}", writer.awaits))?;

    peer.write_all(b"x")?;
    let [reader_then, writer_then] = polled_after(reader.polls).await?;
    let polls = [reader_then.polls - reader.polls, writer_then.polls - writer.polls];
    print_line(format_args!(
        "the peer sends a byte; polls:  reader {}, writer {}",
        polls[0], polls[1]
    ))?;

    let drain = move || peer.read_exact(&mut vec![0; FLOOD]).map(|()| peer);
    let _peer = spawn_blocking(drain).await.map_err(io::Error::other)??;
    let [reader, writer] = when_idle().await;
    let writers = if writer.polls > writer_then.polls { "some" } else { "none" };
    let readers = reader.polls - reader_then.polls;
    print_line(format_args!("the peer reads 16 MiB; polls:  reader {readers}, writer {writers}\n"))
}

async fn read(mut reader: impl AsyncRead + Unpin) -> io::Result<()> {
    while reader.read(&mut [0; 16]).await? > 0 {}
    Ok(())
}

async fn flood(mut writer: impl AsyncWrite + Unpin) -> io::Result<Infallible> {
    loop {
        writer.write_all(&[b'x'; 1 << 16]).await?;
    }
}

fn halves() -> [TaskInfo; 2] {
    let [_main, reader, writer] =
        <[TaskInfo; 3]>::try_from(tasks().into_vec()).expect("there are three tasks");
    [reader, writer]
}

/// Returns the reader and the writer as soon as the reader has been polled more than `polls` times.
///
/// Later the writer may be woken as well, because the kernel may still be moving written bytes to
/// the peer's side.
async fn polled_after(polls: u64) -> io::Result<[TaskInfo; 2]> {
    for _ in 0..1000 {
        sleep(Duration::from_millis(1)).await;
        if halves()[0].polls > polls {
            return Ok(halves());
        }
    }
    Err(io::Error::other("the byte has not woken the reader"))
}

/// Returns the reader and the writer when neither has been polled for a while.
///
/// Before that, the writer may be woken whenever the kernel moves written bytes to the peer's side.
async fn when_idle() -> [TaskInfo; 2] {
    let mut polls = 0;
    loop {
        sleep(PAUSE / 2).await;
        let [reader, writer] = halves();
        if polls == reader.polls + writer.polls {
            return [reader, writer];
        }
        polls = reader.polls + writer.polls;
    }
}

/// Serves three clients, and describes how long it took until all had answered.
async fn three_clients(by_spawn: bool) -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (mut clients, mut served) = (JoinSet::new(), JoinSet::new());
    let begin = Instant::now();
    for _ in 0..3 {
        clients.spawn(answer(listener.local_addr()?));
    }
    for _ in 0..3 {
        let (stream, _) = listener.accept().await?;
        match by_spawn {
            true => drop(served.spawn(ask(stream))),
            false => ask(stream).await?,
        }
    }
    while served.join_next().await.is_some() {}
    let took = begin.elapsed();
    // Three pauses take at least this long if they do not overlap.
    let how = if took < 3 * PAUSE { "concurrently" } else { "one after the other" };
    Ok(format!("{how}, {} ms", took.as_millis()))
}

async fn ask(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(b"?").await?;
    stream.read_exact(&mut [0]).await
}

async fn answer(server: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(server).await?;
    stream.read_exact(&mut [0]).await?;
    sleep(PAUSE).await;
    stream.write_all(b"!").await
}
