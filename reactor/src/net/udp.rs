//! UDP: [`UdpSocket`].
//!
//! UDP sockets use readiness, as TCP sockets do. But only `WouldBlock` clears the readiness: a
//! datagram that is shorter than the buffer does not mean that the queue is empty.

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::net::{self, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::Location;
use std::task::{Context, Poll};

use crate::budget;
use crate::net::ToSocketAddrs;
use crate::net::addr::{resolve, try_addresses};
use crate::{Async, Reactor};

/// A UDP socket.
///
/// One receive operation returns exactly one datagram. A datagram may be empty, so zero bytes do
/// not mean the end. If a datagram is longer than the buffer, the rest of it is discarded without
/// an error, as with std. To detect this, pass a buffer that is one byte longer than the longest
/// datagram you expect. Over IPv4, no datagram is longer than 65,507 bytes.
///
/// On a *connected* socket, a network error that an earlier datagram caused is returned by a later
/// operation. For example, if the peer's port is closed, the next operation of any kind returns
/// `ConnectionRefused`, once. The socket stays usable, so a receive loop should go on after such an
/// error. A `send` that returns it has not sent its datagram. On Linux, an unconnected socket does
/// not report such errors.
///
/// All operations need only `&UdpSocket`, so several tasks can send and receive on one socket. Each
/// datagram goes to one of them.
///
/// # Cancel safety
///
/// Dropping the future of a receive operation loses no datagram: it completes as soon as it has
/// received one.
///
/// # Examples
///
/// ```
/// use reactor::net::UdpSocket;
///
/// # fn main() -> std::io::Result<()> {
/// executor::block_on(async {
///     let server = UdpSocket::bind("127.0.0.1:0").await?;
///     let client = UdpSocket::bind("127.0.0.1:0").await?;
///     client.connect(server.local_addr()?).await?;
///     assert_eq!(client.peer_addr()?, server.local_addr()?);
///     client.send(b"hello").await?;
///
///     let mut bytes = [0; 1500];
///     let (length, from) = server.recv_from(&mut bytes).await?;
///     assert_eq!((&bytes[..length], from), (&b"hello"[..], client.local_addr()?));
///     server.send_to(&bytes[..length], from).await?;
///
///     assert_eq!(client.peek(&mut bytes).await?, 5); // It stays in the queue.
///     assert_eq!(client.peek_from(&mut bytes).await?, (5, server.local_addr()?));
///     assert_eq!(client.recv(&mut bytes).await?, 5);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct UdpSocket(pub(in crate::net) Async<mio::net::UdpSocket>);

impl UdpSocket {
    /// Binds a socket to the first address that can be bound. With port 0, the OS chooses a free
    /// port.
    ///
    /// # Errors
    ///
    /// If all addresses fail, returns the error of the last one, e.g. `AddrInUse` or
    /// `PermissionDenied`. The error comes from the system call `socket`, `bind` or `epoll_ctl`. If
    /// `addr` cannot be resolved, returns an error of [`lookup_host`](crate::net::lookup_host).
    ///
    /// # Panics
    ///
    /// Panics outside of `block_on`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: it waits only while a name is looked up, before it
    /// creates a socket.
    #[track_caller]
    pub fn bind(addr: impl ToSocketAddrs) -> impl Future<Output = io::Result<UdpSocket>> {
        let caller = Location::caller();
        async move {
            drop(Reactor::current_for(caller));
            try_addresses(addr, async |addr| {
                Async::new(mio::net::UdpSocket::bind(addr)?).map(UdpSocket)
            })
            .await
        }
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
    /// use reactor::net::UdpSocket;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # executor::block_on(async {
    /// let socket = UdpSocket::from_std(std::net::UdpSocket::bind("127.0.0.1:0")?)?;
    /// let socket = socket.into_std()?;
    /// socket.set_nonblocking(false)?;
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[track_caller]
    pub fn from_std(socket: net::UdpSocket) -> io::Result<UdpSocket> {
        socket.set_nonblocking(true)?;
        Async::new(mio::net::UdpSocket::from_std(socket)).map(UdpSocket)
    }

    /// Deregisters the socket, and converts it to a std socket. It stays in non-blocking mode.
    ///
    /// # Errors
    ///
    /// Returns the error of the `epoll_ctl` system call. The socket is then closed.
    pub fn into_std(self) -> io::Result<net::UdpSocket> {
        Ok(OwnedFd::from(self.0.into_inner()?).into())
    }

    /// Sets the peer of the socket, to the first address that `connect` accepts.
    ///
    /// `send` sends to the peer. From now on the kernel queues only datagrams of the peer.
    /// Datagrams of other senders that are already in the queue stay there. `connect` sends
    /// nothing, so success does not mean that the peer exists.
    ///
    /// # Errors
    ///
    /// If all addresses fail, returns the error of the `connect` system call for the last one. If
    /// `addr` cannot be resolved, returns an error of [`lookup_host`](crate::net::lookup_host).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing: it waits only while a name is looked up, before it sets
    /// the peer.
    pub async fn connect(&self, addr: impl ToSocketAddrs) -> io::Result<()> {
        try_addresses(addr, async |addr| self.0.get_ref().connect(addr)).await
    }

    /// Sends one datagram to the peer that `connect` has set.
    ///
    /// # Errors
    ///
    /// Returns `ConnectionRefused` if the peer's port was closed when an *earlier* datagram arrived
    /// there; this datagram is then not sent. Returns another error of the `send` system call, e.g.
    /// EMSGSIZE if the datagram is too long.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it completes, no datagram has been sent.
    pub async fn send(&self, buf: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_send(cx, buf)).await
    }

    /// Sends one datagram to the first address of `target`.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`send`](UdpSocket::send). If `target` cannot be resolved,
    /// returns an error of [`lookup_host`](crate::net::lookup_host). If it contains no address,
    /// returns `InvalidInput`.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it completes, no datagram has been sent.
    pub async fn send_to(&self, buf: &[u8], target: impl ToSocketAddrs) -> io::Result<usize> {
        let Some(target) = resolve(target).await?.into_iter().next() else {
            return Err(io::Error::new(ErrorKind::InvalidInput, "no addresses to send data to"));
        };
        // One datagram must cost one operation of the budget. The attempt below spends it, so
        // refund what `resolve` has spent.
        budget::refund();
        poll_fn(|cx| self.poll_send_to(cx, buf, target)).await
    }

    /// Receives one datagram, and returns how many bytes it has copied into `buf`.
    ///
    /// A connected socket receives datagrams of its peer, an unconnected socket those of any
    /// sender. If the datagram is longer than `buf`, the rest is discarded. Zero means an empty
    /// datagram.
    ///
    /// # Errors
    ///
    /// Returns `ConnectionRefused` if the peer's port was closed when an earlier datagram arrived
    /// there; call `recv` again after this error. Returns another error of the `recv` system call.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no datagram: it completes as soon as it has received one.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_recv(cx, buf)).await
    }

    /// Receives one datagram, and returns its length and the address of its sender.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`recv`](UdpSocket::recv).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no datagram: it completes as soon as it has received one.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        poll_fn(|cx| self.poll_recv_from(cx, buf)).await
    }

    /// [`send`](UdpSocket::send) as a `poll` function.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`send`](UdpSocket::send).
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::net::UdpSocket;
    /// use std::future::poll_fn;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// executor::block_on(async {
    ///     let server = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let client = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let (mut bytes, address) = ([0; 1500], server.local_addr()?);
    ///     poll_fn(|cx| client.poll_send_to(cx, b"hello", address)).await?;
    ///     let (_, from) = poll_fn(|cx| server.poll_recv_from(cx, &mut bytes)).await?;
    ///
    ///     server.connect(from).await?;
    ///     poll_fn(|cx| server.poll_send(cx, b"hi")).await?;
    ///     assert_eq!(poll_fn(|cx| client.poll_recv(cx, &mut bytes)).await?, 2);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn poll_send(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write_as("send", cx, || self.0.get_ref().send(buf))
    }

    /// [`send_to`](UdpSocket::send_to) as a `poll` function.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`send_to`](UdpSocket::send_to).
    pub fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        target: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write_as("send_to", cx, || self.0.get_ref().send_to(buf, target))
    }

    /// [`recv`](UdpSocket::recv) as a `poll` function.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`recv`](UdpSocket::recv).
    pub fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.0.poll_read_as("recv", cx, || self.0.get_ref().recv(buf))
    }

    /// [`recv_from`](UdpSocket::recv_from) as a `poll` function.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`recv_from`](UdpSocket::recv_from).
    pub fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.0.poll_read_as("recv_from", cx, || self.0.get_ref().recv_from(buf))
    }

    /// Waits for a datagram, and copies it into `buf` without removing it from the queue.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`recv`](UdpSocket::recv).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no datagram, because this method removes none.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.0.poll_read_as("peek", cx, || self.0.get_ref().peek(buf))).await
    }

    /// Waits for a datagram as [`peek`](UdpSocket::peek) does, and returns its length and the
    /// address of its sender.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`recv`](UdpSocket::recv).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no datagram, because this method removes none.
    pub async fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        poll_fn(|cx| self.0.poll_read_as("peek_from", cx, || self.0.get_ref().peek_from(buf))).await
    }

    /// Returns the address that the socket is bound to. If it was bound to port 0, the address
    /// contains the port that the OS chose.
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

    /// Returns whether the socket may send to broadcast addresses (`SO_BROADCAST`).
    ///
    /// # Errors
    ///
    /// Returns the error of the `getsockopt` system call.
    pub fn broadcast(&self) -> io::Result<bool> {
        self.0.get_ref().broadcast()
    }

    /// Sets whether the socket may send to broadcast addresses (`SO_BROADCAST`). By default such a
    /// send returns `PermissionDenied`.
    ///
    /// # Errors
    ///
    /// Returns the error of the `setsockopt` system call.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::net::UdpSocket;
    /// use std::net::{Ipv4Addr, Ipv6Addr};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # executor::block_on(async {
    /// let socket = UdpSocket::bind("0.0.0.0:0").await?;
    /// socket.set_broadcast(true)?;
    /// socket.set_ttl(5)?;
    /// socket.set_multicast_loop_v4(false)?;
    /// socket.set_multicast_ttl_v4(2)?;
    /// assert!(socket.broadcast()? && !socket.multicast_loop_v4()?);
    /// assert_eq!((socket.ttl()?, socket.multicast_ttl_v4()?), (5, 2));
    /// assert!(socket.take_error()?.is_none());
    ///
    /// let group = Ipv4Addr::new(224, 0, 0, 251);
    /// # if true { return Ok(()) } // The rest depends on the machine's networks.
    /// socket.join_multicast_v4(group, Ipv4Addr::UNSPECIFIED)?;
    /// socket.leave_multicast_v4(group, Ipv4Addr::UNSPECIFIED)?;
    ///
    /// let socket = UdpSocket::bind("[::]:0").await?;
    /// socket.set_multicast_loop_v6(false)?;
    /// assert!(!socket.multicast_loop_v6()?);
    /// let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
    /// socket.join_multicast_v6(&group, 0)?;
    /// socket.leave_multicast_v6(&group, 0)?;
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn set_broadcast(&self, broadcast: bool) -> io::Result<()> {
        self.0.get_ref().set_broadcast(broadcast)
    }

    /// Returns the time to live of outgoing packets (`IP_TTL`), in hops.
    ///
    /// # Errors
    ///
    /// Returns the error of the `getsockopt` system call.
    pub fn ttl(&self) -> io::Result<u32> {
        self.0.get_ref().ttl()
    }

    /// Sets the time to live of outgoing packets (`IP_TTL`), in hops.
    ///
    /// # Errors
    ///
    /// Returns the error of the `setsockopt` system call.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.0.get_ref().set_ttl(ttl)
    }

    /// Returns whether this machine receives the IPv4 multicast packets that the socket sends
    /// (`IP_MULTICAST_LOOP`).
    ///
    /// # Errors
    ///
    /// Returns the error of the `getsockopt` system call.
    pub fn multicast_loop_v4(&self) -> io::Result<bool> {
        self.0.get_ref().multicast_loop_v4()
    }

    /// Sets whether this machine receives the IPv4 multicast packets that the socket sends
    /// (`IP_MULTICAST_LOOP`).
    ///
    /// # Errors
    ///
    /// Returns the error of the `setsockopt` system call.
    pub fn set_multicast_loop_v4(&self, multicast_loop: bool) -> io::Result<()> {
        self.0.get_ref().set_multicast_loop_v4(multicast_loop)
    }

    /// Returns the time to live of outgoing IPv4 multicast packets (`IP_MULTICAST_TTL`), in hops.
    ///
    /// # Errors
    ///
    /// Returns the error of the `getsockopt` system call.
    pub fn multicast_ttl_v4(&self) -> io::Result<u32> {
        self.0.get_ref().multicast_ttl_v4()
    }

    /// Sets the time to live of outgoing IPv4 multicast packets (`IP_MULTICAST_TTL`), in hops.
    ///
    /// With 1, which is the default, the packets stay in the local network.
    ///
    /// # Errors
    ///
    /// Returns the error of the `setsockopt` system call.
    pub fn set_multicast_ttl_v4(&self, ttl: u32) -> io::Result<()> {
        self.0.get_ref().set_multicast_ttl_v4(ttl)
    }

    /// Returns whether this machine receives the IPv6 multicast packets that the socket sends
    /// (`IPV6_MULTICAST_LOOP`).
    ///
    /// # Errors
    ///
    /// Returns the error of the `getsockopt` system call.
    pub fn multicast_loop_v6(&self) -> io::Result<bool> {
        self.0.get_ref().multicast_loop_v6()
    }

    /// Sets whether this machine receives the IPv6 multicast packets that the socket sends
    /// (`IPV6_MULTICAST_LOOP`).
    ///
    /// # Errors
    ///
    /// Returns the error of the `setsockopt` system call.
    pub fn set_multicast_loop_v6(&self, multicast_loop: bool) -> io::Result<()> {
        self.0.get_ref().set_multicast_loop_v6(multicast_loop)
    }

    /// Joins an IPv4 multicast group, on the interface that has the address `interface`. If it is
    /// `UNSPECIFIED`, the OS chooses the interface.
    ///
    /// The parameters are values, as in tokio and async-net; std takes references.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if `group` is not a multicast address, or another error of the
    /// `setsockopt` system call.
    pub fn join_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.0.get_ref().join_multicast_v4(&group, &interface)
    }

    /// Leaves an IPv4 multicast group.
    ///
    /// # Errors
    ///
    /// Returns `AddrNotAvailable` if the socket is not a member of the group, or another error of
    /// the `setsockopt` system call.
    pub fn leave_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.0.get_ref().leave_multicast_v4(&group, &interface)
    }

    /// Joins an IPv6 multicast group, on the interface that has the index `interface`. If it is 0,
    /// the OS chooses the interface.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if `group` is not a multicast address, or another error of the
    /// `setsockopt` system call.
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.0.get_ref().join_multicast_v6(group, interface)
    }

    /// Leaves an IPv6 multicast group.
    ///
    /// # Errors
    ///
    /// Returns `AddrNotAvailable` if the socket is not a member of the group, or another error of
    /// the `setsockopt` system call.
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.0.get_ref().leave_multicast_v6(group, interface)
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}
