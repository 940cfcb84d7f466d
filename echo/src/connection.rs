//! One connection: how long it is served, and how it ends.

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

/// The most bytes that the server discards from a connection that it ends. It must discard some:
/// closing a socket with unread input sends a reset, which destroys bytes that the peer has not read
/// yet.
const LINGER_BYTES: u64 = 16 * 1024 * 1024;

/// A connection. It counts as open until it is dropped.
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

/// Displays the peer of a connection in the log. Looking it up costs a system call, which is made
/// only if the record is written.
pub(crate) struct Peer<'a, S>(&'a S);

impl<S: Socket> Connection<S> {
    /// Creates a connection. [`Server::next_connection`] has already counted it as open.
    pub(crate) fn new(socket: S, server: Rc<Server>) -> Connection<S> {
        add(&server.counts.connections, 1);
        let key = server.connections.add();
        Connection { socket, server, key }
    }

    /// Copies until the peer ends its stream, or until the server must end the connection.
    pub(crate) fn serve<R, W>(&self, copy: &mut Copy<R, W>) -> impl Future<Output = Ended>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        poll_fn(move |cx| {
            let Server { connections, counts, .. } = &*self.server;
            let before = (copy.reads(), copy.copied());
            let polled = Pin::new(&mut *copy).poll(cx);
            let after = (copy.reads(), copy.copied());
            add(&counts.messages, after.0 - before.0);
            add(&counts.bytes, after.1 - before.1);
            if let Poll::Ready(result) = polled {
                return Poll::Ready(Ended::Copied(result));
            }
            let has_moved = after != before;
            let is_stalled = copy.unwritten() > 0;
            let has_input = || self.socket.has_input();
            let due = connections.poll_due(self.key, cx, has_moved, is_stalled, has_input);
            due.map(Ended::ByServer)
        })
    }

    /// Ends the connection: with a FIN if everything that was read from the peer has been written
    /// back, otherwise with a reset. A FIN after a part would make the peer mistake the part for the
    /// whole.
    pub(crate) fn end<R, W>(&self, ended: Ended, copy: &Copy<R, W>) -> impl Future<Output = ()> {
        debug!("{}: {} bytes echoed, {ended}", self.peer(), copy.copied());
        let is_whole = copy.unwritten() == 0 && !matches!(ended, Ended::Copied(Err(_)));
        // Box this future to keep the task small: `linger` runs only at the end, so a connection
        // should not reserve memory for it while it is served.
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

    /// Shuts down writing and discards what still arrives, so that closing the socket sends no reset.
    /// The time and the number of bytes are bounded, because the peer may never stop sending.
    async fn linger(&self) {
        if self.socket.shutdown(Shutdown::Write).is_ok() {
            let input = self.socket.by_ref().take(LINGER_BYTES);
            let _ = timeout(LINGER, io::copy(input, io::sink())).await;
        }
    }

    /// Returns the peer, for the log.
    pub(crate) fn peer(&self) -> Peer<'_, S> {
        Peer(&self.socket)
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        self.server.connections.remove(self.key);
        self.server.shared.return_place();
    }
}

impl<S: Socket> fmt::Display for Peer<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.peer().as_deref().unwrap_or("a vanished peer"))
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
