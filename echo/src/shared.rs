//! What all threads of the server share: the limits, the number of connections, and the stop request.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_lite::future;
use log::{error, info};
use reactor::time::{now, sleep_until};

use crate::survey::Survey;
use crate::watch::Watch;

/// How long the server discards input from a connection that it ends; see `Connection::linger`.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// What all threads of the server share.
#[derive(Default)]
pub(crate) struct Shared {
    max_connections: Option<usize>,
    pub(crate) idle: Option<Duration>,
    /// The number of open connections, plus the places that listeners have taken to accept another.
    open: Watch<usize>,
    listeners: Watch<Listeners>,
    /// Set when the server begins to stop: the end of the grace period, until which connections may
    /// finish what they have sent.
    stop_by: Watch<Option<Instant>>,
    pub(crate) survey: Survey,
}

#[derive(Default)]
struct Listeners {
    /// The number of working listeners.
    open: usize,
    /// Why the server cannot continue: the last listener or a thread has ended.
    broken: Option<String>,
}

impl Shared {
    /// Creates the state of a server without connections.
    pub(crate) fn new(max_connections: Option<usize>, idle: Option<Duration>) -> Arc<Shared> {
        Arc::new(Shared { max_connections, idle, ..Shared::default() })
    }

    /// Returns the number of open connections.
    pub(crate) fn open(&self) -> usize {
        self.open.look(|open| *open)
    }

    /// Waits until one more connection is allowed, and takes a place for it.
    ///
    /// This is a single step under the lock. If checking and taking were separate, two threads that
    /// saw the last free place would both take it.
    pub(crate) fn take_place(&self) -> impl Future<Output = ()> + Unpin {
        self.open.until(|open| {
            let is_free = self.max_connections.is_none_or(|max| *open < max);
            *open += usize::from(is_free);
            is_free.then_some(())
        })
    }

    /// Returns the place of a connection, and wakes the listeners that wait for one.
    pub(crate) fn return_place(&self) {
        self.open.update(|open| *open -= 1);
    }

    /// Counts a listener as working until the guard is dropped, which a panic does too.
    pub(crate) fn add_listener(self: &Arc<Shared>) -> ListenerGuard {
        self.listeners.update(|listeners| listeners.open += 1);
        ListenerGuard { shared: self.clone(), ended: None }
    }

    /// Waits until no listener is left or a thread cannot continue, and returns the reason.
    pub(crate) async fn broken(&self) -> String {
        self.listeners.until(|listeners| listeners.broken.take()).await
    }

    /// Ends the server because a thread cannot continue.
    pub(crate) fn fail(&self, why: String) {
        self.listeners.update(|listeners| listeners.broken = Some(why));
    }

    /// Stops all threads. Connections finish what they have sent, for at most `grace`.
    pub(crate) fn stop(&self, grace: Duration) {
        info!("stopping; connections open: {}", self.open());
        self.stop_by.update(|stop_by| *stop_by = Some(now() + grace));
    }

    /// Waits until the server begins to stop, and returns the end of the grace period.
    pub(crate) fn stop_requested(&self) -> impl Future<Output = Instant> {
        self.stop_by.until(|stop_by| *stop_by)
    }

    /// Returns whether the grace period is over.
    pub(crate) fn is_grace_over(&self, now: Instant) -> bool {
        self.stop_by.look(|stop_by| stop_by.is_some_and(|stop_by| stop_by <= now))
    }

    /// Waits until all connections have ended, at most until the grace period and [`LINGER`] are over.
    pub(crate) async fn wait_for_connections(&self) {
        let by = self.stop_by.look(|stop_by| *stop_by).unwrap_or_else(now) + LINGER;
        let all_ended = async {
            // Listeners close when their backlogs are empty. After that, no connection is added.
            self.listeners.until(|listeners| (listeners.open == 0).then_some(())).await;
            self.open.until(|open| (*open == 0).then_some(())).await;
            true
        };
        let too_late = async {
            sleep_until(by).await;
            false
        };
        if !future::or(all_ended, too_late).await {
            info!("connections that did not end in time: {}", self.open());
        }
    }
}

/// Counts a listener as working until this is dropped.
pub(crate) struct ListenerGuard {
    shared: Arc<Shared>,
    /// Set when serving ends. A task that panics, or whose executor ends, never sets it.
    ended: Option<io::Result<()>>,
}

impl ListenerGuard {
    /// Serves the listener, and records the result.
    pub(crate) async fn run(mut self, serving: impl Future<Output = io::Result<()>>) {
        self.ended = Some(serving.await);
    }
}

impl Drop for ListenerGuard {
    fn drop(&mut self) {
        // If no result was recorded, a panic or a failed wait for events is the cause. Both have
        // already been reported.
        let is_reported = self.ended.is_none();
        let ended = self.ended.take().unwrap_or_else(|| Err(io::Error::other("it panicked")));
        let broken = self.shared.listeners.update(|listeners| {
            listeners.open -= 1;
            if listeners.open > 0 {
                return ended.err();
            }
            let broken = ended.err().map(|error| format!("no listener is left: {error}"));
            // If a thread has failed, report that: the end of its listeners is only a consequence.
            listeners.broken = listeners.broken.take().or(broken);
            None
        });
        if let Some(error) = broken.filter(|_| !is_reported) {
            error!("a listener failed: {error}");
        }
    }
}
