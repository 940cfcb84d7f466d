//! Dropping a future is all there is to cancellation, and to a timeout: none of its code runs any
//! more.
//!
//! What only the future knew is lost. A pending `read` has moved no bytes, so nothing is lost. A
//! pending `read_exact` may have taken bytes from the stream, and they are lost with it. To keep
//! them, keep the future and poll it again. A spawned task and a job of the thread pool are not
//! part of the future that waits for them, so they continue.

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

use crate::connection::{DEADLINE, connection};
use crate::{Question, print_line};

pub(crate) const QUESTION: Question =
    Question { text: "What is lost if a future is dropped before it completes?", run };

/// The peer sends nothing before this timeout.
const TIMEOUT: Duration = Duration::from_millis(20);

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
    let read = timeout(TIMEOUT, ours.read(&mut buffer)).await;
    peer.write_all(b"a")?;
    let bytes = ours.read(&mut buffer).await?;
    print_line(format_args!("read: {read:?}; then the peer sends \"a\""))?;
    print_line(format_args!("    the next read gets \"{}\"", buffer[..bytes].escape_ascii()))?;

    peer.write_all(b"ab")?;
    // Wait for the bytes, but leave them in the socket.
    ours.peek(&mut buffer).await?;
    let read = timeout(TIMEOUT, ours.read_exact(&mut [0; 4])).await;
    peer.write_all(b"cd")?;
    let bytes = ours.read(&mut buffer).await?;
    print_line(format_args!("read_exact of 4 bytes gets \"ab\": {read:?}; then \"cd\""))?;
    print_line(format_args!("    the next read gets \"{}\"", buffer[..bytes].escape_ascii()))?;

    peer.write_all(b"ab")?;
    ours.peek(&mut buffer).await?;
    let mut four = [0; 4];
    let mut read = pin!(ours.read_exact(&mut four));
    let first = timeout(TIMEOUT, read.as_mut()).await;
    peer.write_all(b"cd")?;
    read.await?;
    print_line(format_args!("the same, but the future is kept: {first:?}; then \"cd\""))?;
    print_line(format_args!("    awaited again, the future gets \"{}\"", four.escape_ascii()))
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
    let how = if has_run.get() { "runs to completion" } else { "does not run to completion" };
    print_line(format_args!("a task whose handle is dropped {how}"))?;

    let owned = Rc::new(());
    let owns = owned.clone();
    let task = spawn(async move {
        let _owns = owns;
        sleep(DEADLINE).await;
    });
    yield_now().await;
    task.abort();
    let cancelled = task.await.is_err_and(|error| error.is_cancelled());
    let how = if Rc::strong_count(&owned) == 1 { "drops" } else { "keeps" };
    print_line(format_args!("an aborted task {how} all that it owns; is_cancelled: {cancelled}"))
}

async fn job() -> io::Result<()> {
    let (finish, finish_requested) = channel::<()>();
    let (done, ended) = channel();
    let job = move || {
        let _ = finish_requested.recv_timeout(DEADLINE);
        let _ = done.send(());
    };
    let waited = timeout(TIMEOUT, unblock(job)).await;
    let before = ended.try_recv().is_ok();
    finish.send(()).map_err(io::Error::other)?;
    let after = unblock(move || ended.recv_timeout(DEADLINE)).await.is_ok();
    print_line(format_args!(
        "unblock: {waited:?}; job completed: {before}; some time later: {after}"
    ))
}
