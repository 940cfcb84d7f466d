//! Objects of one executor that are awaited in another executor on the same thread.

use std::future::{Future, pending};
use std::net::UdpSocket as StdUdpSocket;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::{Pin, pin};
use std::process::Stdio;
use std::task::{Context, Waker};
use std::time::Duration;

use executor::{Executor, JoinSet, block_on, spawn, tasks};
use reactor::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ErrorKind};
use reactor::net::{TcpListener, UdpSocket};
use reactor::process::Command;
use reactor::signal::Signal;
use reactor::time::{now, pause, sleep, timeout};
use reactor::{Reactor, pipe};
use signal_hook::consts::SIGUSR1;
use tests::wakers::{Counter, poll};
use tests::{tcp_pair, turn_until, within_deadline};

/// Returns an executor, and the location at which it was created.
#[track_caller]
fn executor() -> (Executor, &'static Location<'static>) {
    (Executor::new().unwrap(), Location::caller())
}

/// Awaits in a new executor an object of `owner`, and checks that the error names both executors.
#[track_caller]
fn expect_error<T: std::fmt::Debug>(
    future: impl Future<Output = std::io::Result<T>>,
    owner: &'static Location<'static>,
) {
    let (other, here) = executor();
    let error = other.block_on(future).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other);
    let text = error.to_string();
    assert!(text.contains(&owner.to_string()) && text.contains(&here.to_string()), "{text}");
}

#[test]
fn source_of_another_executor_fails_and_names_both() {
    within_deadline(|| {
        let (first, owner) = executor();
        let (mut stream, mut peer) = first.block_on(tcp_pair()).unwrap();
        expect_error(stream.read(&mut [0]), owner);
        expect_error(stream.write_all(&vec![0; 64 << 20]), owner);

        let listener = first.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        expect_error(listener.accept(), owner);
        let socket = first.block_on(UdpSocket::bind("127.0.0.1:0")).unwrap();
        expect_error(socket.recv_from(&mut [0]), owner);
        let (_sender, mut receiver) = first.block_on(async { pipe::pipe() }).unwrap();
        expect_error(receiver.read(&mut [0]), owner);
        let mut signal = first.block_on(async { Signal::new(SIGUSR1) }).unwrap();
        expect_error(signal.recv(), owner);
        let mut cat = Command::new("cat");
        let mut child = first.block_on(async { cat.stdin(Stdio::piped()).spawn() }).unwrap();
        let _stdin = child.stdin.take();
        expect_error(child.wait(), owner);

        // An operation that need not wait works, and each object still works in its own executor.
        block_on(async { peer.write_all(b"x").await.unwrap() });
        assert_eq!(first.block_on(stream.read(&mut [0])).unwrap(), 1);
        let client = StdUdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        assert_eq!(first.block_on(socket.recv_from(&mut [0])).unwrap().0, 1);
        first.block_on(child.kill()).unwrap();
    });
}

#[test]
fn sleep_moves_to_the_executor_that_awaits_it() {
    within_deadline(|| {
        let _clock = pause();
        let (first, _) = executor();
        let start = now();
        let mut sleep = pin!(sleep(Duration::from_millis(200)));
        first.block_on(async {
            assert!(timeout(Duration::from_millis(1), sleep.as_mut()).await.is_err());
        });
        assert!(first.reactor().next_deadline().is_some());
        block_on(async {
            assert!(poll(sleep.as_mut(), Waker::noop()).is_pending());
            assert_eq!(first.reactor().next_deadline(), None);
            sleep.await;
        });
        assert_eq!(now() - start, Duration::from_millis(200));
    });
}

/// Checks that `act` panics, and that the message contains all `names`.
#[track_caller]
fn expect_panic(names: &[String], act: impl FnOnce()) {
    let panic = catch_unwind(AssertUnwindSafe(act)).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(names.iter().all(|name| text.contains(name)), "{text}");
}

#[test]
fn join_handle_of_another_executor_panics_and_names_both() {
    within_deadline(|| {
        let here = |line: u32| format!("{}:{line}:", file!());
        let (first, _) = executor();
        let (task, spawned) = (first.spawn(pending::<()>()), line!());
        let blocked = line!() + 1;
        expect_panic(&[here(spawned), here(blocked)], || _ = block_on(task));

        let mut set = JoinSet::new();
        first.block_on(async { drop(set.spawn(pending::<()>())) });
        let blocked = line!() + 1;
        expect_panic(&[here(blocked)], || _ = block_on(set.join_next()));
        assert_eq!(set.len(), 1);

        // The handle of a finished task works. The handle of a dropped executor reports a cancelled
        // task.
        let mut done = first.spawn(async { 7 });
        assert_eq!(first.block_on(&mut done).unwrap(), 7);
        let (done, waiting) = (first.spawn(async { 7 }), first.spawn(pending::<()>()));
        while first.tick() {}
        assert_eq!(block_on(done).unwrap(), 7);
        drop(first);
        assert!(block_on(waiting).unwrap_err().is_cancelled());
    });
}

#[test]
fn alternating_executors_await_each_others_tasks() {
    within_deadline(|| {
        let (first, second) = (Executor::new().unwrap(), Executor::new().unwrap());
        let task = first.spawn(async {
            sleep(Duration::from_millis(2)).await;
            7
        });
        let other = second.spawn(task);
        while !other.is_finished() {
            first.tick();
            second.tick();
        }
        assert_eq!(second.block_on(other).unwrap().unwrap(), 7);
    });
}

// A program that drives two reactors on one thread enters the reactor whose sources it polls.
#[test]
fn source_may_wait_if_no_other_reactor_is_entered() {
    within_deadline(|| {
        let (first, second) = (Reactor::new().unwrap(), Reactor::new().unwrap());
        let (counter, waker) = Counter::with_waker();
        let cx = &mut Context::from_waker(&waker);
        let entered = first.enter();
        let (mut sender, mut receiver) = pipe::pipe().unwrap();
        drop(entered);
        let mut read = |cx: &mut Context<'_>| {
            Pin::new(&mut receiver).poll_read(cx, &mut [0]).map(|read| read.ok())
        };
        assert!(read(cx).is_pending());
        let outer = second.enter();
        {
            let _inner = first.enter();
            assert!(read(cx).is_pending());
        }
        assert_eq!(read(cx), std::task::Poll::Ready(None));
        assert!(poll(pin!(sender.write_all(b"x")), &waker).is_ready());
        turn_until(&first, || counter.wakes() == 1);
        assert_eq!(read(cx), std::task::Poll::Ready(Some(1)));
        drop(outer);
    });
}

#[test]
fn failing_reads_in_a_loop_do_not_starve_a_timer() {
    within_deadline(|| {
        let (first, _) = executor();
        let (mut stream, _peer) = first.block_on(tcp_pair()).unwrap();
        block_on(async {
            drop(executor::spawn(async move {
                loop {
                    let _wrong_reactor = stream.read(&mut [0]).await.unwrap_err();
                }
            }));
            sleep(Duration::from_millis(10)).await;
        });
    });
}

#[test]
fn entered_executor_owns_what_is_created_before_block_on() {
    within_deadline(|| {
        let (executor, _) = executor();
        let entered = executor.enter();
        let (mut sender, mut receiver) = pipe::pipe().unwrap();
        let timer = sleep(Duration::from_millis(1));
        let reads = spawn(async move { receiver.read(&mut [0]).await.unwrap() });
        let mut set = JoinSet::new();
        set.spawn(timer);
        assert_eq!((tasks().len(), reads.is_finished()), (2, false));
        // `block_on` and `tick` restore the current executor.
        executor.block_on(async { sender.write_all(b"x").await.unwrap() });
        executor.tick();
        block_on(executor::yield_now());
        drop(spawn(async {}));
        drop(entered);
        assert!(
            catch_unwind(|| drop(spawn(async {}))).is_err(),
            "no executor is current after the guard is dropped"
        );
        assert_eq!(executor.block_on(reads).unwrap(), 1);
        executor.block_on(set.join_next()).unwrap().unwrap();
        assert_eq!(executor.metrics().tasks, 0);
    });
}

#[test]
fn guards_of_entered_executors_nest() {
    within_deadline(|| {
        let ((first, _), (second, _)) = (executor(), executor());
        let counts = || (first.metrics().tasks, second.metrics().tasks);
        let outer = first.enter();
        {
            let _inner = second.enter();
            drop(spawn(pending::<()>()));
            assert_eq!(counts(), (0, 1));
        }
        drop(spawn(pending::<()>()));
        assert_eq!(counts(), (1, 1));
        drop(outer);

        // A task may enter another executor temporarily.
        first.block_on(async {
            let entered = second.enter();
            let task = spawn(async { 7 });
            drop(entered);
            drop(spawn(pending::<()>()));
            // The future of `block_on` counts as a task too.
            assert_eq!(counts(), (3, 2));
            drop(task);
        });
        while second.tick() {}
        assert_eq!(counts(), (2, 1));
    });
}
