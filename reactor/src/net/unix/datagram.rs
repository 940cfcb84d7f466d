//! [`UnixDatagram`].

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
use crate::net::unix::room::{poll_room, room, until_room};
use crate::net::unix::{address, named};

/// A Unix socket for datagrams: they keep their bounds and their order, and none is lost.
///
/// A datagram that is longer than the buffer fills it, and the rest is discarded silently, as with
/// std. An empty datagram is a datagram, too: zero bytes do not mean the end.
///
/// A receiver's queue holds few datagrams (`net.unix.max_dgram_qlen`, which is 10 by default). A
/// sender waits while the queue is full. A *connected* sender is woken when there is space. For an
/// unconnected sender epoll reports no event, so [`send_to`](UnixDatagram::send_to) retries after
/// 1 ms, with pauses that double up to 50 ms. So connect a socket that sends much to one receiver.
///
/// Dropping a socket leaves its file in place, as with std and tokio. On Linux a path that begins
/// with a zero byte is an abstract name, which needs no file.
///
/// # Cancel safety
///
/// A datagram that was received has also been returned: dropping a future loses none.
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
#[derive(Debug)]
pub struct UnixDatagram(pub(in crate::net) Async<mio::net::UnixDatagram>);

impl UnixDatagram {
    /// Makes a socket file at `path`, and receives there.
    ///
    /// # Errors
    ///
    /// `AddrInUse`, if there is a file already; `InvalidInput` for a path that is too long; and
    /// what else the system says.
    ///
    /// # Panics
    ///
    /// Outside of `block_on`.
    #[track_caller]
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixDatagram> {
        UnixDatagram::bind_addr(&address(path.as_ref())?)
    }

    /// Binds to an address of std: on Linux it may be an abstract name, which needs no file.
    ///
    /// # Errors
    ///
    /// `AddrInUse`, and what else the system says.
    ///
    /// # Panics
    ///
    /// Outside of `block_on`.
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

    /// A socket without a name: it can send, and nobody can send to it.
    ///
    /// # Errors
    ///
    /// What the system says.
    ///
    /// # Panics
    ///
    /// Outside of `block_on`.
    #[track_caller]
    pub fn unbound() -> io::Result<UnixDatagram> {
        Async::new(mio::net::UnixDatagram::unbound()?).map(UnixDatagram)
    }

    /// Two sockets without names, connected to each other.
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
        Ok((UnixDatagram(Async::new(one)?), UnixDatagram(Async::new(other)?)))
    }

    /// Takes over a socket of std, and makes it non-blocking.
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
        Async::new(mio::net::UnixDatagram::from_std(socket)).map(UnixDatagram)
    }

    /// Gives the socket back as std's. It stays non-blocking.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn into_std(self) -> io::Result<net::UnixDatagram> {
        Ok(OwnedFd::from(self.0.into_inner()?).into())
    }

    /// Sets the peer: for `send`, and from which alone datagrams are received from now on.
    ///
    /// # Errors
    ///
    /// `NotFound`, if there is no file; `ConnectionRefused`, if nobody receives there any more; and
    /// what else the system says.
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.connect_addr(&address(path.as_ref())?)
    }

    /// Sets the peer, by an address of std: on Linux it may be an abstract name.
    ///
    /// # Errors
    ///
    /// As [`connect`](UnixDatagram::connect); `InvalidInput` for an address without a name.
    pub fn connect_addr(&self, address: &SocketAddr) -> io::Result<()> {
        Ok(rustix::net::connect(self, &named(address)?)?)
    }

    /// Sends one datagram to the peer that `connect` has set, and waits while its queue is full.
    ///
    /// # Errors
    ///
    /// `NotConnected`, if there is none; `ConnectionRefused`, if it is gone; and what else the
    /// system says: `EMSGSIZE`, if the datagram is too long.
    ///
    /// # Cancel safety
    ///
    /// A datagram is sent whole, or not at all; if it was, this has also returned.
    pub async fn send(&self, buf: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_send(cx, buf)).await
    }

    /// Sends one datagram to the socket at `path`, and waits while its queue is full.
    ///
    /// # Errors
    ///
    /// `NotFound`, if there is no file; `ConnectionRefused`, if nobody receives there any more; and
    /// what else the system says.
    ///
    /// # Panics
    ///
    /// When it must wait outside of `block_on`.
    ///
    /// # Cancel safety
    ///
    /// A datagram is sent whole, or not at all; if it was, this has also returned.
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

    /// Sends one datagram to an address of std: on Linux it may be an abstract name.
    ///
    /// # Errors
    ///
    /// As [`send_to`](UnixDatagram::send_to); `InvalidInput` for an address without a name.
    ///
    /// # Panics
    ///
    /// When it must wait outside of `block_on`.
    ///
    /// # Cancel safety
    ///
    /// A datagram is sent whole, or not at all; if it was, this has also returned.
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
        let target = charge_error(named(address)).await?;
        until_room(caller, || self.try_send_to(buf, &target)).await
    }

    /// [`send_to`](UnixDatagram::send_to) as a `poll` function.
    ///
    /// While the receiver's queue is full, this function retries every 5 ms. `send_to` doubles its
    /// pauses up to 50 ms, so prefer `send_to` where the wait may be long.
    ///
    /// # Errors
    ///
    /// As [`send_to`](UnixDatagram::send_to).
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
        poll_room(cx, || self.try_send_to(buf, &named(&address(path.as_ref())?)?))
    }

    /// Returns `None` if the receiver's queue is full.
    ///
    /// This does not use the readiness of the socket. A `send` that waits for the connected peer
    /// clears it, which says nothing about the queue of another receiver.
    fn try_send_to(&self, buf: &[u8], target: &SocketAddrUnix) -> io::Result<Option<usize>> {
        let sendto = || rustix::net::sendto(self, buf, SendFlags::empty(), target);
        room(retry_on_intr(sendto).map_err(io::Error::from))
    }

    /// Receives one datagram from the peer that `connect` has set, or from anyone.
    ///
    /// The number of bytes is at most that of `buf`, also for a datagram that was longer; zero is
    /// the length of an empty one.
    ///
    /// # Errors
    ///
    /// What the system says.
    ///
    /// # Cancel safety
    ///
    /// A datagram that was received has also been returned.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_recv(cx, buf)).await
    }

    /// Receives one datagram, and tells where it came from: often from a socket without a name.
    ///
    /// # Errors
    ///
    /// What the system says.
    ///
    /// # Cancel safety
    ///
    /// A datagram that was received has also been returned.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        poll_fn(|cx| self.poll_recv_from(cx, buf)).await
    }

    /// [`send`](UnixDatagram::send) as a `poll` function.
    ///
    /// # Errors
    ///
    /// As [`send`](UnixDatagram::send).
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
    /// As [`recv`](UnixDatagram::recv).
    pub fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.0.poll_read_as("recv", cx, || self.0.get_ref().recv(buf))
    }

    /// [`recv_from`](UnixDatagram::recv_from) as a `poll` function.
    ///
    /// # Errors
    ///
    /// As [`recv_from`](UnixDatagram::recv_from).
    pub fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.0.poll_read_as("recv_from", cx, || self.0.get_ref().recv_from(buf))
    }

    /// Shuts down receiving, sending or both: who then sends is told `BrokenPipe`.
    ///
    /// Linux ends no wait by it. A `recv` goes on waiting, for a datagram that can no longer come.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.get_ref().shutdown(how)
    }

    /// The address that it is bound to, if any.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().local_addr()
    }

    /// The address of the peer that `connect` has set.
    ///
    /// # Errors
    ///
    /// `NotConnected`, if there is none.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().peer_addr()
    }

    /// Takes the error that is pending on the socket, so that no operation returns it.
    ///
    /// # Errors
    ///
    /// When even that cannot be learned.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.get_ref().take_error()
    }
}

impl AsFd for UnixDatagram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}
