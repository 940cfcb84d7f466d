//! Which reactor is the *current* one of this thread. Sockets and timers that are created on the
//! thread belong to it, so that `TcpListener::bind(addr)` reads like std's.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::rc::Rc;

use crate::reactor::Reactor;
use crate::shared::Shared;

thread_local! {
    /// Never dropped, so that the destructors of other thread-locals can use it. The guards leave it
    /// empty. Only a guard that is forgotten leaves a reactor here forever.
    static CURRENT: ManuallyDrop<RefCell<Option<Rc<Reactor>>>> =
        const { ManuallyDrop::new(RefCell::new(None)) };
}

/// Makes `reactor` the current one, and returns the one that was current before.
fn replace(reactor: Option<Rc<Reactor>>) -> Option<Rc<Reactor>> {
    let now = reactor.as_ref().map(|reactor| reactor.shared.clone());
    let before = CURRENT.with(|current| current.replace(reactor));
    Shared::replace_current(before.as_ref().map(|before| &*before.shared), now.as_deref());
    before
}

impl Reactor {
    /// Returns the current reactor of this thread, to which new sockets and timers belong.
    ///
    /// # Panics
    ///
    /// Panics outside of [`Reactor::enter`], which `block_on` calls. The message names the caller of
    /// the function that needs the reactor.
    #[track_caller]
    pub fn current() -> Rc<Reactor> {
        // The message names the crate, because the caller is often inside the `block_on` of another
        // runtime.
        Reactor::try_current().expect("no reactor on this thread: call this inside `executor::block_on`, or after `Reactor::enter`")
    }

    /// Returns the current reactor to a future that is being polled. The panic names the line that
    /// created the future, because `poll` does not know its caller.
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

    /// Makes this the current reactor of the thread until the guard is dropped.
    ///
    /// The guard then restores the reactor that was current before. Drop nested guards in reverse
    /// order. A guard that is forgotten, or dropped in another order, may keep a reactor and its
    /// descriptors until the process ends.
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
