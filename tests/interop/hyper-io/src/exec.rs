//! Tasks for hyper: [`LocalExec`].

use std::future::Future;

use hyper::rt::Executor;

/// Spawns hyper's own tasks on the executor of the current thread.
///
/// HTTP/2 needs it, because one connection carries many requests at a time. The futures need not be
/// `Send`.
///
/// # Panics
///
/// [`execute`](Executor::execute) panics if called outside `block_on`.
///
/// # Examples
///
/// ```
/// use hyper::server::conn::http2;
/// use reactor_hyper::LocalExec;
///
/// let http = http2::Builder::new(LocalExec);
/// # drop(http);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalExec;

impl<F> Executor<F> for LocalExec
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        // Dropping the handle detaches the task. hyper has channels of its own for the results.
        drop(executor::spawn(future));
    }
}
