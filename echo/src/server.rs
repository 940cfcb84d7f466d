//! What all connections of one thread share: the clock, and what is counted.

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

/// The server, as the connections of one thread see it.
pub(crate) struct Server {
    pub(crate) shared: Arc<Shared>,
    pub(crate) connections: Connections,
    pub(crate) counts: Counts,
    /// Those of our own sockets for datagrams: two that answered each other would never end.
    pub(crate) udp_ports: RefCell<BTreeSet<u16>>,
    reactor: Rc<Reactor>,
}

/// What one thread has counted since its start.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) connections: Cell<u64>,
    /// Reads that brought bytes, and datagrams.
    pub(crate) messages: Cell<u64>,
    /// Those sent back.
    pub(crate) bytes: Cell<u64>,
}

impl Server {
    /// The server without connections.
    pub(crate) fn new(shared: Arc<Shared>) -> Server {
        let (counts, udp_ports) = (Counts::default(), RefCell::default());
        let reactor = Reactor::current();
        let connections = Connections::new(shared.idle, reactor.clone());
        Server { shared, connections, counts, udp_ports, reactor }
    }

    /// The next connection, but none beyond the limit: those wait in the backlog. When the server
    /// stops, what the backlog holds is the last: its clients have sent something already.
    pub(crate) async fn next_connection<S>(
        &self,
        incoming: &mut (impl Stream<Item = io::Result<S>> + Unpin),
    ) -> Option<io::Result<S>> {
        let mut room = pin!(self.shared.enter());
        let is_full = Cell::new(false);
        let next = poll_fn(|cx| {
            is_full.set(true);
            ready!(room.as_mut().poll(cx));
            is_full.set(false);
            let next = Pin::new(&mut *incoming).poll_next(cx);
            // Who finds nobody keeps no place: another listener may have somebody for it.
            if !matches!(next, Poll::Ready(Some(Ok(_)))) {
                self.shared.leave();
            }
            next
        });
        self.until_stopped(next, || is_full.get()).await
    }

    /// What the future returns; or `None`, if the server stops first, or the time of grace is over.
    /// Stopping waits for who is `held_up`, and only until then.
    pub(crate) async fn until_stopped<T>(
        &self,
        future: impl Future<Output = Option<T>>,
        held_up: impl Fn() -> bool,
    ) -> Option<T> {
        // A backlog that is never empty must not keep its listener open beyond the time of grace.
        if self.shared.is_over(self.reactor.now()) {
            return None;
        }
        let stopped = async {
            let by = self.shared.stops().await;
            // A spent budget looks like an empty backlog: with a fresh one it is asked once more.
            yield_now().await;
            let mut end = sleep_until(by);
            poll_fn(|cx| match held_up() {
                true => Pin::new(&mut end).poll(cx).map(|()| None),
                false => Poll::Ready(None),
            })
            .await
        };
        future::or(future, stopped).await
    }
}

/// Adds to a count.
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
    fn what_is_always_ready_ends_with_the_time_of_grace() {
        block_on(async {
            let server = Server::new(Shared::new(None, None));
            assert_eq!(server.until_stopped(ready(Some(1)), || false).await, Some(1));
            server.shared.stop(Duration::ZERO);
            // The clock stands still until the next turn.
            yield_now().await;
            assert_eq!(server.until_stopped(ready(Some(1)), || false).await, None);
        });
    }
}
