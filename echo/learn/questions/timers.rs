//! The thread sleeps in one `epoll_wait` for all timers and sockets. The timeout of that call is
//! the time until the nearest deadline. Timers with later deadlines cost nothing until then.
//!
//! When `epoll_wait` returns, the reactor wakes the tasks that waited for the reported events, and
//! the tasks whose timers have expired. No timer needs a thread or a descriptor.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use executor::block_on;
use futures_lite::future::zip;
use log::trace;
use reactor::io::AsyncReadExt;
use reactor::time::MissedTickBehavior::{self, Burst, Delay, Skip};
use reactor::time::{interval, sleep};
use recorder::{Kind, OUTSIDE};

use crate::connection::{DEADLINE, connection};
use crate::ladder::{RECORDER, print_steps_of_kinds};
use crate::{Question, print_line};

pub(crate) const QUESTION: Question = Question {
    text: "How do timers fit into one epoll_wait, how precise are they, and what about missed ticks?",
    run,
};

/// The nearer deadline.
const NEAR: Duration = Duration::from_millis(50);

/// Interval of the ticks.
const TICK: Duration = Duration::from_millis(40);

/// How long the thread is blocked: for four ticks and a half.
const BLOCKED: Duration = Duration::from_millis(180);

/// The later deadline: so late that even a busy machine fires the near timer before it.
const FAR: Duration = Duration::from_millis(300);

fn run() -> io::Result<()> {
    let mut threads = None;
    print_steps_of_kinds(is_about_waiting, || {
        threads = block_on(three_waits())?;
        Ok(())
    })?;
    match threads {
        Some(threads) => print_line(format_args!("threads during the three waits: {threads}"))?,
        None => print_line("this OS does not report the number of threads")?,
    }
    block_on(async {
        precision().await?;
        print_line(format_args!(
            "ticks of {} ms, and {} ms of blocking; after that, the next ticks come",
            TICK.as_millis(),
            BLOCKED.as_millis()
        ))?;
        for behavior in [Burst, Delay, Skip] {
            missed_ticks(behavior).await?;
        }
        Ok(())
    })
}

/// Measures the shortest of a few short sleeps. It takes longer than requested, but never less.
async fn precision() -> io::Result<()> {
    let requested = Duration::from_micros(100);
    let mut shortest = Duration::MAX;
    for _ in 0..5 {
        let begin = Instant::now();
        sleep(requested).await;
        shortest = shortest.min(begin.elapsed());
    }
    let never_early = shortest >= requested;
    let (requested, shortest) = (requested.as_micros(), shortest.as_micros());
    print_line(format_args!(
        "a sleep of {requested} us took {shortest} us at least; never early: {never_early}"
    ))
}

/// Blocks the thread for some ticks, and prints when the next ticks come.
async fn missed_ticks(behavior: MissedTickBehavior) -> io::Result<()> {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(behavior);
    thread::sleep(BLOCKED);
    let begin = Instant::now();
    let mut after = Vec::new();
    for _ in 0..6 {
        ticks.tick().await;
        after.push(begin.elapsed().as_millis().to_string());
    }
    print_line(format_args!("    {:6} after {} ms", format!("{behavior:?}"), after.join(" ms, ")))
}

/// Whether a step shows what the task waits for, how the thread sleeps, or what ends the sleep.
fn is_about_waiting(kind: &Kind) -> bool {
    use Kind::{Event, Outside, Sleep, Store, TimerFired, TimerSet, Try};
    matches!(
        kind,
        Event { .. }
            | Outside { .. }
            | Sleep { .. }
            | Store { .. }
            | TimerFired
            | TimerSet { .. }
            | Try { .. }
    )
}

/// Waits in one task for two timers and a byte. Returns the number of threads during the wait.
async fn three_waits() -> io::Result<Option<String>> {
    let (mut ours, peer) = connection()?;
    // By then the kernel has reported the new connection as writable.
    sleep(Duration::from_millis(1)).await;
    RECORDER.start();
    let timers = async {
        zip(sleep(FAR), sleep(NEAR)).await;
        let threads = threads();
        send_when_asleep(peer).map(|()| threads)
    };
    let (read, threads) = zip(ours.read(&mut [0; 16]), timers).await;
    read.and(threads)
}

/// Returns the number of threads of this process, on Linux.
fn threads() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Threads:"))?;
    Some(line.trim().to_owned())
}

/// Sends a byte from another thread, as soon as the executor's thread sleeps in `epoll_wait`.
fn send_when_asleep(mut peer: TcpStream) -> io::Result<()> {
    let own = peer.local_addr()?;
    let client = move || {
        RECORDER.wait_until_asleep(DEADLINE);
        trace!(target: OUTSIDE, peer:% = own; "sends 1 byte");
        peer.write_all(b"x")?;
        // Stay until the server closes: the event must report the byte, and not an end of file.
        peer.read(&mut [0])
    };
    thread::Builder::new().name("client".to_owned()).spawn(client).map(drop)
}
