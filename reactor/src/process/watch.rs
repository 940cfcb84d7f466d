//! The source of the event that reports a child's exit: a pidfd, or SIGCHLD.

use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
use std::process;
use std::task::{Context, Poll};

#[cfg(target_os = "linux")]
use crate::signal::Signal;
#[cfg(target_os = "linux")]
use crate::{Async, Descriptor};

/// The source whose event reports that a child has ended.
#[derive(Debug)]
pub(super) enum Watch {
    /// A descriptor of the process, readable when the process has ended.
    #[cfg(target_os = "linux")]
    Pidfd(Async<Descriptor<OwnedFd>>),
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
        match pidfd::open(child) {
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
            Watch::Pidfd(pidfd) => pidfd::kill(&pidfd.get_ref().0),
            Watch::Signal(_) => None,
        }
    }
}

/// A pidfd: readable when the process has ended, and closed on exec.
#[cfg(target_os = "linux")]
mod pidfd {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::process;

    use mio::Interest;
    use rustix::io::Errno;
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

    use super::Watch;
    use crate::{Async, Descriptor};

    /// Opens the pidfd of `child`.
    ///
    /// The flag `PIDFD_NONBLOCK` needs Linux 5.10 and is not needed here. It concerns only `waitid`
    /// on the pidfd, and the wait uses `waitpid` so that std gets the exit status.
    pub(super) fn open(child: &process::Child) -> Result<OwnedFd, Errno> {
        pidfd_open(Pid::from_child(child), PidfdFlags::empty())
    }

    pub(super) fn watch(pidfd: OwnedFd) -> io::Result<Watch> {
        Async::with_kind(Descriptor(pidfd), Interest::READABLE, "Pidfd").map(Watch::Pidfd)
    }

    pub(super) fn kill(pidfd: &OwnedFd) -> Option<io::Result<()>> {
        match pidfd_send_signal(pidfd, Signal::KILL) {
            // ESRCH: the process has ended and was reaped.
            Ok(()) | Err(Errno::SRCH) => Some(Ok(())),
            // A seccomp filter may refuse this system call and permit `kill`.
            Err(_) => None,
        }
    }
}
