//! One I/O source, and the place where `WouldBlock` becomes a pending wakeup.
//!
//! A *source* is anything that the reactor can wait for: a socket, a pipe, the pipe that a signal
//! handler writes to. Reading and writing wait independently, so a source has two *directions*.
//! For each, it stores whether the next operation should try its system call (`ready`), and the
//! wakers of the tasks that wait for an event (the *waiters*). If both directions shared one flag, a
//! read that would block would also stop the writer. If they shared one waker slot, a reader and a
//! writer in two tasks would replace each other's waker.
//!
//! Tasks enter this file through [`Source::poll_io`], which every operation that waits for an event
//! calls. The reactor enters through [`Source::deliver`], once per event. It does so in its *turn*,
//! which is one wait for events and the wakeups that follow from it.
//!
//! Invariant: a task that waits has its waker here, and the event that ends its wait has not been
//! delivered yet.
//!
//! | `ready` | waiters | meaning                                                        |
//! |---------|---------|----------------------------------------------------------------|
//! | true    | none    | the next operation tries its system call                       |
//! | false   | none    | the last operation found nothing left; no task waits           |
//! | false   | some    | tasks wait; the next event sets `ready` and takes their wakers |
//! | true    | some    | impossible: the event that sets `ready` takes the waiters      |
//!
//! Sources are registered *edge-triggered*: epoll reports a change once, and does not repeat the
//! event while data is still there. This is why `ready` must remember it.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use log::trace;
use mio::event::Event;

use crate::budget;
use crate::shared::Shared;

/// What the reactor knows about one registered object.
///
/// With a thousand connections, the time that a message takes depends on how many cache lines it
/// touches. So the fields that an echoed message uses come first, and `repr(C)` keeps them there.
#[repr(C)]
pub(crate) struct Source {
    /// Incoming bytes, and connections to accept.
    read: Readiness,
    /// Space for outgoing bytes, and the completion of a `connect`.
    write: Readiness,
    /// The waker of the first task that waits to read. Usually there is no other.
    reader: Cell<Option<Waker>>,
    shared: Rc<Shared>,
    /// The waker of the first task that waits to write.
    writer: Cell<Option<Waker>>,
    /// The wakers of the other tasks. `None` until two tasks have waited for the same direction.
    ///
    /// Reentrancy: never borrowed while a waker is cloned, called or dropped. Each of these runs
    /// user code, which may call back into this source, and a second `borrow_mut` panics.
    others: RefCell<Option<Box<Others>>>,
    /// The key of the source in the reactor's table. The kernel returns it with each event.
    pub(crate) key: usize,
    /// The full name of the object's type, for diagnostics.
    pub(crate) kind: &'static str,
}

/// Reading or writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// The flags of one direction.
struct Readiness {
    /// Whether the next operation should try its system call.
    ///
    /// It starts as `true`, because trying is the way to find out. Only the reactor sets it, when it
    /// delivers an event. Only an operation clears it, when it finds that nothing is left. A `true`
    /// that is out of date is harmless: it costs one system call that returns `WouldBlock`.
    ready: Cell<bool>,

    /// Whether only `WouldBlock` proves that nothing is left.
    ///
    /// Set by an event that reports the end of the stream, an error or urgent data, and never
    /// cleared. From then on a read may stop short although more is queued behind it, and no
    /// further event would report the rest.
    until_would_block: Cell<bool>,

    /// Whether several tasks wait, so that the wakers of some are in [`Source::others`].
    has_others: Cell<bool>,
}

/// The waiters of a source, except the first one of each direction.
///
/// Several tasks may wait for one direction. For example, a hundred tasks may accept connections
/// from one listener.
struct Others {
    /// In the order of their arrival.
    waiters: Vec<(Direction, Waker)>,
    /// The number of waiters at which to check which of them still wait; see [`Others::push`].
    limit: usize,
    /// The number of the turn that last emptied the list.
    emptied_in: u64,
}

/// The initial value of [`Others::limit`]. Programs that do not drop waiting futures seldom reach it,
/// and this many wakers need little memory.
const LIMIT: usize = 32;

/// How often to repeat an operation that a signal interrupts. After this many repetitions the caller
/// gets the error. A non-blocking call is hardly ever interrupted even once. But a seccomp filter can
/// make a call fail with `EINTR` every time, and repeating that call forever would be a busy loop.
const INTERRUPTIONS: u32 = 100;

impl Source {
    pub(crate) fn new(key: usize, kind: &'static str, shared: Rc<Shared>) -> Source {
        Source {
            read: Readiness::new(),
            write: Readiness::new(),
            reader: Cell::new(None),
            shared,
            writer: Cell::new(None),
            others: RefCell::new(None),
            key,
            kind,
        }
    }

    /// Calls `attempt`. If it would block, stores the waker and returns `Pending`.
    ///
    /// Every operation that waits for an event goes through here:
    ///
    /// 1. While the direction is ready, call `attempt`. Trying first is cheaper than waiting first,
    ///    because the bytes, or the space for them, are usually there.
    /// 2. Return any result except `WouldBlock`. If a signal interrupted the call, repeat it.
    /// 3. After `WouldBlock`, clear `ready`. No system call is needed to ask for the next event,
    ///    because the source stays registered with the kernel.
    /// 4. Store the waker of the task and return `Pending`. The waker is all that the reactor knows
    ///    about the task.
    ///
    /// The next event of this direction wakes the task. The executor polls it again, and the
    /// operation starts again at step 1. If another task has taken the bytes in the meantime, the
    /// operation waits again.
    ///
    /// An operation that is dropped while it waits has transferred nothing, so it is *cancel safe*.
    /// One that needs several transfers is not: a dropped `read_exact` loses what it has read so far.
    ///
    /// The *budget* is the number of operations that a task may complete in one poll. A task that has
    /// used it up *yields*: it wakes itself and returns `Pending`, so that other tasks run first.
    /// Otherwise a peer that sends without a pause would keep its task in one poll forever.
    ///
    /// Two operations do not go through here, because epoll reports no event for them: `connect` to
    /// a Unix listener with a full backlog, and `send_to` to an unconnected Unix datagram peer whose
    /// queue is full. Both retry on a timer.
    ///
    /// `operation` is the name of the system call in log records. `attempt` makes the call. It must
    /// not block, and may run several times.
    fn poll_io<T>(
        &self,
        direction: Direction,
        operation: &'static str,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let ready = &self.readiness(direction).ready;
        let mut interruptions = 0;
        while ready.get() {
            // Spend before the attempt: an operation that returns `Pending` because the budget is
            // used up must not have taken bytes. `ready` stays set, because there was no attempt.
            ready!(budget::spend(cx));
            match attempt() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // No event can be lost between the failed call and this line. Only
                    // `Reactor::turn` delivers events, and it runs on this thread, which is busy here.
                    // If the source has become ready since the call, epoll keeps the event for
                    // the next turn.
                    ready.set(false);
                    trace!(source = self.key, direction = direction.name(), operation; "would block");
                    // Waiting is free: the budget limits completed operations, not attempts.
                    budget::refund();
                    self.shared.counters.would_blocks.add(1);
                }
                // A signal handler ran before any data moved. Repeat the call.
                Err(error)
                    if error.kind() == ErrorKind::Interrupted && interruptions < INTERRUPTIONS =>
                {
                    interruptions += 1;
                }
                Err(error) => {
                    trace!(
                        source = self.key, direction = direction.name(), operation,
                        error:? = error.kind();
                        "tried"
                    );
                    return Poll::Ready(Err(error));
                }
                // The attempt has logged its success, because it knows what it transferred.
                Ok(value) => return Poll::Ready(Ok(value)),
            }
        }
        // A runtime with several threads would have to check `ready` again after storing the waker:
        // an event delivered in between would wake no task. Here only this thread delivers events.
        self.store(direction, cx)
    }

    /// Calls [`poll_io`](Source::poll_io) for an operation whose success says nothing about the next
    /// attempt. So `ready` stays set after a success.
    pub(crate) fn poll_operation<T>(
        &self,
        direction: Direction,
        operation: &'static str,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        self.poll_io(direction, operation, cx, || {
            let value = attempt()?;
            trace!(source = self.key, direction = direction.name(), operation; "tried");
            Ok(value)
        })
    }

    /// Calls [`poll_io`](Source::poll_io) for bytes of a TCP stream. A short transfer clears
    /// `ready`, as `WouldBlock` does.
    ///
    /// A *short* transfer moves fewer bytes than `length`. For a TCP stream it means that the
    /// kernel's buffer is now empty (or full, when writing), so the next call would block. Not
    /// making that call saves one system call per message.
    ///
    /// This holds for TCP only. A read from a pipe, a Unix socket or a terminal may stop at the end
    /// of a packet or a line although more is queued, and a datagram is nearly always short.
    pub(crate) fn poll_transfer(
        &self,
        direction: Direction,
        operation: &'static str,
        length: usize,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let readiness = self.readiness(direction);
        self.poll_io(direction, operation, cx, || {
            let bytes = attempt()?;
            let short = 0 < bytes && bytes < length && !readiness.until_would_block.get();
            if short {
                // Bytes that arrive later cause an event, which sets `ready` again. An end of the
                // stream that was reported together with these bytes causes no further event, so
                // `until_would_block` prevents this.
                // Reentrancy: clear the flag before logging. The logger may turn the reactor, and
                // the events of that turn must not be erased.
                readiness.ready.set(false);
            }
            trace!(
                source = self.key, direction = direction.name(), operation, bytes, length, short;
                "tried"
            );
            Ok(bytes)
        })
    }

    /// Stores the waker, so that the next event of this direction wakes the task.
    ///
    /// This runs on every poll that has to wait. A future may move to another task between two
    /// polls, and only the waker of the latest poll belongs to the task that now owns the future.
    fn store<T>(&self, direction: Direction, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if let Err(error) = self.shared.can_wait() {
            // Waiting is free, but returning an error completes the operation. Charge for it, so
            // that a task that retries in a loop does not keep the thread.
            ready!(budget::spend(cx));
            return Poll::Ready(Err(error));
        }
        // Count this wait even if the waker is already stored. The executor compares the counter
        // before and after a poll to recognize a *spurious* poll, which makes no progress.
        self.shared.counters.waits.add(1);
        let waker = cx.waker();
        if self.has_waiter(direction, waker) {
            return Poll::Pending;
        }
        let kept = waker.clone();
        // Reentrancy: `clone` may have run user code that turned the reactor. If that turn has
        // delivered the event, wake the task now, because no later event will.
        if self.readiness(direction).ready.get() {
            kept.wake();
            return Poll::Pending;
        }
        let must_sweep = self.add_waiter(direction, kept);
        trace!(source = self.key, direction = direction.name(), waker:? = waker.data(); "store");
        if must_sweep {
            self.shared.to_sweep.borrow_mut().push(self.key);
        }
        Poll::Pending
    }

    /// Calls [`make_ready`](Source::make_ready) for each direction that the event concerns.
    pub(crate) fn deliver(&self, event: &Event, turn: u64, woken: &mut Vec<Waker>) {
        // An end of the stream or an error may be reported without `readable` or `writable`. It
        // still ends the wait: the system call will return what happened.
        let error = event.is_error();
        let read_ends = event.is_read_closed() || event.is_priority() || error;
        let write_ends = event.is_write_closed() || error;
        if event.is_readable() || read_ends {
            self.make_ready(Direction::Read, read_ends, turn, woken);
        }
        if event.is_writable() || write_ends {
            self.make_ready(Direction::Write, write_ends, turn, woken);
        }
    }

    /// Sets `ready` for one direction, and moves its waiters into `woken`.
    ///
    /// All waiters move, although one read may take all the bytes. If only one task were woken, and
    /// it no longer wanted to read, the others would wait forever. A task that still has to wait
    /// stores its waker again.
    #[inline]
    pub(crate) fn make_ready(
        &self,
        direction: Direction,
        until_would_block: bool,
        turn: u64,
        woken: &mut Vec<Waker>,
    ) {
        if self.readiness(direction).set_ready(until_would_block) {
            self.take_waiters(direction, turn, woken);
        }
    }

    /// Moves all waiters into `woken`, to find out which of them still wait: those store their
    /// wakers again. `ready` does not change, so their operations make no system call.
    pub(crate) fn sweep(&self, turn: u64, woken: &mut Vec<Waker>) {
        self.take_waiters(Direction::Read, turn, woken);
        self.take_waiters(Direction::Write, turn, woken);
    }

    /// Returns whether the waker is already stored, as it is in a spurious poll.
    fn has_waiter(&self, direction: Direction, waker: &Waker) -> bool {
        let Some(first) = self.first(direction).take() else { return false };
        let is_first = first.will_wake(waker);
        self.first(direction).set(Some(first));
        is_first
            || self.others.borrow().as_ref().is_some_and(|others| others.contains(direction, waker))
    }

    /// Stores a waker. Returns true if the source must be swept; see [`Others::push`].
    #[inline]
    fn add_waiter(&self, direction: Direction, waker: Waker) -> bool {
        let first = self.first(direction).take();
        if first.is_some() {
            self.first(direction).set(first);
            return self.add_other(direction, waker);
        }
        self.first(direction).set(Some(waker));
        false
    }

    #[cold]
    fn add_other(&self, direction: Direction, waker: Waker) -> bool {
        self.readiness(direction).has_others.set(true);
        let turn = self.shared.counters.turns.get();
        self.others.borrow_mut().get_or_insert_default().push(direction, waker, turn)
    }

    /// Moves the waiters of one direction into `woken`, first in, first out. In another order, the
    /// same task could be last every time.
    #[inline]
    fn take_waiters(&self, direction: Direction, turn: u64, woken: &mut Vec<Waker>) {
        let Some(first) = self.first(direction).take() else { return };
        woken.push(first);
        if self.readiness(direction).has_others.take()
            && let Some(others) = &mut *self.others.borrow_mut()
        {
            others.take(direction, turn, woken);
        }
    }

    /// Calls `list` for each waiter, for diagnostics.
    pub(crate) fn each_waiter(&self, mut list: impl FnMut(Direction, &Waker)) {
        for direction in [Direction::Read, Direction::Write] {
            let first = self.first(direction).take();
            first.iter().for_each(|waker| list(direction, waker));
            self.first(direction).set(first);
        }
        let others = self.others.borrow();
        let others = others.iter().flat_map(|others| &others.waiters);
        others.for_each(|(direction, waker)| list(*direction, waker));
    }

    fn readiness(&self, direction: Direction) -> &Readiness {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }

    fn first(&self, direction: Direction) -> &Cell<Option<Waker>> {
        match direction {
            Direction::Read => &self.reader,
            Direction::Write => &self.writer,
        }
    }
}

impl Direction {
    /// Returns the name in log records and diagnostics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Direction::Read => "read",
            Direction::Write => "write",
        }
    }
}

impl Readiness {
    fn new() -> Readiness {
        Readiness {
            ready: Cell::new(true),
            until_would_block: Cell::new(false),
            has_others: Cell::new(false),
        }
    }

    /// Sets `ready`, and `until_would_block` too if the event reported a reason for it. Returns true
    /// if `ready` was not set before. Otherwise there are no waiters.
    fn set_ready(&self, until_would_block: bool) -> bool {
        if until_would_block {
            self.until_would_block.set(true);
        }
        !self.ready.replace(true)
    }
}

impl Default for Others {
    fn default() -> Others {
        // No turn has this number.
        Others { waiters: Vec::new(), limit: LIMIT, emptied_in: u64::MAX }
    }
}

impl Others {
    /// Returns whether the waker is among the latest waiters. Searching all of them on every poll would
    /// be quadratic, and a waker that is stored twice does no harm.
    fn contains(&self, direction: Direction, waker: &Waker) -> bool {
        let latest = self.waiters.iter().rev().take(LIMIT);
        latest.into_iter().any(|(of, kept)| *of == direction && kept.will_wake(waker))
    }

    /// Adds a waiter. Returns true if the next turn must wake them all, to find out which of them
    /// still wait.
    ///
    /// Capacity: a future that is dropped while it waits leaves its waker behind. A source without
    /// events would collect these *stale* wakers forever. So when the number of waiters reaches
    /// the limit, the next turn *sweeps* the source. It wakes all of them, and those that still
    /// wait store their wakers again. The limit doubles each time it is reached. Otherwise ten
    /// thousand tasks that really wait would be woken in every turn.
    fn push(&mut self, direction: Direction, waker: Waker, turn: u64) -> bool {
        self.waiters.push((direction, waker));
        if self.waiters.len() < self.limit {
            return false;
        }
        self.limit *= 2;
        // A list that was emptied in this turn contains only tasks that still wait. Do not sweep it.
        self.emptied_in != turn
    }

    /// Moves the waiters of one direction into `woken`.
    #[cold]
    fn take(&mut self, direction: Direction, turn: u64, woken: &mut Vec<Waker>) {
        let taken = self.waiters.extract_if(.., |(of, _)| *of == direction);
        woken.extend(taken.map(|(_, waker)| waker));
        if self.waiters.is_empty() {
            // Capacity: this frees the memory that the waiters occupied.
            *self = Others { emptied_in: turn, ..Others::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::Location;
    use std::sync::Arc;
    use std::task::Wake;

    /// A waker that differs from all others.
    struct Distinct;

    impl Wake for Distinct {
        fn wake(self: Arc<Self>) {
            unreachable!("a source moves wakers, and the reactor calls them");
        }
    }

    fn waker() -> Waker {
        Waker::from(Arc::new(Distinct))
    }

    fn source() -> Source {
        Source::new(0, "", Rc::new(Shared::new(Location::caller())))
    }

    fn same(one: &[Waker], other: &[Waker]) -> bool {
        one.len() == other.len() && one.iter().zip(other).all(|(a, b)| a.will_wake(b))
    }

    #[test]
    fn interrupted_call_is_repeated_a_hundred_times() {
        let mut calls = 0;
        let cx = &mut Context::from_waker(Waker::noop());
        let polled = source().poll_io(Direction::Read, "read", cx, || {
            calls += 1;
            io::Result::<()>::Err(ErrorKind::Interrupted.into())
        });
        let Poll::Ready(Err(error)) = polled else { panic!("{polled:?}") };
        assert_eq!((error.kind(), calls), (ErrorKind::Interrupted, 101));
    }

    // A thousand idle connections pay for each byte.
    #[test]
    fn a_source_fits_into_two_cache_lines() {
        assert!(size_of::<Source>() <= 112);
    }

    #[test]
    fn a_source_starts_ready_and_an_event_makes_it_ready_again() {
        let source = source();
        assert!(source.read.ready.get() && !source.read.until_would_block.get());
        source.read.ready.set(false);
        source.read.set_ready(false);
        assert!(source.read.ready.get() && !source.read.until_would_block.get());
    }

    #[test]
    fn until_would_block_is_never_cleared() {
        let source = source();
        for (reported, then) in [(false, false), (true, true), (false, true), (true, true)] {
            source.read.set_ready(reported);
            assert_eq!(source.read.until_would_block.get(), then);
        }
    }

    // Pitfall: W2
    #[test]
    fn an_event_of_one_direction_does_not_touch_the_other() {
        let source = source();
        source.read.ready.set(false);
        source.write.ready.set(false);
        let mut woken = Vec::new();
        source.add_waiter(Direction::Write, waker());
        source.read.set_ready(true);
        source.take_waiters(Direction::Read, 1, &mut woken);
        assert!(source.read.ready.get() && source.read.until_would_block.get());
        assert!(!source.write.ready.get() && !source.write.until_would_block.get());
        assert!(woken.is_empty());
    }

    // Compares the source with two plain lists. The pseudo-random numbers are the same in each run.
    // Pitfall: E6
    #[test]
    fn waiters_are_woken_first_in_first_out() {
        let directions = [Direction::Read, Direction::Write];
        let (source, mut lists, mut random) = (source(), [Vec::new(), Vec::new()], 1_u64);
        for turn in 0..2000 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let (direction, list) = (directions[turn & 1], &mut lists[turn & 1]);
            for _ in 0..random >> 58 {
                let waker = waker();
                assert!(!source.has_waiter(direction, &waker));
                source.add_waiter(direction, waker.clone());
                assert!(source.has_waiter(direction, &waker));
                list.push(waker);
            }
            if random >> 40 & 3 == 0 {
                let mut woken = Vec::new();
                source.take_waiters(direction, turn as u64, &mut woken);
                assert!(same(&woken, list));
                list.clear();
            }
        }
    }

    /// Adds `count` waiters, and returns how often the source asked for a sweep.
    fn add(source: &Source, count: usize) -> usize {
        (0..count).filter(|_| source.add_waiter(Direction::Read, waker())).count()
    }

    // Pitfall: W11
    #[test]
    fn stale_wakers_are_swept_whenever_they_double() {
        let source = source();
        // The first waiter is not stored with the others.
        assert_eq!(add(&source, LIMIT), 0);
        assert_eq!([add(&source, 1), add(&source, LIMIT)], [1, 1]);
        assert_eq!([add(&source, 2 * LIMIT - 1), add(&source, 1)], [0, 1]);
    }

    // Pitfall: W11
    #[test]
    fn waiters_that_come_back_after_a_sweep_are_not_swept_again() {
        let source = source();
        add(&source, 5 * LIMIT);
        source.shared.counters.turns.add(1);
        source.sweep(1, &mut Vec::new());
        assert_eq!(add(&source, 5 * LIMIT), 0);
        // In a later turn, the same number of new waiters causes a sweep.
        source.shared.counters.turns.add(1);
        assert_eq!(add(&source, 5 * LIMIT), 1);
    }

    // Pitfall: T5
    #[test]
    fn memory_of_many_waiters_is_freed() {
        let source = source();
        add(&source, 10_000);
        source.sweep(1, &mut Vec::new());
        let others = source.others.borrow();
        let others = others.as_ref().unwrap();
        assert_eq!((others.waiters.capacity(), others.limit), (0, LIMIT));
    }
}
