//! Our executor inside a foreign event loop, one that waits in `poll(2)` for descriptors of its own.
//!
//! The reactor is one descriptor more to it, and its next deadline a time-out. `tick` runs a round
//! of tasks without sleeping, and tells whether some are queued already for the next one.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use executor::Executor;
use reactor::blocking::unblock;
use reactor::time::sleep;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// How long the loop may sleep, if no descriptor ends it sooner.
fn time_out(executor: &Executor, queued: bool) -> Option<Timespec> {
    let now = Instant::now();
    let due = if queued { Some(now) } else { executor.reactor().next_deadline() };
    let left = due.map(|due| due.saturating_duration_since(now));
    left.map(|left| left.try_into().expect("less than the age of the universe"))
}

/// Which of the two is readable: the reactor, and the loop's own pipe.
fn wait(reactor: impl AsFd, pipe: impl AsFd, time_out: Option<Timespec>) -> io::Result<[bool; 2]> {
    let mut both = [PollFd::new(&reactor, PollFlags::IN), PollFd::new(&pipe, PollFlags::IN)];
    match poll(&mut both, time_out.as_ref()) {
        Err(Errno::INTR) => Ok([false; 2]),
        result => result.map(|_| both.map(|one| !one.revents().is_empty())).map_err(Into::into),
    }
}

async fn work() -> &'static str {
    sleep(Duration::from_millis(5)).await;
    println!("a task: a timer has ended");
    unblock(|| "a task: a job on another thread has ended").await
}

fn main() -> io::Result<()> {
    let executor = Executor::new()?;
    let task = executor.spawn(work());
    let (mut pipe, mut far_end) = io::pipe()?;
    let thread = thread::spawn(move || far_end.write_all(b"hello").map(|()| far_end));
    let mut heard = false;
    loop {
        let queued = executor.tick();
        if task.is_finished() && heard {
            break;
        }
        let [_, own] = wait(executor.reactor(), &pipe, time_out(&executor, queued))?;
        if own {
            let mut bytes = [0; 5];
            pipe.read_exact(&mut bytes)?;
            println!("the loop: its own pipe has said {}", String::from_utf8_lossy(&bytes));
            heard = true;
        }
    }
    println!("{}", executor.block_on(task).map_err(io::Error::other)?);
    thread.join().expect("it does not panic").map(drop)
}
