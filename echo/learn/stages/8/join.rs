//! Stage 8: join handles, panics and destructors, on top of the executor of stage 7.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;

use super::executor::{self, TASKS};

/// Awaits a task: returns its output, or the panic that ended it. Dropping the handle lets the task
/// continue.
pub(crate) struct JoinHandle<T> {
    join: Rc<Join<T>>,
}

/// What a task and its handle share.
struct Join<T> {
    result: Cell<Option<thread::Result<T>>>,
    /// The waker of the task that awaits the handle.
    joiner: Cell<Option<Waker>>,
}

/// Adds a task. The next round polls it for the first time.
pub(crate) fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    let join = Rc::new(Join { result: Cell::new(None), joiner: Cell::new(None) });
    let handle = JoinHandle { join: join.clone() };
    let mut future = Box::pin(future);
    executor::spawn(async move {
        let result = poll_fn(|cx| {
            // A panic must not unwind through the loop, because the loop runs all other tasks too.
            match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
                Ok(polled) => polled.map(Ok),
                Err(panic) => Poll::Ready(Err(panic)),
            }
        });
        let result = result.await;
        // Drop the future first: a task that gets the result must find the sockets closed.
        drop(future);
        join.result.set(Some(result));
        join.joiner.take().into_iter().for_each(Waker::wake);
    });
    handle
}

impl<T> Future for JoinHandle<T> {
    type Output = thread::Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<thread::Result<T>> {
        self.join.joiner.set(Some(cx.waker().clone()));
        self.join.result.take().map_or(Poll::Pending, Poll::Ready)
    }
}

/// Runs a future to completion, and other tasks while it waits. Returns its output.
pub(crate) fn block_on<T: 'static>(future: impl Future<Output = T> + 'static) -> T {
    let output = Rc::new(Cell::new(None));
    let returned = output.clone();
    executor::block_on(async move {
        let _end = End;
        returned.set(Some(future.await));
    });
    output.take().expect("the future has completed")
}

/// Drops all other tasks when the future of `block_on` completes or panics.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        // Repeat, because the destructor of a future may spawn a task.
        while !TASKS.take().is_empty() {}
    }
}
