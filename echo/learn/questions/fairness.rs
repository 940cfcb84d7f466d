//! A socket that always has more would keep its task in one poll for ever. So a poll may complete
//! 128 operations and no more: then the task yields, and goes to the end of the run queue. Before
//! it comes again, the reactor looks for events: a neighbour waits for one such poll.
//!
//! Tasks that only yield are as fair: after each yield the kernel and the timers have their say.
//! Nothing helps against a task that computes without awaiting anything: the budget counts
//! operations, not time.

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

use crate::{Question, say};

pub(crate) const QUESTION: Question =
    Question { text: "Who starves, who is fair, and what is the budget?", run };

/// The timer beside the greedy tasks.
const SOON: Duration = Duration::from_millis(20);

/// How long one of them computes.
const LONG: Duration = Duration::from_millis(300);

fn run() -> io::Result<()> {
    block_on(async {
        flood().await?;
        say(format_args!("a byte, and a timer of {} ms, beside a task that", SOON.as_millis()))?;
        beside("yields all the time", async {
            loop {
                yield_now().await;
            }
        })
        .await?;
        beside("computes, awaits nothing", async {
            let begin = Instant::now();
            while begin.elapsed() < LONG {}
        })
        .await
    })?;
    say("which of one's own tasks do that, echod tells: --warn-blocking 10ms")
}

/// Two ends of a Unix socket: what is sent is there at once, on a busy machine too.
fn pair() -> io::Result<(Async<UnixStream>, unix::UnixStream)> {
    let (ours, peer) = unix::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((Async::new(UnixStream::from_std(ours))?, peer))
}

async fn read_byte(stream: &Async<UnixStream>) -> io::Result<usize> {
    stream.read_with(|mut stream| stream.read(&mut [0])).await
}

/// Reads byte by byte, and counts. It never has to wait.
async fn drink(stream: Async<UnixStream>, reads: Rc<Cell<u32>>) -> io::Result<()> {
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
    let drinking = spawn(drink(ours, reads.clone()));
    let (ours, mut peer) = pair()?;
    let now = reads.clone();
    let neighbour = spawn(async move { read_byte(&ours).await.map(|_| now.get()) });
    // When this returns, the neighbour waits, and the other one is in the midst of its flood.
    yield_now().await;
    let before = reads.get();
    peer.write_all(b"x")?;
    let between = neighbour.await.map_err(io::Error::other)?? - before;
    let mut most = 0;
    while !drinking.is_finished() {
        let before = reads.get();
        yield_now().await;
        most = most.max(reads.get() - before);
    }
    say(format_args!("a flood of {} bytes, and a task that reads byte by byte:", reads.get()))?;
    say(format_args!("    the most that it reads before others have their turn: {most}"))?;
    say(format_args!("    from the coming of a neighbour's byte until that is read: {between}\n"))
}

/// Runs a greedy task beside one that waits for a timer and one that waits for a byte.
async fn beside(what: &str, greedy: impl Future<Output = ()> + 'static) -> io::Result<()> {
    let (ours, mut peer) = pair()?;
    let begin = Instant::now();
    let byte = spawn(async move { read_byte(&ours).await.map(|_| begin.elapsed().as_millis()) });
    let timer = spawn(async move {
        sleep(SOON).await;
        begin.elapsed().as_millis()
    });
    // When this returns, both wait.
    yield_now().await;
    peer.write_all(b"x")?;
    let greedy = spawn(greedy);
    let (byte, timer) =
        (byte.await.map_err(io::Error::other)??, timer.await.map_err(io::Error::other)?);
    greedy.abort();
    let is_late = |millis| millis >= LONG.as_millis();
    let how = match (is_late(byte), is_late(timer)) {
        (false, false) => "both in time",
        (true, true) => "both late",
        _ => "one in time, one late",
    };
    say(format_args!("    {what}: {how}; byte after {byte} ms, timer after {timer} ms"))
}
