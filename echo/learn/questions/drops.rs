//! Dropping a future is all there is to cancellation, and to a timeout: none of its code runs any
//! more.
//!
//! What only the future knew is lost. A pending `read` has moved no bytes, so nothing is lost. A
//! pending `read_exact` may have taken bytes from the stream, and they are lost with it. To keep
//! them, keep the future and poll it again. A spawned task is not part of the future that waits for
//! it, so it continues.

use std::cell::Cell;
use std::io::{self, Write};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use executor::{block_on, spawn, yield_now};
use futures_lite::future::or;
use reactor::io::AsyncReadExt;
use reactor::time::{sleep, timeout};

use crate::connection::{DEADLINE, connection};
use crate::{Question, print_line};

pub(crate) const QUESTION: Question = Question {
    text: "What happens to a future that is dropped half way: timeout, select, abort?",
    run,
};

/// The peer sends nothing before this timeout.
const TIMEOUT: Duration = Duration::from_millis(20);

fn run() -> io::Result<()> {
    block_on(async {
        reads().await?;
        select().await?;
        tasks().await
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

/// Prints that it is dropped.
struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        // Ignore the error: the next `print_line` of the program returns it too.
        let _ = print_line("    its destructors run");
    }
}

async fn select() -> io::Result<()> {
    print_line("select: the loser has done its first step, and waits to do its second")?;
    let steps = Cell::new(0);
    let loser = async {
        let _guard = Guard;
        steps.set(1);
        sleep(DEADLINE).await;
        steps.set(2);
    };
    or(loser, sleep(TIMEOUT)).await;
    print_line(format_args!("    it is dropped; steps that it has done: {}", steps.get()))
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
    let how = if has_run.get() { "continues" } else { "does not continue" };
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
