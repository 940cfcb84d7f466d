//! The real budget, under the private names that the files of `reactor` use. The executor refills
//! the budget before each poll.

use std::cell::Cell;
use std::task::{Context, Poll, Waker, ready};

pub(crate) use reactor::budget::has_budget_remaining;
use reactor::budget::{OPERATIONS, RestoreOnPending, poll_proceed};

thread_local! {
    /// The last operation that was charged. Dropping the value refunds the operation.
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

/// Spends the budget of this poll, except for the given number of operations.
pub(crate) fn leave(operations: usize) {
    let cx = &mut Context::from_waker(Waker::noop());
    for _ in operations..OPERATIONS as usize {
        if let Poll::Ready(spent) = poll_proceed(cx) {
            spent.made_progress();
        }
    }
}
