//! The way in for other threads.

use std::fmt;
use std::future::Future;
use std::io;
use std::panic::Location;
use std::sync::Arc;

use crate::executor::spawn_on;
use crate::inbox::{Inbox, Message};
use crate::table::Tasks;

/// The way into an executor from other threads; it can be cloned and sent.
#[derive(Clone)]
pub struct Remote(Arc<Inbox>);

impl Remote {
    pub(crate) fn new(inbox: &Arc<Inbox>) -> Remote {
        Remote(inbox.clone())
    }

    /// The way into the executor that runs on this thread.
    ///
    /// # Panics
    ///
    /// Outside of `block_on`.
    #[track_caller]
    pub fn current() -> Remote {
        Remote::new(&Tasks::current().inbox)
    }

    /// Spawns a task there.
    ///
    /// `make` is sent, and makes the future on the executor's thread; so the future itself need not
    /// be `Send`. For a result, let it send one through a channel.
    ///
    /// # Errors
    ///
    /// [`Closed`], if the executor is gone. If it ends before it has seen `make`, that is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor::{Remote, block_on};
    /// use reactor::blocking::unblock;
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    ///
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// block_on(async move {
    ///     let remote = Remote::current();
    ///     std::thread::spawn(move || {
    ///         remote.spawn(move || {
    ///             let not_send = Rc::new(Cell::new(42));
    ///             async move { sender.send(not_send.get()).unwrap() }
    ///         })
    ///     });
    ///     // This channel blocks, so not on this thread, which has the task to run.
    ///     assert_eq!(unblock(move || receiver.recv()).await, Ok(42));
    /// });
    /// ```
    #[track_caller]
    pub fn spawn<F>(&self, make: impl FnOnce() -> F + Send + 'static) -> Result<(), Closed>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let place = Location::caller();
        let spawn = move || drop(spawn_on(&Tasks::current(), "", place, make()));
        if self.0.send(Message::Spawn(Box::new(spawn))) { Ok(()) } else { Err(Closed(())) }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remote")
    }
}

/// The executor is gone, and nothing can be spawned on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed(());

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the executor is gone")
    }
}

impl std::error::Error for Closed {}

impl From<Closed> for io::Error {
    fn from(closed: Closed) -> io::Error {
        io::Error::other(closed)
    }
}
