//! [`UnixListener`]: accepts connections of a Unix socket.

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
/// Dropping the listener leaves its socket file in place, as in std and tokio. Connections to that
/// file are then refused. Remove the file before you bind to the same path again.
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
    /// Creates a socket file at `path`, and listens on it.
    ///
    /// On Linux, a path that begins with a zero byte is an abstract name, which needs no file.
    ///
    /// # Errors
    ///
    /// Returns `AddrInUse` if the file already exists, even if its process has ended. Returns
    /// `InvalidInput` if the path has more than 107 bytes (103 on macOS and BSD) or contains a zero
    /// byte. Returns any other error of the system calls `socket`, `bind`, `listen`, `ioctl` and
    /// `epoll_ctl`.
    ///
    /// # Panics
    ///
    /// Panics outside of `block_on`.
    #[track_caller]
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixListener> {
        UnixListener::bind_addr(&address(path.as_ref())?)
    }

    /// Listens on a std address, which on Linux may be an abstract name.
    ///
    /// # Errors
    ///
    /// Returns `AddrInUse` if the address is in use, or another error of the system calls of
    /// [`bind`](UnixListener::bind).
    ///
    /// # Panics
    ///
    /// Panics outside of `block_on`.
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

    /// Deregisters the listener, and converts it to a std listener. It stays in non-blocking mode.
    ///
    /// # Errors
    ///
    /// Returns the error of the `epoll_ctl` system call. The socket is then closed.
    pub fn into_std(self) -> io::Result<net::UnixListener> {
        Ok(OwnedFd::from(self.0.into_inner()?).into())
    }

    /// Waits for a connection, and returns it with the address of its peer. The address is usually
    /// unnamed, because clients rarely bind their socket.
    ///
    /// # Errors
    ///
    /// Returns the error of the `accept`, `ioctl` or `epoll_ctl` system call. Many of these errors
    /// concern one connection only, and the listener stays usable.
    /// [`incoming`](UnixListener::incoming) tells them apart.
    ///
    /// # Panics
    ///
    /// Panics if a connection is accepted outside of `block_on`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no connection: it completes as soon as it has accepted one.
    pub async fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// [`accept`](UnixListener::accept) as a `poll` function.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`accept`](UnixListener::accept).
    ///
    /// # Panics
    ///
    /// Panics if a connection is accepted outside of `block_on`.
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

    /// Returns a stream of connections that handles the errors of `accept`.
    ///
    /// It handles them as [`TcpListener::incoming`](crate::net::TcpListener::incoming) does.
    ///
    /// # Panics
    ///
    /// The stream panics as described at [`Incoming`].
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

    /// Returns the address that the listener is bound to.
    ///
    /// # Errors
    ///
    /// Returns the error of the `getsockname` system call.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().local_addr()
    }

    /// Takes the pending error of the socket (`SO_ERROR`), so that no later operation returns it.
    ///
    /// # Errors
    ///
    /// Returns the error of the `getsockopt` system call.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.get_ref().take_error()
    }

    /// Registers a connection that has been accepted.
    fn register(socket: Socket) -> io::Result<(UnixStream, SocketAddr)> {
        socket.set_nonblocking(true)?;
        let stream = mio::net::UnixStream::from(OwnedFd::from(socket));
        // On macOS, `getpeername` fails if the peer has already closed the connection. Use an
        // unnamed address then, because the connection is usable without one.
        let peer = stream.peer_addr().or_else(|_| SocketAddr::from_pathname(""))?;
        debug!(peer:? = peer; "accepted");
        Ok((UnixStream(Async::new(stream)?), peer))
    }
}

impl Accept for UnixListener {
    type Accepted = (UnixStream, SocketAddr);

    // Do not call mio's `accept`: it returns abstract addresses as unnamed, and panics if the path
    // of the peer fills all 108 bytes.
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
