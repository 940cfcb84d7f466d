//! Which reactor runs on this thread: so that `TcpListener::bind(addr)` reads like std's.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::rc::Rc;

use crate::Reactor;

thread_local! {
    /// Never dropped, so that it is there also for the destructors of other thread-locals. The
    /// guards leave it empty. Only a guard that is forgotten leaves a reactor here forever.
    static CURRENT: ManuallyDrop<RefCell<Option<Rc<Reactor>>>> =
        const { ManuallyDrop::new(RefCell::new(None)) };
}

/// Makes `reactor` the current one, and returns the one that was current before.
fn replace(reactor: Option<Rc<Reactor>>) -> Option<Rc<Reactor>> {
    let before = CURRENT.with(|current| current.take());
    if let Some(before) = &before {
        before.is_current.set(false);
    }
    if let Some(reactor) = &reactor {
        reactor.is_current.set(true);
    }
    CURRENT.with(|current| current.replace(reactor));
    before
}

impl Reactor {
    /// The reactor that sockets and timers made on this thread belong to.
    ///
    /// # Panics
    ///
    /// Panics outside of [`Reactor::enter`], which `block_on` calls. Every function that needs a
    /// reactor names its caller in this panic, so the message leads to a line of the program.
    #[track_caller]
    pub fn current() -> Rc<Reactor> {
        // The text names the crate, because a program that forgets `block_on` is often inside the
        // `block_on` of another runtime.
        Reactor::try_current().expect("no reactor on this thread: call this inside `executor::block_on`, or after `Reactor::enter`")
    }

    /// As [`current`](Reactor::current), for a future: the panic names the line that made the
    /// future, because a `poll` does not know its caller.
    pub(crate) fn current_for(caller: &'static Location<'static>) -> Rc<Reactor> {
        Reactor::try_current().unwrap_or_else(|| {
            panic!(
                "no reactor on this thread: await this inside `executor::block_on`, or after \
                 `Reactor::enter` (a future that was made at {caller})"
            )
        })
    }

    fn try_current() -> Option<Rc<Reactor>> {
        CURRENT.with(|current| current.borrow().clone())
    }

    /// Returns whether another reactor is the current one of this thread.
    ///
    /// A task that waits for this reactor would then hang, because the thread sleeps in the other
    /// one. If there is no current reactor, the program turns its reactors by hand.
    pub(crate) fn is_displaced(&self) -> bool {
        // The flag comes first: each wait calls this, and the flag is nearly always set.
        !self.is_current.get() && CURRENT.with(|current| current.borrow().is_some())
    }

    /// Makes this the current reactor of the thread until the guard is dropped.
    ///
    /// Guards nest, and are dropped in the reverse order: each puts back the reactor that was
    /// current before it. One that is forgotten, or dropped in another order, may keep a reactor and
    /// its descriptors until the process ends.
    pub fn enter(self: &Rc<Self>) -> Enter {
        Enter { before: replace(Some(self.clone())) }
    }
}

/// Makes a reactor current; see [`Reactor::enter`].
#[must_use = "the reactor is current until the guard is dropped"]
#[derive(Debug)]
pub struct Enter {
    before: Option<Rc<Reactor>>,
}

impl Drop for Enter {
    fn drop(&mut self) {
        let before = self.before.take();
        // Reentrancy: the reactor that was current is dropped here, after the borrow has ended.
        drop(replace(before));
    }
}
