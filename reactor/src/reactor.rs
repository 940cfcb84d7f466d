//! The reactor: it waits for the outside world, and turns what it hears into wakes.
//!
//! Outside are the kernel's events on sockets and pipes, and the clock. Both end in the same few
//! lines at the end of [`Reactor::turn`]. This is the second of the runtime's three single places:
//! here an outside event becomes a `wake()`.
//!
//! Called by: an executor, which turns it whenever it has nothing else to do, and by sockets and
//! timers, which register here.
//!
//! Invariant: `turn` delivers all that it fetched before any task runs, and it wakes with nothing
//! borrowed. The reactor does not know what a task is.
//!
//! What changes in a [`Reactor`] is in many small cells, and none of them is borrowed while foreign
//! code runs: so what is called from here, a waker or a logger, may call the reactor again.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use log::{debug, error, trace};
use mio::event::{self, Event};
use mio::{Events, Interest, Registry, Token};
use slab::Slab;

use crate::metrics::{Counters, Metrics};
use crate::notifier::Notifier;
use crate::signal;
use crate::source::{Registration, Source};
use crate::timer::Timers;

/// The token of the notifier, which is no source and has no slot; a slab never grows so far.
const NOTIFY: Token = Token(usize::MAX);

/// Events that one turn can fetch: as many connections can become ready at once and be served by
/// one `epoll_wait`. 48 KiB of address space, touched only as far as it is used.
const EVENTS: usize = 4096;

/// Room that grew beyond this with a burst is given back after it; that of the sources not before
/// fewer than [`SURVIVORS`] are left: to cut a long table with each removal costs its square.
const BURST: usize = 1024;
const SURVIVORS: usize = 64;

/// What a source is watched for, unless it can do less: all, once, for its whole life. To change
/// it with each wait would cost a system call (`epoll_ctl`) each time. Mio asks for *edges*: the
/// kernel reports a change once, and `ready` remembers it. Priority is for the urgent bytes of TCP,
/// of which mio tells on Linux only.
#[cfg(target_os = "linux")]
pub(crate) const ALL: Interest = Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);
#[cfg(not(target_os = "linux"))]
pub(crate) const ALL: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// Waits for events and timers, and wakes the tasks that wait for them.
///
/// A reactor belongs to one thread. An executor owns one and turns it; it also works alone, under
/// any executor that can be stepped. That the sleep is its own, and no part of an executor, is
/// what lets both be read, and replaced, one without the other.
///
/// # Examples
///
/// ```
/// use reactor::Reactor;
/// use std::time::{Duration, Instant};
///
/// # fn main() -> std::io::Result<()> {
/// let reactor = Reactor::new()?;
/// let _entered = reactor.enter();
/// // Sockets and timers that are made here belong to this reactor.
/// reactor.turn(Some(Duration::ZERO))?;
/// assert_eq!(reactor.metrics().turns, 1);
/// assert_eq!(reactor.next_deadline(), None); // There is no timer.
/// assert!(reactor.now() <= Instant::now());
///
/// let notifier = reactor.notifier();
/// notifier.notify();
/// reactor.turn(None)?; // Returns at once.
/// # Ok(())
/// # }
/// ```
pub struct Reactor {
    /// The `epoll` instance. Borrowed only while the thread waits in it.
    poll: RefCell<mio::Poll>,
    /// The same `epoll` by a second descriptor, which needs no cell. So `poll` is not borrowed
    /// while an object registers itself, which may be foreign code, nor as long as the descriptor
    /// is lent to a foreign event loop.
    registry: Registry,
    /// Where the kernel writes its events. Empty only while a turn reads it.
    events: Cell<Option<Events>>,
    /// All sources, by key. A key is reused as soon as its source is deregistered: an event of
    /// the old owner in the hands of the new one would be a false hint, and harmless.
    pub(crate) sources: RefCell<Slab<Rc<Source>>>,
    /// When to wake whom, though nothing happens.
    timers: RefCell<Timers>,
    /// Sources whose waiters the next turn wakes, to see who is still there: those of operations
    /// that were dropped will not come back.
    crowded: RefCell<Vec<usize>>,
    /// Tasks that wait until a source is deregistered, for then there is a descriptor to spare.
    pub(crate) short_of_descriptors: RefCell<Vec<Waker>>,
    /// Those whom the next turn wakes, whatever the kernel says; then it does not wait. Nearly
    /// always empty: it is also the list that a turn fills, kept for its room.
    pub(crate) woken: RefCell<Vec<Waker>>,
    /// Lets other threads end the wait.
    notifier: Notifier,
    /// Whether a wait is in progress; see [`Reactor::is_waiting`].
    waiting: Cell<bool>,
    /// The signals that tasks of this reactor wait for: the key of each source, and the flag that
    /// the handler sets.
    signals: RefCell<Vec<(usize, Arc<AtomicBool>)>>,
    /// When the last wait ended: this one reading of the clock decides which timers are due.
    now: Cell<Instant>,
    /// Whether it is the current reactor of its thread.
    pub(crate) is_current: Cell<bool>,
    /// The line that made the reactor, for error messages.
    pub(crate) place: &'static Location<'static>,
    /// For those who measure. But `turns` also numbers the turns for the waiters, by `waits` the
    /// executor tells a spurious poll, and by `deregistrations` a listener that pauses learns that
    /// there is a descriptor to spare.
    pub(crate) counters: Counters,
}

impl Reactor {
    /// Makes a reactor.
    ///
    /// # Errors
    ///
    /// When the operating system refuses a descriptor for `epoll` or for the notifier.
    #[track_caller]
    pub fn new() -> io::Result<Rc<Reactor>> {
        let poll = mio::Poll::new()?;
        let registry = poll.registry().try_clone()?;
        // One more thing that `epoll` watches (on Linux an eventfd): to write to it, from any
        // thread, is what ends a wait.
        let notifier = Notifier::new(&registry, NOTIFY)?;
        Ok(Rc::new(Reactor {
            poll: RefCell::new(poll),
            registry,
            events: Cell::new(Some(Events::with_capacity(EVENTS))),
            sources: RefCell::default(),
            timers: RefCell::default(),
            crowded: RefCell::default(),
            short_of_descriptors: RefCell::default(),
            woken: RefCell::default(),
            notifier,
            waiting: Cell::new(false),
            signals: RefCell::default(),
            now: Cell::new(Instant::now()),
            is_current: Cell::new(false),
            place: Location::caller(),
            counters: Counters::default(),
        }))
    }

    /// Waits for events and timers, and wakes the tasks that waited for them.
    ///
    /// Returns after the first events, timers or notification, or when `timeout` has passed,
    /// rounded up to the millisecond. `None` waits without limit, and zero does not wait. A signal
    /// ends the wait only if a `Signal` of this reactor watches it.
    ///
    /// One turn:
    ///
    /// 1. Begin the list of those to wake, with what needs no event: see `woken` and `crowded`.
    /// 2. Wait in `epoll_wait`, but not if that list has a waker, and no longer than until the
    ///    nearest timer. This is where the thread sleeps.
    /// 3. Deliver each event to its source: set its readiness, and move its waiters to the list. A
    ///    notification has no source; it only ends the wait.
    /// 4. Move the timers that are due to the list.
    /// 5. Wake all that are on the list. To wake runs no task: it only queues it.
    ///
    /// # Errors
    ///
    /// What `epoll_wait` reports, which a correct program never sees.
    pub fn turn(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.counters.turns.add(1);
        let turn = self.counters.turns.get();
        // Taken, not borrowed: a waker at the end of this turn may put somebody into the next.
        let mut woken = self.woken.take();
        for key in self.crowded.take() {
            // It may have been deregistered since it asked.
            if let Some(source) = self.source(key) {
                source.sweep(turn, &mut woken);
            }
        }

        // Who is on the list already must not wait for the kernel; but it is asked all the same,
        // or those who wake each other could keep everybody else's events out.
        let timeout = if woken.is_empty() { timeout } else { Some(Duration::ZERO) };
        // A turn within this one, from the code of a logger, finds none and brings its own.
        let mut events = self.events.take().unwrap_or_else(|| Events::with_capacity(EVENTS));
        let (waited, mut signals) = self.wait(&mut events, timeout);

        // Should the wait have failed, there are no events, and the timers still get their due.
        for event in &events {
            self.counters.events.add(1);
            if event.token() == NOTIFY {
                // The message itself is in the executor's inbox, or it is the flag of a signal
                // whose handler ran on another thread.
                trace!("notified");
                signals = true;
            } else if self.deliver(event, turn, &mut woken) {
                trace!(
                    source = event.token().0,
                    readable = event.is_readable(),
                    writable = event.is_writable(),
                    read_closed = event.is_read_closed(),
                    write_closed = event.is_write_closed(),
                    error = event.is_error();
                    "event"
                );
            }
        }
        self.events.set(Some(events));
        if signals {
            self.deliver_signals(turn, &mut woken);
        }
        // Timers after events: of one turn, those for whom something has come are polled first.
        self.take_due(&mut woken);

        // All that was fetched is delivered, and nothing is borrowed any more: a waker runs
        // foreign code, which may register, deregister, set timers, or even turn again.
        for waker in woken.drain(..) {
            wake(waker);
        }
        // The list is kept for its room, unless a burst made it large. And unless foreign code has
        // put somebody into the next one meanwhile: to put this in its place would lose that wake.
        if woken.capacity() <= BURST && self.woken.borrow().is_empty() {
            self.woken.replace(woken);
        }
        waited
    }

    /// Returns false if the source has been deregistered, which makes the event stale. If its key
    /// already belongs to a new source, that source makes one failed attempt.
    fn deliver(&self, event: &Event, turn: u64, woken: &mut Vec<Waker>) -> bool {
        // Borrowed for the whole of it, and no reference counted for each event: wakers are only
        // moved here, and that runs no code of theirs.
        let sources = self.sources.borrow();
        let source = sources.get(event.token().0);
        source.inspect(|source| source.deliver(event, turn, woken)).is_some()
    }

    /// The only place where the thread sleeps.
    ///
    /// `epoll_wait` counts in milliseconds, and mio rounds up: to round down would end a wait
    /// before the deadline, and the rest of it would be a loop of waits of zero.
    ///
    /// Also returns whether the handler of a signal has run; see [`signal`](crate::signal).
    fn wait(&self, events: &mut Events, mut timeout: Option<Duration>) -> (io::Result<()>, bool) {
        let mut signals = false;
        // A timeout beyond the end of the clock sets no limit, and zero needs no clock reading.
        let limit = timeout.filter(|timeout| !timeout.is_zero());
        let limit = limit.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if signal::take_arrived(&self.notifier) && self.has_arrived_signals() {
                // Their pipes may have events now. If a pipe has none, no event would end a sleep.
                (timeout, signals) = (Some(Duration::ZERO), true);
            }
            // Log before sleeping: a record written afterwards would report a sleep that is over.
            // Reentrancy: the logger is user code. It may set a timer, so compute the time again.
            // It may wake a task, which is what `is_waiting` is for.
            self.waiting.set(true);
            trace!(timeout:? = self.time_left(timeout, limit); "sleep");
            let waited = self.poll.borrow_mut().poll(events, self.time_left(timeout, limit));
            self.waiting.set(false);
            // Also after an error, for timers: the clock goes on, whatever the kernel says.
            self.now.set(Instant::now());
            match waited {
                // A signal's handler has run. The wait goes on for the time that remains.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                waited => return (waited, signals),
            }
        }
    }

    fn has_arrived_signals(&self) -> bool {
        self.signals.borrow().iter().any(|(_, arrived)| arrived.load(Ordering::Acquire))
    }

    /// Wakes the tasks that wait for a signal whose handler has run. Nearly always the event of the
    /// signal's pipe has done so already, but the handler may have failed to write to it.
    fn deliver_signals(&self, turn: u64, woken: &mut Vec<Waker>) {
        for (key, arrived) in &*self.signals.borrow() {
            if arrived.load(Ordering::Acquire)
                && let Some(source) = self.sources.borrow().get(*key)
            {
                source.deliver_signal(turn, woken);
            }
        }
    }

    /// Starts checking the flag of a signal whenever a handler has run.
    pub(crate) fn watch_signal(&self, key: usize, arrived: Arc<AtomicBool>) {
        self.signals.borrow_mut().push((key, arrived));
    }

    /// Stops checking the flag of the signal.
    pub(crate) fn forget_signal(&self, key: usize) {
        self.signals.borrow_mut().retain(|(watched, _)| *watched != key);
    }

    /// Returns how long a wait may take: until `limit`, or until the first timer. `None` means that
    /// only an event ends it.
    fn time_left(&self, timeout: Option<Duration>, limit: Option<Instant>) -> Option<Duration> {
        if timeout == Some(Duration::ZERO) {
            return timeout;
        }
        let first = self.timers.borrow().next_deadline();
        let deadline = limit.into_iter().chain(first).min()?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }

    /// Moves the timers that are due, the nearest first. Reentrancy: it takes them one by one,
    /// because the logger of the record in between is user code, and may set a timer itself.
    fn take_due(&self, woken: &mut Vec<Waker>) {
        let now = self.now.get();
        loop {
            let Some(waker) = self.timers.borrow_mut().pop_due(now) else { return };
            trace!(waker:? = waker.data(); "timer fired");
            woken.push(waker);
        }
    }

    /// Returns whether this thread is inside a wait of [`turn`](Reactor::turn).
    ///
    /// Only a logger that is called for the record `sleep` can see `true`. If that logger wakes a
    /// task, the executor has already decided to sleep, and must end the wait with the reactor's
    /// [`notifier`](Reactor::notifier).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// assert!(!reactor::Reactor::new()?.is_waiting());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_waiting(&self) -> bool {
        self.waiting.get()
    }

    /// Returns how often a task had to wait for a source, as [`Metrics::waits`] does.
    ///
    /// An executor compares the number before and after a poll, to recognize a spurious poll.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// assert_eq!(reactor::Reactor::new()?.waits_so_far(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn waits_so_far(&self) -> u64 {
        self.counters.waits.get()
    }

    /// When the last wait ended: the clock of all timers.
    ///
    /// For those who can do with a turn's precision and want no clock reading for each message.
    pub fn now(&self) -> Instant {
        self.now.get()
    }

    /// When the reactor must be turned, even if no event comes: the nearest deadline of a timer.
    ///
    /// A foreign event loop must call [`turn`](Reactor::turn) then, even if the descriptor stays
    /// silent. A moment that is past means: now.
    pub fn next_deadline(&self) -> Option<Instant> {
        // What waits for nothing but the next turn: a foreign loop must not sleep before it.
        if !self.crowded.borrow().is_empty() || !self.woken.borrow().is_empty() {
            return Some(self.now());
        }
        self.timers.borrow().next_deadline()
    }

    /// A handle with which other threads end a wait.
    ///
    /// Without it, a waker that only queues would leave the thread asleep until something else
    /// happens.
    pub fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    /// What was counted so far.
    pub fn metrics(&self) -> Metrics {
        self.counters.metrics()
    }

    /// Registers with the kernel, once for the whole life of the source.
    ///
    /// An object's own `register` may be the user's code: so nothing is borrowed around it. When
    /// the kernel refuses, `source` is dropped on the way out, and its key is free again.
    pub(crate) fn register(
        self: &Rc<Self>,
        io: &mut dyn event::Source,
        interest: Interest,
        kind: &'static str,
    ) -> io::Result<Registration> {
        let source = self.add_source(kind);
        self.registry.register(io, Token(source.key), interest)?;
        debug!(source = source.key, kind; "register");
        Ok(source)
    }

    /// Deregisters. The owner closes the descriptor after this: were it the other way round, a
    /// duplicate of the descriptor would keep the kernel reporting events for a freed key.
    pub(crate) fn deregister(&self, io: &mut dyn event::Source, key: usize) -> io::Result<()> {
        let deregistered = self.registry.deregister(io);
        debug!(source = key; "deregister");
        self.counters.deregistrations.add(1);
        // The caller closes its descriptor next, and who could get none may try again. Not woken
        // here, where a socket is being dropped in the middle of anybody's code.
        let hopeful = self.short_of_descriptors.take();
        self.woken.borrow_mut().extend(hopeful);
        deregistered
    }

    /// Adds a source that the kernel does not know yet. The slab reuses free keys before it grows,
    /// so the table is only as long as the largest number of sources that existed at one time.
    pub(crate) fn add_source(self: &Rc<Self>, kind: &'static str) -> Registration {
        let mut sources = self.sources.borrow_mut();
        // Weak, or reactor and sources would keep each other alive.
        let source = Rc::new(Source::new(sources.vacant_key(), kind, Rc::downgrade(self)));
        sources.insert(source.clone());
        Registration(source)
    }

    /// Gives up the key. What is left of its waiters is dropped by the caller, with nothing
    /// borrowed: that runs foreign code.
    pub(crate) fn remove_source(&self, key: usize) -> Option<Rc<Source>> {
        let mut sources = self.sources.borrow_mut();
        // Tried, although it is always there: this runs in destructors, which must not panic.
        let removed = sources.try_remove(key);
        if sources.capacity() > BURST && sources.len() < SURVIVORS {
            sources.shrink_to_fit();
        }
        removed
    }

    /// A reference of its own, so that the slab is not borrowed while the source is used.
    fn source(&self, key: usize) -> Option<Rc<Source>> {
        self.sources.borrow().get(key).cloned()
    }

    /// For the future that sleeps: it sets its timer, and drops it with itself.
    pub(crate) fn timers(&self) -> &RefCell<Timers> {
        &self.timers
    }

    /// Asks the next turn to wake all waiters of a source: see `Waiters::push`, which counts them.
    pub(crate) fn sweep_next_turn(&self, key: usize) {
        self.crowded.borrow_mut().push(key);
    }

    /// Wakes `waker` when the next source is deregistered. All who wait are woken then, though
    /// there is one descriptor to spare: the others fail once more, and wait again.
    pub(crate) fn wake_on_deregistration(&self, waker: &Waker) {
        // Once for each: a task that waits is polled for other reasons too, and comes by each time.
        if !self.short_of_descriptors.borrow().iter().any(|kept| kept.will_wake(waker)) {
            let kept = waker.clone();
            self.short_of_descriptors.borrow_mut().push(kept);
        }
    }
}

/// Tells one task that it is worth trying again: the second of the single places ends here.
///
/// Neither a waker that panics nor a logger may cost anybody a wake: under an executor of
/// somebody else's, `wake` is somebody else's code.
fn wake(waker: Waker) {
    let woken = catch_unwind(AssertUnwindSafe(|| {
        let waking = Waking(waker);
        trace!(waker:? = waking.0.data(); "wake");
    }));
    if let Err(panic) = woken {
        // Not dropped: the destructor of its value might panic again.
        mem::forget(panic);
        error!("a waker panicked");
    }
}

/// Calls `wake` when it is dropped: after the record, so that it does not tell of the wake's effect
/// first, and also if the logger panics.
struct Waking(Waker);

impl Drop for Waking {
    fn drop(&mut self) {
        self.0.wake_by_ref();
    }
}

/// Sockets and timers may outlive their reactor: whoever waits for one learns that no turn will
/// come.
impl Drop for Reactor {
    fn drop(&mut self) {
        // Woken, not merely dropped: under a foreign executor their tasks live on. The next
        // operation of a socket finds no reactor, and says so; a timer is set with the next one.
        let mut woken = self.woken.take();
        woken.extend(mem::take(&mut self.timers.get_mut().waiting).into_values());
        for (_, source) in self.sources.take() {
            source.sweep(0, &mut woken);
        }
        woken.into_iter().for_each(wake);
    }
}

/// The descriptor of `epoll`: it is readable when a turn would find events. So another event loop
/// can watch a reactor; of all else [`next_deadline`](Reactor::next_deadline) tells it.
impl AsFd for Reactor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.registry.as_fd()
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor")
            .field("sources", &self.sources.borrow().len())
            .field("metrics", &self.metrics())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Pitfall: T5
    #[test]
    fn the_memory_of_a_burst_comes_back() {
        let reactor = Reactor::new().unwrap();
        let sources: Vec<_> = (0..10_000).map(|_| reactor.add_source("")).collect();
        assert!(reactor.sources.borrow().capacity() >= 10_000);
        drop(sources);
        assert!(reactor.sources.borrow().capacity() <= BURST);

        let past = reactor.now();
        for _ in 0..10_000 {
            reactor.timers.borrow_mut().set(past, Waker::noop().clone());
        }
        reactor.turn(Some(Duration::ZERO)).unwrap();
        assert!(reactor.woken.take().capacity() <= BURST);
        assert!(reactor.crowded.take().is_empty());
    }

    #[test]
    fn a_key_is_given_again_as_soon_as_it_is_free() {
        let reactor = Reactor::new().unwrap();
        let (first, second) = (reactor.add_source(""), reactor.add_source(""));
        let free = first.key;
        drop(first);
        assert_eq!((reactor.add_source("").key, second.key), (free, 1));
    }

    #[test]
    fn a_turn_within_a_turn_brings_its_own_events() {
        let reactor = Reactor::new().unwrap();
        let events = reactor.events.take();
        reactor.notifier().notify();
        reactor.turn(None).unwrap();
        assert_eq!(reactor.metrics().events, 1);
        reactor.events.set(events);
    }
}
