//! A process that a reactor watches: of a [`Child`](super::Child), or an orphan.

use std::io::{self, ErrorKind};
use std::process::{self, ExitStatus};
use std::task::{Context, Poll, ready};

use super::watch::Watch;
use crate::budget;

/// A child of std, and the source of the event that reports its exit.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) child: process::Child,
    /// `None` if the OS no longer knows the process, or if watching it failed.
    pub(super) watch: Option<Watch>,
    /// Whether the PID may belong to another process by now. Set by the first `try_wait` that finds
    /// no running process.
    pub(super) reaped: bool,
}

impl Process {
    /// Wraps a child that is not watched yet.
    pub(super) fn new(child: process::Child) -> Process {
        Process { child, watch: None, reaped: false }
    }

    /// Waits until the process has ended. The operation is `waitpid`, and "still running" counts as
    /// `WouldBlock`.
    ///
    /// The call goes through std's `Child`, which must not use the PID again after it was reaped.
    pub(super) fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<ExitStatus>> {
        let Some(watch) = self.watch.take() else {
            ready!(budget::spend(cx));
            let unwatched = || io::Error::other("cannot wait for a child that is not watched");
            return Poll::Ready(self.try_wait().and_then(|status| status.ok_or_else(unwatched)));
        };
        let waited = watch.poll(cx, || match self.try_wait()? {
            Some(status) => Ok(status),
            None => Err(ErrorKind::WouldBlock.into()),
        });
        self.watch = Some(watch);
        waited
    }

    pub(super) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait();
        // The only possible error is ECHILD, and it means that the PID is no longer this child's.
        self.reaped |= !matches!(status, Ok(None));
        status
    }

    pub(super) fn kill(&mut self) -> io::Result<()> {
        // Prefer the pidfd. If the kernel or other code has reaped the child, its PID may belong to
        // another process.
        let killed = self.watch.as_ref().and_then(Watch::kill);
        killed.unwrap_or_else(|| self.child.kill())
    }
}
