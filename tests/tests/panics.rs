//! Panics in user code: in a poll, a destructor, a waker or a job. The executor keeps running and
//! keeps no stale state.
//!
//! These tests panic with `resume_unwind`, which unwinds like `panic!` but prints no message.

use std::cell::{Cell, RefCell};
use std::future::{Future, Ready, pending, poll_fn};
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use executor::{
    AbortHandle, Enter, Executor, JoinError, JoinHandle, JoinSet, Metrics, Remote,
    RemoteJoinHandle, TaskInfo, TaskList, block_on, spawn, spawn_blocking, spawn_named, yield_now,
};
use reactor::fs::File;
use reactor::net::{OwnedReadHalf, TcpListener, TcpStream, UdpSocket, UnixStream};
use reactor::process::Child;
use reactor::signal::Signal;
use reactor::time::{Interval, Sleep, sleep};
use reactor::{Async, Reactor, pipe};
use tests::records::capture;
use tests::wakers::waker_fn;
use tests::{run, within_deadline};

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        resume_unwind(Box::new("dropped"));
    }
}

/// Completes with `output`, or never if it is `None`. Panics when it is dropped.
fn with_bomb<T>(mut output: Option<T>) -> impl Future<Output = T> {
    let bomb = Bomb;
    poll_fn(move |_| {
        let _ = &bomb;
        output.take().map_or(Poll::Pending, Poll::Ready)
    })
}

/// Checks that the executor still runs tasks, timers and jobs.
async fn assert_alive() {
    assert_eq!(spawn(async { 1 }).await.unwrap(), 1);
    assert_eq!(spawn_blocking(|| 2).await.unwrap(), 2);
    sleep(Duration::from_millis(1)).await;
}

/// Returns the message of a panic.
fn text(panic: Box<dyn std::any::Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast_ref::<&str>().unwrap()).to_owned(),
    }
}

// Pitfall: X5
#[test]
fn panic_in_a_poll_is_returned_by_the_handle() {
    run(|| async {
        let early = spawn(async { resume_unwind(Box::new("early")) });
        let later = spawn(async {
            yield_now().await;
            resume_unwind(Box::new("later"))
        });
        let detached = spawn(async { resume_unwind(Box::new("unseen")) });
        drop::<JoinHandle<()>>(detached);
        assert_eq!(text(early.await.unwrap_err().into_panic()), "early");
        assert_eq!(text(later.await.unwrap_err().into_panic()), "later");
        assert_alive().await;
    });
}

// Pitfall: X5
#[test]
fn panicking_destructor_of_a_future_is_contained() {
    run(|| async {
        // The future completes before its destructor panics, so the handle returns the output.
        assert_eq!(spawn(with_bomb(Some("output"))).await.unwrap(), "output");
        let aborted = spawn(with_bomb(None::<()>));
        yield_now().await;
        aborted.abort();
        assert_eq!(text(aborted.await.unwrap_err().into_panic()), "dropped");
        assert_alive().await;
    });
}

// Pitfall: X5
#[test]
fn first_of_two_panics_of_a_task_is_reported() {
    run(|| async {
        let bomb = Bomb;
        let task = spawn(poll_fn(move |_| -> Poll<()> {
            let _ = &bomb;
            resume_unwind(Box::new("first"))
        }));
        assert_eq!(text(task.await.unwrap_err().into_panic()), "first");
        assert_alive().await;
    });
}

// Pitfall: X5
#[test]
fn panicking_destructor_of_an_unused_output_is_contained() {
    run(|| async {
        drop(spawn(async { Bomb }));
        yield_now().await;
        assert_alive().await;
    });
}

// Pitfall: X5
#[test]
fn panicking_destructor_of_a_panic_is_contained() {
    run(|| async {
        drop::<JoinHandle<()>>(spawn(async { resume_unwind(Box::new(Bomb)) }));
        yield_now().await;
        let make = || -> std::future::Ready<()> { resume_unwind(Box::new(Bomb)) };
        drop(Remote::current().spawn(make));
        assert_alive().await;
    });
}

// Pitfall: X5
#[test]
fn panicking_waker_does_not_prevent_other_wakes() {
    run(|| async {
        let waker = waker_fn(|| resume_unwind(Box::new(Bomb)));
        let cx = &mut Context::from_waker(&waker);
        // The waker is called when a task ends, by a timer and by the pool.
        let mut task = spawn(yield_now());
        assert!(Pin::new(&mut task).poll(cx).is_pending());
        let mut timer = sleep(Duration::from_millis(1));
        assert!(Pin::new(&mut timer).poll(cx).is_pending());
        let (sender, receiver) = channel::<()>();
        let mut job = Box::pin(reactor::blocking::unblock(move || receiver.recv()));
        assert!(job.as_mut().poll(cx).is_pending());

        let beside = spawn(sleep(Duration::from_millis(1)));
        drop(sender);
        beside.await.unwrap();
        task.await.unwrap();
        timer.await;
        assert!(job.await.is_err());
        assert_alive().await;
    });
}

fn fail(text: &'static str) {
    resume_unwind(Box::new(text))
}

// Pitfall: X5
#[test]
fn panic_of_a_remote_task_is_returned_by_its_handle() {
    run(|| async {
        let remote = Remote::current();
        let thread = thread::spawn(move || {
            let in_make = remote.spawn(|| -> Ready<()> { resume_unwind(Box::new("in make")) });
            let in_poll = remote.spawn(|| async { fail("in poll") });
            drop(remote.spawn(|| async { fail("detached") }));
            let panics = [in_make.join(), in_poll.join()].map(|result| result.unwrap_err());
            assert_eq!(panics.map(|error| text(error.into_panic())), ["in make", "in poll"]);
        });
        while !thread.is_finished() {
            yield_now().await;
        }
        thread.join().unwrap();
        assert_alive().await;
    });
}

// Pitfall: X5
#[test]
fn pool_survives_panics_of_jobs_and_results() {
    run(|| async {
        let panic = spawn_blocking(|| -> () { resume_unwind(Box::new("job")) }).await.unwrap_err();
        assert_eq!(text(panic.into_panic()), "job");
        // This job is aborted while it runs, so its result is dropped, and panics, on a thread of
        // the pool.
        let (sender, receiver) = channel::<()>();
        let task = spawn_blocking(move || {
            receiver.recv().unwrap();
            Bomb
        });
        yield_now().await;
        task.abort();
        sender.send(()).unwrap();
        assert_alive().await;
    });
}

// Pitfall: X5
#[test]
fn dropped_executor_drops_all_tasks_despite_panics() {
    struct Dropped(Rc<Cell<usize>>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
            resume_unwind(Box::new(()));
        }
    }

    within_deadline(|| {
        let drops = Rc::new(Cell::new(0));
        let executor = Executor::new().unwrap();
        for _ in 0..3 {
            let guard = Dropped(drops.clone());
            drop(executor.spawn(async move {
                let _guard = guard;
                pending::<()>().await;
            }));
        }
        let bomb = Bomb;
        let make = move || {
            let _bomb = bomb;
            pending::<()>()
        };
        executor.tick();
        let task = executor.remote().spawn(make);
        drop(executor);
        assert_eq!(drops.get(), 3);
        assert!(task.is_finished());
    });
}

// Pitfall: X10
#[test]
fn nested_block_on_panic_names_both_locations() {
    within_deadline(|| {
        let (outer, inner) = (Cell::new(0), Cell::new(0));
        outer.set(line!() + 1);
        let panic = block_on(async {
            spawn(async {}).await.unwrap();
            inner.set(line!() + 1);
            catch_unwind(|| block_on(async {})).unwrap_err()
        });
        let (text, file) = (text(panic), file!());
        let (outer, inner) = (outer.get(), inner.get());
        assert!(text.contains(&format!("`block_on` at {file}:{inner}:")), "{text}");
        assert!(text.contains(&format!("inside `block_on` at {file}:{outer}:")), "{text}");
    });
}

// Pitfall: X10
#[test]
fn nested_block_on_fails_only_its_task() {
    within_deadline(|| {
        let other = Rc::new(Executor::new().unwrap());
        let executor = other.clone();
        block_on(async move {
            let nested = spawn(async move { executor.block_on(async {}) });
            assert!(nested.await.unwrap_err().is_panic());
            let ticks = spawn(async move { other.tick() });
            assert!(ticks.await.unwrap_err().is_panic());
            assert_alive().await;
        });
    });
}

// Pitfall: X10
#[test]
fn block_on_in_a_blocking_job_runs() {
    run(|| async {
        let job = spawn_blocking(|| block_on(async { "on a thread of the pool" }));
        assert_eq!(job.await.unwrap(), "on a thread of the pool");
        assert_alive().await;
    });
}

// Pitfall: X11
#[test]
fn executor_runs_again_after_block_on_panicked() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let survivor = executor.spawn(async {
            yield_now().await;
            "survived"
        });
        for _ in 0..3 {
            let future = async {
                yield_now().await;
                resume_unwind(Box::new("main"))
            };
            let panic = catch_unwind(AssertUnwindSafe(|| executor.block_on(future)));
            assert_eq!(text(panic.unwrap_err()), "main");
            let panic = catch_unwind(|| block_on(async { resume_unwind(Box::new("free")) }));
            assert_eq!(text(panic.unwrap_err()), "free");
        }
        assert!(catch_unwind(|| spawn(async {})).is_err(), "the panic leaves no current executor");
        assert_eq!(executor.block_on(survivor).unwrap(), "survived");
        executor.block_on(assert_alive());
        block_on(assert_alive());
        assert_eq!(executor.metrics().tasks, 0);
    });
}

// The compiler checks this. The test cannot fail at run time.
#[test]
fn public_types_are_unwind_safe() {
    fn is_unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}

    // `Output` is not unwind safe. The handles are, because a task's output cannot be accessed
    // before the handle returns it.
    type Output = Rc<RefCell<u8>>;
    is_unwind_safe::<Executor>();
    is_unwind_safe::<Enter<'_>>();
    is_unwind_safe::<JoinHandle<Output>>();
    is_unwind_safe::<AbortHandle>();
    is_unwind_safe::<JoinSet<Output>>();
    is_unwind_safe::<Remote>();
    is_unwind_safe::<RemoteJoinHandle<Cell<u8>>>();
    is_unwind_safe::<JoinError>();
    is_unwind_safe::<Metrics>();
    is_unwind_safe::<TaskInfo>();
    is_unwind_safe::<TaskList>();

    is_unwind_safe::<Rc<Reactor>>();
    is_unwind_safe::<reactor::Enter>();
    is_unwind_safe::<Async<mio::net::TcpStream>>();
    is_unwind_safe::<TcpListener>();
    is_unwind_safe::<TcpStream>();
    is_unwind_safe::<OwnedReadHalf<TcpStream>>();
    is_unwind_safe::<UdpSocket>();
    is_unwind_safe::<UnixStream>();
    is_unwind_safe::<pipe::Receiver>();
    is_unwind_safe::<File>();
    is_unwind_safe::<Child>();
    is_unwind_safe::<Signal>();
    is_unwind_safe::<Sleep>();
    is_unwind_safe::<Interval>();
}

#[test]
fn handles_work_after_block_on_panicked() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let (task, remote) = (executor.spawn(yield_now()), executor.remote());
        let mut set = JoinSet::new();
        // This compiles without `AssertUnwindSafe`.
        let panic = catch_unwind(|| executor.block_on(async { fail("main") })).unwrap_err();
        assert_eq!(text(panic), "main");
        executor.block_on(async {
            set.spawn(async { 1 });
            task.await.unwrap();
            remote.spawn(|| async {}).await.unwrap();
            assert_eq!(set.join_next().await.unwrap().unwrap(), 1);
        });
    });
}

// Pitfall: X11
#[test]
fn panic_outside_of_block_on_names_the_remedy() {
    let panic = catch_unwind(|| drop(spawn(async {}))).unwrap_err();
    let message = "no executor on this thread: call this inside `executor::block_on`, or after ";
    assert_eq!(text(panic), format!("{message}`Executor::enter`"));
    // The `block_on` of another crate polls the future, but provides no reactor.
    let bind = || futures_lite::future::block_on(TcpListener::bind("127.0.0.1:0"));
    let panic = text(catch_unwind(bind).unwrap_err());
    let message = "no reactor on this thread: await this inside `executor::block_on`";
    assert!(panic.starts_with(message) && panic.contains(file!()), "{panic}");
}

/// Panics when it is polled, and again when it is dropped.
struct TwoBombs(#[allow(dead_code, reason = "it is dropped")] Bomb);

impl Future for TwoBombs {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        resume_unwind(Box::new("polled".to_owned()))
    }
}

#[test]
fn record_of_a_panic_names_the_task_and_its_location() {
    let ((), records) = capture(|| {
        block_on(async {
            // The handle reports the first panic. Only the record reports the second.
            let error = spawn_named("careless", TwoBombs(Bomb)).await.unwrap_err();
            assert!(error.to_string().ends_with("panicked: polled"), "{error}");
            // The output is dropped after the task has ended, because no handle exists.
            drop(spawn_named("generous", async { Bomb }));
            drop(Remote::current().spawn_named("distant", || async { Bomb }));
            for _ in 0..3 {
                yield_now().await;
            }
        });
    });
    let file = file!();
    let panic = records.iter().find(|record| record.kind == "panic").unwrap();
    assert_eq!((panic.get("name"), panic.get("message")), ("careless", "polled"));
    assert!(panic.get("at").starts_with(file), "{panic:?}");
    let unseen: Vec<&str> = records.iter().map(|record| record.kind.as_str()).collect();
    let destructor = |name: &str, what: &str| {
        let (begin, end) = (format!("{what} of task "), "panicked: dropped");
        let named = format!("\"{name}\", spawned at {file}:");
        unseen
            .iter()
            .any(|text| text.starts_with(&begin) && text.contains(&named) && text.ends_with(end))
    };
    assert!(destructor("careless", "the destructor of the future"), "{unseen:#?}");
    assert!(destructor("generous", "the destructor of the output"), "{unseen:#?}");
    assert!(destructor("distant", "the destructor of the output"), "{unseen:#?}");
}

// Pitfall: X19
#[test]
fn output_destructor_panic_is_contained_at_any_time() {
    run(|| async {
        // The handle is dropped after the task has ended, and drops the output.
        let ended = spawn(async { Bomb });
        yield_now().await;
        drop(ended);
        // The executor drops this output, because the handle is already gone.
        drop(spawn(async { Bomb }));
        yield_now().await;
        // A `JoinSet` drops two of them.
        let mut set = JoinSet::new();
        set.spawn(async { Bomb });
        set.spawn(async { Bomb });
        yield_now().await;
        drop(set);
        assert_alive().await;
    });
}

// Pitfall: X19, X20
#[test]
fn dropped_executor_contains_panics_of_destructors() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let with_output = executor.spawn(async { Bomb });
        drop(executor.spawn(with_bomb::<()>(None)));
        let bomb = Bomb;
        let spawn_later = move || async move { drop(bomb) };
        executor.block_on(yield_now());
        drop(with_output);
        let later = executor.remote().spawn(spawn_later);
        let behind_it = executor.remote().spawn(async || ());
        drop(executor);
        // The handles resolve despite the panic.
        assert!(later.join().unwrap_err().is_cancelled());
        assert!(behind_it.join().unwrap_err().is_cancelled());
    });
}
