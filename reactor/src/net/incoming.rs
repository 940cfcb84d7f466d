//! [`Incoming`]: the stream of connections that a listener accepts.

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
    /// A connection, and the address of its peer.
    type Accepted;

    /// Accepts a connection, and registers it with the reactor.
    ///
    /// The outer error comes from `accept`. The inner error comes from registering a connection
    /// that was accepted; that connection has been closed.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<io::Result<Self::Accepted>>>;
}

/// How an error affects the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AcceptError {
    /// One connection failed. Retry immediately, but pause if the error repeats.
    Connection,
    /// The process or the OS is out of descriptors or memory, so an immediate retry would fail
    /// too. During the pause, clients wait in the accept queue.
    OutOfResources,
    /// The listener is permanently unusable.
    Listener,
}

impl AcceptError {
    /// Classifies an error of `accept`.
    fn of_accept(error: &io::Error) -> AcceptError {
        match Errno::from_io_error(error) {
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::NOSPC) => {
                AcceptError::OutOfResources
            }
            // An error without a number does not come from the kernel: the listener's reactor is
            // gone, or is not the current one.
            Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::OPNOTSUPP) | None => {
                AcceptError::Listener
            }
            // Any other number is possible, because accept(2) also returns network errors of the
            // new connection, and a seccomp filter may return any error.
            Some(_) => AcceptError::Connection,
        }
    }

    /// Classifies an error of registering an accepted connection, e.g. ENOSPC if the user has
    /// reached the epoll limit `max_user_watches`.
    fn of_registration(error: &io::Error) -> AcceptError {
        match AcceptError::of_accept(error) {
            AcceptError::OutOfResources => AcceptError::OutOfResources,
            AcceptError::Connection | AcceptError::Listener => AcceptError::Connection,
        }
    }
}

/// The stream that `incoming()` of [`TcpListener`] or [`UnixListener`] returns.
///
/// [`UnixListener`]: crate::net::UnixListener
///
/// # Panics
///
/// Panics if it accepts a connection or begins a pause outside of `block_on`.
///
/// # Cancel safety
///
/// Dropping the stream loses no connection: each connection that it accepted has been yielded.
#[derive(Debug)]
#[must_use = "streams do nothing unless they are polled"]
pub struct Incoming<'a, L = TcpListener> {
    listener: &'a L,
    pause: Option<Pause>,
    backoff: Backoff,
    ended: bool,
    /// The line that created the stream. If a pause begins without a current reactor, the panic
    /// message names this line.
    caller: &'static Location<'static>,
}

/// The stream that [`Incoming::with_peers`] returns.
///
/// # Panics
///
/// Panics as [`Incoming`] does.
///
/// # Cancel safety
///
/// Dropping the stream loses no connection: each connection that it accepted has been yielded.
#[derive(Debug)]
#[must_use = "streams do nothing unless they are polled"]
pub struct IncomingWithPeers<'a, L = TcpListener>(pub(in crate::net) Incoming<'a, L>);

/// A wait that ends after some time, or when any source is deregistered, because a descriptor may
/// be free then.
#[derive(Debug)]
struct Pause {
    sleep: Sleep,
    /// Weak, because a pause must not keep the reactor alive.
    reactor: Weak<Reactor>,
    /// The reactor's count of deregistrations when the pause began.
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
    /// The address is known even if the peer has already reset the connection. After a reset,
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

    /// Returns the next connection. After an error that makes the listener unusable, returns that
    /// error and then `None`.
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
                AcceptError::OutOfResources => self.backoff.failed_for_longer(),
                AcceptError::Listener => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
            };
            if pause.is_zero() {
                debug!("skipping a connection that failed: {error}");
            } else {
                self.pause = Some(Pause::new(pause, self.caller));
                self.warn(class, &error);
            }
        }
        // Spend budget here too, so that a loop over an ended stream lets other tasks run.
        budget::spend(cx).map(|()| None)
    }

    /// Logs the error, at most once a second.
    fn warn(&mut self, class: AcceptError, error: &io::Error) {
        if !self.backoff.should_log() {
            return;
        }
        match class {
            AcceptError::OutOfResources => {
                warn!("cannot accept until connections close or limits are raised: {error}");
            }
            _ => warn!("cannot accept, retrying after pauses of up to 1 s: {error}"),
        }
    }
}

impl Pause {
    fn new(duration: Duration, caller: &'static Location<'static>) -> Pause {
        let reactor = Reactor::current_for(caller);
        let deregistrations = reactor.shared.counters.deregistrations.get();
        Pause {
            sleep: sleep_for(duration, caller),
            reactor: Rc::downgrade(&reactor),
            deregistrations,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // If the reactor is gone, end the pause: the next `accept` returns the error for that.
        let Some(reactor) = self.reactor.upgrade() else { return Poll::Ready(()) };
        if reactor.shared.counters.deregistrations.get() != self.deregistrations {
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
    fn connection_error_does_not_end_the_stream() {
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
    fn resource_error_pauses_the_stream() {
        let errors = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::NOSPC];
        assert!(errors.into_iter().all(|errno| class(errno) == AcceptError::OutOfResources));
    }

    // Pitfall: S2
    #[test]
    fn error_of_an_unusable_listener_ends_the_stream() {
        let errors = [Errno::BADF, Errno::INVAL, Errno::NOTSOCK];
        assert!(errors.into_iter().all(|errno| class(errno) == AcceptError::Listener));
    }

    #[test]
    fn registration_error_never_ends_the_stream() {
        let class = |errno: Errno| AcceptError::of_registration(&errno.into());
        assert_eq!(class(Errno::NOSPC), AcceptError::OutOfResources);
        for errno in [Errno::BADF, Errno::INVAL, Errno::PERM] {
            assert_eq!(class(errno), AcceptError::Connection);
        }
    }
}
