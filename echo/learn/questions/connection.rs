//! A loopback connection for the programs: the server's end belongs to this runtime, and the
//! client's end to a plain thread.

use std::io::{self, Write};
use std::net::{self, Ipv4Addr};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use executor::yield_now;
use log::trace;
use reactor::Reactor;
use reactor::net::TcpStream;
use recorder::OUTSIDE;

use crate::ladder::RECORDER;

/// Delay before another thread acts. It makes the sleep visible in the printed steps.
const PAUSE: Duration = Duration::from_millis(20);

/// Upper limit of every wait that would otherwise be unbounded, so that no program hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// Returns the server's end and the client's end of a connection, both as std sockets.
pub(crate) fn sockets() -> io::Result<(net::TcpStream, net::TcpStream)> {
    let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = net::TcpStream::connect(listener.local_addr()?)?;
    client.set_read_timeout(Some(DEADLINE))?;
    let (ours, _) = listener.accept()?;
    Ok((ours, client))
}

/// Returns the server's end, registered with the reactor, and the client's end.
pub(crate) fn connection() -> io::Result<(TcpStream, net::TcpStream)> {
    let (ours, client) = sockets()?;
    Ok((TcpStream::from_std(ours)?, client))
}

/// Returns the same as [`connection`], after the first event of the server's end.
///
/// The kernel reports every new connection as writable. The next event is then about something that
/// the client does.
pub(crate) async fn connected() -> io::Result<(TcpStream, net::TcpStream)> {
    let reactor = Reactor::current();
    let before = reactor.metrics().events;
    let (server, client) = connection()?;
    while reactor.metrics().events == before {
        yield_now().await;
    }
    Ok((server, client))
}

/// Sends `bytes` bytes from another thread, as soon as the executor's thread sleeps in
/// `epoll_wait`.
///
/// Joining the thread returns the client's end.
pub(crate) fn send(client: net::TcpStream, bytes: usize) -> JoinHandle<io::Result<net::TcpStream>> {
    when_asleep("client", move || {
        let peer = client.local_addr()?.to_string();
        trace!(target: OUTSIDE, peer; "sends {bytes} byte{}", if bytes == 1 { "" } else { "s" });
        (&client).write_all(&vec![b'x'; bytes])?;
        Ok(client)
    })
}

/// Calls `act` on another thread, as soon as the executor's thread sleeps in `epoll_wait`.
pub(crate) fn when_asleep<T: Send + 'static>(
    name: &str,
    act: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    // Install the recorder on this thread, before the executor sleeps: it must record that sleep.
    let recorder = *RECORDER;
    let act = move || {
        thread::sleep(PAUSE);
        recorder.wait_until_asleep(DEADLINE);
        act()
    };
    let started = thread::Builder::new().name(name.to_owned()).spawn(act);
    started.expect("the OS can start a thread")
}
