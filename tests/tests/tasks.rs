//! Tasks and their handles: results, aborts, order of polls, fairness and memory.

use std::cell::{Cell, RefCell};
use std::fs;
use std::future::{Future, pending, poll_fn};
use std::io::Write;
use std::panic::{Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use executor::{
    Executor, JoinHandle, JoinSet, Remote, block_on, spawn, spawn_blocking, spawn_named, yield_now,
};
use reactor::Async;
use reactor::io::{AsyncReadExt, copy, repeat, sink};
use reactor::time::{sleep, sleep_until};
use tests::child::in_child;
use tests::wakers::{Counter, poll};
use tests::{run, tcp_pair_with_std, within_deadline};

/// Adds one to a counter when it is dropped.
struct Dropped(Rc<Cell<usize>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// Returns a future that never completes, and a counter of its drops.
fn endless() -> (impl Future<Output = ()> + 'static, Rc<Cell<usize>>) {
    let drops = Rc::new(Cell::new(0));
    let guard = Dropped(drops.clone());
    let future = async move {
        let _guard = guard;
        pending::<()>().await;
    };
    (future, drops)
}

/// Polls the handle once with a waker that does nothing.
fn poll_once<T: 'static>(handle: &mut JoinHandle<T>) -> Poll<Result<T, executor::JoinError>> {
    Pin::new(handle).poll(&mut Context::from_waker(Waker::noop()))
}

// Pitfall: X6
#[test]
fn abort_before_the_first_poll_drops_the_future_unpolled() {
    run(|| async {
        let polled = Rc::new(Cell::new(false));
        let (sets, (future, drops)) = (polled.clone(), endless());
        let task = spawn(async move {
            sets.set(true);
            future.await;
        });
        task.abort();
        assert_eq!(
            (task.is_finished(), drops.get()),
            (false, 0),
            "the executor drops the future later"
        );
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!((polled.get(), drops.get()), (false, 1));
    });
}

// Pitfall: X6
#[test]
fn aborted_task_ends_in_the_next_round() {
    run(|| async {
        for queued in [false, true] {
            let kept = Rc::new(RefCell::new(None::<Waker>));
            let keep = kept.clone();
            let drops = Rc::new(Cell::new(0));
            let guard = Dropped(drops.clone());
            let task = spawn(poll_fn(move |cx| {
                let _ = &guard;
                keep.replace(Some(cx.waker().clone()));
                Poll::<()>::Pending
            }));
            yield_now().await;
            let waker = kept.take().unwrap();
            if queued {
                waker.wake_by_ref();
            }
            task.abort();
            assert_eq!((task.is_finished(), drops.get()), (false, 0));
            yield_now().await;
            assert_eq!((task.is_finished(), drops.get()), (true, 1));
            // The stale waker does not wake the next task in this slot.
            waker.wake();
            assert_eq!(spawn(async { "next" }).await.unwrap(), "next");
            assert!(task.await.unwrap_err().is_cancelled());
        }
    });
}

// Pitfall: X6
#[test]
fn self_abort_takes_effect_after_the_poll() {
    run(|| async {
        for ready in [false, true] {
            let own = Rc::new(RefCell::new(None::<JoinHandle<&str>>));
            let handle = own.clone();
            let drops = Rc::new(Cell::new(0));
            let (guard, sees) = (Dropped(drops.clone()), drops.clone());
            let task = spawn(async move {
                let _guard = guard;
                handle.borrow().as_ref().unwrap().abort();
                assert_eq!(sees.get(), 0, "the future is dropped only after its poll");
                if ready { "ready" } else { pending().await }
            });
            own.replace(Some(task));
            yield_now().await;
            yield_now().await;
            assert_eq!(drops.get(), 1);
            let result = own.take().unwrap().await;
            match result {
                Ok(value) => assert_eq!((ready, value), (true, "ready")),
                Err(error) => assert!(!ready && error.is_cancelled()),
            }
        }
    });
}

// Pitfall: X6
#[test]
fn abort_of_a_finished_task_has_no_effect() {
    run(|| async {
        let done = spawn(async { "output" });
        yield_now().await;
        done.abort();
        // The next task occupies its slot.
        let next = spawn(async {
            yield_now().await;
            "unharmed"
        });
        done.abort();
        assert_eq!(done.await.unwrap(), "output");
        assert_eq!(next.await.unwrap(), "unharmed");
    });
}

// Pitfall: X6
#[test]
fn second_abort_has_no_effect() {
    run(|| async {
        let (future, drops) = endless();
        let task = spawn(future);
        task.abort();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(drops.get(), 1);
    });
}

#[test]
fn dropping_the_handle_detaches_the_task() {
    run(|| async {
        let (sender, receiver) = channel();
        drop(spawn(async move {
            yield_now().await;
            sender.send("completed").unwrap();
        }));
        while receiver.try_recv().is_err() {
            yield_now().await;
        }
    });
}

// A `timeout` around a handle drops the handle. A waker that stayed stored would cause a spurious
// poll, and would hide that its task is lost.
#[test]
fn dropped_handle_keeps_no_waker() {
    run(|| async {
        let (counter, waker) = Counter::with_waker();
        let mut handle = spawn(yield_now());
        let number_of_wakers = || Arc::strong_count(&counter) - 1;
        assert!(poll(Pin::new(&mut handle), &waker).is_pending());
        assert_eq!(number_of_wakers(), 2, "one waker here and one in the handle");
        drop(handle);
        assert_eq!(number_of_wakers(), 1);
        tests::until(|| executor::tasks().len() == 1).await;
        assert_eq!(counter.wakes(), 0);
    });
}

// Pitfall: X7
#[test]
fn handle_resolves_after_the_future_is_dropped() {
    run(|| async {
        let drops = Rc::new(Cell::new(0));
        // The guard is a part of the future, so only dropping the future drops it.
        let guarded = |ready: bool| {
            let guard = Dropped(drops.clone());
            poll_fn(move |_| {
                let _ = &guard;
                if ready { Poll::Ready("output") } else { Poll::Pending }
            })
        };
        assert_eq!(spawn(guarded(true)).await.unwrap(), "output");
        assert_eq!(drops.get(), 1);

        let task = spawn(guarded(false));
        yield_now().await;
        task.abort();
        assert!(task.await.is_err());
        assert_eq!(drops.get(), 2);

        let guard = Dropped(drops.clone());
        let panics = spawn(poll_fn(move |_| -> Poll<()> {
            let _ = &guard;
            resume_unwind(Box::new(()))
        }));
        assert!(panics.await.unwrap_err().is_panic());
        assert_eq!(drops.get(), 3);
    });
}

// Pitfall: X7
#[test]
fn task_is_unfinished_while_its_future_is_being_dropped() {
    struct ChecksIsFinished(Rc<RefCell<Option<JoinHandle<()>>>>, Rc<Cell<Option<bool>>>);

    impl Drop for ChecksIsFinished {
        fn drop(&mut self) {
            self.1.set(self.0.borrow().as_ref().map(JoinHandle::is_finished));
        }
    }

    run(|| async {
        let own = Rc::new(RefCell::new(None));
        let seen = Rc::new(Cell::new(None));
        let guard = ChecksIsFinished(own.clone(), seen.clone());
        own.replace(Some(spawn(poll_fn(move |_| {
            let _ = &guard;
            Poll::Ready(())
        }))));
        yield_now().await;
        assert_eq!(seen.get(), Some(false));
        assert!(own.take().unwrap().is_finished());
    });
}

// Pitfall: X4, X6
#[test]
fn task_may_abort_itself_while_its_future_is_dropped() {
    struct Aborts(Rc<RefCell<Option<JoinHandle<()>>>>);

    impl Drop for Aborts {
        fn drop(&mut self) {
            self.0.borrow().as_ref().unwrap().abort();
        }
    }

    run(|| async {
        for ready in [false, true] {
            let own = Rc::new(RefCell::new(None));
            let aborts = Aborts(own.clone());
            own.replace(Some(spawn(poll_fn(move |_| {
                let _ = &aborts;
                if ready { Poll::Ready(()) } else { Poll::Pending }
            }))));
            yield_now().await;
            if !ready {
                own.borrow().as_ref().unwrap().abort();
            }
            let task = own.take().unwrap();
            assert_eq!(task.await.is_ok(), ready);
            assert_eq!(spawn(async { "next" }).await.unwrap(), "next");
        }
    });
}

// Pitfall: X8
#[test]
fn cyclic_tasks_are_dropped_with_the_executor() {
    within_deadline(|| {
        let drops = Rc::new(Cell::new(0));
        let executor = Executor::new().unwrap();
        executor.block_on(async {
            let handles = [(); 2].map(|()| Rc::new(RefCell::new(None::<JoinHandle<()>>)));
            for (mine, other) in [(0, 1), (1, 0)] {
                let guard = Dropped(drops.clone());
                let awaited = handles[other].clone();
                let task = spawn(async move {
                    let _guard = guard;
                    yield_now().await;
                    let handle = awaited.take().unwrap();
                    drop(handle.await);
                });
                handles[mine].replace(Some(task));
            }
            let guard = Dropped(drops.clone());
            let own = Cell::new(None);
            drop(spawn(poll_fn(move |cx| {
                let _ = &guard;
                own.set(Some(cx.waker().clone()));
                Poll::<()>::Pending
            })));
            for _ in 0..5 {
                yield_now().await;
            }
        });
        assert_eq!((executor.metrics().tasks, drops.get()), (3, 0));
        drop(executor);
        assert_eq!(drops.get(), 3);
    });
}

#[test]
fn handle_wakes_the_task_that_polled_it_last() {
    run(|| async {
        let (sender, receiver) = channel::<()>();
        let mut task = spawn_blocking(move || receiver.recv());
        yield_now().await;
        // This task polls the handle first. Then another task awaits it.
        assert!(poll_once(&mut task).is_pending());
        poll_fn(|cx| {
            assert!(Pin::new(&mut task).poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        let other = spawn(task);
        yield_now().await;
        sender.send(()).unwrap();
        other.await.unwrap().unwrap().unwrap();
    });
}

#[test]
#[should_panic(expected = "a handle gives its result only once")]
fn handle_polled_after_its_result_panics() {
    run(|| async {
        let mut task = spawn(async {});
        yield_now().await;
        assert!(poll_once(&mut task).is_ready());
        let _ = poll_once(&mut task);
    });
}

#[test]
fn join_set_returns_results_in_order_of_completion() {
    run(|| async {
        let mut set = JoinSet::new();
        assert!(set.is_empty() && set.join_next().await.is_none());
        for yields in [3, 1, 2] {
            set.spawn(async move {
                for _ in 0..yields {
                    yield_now().await;
                }
                yields
            });
        }
        set.spawn(pending());
        let mut order = Vec::new();
        while order.len() < 3 {
            order.push(set.join_next().await.unwrap().unwrap());
        }
        assert_eq!((order.as_slice(), set.len()), ([1, 2, 3].as_slice(), 1));
    });
}

#[test]
fn dropped_join_set_aborts_its_tasks() {
    run(|| async {
        let (future, drops) = endless();
        let mut set = JoinSet::new();
        set.spawn(future);
        set.spawn(async {});
        set.join_next().await.unwrap().unwrap();
        assert_eq!(drops.get(), 0);
        drop(set);
        yield_now().await;
        assert_eq!(drops.get(), 1);
    });
}

#[test]
fn join_set_returns_panics_and_cancellations() {
    run(|| async {
        let mut set = JoinSet::new();
        set.spawn_named("panics", async { resume_unwind(Box::new("why")) });
        let error = set.join_next().await.unwrap().unwrap_err();
        assert!(error.is_panic() && error.to_string().contains("\"panics\""));
        for _ in 0..3 {
            set.spawn(pending::<()>());
        }
        set.abort_all();
        set.spawn(async {});
        let mut counts = [0, 0];
        while let Some(result) = set.join_next().await {
            counts[usize::from(result.is_ok())] += 1;
        }
        assert_eq!(counts, [3, 1]);
    });
}

#[test]
fn join_set_waits_for_a_pending_task() {
    run(|| async {
        let mut set = JoinSet::new();
        set.spawn(sleep(Duration::from_millis(2)));
        set.join_next().await.unwrap().unwrap();
    });
}

#[test]
fn spawn_blocking_returns_the_result_or_the_panic() {
    run(|| async {
        let here = thread::current().id();
        assert_ne!(spawn_blocking(|| thread::current().id()).await.unwrap(), here);
        let panics = spawn_blocking(|| resume_unwind(Box::new("in the pool")));
        let panic = panics.await.unwrap_err().into_panic();
        assert_eq!(panic.downcast_ref(), Some(&"in the pool"));
    });
}

#[test]
fn errors_name_the_task_and_its_spawn_location() {
    run(|| async {
        let (line, task) =
            (line!(), spawn_named("worker", async { resume_unwind(Box::new("so")) }));
        let text = task.await.unwrap_err().to_string();
        assert!(text.contains(&format!("\"worker\", spawned at {}:{line}:", file!())), "{text}");
        assert!(text.ends_with("panicked: so"), "{text}");

        let task = spawn(async { resume_unwind(Box::new(String::from("with a String"))) });
        let text = task.await.unwrap_err().to_string();
        assert!(text.contains("panicked: with a String"), "{text}");

        let here = Location::caller();
        let task = spawn(pending::<()>());
        task.abort();
        let error = task.await.unwrap_err();
        let text = format!("{error:?}");
        assert!(text.contains(&format!("{}:", here.file())), "{text}");
        assert!(text.contains("was cancelled"), "{text}");
        assert!(std::io::Error::from(error).to_string().contains("was cancelled"));

        // A wrapper of `spawn` can report the location of its own caller (`#[track_caller]`).
        let mut set = JoinSet::new();
        let line = line!() + 1;
        set.spawn(async { resume_unwind(Box::new(())) });
        let text = set.join_next().await.unwrap().unwrap_err().to_string();
        assert!(text.contains(&format!("{}:{line}:", file!())), "{text}");
    });
}

#[test]
fn yielding_tasks_are_polled_in_rotation() {
    run(|| async {
        let order = Rc::new(RefCell::new(Vec::new()));
        let tasks = [0, 1, 2].map(|n| {
            let order = order.clone();
            spawn(async move {
                for _ in 0..4 {
                    order.borrow_mut().push(n);
                    yield_now().await;
                }
            })
        });
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.borrow(), [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]);
    });
}

#[test]
fn round_polls_all_tasks_that_were_queued_when_it_began() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        executor.block_on(async {
            let ran = Rc::new(Cell::new(0));
            for _ in 0..1_000 {
                let ran = ran.clone();
                drop(spawn(async move { ran.set(ran.get() + 1) }));
            }
            while ran.get() < 1_000 {
                yield_now().await;
            }
        });
        // The first round ended after 64 polls. The next round polled all tasks that were queued by
        // then.
        assert_eq!(executor.metrics().turns, 1);
    });
}

// Method: the reader, the timer and the spinner are due before one of them is polled. The spinner
// counts its polls.
// Pitfall: E4
#[test]
fn yielding_task_delays_events_by_at_most_one_round() {
    run(|| async {
        let (mut ours, mut peer) = tcp_pair_with_std().await.unwrap();
        let due = Instant::now() + Duration::from_millis(1);
        let reader = spawn(async move { ours.read(&mut [0; 8]).await });
        let timer = spawn(sleep_until(due));
        let spins = Rc::new(Cell::new(0));
        let counted = spins.clone();
        yield_now().await;
        peer.write_all(b"x").unwrap();
        while Instant::now() < due {}
        let spinner = spawn(async move {
            loop {
                counted.set(counted.get() + 1);
                yield_now().await;
            }
        });
        timer.await.unwrap();
        assert_eq!(reader.await.unwrap().unwrap(), 1);
        assert!(spins.get() <= 64, "{} polls of the spinner", spins.get());
        spinner.abort();
    });
}

// A task that only yields may be polled many times in a round. A task that has spent its budget may
// not.
// Pitfall: E5
#[test]
fn task_without_budget_is_polled_once_per_turn() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        executor.block_on(async {
            drop(spawn(copy(repeat(7), sink())));
            for _ in 0..10 {
                sleep(Duration::from_millis(1)).await;
            }
        });
        // The copy is polled once in each turn, and the main future once for each sleep.
        let metrics = executor.metrics();
        assert!(metrics.polls <= metrics.turns + 12, "{metrics:?}");
    });
}

// Two futures share one task. A yield of one future must not spend the budget that the other needs
// for its reads.
#[test]
fn yielding_future_does_not_starve_its_sibling() {
    run(|| async {
        let (mut ours, mut peer) = tcp_pair_with_std().await.unwrap();
        peer.write_all(b"x").unwrap();
        let computes = async {
            loop {
                yield_now().await;
            }
        };
        let reads = async { ours.read(&mut [0; 8]).await };
        assert_eq!(futures_lite::future::or(computes, reads).await.unwrap(), 1);
    });
}

// Pitfall: E5
#[test]
fn always_ready_source_yields_after_128_operations() {
    run(|| async {
        let operations = Rc::new(Cell::new(0));
        let counted = operations.clone();
        let busy = spawn(async move {
            let (socket, _peer) = mio::net::UnixStream::pair().unwrap();
            let socket = Async::new(socket).unwrap();
            loop {
                socket.read_with(|_| Ok(())).await.unwrap();
                counted.set(counted.get() + 1);
            }
        });
        yield_now().await;
        for round in 1..=10 {
            assert_eq!(operations.get(), 128 * round);
            yield_now().await;
        }
        busy.abort();
    });
}

/// A future of this size that completes in its second poll.
struct Large<const N: usize>([u8; N], bool);

impl<const N: usize> Future for Large<N> {
    type Output = u8;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u8> {
        if std::mem::replace(&mut self.1, true) {
            return Poll::Ready(self.0[N - 1]);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Runs `f` on a thread with a stack of this size.
fn on_a_stack_of<T: Send + 'static>(size: usize, f: impl FnOnce() -> T + Send + 'static) -> T {
    thread::Builder::new().stack_size(size).spawn(f).unwrap().join().unwrap()
}

const MIB: usize = 1 << 20;

// Method: a copy on the stack would overflow it, which aborts the process.
// Pitfall: X14
#[test]
fn boxed_future_of_2_mib_is_spawned_on_a_stack_of_256_kib() {
    let boxed = on_a_stack_of(32 * MIB, || Box::pin(Large([7; 2 * MIB], false)));
    let result =
        on_a_stack_of(MIB / 4, move || executor::block_on(async { spawn(boxed).await.unwrap() }));
    assert_eq!(result, 7);
}

// Method: the test compares the resident memory before and after. A second copy of each future
// would double the difference. Runs in a process of its own, because the memory of other tests
// would count too.
// Pitfall: X14
#[test]
fn unboxed_future_is_stored_once() {
    fn resident() -> usize {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    in_child("unboxed_future_is_stored_once", || {
        let stored = on_a_stack_of(32 * MIB, || {
            executor::block_on(async {
                // Touch the stack before measuring.
                drop(spawn(Large([1; MIB], false)));
                let before = resident();
                for _ in 0..64 {
                    drop(spawn(Large([1; MIB], false)));
                }
                // Each task is polled once and has not completed.
                yield_now().await;
                resident() - before
            })
        });
        assert!(stored < 64 * MIB * 3 / 2, "64 futures of 1 MiB take {stored} bytes");
    });
}

// Method: the stack has space for the caller's copy and two more. Without optimization, the
// compiler makes a copy in each call that passes the future on.
// Pitfall: X14
#[test]
fn unboxed_future_is_copied_at_most_twice() {
    let copies = if cfg!(debug_assertions) { COPIES_UNOPTIMIZED } else { 2 };
    let result = on_a_stack_of(MIB / 2 + (1 + copies) * MIB, || {
        executor::block_on(async { spawn(Large([7; MIB], false)).await.unwrap() })
    });
    assert_eq!(result, 7);
}

/// The number of copies on the stack in a build without optimization.
const COPIES_UNOPTIMIZED: usize = 6;

// Pitfall: X17
#[test]
fn task_spawned_outside_block_on_runs_in_the_next_tick() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let task = executor.spawn(async { 1 });
        executor.tick();
        assert!(task.is_finished());

        let task = executor.spawn(async { 2 });
        executor.block_on(yield_now());
        assert!(task.is_finished());

        let task = executor.spawn(async { 3 });
        executor.block_on(async {});
        assert!(task.is_finished());
    });
}

#[test]
fn abort_handle_spares_a_later_task_in_the_same_slot() {
    run(|| async {
        let first = spawn(async {});
        let abort = first.abort_handle();
        first.await.unwrap();
        let second = spawn(async {
            yield_now().await;
            "unharmed"
        });
        abort.abort();
        assert!(abort.is_finished());
        assert_eq!(second.await.unwrap(), "unharmed");
    });
}

#[test]
fn abort_handle_cancels_a_waiting_task() {
    run(|| async {
        let (future, drops) = endless();
        let task = spawn(future);
        let abort = task.abort_handle();
        yield_now().await;
        abort.abort();
        yield_now().await;
        assert!(abort.is_finished());
        assert_eq!(drops.get(), 1);
        assert!(task.await.unwrap_err().is_cancelled());
    });
}

#[test]
fn join_set_detaches_or_shuts_down_its_tasks() {
    run(|| async {
        let ran = Rc::new(Cell::new(false));
        let (set_ran, (future, drops)) = (ran.clone(), endless());
        let mut set = JoinSet::new();
        set.spawn(async move {
            yield_now().await;
            set_ran.set(true);
        });
        set.detach_all();
        assert!(set.is_empty());
        set.spawn(future);
        set.shutdown().await;
        assert_eq!((ran.get(), drops.get(), set.len()), (true, 1, 0));
    });
}

/// Runs the executor when it is dropped.
struct Ticks(Rc<Executor>);

impl Drop for Ticks {
    fn drop(&mut self) {
        self.0.tick();
    }
}

#[test]
fn join_all_returns_the_outputs_in_order_of_completion() {
    run(|| async {
        let mut set = JoinSet::new();
        set.spawn(async {
            yield_now().await;
            "second"
        });
        set.spawn(async { "first" });
        assert_eq!(set.join_all().await, ["first", "second"]);
    });
}

#[test]
fn join_all_passes_a_panic_on() {
    let panic = catch_unwind(|| {
        block_on(async {
            let mut set = JoinSet::new();
            set.spawn(async { panic!("no luck") });
            let _: Vec<()> = set.join_all().await;
        });
    });
    assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"no luck"));
}

#[test]
fn join_all_panics_if_a_task_was_aborted() {
    let panic = catch_unwind(|| {
        block_on(async {
            let mut set = JoinSet::new();
            set.spawn(pending::<()>());
            set.abort_all();
            set.join_all().await;
        });
    });
    let panic = panic.unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.ends_with("was cancelled"), "{message}");
}

#[test]
fn detach_all_empties_the_set_despite_a_tick() {
    within_deadline(|| {
        let executor = Rc::new(Executor::new().unwrap());
        let (mut set, ticks) = (JoinSet::new(), executor.clone());
        executor.block_on(async {
            set.spawn(async move { Some(Ticks(ticks)) });
            yield_now().await;
            set.spawn(async { None });
        });
        set.detach_all();
        assert!(set.try_join_next().is_none());
    });
}

#[test]
fn join_set_gives_the_ids_of_its_tasks() {
    run(|| async {
        let mut set = JoinSet::new();
        let fails = set.spawn(async { std::panic::resume_unwind(Box::new("fails")) }).id();
        let works = set.spawn(async { 7 }).id();
        let (id, result) = set.join_next_with_id().await.unwrap();
        let panic = result.unwrap_err().try_into_panic().unwrap();
        assert_eq!((id, panic.downcast_ref()), (fails, Some(&"fails")));
        let (id, result) = set.join_next_with_id().await.unwrap();
        assert_eq!((id, result.unwrap()), (works, 7));
        assert!(set.join_next_with_id().await.is_none());

        let task = spawn(std::future::pending::<()>());
        assert_eq!(task.id(), task.abort_handle().id());
        task.abort();
        assert!(task.await.unwrap_err().try_into_panic().unwrap_err().is_cancelled());
    });
}

#[test]
fn debug_output_shows_the_state() {
    run(|| async {
        let mut task = spawn_named("named", yield_now());
        let abort = task.abort_handle();
        let mut set = JoinSet::new();
        set.spawn(async {});
        set.spawn(yield_now());
        let remote = Remote::current();
        let other = remote.spawn(yield_now);
        assert_eq!(
            format!("{task:?} {abort:?} {set:?} {other:?}"),
            "JoinHandle { task: 1, name: \"named\", finished: false } \
             AbortHandle { task: 1, finished: false } \
             JoinSet { len: 2, finished: 0 } \
             RemoteJoinHandle { finished: false }"
        );
        assert_eq!(format!("{remote:?}"), "Remote(Inbox { messages: 1, asleep: false })");
        yield_now().await;
        (&mut task).await.unwrap();
        assert_eq!(
            format!("{task:?} {abort:?} {set:?} {other:?}"),
            "JoinHandle(joined) \
             AbortHandle { task: 1, finished: true } \
             JoinSet { len: 2, finished: 2 } \
             RemoteJoinHandle { task: 4, finished: true }"
        );
    });
    let executor = Executor::new().unwrap();
    let debug = format!("{executor:?}");
    assert!(debug.starts_with("Executor { metrics: Metrics { polls: 0, "), "{debug}");
    assert_eq!(format!("{:?}", executor.enter()), format!("Enter({debug})"));
}
