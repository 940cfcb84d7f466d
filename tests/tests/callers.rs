//! A panic that blames the caller names the caller's file, not one of the runtime.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::os::unix::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::pin::pin;
use std::sync::Once;
use std::task::Waker;
use std::time::{Duration, Instant};

use executor::{JoinSet, Remote, block_on, metrics, spawn, spawn_blocking, spawn_named, tasks};
use mio::Interest;
use reactor::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use reactor::process::Command;
use reactor::signal::{Signal, ctrl_c};
use reactor::time::{interval, interval_at, sleep, sleep_until, timeout, timeout_at};
use reactor::{Async, Reactor, pipe};
use tests::wakers::poll;
use tests::{place, within_deadline};

thread_local! {
    /// What the last panic said, and whether it is expected.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Where `act` panicked, and what it said.
#[track_caller]
fn panic_of(name: &str, act: impl FnOnce()) -> String {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |info| match EXPECTED.get() {
            true => PANIC.set(info.to_string()),
            false => others(info),
        }));
    });
    EXPECTED.set(true);
    let caught: Result<(), Box<dyn Any + Send>> = catch_unwind(AssertUnwindSafe(act));
    EXPECTED.set(false);
    assert!(caught.is_err(), "{name} does not panic");
    PANIC.take()
}

#[track_caller]
fn expect_our_file(name: &str, act: impl FnOnce()) {
    let text = panic_of(name, act);
    assert!(text.contains(file!()) && !text.contains("unwrap"), "{name}: {text}");
}

/// Polls a future that does nothing before its first poll, on a thread without a reactor.
#[track_caller]
fn expect_our_file_at_a_poll<F: Future>(name: &str, future: impl FnOnce() -> F) {
    // To make it is no mistake.
    let future = future();
    expect_our_file(name, || drop(poll(pin!(future), Waker::noop())));
}

#[test]
fn panic_without_a_reactor_names_the_callers_file() {
    within_deadline(|| {
        let soon = Duration::from_millis(1);
        let (path, other_path, std_path) = (place(), place(), place());
        let std_tcp = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let std_unix = || std::os::unix::net::UnixStream::pair().unwrap().0;
        let std_datagram = || std::os::unix::net::UnixDatagram::unbound().unwrap();
        let mio = || mio::net::UnixStream::pair().unwrap().0;

        let address = std_tcp().local_addr().unwrap();
        expect_our_file_at_a_poll("TcpListener::bind", || TcpListener::bind("127.0.0.1:0"));
        expect_our_file_at_a_poll("TcpStream::connect", || TcpStream::connect(address));
        expect_our_file_at_a_poll("UdpSocket::bind", || UdpSocket::bind("127.0.0.1:0"));
        expect_our_file_at_a_poll("UnixStream::connect", || UnixStream::connect(&path));
        let named = SocketAddr::from_pathname(&path).unwrap();
        expect_our_file_at_a_poll("UnixStream::connect_addr", || UnixStream::connect_addr(&named));
        // A closure: a function that is passed as a value does not learn its caller.
        expect_our_file_at_a_poll("ctrl_c", || ctrl_c());
        expect_our_file_at_a_poll("sleep", || sleep(soon));
        expect_our_file_at_a_poll("sleep_until", || sleep_until(Instant::now() + soon));
        let pending = std::future::pending::<()>;
        expect_our_file_at_a_poll("timeout", || timeout(soon, pending()));
        expect_our_file_at_a_poll("timeout_at", || timeout_at(Instant::now() + soon, pending()));
        let (mut ticks, mut later) = (interval(soon), interval_at(Instant::now() + soon, soon));
        expect_our_file_at_a_poll("Interval::tick", || ticks.tick());
        expect_our_file_at_a_poll("interval_at", || later.tick());

        expect_our_file("Reactor::current", || drop(Reactor::current()));
        expect_our_file("Async::new", || drop(Async::new(mio())));
        expect_our_file("Async::with_interest", || {
            drop(Async::with_interest(mio(), Interest::READABLE));
        });
        expect_our_file("TcpListener::from_std", || drop(TcpListener::from_std(std_tcp())));
        expect_our_file("TcpStream::from_std", || {
            drop(TcpStream::from_std(
                std::net::TcpStream::connect(std_tcp().local_addr().unwrap()).unwrap(),
            ));
        });
        expect_our_file("UdpSocket::from_std", || {
            drop(UdpSocket::from_std(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()));
        });
        expect_our_file("UnixListener::bind", || drop(UnixListener::bind(&path)));
        expect_our_file("UnixListener::from_std", || {
            drop(UnixListener::from_std(
                std::os::unix::net::UnixListener::bind(&std_path).unwrap(),
            ));
        });
        expect_our_file("UnixStream::pair", || drop(UnixStream::pair()));
        expect_our_file("UnixStream::from_std", || drop(UnixStream::from_std(std_unix())));
        expect_our_file("UnixDatagram::bind", || drop(UnixDatagram::bind(&other_path)));
        expect_our_file("UnixDatagram::unbound", || drop(UnixDatagram::unbound()));
        expect_our_file("UnixDatagram::pair", || drop(UnixDatagram::pair()));
        expect_our_file("UnixDatagram::from_std", || drop(UnixDatagram::from_std(std_datagram())));
        expect_our_file("pipe::pipe", || drop(pipe::pipe()));
        expect_our_file("Signal::new", || drop(Signal::new(signal_hook::consts::SIGUSR2)));
        expect_our_file("Command::spawn", || drop(Command::new("true").spawn()));
        expect_our_file("Command::status", || drop(Command::new("true").status()));
        expect_our_file("Command::output", || drop(Command::new("true").output()));
        expect_our_file("interval of zero", || drop(interval(Duration::ZERO)));
    });
}

#[test]
fn panic_without_an_executor_names_the_callers_file() {
    within_deadline(|| {
        expect_our_file("spawn", || drop(spawn(async {})));
        expect_our_file("spawn_named", || drop(spawn_named("name", async {})));
        expect_our_file("spawn_blocking", || drop(spawn_blocking(|| ())));
        expect_our_file("JoinSet::spawn", || drop(JoinSet::new().spawn(async {})));
        expect_our_file("tasks", || drop(tasks()));
        expect_our_file("metrics", || _ = metrics());
        expect_our_file("Remote::current", || drop(Remote::current()));
        expect_our_file("a nested block_on", || block_on(async { block_on(async {}) }));
        block_on(async {
            let error = spawn(std::future::pending::<()>());
            error.abort();
            let error = error.await.unwrap_err();
            expect_our_file("JoinError::into_panic", || drop(error.into_panic()));
            let mut done = spawn(async {});
            (&mut done).await.unwrap();
            expect_our_file("a handle that is polled again", || {
                let again = async { assert!(done.await.is_ok()) };
                let _ = poll(pin!(again), Waker::noop());
            });
        });
    });
}

// Where a queue is full, the wait is that of a timer.
#[test]
fn panic_of_a_wait_for_a_full_queue_names_the_callers_file() {
    within_deadline(|| {
        let path = place();
        let (sender, _receiver) = block_on(async {
            (UnixDatagram::unbound().unwrap(), UnixDatagram::bind(&path).unwrap())
        });
        // Until the queue is full.
        expect_our_file("UnixDatagram::send_to", || {
            while poll(pin!(sender.send_to(b"x", &*path)), Waker::noop()).is_ready() {}
        });
        let named = SocketAddr::from_pathname(&path).unwrap();
        expect_our_file_at_a_poll("send_to_addr", || sender.send_to_addr(b"x", &named));
    });
}
