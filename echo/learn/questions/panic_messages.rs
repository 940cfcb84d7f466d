//! Panics that a program causes on purpose, to show what they say.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};

/// Prevents panics from being printed to standard error.
pub(crate) fn hide_panics() {
    set_hook(Box::new(|_| {}));
}

/// Calls `act`, and returns the message of its panic.
pub(crate) fn panic_message<T>(act: impl FnOnce() -> T) -> String {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(_) => "no panic".to_owned(),
        Err(panic) => message(&*panic),
    }
}

/// Returns the text that a panic carries.
pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let literal = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let formatted = || panic.downcast_ref::<String>().cloned();
    literal.or_else(formatted).unwrap_or_else(|| "a value that is not a text".to_owned())
}
