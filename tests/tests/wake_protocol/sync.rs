//! The primitives that the checked files import, on top of those of a model checker.
//!
//! `checker` is loom or shuttle. Both have the interface of std, but some parts are missing or do
//! not exist in a model: a channel, a reactor, timeouts, and an OS that refuses to start a thread.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;

use super::checker::sync;
use super::checker::sync::atomic;
use super::checker::{JoinHandle, one_in};

pub(crate) use super::checker::sync::atomic::Ordering;
pub(crate) use std::sync::PoisonError;

/// A way to break the primitives.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mutant {
    None,
    /// Clear a flag with a store instead of a swap.
    StoreForSwap,
    /// Swap with relaxed ordering.
    Relaxed,
    /// Do not notify the reactor.
    DropNotify,
    /// Do not notify a thread of the pool.
    DropNotifyOne,
}

/// What the primitives of one run share. The checkers run all threads of a model on one thread.
#[derive(Default)]
struct Run {
    /// Whether every wait with a timeout has timed out.
    has_timed_out: Cell<bool>,
    /// How many more times the OS refuses to start a thread, after it has started `accepted`.
    refusals: Cell<u32>,
    accepted: Cell<u32>,
    /// The number of attempts to start a thread, from the first refusal on.
    attempts: Cell<u32>,
    /// The number of pauses of the pool's starter.
    pauses: Cell<u32>,
    /// Ends each wait with a timeout.
    timeouts: RefCell<Vec<Rc<dyn Fn()>>>,
    threads: RefCell<Vec<JoinHandle<()>>>,
    statics: RefCell<Vec<&'static dyn Any>>,
}

std::thread_local! {
    pub(crate) static MUTANT: Cell<Mutant> = const { Cell::new(Mutant::None) };
    static RUN: RefCell<Rc<Run>> = RefCell::default();
}

fn run() -> Rc<Run> {
    RUN.with_borrow(Rc::clone)
}

/// Begins a run of a model. The OS starts `accepted` threads, and then refuses `refusals` times.
pub(crate) fn begin(accepted: u32, refusals: u32) {
    let run = Run::default();
    run.accepted.set(accepted);
    run.refusals.set(refusals);
    RUN.set(Rc::new(run));
}

/// Lets every wait with a timeout time out, now and later.
pub(crate) fn time_out() {
    let run = run();
    run.has_timed_out.set(true);
    let timeouts = run.timeouts.take();
    timeouts.iter().for_each(|end| end());
}

/// Waits until all threads of the pool have ended.
pub(crate) fn join_threads() {
    loop {
        let next = run().threads.borrow_mut().pop();
        let Some(thread) = next else { return };
        thread.join().expect("the threads of the pool survive");
    }
}

/// Returns the only value of its type in this run.
///
/// Its memory is not freed, because a `&'static` is needed and this crate has no `unsafe`.
pub(crate) fn of_this_run<T: 'static>(make: impl Fn() -> T) -> &'static T {
    let run = run();
    let made = run.statics.borrow().iter().find_map(|value| value.downcast_ref());
    made.unwrap_or_else(|| {
        let value: &'static T = Box::leak(Box::new(make()));
        run.statics.borrow_mut().push(value);
        value
    })
}

/// The checker's flag, whose swaps a mutant may break.
pub(crate) struct AtomicBool(atomic::AtomicBool);

impl AtomicBool {
    pub(crate) fn new(value: bool) -> AtomicBool {
        AtomicBool(atomic::AtomicBool::new(value))
    }

    pub(crate) fn load(&self, order: Ordering) -> bool {
        self.0.load(order)
    }

    pub(crate) fn swap(&self, value: bool, order: Ordering) -> bool {
        match MUTANT.get() {
            Mutant::StoreForSwap if !value => {
                self.0.store(value, Ordering::Release);
                true
            }
            Mutant::Relaxed => self.0.swap(value, Ordering::Relaxed),
            _ => self.0.swap(value, order),
        }
    }
}

/// A lock. It can be shared with the code that ends a wait.
pub(crate) struct Mutex<T>(Arc<sync::Mutex<T>>);

pub(crate) struct MutexGuard<'a, T> {
    guard: sync::MutexGuard<'a, T>,
    mutex: &'a Mutex<T>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(Arc::new(sync::Mutex::new(value)))
    }

    pub(crate) fn lock(&self) -> Result<MutexGuard<'_, T>, PoisonError<MutexGuard<'_, T>>> {
        Ok(MutexGuard { guard: self.0.lock().expect("no panic happens under a lock"), mutex: self })
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

pub(crate) struct Condvar(Arc<sync::Condvar>);

impl Default for Condvar {
    fn default() -> Condvar {
        Condvar(Arc::new(sync::Condvar::new()))
    }
}

impl Condvar {
    pub(crate) fn notify_one(&self) {
        if MUTANT.get() != Mutant::DropNotifyOne {
            self.0.notify_one();
        }
    }

    fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        let MutexGuard { guard, mutex } = guard;
        let guard = self.0.wait(guard).expect("no panic happens under a lock");
        MutexGuard { guard, mutex }
    }

    pub(crate) fn wait_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> Result<MutexGuard<'a, T>, PoisonError<MutexGuard<'a, T>>> {
        while condition(&mut guard) {
            guard = self.wait(guard);
        }
        Ok(guard)
    }

    /// Waits until the condition is false, or the run has timed out, or at random not at all.
    pub(crate) fn wait_timeout_while<'a, T: 'static>(
        &self,
        mut guard: MutexGuard<'a, T>,
        _timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> Waited<'a, T> {
        while condition(&mut guard) {
            let run = run();
            if run.has_timed_out.get() || one_in(4) {
                return Ok((guard, true));
            }
            let (mutex, condvar) = (guard.mutex.0.clone(), self.0.clone());
            run.timeouts.borrow_mut().push(Rc::new(move || {
                // A thread that has checked `has_timed_out` but does not wait yet holds the lock.
                drop(mutex.lock());
                condvar.notify_all();
            }));
            guard = self.wait(guard);
        }
        Ok((guard, false))
    }
}

/// The guard, and whether the wait has timed out.
type Waited<'a, T> = Result<(MutexGuard<'a, T>, bool), PoisonError<(MutexGuard<'a, T>, bool)>>;

pub(crate) mod thread {
    use std::io;
    use std::time::Duration;

    /// Starts threads, or refuses to.
    pub(crate) struct Builder;

    impl Builder {
        pub(crate) fn new() -> Builder {
            Builder
        }

        pub(crate) fn name(self, _name: String) -> Builder {
            self
        }

        pub(crate) fn stack_size(self, _bytes: usize) -> Builder {
            self
        }

        pub(crate) fn spawn(self, f: impl FnOnce() + Send + 'static) -> io::Result<()> {
            let run = super::run();
            match run.accepted.get().checked_sub(1) {
                Some(left) => run.accepted.set(left),
                None => {
                    if let Some(left) = run.refusals.get().checked_sub(1) {
                        run.refusals.set(left);
                        run.attempts.update(|attempts| attempts + 1);
                        return Err(io::ErrorKind::WouldBlock.into());
                    }
                }
            }
            if run.attempts.get() > 0 {
                run.attempts.update(|attempts| attempts + 1);
            }
            let thread = super::super::checker::spawn(f);
            run.threads.borrow_mut().push(thread);
            Ok(())
        }
    }

    /// Pauses the pool's starter. The other threads may make many steps in the meantime.
    ///
    /// Each pause belongs to one attempt: it follows a refusal, or the start of a thread.
    pub(crate) fn sleep(_duration: Duration) {
        let run = super::run();
        run.pauses.update(|pauses| pauses + 1);
        assert!(
            run.pauses.get() <= run.attempts.get(),
            "the starter paused more often than it tried to start a thread"
        );
        super::super::checker::yield_now();
        while !super::one_in(8) {
            super::super::checker::yield_now();
        }
    }
}

/// The messages of a channel, whether its receiver still exists, and the number of messages.
///
/// The number orders nothing, so the protocol cannot rely on the channel for its ordering.
type Channel<T> = Arc<(sync::Mutex<(VecDeque<T>, bool)>, atomic::AtomicUsize)>;

pub(crate) struct Sender<T>(Channel<T>);

pub(crate) struct Receiver<T>(Channel<T>);

/// Creates a channel with those methods of crossbeam's that `inbox.rs` calls.
pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    let channel =
        Arc::new((sync::Mutex::new((VecDeque::new(), true)), atomic::AtomicUsize::new(0)));
    (Sender(channel.clone()), Receiver(channel))
}

impl<T> Sender<T> {
    pub(crate) fn send(&self, message: T) -> Result<(), T> {
        let mut channel = self.0.0.lock().unwrap();
        if !channel.1 {
            return Err(message);
        }
        channel.0.push_back(message);
        self.0.1.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.1.load(Ordering::Relaxed)
    }
}

impl<T> Receiver<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.0.1.load(Ordering::Relaxed)
    }

    pub(crate) fn try_iter(&self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| {
            if self.is_empty() {
                return None;
            }
            self.0.1.fetch_sub(1, Ordering::Relaxed);
            self.0.0.lock().unwrap().0.pop_front()
        })
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut channel = self.0.0.lock().unwrap();
        channel.1 = false;
        channel.0.clear();
    }
}

/// A reactor that reports only notifications. As a waker, it notifies.
#[derive(Clone)]
pub(crate) struct Notifier(Arc<(sync::Mutex<bool>, sync::Condvar)>);

impl Notifier {
    pub(crate) fn new() -> Notifier {
        Notifier(Arc::new((sync::Mutex::new(false), sync::Condvar::new())))
    }

    pub(crate) fn notify(&self) {
        if MUTANT.get() == Mutant::DropNotify {
            return;
        }
        let (notified, waiter) = &*self.0;
        *notified.lock().unwrap() = true;
        waiter.notify_one();
    }

    /// Consumes the notification, and returns whether there was one. With `sleep`, waits for it.
    pub(crate) fn turn(&self, sleep: bool) -> bool {
        let (notified, waiter) = &*self.0;
        let mut notified = notified.lock().unwrap();
        while sleep && !*notified {
            notified = waiter.wait(notified).unwrap();
        }
        std::mem::replace(&mut *notified, false)
    }
}

impl Wake for Notifier {
    fn wake(self: Arc<Self>) {
        self.notify();
    }
}
