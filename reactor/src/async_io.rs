//! [`Async`]: an object that mio can watch, with operations that wait instead of blocking.
//!
//! Sockets, pipes and signals are thin modules over this type. Each names the system call, and
//! [`poll_io`](crate::source::Source::poll_io) does the waiting.

use std::any::type_name;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::task::{Context, Poll};

use log::warn;
use mio::{Interest, event};

use crate::reactor::{ALL, Reactor, Registration};
use crate::source::Direction;

/// A non-blocking object that stays registered with the reactor of its thread until it is dropped.
///
/// Use it for an object that this crate has no module for: a descriptor (see [`Async::from_fd`]),
/// or any [`mio::event::Source`]. This crate exports mio as [`reactor::mio`](crate::mio).
///
/// `Async` is neither `Send` nor `Sync`. The reactor delivers events on the same thread that uses
/// the object, so the readiness flags need no lock.
///
/// The idea comes from the type of the same name in async-io. But there is no `readable()` here:
/// only an operation that returns `WouldBlock` clears readiness. A caller that merely waits for
/// readiness performs none, so the flag would stay set and the caller would spin.
///
/// # Examples
///
/// ```
/// use reactor::Async;
/// use std::io::{Read, Write};
///
/// # fn main() -> std::io::Result<()> {
/// executor::block_on(async {
///     let (writer, reader) = mio::net::UnixStream::pair()?;
///     let (writer, reader) = (Async::new(writer)?, Async::new(reader)?);
///     writer.write_with(|mut stream| stream.write(b"x")).await?;
///     let mut byte = [0];
///     reader.read_with(|mut stream| stream.read(&mut byte)).await?;
///     assert_eq!(&byte, b"x");
///     Ok(())
/// })
/// # }
/// ```
pub struct Async<S: event::Source> {
    /// `None` only after `into_inner` or `release`, which consume `self`.
    io: Option<S>,
    source: Registration,
}

/// Why [`Async::io`] is never `None` where it is used.
const PRESENT: &str = "the object is present until `into_inner` consumes `self`";

impl<S: event::Source> Async<S> {
    /// Registers `io` with the current reactor, for reading and writing.
    ///
    /// The object must be in non-blocking mode.
    ///
    /// # Errors
    ///
    /// Returns the error of the `epoll_ctl` system call, e.g. `PermissionDenied` for a regular
    /// file, which epoll cannot watch.
    ///
    /// # Panics
    ///
    /// Panics outside of `block_on`.
    #[track_caller]
    pub fn new(io: S) -> io::Result<Async<S>> {
        Async::with_interest(io, ALL)
    }

    /// Registers `io` for some events only, e.g. for reading if it is the read end of a pipe.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`new`](Async::new).
    ///
    /// # Panics
    ///
    /// Panics outside of `block_on`.
    ///
    /// # Examples
    ///
    /// ```
    /// use mio::{Interest, net::UnixStream};
    /// use reactor::Async;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # executor::block_on(async {
    /// let (stream, _peer) = UnixStream::pair()?;
    /// let reader = Async::with_interest(stream, Interest::READABLE)?;
    /// assert!(reader.get_ref().take_error()?.is_none());
    /// let stream = reader.into_inner()?; // The reactor no longer watches it.
    /// # drop(stream);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[track_caller]
    pub fn with_interest(io: S, interest: Interest) -> io::Result<Async<S>> {
        Async::with_kind(io, interest, type_name::<S>())
    }

    /// Registers `io`. Log records and the task table show `kind` as its type.
    #[track_caller]
    pub(crate) fn with_kind(
        mut io: S,
        interest: Interest,
        kind: &'static str,
    ) -> io::Result<Async<S>> {
        let source = Reactor::current().register(&mut io, interest, kind)?;
        Ok(Async { io: Some(io), source })
    }

    /// Returns a reference to the object.
    pub fn get_ref(&self) -> &S {
        self.io.as_ref().expect(PRESENT)
    }

    /// Deregisters the object and returns it. It stays in non-blocking mode.
    ///
    /// # Errors
    ///
    /// Returns the error of the `epoll_ctl` system call, e.g. if other code has already closed the
    /// descriptor. The object is then dropped.
    pub fn into_inner(mut self) -> io::Result<S> {
        let mut io = self.io.take().expect(PRESENT);
        self.deregister(&mut io)?;
        Ok(io)
    }

    /// Deregisters the object and returns it, for conversions that cannot fail. Logs an error of
    /// the deregistration.
    pub(crate) fn release(mut self) -> S {
        let mut io = self.io.take().expect(PRESENT);
        self.deregister_or_warn(&mut io);
        io
    }

    /// Calls `operation` until it no longer returns `WouldBlock`, and returns its result.
    ///
    /// `operation` must try to read, and must not turn the reactor. The first call is immediate.
    /// After a `WouldBlock`, the next call follows an event that reports the object as readable.
    ///
    /// # Errors
    ///
    /// Returns the error of `operation`, except `WouldBlock`. `Interrupted` is returned only after
    /// a hundred retries. Returns `Other` if the operation would have to wait but the reactor of
    /// this object is gone or is not the current one of the thread.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no data: it completes as soon as `operation` has succeeded.
    pub async fn read_with<T>(
        &self,
        mut operation: impl FnMut(&S) -> io::Result<T>,
    ) -> io::Result<T> {
        poll_fn(|cx| self.poll_read_with(cx, &mut operation)).await
    }

    /// Calls `operation`, which must try to write, until it no longer returns `WouldBlock`.
    ///
    /// The counterpart of [`read_with`](Async::read_with), for events that report the object as
    /// writable.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`read_with`](Async::read_with).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no data: it completes as soon as `operation` has succeeded.
    pub async fn write_with<T>(
        &self,
        mut operation: impl FnMut(&S) -> io::Result<T>,
    ) -> io::Result<T> {
        poll_fn(|cx| self.poll_write_with(cx, &mut operation)).await
    }

    /// [`read_with`](Async::read_with) as a `poll` function.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`read_with`](Async::read_with).
    ///
    /// # Examples
    ///
    /// ```
    /// use mio::net::UnixStream;
    /// use reactor::{Async, io};
    /// use std::io::{Read, Write};
    /// use std::task::{Context, Poll};
    ///
    /// fn poll_read(io: &Async<UnixStream>, cx: &mut Context<'_>) -> Poll<io::Result<u8>> {
    ///     let mut byte = [0];
    ///     let read = io.poll_read_with(cx, |mut stream| stream.read_exact(&mut byte));
    ///     read.map_ok(|()| byte[0])
    /// }
    ///
    /// fn poll_write(io: &Async<UnixStream>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    ///     io.poll_write_with(cx, |mut stream| stream.write(b"x"))
    /// }
    /// # use std::future::poll_fn;
    /// # fn main() -> io::Result<()> {
    /// # executor::block_on(async {
    /// # let (writer, reader) = UnixStream::pair()?;
    /// # let (writer, reader) = (Async::new(writer)?, Async::new(reader)?);
    /// # assert_eq!(poll_fn(|cx| poll_write(&writer, cx)).await?, 1);
    /// # assert_eq!(poll_fn(|cx| poll_read(&reader, cx)).await?, b'x');
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn poll_read_with<T>(
        &self,
        cx: &mut Context<'_>,
        mut operation: impl FnMut(&S) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        self.poll_read_as("read_with", cx, || operation(self.get_ref()))
    }

    /// [`write_with`](Async::write_with) as a `poll` function.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`read_with`](Async::read_with).
    pub fn poll_write_with<T>(
        &self,
        cx: &mut Context<'_>,
        mut operation: impl FnMut(&S) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        self.poll_write_as("write_with", cx, || operation(self.get_ref()))
    }

    /// Polls a read. `operation` is the name of the system call in log records.
    pub(crate) fn poll_read_as<T>(
        &self,
        operation: &'static str,
        cx: &mut Context<'_>,
        attempt: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        self.source.poll_operation(Direction::Read, operation, cx, attempt)
    }

    /// Polls a write. `operation` is the name of the system call in log records.
    pub(crate) fn poll_write_as<T>(
        &self,
        operation: &'static str,
        cx: &mut Context<'_>,
        attempt: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        self.source.poll_operation(Direction::Write, operation, cx, attempt)
    }

    /// Returns the registration of this object, e.g. for `poll_transfer` of a TCP stream.
    pub(crate) fn source(&self) -> &Registration {
        &self.source
    }

    fn deregister_or_warn(&self, io: &mut S) {
        if let Err(error) = self.deregister(io) {
            warn!(source = self.source.key; "cannot deregister: {error}");
        }
    }

    fn deregister(&self, io: &mut S) -> io::Result<()> {
        match self.source.reactor() {
            Some(reactor) => reactor.deregister(io, self.source.key),
            // The reactor is gone, and has closed its epoll instance.
            None => Ok(()),
        }
    }
}

/// Deregisters the object before it closes its descriptor. The source frees its key after that.
impl<S: event::Source> Drop for Async<S> {
    fn drop(&mut self) {
        let Some(mut io) = self.io.take() else { return };
        self.deregister_or_warn(&mut io);
    }
}

impl<S: event::Source + AsFd> AsFd for Async<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get_ref().as_fd()
    }
}

impl<S: event::Source + AsFd> AsRawFd for Async<S> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl<S: event::Source + fmt::Debug> fmt::Debug for Async<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Async").field("io", &self.io).field("source", &self.source.key).finish()
    }
}
