//! The standard streams: [`stdin`], [`stdout`] and [`stderr`].
//!
//! The path is the pool, whatever they are: a terminal, a pipe, a file. Readiness would need
//! `O_NONBLOCK`. That flag belongs to the open file, which the process shares with the shell and
//! other processes: their reads would fail with `EAGAIN`, even after this process has ended.
//! Without the flag, readiness is not reliable: another process may take the bytes between the
//! event and the read, and then the read blocks the thread with all its tasks.
//!
//! So a thread of the pool makes std's own calls, and blocks in them. That costs a change of
//! threads for each: a line in and a line out again took 0.1 ms where `cat` took 0.01 ms, and a
//! gigabyte about as long. At most one job at a time works on each stream, for all handles
//! together. A thread that blocks in a read or a write cannot be stopped, and a stopped terminal
//! (Ctrl-S) must not use up the pool.
//!
//! - What a read brought stays in the process if the future was dropped meanwhile, and the next
//!   read takes it. A read takes no more than was asked for, so what std has buffered stays there.
//! - A write waits until its bytes are with the kernel. So there is nothing to flush, an error
//!   belongs to the write that caused it, and what was written is not lost when the process ends.
//! - A process ends at the end of `main`, even while a read is pending or a write blocks.
//!
//! What goes through std's `print!` or `read_line` on the same thread keeps its order; but those
//! block, and wait for a job that is under way.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Cursor, ErrorKind, IoSlice, Read, Write};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use crossbeam_channel::{Receiver, TryRecvError, bounded};
use futures_io::{AsyncRead, AsyncWrite};
use log::trace;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr};

use crate::blocking::{self, Job, PerProcess, Pool};
use crate::budget;
use crate::io::vectored;

/// Bytes that one job moves at most: what a pipe holds. With more, a job would block in the middle.
const MOST: usize = 64 * 1024;

static STDIN: PerProcess<Stream<Option<Kept>>> = PerProcess::new();
static STDOUT: PerProcess<Stream<()>> = PerProcess::new();
static STDERR: PerProcess<Stream<()>> = PerProcess::new();

/// The result of a read that no handle has taken yet: bytes (none at the end of file) or an error.
type Kept = io::Result<Cursor<Vec<u8>>>;

/// One of the three streams, which the whole process shares.
struct Stream<T> {
    kind: &'static str,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// The number of the job that works on the stream. Set by the handle that submits it, cleared
    /// by the job.
    job: Option<u64>,
    /// What the last job has left for any handle.
    result: T,
    /// The wakers of the tasks that wait until the job has ended, by the number of the handle.
    waiting: BTreeMap<u64, Waker>,
    /// How many handles were made so far.
    handles: u64,
}

/// The part that the handles of all streams share.
struct Handle<T: Send + 'static> {
    stream: fn() -> &'static Stream<T>,
    number: u64,
}

fn stdin_stream() -> &'static Stream<Option<Kept>> {
    STDIN.get(|| Stream::new("stdin", None))
}

fn stdout_stream() -> &'static Stream<()> {
    STDOUT.get(|| Stream::new("stdout", ()))
}

fn stderr_stream() -> &'static Stream<()> {
    STDERR.get(|| Stream::new("stderr", ()))
}

/// Passes each waker that a stream keeps to `add`: the number of the job, the kind of the stream, and
/// the address of the waker's data.
pub(crate) fn list_waits(mut add: impl FnMut(u64, &'static str, usize)) {
    stdin_stream().list_waits(&mut add);
    stdout_stream().list_waits(&mut add);
    stderr_stream().list_waits(&mut add);
}

impl<T: Send + 'static> Stream<T> {
    fn new(kind: &'static str, result: T) -> Stream<T> {
        let state = State { job: None, result, waiting: BTreeMap::new(), handles: 0 };
        Stream { kind, state: Mutex::new(state) }
    }

    /// No panic can happen under the lock: jobs run outside of it.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the job on its thread: stores its result, and wakes all tasks that wait. Waking one
    /// task is not enough, because a task that has been dropped cannot pass the wakeup on.
    fn end(&self, job: u64, result: T) {
        let waiting = self.leave(result);
        let first = waiting.values().next().map(Waker::data);
        trace!(job, ok = true, waker:? = first; "job done");
        waiting.into_values().for_each(blocking::wake);
    }

    /// Stores the result of a job, and takes out the wakers.
    fn leave(&self, result: T) -> BTreeMap<u64, Waker> {
        let mut state = self.lock();
        state.job = None;
        state.result = result;
        std::mem::take(&mut state.waiting)
    }

    fn list_waits(&self, add: &mut impl FnMut(u64, &'static str, usize)) {
        let state = self.lock();
        for waker in state.waiting.values() {
            // Without a job, the task has been woken or is trying right now.
            state.job.inspect(|&job| add(job, self.kind, waker.data().addr()));
        }
    }
}

impl<T: Send + 'static> Handle<T> {
    fn new(stream: fn() -> &'static Stream<T>) -> Handle<T> {
        let mut state = stream().lock();
        state.handles += 1;
        Handle { stream, number: state.handles }
    }

    /// Tries an operation until the job that keeps it waiting has ended. It must not block: it
    /// returns `WouldBlock` while a job works on the stream.
    fn poll<R>(
        &self,
        cx: &mut Context<'_>,
        attempt: impl FnOnce() -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        ready!(budget::spend(cx));
        // Store the waker before the attempt, so that a job that ends after it finds the waker.
        self.store(cx.waker());
        match attempt() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                budget::refund();
                let job = (self.stream)().lock().job;
                trace!(job, waker:? = cx.waker().data(); "job awaited");
                Poll::Pending
            }
            result => {
                self.forget();
                Poll::Ready(result)
            }
        }
    }

    /// Reentrancy: wakers are cloned and dropped without the lock, because that runs user code.
    fn store(&self, waker: &Waker) {
        let stream = (self.stream)();
        if stream.lock().waiting.get(&self.number).is_some_and(|kept| kept.will_wake(waker)) {
            return;
        }
        let kept = waker.clone();
        let mut state = stream.lock();
        let replaced = state.waiting.insert(self.number, kept);
        drop(state);
        drop(replaced);
    }

    fn forget(&self) {
        let mut state = (self.stream)().lock();
        let waker = state.waiting.remove(&self.number);
        drop(state);
        drop(waker);
    }

    /// Reserves the stream for a new job, and returns the job's number.
    ///
    /// # Errors
    ///
    /// Returns `WouldBlock` if another job works on the stream.
    fn reserve(state: &mut State<T>) -> io::Result<u64> {
        if state.job.is_some() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let number = blocking::next_number();
        state.job = Some(number);
        Ok(number)
    }

    /// Submits the job for which the stream is reserved. The job may outlive the handle.
    fn submit(&self, number: u64, job: impl FnOnce() -> T + Send + 'static) {
        let stream = (self.stream)();
        let job: Job = Box::new(move || {
            stream.end(number, job());
            None
        });
        trace!(job = number; "job submitted");
        Pool::current().submit(job);
    }
}

impl<T: Send + 'static> Drop for Handle<T> {
    fn drop(&mut self) {
        self.forget();
    }
}

/// Makes a call that blocks until it has a result.
///
/// If another process has made the shared open file non-blocking, the thread sleeps in `poll`
/// instead. No task waits there: this is a thread of the pool, and it just blocks.
fn block<S: AsFd, T>(
    stream: &mut S,
    events: PollFlags,
    mut call: impl FnMut(&mut S) -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match call(stream) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                retry_on_intr(|| poll(&mut [PollFd::new(stream, events)], None))?;
            }
            result => return result,
        }
    }
}

/// The standard input of the process.
///
/// All handles read from the same stream, and each byte comes to one of them. A small read costs
/// as much as a large one, a job of the pool: for lines, put a
/// [`BufReader`](crate::io::BufReader) around it.
///
/// A descriptor that was closed when the process began, or is not open for reading, is empty, as
/// with std.
///
/// # Cancel safety
///
/// Dropping one `read` loses nothing, even if the handle is dropped with it: what it reads is kept
/// for the next read of any handle. Futures that repeat it, such as `read_exact`, do not report how
/// far they came.
///
/// # Examples
///
/// ```
/// use futures_lite::StreamExt;
/// use reactor::io::{AsyncBufReadExt, BufReader};
/// use reactor::stdio::stdin;
///
/// # fn main() -> std::io::Result<()> {
/// executor::block_on(async {
///     let mut lines = BufReader::new(stdin()).lines();
/// #   if true { return Ok(()) } // It would wait for input.
///     while let Some(line) = lines.next().await {
///         println!("{} bytes", line?.len());
///     }
///     Ok(())
/// })
/// # }
/// ```
pub struct Stdin(Handle<Option<Kept>>);

/// A handle to the standard input of the process.
pub fn stdin() -> Stdin {
    Stdin(Handle::new(stdin_stream))
}

impl Stdin {
    /// Takes what was read. Otherwise submits a read and returns `WouldBlock`.
    fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = stdin_stream().lock();
        if let Some(kept) = state.result.take() {
            let mut bytes = kept?;
            let count = bytes.read(buf)?;
            let is_empty = bytes.position() == bytes.get_ref().len() as u64;
            state.result = (!is_empty).then_some(Ok(bytes));
            return Ok(count);
        }
        let number = Handle::reserve(&mut state)?;
        drop(state);
        let length = buf.len().min(MOST);
        self.0.submit(number, move || Some(read(length)));
        Err(ErrorKind::WouldBlock.into())
    }
}

/// On a thread of the pool.
fn read(length: usize) -> Kept {
    let mut bytes = vec![0; length];
    let count = block(&mut io::stdin().lock(), PollFlags::IN, |stdin| stdin.read(&mut bytes))?;
    bytes.truncate(count);
    Ok(Cursor::new(bytes))
}

impl AsyncRead for Stdin {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        // Submit no job: its empty result would look like the end of file.
        if buf.is_empty() {
            return budget::spend(cx).map(|()| Ok(0));
        }
        self.0.poll(cx, || self.try_read(buf))
    }
}

/// The part that [`Stdout`] and [`Stderr`] share.
struct Writer {
    handle: Handle<()>,
    write: fn(&[u8]) -> Written,
    sent: Option<Sent>,
}

/// How many bytes were written, and what kept the others back.
type Written = (usize, io::Result<()>);

/// Bytes that were handed to the pool, for a write that returned `Pending`.
struct Sent {
    bytes: Arc<[u8]>,
    result: Receiver<Written>,
}

impl Writer {
    fn new(stream: fn() -> &'static Stream<()>, write: fn(&[u8]) -> Written) -> Writer {
        Writer { handle: Handle::new(stream), write, sent: None }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if bufs.iter().all(|buf| buf.is_empty()) {
            return budget::spend(cx).map(|()| Ok(0));
        }
        let Writer { handle, write, sent } = self;
        handle.poll(cx, || try_write(handle, *write, sent, bufs))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Writer { handle, sent, .. } = self;
        if sent.is_none() {
            return budget::spend(cx).map(Ok);
        }
        handle.poll(cx, || try_settle(sent)?.map_or(Ok(()), |(_, (_, result))| result))
    }
}

/// Writes these bytes or a prefix of them. The first call submits a job, a later call returns its
/// result.
fn try_write(
    handle: &Handle<()>,
    write: fn(&[u8]) -> Written,
    sent: &mut Option<Sent>,
    bufs: &[IoSlice<'_>],
) -> io::Result<usize> {
    // A dropped write cannot be canceled. If the same bytes come again, they continue that write,
    // and must not be written twice. Other bytes follow it.
    if let Some((bytes, (count, result))) = try_settle(sent)? {
        if count > 0 && vectored::begin_with(bufs, &bytes) {
            // As with write(2), report the count only: a write of the other bytes fails again.
            return Ok(count);
        }
        result?;
    }
    let number = Handle::reserve(&mut (handle.stream)().lock())?;
    let bytes: Arc<[u8]> = vectored::gather(bufs, MOST).into();
    let (sender, result) = bounded(1);
    *sent = Some(Sent { bytes: bytes.clone(), result });
    // The channel is closed if the handle was dropped. Then no task waits for the result.
    handle.submit(number, move || drop(sender.send(write(&bytes))));
    Err(ErrorKind::WouldBlock.into())
}

/// Takes the submitted write and its result. Returns `None` if no write was submitted, and the
/// error `WouldBlock` while its job has not ended.
fn try_settle(sent: &mut Option<Sent>) -> io::Result<Option<(Arc<[u8]>, Written)>> {
    let Some(Sent { result, .. }) = sent else { return Ok(None) };
    let written = match result.try_recv() {
        Ok(written) => written,
        Err(TryRecvError::Empty) => return Err(ErrorKind::WouldBlock.into()),
        Err(TryRecvError::Disconnected) => (0, Err(io::Error::other("the job is lost"))),
    };
    Ok(sent.take().map(|sent| (sent.bytes, written)))
}

/// Runs on a thread of the pool. One lock covers the whole write, so that no other output of this
/// process gets in between.
fn write_all(mut stream: impl Write + AsFd, bytes: &[u8]) -> Written {
    // What others have printed goes first; then ours, past std's buffer: that would keep what an
    // error has refused, and write it later, perhaps once more.
    let (mut count, mut result) = (0, block(&mut stream, PollFlags::OUT, |stream| stream.flush()));
    while result.is_ok() && count < bytes.len() {
        let write = |stream: &mut _| match rustix::io::write(stream, &bytes[count..]) {
            // As in std: a descriptor that is closed or read-only accepts everything.
            Err(Errno::BADF) => Ok(bytes.len() - count),
            written => Ok(written?),
        };
        match block(&mut stream, PollFlags::OUT, write) {
            Ok(0) => result = Err(ErrorKind::WriteZero.into()),
            Ok(written) => count += written,
            Err(error) => result = Err(error),
        }
    }
    (count, result)
}

/// The standard output of the process.
///
/// A write ends when its bytes are with the kernel, so there is nothing that a flush would have to
/// wait for, but a write that was dropped. Each write costs a job of the pool: for many small ones,
/// put a [`BufWriter`](crate::io::BufWriter) around it, and flush that.
///
/// Bytes of several handles do not mix within a write of up to 64 KiB. Errors are those of std: a
/// write returns `BrokenPipe` if there is no reader any more. If the descriptor was closed when the
/// process began, or is not open for writing, a write discards its bytes and returns no error. A
/// write that fails after some bytes returns their number, and the next write returns the error.
///
/// # Cancel safety
///
/// A `write` that is dropped after its first poll may still be carried out, up to 64 KiB, because
/// its thread cannot be stopped. The next write comes after it. But if the next write of this
/// handle begins with the same bytes, it continues the dropped write: they are not written twice.
/// A write that is dropped with its handle, at the end of the process, may be lost.
///
/// # Examples
///
/// ```
/// use reactor::io::AsyncWriteExt;
/// use reactor::stdio::{stderr, stdout};
///
/// # fn main() -> std::io::Result<()> {
/// executor::block_on(async {
///     stdout().write_all(b"all is well\n").await?;
///     stderr().write_all(b"nothing to complain about\n").await
/// })
/// # }
/// ```
pub struct Stdout(Writer);

/// A handle to the standard output of the process.
pub fn stdout() -> Stdout {
    Stdout(Writer::new(stdout_stream, |bytes| write_all(io::stdout().lock(), bytes)))
}

/// The standard error of the process.
///
/// All that is said of [`Stdout`] holds here.
///
/// # Cancel safety
///
/// As [`Stdout`].
pub struct Stderr(Writer);

/// A handle to the standard error of the process.
pub fn stderr() -> Stderr {
    Stderr(Writer::new(stderr_stream, |bytes| write_all(io::stderr().lock(), bytes)))
}

impl AsyncWrite for Stdout {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, bufs)
    }

    /// Waits for a write whose future was dropped, and reports its error.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }

    /// As `poll_flush`: the stream belongs to the process, and stays open.
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }
}

impl AsyncWrite for Stderr {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, bufs)
    }

    /// Waits for a write whose future was dropped, and reports its error.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }

    /// As `poll_flush`: the stream belongs to the process, and stays open.
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }
}

impl fmt::Debug for Stdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stdin")
    }
}

impl fmt::Debug for Stdout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stdout")
    }
}

impl fmt::Debug for Stderr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stderr")
    }
}
