//! Which executor runs on this thread: so that `spawn` needs no argument.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::rc::Rc;

use crate::executor::Core;
use crate::queue;

thread_local! {
    /// Never dropped: see the one of the reactor.
    static CURRENT: ManuallyDrop<RefCell<Option<Rc<Core>>>> =
        const { ManuallyDrop::new(RefCell::new(None)) };
    /// Where the `block_on` or `tick` was called in which this thread is.
    static INSIDE: Cell<Option<&'static Location<'static>>> = const { Cell::new(None) };
}

impl Core {
    /// # Panics
    ///
    /// Outside of `block_on`.
    #[track_caller]
    pub(crate) fn current() -> Rc<Core> {
        let current = CURRENT.with(|current| current.borrow().clone());
        current.expect("no executor on this thread: call this inside `executor::block_on`")
    }

    /// Makes this the current executor, with its queue and its reactor, until the guards are
    /// dropped.
    pub(crate) fn enter(self: &Rc<Self>) -> (Enter, queue::Enter, reactor::Enter) {
        let (enter, reactor) = self.enter_from_outside();
        (enter, self.queue().enter(), reactor)
    }

    /// [`enter`](Core::enter), but for the queue: perhaps nobody pops from it now, and whoever
    /// waits for the descriptor must learn of a wake. So it goes by the inbox, which notifies.
    pub(crate) fn enter_from_outside(self: &Rc<Self>) -> (Enter, reactor::Enter) {
        let before = CURRENT.with(|current| current.replace(Some(self.clone())));
        (Enter { before }, self.reactor().enter())
    }
}

/// Makes an executor current; see [`Core::enter`].
pub(crate) struct Enter {
    before: Option<Rc<Core>>,
}

impl Drop for Enter {
    fn drop(&mut self) {
        let before = self.before.take();
        CURRENT.with(|current| current.replace(before));
    }
}

/// This thread is inside `block_on` or `tick`, which must not be nested: the inner one would hold
/// up all tasks of the outer one.
pub(crate) struct Inside;

impl Inside {
    #[track_caller]
    pub(crate) fn enter(place: &'static Location<'static>) -> Inside {
        if let Some(outer) = INSIDE.get() {
            panic!(
                "`block_on` at {place} is inside `block_on` at {outer}, on the same thread: await \
                 the inner future, or run it on another thread"
            );
        }
        INSIDE.set(Some(place));
        Inside
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(None);
    }
}
