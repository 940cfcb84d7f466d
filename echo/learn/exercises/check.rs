//! What the checks share: steps, futures that are polled by hand, and a pipe of bytes.
//!
//! A check is a list of steps. Each step does something with the code of the exercise, and returns
//! what it saw: `Ok` if that is right, and `Err` if it is not.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_lite::AsyncRead;

/// What a step saw, in words and numbers.
pub(crate) type Seen = Result<String, String>;

/// The name of a step, and the function that runs it.
pub(crate) type Step = (&'static str, fn() -> Seen);

/// Returns what was seen if it is right. Otherwise returns an error that also names what was
/// expected.
pub(crate) fn require(is_right: bool, saw: impl Into<String>, expected: &str) -> Seen {
    let saw = saw.into();
    if is_right { Ok(saw) } else { Err(format!("{saw}; expected {expected}")) }
}

/// Returns "1 time" or "3 times".
pub(crate) fn times(count: usize) -> String {
    count_of(count, "time")
}

/// Returns "1 waker" or "3 wakers".
pub(crate) fn count_of(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A waker that counts its calls.
#[derive(Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wakes {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// A future that the check polls by hand, with a waker that counts.
pub(crate) struct Task<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + 'a>>,
    wakes: Arc<Wakes>,
}

impl<'a, T> Task<'a, T> {
    pub(crate) fn new(future: impl Future<Output = T> + 'a) -> Task<'a, T> {
        Task { future: Box::pin(future), wakes: Arc::default() }
    }

    /// Polls the future once.
    pub(crate) fn poll(&mut self) -> Poll<T> {
        let waker = Waker::from(self.wakes.clone());
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// Returns how often the waker has been called.
    pub(crate) fn wakes(&self) -> usize {
        self.wakes.count()
    }

    /// Polls the future as an executor does: once, and then again after each wakeup. Returns the
    /// output, if the future has completed, and the number of polls. Gives up after 1,000 polls.
    pub(crate) fn run(&mut self) -> (Option<T>, usize) {
        for polls in 1..=1000 {
            let before = self.wakes();
            match self.poll() {
                Poll::Ready(output) => return (Some(output), polls),
                Poll::Pending if self.wakes() == before => return (None, polls),
                Poll::Pending => {}
            }
        }
        (None, 1000)
    }
}

/// One end of a pipe of bytes. All its clones are the same pipe. It is used on one thread only.
#[derive(Clone, Default)]
pub(crate) struct Pipe(Rc<RefCell<Inner>>);

#[derive(Default)]
struct Inner {
    bytes: VecDeque<u8>,
    is_closed: bool,
    /// How often the end was read.
    end_reads: usize,
    reader: Option<Waker>,
}

/// How often the end of a pipe can be read. After that, a read waits forever, so that code that
/// reads the end in a loop does not hang.
const END_READS: usize = 1000;

impl Pipe {
    /// Writes bytes, and wakes the reader.
    pub(crate) fn write(&self, bytes: &[u8]) {
        self.0.borrow_mut().bytes.extend(bytes);
        self.wake_reader();
    }

    /// Closes the pipe. After the bytes that it holds, the reader sees the end.
    pub(crate) fn close(&self) {
        self.0.borrow_mut().is_closed = true;
        self.wake_reader();
    }

    /// Returns how many bytes were written and not read.
    pub(crate) fn unread(&self) -> usize {
        self.0.borrow().bytes.len()
    }

    /// Returns whether the end was read so often that the reader must be in a loop.
    pub(crate) fn is_end_read_in_a_loop(&self) -> bool {
        self.0.borrow().end_reads >= END_READS
    }

    fn wake_reader(&self) {
        let reader = self.0.borrow_mut().reader.take();
        reader.into_iter().for_each(Waker::wake);
    }

    /// Takes up to `limit` bytes. Waits if the pipe is empty. Returns no bytes at the end.
    fn poll_take(&self, cx: &mut Context<'_>, limit: usize) -> Poll<Vec<u8>> {
        let waker = cx.waker().clone();
        let mut inner = self.0.borrow_mut();
        let is_end = inner.is_closed && inner.bytes.is_empty();
        if is_end && inner.end_reads < END_READS {
            inner.end_reads += 1;
            return Poll::Ready(Vec::new());
        }
        if inner.bytes.is_empty() {
            let before = inner.reader.replace(waker);
            drop(inner);
            drop(before);
            return Poll::Pending;
        }
        let count = limit.min(inner.bytes.len());
        Poll::Ready(inner.bytes.drain(..count).collect())
    }

    /// Reads one byte. Returns `None` at the end.
    pub(crate) async fn byte(&self) -> Option<u8> {
        poll_fn(|cx| self.poll_take(cx, 1)).await.first().copied()
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_take(cx, buffer.len()).map(|bytes| {
            buffer[..bytes.len()].copy_from_slice(&bytes);
            Ok(bytes.len())
        })
    }
}
