//! [`Descriptor`]: a file descriptor as an object that the reactor can watch.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, event};
use rustix::io::ioctl_fionbio;

use crate::Async;
use crate::reactor::ALL;

/// A file descriptor, or any object that has one, in an [`Async`]; see [`Async::from_fd`].
///
/// The inner object decides when the descriptor is closed: an `OwnedFd` closes it when it is
/// dropped, a `BorrowedFd` never does. `Async` deregisters the descriptor first.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor<T>(pub T);

impl<T: AsFd> Async<Descriptor<T>> {
    /// Registers a descriptor with the current reactor, for reading and writing.
    ///
    /// Sets the descriptor to non-blocking mode. This affects all processes and descriptors that
    /// share the open file.
    ///
    /// # Errors
    ///
    /// Returns `PermissionDenied` for a regular file, which epoll cannot watch, and `AlreadyExists`
    /// if the descriptor is already registered. Returns any other error of the `ioctl` or
    /// `epoll_ctl` system call.
    ///
    /// # Panics
    ///
    /// Panics outside of `block_on`.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::Async;
    /// use rustix::event::{EventfdFlags, eventfd};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// executor::block_on(async {
    ///     let counter = Async::from_fd(eventfd(0, EventfdFlags::CLOEXEC)?)?;
    ///     let add = |fd: &_| Ok(rustix::io::write(fd, &7_u64.to_ne_bytes())?);
    ///     counter.write_with(add).await?;
    ///     let mut sum = [0; 8];
    ///     counter.read_with(|fd| Ok(rustix::io::read(fd, &mut sum)?)).await?;
    ///     assert_eq!(u64::from_ne_bytes(sum), 7);
    ///     let _fd = counter.into_inner()?.0;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn from_fd(fd: T) -> io::Result<Async<Descriptor<T>>> {
        Async::from_fd_with_interest(fd, ALL)
    }

    /// Registers a descriptor for some events only, e.g. for reading if it is not open for writing.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`from_fd`](Async::from_fd).
    ///
    /// # Panics
    ///
    /// Panics outside of `block_on`.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::Async;
    /// use reactor::mio::Interest;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// executor::block_on(async {
    ///     let (reader, writer) = std::io::pipe()?;
    ///     let reader = Async::from_fd_with_interest(reader, Interest::READABLE)?;
    ///     drop(writer);
    ///     let read = reader.read_with(|fd| Ok(rustix::io::read(fd, &mut [0; 8])?)).await?;
    ///     assert_eq!(read, 0);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn from_fd_with_interest(fd: T, interest: Interest) -> io::Result<Async<Descriptor<T>>> {
        ioctl_fionbio(&fd, true)?;
        Async::with_interest(Descriptor(fd), interest)
    }
}

impl<T: AsFd> AsFd for Descriptor<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl<T: AsFd> Descriptor<T> {
    /// Calls `f` with the descriptor as a mio source, which does not close it.
    fn with_source<R>(&self, f: impl FnOnce(&mut SourceFd<'_>) -> R) -> R {
        f(&mut SourceFd(&self.as_fd().as_raw_fd()))
    }
}

impl<T: AsFd> event::Source for Descriptor<T> {
    fn register(&mut self, registry: &Registry, token: Token, kind: Interest) -> io::Result<()> {
        self.with_source(|source| source.register(registry, token, kind))
    }

    fn reregister(&mut self, registry: &Registry, token: Token, kind: Interest) -> io::Result<()> {
        self.with_source(|source| source.reregister(registry, token, kind))
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.with_source(|source| source.deregister(registry))
    }
}
