//! Resource limits and failing system calls. Each test lowers a limit, installs a logger or injects an
//! error in a process of its own.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::File;
use std::future::Future;
use std::io::{ErrorKind, Write};
use std::net::TcpStream as StdStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream as StdUnixStream};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use executor::{spawn_blocking, yield_now};
use futures_lite::StreamExt;
use futures_lite::future::zip;
use reactor::blocking::{KEEP_ALIVE, unblock};
use reactor::io::{AsyncReadExt, AsyncWriteExt};
use reactor::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use reactor::signal::Signal;
use reactor::time::{pause, sleep, timeout};
use reactor::{Async, Reactor};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tests::child::{in_child, in_child_with};
use tests::records::{Record, capture};
use tests::wakers::Counter;
use tests::{DEADLINE, tcp_pair, tcp_pair_with_std, until};

fn set_limit(resource: Resource, limit: u64) {
    let maximum = getrlimit(resource).maximum;
    setrlimit(resource, Rlimit { current: Some(limit), maximum }).unwrap();
}

/// Opens files until the OS returns an error.
fn take_all_descriptors() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

fn count(records: &[Record], matches: impl Fn(&Record) -> bool) -> usize {
    records.iter().filter(|record| matches(record)).count()
}

// Ten clients wait, but only three descriptors are left.
// Pitfall: S1
#[test]
fn tcp_incoming_without_descriptors_resumes_when_one_is_free() {
    let name = "tcp_incoming_without_descriptors_resumes_when_one_is_free";
    in_child(name, || {
        let start = Instant::now();
        let (_, records) = capture(|| executor::block_on(accept_without_descriptors()));
        let tried = |record: &Record| record.kind == "tried" && !record.get("error").is_empty();
        let attempts = count(&records, tried);
        // Pauses of 10 ms, doubling up to a second: eight attempts in 1.3 seconds, and two more for
        // the remaining connections.
        assert!((5..=12).contains(&attempts), "{attempts} attempts");
        let warned = count(&records, |record| record.kind.starts_with("cannot accept until"));
        let most = start.elapsed().as_secs() as usize + 1;
        assert!((1..=most).contains(&warned), "{warned} warnings");
    });
}

async fn accept_without_descriptors() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let _clients: Vec<_> = (0..10).map(|_| StdStream::connect(addr).unwrap()).collect();
    set_limit(Resource::Nofile, 128);
    let mut files = take_all_descriptors();
    files.truncate(files.len() - 3);
    let error = File::open("/dev/null").and_then(|_| File::open("/dev/null"));
    drop(error.unwrap());

    let mut incoming = listener.incoming();
    let mut connections = Vec::new();
    for _ in 0..3 {
        connections.push(incoming.next().await.unwrap().unwrap());
    }
    assert!(timeout(Duration::from_millis(1200), incoming.next()).await.is_err());

    // Wait until the stream pauses for a long time. How soon depends on the load of the machine.
    let closing = async {
        let pause_ends = loop {
            sleep(Duration::from_millis(20)).await;
            let pause_ends = Reactor::current().next_deadline().unwrap();
            if pause_ends > Instant::now() + Duration::from_millis(300) {
                break pause_ends;
            }
        };
        drop(connections.pop());
        pause_ends
    };
    let (next, pause_ends) = zip(incoming.next(), closing).await;
    assert!(Instant::now() < pause_ends, "the stream slept although a connection was closed");
    connections.push(next.unwrap().unwrap());

    // With enough descriptors, the other connections arrive when the pause is over.
    files.clear();
    for _ in 0..6 {
        connections.push(incoming.next().await.unwrap().unwrap());
    }
}

// Pitfall: S1
#[test]
fn unix_incoming_without_descriptors_resumes_when_one_is_free() {
    let name = "unix_incoming_without_descriptors_resumes_when_one_is_free";
    in_child(name, || {
        executor::block_on(async {
            let name = format!("limits-{}", std::process::id());
            let address = SocketAddr::from_abstract_name(name).unwrap();
            let listener = UnixListener::bind_addr(&address).unwrap();
            let (spare, _peer) = UnixStream::pair().unwrap();
            let _client = StdUnixStream::connect_addr(&address).unwrap();
            set_limit(Resource::Nofile, 64);
            let files = take_all_descriptors();
            assert!(!files.is_empty());

            let turns = || Reactor::current().metrics().turns;
            let before = turns();
            let mut incoming = listener.incoming();
            assert!(timeout(Duration::from_millis(300), incoming.next()).await.is_err());
            assert!(turns() - before < 20, "{} turns", turns() - before);
            drop(spare);
            incoming.next().await.unwrap().unwrap();
        });
    });
}

// Pitfall: S1
#[test]
fn operations_without_descriptors_return_emfile() {
    in_child("operations_without_descriptors_return_emfile", || {
        executor::block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let _client = StdStream::connect(addr).unwrap();
            set_limit(Resource::Nofile, 128);
            let files = take_all_descriptors();
            let emfile = |result: std::io::Result<()>| {
                assert_eq!(rustix::io::Errno::from_io_error(&result.unwrap_err()), Some(EMFILE));
            };
            emfile(listener.accept().await.map(drop));
            emfile(TcpStream::connect(addr).await.map(drop));
            emfile(TcpListener::bind("127.0.0.1:0").await.map(drop));
            emfile(Signal::new(signal_hook::consts::SIGUSR1).map(drop));
            emfile(Reactor::new().map(drop));
            emfile(executor::Executor::new().map(drop));
            drop(files);
            listener.accept().await.unwrap();
        });
    });
}

const EMFILE: rustix::io::Errno = rustix::io::Errno::MFILE;

/// Limits the memory of the process, so that the stack of another thread does not fit.
fn refuse_threads() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    let kilobytes: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
    set_limit(Resource::As, kilobytes * 1024 + (256 << 20));
    assert!(thread::Builder::new().spawn(|| ()).is_err());
}

/// Lifts the limit of [`refuse_threads`].
fn allow_threads() {
    let maximum = getrlimit(Resource::As).maximum;
    setrlimit(Resource::As, Rlimit { current: maximum, maximum }).unwrap();
}

// Pitfall: X12
#[test]
fn job_runs_on_the_caller_if_the_first_thread_is_refused() {
    in_child("job_runs_on_the_caller_if_the_first_thread_is_refused", || {
        let here = thread::current().id();
        refuse_threads();
        executor::block_on(async {
            for _ in 0..100 {
                assert_eq!(unblock(|| thread::current().id()).await, here);
            }
            let panicked = spawn_blocking(|| panic!("on the calling thread")).await;
            assert!(panicked.unwrap_err().is_panic());
            allow_threads();
            assert_ne!(unblock(|| thread::current().id()).await, here);
        });
    });
}

// The OS refuses a thread to two executors at the same time. Neither may rely on a thread of the
// other.
// Pitfall: X12
#[test]
fn two_concurrent_thread_refusals_strand_no_job() {
    in_child("two_concurrent_thread_refusals_strand_no_job", || {
        let barrier = Arc::new(Barrier::new(2));
        let (ready, refused) = (Arc::new(Barrier::new(2)), barrier.clone());
        let start = |barrier: Arc<Barrier>, ready: Option<Arc<Barrier>>| {
            move || {
                if let Some(ready) = ready {
                    ready.wait();
                }
                executor::block_on(async {
                    for n in 0..3000 {
                        barrier.wait();
                        assert_eq!(unblock(move || n).await, n);
                    }
                });
            }
        };
        let other = thread::spawn(start(refused, Some(ready.clone())));
        refuse_threads();
        ready.wait();
        start(barrier, None)();
        other.join().unwrap();
    });
}

/// A logger that uses 100 KiB of stack, far more than the minimum stack of a thread.
struct DeepLogger;

impl log::Log for DeepLogger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, _: &log::Record<'_>) {
        std::hint::black_box(&mut [0_u8; 100 << 10]);
    }

    fn flush(&self) {}
}

// The only thread of the pool is blocked, and no later job triggers another attempt. The starter,
// whose stack is small, logs each attempt that the OS refuses.
// Pitfall: P1
#[test]
fn queued_job_runs_when_the_os_allows_threads_again() {
    in_child("queued_job_runs_when_the_os_allows_threads_again", || {
        log::set_logger(&DeepLogger).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
        executor::block_on(async {
            let (release, blocked) = channel::<()>();
            let stuck = spawn_blocking(move || blocked.recv().is_ok());
            yield_now().await;
            refuse_threads();
            let job = spawn_blocking(|| 7);
            // While the job waits, the pool tries again, and the OS refuses each time.
            sleep(Duration::from_millis(100)).await;
            assert!(!job.is_finished());
            allow_threads();
            assert_eq!(timeout(DEADLINE / 2, job).await.expect("the job does not run").unwrap(), 7);
            drop(release);
            assert_eq!(stuck.await.ok(), Some(false));
        });
    });
}

#[test]
fn idle_thread_of_the_pool_runs_the_next_job() {
    in_child("idle_thread_of_the_pool_runs_the_next_job", || {
        let _clock = pause();
        executor::block_on(async {
            let first = unblock(|| thread::current().id()).await;
            for _ in 0..10 {
                // A paused clock advances only when no thread of the pool runs a job.
                sleep(Duration::from_secs(1)).await;
                assert_eq!(unblock(|| thread::current().id()).await, first);
            }
        });
    });
}

/// How many times the pool has logged that the OS refused to start a thread.
static REFUSALS: AtomicU32 = AtomicU32::new(0);

/// A logger that counts refusals, on all threads.
struct CountsRefusals;

impl log::Log for CountsRefusals {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.args().to_string().starts_with("cannot start a thread of the blocking pool") {
            REFUSALS.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn flush(&self) {}
}

/// Submits a job while the only thread of the pool is blocked and the OS allows no other thread,
/// waits until the OS has refused to start a thread `refusals` times, and then lets both jobs end.
async fn run_a_job_after_refusals(refusals: u32) {
    log::set_logger(&CountsRefusals).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let (release, blocked) = channel::<()>();
    let stuck = spawn_blocking(move || blocked.recv().is_ok());
    yield_now().await;
    refuse_threads();
    let start = Instant::now();
    let job = spawn_blocking(|| 7);
    until(|| REFUSALS.load(Ordering::SeqCst) >= refusals).await;
    // The caller makes the first attempt. The starter retries after 10 ms, then after another 20
    // ms, and so on.
    let pauses = (1 << (REFUSALS.load(Ordering::SeqCst) - 1)) - 1;
    assert!(start.elapsed() >= Duration::from_millis(10) * pauses, "{:?}", start.elapsed());
    allow_threads();
    assert_eq!(job.await.unwrap(), 7);
    drop(release);
    assert!(!stuck.await.unwrap());
}

#[test]
fn refused_thread_is_started_after_growing_pauses() {
    in_child("refused_thread_is_started_after_growing_pauses", || {
        executor::block_on(run_a_job_after_refusals(4));
    });
}

/// Returns the number of the system call in which each thread of the pool waits, or another text if
/// it runs.
fn system_calls_of_the_pool() -> Vec<String> {
    let threads =
        std::fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path());
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let of_the_pool = threads.filter(|thread| read(thread.join("comm")).starts_with("blocking"));
    let first_word = |text: String| text.split(' ').next().map(str::to_owned);
    of_the_pool.filter_map(|thread| first_word(read(thread.join("syscall")))).collect()
}

// The starter makes a last pause after it has started the thread.
#[test]
fn starter_sleeps_after_it_has_started_a_refused_thread() {
    in_child("starter_sleeps_after_it_has_started_a_refused_thread", || {
        executor::block_on(async {
            run_a_job_after_refusals(1).await;
            // Idle threads wait for a notification. The starter must also wait for one, instead of
            // pausing.
            until(|| {
                let calls = system_calls_of_the_pool();
                calls.iter().all(|call| *call == calls[0] && call.parse::<u32>().is_ok())
            })
            .await;
            assert_eq!(
                system_calls_of_the_pool().len(),
                3,
                "the starter, and a thread for each job"
            );
            // A paused clock advances only when all threads that the pool counts are idle. If the
            // count were too high, the clock would not advance before the idle threads have ended.
            let start = Instant::now();
            let _clock = pause();
            sleep(Duration::from_secs(3600)).await;
            assert!(start.elapsed() < KEEP_ALIVE, "the pool has counted its threads wrongly");
        });
    });
}

// In a process of its own, so that each group of jobs finds one idle thread too few.
// Pitfall: X12
#[test]
fn jobs_that_wait_for_each_other_all_get_threads() {
    in_child("jobs_that_wait_for_each_other_all_get_threads", || {
        executor::block_on(async {
            unblock(|| ()).await;
            for count in 2..8 {
                let barrier = Arc::new(Barrier::new(count));
                let mut jobs = executor::JoinSet::new();
                for _ in 0..count {
                    let barrier = barrier.clone();
                    jobs.spawn(unblock(move || {
                        barrier.wait();
                    }));
                }
                while jobs.join_next().await.is_some() {}
            }
        });
    });
}

/// Returns the open descriptors, and whether `exec` closes each one.
fn descriptors() -> BTreeSet<(String, bool)> {
    let directory = std::fs::read_dir("/proc/self/fdinfo").unwrap();
    let names: Vec<_> = directory.map(|entry| entry.unwrap().file_name()).collect();
    let info = |name: std::ffi::OsString| {
        let name = name.into_string().unwrap();
        // The descriptor of the directory itself is already closed.
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{name}")).ok()?;
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
        Some((name, flags & rustix::fs::OFlags::CLOEXEC.bits() != 0))
    };
    names.into_iter().filter_map(info).collect()
}

// Pitfall: G4
#[test]
fn no_descriptor_of_the_runtime_survives_exec() {
    in_child("no_descriptor_of_the_runtime_survives_exec", || {
        let before = descriptors();
        executor::block_on(async {
            let _executor = executor::Executor::new().unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let _pair = tcp_pair().await.unwrap();
            let _signal = Signal::new(signal_hook::consts::SIGUSR1).unwrap();
            let _pipe = mio::unix::pipe::new().unwrap();
            let _unix = Async::new(mio::net::UnixStream::pair().unwrap().0).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let _back = client.into_std().unwrap();
            unblock(|| ()).await;
            let opened: Vec<_> = descriptors().difference(&before).cloned().collect();
            assert!(opened.len() >= 10, "{opened:?}");
            assert!(opened.iter().all(|(_, close_on_exec)| *close_on_exec), "{opened:?}");
        });
        assert!(descriptors().difference(&before).all(|(_, close_on_exec)| *close_on_exec));
    });
}

// A dropped future must not leave a descriptor open.
#[test]
fn dropped_connect_closes_its_socket() {
    in_child("dropped_connect_closes_its_socket", || {
        executor::block_on(async {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let addr = listener.local_addr().unwrap();
            let before = descriptors().len();
            for _ in 0..100 {
                let mut connect = Box::pin(TcpStream::connect(addr));
                let cx = &mut Context::from_waker(Waker::noop());
                let _ = connect.as_mut().poll(cx);
            }
            assert_eq!(descriptors().len(), before);
            drop(listener);
            let refused = TcpStream::connect(addr).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        });
    });
}

thread_local! {
    /// Whether the logger uses the runtime. False while it does so, because that logs records too.
    static ENABLED: Cell<bool> = const { Cell::new(false) };
    static RECORDS: Cell<usize> = const { Cell::new(0) };
}

/// A logger that uses the runtime that it receives a record from.
struct UsesRuntime;

impl log::Log for UsesRuntime {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, _: &log::Record<'_>) {
        if ENABLED.replace(false) {
            RECORDS.set(RECORDS.get() + 1);
            use_the_runtime();
            ENABLED.set(true);
        }
    }

    fn flush(&self) {}
}

fn use_the_runtime() {
    let reactor = Reactor::current();
    let (ours, _peer) = mio::net::UnixStream::pair().unwrap();
    let ours = Async::new(ours).unwrap();
    let cx = &mut Context::from_waker(Waker::noop());
    let would_block = |_: &_| std::io::Result::<()>::Err(ErrorKind::WouldBlock.into());
    assert!(ours.poll_read_with(cx, would_block).is_pending());
    let mut timer = pin!(sleep(Duration::from_secs(100)));
    assert!(timer.as_mut().poll(cx).is_pending());
    assert!(reactor.next_deadline().is_some() && reactor.metrics().waits > 0);
    assert!(!executor::tasks().is_empty() && reactor.stored_wakers().len() >= 2);
    // The number of tasks is limited, because the end of each such task is logged and spawns the
    // next.
    if executor::tasks().len() < 50 {
        executor::spawn(async {}).abort();
    }
    reactor.notifier().notify();
}

// Pitfall: X3
#[test]
fn logger_may_use_the_runtime_at_every_record() {
    in_child("logger_may_use_the_runtime_at_every_record", || {
        log::set_logger(&UsesRuntime).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        executor::block_on(async {
            ENABLED.set(true);
            let (ours, mut peer) = tcp_pair().await.unwrap();
            let echo = executor::spawn(async move {
                let (reader, writer) = ours.into_split();
                reactor::io::copy(reader, writer).await
            });
            for _ in 0..20 {
                peer.write_all(b"ping").await.unwrap();
                peer.read_exact(&mut [0; 4]).await.unwrap();
                sleep(Duration::from_micros(100)).await;
                assert_eq!(unblock(|| 7).await, 7);
                assert!(timeout(Duration::ZERO, std::future::pending::<()>()).await.is_err());
            }
            peer.close().await.unwrap();
            assert_eq!(echo.await.unwrap().unwrap(), 80);
            assert!(spawn_blocking(|| panic!("in the job")).await.unwrap_err().is_panic());
            ENABLED.set(false);
        });
        assert!(RECORDS.get() > 500, "{} records", RECORDS.get());
    });
}

thread_local! {
    /// The peer that sends more bytes when the next read is logged.
    static AFTER_A_READ: Cell<Option<StdStream>> = const { Cell::new(None) };
}

/// A logger that turns the reactor after the `read` system call, before the poll returns.
struct TurnsAfterRead;

impl log::Log for TurnsAfterRead {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.args().as_str() != Some("tried") {
            return;
        }
        if let Some(mut peer) = AFTER_A_READ.take() {
            peer.write_all(b"second").unwrap();
            Reactor::current().turn(Some(Duration::from_secs(10))).unwrap();
            AFTER_A_READ.set(Some(peer));
        }
    }

    fn flush(&self) {}
}

// A short read shows that the socket is empty. The logger then fetches a later event, which reports
// new bytes. The read must not clear the readiness that this event has set.
#[test]
fn short_read_keeps_an_event_that_a_logger_fetched() {
    in_child("short_read_keeps_an_event_that_a_logger_fetched", || {
        log::set_logger(&TurnsAfterRead).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        executor::block_on(async {
            let (mut ours, mut peer) = tcp_pair_with_std().await.unwrap();
            Reactor::current().turn(Some(Duration::ZERO)).unwrap();
            peer.write_all(b"first").unwrap();
            Reactor::current().turn(Some(Duration::from_secs(10))).unwrap();
            AFTER_A_READ.set(Some(peer));
            let mut bytes = [0; 64];
            assert_eq!(ours.read(&mut bytes).await.unwrap(), 5);
            let _peer = AFTER_A_READ.take();
            let second = timeout(Duration::from_secs(2), ours.read(&mut bytes)).await;
            assert_eq!(second.expect("the event of the second message was lost").unwrap(), 6);
        });
    });
}

thread_local! {
    /// The timer that the logger resets at the next record `sleep`.
    static RESET: Cell<Option<reactor::time::Sleep>> = const { Cell::new(None) };
}

/// A logger that moves a deadline after the reactor has computed how long to sleep.
struct ResetsTimer;

impl log::Log for ResetsTimer {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.args().as_str() != Some("sleep") {
            return;
        }
        if let Some(mut sleep) = RESET.take() {
            sleep.reset(Instant::now());
            RESET.set(Some(sleep));
        }
    }

    fn flush(&self) {}
}

#[test]
fn timer_that_a_logger_moves_before_the_sleep_fires_in_time() {
    in_child("timer_that_a_logger_moves_before_the_sleep_fires_in_time", || {
        log::set_logger(&ResetsTimer).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        let reactor = Reactor::new().unwrap();
        let _entered = reactor.enter();
        let (counter, waker) = Counter::with_waker();
        let mut sleep = sleep(Duration::from_secs(3600));
        let cx = &mut Context::from_waker(&waker);
        assert!(std::pin::Pin::new(&mut sleep).poll(cx).is_pending());
        RESET.set(Some(sleep));
        let start = Instant::now();
        reactor.turn(Some(Duration::from_secs(5))).unwrap();
        assert!(start.elapsed() < Duration::from_secs(5), "the timer fired late");
        assert_eq!(counter.wakes(), 1);
        drop(RESET.take());
    });
}

thread_local! {
    /// A function that the logger calls at the next record `sleep`.
    static BEFORE_SLEEP: Cell<Option<Box<dyn FnOnce()>>> = const { Cell::new(None) };
}

/// A logger that calls a function after the executor has decided to sleep.
struct CallsBeforeSleep;

impl log::Log for CallsBeforeSleep {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.args().as_str() == Some("sleep")
            && let Some(function) = BEFORE_SLEEP.take()
        {
            function();
        }
    }

    fn flush(&self) {}
}

// Pitfall: X21
#[test]
fn wake_by_the_logger_before_the_sleep_is_not_lost() {
    in_child("wake_by_the_logger_before_the_sleep_is_not_lost", || {
        log::set_logger(&CallsBeforeSleep).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        let mut polls = 0;
        executor::block_on(std::future::poll_fn(|cx| {
            polls += 1;
            if polls == 3 {
                return std::task::Poll::Ready(());
            }
            let waker = cx.waker().clone();
            BEFORE_SLEEP.set(Some(Box::new(|| waker.wake())));
            std::task::Poll::Pending
        }));
    });
}

// Pitfall: X21
#[test]
fn event_that_a_logger_fetches_before_the_sleep_is_not_lost() {
    in_child("event_that_a_logger_fetches_before_the_sleep_is_not_lost", || {
        log::set_logger(&CallsBeforeSleep).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        executor::block_on(async {
            let (mut ours, mut peer) = tcp_pair_with_std().await.unwrap();
            let mut byte = [0];
            assert!(timeout(Duration::from_millis(1), ours.read(&mut byte)).await.is_err());
            BEFORE_SLEEP.set(Some(Box::new(move || {
                peer.write_all(b"x").unwrap();
                Reactor::current().turn(None).unwrap();
                // Keep the peer open, because the end of the stream would be another event.
                BEFORE_SLEEP.set(Some(Box::new(move || drop(peer))));
            })));
            assert_eq!(ours.read(&mut byte).await.unwrap(), 1);
        });
    });
}

// Pitfall: X21
#[test]
fn sweep_that_a_logger_causes_before_the_sleep_is_not_late() {
    in_child("sweep_that_a_logger_causes_before_the_sleep_is_not_late", || {
        log::set_logger(&CallsBeforeSleep).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        let reactor = Reactor::new().unwrap();
        let _entered = reactor.enter();
        let (ours, _peer) = mio::net::UnixStream::pair().unwrap();
        let ours = std::rc::Rc::new(Async::new(ours).unwrap());
        reactor.turn(Some(Duration::ZERO)).unwrap();
        let (counter, waker) = Counter::with_waker();
        let waiting = ours.clone();
        BEFORE_SLEEP.set(Some(Box::new(move || {
            let would_block = |_: &_| std::io::Result::<()>::Err(ErrorKind::WouldBlock.into());
            let stale = (0..100).map(|_| Counter::with_waker().1);
            for waker in stale.chain([waker]) {
                let cx = &mut Context::from_waker(&waker);
                assert!(waiting.poll_read_with(cx, would_block).is_pending());
            }
        })));
        for _ in 0..2 {
            reactor.turn(Some(DEADLINE)).unwrap();
        }
        assert_eq!(counter.wakes(), 1);
    });
}

#[test]
fn failed_wait_for_events_is_returned() {
    let name = "failed_wait_for_events_is_returned";
    in_child_with("epoll_wait:error=ENOMEM:when=1", name, || {
        let reactor = Reactor::new().unwrap();
        let error = reactor.turn(Some(Duration::ZERO)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        reactor.turn(Some(Duration::ZERO)).unwrap();
    });
}

#[test]
fn connect_returns_a_failure_to_read_the_peers_address() {
    let name = "connect_returns_a_failure_to_read_the_peers_address";
    in_child_with("getpeername:error=ENOBUFS:when=1", name, || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let error = executor::block_on(TcpStream::connect(addr)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NOBUFS.raw_os_error()));
    });
}

#[test]
fn failure_to_read_the_error_of_a_listener_is_returned() {
    let name = "failure_to_read_the_error_of_a_listener_is_returned";
    in_child_with("getsockopt:error=ENOBUFS:when=1", name, || {
        executor::block_on(async {
            let address = SocketAddr::from_abstract_name(format!("{name}-{}", std::process::id()));
            let listener = UnixListener::bind_addr(&address.unwrap()).unwrap();
            let error = listener.take_error().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NOBUFS.raw_os_error()));
            assert!(listener.take_error().unwrap().is_none());
        });
    });
}

#[test]
fn failed_shutdown_of_writing_is_returned() {
    let name = "failed_shutdown_of_writing_is_returned";
    in_child_with("shutdown:error=ENOBUFS:when=1", name, || {
        executor::block_on(async {
            let (mut ours, _peer) = tcp_pair().await.unwrap();
            let error = ours.close().await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NOBUFS.raw_os_error()));
            ours.close().await.unwrap();
        });
    });
}
