//! The list of unfinished jobs, which shows what a stuck task waits for.
//!
//! The pool works without this file. It serves diagnostics only.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::threads::Pool;
use crate::stdio;
use crate::waits::{Awaited, Wait};

/// The number of the next job.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The jobs of a pool that have not ended, by number.
#[derive(Default)]
pub(super) struct Unfinished(Mutex<BTreeMap<u64, Arc<dyn Waits>>>);

/// A job, with the type of its result erased.
pub(super) trait Waits: Send + Sync {
    /// Returns the data address of the stored waker, if there is one.
    fn waker(&self) -> Option<usize>;
}

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

/// Returns a number that no other job of this process has.
pub(crate) fn next_number() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Unfinished {
    /// Makes a job with a new number, and lists it until [`deregister`](Unfinished::deregister).
    pub(super) fn register<W: Waits + 'static>(&self, make: impl FnOnce(u64) -> Arc<W>) -> Arc<W> {
        let number = next_number();
        let job = make(number);
        self.lock().insert(number, job.clone());
        job
    }

    /// Removes a job from the list. The caller must hold a reference to the job, so that the job is
    /// not dropped under the lock.
    pub(super) fn deregister(&self, number: u64) {
        self.lock().remove(&number);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<dyn Waits>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
