//! The open connections of one thread, and when they must end.
//!
//! A connection that waited for its idle timeout and for the order to stop would need a timer and a
//! stored waker for each, and would check both with every message. Here it only notes when it was
//! last active. The main task of the thread walks all entries when the first of them may be due,
//! and wakes the connections that are due. A connection that is woken decides for itself whether it
//! ends, because bytes may have arrived at the same time.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::pending;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_lite::future;
use reactor::Reactor;
use reactor::time::sleep_until;
use slab::Slab;

use crate::shared::Shared;

/// After the order to stop, a connection that was silent for this long has nothing more in flight:
/// long enough for a byte to cross an ocean.
const QUIET: Duration = Duration::from_millis(200);

/// Two walks are at least this part of a timeout apart, so that ten thousand connections that are
/// due one after the other do not cost ten thousand walks. No connection ends later than that.
const PART: u32 = 16;

/// The open connections of one thread.
pub(crate) struct Connections {
    entries: RefCell<Slab<Entry>>,
    idle: Option<Duration>,
    /// When the order to stop came, and when the last connection must end.
    stop: Cell<Option<(Instant, Instant)>>,
    reactor: Rc<Reactor>,
}

/// What the walk knows about one connection.
struct Entry {
    /// When the connection last received or sent something.
    active: Instant,
    /// Whether the connection holds bytes that its peer does not take.
    is_stalled: bool,
    /// Wakes the task of the connection. The walk takes it, and the task stores it again if the
    /// connection goes on.
    waker: Option<Waker>,
}

/// Why the server ends a connection.
#[derive(Clone, Copy)]
pub(crate) enum Reason {
    Idle,
    Stopped,
}

impl Connections {
    /// No connections yet. Each that is idle for the given time will be ended.
    pub(crate) fn new(idle: Option<Duration>, reactor: Rc<Reactor>) -> Connections {
        let (entries, stop) = (RefCell::default(), Cell::default());
        Connections { entries, idle, stop, reactor }
    }

    /// Adds a connection, and returns its key.
    pub(crate) fn add(&self) -> usize {
        let entry = Entry { active: self.reactor.now(), is_stalled: false, waker: None };
        self.entries.borrow_mut().insert(entry)
    }

    /// Removes a connection.
    pub(crate) fn remove(&self, key: usize) {
        let entry = self.entries.borrow_mut().remove(key);
        // Only now, after the borrow has ended, may the waker be dropped.
        drop(entry);
    }

    /// Ends connections that are idle for too long, and after the order to stop all of them. Never
    /// returns, because one more connection may still come from the backlog.
    pub(crate) async fn end_in_time<T>(&self, shared: &Shared) -> T {
        let stop_by = future::or(shared.stops(), self.walk(self.idle)).await;
        self.stop.set(Some((self.reactor.now(), stop_by)));
        self.walk(Some(QUIET)).await
    }

    /// Wakes each connection when it is due, which is at most `timeout` after its last activity.
    async fn walk<T>(&self, timeout: Option<Duration>) -> T {
        let Some(timeout) = timeout else { return pending().await };
        loop {
            let now = self.reactor.now();
            // Connections that are added later are due later than this.
            let mut next = now + timeout;
            let mut due_now = Vec::new();
            for (_, entry) in self.entries.borrow_mut().iter_mut() {
                match self.due(entry) {
                    Some((due, _)) if due <= now => due_now.extend(entry.waker.take()),
                    Some((due, _)) => next = next.min(due),
                    None => {}
                }
            }
            due_now.into_iter().for_each(Waker::wake);
            sleep_until(next.max(now + timeout / PART)).await;
        }
    }

    /// Notes what a connection has just done. Ready if the connection must end now.
    pub(crate) fn poll_due(
        &self,
        key: usize,
        cx: &mut Context<'_>,
        has_moved: bool,
        is_stalled: bool,
    ) -> Poll<Reason> {
        {
            let entry = &mut self.entries.borrow_mut()[key];
            if has_moved {
                entry.active = self.reactor.now();
            }
            entry.is_stalled = is_stalled;
            if entry.waker.is_some() {
                return Poll::Pending;
            }
            // This is the first poll, or the walk has woken this task.
            match self.due(entry) {
                Some((due, reason)) if due <= self.reactor.now() => return Poll::Ready(reason),
                _ => {}
            }
        }
        let waker = cx.waker().clone();
        self.entries.borrow_mut()[key].waker = Some(waker);
        Poll::Pending
    }

    /// When a connection must end if nothing moves until then, and why.
    fn due(&self, entry: &Entry) -> Option<(Instant, Reason)> {
        let Some((stopped, stop_by)) = self.stop.get() else {
            return Some((entry.active + self.idle?, Reason::Idle));
        };
        // What was sent before the order must go back, even if the peer takes its time to read.
        let quiet = stopped.max(entry.active) + QUIET;
        let due = if entry.is_stalled { stop_by } else { quiet.min(stop_by) };
        Some((due, Reason::Stopped))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Idle => "idle for too long",
            Reason::Stopped => "the server stops",
        })
    }
}
