//! The tasks of the simulated program, and what the checks need to know about them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use executor::{JoinHandle, spawn_named};
use reactor::time::{now, timeout};

use crate::budget;
use crate::kernel::{Kernel, Socket};
use crate::source::Direction;

/// The payload of a panic that a task causes on purpose.
pub(crate) struct Wanted;

/// The numbers of the tasks that have ended and whose results have not been taken, in the order in
/// which they ended.
pub(crate) type Ends = Rc<RefCell<VecDeque<u64>>>;

/// What the checks know about a task.
pub(crate) struct Job {
    pub(crate) name: &'static str,
    sockets: Vec<Rc<Socket>>,
    polls: Cell<u32>,
    /// The address of the waker of its last poll.
    waker: Cell<usize>,
    /// The sources that its last poll waits for. Empty if the task has yielded, ended or been
    /// aborted.
    pub(crate) waits: RefCell<Vec<(usize, Direction)>>,
    /// If the last poll waits for any of several tasks, the queue of their ends.
    pub(crate) awaited: RefCell<Option<Ends>>,
    /// When the task must be woken even if nothing else happens.
    pub(crate) deadline: Cell<Option<Instant>>,
    has_ended: Cell<bool>,
    handle: RefCell<Option<JoinHandle<()>>>,
}

impl Job {
    /// Spawns `future` as a task of the real executor.
    #[track_caller]
    pub(crate) fn spawn(
        kernel: &Rc<Kernel>,
        name: &'static str,
        sockets: &[&Rc<Socket>],
        future: impl Future<Output = ()> + 'static,
    ) -> Rc<Job> {
        let (job, future) = Job::of(kernel, name, sockets, future);
        *job.handle.borrow_mut() = Some(spawn_named(name, future));
        job
    }

    /// Creates the job of `future`. Returns the job, and the future of its task.
    pub(crate) fn of<F: Future + 'static>(
        kernel: &Rc<Kernel>,
        name: &'static str,
        sockets: &[&Rc<Socket>],
        future: F,
    ) -> (Rc<Job>, impl Future<Output = F::Output> + 'static + use<F>) {
        let job = Rc::new(Job {
            name,
            sockets: sockets.iter().map(|&socket| socket.clone()).collect(),
            polls: Cell::new(0),
            waker: Cell::new(0),
            waits: RefCell::default(),
            awaited: RefCell::default(),
            deadline: Cell::new(None),
            has_ended: Cell::new(false),
            handle: RefCell::default(),
        });
        kernel.jobs.borrow_mut().push(job.clone());
        let future = Box::pin(future);
        let mut polled = Polled { job: job.clone(), kernel: kernel.clone(), future };
        (job, poll_fn(move |cx| polled.poll(cx)))
    }

    /// Returns whether the task is a copy. The checks need the sockets of a copy even after it has
    /// ended, and aborting a copy would lose bytes.
    pub(crate) fn is_copy(&self) -> bool {
        self.name.starts_with("copy")
    }

    pub(crate) fn uses(&self, socket: &Rc<Socket>) -> bool {
        self.sockets.iter().any(|used| Rc::ptr_eq(used, socket))
    }

    pub(crate) fn socket(&self, key: usize) -> Option<&Rc<Socket>> {
        self.sockets.iter().find(|socket| socket.source.key == key)
    }

    pub(crate) fn first_socket(&self) -> Option<&Rc<Socket>> {
        self.sockets.first()
    }

    pub(crate) fn polls(&self) -> u32 {
        self.polls.get()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.get()
    }

    pub(crate) fn waits_for(&self, key: usize, direction: Direction) -> bool {
        !self.has_ended() && self.waits.borrow().contains(&(key, direction))
    }

    /// Returns the address of the waker of the last poll.
    pub(crate) fn waker(&self) -> usize {
        self.waker.get()
    }

    pub(crate) fn is_woken_by(&self, waker: &Waker) -> bool {
        !self.has_ended() && self.waker.get() == waker.data().addr()
    }

    /// Returns whether the program may abort the task.
    pub(crate) fn may_be_aborted(&self) -> bool {
        !self.is_copy() && !self.has_ended() && self.handle.borrow().is_some()
    }

    /// Aborts the task, which must not be polled again.
    pub(crate) fn abort(&self) {
        self.end();
        self.handle.borrow().as_ref().inspect(|handle| handle.abort());
    }

    fn end(&self) {
        self.waits.take();
        self.awaited.take();
        self.deadline.set(None);
        self.has_ended.set(true);
    }
}

/// The future of a task.
struct Polled<F> {
    job: Rc<Job>,
    kernel: Rc<Kernel>,
    future: Pin<Box<F>>,
}

impl<F: Future> Polled<F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Polled { job, kernel, future } = self;
        kernel.polls.set(kernel.polls.get() + 1);
        kernel.current.replace(Some(job.clone()));
        let poll = AssertUnwindSafe(|| {
            assert!(!job.has_ended(), "a task was polled after it had completed");
            if kernel.random.one_in(4) {
                budget::leave(kernel.random.below(10));
            }
            future.as_mut().poll(cx)
        });
        let polled = catch_unwind(poll);
        kernel.current.take();
        job.polls.set(job.polls.get() + 1);
        job.waker.set(cx.waker().data().addr());
        job.waits.take();
        match polled {
            Ok(Poll::Pending) => job.note_waits(cx.waker()),
            Ok(Poll::Ready(_)) => job.end(),
            Err(panic) => {
                job.end();
                if !panic.is::<Wanted>() {
                    kernel.failure.set(Some(panic));
                    resume_unwind(Box::new("see the failure of the kernel"));
                }
                resume_unwind(panic)
            }
        }
        polled.unwrap_or_else(|_| unreachable!("a panic was resumed above"))
    }
}

impl Job {
    /// Records that the task waits for each direction that stores its waker.
    fn note_waits(&self, waker: &Waker) {
        for socket in &self.sockets {
            socket.source.each_waiter(|direction, stored| {
                if stored.will_wake(waker) {
                    self.waits.borrow_mut().push((socket.source.key, direction));
                }
            });
        }
    }
}

impl<F> Drop for Polled<F> {
    fn drop(&mut self) {
        self.job.end();
    }
}

/// Awaits `future`. Gives up after a random time, and then returns `None`.
pub(crate) async fn for_a_while<F: Future>(kernel: &Kernel, future: F) -> Option<F::Output> {
    let limit = Duration::from_millis(1 + kernel.random.below(40) as u64);
    let deadline = now() + limit;
    let job = kernel.job();
    job.deadline.set(Some(deadline));
    let result = timeout(limit, future).await.ok();
    assert!(result.is_some() || now() >= deadline, "a timer fired early");
    job.deadline.set(None);
    result
}

/// Awaits `future`, which waits for one of the tasks of `ends`.
pub(crate) async fn for_task<F: Future>(kernel: &Kernel, ends: &Ends, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| {
        let job = kernel.job();
        job.awaited.take();
        let polled = future.as_mut().poll(cx);
        if polled.is_pending() {
            job.awaited.replace(Some(ends.clone()));
        }
        polled
    })
    .await
}
