//! Panics of user code that no [`JoinHandle`](crate::JoinHandle) returns.
//!
//! A destructor, a waker or a function from another thread may panic when the executor calls it.
//! Such a panic must not end the loop, because the loop runs all other tasks too.

use std::any::Any;
use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

use log::error;

/// Calls user code. If it panics, logs that instead of propagating the panic. `what` names the
/// code.
pub(crate) fn catch_and_log(what: impl fmt::Display, user_code: impl FnOnce()) {
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
