//! All tasks share one thread. While one task blocks it, with a blocking call or a long
//! computation, no other task is polled, no event is fetched, and no timer fires.
//!
//! A timeout does not help: it is checked between two polls, and the poll does not return.
//!
//! A blocking call has two cures: call its async version, or run it on the thread pool (`unblock`,
//! `spawn_blocking`). A computation can run on the thread pool too, or yield often. After each yield
//! events are fetched and timers fire, so they are late by one part of the computation at most.

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
use reactor::time::{interval, sleep, timeout};

use crate::connection::sockets;
use crate::{Question, print_line, scene};

pub(crate) const QUESTION: Question = Question {
    text: "What does one blocking call do to all tasks, and why does no timeout stop it?",
    run,
};

/// How long each call or computation takes.
const SLOW: Duration = Duration::from_millis(300);

/// A limit that is shorter than the calls.
const TIMEOUT: Duration = Duration::from_millis(50);

/// Interval of the task that runs beside it.
const TICK: Duration = Duration::from_millis(10);

fn run() -> io::Result<()> {
    let (tick, slow) = (TICK.as_millis(), SLOW.as_millis());
    print_line(format_args!("one task ticks every {tick} ms; another one takes {slow} ms for"))?;
    block_on(async {
        scene::begin();
        beside("thread::sleep", async { thread::sleep(SLOW) }).await?;
        beside("time::sleep", sleep(SLOW)).await?;
        let stream = slow_peer()?;
        beside("read of a std socket", async { read(stream) }).await?;
        let stream = slow_peer()?;
        beside("the same, in unblock", unblock(|| read(stream))).await?;
        let mut stream = TcpStream::from_std(slow_peer()?)?;
        beside("read of a reactor socket", stream.read(&mut [0])).await?;
        beside("a computation", compute(Duration::MAX)).await?;
        beside("the same, yielding each ms", compute(Duration::from_millis(1))).await?;
        print_line(format_args!("the same, in a timeout of {} ms", TIMEOUT.as_millis()))?;
        limited("thread::sleep", async { thread::sleep(SLOW) }).await?;
        limited("thread::sleep, in unblock", unblock(|| thread::sleep(SLOW))).await?;
        limited("a computation, yielding each ms", compute(Duration::from_millis(1))).await
    })
}

/// Returns a socket whose peer sends a byte after [`SLOW`].
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

/// Computes for [`SLOW`], and yields whenever it has computed for `part`.
async fn compute(part: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < SLOW {
        let part_begin = Instant::now();
        while part_begin.elapsed() < part && begin.elapsed() < SLOW {}
        yield_now().await;
    }
}

/// Runs `slow` beside a task that ticks, and prints how that task was affected.
async fn beside<T>(what: &str, slow: impl Future<Output = T>) -> io::Result<()> {
    let ticks = Rc::new(RefCell::new(vec![Instant::now()]));
    let ticker = spawn(tick(ticks.clone()));
    // This returns after the ticker has set its first timer.
    yield_now().await;
    slow.await;
    ticker.abort();
    let mut ticks = ticks.take();
    ticks.push(Instant::now());
    let gaps = ticks.windows(2).map(|pair| (pair[1] - pair[0]).as_millis());
    let longest = gaps.max().unwrap_or_default();
    // A long gap alone proves nothing, because a busy machine causes one too.
    let ticks = ticks.len() - 2;
    let others = if ticks == 0 { "others stop" } else { "others run" };
    print_line(format_args!("    {what:28} {others:11}  {ticks} ticks, longest gap {longest} ms"))
}

/// Prints how `slow` ends when a timeout is around it.
async fn limited(what: &str, slow: impl Future<Output = ()>) -> io::Result<()> {
    let begin = Instant::now();
    let result = timeout(TIMEOUT, slow).await;
    let millis = begin.elapsed().as_millis();
    print_line(format_args!("    {what:32} {:16} after {millis} ms", format!("{result:?}")))
}

async fn tick(ticks: Rc<RefCell<Vec<Instant>>>) {
    let mut interval = interval(TICK);
    loop {
        interval.tick().await;
        ticks.borrow_mut().push(Instant::now());
    }
}
