//! All wakers that the reactor keeps, for diagnostics that show why a task is stuck.
//!
//! Nothing here is part of how the reactor works: it only looks.

use std::task::Waker;
use std::time::Instant;

use crate::reactor::Reactor;

/// One waker that the reactor keeps; see [`Reactor::waits`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wait {
    /// What will call it.
    pub awaited: Awaited,
    /// The address of its data, [`Waker::data`], by which an executor knows its own. Records show
    /// the same.
    pub waker: *const (),
}

/// What the reactor waits for before it wakes a task.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Awaited {
    /// One direction of a source.
    Source {
        /// The number that identifies the source in log records.
        key: usize,
        /// The type of what was registered: `TcpListener`, `TcpStream`, ….
        kind: &'static str,
        /// `read` or `write`.
        direction: &'static str,
    },
    /// A timer.
    Deadline(Instant),
    /// A job of the blocking pool. Only [`blocking::waits`](crate::blocking::waits) lists these,
    /// because no reactor knows of them.
    Job {
        /// The number that identifies the job in log records.
        number: u64,
        /// `blocking job`, `stdin`, `stdout` or `stderr`.
        kind: &'static str,
    },
    /// The end of any source, because a descriptor may be free then.
    Descriptor,
    /// Nothing but the next turn.
    Turn,
}

impl Reactor {
    /// All wakers that the reactor keeps, with what each is kept for.
    ///
    /// An operation that was dropped while it waited has left its waker, which stays in this list
    /// until the source has something to say. Whoever waits through a combinator that brings wakers
    /// of its own, such as `FuturesUnordered`, is here under those.
    ///
    /// It calls no waker and clones none, so no foreign code runs. It looks at everything: for a
    /// person who asks, not for each message.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::{Awaited, Reactor};
    /// use std::future::{Future, poll_fn};
    /// use std::pin::pin;
    /// use std::task::Poll;
    /// use std::time::Duration;
    ///
    /// executor::block_on(async {
    ///     let mut sleep = pin!(reactor::time::sleep(Duration::from_secs(1)));
    ///     poll_fn(|cx| {
    ///         assert!(sleep.as_mut().poll(cx).is_pending());
    ///         let waits = Reactor::current().waits();
    ///         assert!(matches!(waits[0].awaited, Awaited::Deadline(_)));
    ///         assert_eq!(waits[0].waker, cx.waker().data());
    ///         Poll::Ready(())
    ///     })
    ///     .await
    /// });
    /// ```
    pub fn waits(&self) -> Vec<Wait> {
        let mut waits = Vec::new();
        self.each_source(|source| {
            let (key, kind) = (source.key, short(source.kind));
            source.each_waiter(|direction, waker| {
                let direction = direction.name();
                waits.push(Wait::new(Awaited::Source { key, kind, direction }, waker));
            });
        });
        for ((deadline, _), waker) in &self.timers().borrow().waiting {
            waits.push(Wait::new(Awaited::Deadline(*deadline), waker));
        }
        let descriptor = |waker| Wait::new(Awaited::Descriptor, waker);
        waits.extend(self.short_of_descriptors.borrow().iter().map(descriptor));
        waits.extend(self.woken.borrow().iter().map(|waker| Wait::new(Awaited::Turn, waker)));
        waits
    }
}

impl Wait {
    fn new(awaited: Awaited, waker: &Waker) -> Wait {
        Wait { awaited, waker: waker.data() }
    }
}

/// The name of a type without its modules and parameters.
fn short(name: &'static str) -> &'static str {
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Async;
    use mio::net::UnixStream;

    fn awaited(reactor: &Reactor) -> Vec<Awaited> {
        reactor.waits().into_iter().map(|wait| wait.awaited).collect()
    }

    #[test]
    fn who_waits_for_a_descriptor_waits_for_the_next_turn_when_there_is_one() {
        let reactor = Reactor::new().unwrap();
        let _entered = reactor.enter();
        let (stream, _peer) = UnixStream::pair().unwrap();
        let stream = Async::new(stream).unwrap();
        reactor.wake_on_deregistration(Waker::noop());
        assert_eq!(awaited(&reactor), [Awaited::Descriptor]);
        drop(stream);
        assert_eq!(awaited(&reactor), [Awaited::Turn]);
        reactor.turn(None).unwrap();
        assert_eq!(awaited(&reactor), []);
    }

    #[test]
    fn the_kind_of_a_source_is_the_bare_name_of_its_type() {
        assert_eq!(short("mio::net::tcp::stream::TcpStream"), "TcpStream");
        assert_eq!(short("their::Wrapper<mio::net::UnixStream>"), "Wrapper");
    }
}
