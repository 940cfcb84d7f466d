//! UDP: [`UdpSocket`].
//!
//! By way of readiness, as TCP, but always until `WouldBlock`: a datagram that is shorter than the
//! buffer says nothing about the next one.

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::net::{self, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::Location;
use std::task::{Context, Poll};

use crate::budget;
use crate::net::ToSocketAddrs;
use crate::net::addr::{first_that_works, resolve};
use crate::{Async, Reactor};

/// A UDP socket.
///
/// Datagrams keep their bounds: each that is received is one that was sent. An empty one is a
/// datagram too: zero bytes are not an end. One that is longer than the buffer fills it, and the
/// rest is discarded without a word, as with std: who must know gives a buffer that is one byte
/// longer than the longest datagram expected. None is longer than 65,507 bytes over IPv4.
///
/// What the network says about an earlier datagram, "nobody listens there" for instance, comes
/// back as the error of a later call: `ConnectionRefused`, once, from whichever operation is first.
/// On a *connected* socket, that is; on Linux one that is not connected is told nothing. The socket
/// is as good as before: a loop that receives should go on after such an error. (And a `send` that
/// returns it has not sent.)
///
/// All operations need only `&UdpSocket`: several tasks may send and receive on one socket, and
/// each datagram goes to one of them.
///
/// # Cancel safety
///
/// A datagram that was received has also been returned: dropping a future loses none.
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
///     assert_eq!(client.peek(&mut bytes).await?, 5); // It is still there.
///     assert_eq!(client.peek_from(&mut bytes).await?, (5, server.local_addr()?));
///     assert_eq!(client.recv(&mut bytes).await?, 5);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct UdpSocket(pub(in crate::net) Async<mio::net::UdpSocket>);

impl UdpSocket {
    /// Binds a socket to the first of the addresses that works. Port 0 lets the system choose one.
    ///
    /// # Errors
    ///
    /// `AddrInUse`, `PermissionDenied` and what else the system says; `InvalidInput` for what is
    /// no address.
    ///
    /// # Panics
    ///
    /// Outside of `block_on`.
    ///
    /// # Cancel safety
    ///
    /// It waits only while a name is looked up, and nothing is bound yet.
    #[track_caller]
    pub fn bind(addr: impl ToSocketAddrs) -> impl Future<Output = io::Result<UdpSocket>> {
        let caller = Location::caller();
        async move {
            drop(Reactor::current_for(caller));
            first_that_works(addr, async |addr| {
                Async::new(mio::net::UdpSocket::bind(addr)?).map(UdpSocket)
            })
            .await
        }
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

    /// Gives the socket back as std's. It stays non-blocking.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn into_std(self) -> io::Result<net::UdpSocket> {
        Ok(OwnedFd::from(self.0.into_inner()?).into())
    }

    /// Sets the peer, to the first of the addresses that works.
    ///
    /// `send` sends to it, and of the datagrams that come from now on only its own are received:
    /// those of others that lie there already still are. Nothing is sent for this, so it says
    /// nothing about whether the peer is there.
    ///
    /// # Errors
    ///
    /// That of the last address; `InvalidInput` for what is no address.
    ///
    /// # Panics
    ///
    /// For a name, outside of `block_on`.
    ///
    /// # Cancel safety
    ///
    /// It waits only while a name is looked up, and no peer is set yet.
    pub async fn connect(&self, addr: impl ToSocketAddrs) -> io::Result<()> {
        first_that_works(addr, async |addr| self.0.get_ref().connect(addr)).await
    }

    /// Sends one datagram to the peer that `connect` has set.
    ///
    /// # Errors
    ///
    /// `ConnectionRefused`, if nobody was there for an *earlier* one; this one is then not sent.
    /// What else the system says: `EMSGSIZE`, if it is too long.
    ///
    /// # Cancel safety
    ///
    /// A datagram is sent whole, or not at all; if it was, this has also returned.
    pub async fn send(&self, buf: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_send(cx, buf)).await
    }

    /// Sends one datagram to the first of the addresses.
    ///
    /// # Errors
    ///
    /// As [`send`](UdpSocket::send); `InvalidInput`, if there is no address.
    ///
    /// # Panics
    ///
    /// For a name, outside of `block_on`.
    ///
    /// # Cancel safety
    ///
    /// A datagram is sent whole, or not at all; if it was, this has also returned.
    pub async fn send_to(&self, buf: &[u8], target: impl ToSocketAddrs) -> io::Result<usize> {
        let Some(target) = resolve(target).await?.into_iter().next() else {
            return Err(io::Error::new(ErrorKind::InvalidInput, "no addresses to send data to"));
        };
        // One datagram is one operation, and the attempt below spends it. So take back what
        // `resolve` has spent.
        budget::refund();
        poll_fn(|cx| self.poll_send_to(cx, buf, target)).await
    }

    /// Receives one datagram from the peer that `connect` has set, or from anyone.
    ///
    /// The number of bytes is at most that of `buf`, also for a datagram that was longer; zero is
    /// the length of an empty one.
    ///
    /// # Errors
    ///
    /// `ConnectionRefused`, if nobody was there for a datagram that was sent before. The next call
    /// receives again.
    ///
    /// # Cancel safety
    ///
    /// A datagram that was received has also been returned.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_recv(cx, buf)).await
    }

    /// Receives one datagram, and tells where it came from.
    ///
    /// # Errors
    ///
    /// As [`recv`](UdpSocket::recv).
    ///
    /// # Cancel safety
    ///
    /// A datagram that was received has also been returned.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        poll_fn(|cx| self.poll_recv_from(cx, buf)).await
    }

    /// [`send`](UdpSocket::send) as a `poll` function.
    ///
    /// # Errors
    ///
    /// As [`send`](UdpSocket::send).
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
    /// As [`send_to`](UdpSocket::send_to).
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
    /// As [`recv`](UdpSocket::recv).
    pub fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.0.poll_read_as("recv", cx, || self.0.get_ref().recv(buf))
    }

    /// [`recv_from`](UdpSocket::recv_from) as a `poll` function.
    ///
    /// # Errors
    ///
    /// As [`recv_from`](UdpSocket::recv_from).
    pub fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.0.poll_read_as("recv_from", cx, || self.0.get_ref().recv_from(buf))
    }

    /// Shows the next datagram without taking it.
    ///
    /// # Errors
    ///
    /// As [`recv`](UdpSocket::recv).
    ///
    /// # Cancel safety
    ///
    /// Nothing is moved, so nothing can be lost.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.0.poll_read_as("peek", cx, || self.0.get_ref().peek(buf))).await
    }

    /// Shows the next datagram without taking it, and tells where it came from.
    ///
    /// # Errors
    ///
    /// As [`recv`](UdpSocket::recv).
    ///
    /// # Cancel safety
    ///
    /// Nothing is moved, so nothing can be lost.
    pub async fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        poll_fn(|cx| self.0.poll_read_as("peek_from", cx, || self.0.get_ref().peek_from(buf))).await
    }

    /// The address that it is bound to: with port 0, the one that the system chose.
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

    /// Whether it may send to broadcast addresses.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn broadcast(&self) -> io::Result<bool> {
        self.0.get_ref().broadcast()
    }

    /// Allows it to send to broadcast addresses; else the system answers `PermissionDenied`.
    ///
    /// # Errors
    ///
    /// What the system says.
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
    /// # if true { return Ok(()) } // It depends on the networks of the machine.
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

    /// The time to live of packets, in hops.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn ttl(&self) -> io::Result<u32> {
        self.0.get_ref().ttl()
    }

    /// Sets the time to live of packets, in hops.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.0.get_ref().set_ttl(ttl)
    }

    /// Whether this machine receives what it sends to groups of IPv4.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn multicast_loop_v4(&self) -> io::Result<bool> {
        self.0.get_ref().multicast_loop_v4()
    }

    /// Sets whether this machine receives what it sends to groups of IPv4.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_multicast_loop_v4(&self, multicast_loop: bool) -> io::Result<()> {
        self.0.get_ref().set_multicast_loop_v4(multicast_loop)
    }

    /// The time to live of what is sent to groups of IPv4, in hops.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn multicast_ttl_v4(&self) -> io::Result<u32> {
        self.0.get_ref().multicast_ttl_v4()
    }

    /// Sets the time to live of what is sent to groups of IPv4, in hops.
    ///
    /// With 1, the default, it stays in the local network.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_multicast_ttl_v4(&self, ttl: u32) -> io::Result<()> {
        self.0.get_ref().set_multicast_ttl_v4(ttl)
    }

    /// Whether this machine receives what it sends to groups of IPv6.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn multicast_loop_v6(&self) -> io::Result<bool> {
        self.0.get_ref().multicast_loop_v6()
    }

    /// Sets whether this machine receives what it sends to groups of IPv6.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_multicast_loop_v6(&self, multicast_loop: bool) -> io::Result<()> {
        self.0.get_ref().set_multicast_loop_v6(multicast_loop)
    }

    /// Joins a group of IPv4, on the interface of that address; unspecified: on the system's own.
    ///
    /// By value, as tokio's and async-net's; std takes references.
    ///
    /// # Errors
    ///
    /// What the system says: `InvalidInput`, if it is no address of a group.
    pub fn join_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.0.get_ref().join_multicast_v4(&group, &interface)
    }

    /// Leaves a group of IPv4.
    ///
    /// # Errors
    ///
    /// `AddrNotAvailable`, if it is in no such group.
    pub fn leave_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.0.get_ref().leave_multicast_v4(&group, &interface)
    }

    /// Joins a group of IPv6, on the interface of that index; 0, on the system's choice.
    ///
    /// # Errors
    ///
    /// What the system says: `InvalidInput`, if it is no address of a group.
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.0.get_ref().join_multicast_v6(group, interface)
    }

    /// Leaves a group of IPv6.
    ///
    /// # Errors
    ///
    /// `AddrNotAvailable`, if it is in no such group.
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.0.get_ref().leave_multicast_v6(group, interface)
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}
