//! The real budget, which the executor refills before each poll, under the names that the files of
//! `reactor` use. These names are private there.

use std::cell::Cell;
use std::task::{Context, Poll, Waker, ready};

pub(crate) use reactor::budget::{OPERATIONS, has_budget_remaining};
use reactor::budget::{RestoreOnPending, poll_proceed};

thread_local! {
    /// The last operation that was spent. Dropping it gives the operation back.
    static LAST: Cell<Option<RestoreOnPending>> = const { Cell::new(None) };
}

pub(crate) fn spend(cx: &mut Context<'_>) -> Poll<()> {
    let spent = ready!(poll_proceed(cx));
    if let Some(before) = LAST.replace(Some(spent)) {
        before.made_progress();
    }
    Poll::Ready(())
}

pub(crate) fn refund() {
    drop(LAST.take());
}

/// Spends operations, except those that exceed the budget.
pub(crate) fn charge(operations: usize) {
    let cx = &mut Context::from_waker(Waker::noop());
    for _ in 0..operations {
        if has_budget_remaining()
            && let Poll::Ready(spent) = poll_proceed(cx)
        {
            spent.made_progress();
        }
    }
}
