//! Signals: everyone who watches one sees it, and a storm of them ends nothing.

use std::pin::pin;
use std::sync::mpsc::channel;
use std::task::Waker;
use std::time::{Duration, Instant};

use futures_lite::StreamExt;
use reactor::Reactor;
use reactor::io::ErrorKind;
use reactor::signal::{self, Signal, ctrl_c};
use reactor::time::{sleep, timeout};
use signal_hook::consts::{FORBIDDEN, SIGBUS, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::low_level::raise;
use tests::wakers::poll;
use tests::{child, run, within_deadline};

// Pitfall: G1
#[test]
fn each_of_several_receivers_sees_the_signal_and_dropping_one_silences_no_other() {
    within_deadline(|| {
        let (ready, begin) = channel();
        let (go, wait) = channel();
        let elsewhere = std::thread::spawn(move || {
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
            drop(first);
            raise(SIGUSR1).unwrap();
            second.recv().await.unwrap();
        });
        go.send(()).unwrap();
        elsewhere.join().unwrap();
    });
}

// Far more arrivals than the pipe of a signal holds.
// Pitfall: G2
#[test]
fn a_flood_of_one_signal_does_not_lose_another() {
    run(|| async {
        let mut flood = Signal::new(SIGUSR2).unwrap();
        let mut other = Signal::new(SIGWINCH).unwrap();
        for _ in 0..10_000 {
            raise(SIGUSR2).unwrap();
        }
        raise(SIGWINCH).unwrap();
        other.recv().await.unwrap();
        flood.recv().await.unwrap();
        // And the flooded one still hears what comes after it was heard.
        while timeout(Duration::ZERO, flood.recv()).await.is_ok() {}
        raise(SIGUSR2).unwrap();
        flood.recv().await.unwrap();
    });
}

#[test]
fn arrivals_between_two_polls_are_told_as_one() {
    run(|| async {
        let mut signal = Signal::new(SIGHUP).unwrap();
        for _ in 0..100 {
            raise(SIGHUP).unwrap();
        }
        signal.recv().await.unwrap();
        assert!(poll(pin!(signal.recv()), Waker::noop()).is_pending());
        raise(SIGHUP).unwrap();
        signal.next().await.unwrap().unwrap();
    });
}

#[test]
fn a_signal_that_nobody_may_catch_is_refused() {
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
fn ctrl_c_is_heard() {
    run(|| async {
        let mut interrupted = pin!(ctrl_c());
        assert!(poll(interrupted.as_mut(), Waker::noop()).is_pending());
        raise(signal_hook::consts::SIGINT).unwrap();
        interrupted.await.unwrap();
    });
}

/// The signals of Linux, without those that may not be caught: SIGBUS is std's, and 32 and 33 are
/// the C library's own.
fn catchable() -> impl Iterator<Item = i32> {
    (1..=64).filter(|number| !FORBIDDEN.contains(number) && ![SIGBUS, 32, 33].contains(number))
}

#[test]
fn any_signal_that_may_be_caught_is_heard() {
    const NAME: &str = "any_signal_that_may_be_caught_is_heard";
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
fn a_signal_that_was_watched_once_never_kills_again() {
    const NAME: &str = "a_signal_that_was_watched_once_never_kills_again";
    child::in_child(NAME, || {
        executor::block_on(async {
            for number in catchable() {
                drop(Signal::new(number).unwrap());
                raise(number).unwrap();
            }
        });
        // Nor when the executor is gone; and who watches again hears what comes from then on.
        catchable().for_each(|number| raise(number).unwrap());
        executor::block_on(async {
            let mut signal = Signal::new(SIGUSR1).unwrap();
            assert!(poll(pin!(signal.recv()), Waker::noop()).is_pending());
            raise(SIGUSR1).unwrap();
            signal.recv().await.unwrap();
        });
    });
}

/// A child that sleeps for half a second while its parent does `disturb` to it, again and again.
fn sleep_while(name: &str, disturb: impl Fn(rustix::process::Pid)) {
    const SLEEP: Duration = Duration::from_millis(500);
    if child::is_child() {
        return executor::block_on(async {
            // So that it does not kill the child.
            let mut signal = Signal::new(SIGUSR1).unwrap();
            signal.recv().await.unwrap();
            let start = Instant::now();
            let turns = Reactor::current().metrics().turns;
            let storm = executor::spawn(async move { while signal.recv().await.is_ok() {} });
            sleep(SLEEP).await;
            let elapsed = start.elapsed();
            let turns = Reactor::current().metrics().turns - turns;
            assert!(elapsed >= SLEEP, "it ended early, after {elapsed:?}");
            assert!(elapsed < SLEEP * 3, "each signal began it anew: {elapsed:?}");
            assert!(turns < 10_000, "{turns} turns");
            drop(storm);
        });
    }
    let mut sleeper = child::start(name);
    let pid = rustix::process::Pid::from_child(&sleeper);
    // Until the handler is there, SIGUSR1 would kill it.
    let status = format!("/proc/{}/status", sleeper.id());
    let caught = |text: String| {
        let mask = text.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0");
        u64::from_str_radix(mask.trim(), 16).unwrap_or(0) & (1 << (SIGUSR1 - 1)) != 0
    };
    within(|| std::fs::read_to_string(&status).is_ok_and(caught));
    rustix::process::kill_process(pid, rustix::process::Signal::USR1).unwrap();
    // To its end; but not for ever, if it never comes to its end.
    let start = Instant::now();
    while sleeper.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(4) {
        disturb(pid);
    }
    child::expect_success(sleeper);
}

fn within(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < tests::DEADLINE);
        std::thread::yield_now();
    }
}

// Both end the system call with EINTR: the one on any thread that does not block it, the other
// on all of them, without a handler.
// Pitfall: S3
#[test]
fn a_storm_of_signals_neither_ends_a_sleep_nor_begins_it_anew() {
    sleep_while("a_storm_of_signals_neither_ends_a_sleep_nor_begins_it_anew", |pid| {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::USR1);
        std::thread::park_timeout(Duration::from_micros(200));
    });
}

// Pitfall: S3
#[test]
fn stopping_and_continuing_the_process_neither_ends_a_sleep_nor_begins_it_anew() {
    sleep_while(
        "stopping_and_continuing_the_process_neither_ends_a_sleep_nor_begins_it_anew",
        |pid| {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::STOP);
            std::thread::park_timeout(Duration::from_micros(200));
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::CONT);
            std::thread::park_timeout(Duration::from_millis(2));
        },
    );
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
