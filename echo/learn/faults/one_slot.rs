//! One slot for the waiter, shared by both directions of a socket.
//!
//! A task reads from a socket while another one writes to it. If there is room for one waker only,
//! the second to wait replaces the first: the kernel reports that a byte has come, and the wrong
//! task is woken, finds nothing to do, and waits again. The first is stranded.
//!
//! The executor does not report the first as lost: it asks after each poll, and at that time the
//! slot still held the waker.

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

use crate::sockets::{LOOPBACK, accept, client, connect};
use crate::{DEADLINE, Fault, Symptom, Version};

pub(crate) const FAULT: Fault = Fault {
    name: "one-slot",
    sentence: "reader and writer of a socket share one slot for a waker",
    next: "`struct Waiters` in reactor/src/source.rs",
    run,
    file: file!(),
    text: include_str!("one_slot.rs"),
};

/// Room for the waker of one task, and a waker itself: the reactor wakes the slot, and the slot
/// wakes the task.
#[derive(Default)]
struct Slot(Mutex<Option<Waker>>);

impl Slot {
    /// Whoever waited here before is forgotten. Called before each try, and not only if that would
    /// block: a task whose budget is spent is woken at once, through this slot too.
    fn keep(&self, waker: &Waker) {
        let before = self.0.lock().expect("nobody panics with it").replace(waker.clone());
        drop(before);
    }
}

impl Wake for Slot {
    fn wake(self: Arc<Self>) {
        let waker = self.0.lock().expect("nobody panics with it").take();
        waker.into_iter().for_each(Waker::wake);
    }
}

/// A socket that keeps its waiters itself.
struct Socket {
    stream: Async<TcpStream>,
    reader: Arc<Slot>,
    writer: Arc<Slot>,
}

impl Socket {
    fn new(stream: Async<TcpStream>, version: Version) -> Socket {
        let reader = Arc::new(Slot::default());
        let writer = match version {
            // Right: each direction has its own.
            Version::Right => Arc::new(Slot::default()),
            // Wrong: one slot for both.
            Version::Wrong => reader.clone(),
        };
        Socket { stream, reader, writer }
    }

    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.reader.keep(cx.waker());
        let slot = Waker::from(self.reader.clone());
        let cx = &mut Context::from_waker(&slot);
        self.stream.poll_read_with(cx, |mut stream| stream.read(buffer))
    }

    fn poll_write(&self, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.writer.keep(cx.waker());
        let slot = Waker::from(self.writer.clone());
        let cx = &mut Context::from_waker(&slot);
        self.stream.poll_write_with(cx, |mut stream| stream.write(buffer))
    }
}

fn run(version: Version) -> io::Result<Symptom> {
    let listener = TcpListener::bind(LOOPBACK)?;
    let address = listener.local_addr()?;
    let (both_wait, told) = channel();
    let client = client(move || {
        let mut stream = connect(address)?;
        // One byte when told, then nothing until the server has gone. It reads nothing at all, so
        // the server's writer has to wait.
        for () in told {
            // Refused, if the server has given up meanwhile.
            let _ = stream.write_all(b"x");
        }
        Ok(())
    });
    let served = block_on(timeout(DEADLINE, serve(listener, both_wait, version)));
    client.join().expect("the client does not panic")?;
    Ok(Symptom(match served {
        Ok(bytes) => format!("the reader got {} of 1 bytes", bytes?),
        Err(_) => format!("the reader got 0 of 1 bytes within {} ms", DEADLINE.as_millis()),
    }))
}

/// How many bytes the reader got.
async fn serve(
    listener: TcpListener,
    both_wait: Sender<()>,
    version: Version,
) -> io::Result<usize> {
    let socket = Rc::new(Socket::new(accept(listener).await?, version));
    let reader = spawn_named("reader", read(socket.clone()));
    drop(spawn_named("writer", flood(socket)));
    // When this returns, both have been polled. First the reader found nothing to read, then the
    // writer no more room.
    yield_now().await;
    let _ = both_wait.send(());
    reader.await.map_err(io::Error::other)?
}

async fn read(socket: Rc<Socket>) -> io::Result<usize> {
    let mut byte = [0];
    poll_fn(|cx| socket.poll_read(cx, &mut byte)).await
}

/// Writes as long as there is room, and more.
async fn flood(socket: Rc<Socket>) -> io::Result<Infallible> {
    let bytes = vec![b'x'; 1 << 20];
    loop {
        poll_fn(|cx| socket.poll_write(cx, &bytes)).await?;
    }
}
