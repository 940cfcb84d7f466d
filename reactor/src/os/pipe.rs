//! Pipes: [`pipe`], [`Sender`], [`Receiver`], and [`OpenOptions`] for pipes that have a name.
//!
//! The path is readiness: the kernel watches pipes as it watches sockets, and each operation goes
//! through [`Async`]. A short read proves nothing here, unlike on TCP: a pipe may stop at the edge
//! of a packet. So a task reads until `WouldBlock` before it waits.
//!
//! The two ends of a pipe are two open files. That ours does not block changes nothing for a child
//! that has the other one.
//!
//! The standard streams of a child process are pipes, too; [`process`](crate::process) makes them. A
//! task that writes more than a pipe holds waits until the child reads, and the child may wait until
//! its own output is read. So write and read in two tasks, or both processes wait forever.

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

/// Makes a pipe: what is written into the first is read from the second.
///
/// # Errors
///
/// When the system has no descriptor to spare.
///
/// # Panics
///
/// Outside of `block_on`.
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
///     sender.close().await?; // Or drop it: either way the receiver sees the end.
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

/// The end of a pipe that is written to.
///
/// Made by [`pipe`], from the standard input of a child process, from a descriptor, or by
/// [`OpenOptions`].
///
/// After the reading end was closed, a write returns the error `BrokenPipe`. It also raises
/// SIGPIPE, which Rust programs ignore. A program that sets SIGPIPE back to its default is killed
/// by such a write.
///
/// # Cancel safety
///
/// One `write` that moved bytes has also returned. `write_all` does not tell how far it came.
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
    /// Empty once it is closed.
    io: Option<Async<mio_pipe::Sender>>,
}

/// The end of a pipe that is read from.
///
/// Made by [`pipe`], from the standard output or the standard error of a child process, from a
/// descriptor, or by [`OpenOptions`].
///
/// A read of zero bytes is the end of file: no process has the other end open. If the pipe has a
/// name, this may change, and a later read may return bytes again.
///
/// # Cancel safety
///
/// One `read` that moved bytes has also returned: none are lost. Futures that repeat it, such as
/// `read_exact`, do not tell how far they came.
#[derive(Debug)]
pub struct Receiver(Async<mio_pipe::Receiver>);

impl Sender {
    #[track_caller]
    fn new(pipe: mio_pipe::Sender) -> io::Result<Sender> {
        Ok(Sender { io: Some(Async::with_interest(pipe, Interest::WRITABLE)?) })
    }

    /// Gives the descriptor back, in blocking mode: for the standard output of a child, say.
    ///
    /// # Errors
    ///
    /// What the system says; `BrokenPipe`, if it is closed already.
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
    /// receiver.read_to_string(&mut text).await?; // The end comes with that of the child.
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

    /// Gives the descriptor back, in blocking mode: for the standard input of a child, say.
    ///
    /// # Errors
    ///
    /// What the system says.
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

/// How a pipe that has a name, a FIFO, is opened; tokio's `pipe::OpenOptions`.
///
/// Opening never waits for the other end to be opened, as a blocking `open` would:
///
/// - A receiver may come first. Until a sender comes, it sees the end of file; and again, when the
///   last sender has left.
/// - A sender must not come first: the error is ENXIO. Try again after a while.
///
/// Whoever opens it for reading *and* writing is at the other end himself, and none of this
/// happens: see [`read_write`](OpenOptions::read_write).
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
    /// Options with which a receiver only reads, and a sender only writes.
    pub fn new() -> OpenOptions {
        OpenOptions::default()
    }

    /// Whether to open it for reading and writing, whatever it is used for.
    ///
    /// Then a receiver never sees the end of file, and a sender needs no receiver: what it writes
    /// waits in the pipe. POSIX leaves open whether this works; Linux and macOS do it.
    pub fn read_write(&mut self, read_write: bool) -> &mut OpenOptions {
        self.read_write = read_write;
        self
    }

    /// Opens the end that is read from.
    ///
    /// # Errors
    ///
    /// `InvalidInput`, if the file is no pipe; else what the system says.
    ///
    /// # Panics
    ///
    /// Outside of `block_on`.
    #[track_caller]
    pub fn open_receiver(&self, path: impl AsRef<Path>) -> io::Result<Receiver> {
        Receiver::try_from(self.open(path.as_ref(), OFlags::RDONLY)?)
    }

    /// Opens the end that is written to.
    ///
    /// # Errors
    ///
    /// Returns ENXIO if no process has it open for reading, `InvalidInput` if the file is not a
    /// pipe, and otherwise the error of the `open` system call.
    ///
    /// # Panics
    ///
    /// Outside of `block_on`.
    #[track_caller]
    pub fn open_sender(&self, path: impl AsRef<Path>) -> io::Result<Sender> {
        Sender::try_from(self.open(path.as_ref(), OFlags::WRONLY)?)
    }

    fn open(&self, path: &Path, access: OFlags) -> io::Result<OwnedFd> {
        let access = if self.read_write { OFlags::RDWR } else { access };
        // A file that is not a pipe is opened before it is refused. If it is a terminal, it must
        // not become our controlling terminal.
        let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        Ok(open(path, flags, Mode::empty())?)
    }
}

/// Refuses what is no pipe, or not open for this: the first read or write would fail, and a file
/// never says `WouldBlock`.
fn check(fd: OwnedFd, refused: OFlags) -> io::Result<OwnedFd> {
    let file = File::from(fd);
    let access = fcntl_getfl(&file)? & OFlags::RWMODE;
    if !file.metadata()?.file_type().is_fifo() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a pipe"));
    }
    if access == refused {
        let text = "the end of a pipe that is open for the other direction";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(file.into())
}

/// Takes over a descriptor, and makes it non-blocking: for all who share it.
///
/// `InvalidInput`, if it is no pipe, or not open for writing. It panics outside of `block_on`.
impl TryFrom<OwnedFd> for Sender {
    type Error = io::Error;

    #[track_caller]
    fn try_from(fd: OwnedFd) -> io::Result<Sender> {
        let pipe = mio_pipe::Sender::from(check(fd, OFlags::RDONLY)?);
        pipe.set_nonblocking(true)?;
        Sender::new(pipe)
    }
}

/// Takes over a descriptor, and makes it non-blocking: for all who share it.
///
/// `InvalidInput`, if it is no pipe, or not open for reading. It panics outside of `block_on`.
impl TryFrom<OwnedFd> for Receiver {
    type Error = io::Error;

    #[track_caller]
    fn try_from(fd: OwnedFd) -> io::Result<Receiver> {
        let pipe = mio_pipe::Receiver::from(check(fd, OFlags::WRONLY)?);
        pipe.set_nonblocking(true)?;
        Receiver::new(pipe)
    }
}

/// Converts the writing end of a std pipe. It panics outside of `block_on`.
impl TryFrom<io::PipeWriter> for Sender {
    type Error = io::Error;

    #[track_caller]
    fn try_from(writer: io::PipeWriter) -> io::Result<Sender> {
        OwnedFd::from(writer).try_into()
    }
}

/// Converts the reading end of a std pipe. It panics outside of `block_on`.
impl TryFrom<io::PipeReader> for Receiver {
    type Error = io::Error;

    #[track_caller]
    fn try_from(reader: io::PipeReader) -> io::Result<Receiver> {
        OwnedFd::from(reader).try_into()
    }
}

/// The standard input of a child process. It panics outside of `block_on`.
impl TryFrom<ChildStdin> for Sender {
    type Error = io::Error;

    #[track_caller]
    fn try_from(stdin: ChildStdin) -> io::Result<Sender> {
        OwnedFd::from(stdin).try_into()
    }
}

/// The standard output of a child process. It panics outside of `block_on`.
impl TryFrom<ChildStdout> for Receiver {
    type Error = io::Error;

    #[track_caller]
    fn try_from(stdout: ChildStdout) -> io::Result<Receiver> {
        OwnedFd::from(stdout).try_into()
    }
}

/// The standard error of a child process. It panics outside of `block_on`.
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

    /// What is written is in the pipe: there is nothing to flush.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        budget::spend(cx).map(Ok)
    }

    /// Closes the descriptor, so that the other end sees the end of file: a pipe has no
    /// `shutdown`. Tokio's leaves it open, and a filter at the other end would wait forever.
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(budget::spend(cx));
        self.io = None;
        Poll::Ready(Ok(()))
    }
}

/// It panics after the pipe was closed, because then it has no descriptor.
impl AsFd for Sender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_ref().expect("the pipe is not closed").get_ref().as_fd()
    }
}

/// It panics after the pipe was closed, because then it has no descriptor.
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
