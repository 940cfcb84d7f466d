//! How many operations a task may complete before its neighbours get their turn.
//!
//! A peer that always has more to say would keep its task inside one `poll` for ever: each read
//! succeeds, so nothing ever returns `Pending`. The executor therefore sets a budget around each
//! poll, and `poll_io` in `source.rs` spends one unit before each attempt.
//!
//! The budget lives in a thread-local, because it belongs to the poll in progress and not to any
//! socket. It is unlimited until somebody sets it, so that a foreign executor, which would not
//! refill it, can use the same sockets. The idea, and the number, are those of tokio's cooperative
//! scheduling, `tokio::task::coop`.

use std::cell::Cell;
use std::marker::PhantomData;
use std::task::{Context, Poll};

use log::trace;

/// Operations that one poll of one task may complete.
///
/// Small enough that a poll full of small ones ends within a millisecond, large enough that the
/// yield costs nothing noticeable.
pub const OPERATIONS: u32 = 128;

thread_local! {
    /// What is left for the poll in progress; `None`, when no executor has set a limit.
    static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    /// Whether something in it has yielded.
    static YIELDED: Cell<bool> = const { Cell::new(false) };
}

/// Limits the poll that follows to [`OPERATIONS`] operations, until the guard is dropped.
///
/// The guard restores what was there before, also while unwinding: a task that panics leaves no
/// half-spent budget to the code around it.
///
/// # Examples
///
/// ```
/// use reactor::budget;
///
/// let limit = budget::enter();
/// // … poll one task …
/// let has_yielded = limit.spent() == budget::OPERATIONS;
/// # assert!(!has_yielded);
/// ```
#[must_use = "the budget ends when the guard is dropped"]
#[derive(Debug)]
pub struct Budget {
    before: (Option<u32>, bool),
    /// It belongs to the thread that made it.
    _not_send: PhantomData<*const ()>,
}

/// Sets the budget for one poll. An executor calls this around each poll of a task.
pub fn enter() -> Budget {
    let before = (LEFT.replace(Some(OPERATIONS)), YIELDED.replace(false));
    Budget { before, _not_send: PhantomData }
}

impl Drop for Budget {
    fn drop(&mut self) {
        LEFT.set(self.before.0);
        YIELDED.set(self.before.1);
    }
}

impl Budget {
    /// Operations completed since the guard was made; [`OPERATIONS`], if the task has yielded.
    pub fn spent(&self) -> u32 {
        if YIELDED.get() { OPERATIONS } else { OPERATIONS - LEFT.get().unwrap_or(OPERATIONS) }
    }
}

/// Spends one operation. When none is left, the task is woken at once and told `Pending`: it goes
/// to the end of the run queue, and its readiness stays as it is.
pub(crate) fn spend(cx: &mut Context<'_>) -> Poll<()> {
    match LEFT.get() {
        None => Poll::Ready(()),
        Some(0) => {
            yield_to_neighbours(cx);
            Poll::Pending
        }
        Some(left) => {
            LEFT.set(Some(left - 1));
            Poll::Ready(())
        }
    }
}

/// Operations that the task may still complete in this poll.
pub(crate) fn left() -> u32 {
    LEFT.get().unwrap_or(OPERATIONS)
}

/// Spends so many operations at once, or what is left: for one that took as long as they.
pub(crate) fn charge(operations: u32) {
    LEFT.set(LEFT.get().map(|left| left.saturating_sub(operations)));
}

/// Takes back what was spent on an operation that did not complete.
pub(crate) fn refund() {
    LEFT.set(LEFT.get().map(|left| left + 1));
}

/// Queues the task again behind those that wait for the thread.
///
/// The caller returns `Pending`. The executor sees a budget that is spent, and so asks for events
/// before it polls the task again, even if nobody else is queued. What is really left of it stays,
/// for the other futures that are awaited in the same task, beside the caller: they would else get
/// nothing done as long as the caller yields in each poll.
///
/// # Examples
///
/// A loop that computes, and gives the thread away after each part:
///
/// ```
/// use std::future::poll_fn;
/// use std::task::Poll;
///
/// executor::block_on(async {
///     let mut parts = 0..10;
///     poll_fn(|cx| match parts.next() {
///         Some(_part) => {
///             reactor::budget::yield_to_neighbours(cx);
///             Poll::Pending
///         }
///         None => Poll::Ready(()),
///     })
///     .await;
/// });
/// ```
pub fn yield_to_neighbours(cx: &mut Context<'_>) {
    YIELDED.set(true);
    trace!(waker:? = cx.waker().data(); "budget spent");
    cx.waker().wake_by_ref();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn spend_all() -> u32 {
        let cx = &mut Context::from_waker(Waker::noop());
        (0..).take_while(|_| spend(cx).is_ready()).take(1000).count() as u32
    }

    #[test]
    fn without_an_executor_the_budget_is_unlimited() {
        assert_eq!(spend_all(), 1000);
    }

    #[test]
    fn a_poll_completes_no_more_than_its_budget() {
        let _budget = enter();
        assert_eq!(spend_all(), OPERATIONS);
    }

    #[test]
    fn a_nested_budget_does_not_refill_the_outer_one() {
        let outer = enter();
        let used = spend_all();
        {
            let _inner = enter();
            assert_eq!(spend_all(), OPERATIONS);
        }
        assert_eq!((used, spend_all()), (OPERATIONS, 0));
        drop(outer);
    }

    #[test]
    fn a_panic_restores_the_budget() {
        let result = std::panic::catch_unwind(|| {
            let _budget = enter();
            panic!("in the middle of a poll");
        });
        assert!(result.is_err());
        assert_eq!(spend_all(), 1000);
    }
}
