//! Diagnostics: lists the wakers that a reactor stores, which shows what a stuck task waits for.
//!
//! The reactor works without this file.

use std::task::Waker;
use std::time::Instant;

use crate::reactor::Reactor;

/// A waker that a reactor or a job stores; see [`Reactor::stored_wakers`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredWaker {
    /// What the task waits for.
    pub awaited: Awaited,
    /// The address of the waker's data, [`Waker::data`], by which an executor recognizes its own
    /// wakers. Log records show the same address.
    pub waker: *const (),
}

/// What must happen before a task is woken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Awaited {
    /// An event for one direction of a source.
    Source {
        /// The key of the source, which identifies it in log records.
        key: usize,
        /// The type of the registered object, e.g. `TcpListener` or `TcpStream`.
        kind: &'static str,
        /// `read` or `write`.
        direction: &'static str,
    },
    /// The deadline of a timer.
    Deadline(Instant),
    /// The completion of a job of the blocking pool. Only [`blocking::stored_wakers`](crate::blocking::stored_wakers)
    /// lists these, because no reactor knows of them.
    Job {
        /// The job ID, which identifies the job in log records.
        id: u64,
        /// `blocking job`, `stdin`, `stdout` or `stderr`.
        kind: &'static str,
    },
    /// The deregistration of any source, because a descriptor may be free then.
    Descriptor,
    /// The next turn of the reactor.
    Turn,
}

impl Reactor {
    /// Returns all wakers that the reactor stores, and what each of them waits for.
    ///
    /// An operation that was dropped while it waited has left its waker behind. The waker stays in
    /// this list until the next event of the source. A combinator that makes wakers of its own, such
    /// as `FuturesUnordered`, is listed with those.
    ///
    /// This function neither clones nor calls a waker, so it runs no user code. It goes through all
    /// sources and timers, so call it for diagnostics and not for each message.
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
    ///         let wakers = Reactor::current().stored_wakers();
    ///         assert!(matches!(wakers[0].awaited, Awaited::Deadline(_)));
    ///         assert_eq!(wakers[0].waker, cx.waker().data());
    ///         Poll::Ready(())
    ///     })
    ///     .await
    /// });
    /// ```
    pub fn stored_wakers(&self) -> Vec<StoredWaker> {
        let mut wakers = Vec::new();
        self.each_source(|source| {
            let (key, kind) = (source.key, short(source.kind));
            source.each_waiter(|direction, waker| {
                let direction = direction.name();
                wakers.push(StoredWaker::new(Awaited::Source { key, kind, direction }, waker));
            });
        });
        for ((deadline, _), waker) in &self.timers().borrow().waiting {
            wakers.push(StoredWaker::new(Awaited::Deadline(*deadline), waker));
        }
        let descriptor = |waker| StoredWaker::new(Awaited::Descriptor, waker);
        wakers.extend(self.short_of_descriptors.borrow().iter().map(descriptor));
        wakers
            .extend(self.woken.borrow().iter().map(|waker| StoredWaker::new(Awaited::Turn, waker)));
        wakers
    }
}

impl StoredWaker {
    fn new(awaited: Awaited, waker: &Waker) -> StoredWaker {
        StoredWaker { awaited, waker: waker.data() }
    }
}

/// Returns the name of a type without its modules and parameters.
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
        reactor.stored_wakers().into_iter().map(|stored| stored.awaited).collect()
    }

    #[test]
    fn deregistration_makes_tasks_without_descriptor_wait_for_a_turn() {
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
    fn kind_of_a_source_is_the_bare_name_of_its_type() {
        assert_eq!(short("mio::net::tcp::stream::TcpStream"), "TcpStream");
        assert_eq!(short("their::Wrapper<mio::net::UnixStream>"), "Wrapper");
    }
}
