//! Destructors and wakers are foreign code: they may do anything, at any moment, also while the
//! executor ends.

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

/// Does something when it is dropped.
struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> OnDrop<F> {
    fn new(act: F) -> OnDrop<F> {
        OnDrop(Some(act))
    }
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        self.0.take().unwrap()();
    }
}

fn register() -> Async<mio::net::UnixStream> {
    Async::new(mio::net::UnixStream::pair().unwrap().0).unwrap()
}

/// A timer in the reactor, with a waker that does nothing.
fn set_timer() -> reactor::time::Sleep {
    let mut timer = sleep(Duration::from_millis(1));
    let _ = Pin::new(&mut timer).poll(&mut Context::from_waker(Waker::noop()));
    timer
}

/// Everything that foreign code can do to the runtime.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Spawn,
    Wake,
    Abort,
    DropHandle,
    Register,
    Deregister,
    SetTimer,
    DropTimer,
}

const ACTS: [Act; 8] = [
    Act::Spawn,
    Act::Wake,
    Act::Abort,
    Act::DropHandle,
    Act::Register,
    Act::Deregister,
    Act::SetTimer,
    Act::DropTimer,
];

impl Act {
    /// What is needed is made here; the closure acts on it. `done` tells that it did.
    fn prepare(self, done: Rc<Cell<usize>>) -> impl FnOnce() + 'static {
        let waker = Rc::new(RefCell::new(None::<Waker>));
        let keep = waker.clone();
        let other = spawn(poll_fn(move |cx| {
            keep.replace(Some(cx.waker().clone()));
            Poll::<()>::Pending
        }));
        let (socket, timer) = (register(), set_timer());
        move || {
            match self {
                Act::Spawn => drop(spawn(yield_now())),
                Act::Wake => waker.take().into_iter().for_each(Waker::wake),
                Act::Abort => other.abort(),
                Act::DropHandle => drop(other),
                Act::Register => drop(register()),
                Act::Deregister => drop(socket),
                Act::SetTimer => std::mem::forget(set_timer()),
                Act::DropTimer => drop(timer),
            }
            done.set(done.get() + 1);
        }
    }
}

/// Where it does it.
#[derive(Clone, Copy, Debug)]
enum Place {
    Poll,
    DropOfFinishedFuture,
    DropOfAbortedFuture,
    DropOfOutput,
    DropOfUnwantedOutput,
    EndOfExecutor,
    EndOfExecutorBeforeFirstPoll,
}

const PLACES: [Place; 7] = [
    Place::Poll,
    Place::DropOfFinishedFuture,
    Place::DropOfAbortedFuture,
    Place::DropOfOutput,
    Place::DropOfUnwantedOutput,
    Place::EndOfExecutor,
    Place::EndOfExecutorBeforeFirstPoll,
];

impl Place {
    async fn run(self, act: impl FnOnce() + 'static) {
        match self {
            Place::Poll => spawn(async { act() }).await.unwrap(),
            Place::DropOfFinishedFuture => {
                let guard = OnDrop::new(act);
                let future = poll_fn(move |_| {
                    let _ = &guard;
                    Poll::Ready(())
                });
                spawn(future).await.unwrap();
            }
            Place::DropOfAbortedFuture => {
                let guard = OnDrop::new(act);
                let task = spawn(async move {
                    let _guard = guard;
                    pending::<()>().await;
                });
                yield_now().await;
                task.abort();
            }
            Place::DropOfOutput => drop(spawn(async { OnDrop::new(act) }).await),
            Place::DropOfUnwantedOutput => {
                drop(spawn(async { OnDrop::new(act) }));
                yield_now().await;
            }
            Place::EndOfExecutor | Place::EndOfExecutorBeforeFirstPoll => {
                let guard = OnDrop::new(act);
                drop(spawn(async move {
                    let _guard = guard;
                    pending::<()>().await;
                }));
                if matches!(self, Place::EndOfExecutor) {
                    yield_now().await;
                }
            }
        }
    }
}

// Pitfall: X3, X4
#[test]
fn everything_may_be_done_in_a_poll_in_every_destructor_and_at_the_executors_end() {
    for act in ACTS {
        for place in PLACES {
            within_deadline(move || {
                let done = Rc::new(Cell::new(0));
                block_on(async {
                    let acts = act.prepare(done.clone());
                    yield_now().await;
                    place.run(acts).await;
                    // The loop has come to no harm.
                    sleep(Duration::from_micros(1)).await;
                    assert_eq!(spawn(async { 1 }).await.unwrap(), 1);
                });
                assert_eq!(done.get(), 1, "{act:?} in {place:?}");
            });
        }
    }
}

std::thread_local! {
    /// What foreign wakers drop: they are `Send`, and sockets are not.
    static SOCKETS: RefCell<Vec<Async<mio::net::UnixStream>>> = const { RefCell::new(Vec::new()) };
    static ACTED: Cell<usize> = const { Cell::new(0) };
}

/// A waker that uses the runtime when it is woken, and again when it is dropped.
struct Busy;

fn be_busy() {
    ACTED.set(ACTED.get() + 1);
    drop(spawn(yield_now()));
    let added = register();
    let dropped = SOCKETS.with_borrow_mut(|sockets| {
        sockets.push(added);
        sockets.remove(0)
    });
    drop(dropped);
    drop(set_timer());
}

impl Wake for Busy {
    fn wake(self: Arc<Self>) {
        be_busy();
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        be_busy();
    }
}

/// Polls once, with a waker of which nothing is left but what the future keeps.
fn poll_with_busy_waker<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(&Waker::from(Arc::new(Busy))))
}

// Pitfall: X3
#[test]
fn a_waker_may_use_the_runtime_when_it_is_woken_and_when_it_is_dropped() {
    run(|| async {
        SOCKETS.with_borrow_mut(|sockets| sockets.push(register()));
        let acted = || ACTED.replace(0);

        // Replaced by the next poll's waker, then woken and dropped: by a task's end, ...
        let (sender, receiver) = channel::<()>();
        let mut task = pin!(spawn(async move {
            while receiver.try_recv().is_err() {
                yield_now().await;
            }
        }));
        assert!(poll_with_busy_waker(task.as_mut()).is_pending());
        assert!(poll_with_busy_waker(task.as_mut()).is_pending());
        assert_eq!(acted(), 1);
        sender.send(()).unwrap();
        while acted() < 2 {
            yield_now().await;
        }

        // ... by a timer, ...
        let mut timer = pin!(sleep(Duration::from_millis(1)));
        assert!(poll_with_busy_waker(timer.as_mut()).is_pending());
        assert!(poll_with_busy_waker(timer.as_mut()).is_pending());
        assert_eq!(acted(), 1);
        sleep(Duration::from_millis(2)).await;
        assert_eq!(acted(), 2);

        // ... by a source, and when the source goes.
        let (mut ours, theirs) = tcp_pair().await.unwrap();
        let mut byte = [0];
        {
            let mut read = pin!(ours.read(&mut byte));
            assert!(poll_with_busy_waker(read.as_mut()).is_pending());
            drop(theirs);
            while acted() < 2 {
                yield_now().await;
            }
            assert_eq!(read.await.unwrap(), 0);
        }
        let (mut ours, _theirs) = tcp_pair().await.unwrap();
        assert!(poll_with_busy_waker(pin!(ours.read(&mut byte))).is_pending());
        drop(ours);
        assert_eq!(acted(), 1);

        // ... and by a timer that goes.
        let mut timer = Box::pin(sleep(Duration::from_secs(1)));
        assert!(poll_with_busy_waker(timer.as_mut()).is_pending());
        drop(timer);
        assert_eq!(acted(), 1);
        SOCKETS.take();
    });
}

/// Must be dropped on the thread where it was made.
struct Local(ThreadId, Rc<Cell<usize>>);

impl Drop for Local {
    fn drop(&mut self) {
        assert_eq!(thread::current().id(), self.0);
        self.1.set(self.1.get() + 1);
    }
}

// Pitfall: X2
#[test]
fn a_future_is_dropped_on_its_thread_though_its_wakers_are_dropped_elsewhere() {
    within_deadline(|| {
        let drops = Rc::new(Cell::new(0));
        let (sender, receiver) = channel::<Waker>();
        let elsewhere = thread::spawn(move || {
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
        elsewhere.join().unwrap();
    });
}

/// Spawns itself again when it is dropped.
struct Hydra(Rc<Cell<usize>>);

impl Drop for Hydra {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
        // Without an end this would overflow the stack or run for ever.
        if self.0.get() < 10_000 {
            let again = Hydra(self.0.clone());
            let task = spawn(async move {
                let _again = again;
            });
            assert!(task.is_finished());
        }
    }
}

// Pitfall: X15
#[test]
fn a_spawn_in_a_destructor_at_the_executors_end_is_cancelled_at_once() {
    within_deadline(|| {
        let seen = Rc::new(Cell::new(None));
        let tells = seen.clone();
        let guard = OnDrop::new(move || {
            let mut task = spawn(async {});
            let result = Pin::new(&mut task).poll(&mut Context::from_waker(Waker::noop()));
            let Poll::Ready(Err(error)) = result else { panic!("not cancelled at once") };
            tells.set(Some(error.is_cancelled()));
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
fn destructors_that_spawn_more_of_their_kind_do_not_keep_the_executor_from_its_end() {
    within_deadline(|| {
        let drops = Rc::new(Cell::new(0));
        // A chain that a loop of the executor would follow for ever; cancelled, each link is
        // dropped within the one before, and so there must be an end to it here.
        let hydra = Hydra(drops.clone());
        drops.set(9_900);
        block_on(async {
            drop(spawn(async move {
                let _hydra = hydra;
                pending::<()>().await;
            }));
        });
        assert_eq!(drops.get(), 10_000);
    });
}

// Pitfall: X15
#[test]
fn what_another_thread_wanted_to_spawn_is_dropped_while_the_executor_is_current_but_closed() {
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
fn what_is_spawned_from_the_inboxs_own_destructors_does_not_keep_the_executor_from_its_end() {
    /// Sends itself into the inbox again when it is dropped, unless that refuses it.
    struct Again(Remote, Arc<AtomicBool>);

    impl Drop for Again {
        fn drop(&mut self) {
            if self.1.swap(true, Ordering::Relaxed) {
                return;
            }
            let again = Again(self.0.clone(), self.1.clone());
            let make = move || {
                let _again = again;
                pending::<()>()
            };
            let task = self.0.spawn(make);
            self.1.store(task.is_finished(), Ordering::Relaxed);
        }
    }

    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let refused = Arc::new(AtomicBool::new(false));
        drop(Again(executor.remote(), refused.clone()));
        drop(executor);
        assert!(refused.load(Ordering::Relaxed));
    });
}

// Pitfall: X9
#[test]
fn the_executor_ends_while_tasks_hold_sockets_timers_signals_and_jobs() {
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
fn an_executor_may_end_in_the_destructor_of_a_thread_local() {
    std::thread_local! {
        static LAST: RefCell<Option<Executor>> = const { RefCell::new(None) };
    }

    let (sender, receiver) = channel();
    let thread = thread::spawn(move || {
        let executor = Executor::new().unwrap();
        // Touched first, and so destroyed after the runtime's own.
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

// As the last words of what a thread keeps for itself: a flush, or a goodbye to a server.
#[test]
fn block_on_works_in_the_destructor_of_a_thread_local() {
    struct Last(Sender<&'static str>);

    impl Drop for Last {
        fn drop(&mut self) {
            let told = self.0.clone();
            block_on(async move {
                let remote = Remote::current();
                let (mut ours, mut theirs) = tcp_pair().await.unwrap();
                let has_run = Arc::new(AtomicBool::new(false));
                let runs = has_run.clone();
                let other = thread::spawn(move || {
                    remote.spawn(move || async move {
                        told.send("from another thread").unwrap();
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
            // First, and so destroyed after whatever the runtime keeps for the thread.
            LAST.set(Some(Last(sender)));
            block_on(yield_now());
        });
        thread.join().unwrap();
        assert_eq!(receiver.iter().collect::<Vec<_>>(), ["from another thread", "done"]);
    });
}

// Pitfall: X9
#[test]
fn an_executor_may_end_while_its_thread_unwinds() {
    within_deadline(|| {
        let dropped = Rc::new(Cell::new(0));
        let tells = dropped.clone();
        let result = catch_unwind(AssertUnwindSafe(|| {
            block_on(async {
                let (ours, theirs) = tcp_pair().await.unwrap();
                let guard = OnDrop::new(move || {
                    tells.set(tells.get() + 1);
                    // Caught with the task, although the thread is unwinding already.
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
fn a_socket_that_outlives_its_executor_gives_an_error() {
    within_deadline(|| {
        let (mut ours, _theirs) = block_on(tcp_pair()).unwrap();
        let error = block_on(async { ours.read(&mut [0]).await }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Other);
    });
}

#[test]
fn the_handle_of_a_task_that_its_executor_took_along_is_cancelled() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let task: JoinHandle<()> = executor.spawn(pending());
        drop(executor);
        assert!(block_on(task).unwrap_err().is_cancelled());
    });
}

#[test]
fn remote_spawn_after_the_executors_end_is_cancelled() {
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
        assert_eq!(dropped.load(Ordering::Relaxed), 1, "the executor ended before it looked");
        let error = before.join().unwrap_err();
        let place = format!("{}:{line}:", file!());
        assert!(error.is_cancelled());
        assert!(error.to_string().starts_with(&format!("task \"before\", spawned at {place}")));
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
        assert_eq!(executor.metrics().tasks, 0, "the waker has run the task");
        let [one, two] = [1, 2].map(|output| executor.spawn(async move { output }));
        assert_eq!(executor.block_on(async { (one.await.unwrap(), two.await.unwrap()) }), (1, 2));
    });
}

// Pitfall: X3
#[test]
fn spawn_whose_waker_panics_keeps_the_task_in_the_set() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let (sender, results) = channel();
        drop(executor.spawn(async move {
            let mut set = JoinSet::new();
            set.spawn(pending::<()>());
            let _guard = OnDrop::new(move || {
                let waker = waker_fn(|| resume_unwind(Box::new("a waker of the test")));
                assert!(set.poll_join_next(&mut Context::from_waker(&waker)).is_pending());
                // The executor is closed, so this task ends at once and wakes the set's waiter.
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

/// A task that holds a set with one such task, and so on.
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
