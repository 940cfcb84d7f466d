//! Connections for hyper: [`HyperIo`].

use std::cell::Cell;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use reactor::io::{AsyncRead, AsyncWrite};

/// Length of the read buffer. A body of 64 KiB and its head fit into it, so hyper gets both in one
/// read. After large reads, hyper itself offers up to 408 KiB.
const BUFFER: usize = 256 * 1024;

thread_local! {
    /// The read buffer that all connections of this thread share. It is empty before the first
    /// read, and while a read uses it.
    static READ_BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A connection for hyper: a socket of `reactor`, or any other futures-io stream, such as TLS over
/// a socket.
///
/// The stream is the public field, so `connection.0` returns it after an upgrade.
///
/// # Reads
///
/// hyper passes uninitialized memory, and filling it in place takes `unsafe`. This adapter instead
/// reads into one buffer of 256 KiB for each thread and copies the bytes that arrived. The buffer
/// is allocated once and is not cleared between reads. A stream that reports more bytes than it
/// wrote therefore passes on bytes of another connection. Wrap only streams that you trust to
/// count.
///
/// # Writes
///
/// A vectored write goes to the stream's own `poll_write_vectored`, so that a head and its body
/// leave in one system call. The sockets of `reactor` and the streams of futures-rustls support
/// that. The default of the trait writes only the first buffer. For a stream with that default,
/// turn hyper's vectored writes off with `http1::Builder::writev(false)`.
///
/// # Errors
///
/// A read fails with `InvalidData` if the stream reports more bytes than the buffer holds. All
/// other errors are the stream's own.
///
/// # Examples
///
/// ```
/// use hyper::server::conn::http1;
/// use reactor_hyper::HyperIo;
/// # use hyper::{Request, Response, body::Incoming, service::service_fn};
/// # use reactor::net::{TcpListener, TcpStream};
///
/// # fn main() -> std::io::Result<()> {
/// # executor::block_on(async {
/// # let listener = TcpListener::bind("127.0.0.1:0").await?;
/// # drop(TcpStream::connect(listener.local_addr()?).await?);
/// # let echo = async |request: Request<Incoming>| {
/// #     Ok::<_, std::convert::Infallible>(Response::new(request.into_body()))
/// # };
/// # let service = service_fn(move |request| echo(request));
/// let (stream, _peer) = listener.accept().await?;
/// stream.set_nodelay(true)?;
/// http1::Builder::new().serve_connection(HyperIo(stream), service).await.ok();
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Debug)]
pub struct HyperIo<T>(pub T);

impl<T: AsyncRead + Unpin> Read for HyperIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // Reentrancy: the stream may run user code that reads from another connection. Taking the
        // buffer out instead of borrowing it gives the inner read a buffer of its own.
        let mut bytes = READ_BUFFER.take();
        if bytes.is_empty() {
            bytes = vec![0; BUFFER];
        }
        let length = buf.remaining().min(BUFFER);
        let read = Pin::new(&mut self.0).poll_read(cx, &mut bytes[..length]);
        let result = read.map(|read| match read? {
            read if read <= length => {
                buf.put_slice(&bytes[..read]);
                Ok(())
            }
            _ => Err(io::Error::new(
                ErrorKind::InvalidData,
                "the stream reports more bytes than its buffer holds",
            )),
        });
        READ_BUFFER.set(bytes);
        result
    }
}

impl<T: AsyncWrite + Unpin> Write for HyperIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}
