//! One connection: when it last said something, when it must end, and how.

use std::cell::Cell;
use std::fmt;
use std::future::pending;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_lite::future;
use reactor::Reactor;
use reactor::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use reactor::net::TcpStream;
use reactor::time::{sleep, sleep_until, timeout};

use crate::server::Server;

/// A connection that has been silent for so long while the server stops has nothing more in
/// flight: long enough for a byte to cross an ocean.
const QUIET: Duration = Duration::from_millis(200);

/// How long a connection that we end is drained, and how many bytes of it. Closing one with
/// unread input sends a reset, which destroys bytes that the peer has not read yet.
pub(crate) const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// A connection that knows when it was last active, at the cost of no system call.
pub(crate) struct Connection {
    stream: TcpStream,
    server: Rc<Server>,
    reactor: Rc<Reactor>,
    active: Cell<Instant>,
    /// The peer does not take what it is sent: there are bytes in flight, however silent it is.
    owes: Cell<bool>,
}

/// Why a connection ended.
pub(crate) enum Ended {
    Copied(io::Result<u64>),
    Idle,
    Stopped,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, server: Rc<Server>) -> Connection {
        let reactor = Reactor::current();
        server.open.set(server.open.get() + 1);
        let active = Cell::new(reactor.now());
        Connection { stream, server, reactor, active, owes: Cell::new(false) }
    }

    /// Waits for a reason to end the connection from this side.
    pub(crate) async fn must_end(&self) -> Ended {
        future::or(self.idle(), self.stopped()).await
    }

    async fn idle(&self) -> Ended {
        match self.server.idle {
            Some(idle) => self.silent_for(idle).await,
            None => pending().await,
        }
        Ended::Idle
    }

    async fn stopped(&self) -> Ended {
        let stop_by = self.server.stop_by.until(|stop_by| stop_by.is_some()).await;
        if let Some(stop_by) = stop_by {
            future::or(self.quiet(), sleep_until(stop_by)).await;
        }
        Ended::Stopped
    }

    /// Waits until nothing is in flight any more, as far as this side can tell.
    async fn quiet(&self) {
        self.silent_for(QUIET).await;
        while self.owes.get() {
            sleep(QUIET).await;
            self.silent_for(QUIET).await;
        }
    }

    /// Waits until nothing has been read or written for `duration`. One timer, set anew when it
    /// fires and not with each message.
    async fn silent_for(&self, duration: Duration) {
        loop {
            let Some(deadline) = self.active.get().checked_add(duration) else {
                return pending().await;
            };
            // Not the time of the last turn: `sleep_until` asks the clock, and were the two to
            // disagree, this loop would never leave its poll.
            if deadline <= Instant::now() {
                return;
            }
            sleep_until(deadline).await;
        }
    }

    /// Ends the connection with a FIN: shuts down writing, then reads what is still coming, so
    /// that closing does not reset.
    pub(crate) async fn linger(&self) {
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let mut stream = &self.stream;
        let drained = async {
            // On the heap, else every connection would carry this from its first moment.
            let (mut left, mut bytes) = (LINGER_BYTES, vec![0; 16 * 1024]);
            while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                left = left.saturating_sub(read);
                if left == 0 {
                    break;
                }
            }
        };
        // The time is bounded, whoever is at the other end.
        let _ = timeout(LINGER, drained).await;
    }

    /// The other end, for the log.
    pub(crate) fn peer(&self) -> String {
        match self.stream.peer_addr() {
            Ok(peer) => peer.to_string(),
            Err(_) => "a peer that is gone".to_owned(),
        }
    }

    fn note_activity<T>(&self, moved: T) -> T {
        self.active.set(self.reactor.now());
        moved
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.server.open.set(self.server.open.get() - 1);
    }
}

impl AsyncRead for &Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = ready!(Pin::new(&mut &self.stream).poll_read(cx, buf));
        Poll::Ready(self.note_activity(read))
    }
}

impl AsyncWrite for &Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut &self.stream).poll_write(cx, buf);
        self.owes.set(written.is_pending());
        let written = ready!(written);
        Poll::Ready(self.note_activity(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &self.stream).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &self.stream).poll_close(cx)
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
