//! [`Ring`]: a source of the reactor, and the task that drives it.
//!
//! The descriptor of a ring is readable when completions have arrived, so the reactor watches it
//! like a socket. One task, the *driver*, waits for it. The driver submits queued operations to the
//! kernel, *reaps* completions (takes them out of the completion queue), and wakes the task that
//! waits for each. This file uses only public API of the reactor and the executor: [`Async`] and
//! [`executor::spawn_named`].
//!
//! Invariant: while an operation is queued or in the kernel, the driver exists. When the driver has
//! been dropped, the kernel uses no buffer that could be freed.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use log::{error, warn};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, event};
use reactor::blocking::unblock;
use reactor::time::{Sleep, sleep};
use reactor::{Async, budget};

use crate::in_flight::{InFlight, RETRY_PAUSE, Reaped};
use crate::operation::{Operation, Outcome};

/// An io_uring ring for files, or the blocking pool as a fallback.
///
/// Clones share one ring. A ring belongs to the executor in which it was made, because its driver
/// is a task of that executor. The driver ends when the last clone, the last [`File`](crate::File)
/// and the last operation are gone.
///
/// # Examples
///
/// ```
/// use reactor_uring::{File, Ring};
///
/// # fn main() -> std::io::Result<()> {
/// executor::block_on(async {
///     let ring = Ring::or_pool(64)?;
///     let file = File::open(&ring, "Cargo.toml").await?;
///     let (read, buffer) = file.read_at(vec![0; 9], 0).await;
///     assert_eq!(&buffer[..read?], b"[package]");
///     file.close().await
/// })
/// # }
/// ```
#[derive(Clone)]
pub struct Ring {
    backend: Backend,
}

#[derive(Clone)]
enum Backend {
    Kernel(Handle),
    Pool,
}

impl Ring {
    /// Sets up a ring for `entries` concurrent operations, rounded up to a power of two.
    ///
    /// Further operations wait in a queue. 64 entries are enough to keep a disk busy.
    ///
    /// # Errors
    ///
    /// Returns `PermissionDenied` if a sandbox or the system's administrator forbids io_uring.
    /// Returns `Unsupported` if the kernel has no io_uring or is older than Linux 5.11. Returns
    /// `InvalidInput` if `entries` is 0 or more than 32,768. Otherwise returns the error of the
    /// `io_uring_setup` or `epoll_ctl` system call.
    ///
    /// # Panics
    ///
    /// Panics if called outside of `block_on`.
    #[track_caller]
    pub fn new(entries: u32) -> io::Result<Ring> {
        let shared = Rc::new(Shared {
            source: Async::with_interest(Uring::new(entries)?, Interest::READABLE)?,
            driver_waker: RefCell::new(None),
        });
        let driver = Driver { shared: shared.clone(), pause: None };
        drop(executor::spawn_named("io_uring", driver));
        Ok(Ring { backend: Backend::Kernel(Handle(shared)) })
    }

    /// Sets up a ring, or falls back to the blocking pool if io_uring is forbidden or unsupported.
    ///
    /// Files behave the same in both cases.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`new`](Ring::new) except `PermissionDenied` and `Unsupported`.
    ///
    /// # Panics
    ///
    /// Panics if it sets up a ring outside of `block_on`.
    #[track_caller]
    pub fn or_pool(entries: u32) -> io::Result<Ring> {
        match Ring::new(entries) {
            Err(error) if is_refusal(&error) => Ok(Ring::pool()),
            result => result,
        }
    }

    /// Returns the blocking pool: every operation is a blocking call on one of its threads.
    pub fn pool() -> Ring {
        Ring { backend: Backend::Pool }
    }

    /// Returns whether operations run on the blocking pool instead of a ring.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor_uring::Ring;
    ///
    /// executor::block_on(async {
    ///     assert!(Ring::pool().is_pool());
    ///     match Ring::new(64) {
    ///         Ok(ring) => assert_eq!((ring.is_pool(), ring.in_flight()), (false, 0)),
    ///         Err(error) => println!("cannot set up a ring: {error}"),
    ///     }
    /// });
    /// ```
    pub fn is_pool(&self) -> bool {
        matches!(self.backend, Backend::Pool)
    }

    /// Returns the number of operations in flight: queued, in the kernel, or completed with a
    /// result that was not taken yet.
    ///
    /// Operations whose future was dropped count until their completion arrives. Returns 0 for the
    /// blocking pool.
    pub fn in_flight(&self) -> usize {
        match &self.backend {
            Backend::Kernel(handle) => handle.0.in_flight().borrow().len(),
            Backend::Pool => 0,
        }
    }

    /// Carries out an operation, and returns it together with its result.
    pub(crate) async fn run(&self, operation: Operation) -> Outcome {
        let handle = match &self.backend {
            Backend::Pool => return unblock(|| operation.run_blocking()).await,
            Backend::Kernel(handle) => handle,
        };
        match handle.0.begin(operation) {
            Ok(key) => Completion { handle: handle.clone(), key: Some(key) }.await,
            Err(operation) => {
                budget::consume_budget().await;
                (operation, Err(io::Error::other("the executor of this ring was dropped")))
            }
        }
    }
}

/// Returns whether the error means that io_uring is unavailable, and not only that this ring
/// failed.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported)
}

/// The ring as a source of the reactor.
struct Uring {
    descriptor: RawFd,
    in_flight: RefCell<InFlight>,
}

impl Uring {
    fn new(entries: u32) -> io::Result<Uring> {
        let in_flight = InFlight::new(entries)?;
        Ok(Uring { descriptor: in_flight.descriptor(), in_flight: RefCell::new(in_flight) })
    }
}

impl event::Source for Uring {
    fn register(&mut self, to: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        SourceFd(&self.descriptor).register(to, token, interest)
    }

    fn reregister(&mut self, to: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        SourceFd(&self.descriptor).reregister(to, token, interest)
    }

    fn deregister(&mut self, from: &Registry) -> io::Result<()> {
        SourceFd(&self.descriptor).deregister(from)
    }
}

/// What the driver shares with rings, files and operations.
struct Shared {
    source: Async<Uring>,
    /// The waker of the driver. The first function that queues work takes it out and calls it, so
    /// `None` means that the driver has already been woken, or has ended.
    driver_waker: RefCell<Option<Waker>>,
}

impl Shared {
    /// Returns the operations in flight.
    ///
    /// Reentrancy: borrow it only for one statement, and never while a waker is cloned, called or
    /// dropped. Those run user code, which may use the ring, and a second `borrow_mut` panics.
    fn in_flight(&self) -> &RefCell<InFlight> {
        &self.source.get_ref().in_flight
    }

    /// Queues an operation and wakes the driver. Returns the operation as an error if the driver
    /// has ended.
    fn begin(&self, operation: Operation) -> Result<usize, Operation> {
        if self.in_flight().borrow().is_closed() {
            return Err(operation);
        }
        let key = self.in_flight().borrow_mut().begin(operation);
        self.wake_driver();
        Ok(key)
    }

    fn abandon(&self, key: usize) {
        let waker = self.in_flight().borrow_mut().abandon(key);
        drop(waker);
        self.wake_driver();
    }

    fn wake_driver(&self) {
        let waker = self.driver_waker.take();
        waker.into_iter().for_each(Waker::wake);
    }

    fn set_driver_waker(&self, waker: Option<Waker>) {
        let previous = self.driver_waker.replace(waker);
        drop(previous);
    }

    /// Reaps completions, and wakes the tasks that wait for them. Returns the number of
    /// completions.
    fn reap(&self) -> usize {
        let Reaped { completions, woken, .. } = self.in_flight().borrow_mut().reap();
        wake(woken);
        completions
    }

    /// Ends all operations in flight; see [`InFlight::close`].
    fn close(&self) {
        self.set_driver_waker(None);
        let Reaped { woken, forgotten, .. } = self.in_flight().borrow_mut().close();
        wake(woken);
        if forgotten > 0 {
            warn!("leaking the memory of {forgotten} io_uring operations that did not complete");
        }
    }
}

/// Calls all wakers.
///
/// Panic safety: a waker may be user code. If one panics, the others are still called. Log last,
/// because the logger is user code as well.
fn wake(woken: Vec<Waker>) {
    let wakes = woken.into_iter().map(|waker| catch_unwind(AssertUnwindSafe(|| waker.wake())));
    // Forget the panic payload, because its destructor might panic again.
    let panics = wakes.filter_map(Result::err).map(mem::forget).count();
    if panics > 0 {
        error!("{panics} wakers panicked");
    }
}

/// Keeps the driver alive: the driver ends when no handle is left.
#[derive(Clone)]
struct Handle(Rc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        // The two references are the driver's and this one, which is gone when the driver is
        // polled.
        if Rc::strong_count(&self.0) == 2 {
            self.0.wake_driver();
        }
    }
}

/// The task that drives a ring.
struct Driver {
    shared: Rc<Shared>,
    /// The time until the next attempt, after the kernel was out of memory.
    pause: Option<Sleep>,
}

impl Driver {
    /// Returns whether no operation is left and no handle exists that could begin one.
    fn is_done(&self) -> bool {
        Rc::strong_count(&self.shared) == 1 && self.shared.in_flight().borrow().len() == 0
    }

    /// Submits queued operations. Returns false if the kernel is out of memory. A timer then wakes
    /// this task for the next attempt.
    fn submit(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if self.is_paused(cx) {
            return Ok(false);
        }
        if self.shared.in_flight().borrow_mut().submit()? {
            return Ok(true);
        }
        self.pause = Some(sleep(RETRY_PAUSE));
        Ok(!self.is_paused(cx))
    }

    fn is_paused(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(pause) = &mut self.pause else { return false };
        if Pin::new(pause).poll(cx).is_ready() {
            self.pause = None;
        }
        self.pause.is_some()
    }
}

impl Future for Driver {
    type Output = ();

    /// Drives the ring:
    ///
    /// 1. Submit queued operations with one system call. The kernel carries out within that call
    ///    those that need not wait. Reap their completions.
    /// 2. If more operations can be submitted, yield, so that other tasks run first. If the kernel
    ///    is out of memory, a timer wakes this task for the next attempt.
    /// 3. Wait for the ring's descriptor. If an event reports that completions have arrived, reap
    ///    them and start again at step 1, because they have freed entries of the ring.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Store the waker first. An operation that a woken task begins below must wake this task
        // again.
        self.shared.set_driver_waker(Some(cx.waker().clone()));
        loop {
            let has_memory = match self.submit(cx) {
                Ok(has_memory) => has_memory,
                Err(error) => {
                    warn!("cannot submit to io_uring: {error}; all operations of this ring fail");
                    return Poll::Ready(());
                }
            };
            let shared = &self.shared;
            shared.reap();
            if has_memory && shared.in_flight().borrow_mut().can_submit() {
                budget::request_yield(cx);
                return Poll::Pending;
            }
            if self.is_done() {
                return Poll::Ready(());
            }
            // Calling wakers within the attempt is harmless, because a wake only queues a task.
            let arrived = shared.source.poll_read_with(cx, |_| match shared.reap() {
                0 => Err(ErrorKind::WouldBlock.into()),
                completions => Ok(completions),
            });
            match arrived {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Ends all operations, whether the driver has completed, panicked, or is dropped with the
/// executor. No task reaps completions afterwards, so none may be outstanding.
impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// The future of one operation. The operation itself is stored in [`InFlight`].
struct Completion {
    handle: Handle,
    /// The key of the operation, or `None` if its outcome has been taken.
    key: Option<usize>,
}

impl Future for Completion {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let key = self.key.expect("a future must not be polled after it has completed");
        let in_flight = self.handle.0.in_flight();
        // A separate statement, which ends the borrow.
        let taken = in_flight.borrow_mut().take(key);
        if let Some(outcome) = taken {
            self.key = None;
            return Poll::Ready(outcome);
        }
        let waker = cx.waker().clone();
        let previous = in_flight.borrow_mut().set_waker(key, waker);
        drop(previous);
        Poll::Pending
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.handle.0.abandon(key);
        }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Ring");
        debug.field("is_pool", &self.is_pool()).field("in_flight", &self.in_flight()).finish()
    }
}
