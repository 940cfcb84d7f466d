//! Panics of user code that no handle reports.
//!
//! A destructor, a waker or a function from another thread may panic while the executor calls it.
//! Such a panic must not end the loop, which polls all other tasks.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

use log::error;

/// Calls user code whose panic no task awaits. `what` names the code in the log.
pub(crate) fn contain(what: &str, user_code: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(user_code)) {
        forget(panic, what);
    }
}

/// Logs a panic, and leaks its payload: the payload's destructor might panic again.
pub(crate) fn forget(panic: Box<dyn Any + Send>, what: &str) {
    error!("{what} panicked");
    mem::forget(panic);
}
