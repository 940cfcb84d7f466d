//! [`UnixStream`]: a connection between two Unix sockets.

use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{self, SocketAddr};
use std::panic::Location;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};
use socket2::{Domain, Socket, Type};

use crate::budget::{self, charge_error};
use crate::net::split::{self, OwnedReadHalf, OwnedWriteHalf, ReadHalf, ShutdownWrite, WriteHalf};
use crate::net::unix::room::{none_if_full, retry_while_full};
use crate::net::unix::{address, to_rustix};
use crate::{Async, Reactor};

/// A Unix connection: a byte stream in both directions, between processes of one machine.
///
/// Reading and writing need only `&UnixStream`, so two tasks, or the two halves of
/// [`split`](UnixStream::split), can use one connection.
///
/// # Cancel safety
///
/// Dropping the future of a single `read` or `write` loses no bytes: it completes as soon as it has
/// moved some. Futures that repeat these operations, such as `read_exact`, `read_to_end` and
/// `write_all`, are not cancel safe: they do not report how many bytes they have moved.
///
/// # Examples
///
/// ```
/// use reactor::io::{AsyncReadExt, AsyncWriteExt};
/// use reactor::net::UnixStream;
/// use std::net::Shutdown;
///
/// # fn main() -> std::io::Result<()> {
/// executor::block_on(async {
///     let (mut ours, mut theirs) = UnixStream::pair()?;
///     ours.write_all(b"hello").await?;
///     ours.shutdown(Shutdown::Write)?;
///     let mut text = String::new();
///     theirs.read_to_string(&mut text).await?;
///     assert_eq!(text, "hello");
///     assert!(ours.local_addr()?.is_unnamed() && ours.peer_addr()?.is_unnamed());
///     assert!(ours.take_error()?.is_none());
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct UnixStream(pub(in crate::net) Async<mio::net::UnixStream>);

impl UnixStream {
    /// Connects to the socket at `path`.
    ///
    /// On Linux, a path that begins with a zero byte is an abstract name, which needs no file.
    ///
    /// The `connect` system call succeeds or fails immediately. If the listener's backlog is full,
    /// it fails with `EAGAIN` on Linux, and epoll reports no event when there is space. So this
    /// function retries after 1 ms, with pauses that double up to 50 ms, until `connect` succeeds
    /// or returns another error.
    ///
    /// # Errors
    ///
    /// Returns `NotFound` if the file does not exist, `ConnectionRefused` if no process listens on
    /// it, and `InvalidInput` if the path is too long. Returns any other error of the system calls
    /// `socket`, `connect` and `epoll_ctl`.
    ///
    /// # Panics
    ///
    /// Panics outside of `block_on`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: while it waits, it holds a timer but no socket.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::io::AsyncWriteExt;
    /// use reactor::net::UnixStream;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("connect-{}", std::process::id()));
    /// # executor::block_on(async {
    /// # let _listener = reactor::net::UnixListener::bind(&path)?;
    /// let mut stream = UnixStream::connect(&path).await?;
    /// stream.write_all(b"hello").await?;
    /// # std::fs::remove_file(&path)
    /// # })
    /// # }
    /// ```
    #[track_caller]
    pub fn connect(path: impl AsRef<Path>) -> impl Future<Output = io::Result<UnixStream>> {
        let caller = Location::caller();
        async move {
            drop(Reactor::current_for(caller));
            let address = charge_error(address(path.as_ref())).await?;
            UnixStream::connect_for(caller, &address).await
        }
    }

    /// Connects to a std address, which on Linux may be an abstract name.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`connect`](UnixStream::connect), and `InvalidInput` if the
    /// address is unnamed.
    ///
    /// # Panics
    ///
    /// Panics outside of `block_on`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing, as with [`connect`](UnixStream::connect).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use reactor::net::{UnixListener, UnixStream};
    /// use std::os::linux::net::SocketAddrExt;
    /// use std::os::unix::net::SocketAddr;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # executor::block_on(async {
    /// # let name = format!("connect-addr-{}", std::process::id());
    /// let address = SocketAddr::from_abstract_name(name)?;
    /// let listener = UnixListener::bind_addr(&address)?;
    /// let stream = UnixStream::connect_addr(&address).await?;
    /// # drop((listener, stream));
    /// # Ok(())
    /// # })
    /// # }
    /// # main().unwrap() }
    /// ```
    #[track_caller]
    pub fn connect_addr(address: &SocketAddr) -> impl Future<Output = io::Result<UnixStream>> {
        let caller = Location::caller();
        async move {
            drop(Reactor::current_for(caller));
            UnixStream::connect_for(caller, address).await
        }
    }

    async fn connect_for(
        caller: &'static Location<'static>,
        address: &SocketAddr,
    ) -> io::Result<UnixStream> {
        let address = charge_error(to_rustix(address)).await?;
        let connect = || {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            rustix::net::connect(&socket, &address)?;
            Ok(OwnedFd::from(socket).into())
        };
        Async::new(retry_while_full(caller, || none_if_full(connect())).await?).map(UnixStream)
    }

    /// Creates two unnamed sockets that are connected to each other.
    ///
    /// # Errors
    ///
    /// Returns the error of the `socketpair` or `epoll_ctl` system call.
    ///
    /// # Panics
    ///
    /// Panics outside of `block_on`.
    #[track_caller]
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (one, other) = mio::net::UnixStream::pair()?;
        Ok((UnixStream(Async::new(one)?), UnixStream(Async::new(other)?)))
    }

    /// Converts a std connection, and sets it to non-blocking mode.
    ///
    /// # Errors
    ///
    /// Returns the error of the `ioctl` or `epoll_ctl` system call.
    ///
    /// # Panics
    ///
    /// Panics outside of `block_on`.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::net::UnixStream;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # executor::block_on(async {
    /// let (stream, _peer) = std::os::unix::net::UnixStream::pair()?;
    /// let stream = UnixStream::from_std(stream)?;
    /// let stream = stream.into_std()?;
    /// stream.set_nonblocking(false)?;
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[track_caller]
    pub fn from_std(stream: net::UnixStream) -> io::Result<UnixStream> {
        stream.set_nonblocking(true)?;
        Async::new(mio::net::UnixStream::from_std(stream)).map(UnixStream)
    }

    /// Deregisters the connection, and converts it to a std connection. It stays in non-blocking
    /// mode.
    ///
    /// # Errors
    ///
    /// Returns the error of the `epoll_ctl` system call. The socket is then closed.
    pub fn into_std(self) -> io::Result<net::UnixStream> {
        Ok(OwnedFd::from(self.0.into_inner()?).into())
    }

    /// Splits the connection into a read half and a write half, which borrow it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reactor::{io, net::UnixStream};
    /// # fn main() -> io::Result<()> {
    /// # executor::block_on(async {
    /// let (mut stream, peer) = UnixStream::pair()?;
    /// # drop(peer);
    /// let (reader, writer) = stream.split();
    /// io::copy(reader, writer).await?; // An echo.
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn split(&mut self) -> (ReadHalf<'_, UnixStream>, WriteHalf<'_, UnixStream>) {
        split::borrowed(self)
    }

    /// Splits the connection into a read half and a write half, which can move to different tasks.
    ///
    /// Dropping the write half shuts down writing, so the peer reads end-of-file.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::io::{AsyncReadExt, AsyncWriteExt};
    /// use reactor::net::UnixStream;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # executor::block_on(async {
    /// let (ours, mut theirs) = UnixStream::pair()?;
    /// let (_reader, mut writer) = ours.into_split();
    /// drop(executor::spawn(async move { writer.write_all(b"hello").await }));
    /// let mut text = String::new();
    /// theirs.read_to_string(&mut text).await?; // Ends, because the writer was dropped.
    /// assert_eq!(text, "hello");
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn into_split(self) -> (OwnedReadHalf<UnixStream>, OwnedWriteHalf<UnixStream>) {
        split::owned(self)
    }

    /// Shuts down reading, writing or both.
    ///
    /// A `write` that waits for space returns `BrokenPipe` only if both directions are shut down.
    /// For the write direction alone Linux reports no event, neither when this side shuts down
    /// writing, nor when the peer shuts down reading.
    ///
    /// # Errors
    ///
    /// Returns the error of the `shutdown` system call.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.get_ref().shutdown(how)
    }

    /// Returns the credentials of the peer: the process that called `connect`, `listen` or
    /// `socketpair`.
    ///
    /// The kernel records the credentials at that call. The result stays the same if the process
    /// changes its user or passes the socket to another process. Linux only; the function of std is
    /// not stable yet.
    ///
    /// # Errors
    ///
    /// Returns the error of the `getsockopt` system call.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # executor::block_on(async {
    /// let (ours, _theirs) = reactor::net::UnixStream::pair()?;
    /// let peer = ours.peer_cred()?;
    /// assert_eq!(peer.pid, i32::try_from(std::process::id()).ok());
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[cfg(target_os = "linux")]
    pub fn peer_cred(&self) -> io::Result<UCred> {
        let peer = rustix::net::sockopt::socket_peercred(self.as_fd())?;
        // 0 means a process that is not visible in our PID namespace.
        let pid = Some(rustix::process::Pid::as_raw(Some(peer.pid))).filter(|pid| *pid != 0);
        Ok(UCred { uid: peer.uid.as_raw(), gid: peer.gid.as_raw(), pid })
    }

    /// Returns the local address of the connection.
    ///
    /// # Errors
    ///
    /// Returns the error of the `getsockname` system call.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().local_addr()
    }

    /// Returns the address of the peer.
    ///
    /// # Errors
    ///
    /// Returns the error of the `getpeername` system call.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().peer_addr()
    }

    /// Takes the pending error of the socket (`SO_ERROR`), so that no later operation returns it.
    ///
    /// # Errors
    ///
    /// Returns the error of the `getsockopt` system call.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.get_ref().take_error()
    }
}

/// The credentials that [`UnixStream::peer_cred`] returns. The fields are those of std's unstable
/// `UCred`.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UCred {
    /// The effective user ID.
    pub uid: u32,
    /// The effective group ID.
    pub gid: u32,
    /// The process ID, or `None` if the process is not visible in our PID namespace.
    pub pid: Option<i32>,
}

impl AsFd for UnixStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

impl ShutdownWrite for UnixStream {
    fn shutdown_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl AsyncRead for &UnixStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut socket = self.0.get_ref();
        self.0.poll_read_as("read", cx, || socket.read(buf))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut socket = self.0.get_ref();
        self.0.poll_read_as("readv", cx, || socket.read_vectored(bufs))
    }
}

impl AsyncWrite for &UnixStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut socket = self.0.get_ref();
        self.0.poll_write_as("write", cx, || socket.write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut socket = self.0.get_ref();
        self.0.poll_write_as("writev", cx, || socket.write_vectored(bufs))
    }

    /// Does nothing, because written bytes are already in the peer's receive queue.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        budget::spend(cx).map(Ok)
    }

    /// Shuts down writing.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        budget::spend(cx).map(|()| split::shutdown_write(*self))
    }
}

impl AsyncRead for UnixStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_read(cx, buf)
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_read_vectored(cx, bufs)
    }
}

impl AsyncWrite for UnixStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_close(cx)
    }
}
