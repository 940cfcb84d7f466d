//! The system calls of a small event loop, counted. Exercise 9 uses them.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{Timespec, epoll};

/// When epoll reports a socket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mode {
    /// Once, when it becomes ready.
    Edge,
    /// In each wait, as long as it is ready.
    Level,
}

/// How often each system call was made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Calls {
    pub(crate) control: usize,
    pub(crate) wait: usize,
    pub(crate) read: usize,
    pub(crate) write: usize,
}

impl Calls {
    pub(crate) fn total(&self) -> usize {
        self.control + self.wait + self.read + self.write
    }
}

/// An epoll instance that watches one socket.
pub(crate) struct Kernel {
    epoll: OwnedFd,
    mode: Mode,
    is_watching: bool,
    pub(crate) calls: Calls,
}

impl Kernel {
    pub(crate) fn new(mode: Mode) -> io::Result<Kernel> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Kernel { epoll, mode, is_watching: false, calls: Calls::default() })
    }

    /// Sets which readiness of the socket epoll reports from now on (`epoll_ctl`).
    pub(crate) fn watch(
        &mut self,
        stream: &UnixStream,
        readable: bool,
        writable: bool,
    ) -> io::Result<()> {
        self.calls.control += 1;
        let mut flags = epoll::EventFlags::empty();
        flags.set(epoll::EventFlags::IN, readable);
        flags.set(epoll::EventFlags::OUT, writable);
        flags.set(epoll::EventFlags::ET, self.mode == Mode::Edge);
        let data = epoll::EventData::new_u64(0);
        match self.is_watching {
            true => epoll::modify(&self.epoll, stream, data, flags)?,
            false => epoll::add(&self.epoll, stream, data, flags)?,
        }
        self.is_watching = true;
        Ok(())
    }

    /// Waits for an event (`epoll_wait`). Returns whether one came within `timeout`.
    pub(crate) fn wait(&mut self, timeout: Duration) -> io::Result<bool> {
        self.calls.wait += 1;
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        let mut events = Vec::with_capacity(8);
        let spare = rustix::buffer::spare_capacity(&mut events);
        Ok(epoll::wait(&self.epoll, spare, Some(&timeout))? > 0)
    }

    /// Reads from the socket (`read`).
    pub(crate) fn read(&mut self, stream: &UnixStream, buffer: &mut [u8]) -> io::Result<usize> {
        self.calls.read += 1;
        Ok(rustix::io::read(stream, buffer)?)
    }

    /// Writes to the socket (`write`).
    pub(crate) fn write(&mut self, stream: &UnixStream, bytes: &[u8]) -> io::Result<usize> {
        self.calls.write += 1;
        Ok(rustix::io::write(stream, bytes)?)
    }
}
