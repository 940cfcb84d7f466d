//! [`UnixListener`].

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use log::debug;
use socket2::{SockRef, Socket};

use crate::Async;
use crate::net::incoming::{Accept, Incoming, IncomingWithPeers};
use crate::net::unix::address;
use crate::net::unix::stream::UnixStream;

/// A Unix socket that listens for connections.
///
/// Its file stays when it is dropped, as std's and tokio's do, and then refuses connections. To
/// bind there again, remove it first.
///
/// # Examples
///
/// ```
/// use reactor::io::{AsyncReadExt, AsyncWriteExt};
/// use reactor::net::{UnixListener, UnixStream};
///
/// # fn main() -> std::io::Result<()> {
/// # let directory = std::env::temp_dir().join(format!("listener-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// # let path = directory.join("socket");
/// executor::block_on(async {
///     let listener = UnixListener::bind(&path)?;
///     let mut client = UnixStream::connect(&path).await?;
///     let (mut server, _peer) = listener.accept().await?;
///     client.write_all(b"hello").await?;
///     let mut bytes = [0; 5];
///     server.read_exact(&mut bytes).await?;
///     assert_eq!(&bytes, b"hello");
///     assert_eq!(listener.local_addr()?.as_pathname(), Some(&*path));
///     assert!(listener.take_error()?.is_none());
///     std::fs::remove_file(&path)
/// })?;
/// # std::fs::remove_dir(&directory)
/// # }
/// ```
#[derive(Debug)]
pub struct UnixListener(pub(in crate::net) Async<mio::net::UnixListener>);

impl UnixListener {
    /// Makes a socket file at `path`, and listens there.
    ///
    /// On Linux a path that begins with a zero byte is an abstract name, which needs no file.
    ///
    /// # Errors
    ///
    /// `AddrInUse`, if there is a file already, also one that a dead process has left;
    /// `InvalidInput` for a path that is too long (108 bytes on Linux, 104 elsewhere) or holds a
    /// zero byte; and what else the system says.
    ///
    /// # Panics
    ///
    /// Outside of `block_on`.
    #[track_caller]
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixListener> {
        UnixListener::bind_addr(&address(path.as_ref())?)
    }

    /// Listens at an address of std: on Linux it may be an abstract name, which needs no file.
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
    /// use reactor::net::{UnixListener, UnixStream};
    /// use std::os::linux::net::SocketAddrExt;
    /// use std::os::unix::net::SocketAddr;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # executor::block_on(async {
    /// # let name = format!("example-{}", std::process::id());
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
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixListener> {
        UnixListener::from_std(net::UnixListener::bind_addr(address)?)
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
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("from-std-{}", std::process::id()));
    /// # executor::block_on(async {
    /// let listener = std::os::unix::net::UnixListener::bind(&path)?;
    /// let listener = reactor::net::UnixListener::from_std(listener)?;
    /// let listener = listener.into_std()?;
    /// listener.set_nonblocking(false)?;
    /// # std::fs::remove_file(&path)
    /// # })
    /// # }
    /// ```
    #[track_caller]
    pub fn from_std(listener: net::UnixListener) -> io::Result<UnixListener> {
        listener.set_nonblocking(true)?;
        Async::new(mio::net::UnixListener::from_std(listener)).map(UnixListener)
    }

    /// Gives the listener back as std's. It stays non-blocking.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn into_std(self) -> io::Result<net::UnixListener> {
        Ok(OwnedFd::from(self.0.into_inner()?).into())
    }

    /// Waits for a connection. The address is mostly unnamed: clients seldom bind their end.
    ///
    /// # Errors
    ///
    /// What the system says. Many of these errors say nothing about the listener;
    /// [`incoming`](UnixListener::incoming) knows which.
    ///
    /// # Panics
    ///
    /// Outside of `block_on`.
    ///
    /// # Cancel safety
    ///
    /// A connection that was accepted has also been returned: none is lost.
    pub async fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// [`accept`](UnixListener::accept) as a `poll` function.
    ///
    /// # Errors
    ///
    /// As [`accept`](UnixListener::accept).
    ///
    /// # Panics
    ///
    /// Panics outside of `block_on`.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("poll-accept-{}", std::process::id()));
    /// # executor::block_on(async {
    /// let listener = reactor::net::UnixListener::bind(&path)?;
    /// # let _client = std::os::unix::net::UnixStream::connect(&path)?;
    /// let (stream, _peer) = std::future::poll_fn(|cx| listener.poll_accept(cx)).await?;
    /// # drop(stream);
    /// # std::fs::remove_file(&path)
    /// # })
    /// # }
    /// ```
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(UnixStream, SocketAddr)>> {
        Accept::poll_accept(self, cx).map(|accepted| accepted?)
    }

    /// A stream of connections that survives what a server should survive.
    ///
    /// The stream handles errors as [`TcpListener::incoming`](crate::net::TcpListener::incoming)
    /// does. It skips an error of one connection, pauses when an error repeats or the system is out
    /// of descriptors or memory, and ends when the listener is broken.
    ///
    /// # Panics
    ///
    /// As [`Incoming`]. The message names the caller of this function.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_lite::StreamExt;
    /// use reactor::net::UnixListener;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("incoming-{}", std::process::id()));
    /// executor::block_on(async {
    ///     let listener = UnixListener::bind(&path)?;
    /// #   let _client = std::os::unix::net::UnixStream::connect(&path)?;
    /// #   std::fs::remove_file(&path)?;
    ///     let mut incoming = listener.incoming();
    ///     while let Some(stream) = incoming.next().await {
    ///         println!("{:?} connects", stream?.peer_addr()?);
    /// #       break;
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn incoming(&self) -> Incoming<'_, UnixListener> {
        Incoming::new(self)
    }

    /// The address that it listens at.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().local_addr()
    }

    /// Takes the error that is pending on the socket.
    ///
    /// # Errors
    ///
    /// When even that cannot be learned.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.get_ref().take_error()
    }

    /// Registers a connection that has been accepted.
    fn register(socket: Socket) -> io::Result<(UnixStream, SocketAddr)> {
        socket.set_nonblocking(true)?;
        let stream = mio::net::UnixStream::from(OwnedFd::from(socket));
        // The connection works without the peer's name. On macOS a peer that is gone has none.
        let peer = stream.peer_addr().or_else(|_| SocketAddr::from_pathname(""))?;
        debug!(peer:? = peer; "accepted");
        Ok((UnixStream(Async::new(stream)?), peer))
    }
}

impl Accept for UnixListener {
    type Accepted = (UnixStream, SocketAddr);

    // This does not call mio's `accept`, which returns abstract addresses as unnamed ones, and
    // panics if the peer's path has all of 108 bytes.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<io::Result<Self::Accepted>>> {
        let listener = SockRef::from(self.0.get_ref());
        let (socket, _peer) = ready!(self.0.poll_read_as("accept", cx, || listener.accept()))?;
        Poll::Ready(Ok(UnixListener::register(socket)))
    }
}

impl Stream for Incoming<'_, UnixListener> {
    type Item = io::Result<UnixStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_accepted(cx).map(|next| Some(next?.map(|(stream, _peer)| stream)))
    }
}

impl Stream for IncomingWithPeers<'_, UnixListener> {
    type Item = io::Result<(UnixStream, SocketAddr)>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_accepted(cx)
    }
}

impl AsFd for UnixListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}
