//! [`UnixDatagram`]: a Unix socket for datagrams.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{self, SocketAddr};
use std::panic::Location;
use std::path::Path;
use std::task::{Context, Poll};

use rustix::io::retry_on_intr;
use rustix::net::{SendFlags, SocketAddrUnix};

use crate::Async;
use crate::budget::charge_error;
use crate::net::unix::room::{Pauses, none_if_full, retry_while_full};
use crate::net::unix::{address, to_rustix};

/// A Unix datagram socket. Datagrams arrive in order, and none is lost.
///
/// One receive operation returns exactly one datagram. A datagram may be empty, so zero bytes do
/// not mean the end. If a datagram is longer than the buffer, the rest of it is discarded without
/// an error, as with std.
///
/// A receiver's queue holds few datagrams (`net.unix.max_dgram_qlen`, which is 10 by default). A
/// sender waits while the queue is full. If the sender is *connected*, an event wakes it when there
/// is space. For an unconnected sender epoll reports no event, so
/// [`send_to`](UnixDatagram::send_to) retries after 1 ms, with pauses that double up to 50 ms.
/// So connect a socket that sends many datagrams to one receiver.
///
/// Dropping a socket leaves its file in place, as in std and tokio. On Linux, a path that begins
/// with a zero byte is an abstract name, which needs no file.
///
/// # Cancel safety
///
/// Dropping the future of a receive operation loses no datagram: it completes as soon as it has
/// received one.
///
/// # Examples
///
/// ```
/// use reactor::net::UnixDatagram;
/// use std::net::Shutdown;
///
/// # fn main() -> std::io::Result<()> {
/// # let directory = std::env::temp_dir().join(format!("datagram-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// # let path = directory.join("socket");
/// executor::block_on(async {
///     let server = UnixDatagram::bind(&path)?;
///     let client = UnixDatagram::unbound()?;
///     client.send_to(b"one", &path).await?;
///     client.connect(&path)?;
///     client.send(b"two").await?;
///     assert_eq!(client.peer_addr()?.as_pathname(), server.local_addr()?.as_pathname());
///
///     let mut bytes = [0; 100];
///     let (length, from) = server.recv_from(&mut bytes).await?;
///     assert!(length == 3 && from.is_unnamed());
///     assert_eq!(server.recv(&mut bytes).await?, 3);
///     client.shutdown(Shutdown::Both)?;
///     assert!(client.take_error()?.is_none());
///     std::fs::remove_file(&path)
/// })?;
/// # std::fs::remove_dir(&directory)
/// # }
/// ```
pub struct UnixDatagram(pub(in crate::net) Async<mio::net::UnixDatagram>, Pauses);

impl UnixDatagram {
    #[track_caller]
    fn new(socket: mio::net::UnixDatagram) -> io::Result<UnixDatagram> {
        Ok(UnixDatagram(Async::new(socket)?, Pauses::default()))
    }

    /// Creates a socket file at `path`, and binds a socket to it.
    ///
    /// # Errors
    ///
    /// Returns `AddrInUse` if the file already exists, and `InvalidInput` if the path is too long.
    /// Returns any other error of the system calls `socket`, `bind`, `ioctl` and `epoll_ctl`.
    ///
    /// # Panics
    ///
    /// Panics outside of `block_on`.
    #[track_caller]
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixDatagram> {
        UnixDatagram::bind_addr(&address(path.as_ref())?)
    }

    /// Binds a socket to a std address, which on Linux may be an abstract name.
    ///
    /// # Errors
    ///
    /// Returns `AddrInUse` if the address is in use, or another error of the system calls of
    /// [`bind`](UnixDatagram::bind).
    ///
    /// # Panics
    ///
    /// Panics outside of `block_on`.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use reactor::net::UnixDatagram;
    /// use std::os::linux::net::SocketAddrExt;
    /// use std::os::unix::net::SocketAddr;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # executor::block_on(async {
    /// # let name = format!("datagram-{}", std::process::id());
    /// let address = SocketAddr::from_abstract_name(name)?;
    /// let server = UnixDatagram::bind_addr(&address)?;
    /// let client = UnixDatagram::unbound()?;
    /// client.send_to_addr(b"one", &address).await?;
    /// client.connect_addr(&address)?;
    /// client.send(b"two").await?;
    /// # drop(server);
    /// # Ok(())
    /// # })
    /// # }
    /// # main().unwrap() }
    /// ```
    #[track_caller]
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixDatagram> {
        UnixDatagram::from_std(net::UnixDatagram::bind_addr(address)?)
    }

    /// Creates an unnamed socket. It can send, but no socket can send to it.
    ///
    /// # Errors
    ///
    /// Returns the error of the `socket` or `epoll_ctl` system call.
    ///
    /// # Panics
    ///
    /// Panics outside of `block_on`.
    #[track_caller]
    pub fn unbound() -> io::Result<UnixDatagram> {
        UnixDatagram::new(mio::net::UnixDatagram::unbound()?)
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
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::net::UnixDatagram;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # executor::block_on(async {
    /// let (ours, theirs) = UnixDatagram::pair()?;
    /// ours.send(b"hello").await?;
    /// assert_eq!(theirs.recv(&mut [0; 100]).await?, 5);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[track_caller]
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (one, other) = mio::net::UnixDatagram::pair()?;
        Ok((UnixDatagram::new(one)?, UnixDatagram::new(other)?))
    }

    /// Converts a std socket, and sets it to non-blocking mode.
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
    /// use reactor::net::UnixDatagram;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # executor::block_on(async {
    /// let socket = UnixDatagram::from_std(std::os::unix::net::UnixDatagram::unbound()?)?;
    /// let socket = socket.into_std()?;
    /// socket.set_nonblocking(false)?;
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[track_caller]
    pub fn from_std(socket: net::UnixDatagram) -> io::Result<UnixDatagram> {
        socket.set_nonblocking(true)?;
        UnixDatagram::new(mio::net::UnixDatagram::from_std(socket))
    }

    /// Deregisters the socket, and converts it to a std socket. It stays in non-blocking mode.
    ///
    /// # Errors
    ///
    /// Returns the error of the `epoll_ctl` system call. The socket is then closed.
    pub fn into_std(self) -> io::Result<net::UnixDatagram> {
        Ok(OwnedFd::from(self.0.into_inner()?).into())
    }

    /// Sets the peer of the socket. `send` sends to the peer, and from now on only the peer can
    /// send to this socket.
    ///
    /// # Errors
    ///
    /// Returns `NotFound` if the file does not exist, `ConnectionRefused` if no socket is bound to
    /// it any more, or another error of the `connect` system call.
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.connect_addr(&address(path.as_ref())?)
    }

    /// Sets the peer to a std address, which on Linux may be an abstract name.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`connect`](UnixDatagram::connect), and `InvalidInput` if the
    /// address is unnamed.
    pub fn connect_addr(&self, address: &SocketAddr) -> io::Result<()> {
        Ok(rustix::net::connect(self, &to_rustix(address)?)?)
    }

    /// Sends one datagram to the peer that `connect` has set, and waits while its queue is full.
    ///
    /// # Errors
    ///
    /// Returns `NotConnected` if no peer is set, and `ConnectionRefused` if the peer is closed.
    /// Returns another error of the `send` system call, e.g. EMSGSIZE if the datagram is too long.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it completes, no datagram has been sent.
    pub async fn send(&self, buf: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_send(cx, buf)).await
    }

    /// Sends one datagram to the socket at `path`, and waits while its queue is full.
    ///
    /// # Errors
    ///
    /// Returns `NotFound` if the file does not exist, `ConnectionRefused` if no socket is bound to
    /// it any more, or another error of the `sendto` system call.
    ///
    /// # Panics
    ///
    /// Panics if it has to wait outside of `block_on`.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it completes, no datagram has been sent.
    #[track_caller]
    pub fn send_to(
        &self,
        buf: &[u8],
        path: impl AsRef<Path>,
    ) -> impl Future<Output = io::Result<usize>> {
        let caller = Location::caller();
        async move {
            let address = charge_error(address(path.as_ref())).await?;
            self.send_for(caller, buf, &address).await
        }
    }

    /// Sends one datagram to a std address, which on Linux may be an abstract name.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`send_to`](UnixDatagram::send_to), and `InvalidInput` if the
    /// address is unnamed.
    ///
    /// # Panics
    ///
    /// Panics if it has to wait outside of `block_on`.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it completes, no datagram has been sent.
    #[track_caller]
    pub fn send_to_addr(
        &self,
        buf: &[u8],
        address: &SocketAddr,
    ) -> impl Future<Output = io::Result<usize>> {
        let caller = Location::caller();
        async move { self.send_for(caller, buf, address).await }
    }

    async fn send_for(
        &self,
        caller: &'static Location<'static>,
        buf: &[u8],
        address: &SocketAddr,
    ) -> io::Result<usize> {
        let target = charge_error(to_rustix(address)).await?;
        retry_while_full(caller, || self.try_send_to(buf, &target)).await
    }

    /// [`send_to`](UnixDatagram::send_to) as a `poll` function.
    ///
    /// While the receiver's queue is full, the task is woken every 5 ms to retry. The pauses of
    /// `send_to` double up to 50 ms, so prefer `send_to` if the wait may be long.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`send_to`](UnixDatagram::send_to).
    ///
    /// # Panics
    ///
    /// Panics if it has to wait outside of `block_on`.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use reactor::net::UnixDatagram;
    /// use std::future::poll_fn;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let name = format!("\0poll-send-to-{}", std::process::id());
    /// # executor::block_on(async {
    /// let receiver = UnixDatagram::bind(&name)?;
    /// let sender = UnixDatagram::unbound()?;
    /// poll_fn(|cx| sender.poll_send_to(cx, b"hello", &name)).await?;
    /// assert_eq!(receiver.recv(&mut [0; 100]).await?, 5);
    /// # Ok(())
    /// # })
    /// # }
    /// # main().unwrap() }
    /// ```
    #[track_caller]
    pub fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        path: impl AsRef<Path>,
    ) -> Poll<io::Result<usize>> {
        self.1.poll_unless_full(cx, || self.try_send_to(buf, &to_rustix(&address(path.as_ref())?)?))
    }

    /// Sends one datagram, or returns `None` if the receiver's queue is full.
    ///
    /// It does not use the socket's readiness, which concerns only the queue of the connected peer.
    fn try_send_to(&self, buf: &[u8], target: &SocketAddrUnix) -> io::Result<Option<usize>> {
        let sendto = || rustix::net::sendto(self, buf, SendFlags::empty(), target);
        none_if_full(retry_on_intr(sendto).map_err(io::Error::from))
    }

    /// Receives one datagram, and returns how many bytes it has copied into `buf`.
    ///
    /// A connected socket receives datagrams of its peer, an unconnected socket those of any
    /// sender. If the datagram is longer than `buf`, the rest is discarded. Zero means an empty
    /// datagram.
    ///
    /// # Errors
    ///
    /// Returns the error of the `recv` system call.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no datagram: it completes as soon as it has received one.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_recv(cx, buf)).await
    }

    /// Receives one datagram, and returns its length and the address of its sender, which is often
    /// unnamed.
    ///
    /// # Errors
    ///
    /// Returns the error of the `recvfrom` system call.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no datagram: it completes as soon as it has received one.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        poll_fn(|cx| self.poll_recv_from(cx, buf)).await
    }

    /// [`send`](UnixDatagram::send) as a `poll` function.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`send`](UnixDatagram::send).
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::net::UnixDatagram;
    /// use std::future::poll_fn;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// executor::block_on(async {
    ///     let (ours, theirs) = UnixDatagram::pair()?;
    ///     poll_fn(|cx| ours.poll_send(cx, b"hello")).await?;
    ///     poll_fn(|cx| ours.poll_send(cx, b"again")).await?;
    ///     let mut bytes = [0; 100];
    ///     assert_eq!(poll_fn(|cx| theirs.poll_recv(cx, &mut bytes)).await?, 5);
    ///     let (_, from) = poll_fn(|cx| theirs.poll_recv_from(cx, &mut bytes)).await?;
    ///     assert!(from.is_unnamed());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn poll_send(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write_as("send", cx, || self.0.get_ref().send(buf))
    }

    /// [`recv`](UnixDatagram::recv) as a `poll` function.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`recv`](UnixDatagram::recv).
    pub fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.0.poll_read_as("recv", cx, || self.0.get_ref().recv(buf))
    }

    /// [`recv_from`](UnixDatagram::recv_from) as a `poll` function.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`recv_from`](UnixDatagram::recv_from).
    pub fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.0.poll_read_as("recv_from", cx, || self.0.get_ref().recv_from(buf))
    }

    /// Shuts down receiving, sending or both.
    ///
    /// If receiving is shut down, a `send` to this socket returns `BrokenPipe`. If sending is shut
    /// down, a `send` from this socket does. On Linux, a pending operation does not complete: a
    /// `recv` waits forever, because no datagram can arrive any more.
    ///
    /// # Errors
    ///
    /// Returns the error of the `shutdown` system call.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.get_ref().shutdown(how)
    }

    /// Returns the address that the socket is bound to, or an unnamed address.
    ///
    /// # Errors
    ///
    /// Returns the error of the `getsockname` system call.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().local_addr()
    }

    /// Returns the address of the peer that `connect` has set.
    ///
    /// # Errors
    ///
    /// Returns `NotConnected` if no peer is set, or another error of the `getpeername` system call.
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

impl fmt::Debug for UnixDatagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UnixDatagram").field(&self.0).finish()
    }
}

impl AsFd for UnixDatagram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}
