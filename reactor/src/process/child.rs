//! [`Child`]: a child process, its standard streams and its exit status.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::process::{self, ExitStatus, Output};

use futures_lite::AsyncReadExt;
use futures_lite::future::try_zip;
use log::warn;

use super::orphans;
use super::watch::Watch;
use super::watched::Process;
use crate::pipe::{Receiver, Sender};

/// The parent's end of the pipe to a child's standard input.
pub type ChildStdin = Sender;

/// The parent's end of the pipe from a child's standard output.
pub type ChildStdout = Receiver;

/// The parent's end of the pipe from a child's standard error.
pub type ChildStderr = Receiver;

/// A child process, made by [`Command::spawn`](super::Command::spawn).
///
/// Dropping a `Child` leaves the process running, unless
/// [`kill_on_drop`](super::Command::kill_on_drop) is set. In both cases the process is reaped when
/// it ends, so it does not remain a zombie; see the [module documentation](super).
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
///     assert!(waited.is_err()); // The child still runs. We can wait for it again.
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
    /// The pipe to the child's standard input, if the command asked for a pipe.
    pub stdin: Option<ChildStdin>,
    /// The pipe from the child's standard output, if the command asked for a pipe.
    pub stdout: Option<ChildStdout>,
    /// The pipe from the child's standard error, if the command asked for a pipe.
    pub stderr: Option<ChildStderr>,
    /// `None` only while the child is being dropped.
    process: Option<Process>,
    kill_on_drop: bool,
}

impl Child {
    /// Begins to watch a child of std. The child must have just been started, so that its PID
    /// cannot have been reused.
    #[track_caller]
    pub(super) fn new(mut std: process::Child, kill_on_drop: bool) -> io::Result<Child> {
        let (stdin, stdout, stderr) = (std.stdin.take(), std.stdout.take(), std.stderr.take());
        let process = Process::new(std);
        // If a step below fails, `child` is dropped, and its process must not continue to run.
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

    /// Returns the PID as long as it belongs to this child.
    ///
    /// Returns `None` after a wait has returned the exit status, because the OS may then give the
    /// PID to another process.
    pub fn id(&self) -> Option<u32> {
        let process = self.process.as_ref().filter(|process| !process.reaped);
        process.map(|process| process.child.id())
    }

    /// Waits until the process has ended, and returns its exit status.
    ///
    /// The first poll closes the child's standard input, because a child that waits for more input
    /// never ends. Further calls return the same status.
    ///
    /// # Errors
    ///
    /// Returns ECHILD if the exit status is lost, because the program ignores SIGCHLD or other code
    /// has reaped the child. Returns an error of kind `Other` if the process still runs and the
    /// reactor of this `Child` is gone, or is not the current reactor of the thread.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no exit status: call `wait` again. But the standard input stays
    /// closed.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        poll_fn(|cx| self.process_mut().poll_wait(cx)).await
    }

    /// Returns the exit status if the process has ended. Does not wait.
    ///
    /// Unlike [`wait`](Child::wait), it leaves the standard input open.
    ///
    /// # Errors
    ///
    /// Returns ECHILD if the exit status is lost; see [`wait`](Child::wait).
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process_mut().try_wait()
    }

    /// Sends SIGKILL to the process. Does nothing if the process has ended.
    ///
    /// # Errors
    ///
    /// Returns EPERM if the process has changed its user ID.
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
    /// The first poll sends the signal, which dropping the future does not undo. Call
    /// [`wait`](Child::wait) to get the exit status.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.start_kill()?;
        self.wait().await?;
        Ok(())
    }

    /// Waits until the process has ended and its pipes are closed, and returns its output.
    ///
    /// The pipes are read while the process runs, because a child that fills a pipe blocks until
    /// bytes are read from it. If a pipe was taken out of its field or was never made, its output
    /// is empty. A process that the child started can hold the pipes open after the child has
    /// ended.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`wait`](Child::wait), or the error of reading from a pipe.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the child and discards the bytes that were read.
    pub async fn wait_with_output(mut self) -> io::Result<Output> {
        let pipes = try_zip(read_to_end(self.stdout.take()), read_to_end(self.stderr.take()));
        let (status, (stdout, stderr)) = try_zip(self.wait(), pipes).await?;
        Ok(Output { status, stdout, stderr })
    }

    fn process_mut(&mut self) -> &mut Process {
        self.process.as_mut().expect("the process is present until the child is dropped")
    }
}

async fn read_to_end(pipe: Option<Receiver>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

impl Drop for Child {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        if !matches!(process.try_wait(), Ok(None)) {
            return;
        }
        // A process that cannot be killed continues to run.
        if self.kill_on_drop
            && let Err(error) = process.kill()
        {
            warn!(pid = process.child.id(); "cannot kill the process of a dropped child: {error}");
        }
        orphans::adopt(process);
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child").field("id", &self.id()).finish_non_exhaustive()
    }
}
