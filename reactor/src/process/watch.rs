//! The source of the event that reports a child's exit: a pidfd, or SIGCHLD.

use std::io;
use std::process;
use std::task::{Context, Poll};

#[cfg(target_os = "linux")]
use crate::Async;
use crate::signal::Signal;

/// The source whose event reports that a child has ended.
#[derive(Debug)]
pub(super) enum Watch {
    /// A descriptor of the process, readable when the process has ended.
    #[cfg(target_os = "linux")]
    Pidfd(Async<pidfd::Pidfd>),
    /// SIGCHLD, which arrives whenever any child of this program ends.
    Signal(Signal),
}

impl Watch {
    /// Begins to watch `child`, which must have just been started.
    ///
    /// Returns `None` if the OS no longer knows the process. That happens if this program ignores
    /// SIGCHLD: the kernel then reaps the process when it ends. Otherwise a child keeps its PID
    /// until this program reaps it, so the PID identifies the right process here.
    pub(super) fn new(child: &process::Child) -> io::Result<Option<Watch>> {
        #[cfg(target_os = "linux")]
        match pidfd::Pidfd::open(child) {
            Ok(pidfd) => return pidfd::watch(pidfd).map(Some),
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            // Typically ENOSYS or EPERM. If this program has run out of descriptors, the fallback
            // below returns that error.
            Err(_) => {}
        }
        let _ = child; // Avoids a warning on systems without a pidfd.
        Watch::signal().map(Some)
    }

    pub(super) fn signal() -> io::Result<Watch> {
        Signal::new(signal_hook::consts::SIGCHLD).map(Watch::Signal)
    }

    /// Calls `attempt` now and after each event, until it no longer returns `WouldBlock`.
    pub(super) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        attempt: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        match self {
            #[cfg(target_os = "linux")]
            Watch::Pidfd(pidfd) => pidfd.poll_read_as("waitpid", cx, attempt),
            Watch::Signal(signal) => signal.poll_with("waitpid", cx, attempt),
        }
    }

    /// Kills the process through its pidfd, which never refers to another process. Returns `None`
    /// if there is no pidfd, or if the OS refuses the call.
    pub(super) fn kill(&self) -> Option<io::Result<()>> {
        match self {
            #[cfg(target_os = "linux")]
            Watch::Pidfd(pidfd) => pidfd.get_ref().kill(),
            Watch::Signal(_) => None,
        }
    }
}

#[cfg(target_os = "linux")]
mod pidfd {
    use std::io;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::process;

    use mio::unix::SourceFd;
    use mio::{Interest, Registry, Token, event};
    use rustix::io::Errno;
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

    use super::Watch;
    use crate::Async;

    /// A pidfd: readable when the process has ended, and closed on exec.
    #[derive(Debug)]
    pub(crate) struct Pidfd(OwnedFd);

    impl Pidfd {
        /// Opens the pidfd of `child`.
        ///
        /// The flag `PIDFD_NONBLOCK` needs Linux 5.10 and is not needed here. It concerns only
        /// `waitid` on the pidfd, and the wait uses `waitpid` so that std gets the exit status.
        pub(super) fn open(child: &process::Child) -> Result<Pidfd, Errno> {
            pidfd_open(Pid::from_child(child), PidfdFlags::empty()).map(Pidfd)
        }

        pub(super) fn kill(&self) -> Option<io::Result<()>> {
            match pidfd_send_signal(&self.0, Signal::KILL) {
                // ESRCH: the process has ended and was reaped.
                Ok(()) | Err(Errno::SRCH) => Some(Ok(())),
                // A seccomp filter may refuse this system call and permit `kill`.
                Err(_) => None,
            }
        }
    }

    pub(super) fn watch(pidfd: Pidfd) -> io::Result<Watch> {
        Async::with_interest(pidfd, Interest::READABLE).map(Watch::Pidfd)
    }

    impl event::Source for Pidfd {
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
}
