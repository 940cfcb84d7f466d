//! The adapter for hyper 1: our sockets as its connections, our tasks as its, and our clock.
//!
//! To use it, copy this file. It needs the crates `hyper`, `async-channel` and `futures-lite`:
//!
//! ```
//! use hyper::server::conn::http1;
//! use interop::hyper_io::{HyperIo, LocalTimer};
//! # use hyper::{Request, Response, body::Incoming, service::service_fn};
//! # use reactor::net::{TcpListener, TcpStream};
//!
//! # fn main() -> std::io::Result<()> {
//! # executor::block_on(async {
//! # let listener = TcpListener::bind("127.0.0.1:0").await?;
//! # drop(TcpStream::connect(listener.local_addr()?).await?);
//! # let echo = async |request: Request<Incoming>| {
//! #     Ok::<_, std::convert::Infallible>(Response::new(request.into_body()))
//! # };
//! # let service = service_fn(move |request| echo(request));
//! let (stream, _peer) = listener.accept().await?;
//! let mut http = http1::Builder::new();
//! http.timer(LocalTimer);
//! http.serve_connection(HyperIo(stream), service).await.ok();
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! HTTP/2 also takes [`LocalExec`], for a connection has many requests at once.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_channel::Receiver;
use futures_lite::{Stream, future};
use hyper::rt::{Executor, Read, ReadBufCursor, Sleep, Timer, Write};
use reactor::io::{AsyncRead, AsyncWrite};
use reactor::time;

/// The most bytes that one read takes: as many as hyper reserves for a connection at first.
const AT_ONCE: usize = 8 * 1024;

/// A connection for hyper: a socket of ours, or whatever reads and writes as futures-io says.
///
/// What `poll_read` is given by hyper is memory that nobody has written to yet, and to tell how much
/// of it was filled takes `unsafe`. So this reads into a buffer on the stack and copies: for each
/// read 8 KiB of zeroes, and one more copy of what came. Adapters with `unsafe` save both.
#[derive(Debug)]
pub struct HyperIo<T>(pub T);

impl<T: AsyncRead + Unpin> Read for HyperIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [0; AT_ONCE];
        let room = buf.remaining().min(AT_ONCE);
        let read = ready!(Pin::new(&mut self.0).poll_read(cx, &mut bytes[..room]))?;
        buf.put_slice(&bytes[..read]);
        Poll::Ready(Ok(()))
    }
}

/// Without `poll_write_vectored`: hyper then joins a head and its body itself, which is one write
/// also where a vectored one is several, as over TLS.
impl<T: AsyncWrite + Unpin> Write for HyperIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

/// Spawns what hyper wants to run beside a connection, on the executor of this thread. Nothing of
/// it needs to be `Send`.
#[derive(Clone, Copy, Debug)]
pub struct LocalExec;

impl<F> Executor<F> for LocalExec
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        drop(executor::spawn(future));
    }
}

/// Our timers for hyper's time-outs.
///
/// hyper insists that a sleep is `Send`, and ours stay on their thread. So a task of that thread
/// sleeps, and hyper waits for the end of a channel, for each time-out that it sets. That is dearer
/// than a timer alone: who has no need of time-outs gives hyper no timer.
#[derive(Clone, Copy, Debug)]
pub struct LocalTimer;

impl Timer for LocalTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Alarm::set(time::sleep(duration))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Alarm::set(time::sleep_until(deadline))
    }
}

/// The end of a sleep, as it is told from the task that sleeps.
struct Alarm(Pin<Box<Receiver<Infallible>>>);

impl Alarm {
    fn set(sleep: time::Sleep) -> Pin<Box<dyn Sleep>> {
        let (sender, receiver) = async_channel::bounded(1);
        drop(executor::spawn(async move {
            // Closed: the alarm was dropped, and nobody waits any more.
            future::or(sleep, sender.closed()).await;
        }));
        Box::pin(Alarm(Box::pin(receiver)))
    }
}

impl Sleep for Alarm {}

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Nothing is ever sent: the channel ends with the task.
        self.0.as_mut().poll_next(cx).map(drop)
    }
}
