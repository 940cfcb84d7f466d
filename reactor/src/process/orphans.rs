//! Children whose [`Child`](super::Child) was dropped while they ran: reaped when they end.
//!
//! No task waits for an orphan, so its source stores a waker that reaps. That waker runs at the end
//! of a turn like any other, on the reactor's thread, and needs no executor.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::mem;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::child::Process;
use crate::budget;

thread_local! {
    /// The orphans of this thread's reactors, by PID.
    static ORPHANS: RefCell<Orphans> = const { RefCell::new(Orphans(BTreeMap::new())) };
}

/// Orphans that no reactor watches, because their reactor is gone.
static LEFT_BEHIND: Mutex<Vec<process::Child>> = Mutex::new(Vec::new());

struct Orphans(BTreeMap<u32, Process>);

/// The waker of an orphan.
struct Reap(u32);

impl Wake for Reap {
    fn wake(self: Arc<Self>) {
        // Either this thread has the orphan, or the thread is ending.
        let orphan = ORPHANS.try_with(|orphans| orphans.borrow_mut().0.remove(&self.0));
        if let Ok(Some(orphan)) = orphan {
            adopt(orphan);
        }
    }
}

/// Reaps the process now, or when it ends.
pub(super) fn adopt(mut orphan: Process) {
    let pid = orphan.child.id();
    let waker = Waker::from(Arc::new(Reap(pid)));
    // Enter a budget of its own, because this may run inside the poll of a task that has used up
    // its budget, and being out of budget would wake the orphan before it is in the map.
    let budget = budget::enter();
    let waited = orphan.poll_wait(&mut Context::from_waker(&waker));
    drop(budget);
    match waited {
        Poll::Ready(Ok(_)) => {}
        Poll::Ready(Err(_)) => leave_behind(orphan),
        Poll::Pending => {
            let mut orphan = Some(orphan);
            let kept = ORPHANS.try_with(|orphans| {
                orphan.take().and_then(|orphan| orphans.borrow_mut().0.insert(pid, orphan))
            });
            // The thread is ending, and its thread-locals are gone.
            if kept.is_err()
                && let Some(orphan) = orphan
            {
                leave_behind(orphan);
            }
        }
    }
}

/// Reaps those orphans of dropped reactors that have ended.
pub(super) fn reap_left_behind() {
    let mut left = LEFT_BEHIND.lock().unwrap_or_else(PoisonError::into_inner);
    left.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}

fn leave_behind(mut orphan: Process) {
    if matches!(orphan.try_wait(), Ok(None)) {
        LEFT_BEHIND.lock().unwrap_or_else(PoisonError::into_inner).push(orphan.child);
    }
}

impl Drop for Orphans {
    fn drop(&mut self) {
        mem::take(&mut self.0).into_values().for_each(leave_behind);
    }
}
