//! The reactor: it waits for events and timers, and wakes the tasks that wait for them.
//!
//! Events come from the kernel, for sockets and pipes. Timers come from the clock. Both lead to the
//! last lines of [`Reactor::turn`], where an outside event becomes a `wake()`.
//!
//! An executor turns the reactor whenever it has polled the tasks that were queued. A new socket
//! registers with the current reactor of its thread, which a thread-local holds (`current.rs`).
//! Without a current reactor, creating the socket panics. A timer registers when a task first waits
//! for it.
//!
//! Invariant: a turn delivers all events that it fetched before it wakes the first task. The reactor
//! does not know what a task is; it only knows wakers.
//!
//! Reentrancy: a waker and a logger are user code, which may call back into the reactor. A second
//! `borrow_mut` of one `RefCell` panics, so no `RefCell` is borrowed while either of them runs.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, ErrorKind};
use std::mem;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::rc::{Rc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use log::{debug, error, trace};
use mio::event::{self, Event};
use mio::{Events, Interest, Registry, Token};
use slab::Slab;

use crate::metrics::Metrics;
use crate::notifier::Notifier;
use crate::shared::Shared;
use crate::source::Source;
use crate::time;
use crate::timer::Timers;

/// The *token* that epoll returns with an event of the notifier. The token of a source is its key,
/// which never grows this large.
const NOTIFY: Token = Token(usize::MAX);

/// The largest number of events that one turn fetches.
///
/// A turn touches sources and tasks: eight or nine cache lines per event. With a small number of
/// events, they are still in the first-level cache when the tasks are polled. The price is one more
/// system call per 32 messages.
const EVENTS: usize = 32;

/// Capacity: a list or a table that a burst has made larger than this shrinks afterwards.
const BURST: usize = 1024;
/// Capacity: the table of sources shrinks when fewer sources than this are left. Shrinking a long
/// table at each removal would be quadratic.
const SURVIVORS: usize = 64;

/// The readiness that epoll watches, unless a source supports less. A source is registered for all of
/// it once, for its whole life. Changing that before each wait would cost a system call (`epoll_ctl`).
/// *Priority* is the urgent data of TCP, which mio reports on Linux only.
#[cfg(target_os = "linux")]
pub(crate) const ALL: Interest = Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);
#[cfg(not(target_os = "linux"))]
pub(crate) const ALL: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// Waits for events and timers, and wakes the tasks that wait for them.
///
/// A reactor belongs to one thread. An executor owns one and turns it. Because it does not depend
/// on an executor, it also works under any other executor that can run one step at a time.
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
/// // Sockets that are created here belong to this reactor.
/// reactor.turn(Some(Duration::ZERO))?;
/// assert_eq!(reactor.metrics().turns, 1);
/// assert_eq!(reactor.next_deadline(), None); // There is no timer.
/// assert!(reactor.now() <= Instant::now());
///
/// let notifier = reactor.notifier();
/// notifier.notify();
/// reactor.turn(None)?; // Returns immediately.
/// # Ok(())
/// # }
/// ```
pub struct Reactor {
    /// The `epoll` instance. Borrowed only while the thread waits in it.
    poll: RefCell<mio::Poll>,
    /// A second descriptor of the same `epoll` instance, to register sources with. It is outside the
    /// `RefCell` because an object's own `register` may be user code, and because another event loop
    /// may hold a borrow of the descriptor.
    registry: Registry,
    /// The list that the kernel fills with events. `None` only while a turn uses it.
    events: Cell<Option<Events>>,
    /// Whether the last turn fetched as many events as fit into the list, so more may be left.
    is_full: Cell<bool>,
    /// All sources, by key. A key is reused after its source is deregistered. If the new source got
    /// an event of the old one, this would only cost one failed attempt.
    sources: RefCell<Slab<Rc<Source>>>,
    /// The part of the reactor that its sources use.
    pub(crate) shared: Rc<Shared>,
    /// Wakers to call at a deadline, even if no event arrives.
    timers: RefCell<Timers>,
    /// Wakers of tasks that wait until a source is deregistered, which frees a descriptor.
    pub(crate) short_of_descriptors: RefCell<Vec<Waker>>,
    /// Wakers that the next turn calls even if no event arrives. Usually empty. A turn takes this
    /// list, fills it, and puts it back, so that its capacity is reused.
    pub(crate) woken: RefCell<Vec<Waker>>,
    /// Lets other threads end the wait.
    notifier: Notifier,
    /// Whether a wait is in progress; see [`Reactor::is_waiting`].
    waiting: Cell<bool>,
    /// When the last wait ended. All timers compare with this one clock reading.
    now: Cell<Instant>,
}

/// A source and its key in the reactor's table. Dropping this frees the key.
///
/// The table refers to the source too, to find it by the key of an event. An operation on a socket
/// needs no lookup, because the socket owns a `Registration`.
pub(crate) struct Registration {
    source: Rc<Source>,
    /// Weak, because the executor owns the reactor. A socket that outlives its reactor returns errors.
    reactor: Weak<Reactor>,
}

impl Reactor {
    /// Creates a reactor.
    ///
    /// # Errors
    ///
    /// Returns an error if the OS does not provide a descriptor for `epoll` or for the notifier.
    #[track_caller]
    pub fn new() -> io::Result<Rc<Reactor>> {
        let poll = mio::Poll::new()?;
        let registry = poll.registry().try_clone()?;
        // The notifier is one more thing that `epoll` watches, on Linux an eventfd. Any thread can
        // write to it, which ends a wait.
        let notifier = Notifier::new(&registry, NOTIFY)?;
        Ok(Rc::new(Reactor {
            poll: RefCell::new(poll),
            registry,
            events: Cell::new(Some(Events::with_capacity(EVENTS))),
            is_full: Cell::new(false),
            sources: RefCell::default(),
            shared: Rc::new(Shared::new(Location::caller())),
            timers: RefCell::default(),
            short_of_descriptors: RefCell::default(),
            woken: RefCell::default(),
            notifier,
            waiting: Cell::new(false),
            now: Cell::new(time::now()),
        }))
    }

    /// Waits for events and timers, and wakes the tasks that waited for them.
    ///
    /// Returns after the first events, timers or notification, or when `timeout` has passed,
    /// rounded up to the millisecond. `None` waits indefinitely, and zero does not wait. A signal
    /// ends the wait only if a `Signal` of this reactor watches it.
    ///
    /// One turn:
    ///
    /// 1. Begin a list of wakers. It starts with the wakers that need no event: `woken`, and the
    ///    waiters of sources that must be swept.
    /// 2. Wait in `epoll_wait`, until the first event or the nearest deadline. This is where the
    ///    thread sleeps. If the list contains a waker already, fetch events without waiting.
    /// 3. Deliver each event to its source: set its readiness, and move its waiters to the list. A
    ///    notification has no source; it only ends the wait.
    /// 4. Add the wakers of timers whose deadline has passed.
    /// 5. Call all wakers in the list. A waker does not poll its task; it only queues the task.
    ///
    /// # Errors
    ///
    /// Returns the error of the system call `epoll_wait`. A correct program sees none.
    pub fn turn(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.shared.counters.turns.add(1);
        let turn = self.shared.counters.turns.get();
        self.is_full.set(false);
        // Reentrancy: take the list. A waker that is called at the end of this turn may add another
        // one to `self.woken`, for the next turn.
        let mut woken = self.woken.take();
        self.sweep_sources(turn, &mut woken);

        // Fetch events even if there are wakers already. Otherwise a task that adds one in every
        // turn would delay the events of all others.
        let timeout = if woken.is_empty() { timeout } else { Some(Duration::ZERO) };
        // Reentrancy: a logger may turn the reactor inside this turn. The inner turn finds no list
        // of events, and makes one.
        let mut events = self.events.take().unwrap_or_else(|| Events::with_capacity(EVENTS));
        let waited = self.wait(&mut events, timeout);

        // After a wait that failed, there are no events, but timers may still be due.
        let mut fetched = 0;
        for event in &events {
            fetched += 1;
            if event.token() == NOTIFY {
                // The message itself is in the executor's inbox.
                trace!("notified");
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
        self.shared.counters.events.add(fetched);
        self.is_full.set(fetched == EVENTS as u64);
        // Take timers after events, so that tasks with an event are polled before tasks whose timers
        // are due in the same turn.
        self.take_due(&mut woken);

        // Everything that was fetched has been delivered. Only now call the wakers.
        wake_all(&mut woken);
        // Capacity: keep the list, unless a burst made it large.
        // Reentrancy: a waker may have added another one to `self.woken`. Do not overwrite it.
        if woken.capacity() <= BURST && self.woken.borrow().is_empty() {
            self.woken.replace(woken);
        }
        waited
    }

    /// Sweeps the sources that have too many waiters; see [`Source::sweep`].
    fn sweep_sources(&self, turn: u64, woken: &mut Vec<Waker>) {
        for key in self.shared.to_sweep.take() {
            // The source may have been deregistered in the meantime.
            if let Some(source) = self.sources.borrow().get(key) {
                source.sweep(turn, woken);
            }
        }
    }

    /// Delivers an event to its source. Returns false if the source has been deregistered, which makes
    /// the event stale. If its key already belongs to a new source, that source makes one failed
    /// attempt.
    fn deliver(&self, event: &Event, turn: u64, woken: &mut Vec<Waker>) -> bool {
        // Borrowed for the whole call: `Source::deliver` moves wakers and runs no user code.
        let sources = self.sources.borrow();
        let source = sources.get(event.token().0);
        source.inspect(|source| source.deliver(event, turn, woken)).is_some()
    }

    /// Waits for events. This is the only place where the thread sleeps.
    ///
    /// `epoll_wait` counts milliseconds, and mio rounds the timeout up. A timeout that was rounded
    /// down would end before the deadline, and the executor would run a busy loop until then.
    fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        // A timeout beyond the end of the clock sets no limit, and zero needs no clock reading.
        let limit = timeout.filter(|timeout| !timeout.is_zero());
        let limit = limit.and_then(|timeout| time::now().checked_add(timeout));
        loop {
            // Log before sleeping: a record written afterwards would report a sleep that is over.
            // Reentrancy: the logger is user code. It may set a timer, so compute the time again.
            // It may wake a task, which is what `is_waiting` is for. It may turn the reactor, and
            // that turn may wake a task or consume a notification; then do not sleep.
            self.waiting.set(true);
            let turns = self.shared.counters.turns.get();
            trace!(timeout:? = self.time_left(timeout, limit); "sleep");
            let waited = self.sleep(events, self.time_to_sleep(turns, timeout, limit));
            self.waiting.set(false);
            // Read the clock even after an error, because timers depend only on the clock.
            self.now.set(time::now());
            match waited {
                // A signal handler has run. The wait continues for the time that remains.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                waited => return waited,
            }
        }
    }

    /// Calls `epoll_wait`. If a test has paused the clock, advances the clock instead of sleeping.
    fn sleep(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        let poll = &mut *self.poll.borrow_mut();
        match time::is_paused() {
            false => poll.poll(events, timeout),
            true => time::poll_or_advance(poll, events, timeout),
        }
    }

    /// Returns the time that is left, or zero if the reactor has been turned since `turns` was read.
    fn time_to_sleep(
        &self,
        turns: u64,
        timeout: Option<Duration>,
        limit: Option<Instant>,
    ) -> Option<Duration> {
        let turned = self.shared.counters.turns.get() != turns;
        if turned { Some(Duration::ZERO) } else { self.time_left(timeout, limit) }
    }

    /// Returns how long a wait may take: until `limit`, or until the next deadline. `None` means
    /// that only an event ends it.
    fn time_left(&self, timeout: Option<Duration>, limit: Option<Instant>) -> Option<Duration> {
        if timeout == Some(Duration::ZERO) {
            return timeout;
        }
        let deadline = limit.into_iter().chain(self.next_deadline()).min()?;
        Some(deadline.saturating_duration_since(time::now()))
    }

    /// Moves the wakers of timers whose deadline has passed into `woken`, earliest deadline first.
    ///
    /// Reentrancy: take them one by one, because the logger is called in between and may set a
    /// timer.
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
        self.shared.counters.waits.get()
    }

    /// Returns when the last wait ended: the clock of all timers.
    ///
    /// Use it where the precision of a turn is enough, to save a clock reading per message.
    pub fn now(&self) -> Instant {
        self.now.get()
    }

    /// Returns when the reactor must be turned even if no event arrives: the nearest deadline of a
    /// timer.
    ///
    /// Another event loop must call [`turn`](Reactor::turn) at that time, even if the descriptor
    /// reports nothing. A time in the past means immediately.
    pub fn next_deadline(&self) -> Option<Instant> {
        // The next turn calls these wakers even without an event, so it must come immediately.
        let has_wakers =
            !self.shared.to_sweep.borrow().is_empty() || !self.woken.borrow().is_empty();
        // A loop that watches the descriptor edge-triggered gets no new edge for the events left.
        if has_wakers || self.is_full.get() {
            return Some(self.now());
        }
        self.timers.borrow().next_deadline()
    }

    /// Returns a handle with which other threads end a wait.
    ///
    /// A waker that only queues a task would leave the thread asleep until an event arrives. An
    /// executor's waker therefore uses this handle when another thread calls it.
    pub fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    /// Returns the counters of this reactor.
    pub fn metrics(&self) -> Metrics {
        self.shared.counters.metrics()
    }

    /// Registers an object with the kernel, once for its whole life.
    ///
    /// Reentrancy: the object's own `register` may be user code, so nothing is borrowed here. If
    /// the kernel returns an error, the registration is dropped, which frees the key.
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

    /// Deregisters an object. The caller closes the descriptor afterwards: if it were closed first
    /// while a duplicate of it exists, the kernel would go on reporting events for this key.
    pub(crate) fn deregister(&self, io: &mut dyn event::Source, key: usize) -> io::Result<()> {
        let deregistered = self.registry.deregister(io);
        debug!(source = key; "deregister");
        self.shared.counters.deregistrations.add(1);
        // The caller closes its descriptor next, so tasks that wait for one may try again. Wake
        // them in the next turn and not here: this may run in a destructor, in the middle of any code.
        let wakers = self.short_of_descriptors.take();
        self.woken.borrow_mut().extend(wakers);
        deregistered
    }

    /// Adds a source that the kernel does not know yet. The table reuses free keys before it grows,
    /// so it is as long as the largest number of sources that existed at one time.
    fn add_source(self: &Rc<Self>, kind: &'static str) -> Registration {
        let mut sources = self.sources.borrow_mut();
        let source = Rc::new(Source::new(sources.vacant_key(), kind, self.shared.clone()));
        sources.insert(source.clone());
        Registration { source, reactor: Rc::downgrade(self) }
    }

    /// Frees the key. The caller drops the source, with the waiters that are left in it, after the
    /// borrow has ended, because the destructor of a waker is user code.
    fn remove_source(&self, key: usize) -> Option<Rc<Source>> {
        let mut sources = self.sources.borrow_mut();
        // The source is always there, but this runs in destructors, which must not panic.
        let removed = sources.try_remove(key);
        if sources.capacity() > BURST && sources.len() < SURVIVORS {
            sources.shrink_to_fit();
        }
        removed
    }

    /// Calls `list` for each source, for diagnostics.
    pub(crate) fn each_source(&self, mut list: impl FnMut(&Source)) {
        self.sources.borrow().iter().for_each(|(_, source)| list(source));
    }

    /// Returns the timers. A sleep sets one timer, and removes it when it is dropped.
    pub(crate) fn timers(&self) -> &RefCell<Timers> {
        &self.timers
    }

    /// Calls `waker` in the first turn after a source has been deregistered. All tasks that wait for
    /// a descriptor are woken, although only one is free. The others fail once more and wait again.
    pub(crate) fn wake_on_deregistration(&self, waker: &Waker) {
        // A spurious poll finds its waker already stored.
        if !self.short_of_descriptors.borrow().iter().any(|kept| kept.will_wake(waker)) {
            let kept = waker.clone();
            self.short_of_descriptors.borrow_mut().push(kept);
        }
    }
}

/// Calls all wakers: here an event becomes a wakeup.
///
/// Panic safety: a waker of another executor may panic. The other tasks must be woken even then.
fn wake_all(woken: &mut Vec<Waker>) {
    let mut wakers = woken.drain(..);
    let mut wake = || {
        for waker in &mut wakers {
            // Log before the wakeup: a record written afterwards would follow the records of its
            // effects.
            trace!(waker:? = waker.data(); "wake");
            waker.wake();
        }
    };
    while let Err(panic) = catch_unwind(AssertUnwindSafe(&mut wake)) {
        // Do not drop the panic's value, because its destructor might panic too.
        mem::forget(panic);
        error!("a waker panicked");
    }
}

impl Registration {
    /// Returns the reactor, unless it has been dropped.
    pub(crate) fn reactor(&self) -> Option<Rc<Reactor>> {
        self.reactor.upgrade()
    }
}

impl Deref for Registration {
    type Target = Source;

    fn deref(&self) -> &Source {
        &self.source
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let removed = self.reactor().and_then(|reactor| reactor.remove_source(self.key));
        // Reentrancy: `removed` is not the last reference, so this runs no user code. The field
        // `source` is the last one. It is dropped after this function, while nothing is borrowed.
        drop(removed);
    }
}

/// Wakes all tasks that wait. Sockets and timers may outlive their reactor and, under another
/// executor, so may their tasks. A socket's next operation then returns an error, and a timer moves
/// to the current reactor.
impl Drop for Reactor {
    fn drop(&mut self) {
        self.shared.end();
        let mut woken = self.woken.take();
        woken.extend(mem::take(&mut self.timers.get_mut().waiting).into_values());
        for (_, source) in self.sources.take() {
            // The number of the turn does not matter: no turn follows.
            source.sweep(0, &mut woken);
        }
        wake_all(&mut woken);
    }
}

/// The descriptor of `epoll`, which is readable when a turn would find events. Another event loop
/// can watch it, and must also respect [`next_deadline`](Reactor::next_deadline).
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
    fn memory_of_a_burst_is_freed() {
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
        assert!(reactor.shared.to_sweep.take().is_empty());
    }

    #[test]
    fn memory_of_fewer_sources_than_a_burst_is_kept() {
        let reactor = Reactor::new().unwrap();
        let sources: Vec<_> = (0..BURST).map(|_| reactor.add_source("")).collect();
        assert_eq!(reactor.sources.borrow().capacity(), BURST);
        drop(sources);
        assert_eq!(reactor.sources.borrow().capacity(), BURST);
    }

    #[test]
    fn memory_of_a_burst_is_freed_when_few_sources_are_left() {
        let reactor = Reactor::new().unwrap();
        let mut sources: Vec<_> = (0..2 * BURST).map(|_| reactor.add_source("")).collect();
        sources.truncate(SURVIVORS);
        assert_eq!(reactor.sources.borrow().capacity(), 2 * BURST);
        sources.pop();
        assert!(reactor.sources.borrow().capacity() <= BURST);
    }

    #[test]
    fn free_key_is_reused_first() {
        let reactor = Reactor::new().unwrap();
        let (first, second) = (reactor.add_source(""), reactor.add_source(""));
        let free = first.key;
        drop(first);
        assert_eq!((reactor.add_source("").key, second.key), (free, 1));
    }

    #[test]
    fn turn_inside_a_turn_uses_its_own_list_of_events() {
        let reactor = Reactor::new().unwrap();
        let events = reactor.events.take();
        reactor.notifier().notify();
        reactor.turn(None).unwrap();
        assert_eq!(reactor.metrics().events, 1);
        reactor.events.set(events);
    }
}
