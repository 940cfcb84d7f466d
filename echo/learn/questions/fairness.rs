//! A socket that always has more would keep its task in one poll for ever. So a poll may complete
//! 128 operations and no more: then the task yields, and goes to the end of the run queue. Before
//! it comes again, the reactor looks for events: a neighbour waits for one such poll, or two.
//!
//! Tasks that only yield are as fair: between two rounds of the run queue the kernel and the timers
//! have their say. Nothing helps against a task that computes without awaiting anything: the budget
//! counts operations, not time.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::os::unix::net as unix;
use std::pin::pin;
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
        let begin = Instant::now();
        beside("computes, and awaits nothing", async move { while begin.elapsed() < LONG {} }).await
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

/// What the task with the flood has done so far.
#[derive(Default)]
struct Done {
    polls: Cell<u32>,
    reads: Cell<u32>,
    most_reads: Cell<u32>,
}

/// Reads byte by byte, and counts: so it always finds one more.
async fn drink(stream: Async<UnixStream>, done: Rc<Done>) -> io::Result<()> {
    let mut reading = pin!(async {
        while read_byte(&stream).await? > 0 {
            done.reads.set(done.reads.get() + 1);
        }
        Ok(())
    });
    poll_fn(|cx| {
        let before = done.reads.get();
        let polled = reading.as_mut().poll(cx);
        done.polls.set(done.polls.get() + 1);
        done.most_reads.set(done.most_reads.get().max(done.reads.get() - before));
        polled
    })
    .await
}

async fn flood() -> io::Result<()> {
    let ((ours, mut peer), (neighbour, mut its_peer)) = (pair()?, pair()?);
    peer.write_all(&[b'x'; 1 << 14])?;
    drop(peer);
    let done = Rc::new(Done::default());
    let drinking = spawn(drink(ours, done.clone()));
    let polls_of_other = done.clone();
    let neighbour = spawn(async move {
        read_byte(&neighbour).await?;
        io::Result::Ok(polls_of_other.polls.get())
    });
    // Now the neighbour waits, and the other one is in the midst of its flood.
    yield_now().await;
    let before = done.polls.get();
    its_peer.write_all(b"x")?;
    let between = neighbour.await.map_err(io::Error::other)?? - before;
    drinking.await.map_err(io::Error::other)??;
    let Done { reads, polls, most_reads } = &*done;
    say(format_args!("a flood of {} bytes, read byte by byte:", reads.get()))?;
    say(format_args!("    {} polls, of {} reads at most", polls.get(), most_reads.get()))?;
    say(format_args!("    a byte comes for its neighbour, who reads it {between} polls later"))
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
    let how = match (byte, timer) {
        (..150, ..150) => "both in time",
        (250.., 250..) => "both late",
        _ => "one in time, one late",
    };
    say(format_args!("    {what}: {how}; byte after {byte} ms, timer after {timer} ms"))
}
