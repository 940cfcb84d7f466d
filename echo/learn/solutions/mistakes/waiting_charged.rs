//! Mistake: an operation that has to wait spends the budget, too.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};

/// How many operations a task may complete in one poll of `run`.
pub(crate) const OPERATIONS: usize = 128;

thread_local! {
    /// How many operations the poll in progress may still complete. `None` outside of `run`: another
    /// executor does not refill the budget, so there must be no limit.
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Spends one operation. If none is left, wakes the task and returns `Pending`.
fn spend(cx: &mut Context<'_>) -> Poll<()> {
    match LEFT.get() {
        None => Poll::Ready(()),
        Some(0) => {
            // The task could continue, so nothing else would wake it.
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        Some(left) => {
            LEFT.set(Some(left - 1));
            Poll::Ready(())
        }
    }
}

/// A queue of numbers. It is used on one thread only.
#[derive(Default)]
pub(crate) struct Channel {
    items: RefCell<VecDeque<usize>>,
    waiter: RefCell<Option<Waker>>,
}

impl Channel {
    /// Adds a number, and wakes the task that waits.
    pub(crate) fn push(&self, item: usize) {
        self.items.borrow_mut().push_back(item);
        let waiter = self.waiter.borrow_mut().take();
        waiter.into_iter().for_each(Waker::wake);
    }

    /// Takes the next number. This is the operation that the budget limits.
    pub(crate) fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<usize> {
        // Spend before the attempt. Afterwards it would be too late: `Pending` with an item already
        // taken would lose the item.
        ready!(spend(cx));
        let item = self.items.borrow_mut().pop_front();
        if let Some(item) = item {
            return Poll::Ready(item);
        }
        let before = self.waiter.replace(Some(cx.waker().clone()));
        drop(before);
        Poll::Pending
    }
}

/// Whether a task has been woken since its last poll.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

pub(crate) type Task<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Polls the woken tasks in turn, until all have completed or none is woken. Returns how many have
/// not completed.
pub(crate) fn run(tasks: Vec<Task<'_>>) -> usize {
    let mut tasks: Vec<_> =
        tasks.into_iter().map(|task| (task, Arc::new(Woken(AtomicBool::new(true))))).collect();
    loop {
        let mut polls = 0;
        tasks.retain_mut(|(task, woken)| {
            if !woken.0.swap(false, Ordering::AcqRel) {
                return true;
            }
            polls += 1;
            let waker = Waker::from(woken.clone());
            LEFT.set(Some(OPERATIONS));
            task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending()
        });
        LEFT.set(None);
        if polls == 0 || tasks.is_empty() {
            return tasks.len();
        }
    }
}

#[path = "../../exercises/checks/11_budget.rs"]
pub(crate) mod check;
