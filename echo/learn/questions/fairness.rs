//! Without a limit, a task whose socket always has more bytes would never return from its poll. So
//! one poll may complete 128 operations, which is the task's budget. Then the task yields and goes
//! to the end of the run queue. The reactor fetches events before the task is polled again, so a
//! neighbor waits for one such poll at most.
//!
//! A task that yields in a loop is fair too: after each yield, events are fetched and timers fire.
//! The budget does not help against a task that computes without an `await`, because it counts
//! operations, and not time.

use std::cell::Cell;
use std::future::Future;
use std::io::{self, Read, Write};
use std::os::unix::net as unix;
use std::rc::Rc;
use std::time::{Duration, Instant};

use executor::{block_on, spawn, yield_now};
use mio::net::UnixStream;
use reactor::Async;
use reactor::time::sleep;

use crate::{Question, print_line, scene};

pub(crate) const QUESTION: Question =
    Question { text: "Which task starves, and what is fair?", run };

/// The timer that is set beside a greedy task.
const TIMER: Duration = Duration::from_millis(20);

/// How long a greedy task computes.
const COMPUTATION: Duration = Duration::from_millis(300);

fn run() -> io::Result<()> {
    block_on(async {
        flood().await?;
        print_line(format_args!(
            "a byte and a timer of {} ms, beside a task that",
            TIMER.as_millis()
        ))?;
        beside("yields in a loop", async {
            loop {
                yield_now().await;
            }
        })
        .await?;
        beside("computes without an await", async {
            let begin = Instant::now();
            while begin.elapsed() < COMPUTATION {}
        })
        .await
    })?;
    print_line("to find such tasks, run echod with --warn-blocking 10ms")
}

/// Returns the two ends of a Unix socket. Bytes arrive immediately, even on a busy machine.
fn pair() -> io::Result<(Async<UnixStream>, unix::UnixStream)> {
    let (ours, peer) = unix::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((Async::new(UnixStream::from_std(ours))?, peer))
}

async fn read_byte(stream: &Async<UnixStream>) -> io::Result<usize> {
    stream.read_with(|mut stream| stream.read(&mut [0])).await
}

/// Reads byte by byte, and counts the reads. The bytes are there, so no read has to wait.
async fn read_flood(stream: Async<UnixStream>, reads: Rc<Cell<u32>>) -> io::Result<()> {
    while read_byte(&stream).await? > 0 {
        reads.set(reads.get() + 1);
    }
    Ok(())
}

async fn flood() -> io::Result<()> {
    let (ours, mut peer) = pair()?;
    peer.write_all(&[b'x'; 1 << 14])?;
    drop(peer);
    let reads = Rc::new(Cell::new(0));
    let reader = spawn(read_flood(ours, reads.clone()));
    let (ours, mut peer) = pair()?;
    let now = reads.clone();
    let neighbor = spawn(async move { read_byte(&ours).await.map(|_| now.get()) });
    // This returns when the neighbor waits, and the reader has spent its first budget.
    yield_now().await;
    scene::begin();
    let before = reads.get();
    peer.write_all(b"x")?;
    let between = neighbor.await.map_err(io::Error::other)?? - before;
    scene::end();
    let mut most = 0;
    while !reader.is_finished() {
        let before = reads.get();
        yield_now().await;
        most = most.max(reads.get() - before);
    }
    print_line(format_args!(
        "a task reads {} bytes that are already there, byte by byte:",
        reads.get()
    ))?;
    print_line(format_args!("    most reads before other tasks are polled: {most}"))?;
    print_line(format_args!("    reads while a neighbor's byte waits: {between}\n"))
}

/// Runs a greedy task beside one that waits for a timer and one that waits for a byte.
async fn beside(what: &str, greedy: impl Future<Output = ()> + 'static) -> io::Result<()> {
    let (ours, mut peer) = pair()?;
    let begin = Instant::now();
    let byte = spawn(async move { read_byte(&ours).await.map(|_| begin.elapsed().as_millis()) });
    let timer = spawn(async move {
        sleep(TIMER).await;
        begin.elapsed().as_millis()
    });
    // This returns when both wait.
    yield_now().await;
    peer.write_all(b"x")?;
    let greedy = spawn(greedy);
    let (byte, timer) =
        (byte.await.map_err(io::Error::other)??, timer.await.map_err(io::Error::other)?);
    greedy.abort();
    let is_late = |millis| millis >= COMPUTATION.as_millis();
    let how = match (is_late(byte), is_late(timer)) {
        (false, false) => "both on time",
        (true, true) => "both late",
        _ => "one on time, one late",
    };
    print_line(format_args!("    {what}: {how}; byte after {byte} ms, timer after {timer} ms"))
}
