//! The reactor: it waits for the outside world, and turns what it hears into wakes.
//!
//! Outside are the kernel's events on sockets and pipes, the clock, and the threads of the
//! blocking pool. All three end in the same few lines, the end of [`Reactor::turn`]: the second
//! of the runtime's three single places, where an outside event becomes a `wake()`.
//!
//! Called by: an executor, which turns it whenever it has nothing else to do, and by sockets and
//! timers, which register here.
//!
//! Invariant: `turn` delivers all that it fetched before any task runs, and it wakes with nothing
//! borrowed. The reactor does not know what a task is.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use log::{debug, error, trace};
use mio::{Events, Interest, Registry, Token, event};
use slab::Slab;

use crate::source::Source;
use crate::timer::Timers;

/// The token of the notifier; a slab never grows so far.
const NOTIFY: Token = Token(usize::MAX);

/// Events that one turn can fetch: as many connections can become ready at once and be served by
/// one `epoll_wait`. 48 KiB of address space, touched only as far as it is used.
const EVENTS: usize = 4096;

/// A buffer of wakers that grew beyond this with a burst is given back after it.
const WOKEN: usize = 1024;

/// What every source is watched for: all, once, for its whole life.
#[cfg(target_os = "linux")]
pub(crate) const ALL: Interest = Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);
#[cfg(not(target_os = "linux"))]
pub(crate) const ALL: Interest = Interest::READABLE.add(Interest::WRITABLE);

thread_local! {
    static CURRENT: RefCell<Option<Rc<Reactor>>> = const { RefCell::new(None) };
}

/// Waits for events, timers and finished jobs, and wakes the tasks that wait for them.
///
/// A reactor belongs to one thread. An executor owns one and turns it; it also works alone, under
/// any executor that can be stepped.
///
/// # Examples
///
/// ```
/// use reactor::Reactor;
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// let reactor = Reactor::new()?;
/// let _entered = reactor.enter();
/// // Sockets and timers that are made here belong to this reactor.
/// reactor.turn(Some(Duration::ZERO))?;
/// # Ok(())
/// # }
/// ```
pub struct Reactor {
    poll: RefCell<mio::Poll>,
    registry: Registry,
    /// Empty only while a turn reads it.
    events: Cell<Option<Events>>,
    /// All sources, by key. A key is reused as soon as its source is deregistered: an event of
    /// the old owner in the hands of the new one would be a false hint, and harmless.
    sources: RefCell<Slab<Rc<Source>>>,
    timers: RefCell<Timers>,
    /// Sources whose waiters the next turn wakes, to see who is still there.
    crowded: RefCell<Vec<usize>>,
    /// Tasks that wait until a source is deregistered, for then there is a descriptor to spare.
    short_of_descriptors: RefCell<Vec<Waker>>,
    /// Those whom the next turn wakes, whatever the kernel says; then it does not wait.
    woken: Cell<Vec<Waker>>,
    finished: Receiver<usize>,
    finisher: Finisher,
    now: Cell<Instant>,
    pub(crate) counters: Counters,
}

/// What the reactor has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Waits of the reactor, those that only looked included.
    pub turns: u64,
    /// Events that the kernel reported.
    pub events: u64,
    /// Operations that would have blocked.
    pub would_blocks: u64,
    /// Times a task was told to wait for a source.
    pub waits: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) turns: Counter,
    pub(crate) events: Counter,
    pub(crate) would_blocks: Counter,
    pub(crate) waits: Counter,
    pub(crate) deregistrations: Counter,
}

#[derive(Default)]
pub(crate) struct Counter(Cell<u64>);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.set(self.0.get().wrapping_add(n));
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.get()
    }
}

impl Reactor {
    /// Makes a reactor.
    ///
    /// # Errors
    ///
    /// When the operating system refuses a descriptor for `epoll` or for the notifier.
    pub fn new() -> io::Result<Rc<Reactor>> {
        let poll = mio::Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let notifier = Notifier(Arc::new(mio::Waker::new(&registry, NOTIFY)?));
        let (sender, finished) = unbounded();
        Ok(Rc::new(Reactor {
            poll: RefCell::new(poll),
            registry,
            events: Cell::new(Some(Events::with_capacity(EVENTS))),
            sources: RefCell::default(),
            timers: RefCell::default(),
            crowded: RefCell::default(),
            short_of_descriptors: RefCell::default(),
            woken: Cell::default(),
            finished,
            finisher: Finisher { sender, notifier },
            now: Cell::new(Instant::now()),
            counters: Counters::default(),
        }))
    }

    /// The reactor that sockets and timers made on this thread belong to.
    ///
    /// # Panics
    ///
    /// Outside of [`Reactor::enter`], which `block_on` calls.
    #[track_caller]
    pub fn current() -> Rc<Reactor> {
        let current = CURRENT.try_with(|current| current.borrow().clone()).ok().flatten();
        current.expect("no reactor on this thread: call this inside `block_on`")
    }

    /// Makes this the current reactor of the thread until the guard is dropped.
    pub fn enter(self: &Rc<Self>) -> Enter {
        let before = CURRENT.try_with(|current| current.replace(Some(self.clone())));
        Enter { before: before.ok().flatten() }
    }

    /// Waits for the outside world, and wakes those that waited for what it says.
    ///
    /// Returns after the first events, timers, finished jobs or notification, or when `timeout`
    /// has passed: `None` waits without limit, zero only looks. A signal does not end the wait.
    ///
    /// # Errors
    ///
    /// What `epoll_wait` reports, which a correct program never sees.
    pub fn turn(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.counters.turns.add(1);
        let turn = self.counters.turns.get();
        let mut woken = self.woken.take();
        for key in self.crowded.take() {
            if let Some(source) = self.source(key) {
                source.sweep(turn, &mut woken);
            }
        }

        let timeout = if woken.is_empty() { timeout } else { Some(Duration::ZERO) };
        // A turn within a turn, from a waker's own code, finds none and brings its own.
        let mut events = self.events.take().unwrap_or_else(|| Events::with_capacity(EVENTS));
        let waited = self.wait(&mut events, timeout);

        for event in &events {
            self.counters.events.add(1);
            if event.token() == NOTIFY {
                trace!("notified");
                self.take_finished(turn, &mut woken);
            } else if let Some(source) = self.source(event.token().0) {
                source.deliver(event, turn, &mut woken);
                trace!(
                    source = source.key,
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
        self.take_due(&mut woken);

        // All that was fetched is delivered, and nothing is borrowed any more: a waker runs
        // foreign code, which may register, deregister, set timers, or even turn again.
        for waker in woken.drain(..) {
            wake(waker);
        }
        self.keep_for_next_turn(woken);
        waited
    }

    /// The only place where the thread sleeps.
    fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        let deadline = self.deadline(timeout);
        loop {
            // With neither a deadline nor a zero, `None`: until the kernel has something to say.
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let left = left.or(timeout.filter(Duration::is_zero));
            trace!(timeout:? = left; "sleep");
            let waited = self.poll.borrow_mut().poll(events, left);
            self.now.set(Instant::now());
            match waited {
                // A signal's handler has run. The wait goes on for the time that remains.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                waited => return waited,
            }
        }
    }

    /// When a wait must end: after `timeout`, or with the first timer. `None`, also for a zero
    /// `timeout`, which needs no clock.
    fn deadline(&self, timeout: Option<Duration>) -> Option<Instant> {
        if timeout == Some(Duration::ZERO) {
            return None;
        }
        let limit = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let first = self.timers.borrow().next_deadline();
        limit.into_iter().chain(first).min()
    }

    fn take_finished(&self, turn: u64, woken: &mut Vec<Waker>) {
        for key in self.finished.try_iter() {
            if let Some(source) = self.source(key) {
                source.deliver_finished(turn, woken);
                trace!(source = key; "job finished");
            }
        }
    }

    fn take_due(&self, woken: &mut Vec<Waker>) {
        let now = self.now.get();
        loop {
            let due = self.timers.borrow_mut().pop_due(now);
            let Some(waker) = due else { return };
            trace!(waker:? = waker.data(); "timer fired");
            woken.push(waker);
        }
    }

    /// Gives the emptied buffer back, behind what foreign code may have put there meanwhile.
    fn keep_for_next_turn(&self, mut buffer: Vec<Waker>) {
        buffer.append(&mut self.woken.take());
        if buffer.capacity() <= WOKEN || !buffer.is_empty() {
            self.woken.set(buffer);
        }
    }

    /// When the last turn ended: the clock of all timers, for those who can do with a turn's
    /// precision and want no clock reading for each message.
    pub fn now(&self) -> Instant {
        self.now.get()
    }

    /// The nearest deadline of a timer: a foreign event loop must call [`turn`](Reactor::turn)
    /// then, even if the descriptor stays silent.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.borrow().next_deadline()
    }

    /// A handle with which other threads end a wait.
    pub fn notifier(&self) -> Notifier {
        self.finisher.notifier.clone()
    }

    /// What was counted so far.
    pub fn metrics(&self) -> Metrics {
        Metrics {
            turns: self.counters.turns.get(),
            events: self.counters.events.get(),
            would_blocks: self.counters.would_blocks.get(),
            waits: self.counters.waits.get(),
        }
    }

    /// Registers with the kernel, once for the whole life of the source.
    pub(crate) fn register(
        self: &Rc<Self>,
        io: &mut dyn event::Source,
        interest: Interest,
        kind: &'static str,
    ) -> io::Result<Rc<Source>> {
        let source = self.add_source();
        let registered = self.registry.register(io, Token(source.key), interest);
        if let Err(error) = registered {
            self.remove_source(source.key);
            return Err(error);
        }
        debug!(source = source.key, kind; "register");
        Ok(source)
    }

    /// Deregisters. The owner closes the descriptor after this: were it the other way round, a
    /// duplicate of the descriptor would keep the kernel reporting events for a freed key.
    pub(crate) fn deregister(&self, io: &mut dyn event::Source, key: usize) -> io::Result<()> {
        let deregistered = self.registry.deregister(io);
        self.remove_source(key);
        debug!(source = key; "deregister");
        self.counters.deregistrations.add(1);
        self.wake_next_turn(self.short_of_descriptors.take());
        deregistered
    }

    /// A source that the kernel does not know: a job of the pool reports to it.
    pub(crate) fn add_source(self: &Rc<Self>) -> Rc<Source> {
        let mut sources = self.sources.borrow_mut();
        let source = Rc::new(Source::new(sources.vacant_key(), Rc::downgrade(self)));
        sources.insert(source.clone());
        source
    }

    pub(crate) fn remove_source(&self, key: usize) {
        let mut sources = self.sources.borrow_mut();
        let removed = sources.try_remove(key);
        if sources.is_empty() {
            sources.shrink_to_fit();
        }
        // Its wakers run foreign code when they are dropped.
        drop(sources);
        drop(removed);
    }

    fn source(&self, key: usize) -> Option<Rc<Source>> {
        self.sources.borrow().get(key).cloned()
    }

    pub(crate) fn finisher(&self) -> Finisher {
        self.finisher.clone()
    }

    pub(crate) fn timers(&self) -> &RefCell<Timers> {
        &self.timers
    }

    /// Asks the next turn to wake all waiters of a source.
    pub(crate) fn sweep_next_turn(&self, key: usize) {
        self.crowded.borrow_mut().push(key);
    }

    /// Wakes `waker` when the next source is deregistered.
    pub(crate) fn wake_on_deregistration(&self, waker: &Waker) {
        if !self.short_of_descriptors.borrow().iter().any(|kept| kept.will_wake(waker)) {
            let kept = waker.clone();
            self.short_of_descriptors.borrow_mut().push(kept);
        }
    }

    fn wake_next_turn(&self, mut wakers: Vec<Waker>) {
        if !wakers.is_empty() {
            wakers.append(&mut self.woken.take());
            self.woken.set(wakers);
        }
    }
}

/// Tells one task that it is worth trying again.
fn wake(waker: Waker) {
    trace!(waker:? = waker.data(); "wake");
    // A waker that panics must not cost the others their wake.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        error!("a waker panicked");
        // Not dropped: the destructor of its value might panic again.
        mem::forget(panic);
    }
}

/// Sockets may outlive their reactor: whoever waits for one learns that no event will come.
impl Drop for Reactor {
    fn drop(&mut self) {
        let mut woken = self.woken.take();
        for (_, source) in self.sources.take() {
            source.sweep(self.counters.turns.get(), &mut woken);
        }
        woken.into_iter().for_each(wake);
    }
}

/// The descriptor of `epoll`: it is readable when a turn would find something to do. So a
/// reactor can be watched by another event loop.
impl AsFd for Reactor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.registry.as_fd()
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor").field("metrics", &self.metrics()).finish_non_exhaustive()
    }
}

/// Makes a reactor current; see [`Reactor::enter`].
#[must_use = "the reactor is current until the guard is dropped"]
#[derive(Debug)]
pub struct Enter {
    before: Option<Rc<Reactor>>,
}

impl Drop for Enter {
    fn drop(&mut self) {
        let before = self.before.take();
        // In a thread's last moments the thread-local may be gone, and nobody left to miss it.
        let _ = CURRENT.try_with(|current| current.replace(before));
    }
}

/// Ends a reactor's wait from another thread, or the next one if it does not wait now.
///
/// Notifications are not counted: many may end one wait.
#[derive(Clone)]
pub struct Notifier(Arc<mio::Waker>);

impl Notifier {
    /// Ends the wait. One system call; after the reactor's end it has no effect.
    pub fn notify(&self) {
        if let Err(error) = self.0.wake() {
            error!("cannot end the wait of the reactor: {error}");
        }
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notifier")
    }
}

/// With this a thread of the blocking pool reports that a job has finished.
#[derive(Clone)]
pub(crate) struct Finisher {
    sender: Sender<usize>,
    notifier: Notifier,
}

impl Finisher {
    /// Makes the job's source ready, and ends the wait. First the key, then the notification: the
    /// turn that it ends finds the key.
    pub(crate) fn finish(&self, key: usize) {
        // Nobody to tell, if the reactor is gone.
        if self.sender.send(key).is_ok() {
            self.notifier.notify();
        }
    }
}
