//! `echod --demo`: the server of `serve.rs` and one client, for a third of a second, told step by
//! step.

use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::mpsc::{TryRecvError, channel};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use executor::spawn_named;
use log::trace;
use reactor::net::TcpListener;
use recorder::{Kind, OUTSIDE, Recorder, Recording};

use crate::serve;
use crate::server::Server;
use crate::shared::Shared;
use crate::telling::ACCEPTS;

/// Between two acts of the client: long enough for the thread to sleep, and to see that it does.
const PAUSE: Duration = Duration::from_millis(100);

/// How long the client waits for its byte: for ever, for a person.
const PATIENCE: Duration = Duration::from_secs(10);

/// The tasks that the demo is about: the one that accepts, and that of the connection.
const TOLD: [u64; 2] = [1, 2];

/// Serves one client, and returns what was recorded meanwhile.
pub(crate) async fn run(recorder: &'static Recorder) -> io::Result<Recording> {
    let server = Rc::new(Server::new(Shared::new(None, None)));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    recorder.start();
    let accepting = spawn_named(ACCEPTS, serve::accept(listener, server));
    start_client(address, recorder).await??;
    let recording = recorder.recording().following(&TOLD);
    drop(accepting);
    Ok(recording)
}

/// Starts the client on a thread of its own, and waits for its end.
async fn start_client(
    address: SocketAddr,
    recorder: &'static Recorder,
) -> io::Result<io::Result<()>> {
    let (sender, ended) = channel();
    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    thread::Builder::new().name("client".to_owned()).spawn(move || {
        let _ = sender.send(client(address, recorder));
        waker.wake();
    })?;
    let ended = poll_fn(|_| match ended.try_recv() {
        Ok(result) => Poll::Ready(Ok(result)),
        Err(TryRecvError::Empty) => Poll::Pending,
        Err(TryRecvError::Disconnected) => {
            Poll::Ready(Err(io::Error::other("the client panicked")))
        }
    });
    ended.await
}

/// Long enough to see that the server sleeps; and, on a machine that is busy, until it does after
/// so many reports of the kernel. One more that is due would come together with the next, and the
/// story would be another one.
fn pause(recorder: &Recorder, reports: usize) {
    thread::sleep(PAUSE);
    let began = Instant::now();
    while kernels_reports(recorder) < reports && began.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(1));
    }
    recorder.wait_for_rest(PATIENCE);
}

fn kernels_reports(recorder: &Recorder) -> usize {
    let events = recorder.recording().events;
    events.iter().filter(|event| matches!(event.kind, Kind::Event { .. })).count()
}

/// A client as simple as can be, which blocks. Its records come before its acts, or the kernel
/// could tell the server first.
fn client(address: SocketAddr, recorder: &Recorder) -> io::Result<()> {
    pause(recorder, 0);
    trace!(target: OUTSIDE, "connects");
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let own = stream.local_addr()?;
    // Somebody came, and there is room to write to them.
    pause(recorder, 2);
    trace!(target: OUTSIDE, peer:% = own; "sends 1 byte");
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0]).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => io::Error::other(format!("no answer within {PATIENCE:?}")),
        _ => error,
    })?;
    pause(recorder, 3);
    trace!(target: OUTSIDE, peer:% = own; "closes");
    drop(stream);
    pause(recorder, 4);
    Ok(())
}
