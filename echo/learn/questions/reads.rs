//! A read has three kinds of result. A number greater than zero is that many bytes; the rest of the
//! buffer is unchanged. Zero is the end of the stream: the peer will send no more, and each further
//! read returns zero immediately. An error ends the connection, except `WouldBlock`: it means that
//! nothing has arrived yet, and the read waits.
//!
//! The end of the stream closes only the direction from the peer. The other one stays open until
//! the socket is dropped or `shutdown` is called.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use executor::block_on;
use futures_lite::future::poll_once;
use reactor::Reactor;
use reactor::io::{AsyncReadExt, AsyncWriteExt};

use crate::connection::connection;
use crate::{Question, print_line};

pub(crate) const QUESTION: Question =
    Question { text: "What can read return: n, 0 or WouldBlock? When is a connection over?", run };

fn run() -> io::Result<()> {
    block_on(async {
        show("what the peer does", "what we get")?;
        bytes_and_end().await?;
        reset().await?;
        broken_pipe().await
    })
}

fn show(peer: &str, result: impl std::fmt::Display) -> io::Result<()> {
    print_line(format_args!("{peer:43}  {result}"))
}

async fn bytes_and_end() -> io::Result<()> {
    let (mut ours, mut peer) = connection()?;
    let mut buffer = [0; 16];
    let would_blocks = || Reactor::current().metrics().would_blocks;

    let before = would_blocks();
    let waits = poll_once(ours.read(&mut buffer)).await.is_none();
    let blocked = would_blocks() - before;
    show("sends nothing", format_args!("WouldBlock: {blocked}; the task waits: {waits}"))?;

    peer.write_all(b"abc")?;
    show("sends 3 bytes", format_args!("read: {}", ours.read(&mut buffer).await?))?;

    peer.write_all(b"abc")?;
    let (first, second) = (ours.read(&mut buffer[..2]).await?, ours.read(&mut buffer[..2]).await?);
    show("sends 3 bytes; our buffer holds 2", format_args!("read: {first}, then {second}"))?;

    peer.write_all(b"abc")?;
    let empty = ours.read(&mut []).await?;
    let next = ours.read(&mut buffer).await?;
    show("sends 3 bytes; our buffer is empty", format_args!("read: {empty}, then {next}"))?;

    peer.write_all(b"ab")?;
    peer.shutdown(Shutdown::Write)?;
    let mut reads = [0; 3];
    for read in &mut reads {
        *read = ours.read(&mut buffer).await?;
    }
    show("sends 2 bytes, then ends its direction", format_args!("read: {reads:?}"))?;

    ours.write_all(b"still open").await?;
    ours.close().await?;
    let mut text = String::new();
    peer.read_to_string(&mut text)?;
    show("reads what we then write, until we close", format_args!("it reads: {text:?}"))
}

async fn reset() -> io::Result<()> {
    let (mut ours, peer) = connection()?;
    ours.write_all(b"unread").await?;
    drop(peer);
    let error = ours.read(&mut [0; 16]).await.map_err(|error| error.kind());
    show("closes without reading what we have sent", format_args!("read: {error:?}"))
}

async fn broken_pipe() -> io::Result<()> {
    let (mut ours, peer) = connection()?;
    drop(peer);
    let read = ours.read(&mut [0; 16]).await?;
    let first = ours.write(b"x").await?;
    let second = ours.write(b"x").await.map_err(|error| error.kind());
    show("closes", format_args!("read: {read}"))?;
    show("    and we write nevertheless", format_args!("write: {first}, then {second:?}"))
}
