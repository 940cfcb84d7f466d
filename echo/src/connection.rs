//! One connection: until when it is served, and how it ends.

use std::fmt;
use std::future::{Future, poll_fn};
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use log::debug;
use reactor::io::{self, AsyncRead, AsyncReadExt, AsyncWrite, Copy};
use reactor::time::timeout;

use crate::connections::Reason;
use crate::listener::Socket;
use crate::server::{Server, add};
use crate::shared::LINGER;

/// The most that is read from a connection that we end. Closing a socket with unread input sends a
/// reset, which destroys bytes that the peer has not read yet.
const LINGER_BYTES: u64 = 16 * 1024 * 1024;

/// A connection, which counts as open until it is dropped.
pub(crate) struct Connection<S> {
    pub(crate) socket: S,
    server: Rc<Server>,
    /// The key in [`Server::connections`].
    key: usize,
}

/// Why a connection ended.
pub(crate) enum Ended {
    Copied(io::Result<u64>),
    ByServer(Reason),
}

/// The other end of a connection, for the log. Asking for it costs a system call, which is made
/// only if the record is written.
pub(crate) struct Peer<'a, S>(&'a S);

impl<S: Socket> Connection<S> {
    /// A connection that already counts as open: [`Server::next_connection`] has counted it.
    pub(crate) fn new(socket: S, server: Rc<Server>) -> Connection<S> {
        add(&server.counts.connections, 1);
        let key = server.connections.add();
        Connection { socket, server, key }
    }

    /// Copies until the peer has ended, or until the server has to end the connection.
    pub(crate) fn serve<R, W>(&self, copy: &mut Copy<R, W>) -> impl Future<Output = Ended>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        poll_fn(move |cx| {
            let Server { connections, counts, .. } = &*self.server;
            let before = (copy.reads(), copy.copied());
            let polled = Pin::new(&mut *copy).poll(cx);
            let (reads, bytes) = (copy.reads() - before.0, copy.copied() - before.1);
            add(&counts.messages, reads);
            add(&counts.bytes, bytes);
            if let Poll::Ready(result) = polled {
                return Poll::Ready(Ended::Copied(result));
            }
            let has_moved = reads + bytes > 0;
            let due = connections.poll_due(self.key, cx, has_moved, copy.unwritten() > 0);
            due.map(Ended::ByServer)
        })
    }

    /// Ends the connection with a FIN if its peer gets all that was read from it. Otherwise with a
    /// reset: after a FIN the peer would take what it has received for the whole.
    pub(crate) fn end<R, W>(&self, ended: Ended, copy: &Copy<R, W>) -> impl Future<Output = ()> {
        debug!("{}: {} bytes echoed, {ended}", self.peer(), copy.copied());
        let is_whole = copy.unwritten() == 0 && !matches!(ended, Ended::Copied(Err(_)));
        // Boxed, so that a connection reserves no memory for its end while it is served.
        Box::pin(async move {
            if !is_whole {
                self.reset();
            } else if let Ended::ByServer(_) = ended {
                self.linger().await;
            }
        })
    }

    /// Makes the connection end with a reset instead of a FIN when it is dropped.
    fn reset(&self) {
        if let Err(error) = self.socket.reset_when_closed() {
            debug!("{}: cannot reset: {error}", self.peer());
        }
    }

    /// Shuts down writing, and then discards what still arrives, so that closing does not reset.
    /// Time and size are bounded, because the peer may never stop.
    async fn linger(&self) {
        if self.socket.shutdown(Shutdown::Write).is_ok() {
            let input = self.socket.by_ref().take(LINGER_BYTES);
            let _ = timeout(LINGER, io::copy(input, io::sink())).await;
        }
    }

    /// The other end, for the log.
    pub(crate) fn peer(&self) -> Peer<'_, S> {
        Peer(&self.socket)
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        self.server.connections.remove(self.key);
        self.server.shared.leave();
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
            Ended::ByServer(reason) => write!(f, "{reason}"),
        }
    }
}
