//! TCP: [`TcpListener`] and [`TcpStream`].

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{self, Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_io::{AsyncRead, AsyncWrite};
use log::debug;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::budget;
use crate::net::ToSocketAddrs;
use crate::net::addr::try_addresses;
use crate::net::incoming::{Accept, Incoming, IncomingWithPeers};
use crate::net::split::{self, OwnedReadHalf, OwnedWriteHalf, ReadHalf, ShutdownWrite, WriteHalf};
use crate::source::Direction;
use crate::{Async, Reactor};

/// The length of the kernel's accept queue. The OS may cap it.
const BACKLOG: u32 = 1024;

/// The most buffers that one `readv` or `writev` call takes. std passes no more to the kernel, so a
/// transfer that uses all of these completely is not short, even if the caller passed more.
const IOV_MAX: usize = 1024;

/// A TCP socket that listens for connections.
///
/// # Examples
///
/// ```
/// use reactor::io::{AsyncReadExt, AsyncWriteExt};
/// use reactor::net::{TcpListener, TcpStream};
///
/// # fn main() -> std::io::Result<()> {
/// executor::block_on(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let mut client = TcpStream::connect(listener.local_addr()?).await?;
///     let (mut server, _peer) = listener.accept().await?;
///     client.write_all(b"hello").await?;
///     let mut bytes = [0; 5];
///     server.read_exact(&mut bytes).await?;
///     assert_eq!(&bytes, b"hello");
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct TcpListener(pub(in crate::net) Async<mio::net::TcpListener>);

impl TcpListener {
    /// Listens on the first address that can be bound. With port 0, the OS chooses a free port.
    ///
    /// Sets `SO_REUSEADDR`, as std does, so that a server can be restarted immediately.
    ///
    /// # Errors
    ///
    /// If all addresses fail, returns the error of the last one, e.g. `AddrInUse` or
    /// `PermissionDenied`. The error comes from the system call `socket`, `setsockopt`, `bind`,
    /// `listen`, `ioctl` or `epoll_ctl`. If `addr` cannot be resolved, returns an error of
    /// [`lookup_host`](crate::net::lookup_host).
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
    pub fn bind(addr: impl ToSocketAddrs) -> impl Future<Output = io::Result<TcpListener>> {
        let caller = Location::caller();
        async move {
            drop(Reactor::current_for(caller));
            try_addresses(addr, async |addr| {
                let socket =
                    Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
                socket.set_reuse_address(true)?;
                socket.bind(&SockAddr::from(addr))?;
                socket.listen(BACKLOG as i32)?;
                TcpListener::from_std(socket.into())
            })
            .await
        }
    }

    /// Converts a std listener, and sets it to non-blocking mode.
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
    /// use reactor::net::TcpListener;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # executor::block_on(async {
    /// let listener = TcpListener::from_std(std::net::TcpListener::bind("127.0.0.1:0")?)?;
    /// listener.set_backlog(16)?;
    /// listener.set_ttl(5)?;
    /// assert_eq!(listener.ttl()?, 5);
    /// let listener = listener.into_std()?;
    /// listener.set_nonblocking(false)?;
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[track_caller]
    pub fn from_std(listener: net::TcpListener) -> io::Result<TcpListener> {
        listener.set_nonblocking(true)?;
        Async::new(mio::net::TcpListener::from_std(listener)).map(TcpListener)
    }

    /// Deregisters the listener, and converts it to a std listener. It stays in non-blocking mode.
    ///
    /// # Errors
    ///
    /// Returns the error of the `epoll_ctl` system call. The socket is then closed.
    pub fn into_std(self) -> io::Result<net::TcpListener> {
        Ok(OwnedFd::from(self.0.into_inner()?).into())
    }

    /// Waits for a connection.
    ///
    /// # Errors
    ///
    /// Returns the error of the `accept` or `epoll_ctl` system call. Many of these errors concern
    /// one connection only, and the listener stays usable.
    /// [`incoming`](TcpListener::incoming) tells them apart.
    ///
    /// # Panics
    ///
    /// Panics if a connection is accepted outside of `block_on`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no connection: it completes as soon as it has accepted one.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// [`accept`](TcpListener::accept) as a `poll` function.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`accept`](TcpListener::accept).
    ///
    /// # Panics
    ///
    /// Panics if a connection is accepted outside of `block_on`.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # executor::block_on(async {
    /// let listener = reactor::net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let _client = std::net::TcpStream::connect(listener.local_addr()?)?;
    /// let (stream, _peer) = std::future::poll_fn(|cx| listener.poll_accept(cx)).await?;
    /// # drop(stream);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        Accept::poll_accept(self, cx).map(|accepted| accepted?)
    }

    /// Returns a stream of connections that handles the errors of `accept`.
    ///
    /// The stream skips an error of one connection, and closes a connection that cannot be
    /// registered. If descriptors or memory run out, or if any other error repeats, the stream
    /// pauses. The pauses begin at 10 ms and double up to 1 s (see
    /// [`Backoff`](crate::time::Backoff)). A pause ends early when a socket of this thread is
    /// closed. The stream logs a warning at most once a second. If the listener itself becomes
    /// unusable, the stream yields the error and ends.
    ///
    /// # Panics
    ///
    /// The stream panics as described at [`Incoming`].
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_lite::StreamExt;
    /// use reactor::net::TcpListener;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// executor::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// #   let _client = std::net::TcpStream::connect(listener.local_addr()?)?;
    ///     let mut incoming = listener.incoming();
    ///     while let Some(stream) = incoming.next().await {
    ///         println!("{} connects", stream?.local_addr()?);
    /// #       break;
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// [`Incoming::with_peers`] also yields the address of each peer.
    #[track_caller]
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming::new(self)
    }

    /// Returns the address that the listener is bound to. If it was bound to port 0, the address
    /// contains the port that the OS chose.
    ///
    /// # Errors
    ///
    /// Returns the error of the `getsockname` system call.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().local_addr()
    }

    /// Sets the length of the kernel's accept queue, which `bind` sets to 1024.
    ///
    /// The OS may cap it: on Linux the cap is `net.core.somaxconn`.
    ///
    /// # Errors
    ///
    /// Returns the error of the `listen` system call.
    pub fn set_backlog(&self, backlog: u32) -> io::Result<()> {
        SockRef::from(self.0.get_ref()).listen(i32::try_from(backlog).unwrap_or(i32::MAX))
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
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

impl Accept for TcpListener {
    type Accepted = (TcpStream, SocketAddr);

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<io::Result<Self::Accepted>>> {
        let accepted = self.0.poll_read_as("accept", cx, || self.0.get_ref().accept());
        let (stream, peer) = ready!(accepted)?;
        debug!(peer:% = peer; "accepted");
        Poll::Ready(Ok(Async::new(stream).map(|stream| (TcpStream(stream), peer))))
    }
}

impl Stream for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_accepted(cx).map(|next| Some(next?.map(|(stream, _peer)| stream)))
    }
}

impl Stream for IncomingWithPeers<'_> {
    type Item = io::Result<(TcpStream, SocketAddr)>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_accepted(cx)
    }
}

/// A TCP connection.
///
/// Reading and writing need only `&TcpStream`, so two tasks, or the two halves of
/// [`split`](TcpStream::split), can use one connection.
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
/// use reactor::io::{self, AsyncReadExt, AsyncWriteExt};
/// use reactor::net::{TcpListener, TcpStream};
/// use std::net::Shutdown;
///
/// # fn main() -> io::Result<()> {
/// # executor::block_on(async {
/// # let listener = TcpListener::bind("127.0.0.1:0").await?;
/// # let addr = listener.local_addr()?;
/// let mut stream = TcpStream::connect(addr).await?; // The peer echoes.
/// # let (mut peer, _) = listener.accept().await?;
/// # drop(executor::spawn(async move {
/// #     let (reader, writer) = peer.split();
/// #     io::copy(reader, writer).await
/// # }));
/// stream.write_all(b"hello").await?;
/// stream.shutdown(Shutdown::Write)?;
/// let mut answer = String::new();
/// stream.read_to_string(&mut answer).await?;
/// assert_eq!(answer, "hello");
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Debug)]
pub struct TcpStream(pub(in crate::net) Async<mio::net::TcpStream>);

impl TcpStream {
    /// Connects to the first address that accepts the connection.
    ///
    /// # Errors
    ///
    /// If all addresses fail, returns the error of the last one, e.g. `ConnectionRefused`. The
    /// error comes from the system call `socket`, `connect` or `epoll_ctl`. If `addr` cannot be
    /// resolved, returns an error of [`lookup_host`](crate::net::lookup_host).
    ///
    /// # Panics
    ///
    /// Panics outside of `block_on`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the socket that is connecting, and tries no further address.
    #[track_caller]
    pub fn connect(addr: impl ToSocketAddrs) -> impl Future<Output = io::Result<TcpStream>> {
        let caller = Location::caller();
        async move {
            drop(Reactor::current_for(caller));
            try_addresses(addr, async |addr| {
                let stream = TcpStream(Async::new(mio::net::TcpStream::connect(addr)?)?);
                poll_fn(|cx| stream.poll_connected(cx)).await?;
                Ok(stream)
            })
            .await
        }
    }

    /// Waits until the connection is established. A write event is only a hint: the connection is
    /// established if the socket has no pending error and has a peer address.
    fn poll_connected(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.0.get_ref();
        self.0.poll_write_as("connect", cx, || {
            if let Some(error) = socket.take_error()? {
                return Err(error);
            }
            match socket.peer_addr() {
                Err(error) if error.kind() == ErrorKind::NotConnected => {
                    Err(ErrorKind::WouldBlock.into())
                }
                peer => peer.map(drop),
            }
        })
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
    /// use reactor::net::TcpStream;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # executor::block_on(async {
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let stream = std::net::TcpStream::connect(listener.local_addr()?)?;
    /// let stream = TcpStream::from_std(stream)?;
    /// let stream = stream.into_std()?;
    /// stream.set_nonblocking(false)?;
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[track_caller]
    pub fn from_std(stream: net::TcpStream) -> io::Result<TcpStream> {
        stream.set_nonblocking(true)?;
        Async::new(mio::net::TcpStream::from_std(stream)).map(TcpStream)
    }

    /// Deregisters the connection, and converts it to a std connection. It stays in non-blocking
    /// mode.
    ///
    /// # Errors
    ///
    /// Returns the error of the `epoll_ctl` system call. The socket is then closed.
    pub fn into_std(self) -> io::Result<net::TcpStream> {
        Ok(OwnedFd::from(self.0.into_inner()?).into())
    }

    /// Splits the connection into a read half and a write half, which borrow it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reactor::{io, net::{TcpListener, TcpStream}};
    /// # fn main() -> io::Result<()> {
    /// # executor::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # drop(TcpStream::connect(listener.local_addr()?).await?);
    /// let (mut stream, _peer) = listener.accept().await?;
    /// let (reader, writer) = stream.split();
    /// io::copy(reader, writer).await?; // An echo.
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn split(&mut self) -> (ReadHalf<'_, TcpStream>, WriteHalf<'_, TcpStream>) {
        split::borrowed(self)
    }

    /// Splits the connection into a read half and a write half, which can move to different tasks.
    ///
    /// Dropping the write half shuts down writing, so the peer reads end-of-file. Tokio's function
    /// of the same name does the same.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::io::{self, AsyncReadExt, AsyncWriteExt};
    /// # use reactor::net::{TcpListener, TcpStream};
    ///
    /// # fn main() -> io::Result<()> {
    /// # executor::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = TcpStream::connect(listener.local_addr()?).await?;
    /// # let (mut peer, _) = listener.accept().await?;
    /// # drop(executor::spawn(async move {
    /// #     let (reader, writer) = peer.split();
    /// #     io::copy(reader, writer).await
    /// # }));
    /// let (mut reader, mut writer) = stream.into_split(); // The peer echoes.
    /// drop(executor::spawn(async move { writer.write_all(b"hello").await }));
    /// let mut answer = String::new();
    /// reader.read_to_string(&mut answer).await?; // Ends, because the writer was dropped.
    /// assert_eq!(answer, "hello");
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn into_split(self) -> (OwnedReadHalf<TcpStream>, OwnedWriteHalf<TcpStream>) {
        split::owned(self)
    }

    /// Waits for bytes and copies them into `buf` without removing them from the socket's queue.
    ///
    /// Returns how many bytes it has copied. The next read returns them again. Zero means
    /// end-of-file, or that `buf` is empty.
    ///
    /// # Errors
    ///
    /// Returns the error of the `recv` system call.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no data, because `peek` removes none.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::io::AsyncReadExt;
    /// # use reactor::{io::AsyncWriteExt, net::{TcpListener, TcpStream}};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # executor::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let mut peer = TcpStream::connect(listener.local_addr()?).await?;
    /// # let (mut stream, _) = listener.accept().await?;
    /// # peer.write_all(b"hello").await?;
    /// let (mut peeked, mut read) = ([0; 5], [0; 5]);
    /// stream.peek(&mut peeked).await?;
    /// stream.read(&mut read).await?;
    /// assert_eq!(peeked, read);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.0.poll_read_as("peek", cx, || self.0.get_ref().peek(buf))).await
    }

    /// Shuts down reading, writing or both.
    ///
    /// # Errors
    ///
    /// Returns `NotConnected` if the peer has already reset the connection, or another error of the
    /// `shutdown` system call.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.get_ref().shutdown(how)
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
    /// Returns `NotConnected` if the peer has already reset the connection, or another error of the
    /// `getpeername` system call. A server that must know the address takes it from
    /// [`accept`](TcpListener::accept) or [`Incoming::with_peers`].
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().peer_addr()
    }

    /// Returns whether Nagle's algorithm is off (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// Returns the error of the `getsockopt` system call.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.0.get_ref().nodelay()
    }

    /// Turns Nagle's algorithm off or on. If it is off (`nodelay` is true), the kernel sends small
    /// writes immediately. Otherwise it holds them back until the peer acknowledges earlier data.
    ///
    /// # Errors
    ///
    /// Returns the error of the `setsockopt` system call.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reactor::net::{TcpListener, TcpStream};
    /// # fn main() -> std::io::Result<()> {
    /// # executor::block_on(async {
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let stream = TcpStream::connect(listener.local_addr()?).await?;
    /// assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    /// assert_ne!(stream.local_addr()?, stream.peer_addr()?);
    ///
    /// stream.set_nodelay(true)?;
    /// assert!(stream.nodelay()?);
    /// stream.set_ttl(5)?;
    /// assert_eq!(stream.ttl()?, 5);
    /// assert!(stream.take_error()?.is_none());
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.0.get_ref().set_nodelay(nodelay)
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

    /// Takes the pending error of the socket (`SO_ERROR`), so that no later operation returns it.
    ///
    /// # Errors
    ///
    /// Returns the error of the `getsockopt` system call.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.get_ref().take_error()
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

impl ReadHalf<'_, TcpStream> {
    /// Reads bytes without removing them from the queue; see [`TcpStream::peek`].
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`TcpStream::peek`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no data, because `peek` removes none.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::io::{AsyncReadExt, AsyncWriteExt};
    /// # use reactor::net::{TcpListener, TcpStream};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # executor::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let mut peer = TcpStream::connect(listener.local_addr()?).await?;
    /// # let (mut stream, _) = listener.accept().await?;
    /// peer.write_all(b"hello").await?;
    /// let (mut reader, _writer) = stream.split();
    /// let (mut peeked, mut read) = ([0; 5], [0; 5]);
    /// let length = reader.peek(&mut peeked).await?;
    /// reader.read_exact(&mut read[..length]).await?;
    /// assert_eq!(peeked, read);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.as_ref().peek(buf).await
    }
}

impl OwnedReadHalf<TcpStream> {
    /// Reads bytes without removing them from the queue; see [`TcpStream::peek`].
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`TcpStream::peek`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no data, because `peek` removes none.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::io::AsyncWriteExt;
    /// # use reactor::net::{TcpListener, TcpStream};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # executor::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let mut peer = TcpStream::connect(listener.local_addr()?).await?;
    /// # let (stream, _) = listener.accept().await?;
    /// peer.write_all(b"hello").await?;
    /// let (reader, _writer) = stream.into_split();
    /// let mut peeked = [0; 5];
    /// let length = reader.peek(&mut peeked).await?;
    /// assert_eq!(&peeked[..length], &b"hello"[..length]);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.as_ref().peek(buf).await
    }
}

impl ShutdownWrite for TcpStream {
    fn shutdown_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl AsyncRead for &TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let (source, mut socket) = (self.0.source(), self.0.get_ref());
        source.poll_transfer(Direction::Read, "read", buf.len(), cx, || socket.read(buf))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let (source, mut socket) = (self.0.source(), self.0.get_ref());
        let length = bufs.iter().take(IOV_MAX).map(|buf| buf.len()).sum();
        source.poll_transfer(Direction::Read, "readv", length, cx, || socket.read_vectored(bufs))
    }
}

impl AsyncWrite for &TcpStream {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let (source, mut socket) = (self.0.source(), self.0.get_ref());
        source.poll_transfer(Direction::Write, "write", buf.len(), cx, || socket.write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let (source, mut socket) = (self.0.source(), self.0.get_ref());
        let length = bufs.iter().take(IOV_MAX).map(|buf| buf.len()).sum();
        source.poll_transfer(Direction::Write, "writev", length, cx, || socket.write_vectored(bufs))
    }

    /// Does nothing, because the kernel sends written bytes without a flush.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        budget::spend(cx).map(Ok)
    }

    /// Shuts down writing. Succeeds if the peer has already reset the connection.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        budget::spend(cx).map(|()| split::shutdown_write(*self))
    }
}

impl AsyncRead for TcpStream {
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

impl AsyncWrite for TcpStream {
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
