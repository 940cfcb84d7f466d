//! Stage 3: several tasks, and a run queue.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

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

/// Whether `schedule` looks at the flag `queued`. Only this stage has the switch, to show the bug.
pub(crate) static CHECKS_FLAG: AtomicBool = AtomicBool::new(true);

impl Wake for Header {
    fn wake(self: Arc<Self>) {
        self.schedule();
    }
}

impl Header {
    /// Puts the task into the run queue, unless it is there already.
    fn schedule(&self) {
        let was_queued = self.queued.swap(true, Ordering::AcqRel);
        if was_queued && CHECKS_FLAG.load(Ordering::Relaxed) {
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
        thread::park();
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

/// Returns a future that is ready when `duration` has passed.
pub(crate) fn sleep(duration: Duration) -> impl Future<Output = ()> {
    let deadline = Instant::now() + duration;
    poll_fn(move |cx| {
        if Instant::now() >= deadline {
            return Poll::Ready(());
        }
        // A future must not block, so it leaves its waker with a thread that may.
        let waker = cx.waker().clone();
        thread::spawn(move || {
            thread::sleep(deadline.saturating_duration_since(Instant::now()));
            waker.wake();
        });
        Poll::Pending
    })
}
