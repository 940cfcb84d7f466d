//! What all connections share: the limits, and the order to stop.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::ready;
use std::time::{Duration, Instant};

use futures_lite::Stream;
use log::info;
use reactor::net::{Incoming, TcpStream};
use reactor::time::timeout;

use crate::connection::LINGER;
use crate::watch::Watch;

/// The state of the server.
#[derive(Default)]
pub(crate) struct Server {
    pub(crate) max_connections: Option<usize>,
    pub(crate) idle: Option<Duration>,
    /// How many connections are open.
    pub(crate) open: Watch<usize>,
    /// Set when the server stops: until then connections may finish what they have sent.
    pub(crate) stop_by: Watch<Option<Instant>>,
}

impl Server {
    /// The next connection, but none beyond the limit: those wait in the backlog.
    pub(crate) async fn when_there_is_room(
        &self,
        incoming: &mut Incoming<'_>,
    ) -> Option<io::Result<TcpStream>> {
        let mut room = self.open.until(|open| self.max_connections.is_none_or(|max| open < max));
        // Asked at each poll: another listener may have filled the last place meanwhile.
        std::future::poll_fn(|cx| {
            ready!(Pin::new(&mut room).poll(cx));
            Pin::new(&mut *incoming).poll_next(cx)
        })
        .await
    }

    /// Stops: connections finish what they have sent, in at most `grace`.
    pub(crate) async fn stop(&self, grace: Duration) {
        info!("stopping; {} connections are open", self.open.get());
        // As good as never, if the clock cannot count so far.
        let stop_by = Instant::now().checked_add(grace).unwrap_or_else(far_future);
        self.stop_by.set(Some(stop_by));
        let all_ended = self.open.until(|open| open == 0);
        if timeout(grace.saturating_add(LINGER), all_ended).await.is_err() {
            info!("{} connections did not end in time", self.open.get());
        }
    }
}

/// Thirty years from now.
fn far_future() -> Instant {
    Instant::now() + Duration::from_secs(30 * 365 * 24 * 60 * 60)
}
