//! One source of events, and the one place where `WouldBlock` becomes a promise to wake.
//!
//! A *source* is what the kernel watches for us: a socket, a pipe, or a signal's pipe. For each of
//! its two directions it caches what the kernel last reported (`ready`), and keeps the wakers of
//! the tasks that wait.
//!
//! Called by: every operation of every socket, through [`Source::poll_io`]; and by
//! [`Reactor::turn`](crate::Reactor::turn), through [`Source::deliver`].
//!
//! Invariant: a task that waits has its waker here, and the event that ends its wait has not been
//! delivered yet. (One whose budget is spent does not wait: it has been woken instead.)
//!
//! ```text
//!   ready   waiters
//!   yes     none      the kernel may have something: the next operation tries
//!   no      none      it had nothing, and no task waits for more
//!   no      some      tasks wait: the next event makes it ready and takes all of them
//!   yes     some      never: the event that sets the flag takes the waiters in the same breath
//! ```

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::mem;
use std::ops::Deref;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};

use log::trace;
use mio::event::Event;

use crate::budget;
use crate::reactor::Reactor;

/// What the reactor knows of one registered object.
pub(crate) struct Source {
    /// The place in the reactor's slab, and the token that the kernel hands back with each event.
    pub(crate) key: usize,
    /// The full name of the object's type, for those who ask what a task waits for.
    pub(crate) kind: &'static str,
    /// Incoming bytes, and connections to accept.
    pub(crate) read: Direction,
    /// Outgoing bytes, and the completion of a `connect`.
    pub(crate) write: Direction,
    /// Weak: the executor owns the reactor. A socket that outlives it gets an error, not a hang.
    reactor: Weak<Reactor>,
}

/// A source and its place among those of the reactor, which it gives up when it is dropped.
///
/// The reactor has a reference too, to find the source of an event by its key. Each socket has one
/// of its own, in here, so that no operation has to look anything up.
pub(crate) struct Registration(pub(crate) Rc<Source>);

impl Deref for Registration {
    type Target = Source;

    fn deref(&self) -> &Source {
        &self.0
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let removed = self.reactor().and_then(|reactor| reactor.remove_source(self.key));
        // The last reference is our own, which goes after this, with nothing borrowed: with it go
        // the wakers of dropped operations, and the destructor of a waker is foreign code.
        drop(removed);
    }
}

/// One direction of a source: reading and writing never share a flag or a waker.
///
/// With one flag for both, a read that would block would also stop the writer, whom no event will
/// come to help: the socket was writable all the time. With one slot for a waker, a reader and a
/// writer in two tasks would push each other out.
pub(crate) struct Direction {
    /// As records tell it: `read` or `write`.
    pub(crate) name: &'static str,

    /// The kernel may have something for us: try before waiting.
    ///
    /// Set at the start, and by `turn` for each event. Cleared only by the operation that learned
    /// that there is nothing more. It is a hint: a false `true` costs one failed call.
    ready: Cell<bool>,

    /// A short transfer proves nothing here: go on until `WouldBlock`.
    ///
    /// Set by `turn` with the end of the stream, an error or urgent data, and never cleared: each
    /// of these makes a read stop short although more waits behind it, and no further event
    /// would tell of it.
    drain: Cell<bool>,

    /// Whoever was told `Pending` here, and has not been woken since.
    ///
    /// Borrowed for a statement at a time: cloning, calling or dropping a waker runs foreign code,
    /// which may come by here again.
    pub(crate) waiters: RefCell<Waiters>,
}

/// The wakers of the tasks that wait for one direction, in the order of their coming.
///
/// Several tasks may wait for the same: a hundred that accept from one listener, two that receive
/// from one socket. A single slot would strand all but the last of them.
pub(crate) struct Waiters {
    /// Nearly always there is but one, and it costs no allocation.
    pub(crate) first: Option<Waker>,
    /// Empty, if there is no first.
    pub(crate) rest: Vec<Waker>,
    /// More waiters than this are suspected to be leftovers of operations that were dropped.
    limit: usize,
    /// The turn that last woke them all, when they were several.
    emptied_in: u64,
}

/// The smallest [`Waiters::limit`]. So many that honest programs seldom reach it, so few that as
/// many leftovers weigh nothing.
const LIMIT: usize = 32;

/// How often to repeat an operation that a signal interrupts. A non-blocking call is hardly ever
/// interrupted even once. Repeating a call that always fails (because of a seccomp filter, for
/// example) would be a busy loop, so after this many repetitions the caller gets the error.
const INTERRUPTIONS: u32 = 100;

/// A value that no turn has, so that a source is always swept the first time it exceeds its limit.
const NEVER: u64 = u64::MAX;

impl Source {
    pub(crate) fn new(key: usize, kind: &'static str, reactor: Weak<Reactor>) -> Source {
        Source { key, kind, read: Direction::new("read"), write: Direction::new("write"), reactor }
    }

    /// The reactor, as long as its executor lives.
    pub(crate) fn reactor(&self) -> Option<Rc<Reactor>> {
        self.reactor.upgrade()
    }

    /// Tries the operation. If it would block, stores the waker and returns `Pending`.
    ///
    /// Every operation that waits for an event goes through here. Two operations do not, because
    /// epoll reports no event for them: `connect` to a Unix listener with a full backlog, and
    /// `send_to` to an unconnected Unix datagram peer whose queue is full. Both retry on a timer.
    ///
    /// 1. While the direction is ready, try the operation. It does not wait first, because the
    ///    bytes, or the space for them, are nearly always there.
    /// 2. If the attempt succeeds or fails, return that result. A call that a signal interrupted is
    ///    repeated.
    /// 3. If it would block, the direction is no longer ready. This needs no system call: the
    ///    kernel has watched the source since its registration, and reports the next edge.
    /// 4. Store the waker in the direction, and return `Pending`. The waker is all that the reactor
    ///    knows about the task.
    ///
    /// When an event calls that waker, the task is polled again and starts again at 1. If another
    /// task has taken what there was, it waits again.
    ///
    /// `operation` is the name of the system call in log records. `attempt` makes the call, perhaps
    /// several times, and must not block.
    fn poll_io<T>(
        &self,
        direction: &Direction,
        operation: &'static str,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let mut interruptions = 0;
        while direction.ready.get() {
            // Spend before the attempt: an operation that returns `Pending` because the budget is
            // used up must not have taken bytes. `ready` stays set, because there was no attempt.
            ready!(budget::spend(cx));
            match attempt() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // Could an event slip in between the failed call and this line, and be
                    // erased by it? No: events are delivered by `turn`, on this very thread,
                    // and the thread is here. An edge that the kernel saw since waits in epoll.
                    direction.ready.set(false);
                    trace!(source = self.key, direction = direction.name, operation; "would block");
                    // Waiting is free: the budget limits completed operations, not attempts.
                    budget::refund();
                    self.count_would_block();
                }
                // A signal handler ran before any data moved. Repeat the call.
                Err(error)
                    if error.kind() == ErrorKind::Interrupted && interruptions < INTERRUPTIONS =>
                {
                    interruptions += 1;
                }
                Err(error) => {
                    trace!(
                        source = self.key, direction = direction.name, operation,
                        error:? = error.kind();
                        "tried"
                    );
                    return Poll::Ready(Err(error));
                }
                // The attempt has logged its success, because it knows what it transferred.
                Ok(value) => return Poll::Ready(Ok(value)),
            }
        }
        // With threads, a second attempt would be needed after storing the waker. Here no other
        // code can have taken the event between the failed call and this line.
        self.store(direction, cx)
    }

    /// [`poll_io`](Source::poll_io) for an operation whose result proves nothing about the next one.
    pub(crate) fn poll_operation<T>(
        &self,
        direction: &Direction,
        operation: &'static str,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        self.poll_io(direction, operation, cx, || {
            let value = attempt()?;
            trace!(source = self.key, direction = direction.name, operation; "tried");
            Ok(value)
        })
    }

    /// [`poll_io`](Source::poll_io) for bytes of a TCP stream, where a short transfer is an answer.
    ///
    /// The kernel gave less than was asked for, so its buffer is empty (or full, when writing):
    /// the next call would block. Not making it saves one system call in every message.
    ///
    /// Of TCP alone. A pipe or a Unix socket may stop short at the edge of a packet although the
    /// next one is there, and a terminal at the end of a line; a datagram is always short.
    pub(crate) fn poll_transfer(
        &self,
        direction: &Direction,
        operation: &'static str,
        length: usize,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.poll_io(direction, operation, cx, || {
            let bytes = attempt()?;
            // Bytes that arrive after this transfer, or an end-of-file, are a new edge: the next
            // turn delivers it. What came *with* these bytes is no new edge, and for that there is
            // `drain`. Set before the record: a logger may turn, and that event must stay.
            let short = 0 < bytes && bytes < length && !direction.drain.get();
            direction.ready.set(!short);
            trace!(
                source = self.key, direction = direction.name, operation, bytes, length, short;
                "tried"
            );
            Ok(bytes)
        })
    }

    /// Counted, because the attempts that fail are what a reader of metrics looks for first: each
    /// is a call that brought nothing.
    fn count_would_block(&self) {
        if let Some(reactor) = self.reactor() {
            reactor.counters.would_blocks.add(1);
        }
    }

    /// Stores the waker in this source: from now on an event can wake the task.
    ///
    /// Each poll does this again, because the future may have moved to another task since the last
    /// one, and only the waker of the latest poll is sure to wake the right task.
    fn store<T>(&self, direction: &Direction, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let Some(reactor) = self.reactor() else {
            ready!(budget::spend(cx));
            return Poll::Ready(Err(io::Error::other("the reactor of this source is gone")));
        };
        // The thread sleeps in the current reactor, so an event of this one would not end the
        // sleep.
        if reactor.is_displaced() {
            ready!(budget::spend(cx));
            return Poll::Ready(Err(displaced(&reactor)));
        }
        // Count before the check below: after a spurious poll the waker is still stored, and the
        // executor recognizes such a poll by this count.
        reactor.counters.waits.add(1);
        let waker = cx.waker();
        // A spurious poll of the same task: its waker is already stored, and one is enough.
        if direction.waiters.borrow().contains(waker) {
            return Poll::Pending;
        }
        // Reentrancy: cloning a waker runs user code, which may come back to this source. If its
        // `RefCell` were borrowed here, that inner call would panic.
        let kept = waker.clone();
        if direction.ready.get() {
            // And that code has turned the reactor: the event came before its waiter.
            kept.wake();
            return Poll::Pending;
        }
        let crowded = direction.waiters.borrow_mut().push(kept, reactor.counters.turns.get());
        trace!(source = self.key, direction = direction.name, waker:? = waker.data(); "store");
        // Not at once: this is the middle of somebody's poll, and to wake runs foreign code.
        if crowded {
            reactor.sweep_next_turn(self.key);
        }
        Poll::Pending
    }

    /// Notes what the kernel said, and moves the waiters that it concerns into `woken`.
    ///
    /// They are moved, not copied: a waker that was used is gone, and a task that still has to wait
    /// leaves it again. All of them are, although one read may take everything: to wake one only
    /// would strand the others if that one has lost interest meanwhile.
    pub(crate) fn deliver(&self, event: &Event, turn: u64, woken: &mut Vec<Waker>) {
        // A peer that hung up, or an error, may come without `readable` or `writable`, and ends
        // the wait of both sides all the same: the operation itself will say what happened.
        let error = event.is_error();
        let read_ends = event.is_read_closed() || event.is_priority() || error;
        let write_ends = event.is_write_closed() || error;
        if event.is_readable() || read_ends {
            self.read.wake(read_ends, turn, woken);
        }
        if event.is_writable() || write_ends {
            self.write.wake(write_ends, turn, woken);
        }
    }

    /// Marks the read direction ready, and moves its waiters into `woken`, because the flag of a
    /// signal is set. The event of the signal's pipe is missing if the handler could not write.
    pub(crate) fn deliver_signal(&self, turn: u64, woken: &mut Vec<Waker>) {
        self.read.wake(false, turn, woken);
    }

    /// Moves all waiters into `woken`: those that still wait will come back. `ready` stays as it
    /// is, for the kernel has said nothing: who comes back leaves its waker, and makes no system
    /// call for it.
    pub(crate) fn sweep(&self, turn: u64, woken: &mut Vec<Waker>) {
        self.read.waiters.borrow_mut().take(turn, woken);
        self.write.waiters.borrow_mut().take(turn, woken);
    }
}

/// Returns the error of a wait in the wrong executor.
#[cold]
fn displaced(reactor: &Reactor) -> io::Error {
    let (owner, current) = (reactor.place, Reactor::current().place);
    io::Error::other(format!(
        "this source belongs to the reactor that was made at {owner}, but the current one was made \
         at {current}: await it in the executor in which it was made"
    ))
}

impl Direction {
    /// Ready at once: nobody has asked the kernel yet, and the first operation is the question.
    fn new(name: &'static str) -> Direction {
        let waiters = Waiters { first: None, rest: Vec::new(), limit: LIMIT, emptied_in: NEVER };
        Direction {
            name,
            ready: Cell::new(true),
            drain: Cell::new(false),
            waiters: RefCell::new(waiters),
        }
    }

    /// Makes the direction ready, and moves its waiters out. It calls none of them: that is done at
    /// the end of the turn, when all events are delivered and nothing is borrowed.
    fn wake(&self, drain: bool, turn: u64, woken: &mut Vec<Waker>) {
        self.ready.set(true);
        self.drain.set(self.drain.get() || drain);
        let mut waiters = self.waiters.borrow_mut();
        // Asked before the call, for mostly the answer is no: an event often tells of both
        // directions, and nearly always nobody waits to write.
        if waiters.first.is_some() {
            waiters.take(turn, woken);
        }
    }
}

impl Waiters {
    /// Whether this waker is here: exact, while there is no crowd. In one only the latest are
    /// looked at, for to look at all would cost the square of their number; a waker that is here
    /// twice does no harm, and counts as the leftover that it is.
    fn contains(&self, waker: &Waker) -> bool {
        let Some(first) = &self.first else { return false };
        let latest = self.rest.iter().rev().take(LIMIT);
        first.will_wake(waker) || latest.into_iter().any(|kept| kept.will_wake(waker))
    }

    /// Adds a waiter, and tells whether it is time to ask who is still there.
    ///
    /// A future that is dropped while it waits leaves its waker behind, and a silent source would
    /// collect them for ever. So when there are suspiciously many, the next turn wakes them all,
    /// and those that still wait come back. In the round after that the limit grows with them,
    /// else ten thousand honest waiters would be swept at every turn.
    fn push(&mut self, waker: Waker, turn: u64) -> bool {
        if self.first.is_none() {
            self.first = Some(waker);
            return false;
        }
        self.rest.push(waker);
        let crowded = self.rest.len() == self.limit;
        if crowded && self.emptied_in == turn {
            self.limit *= 2;
            return false;
        }
        crowded
    }

    /// Moves all of them into `woken`, first in first out: else the last to come would be served
    /// first, come back as the last, and be served first again.
    fn take(&mut self, turn: u64, woken: &mut Vec<Waker>) {
        let Some(first) = self.first.take() else { return };
        woken.push(first);
        if !self.rest.is_empty() {
            // Not `append`: it would keep the room of the largest crowd that ever waited here.
            woken.extend(mem::take(&mut self.rest));
            self.limit = LIMIT;
            self.emptied_in = turn;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::task::Wake;

    /// Each is another waker than all others.
    struct Distinct;

    impl Wake for Distinct {
        fn wake(self: Arc<Self>) {
            unreachable!("here wakers are handed over: the reactor wakes them");
        }
    }

    fn waker() -> Waker {
        Waker::from(Arc::new(Distinct))
    }

    fn same(one: &[Waker], other: &[Waker]) -> bool {
        one.len() == other.len() && one.iter().zip(other).all(|(a, b)| a.will_wake(b))
    }

    #[test]
    fn a_direction_begins_ready_and_an_event_makes_it_ready_again() {
        let direction = Direction::new("read");
        assert!(direction.ready.get() && !direction.drain.get());
        direction.ready.set(false);
        direction.wake(false, 1, &mut Vec::new());
        assert!(direction.ready.get() && !direction.drain.get());
    }

    #[test]
    fn drain_is_never_cleared() {
        let direction = Direction::new("read");
        for (drain, then) in [(false, false), (true, true), (false, true), (true, true)] {
            direction.wake(drain, 1, &mut Vec::new());
            assert_eq!(direction.drain.get(), then);
        }
    }

    // Pitfall: W2
    #[test]
    fn an_event_of_one_direction_does_not_touch_the_other() {
        let source = Source::new(0, "", Weak::new());
        source.read.ready.set(false);
        source.write.ready.set(false);
        source.write.waiters.borrow_mut().push(waker(), 1);
        let mut woken = Vec::new();
        source.read.wake(true, 1, &mut woken);
        assert!(source.read.ready.get() && source.read.drain.get());
        assert!(!source.write.ready.get() && !source.write.drain.get() && woken.is_empty());
    }

    // A plain list says who must be woken, in which order. The random numbers are those of a
    // linear congruence: the same each time.
    // Pitfall: E6
    #[test]
    fn waiters_come_out_as_they_came_in() {
        let (direction, mut list, mut random) = (Direction::new("read"), Vec::new(), 1_u64);
        for turn in 0..2000 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            for _ in 0..random >> 58 {
                let waker = waker();
                assert!(!direction.waiters.borrow().contains(&waker));
                direction.waiters.borrow_mut().push(waker.clone(), turn);
                assert!(direction.waiters.borrow().contains(&waker));
                list.push(waker);
            }
            if random >> 40 & 3 == 0 {
                let mut woken = Vec::new();
                direction.wake(false, turn, &mut woken);
                assert!(same(&woken, &list));
                list.clear();
            }
        }
    }

    // Pitfall: W11
    #[test]
    fn a_crowd_is_suspected_once_and_not_again_when_it_comes_back() {
        let waiters = &mut Direction::new("read").waiters.into_inner();
        let mut crowd =
            |count: usize, turn| (0..count).filter(|_| waiters.push(waker(), turn)).count();
        // The first is in the cell; then one more than the limit makes a crowd, told once.
        assert_eq!((crowd(LIMIT, 0), crowd(1, 0), crowd(5 * LIMIT, 0)), (0, 1, 0));
        waiters.take(1, &mut Vec::new());
        let mut crowd =
            |count: usize, turn| (0..count).filter(|_| waiters.push(waker(), turn)).count();
        // They come back in the round after that turn, and are honest, as many as they were;
        // then the limit holds again.
        assert_eq!(crowd(5 * LIMIT, 1), 0);
        assert_eq!((crowd(2 * LIMIT, 2), crowd(2 * LIMIT, 3)), (0, 1));
    }

    // Pitfall: T5
    #[test]
    fn the_room_of_a_crowd_is_given_back() {
        let waiters = &mut Direction::new("read").waiters.into_inner();
        (0..2).for_each(|_| _ = waiters.push(waker(), 0));
        waiters.take(1, &mut Vec::new());
        for _ in 0..10_000 {
            waiters.push(waker(), 1);
        }
        assert!(waiters.limit > 10_000);
        waiters.take(2, &mut Vec::new());
        assert_eq!((waiters.rest.capacity(), waiters.limit), (0, LIMIT));
    }
}
