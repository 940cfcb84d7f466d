//! Stage 4: the tasks and the run queue. The loop waits in the reactor.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use super::reactor;

thread_local! {
    /// The tasks of this thread by key, except the one that is being polled.
    static TASKS: RefCell<HashMap<usize, Task>> = RefCell::default();
    static QUEUE: Arc<RunQueue> = Arc::new(RunQueue::new());
}

struct Task {
    header: Arc<Header>,
    future: Pin<Box<dyn Future<Output = ()>>>,
}

/// What a waker points to. The future is not in it, because a waker may go to another thread, and
/// the future must stay on this one.
struct Header {
    key: usize,
    /// Whether the task is in the run queue. If it is, a wakeup has nothing to do.
    queued: AtomicBool,
    queue: Arc<RunQueue>,
}

/// The tasks that should be polled.
struct RunQueue {
    /// Their keys, first in, first out.
    keys: Mutex<Vec<usize>>,
    /// The thread that polls them.
    thread: Thread,
}

impl Wake for Header {
    fn wake(self: Arc<Self>) {
        self.schedule();
    }
}

impl Header {
    /// Puts the task into the run queue, unless it is there already.
    fn schedule(&self) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        self.queue.keys.lock().unwrap().push(self.key);
        self.queue.notify();
    }
}

impl RunQueue {
    fn new() -> RunQueue {
        RunQueue { keys: Mutex::default(), thread: thread::current() }
    }

    /// Ends the sleep of the thread. If it is still awake, its next `park` returns immediately. So a
    /// wakeup between the round and `park` is not lost.
    fn notify(&self) {
        self.thread.unpark();
    }
}

/// Runs a future as the first task. Returns when no task is left.
pub(crate) fn block_on(future: impl Future<Output = ()> + 'static) {
    spawn(future);
    loop {
        round();
        if TASKS.with_borrow(HashMap::is_empty) {
            return;
        }
        // If a task is queued already, look for what is due, but do not wait.
        let idle = QUEUE.with(|queue| queue.keys.lock().unwrap().is_empty());
        reactor::turn(if idle { None } else { Some(Duration::ZERO) });
    }
}

/// Adds a task. The next round polls it for the first time.
pub(crate) fn spawn(future: impl Future<Output = ()> + 'static) {
    static NEXT_KEY: AtomicUsize = AtomicUsize::new(0);
    let (key, queue) = (NEXT_KEY.fetch_add(1, Ordering::Relaxed), QUEUE.with(Arc::clone));
    let header = Arc::new(Header { key, queued: AtomicBool::new(false), queue });
    header.schedule();
    let task = Task { header, future: Box::pin(future) };
    TASKS.with_borrow_mut(|tasks| tasks.insert(key, task));
}

/// Polls each task that is in the run queue now.
fn round() {
    let keys = QUEUE.with(|queue| mem::take(&mut *queue.keys.lock().unwrap()));
    for key in keys {
        // The table must not be borrowed during the poll, because the task may call `spawn`.
        let Some(mut task) = TASKS.with_borrow_mut(|tasks| tasks.remove(&key)) else { continue };
        // Clear the flag before the poll: a wakeup during the poll must queue the task again. It is
        // a swap, not a store. Another thread may have found the flag set and done nothing more, so
        // this poll must see what that thread wrote before. A swap also reads the flag (acquire).
        task.header.queued.swap(false, Ordering::AcqRel);
        let waker = Waker::from(task.header.clone());
        if task.future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            TASKS.with_borrow_mut(|tasks| tasks.insert(key, task));
        }
    }
}
