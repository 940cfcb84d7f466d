//! Mistake: the poll waits for the value, and blocks its thread.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;

use crate::lock::Mutex;

/// Sends one value, from any thread.
pub(crate) struct Sender<T> {
    shared: Arc<Mutex<Shared<T>>>,
}

/// Waits for the value. The future may be polled by another thread than the one that sends.
pub(crate) struct Receiver<T> {
    shared: Arc<Mutex<Shared<T>>>,
}

/// What both ends share. One lock protects all three fields, so a poll that finds no value stores
/// its waker before the sender can look for one.
struct Shared<T> {
    value: Option<T>,
    is_closed: bool,
    waiter: Option<Waker>,
}

/// The sender was dropped without sending a value.
#[derive(Debug, PartialEq)]
pub(crate) struct Closed;

/// Returns the two ends of a new channel.
pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Mutex::new(Shared { value: None, is_closed: false, waiter: None }));
    (Sender { shared: shared.clone() }, Receiver { shared })
}

impl<T> Sender<T> {
    /// Sends the value.
    pub(crate) fn send(self, value: T) {
        self.shared.lock().value = Some(value);
        // `self` is dropped here, and `drop` wakes the receiver.
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waiter = {
            let mut shared = self.shared.lock();
            shared.is_closed = true;
            shared.waiter.take()
        };
        // The lock is released: the waker may poll the receiver, which locks again.
        if let Some(waker) = waiter {
            waker.wake();
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Closed>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut shared = self.shared.lock();
            if let Some(value) = shared.value.take() {
                return Poll::Ready(Ok(value));
            }
            if shared.is_closed {
                return Poll::Ready(Err(Closed));
            }
            drop(shared);
            thread::yield_now();
        }
    }
}

#[path = "../../exercises/checks/02_oneshot.rs"]
pub(crate) mod check;
