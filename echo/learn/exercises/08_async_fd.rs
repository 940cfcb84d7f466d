//! Exercise 8: an `AsyncFd` for any descriptor, and a watcher of a folder on top of it. The task is
//! in section 8 of the README of this folder.
//!
//! ```text
//! cargo run --example exercise -- 8
//! ```

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use executor::yield_now;
use rustix::fs::inotify::{CreateFlags, Event, Reader, WatchFlags, add_watch, init};

/// A descriptor in non-blocking mode that tasks can wait for.
pub(crate) struct AsyncFd {
    fd: OwnedFd,
}

impl AsyncFd {
    /// Takes a descriptor, which must be in non-blocking mode.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<AsyncFd> {
        Ok(AsyncFd { fd })
    }

    /// Calls `attempt` until it returns anything other than `WouldBlock`.
    pub(crate) async fn read_with<T>(
        &self,
        mut attempt: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match attempt(self.fd.as_fd()) {
                // Wrong: a busy loop, which uses a whole processor.
                Err(error) if error.kind() == ErrorKind::WouldBlock => yield_now().await,
                result => return result,
            }
        }
    }
}

/// Reports the files that are created in a folder.
pub(crate) struct Watcher {
    inotify: AsyncFd,
}

impl Watcher {
    pub(crate) fn new(folder: &Path) -> io::Result<Watcher> {
        let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        add_watch(&inotify, folder, WatchFlags::CREATE)?;
        Ok(Watcher { inotify: AsyncFd::new(inotify)? })
    }

    /// Waits for the next file, and returns its name.
    pub(crate) async fn created(&mut self) -> io::Result<String> {
        let read = |fd: BorrowedFd<'_>| {
            // The kernel writes as many events into the buffer as are there.
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut events = Reader::new(fd, &mut buffer);
            Ok(name(&events.next()?))
        };
        self.inotify.read_with(read).await
    }
}

fn name(event: &Event<'_>) -> String {
    event.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[path = "checks/08_async_fd.rs"]
pub(crate) mod check;
