//! `await` waits: the next line runs when the future is ready. Futures run concurrently if one task
//! polls them in turn (join), or if each has a task of its own (`spawn`). Both use one thread, so a
//! call that blocks it stops all of them. Only more threads run such calls in parallel.
//!
//! A server that awaits one client inside its accept loop therefore makes all other clients wait.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use executor::{JoinSet, block_on, spawn};
use futures_lite::future::zip;
use reactor::blocking::unblock;
use reactor::io::{AsyncReadExt, AsyncWriteExt};
use reactor::net::{TcpListener, TcpStream};
use reactor::time::sleep;

use crate::{Question, print_line, scene};

pub(crate) const QUESTION: Question = Question {
    text: "What runs concurrently and what one after the other: await, join, spawn, threads?",
    run,
};

/// How long each of the three parts takes.
const PAUSE: Duration = Duration::from_millis(50);

/// How many parts have begun and not ended.
static NOW: AtomicUsize = AtomicUsize::new(0);

/// The largest value of [`NOW`] since the last line was printed.
static MOST: AtomicUsize = AtomicUsize::new(0);

fn run() -> io::Result<()> {
    block_on(async {
        print_line("three async blocks, each waits for 50 ms:")?;
        show("awaited in turn", async {
            let parts = [wait(), wait(), wait()];
            for part in parts {
                part.await;
            }
        })
        .await?;
        show("joined in one task", join(wait)).await?;
        show("spawned, then awaited in turn", spawn_each(wait)).await?;
        print_line("three async blocks, each blocks its thread for 50 ms:")?;
        let blocks = || async { block() };
        show("joined in one task", join(blocks)).await?;
        show("spawned", spawn_each(blocks)).await?;
        show("each on a thread of the pool", join(|| unblock(block))).await?;
        print_line("three clients, each answers after 50 ms; the accept loop")?;
        show("awaits each client", async { drop(serve(false).await) }).await?;
        scene::begin();
        show("spawns a task for each client", async { drop(serve(true).await) }).await
    })
}

/// Runs `parts`, and prints whether any two of them overlapped.
async fn show(what: &str, parts: impl Future<Output = ()>) -> io::Result<()> {
    MOST.store(0, Ordering::Relaxed);
    let begin = Instant::now();
    parts.await;
    let millis = begin.elapsed().as_millis();
    let is_concurrent = MOST.load(Ordering::Relaxed) > 1;
    let how = if is_concurrent { "concurrently" } else { "one after the other" };
    print_line(format_args!("    {what:32} {how:20} {millis} ms"))
}

/// One part: it has begun when this is created, and ends when this is dropped.
struct Part;

impl Part {
    fn begin() -> Part {
        let now = NOW.fetch_add(1, Ordering::Relaxed) + 1;
        MOST.fetch_max(now, Ordering::Relaxed);
        Part
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        NOW.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn wait() {
    let _part = Part::begin();
    sleep(PAUSE).await;
}

fn block() {
    let _part = Part::begin();
    thread::sleep(PAUSE);
}

async fn join<F: Future<Output = ()>>(part: impl Fn() -> F) {
    zip(zip(part(), part()), part()).await;
}

async fn spawn_each<F: Future<Output = ()> + 'static>(part: impl Fn() -> F) {
    for task in [spawn(part()), spawn(part()), spawn(part())] {
        task.await.expect("a part does not panic");
    }
}

/// Serves three clients: each in a task of its own, or one after the other.
async fn serve(spawns: bool) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (mut clients, mut served) = (JoinSet::new(), JoinSet::new());
    for _ in 0..3 {
        clients.spawn(answer(listener.local_addr()?));
    }
    for _ in 0..3 {
        let (stream, _) = listener.accept().await?;
        match spawns {
            true => drop(served.spawn(ask(stream))),
            false => ask(stream).await?,
        }
    }
    while served.join_next().await.is_some() {}
    Ok(())
}

async fn ask(mut stream: TcpStream) -> io::Result<()> {
    let _part = Part::begin();
    stream.write_all(b"?").await?;
    stream.read_exact(&mut [0]).await
}

async fn answer(server: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(server).await?;
    stream.read_exact(&mut [0]).await?;
    sleep(PAUSE).await;
    stream.write_all(b"!").await
}
