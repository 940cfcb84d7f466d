//! [`Incoming`]: the stream of connections of any listener.

use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use log::{debug, warn};
use rustix::io::Errno;

use crate::net::TcpListener;
use crate::time::{Backoff, Sleep, sleep_for};
use crate::{Reactor, budget};

/// A socket that listens for connections.
pub(crate) trait Accept {
    /// A connection, and the address of its other end.
    type Accepted;

    /// Accepts a connection, and registers it with the reactor.
    ///
    /// The outer error comes from `accept`. The inner error comes from registering a connection
    /// that was accepted. That connection has been closed.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<io::Result<Self::Accepted>>>;
}

/// What an error means for the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AcceptError {
    /// One connection failed and is gone. Retry immediately, but pause if the error repeats.
    Connection,
    /// The system is out of some resource, so an immediate retry would fail too. Meanwhile clients
    /// wait in the backlog.
    Shortage,
    /// The listener is unusable, and stays so.
    Listener,
}

impl AcceptError {
    /// Classifies an error of `accept`.
    fn of_accept(error: &io::Error) -> AcceptError {
        match Errno::from_io_error(error) {
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::NOSPC) => {
                AcceptError::Shortage
            }
            // An error without a number is not the kernel's: the listener's reactor is gone, or is
            // not the current one.
            Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::OPNOTSUPP) | None => {
                AcceptError::Listener
            }
            // Any other number is possible: accept(2) also returns network errors of the new
            // connection, and a filter such as seccomp may return any error.
            Some(_) => AcceptError::Connection,
        }
    }

    /// Classifies an error of registering an accepted connection. It is ENOSPC if the user's limit
    /// of descriptors in epoll is reached.
    fn of_registration(error: &io::Error) -> AcceptError {
        match AcceptError::of_accept(error) {
            AcceptError::Shortage => AcceptError::Shortage,
            AcceptError::Connection | AcceptError::Listener => AcceptError::Connection,
        }
    }
}

/// The stream of `incoming()`, of [`TcpListener`] and of [`UnixListener`].
///
/// [`UnixListener`]: crate::net::UnixListener
///
/// # Panics
///
/// When it is polled outside of `block_on`.
///
/// # Cancel safety
///
/// A connection that was accepted has also been yielded: none is lost.
#[derive(Debug)]
#[must_use = "streams do nothing unless they are polled"]
pub struct Incoming<'a, L = TcpListener> {
    listener: &'a L,
    pause: Option<Pause>,
    backoff: Backoff,
    ended: bool,
    /// The line that made the stream. A pause outside of a reactor names it in its panic.
    caller: &'static Location<'static>,
}

/// The stream of [`Incoming::with_peers`].
///
/// # Panics
///
/// Panics if it is polled outside of `block_on`.
///
/// # Cancel safety
///
/// A connection that was accepted has also been yielded: none is lost.
#[derive(Debug)]
#[must_use = "streams do nothing unless they are polled"]
pub struct IncomingWithPeers<'a, L = TcpListener>(pub(in crate::net) Incoming<'a, L>);

/// Waits for some time, or until a source is closed, because a descriptor may be free then.
#[derive(Debug)]
struct Pause {
    sleep: Sleep,
    /// Weak, because a pause must not keep the reactor alive.
    reactor: Weak<Reactor>,
    deregistrations: u64,
}

#[expect(private_bounds, reason = "only listeners of this crate accept")]
impl<'a, L: Accept> Incoming<'a, L> {
    #[track_caller]
    pub(crate) fn new(listener: &'a L) -> Incoming<'a, L> {
        Incoming {
            listener,
            pause: None,
            backoff: Backoff::new(),
            ended: false,
            caller: Location::caller(),
        }
    }

    /// Yields each connection together with the address of its peer, as `accept` returns it.
    ///
    /// The address is known even if the peer has already reset the connection. In that case
    /// [`TcpStream::peer_addr`](crate::net::TcpStream::peer_addr) fails with `NotConnected`.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_lite::StreamExt;
    /// use reactor::net::TcpListener;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// executor::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// #   let _client = std::net::TcpStream::connect(listener.local_addr()?)?;
    ///     let mut incoming = listener.incoming().with_peers();
    ///     while let Some(accepted) = incoming.next().await {
    ///         let (_stream, peer) = accepted?;
    ///         println!("{peer} connects");
    /// #       break;
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn with_peers(self) -> IncomingWithPeers<'a, L> {
        IncomingWithPeers(self)
    }

    /// Returns the next connection, or `None` after the error that broke the listener.
    pub(crate) fn poll_accepted(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<L::Accepted>>> {
        while !self.ended {
            if let Some(pause) = &mut self.pause {
                ready!(pause.poll(cx));
                self.pause = None;
            }
            let (error, class) = match ready!(self.listener.poll_accept(cx)) {
                Ok(Ok(accepted)) => {
                    self.backoff.succeeded();
                    return Poll::Ready(Some(Ok(accepted)));
                }
                Ok(Err(error)) => {
                    let class = AcceptError::of_registration(&error);
                    (error, class)
                }
                Err(error) => {
                    let class = AcceptError::of_accept(&error);
                    (error, class)
                }
            };
            let pause = match class {
                AcceptError::Connection => self.backoff.failed(),
                AcceptError::Shortage => self.backoff.failed_for_longer(),
                AcceptError::Listener => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
            };
            if pause.is_zero() {
                debug!("skipping a connection that cannot be accepted: {error}");
            } else {
                self.pause = Some(Pause::new(pause, self.caller));
                self.warn(class, &error);
            }
        }
        // A loop that polls a stream that has ended must not keep the thread either.
        budget::spend(cx).map(|()| None)
    }

    fn warn(&mut self, class: AcceptError, error: &io::Error) {
        if !self.backoff.should_log() {
            return;
        }
        match class {
            AcceptError::Shortage => {
                warn!("cannot accept until connections close or limits are raised: {error}");
            }
            _ => warn!("cannot accept connections, retrying with pauses of up to 1 s: {error}"),
        }
    }
}

impl Pause {
    fn new(duration: Duration, caller: &'static Location<'static>) -> Pause {
        let reactor = Reactor::current_for(caller);
        let deregistrations = reactor.counters.deregistrations.get();
        Pause {
            sleep: sleep_for(duration, caller),
            reactor: Rc::downgrade(&reactor),
            deregistrations,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // If the reactor is gone, the next accept returns that error.
        let Some(reactor) = self.reactor.upgrade() else { return Poll::Ready(()) };
        if reactor.counters.deregistrations.get() != self.deregistrations {
            return Poll::Ready(());
        }
        reactor.wake_on_deregistration(cx.waker());
        Pin::new(&mut self.sleep).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(errno: Errno) -> AcceptError {
        AcceptError::of_accept(&errno.into())
    }

    // Pitfall: S2
    #[test]
    fn an_error_of_one_connection_does_not_end_the_listener() {
        let errors = [
            Errno::CONNABORTED,
            Errno::PROTO,
            Errno::NETDOWN,
            Errno::PERM,
            Errno::HOSTUNREACH,
            Errno::TIMEDOUT,
            Errno::CONNRESET,
        ];
        assert!(errors.into_iter().all(|errno| class(errno) == AcceptError::Connection));
    }

    // Pitfall: S1
    #[test]
    fn a_shortage_makes_the_listener_pause() {
        let errors = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::NOSPC];
        assert!(errors.into_iter().all(|errno| class(errno) == AcceptError::Shortage));
    }

    // Pitfall: S2
    #[test]
    fn a_broken_listener_is_told() {
        let errors = [Errno::BADF, Errno::INVAL, Errno::NOTSOCK];
        assert!(errors.into_iter().all(|errno| class(errno) == AcceptError::Listener));
    }

    #[test]
    fn registration_error_never_ends_the_listener() {
        let class = |errno: Errno| AcceptError::of_registration(&errno.into());
        assert_eq!(class(Errno::NOSPC), AcceptError::Shortage);
        for errno in [Errno::BADF, Errno::INVAL, Errno::PERM] {
            assert_eq!(class(errno), AcceptError::Connection);
        }
    }
}
