//! Destructors and wakers are user code. They may call the runtime at any moment, even while the
//! executor is being dropped.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

use executor::{Executor, JoinHandle, JoinSet, Remote, block_on, spawn, spawn_blocking, yield_now};
use reactor::Async;
use reactor::io::{AsyncReadExt, AsyncWriteExt};
use reactor::net::TcpListener;
use reactor::signal::Signal;
use reactor::time::sleep;
use tests::wakers::waker_fn;
use tests::{run, tcp_pair, until, within_deadline};

/// Calls a function when it is dropped.
struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> OnDrop<F> {
    fn new(function: F) -> OnDrop<F> {
        OnDrop(Some(function))
    }
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        self.0.take().unwrap()();
    }
}

/// Registers a new socket with the reactor.
fn register() -> Async<mio::net::UnixStream> {
    Async::new(mio::net::UnixStream::pair().unwrap().0).unwrap()
}

/// Sets a timer in the reactor, with a waker that does nothing.
fn set_timer() -> reactor::time::Sleep {
    let mut timer = sleep(Duration::from_millis(1));
    let _ = Pin::new(&mut timer).poll(&mut Context::from_waker(Waker::noop()));
    timer
}

/// The calls to the runtime that user code can make.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Call {
    Spawn,
    Wake,
    Abort,
    DropHandle,
    Register,
    Deregister,
    SetTimer,
    DropTimer,
}

const CALLS: [Call; 8] = [
    Call::Spawn,
    Call::Wake,
    Call::Abort,
    Call::DropHandle,
    Call::Register,
    Call::Deregister,
    Call::SetTimer,
    Call::DropTimer,
];

impl Call {
    /// Creates what the call needs. Returns a function that makes the call and increments `done`.
    fn prepare(self, done: Rc<Cell<usize>>) -> impl FnOnce() + 'static {
        let waker = Rc::new(RefCell::new(None::<Waker>));
        let stored = waker.clone();
        let other = spawn(poll_fn(move |cx| {
            stored.replace(Some(cx.waker().clone()));
            Poll::<()>::Pending
        }));
        let (socket, timer) = (register(), set_timer());
        move || {
            match self {
                Call::Spawn => drop(spawn(yield_now())),
                Call::Wake => waker.take().into_iter().for_each(Waker::wake),
                Call::Abort => other.abort(),
                Call::DropHandle => drop(other),
                Call::Register => drop(register()),
                Call::Deregister => drop(socket),
                Call::SetTimer => std::mem::forget(set_timer()),
                Call::DropTimer => drop(timer),
            }
            done.set(done.get() + 1);
        }
    }
}

/// The moment at which user code calls the runtime.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Poll,
    DropOfReadyFuture,
    DropOfAbortedFuture,
    DropOfOutput,
    DropOfUnclaimedOutput,
    DropOfExecutor,
    DropOfExecutorBeforeFirstPoll,
}

const MOMENTS: [Moment; 7] = [
    Moment::Poll,
    Moment::DropOfReadyFuture,
    Moment::DropOfAbortedFuture,
    Moment::DropOfOutput,
    Moment::DropOfUnclaimedOutput,
    Moment::DropOfExecutor,
    Moment::DropOfExecutorBeforeFirstPoll,
];

impl Moment {
    async fn run(self, call: impl FnOnce() + 'static) {
        match self {
            Moment::Poll => spawn(async { call() }).await.unwrap(),
            Moment::DropOfReadyFuture => {
                let guard = OnDrop::new(call);
                let future = poll_fn(move |_| {
                    let _ = &guard;
                    Poll::Ready(())
                });
                spawn(future).await.unwrap();
            }
            Moment::DropOfAbortedFuture => {
                let guard = OnDrop::new(call);
                let task = spawn(async move {
                    let _guard = guard;
                    pending::<()>().await;
                });
                yield_now().await;
                task.abort();
            }
            Moment::DropOfOutput => drop(spawn(async { OnDrop::new(call) }).await),
            Moment::DropOfUnclaimedOutput => {
                drop(spawn(async { OnDrop::new(call) }));
                yield_now().await;
            }
            Moment::DropOfExecutor | Moment::DropOfExecutorBeforeFirstPoll => {
                let guard = OnDrop::new(call);
                drop(spawn(async move {
                    let _guard = guard;
                    pending::<()>().await;
                }));
                if matches!(self, Moment::DropOfExecutor) {
                    yield_now().await;
                }
            }
        }
    }
}

// Pitfall: X3, X4
#[test]
fn runtime_is_usable_from_polls_and_destructors() {
    for call in CALLS {
        for moment in MOMENTS {
            within_deadline(move || {
                let done = Rc::new(Cell::new(0));
                block_on(async {
                    let prepared = call.prepare(done.clone());
                    yield_now().await;
                    moment.run(prepared).await;
                    // The event loop must still work.
                    sleep(Duration::from_micros(1)).await;
                    assert_eq!(spawn(async { 1 }).await.unwrap(), 1);
                });
                assert_eq!(done.get(), 1, "{call:?} in {moment:?}");
            });
        }
    }
}

std::thread_local! {
    /// Sockets that the wakers drop. The wakers cannot own them, because wakers are `Send`.
    static SOCKETS: RefCell<Vec<Async<mio::net::UnixStream>>> = const { RefCell::new(Vec::new()) };
    /// How often a waker has used the runtime.
    static CALLED: Cell<usize> = const { Cell::new(0) };
}

/// A waker that uses the runtime when it is called, and again when it is dropped.
struct UsesRuntime;

fn use_the_runtime() {
    CALLED.set(CALLED.get() + 1);
    drop(spawn(yield_now()));
    let added = register();
    let dropped = SOCKETS.with_borrow_mut(|sockets| {
        sockets.push(added);
        sockets.remove(0)
    });
    drop(dropped);
    drop(set_timer());
}

impl Wake for UsesRuntime {
    fn wake(self: Arc<Self>) {
        use_the_runtime();
    }
}

impl Drop for UsesRuntime {
    fn drop(&mut self) {
        use_the_runtime();
    }
}

/// Polls a future once with a new [`UsesRuntime`] waker. Only the future keeps a clone of it.
fn poll_with_runtime_user<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(&Waker::from(Arc::new(UsesRuntime))))
}

// Pitfall: X3
#[test]
fn waker_may_use_the_runtime_in_wake_and_drop() {
    run(|| async {
        SOCKETS.with_borrow_mut(|sockets| sockets.push(register()));
        let calls = || CALLED.replace(0);

        // A task: the next poll replaces the waker; completion calls and drops it.
        let (sender, receiver) = channel::<()>();
        let mut task = pin!(spawn(async move {
            while receiver.try_recv().is_err() {
                yield_now().await;
            }
        }));
        assert!(poll_with_runtime_user(task.as_mut()).is_pending());
        assert!(poll_with_runtime_user(task.as_mut()).is_pending());
        assert_eq!(calls(), 1);
        sender.send(()).unwrap();
        while calls() < 2 {
            yield_now().await;
        }

        // A timer.
        let mut timer = pin!(sleep(Duration::from_millis(1)));
        assert!(poll_with_runtime_user(timer.as_mut()).is_pending());
        assert!(poll_with_runtime_user(timer.as_mut()).is_pending());
        assert_eq!(calls(), 1);
        sleep(Duration::from_millis(2)).await;
        assert_eq!(calls(), 2);

        // A source: an event calls the waker, and dropping the source drops it.
        let (mut ours, theirs) = tcp_pair().await.unwrap();
        let mut byte = [0];
        {
            let mut read = pin!(ours.read(&mut byte));
            assert!(poll_with_runtime_user(read.as_mut()).is_pending());
            drop(theirs);
            while calls() < 2 {
                yield_now().await;
            }
            assert_eq!(read.await.unwrap(), 0);
        }
        let (mut ours, _theirs) = tcp_pair().await.unwrap();
        assert!(poll_with_runtime_user(pin!(ours.read(&mut byte))).is_pending());
        drop(ours);
        assert_eq!(calls(), 1);

        // A timer that is dropped before it fires.
        let mut timer = Box::pin(sleep(Duration::from_secs(1)));
        assert!(poll_with_runtime_user(timer.as_mut()).is_pending());
        drop(timer);
        assert_eq!(calls(), 1);
        SOCKETS.take();
    });
}

/// Checks that it is dropped on the thread that created it.
struct Local(ThreadId, Rc<Cell<usize>>);

impl Drop for Local {
    fn drop(&mut self) {
        assert_eq!(thread::current().id(), self.0);
        self.1.set(self.1.get() + 1);
    }
}

// Pitfall: X2
#[test]
fn future_is_dropped_on_its_thread_despite_remote_wakers() {
    within_deadline(|| {
        let drops = Rc::new(Cell::new(0));
        let (sender, receiver) = channel::<Waker>();
        let other = thread::spawn(move || {
            for waker in receiver {
                waker.wake_by_ref();
                drop(waker);
            }
        });
        block_on(async {
            for n in 0..300 {
                let local = Local(thread::current().id(), drops.clone());
                let sender = sender.clone();
                let task = spawn(poll_fn(move |cx| {
                    let _ = &local;
                    sender.send(cx.waker().clone()).unwrap();
                    if n % 3 == 0 { Poll::Ready(()) } else { Poll::Pending }
                }));
                yield_now().await;
                if n % 3 == 1 {
                    task.abort();
                }
            }
        });
        assert_eq!(drops.get(), 300);
        drop(sender);
        other.join().unwrap();
    });
}

/// Spawns a task with another value of this type when it is dropped.
struct SpawnsOnDrop(Rc<Cell<usize>>);

impl Drop for SpawnsOnDrop {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
        // The limit ends the chain, which would otherwise overflow the stack or run forever.
        if self.0.get() < 10_000 {
            let next = SpawnsOnDrop(self.0.clone());
            let task = spawn(async move {
                let _next = next;
            });
            assert!(task.is_finished());
        }
    }
}

// Pitfall: X15
#[test]
fn spawn_while_the_executor_is_dropped_is_cancelled() {
    within_deadline(|| {
        let seen = Rc::new(Cell::new(None));
        let result_seen = seen.clone();
        let guard = OnDrop::new(move || {
            let mut task = spawn(async {});
            let result = Pin::new(&mut task).poll(&mut Context::from_waker(Waker::noop()));
            let Poll::Ready(Err(error)) = result else { panic!("not cancelled") };
            result_seen.set(Some(error.is_cancelled()));
        });
        block_on(async {
            drop(spawn(async move {
                let _guard = guard;
                pending::<()>().await;
            }));
        });
        assert_eq!(seen.get(), Some(true));
    });
}

// Pitfall: X15
#[test]
fn destructors_that_spawn_do_not_keep_the_executor_alive() {
    within_deadline(|| {
        let drops = Rc::new(Cell::new(0));
        // A loop that drops spawned tasks would never end. Instead, each spawn is cancelled and
        // dropped inside the destructor that spawned it, so the chain must be short.
        let first = SpawnsOnDrop(drops.clone());
        drops.set(9_900);
        block_on(async {
            drop(spawn(async move {
                let _first = first;
                pending::<()>().await;
            }));
        });
        assert_eq!(drops.get(), 10_000);
    });
}

// Pitfall: X15
#[test]
fn queued_remote_spawn_is_dropped_in_a_closed_executor() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let (sender, receiver) = channel();
        let guard = OnDrop::new(move || sender.send(spawn(async {}).is_finished()).unwrap());
        let make = move || {
            let _guard = guard;
            pending::<()>()
        };
        drop(executor.remote().spawn(make));
        drop(executor);
        assert_eq!(receiver.try_recv(), Ok(true));
    });
}

// Pitfall: X15
#[test]
fn messages_that_spawn_when_dropped_do_not_loop_forever() {
    /// Sends another value of this type to the inbox when it is dropped, until the inbox refuses
    /// one.
    struct SendsOnDrop(Remote, Arc<AtomicBool>);

    impl Drop for SendsOnDrop {
        fn drop(&mut self) {
            if self.1.swap(true, Ordering::Relaxed) {
                return;
            }
            let next = SendsOnDrop(self.0.clone(), self.1.clone());
            let make = move || {
                let _next = next;
                pending::<()>()
            };
            let task = self.0.spawn(make);
            self.1.store(task.is_finished(), Ordering::Relaxed);
        }
    }

    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let refused = Arc::new(AtomicBool::new(false));
        drop(SendsOnDrop(executor.remote(), refused.clone()));
        drop(executor);
        assert!(refused.load(Ordering::Relaxed));
    });
}

// Pitfall: X9
#[test]
fn executor_drop_ends_tasks_with_sockets_timers_and_jobs() {
    within_deadline(|| {
        let (sender, receiver) = channel::<()>();
        let executor = Executor::new().unwrap();
        let ended = Rc::new(Cell::new(0));
        executor.block_on(async {
            let guard = || {
                let ended = ended.clone();
                OnDrop::new(move || ended.set(ended.get() + 1))
            };
            let socket = guard();
            drop(spawn(async move {
                let _guard = socket;
                let (mut ours, _theirs) = tcp_pair().await.unwrap();
                ours.read(&mut [0]).await.unwrap();
            }));
            let timer = guard();
            drop(spawn(async move {
                let _guard = timer;
                sleep(Duration::from_secs(3600)).await;
            }));
            let job = guard();
            drop(spawn(async move {
                let _guard = job;
                drop(spawn_blocking(move || receiver.recv()).await);
            }));
            let accept = guard();
            drop(spawn(async move {
                let _guard = accept;
                drop(TcpListener::bind("127.0.0.1:0").await.unwrap().accept().await);
            }));
            let signal = guard();
            drop(spawn(async move {
                let _guard = signal;
                let mut hangups = Signal::new(1).unwrap();
                drop(hangups.recv().await);
            }));
            sleep(Duration::from_millis(5)).await;
            assert_eq!(ended.get(), 0);
        });
        drop(executor);
        assert_eq!(ended.get(), 5);
        drop(sender);
    });
}

// Pitfall: X9
#[test]
fn executor_may_be_dropped_by_a_thread_local() {
    std::thread_local! {
        static LAST: RefCell<Option<Executor>> = const { RefCell::new(None) };
    }

    let (sender, receiver) = channel();
    let thread = thread::spawn(move || {
        let executor = Executor::new().unwrap();
        // Initialized first, so it is destroyed after the thread-locals of the runtime.
        LAST.with_borrow(|_| ());
        executor.block_on(async {
            let guard = OnDrop::new(move || sender.send("dropped").unwrap());
            let (ours, theirs) = tcp_pair().await.unwrap();
            drop(spawn(async move {
                let _guard = (guard, ours, theirs);
                sleep(Duration::from_secs(3600)).await;
            }));
            drop(spawn(poll_fn(|cx| {
                let waker = cx.waker().clone();
                std::mem::forget(waker);
                Poll::<()>::Pending
            })));
            sleep(Duration::from_millis(1)).await;
        });
        LAST.set(Some(executor));
    });
    thread.join().unwrap();
    assert_eq!(receiver.recv(), Ok("dropped"));
}

// A thread-local value may use `block_on` for a final flush or to say goodbye to a server.
#[test]
fn block_on_works_in_a_thread_local_destructor() {
    struct Last(Sender<&'static str>);

    impl Drop for Last {
        fn drop(&mut self) {
            let sender = self.0.clone();
            block_on(async move {
                let remote = Remote::current();
                let (mut ours, mut theirs) = tcp_pair().await.unwrap();
                let has_run = Arc::new(AtomicBool::new(false));
                let runs = has_run.clone();
                let other = thread::spawn(move || {
                    remote.spawn(move || async move {
                        sender.send("from another thread").unwrap();
                        runs.store(true, Ordering::Relaxed);
                    })
                });
                sleep(Duration::from_millis(1)).await;
                drop(spawn(async move { theirs.write_all(b"x").await }));
                ours.read_exact(&mut [0]).await.unwrap();
                drop(other.join().unwrap());
                until(|| has_run.load(Ordering::Relaxed)).await;
            });
            self.0.send("done").unwrap();
        }
    }

    std::thread_local! {
        static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
    }

    within_deadline(|| {
        let (sender, receiver) = channel();
        let thread = thread::spawn(move || {
            // Initialized first, so it is destroyed after the thread-locals of the runtime.
            LAST.set(Some(Last(sender)));
            block_on(yield_now());
        });
        thread.join().unwrap();
        assert_eq!(receiver.iter().collect::<Vec<_>>(), ["from another thread", "done"]);
    });
}

// Pitfall: X9
#[test]
fn executor_may_be_dropped_while_its_thread_unwinds() {
    within_deadline(|| {
        let dropped = Rc::new(Cell::new(0));
        let drops = dropped.clone();
        let result = catch_unwind(AssertUnwindSafe(|| {
            block_on(async {
                let (ours, theirs) = tcp_pair().await.unwrap();
                let guard = OnDrop::new(move || {
                    drops.set(drops.get() + 1);
                    // The executor catches this panic although the thread is already unwinding.
                    resume_unwind(Box::new("second"));
                });
                drop(spawn(async move {
                    let _guard = (guard, ours, theirs);
                    pending::<()>().await;
                }));
                yield_now().await;
                resume_unwind(Box::new("first"))
            })
        }));
        let panic = result.unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"first"));
        assert_eq!(dropped.get(), 1);
    });
}

// Pitfall: X9
#[test]
fn socket_that_outlives_its_executor_returns_an_error() {
    within_deadline(|| {
        let (mut ours, _theirs) = block_on(tcp_pair()).unwrap();
        let error = block_on(async { ours.read(&mut [0]).await }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Other);
    });
}

#[test]
fn handle_of_a_task_of_a_dropped_executor_is_cancelled() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let task: JoinHandle<()> = executor.spawn(pending());
        drop(executor);
        assert!(block_on(task).unwrap_err().is_cancelled());
    });
}

#[test]
fn remote_spawn_to_a_dropped_executor_is_cancelled() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let remote = executor.remote();
        let dropped = Arc::new(AtomicUsize::new(0));
        let make = || {
            let dropped = dropped.clone();
            let guard = OnDrop::new(move || _ = dropped.fetch_add(1, Ordering::Relaxed));
            move || {
                let _guard = guard;
                pending::<()>()
            }
        };
        let make_after = make();
        let (before, line) = (remote.spawn_named("before", make()), line!());
        assert!(!before.is_finished());
        drop(executor);
        assert_eq!(
            dropped.load(Ordering::Relaxed),
            1,
            "the message was not dropped with the executor"
        );
        let error = before.join().unwrap_err();
        let location = format!("{}:{line}:", file!());
        assert!(error.is_cancelled());
        assert!(error.to_string().starts_with(&format!("task \"before\", spawned at {location}")));
        let after = thread::spawn(move || remote.spawn(make_after)).join().unwrap();
        assert!(after.is_finished() && block_on(after).unwrap_err().is_cancelled());
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    });
}

// Pitfall: X3
#[test]
fn dropped_waker_that_ends_its_task_frees_the_slot_once() {
    struct TicksOnDrop;

    thread_local! {
        static EXECUTOR: RefCell<Option<Rc<Executor>>> = const { RefCell::new(None) };
    }

    impl Wake for TicksOnDrop {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for TicksOnDrop {
        fn drop(&mut self) {
            let executor = EXECUTOR.take().unwrap();
            executor.tick();
        }
    }

    within_deadline(|| {
        let executor = Rc::new(Executor::new().unwrap());
        EXECUTOR.set(Some(executor.clone()));
        let mut handle = executor.spawn(async {});
        let waker = Waker::from(Arc::new(TicksOnDrop));
        assert!(Pin::new(&mut handle).poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        drop(handle);
        assert_eq!(executor.metrics().tasks, 0, "the waker has not run the task");
        let [one, two] = [1, 2].map(|output| executor.spawn(async move { output }));
        assert_eq!(executor.block_on(async { (one.await.unwrap(), two.await.unwrap()) }), (1, 2));
    });
}

// Pitfall: X3
#[test]
fn spawn_with_a_panicking_waker_keeps_the_task_in_the_set() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let (sender, results) = channel();
        drop(executor.spawn(async move {
            let mut set = JoinSet::new();
            set.spawn(pending::<()>());
            let _guard = OnDrop::new(move || {
                let waker = waker_fn(|| resume_unwind(Box::new("a waker of the test")));
                assert!(set.poll_join_next(&mut Context::from_waker(&waker)).is_pending());
                // The executor is closed, so this task is cancelled immediately and wakes the
                // waiter.
                let spawned = catch_unwind(AssertUnwindSafe(|| drop(set.spawn(pending()))));
                assert!(spawned.is_err());
                sender.send((set.len(), set.try_join_next())).unwrap();
            });
            pending::<()>().await;
        }));
        executor.tick();
        drop(executor);
        let (len, ended) = results.recv().unwrap();
        assert!(len == 2 && ended.unwrap().unwrap_err().is_cancelled());
    });
}

/// Returns a task that owns a set with one such task, down to the given number of levels.
fn nested(levels: usize, innermost: Sender<()>) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        let mut set = JoinSet::new();
        match levels {
            0 => innermost.send(()).unwrap(),
            _ => drop(set.spawn(nested(levels - 1, innermost))),
        }
        pending::<()>().await;
    })
}

// Pitfall: X18
#[test]
fn dropping_deeply_nested_join_sets_does_not_recurse() {
    let stack = thread::Builder::new().stack_size(512 * 1024);
    let thread = stack.spawn(|| {
        let executor = Executor::new().unwrap();
        executor.block_on(async {
            let (sender, innermost) = channel();
            let outermost = spawn(nested(100_000, sender));
            until(|| innermost.try_recv().is_ok()).await;
            outermost.abort();
            assert!(outermost.await.unwrap_err().is_cancelled());
            until(|| executor.metrics().tasks == 1).await;
        });
    });
    within_deadline(|| thread.unwrap().join().unwrap());
}
