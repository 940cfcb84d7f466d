//! A process that runs: [`Child`].

use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::process::{self, ExitStatus, Output};
use std::task::{Context, Poll, ready};

use futures_lite::AsyncReadExt;
use futures_lite::future::try_zip;
use log::warn;

use super::orphans;
use super::watch::Watch;
use crate::budget;
use crate::pipe::{Receiver, Sender};

/// The standard input of a child: what is written here, the child reads.
pub type ChildStdin = Sender;

/// The standard output of a child: what the child writes is read here.
pub type ChildStdout = Receiver;

/// The standard error of a child: what the child writes is read here.
pub type ChildStderr = Receiver;

/// A child process, made by [`Command::spawn`](super::Command::spawn).
///
/// Dropping it leaves the process running, unless
/// [`kill_on_drop`](super::Command::kill_on_drop) is set. In both cases its exit status is collected
/// when it ends, so it leaves no zombie.
///
/// # Examples
///
/// ```
/// use reactor::process::Command;
/// use reactor::time::timeout;
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// executor::block_on(async {
///     let mut child = Command::new("sleep").arg("60").spawn()?;
///     let waited = timeout(Duration::from_millis(1), child.wait()).await;
///     assert!(waited.is_err()); // It still runs, and can be waited for again.
///     assert!(child.id().is_some() && child.try_wait()?.is_none());
///     child.start_kill()?; // Or `kill`, which also waits.
///     let output = child.wait_with_output().await?;
///     assert!(!output.status.success() && output.stdout.is_empty());
///     # Command::new("sleep").arg("60").spawn()?.kill().await?;
///     Ok(())
/// })
/// # }
/// ```
pub struct Child {
    /// The pipe to its standard input, if the command asked for a pipe.
    pub stdin: Option<ChildStdin>,
    /// The pipe from its standard output, if the command asked for a pipe.
    pub stdout: Option<ChildStdout>,
    /// The pipe from its standard error, if the command asked for a pipe.
    pub stderr: Option<ChildStderr>,
    /// `None` only while the child is being dropped.
    process: Option<Process>,
    kill_on_drop: bool,
}

/// A child of std, and what reports its end.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) child: process::Child,
    /// `None` if the OS no longer knows the process, or refused to watch it.
    pub(super) watch: Option<Watch>,
    /// Whether the PID is no longer this child's. Set by the first `try_wait` that finds no
    /// running process.
    reaped: bool,
}

const THERE: &str = "the process is there until the child is dropped";

impl Child {
    /// Watches a child that has just been started, so that the OS cannot have reused its PID.
    #[track_caller]
    pub(super) fn new(mut std: process::Child, kill_on_drop: bool) -> io::Result<Child> {
        let (stdin, stdout, stderr) = (std.stdin.take(), std.stdout.take(), std.stderr.take());
        let process = Process { child: std, watch: None, reaped: false };
        // If a step below fails, this is dropped, and its process must not be left running.
        let mut child = Child {
            stdin: None,
            stdout: None,
            stderr: None,
            process: Some(process),
            kill_on_drop: true,
        };
        let process = child.process_mut();
        process.watch = Watch::new(&process.child)?;
        child.stdin = stdin.map(ChildStdin::try_from).transpose()?;
        child.stdout = stdout.map(ChildStdout::try_from).transpose()?;
        child.stderr = stderr.map(ChildStderr::try_from).transpose()?;
        child.kill_on_drop = kill_on_drop;
        Ok(child)
    }

    /// Returns the PID, as long as it belongs to this child.
    ///
    /// It is `None` after a wait has returned the exit status, because the OS may then give the PID
    /// to another process.
    pub fn id(&self) -> Option<u32> {
        let process = self.process.as_ref().filter(|process| !process.reaped);
        process.map(|process| process.child.id())
    }

    /// Waits until the process has ended, and returns its exit status.
    ///
    /// It closes the standard input first, because a child that waits for more input never ends.
    /// It may be called again, and then returns the same status.
    ///
    /// # Errors
    ///
    /// Returns ECHILD if the exit status is lost: the program ignores SIGCHLD, or other code has
    /// reaped the child. Returns `Other` if the process still runs and the reactor of this `Child`
    /// is gone, or is not the current reactor of the thread.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing but the standard input, which is closed by the first poll.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        poll_fn(|cx| self.process_mut().poll_wait(cx)).await
    }

    /// Returns the exit status if the process has ended, without waiting.
    ///
    /// It leaves the standard input open.
    ///
    /// # Errors
    ///
    /// Returns ECHILD if the exit status is lost; see [`wait`](Child::wait).
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process_mut().try_wait()
    }

    /// Sends SIGKILL to the process. Does nothing if it has ended.
    ///
    /// # Errors
    ///
    /// Returns EPERM for a process that changed its user.
    pub fn start_kill(&mut self) -> io::Result<()> {
        self.process_mut().kill()
    }

    /// Sends SIGKILL to the process, and waits until it has ended.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`start_kill`](Child::start_kill) and [`wait`](Child::wait).
    ///
    /// # Cancel safety
    ///
    /// The first poll sends the signal. After that, this is as cancel safe as
    /// [`wait`](Child::wait).
    pub async fn kill(&mut self) -> io::Result<()> {
        self.start_kill()?;
        self.wait().await?;
        Ok(())
    }

    /// Waits until the process has ended and its pipes are closed, and returns what it wrote.
    ///
    /// The pipes are read meanwhile, because a child that fills a pipe waits for its reader.
    /// A pipe that was taken out of its field, or never made, gives no bytes. A process that the
    /// child started can hold the pipes open beyond the child's end.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`wait`](Child::wait), or the error of reading from a pipe.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the child and all that was read.
    pub async fn wait_with_output(mut self) -> io::Result<Output> {
        let pipes = try_zip(read_to_end(self.stdout.take()), read_to_end(self.stderr.take()));
        let (status, (stdout, stderr)) = try_zip(self.wait(), pipes).await?;
        Ok(Output { status, stdout, stderr })
    }

    fn process_mut(&mut self) -> &mut Process {
        self.process.as_mut().expect(THERE)
    }
}

async fn read_to_end(pipe: Option<Receiver>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

impl Process {
    /// Waits for the end of the process: the operation is `waitpid`, which would block while the
    /// process runs.
    ///
    /// The call goes through std, which must learn that the PID is free.
    pub(super) fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<ExitStatus>> {
        let Some(watch) = self.watch.take() else {
            ready!(budget::spend(cx));
            let unwatched = || io::Error::other("no event reports the end of this process");
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
        // The only error is ECHILD, and it means that the PID is no longer ours.
        self.reaped |= !matches!(status, Ok(None));
        status
    }

    fn kill(&mut self) -> io::Result<()> {
        // By PID only if there is no descriptor: the PID of a child that the kernel or other code
        // has reaped may belong to another process.
        let killed = self.watch.as_ref().and_then(Watch::kill);
        killed.unwrap_or_else(|| self.child.kill())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        if !matches!(process.try_wait(), Ok(None)) {
            return;
        }
        // A process that cannot be killed runs on.
        if self.kill_on_drop
            && let Err(error) = process.kill()
        {
            warn!(pid = process.child.id(); "cannot kill a child that is dropped: {error}");
        }
        orphans::adopt(process);
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child").field("id", &self.id()).finish_non_exhaustive()
    }
}
