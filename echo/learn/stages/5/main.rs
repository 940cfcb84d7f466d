//! Stage 5: readiness without futures, on bare mio.

use std::io::{self, ErrorKind, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use mio::net::UnixStream;
use mio::{Events, Interest, Poll, Token};

const PAUSE: Duration = Duration::from_millis(20);

/// Waits for events, and calls `handle` for each with the socket that it concerns. Returns the
/// number of events after a while without any.
fn event_loop(
    sockets: &mut [UnixStream],
    mut handle: impl FnMut(&mut UnixStream) -> io::Result<()>,
) -> io::Result<usize> {
    let mut poll = Poll::new()?;
    for (key, socket) in sockets.iter_mut().enumerate() {
        poll.registry().register(socket, Token(key), Interest::READABLE)?;
    }
    let (mut events, mut count) = (Events::with_capacity(64), 0);
    loop {
        // This is the only place where the thread waits, and it waits for all sockets.
        poll.poll(&mut events, Some(2 * PAUSE))?;
        if events.is_empty() {
            return Ok(count);
        }
        for event in &events {
            count += 1;
            // An event only says which socket to try.
            handle(&mut sockets[event.token().0])?;
        }
    }
}

/// Reads until nothing is left. Returns the number of bytes.
fn read_until_would_block(socket: &mut UnixStream) -> io::Result<usize> {
    let mut bytes = 0;
    loop {
        match socket.read(&mut [0; 16]) {
            Ok(0) => return Ok(bytes),
            Ok(read) => bytes += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(bytes),
            Err(error) => return Err(error),
        }
    }
}

pub(crate) fn main() -> io::Result<()> {
    for until_would_block in [false, true] {
        let (socket, mut peer) = UnixStream::pair()?;
        peer.write_all(&[b'!'; 100])?;
        let mut bytes = 0;
        let events = event_loop(&mut [socket], |socket| {
            bytes += match until_would_block {
                false => socket.read(&mut [0; 16])?,
                true => read_until_would_block(socket)?,
            };
            Ok(())
        })?;
        let how =
            if until_would_block { "works now, until `WouldBlock`" } else { "the trap, one read" };
        println!("{how} per event: events: {events}, bytes of 100: {bytes}");
    }

    let pairs = [UnixStream::pair()?, UnixStream::pair()?, UnixStream::pair()?];
    let (mut sockets, mut peers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    peers.iter_mut().try_for_each(|peer| peer.write_all(b"?"))?;
    let (begin, mut time) = (Instant::now(), 0);
    event_loop(&mut sockets, |socket| {
        read_until_would_block(socket)?;
        // Each answer is due 20 ms after its question. Waiting here blocks the whole loop.
        thread::sleep(PAUSE);
        time = begin.elapsed().as_millis();
        socket.write_all(b"!")
    })?;
    println!("still wrong: three answers, each due 20 ms after its question, took {time} ms");
    Ok(())
}
