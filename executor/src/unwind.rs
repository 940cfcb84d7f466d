//! Panics of user code that no [`JoinHandle`] returns.
//!
//! A destructor, a waker or a function from another thread may panic when the executor calls it.
//! Such a panic must not end the loop, because the loop runs all other tasks too.
//!
//! The public types are *unwind safe*: a program may use them after `catch_unwind` has caught a
//! panic of user code, for example of the future given to `block_on`. This holds because no
//! `RefCell` is borrowed and no invariant is broken while user code runs. Only data of the user,
//! such as an `Rc` that two tasks share, can be in the middle of a change.

use std::any::Any;
use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};

use log::error;

use crate::{AbortHandle, Enter, Executor, JoinHandle, JoinSet, TaskList};

// The compiler cannot see it, because these types contain cells. The others need no such line.
impl UnwindSafe for Executor {}
impl RefUnwindSafe for Executor {}
impl UnwindSafe for Enter<'_> {}
impl RefUnwindSafe for Enter<'_> {}
impl<T> UnwindSafe for JoinHandle<T> {}
impl<T> RefUnwindSafe for JoinHandle<T> {}
impl UnwindSafe for AbortHandle {}
impl RefUnwindSafe for AbortHandle {}
impl<T> UnwindSafe for JoinSet<T> {}
impl<T> RefUnwindSafe for JoinSet<T> {}
impl UnwindSafe for TaskList {}
impl RefUnwindSafe for TaskList {}

/// Calls user code. If it panics, logs that instead of propagating the panic. `what` names the
/// code.
pub(crate) fn contain(what: impl fmt::Display, user_code: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(user_code)) {
        log_panic(panic, what);
    }
}

/// Logs a panic and leaks its payload, because the payload's destructor could panic too.
///
/// Only the panic hook knows where the panic happened. The hook of std prints the location.
pub(crate) fn log_panic(panic: Box<dyn Any + Send>, what: impl fmt::Display) {
    error!("{what} panicked: {}", message(&*panic));
    mem::forget(panic);
}

/// Returns the message of a panic; empty if the payload is not a string.
pub(crate) fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or_default()
}
