//! The open connections of one thread, and when they must end.
//!
//! A connection must end when it has been idle for too long, or when the server stops. If each
//! connection waited for both, it would need a timer and a second stored waker, and would check both
//! with every message. Instead, a connection only records when it was last active. The main task of
//! the thread *walks* all entries when the first of them may be due, and wakes the connections that
//! are due. The woken task then decides whether its connection ends, because bytes may have arrived
//! in the meantime.

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

/// When the server stops, a connection that has been idle for this long is assumed to have no more
/// bytes in flight. A byte crosses an ocean in less time.
const QUIET: Duration = Duration::from_millis(200);

/// The most walks during one timeout. Otherwise ten thousand connections that are due one after the
/// other would cost ten thousand walks. In return, a connection may end later, by at most the timeout
/// divided by this.
const WALKS_PER_TIMEOUT: u32 = 16;

/// The open connections of one thread.
pub(crate) struct Connections {
    entries: RefCell<Slab<Entry>>,
    idle: Option<Duration>,
    /// When the server began to stop, and when the last connection must end.
    stop: Cell<Option<(Instant, Instant)>>,
    reactor: Rc<Reactor>,
}

/// What the walk knows about one connection.
struct Entry {
    /// When the connection last received or sent something.
    active: Instant,
    /// Whether the connection holds bytes that it cannot write, because its peer does not read.
    is_stalled: bool,
    /// The waker of the connection's task. The walk takes it; the task stores it again if the
    /// connection continues.
    waker: Option<Waker>,
}

/// Why the server ends a connection.
#[derive(Clone, Copy)]
pub(crate) enum Reason {
    Idle,
    Stopped,
}

impl Connections {
    /// Creates an empty table. A connection that has been idle for `idle` will be ended.
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
        // Reentrancy: drop the waker after the borrow has ended.
        drop(entry);
    }

    /// Ends connections that have been idle for too long and, when the server stops, all of them.
    /// Never returns, because another connection may still be accepted from the backlog.
    pub(crate) async fn enforce_limits<T>(&self, shared: &Shared) -> T {
        let stop_by = future::or(shared.stop_requested(), self.walk(self.idle)).await;
        self.stop.set(Some((self.reactor.now(), stop_by)));
        self.walk(Some(QUIET)).await
    }

    /// Wakes each connection when it is due. Walks all entries at least once per `timeout`.
    async fn walk<T>(&self, timeout: Option<Duration>) -> T {
        let Some(timeout) = timeout else { return pending().await };
        loop {
            let now = self.reactor.now();
            // A connection that is added during the pause is due no earlier than this or, if the
            // grace period ends first, at most `timeout` earlier.
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
            sleep_until(next.max(now + timeout / WALKS_PER_TIMEOUT)).await;
        }
    }

    /// Records what a poll of a connection has done. Returns `Ready` if the connection must end now;
    /// otherwise stores the waker. Calls `has_input` only if the connection is due.
    pub(crate) fn poll_due(
        &self,
        key: usize,
        cx: &mut Context<'_>,
        has_moved: bool,
        is_stalled: bool,
        has_input: impl FnOnce() -> bool,
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
            let now = self.reactor.now();
            if let Some((due, reason)) = self.due(entry)
                && due <= now
            {
                let is_over = self.stop.get().is_some_and(|(_, stop_by)| stop_by <= now);
                if is_over || is_stalled || !has_input() {
                    return Poll::Ready(reason);
                }
                // A turn fetches only some of the events. The event of this input is still in the
                // kernel, and will wake the task again.
                entry.active = now;
            }
        }
        // Reentrancy: clone the waker while nothing is borrowed, because `clone` may run user code.
        let waker = cx.waker().clone();
        self.entries.borrow_mut()[key].waker = Some(waker);
        Poll::Pending
    }

    /// Returns when a connection must end if no byte moves until then, and why.
    fn due(&self, entry: &Entry) -> Option<(Instant, Reason)> {
        let Some((stopped, stop_by)) = self.stop.get() else {
            return Some((entry.active + self.idle?, Reason::Idle));
        };
        // The echo of everything that was sent before the stop must be written, even to a peer that
        // reads slowly. So a stalled connection gets the whole grace period.
        let quiet = stopped.max(entry.active) + QUIET;
        let due = if entry.is_stalled { stop_by } else { quiet.min(stop_by) };
        Some((due, Reason::Stopped))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Idle => "idle for too long",
            Reason::Stopped => "the server is stopping",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use executor::{Executor, JoinHandle, spawn};
    use reactor::time::{now, pause, sleep};
    use std::future::poll_fn;
    use std::sync::Arc;

    const IDLE: Duration = Duration::from_secs(16);
    const SECOND: Duration = Duration::from_secs(1);

    /// Runs `test` while the limits of its connections are enforced, with a paused clock. Returns how
    /// many polls all its tasks took.
    fn run(test: impl AsyncFnOnce(Rc<Connections>, Arc<Shared>)) -> u64 {
        let _clock = pause();
        let executor = Executor::new().unwrap();
        executor.block_on(async {
            let shared = Shared::new(None, Some(IDLE));
            let connections = Rc::new(Connections::new(shared.idle, Reactor::current()));
            let limits = connections.enforce_limits(&shared);
            future::or(limits, test(connections.clone(), shared.clone())).await;
        });
        executor.metrics().polls
    }

    /// Spawns a connection on which no byte moves. Returns how long it stays open, and after how many
    /// polls it ends.
    fn open(
        connections: &Rc<Connections>,
        is_stalled: bool,
        has_input: bool,
    ) -> JoinHandle<(Duration, u32)> {
        let (connections, begun, mut polls) = (connections.clone(), now(), 0);
        spawn(async move {
            let key = connections.add();
            let ended = poll_fn(|cx| {
                polls += 1;
                connections.poll_due(key, cx, false, is_stalled, || has_input)
            });
            ended.await;
            connections.remove(key);
            (now() - begun, polls)
        })
    }

    // The first walk comes before the connection is due, and must not wake it.
    #[test]
    fn idle_connection_is_polled_only_when_it_is_due() {
        let polls = run(async |connections, _| {
            sleep(10 * SECOND).await;
            assert_eq!(open(&connections, false, false).await.unwrap(), (IDLE, 2));
        });
        assert!(polls < 15, "{polls} polls");
    }

    #[test]
    fn connection_due_just_after_a_walk_ends_at_the_next_one() {
        run(async |connections, _| {
            let first = open(&connections, false, false);
            sleep(SECOND / 10).await;
            let second = open(&connections, false, false);
            assert_eq!(first.await.unwrap().0, IDLE);
            assert_eq!(second.await.unwrap().0, IDLE + SECOND - SECOND / 10);
        });
    }

    #[test]
    fn stop_ends_idle_connections_before_the_grace_period_ends() {
        run(async |connections, shared| {
            let silent = open(&connections, false, false);
            let stalled = open(&connections, true, false);
            let active = open(&connections, false, true);
            sleep(SECOND).await;
            shared.stop(5 * SECOND);
            assert_eq!(silent.await.unwrap().0, SECOND + QUIET);
            assert_eq!(stalled.await.unwrap().0, 6 * SECOND);
            assert_eq!(active.await.unwrap().0, 6 * SECOND);
        });
    }

    #[test]
    fn entry_of_a_closed_connection_is_reused() {
        run(async |connections, _| {
            let key = connections.add();
            connections.remove(key);
            assert_eq!(connections.add(), key);
        });
    }
}
