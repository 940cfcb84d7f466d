//! Which reactor runs on this thread: so that `TcpListener::bind(addr)` reads like std's.

use std::cell::RefCell;
use std::rc::Rc;

use crate::Reactor;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Reactor>>> = const { RefCell::new(None) };
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
        let current = CURRENT.try_with(|current| current.borrow().clone()).ok().flatten();
        // With its crate: who forgets it is often inside the `block_on` of another one.
        current.expect("no reactor on this thread: call this inside `executor::block_on`")
    }

    /// Makes this the current reactor of the thread until the guard is dropped.
    ///
    /// Guards nest, and are dropped in the reverse order: each puts back the reactor that was
    /// current before it.
    pub fn enter(self: &Rc<Self>) -> Enter {
        let before = CURRENT.try_with(|current| current.replace(Some(self.clone())));
        Enter { before: before.ok().flatten() }
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
        // In a thread's last moments the thread-local may be gone, and nobody left to miss it.
        let _ = CURRENT.try_with(|current| current.replace(before));
    }
}
