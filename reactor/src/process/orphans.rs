//! *Orphans*: processes whose [`Child`](super::Child) was dropped while they ran. They are reaped
//! when they end.
//!
//! No task waits for an orphan. Instead, its source stores a waker that reaps the process. The
//! reactor calls this waker at the end of a turn, like any other, so reaping needs no executor.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::mem;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::watched::Process;
use crate::budget;

thread_local! {
    /// The orphans of this thread's reactors, by PID.
    static ORPHANS: RefCell<Orphans> = const { RefCell::new(Orphans(BTreeMap::new())) };
}

/// Orphans that no reactor watches, because their reactor is gone.
static UNWATCHED: Mutex<Vec<process::Child>> = Mutex::new(Vec::new());

struct Orphans(BTreeMap<u32, Process>);

/// The waker of the orphan with this PID.
struct Reap(u32);

impl Wake for Reap {
    fn wake(self: Arc<Self>) {
        // The reactor calls this waker on its own thread, which has the orphan unless the
        // thread-local has already been dropped.
        let orphan = ORPHANS.try_with(|orphans| orphans.borrow_mut().0.remove(&self.0));
        if let Ok(Some(orphan)) = orphan {
            adopt(orphan);
        }
    }
}

/// Reaps the process, now if it has ended, otherwise when it ends.
pub(super) fn adopt(mut orphan: Process) {
    let pid = orphan.child.id();
    let waker = Waker::from(Arc::new(Reap(pid)));
    // This may run inside the poll of a task that has used up its budget. Without a separate
    // budget, `poll_wait` would then call the waker before the orphan is in the map.
    let budget = budget::enter();
    let waited = orphan.poll_wait(&mut Context::from_waker(&waker));
    drop(budget);
    match waited {
        Poll::Ready(Ok(_)) => {}
        Poll::Ready(Err(_)) => unwatch(orphan),
        Poll::Pending => {
            let mut orphan = Some(orphan);
            let kept = ORPHANS.try_with(|orphans| {
                orphan.take().and_then(|orphan| orphans.borrow_mut().0.insert(pid, orphan))
            });
            // The thread is ending, and its thread-local has been dropped.
            if kept.is_err()
                && let Some(orphan) = orphan
            {
                unwatch(orphan);
            }
        }
    }
}

/// Reaps the orphans of dropped reactors that have ended by now.
pub(super) fn reap_unwatched() {
    let mut unwatched = UNWATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    unwatched.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}

/// Keeps an orphan that cannot be watched for [`reap_unwatched`], unless it has ended.
fn unwatch(mut orphan: Process) {
    if matches!(orphan.try_wait(), Ok(None)) {
        UNWATCHED.lock().unwrap_or_else(PoisonError::into_inner).push(orphan.child);
    }
}

impl Drop for Orphans {
    fn drop(&mut self) {
        mem::take(&mut self.0).into_values().for_each(unwatch);
    }
}
