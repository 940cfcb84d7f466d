//! [`Incoming`]: the stream of connections of any listener.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use log::{debug, warn};
use rustix::io::Errno;

use crate::net::TcpListener;
use crate::time::{Sleep, sleep};
use crate::{Reactor, budget};

/// The first pause after the system ran out of descriptors or memory. It doubles up to
/// [`LONGEST_PAUSE`]: short enough that a moment's shortage passes unnoticed.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest such pause, and the shortest time between two warnings about it.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A socket that listens for connections.
pub(crate) trait Accept {
    /// A connection, and the address of its other end.
    type Accepted;

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Self::Accepted>>;
}

/// What an error of `accept` says about the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AcceptError {
    /// Nothing: it was the error of one connection, which is gone. Go on.
    Connection,
    /// The system is short of something; whoever is in the backlog still waits there. Pause.
    Shortage,
    /// It is broken, and will be.
    Listener,
}

impl AcceptError {
    fn of(error: &io::Error) -> AcceptError {
        match Errno::from_io_error(error) {
            // The last one is epoll's, which can watch only so many: that connection is closed.
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::NOSPC) => {
                AcceptError::Shortage
            }
            // None: not the system's, but ours, when the reactor is gone.
            Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::OPNOTSUPP) | None => {
                AcceptError::Listener
            }
            // accept(2) passes on whatever befell the connection: a list without an end.
            Some(_) => AcceptError::Connection,
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
    /// How long the next pause will be.
    next_pause: Duration,
    warned: Option<Instant>,
    ended: bool,
}

/// Waits until there may be descriptors again.
#[derive(Debug)]
struct Pause {
    sleep: Sleep,
    /// Weak: who pauses must not keep a reactor from its end.
    reactor: Weak<Reactor>,
    deregistrations: u64,
}

#[expect(private_bounds, reason = "only listeners of this crate accept")]
impl<L: Accept> Incoming<'_, L> {
    pub(crate) fn new(listener: &L) -> Incoming<'_, L> {
        Incoming { listener, pause: None, next_pause: FIRST_PAUSE, warned: None, ended: false }
    }

    /// The next connection; `None`, after the error that broke the listener.
    pub(crate) fn poll_accepted(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<L::Accepted>>> {
        while !self.ended {
            if let Some(pause) = &mut self.pause {
                ready!(pause.poll(cx));
                self.pause = None;
            }
            let error = match ready!(self.listener.poll_accept(cx)) {
                Ok(accepted) => {
                    // The shortage is over: the next one begins with a short pause again.
                    self.next_pause = FIRST_PAUSE;
                    return Poll::Ready(Some(Ok(accepted)));
                }
                Err(error) => error,
            };
            match AcceptError::of(&error) {
                AcceptError::Connection => debug!("a connection was lost in the backlog: {error}"),
                AcceptError::Shortage => self.pause(&error),
                AcceptError::Listener => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        // A loop over a stream that has ended must not keep the thread either.
        budget::spend(cx).map(|()| None)
    }

    fn pause(&mut self, error: &io::Error) {
        let now = Instant::now();
        if self.warned.is_none_or(|warned| now.duration_since(warned) >= LONGEST_PAUSE) {
            self.warned = Some(now);
            warn!("cannot accept until connections close or limits are raised: {error}");
        }
        self.pause = Some(Pause::new(self.next_pause));
        self.next_pause = LONGEST_PAUSE.min(self.next_pause * 2);
    }
}

impl Pause {
    fn new(duration: Duration) -> Pause {
        let reactor = Reactor::current();
        let deregistrations = reactor.counters.deregistrations.get();
        Pause { sleep: sleep(duration), reactor: Rc::downgrade(&reactor), deregistrations }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The next accept will say that it is gone.
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
        AcceptError::of(&io::Error::from_raw_os_error(errno.raw_os_error()))
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
}
