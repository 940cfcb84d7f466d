//! [`JoinError`] says why a task has no output.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::{Mutex, PoisonError};

use crate::unwind::message;

/// The reason why a task has no output: it was cancelled or it panicked.
///
/// # Examples
///
/// ```
/// executor::block_on(async {
///     let task = executor::spawn(async { panic!("mine alone") });
///     let error = task.await.unwrap_err();
///     assert!(error.is_panic() && !error.is_cancelled());
///     assert_eq!(error.into_panic().downcast_ref(), Some(&"mine alone"));
/// });
/// ```
// Boxed to keep `Result<T, JoinError>` small, because the result shares the memory of the future.
pub struct JoinError(Box<Parts>);

struct Parts {
    cause: Cause,
    task: Described,
}

/// How the task ended.
pub(crate) enum Cause {
    Cancelled,
    /// The mutex makes the error `Sync`, so that it converts to `Box<dyn Error + Send + Sync>`.
    Panic(Mutex<Box<dyn Any + Send>>),
}

impl From<Box<dyn Any + Send>> for Cause {
    fn from(panic: Box<dyn Any + Send>) -> Cause {
        Cause::Panic(Mutex::new(panic))
    }
}

impl Cause {
    /// Returns the message of the panic; empty if there is none.
    pub(crate) fn message(&self) -> String {
        let Cause::Panic(panic) = self else { return String::new() };
        let panic = panic.lock().unwrap_or_else(PoisonError::into_inner);
        message(&**panic).to_owned()
    }
}

impl JoinError {
    pub(crate) fn new(task: Described, cause: Cause) -> JoinError {
        JoinError(Box::new(Parts { cause, task }))
    }

    /// Returns the error of a task that an executor dropped before it could start.
    pub(crate) fn not_started(task: Described) -> JoinError {
        JoinError(Box::new(Parts { cause: Cause::Cancelled, task }))
    }

    /// Returns whether the task was aborted, or dropped with its executor.
    ///
    /// Returns false if the destructor of the future then panicked: the error is that panic.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0.cause, Cause::Cancelled)
    }

    /// Returns whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.0.cause, Cause::Panic(_))
    }

    /// Returns the value that the task panicked with, for [`std::panic::resume_unwind`].
    ///
    /// # Panics
    ///
    /// Panics if the task was cancelled.
    #[track_caller]
    pub fn into_panic(self) -> Box<dyn Any + Send> {
        match self.0.cause {
            Cause::Panic(panic) => panic.into_inner().unwrap_or_else(PoisonError::into_inner),
            Cause::Cancelled => panic!("the task was cancelled, it did not panic"),
        }
    }

    /// Returns the value that the task panicked with, or this error if the task was cancelled.
    ///
    /// # Errors
    ///
    /// Returns the error itself if the task was cancelled.
    ///
    /// # Examples
    ///
    /// ```
    /// executor::block_on(async {
    ///     let task = executor::spawn(std::future::pending::<()>());
    ///     task.abort();
    ///     match task.await.unwrap_err().try_into_panic() {
    ///         Ok(panic) => std::panic::resume_unwind(panic),
    ///         Err(error) => assert!(error.is_cancelled()),
    ///     }
    /// });
    /// ```
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send>, JoinError> {
        if self.is_panic() { Ok(self.into_panic()) } else { Err(self) }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, ", self.0.task)?;
        match (self.is_cancelled(), &*self.0.cause.message()) {
            (true, _) => f.write_str("was cancelled"),
            (false, "") => f.write_str("panicked"),
            (false, message) => write!(f, "panicked: {message}"),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl Error for JoinError {}

impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> io::Error {
        io::Error::other(error)
    }
}

/// What identifies a task in messages: `task 1 "name", spawned at src/main.rs:1:1`.
///
/// It is a copy, because a later task may overwrite the slot.
#[derive(Clone, Copy)]
pub(crate) struct Described {
    /// `None` if another thread wanted to spawn the task, but it never started.
    pub(crate) id: Option<u64>,
    pub(crate) name: &'static str,
    pub(crate) location: &'static Location<'static>,
}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Described { id, name, location } = self;
        f.write_str("task")?;
        if let Some(id) = id {
            write!(f, " {id}")?;
        }
        if !name.is_empty() {
            write!(f, " \"{name}\"")?;
        }
        write!(f, ", spawned at {location}")
    }
}
