//! The kernel answers a read immediately: `WouldBlock` means that nothing has arrived. The read
//! then stores the task's waker in the source of the socket, and returns `Pending`. From then on
//! the task is a value in a table, and none of its code runs. If no other task is queued, the
//! thread sleeps in `epoll_wait`.
//!
//! When the byte arrives, `epoll_wait` returns, and the reactor calls the waker. The waker puts the
//! task into the run queue, and the executor polls it. The task makes the same call again, and this
//! time it gets the byte.

use std::io;

use executor::{block_on, spawn_named};
use reactor::io::AsyncReadExt;
use reactor::net::TcpStream;

use crate::Question;
use crate::connection::{connected, send};
use crate::ladder::{RECORDER, print_steps_of_tasks};

pub(crate) const QUESTION: Question =
    Question { text: "What happens between WouldBlock and the next poll?", run };

fn run() -> io::Result<()> {
    // Task 1 is the first spawned task; task 0 is the main future.
    print_steps_of_tasks(&[1], || block_on(main()))
}

async fn main() -> io::Result<()> {
    let (stream, client) = connected().await?;
    RECORDER.start();
    let reader = spawn_named("reader", read(stream));
    let client = send(client, 1);
    let _stream = reader.await??;
    client.join().expect("the client does not panic").map(drop)
}

/// Returns the stream, so that the steps of closing it come last.
async fn read(mut stream: TcpStream) -> io::Result<TcpStream> {
    stream.read(&mut [0; 16]).await?;
    Ok(stream)
}
