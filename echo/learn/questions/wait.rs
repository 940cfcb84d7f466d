//! `WouldBlock` is the kernel's answer, at once: nothing there. The read makes a promise of it: it
//! leaves its waker with the source of the socket, and returns `Pending`. From then on the task is
//! a value in a table, and nothing of it runs; and if no other task has anything to do, the
//! thread sleeps in `epoll_wait`. When the byte comes, the kernel ends that wait, the reactor calls
//! the waker, the waker puts the task into the run queue, and the executor polls it. Only now is
//! the byte read.

use std::io;

use executor::{block_on, spawn_named};
use reactor::io::AsyncReadExt;
use reactor::net::TcpStream;

use crate::Question;
use crate::connection::{connected, send};
use crate::ladder::{RECORDER, told_following};

pub(crate) const QUESTION: Question =
    Question { text: "What happens between WouldBlock and the next poll?", run };

fn run() -> io::Result<()> {
    // The first task that is spawned; 0 is the main future.
    told_following(&[1], || block_on(main()))
}

async fn main() -> io::Result<()> {
    let (stream, client) = connected().await?;
    RECORDER.start();
    let reader = spawn_named("reader", read(stream));
    let client = send(client, 1);
    let _stream = reader.await??;
    client.join().expect("the client does not panic").map(drop)
}

/// Gives the stream back: how it is closed is another story.
async fn read(mut stream: TcpStream) -> io::Result<TcpStream> {
    stream.read(&mut [0; 16]).await?;
    Ok(stream)
}
