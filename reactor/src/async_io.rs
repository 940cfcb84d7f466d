//! [`Async`]: any object that mio can watch, with operations that wait instead of blocking.
//!
//! Sockets and signals are thin modules over this one type: each names the system call,
//! and [`poll_io`](crate::source::Source::poll_io) does the waiting.

use std::any::type_name;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::task::{Context, Poll};

use log::warn;
use mio::{Interest, event};

use crate::reactor::{ALL, Reactor};
use crate::source::{Registration, Source};

/// A non-blocking object, registered with the reactor of its thread for its whole life.
///
/// Use it for objects that this crate has no module for: any descriptor, with [`Async::from_fd`],
/// and any [`mio::event::Source`]. This crate exports mio as [`reactor::mio`](crate::mio).
///
/// It is neither `Send` nor `Sync`. Events are delivered on the thread of its reactor, where no
/// other thread can interfere, so plain flags without a lock are enough.
///
/// The idea is async-io's `Async`. But there is no `readable()` here: only an operation that
/// returns `WouldBlock` clears readiness. A caller that merely waits for readiness performs none,
/// so the flag would stay set and the caller would spin.
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
    /// Empty only after `into_inner`.
    io: Option<S>,
    source: Registration,
}

const TAKEN: &str = "the object is there until `into_inner` takes it with `self`";

impl<S: event::Source> Async<S> {
    /// Registers `io` with the current reactor, for reading and writing.
    ///
    /// The object must be in non-blocking mode.
    ///
    /// # Errors
    ///
    /// What the kernel says: `PermissionDenied` for regular files, which it cannot watch.
    ///
    /// # Panics
    ///
    /// Outside of `block_on`.
    #[track_caller]
    pub fn new(io: S) -> io::Result<Async<S>> {
        Async::with_interest(io, ALL)
    }

    /// Registers `io` for some events only: the end of a pipe that can just be read, say.
    ///
    /// # Errors
    ///
    /// As [`new`](Async::new).
    ///
    /// # Panics
    ///
    /// Outside of `block_on`.
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
    pub fn with_interest(mut io: S, interest: Interest) -> io::Result<Async<S>> {
        let source = Reactor::current().register(&mut io, interest, type_name::<S>())?;
        Ok(Async { io: Some(io), source })
    }

    /// The object itself.
    pub fn get_ref(&self) -> &S {
        self.io.as_ref().expect(TAKEN)
    }

    /// Deregisters the object and gives it back. It stays non-blocking.
    ///
    /// # Errors
    ///
    /// What the kernel says; a descriptor that was closed behind our back, for instance.
    pub fn into_inner(mut self) -> io::Result<S> {
        let mut io = self.io.take().expect(TAKEN);
        self.deregister(&mut io)?;
        Ok(io)
    }

    /// As [`into_inner`](Async::into_inner), but logs an error of the deregistration. Conversions
    /// that cannot fail use it.
    pub(crate) fn release(mut self) -> S {
        let mut io = self.io.take().expect(TAKEN);
        self.deregister_or_warn(&mut io);
        io
    }

    /// Waits until `operation` no longer answers `WouldBlock`, and returns what it says.
    ///
    /// `operation` must try to read, and must not turn the reactor. It is tried at once, and
    /// again when the kernel reports that there may be something to read.
    ///
    /// # Errors
    ///
    /// Returns the error of `operation`, except `WouldBlock`. `Interrupted` is returned only after
    /// a hundred retries. Returns `Other` if the operation would have to wait for a reactor that is
    /// gone, or that is not the current one of the thread.
    ///
    /// # Cancel safety
    ///
    /// An operation that moved data has also returned it: dropping the future loses nothing.
    pub async fn read_with<T>(
        &self,
        mut operation: impl FnMut(&S) -> io::Result<T>,
    ) -> io::Result<T> {
        poll_fn(|cx| self.poll_read_with(cx, &mut operation)).await
    }

    /// Waits until `operation`, which must try to write, no longer answers `WouldBlock`.
    ///
    /// # Errors
    ///
    /// As [`read_with`](Async::read_with).
    ///
    /// # Cancel safety
    ///
    /// An operation that moved data has also returned: dropping the future loses nothing.
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
    /// As [`read_with`](Async::read_with).
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
    /// As [`read_with`](Async::read_with).
    pub fn poll_write_with<T>(
        &self,
        cx: &mut Context<'_>,
        mut operation: impl FnMut(&S) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        self.poll_write_as("write_with", cx, || operation(self.get_ref()))
    }

    /// A read under the name of its system call.
    pub(crate) fn poll_read_as<T>(
        &self,
        operation: &'static str,
        cx: &mut Context<'_>,
        attempt: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        self.source.poll_operation(&self.source.read, operation, cx, attempt)
    }

    /// A write under the name of its system call.
    pub(crate) fn poll_write_as<T>(
        &self,
        operation: &'static str,
        cx: &mut Context<'_>,
        attempt: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        self.source.poll_operation(&self.source.write, operation, cx, attempt)
    }

    /// The registration, for streams of bytes and their short transfers.
    pub(crate) fn source(&self) -> &Source {
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
            // The reactor is gone, and its epoll instance with it.
            None => Ok(()),
        }
    }
}

/// Deregisters first; then the object closes itself, and the source gives up its key.
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
