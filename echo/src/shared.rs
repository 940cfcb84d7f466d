//! What all threads of the server share: the limits, the count of connections, the order to stop.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_lite::future;
use log::{error, info};
use reactor::time::sleep_until;

use crate::survey::Survey;
use crate::watch::Watch;

/// How long the server reads on from a connection that it ends; see `Connection::linger`.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// What all threads of the server share.
#[derive(Default)]
pub(crate) struct Shared {
    max_connections: Option<usize>,
    pub(crate) idle: Option<Duration>,
    /// How many connections are open, and places taken by those who look for one more.
    open: Watch<usize>,
    listeners: Watch<Listeners>,
    /// Set when the server stops: until then connections may finish what they have sent.
    stop_by: Watch<Option<Instant>>,
    pub(crate) survey: Survey,
}

#[derive(Default)]
struct Listeners {
    /// Those that work.
    open: usize,
    /// Why the server cannot go on: the last listener or a thread has ended.
    broken: Option<String>,
}

impl Shared {
    /// The state of a server without connections.
    pub(crate) fn new(max_connections: Option<usize>, idle: Option<Duration>) -> Arc<Shared> {
        Arc::new(Shared { max_connections, idle, ..Shared::default() })
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        self.open.look(|open| *open)
    }

    /// Waits for room for one more connection, and takes it. One step: two threads that only saw
    /// the last place would both take it.
    pub(crate) fn enter(&self) -> impl Future<Output = ()> + Unpin {
        self.open.until(|open| {
            let room = self.max_connections.is_none_or(|max| *open < max);
            *open += usize::from(room);
            room.then_some(())
        })
    }

    /// Gives the place of a connection to whoever waits for it.
    pub(crate) fn leave(&self) {
        self.open.update(|open| *open -= 1);
    }

    /// Counts a listener. When what this returns is dropped, also by a panic, it has ended.
    pub(crate) fn listen(self: &Arc<Shared>) -> Listens {
        self.listeners.update(|listeners| listeners.open += 1);
        Listens { shared: self.clone(), ended: None }
    }

    /// Waits until no listener is left or a thread cannot go on, and returns the reason.
    pub(crate) async fn broken(&self) -> String {
        self.listeners.until(|listeners| listeners.broken.take()).await
    }

    /// Ends the server because a thread cannot go on.
    pub(crate) fn fail(&self, why: String) {
        self.listeners.update(|listeners| listeners.broken = Some(why));
    }

    /// Tells everybody to stop: connections finish what they have sent, in at most `grace`.
    pub(crate) fn stop(&self, grace: Duration) {
        info!("stopping; connections open: {}", self.open());
        self.stop_by.update(|stop_by| *stop_by = Some(Instant::now() + grace));
    }

    /// Waits for the order to stop, and returns when connections must have ended.
    pub(crate) fn stops(&self) -> impl Future<Output = Instant> {
        self.stop_by.until(|stop_by| *stop_by)
    }

    /// Whether the time of grace is over.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.stop_by.look(|stop_by| stop_by.is_some_and(|stop_by| stop_by <= now))
    }

    /// Waits for the last connections, until the time of grace and the time to linger are over.
    pub(crate) async fn ended(&self) {
        let by = self.stop_by.look(|stop_by| *stop_by).unwrap_or_else(Instant::now) + LINGER;
        let all_ended = async {
            // The last ones come from the backlogs; after that the listeners are closed.
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

/// A listener that works.
pub(crate) struct Listens {
    shared: Arc<Shared>,
    /// Set when serving ends. A task that panics, or whose executor ends, never sets it.
    ended: Option<io::Result<()>>,
}

impl Listens {
    /// Remembers how it has ended.
    pub(crate) async fn until(mut self, serving: impl Future<Output = io::Result<()>>) {
        self.ended = Some(serving.await);
    }
}

impl Drop for Listens {
    fn drop(&mut self) {
        // If it is not set, a panic or a failed wait for events is the cause, and is already reported.
        let is_reported = self.ended.is_none();
        let ended = self.ended.take().unwrap_or_else(|| Err(io::Error::other("it panicked")));
        let broken = self.shared.listeners.update(|listeners| {
            listeners.open -= 1;
            if listeners.open > 0 {
                return ended.err();
            }
            let broken = ended.err().map(|error| format!("no listener is left: {error}"));
            // If a thread has ended, that is the cause.
            listeners.broken = listeners.broken.take().or(broken);
            None
        });
        if let Some(error) = broken.filter(|_| !is_reported) {
            error!("a listener is broken: {error}");
        }
    }
}
