//! One connection: when it last said something, when it must end, and how.

use std::cell::Cell;
use std::fmt;
use std::future::pending;
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_lite::future;
use log::debug;
use reactor::io::{self, AsyncRead, AsyncReadExt, AsyncWrite};
use reactor::time::{sleep_until, timeout};

use crate::listener::Socket;
use crate::server::{Server, add};

/// A connection that was silent for so long while the server stops has nothing more in flight:
/// long enough for a byte to cross an ocean.
const QUIET: Duration = Duration::from_millis(200);

/// How long a connection that we end is drained, and how many bytes of it. Closing one with
/// unread input sends a reset, which destroys bytes that the peer has not read yet.
pub(crate) const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 16 * 1024 * 1024;

/// A connection that knows when it was last active, at the cost of no system call.
pub(crate) struct Connection<S> {
    stream: S,
    server: Rc<Server>,
    active: Cell<Instant>,
    /// The peer does not read, and the last write waits for it.
    blocked: Cell<bool>,
}

/// The other end of a connection. To learn it costs a system call, so it is asked when it is written.
pub(crate) struct Peer<'a, S>(&'a S);

/// Why a connection ended.
pub(crate) enum Ended {
    Copied(io::Result<u64>),
    Idle,
    Stopped,
}

impl<S: Socket> Connection<S> {
    /// A connection that has its place already: [`Server::next_connection`] took it.
    pub(crate) fn new(stream: S, server: Rc<Server>) -> Connection<S> {
        add(&server.counts.connections, 1);
        let active = Cell::new(server.now());
        Connection { stream, server, active, blocked: Cell::new(false) }
    }

    /// Waits for a reason to end the connection from this side.
    pub(crate) async fn must_end(&self) -> Ended {
        let idle = async {
            match self.server.shared.idle {
                Some(idle) => self.silent_for(idle).await,
                None => pending().await,
            }
            None
        };
        let Some(stop_by) = future::or(idle, self.server.shared.stops()).await else {
            return Ended::Idle;
        };
        // Boxed, for a connection that is not yet to end needs no room for this.
        Box::pin(future::or(self.finished(), sleep_until(stop_by))).await;
        Ended::Stopped
    }

    /// Waits until all that was sent before has come, and has gone back.
    async fn finished(&self) {
        loop {
            self.active.set(self.server.now());
            self.silent_for(QUIET).await;
            if !self.blocked.get() {
                return;
            }
        }
    }

    /// Waits until nothing has been read or written for `duration`. One timer, set anew when it
    /// fires and not with each message.
    async fn silent_for(&self, duration: Duration) {
        while self.server.now().duration_since(self.active.get()) < duration {
            sleep_until(self.active.get() + duration).await;
        }
    }

    /// Whether bytes that were read from the connection may not have been written back to it.
    ///
    /// After an error of the copy they may be lost. If the connection ends for another reason, the
    /// copy still holds bytes if its last write has to wait, and only then.
    pub(crate) fn owes_bytes(&self, ended: &Ended) -> bool {
        matches!(ended, Ended::Copied(Err(_))) || self.blocked.get()
    }

    /// Makes the connection end with a reset instead of a FIN when it is dropped.
    pub(crate) fn reset(&self) {
        if let Err(error) = self.stream.reset_when_closed() {
            debug!("{}: cannot reset: {error}", self.peer());
        }
    }

    /// Ends the connection with a FIN: shuts down writing, then reads what is still coming, so
    /// that closing does not reset.
    pub(crate) async fn linger(&self) {
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let drained = io::copy(self.take(LINGER_BYTES), io::sink());
        // Time and size are bounded, whoever is at the other end.
        let _ = timeout(LINGER, drained).await;
    }

    /// The other end, for the log.
    pub(crate) fn peer(&self) -> Peer<'_, S> {
        Peer(&self.stream)
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        self.server.shared.leave();
    }
}

impl<S: Socket> AsyncRead for &Connection<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = ready!(self.stream.poll_read(cx, buf));
        if matches!(read, Ok(bytes) if bytes > 0) {
            add(&self.server.counts.messages, 1);
        }
        self.active.set(self.server.now());
        Poll::Ready(read)
    }
}

impl<S: Socket> AsyncWrite for &Connection<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream.poll_write(cx, buf);
        self.blocked.set(written.is_pending());
        let written = ready!(written);
        add(&self.server.counts.bytes, *written.as_ref().unwrap_or(&0));
        self.active.set(self.server.now());
        Poll::Ready(written)
    }

    // A socket holds nothing back.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.shutdown(Shutdown::Write))
    }
}

impl<S: Socket> fmt::Display for Peer<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.peer().as_deref().unwrap_or("a peer that is gone"))
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Copied(Ok(_)) => f.write_str("end of file"),
            Ended::Copied(Err(error)) => write!(f, "{error}"),
            Ended::Idle => f.write_str("idle for too long"),
            Ended::Stopped => f.write_str("the server stops"),
        }
    }
}
