//! A future that is dropped has never finished, and nothing of it runs any more: that is all there
//! is to cancelling, and to a time-out.
//!
//! What is lost is what only the future knew. `read` moves bytes only when it is done: nothing.
//! `read_exact` knows how many bytes it has: they are gone from the stream. Keep such a future, and
//! go on polling it. A task and a job on another thread are not part of the future that waits for
//! them: they go on, unless told otherwise.

use std::cell::Cell;
use std::io::{self, Write};
use std::pin::pin;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::time::Duration;

use executor::{block_on, spawn, yield_now};
use reactor::blocking::unblock;
use reactor::io::AsyncReadExt;
use reactor::time::{sleep, timeout};

use crate::connection::{PATIENCE, connection};
use crate::{Question, say};

pub(crate) const QUESTION: Question =
    Question { text: "What if a future is dropped half way?", run };

/// Nobody sends so long.
const SHORT: Duration = Duration::from_millis(20);

fn run() -> io::Result<()> {
    block_on(async {
        reads().await?;
        tasks().await?;
        job().await
    })
}

async fn reads() -> io::Result<()> {
    let (mut ours, mut peer) = connection()?;
    let mut buffer = [0; 16];
    let read = timeout(SHORT, ours.read(&mut buffer)).await;
    peer.write_all(b"a")?;
    let bytes = ours.read(&mut buffer).await?;
    say(format_args!("read: {read:?}; then the peer sends \"a\""))?;
    say(format_args!("    the next read gets \"{}\"", buffer[..bytes].escape_ascii()))?;

    peer.write_all(b"ab")?;
    // Waits until they are there, and takes nothing.
    ours.peek(&mut buffer).await?;
    let read = timeout(SHORT, ours.read_exact(&mut [0; 4])).await;
    peer.write_all(b"cd")?;
    let bytes = ours.read(&mut buffer).await?;
    say(format_args!("read_exact of 4, and \"ab\" has come: {read:?}; then \"cd\""))?;
    say(format_args!("    the next read gets \"{}\"", buffer[..bytes].escape_ascii()))?;

    peer.write_all(b"ab")?;
    ours.peek(&mut buffer).await?;
    let mut four = [0; 4];
    let mut read = pin!(ours.read_exact(&mut four));
    let first = timeout(SHORT, read.as_mut()).await;
    peer.write_all(b"cd")?;
    read.await?;
    say(format_args!("the same, pinned and kept: {first:?}; then \"cd\""))?;
    say(format_args!("    awaited again, it gets \"{}\"", four.escape_ascii()))
}

async fn tasks() -> io::Result<()> {
    let has_run = Rc::new(Cell::new(false));
    let ran = has_run.clone();
    drop(spawn(async move {
        yield_now().await;
        ran.set(true);
    }));
    yield_now().await;
    yield_now().await;
    let how = if has_run.get() { "runs to its end" } else { "does not run to its end" };
    say(format_args!("a task whose handle is dropped {how}"))?;

    let held = Rc::new(());
    let holds = held.clone();
    let task = spawn(async move {
        let _holds = holds;
        sleep(PATIENCE).await;
    });
    yield_now().await;
    task.abort();
    let cancelled = task.await.is_err_and(|error| error.is_cancelled());
    let how = if Rc::strong_count(&held) == 1 { "drops" } else { "keeps" };
    say(format_args!("a task that is aborted {how} all it held; is_cancelled: {cancelled}"))
}

async fn job() -> io::Result<()> {
    let (go_on, told) = channel::<()>();
    let (done, ended) = channel();
    let job = move || {
        let _ = told.recv_timeout(PATIENCE);
        let _ = done.send(());
    };
    let waited = timeout(SHORT, unblock(job)).await;
    let before = ended.try_recv().is_ok();
    go_on.send(()).map_err(io::Error::other)?;
    let after = unblock(move || ended.recv_timeout(PATIENCE)).await.is_ok();
    say(format_args!("unblock: {waited:?}; has its job ended? then {before}, later {after}"))
}
