//! The two halves of a connection, for all kinds of connections.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};

use crate::net::TcpStream;

/// A connection whose writing can be shut down, so that the peer sees an end-of-file.
pub(crate) trait Shut {
    fn shut_write(&self) -> io::Result<()>;
}

/// Shuts down writing. A connection that the peer has reset is shut already.
pub(crate) fn shut_write(connection: &impl Shut) -> io::Result<()> {
    match connection.shut_write() {
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(()),
        result => result,
    }
}

pub(crate) fn borrowed<S>(connection: &S) -> (ReadHalf<'_, S>, WriteHalf<'_, S>) {
    (ReadHalf(connection), WriteHalf(connection))
}

pub(crate) fn owned<S: Shut>(connection: S) -> (OwnedReadHalf<S>, OwnedWriteHalf<S>) {
    let connection = Rc::new(connection);
    let reader = OwnedReadHalf(connection.clone());
    (reader, OwnedWriteHalf { connection, shut_on_drop: true })
}

/// The half of a borrowed connection that reads.
#[derive(Debug)]
pub struct ReadHalf<'a, S>(&'a S);

/// The half of a borrowed connection that writes.
#[derive(Debug)]
pub struct WriteHalf<'a, S>(&'a S);

/// The half that reads, and owns the connection together with the other half.
#[derive(Debug)]
pub struct OwnedReadHalf<S>(Rc<S>);

/// The half that writes, and owns the connection together with the other half.
///
/// Dropping it shuts down writing; the peer then sees an end-of-file after all that was written.
#[derive(Debug)]
#[expect(private_bounds, reason = "only connections of this crate are split")]
pub struct OwnedWriteHalf<S: Shut> {
    connection: Rc<S>,
    /// Not after it was shut down already, or reunited.
    shut_on_drop: bool,
}

impl ReadHalf<'_, TcpStream> {
    /// Reads bytes without removing them; see [`TcpStream::peek`].
    ///
    /// # Errors
    ///
    /// As [`TcpStream::peek`].
    ///
    /// # Cancel safety
    ///
    /// No byte is removed, so dropping the future loses none.
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
        self.0.peek(buf).await
    }
}

impl OwnedReadHalf<TcpStream> {
    /// Reads bytes without removing them; see [`TcpStream::peek`].
    ///
    /// # Errors
    ///
    /// As [`TcpStream::peek`].
    ///
    /// # Cancel safety
    ///
    /// No byte is removed, so dropping the future loses none.
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
        self.0.peek(buf).await
    }
}

#[expect(private_bounds, reason = "only connections of this crate are split")]
impl<S: Shut> OwnedReadHalf<S> {
    /// Puts the two halves of one connection together again.
    ///
    /// # Errors
    ///
    /// Gives both back, if they are halves of two connections.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reactor::net::{TcpListener, TcpStream};
    /// # fn main() -> std::io::Result<()> {
    /// # executor::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let stream = TcpStream::connect(listener.local_addr()?).await?;
    /// let (reader, writer) = stream.into_split();
    /// let stream = reader.reunite(writer).expect("the halves of one connection");
    /// # drop(stream);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn reunite(self, writer: OwnedWriteHalf<S>) -> Result<S, ReuniteError<S>> {
        if !Rc::ptr_eq(&self.0, &writer.connection) {
            return Err(ReuniteError(self, writer));
        }
        let mut writer = writer;
        writer.shut_on_drop = false;
        drop(writer);
        Ok(Rc::into_inner(self.0).expect("a connection has no more than two halves"))
    }
}

impl<S> AsRef<S> for ReadHalf<'_, S> {
    fn as_ref(&self) -> &S {
        self.0
    }
}

impl<S> AsRef<S> for WriteHalf<'_, S> {
    fn as_ref(&self) -> &S {
        self.0
    }
}

impl<S> AsRef<S> for OwnedReadHalf<S> {
    fn as_ref(&self) -> &S {
        &self.0
    }
}

impl<S: Shut> AsRef<S> for OwnedWriteHalf<S> {
    fn as_ref(&self) -> &S {
        &self.connection
    }
}

impl<S: Shut> Drop for OwnedWriteHalf<S> {
    fn drop(&mut self) {
        if self.shut_on_drop {
            // The peer may have gone, and nobody is here to be told.
            let _ = shut_write(&*self.connection);
        }
    }
}

impl<S> AsyncRead for ReadHalf<'_, S>
where
    for<'b> &'b S: AsyncRead,
{
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.0).poll_read(cx, buf)
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.0).poll_read_vectored(cx, bufs)
    }
}

impl<S> AsyncWrite for WriteHalf<'_, S>
where
    for<'b> &'b S: AsyncWrite,
{
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.0).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self.0).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self.0).poll_close(cx)
    }
}

impl<S> AsyncRead for OwnedReadHalf<S>
where
    for<'b> &'b S: AsyncRead,
{
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.0).poll_read(cx, buf)
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.0).poll_read_vectored(cx, bufs)
    }
}

impl<S: Shut> AsyncWrite for OwnedWriteHalf<S>
where
    for<'b> &'b S: AsyncWrite,
{
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.connection).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.connection).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self.connection).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut &*self.connection).poll_close(cx))?;
        self.shut_on_drop = false;
        Poll::Ready(Ok(()))
    }
}

/// The two halves given to [`OwnedReadHalf::reunite`], which are not of one connection.
#[expect(private_bounds, reason = "only connections of this crate are split")]
pub struct ReuniteError<S: Shut>(pub OwnedReadHalf<S>, pub OwnedWriteHalf<S>);

impl<S: Shut> fmt::Display for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tried to reunite halves that are not of the same connection")
    }
}

impl<S: Shut> fmt::Debug for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReuniteError(..)")
    }
}

impl<S: Shut> Error for ReuniteError<S> {}
