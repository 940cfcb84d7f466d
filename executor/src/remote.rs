//! [`Remote`] spawns tasks from other threads.

use std::fmt;
use std::future::Future;
use std::io;
use std::panic::Location;
use std::sync::Arc;

use crate::executor::spawn_on;
use crate::inbox::{Inbox, Message};
use crate::table::Tasks;

/// Spawns tasks on an executor from other threads. It can be cloned and sent.
#[derive(Clone)]
pub struct Remote(Arc<Inbox>);

impl Remote {
    pub(crate) fn new(inbox: &Arc<Inbox>) -> Remote {
        Remote(inbox.clone())
    }

    /// Returns a `Remote` of the executor that runs on this thread.
    ///
    /// # Panics
    ///
    /// Panics if no executor is current on this thread; see [`Executor::enter`](crate::Executor::enter).
    #[track_caller]
    pub fn current() -> Remote {
        Remote::new(&Tasks::current().inbox)
    }

    /// Spawns a task on the executor.
    ///
    /// The executor calls `make` on its own thread, so the future that `make` creates need not be
    /// `Send`. The task is detached. It can send a result through a channel.
    ///
    /// # Errors
    ///
    /// Returns [`Closed`] if the executor was dropped. If the executor is dropped after this call,
    /// it may drop `make` without calling it.
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
    ///     // `recv` blocks, so call it on a thread of the pool: this thread must run the task.
    ///     assert_eq!(unblock(move || receiver.recv()).await, Ok(42));
    /// });
    /// ```
    #[track_caller]
    pub fn spawn<F>(&self, make: impl FnOnce() -> F + Send + 'static) -> Result<(), Closed>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let location = Location::caller();
        let spawn = move || drop(spawn_on(&Tasks::current(), "", location, make()));
        if self.0.send(Message::Spawn(Box::new(spawn))) { Ok(()) } else { Err(Closed(())) }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remote")
    }
}

/// The error of spawning on an executor that was dropped.
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
