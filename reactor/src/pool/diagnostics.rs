//! Diagnostics: lists the wakers that jobs store, which shows what a stuck task waits for.
//!
//! The pool works without this file.

use super::threads::Pool;
use crate::stdio;
use crate::{Awaited, StoredWaker};

/// Returns all wakers that jobs of the blocking pool store, including those of other threads' tasks.
///
/// The wakers that a reactor stores are listed by [`Reactor::stored_wakers`](crate::Reactor::stored_wakers). This
/// function neither clones nor calls a waker, so it runs no user code.
///
/// # Examples
///
/// ```
/// use reactor::{Awaited, StoredWaker};
/// use reactor::blocking::{stored_wakers, unblock};
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
///         let is_own = |stored: &StoredWaker| stored.waker == cx.waker().data();
///         let own = stored_wakers().into_iter().find(is_own).unwrap();
///         assert!(matches!(own.awaited, Awaited::Job { kind: "blocking job", .. }));
///         Poll::Ready(())
///     })
///     .await;
///     sender.send(7).unwrap();
///     assert_eq!(job.await, Ok(7));
/// });
/// ```
pub fn stored_wakers() -> Vec<StoredWaker> {
    let mut wakers = Vec::new();
    for (&id, job) in &*Pool::current().unfinished().lock() {
        if let Some(waker) = job.waker() {
            wakers.push(stored(id, "blocking job", waker));
        }
    }
    stdio::list_wakers(|id, kind, waker| wakers.push(stored(id, kind, waker)));
    wakers
}

fn stored(id: u64, kind: &'static str, waker: usize) -> StoredWaker {
    StoredWaker { awaited: Awaited::Job { id, kind }, waker: std::ptr::without_provenance(waker) }
}
