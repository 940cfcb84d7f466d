//! [`Notifier`]: ends the wait of a reactor from another thread.

use std::fmt;
use std::io;
use std::sync::Arc;

use log::error;
use mio::{Registry, Token};

/// A handle that ends the reactor's current wait from any thread.
///
/// If the reactor is not waiting, its next wait returns immediately. Notifications are not counted:
/// several of them may end a single wait.
#[derive(Clone)]
pub struct Notifier(Arc<mio::Waker>);

impl Notifier {
    /// Creates a notifier and registers it with the reactor's epoll instance, under `token`.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Notifier> {
        Ok(Notifier(Arc::new(mio::Waker::new(registry, token)?)))
    }

    /// Ends the reactor's wait, at the cost of one system call. Has no effect if the reactor has
    /// been dropped.
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
            error!("cannot notify the reactor: {error}");
        }
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notifier")
    }
}
