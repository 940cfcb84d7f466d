//! Foreign code may panic anywhere: in a poll, a destructor, a waker, a job. The loop goes on, and
//! nothing is left behind.
//!
//! The panics here are `resume_unwind`: they unwind as any other, but print nothing.

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

/// Ends with an output, keeping the bomb until the future is dropped.
fn with_bomb<T>(mut output: Option<T>) -> impl Future<Output = T> {
    let bomb = Bomb;
    poll_fn(move |_| {
        let _ = &bomb;
        output.take().map_or(Poll::Pending, Poll::Ready)
    })
}

/// The loop still runs tasks, timers and jobs.
async fn assert_alive() {
    assert_eq!(spawn(async { 1 }).await.unwrap(), 1);
    assert_eq!(spawn_blocking(|| 2).await.unwrap(), 2);
    sleep(Duration::from_millis(1)).await;
}

/// What a panic said.
fn text(panic: Box<dyn std::any::Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast_ref::<&str>().unwrap()).to_owned(),
    }
}

// Pitfall: X5
#[test]
fn a_panic_in_a_poll_stays_in_the_handle() {
    run(|| async {
        let at_once = spawn(async { resume_unwind(Box::new("at once")) });
        let later = spawn(async {
            yield_now().await;
            resume_unwind(Box::new("later"))
        });
        let detached = spawn(async { resume_unwind(Box::new("unseen")) });
        drop::<JoinHandle<()>>(detached);
        assert_eq!(text(at_once.await.unwrap_err().into_panic()), "at once");
        assert_eq!(text(later.await.unwrap_err().into_panic()), "later");
        assert_alive().await;
    });
}

// Pitfall: X5
#[test]
fn a_panic_in_the_destructor_of_a_future_does_not_end_the_loop() {
    run(|| async {
        // The output was there before: it counts.
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
fn of_a_panic_in_a_poll_and_a_second_one_in_the_destructor_the_first_is_told() {
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
fn a_panic_in_the_destructor_of_an_output_that_nobody_wants_does_not_end_the_loop() {
    run(|| async {
        drop(spawn(async { Bomb }));
        yield_now().await;
        assert_alive().await;
    });
}

// Pitfall: X5
#[test]
fn a_panic_in_the_destructor_of_a_panic_does_not_end_the_loop() {
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
fn a_waker_that_panics_costs_nobody_else_the_wake() {
    run(|| async {
        let waker = waker_fn(|| resume_unwind(Box::new(Bomb)));
        let cx = &mut Context::from_waker(&waker);
        // Called at the end of a task, by a timer, and by a source.
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
fn a_panic_in_what_another_thread_spawns_stays_its_own() {
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
fn a_panic_in_a_job_reaches_who_waits_and_the_pool_goes_on() {
    run(|| async {
        let panic = spawn_blocking(|| -> () { resume_unwind(Box::new("job")) }).await.unwrap_err();
        assert_eq!(text(panic.into_panic()), "job");
        // Nobody waits for this one any more, and its result panics on the pool's thread.
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
fn destructors_that_panic_at_the_end_of_the_executor_cost_no_other_task_its_drop() {
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
fn a_nested_block_on_panics_and_names_both_places() {
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
fn a_nested_block_on_fails_its_task_alone_and_on_another_thread_it_may_run() {
    within_deadline(|| {
        let other = Rc::new(Executor::new().unwrap());
        let executor = other.clone();
        block_on(async move {
            let nested = spawn(async move { executor.block_on(async {}) });
            assert!(nested.await.unwrap_err().is_panic());
            let ticks = spawn(async move { other.tick() });
            assert!(ticks.await.unwrap_err().is_panic());
            assert_eq!(
                spawn_blocking(|| block_on(async { "elsewhere" })).await.unwrap(),
                "elsewhere"
            );
            assert_alive().await;
        });
    });
}

// Pitfall: X11
#[test]
fn after_a_block_on_that_panicked_the_same_executor_and_the_same_thread_run_again() {
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
        assert!(
            catch_unwind(|| spawn(async {})).is_err(),
            "no executor is left as the current one"
        );
        assert_eq!(executor.block_on(survivor).unwrap(), "survived");
        executor.block_on(assert_alive());
        block_on(assert_alive());
        assert_eq!(executor.metrics().tasks, 0);
    });
}

// The compiler checks this: the test cannot fail at run time.
#[test]
fn public_types_may_be_used_after_a_caught_panic() {
    fn may_be_used<T: UnwindSafe + RefUnwindSafe>() {}

    // The output of a task is out of reach until the handle returns it.
    type Output = Rc<RefCell<u8>>;
    may_be_used::<Executor>();
    may_be_used::<Enter<'_>>();
    may_be_used::<JoinHandle<Output>>();
    may_be_used::<AbortHandle>();
    may_be_used::<JoinSet<Output>>();
    may_be_used::<Remote>();
    may_be_used::<RemoteJoinHandle<Cell<u8>>>();
    may_be_used::<JoinError>();
    may_be_used::<Metrics>();
    may_be_used::<TaskInfo>();
    may_be_used::<TaskList>();

    may_be_used::<Rc<Reactor>>();
    may_be_used::<reactor::Enter>();
    may_be_used::<Async<mio::net::TcpStream>>();
    may_be_used::<TcpListener>();
    may_be_used::<TcpStream>();
    may_be_used::<OwnedReadHalf<TcpStream>>();
    may_be_used::<UdpSocket>();
    may_be_used::<UnixStream>();
    may_be_used::<pipe::Receiver>();
    may_be_used::<File>();
    may_be_used::<Child>();
    may_be_used::<Signal>();
    may_be_used::<Sleep>();
    may_be_used::<Interval>();
}

#[test]
fn handles_and_executor_work_after_block_on_panicked() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let (task, remote) = (executor.spawn(yield_now()), executor.remote());
        let mut set = JoinSet::new();
        // No `AssertUnwindSafe` is needed.
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
fn outside_of_block_on_spawn_and_sockets_say_what_to_do() {
    let panic = catch_unwind(|| drop(spawn(async {}))).unwrap_err();
    let says = "no executor on this thread: call this inside `executor::block_on`, or after ";
    assert_eq!(text(panic), format!("{says}`Executor::enter`"));
    // The `block_on` of another crate polls it, but has no reactor.
    let bind = || futures_lite::future::block_on(TcpListener::bind("127.0.0.1:0"));
    let panic = text(catch_unwind(bind).unwrap_err());
    let says = "no reactor on this thread: await this inside `executor::block_on`";
    assert!(panic.starts_with(says) && panic.contains(file!()), "{panic}");
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
            // The output is dropped after the task has ended, because nobody awaits it.
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
fn panicking_destructor_of_an_output_is_contained_at_any_time() {
    run(|| async {
        // Dropped with the handle after the task has ended.
        let ended = spawn(async { Bomb });
        yield_now().await;
        drop(ended);
        // Dropped by the loop, because the handle is gone already.
        drop(spawn(async { Bomb }));
        yield_now().await;
        // Two in one set.
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
fn panics_of_destructors_do_not_escape_the_drop_of_an_executor() {
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
        // The handles are told in spite of the panic.
        assert!(later.join().unwrap_err().is_cancelled());
        assert!(behind_it.join().unwrap_err().is_cancelled());
    });
}
