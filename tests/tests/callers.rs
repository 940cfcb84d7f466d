//! A panic that the caller caused names the caller's file, not a file of the runtime.

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
    /// The text of the last expected panic.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
    /// Whether this thread expects a panic.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Runs a call that must panic. Returns the location and the message of the panic.
#[track_caller]
fn panic_of(name: &str, call: impl FnOnce()) -> String {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = take_hook();
        set_hook(Box::new(move |info| match EXPECTED.get() {
            true => PANIC.set(info.to_string()),
            false => previous(info),
        }));
    });
    EXPECTED.set(true);
    let caught: Result<(), Box<dyn Any + Send>> = catch_unwind(AssertUnwindSafe(call));
    EXPECTED.set(false);
    assert!(caught.is_err(), "{name} does not panic");
    PANIC.take()
}

/// Asserts that a call panics and that the message names this file.
#[track_caller]
fn assert_names_this_file(name: &str, call: impl FnOnce()) {
    let text = panic_of(name, call);
    assert!(text.contains(file!()) && !text.contains("unwrap"), "{name}: {text}");
}

/// Asserts that the first poll of a future panics and that the message names this file.
#[track_caller]
fn assert_poll_names_this_file<F: Future>(name: &str, future: impl FnOnce() -> F) {
    // Creating the future must not panic.
    let future = future();
    assert_names_this_file(name, || drop(poll(pin!(future), Waker::noop())));
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
        assert_poll_names_this_file("TcpListener::bind", || TcpListener::bind("127.0.0.1:0"));
        assert_poll_names_this_file("TcpStream::connect", || TcpStream::connect(address));
        assert_poll_names_this_file("UdpSocket::bind", || UdpSocket::bind("127.0.0.1:0"));
        assert_poll_names_this_file("UnixStream::connect", || UnixStream::connect(&path));
        let named = SocketAddr::from_pathname(&path).unwrap();
        assert_poll_names_this_file("UnixStream::connect_addr", || {
            UnixStream::connect_addr(&named)
        });
        // A closure, because `track_caller` has no effect on a function that is passed as a value.
        assert_poll_names_this_file("ctrl_c", || ctrl_c());
        assert_poll_names_this_file("sleep", || sleep(soon));
        assert_poll_names_this_file("sleep_until", || sleep_until(Instant::now() + soon));
        let pending = std::future::pending::<()>;
        assert_poll_names_this_file("timeout", || timeout(soon, pending()));
        assert_poll_names_this_file("timeout_at", || timeout_at(Instant::now() + soon, pending()));
        let (mut ticks, mut later) = (interval(soon), interval_at(Instant::now() + soon, soon));
        assert_poll_names_this_file("Interval::tick", || ticks.tick());
        assert_poll_names_this_file("interval_at", || later.tick());

        assert_names_this_file("Reactor::current", || drop(Reactor::current()));
        assert_names_this_file("Async::new", || drop(Async::new(mio())));
        assert_names_this_file("Async::with_interest", || {
            drop(Async::with_interest(mio(), Interest::READABLE));
        });
        assert_names_this_file("TcpListener::from_std", || drop(TcpListener::from_std(std_tcp())));
        assert_names_this_file("TcpStream::from_std", || {
            drop(TcpStream::from_std(
                std::net::TcpStream::connect(std_tcp().local_addr().unwrap()).unwrap(),
            ));
        });
        assert_names_this_file("UdpSocket::from_std", || {
            drop(UdpSocket::from_std(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()));
        });
        assert_names_this_file("UnixListener::bind", || drop(UnixListener::bind(&path)));
        assert_names_this_file("UnixListener::from_std", || {
            drop(UnixListener::from_std(
                std::os::unix::net::UnixListener::bind(&std_path).unwrap(),
            ));
        });
        assert_names_this_file("UnixStream::pair", || drop(UnixStream::pair()));
        assert_names_this_file("UnixStream::from_std", || drop(UnixStream::from_std(std_unix())));
        assert_names_this_file("UnixDatagram::bind", || drop(UnixDatagram::bind(&other_path)));
        assert_names_this_file("UnixDatagram::unbound", || drop(UnixDatagram::unbound()));
        assert_names_this_file("UnixDatagram::pair", || drop(UnixDatagram::pair()));
        assert_names_this_file("UnixDatagram::from_std", || {
            drop(UnixDatagram::from_std(std_datagram()))
        });
        assert_names_this_file("pipe::pipe", || drop(pipe::pipe()));
        assert_names_this_file("Signal::new", || drop(Signal::new(signal_hook::consts::SIGUSR2)));
        assert_names_this_file("Command::spawn", || drop(Command::new("true").spawn()));
        assert_names_this_file("Command::status", || drop(Command::new("true").status()));
        assert_names_this_file("Command::output", || drop(Command::new("true").output()));
        assert_names_this_file("interval of zero", || drop(interval(Duration::ZERO)));
    });
}

#[test]
fn panic_without_an_executor_names_the_callers_file() {
    within_deadline(|| {
        assert_names_this_file("spawn", || drop(spawn(async {})));
        assert_names_this_file("spawn_named", || drop(spawn_named("name", async {})));
        assert_names_this_file("spawn_blocking", || drop(spawn_blocking(|| ())));
        assert_names_this_file("JoinSet::spawn", || drop(JoinSet::new().spawn(async {})));
        assert_names_this_file("tasks", || drop(tasks()));
        assert_names_this_file("metrics", || _ = metrics());
        assert_names_this_file("Remote::current", || drop(Remote::current()));
        assert_names_this_file("a nested block_on", || block_on(async { block_on(async {}) }));
        block_on(async {
            let error = spawn(std::future::pending::<()>());
            error.abort();
            let error = error.await.unwrap_err();
            assert_names_this_file("JoinError::into_panic", || drop(error.into_panic()));
            let mut done = spawn(async {});
            (&mut done).await.unwrap();
            assert_names_this_file("a completed handle that is polled again", || {
                let again = async { assert!(done.await.is_ok()) };
                let _ = poll(pin!(again), Waker::noop());
            });
        });
    });
}

// A sender that waits for space in a full queue sets a timer, so it needs a reactor.
#[test]
fn panic_at_a_full_queue_names_the_callers_file() {
    within_deadline(|| {
        let path = place();
        let (sender, _receiver) = block_on(async {
            (UnixDatagram::unbound().unwrap(), UnixDatagram::bind(&path).unwrap())
        });
        // Send until the queue is full.
        assert_names_this_file("UnixDatagram::send_to", || {
            while poll(pin!(sender.send_to(b"x", &*path)), Waker::noop()).is_ready() {}
        });
        let named = SocketAddr::from_pathname(&path).unwrap();
        assert_poll_names_this_file("send_to_addr", || sender.send_to_addr(b"x", &named));
    });
}
