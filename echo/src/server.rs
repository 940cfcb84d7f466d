//! What all connections share: the limits, and the order to stop.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::ready;
use std::time::{Duration, Instant};

use executor::yield_now;
use futures_lite::{Stream, future};
use log::info;
use reactor::Reactor;
use reactor::net::{Incoming, TcpStream};
use reactor::time::timeout;

use crate::connection::LINGER;
use crate::watch::Watch;

/// The state of the server.
pub(crate) struct Server {
    max_connections: Option<usize>,
    pub(crate) idle: Option<Duration>,
    /// How many connections are open.
    pub(crate) open: Watch<usize>,
    /// Set when the server stops: until then connections may finish what they have sent.
    stop_by: Watch<Option<Instant>>,
    reactor: Rc<Reactor>,
}

impl Server {
    /// A server without connections.
    pub(crate) fn new(max_connections: Option<usize>, idle: Option<Duration>) -> Server {
        let (open, stop_by) = (Watch::default(), Watch::default());
        Server { max_connections, idle, open, stop_by, reactor: Reactor::current() }
    }

    /// The time of the last turn, which costs no system call.
    pub(crate) fn now(&self) -> Instant {
        self.reactor.now()
    }

    /// The next connection, but none beyond the limit: those wait in the backlog. When the server
    /// stops, what the backlog holds is the last: its clients have sent something already.
    pub(crate) async fn next_connection(
        &self,
        incoming: &mut Incoming<'_>,
    ) -> Option<io::Result<TcpStream>> {
        let mut room = self.open.until(|open| self.max_connections.is_none_or(|max| open < max));
        // Asked at each poll: another listener may have filled the last place meanwhile.
        let next = poll_fn(|cx| {
            ready!(Pin::new(&mut room).poll(cx));
            Pin::new(&mut *incoming).poll_next(cx)
        });
        let stopped = async {
            self.stops().await;
            // A spent budget looks like an empty backlog: with a fresh one it is asked once more.
            yield_now().await;
            None
        };
        future::or(next, stopped).await
    }

    /// Tells everybody to stop: connections finish what they have sent, in at most `grace`.
    pub(crate) fn stop(&self, grace: Duration) {
        info!("stopping; {} connections are open", self.open.get());
        self.stop_by.set(Some(Instant::now() + grace));
    }

    /// Waits for the order to stop, and returns when connections must have ended.
    pub(crate) fn stops(&self) -> impl Future<Output = Option<Instant>> {
        self.stop_by.until(|stop_by| stop_by.is_some())
    }

    /// Waits for the last connections, in at most `grace` and the time to linger.
    pub(crate) async fn ended(&self, grace: Duration) {
        let all_ended = self.open.until(|open| open == 0);
        if timeout(grace + LINGER, all_ended).await.is_err() {
            info!("{} connections did not end in time", self.open.get());
        }
    }
}
