//! Stage 8: where results and panics go, what `block_on` drops, and which task is greedy.

#[path = "../7/executor.rs"]
mod executor;
mod join;
#[path = "../6/reactor.rs"]
mod reactor;

use std::cell::Cell;
use std::future::pending;
use std::io::{self, Read, Write};
use std::panic::resume_unwind;
use std::rc::Rc;
use std::time::Duration;

use join::{block_on, spawn};
use mio::net::UnixStream;
use reactor::{Async, sleep};

const PAUSE: Duration = Duration::from_millis(20);

pub(crate) fn main() -> io::Result<()> {
    let completed = block_on(async {
        let handles: Vec<_> = (1..=10).map(|number| spawn(task(number))).collect();
        let mut completed = 0;
        for handle in handles {
            completed += u32::from(handle.await.is_ok());
        }
        completed
    });
    println!("works now: one task of ten panicked; completed: {completed}");

    let alive = Rc::new(());
    let waits_forever = |alive| async move { pending::<Rc<()>>().await == alive };
    let tasks: Vec<_> = (0..3).map(|_| waits_forever(alive.clone())).collect();
    block_on(async { tasks.into_iter().for_each(|task| drop(spawn(task))) });
    let left = Rc::strong_count(&alive) - 1;
    println!("works now: of 3 waiting tasks, `block_on` left behind: {left}");

    let (socket, mut peer) = UnixStream::pair()?;
    peer.write_all(&[b'!'; 10_000])?;
    let reads = Rc::new(Cell::new(0));
    let reads = block_on(async move {
        drop(spawn(read_all(socket, reads.clone())));
        spawn(async move { reads.get() }).await
    });
    println!(
        "still wrong: reads of one task until the next task is polled: {}",
        reads.unwrap_or(0)
    );
    Ok(())
}

/// Waits, then completes or, if it is the fifth, panics.
async fn task(number: u32) {
    sleep(PAUSE).await;
    if number == 5 {
        // This is a panic without a message on the terminal.
        resume_unwind(Box::new("the fifth task"));
    }
}

/// Reads bytes one by one, and counts them.
async fn read_all(socket: UnixStream, reads: Rc<Cell<u32>>) -> io::Result<()> {
    let mut socket = Async::new(socket)?;
    while socket.read_with(|socket| socket.read(&mut [0])).await? > 0 {
        reads.set(reads.get() + 1);
    }
    Ok(())
}
