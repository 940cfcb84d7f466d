//! What several of the faults share: the client, on a plain thread, and a server's bare socket.

use std::io::{self, Read, Write};
use std::net::{self, SocketAddr};
use std::sync::OnceLock;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use log::trace;
use mio::net::{TcpListener, TcpStream};
use reactor::Async;
use recorder::{OUTSIDE, Recorder};

use crate::{DEADLINE, Symptom};

/// Any free port of this machine.
pub(crate) const LOOPBACK: SocketAddr =
    SocketAddr::new(net::IpAddr::V4(net::Ipv4Addr::LOCALHOST), 0);

/// How long a client waits for an answer. Less than the server's deadline: so what it misses, it
/// misses because of the fault.
pub(crate) const PATIENCE: Duration = Duration::from_millis(800);

static RECORDER: OnceLock<&Recorder> = OnceLock::new();

/// From now on, clients wait until the server sleeps before they do anything: so that two recordings
/// part where the versions do, and not where a client was faster.
pub(crate) fn wait_for(recorder: &'static Recorder) {
    let _ = RECORDER.set(recorder);
}

fn let_the_server_sleep() {
    if let Some(recorder) = RECORDER.get() {
        recorder.wait_for_rest(DEADLINE / 10);
    }
}

/// Starts a client on a thread of its own.
pub(crate) fn client<T: Send + 'static>(
    act: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> JoinHandle<io::Result<T>> {
    let client = move || {
        let_the_server_sleep();
        act()
    };
    let started = thread::Builder::new().name("client".to_owned()).spawn(client);
    started.expect("the system has room for a thread")
}

/// A client's socket, with its patience. What clients do is told before they do it, or the kernel could tell
/// the server first.
pub(crate) fn connect(address: SocketAddr) -> io::Result<net::TcpStream> {
    trace!(target: OUTSIDE, "connects");
    let stream = net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends so many bytes at once, and returns how many of them came back in time.
pub(crate) fn exchange(mut stream: &net::TcpStream, bytes: usize) -> usize {
    let mut buffer = vec![b'x'; bytes];
    let mut back = 0;
    let peer = stream.local_addr().map_or(String::new(), |own| own.to_string());
    let_the_server_sleep();
    trace!(target: OUTSIDE, peer; "sends {bytes} byte{}", if bytes == 1 { "" } else { "s" });
    if stream.write_all(&buffer).is_err() {
        return back;
    }
    while back < bytes
        && let Ok(more @ 1..) = stream.read(&mut buffer[back..])
    {
        back += more;
    }
    back
}

/// What a client tells of an exchange.
pub(crate) fn came_back(back: usize, bytes: usize) -> Symptom {
    let came_back = format!("{back} of {bytes} bytes came back");
    match back < bytes {
        true => Symptom(format!("{came_back} within {} ms", PATIENCE.as_millis())),
        false => Symptom(came_back),
    }
}

/// Accepts one connection, and leaves reading and writing to the caller: `reactor::net` would do
/// them right.
pub(crate) async fn accept(listener: net::TcpListener) -> io::Result<Async<TcpStream>> {
    listener.set_nonblocking(true)?;
    let listener = Async::new(TcpListener::from_std(listener))?;
    let (stream, _) = listener.read_with(TcpListener::accept).await?;
    Async::new(stream)
}

/// Writes all of the bytes.
pub(crate) async fn write_all(stream: &Async<TcpStream>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = stream.write_with(|mut stream| stream.write(bytes)).await?;
        bytes = &bytes[written..];
    }
    Ok(())
}
