//! The way to a sleeping reactor, for other threads.

use std::fmt;
use std::io;
use std::sync::Arc;

use crossbeam_channel::Sender;
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

/// With this a thread of the blocking pool reports that a job has finished.
#[derive(Clone)]
pub(crate) struct Finisher {
    sender: Sender<usize>,
    notifier: Notifier,
}

impl Finisher {
    pub(crate) fn new(sender: Sender<usize>, notifier: Notifier) -> Finisher {
        Finisher { sender, notifier }
    }

    pub(crate) fn notifier(&self) -> &Notifier {
        &self.notifier
    }

    /// Makes the job's source ready, and ends the wait. First the key, then the notification: the
    /// turn that it ends finds the key.
    pub(crate) fn finish(&self, key: usize) {
        // Nobody to tell, if the reactor is gone.
        if self.sender.send(key).is_ok() {
            self.notifier.notify();
        }
    }
}
