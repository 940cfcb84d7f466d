//! A connection has two directions, and each stores its own wakers. So one task can wait to read
//! while another task waits to write, and an event wakes only the task that waits for its
//! direction.
//!
//! `split` borrows both halves within one task; `into_split` returns owned halves for two tasks.

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::time::Duration;

use executor::{TaskInfo, block_on, spawn_blocking, spawn_named, tasks};
use reactor::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use reactor::time::sleep;

use crate::connection::connection;
use crate::{Question, print_line, scene};

pub(crate) const QUESTION: Question =
    Question { text: "How can reader and writer be two tasks?", run };

/// How long neither task must be polled to count as idle.
const PAUSE: Duration = Duration::from_millis(100);

/// More bytes than the socket buffers of both ends hold.
const FLOOD: usize = 16 << 20;

fn run() -> io::Result<()> {
    block_on(two_halves())
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

    scene::begin();
    peer.write_all(b"x")?;
    let [reader_then, writer_then] = polled_after(reader.polls).await?;
    scene::end();
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
    print_line(format_args!("the peer reads 16 MiB; polls:  reader {readers}, writer {writers}"))
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
        sleep(PAUSE).await;
        let [reader, writer] = halves();
        if polls == reader.polls + writer.polls {
            return [reader, writer];
        }
        polls = reader.polls + writer.polls;
    }
}
