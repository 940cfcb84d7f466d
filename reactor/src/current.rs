//! Which reactor runs on this thread: so that `TcpListener::bind(addr)` reads like std's.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::rc::Rc;

use crate::Reactor;

thread_local! {
    /// Never dropped, so that it is there also for the destructors of other thread-locals. The
    /// guards leave it empty; only one that is forgotten leaves a reactor here, for ever.
    static CURRENT: ManuallyDrop<RefCell<Option<Rc<Reactor>>>> =
        const { ManuallyDrop::new(RefCell::new(None)) };
}

impl Reactor {
    /// The reactor that sockets and timers made on this thread belong to.
    ///
    /// # Panics
    ///
    /// Outside of [`Reactor::enter`], which `block_on` calls. All functions that ask for it are
    /// `track_caller`, so that the panic names the line of the program, and not one of ours; but an
    /// `async fn` cannot be.
    #[track_caller]
    pub fn current() -> Rc<Reactor> {
        let current = CURRENT.with(|current| current.borrow().clone());
        // With its crate: who forgets it is often inside the `block_on` of another one.
        current.expect("no reactor on this thread: call this inside `executor::block_on`, or after `Reactor::enter`")
    }

    /// Makes this the current reactor of the thread until the guard is dropped.
    ///
    /// Guards nest, and are dropped in the reverse order: each puts back the reactor that was
    /// current before it. One that is forgotten, or dropped in another order, may keep a reactor and
    /// its descriptors until the process ends.
    pub fn enter(self: &Rc<Self>) -> Enter {
        Enter { before: CURRENT.with(|current| current.replace(Some(self.clone()))) }
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
        // What was there is dropped by this function, with nothing borrowed.
        CURRENT.with(|current| current.replace(before));
    }
}
