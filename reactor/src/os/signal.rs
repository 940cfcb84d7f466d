//! Signals, as a stream: [`Signal`] and [`ctrl_c`].
//!
//! The path is readiness. A signal handler may do next to nothing, and wakers are far beyond that.
//! So the handler, which is signal-hook's, sets a flag and writes one byte into a pipe; the other end
//! is a source like any other. This is known as the *self-pipe* pattern.
//!
//! The flag says that the signal has arrived, and the byte only ends the wait for events. If the
//! handler cannot write (e.g. the kernel has no memory for the byte), the signal is not lost: the
//! handler interrupts the wait of the thread that it runs on. That reactor then looks at the
//! flags of its signals, and notifies the reactors of other threads, which look at theirs.
//!
//! A handler, once there, stays until the process ends, because another one may have been
//! installed after it. So a signal that was watched once has lost its default effect for good: it
//! no longer kills, stops or dumps. `signal_hook::low_level::emulate_default_handler` has that
//! effect on demand.

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::panic::Location;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use log::debug;
use mio::Interest;
use mio::net::UnixStream;
use signal_hook::SigId;
use signal_hook::consts::{
    FORBIDDEN, SIGALRM, SIGBUS, SIGCHLD, SIGHUP, SIGINT, SIGIO, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1,
    SIGUSR2, SIGWINCH,
};
use signal_hook::flag;
use signal_hook::low_level::{pipe, unregister};

use crate::budget::consume_budget;
use crate::{Async, Notifier, Reactor};

/// A stream of the arrivals of one signal.
///
/// Each `Signal` has a pipe of its own: several may watch the same signal, each sees it, and
/// dropping one does not disturb the others. Arrivals between two polls are reported as one, as the
/// kernel itself does.
///
/// A signal that was watched once never kills the process again, even after this is dropped. A
/// signal that arrives while no `Signal` watches it is lost: a `Signal` that is made later does
/// not report it. To miss none, make the `Signal` first and keep it.
///
/// # Examples
///
/// ```
/// use reactor::signal::Signal;
/// use signal_hook::consts::SIGUSR1;
/// use signal_hook::low_level::raise;
///
/// # fn main() -> std::io::Result<()> {
/// executor::block_on(async {
///     let mut signal = Signal::new(SIGUSR1)?;
///     raise(SIGUSR1)?;
///     signal.recv().await
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct Signal {
    pipe: Async<UnixStream>,
    /// Set by the handler before it writes; cleared when the arrival is reported.
    arrived: Arc<AtomicBool>,
    /// The three actions of the handler.
    ids: [SigId; 3],
}

/// Whether some signal has arrived since the flags were last checked. Every handler sets it. All
/// signals share it, so that a reactor needs only one check before each wait.
static ANY_ARRIVED: AtomicBool = AtomicBool::new(false);

/// The signals of all threads. The lock is never held for longer than one statement.
static WATCHED: Mutex<Vec<Watched>> = Mutex::new(Vec::new());

struct Watched {
    arrived: Arc<AtomicBool>,
    notifier: Notifier,
}

impl Signal {
    /// Begins to watch a signal, by its number.
    ///
    /// The usual ones have functions of their own, e.g. [`terminate`].
    ///
    /// # Errors
    ///
    /// `InvalidInput` for what is no signal, and for signals that cannot be caught, SIGKILL and
    /// SIGSTOP, or must not be: SIGSEGV, SIGBUS, SIGILL and SIGFPE tell a thread of its own fault.
    /// Else what the operating system says.
    ///
    /// # Panics
    ///
    /// Outside of `block_on`.
    #[track_caller]
    pub fn new(signal: i32) -> io::Result<Signal> {
        // signal-hook panics for the signals that it forbids. SIGBUS is not among them, but std's
        // handler for it, which detects stack overflows, restores the default at its first arrival.
        if FORBIDDEN.contains(&signal) || signal == SIGBUS {
            let text = format!("signal {signal} cannot be caught");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let (ours, handlers) = UnixStream::pair()?;
        let pipe = Async::with_interest(ours, Interest::READABLE)?;
        let arrived = Arc::new(AtomicBool::new(false));
        // The handler runs its actions in this order, so the flags are set when the byte ends a
        // wait.
        let ids = [
            flag::register(signal, arrived.clone())?,
            flag::register(signal, &ANY_ARRIVED)?,
            // Non-blocking: a full pipe already ends the wait that the refused byte would end.
            pipe::register(signal, OwnedFd::from(handlers))?,
        ];
        let reactor = Reactor::current();
        reactor.watch_signal(pipe.source().key, arrived.clone());
        watched().push(Watched { arrived: arrived.clone(), notifier: reactor.notifier() });
        Ok(Signal { pipe, arrived, ids })
    }

    /// Waits for the next arrival.
    ///
    /// # Errors
    ///
    /// When the reactor is gone.
    ///
    /// # Cancel safety
    ///
    /// An arrival that was not returned is kept for the next call.
    pub async fn recv(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Polls for the next arrival: [`recv`](Signal::recv) for use in a `poll` function.
    ///
    /// # Errors
    ///
    /// As [`recv`](Signal::recv).
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::signal::user_defined2;
    /// use std::future::poll_fn;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// executor::block_on(async {
    ///     let mut signal = user_defined2()?;
    /// #   signal_hook::low_level::raise(signal_hook::consts::SIGUSR2)?;
    ///     poll_fn(|cx| signal.poll_recv(cx)).await
    /// })
    /// # }
    /// ```
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (pipe, arrived) = (self.pipe.get_ref(), &self.arrived);
        let arrivals = self.pipe.poll_read_as("signal", cx, || take_arrivals(pipe, arrived));
        let arrivals = ready!(arrivals)?;
        debug!(arrivals; "signal");
        Poll::Ready(Ok(()))
    }

    /// Tries `attempt`, and again after each arrival, until it no longer returns `WouldBlock`.
    ///
    /// The pipe is emptied before the attempt, so an arrival after that is a new edge.
    pub(crate) fn poll_with<T>(
        &self,
        operation: &'static str,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let pipe = self.pipe.get_ref();
        self.pipe.poll_read_as(operation, cx, || {
            // An error means that the signal has not arrived again.
            let _ = take_arrivals(pipe, &self.arrived);
            attempt()
        })
    }
}

/// Empties the pipe, then reports the arrivals that the flag stands for. The order matters:
/// a handler that runs in between sets the flag, and its byte only causes a spurious poll.
fn take_arrivals(mut pipe: &UnixStream, arrived: &AtomicBool) -> io::Result<usize> {
    let mut bytes = [0; 64];
    let mut arrivals = 0;
    while let Ok(more @ 1..) = pipe.read(&mut bytes) {
        arrivals += more;
    }
    match arrived.swap(false, Ordering::AcqRel) {
        true => Ok(arrivals.max(1)),
        false => Err(ErrorKind::WouldBlock.into()),
    }
}

/// Returns whether a handler has run since the last call, on any thread. If so, notifies each
/// reactor that watches an arrived signal, except the caller, whose notifier is `own`.
pub(crate) fn take_arrived(own: &Notifier) -> bool {
    // A plain load first, because this runs before each wait.
    if !ANY_ARRIVED.load(Ordering::Relaxed) || !ANY_ARRIVED.swap(false, Ordering::AcqRel) {
        return false;
    }
    let elsewhere = |watched: &&Watched| {
        watched.arrived.load(Ordering::Acquire) && !watched.notifier.is_same(own)
    };
    // Reentrancy: collect first, because `notify` logs a failure, and a logger is user code.
    let notifiers: Vec<Notifier> =
        watched().iter().filter(elsewhere).map(|watched| watched.notifier.clone()).collect();
    notifiers.iter().for_each(Notifier::notify);
    true
}

fn watched() -> MutexGuard<'static, Vec<Watched>> {
    // Nothing panics under the lock.
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stream for Signal {
    type Item = io::Result<()>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<()>>> {
        self.poll_recv(cx).map(Some)
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        for id in self.ids {
            unregister(id);
        }
        watched().retain(|watched| !Arc::ptr_eq(&watched.arrived, &self.arrived));
        if let Some(reactor) = self.pipe.source().reactor() {
            reactor.forget_signal(self.pipe.source().key);
        }
    }
}

/// Waits for Ctrl-C, that is SIGINT. From the first poll on it no longer kills the process.
///
/// # Errors
///
/// As [`Signal::new`].
///
/// # Panics
///
/// Outside of `block_on`.
///
/// # Cancel safety
///
/// A signal that arrives after the future was dropped is lost; [`Signal`] keeps them.
///
/// # Examples
///
/// ```
/// # use signal_hook::{consts::SIGINT, low_level::raise};
/// # fn main() -> std::io::Result<()> {
/// executor::block_on(async {
///     let interrupted = executor::spawn(reactor::signal::ctrl_c());
///     executor::yield_now().await; // It is polled, and watches the signal.
/// #   raise(SIGINT)?;
///     interrupted.await?
/// })
/// # }
/// ```
#[track_caller]
pub fn ctrl_c() -> impl Future<Output = io::Result<()>> {
    let caller = Location::caller();
    async move {
        drop(Reactor::current_for(caller));
        // Spend here, because a future that ends with an error of `new` never waits.
        consume_budget().await;
        Signal::new(SIGINT)?.recv().await
    }
}

/// Watches SIGTERM, by which `kill` and service managers ask a process to end.
///
/// # Errors
///
/// As [`Signal::new`].
///
/// # Panics
///
/// Panics outside of `block_on`.
///
/// # Examples
///
/// A server that ends on SIGTERM or SIGINT, and reloads its configuration on SIGHUP:
///
/// ```
/// use futures_lite::future::or;
/// use reactor::signal::{hangup, interrupt, terminate};
///
/// # fn main() -> std::io::Result<()> {
/// executor::block_on(async {
///     let (mut terminate, mut interrupt, mut hangup) = (terminate()?, interrupt()?, hangup()?);
///     drop(executor::spawn(async move {
///         while hangup.recv().await.is_ok() {
///             println!("reading the configuration");
///         }
///     }));
/// #   signal_hook::low_level::raise(signal_hook::consts::SIGTERM)?;
///     or(terminate.recv(), interrupt.recv()).await
/// })
/// # }
/// ```
#[track_caller]
pub fn terminate() -> io::Result<Signal> {
    Signal::new(SIGTERM)
}

/// Watches SIGINT, which Ctrl-C sends to the processes of a terminal.
///
/// # Errors
///
/// As [`Signal::new`].
///
/// # Panics
///
/// Panics outside of `block_on`.
#[track_caller]
pub fn interrupt() -> io::Result<Signal> {
    Signal::new(SIGINT)
}

/// Watches SIGHUP, which reports that the terminal is gone. A daemon usually reloads its
/// configuration.
///
/// # Errors
///
/// As [`Signal::new`].
///
/// # Panics
///
/// Panics outside of `block_on`.
#[track_caller]
pub fn hangup() -> io::Result<Signal> {
    Signal::new(SIGHUP)
}

/// Watches SIGQUIT, which Ctrl-\ sends to the processes of a terminal.
///
/// # Errors
///
/// As [`Signal::new`].
///
/// # Panics
///
/// Panics outside of `block_on`.
///
/// # Examples
///
/// ```
/// use reactor::signal;
///
/// # fn main() -> std::io::Result<()> {
/// # executor::block_on(async {
/// let for_terminals = [signal::quit()?, signal::window_change()?];
/// let for_programs = [signal::user_defined1()?, signal::user_defined2()?];
/// let from_the_kernel = [signal::child()?, signal::alarm()?, signal::pipe()?, signal::io()?];
/// # drop((for_terminals, for_programs, from_the_kernel));
/// # Ok(())
/// # })
/// # }
/// ```
#[track_caller]
pub fn quit() -> io::Result<Signal> {
    Signal::new(SIGQUIT)
}

/// Watches SIGUSR1, whose meaning is up to the program.
///
/// # Errors
///
/// As [`Signal::new`].
///
/// # Panics
///
/// Panics outside of `block_on`.
#[track_caller]
pub fn user_defined1() -> io::Result<Signal> {
    Signal::new(SIGUSR1)
}

/// Watches SIGUSR2, whose meaning is up to the program.
///
/// # Errors
///
/// As [`Signal::new`].
///
/// # Panics
///
/// Panics outside of `block_on`.
#[track_caller]
pub fn user_defined2() -> io::Result<Signal> {
    Signal::new(SIGUSR2)
}

/// Watches SIGCHLD, which reports that a child process has stopped, continued or ended.
///
/// # Errors
///
/// As [`Signal::new`].
///
/// # Panics
///
/// Panics outside of `block_on`.
#[track_caller]
pub fn child() -> io::Result<Signal> {
    Signal::new(SIGCHLD)
}

/// Watches SIGWINCH, which reports that the size of the terminal has changed.
///
/// # Errors
///
/// As [`Signal::new`].
///
/// # Panics
///
/// Panics outside of `block_on`.
#[track_caller]
pub fn window_change() -> io::Result<Signal> {
    Signal::new(SIGWINCH)
}

/// Watches SIGALRM, which the timers of `alarm` and `setitimer` send.
///
/// # Errors
///
/// As [`Signal::new`].
///
/// # Panics
///
/// Panics outside of `block_on`.
#[track_caller]
pub fn alarm() -> io::Result<Signal> {
    Signal::new(SIGALRM)
}

/// Watches SIGPIPE, which a write to a closed pipe or socket raises. Rust programs ignore it by
/// default.
///
/// # Errors
///
/// As [`Signal::new`].
///
/// # Panics
///
/// Panics outside of `block_on`.
#[track_caller]
pub fn pipe() -> io::Result<Signal> {
    Signal::new(SIGPIPE)
}

/// Watches SIGIO, which the kernel sends when a descriptor in `O_ASYNC` mode becomes ready.
///
/// # Errors
///
/// As [`Signal::new`].
///
/// # Panics
///
/// Panics outside of `block_on`.
#[track_caller]
pub fn io() -> io::Result<Signal> {
    Signal::new(SIGIO)
}
