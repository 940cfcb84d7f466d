//! The runtimes behind one trait, for the measurements of tasks, wakeups and timers.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::time::{Duration, Instant};

use monoio::time::TimeDriver;

/// One thread of a runtime, and what its users call.
///
/// Futures are `Send` because `tokio::spawn` requires it.
pub(crate) trait Runtime: Sized {
    /// Whether another thread may wake a task.
    const WAKES_FROM_THREADS: bool = true;

    fn new() -> io::Result<Self>;
    fn block_on<F: Future>(&self, future: F) -> F::Output;
    /// Spawns a task. The future that is returned waits for its output.
    fn spawn<F>(&self, future: F) -> impl Future<Output = F::Output> + 'static
    where
        F: Future<Output: Send + 'static> + Send + 'static;
    /// Spawns a task that sleeps until a deadline.
    fn spawn_sleep(&self, deadline: Instant) -> impl Future<Output = ()> + 'static;
    fn sleep(duration: Duration) -> impl Future;
    fn yield_now() -> impl Future<Output = ()> + Send;
}

pub(crate) struct Ours(executor::Executor);

impl Runtime for Ours {
    fn new() -> io::Result<Ours> {
        executor::Executor::new().map(Ours)
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    fn spawn<F>(&self, future: F) -> impl Future<Output = F::Output> + 'static
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let task = executor::spawn(future);
        async { task.await.expect("the task ends") }
    }

    fn spawn_sleep(&self, deadline: Instant) -> impl Future<Output = ()> + 'static {
        let task = executor::spawn(reactor::time::sleep_until(deadline));
        async { task.await.expect("the task ends") }
    }

    fn sleep(duration: Duration) -> impl Future {
        reactor::time::sleep(duration)
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        executor::yield_now()
    }
}

pub(crate) struct Tokio(tokio::runtime::Runtime);

fn tokio_with_one_thread() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

impl Runtime for Tokio {
    fn new() -> io::Result<Tokio> {
        tokio_with_one_thread().map(Tokio)
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    fn spawn<F>(&self, future: F) -> impl Future<Output = F::Output> + 'static
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let task = tokio::spawn(future);
        async { task.await.expect("the task ends") }
    }

    fn spawn_sleep(&self, deadline: Instant) -> impl Future<Output = ()> + 'static {
        let task = tokio::spawn(tokio::time::sleep_until(deadline.into()));
        async { task.await.expect("the task ends") }
    }

    fn sleep(duration: Duration) -> impl Future {
        tokio::time::sleep(duration)
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        tokio::task::yield_now()
    }
}

pub(crate) struct LocalSet(tokio::runtime::Runtime, tokio::task::LocalSet);

impl Runtime for LocalSet {
    fn new() -> io::Result<LocalSet> {
        Ok(LocalSet(tokio_with_one_thread()?, tokio::task::LocalSet::new()))
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.1.block_on(&self.0, future)
    }

    fn spawn<F>(&self, future: F) -> impl Future<Output = F::Output> + 'static
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let task = tokio::task::spawn_local(future);
        async { task.await.expect("the task ends") }
    }

    fn spawn_sleep(&self, deadline: Instant) -> impl Future<Output = ()> + 'static {
        let task = tokio::task::spawn_local(tokio::time::sleep_until(deadline.into()));
        async { task.await.expect("the task ends") }
    }

    fn sleep(duration: Duration) -> impl Future {
        tokio::time::sleep(duration)
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        tokio::task::yield_now()
    }
}

pub(crate) struct Smol(smol::LocalExecutor<'static>);

impl Runtime for Smol {
    fn new() -> io::Result<Smol> {
        Ok(Smol(smol::LocalExecutor::new()))
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        smol::block_on(self.0.run(future))
    }

    fn spawn<F>(&self, future: F) -> impl Future<Output = F::Output> + 'static
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.0.spawn(future)
    }

    fn spawn_sleep(&self, deadline: Instant) -> impl Future<Output = ()> + 'static {
        self.0.spawn(async move {
            smol::Timer::at(deadline).await;
        })
    }

    fn sleep(duration: Duration) -> impl Future {
        smol::Timer::after(duration)
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        smol::future::yield_now()
    }
}

/// monoio with one of its drivers. Its runtime wants `&mut self`, hence the cell.
pub(crate) struct Monoio<D: 'static>(RefCell<monoio::Runtime<TimeDriver<D>>>);

impl<D> Runtime for Monoio<D>
where
    D: monoio::Driver + 'static,
    TimeDriver<D>: monoio::Buildable + monoio::Driver,
{
    // Its feature for this, `sync`, would make every wakeup slower.
    const WAKES_FROM_THREADS: bool = false;

    fn new() -> io::Result<Monoio<D>> {
        let builder = monoio::RuntimeBuilder::<TimeDriver<D>>::new();
        Ok(Monoio(RefCell::new(monoio::Buildable::build(builder)?)))
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.borrow_mut().block_on(future)
    }

    fn spawn<F>(&self, future: F) -> impl Future<Output = F::Output> + 'static
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        monoio::spawn(future)
    }

    fn spawn_sleep(&self, deadline: Instant) -> impl Future<Output = ()> + 'static {
        monoio::spawn(monoio::time::sleep_until(deadline.into()))
    }

    fn sleep(duration: Duration) -> impl Future {
        monoio::time::sleep(duration)
    }

    // It has none of its own.
    fn yield_now() -> impl Future<Output = ()> + Send {
        futures_lite::future::yield_now()
    }
}
