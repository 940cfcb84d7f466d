//! Pipes: [`pipe`], [`Sender`], [`Receiver`], and [`OpenOptions`] for named pipes.
//!
//! Pipes use readiness: epoll watches them as it watches sockets, and each operation goes through
//! [`Async`]. Unlike on TCP, a short read does not mean that the pipe is empty, because a read may
//! stop at a packet boundary. So a task reads until `WouldBlock` before it waits.
//!
//! The two ends of a pipe are two open files. Non-blocking mode of our end therefore does not
//! affect a child process that has the other end.
//!
//! The standard streams of a child process are pipes, which [`process`](crate::process) creates. If
//! a task writes more than the pipe can hold, it waits until the child reads. The child may in turn
//! wait until its own output is read. So write and read in two tasks; otherwise both processes may
//! wait forever.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::pin::Pin;
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};
use mio::Interest;
use mio::unix::pipe as mio_pipe;
use rustix::fs::{Mode, OFlags, fcntl_getfl, open};

use crate::{Async, budget};

/// Creates a pipe. Bytes that are written to the [`Sender`] can be read from the [`Receiver`].
///
/// # Errors
///
/// Returns the error of the `pipe2` or `epoll_ctl` system call, e.g. EMFILE if the process has no
/// free descriptor.
///
/// # Panics
///
/// Panics outside of `block_on`.
///
/// # Examples
///
/// ```
/// use reactor::io::{AsyncReadExt, AsyncWriteExt};
/// use reactor::pipe::pipe;
///
/// # fn main() -> std::io::Result<()> {
/// executor::block_on(async {
///     let (mut sender, mut receiver) = pipe()?;
///     sender.write_all(b"hello").await?;
///     sender.close().await?; // Or drop it: both cause end-of-file.
///     let mut text = String::new();
///     receiver.read_to_string(&mut text).await?;
///     assert_eq!(text, "hello");
///     Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn pipe() -> io::Result<(Sender, Receiver)> {
    let (sender, receiver) = mio_pipe::new()?;
    Ok((Sender::new(sender)?, Receiver::new(receiver)?))
}

/// The write end of a pipe.
///
/// Created by [`pipe`] or [`OpenOptions`], or converted from the standard input of a child process
/// or from a descriptor.
///
/// If the read end is closed, a write returns `BrokenPipe`. It also raises SIGPIPE, which Rust
/// programs ignore. In a program that resets SIGPIPE to its default, such a write kills the
/// process.
///
/// # Cancel safety
///
/// Dropping the future of a single `write` loses no bytes: it completes as soon as it has written
/// some. `write_all` is not cancel safe: it does not report how many bytes it has written.
///
/// # Examples
///
/// ```
/// use reactor::io::{AsyncReadExt, AsyncWriteExt};
/// use reactor::pipe::{Receiver, Sender};
/// use std::process::{Command, Stdio};
///
/// # fn main() -> std::io::Result<()> {
/// executor::block_on(async {
///     let mut tr = Command::new("tr");
///     let tr = tr.args(["a-z", "A-Z"]).stdin(Stdio::piped()).stdout(Stdio::piped());
///     let mut child = tr.spawn()?;
///     let mut stdin = Sender::try_from(child.stdin.take().expect("it is piped"))?;
///     let mut stdout = Receiver::try_from(child.stdout.take().expect("it is piped"))?;
///     stdin.write_all(b"hello").await?;
///     stdin.close().await?;
///     let mut text = String::new();
///     stdout.read_to_string(&mut text).await?;
///     assert_eq!(text, "HELLO");
/// #   child.wait()?;
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct Sender {
    /// `None` after `poll_close`.
    io: Option<Async<mio_pipe::Sender>>,
}

/// The read end of a pipe.
///
/// Created by [`pipe`] or [`OpenOptions`], or converted from the standard output or standard error
/// of a child process or from a descriptor.
///
/// A read of zero bytes is end-of-file: no process has the write end open. A process may open a
/// named pipe again for writing, and a later read then returns bytes again.
///
/// # Cancel safety
///
/// Dropping the future of a single `read` loses no bytes: it completes as soon as it has read some.
/// Futures that repeat `read`, such as `read_exact`, are not cancel safe: they do not report how
/// many bytes they have read.
#[derive(Debug)]
pub struct Receiver(Async<mio_pipe::Receiver>);

impl Sender {
    #[track_caller]
    fn new(pipe: mio_pipe::Sender) -> io::Result<Sender> {
        Ok(Sender { io: Some(Async::with_interest(pipe, Interest::WRITABLE)?) })
    }

    /// Converts the sender to a descriptor in blocking mode, e.g. for the standard output of a
    /// child process.
    ///
    /// # Errors
    ///
    /// Returns `BrokenPipe` if the sender has been closed, or the error of the `epoll_ctl` or
    /// `ioctl` system call.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::io::AsyncReadExt;
    /// use reactor::pipe::pipe;
    /// use std::process::Command;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # executor::block_on(async {
    /// let (sender, mut receiver) = pipe()?;
    /// let mut child = Command::new("echo").arg("hello").stdout(sender.into_blocking_fd()?).spawn()?;
    /// let mut text = String::new();
    /// receiver.read_to_string(&mut text).await?; // Until the child ends.
    /// assert_eq!(text, "hello\n");
    /// # child.wait()?;
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn into_blocking_fd(self) -> io::Result<OwnedFd> {
        let pipe = self.io.ok_or(io::ErrorKind::BrokenPipe)?.into_inner()?;
        pipe.set_nonblocking(false)?;
        Ok(pipe.into())
    }
}

impl Receiver {
    #[track_caller]
    fn new(pipe: mio_pipe::Receiver) -> io::Result<Receiver> {
        Async::with_interest(pipe, Interest::READABLE).map(Receiver)
    }

    /// Converts the receiver to a descriptor in blocking mode, e.g. for the standard input of a
    /// child process.
    ///
    /// # Errors
    ///
    /// Returns the error of the `epoll_ctl` or `ioctl` system call.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::io::AsyncWriteExt;
    /// use reactor::pipe::pipe;
    /// use std::process::Command;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # executor::block_on(async {
    /// let (mut sender, receiver) = pipe()?;
    /// let mut child = Command::new("grep");
    /// let mut child = child.args(["-q", "hello"]).stdin(receiver.into_blocking_fd()?).spawn()?;
    /// sender.write_all(b"hello\n").await?;
    /// drop(sender);
    /// assert!(child.wait()?.success());
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn into_blocking_fd(self) -> io::Result<OwnedFd> {
        let pipe = self.0.into_inner()?;
        pipe.set_nonblocking(false)?;
        Ok(pipe.into())
    }
}

/// Options for opening a named pipe (FIFO); the counterpart of tokio's `pipe::OpenOptions`.
///
/// Unlike a blocking `open`, opening does not wait until another process opens the other end:
///
/// - A receiver can be opened first. It reads end-of-file until a sender is opened, and again after
///   the last sender is closed.
/// - A sender cannot be opened first. Opening it returns ENXIO; retry later.
///
/// Neither applies if the pipe is opened for reading *and* writing, because this process then has
/// the other end open itself; see [`read_write`](OpenOptions::read_write).
///
/// # Examples
///
/// ```
/// use reactor::io::{AsyncReadExt, AsyncWriteExt};
/// use reactor::pipe;
///
/// # fn main() -> std::io::Result<()> {
/// # let path = std::env::temp_dir().join(format!("pipe-of-the-example-{}", std::process::id()));
/// # assert!(std::process::Command::new("mkfifo").arg(&path).status()?.success());
/// executor::block_on(async {
///     let mut receiver = pipe::OpenOptions::new().read_write(true).open_receiver(&path)?;
///     let mut sender = pipe::OpenOptions::new().open_sender(&path)?;
///     sender.write_all(b"hello").await?;
///     let mut bytes = [0; 5];
///     receiver.read_exact(&mut bytes).await?;
///     assert_eq!(&bytes, b"hello");
/// #   std::fs::remove_file(&path)?;
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    read_write: bool,
}

impl OpenOptions {
    /// Creates options that open a receiver for reading only, and a sender for writing only.
    pub fn new() -> OpenOptions {
        OpenOptions::default()
    }

    /// Sets whether to open the pipe for both reading and writing.
    ///
    /// A receiver then never reads end-of-file. A sender needs no receiver: its bytes stay in the
    /// pipe until a receiver reads them. POSIX leaves the behavior undefined; Linux and macOS
    /// support it.
    pub fn read_write(&mut self, read_write: bool) -> &mut OpenOptions {
        self.read_write = read_write;
        self
    }

    /// Opens the read end.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if the file is not a pipe, and otherwise the error of the `open`,
    /// `ioctl` or `epoll_ctl` system call.
    ///
    /// # Panics
    ///
    /// Panics outside of `block_on`.
    #[track_caller]
    pub fn open_receiver(&self, path: impl AsRef<Path>) -> io::Result<Receiver> {
        Receiver::try_from(self.open(path.as_ref(), OFlags::RDONLY)?)
    }

    /// Opens the write end.
    ///
    /// # Errors
    ///
    /// Returns ENXIO if no process has the pipe open for reading, `InvalidInput` if the file is not
    /// a pipe, and otherwise the error of the `open`, `ioctl` or `epoll_ctl` system call.
    ///
    /// # Panics
    ///
    /// Panics outside of `block_on`.
    #[track_caller]
    pub fn open_sender(&self, path: impl AsRef<Path>) -> io::Result<Sender> {
        Sender::try_from(self.open(path.as_ref(), OFlags::WRONLY)?)
    }

    fn open(&self, path: &Path, access: OFlags) -> io::Result<OwnedFd> {
        // `check_pipe` runs after the file is open. If the file is a terminal, `NOCTTY` keeps it
        // from becoming our controlling terminal.
        const FLAGS: OFlags = OFlags::NONBLOCK.union(OFlags::CLOEXEC).union(OFlags::NOCTTY);
        let access = if self.read_write { OFlags::RDWR } else { access };
        Ok(open(path, access.union(FLAGS), Mode::empty())?)
    }
}

/// Returns `InvalidInput` if the descriptor is not a pipe, or is open only for the opposite
/// direction, `opposite`. Without this check, the first read or write would fail, or block the
/// thread: a regular file never returns `WouldBlock`.
fn check_pipe(fd: OwnedFd, opposite: OFlags) -> io::Result<OwnedFd> {
    let file = File::from(fd);
    let access = fcntl_getfl(&file)? & OFlags::RWMODE;
    if !file.metadata()?.file_type().is_fifo() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a pipe"));
    }
    if access == opposite {
        let direction = if opposite == OFlags::RDONLY { "writing" } else { "reading" };
        let text = format!("the pipe is not open for {direction}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(file.into())
}

/// Converts a descriptor, and sets it to non-blocking mode. This affects all descriptors that share
/// the open file.
///
/// Returns `InvalidInput` if the descriptor is not a pipe or is not open for writing. Panics
/// outside of `block_on`.
impl TryFrom<OwnedFd> for Sender {
    type Error = io::Error;

    #[track_caller]
    fn try_from(fd: OwnedFd) -> io::Result<Sender> {
        let pipe = mio_pipe::Sender::from(check_pipe(fd, OFlags::RDONLY)?);
        pipe.set_nonblocking(true)?;
        Sender::new(pipe)
    }
}

/// Converts a descriptor, and sets it to non-blocking mode. This affects all descriptors that share
/// the open file.
///
/// Returns `InvalidInput` if the descriptor is not a pipe or is not open for reading. Panics
/// outside of `block_on`.
impl TryFrom<OwnedFd> for Receiver {
    type Error = io::Error;

    #[track_caller]
    fn try_from(fd: OwnedFd) -> io::Result<Receiver> {
        let pipe = mio_pipe::Receiver::from(check_pipe(fd, OFlags::WRONLY)?);
        pipe.set_nonblocking(true)?;
        Receiver::new(pipe)
    }
}

/// Converts the write end of a std pipe. Panics outside of `block_on`.
impl TryFrom<io::PipeWriter> for Sender {
    type Error = io::Error;

    #[track_caller]
    fn try_from(writer: io::PipeWriter) -> io::Result<Sender> {
        OwnedFd::from(writer).try_into()
    }
}

/// Converts the read end of a std pipe. Panics outside of `block_on`.
impl TryFrom<io::PipeReader> for Receiver {
    type Error = io::Error;

    #[track_caller]
    fn try_from(reader: io::PipeReader) -> io::Result<Receiver> {
        OwnedFd::from(reader).try_into()
    }
}

/// Converts the standard input of a child process. Panics outside of `block_on`.
impl TryFrom<ChildStdin> for Sender {
    type Error = io::Error;

    #[track_caller]
    fn try_from(stdin: ChildStdin) -> io::Result<Sender> {
        OwnedFd::from(stdin).try_into()
    }
}

/// Converts the standard output of a child process. Panics outside of `block_on`.
impl TryFrom<ChildStdout> for Receiver {
    type Error = io::Error;

    #[track_caller]
    fn try_from(stdout: ChildStdout) -> io::Result<Receiver> {
        OwnedFd::from(stdout).try_into()
    }
}

/// Converts the standard error of a child process. Panics outside of `block_on`.
impl TryFrom<ChildStderr> for Receiver {
    type Error = io::Error;

    #[track_caller]
    fn try_from(stderr: ChildStderr) -> io::Result<Receiver> {
        OwnedFd::from(stderr).try_into()
    }
}

impl AsyncRead for Receiver {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.0.get_ref();
        self.0.poll_read_as("read", cx, || pipe.read(buf))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.0.get_ref();
        self.0.poll_read_as("readv", cx, || pipe.read_vectored(bufs))
    }
}

impl Sender {
    fn poll_write_as(
        &self,
        operation: &'static str,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&mut &mio_pipe::Sender) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let Some(io) = &self.io else {
            return budget::spend(cx).map(|()| Err(io::ErrorKind::BrokenPipe.into()));
        };
        io.poll_write_as(operation, cx, || write(&mut io.get_ref()))
    }
}

impl AsyncWrite for Sender {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_as("write", cx, |pipe| pipe.write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_as("writev", cx, |pipe| pipe.write_vectored(bufs))
    }

    /// Does nothing, because written bytes are already in the pipe.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        budget::spend(cx).map(Ok)
    }

    /// Closes the descriptor, so that the other end reads end-of-file. A pipe has no `shutdown`.
    /// (Tokio's sender stays open, so a program at the other end that reads until end-of-file would
    /// wait forever.)
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(budget::spend(cx));
        self.io = None;
        Poll::Ready(Ok(()))
    }
}

/// Panics if the sender has been closed, because it has no descriptor then.
impl AsFd for Sender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_ref().expect("a closed sender has no descriptor").get_ref().as_fd()
    }
}

/// Panics if the sender has been closed, because it has no descriptor then.
impl AsRawFd for Sender {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl AsRawFd for Receiver {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}
