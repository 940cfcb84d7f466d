//! Our executor inside the host's event loop, which waits in `poll(2)` for its own descriptors.
//!
//! The reactor adds one descriptor to that loop, and its next deadline adds a timeout. `tick` runs
//! a round of tasks without sleeping. It returns whether tasks are queued for the next round.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use executor::Executor;
use reactor::blocking::unblock;
use reactor::time::sleep;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Returns how long the loop may sleep unless a descriptor becomes ready.
fn timeout(executor: &Executor, queued: bool) -> Option<Timespec> {
    let now = Instant::now();
    let due = if queued { Some(now) } else { executor.reactor().next_deadline() };
    let left = due.map(|due| due.saturating_duration_since(now));
    left.map(|left| left.try_into().expect("the timeout fits into a `Timespec`"))
}

/// Waits, and returns whether the reactor and the loop's own pipe are readable.
fn wait(reactor: impl AsFd, pipe: impl AsFd, timeout: Option<Timespec>) -> io::Result<[bool; 2]> {
    let mut both = [PollFd::new(&reactor, PollFlags::IN), PollFd::new(&pipe, PollFlags::IN)];
    match poll(&mut both, timeout.as_ref()) {
        Err(Errno::INTR) => Ok([false; 2]),
        result => result.map(|_| both.map(|one| !one.revents().is_empty())).map_err(Into::into),
    }
}

async fn work() -> &'static str {
    sleep(Duration::from_millis(5)).await;
    println!("a task: a timer has fired");
    unblock(|| "a task: a job on another thread has completed").await
}

fn main() -> io::Result<()> {
    let executor = Executor::new()?;
    let task = executor.spawn(work());
    let (mut pipe, mut far_end) = io::pipe()?;
    let thread = thread::spawn(move || far_end.write_all(b"hello").map(|()| far_end));
    let mut received = false;
    loop {
        let queued = executor.tick();
        if task.is_finished() && received {
            break;
        }
        let [_, pipe_ready] = wait(executor.reactor(), &pipe, timeout(&executor, queued))?;
        if pipe_ready {
            let mut bytes = [0; 5];
            pipe.read_exact(&mut bytes)?;
            println!("the loop: its own pipe has received {}", String::from_utf8_lossy(&bytes));
            received = true;
        }
    }
    println!("{}", executor.block_on(task).map_err(io::Error::other)?);
    thread.join().expect("the thread does not panic").map(drop)
}
