//! For a socket or a pipe, the kernel reports *when* a read may succeed, and the task then makes the
//! call. A regular file always counts as ready, although reading it may wait for a disk. So epoll
//! refuses files, and the whole call has to be made elsewhere: by a thread, or by the kernel with
//! io_uring. The task learns that the call is *done*. Until then, the buffer belongs to the thread or
//! to the kernel.
//!
//! `cargo run -p reactor-uring --example when_and_done` does the same with io_uring.

use std::io::{self, Read, Write, pipe};
use std::os::fd::{AsRawFd, OwnedFd};
use std::{env, fs};

use executor::block_on;
use log::trace;
use mio::unix::SourceFd;
use mio::unix::pipe::Receiver;
use mio::{Interest, Poll, Token};
use reactor::Async;
use reactor::blocking::unblock;
use recorder::{By, Kind, OUTSIDE};

use crate::connection::{DEADLINE, when_asleep};
use crate::ladder::{RECORDER, print_steps_of_kinds};
use crate::{Question, print_line};

pub(crate) const QUESTION: Question = Question {
    text: "Why does a file not wait like a socket? Readiness (when) and completion (done)",
    run,
};

fn run() -> io::Result<()> {
    let registered = register_a_file().map_err(|error| error.kind());
    print_line(format_args!("epoll is asked to watch a file: {registered:?}"))?;
    print_line("\na pipe: the kernel reports when to read, and the task makes the call")?;
    print_steps_of_kinds(is_about_waiting, || block_on(read_pipe()))?;
    print_line("\na file: a thread makes the call, and reports that it is done")?;
    print_steps_of_kinds(is_about_waiting, || block_on(read_file()))
}

/// Whether a step shows which thread makes the call, or what ends the wait for it.
fn is_about_waiting(kind: &Kind) -> bool {
    use Kind::{Event, JobDone, JobSubmitted, Notified, Outside, Queue, Sleep, Store, Try, Wake};
    matches!(
        kind,
        Event { .. }
            | JobDone
            | JobSubmitted
            | Notified
            | Outside { .. }
            | Queue { by: By::Thread }
            | Sleep { .. }
            | Store { .. }
            | Try { .. }
            | Wake
    )
}

/// Opens the file of this very program.
fn open() -> io::Result<fs::File> {
    fs::File::open(env::current_exe()?)
}

fn register_a_file() -> io::Result<()> {
    let file = open()?;
    let poll = Poll::new()?;
    poll.registry().register(&mut SourceFd(&file.as_raw_fd()), Token(0), Interest::READABLE)
}

async fn read_pipe() -> io::Result<()> {
    let (reader, mut writer) = pipe()?;
    let reader = Receiver::from(OwnedFd::from(reader));
    reader.set_nonblocking(true)?;
    let reader = Async::with_interest(reader, Interest::READABLE)?;
    RECORDER.start();
    let write = move || {
        trace!(target: OUTSIDE, "writes 5 bytes");
        writer.write_all(b"hello").map(|()| writer)
    };
    let writer = when_asleep("writer", write);
    reader.read_with(|mut reader| reader.read(&mut [0; 64])).await?;
    writer.join().expect("the writer does not panic").map(drop)
}

async fn read_file() -> io::Result<()> {
    let mut file = open()?;
    RECORDER.start();
    let read = unblock(move || {
        RECORDER.wait_until_asleep(DEADLINE);
        file.read(&mut [0; 64])
    });
    read.await.map(drop)
}
