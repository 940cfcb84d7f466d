//! Child processes: [`Command`] and [`Child`], with std's names and tokio's shapes.
//!
//! The standard library starts the process; this module waits for it without a thread. Linux has a
//! descriptor for a process, a *pidfd*, which becomes readable when the process has ended. So the
//! wait is one more operation that goes through [`Async`](crate::Async): it tries `waitpid`, and
//! "still running" counts as `WouldBlock`. The standard streams of a child are our
//! [pipes](crate::pipe).
//!
//! Where the OS offers no pidfd (Linux before 5.3, a seccomp filter that refuses it, other systems),
//! each wait listens for SIGCHLD instead and tries again after each arrival. SIGCHLD then has a
//! handler, which stays until the process ends, and must not be blocked in all threads.
//!
//! # Who reaps a child
//!
//! A process that has ended stays a *zombie* until its parent asks for its exit status.
//! [`Child::wait`] and [`Child::try_wait`] ask. A [`Child`] that is dropped before that is handed
//! to its reactor, which asks when the process ends, so no zombie is left while the reactor turns.
//! If the reactor is dropped first, the next [`Command::spawn`] of any thread asks.
//!
//! Two settings of a program defeat all of this, and [`Child::wait`] then returns the error ECHILD:
//! SIGCHLD set to *ignore*, because the kernel then discards exit statuses, and code that reaps the
//! children of others with `waitpid(-1)`.
//!
//! # What does not port by changing imports
//!
//! - Options that [`Command`] does not offer are set on the command of std, which
//!   [`Command::as_std_mut`] returns: `uid`, `process_group`, `pre_exec` and all others.
//! - [`ChildStdin`], [`ChildStdout`] and [`ChildStderr`] are names for our pipes, not types of their
//!   own. To give one to another child, use [`Sender::into_blocking_fd`] or
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

pub use child::{Child, ChildStderr, ChildStdin, ChildStdout};
pub use command::Command;
