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
use crate::net::addr::first_that_works;
use crate::net::incoming::{Accept, Incoming, IncomingWithPeers};
use crate::net::split::{self, OwnedReadHalf, OwnedWriteHalf, ReadHalf, Shut, WriteHalf};
use crate::{Async, Reactor};

/// Connections that the kernel completes before we accept them; the kernel may allow less.
const BACKLOG: u32 = 1024;

/// Buffers that one `readv` or `writev` takes, `IOV_MAX`: std does not offer the kernel those
/// beyond it, and a transfer that leaves only them untouched is not short.
const VECTORS: usize = 1024;

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
    /// Listens at the first of the addresses that works. Port 0 lets the system choose one.
    ///
    /// `SO_REUSEADDR` is set, as std does: a server can be started again at once.
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
    /// It waits only while a name is looked up, and nothing listens yet.
    #[track_caller]
    pub fn bind(addr: impl ToSocketAddrs) -> impl Future<Output = io::Result<TcpListener>> {
        let caller = Location::caller();
        async move {
            drop(Reactor::current_for(caller));
            first_that_works(addr, async |addr| {
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

    /// Takes over a listener of std, and makes it non-blocking.
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

    /// Gives the listener back as std's. It stays non-blocking.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn into_std(self) -> io::Result<net::TcpListener> {
        Ok(OwnedFd::from(self.0.into_inner()?).into())
    }

    /// Waits for a connection.
    ///
    /// # Errors
    ///
    /// What the system says. Many of these errors say nothing about the listener;
    /// [`incoming`](TcpListener::incoming) knows which.
    ///
    /// # Panics
    ///
    /// Outside of `block_on`.
    ///
    /// # Cancel safety
    ///
    /// A connection that was accepted has also been returned: none is lost.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// [`accept`](TcpListener::accept) as a `poll` function.
    ///
    /// # Errors
    ///
    /// As [`accept`](TcpListener::accept).
    ///
    /// # Panics
    ///
    /// Panics outside of `block_on`.
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

    /// A stream of connections that survives what a server should survive.
    ///
    /// The stream skips an error of one connection, and closes a connection that cannot be
    /// registered. When descriptors or memory run out, or any other error repeats, it pauses for
    /// 10 ms, doubling up to a second (see [`Backoff`](crate::time::Backoff)), or until a socket of
    /// this thread is closed. It warns at most once a second. Only when the listener itself is
    /// broken does it yield the error, and then it ends.
    ///
    /// # Panics
    ///
    /// As [`Incoming`]. The message names the caller of this function.
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

    /// The address that it listens at: with port 0, the one that the system chose.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().local_addr()
    }

    /// Changes how many connections the kernel completes before they are accepted, 1024 at first.
    ///
    /// The kernel may allow less: on Linux `net.core.somaxconn`.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_backlog(&self, backlog: u32) -> io::Result<()> {
        SockRef::from(self.0.get_ref()).listen(i32::try_from(backlog).unwrap_or(i32::MAX))
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
/// Reading and writing need only `&TcpStream`, so that two tasks, or the two halves of
/// [`split`](TcpStream::split), may use one connection.
///
/// # Cancel safety
///
/// One `read` or `write` that moved bytes has also returned: none are lost. Futures that repeat
/// them, such as `read_exact`, `read_to_end` and `write_all`, do not tell how far they came.
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
    /// Connects to the first of the addresses that answers.
    ///
    /// # Errors
    ///
    /// That of the last address: `ConnectionRefused`, say. `InvalidInput` for what is no address.
    ///
    /// # Panics
    ///
    /// Outside of `block_on`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the socket, and tries no further address.
    #[track_caller]
    pub fn connect(addr: impl ToSocketAddrs) -> impl Future<Output = io::Result<TcpStream>> {
        let caller = Location::caller();
        async move {
            drop(Reactor::current_for(caller));
            first_that_works(addr, async |addr| {
                let stream = TcpStream(Async::new(mio::net::TcpStream::connect(addr)?)?);
                poll_fn(|cx| stream.poll_connected(cx)).await?;
                Ok(stream)
            })
            .await
        }
    }

    /// "Writable" is only a hint that the connection may be there. It is, when the socket holds no
    /// error and knows its peer.
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

    /// Gives the connection back as std's. It stays non-blocking.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn into_std(self) -> io::Result<net::TcpStream> {
        Ok(OwnedFd::from(self.0.into_inner()?).into())
    }

    /// Splits it into a half to read and a half to write, which borrow it.
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

    /// Splits it into two halves that may live in two tasks.
    ///
    /// Dropping the write half shuts down writing, so the peer sees an end-of-file. So it is with
    /// tokio's, whose names these are.
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
    /// reader.read_to_string(&mut answer).await?; // It ends, for the writer was dropped.
    /// assert_eq!(answer, "hello");
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn into_split(self) -> (OwnedReadHalf<TcpStream>, OwnedWriteHalf<TcpStream>) {
        split::owned(self)
    }

    /// Reads without taking, and returns how many bytes there were: the next read gives them again.
    ///
    /// Zero means end-of-file, or an empty `buf`.
    ///
    /// # Errors
    ///
    /// What the system says.
    ///
    /// # Cancel safety
    ///
    /// Nothing is moved, so nothing can be lost.
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
    /// `NotConnected`, if the peer has reset the connection already.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.get_ref().shutdown(how)
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
    /// Returns `NotConnected` if the peer has already reset the connection. A server that must know
    /// the address takes it from [`accept`](TcpListener::accept) or [`Incoming::with_peers`].
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().peer_addr()
    }

    /// Whether small writes are sent at once, instead of being collected (Nagle's algorithm).
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.0.get_ref().nodelay()
    }

    /// Sends small writes at once, or collects them.
    ///
    /// # Errors
    ///
    /// What the system says.
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

    /// Takes the error that is pending on the socket.
    ///
    /// # Errors
    ///
    /// When even that cannot be learned.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.get_ref().take_error()
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

impl Shut for TcpStream {
    fn shut_write(&self) -> io::Result<()> {
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
        source.poll_transfer(&source.read, "read", buf.len(), cx, || socket.read(buf))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let (source, mut socket) = (self.0.source(), self.0.get_ref());
        let length = bufs.iter().take(VECTORS).map(|buf| buf.len()).sum();
        source.poll_transfer(&source.read, "readv", length, cx, || socket.read_vectored(bufs))
    }
}

impl AsyncWrite for &TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let (source, mut socket) = (self.0.source(), self.0.get_ref());
        source.poll_transfer(&source.write, "write", buf.len(), cx, || socket.write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let (source, mut socket) = (self.0.source(), self.0.get_ref());
        let length = bufs.iter().take(VECTORS).map(|buf| buf.len()).sum();
        source.poll_transfer(&source.write, "writev", length, cx, || socket.write_vectored(bufs))
    }

    /// The kernel sends by itself: there is nothing to flush.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        budget::spend(cx).map(Ok)
    }

    /// Shuts down writing. If the peer has reset the connection, it is closed already, which is not
    /// an error.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        budget::spend(cx).map(|()| split::shut_write(*self))
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
