//! Stage 6: the reactor waits for sockets and timers, and wakes the tasks that wait for them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use mio::net::UnixStream;
use mio::{Events, Interest, Token};

/// Makes the keys of sources and timers different.
static NEXT_KEY: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    pub(crate) static POLL: RefCell<mio::Poll> = RefCell::new(mio::Poll::new().expect("epoll"));
    /// What the thread waits for, by the token that comes back with each event.
    static SOURCES: RefCell<HashMap<Token, Rc<Source>>> = RefCell::default();
    /// The wakers of sleeping tasks by deadline, the nearest first. The number makes keys unique.
    static TIMERS: RefCell<BTreeMap<(Instant, usize), Waker>> = RefCell::default();
}

/// A socket that the thread waits for.
struct Source {
    /// Whether the next operation should try its system call. Only an event sets it, and only
    /// `WouldBlock` clears it. It starts as `true`, because trying is the way to find out.
    ready: Cell<bool>,
    /// The waker of the task that waits for the next event.
    waiter: Cell<Option<Waker>>,
}

/// Waits for an event or a deadline, but at most for `timeout`. Wakes the tasks that waited for it.
pub(crate) fn turn(timeout: Option<Duration>) {
    let deadline = TIMERS.with_borrow(|timers| timers.keys().next().map(|key| key.0));
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let timeout = left.into_iter().chain(timeout).min();
    let mut events = Events::with_capacity(64);
    if let Err(error) = POLL.with_borrow_mut(|poll| poll.poll(&mut events, timeout)) {
        assert_eq!(error.kind(), ErrorKind::Interrupted, "cannot wait for events");
    }
    let mut woken = Vec::new();
    for event in &events {
        if let Some(source) = SOURCES.with_borrow(|sources| sources.get(&event.token()).cloned()) {
            source.ready.set(true);
            woken.extend(source.waiter.take());
        }
    }
    let later = TIMERS.with_borrow_mut(|timers| timers.split_off(&(Instant::now(), usize::MAX)));
    woken.extend(TIMERS.replace(later).into_values());
    // Nothing is borrowed here, because a waker is user code.
    woken.into_iter().for_each(Waker::wake);
}

impl Source {
    /// Calls `attempt`. If it would block, stores the waker and returns `Pending`.
    fn poll_io<T>(
        &self,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        while self.ready.get() {
            match attempt() {
                // No event can come between the attempt and this line, because only `turn` delivers
                // events, on this thread, and the thread is here.
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.ready.set(false),
                result => return Poll::Ready(result),
            }
        }
        self.store(cx.waker())
    }

    /// Stores the waker, so that the next event wakes the task.
    fn store<T>(&self, waker: &Waker) -> Poll<T> {
        self.waiter.set(Some(waker.clone()));
        Poll::Pending
    }
}

/// A socket whose reads wait for the reactor instead of blocking the thread.
pub(crate) struct Async {
    io: UnixStream,
    token: Token,
    source: Rc<Source>,
}

impl Async {
    /// Registers the socket, once for its whole life.
    pub(crate) fn new(mut io: UnixStream) -> io::Result<Async> {
        let token = Token(NEXT_KEY.fetch_add(1, Ordering::Relaxed));
        POLL.with_borrow(|poll| poll.registry().register(&mut io, token, Interest::READABLE))?;
        let source = Rc::new(Source { ready: Cell::new(true), waiter: Cell::new(None) });
        SOURCES.with_borrow_mut(|sources| sources.insert(token, source.clone()));
        Ok(Async { io, token, source })
    }

    /// Calls `attempt` until it no longer would block.
    pub(crate) async fn read_with<T>(
        &mut self,
        mut attempt: impl FnMut(&mut UnixStream) -> io::Result<T>,
    ) -> io::Result<T> {
        poll_fn(|cx| self.source.poll_io(cx, || attempt(&mut self.io))).await
    }
}

/// Closing the socket, which follows, ends its registration.
impl Drop for Async {
    fn drop(&mut self) {
        let _source = SOURCES.try_with(|sources| sources.borrow_mut().remove(&self.token));
    }
}

/// Returns a future that is ready when `duration` has passed.
pub(crate) fn sleep(duration: Duration) -> impl Future<Output = ()> {
    let key = (Instant::now() + duration, NEXT_KEY.fetch_add(1, Ordering::Relaxed));
    poll_fn(move |cx| {
        if Instant::now() >= key.0 {
            return Poll::Ready(());
        }
        // A future must not block, so it leaves its waker with the reactor, which waits for all.
        let waker = cx.waker().clone();
        let _old = TIMERS.with_borrow_mut(|timers| timers.insert(key, waker));
        Poll::Pending
    })
}
