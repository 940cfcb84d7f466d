//! [`Command`]: starts child processes.

use std::ffi::OsStr;
use std::future::Future;
use std::io;
use std::path::Path;
use std::process::{self, ExitStatus, Output, Stdio};

use super::{Child, orphans};
use crate::Reactor;
use crate::budget::charge_error;

/// Starts processes, like [`std::process::Command`], but returns a [`Child`] that can be awaited.
///
/// # Examples
///
/// ```
/// use reactor::process::Command;
/// use std::process::Stdio;
///
/// # fn main() -> std::io::Result<()> {
/// executor::block_on(async {
///     let mut command = Command::new("sh");
///     command.args(["-c", "echo $0 $GREETING; pwd"]).arg("sh").current_dir("/");
///     command.env_clear().env("GREETING", "hello").envs([("NAME", "x")]).env_remove("NAME");
///     command.stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
///     let output = command.output().await?;
///     assert_eq!(output.stdout, b"sh hello\n/\n");
///     assert!(Command::new("true").status().await?.success());
///     let command: std::process::Command = command.into_std();
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct Command {
    std: process::Command,
    kill_on_drop: bool,
}

impl Command {
    /// Returns a command that starts `program`, without arguments.
    ///
    /// As in std, the child inherits the environment, the working directory and the standard
    /// streams.
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        process::Command::new(program).into()
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Command {
        self.std.arg(arg);
        self
    }

    /// Adds several arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Command {
        self.std.args(args);
        self
    }

    /// Sets a variable of the child's environment.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Command {
        self.std.env(key, value);
        self
    }

    /// Sets several variables of the child's environment.
    pub fn envs<K, V>(&mut self, vars: impl IntoIterator<Item = (K, V)>) -> &mut Command
    where
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.std.envs(vars);
        self
    }

    /// Removes a variable from the child's environment.
    pub fn env_remove(&mut self, key: impl AsRef<OsStr>) -> &mut Command {
        self.std.env_remove(key);
        self
    }

    /// Gives the child an empty environment. Variables can be set afterwards.
    pub fn env_clear(&mut self) -> &mut Command {
        self.std.env_clear();
        self
    }

    /// Sets the working directory of the child.
    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut Command {
        self.std.current_dir(dir);
        self
    }

    /// Sets the child's standard input. For a pipe in [`Child::stdin`], pass [`Stdio::piped`].
    pub fn stdin(&mut self, stdin: impl Into<Stdio>) -> &mut Command {
        self.std.stdin(stdin);
        self
    }

    /// Sets the child's standard output. For a pipe in [`Child::stdout`], pass [`Stdio::piped`].
    pub fn stdout(&mut self, stdout: impl Into<Stdio>) -> &mut Command {
        self.std.stdout(stdout);
        self
    }

    /// Sets the child's standard error. For a pipe in [`Child::stderr`], pass [`Stdio::piped`].
    pub fn stderr(&mut self, stderr: impl Into<Stdio>) -> &mut Command {
        self.std.stderr(stderr);
        self
    }

    /// Sets whether dropping the [`Child`] kills the process. By default the process continues to
    /// run.
    ///
    /// The setting also applies if the future of [`status`](Command::status) or
    /// [`output`](Command::output) is dropped, e.g. by a timeout.
    pub fn kill_on_drop(&mut self, kill_on_drop: bool) -> &mut Command {
        self.kill_on_drop = kill_on_drop;
        self
    }

    /// Starts the process.
    ///
    /// As in std, this blocks the thread until the child has called `exec`, usually for less than a
    /// millisecond.
    ///
    /// # Errors
    ///
    /// Returns the error of std's [`spawn`](process::Command::spawn). If the reactor cannot watch
    /// the child or its pipes, e.g. for lack of descriptors, kills the child and returns that
    /// error.
    ///
    /// # Panics
    ///
    /// Panics if called outside of `block_on`.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::io::{AsyncReadExt, AsyncWriteExt};
    /// use reactor::process::Command;
    /// use std::process::Stdio;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// executor::block_on(async {
    ///     let mut command = Command::new("tr");
    ///     command.args(["a-z", "A-Z"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    ///     let mut child = command.spawn()?;
    ///     let mut stdin = child.stdin.take().expect("it is piped");
    ///     stdin.write_all(b"hello").await?;
    ///     drop(stdin); // Closes the pipe, which ends the input of `tr`.
    ///     let output = child.wait_with_output().await?;
    ///     assert_eq!(output.stdout, b"HELLO");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn(&mut self) -> io::Result<Child> {
        // Panic before the process exists, not afterwards.
        drop(Reactor::current());
        orphans::reap_unwatched();
        Child::new(self.std.spawn()?, self.kill_on_drop)
    }

    /// Starts the process, and returns a future that waits for its exit status.
    ///
    /// The process starts in this call, not at the first poll. The future closes any pipes that the
    /// command asked for. To communicate with the child, use [`spawn`](Command::spawn).
    ///
    /// # Errors
    ///
    /// The future returns the errors of [`spawn`](Command::spawn) and [`Child::wait`].
    ///
    /// # Panics
    ///
    /// Panics if called outside of `block_on`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the child. [`kill_on_drop`](Command::kill_on_drop) determines
    /// whether that kills the process.
    #[track_caller]
    pub fn status(&mut self) -> impl Future<Output = io::Result<ExitStatus>> + use<> {
        let child = self.spawn();
        async move {
            let mut child = charge_error(child).await?;
            drop((child.stdin.take(), child.stdout.take(), child.stderr.take()));
            child.wait().await
        }
    }

    /// Starts the process, and returns a future that waits for its exit status and its output.
    ///
    /// The process starts in this call, not at the first poll. As in tokio, standard output and
    /// standard error become pipes even if the command set them otherwise. Standard input stays as
    /// it was set.
    ///
    /// # Errors
    ///
    /// The future returns the errors of [`spawn`](Command::spawn) and [`Child::wait_with_output`].
    ///
    /// # Panics
    ///
    /// Panics if called outside of `block_on`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the child. [`kill_on_drop`](Command::kill_on_drop) determines
    /// whether that kills the process.
    #[track_caller]
    pub fn output(&mut self) -> impl Future<Output = io::Result<Output>> + use<> {
        let child = self.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        async move { charge_error(child).await?.wait_with_output().await }
    }

    /// Returns the underlying command of std, e.g. to inspect its arguments.
    pub fn as_std(&self) -> &process::Command {
        &self.std
    }

    /// Returns the underlying command of std, e.g. to set options that have no method here.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::process::Command;
    /// use std::os::unix::process::CommandExt;
    ///
    /// let mut command = Command::new("sh");
    /// command.as_std_mut().arg0("shell").process_group(0);
    /// assert_eq!(command.as_std().get_program(), "sh");
    /// ```
    pub fn as_std_mut(&mut self) -> &mut process::Command {
        &mut self.std
    }

    /// Returns the underlying command of std. The setting of `kill_on_drop` is lost.
    pub fn into_std(self) -> process::Command {
        self.std
    }
}

impl From<process::Command> for Command {
    fn from(std: process::Command) -> Command {
        Command { std, kill_on_drop: false }
    }
}
