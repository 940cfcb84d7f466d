//! `echod --demo`: records the server of `serve.rs` while it serves one client for a third of a
//! second.

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::mpsc::{TryRecvError, channel};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use executor::spawn_named;
use log::trace;
use reactor::net::TcpListener;
use recorder::{Kind, OUTSIDE, Recorder, Recording};

use crate::serve;
use crate::server::Server;
use crate::shared::Shared;
use crate::trace::ACCEPTS;

/// The path and the text of this file, which the page shows at the steps of the client.
pub(crate) const FILE: (&str, &str) = (file!(), include_str!("demo.rs"));

/// The pause between two actions of the client: long enough to see that the server's thread sleeps.
const PAUSE: Duration = Duration::from_millis(100);

/// How long the client waits before it gives up. A person would have given up long before.
const PATIENCE: Duration = Duration::from_secs(10);

/// The IDs of the tasks that the demo shows: the task that accepts, and the task of the connection.
const SHOWN: [u64; 2] = [1, 2];

/// Serves one client, and returns the recording.
pub(crate) async fn run(recorder: &'static Recorder) -> io::Result<Recording> {
    let server = Rc::new(Server::new(Shared::new(None, None)));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    recorder.start();
    let accepting = spawn_named(ACCEPTS, serve::accept(listener, server));
    run_client(address, recorder).await??;
    let recording = recorder.recording().following(&SHOWN);
    drop(accepting);
    Ok(recording)
}

/// Runs the client on a separate thread, and waits until it has finished.
async fn run_client(
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

/// Pauses the client, at least until the server sleeps again.
fn pause(recorder: &Recorder, events: usize) {
    thread::sleep(PAUSE);
    wait_until_served(recorder, events);
}

/// Waits until the kernel has reported `events` events and the server sleeps again.
///
/// If the client continued earlier, the kernel could report two events together, and the recording
/// would differ from run to run.
fn wait_until_served(recorder: &Recorder, events: usize) {
    for _ in 0..PATIENCE.as_millis() {
        if recorded_events(recorder) >= events {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    recorder.wait_until_asleep(PATIENCE);
}

fn recorded_events(recorder: &Recorder) -> usize {
    let events = recorder.recording().events;
    events.iter().filter(|event| matches!(event.kind, Kind::Event { .. })).count()
}

/// A minimal blocking client.
///
/// It logs each action before the call. Otherwise the record of the server's event could come first.
/// For the same reason it reads the answer only when the server, which wrote it, sleeps again.
fn client(address: SocketAddr, recorder: &Recorder) -> io::Result<()> {
    pause(recorder, 0);
    trace!(target: OUTSIDE, "connects");
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let own = stream.local_addr()?;
    // The listener is readable, and the new connection is writable.
    pause(recorder, 2);
    trace!(target: OUTSIDE, peer:% = own; "sends 1 byte");
    stream.write_all(b"x")?;
    wait_until_served(recorder, 3);
    stream.read_exact(&mut [0]).map_err(no_answer)?;
    trace!(target: OUTSIDE, receiver:% = own; "has received 1 byte");
    thread::sleep(PAUSE);
    trace!(target: OUTSIDE, peer:% = own; "closes");
    drop(stream);
    pause(recorder, 4);
    Ok(())
}

fn no_answer(error: io::Error) -> io::Error {
    io::Error::other(format!("no answer: {error}"))
}
