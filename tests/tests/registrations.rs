//! Registrations: every source is deregistered, no event reaches the next owner of its key, and
//! objects fail cleanly after their reactor is gone.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use executor::Executor;
use futures_lite::StreamExt;
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use reactor::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use reactor::net::{TcpListener, TcpStream};
use reactor::signal::Signal;
use reactor::time::sleep;
use reactor::{Async, Reactor};
use rustix::fs::{OFlags, fcntl_getfl};
use signal_hook::consts::SIGUSR2;
use tests::wakers::{Counter, poll, waker_fn};
use tests::{run, std_pair, tcp_pair, turn_until, within_deadline};

fn with_reactor(test: impl FnOnce(&Rc<Reactor>) + Send + 'static) {
    within_deadline(|| {
        let reactor = Reactor::new().unwrap();
        let _entered = reactor.enter();
        test(&reactor);
    });
}

fn socket() -> (TcpStream, std::net::TcpStream) {
    let (ours, peer) = std_pair().unwrap();
    (TcpStream::from_std(ours).unwrap(), peer)
}

fn poll_read(stream: &TcpStream, waker: &Waker) -> Poll<io::Result<usize>> {
    let cx = &mut Context::from_waker(waker);
    Pin::new(&mut &*stream).poll_read(cx, &mut [0; 64])
}

/// Returns the key that the next registration gets, which is the lowest free one.
fn next_key() -> String {
    let (ours, _peer) = mio::net::UnixStream::pair().unwrap();
    let text = format!("{:?}", Async::new(ours).unwrap());
    text.rsplit_once("source: ").unwrap().1.trim_end_matches(" }").to_owned()
}

thread_local! {
    static VICTIM: RefCell<Option<TcpStream>> = const { RefCell::new(None) };
}

// Two sockets have events in one batch. The waker of the first socket drops the second socket.
// Another source then gets the key of the second.
// Pitfall: T1
#[test]
fn stale_event_does_not_reach_the_next_owner_of_its_key() {
    with_reactor(|reactor| {
        let (first, mut first_peer) = socket();
        let (victim, mut victim_peer) = socket();
        let (heir, mut heir_peer) = std_pair().unwrap();
        // This turn delivers the events that report the new sockets as writable.
        reactor.turn(Some(Duration::ZERO)).unwrap();

        let swap = waker_fn(|| {
            let before = VICTIM.take();
            let key = format!("{:?}", before.as_ref().unwrap());
            drop(before);
            assert!(key.contains(&format!("source: {}", next_key())), "the key is not free");
        });
        assert!(poll_read(&first, &swap).is_pending());
        let (victims, victims_waker) = Counter::with_waker();
        assert!(poll_read(&victim, &victims_waker).is_pending());
        VICTIM.set(Some(victim));
        first_peer.write_all(b"x").unwrap();
        victim_peer.write_all(b"x").unwrap();
        turn_until(reactor, || VICTIM.with_borrow(Option::is_none));
        assert_eq!(victims.wakes(), 1, "every event of the batch is delivered");

        let heir = TcpStream::from_std(heir).unwrap();
        let (heirs, heirs_waker) = Counter::with_waker();
        assert!(poll_read(&heir, &heirs_waker).is_pending());
        // The only event left reports the heir as writable.
        turn_until(reactor, || reactor.metrics().events >= 5);
        assert_eq!(heirs.wakes(), 0, "the victim's event");
        heir_peer.write_all(b"heir").unwrap();
        turn_until(reactor, || heirs.wakes() == 1);
        assert!(matches!(poll_read(&heir, &heirs_waker), Poll::Ready(Ok(4))));
    });
}

// A duplicate keeps the socket open in the kernel. If dropping our socket did not deregister it,
// the kernel would still report events for it.
// Pitfall: T2
#[test]
fn dropped_socket_with_a_duplicate_reports_no_events() {
    with_reactor(|reactor| {
        let (ours, mut peer) = socket();
        let _duplicate = ours.as_fd().try_clone_to_owned().unwrap();
        reactor.turn(Some(Duration::ZERO)).unwrap();
        let before = reactor.metrics().events;
        drop(ours);
        for _ in 0..1000 {
            peer.write_all(b"x").unwrap();
            reactor.turn(Some(Duration::ZERO)).unwrap();
        }
        assert_eq!(reactor.metrics().events, before);
    });
}

// Pitfall: T3
#[test]
fn into_std_allows_registration_with_another_reactor() {
    within_deadline(|| {
        let (first, second) = (Reactor::new().unwrap(), Reactor::new().unwrap());
        let (ours, mut peer) = std_pair().unwrap();
        let deregistered = {
            let _entered = first.enter();
            let ours = TcpStream::from_std(ours).unwrap();
            first.turn(Some(Duration::ZERO)).unwrap();
            ours.into_std().unwrap()
        };
        let _entered = second.enter();
        let ours = TcpStream::from_std(deregistered).unwrap();
        let (counter, waker) = Counter::with_waker();
        assert!(poll_read(&ours, &waker).is_pending());
        let before = first.metrics().events;
        peer.write_all(b"x").unwrap();
        turn_until(&second, || counter.wakes() == 1);
        first.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(first.metrics().events, before);
    });
}

// epoll does not support regular files: `epoll_ctl` returns EPERM.
// Pitfall: T4
#[test]
fn failed_registration_frees_its_key() {
    with_reactor(|_| {
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        let fd = file.as_raw_fd();
        for _ in 0..10_000 {
            let error = Async::new(SourceFd(&fd)).map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        }
        assert_eq!(next_key(), "0");
    });
}

/// A user-defined source, whose `register` and `deregister` call a closure.
struct Custom(Box<dyn FnMut() -> io::Result<()>>);

impl Source for Custom {
    fn register(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
        self.0()
    }

    fn reregister(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
        unreachable!("a source is registered once")
    }

    fn deregister(&mut self, _: &Registry) -> io::Result<()> {
        self.0()
    }
}

// Pitfall: T4, X3
#[test]
fn custom_source_that_fails_to_register_frees_its_key() {
    with_reactor(|_| {
        let fail = || Err(ErrorKind::Unsupported.into());
        let error = Async::new(Custom(Box::new(fail))).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(next_key(), "0");
    });
}

// Pitfall: T4, X3
#[test]
fn custom_source_may_register_others_while_it_registers() {
    with_reactor(|_| {
        let mut keys = Vec::new();
        let (sender, receiver) = std::sync::mpsc::channel();
        let nested = Async::new(Custom(Box::new(move || {
            let _ = sender.send(next_key());
            Ok(())
        })));
        drop(nested.unwrap());
        keys.extend(receiver);
        assert_eq!(keys.len(), 2, "{keys:?}");
        assert_eq!(keys[0], "1", "the source has a key before its `register` is called");
        assert_eq!(next_key(), "0");
    });
}

#[test]
fn custom_source_waits_through_source_fd() {
    run(|| async {
        let (reader, mut writer) = std::io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        let fd = reader.as_raw_fd();
        let source = SourceFd(&fd);
        let registered = Async::with_interest(source, Interest::READABLE).unwrap();
        let writing = executor::spawn(async move {
            tests::until(|| Reactor::current().metrics().waits == 1).await;
            writer.write_all(b"hey").unwrap();
        });
        let mut bytes = [0; 8];
        assert_eq!(registered.read_with(|_| (&reader).read(&mut bytes)).await.unwrap(), 3);
        writing.await.unwrap();
    });
}

// Pitfall: S6
#[test]
fn from_std_makes_the_socket_nonblocking() {
    with_reactor(|_| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(!fcntl_getfl(&stream).unwrap().contains(OFlags::NONBLOCK));
        let stream = TcpStream::from_std(stream).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        assert!(fcntl_getfl(&stream).unwrap().contains(OFlags::NONBLOCK));
        assert!(fcntl_getfl(&listener).unwrap().contains(OFlags::NONBLOCK));
        assert!(poll_read(&stream, Waker::noop()).is_pending(), "a blocking read would hang");
    });
}

/// Objects of an executor that has been dropped. Each was waiting at that time.
struct Orphans {
    stream: TcpStream,
    peer: TcpStream,
    listener: TcpListener,
    signal: Signal,
    counter: std::sync::Arc<Counter>,
}

fn orphans() -> Orphans {
    let (counter, waker) = Counter::with_waker();
    let executor = Executor::new().unwrap();
    executor.block_on(async {
        let (stream, peer) = tcp_pair().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut signal = Signal::new(SIGUSR2).unwrap();
        assert!(poll_read(&stream, &waker).is_pending());
        assert!(poll(pin!(listener.accept()), &waker).is_pending());
        assert!(poll(pin!(signal.recv()), &waker).is_pending());
        Orphans { stream, peer, listener, signal, counter }
    })
}

// Pitfall: X9
#[test]
fn waits_end_with_an_error_when_the_executor_drops() {
    within_deadline(|| {
        let Orphans { stream, mut peer, listener, mut signal, counter } = orphans();
        assert_eq!(counter.wakes(), 3, "each waiting task is woken, because no event will come");
        executor::block_on(async {
            assert!((&stream).read(&mut [0; 64]).await.is_err());
            assert!(listener.accept().await.is_err());
            assert!(listener.incoming().next().await.is_none_or(|result| result.is_err()));
            assert!(signal.recv().await.is_err());
            // An operation that need not wait still works.
            peer.write_all(b"x").await.unwrap();
            peer.close().await.unwrap();
        });
        drop((stream, peer, listener, signal));
    });
}

// Pitfall: X9
#[test]
fn socket_of_a_dropped_executor_works_in_another() {
    within_deadline(|| {
        let Orphans { stream, peer, listener, .. } = orphans();
        let (stream, peer) = (stream.into_std().unwrap(), peer.into_std().unwrap());
        drop(listener.into_std().unwrap());
        executor::block_on(async {
            let mut stream = TcpStream::from_std(stream).unwrap();
            let mut peer = TcpStream::from_std(peer).unwrap();
            peer.write_all(b"again").await.unwrap();
            assert_eq!(stream.read(&mut [0; 64]).await.unwrap(), 5);
        });
    });
}

// Pitfall: X9
#[test]
fn timer_of_a_dropped_executor_completes_in_another() {
    within_deadline(|| {
        let mut timer = Box::pin(sleep(Duration::from_millis(5)));
        let mut dropped = Box::pin(sleep(Duration::from_secs(100)));
        executor::block_on(async {
            assert!(poll(timer.as_mut(), Waker::noop()).is_pending());
            assert!(poll(dropped.as_mut(), Waker::noop()).is_pending());
        });
        drop(dropped);
        executor::block_on(timer.as_mut());
        executor::block_on(timer);
    });
}

// Pitfall: X9
#[test]
fn objects_may_be_dropped_at_thread_exit() {
    thread_local! {
        static KEPT: RefCell<Option<(Orphans, Executor)>> = const { RefCell::new(None) };
    }
    let keep = |before_the_runtime: bool| {
        // The destructors of thread-locals run in the order in which the thread-locals were first
        // used.
        if before_the_runtime {
            KEPT.set(None);
        }
        let executor = Executor::new().unwrap();
        drop(executor.spawn(async {
            let (mut stream, _peer) = tcp_pair().await.unwrap();
            let _timer = sleep(Duration::from_secs(100));
            let _ = stream.read(&mut [0]).await;
        }));
        while executor.reactor().metrics().waits == 0 {
            executor.tick();
        }
        KEPT.set(Some((orphans(), executor)));
    };
    std::thread::spawn(move || keep(true)).join().unwrap();
    std::thread::spawn(move || keep(false)).join().unwrap();
}

// Pitfall: X9
#[test]
fn executor_works_after_a_panic_dropped_its_objects() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            executor.block_on(async {
                let (mut stream, _peer) = tcp_pair().await.unwrap();
                let _signal = Signal::new(SIGUSR2).unwrap();
                let mut timer = pin!(sleep(Duration::from_secs(100)));
                assert!(poll(timer.as_mut(), Waker::noop()).is_pending());
                let _ = poll(pin!(stream.read(&mut [0])), Waker::noop());
                panic!("while all of them wait");
            });
        }));
        assert!(panicked.is_err());
        assert_eq!(executor.reactor().next_deadline(), None);
        assert!(format!("{:?}", executor.reactor()).contains("sources: 0"));
        executor.block_on(async {
            let (mut ours, mut peer) = tcp_pair().await.unwrap();
            peer.write_all(b"x").await.unwrap();
            assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 1);
        });
    });
}

#[test]
fn blocked_write_fails_after_its_reactor_is_gone() {
    within_deadline(|| {
        let Orphans { stream, peer, .. } = orphans();
        let cx = &mut Context::from_waker(Waker::noop());
        let error = loop {
            match Pin::new(&mut &stream).poll_write(cx, &[0; 65536]) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => break error,
                Poll::Pending => panic!("no event would wake this task"),
            }
        };
        assert_eq!(error.kind(), ErrorKind::Other);
        drop(peer);
    });
}
