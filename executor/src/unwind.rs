//! Panics of user code that no handle reports.
//!
//! A destructor, a waker or a function from another thread may panic while the executor calls it.
//! Such a panic must not end the loop, which polls all other tasks.

use std::any::Any;
use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

use log::error;

/// Calls user code whose panic no task awaits. `what` names the code in the log.
pub(crate) fn contain(what: impl fmt::Display, user_code: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(user_code)) {
        forget(panic, what);
    }
}

/// Logs a panic, and leaks its payload: the payload's destructor might panic again.
///
/// Where it happened is known only to the panic hook, and std's hook prints it.
pub(crate) fn forget(panic: Box<dyn Any + Send>, what: impl fmt::Display) {
    error!("{what} panicked: {}", message(&*panic));
    mem::forget(panic);
}

/// Returns the text of a panic; empty, if its payload is no text.
pub(crate) fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or_default()
}
