//! [`UnixStream`].

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
use crate::net::split::{self, OwnedReadHalf, OwnedWriteHalf, ReadHalf, Shut, WriteHalf};
use crate::net::unix::room::{room, until_room};
use crate::net::unix::{address, named};
use crate::{Async, Reactor};

/// A Unix connection: a stream of bytes in both directions, between processes of one machine.
///
/// Reading and writing need only `&UnixStream`, so that two tasks, or the two halves of
/// [`split`](UnixStream::split), may use one connection.
///
/// # Cancel safety
///
/// One `read` or `write` that moved bytes has also returned: none are lost. Futures that repeat
/// them, such as `read_exact`, `read_to_end` and `write_all`, do not tell how far they came.
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
    /// On Linux a path that begins with a zero byte is an abstract name, which needs no file.
    ///
    /// A connection comes about at once, or not at all. If the listener has no room for more until
    /// it accepts some, Linux says only "try again": this does so, after 1 ms and with pauses that
    /// double up to 50 ms, for as long as it takes.
    ///
    /// # Errors
    ///
    /// `NotFound`, if there is no file; `ConnectionRefused`, if nobody listens at it any more;
    /// `InvalidInput` for a path that is too long; and what else the system says.
    ///
    /// # Panics
    ///
    /// Outside of `block_on`.
    ///
    /// # Cancel safety
    ///
    /// While it waits there is no socket: dropping the future drops a timer.
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

    /// Connects to an address of std: on Linux it may be an abstract name.
    ///
    /// # Errors
    ///
    /// As [`connect`](UnixStream::connect).
    ///
    /// # Panics
    ///
    /// Outside of `block_on`.
    ///
    /// # Cancel safety
    ///
    /// As [`connect`](UnixStream::connect).
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
        let address = charge_error(named(address)).await?;
        let connect = || {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            rustix::net::connect(&socket, &address)?;
            Ok(OwnedFd::from(socket).into())
        };
        Async::new(until_room(caller, || room(connect())).await?).map(UnixStream)
    }

    /// Two connected sockets that have no names.
    ///
    /// # Errors
    ///
    /// What the system says.
    ///
    /// # Panics
    ///
    /// Outside of `block_on`.
    #[track_caller]
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (one, other) = mio::net::UnixStream::pair()?;
        Ok((UnixStream(Async::new(one)?), UnixStream(Async::new(other)?)))
    }

    /// Takes over a connection of std, and makes it non-blocking.
    ///
    /// # Errors
    ///
    /// What the system says.
    ///
    /// # Panics
    ///
    /// Outside of `block_on`.
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

    /// Gives the connection back as std's. It stays non-blocking.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn into_std(self) -> io::Result<net::UnixStream> {
        Ok(OwnedFd::from(self.0.into_inner()?).into())
    }

    /// Splits it into a half to read and a half to write, which borrow it.
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

    /// Splits it into two halves that may live in two tasks.
    ///
    /// Dropping the write half shuts down writing, so the peer sees an end-of-file.
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
    /// theirs.read_to_string(&mut text).await?; // It ends, for the writer was dropped.
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
    /// A `write` that waits for room is ended by it, with `BrokenPipe`, only if both are shut. Of
    /// its own direction alone Linux tells nobody who waits: neither when we shut down writing, nor
    /// when the peer shuts down reading.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.get_ref().shutdown(how)
    }

    /// Who is at the other end, as the kernel knows it: the process that connected or listened.
    ///
    /// The kernel notes it at that moment. If the process has changed its user since, or handed the
    /// socket on, this still names who it was then. Linux only; std's is not stable yet.
    ///
    /// # Errors
    ///
    /// What the system says.
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
        // 0 stands for a process that this namespace does not see.
        let pid = Some(rustix::process::Pid::as_raw(Some(peer.pid))).filter(|pid| *pid != 0);
        Ok(UCred { uid: peer.uid.as_raw(), gid: peer.gid.as_raw(), pid })
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().local_addr()
    }

    /// The address of the other end.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().peer_addr()
    }

    /// Takes the error that is pending on the socket.
    ///
    /// # Errors
    ///
    /// When even that cannot be learned.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.get_ref().take_error()
    }
}

/// The credentials of [`UnixStream::peer_cred`], in the form of std's unstable ones.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UCred {
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
    /// The process; `None`, if it lives in a namespace that ours does not see.
    pub pid: Option<i32>,
}

impl AsFd for UnixStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

impl Shut for UnixStream {
    fn shut_write(&self) -> io::Result<()> {
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

    /// What is written is with the peer already: there is nothing to flush.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        budget::spend(cx).map(Ok)
    }

    /// Shuts down writing.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        budget::spend(cx).map(|()| split::shut_write(*self))
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
