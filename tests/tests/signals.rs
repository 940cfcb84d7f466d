//! Signals: every watcher of a signal receives it, and a burst of signals disturbs no other wait.

use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::mpsc::channel;
use std::task::Waker;
use std::time::{Duration, Instant};

use executor::Executor;
use futures_lite::StreamExt;
use reactor::Reactor;
use reactor::io::ErrorKind;
use reactor::signal::{self, Signal, ctrl_c};
use reactor::time::{sleep, timeout};
use rustix::net::{SendFlags, send};
use rustix::thread::gettid;
use signal_hook::consts::{FORBIDDEN, SIGBUS, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::low_level::raise;
use tests::process::is_asleep;
use tests::records::capture;
use tests::wakers::poll;
use tests::{child, run, within_deadline};

// Pitfall: G1
#[test]
fn every_watcher_receives_the_signal() {
    within_deadline(|| {
        let (ready, begin) = channel();
        let (go, wait) = channel();
        let other = std::thread::spawn(move || {
            executor::block_on(async move {
                let mut third = Signal::new(SIGUSR1).unwrap();
                ready.send(()).unwrap();
                third.recv().await.unwrap();
                wait.recv().unwrap();
            });
        });
        executor::block_on(async {
            let mut first = Signal::new(SIGUSR1).unwrap();
            let mut second = Signal::new(SIGUSR1).unwrap();
            begin.recv().unwrap();
            raise(SIGUSR1).unwrap();
            first.recv().await.unwrap();
            second.recv().await.unwrap();
        });
        go.send(()).unwrap();
        other.join().unwrap();
    });
}

// Pitfall: G1
#[test]
fn dropped_watcher_does_not_affect_the_others() {
    run(|| async {
        let first = Signal::new(SIGUSR1).unwrap();
        let mut second = Signal::new(SIGUSR1).unwrap();
        drop(first);
        raise(SIGUSR1).unwrap();
        second.recv().await.unwrap();
    });
}

// Sends far more signals than the pipe of the signal handler holds.
// Pitfall: G2
#[test]
fn flood_of_one_signal_does_not_lose_another() {
    run(|| async {
        let mut flood = Signal::new(SIGUSR2).unwrap();
        let mut other = Signal::new(SIGWINCH).unwrap();
        for _ in 0..10_000 {
            raise(SIGUSR2).unwrap();
        }
        raise(SIGWINCH).unwrap();
        other.recv().await.unwrap();
        flood.recv().await.unwrap();
        // The flooded watcher still receives signals that arrive later.
        while timeout(Duration::ZERO, flood.recv()).await.is_ok() {}
        raise(SIGUSR2).unwrap();
        flood.recv().await.unwrap();
    });
}

#[test]
fn signals_between_two_polls_are_received_as_one() {
    let receive = || async {
        let mut signal = Signal::new(SIGHUP).unwrap();
        for _ in 0..100 {
            raise(SIGHUP).unwrap();
        }
        signal.recv().await.unwrap();
        assert!(poll(pin!(signal.next()), Waker::noop()).is_pending());
        raise(SIGHUP).unwrap();
        signal.next().await.unwrap().unwrap();
    };
    let ((), records) = within_deadline(move || capture(|| executor::block_on(receive())));
    let received = records.iter().filter(|record| record.kind == "signal");
    let arrivals: Vec<&str> = received.map(|record| record.get("arrivals")).collect();
    assert_eq!(arrivals, ["100", "1"]);
}

// The handler runs on a thread without a reactor, and no timer ends the wait. The first `sendto` of
// each thread succeeds: signal-hook calls it to find out whether it has been given a socket.
#[test]
fn signal_arrives_without_memory_for_sockets() {
    const NAME: &str = "signal_arrives_without_memory_for_sockets";
    child::in_child_with("sendto:error=ENOBUFS:when=2+", NAME, || {
        executor::block_on(async {
            let mut signal = Signal::new(SIGUSR1).unwrap();
            let waiting = gettid().as_raw_nonzero().get() as u32;
            std::thread::spawn(move || {
                let (socket, _peer) = UnixStream::pair().unwrap();
                send(&socket, b"x", SendFlags::empty()).unwrap();
                assert!(send(&socket, b"x", SendFlags::empty()).is_err());
                tests::eventually("the thread waits", || is_asleep(waiting));
                raise(SIGUSR1).unwrap();
            });
            signal.recv().await.unwrap();
        });
    });
}

// `Signal::new` writes a byte, so that the kernel allocates the memory of the pipe before a handler
// needs it. This is the 101st write of the thread; the main thread makes fewer.
#[test]
fn signal_without_memory_for_its_pipe_returns_an_error() {
    const NAME: &str = "signal_without_memory_for_its_pipe_returns_an_error";
    child::in_child_with("write:error=ENOMEM:when=101", NAME, || {
        let watch = || {
            let mut null = File::options().write(true).open("/dev/null").unwrap();
            (0..100).for_each(|_| null.write_all(b"x").unwrap());
            executor::block_on(async {
                assert_eq!(Signal::new(SIGUSR1).unwrap_err().kind(), ErrorKind::OutOfMemory);
                Signal::new(SIGUSR1).unwrap();
            });
        };
        std::thread::spawn(watch).join().unwrap();
    });
}

#[test]
fn uncatchable_signal_is_invalid_input() {
    run(|| async {
        for number in
            FORBIDDEN.iter().chain(&[SIGBUS, 32, 33, 0, -1, 65, 12345, i32::MIN, i32::MAX])
        {
            assert_eq!(Signal::new(*number).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        assert_eq!(Reactor::current().next_deadline(), None);
    });
}

#[test]
fn ctrl_c_receives_sigint() {
    run(|| async {
        let mut interrupted = pin!(ctrl_c());
        assert!(poll(interrupted.as_mut(), Waker::noop()).is_pending());
        raise(signal_hook::consts::SIGINT).unwrap();
        interrupted.await.unwrap();
    });
}

/// The signals of Linux that a program may catch. Std uses SIGBUS, and the C library uses 32 and
/// 33.
fn catchable() -> impl Iterator<Item = i32> {
    (1..=64).filter(|number| !FORBIDDEN.contains(number) && ![SIGBUS, 32, 33].contains(number))
}

#[test]
fn every_catchable_signal_is_received() {
    const NAME: &str = "every_catchable_signal_is_received";
    child::in_child(NAME, || {
        run(|| async {
            for number in catchable() {
                let mut signal = Signal::new(number).unwrap();
                assert!(poll(pin!(signal.recv()), Waker::noop()).is_pending(), "{number}");
                raise(number).unwrap();
                signal.recv().await.unwrap();
            }
        });
    });
}

#[test]
fn signal_that_was_watched_once_does_not_kill() {
    const NAME: &str = "signal_that_was_watched_once_does_not_kill";
    child::in_child(NAME, || {
        executor::block_on(async {
            for number in catchable() {
                drop(Signal::new(number).unwrap());
                raise(number).unwrap();
            }
        });
        // After the executor is dropped, the signals still do not kill the process. A new watcher
        // receives the signals that arrive from then on.
        catchable().for_each(|number| raise(number).unwrap());
        executor::block_on(async {
            let mut signal = Signal::new(SIGUSR1).unwrap();
            assert!(poll(pin!(signal.recv()), Waker::noop()).is_pending());
            raise(SIGUSR1).unwrap();
            signal.recv().await.unwrap();
        });
    });
}

/// Runs a child that sleeps for half a second, and calls `disturb` repeatedly until it ends.
///
/// Checks that the sleep neither ends early nor starts over, and that the child does not spin.
fn sleep_while(name: &str, disturb: impl Fn(rustix::process::Pid)) {
    const SLEEP: Duration = Duration::from_millis(500);
    /// How long the child is disturbed at most. A sleep that starts over with each signal would end
    /// only after this time.
    const DISTURBED: Duration = Duration::from_secs(8);
    if child::is_child() {
        return executor::block_on(async {
            // While this exists, SIGUSR1 does not kill the child.
            let mut signal = Signal::new(SIGUSR1).unwrap();
            signal.recv().await.unwrap();
            let start = Instant::now();
            let turns = Reactor::current().metrics().turns;
            let receiver = executor::spawn(async move { while signal.recv().await.is_ok() {} });
            sleep(SLEEP).await;
            let elapsed = start.elapsed();
            let turns = Reactor::current().metrics().turns - turns;
            assert!(elapsed >= SLEEP, "the sleep ended early, after {elapsed:?}");
            assert!(elapsed < DISTURBED / 2, "each signal restarted the sleep: {elapsed:?}");
            // A busy loop would make far more.
            assert!(u128::from(turns) < 20 * elapsed.as_millis(), "{turns} turns in {elapsed:?}");
            drop(receiver);
        });
    }
    let mut sleeper = child::start(name);
    let pid = rustix::process::Pid::from_child(&sleeper);
    // Wait for the signal handler. Before that, SIGUSR1 would kill the child.
    let status = format!("/proc/{}/status", sleeper.id());
    let caught = |text: String| {
        let mask = text.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0");
        u64::from_str_radix(mask.trim(), 16).unwrap_or(0) & (1 << (SIGUSR1 - 1)) != 0
    };
    let has_handler = || std::fs::read_to_string(&status).is_ok_and(caught);
    tests::eventually("the child has a handler for SIGUSR1", has_handler);
    rustix::process::kill_process(pid, rustix::process::Signal::USR1).unwrap();
    let start = Instant::now();
    while sleeper.try_wait().unwrap().is_none() && start.elapsed() < DISTURBED {
        disturb(pid);
    }
    child::expect_success(sleeper);
}

// A signal with a handler ends the system call of one thread with EINTR. SIGSTOP and SIGCONT (next
// test) have no handler, and end the system calls of all threads.
// Pitfall: S3
#[test]
fn sleep_keeps_its_deadline_in_a_burst_of_signals() {
    sleep_while("sleep_keeps_its_deadline_in_a_burst_of_signals", |pid| {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::USR1);
        std::thread::park_timeout(Duration::from_micros(200));
    });
}

// Pitfall: S3
#[test]
fn sleep_keeps_its_deadline_when_the_process_is_stopped() {
    sleep_while("sleep_keeps_its_deadline_when_the_process_is_stopped", |pid| {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::STOP);
        std::thread::park_timeout(Duration::from_micros(200));
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::CONT);
        std::thread::park_timeout(Duration::from_millis(2));
    });
}

#[test]
fn each_named_signal_watches_its_number() {
    child::in_child("each_named_signal_watches_its_number", || {
        use signal_hook::consts::{SIGALRM, SIGCHLD, SIGINT, SIGIO, SIGPIPE, SIGQUIT, SIGTERM};
        type Watch = fn() -> std::io::Result<Signal>;
        let named: [(Watch, i32); 11] = [
            (signal::interrupt, SIGINT),
            (signal::terminate, SIGTERM),
            (signal::hangup, SIGHUP),
            (signal::quit, SIGQUIT),
            (signal::user_defined1, SIGUSR1),
            (signal::user_defined2, SIGUSR2),
            (signal::child, SIGCHLD),
            (signal::window_change, SIGWINCH),
            (signal::alarm, SIGALRM),
            (signal::pipe, SIGPIPE),
            (signal::io, SIGIO),
        ];
        executor::block_on(async {
            for (watch, number) in named {
                let (mut signal, mut other) = (watch().unwrap(), watch().unwrap());
                raise(number).unwrap();
                signal.recv().await.unwrap();
                std::future::poll_fn(|cx| other.poll_recv(cx)).await.unwrap();
                let again = timeout(Duration::from_millis(1), signal.recv()).await;
                assert!(again.is_err(), "signal {number} arrived once");
            }
        });
    });
}

/// Returns whether a turn of this length waits all the time.
fn waits(executor: &Executor) -> bool {
    let (start, time) = (Instant::now(), Duration::from_millis(20));
    executor.reactor().turn(Some(time)).unwrap();
    start.elapsed() >= time
}

#[test]
fn dropped_signal_ends_no_later_wait() {
    child::in_child("dropped_signal_ends_no_later_wait", || {
        let [first, second] = [(); 2].map(|()| Executor::new().unwrap());
        let mut kept = Vec::new();
        for executor in [&first, &second] {
            let _entered = executor.enter();
            let dropped = Signal::new(SIGUSR1).unwrap();
            kept.push(Signal::new(SIGUSR2).unwrap());
            raise(SIGUSR1).unwrap();
            drop(dropped);
            assert!(waits(&first));
        }
        assert!(waits(&second));
    });
}

#[test]
fn signal_causes_one_event() {
    child::in_child("signal_causes_one_event", || {
        let executor = Executor::new().unwrap();
        let _entered = executor.enter();
        let _signal = Signal::new(SIGUSR1).unwrap();
        raise(SIGUSR1).unwrap();
        executor.reactor().turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(executor.reactor().metrics().events, 1);
    });
}
