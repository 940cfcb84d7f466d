//! The jobs that have not ended, for diagnostics that show what a stuck task waits for.
//!
//! The pool works without this list.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::sync::{Mutex, MutexGuard, PoisonError};

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

    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<dyn Waits>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
