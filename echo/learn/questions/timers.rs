//! The thread sleeps in one `epoll_wait` for everything. The nearest timer gives it its time-out;
//! all others, and all sockets, cost nothing meanwhile.
//!
//! When the wait ends, the reactor wakes whoever waited for the events that came, and whoever has a
//! timer that is due. No thread waits for a timer, and no timer has a descriptor.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use executor::block_on;
use futures_lite::future::zip;
use log::trace;
use reactor::io::AsyncReadExt;
use reactor::time::sleep;
use recorder::{Kind, OUTSIDE};

use crate::connection::{PATIENCE, connection};
use crate::ladder::{RECORDER, told_of};
use crate::{Question, say};

pub(crate) const QUESTION: Question =
    Question { text: "How do timers fit into one epoll_wait?", run };

/// The far one is late enough for a busy machine not to miss the near one until then.
const NEAR: Duration = Duration::from_millis(50);
const FAR: Duration = Duration::from_millis(300);

fn run() -> io::Result<()> {
    let mut threads = None;
    told_of(is_about_waiting, || {
        threads = block_on(three_waits())?;
        Ok(())
    })?;
    match threads {
        Some(threads) => say(format_args!("\nthreads, while three waits lasted: {threads}")),
        None => say("\nhow many threads there are, this system does not tell"),
    }
}

/// What the task waits for, how the thread waits, and what ends that.
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

/// One task that waits for two timers and a byte at once.
async fn three_waits() -> io::Result<Option<String>> {
    let (mut ours, peer) = connection()?;
    // So long that the kernel has reported of the new connection that there is room to write.
    sleep(Duration::from_millis(1)).await;
    RECORDER.start();
    let timers = async {
        zip(sleep(FAR), sleep(NEAR)).await;
        let threads = threads();
        send_when_it_sleeps(peer).map(|()| threads)
    };
    let (read, threads) = zip(ours.read(&mut [0; 16]), timers).await;
    read.and(threads)
}

/// Of this process, where Linux tells.
fn threads() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Threads:"))?;
    Some(line.trim().to_owned())
}

fn send_when_it_sleeps(mut peer: TcpStream) -> io::Result<()> {
    let own = peer.local_addr()?;
    let client = move || {
        RECORDER.wait_for_rest(PATIENCE);
        trace!(target: OUTSIDE, peer:% = own; "sends 1 byte");
        peer.write_all(b"x")?;
        // Until the server has gone: what it is told of shall be the byte, and no end-of-file.
        peer.read(&mut [0])
    };
    thread::Builder::new().name("client".to_owned()).spawn(client).map(drop)
}
