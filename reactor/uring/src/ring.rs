//! [`Ring`]: one more source of the reactor, and the task that drives it.
//!
//! The descriptor of a ring is readable when there are completions. So the reactor watches it as
//! it does a socket, and one task, the *driver*, waits for it: it tells the kernel what is queued,
//! takes the completions, and wakes whoever waits for each. Nothing here needs more of the reactor
//! and the executor than every program has: [`Async`] and [`executor::spawn`].
//!
//! Invariant: an operation that is queued or with the kernel has a driver that looks for it; and
//! when the driver is dropped, the kernel has nothing any more.

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

use crate::in_flight::{InFlight, PAUSE, Reaped};
use crate::operation::{Operation, Outcome};

/// A ring of io_uring, for files; or, where the kernel refuses one, the blocking pool.
///
/// Clones share one ring. It belongs to the executor in which it was made: its driver is a task
/// there, and ends when the last clone, the last [`File`](crate::File) and the last operation are
/// gone.
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
    way: Way,
}

#[derive(Clone)]
enum Way {
    Kernel(Handle),
    Pool,
}

impl Ring {
    /// Sets up a ring for so many operations at once, rounded up to a power of two.
    ///
    /// More than these may be begun: they wait in line. 64 are enough to keep a disk busy.
    ///
    /// # Errors
    ///
    /// `PermissionDenied`, where a sandbox or the system's administrator refuses io_uring;
    /// `Unsupported` on a kernel without it, or before Linux 5.11; `InvalidInput` for none, or for
    /// more than 32,768 entries.
    ///
    /// # Panics
    ///
    /// Outside of `block_on`.
    #[track_caller]
    pub fn new(entries: u32) -> io::Result<Ring> {
        let shared = Rc::new(Shared {
            source: Async::with_interest(Uring::new(entries)?, Interest::READABLE)?,
            driver: RefCell::new(None),
        });
        let driver = Driver { shared: shared.clone(), pause: None };
        drop(executor::spawn_named("io_uring", driver));
        Ok(Ring { way: Way::Kernel(Handle(shared)) })
    }

    /// A ring, or the blocking pool where the system refuses one: files behave the same.
    ///
    /// # Errors
    ///
    /// As [`new`](Ring::new), but for `PermissionDenied` and `Unsupported`.
    ///
    /// # Panics
    ///
    /// Outside of `block_on`.
    #[track_caller]
    pub fn or_pool(entries: u32) -> io::Result<Ring> {
        match Ring::new(entries) {
            Err(error) if is_refusal(&error) => Ok(Ring::pool()),
            made => made,
        }
    }

    /// No ring: every operation is a blocking call on a thread of the pool.
    pub fn pool() -> Ring {
        Ring { way: Way::Pool }
    }

    /// Whether this is the pool.
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
    ///         Err(error) => println!("io_uring is refused: {error}"),
    ///     }
    /// });
    /// ```
    pub fn is_pool(&self) -> bool {
        matches!(self.way, Way::Pool)
    }

    /// Operations that wait in line or are with the kernel, also those whose futures are gone.
    ///
    /// None, if this is the pool.
    pub fn in_flight(&self) -> usize {
        match &self.way {
            Way::Kernel(handle) => handle.0.in_flight().borrow().len(),
            Way::Pool => 0,
        }
    }

    /// Does an operation, and gives back what it owns.
    pub(crate) async fn run(&self, operation: Operation) -> Outcome {
        let handle = match &self.way {
            Way::Pool => return unblock(|| operation.block()).await,
            Way::Kernel(handle) => handle,
        };
        match handle.0.begin(operation) {
            Ok(key) => Completion { handle: handle.clone(), key: Some(key) }.await,
            Err(operation) => {
                budget::consume_budget().await;
                (operation, Err(io::Error::other("the executor of this ring is gone")))
            }
        }
    }
}

/// Whether the system refuses io_uring as such, and not only this ring.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported)
}

/// What the reactor watches.
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
    /// The waker of the driver, while it has nothing to do. Taken by the first that has: the others
    /// find it woken already.
    driver: RefCell<Option<Waker>>,
}

impl Shared {
    /// Borrowed for a statement at a time, and never while a waker is cloned, called or dropped.
    fn in_flight(&self) -> &RefCell<InFlight> {
        &self.source.get_ref().in_flight
    }

    /// Puts an operation in line; refused, and given back, if nobody would drive it.
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
        let driver = self.driver.take();
        driver.into_iter().for_each(Waker::wake);
    }

    fn set_driver(&self, waker: Option<Waker>) {
        let before = self.driver.replace(waker);
        drop(before);
    }

    /// Takes completions, and wakes those who wait for them. Returns how many there were.
    fn reap(&self) -> usize {
        let Reaped { completions, woken, .. } = self.in_flight().borrow_mut().reap();
        wake(woken);
        completions
    }

    /// Ends all that is in flight; see [`InFlight::close`].
    fn close(&self) {
        self.set_driver(None);
        let Reaped { woken, forgotten, .. } = self.in_flight().borrow_mut().close();
        wake(woken);
        if forgotten > 0 {
            warn!("the kernel keeps {forgotten} operations: their memory is never freed");
        }
    }
}

/// Wakes each of them. One that panics costs nobody else the wake: under an executor of somebody
/// else's, it is somebody else's code. The logger is too, so it comes last.
fn wake(woken: Vec<Waker>) {
    let wakes = woken.into_iter().map(|waker| catch_unwind(AssertUnwindSafe(|| waker.wake())));
    // Not dropped: the destructor of the panic's value might panic again.
    let panics = wakes.filter_map(Result::err).map(mem::forget).count();
    if panics > 0 {
        error!("{panics} wakers panicked");
    }
}

/// What keeps the driver going: it ends when there is none any more.
#[derive(Clone)]
struct Handle(Rc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        // This one and the driver's own. It is polled later, when this one is gone too.
        if Rc::strong_count(&self.0) == 2 {
            self.0.wake_driver();
        }
    }
}

/// The task that drives a ring.
struct Driver {
    shared: Rc<Shared>,
    /// Set when the kernel was short of memory, and it was not over when last looked at.
    pause: Option<Sleep>,
}

impl Driver {
    /// Nobody has a handle, so nothing can be begun; and nothing is left.
    fn is_done(&self) -> bool {
        Rc::strong_count(&self.shared) == 1 && self.shared.in_flight().borrow().len() == 0
    }

    /// Tells the kernel what is in line. Returns whether it would take more at once: not while it
    /// is short of memory, and then this task is woken when it is time to try again.
    fn submit(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if self.is_paused(cx) {
            return Ok(false);
        }
        if self.shared.in_flight().borrow_mut().submit()? {
            return Ok(true);
        }
        self.pause = Some(sleep(PAUSE));
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

    /// One poll:
    ///
    /// 1. Tell the kernel what is in line, all of it by one system call. What needs no wait is done
    ///    within that call, and its completions are there when it returns: take them.
    /// 2. If there is more in line, let the neighbours go first; or a while pass, if the kernel was
    ///    short of memory.
    /// 3. Wait for the ring's descriptor. An event says that completions have arrived: take them,
    ///    and begin anew, for they have made room.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // First, so that whoever is woken below, and begins something, wakes this task again.
        self.shared.set_driver(Some(cx.waker().clone()));
        loop {
            let takes_more = match self.submit(cx) {
                Ok(takes_more) => takes_more,
                Err(error) => {
                    warn!("io_uring takes no more operations: {error}");
                    return Poll::Ready(());
                }
            };
            let shared = &self.shared;
            shared.reap();
            if takes_more && shared.in_flight().borrow_mut().has_more() {
                budget::yield_to_neighbours(cx);
                return Poll::Pending;
            }
            if self.is_done() {
                return Poll::Ready(());
            }
            // To wake only queues, so it does no harm within the attempt.
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

/// However it ends: by itself, with the executor, or by a panic. After this nobody would look for
/// completions, so there must be none to come.
impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// The future of one operation, which itself lies with those in flight.
struct Completion {
    handle: Handle,
    /// `None`, when the outcome has been taken.
    key: Option<usize>,
}

impl Future for Completion {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let key = self.key.expect("a future is not polled after its end");
        let in_flight = self.handle.0.in_flight();
        // In a statement of its own, which ends the borrow.
        let taken = in_flight.borrow_mut().take(key);
        if let Some(outcome) = taken {
            self.key = None;
            return Poll::Ready(outcome);
        }
        let waker = cx.waker().clone();
        let before = in_flight.borrow_mut().set_waker(key, waker);
        drop(before);
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
