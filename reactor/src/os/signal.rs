//! Signals as a stream: [`Signal`] and [`ctrl_c`].
//!
//! A signal handler may call only a few functions, and a waker is not one of them. So the handler,
//! which comes from signal-hook, writes one byte into a pipe. The other end of the pipe is a source
//! like any other, so a signal becomes an event. This is the *self-pipe* pattern.
//!
//! A handler cannot report that its write failed, so only a full pipe may make the write fail: the
//! bytes in the pipe then end the wait. The only other cause would be that the kernel has no memory
//! for the byte, as can happen with a socket. [`Signal::new`] rules this out, because it makes the
//! kernel allocate the memory of the pipe.
//!
//! A handler stays installed until the process ends, because another handler may have been
//! installed after it. So a signal that was watched once permanently loses its default effect: it
//! no longer kills or stops the process, or dumps core.
//! `signal_hook::low_level::emulate_default_handler` causes that effect on demand.

use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use log::debug;
use mio::Interest;
use mio::unix::pipe::{self as mio_pipe, Receiver, Sender};
use rustix::io::{read, retry_on_intr};
use signal_hook::SigId;
use signal_hook::consts::{
    FORBIDDEN, SIGALRM, SIGBUS, SIGCHLD, SIGHUP, SIGINT, SIGIO, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1,
    SIGUSR2, SIGWINCH,
};
use signal_hook::low_level::{pipe, unregister};

use crate::budget::consume_budget;
use crate::{Async, Reactor};

/// A stream of the arrivals of one signal.
///
/// Each `Signal` has its own pipe. So several can watch the same signal, each of them reports it,
/// and dropping one does not affect the others. Several arrivals between two polls are reported as
/// one, because the kernel also merges pending signals.
///
/// A signal that was watched once never kills the process again, even after the `Signal` is
/// dropped. A signal that arrives while no `Signal` watches it is lost: a `Signal` that is created
/// later does not report it. To miss none, create the `Signal` first and keep it.
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
    pipe: Async<Receiver>,
    /// Identifies the handler's action, which writes a byte.
    id: SigId,
}

impl Signal {
    /// Begins to watch a signal, which is given by its number.
    ///
    /// The common signals have functions of their own, e.g. [`terminate`].
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if `signal` is not the number of a signal, and for SIGKILL and
    /// SIGSTOP, which cannot be caught. Also returns `InvalidInput` for SIGSEGV, SIGBUS, SIGILL and
    /// SIGFPE, because these report a fault of the thread itself. Returns any other error of the
    /// `pipe2`, `write`, `epoll_ctl` or `sigaction` system call.
    ///
    /// # Panics
    ///
    /// Panics outside of `block_on`.
    #[track_caller]
    pub fn new(signal: i32) -> io::Result<Signal> {
        // signal-hook panics for the signals that it forbids. It does not forbid SIGBUS, but std
        // handles SIGBUS to detect stack overflows. That handler restores the default action when
        // the signal first arrives.
        if FORBIDDEN.contains(&signal) || signal == SIGBUS {
            let text = format!("signal {signal} cannot be caught");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let (handlers, ours) = mio_pipe::new()?;
        allocate(&handlers, &ours)?;
        let pipe = Async::with_interest(ours, Interest::READABLE)?;
        let id = pipe::register(signal, OwnedFd::from(handlers))?;
        Ok(Signal { pipe, id })
    }

    /// Waits for the next arrival.
    ///
    /// # Errors
    ///
    /// Returns `Other` if the signal's reactor is gone or is not the current one of the thread.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no arrival: the next call returns it.
    pub async fn recv(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// [`recv`](Signal::recv) as a `poll` function.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`recv`](Signal::recv).
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
        let pipe = self.pipe.get_ref();
        let arrivals = ready!(self.pipe.poll_read_as("signal", cx, || take_arrivals(pipe)))?;
        debug!(arrivals; "signal");
        Poll::Ready(Ok(()))
    }

    /// Calls `attempt`, and again after each arrival, until it no longer returns `WouldBlock`.
    ///
    /// Each call empties the pipe before the attempt, so epoll reports a later arrival as a new
    /// edge.
    pub(crate) fn poll_with<T>(
        &self,
        operation: &'static str,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let pipe = self.pipe.get_ref();
        self.pipe.poll_read_as(operation, cx, || {
            // An error only means that the signal has not arrived again.
            let _ = take_arrivals(pipe);
            attempt()
        })
    }
}

/// Makes the kernel allocate the memory for a byte in the pipe. Linux allocates it at the first
/// write, and keeps it after the byte has been read.
fn allocate(mut handlers: &Sender, mut ours: &Receiver) -> io::Result<()> {
    handlers.write_all(b"X")?;
    ours.read_exact(&mut [0])
}

/// Empties the pipe. Returns the number of arrivals, or `WouldBlock` if the pipe was empty.
fn take_arrivals(pipe: &Receiver) -> io::Result<usize> {
    let mut bytes = [0; 64];
    let mut read = || retry_on_intr(|| read(pipe, &mut bytes));
    let mut arrivals = read()?;
    while let Ok(more @ 1..) = read() {
        arrivals += more;
    }
    Ok(arrivals)
}

impl Stream for Signal {
    type Item = io::Result<()>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<()>>> {
        self.poll_recv(cx).map(Some)
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        // `unregister` waits for handlers that run on other threads. Otherwise a handler could
        // write to the pipe after its read end has been closed, which would raise SIGPIPE.
        unregister(self.id);
    }
}

/// Waits for Ctrl-C, i.e. SIGINT. From the first poll on, SIGINT no longer kills the process.
///
/// # Errors
///
/// Returns the same errors as [`Signal::new`].
///
/// # Panics
///
/// Panics outside of `block_on`.
///
/// # Cancel safety
///
/// A signal that arrives after the future has been dropped is lost. Use a [`Signal`] to miss none.
///
/// # Examples
///
/// ```
/// # use signal_hook::{consts::SIGINT, low_level::raise};
/// # fn main() -> std::io::Result<()> {
/// executor::block_on(async {
///     let interrupted = executor::spawn(reactor::signal::ctrl_c());
///     executor::yield_now().await; // The first poll begins to watch SIGINT.
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
        // Spend budget here: if `new` returns an error, the future completes without waiting.
        consume_budget().await;
        Signal::new(SIGINT)?.recv().await
    }
}

/// Watches SIGTERM, with which `kill` and service managers ask a process to terminate.
///
/// # Errors
///
/// Returns the same errors as [`Signal::new`].
///
/// # Panics
///
/// Panics outside of `block_on`.
///
/// # Examples
///
/// A server that terminates on SIGTERM or SIGINT, and reloads its configuration on SIGHUP:
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

/// Watches SIGINT, which Ctrl-C sends to the foreground processes of a terminal.
///
/// # Errors
///
/// Returns the same errors as [`Signal::new`].
///
/// # Panics
///
/// Panics outside of `block_on`.
#[track_caller]
pub fn interrupt() -> io::Result<Signal> {
    Signal::new(SIGINT)
}

/// Watches SIGHUP, which reports that the terminal has been closed. A daemon has no terminal, and
/// usually reloads its configuration on this signal.
///
/// # Errors
///
/// Returns the same errors as [`Signal::new`].
///
/// # Panics
///
/// Panics outside of `block_on`.
#[track_caller]
pub fn hangup() -> io::Result<Signal> {
    Signal::new(SIGHUP)
}

/// Watches SIGQUIT, which Ctrl-\ sends to the foreground processes of a terminal.
///
/// # Errors
///
/// Returns the same errors as [`Signal::new`].
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
/// Returns the same errors as [`Signal::new`].
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
/// Returns the same errors as [`Signal::new`].
///
/// # Panics
///
/// Panics outside of `block_on`.
#[track_caller]
pub fn user_defined2() -> io::Result<Signal> {
    Signal::new(SIGUSR2)
}

/// Watches SIGCHLD, which reports that a child process has stopped, continued or terminated.
///
/// # Errors
///
/// Returns the same errors as [`Signal::new`].
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
/// Returns the same errors as [`Signal::new`].
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
/// Returns the same errors as [`Signal::new`].
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
/// Returns the same errors as [`Signal::new`].
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
/// Returns the same errors as [`Signal::new`].
///
/// # Panics
///
/// Panics outside of `block_on`.
#[track_caller]
pub fn io() -> io::Result<Signal> {
    Signal::new(SIGIO)
}
