//! One waker slot that both directions of a socket share.
//!
//! One task reads from a socket while another task writes to it. If the socket has space for one
//! waker only, the second task to wait replaces the waker of the first. When a byte arrives, the
//! wrong task is woken, makes no progress, and waits again. Nothing wakes the first task.
//!
//! The executor does not report the first task as lost. It checks after each poll, and at that time
//! the slot still held the task's waker.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use executor::{block_on, spawn_named, yield_now};
use mio::net::TcpStream;
use reactor::Async;
use reactor::time::timeout;

use crate::ask::{Answer, Letter};
use crate::sockets::{LOOPBACK, accept, client, connect};
use crate::{DEADLINE, Fault, Symptom, Version, lost};

pub(crate) const FAULT: Fault = Fault {
    name: "one-slot",
    sentence: "a socket's reader and writer share one waker slot",
    next: "`struct Source` in reactor/src/source.rs",
    answers: [
        Answer {
            text: "The reader gets the byte, because the slot wakes both tasks.",
            why: "the slot holds one waker. Storing the second one drops the first.",
        },
        Answer {
            text: "The reader waits forever, and the executor reports it as lost.",
            why: "the executor checks after the poll of the reader. At that time the slot still held the reader's waker; the writer replaced it later.",
        },
        Answer {
            text: "The reader waits forever, and the writer is woken in its place.",
            why: "the writer waited last, so the slot holds its waker. The byte wakes the writer, which makes no progress and waits again.",
        },
    ],
    reasons: [
        "Each direction has a slot with the waker of its own task, so the event of the byte wakes the reader.",
        "The writer replaced the waker of the reader in their slot, so the event of the byte wakes the writer. Nothing holds a waker of the reader.",
    ],
    run,
    file: file!(),
    text: include_str!("one_slot.rs"),
};

/// Holds the waker of one task. A slot is a waker itself: the reactor wakes the slot, and the slot
/// wakes the task.
#[derive(Default)]
struct Slot(Mutex<Option<Waker>>);

impl Slot {
    /// Stores a waker, and drops the one that was stored before.
    ///
    /// Called before each attempt, even if that succeeds: a task that has spent its budget is woken
    /// through this slot too.
    fn store(&self, waker: &Waker) {
        let before =
            self.0.lock().expect("no thread panics while it holds the lock").replace(waker.clone());
        drop(before);
    }
}

impl Wake for Slot {
    fn wake(self: Arc<Self>) {
        let waker = self.0.lock().expect("no thread panics while it holds the lock").take();
        waker.into_iter().for_each(Waker::wake);
    }
}

/// A socket that stores the wakers itself.
struct Socket {
    stream: Async<TcpStream>,
    reader: Arc<Slot>,
    writer: Arc<Slot>,
}

impl Socket {
    fn new(stream: Async<TcpStream>, version: Version) -> Socket {
        let reader = Arc::new(Slot::default());
        let writer = match version.noted() {
            // Right: each direction has a slot of its own.
            Version::Right => Arc::new(Slot::default()),
            // Wrong: both directions share one slot.
            Version::Wrong => reader.clone(),
        };
        Socket { stream, reader, writer }
    }

    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.reader.store(cx.waker());
        let slot = Waker::from(self.reader.clone());
        let cx = &mut Context::from_waker(&slot);
        self.stream.poll_read_with(cx, |mut stream| stream.read(buffer))
    }

    fn poll_write(&self, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.writer.store(cx.waker());
        let slot = Waker::from(self.writer.clone());
        let cx = &mut Context::from_waker(&slot);
        self.stream.poll_write_with(cx, |mut stream| stream.write(buffer))
    }
}

fn run(version: Version) -> io::Result<Symptom> {
    let listener = TcpListener::bind(LOOPBACK)?;
    let address = listener.local_addr()?;
    let (both_wait, sends) = channel();
    let client = client(move || {
        let mut stream = connect(address)?;
        // Send a byte when both tasks wait, and then stay until the server has gone. The client
        // reads nothing, so the server's writer has to wait.
        for () in sends {
            // This fails if the server has already given up.
            let _ = stream.write_all(b"x");
        }
        Ok(())
    });
    let lost = lost::count();
    let served = block_on(timeout(DEADLINE, serve(listener, both_wait, version)));
    client.join().expect("the client does not panic")?;
    Ok(match served {
        Ok(bytes) => Symptom::new(Letter::A, format!("the reader got {} of 1 bytes", bytes?)),
        Err(_) => {
            let answer = if lost::count() > lost { Letter::B } else { Letter::C };
            let limit = DEADLINE.as_millis();
            Symptom::new(answer, format!("the reader got 0 of 1 bytes within {limit} ms"))
        }
    })
}

/// Runs the reader and the writer, and returns how many bytes the reader got.
async fn serve(
    listener: TcpListener,
    both_wait: Sender<()>,
    version: Version,
) -> io::Result<usize> {
    let socket = Rc::new(Socket::new(accept(listener).await?, version));
    let reader = spawn_named("reader", read(socket.clone()));
    drop(spawn_named("writer", flood(socket)));
    // This returns after both have been polled: first the reader found nothing to read, then the
    // writer filled the send buffer.
    yield_now().await;
    let _ = both_wait.send(());
    reader.await.map_err(io::Error::other)?
}

async fn read(socket: Rc<Socket>) -> io::Result<usize> {
    let mut byte = [0];
    poll_fn(|cx| socket.poll_read(cx, &mut byte)).await
}

/// Writes until the send buffer is full, and then waits.
async fn flood(socket: Rc<Socket>) -> io::Result<Infallible> {
    let bytes = vec![b'x'; 1 << 20];
    loop {
        poll_fn(|cx| socket.poll_write(cx, &bytes)).await?;
    }
}
