//! All tasks share one thread. A call that blocks it, and a computation too, stops everybody: no
//! task is polled, no event is fetched, no timer fires, until it returns.
//!
//! There is a cure for each: the async version of the call; without one, a thread of the blocking
//! pool (`unblock`, `spawn_blocking`); and a computation goes there too, or yields often, for
//! after each yield events are fetched, and a timer or a socket waits for one part at most.

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, Read, Write};
use std::net;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use executor::{block_on, spawn, yield_now};
use reactor::blocking::unblock;
use reactor::io::AsyncReadExt;
use reactor::net::TcpStream;
use reactor::time::{interval, sleep};

use crate::connection::sockets;
use crate::{Question, say};

pub(crate) const QUESTION: Question =
    Question { text: "What does one blocking call do to everyone?", run };

/// How long each of the calls takes.
const SLOW: Duration = Duration::from_millis(300);

fn run() -> io::Result<()> {
    say(format_args!("A task ticks. Beside it, for {} ms:", SLOW.as_millis()))?;
    block_on(async {
        beside("thread::sleep", async { thread::sleep(SLOW) }).await?;
        beside("time::sleep", sleep(SLOW)).await?;
        let stream = slow_peer()?;
        beside("read of a socket of std", async { read(stream) }).await?;
        let stream = slow_peer()?;
        beside("the same in unblock", unblock(|| read(stream))).await?;
        let mut stream = TcpStream::from_std(slow_peer()?)?;
        beside("read of a socket of reactor", stream.read(&mut [0])).await?;
        beside("a computation", compute(Duration::MAX)).await?;
        beside("the same, yields each ms", compute(Duration::from_millis(1))).await
    })
}

/// A socket whose peer sends a byte, but late.
fn slow_peer() -> io::Result<net::TcpStream> {
    let (mut peer, ours) = sockets()?;
    thread::spawn(move || {
        thread::sleep(SLOW);
        peer.write_all(b"x")
    });
    Ok(ours)
}

fn read(mut stream: net::TcpStream) -> io::Result<usize> {
    stream.read(&mut [0])
}

async fn compute(yields_each: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < SLOW {
        let part = Instant::now();
        while part.elapsed() < yields_each && begin.elapsed() < SLOW {}
        yield_now().await;
    }
}

/// Runs it beside a task that ticks, and says how that one fared.
async fn beside<T>(what: &str, slow: impl Future<Output = T>) -> io::Result<()> {
    let ticks = Rc::new(RefCell::new(vec![Instant::now()]));
    let ticker = spawn(tick(ticks.clone()));
    // When this returns, the ticker has set its first timer.
    yield_now().await;
    slow.await;
    ticker.abort();
    let mut ticks = ticks.take();
    ticks.push(Instant::now());
    let gaps = ticks.windows(2).map(|pair| (pair[1] - pair[0]).as_millis());
    let longest = gaps.max().unwrap_or_default();
    // Not told by the gap: a busy machine makes one too.
    let ticks = ticks.len() - 2;
    let others = if ticks == 0 { "all stops" } else { "all goes on" };
    say(format_args!("    {what:28} {others:11}  {ticks} ticks, longest gap {longest} ms"))
}

async fn tick(ticks: Rc<RefCell<Vec<Instant>>>) {
    let mut interval = interval(Duration::from_millis(10));
    loop {
        interval.tick().await;
        ticks.borrow_mut().push(Instant::now());
    }
}
