//! The read half and the write half of a connection: TCP or Unix, borrowed or owned.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};

/// A connection that can shut down writing, so that the peer reads end-of-file.
pub(crate) trait ShutdownWrite {
    fn shutdown_write(&self) -> io::Result<()>;
}

/// Shuts down writing. Returns `Ok` if there is no connection any more, e.g. after a reset.
pub(crate) fn shutdown_write(connection: &impl ShutdownWrite) -> io::Result<()> {
    match connection.shutdown_write() {
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(()),
        result => result,
    }
}

pub(crate) fn borrowed<S>(connection: &S) -> (ReadHalf<'_, S>, WriteHalf<'_, S>) {
    (ReadHalf(connection), WriteHalf(connection))
}

pub(crate) fn owned<S: ShutdownWrite>(connection: S) -> (OwnedReadHalf<S>, OwnedWriteHalf<S>) {
    let connection = Rc::new(connection);
    let reader = OwnedReadHalf(connection.clone());
    (reader, OwnedWriteHalf { connection, shutdown_on_drop: true })
}

/// The read half of a borrowed connection.
#[derive(Debug)]
pub struct ReadHalf<'a, S>(&'a S);

/// The write half of a borrowed connection.
#[derive(Debug)]
pub struct WriteHalf<'a, S>(&'a S);

/// The read half of a connection that both halves own.
#[derive(Debug)]
pub struct OwnedReadHalf<S>(Rc<S>);

/// The write half of a connection that both halves own.
///
/// Dropping it shuts down writing. The peer then reads all bytes that were written, and then
/// end-of-file.
#[derive(Debug)]
#[expect(private_bounds, reason = "only connections of this crate are split")]
pub struct OwnedWriteHalf<S: ShutdownWrite> {
    connection: Rc<S>,
    /// Cleared when writing has been shut down, or when the halves are reunited.
    shutdown_on_drop: bool,
}

#[expect(private_bounds, reason = "only connections of this crate are split")]
impl<S: ShutdownWrite> OwnedReadHalf<S> {
    /// Reunites the two halves of one connection.
    ///
    /// # Errors
    ///
    /// Returns both halves if they belong to different connections.
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
    /// let stream = reader.reunite(writer).expect("halves of one connection");
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
        writer.shutdown_on_drop = false;
        drop(writer);
        Ok(Rc::into_inner(self.0).expect("a connection has only two halves"))
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

impl<S: ShutdownWrite> AsRef<S> for OwnedWriteHalf<S> {
    fn as_ref(&self) -> &S {
        &self.connection
    }
}

impl<S: ShutdownWrite> Drop for OwnedWriteHalf<S> {
    fn drop(&mut self) {
        if self.shutdown_on_drop {
            // Ignore an error (e.g. the peer is gone), because `drop` cannot return it.
            let _ = shutdown_write(&*self.connection);
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

impl<S: ShutdownWrite> AsyncWrite for OwnedWriteHalf<S>
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
        self.shutdown_on_drop = false;
        Poll::Ready(Ok(()))
    }
}

/// The error of [`OwnedReadHalf::reunite`]: the two halves, which belong to different connections.
#[expect(private_bounds, reason = "only connections of this crate are split")]
pub struct ReuniteError<S: ShutdownWrite>(pub OwnedReadHalf<S>, pub OwnedWriteHalf<S>);

impl<S: ShutdownWrite> fmt::Display for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tried to reunite halves that are not of the same connection")
    }
}

impl<S: ShutdownWrite> fmt::Debug for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReuniteError(..)")
    }
}

impl<S: ShutdownWrite> Error for ReuniteError<S> {}
