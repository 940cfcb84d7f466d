//! Mistake: one read returns several events, and all but the first are dropped.

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, event};
use reactor::Async;
use rustix::fs::inotify::{CreateFlags, Event, Reader, WatchFlags, add_watch, init};

/// A descriptor in non-blocking mode that tasks can wait for.
pub(crate) struct AsyncFd {
    source: Async<Source>,
}

/// A descriptor as the reactor sees it. mio registers it by its number.
struct Source(OwnedFd);

impl event::Source for Source {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).register(registry, token, interests)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).deregister(registry)
    }
}

impl AsyncFd {
    /// Takes a descriptor, which must be in non-blocking mode.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<AsyncFd> {
        Ok(AsyncFd { source: Async::with_interest(Source(fd), Interest::READABLE)? })
    }

    /// Calls `attempt` until it returns anything other than `WouldBlock`.
    pub(crate) async fn read_with<T>(
        &self,
        mut attempt: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        self.source.read_with(|source| attempt(source.0.as_fd())).await
    }
}

/// Reports the files that are created in a folder.
pub(crate) struct Watcher {
    inotify: AsyncFd,
    /// The names that one read returned, and that `created` has not returned yet.
    names: VecDeque<String>,
}

impl Watcher {
    pub(crate) fn new(folder: &Path) -> io::Result<Watcher> {
        let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        add_watch(&inotify, folder, WatchFlags::CREATE)?;
        Ok(Watcher { inotify: AsyncFd::new(inotify)?, names: VecDeque::new() })
    }

    /// Waits for the next file, and returns its name.
    pub(crate) async fn created(&mut self) -> io::Result<String> {
        loop {
            // No `.await` stands between taking a name and returning it.
            if let Some(name) = self.names.pop_front() {
                return Ok(name);
            }
            let names = &mut self.names;
            let read = |fd: BorrowedFd<'_>| {
                // The kernel writes as many events into the buffer as are there.
                let mut buffer = [MaybeUninit::uninit(); 4096];
                let mut events = Reader::new(fd, &mut buffer);
                names.push_back(name(&events.next()?));
                Ok(())
            };
            self.inotify.read_with(read).await?;
        }
    }
}

fn name(event: &Event<'_>) -> String {
    event.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[path = "../../exercises/checks/08_async_fd.rs"]
pub(crate) mod check;
