//! A connection over the loopback, as several of the programs use one: the server's end in this
//! runtime, and the client's on a plain thread.

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

/// Before an act from outside: long enough to see that the thread sleeps.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a client waits for the server, at most: for ever, for a person.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The two ends of a connection, as std has them: ours, and the client's.
pub(crate) fn sockets() -> io::Result<(net::TcpStream, net::TcpStream)> {
    let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = net::TcpStream::connect(listener.local_addr()?)?;
    client.set_read_timeout(Some(PATIENCE))?;
    let (ours, _) = listener.accept()?;
    Ok((ours, client))
}

/// Our end in this runtime, and the client's.
pub(crate) fn connection() -> io::Result<(TcpStream, net::TcpStream)> {
    let (ours, client) = sockets()?;
    Ok((TcpStream::from_std(ours)?, client))
}

/// Both ends. The kernel has reported the server's already, as it does with each new source, for
/// there is room to write to it: so the next report is about what the client does.
pub(crate) async fn connected() -> io::Result<(TcpStream, net::TcpStream)> {
    let reactor = Reactor::current();
    let before = reactor.metrics().events;
    let (server, client) = connection()?;
    while reactor.metrics().events == before {
        yield_now().await;
    }
    Ok((server, client))
}

/// Sends so many bytes, from a thread of its own, as soon as the thread of the executor waits in
/// `epoll_wait`. The end of that thread gives the client back.
pub(crate) fn send(client: net::TcpStream, bytes: usize) -> JoinHandle<io::Result<net::TcpStream>> {
    at_rest("client", move || {
        let peer = client.local_addr()?.to_string();
        trace!(target: OUTSIDE, peer; "sends {bytes} byte{}", if bytes == 1 { "" } else { "s" });
        (&client).write_all(&vec![b'x'; bytes])?;
        Ok(client)
    })
}

/// Acts on a thread of its own, as soon as the thread of the executor waits in `epoll_wait`.
pub(crate) fn at_rest<T: Send + 'static>(
    name: &str,
    act: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    // Listens from now on, or it would not hear of the sleep that comes.
    let recorder = *RECORDER;
    let act = move || {
        thread::sleep(PAUSE);
        recorder.wait_for_rest(PATIENCE);
        act()
    };
    let started = thread::Builder::new().name(name.to_owned()).spawn(act);
    started.expect("the system has room for a thread")
}
