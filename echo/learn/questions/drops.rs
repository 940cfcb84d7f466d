//! A future that is dropped has never finished, and nothing of it runs any more: that is all there
//! is to cancelling, and to a time-out.
//!
//! What is lost is what only the future knew. `read` moves bytes only when it is done: nothing.
//! `read_exact` knows how many bytes it has: they are gone from the stream. Keep such a future, and
//! go on polling it. A task and a job on another thread are not part of the future that waits for
//! them: they go on, unless told otherwise.

use std::borrow::Cow;
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

use crate::peer::{PATIENCE, connection};
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
    say(format_args!(
        "read, for {} ms: {}; then the peer sends \"a\"",
        SHORT.as_millis(),
        ended(&read)
    ))?;
    say(format_args!("    the next read gets {:?}", text(&buffer[..bytes])))?;

    peer.write_all(b"ab")?;
    // So that both are there: this one takes nothing.
    ours.peek(&mut buffer).await?;
    let read = timeout(SHORT, ours.read_exact(&mut [0; 4])).await;
    peer.write_all(b"cd")?;
    let bytes = ours.read(&mut buffer).await?;
    say(format_args!("read_exact of 4, with \"ab\": {}; then \"cd\"", ended(&read)))?;
    say(format_args!("    the next read gets {:?}", text(&buffer[..bytes])))?;

    peer.write_all(b"ab")?;
    ours.peek(&mut buffer).await?;
    let mut four = [0; 4];
    let mut read = pin!(ours.read_exact(&mut four));
    let first = timeout(SHORT, read.as_mut()).await;
    peer.write_all(b"cd")?;
    read.await?;
    say(format_args!("the same, pinned and kept: {}; then \"cd\"", ended(&first)))?;
    say(format_args!("    awaited again, it gets {:?}", text(&four)))
}

fn ended<T, E>(result: &Result<T, E>) -> &'static str {
    if result.is_ok() { "in time" } else { "too late" }
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
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

    let ours = Rc::new(());
    let its = ours.clone();
    let task = spawn(async move {
        let _its = its;
        sleep(PATIENCE).await;
    });
    yield_now().await;
    let before = Rc::strong_count(&ours);
    task.abort();
    let freed = before - Rc::strong_count(&ours);
    let how =
        if task.await.is_err_and(|error| error.is_cancelled()) { "cancelled" } else { "done" };
    say(format_args!("a task that is aborted is {how}; what it held is dropped: {freed} of 1"))
}

async fn job() -> io::Result<()> {
    let (go_on, told) = channel::<()>();
    let (done, ended) = channel();
    let job = move || {
        let _ = told.recv_timeout(PATIENCE);
        done.send(()).expect("somebody listens")
    };
    let waited = timeout(SHORT, unblock(job)).await;
    let too_early = ended.try_recv().is_ok();
    go_on.send(()).map_err(io::Error::other)?;
    let after = unblock(move || ended.recv_timeout(PATIENCE)).await;
    let how = if !too_early && after.is_ok() { "runs on to its end" } else { "does not" };
    say(format_args!("unblock: {}; its job {how}", self::ended(&waited)))
}
