//! Stage 4: what a hundred timers cost, and how a task could wait for a byte.

mod executor;
mod reactor;

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use executor::{block_on, spawn};
use reactor::sleep;

const PAUSE: Duration = Duration::from_millis(20);

pub(crate) fn main() -> io::Result<()> {
    block_on(async {
        (0..100).for_each(|_| spawn(sleep(PAUSE)));
        spawn(async { println!("works now: threads while 100 tasks sleep: {}", threads()) });
    });

    let (mut socket, mut peer) = UnixStream::pair()?;
    socket.set_nonblocking(true)?;
    thread::spawn(move || {
        thread::sleep(PAUSE);
        peer.write_all(b"!")
    });
    block_on(async move {
        let mut calls = 1;
        while socket.read(&mut [0]).is_err() {
            calls += 1;
            sleep(Duration::from_millis(1)).await;
        }
        println!("still wrong: calls of `read` until a byte came after 20 ms: about {calls}");
    });
    Ok(())
}

/// Returns the number of threads of this process.
fn threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}
