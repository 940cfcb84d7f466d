//! The standard streams: [`stdin`], [`stdout`] and [`stderr`].
//!
//! All three use the thread pool, whether they are terminals, pipes or files. Readiness would need
//! `O_NONBLOCK`. That flag belongs to the open file, which this process shares with the shell and
//! other processes. With the flag, their reads would fail with `EAGAIN`, even after this process
//! has ended. Without it, readiness is not reliable: if another process takes the bytes between the
//! event and our read, the read blocks the thread with all its tasks.
//!
//! So a thread of the pool makes the calls of std, and blocks in them. Each call then costs a
//! switch between threads: copying one line took 0.1 ms, where `cat` took 0.01 ms. Copying a
//! gigabyte took about as long as with `cat`.
//!
//! For each stream, at most one job runs at a time, even if there are several handles. Otherwise a
//! stopped terminal (Ctrl-S) could use up the pool, because a thread that blocks in a read or write
//! cannot be stopped.
//!
//! - If a read completes after its future was dropped, its bytes stay in the process, and the next
//!   read returns them. A read takes no more bytes from std's buffer than the caller asked for.
//! - A write waits until the kernel has its bytes. So there is nothing to flush, and an error
//!   belongs to the write that caused it. The bytes of a completed write are not lost when the
//!   process ends.
//! - The process ends at the end of `main`, even if a read is pending or a write blocks.
//!
//! The functions of std, such as `print!` and `read_line`, can be mixed with these streams on one
//! thread, and the order of the bytes is kept. But these functions block the thread. In particular,
//! they wait until a running job of the stream has ended.

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

/// The most bytes that one job moves: the capacity of a pipe. A larger write would always block
/// until the reader has taken a part of it.
const MAX_JOB_BYTES: usize = 64 * 1024;

static STDIN: PerProcess<Stream<Option<ReadResult>>> = PerProcess::new();
static STDOUT: PerProcess<Stream<()>> = PerProcess::new();
static STDERR: PerProcess<Stream<()>> = PerProcess::new();

/// The result of a read that no handle has taken yet: bytes (none at end-of-file) or an error.
type ReadResult = io::Result<Cursor<Vec<u8>>>;

/// A standard stream, which the whole process shares.
struct Stream<T> {
    /// The name of the stream in the task table.
    kind: &'static str,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// The number of the job that works on the stream. Set by the handle that submits the job,
    /// cleared by the job.
    job: Option<u64>,
    /// The result of the last job, for whichever handle takes it first.
    result: T,
    /// The wakers of the tasks that wait until the job has ended, by the ID of the handle.
    waiting: BTreeMap<u64, Waker>,
    /// The number of handles that were created so far; also the ID of the newest one.
    handles: u64,
}

/// The common part of [`Stdin`], [`Stdout`] and [`Stderr`].
struct Handle<T: Send + 'static> {
    stream: fn() -> &'static Stream<T>,
    /// Identifies the handle among all handles of its stream.
    id: u64,
}

fn stdin_stream() -> &'static Stream<Option<ReadResult>> {
    STDIN.get(|| Stream::new("stdin", None))
}

fn stdout_stream() -> &'static Stream<()> {
    STDOUT.get(|| Stream::new("stdout", ()))
}

fn stderr_stream() -> &'static Stream<()> {
    STDERR.get(|| Stream::new("stderr", ()))
}

/// Calls `add` for each stored waker, with the number of the job, the kind of the stream, and the
/// address of the waker's data.
pub(crate) fn list_wakers(mut add: impl FnMut(u64, &'static str, usize)) {
    stdin_stream().list_wakers(&mut add);
    stdout_stream().list_wakers(&mut add);
    stderr_stream().list_wakers(&mut add);
}

impl<T: Send + 'static> Stream<T> {
    fn new(kind: &'static str, result: T) -> Stream<T> {
        let state = State { job: None, result, waiting: BTreeMap::new(), handles: 0 };
        Stream { kind, state: Mutex::new(state) }
    }

    /// The lock is never poisoned, because nothing panics while it is held: jobs run without it.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes the job on its thread: stores the result, and wakes all tasks that wait. Waking
    /// one task is not enough, because a task that has been dropped cannot pass the wakeup on.
    fn complete(&self, job: u64, result: T) {
        let waiting = self.store_result(result);
        let first = waiting.values().next().map(Waker::data);
        trace!(job, ok = true, waker:? = first; "job done");
        waiting.into_values().for_each(blocking::wake);
    }

    /// Stores the result of the job, and takes out the wakers.
    fn store_result(&self, result: T) -> BTreeMap<u64, Waker> {
        let mut state = self.lock();
        state.job = None;
        state.result = result;
        std::mem::take(&mut state.waiting)
    }

    fn list_wakers(&self, add: &mut impl FnMut(u64, &'static str, usize)) {
        let state = self.lock();
        for waker in state.waiting.values() {
            // If there is no job, the task has been woken, or is in the middle of an attempt.
            state.job.inspect(|&job| add(job, self.kind, waker.data().addr()));
        }
    }
}

impl<T: Send + 'static> Handle<T> {
    fn new(stream: fn() -> &'static Stream<T>) -> Handle<T> {
        let mut state = stream().lock();
        state.handles += 1;
        Handle { stream, id: state.handles }
    }

    /// Calls `attempt`. If it returns `WouldBlock`, because a job works on the stream, returns
    /// `Pending`; the end of the job wakes the task. `attempt` must not block.
    fn poll<R>(
        &self,
        cx: &mut Context<'_>,
        attempt: impl FnOnce() -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        ready!(budget::spend(cx));
        // Store the waker before the attempt. Otherwise a job that ends between the attempt and the
        // storing would find no waker, and the wakeup would be lost.
        self.store_waker(cx.waker());
        match attempt() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                budget::refund();
                let job = (self.stream)().lock().job;
                trace!(job, waker:? = cx.waker().data(); "job awaited");
                Poll::Pending
            }
            result => {
                self.remove_waker();
                Poll::Ready(result)
            }
        }
    }

    /// Stores the waker, unless it is already stored.
    ///
    /// Reentrancy: cloning or dropping a waker runs user code, which may use the same stream. This
    /// function therefore does both without the lock.
    fn store_waker(&self, waker: &Waker) {
        let stream = (self.stream)();
        if stream.lock().waiting.get(&self.id).is_some_and(|kept| kept.will_wake(waker)) {
            return;
        }
        let kept = waker.clone();
        let mut state = stream.lock();
        let replaced = state.waiting.insert(self.id, kept);
        drop(state);
        drop(replaced);
    }

    fn remove_waker(&self) {
        let mut state = (self.stream)().lock();
        let waker = state.waiting.remove(&self.id);
        drop(state);
        drop(waker);
    }

    /// Reserves the stream for a new job, and returns the number of that job.
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

    /// Submits the job for which the stream is reserved. The job can outlive the handle.
    fn submit(&self, number: u64, job: impl FnOnce() -> T + Send + 'static) {
        let stream = (self.stream)();
        let job: Job = Box::new(move || {
            stream.complete(number, job());
            None
        });
        trace!(job = number; "job submitted");
        Pool::current().submit(job);
    }
}

impl<T: Send + 'static> Drop for Handle<T> {
    fn drop(&mut self) {
        self.remove_waker();
    }
}

/// Repeats a call until it returns neither `Interrupted` nor `WouldBlock`. Blocks its thread, which
/// belongs to the pool.
///
/// The call returns `WouldBlock` only if another process has set the shared open file to
/// non-blocking mode. The thread then sleeps in the `poll` system call until it can retry.
fn call_blocking<S: AsFd, T>(
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
/// All handles read from the same stream, and each byte goes to one of them. Each read costs a job
/// of the pool, whether it is small or large. To read lines, wrap the handle in a
/// [`BufReader`](crate::io::BufReader).
///
/// If the descriptor was closed when the process started, or is not open for reading, a read
/// returns end-of-file, as in std.
///
/// # Cancel safety
///
/// Dropping the future of a single `read` loses no bytes, even if the handle is dropped too: they
/// are kept for the next read of any handle. Futures that repeat `read`, such as `read_exact`, are
/// not cancel safe: they do not report how many bytes they have read.
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
/// #   if true { return Ok(()) } // The loop would wait for input.
///     while let Some(line) = lines.next().await {
///         println!("{} bytes", line?.len());
///     }
///     Ok(())
/// })
/// # }
/// ```
pub struct Stdin(Handle<Option<ReadResult>>);

/// Returns a handle to the standard input of the process.
pub fn stdin() -> Stdin {
    Stdin(Handle::new(stdin_stream))
}

impl Stdin {
    /// Returns bytes that a job has read. If there are none, submits a job and returns
    /// `WouldBlock`.
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
        let length = buf.len().min(MAX_JOB_BYTES);
        self.0.submit(number, move || Some(read(length)));
        Err(ErrorKind::WouldBlock.into())
    }
}

/// Reads up to `length` bytes. Runs on a thread of the pool.
fn read(length: usize) -> ReadResult {
    let mut bytes = vec![0; length];
    let count =
        call_blocking(&mut io::stdin().lock(), PollFlags::IN, |stdin| stdin.read(&mut bytes))?;
    bytes.truncate(count);
    Ok(Cursor::new(bytes))
}

impl AsyncRead for Stdin {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        // Submit no job for an empty buffer, because its empty result would mean end-of-file.
        if buf.is_empty() {
            return budget::spend(cx).map(|()| Ok(0));
        }
        self.0.poll(cx, || self.try_read(buf))
    }
}

/// The common part of [`Stdout`] and [`Stderr`].
struct Writer {
    handle: Handle<()>,
    /// Writes bytes to the stream. Runs on a thread of the pool.
    write: fn(&[u8]) -> Written,
    submitted: Option<Submitted>,
}

/// How many bytes were written, and the error that stopped the write, if any.
type Written = (usize, io::Result<()>);

/// A write that was submitted to the pool, and whose result no call has returned yet.
struct Submitted {
    bytes: Arc<[u8]>,
    result: Receiver<Written>,
}

impl Writer {
    fn new(stream: fn() -> &'static Stream<()>, write: fn(&[u8]) -> Written) -> Writer {
        Writer { handle: Handle::new(stream), write, submitted: None }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if bufs.iter().all(|buf| buf.is_empty()) {
            return budget::spend(cx).map(|()| Ok(0));
        }
        let Writer { handle, write, submitted } = self;
        handle.poll(cx, || try_write(handle, *write, submitted, bufs))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Writer { handle, submitted, .. } = self;
        if submitted.is_none() {
            return budget::spend(cx).map(Ok);
        }
        handle.poll(cx, || take_written(submitted)?.map_or(Ok(()), |(_, (_, result))| result))
    }
}

/// Writes the bytes of `bufs`, or a prefix of them. The first call submits a job and returns
/// `WouldBlock`. A later call returns the result of the job.
fn try_write(
    handle: &Handle<()>,
    write: fn(&[u8]) -> Written,
    submitted: &mut Option<Submitted>,
    bufs: &[IoSlice<'_>],
) -> io::Result<usize> {
    // A write whose future was dropped still takes place. If the new write begins with the same
    // bytes, it continues the dropped one; otherwise these bytes would be written twice. If it
    // begins with other bytes, a job writes them now.
    if let Some((bytes, (count, result))) = take_written(submitted)? {
        if count > 0 && vectored::begin_with(bufs, &bytes) {
            // Return only the count, as write(2) does. An error occurs again when the caller writes
            // the remaining bytes.
            return Ok(count);
        }
        result?;
    }
    let number = Handle::reserve(&mut (handle.stream)().lock())?;
    let bytes: Arc<[u8]> = vectored::gather(bufs, MAX_JOB_BYTES).into();
    let (sender, result) = bounded(1);
    *submitted = Some(Submitted { bytes: bytes.clone(), result });
    // If the handle has been dropped, the channel is closed, and no task waits for the result.
    handle.submit(number, move || drop(sender.send(write(&bytes))));
    Err(ErrorKind::WouldBlock.into())
}

/// Takes out the bytes of the submitted write and its result. Returns `None` if no write was
/// submitted, and `WouldBlock` while its job has not ended.
fn take_written(submitted: &mut Option<Submitted>) -> io::Result<Option<(Arc<[u8]>, Written)>> {
    let Some(Submitted { result, .. }) = submitted else { return Ok(None) };
    let written = match result.try_recv() {
        Ok(written) => written,
        Err(TryRecvError::Empty) => return Err(ErrorKind::WouldBlock.into()),
        Err(TryRecvError::Disconnected) => {
            (0, Err(io::Error::other("the write job ended without a result")))
        }
    };
    Ok(submitted.take().map(|submitted| (submitted.bytes, written)))
}

/// Writes all bytes. Runs on a thread of the pool. The caller passes a locked stream, so that the
/// write is not mixed with other output of this process.
fn write_all(mut stream: impl Write + AsFd, bytes: &[u8]) -> Written {
    // Flush the bytes that `print!` has left in std's buffer, and then bypass that buffer. After an
    // error the buffer would keep the unwritten bytes and write them later, perhaps a second time.
    let (mut count, mut result) =
        (0, call_blocking(&mut stream, PollFlags::OUT, |stream| stream.flush()));
    while result.is_ok() && count < bytes.len() {
        let rest = &bytes[count..];
        let write = |stream: &mut _| match rustix::io::write(stream, rest) {
            // Treat all bytes as written if the descriptor is closed or read-only, as std does.
            Err(Errno::BADF) => Ok(rest.len()),
            written => Ok(written?),
        };
        match call_blocking(&mut stream, PollFlags::OUT, write) {
            Ok(0) => result = Err(ErrorKind::WriteZero.into()),
            Ok(written) => count += written,
            Err(error) => result = Err(error),
        }
    }
    (count, result)
}

/// The standard output of the process.
///
/// A write completes when the kernel has its bytes, so a flush waits only for a write whose future
/// was dropped. Each write costs a job of the pool. For many small writes, wrap the handle in a
/// [`BufWriter`](crate::io::BufWriter) and flush that.
///
/// A write of up to 64 KiB is not mixed with writes of other handles. Errors are those of std: a
/// write returns `BrokenPipe` if the pipe has no reader any more. If the descriptor was closed when
/// the process started, or is not open for writing, a write discards its bytes and returns no
/// error. A write that fails after some bytes returns their number, and the next write returns the
/// error.
///
/// # Cancel safety
///
/// Dropping the future of a `write` after its first poll does not stop the write, because its
/// thread cannot be stopped: up to 64 KiB may still be written. The next write comes after it. But
/// if the next write of this handle begins with the same bytes, it continues the dropped write, and
/// the bytes are written once. If the process ends after the future and its handle were dropped,
/// the write may be lost.
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

/// Returns a handle to the standard output of the process.
pub fn stdout() -> Stdout {
    Stdout(Writer::new(stdout_stream, |bytes| write_all(io::stdout().lock(), bytes)))
}

/// The standard error of the process.
///
/// Everything in the documentation of [`Stdout`] applies to it too.
///
/// # Cancel safety
///
/// The same rules hold as for [`Stdout`].
pub struct Stderr(Writer);

/// Returns a handle to the standard error of the process.
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

    /// Waits for a write whose future was dropped, and returns its error.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }

    /// Does the same as `poll_flush`. The stream belongs to the process and stays open.
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

    /// Waits for a write whose future was dropped, and returns its error.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }

    /// Does the same as `poll_flush`. The stream belongs to the process and stays open.
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
