//! Wakers that record how they are used.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Polls a future once with the given waker.
pub fn poll<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

/// Counts wakeups.
#[derive(Debug, Default)]
pub struct Counter(AtomicUsize);

impl Counter {
    /// Returns a counter, and a waker that increments it.
    pub fn with_waker() -> (Arc<Counter>, Waker) {
        let counter = Arc::new(Counter::default());
        (counter.clone(), Waker::from(counter))
    }

    /// Returns the number of wakeups so far.
    pub fn wakes(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Returns a waker that calls a function. So it runs user code inside the runtime.
pub fn waker_fn(wake: impl Fn() + Send + Sync + 'static) -> Waker {
    struct Function<F>(F);

    impl<F: Fn() + Send + Sync> Wake for Function<F> {
        fn wake(self: Arc<Self>) {
            (self.0)();
        }

        fn wake_by_ref(self: &Arc<Self>) {
            (self.0)();
        }
    }

    Waker::from(Arc::new(Function(wake)))
}
