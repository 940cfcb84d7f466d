//! What several faults share: a client on a plain thread, and plain sockets for the server.

use std::io::{self, Read, Write};
use std::net::{self, SocketAddr};
use std::sync::OnceLock;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use log::trace;
use mio::net::{TcpListener, TcpStream};
use reactor::Async;
use recorder::{OUTSIDE, Recorder};

use crate::ask::Letter;
use crate::{DEADLINE, Symptom};

/// A free port of the loopback interface.
pub(crate) const LOOPBACK: SocketAddr =
    SocketAddr::new(net::IpAddr::V4(net::Ipv4Addr::LOCALHOST), 0);

/// How long a client waits for an answer.
///
/// It is less than the server's deadline, so an answer that does not arrive is missing because of
/// the fault.
pub(crate) const CLIENT_TIMEOUT: Duration = Duration::from_millis(800);

static RECORDER: OnceLock<&Recorder> = OnceLock::new();

/// Makes clients wait until the server sleeps, before they do anything.
///
/// Then two recordings differ where the two versions differ, and not where a client was faster.
pub(crate) fn set_recorder(recorder: &'static Recorder) {
    let _ = RECORDER.set(recorder);
}

fn wait_until_server_sleeps() {
    if let Some(recorder) = RECORDER.get() {
        recorder.wait_until_asleep(DEADLINE / 10);
    }
}

/// Runs a client on another thread.
pub(crate) fn client<T: Send + 'static>(
    act: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> JoinHandle<io::Result<T>> {
    let client = move || {
        wait_until_server_sleeps();
        act()
    };
    let started = thread::Builder::new().name("client".to_owned()).spawn(client);
    started.expect("the OS can start a thread")
}

/// Connects a client, whose reads and writes have a timeout.
///
/// A client logs each action before it acts. Otherwise the server's records of the event could come
/// first.
pub(crate) fn connect(address: SocketAddr) -> io::Result<net::TcpStream> {
    trace!(target: OUTSIDE, "connects");
    let stream = net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    stream.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    Ok(stream)
}

/// Sends `bytes` bytes in one write, and returns how many of them came back in time.
pub(crate) fn exchange(mut stream: &net::TcpStream, bytes: usize) -> usize {
    let mut buffer = vec![b'x'; bytes];
    let mut back = 0;
    let peer = stream.local_addr().map_or(String::new(), |own| own.to_string());
    wait_until_server_sleeps();
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

/// Describes an exchange in which `back` of `bytes` bytes came back, as `answer` says.
pub(crate) fn came_back(back: usize, bytes: usize, answer: Letter) -> Symptom {
    let came_back = format!("{back} of {bytes} bytes came back");
    match back < bytes {
        true => {
            Symptom::new(answer, format!("{came_back} within {} ms", CLIENT_TIMEOUT.as_millis()))
        }
        false => Symptom::new(answer, came_back),
    }
}

/// Accepts one connection, and returns its bare socket.
///
/// The faults read and write it themselves, because the sockets of `reactor::net` do not have these
/// faults.
pub(crate) async fn accept(listener: net::TcpListener) -> io::Result<Async<TcpStream>> {
    listener.set_nonblocking(true)?;
    let listener = Async::new(TcpListener::from_std(listener))?;
    let (stream, _) = listener.read_with(TcpListener::accept).await?;
    Async::new(stream)
}

/// Writes all bytes.
pub(crate) async fn write_all(stream: &Async<TcpStream>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = stream.write_with(|mut stream| stream.write(bytes)).await?;
        bytes = &bytes[written..];
    }
    Ok(())
}
