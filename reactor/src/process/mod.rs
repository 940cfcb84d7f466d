//! Child processes: [`Command`] and [`Child`], with std's names and tokio's signatures.
//!
//! The standard library starts the process. This module waits for it without a thread. Linux has a
//! descriptor for a process, a *pidfd*, which becomes readable when the process has ended. So the
//! wait is one more operation that goes through [`Async`](crate::Async): it tries `waitpid`, and
//! "still running" counts as `WouldBlock`. The standard streams of a child are this crate's
//! [pipes](crate::pipe).
//!
//! Some systems have no pidfd: Linux before 5.3, a sandbox whose seccomp filter refuses it, and
//! systems other than Linux. There, each wait listens for SIGCHLD and retries whenever that signal
//! arrives. The handler of SIGCHLD then stays installed until the program ends, and at least one
//! thread must not block the signal.
//!
//! # Reaping
//!
//! A process that has ended remains a *zombie* until its parent *reaps* it, which means that the
//! parent gets the exit status from the OS. [`Child::wait`] and [`Child::try_wait`] do that. If a
//! [`Child`] is dropped before the process has ended, its reactor reaps the process in the turn
//! after the end. If the reactor is dropped before that, the first [`Command::spawn`] after the
//! end, on any thread, reaps the process.
//!
//! Two kinds of programs defeat this, and [`Child::wait`] then returns ECHILD. One ignores SIGCHLD,
//! so the kernel discards exit statuses. The other reaps all children with `waitpid(-1)`.
//!
//! # What does not port by changing imports
//!
//! - Options that have no method of [`Command`] (`uid`, `process_group`, `pre_exec` and others) are
//!   set on the command of std, which [`Command::as_std_mut`] returns.
//! - [`ChildStdin`], [`ChildStdout`] and [`ChildStderr`] are aliases of this crate's pipes, not
//!   distinct types. To give one to another child, use [`Sender::into_blocking_fd`] or
//!   [`Receiver::into_blocking_fd`], and `Stdio::from`.
//! - A [`Child`] is not `Send`, because it belongs to the reactor of its thread.
//! - Killing a child that has already ended is not an error, as in std.
//!
//! [`Sender::into_blocking_fd`]: crate::pipe::Sender::into_blocking_fd
//! [`Receiver::into_blocking_fd`]: crate::pipe::Receiver::into_blocking_fd

mod child;
mod command;
mod orphans;
mod watch;
mod watched;

pub use child::{Child, ChildStderr, ChildStdin, ChildStdout};
pub use command::Command;
