//! The wakers of tasks that wait for jobs, which show what a stuck task waits for.
//!
//! The pool works without this file. It serves diagnostics only.

use super::threads::Pool;
use crate::stdio;
use crate::waits::{Awaited, Wait};

/// Returns all wakers that jobs of the blocking pool store, for tasks of all threads.
///
/// The wakers that a reactor stores are listed by [`Reactor::waits`](crate::Reactor::waits). This
/// function neither clones nor calls a waker, so it runs no user code.
///
/// # Examples
///
/// ```
/// use reactor::Awaited;
/// use reactor::blocking::{unblock, waits};
/// use std::future::{Future, poll_fn};
/// use std::pin::pin;
/// use std::sync::mpsc::channel;
/// use std::task::Poll;
///
/// executor::block_on(async {
///     let (sender, receiver) = channel();
///     let mut job = pin!(unblock(move || receiver.recv()));
///     poll_fn(|cx| {
///         assert!(job.as_mut().poll(cx).is_pending());
///         let mine = waits().into_iter().find(|wait| wait.waker == cx.waker().data()).unwrap();
///         assert!(matches!(mine.awaited, Awaited::Job { kind: "blocking job", .. }));
///         Poll::Ready(())
///     })
///     .await;
///     sender.send(7).unwrap();
///     assert_eq!(job.await, Ok(7));
/// });
/// ```
pub fn waits() -> Vec<Wait> {
    let mut waits = Vec::new();
    for (&number, job) in &*Pool::current().unfinished().lock() {
        if let Some(waker) = job.waker() {
            waits.push(wait(number, "blocking job", waker));
        }
    }
    stdio::list_waits(|number, kind, waker| waits.push(wait(number, kind, waker)));
    waits
}

fn wait(number: u64, kind: &'static str, waker: usize) -> Wait {
    Wait { awaited: Awaited::Job { number, kind }, waker: std::ptr::without_provenance(waker) }
}
