//! Exercise 2: a oneshot channel between threads. The task is in section 2 of the README of this
//! folder.
//!
//! ```text
//! cargo run --example exercise -- 2
//! ```

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::lock::Mutex;

/// Sends one value, from any thread.
pub(crate) struct Sender<T> {
    value: Arc<Mutex<Option<T>>>,
}

/// Waits for the value. The future may be polled by another thread than the one that sends.
pub(crate) struct Receiver<T> {
    value: Arc<Mutex<Option<T>>>,
}

/// The sender was dropped without sending a value.
#[derive(Debug, PartialEq)]
pub(crate) struct Closed;

/// Returns the two ends of a new channel.
pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let value = Arc::new(Mutex::new(None));
    (Sender { value: value.clone() }, Receiver { value })
}

impl<T> Sender<T> {
    /// Sends the value.
    pub(crate) fn send(self, value: T) {
        *self.value.lock() = Some(value);
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Closed>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.value.lock().take() {
            Some(value) => Poll::Ready(Ok(value)),
            None => Poll::Pending,
        }
    }
}

#[path = "checks/02_oneshot.rs"]
pub(crate) mod check;
