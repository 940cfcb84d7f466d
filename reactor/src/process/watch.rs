//! What reports that a child has ended: a pidfd, or SIGCHLD.

use std::io;
use std::process;
use std::task::{Context, Poll};

#[cfg(target_os = "linux")]
use crate::Async;
use crate::signal::Signal;

/// The source of events that ends the wait for a child.
#[derive(Debug)]
pub(super) enum Watch {
    /// A descriptor of this very process.
    #[cfg(target_os = "linux")]
    Pidfd(Async<pidfd::Pidfd>),
    /// SIGCHLD, which arrives for every child of this program.
    Signal(Signal),
}

impl Watch {
    /// Begins to watch `child`. Returns `None` if the OS no longer knows the process: this
    /// program ignores SIGCHLD, so the kernel has discarded the exit status.
    ///
    /// The PID cannot belong to another process here, because a child keeps its PID until it is
    /// reaped. Only the kernel's own reaping (see above) frees the PID earlier.
    pub(super) fn new(child: &process::Child) -> io::Result<Option<Watch>> {
        #[cfg(target_os = "linux")]
        match pidfd::Pidfd::open(child) {
            Ok(pidfd) => return pidfd::watch(pidfd).map(Some),
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            // Typically ENOSYS or EPERM. If the reason is a lack of descriptors, the next line
            // reports that.
            Err(_) => {}
        }
        let _ = child;
        Watch::signal().map(Some)
    }

    pub(super) fn signal() -> io::Result<Watch> {
        Signal::new(signal_hook::consts::SIGCHLD).map(Watch::Signal)
    }

    /// Tries `attempt`, and again after each event, until it no longer returns `WouldBlock`.
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

    /// Kills the process by its descriptor, which never names another process. Returns `None` if
    /// that is impossible here.
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

    /// A descriptor of a process. It is closed on exec, and readable when the process has ended.
    #[derive(Debug)]
    pub(crate) struct Pidfd(OwnedFd);

    impl Pidfd {
        /// Without `NONBLOCK`, which needs a newer kernel: only `waitid` on the descriptor would
        /// block, and we call `waitpid`, so that std learns of the exit status.
        pub(super) fn open(child: &process::Child) -> Result<Pidfd, Errno> {
            pidfd_open(Pid::from_child(child), PidfdFlags::empty()).map(Pidfd)
        }

        pub(super) fn kill(&self) -> Option<io::Result<()>> {
            match pidfd_send_signal(&self.0, Signal::KILL) {
                // It has already ended and been reaped.
                Ok(()) | Err(Errno::SRCH) => Some(Ok(())),
                // A filter may refuse this call and permit `kill`.
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
