//! The way to a sleeping reactor, for other threads.

use std::fmt;
use std::io;
use std::sync::Arc;

use log::error;
use mio::{Registry, Token};

/// Ends a reactor's wait from another thread, or the next one if it does not wait now.
///
/// Notifications are not counted: many may end one wait.
#[derive(Clone)]
pub struct Notifier(Arc<mio::Waker>);

impl Notifier {
    /// Registers with the reactor's `epoll`, under a token of its own.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Notifier> {
        Ok(Notifier(Arc::new(mio::Waker::new(registry, token)?)))
    }

    /// Returns whether both belong to the same reactor.
    pub(crate) fn is_same(&self, other: &Notifier) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Ends the wait. One system call; after the reactor's end it has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let reactor = reactor::Reactor::new()?;
    /// let notifier = reactor.notifier();
    /// std::thread::spawn(move || notifier.notify());
    /// reactor.turn(None)?; // Nothing else would end this wait.
    /// # Ok(())
    /// # }
    /// ```
    pub fn notify(&self) {
        if let Err(error) = self.0.wake() {
            error!("cannot end the wait of the reactor: {error}");
        }
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notifier")
    }
}
