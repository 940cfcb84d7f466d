//! What all connections of one thread share: the limits, the clock, and the counters.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};

use executor::yield_now;
use futures_lite::{Stream, future};
use reactor::Reactor;
use reactor::time::sleep_until;

use crate::connections::Connections;
use crate::shared::Shared;

/// The state that the connections of one thread share.
pub(crate) struct Server {
    pub(crate) shared: Arc<Shared>,
    pub(crate) connections: Connections,
    pub(crate) counts: Counts,
    /// The ports of this server's UDP sockets. A datagram from one of them is not answered, because
    /// two sockets that answered each other would never stop.
    pub(crate) udp_ports: RefCell<BTreeSet<u16>>,
    reactor: Rc<Reactor>,
}

/// What one thread has counted since its start.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) connections: Cell<u64>,
    /// Reads that brought bytes, and datagrams.
    pub(crate) messages: Cell<u64>,
    /// Bytes that were sent back.
    pub(crate) bytes: Cell<u64>,
}

impl Server {
    /// Creates the state of a thread without connections.
    pub(crate) fn new(shared: Arc<Shared>) -> Server {
        let (counts, udp_ports) = (Counts::default(), RefCell::default());
        let reactor = Reactor::current();
        let connections = Connections::new(shared.idle, reactor.clone());
        Server { shared, connections, counts, udp_ports, reactor }
    }

    /// Returns the next connection. While the limit is reached, further connections wait in the
    /// backlog. Returns `None` when the server stops and the backlog is empty: connections in the
    /// backlog are still served, because their clients may already have sent something.
    pub(crate) async fn next_connection<S>(
        &self,
        incoming: &mut (impl Stream<Item = io::Result<S>> + Unpin),
    ) -> Option<io::Result<S>> {
        let mut place = pin!(self.shared.take_place());
        let is_full = Cell::new(false);
        let next = poll_fn(|cx| {
            is_full.set(true);
            ready!(place.as_mut().poll(cx));
            is_full.set(false);
            let next = Pin::new(&mut *incoming).poll_next(cx);
            // Return the place if there is no connection, because another listener may need it.
            if !matches!(next, Poll::Ready(Some(Ok(_)))) {
                self.shared.return_place();
            }
            next
        });
        self.until_stopped(next, || is_full.get()).await
    }

    /// Returns the output of the future, or `None` if the server stops first or the grace period is
    /// over.
    ///
    /// While `is_held_up` returns true, the future cannot yet know whether it has something to return.
    /// Then it may continue after the stop, until the end of the grace period.
    pub(crate) async fn until_stopped<T>(
        &self,
        future: impl Future<Output = Option<T>>,
        is_held_up: impl Fn() -> bool,
    ) -> Option<T> {
        // A backlog that is never empty must not keep its listener open beyond the grace period.
        if self.shared.is_grace_over(self.reactor.now()) {
            return None;
        }
        let stopped = async {
            let by = self.shared.stop_requested().await;
            // The future may have returned `Pending` only because the budget was used up, although
            // the backlog is not empty. Poll it once more with a fresh budget.
            yield_now().await;
            let mut end = sleep_until(by);
            poll_fn(|cx| match is_held_up() {
                true => Pin::new(&mut end).poll(cx).map(|()| None),
                false => Poll::Ready(None),
            })
            .await
        };
        future::or(future, stopped).await
    }
}

/// Adds `n` to a counter.
pub(crate) fn add(count: &Cell<u64>, n: u64) {
    count.set(count.get() + n);
}

#[cfg(test)]
mod tests {
    use super::*;
    use executor::block_on;
    use std::future::ready;
    use std::time::Duration;

    #[test]
    fn always_ready_future_ends_with_the_grace_period() {
        block_on(async {
            let server = Server::new(Shared::new(None, None));
            assert_eq!(server.until_stopped(ready(Some(1)), || false).await, Some(1));
            server.shared.stop(Duration::ZERO);
            // The reactor's clock does not advance before the next turn.
            yield_now().await;
            assert_eq!(server.until_stopped(ready(Some(1)), || false).await, None);
        });
    }
}
