//! Mistake: a permit is lost if the waiter that it was handed to is dropped.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Gives out a limited number of permits. It is used on one thread only.
///
/// Invariant: if a task is in the queue, no permit is free. So nothing can overtake the queue.
pub(crate) struct Semaphore {
    free: Cell<usize>,
    /// The tasks that wait, in the order in which they came.
    queue: RefCell<VecDeque<Rc<Waiter>>>,
}

/// Permission to go on. Dropping it gives the permit back.
pub(crate) struct Permit<'a>(&'a Semaphore);

/// A task that waits, or that has been given a permit and does not know it yet.
#[derive(Default)]
struct Waiter {
    has_permit: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// A waiter inside the future of `acquire`. Dropping the future drops it.
struct Waiting<'a> {
    semaphore: &'a Semaphore,
    waiter: Rc<Waiter>,
}

impl Semaphore {
    pub(crate) fn new(permits: usize) -> Semaphore {
        Semaphore { free: Cell::new(permits), queue: RefCell::default() }
    }

    /// Returns how many permits are free. A permit that was handed to a waiting task is not free,
    /// even if that task has not been polled yet.
    pub(crate) fn free(&self) -> usize {
        self.free.get()
    }

    /// Waits for a permit.
    pub(crate) async fn acquire(&self) -> Permit<'_> {
        if let Some(left) = self.free.get().checked_sub(1) {
            self.free.set(left);
            return Permit(self);
        }
        let waiter = Rc::<Waiter>::default();
        self.queue.borrow_mut().push_back(waiter.clone());
        let waiting = Waiting { semaphore: self, waiter };
        poll_fn(|cx| waiting.poll(cx)).await;
        Permit(self)
    }

    /// Hands a permit to the first waiter. If no task waits, the permit becomes free.
    fn release(&self) {
        let first = self.queue.borrow_mut().pop_front();
        match first {
            Some(waiter) => {
                waiter.has_permit.set(true);
                let waker = waiter.waker.take();
                waker.into_iter().for_each(Waker::wake);
            }
            None => self.free.set(self.free.get() + 1),
        }
    }
}

impl Waiting<'_> {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiter.has_permit.take() {
            return Poll::Ready(());
        }
        let before = self.waiter.waker.replace(Some(cx.waker().clone()));
        drop(before);
        Poll::Pending
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut queue = self.semaphore.queue.borrow_mut();
        queue.retain(|waiter| !Rc::ptr_eq(waiter, &self.waiter));
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

#[path = "../../exercises/checks/06_semaphore.rs"]
pub(crate) mod check;
