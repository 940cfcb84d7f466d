//! Limits how many operations a task may complete in one poll before other tasks run.
//!
//! A task whose peer always has more data would stay inside one `poll` forever: each read succeeds,
//! so nothing ever returns `Pending`. The executor therefore sets a budget for each poll, and every
//! operation of this crate that completes spends at least one unit. When the budget is used up, the
//! task *yields*: it wakes itself and returns `Pending`, so that it runs again after the tasks that
//! are already queued. Two kinds of code spend the budget:
//!
//! - `poll_io` in `source.rs` spends one unit before each attempt, and takes it back if the attempt
//!   returns `WouldBlock`.
//! - A future that may be ready at its first poll, such as a sleep whose deadline has passed,
//!   yields once if the budget is used up, and spends one unit when it completes.
//!
//! Futures of other crates do not spend this budget. A channel that always has a message, or a
//! reader of bytes in memory, can keep the thread busy. Wrap such a future in [`cooperative`], or
//! await [`consume_budget`] once in each pass of the loop.
//!
//! The budget is a thread-local, because it belongs to the poll in progress and not to any socket.
//! It is unlimited until an executor sets it. Otherwise a task on another runtime's executor, which
//! does not refill the budget, would use it up and then yield forever. The idea, the limit and most
//! names come from tokio's cooperative scheduling, `tokio::task::coop`.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use log::trace;
use pin_project_lite::pin_project;

/// The number of operations that one poll of one task may complete.
///
/// It is small enough that a poll full of short operations ends within a millisecond, and large
/// enough that the cost of yielding does not matter.
pub const OPERATIONS: u32 = 128;

/// More operations than any thread completes: at one operation per nanosecond, it lasts 292 years.
/// It is an ordinary number, so that spending needs no special case.
const UNLIMITED: u64 = u64::MAX / 2;

thread_local! {
    /// The number of operations left for the poll in progress. Nearly [`UNLIMITED`] if no executor
    /// has set a limit.
    static LEFT: Cell<u64> = const { Cell::new(UNLIMITED) };
    /// Whether a future has yielded in this poll.
    static YIELDED: Cell<bool> = const { Cell::new(false) };
}

/// Guard of [`enter`]: while it exists, a poll completes at most [`OPERATIONS`] operations.
///
/// Dropping the guard restores the previous budget, even during unwinding. So a task that panics
/// does not leave a partly spent budget to the surrounding code.
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
    /// The previous values of `LEFT` and `YIELDED`.
    before: (u64, bool),
    /// Makes the guard `!Send`, because the budget is a thread-local.
    _not_send: PhantomData<*const ()>,
}

/// Sets the budget of this thread to [`OPERATIONS`], until the returned guard is dropped.
///
/// An executor calls this before it polls a task. If it polls several tasks in a row, it calls
/// [`Budget::refill`] before each further poll.
pub fn enter() -> Budget {
    let before = (LEFT.replace(OPERATIONS.into()), YIELDED.replace(false));
    Budget { before, _not_send: PhantomData }
}

impl Drop for Budget {
    fn drop(&mut self) {
        LEFT.set(self.before.0);
        YIELDED.set(self.before.1);
    }
}

impl Budget {
    /// Refills the budget for the next poll.
    ///
    /// Refilling is cheaper than making a new guard for each of many polls in a row.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::budget;
    ///
    /// let limit = budget::enter();
    /// for _task in 0..10 {
    ///     limit.refill();
    ///     // … poll the task …
    /// }
    /// ```
    pub fn refill(&self) {
        LEFT.set(OPERATIONS.into());
        YIELDED.set(false);
    }

    /// Returns the number of operations completed since [`enter`] or the last
    /// [`refill`](Budget::refill), or [`OPERATIONS`] if the task has yielded.
    pub fn spent(&self) -> u32 {
        if YIELDED.get() { OPERATIONS } else { OPERATIONS.saturating_sub(LEFT.get() as u32) }
    }
}

/// Spends one operation. If none is left, yields: wakes the task and returns `Pending`. The
/// readiness of its sources stays as it is.
pub(crate) fn spend(cx: &mut Context<'_>) -> Poll<()> {
    let Some(left) = LEFT.get().checked_sub(1) else {
        request_yield(cx);
        return Poll::Pending;
    };
    LEFT.set(left);
    Poll::Ready(())
}

/// Returns the number of operations that the task may still complete in this poll.
pub(crate) fn left() -> u32 {
    LEFT.get().min(OPERATIONS.into()) as u32
}

/// Spends `operations` for a step that took as long as that many operations. If fewer are left,
/// spends all of them.
pub(crate) fn charge(operations: u32) {
    LEFT.set(LEFT.get().saturating_sub(operations.into()));
}

/// Takes back one operation, which was spent on an attempt that did not complete.
pub(crate) fn refund() {
    LEFT.set(LEFT.get() + 1);
}

/// Spends one operation, which the returned guard takes back if the operation does not complete.
///
/// Call this in your own `poll` function, before the attempt. If the budget is used up, this
/// function yields: it wakes the task and returns `Pending`, and the caller must return `Pending`
/// without an attempt. If the attempt completes the operation, call
/// [`made_progress`](RestoreOnPending::made_progress). If the operation has to wait, drop the
/// guard, because waiting is free.
///
/// Without an executor that sets a budget, this function always returns `Ready`.
///
/// # Examples
///
/// A queue whose `poll_pop` lets other tasks run even if the queue is never empty:
///
/// ```
/// use reactor::budget;
/// use std::collections::VecDeque;
/// use std::future::poll_fn;
/// use std::task::{Context, Poll, Waker, ready};
///
/// struct Queue(VecDeque<u8>, Option<Waker>);
///
/// impl Queue {
///     fn poll_pop(&mut self, cx: &mut Context<'_>) -> Poll<u8> {
///         let proceed = ready!(budget::poll_proceed(cx));
///         let Some(item) = self.0.pop_front() else {
///             self.1 = Some(cx.waker().clone());
///             return Poll::Pending; // Drops `proceed`, which refunds the operation.
///         };
///         proceed.made_progress();
///         Poll::Ready(item)
///     }
/// }
///
/// executor::block_on(async {
///     let mut queue = Queue([1, 2].into(), None);
///     assert_eq!(poll_fn(|cx| queue.poll_pop(cx)).await, 1);
/// });
/// ```
pub fn poll_proceed(cx: &mut Context<'_>) -> Poll<RestoreOnPending> {
    ready!(spend(cx));
    Poll::Ready(RestoreOnPending { _not_send: PhantomData })
}

/// Guard of [`poll_proceed`]. Dropping it takes the operation back.
#[must_use = "dropping the guard takes the operation back: call `made_progress` to keep it spent"]
#[derive(Debug)]
pub struct RestoreOnPending {
    /// Makes the guard `!Send`, because the budget is a thread-local.
    _not_send: PhantomData<*const ()>,
}

impl RestoreOnPending {
    /// Keeps the operation spent, because it has completed.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::budget::poll_proceed;
    /// use std::future::poll_fn;
    ///
    /// executor::block_on(async {
    ///     // An operation that is always ready, as one future.
    ///     poll_fn(|cx| poll_proceed(cx).map(|proceed| proceed.made_progress())).await;
    /// });
    /// ```
    pub fn made_progress(self) {
        std::mem::forget(self);
    }
}

impl Drop for RestoreOnPending {
    fn drop(&mut self) {
        refund();
    }
}

/// Spends one operation. If none is left, yields once first.
///
/// Await it in a loop that awaits nothing else of this crate, such as a loop over a channel that
/// always has a message. It yields at most once, so it completes even if other futures of the same
/// task use up the budget in each poll.
///
/// # Cancel safety
///
/// Dropping the future loses nothing.
///
/// # Examples
///
/// ```
/// executor::block_on(async {
///     let mut sum = 0;
///     for number in 0..1000 {
///         sum += number; // A short step that never waits.
///         reactor::budget::consume_budget().await;
///     }
///     assert_eq!(sum, 499_500);
/// });
/// ```
pub async fn consume_budget() {
    let mut waited = false;
    poll_fn(|cx| poll_consume_budget(cx, &mut waited)).await;
}

/// [`consume_budget`] as a `poll` function. Call it when the result of your future is available.
///
/// The future stores the flag `waited`: whether its last poll returned `Pending`, for whatever
/// reason. If the flag is set, the future may complete without budget. This function sets the flag
/// when it returns `Pending`, and clears it when it returns `Ready`, so it never returns `Pending`
/// twice in a row. Without the flag, the future would never complete if another future in the same
/// task uses up the budget in each poll.
///
/// # Examples
///
/// ```
/// use reactor::budget;
/// use std::pin::Pin;
/// use std::task::{Context, Poll, ready};
///
/// /// A future whose result is available from the start.
/// struct Ready {
///     value: u8,
///     waited: bool,
/// }
///
/// impl Future for Ready {
///     type Output = u8;
///
///     fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u8> {
///         ready!(budget::poll_consume_budget(cx, &mut self.waited));
///         Poll::Ready(self.value)
///     }
/// }
///
/// assert_eq!(executor::block_on(Ready { value: 7, waited: false }), 7);
/// ```
pub fn poll_consume_budget(cx: &mut Context<'_>, waited: &mut bool) -> Poll<()> {
    ready!(poll_first(cx, waited));
    *waited = false;
    charge(1);
    Poll::Ready(())
}

/// Returns whether the task may complete another operation in this poll.
///
/// Without an executor that sets a budget, this is always true.
///
/// # Examples
///
/// ```
/// use reactor::budget;
///
/// executor::block_on(async {
///     let mut steps = 0;
///     while budget::has_budget_remaining() {
///         budget::consume_budget().await;
///         steps += 1;
///     }
///     assert_eq!(steps, budget::OPERATIONS);
/// });
/// ```
pub fn has_budget_remaining() -> bool {
    LEFT.get() > 0
}

/// Makes a future of another crate spend budget.
///
/// The returned future spends one operation when it completes, unless the last poll of `future` has
/// spent some itself. If no operation is left at the first poll, the task yields once before
/// `future` is polled.
///
/// # Cancel safety
///
/// The returned future is cancel safe if `future` is.
///
/// # Examples
///
/// A future that is always ready, in a loop beside another task:
///
/// ```
/// use reactor::budget::cooperative;
/// use std::time::Duration;
///
/// executor::block_on(async {
///     let other = executor::spawn(reactor::time::sleep(Duration::from_millis(1)));
///     while !other.is_finished() {
///         cooperative(std::future::ready(())).await; // Without it, `other` never runs.
///     }
/// });
/// ```
pub fn cooperative<F: Future>(future: F) -> Cooperative<F> {
    Cooperative { future, waited: false }
}

pin_project! {
    /// The future of [`cooperative`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct Cooperative<F> {
        #[pin]
        future: F,
        waited: bool,
    }
}

impl<F: Future> Future for Cooperative<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        ready!(poll_first(cx, this.waited));
        let before = left();
        let polled = this.future.poll(cx);
        *this.waited = polled.is_pending();
        if polled.is_ready() {
            charge_if_unspent(before, 1);
        }
        polled
    }
}

/// Yields once if the task has no budget left. A future that may complete at its first poll calls
/// this first.
///
/// The future stores the flag `waited`: whether it has returned `Pending`. Once it is set, the
/// future may continue without budget, for the reason given at [`poll_consume_budget`].
pub(crate) fn poll_first(cx: &mut Context<'_>, waited: &mut bool) -> Poll<()> {
    if *waited || has_budget_remaining() {
        return Poll::Ready(());
    }
    *waited = true;
    request_yield(cx);
    Poll::Pending
}

/// Spends one operation if `result` is an error, and returns `result`.
///
/// It is for errors that are found before the first wait. Without an error, the operation that
/// follows spends the budget.
pub(crate) async fn charge_error<T>(result: io::Result<T>) -> io::Result<T> {
    if result.is_err() {
        consume_budget().await;
    }
    result
}

/// Spends `operations`, unless other code has spent some since [`left`] returned `before`.
pub(crate) fn charge_if_unspent(before: u32, operations: u32) {
    if left() == before {
        charge(operations);
    }
}

/// Wakes the task, so that it runs again after the tasks that are already queued.
///
/// The caller must then return `Pending`.
///
/// The executor treats a task that yields as one that has used up its budget: it looks for events
/// before it polls the task again, even if no other task is queued. The actual budget stays as it
/// is. If it were set to zero, other futures of the same task would make no progress while the
/// caller yields in each poll.
///
/// # Examples
///
/// A computation that yields after each part:
///
/// ```
/// use std::future::poll_fn;
/// use std::task::Poll;
///
/// executor::block_on(async {
///     let mut parts = 0..10;
///     poll_fn(|cx| match parts.next() {
///         Some(_part) => {
///             reactor::budget::request_yield(cx);
///             Poll::Pending
///         }
///         None => Poll::Ready(()),
///     })
///     .await;
/// });
/// ```
pub fn request_yield(cx: &mut Context<'_>) {
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
    fn budget_is_unlimited_without_an_executor() {
        assert_eq!(spend_all(), 1000);
    }

    #[test]
    fn poll_completes_no_more_operations_than_its_budget() {
        let _budget = enter();
        assert_eq!(spend_all(), OPERATIONS);
    }

    #[test]
    fn nested_budget_does_not_refill_the_outer_one() {
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
    fn panic_restores_the_previous_budget() {
        let result = std::panic::catch_unwind(|| {
            let _budget = enter();
            panic!("inside a poll");
        });
        assert!(result.is_err());
        assert_eq!(spend_all(), 1000);
    }
}
