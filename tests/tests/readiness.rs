//! The readiness rule: a task that waits for a direction of a source is woken when that direction
//! becomes ready.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Once, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use reactor::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, IoSlice, IoSliceMut};
use reactor::net::TcpStream;
use reactor::{Async, Reactor};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{RecvFlags, SendFlags};
use rustix::time::{ClockId, clock_gettime};
use socket2::SockRef;
use tests::wakers::{Counter, poll};
use tests::{run, std_pair, tcp_pair_with_std, turn_until, within_deadline};

/// An operation of our end or of the peer.
#[derive(Clone, Copy, Debug)]
enum Step {
    Turn,
    Read(usize),
    /// The bytes, and the number of buffers.
    ReadVectored(usize, usize),
    Peek(usize),
    /// A read of this many bytes. When it is logged, the peer writes, and the logger turns the
    /// reactor.
    ReadWithLogger(usize, usize),
    /// Reads that are dropped while they wait.
    DroppedReads,
    Write(usize),
    WriteVectored(usize, usize),
    PeerWrites(usize),
    PeerReads(usize),
    PeerSendsUrgentByte,
    PeerShutsDownWriting,
    PeerResets,
    WeShutDownWriting,
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || prop_oneof![1_usize..16, 1_usize..5000, 1_usize..100_000];
    // One call to the kernel takes 1,024 buffers.
    let vectored = || (bytes(), prop_oneof![3 => Just(2_usize), 1 => Just(1500)]);
    prop_oneof![
        8 => Just(Step::Turn),
        6 => bytes().prop_map(Step::Read),
        2 => vectored().prop_map(|(bytes, bufs)| Step::ReadVectored(bytes, bufs)),
        2 => bytes().prop_map(Step::Peek),
        1 => (bytes(), bytes()).prop_map(|(read, write)| Step::ReadWithLogger(read, write)),
        1 => Just(Step::DroppedReads),
        6 => bytes().prop_map(Step::Write),
        2 => vectored().prop_map(|(bytes, bufs)| Step::WriteVectored(bytes, bufs)),
        6 => bytes().prop_map(Step::PeerWrites),
        6 => bytes().prop_map(Step::PeerReads),
        1 => Just(Step::PeerSendsUrgentByte),
        1 => Just(Step::PeerShutsDownWriting),
        1 => Just(Step::PeerResets),
        1 => Just(Step::WeShutDownWriting),
    ]
}

std::thread_local! {
    /// What the logger of this thread does when an operation of a source is logged next.
    static LOGGER: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target() == "reactor::source"
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) && record.args().as_str() == Some("tried") {
            let act = LOGGER.take();
            act.into_iter().for_each(|act| act());
        }
    }

    fn flush(&self) {}
}

/// The number of reads that one step drops, and how often.
const DROPPED: usize = 50;

/// The waker of a dropped read. Each differs from all others.
struct Distinct;

impl Wake for Distinct {
    fn wake(self: Arc<Self>) {}
}

/// Returns the bytes of a stream from `position`. Each byte depends on its position.
fn stream(position: u64, length: usize) -> Vec<u8> {
    (position..).take(length).map(|at| (at % 251) as u8).collect()
}

/// One direction of our end, which may be waiting.
struct Side {
    counter: Arc<Counter>,
    waker: Waker,
    waiting: bool,
    wakes: usize,
}

impl Side {
    fn new() -> Side {
        let (counter, waker) = Counter::with_waker();
        Side { counter, waker, waiting: false, wakes: 0 }
    }

    fn note<T>(&mut self, polled: Poll<T>) -> Option<T> {
        self.waiting = polled.is_pending();
        match polled {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    /// Checks after a turn that a direction that waited, and was ready before the turn, was woken.
    fn check(&mut self, ready: bool, direction: &str) {
        let woken = self.counter.wakes() > self.wakes;
        assert!(woken || !(self.waiting && ready), "the {direction} side waits forever");
        self.waiting &= !woken;
        self.wakes = self.counter.wakes();
    }
}

/// A connection, and how many bytes each end has written and read.
struct Model {
    reactor: Rc<Reactor>,
    ours: TcpStream,
    /// A duplicate of the socket, to query the kernel without the runtime.
    probe: OwnedFd,
    peer: Option<std::net::TcpStream>,
    reader: Side,
    writer: Side,
    peer_wrote: u64,
    read: u64,
    wrote: u64,
    peer_read: u64,
    peer_shut: bool,
    shut: bool,
    urgent: bool,
    /// A reset connection may lose bytes.
    reset: bool,
    /// The wakers of dropped reads.
    stale: Vec<Weak<Distinct>>,
}

impl Model {
    fn new() -> Model {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            log::set_logger(&Logger).expect("no test of this program captures records");
            log::set_max_level(log::LevelFilter::Trace);
        });
        let reactor = Reactor::new().unwrap();
        let (ours, peer) = std_pair().unwrap();
        for socket in [&ours, &peer] {
            // Small buffers, so that writes on both ends block.
            SockRef::from(socket).set_send_buffer_size(8 << 10).unwrap();
            SockRef::from(socket).set_recv_buffer_size(32 << 10).unwrap();
        }
        let probe = ours.as_fd().try_clone_to_owned().unwrap();
        let _entered = reactor.enter();
        Model {
            ours: TcpStream::from_std(ours).unwrap(),
            reactor: reactor.clone(),
            probe,
            peer: Some(peer),
            reader: Side::new(),
            writer: Side::new(),
            peer_wrote: 0,
            read: 0,
            wrote: 0,
            peer_read: 0,
            peer_shut: false,
            shut: false,
            urgent: false,
            reset: false,
            stale: Vec::new(),
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Turn => self.turn(),
            Step::Read(length) => self.read(length, 1),
            Step::ReadVectored(length, bufs) => self.read(length, bufs),
            Step::Peek(length) => self.peek(length),
            Step::ReadWithLogger(length, bytes) => self.read_with_logger(length, bytes),
            Step::DroppedReads => (0..DROPPED).for_each(|_| self.drop_reads()),
            Step::Write(length) => self.write(length, 1),
            Step::WriteVectored(length, bufs) => self.write(length, bufs),
            Step::PeerWrites(length) => self.peer_writes(length),
            Step::PeerReads(length) => self.peer_reads(length),
            Step::PeerSendsUrgentByte => self.peer_sends_urgent_byte(),
            Step::PeerShutsDownWriting => self.peer_shuts_down_writing(),
            Step::PeerResets => self.peer_resets(),
            Step::WeShutDownWriting => {
                self.shut = true;
                let _ = self.ours.shutdown(Shutdown::Write);
            }
        }
    }

    fn turn(&mut self) {
        let flags = self.poll_kernel(PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP, 0);
        let broken = flags.intersects(PollFlags::ERR | PollFlags::HUP);
        // At an urgent mark the kernel may report IN although a read returns `WouldBlock`.
        let peek = || rustix::net::recv(&self.probe, &mut [0], RecvFlags::PEEK).is_ok();
        let readable = broken || flags.contains(PollFlags::RDHUP) || peek();
        self.reactor.turn(Some(Duration::ZERO)).unwrap();
        // The wakers of a source are swept whenever they double.
        self.stale.retain(|waker| waker.strong_count() > 0);
        assert!(self.stale.len() <= 4 * DROPPED, "{} stale wakers are stored", self.stale.len());
        self.reader.check(readable, "reading");
        self.writer.check(broken || flags.contains(PollFlags::OUT), "writing");
    }

    fn poll_kernel(&self, flags: PollFlags, milliseconds: i64) -> PollFlags {
        let mut fds = [PollFd::new(&self.probe, flags)];
        let timeout = Timespec { tv_sec: 0, tv_nsec: milliseconds * 1_000_000 };
        rustix::event::poll(&mut fds, Some(&timeout)).unwrap();
        fds[0].revents()
    }

    fn read(&mut self, length: usize, bufs: usize) {
        let mut bytes = vec![0; length];
        self.reader.wakes = self.reader.counter.wakes();
        let cx = &mut Context::from_waker(&self.reader.waker);
        let polled = match bufs {
            1 => Pin::new(&mut &self.ours).poll_read(cx, &mut bytes),
            _ => {
                let bufs = bytes.chunks_mut(length.div_ceil(bufs));
                let bufs = &mut bufs.map(IoSliceMut::new).collect::<Vec<_>>();
                Pin::new(&mut &self.ours).poll_read_vectored(cx, bufs)
            }
        };
        match self.reader.note(polled) {
            Some(Ok(0)) => assert!(self.reset || self.peer_shut && self.read == self.peer_wrote),
            Some(Ok(n)) => {
                assert_eq!(bytes[..n], stream(self.read, n));
                self.read += n as u64;
            }
            Some(Err(error)) => assert!(self.reset, "{error}"),
            None => {}
        }
    }

    fn read_with_logger(&mut self, length: usize, bytes: usize) {
        let peer = self.peer.as_ref().filter(|_| !self.peer_shut);
        let Some(mut peer) = peer.and_then(|peer| peer.try_clone().ok()) else { return };
        let (reactor, wrote) = (self.reactor.clone(), Rc::new(Cell::new(0)));
        let (bytes, written) = (stream(self.peer_wrote, bytes), wrote.clone());
        LOGGER.set(Some(Box::new(move || {
            written.set(peer.write(&bytes).unwrap_or(0));
            reactor.turn(Some(Duration::ZERO)).unwrap();
        })));
        self.read(length, 1);
        // The logger is not called if the read has to wait.
        drop(LOGGER.take());
        self.peer_wrote += wrote.get() as u64;
    }

    /// Polls reads with wakers of their own, and drops them.
    fn drop_reads(&mut self) {
        for _ in 0..DROPPED {
            // While a read waits, no other one is tried, so none takes bytes.
            if self.reader.waiting && self.reader.counter.wakes() == self.reader.wakes {
                let distinct = Arc::new(Distinct);
                self.stale.push(Arc::downgrade(&distinct));
                let waker = Waker::from(distinct);
                let cx = &mut Context::from_waker(&waker);
                assert!(Pin::new(&mut &self.ours).poll_read(cx, &mut [0]).is_pending());
            }
        }
        self.turn();
        if !self.reader.waiting {
            self.read(1, 1);
        }
    }

    fn peek(&mut self, length: usize) {
        let mut bytes = vec![0; length];
        let polled = poll(pin!(self.ours.peek(&mut bytes)), &self.reader.waker);
        match self.reader.note(polled) {
            Some(Ok(n)) => assert_eq!(bytes[..n], stream(self.read, n)),
            Some(Err(error)) => assert!(self.reset, "{error}"),
            None => {}
        }
    }

    fn write(&mut self, length: usize, bufs: usize) {
        if self.shut {
            return;
        }
        let bytes = stream(self.wrote, length);
        let cx = &mut Context::from_waker(&self.writer.waker);
        let polled = match bufs {
            1 => Pin::new(&mut &self.ours).poll_write(cx, &bytes),
            _ => {
                let bufs = bytes.chunks(length.div_ceil(bufs));
                let bufs = bufs.map(IoSlice::new).collect::<Vec<_>>();
                Pin::new(&mut &self.ours).poll_write_vectored(cx, &bufs)
            }
        };
        match self.writer.note(polled) {
            Some(Ok(n)) => self.wrote += n as u64,
            Some(Err(error)) => assert!(self.reset, "{error}"),
            None => {}
        }
    }

    fn peer_writes(&mut self, length: usize) {
        let Some(peer) = self.peer.as_mut().filter(|_| !self.peer_shut) else { return };
        match peer.write(&stream(self.peer_wrote, length)) {
            Ok(n) => self.peer_wrote += n as u64,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }

    fn peer_reads(&mut self, length: usize) {
        let Some(peer) = &mut self.peer else { return };
        let mut bytes = vec![0; length];
        match peer.read(&mut bytes) {
            Ok(n) => {
                assert_eq!(bytes[..n], stream(self.peer_read, n));
                self.peer_read += n as u64;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }

    /// Does so only once, because a second mark turns the first urgent byte into an ordinary one.
    fn peer_sends_urgent_byte(&mut self) {
        let Some(peer) = self.peer.as_ref().filter(|_| !self.peer_shut && !self.urgent) else {
            return;
        };
        self.urgent = rustix::net::send(peer, b"!", SendFlags::OOB).is_ok();
    }

    fn peer_shuts_down_writing(&mut self) {
        let Some(peer) = &self.peer else { return };
        self.peer_shut = true;
        // Fails if both directions have already been shut down.
        let _ = peer.shutdown(Shutdown::Write);
    }

    fn peer_resets(&mut self) {
        let Some(peer) = self.peer.take() else { return };
        self.reset = true;
        SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Shuts down the peer's writing direction and reads the remaining bytes on both ends.
    fn finish(mut self) {
        if self.reset {
            // To a reset with an unexpected sequence number, the kernel replies with a challenge ACK
            // (RFC 5961), whose rate is limited. So this reset may never have taken effect.
            let arrived = !self.poll_kernel(PollFlags::empty(), 200).is_empty();
            if arrived {
                self.expect_end();
            }
            return;
        }
        self.peer_shuts_down_writing();
        let start = Instant::now();
        while self.read < self.peer_wrote || self.peer_read < self.wrote {
            assert!(start.elapsed() < tests::DEADLINE, "bytes are missing");
            if !self.reader.waiting {
                self.read(4096, 1);
            }
            self.peer_reads(4096);
            self.turn();
        }
        self.expect_end();
    }

    fn expect_end(&mut self) {
        let reactor = self.reactor.clone();
        let turns = reactor.metrics().turns;
        loop {
            let cx = &mut Context::from_waker(&self.reader.waker);
            match Pin::new(&mut &self.ours).poll_read(cx, &mut [0; 65536]) {
                Poll::Ready(Ok(0) | Err(_)) => break,
                Poll::Ready(Ok(_)) => assert!(self.reset),
                Poll::Pending => {
                    let wakes = self.reader.counter.wakes();
                    turn_until(&reactor, || self.reader.counter.wakes() > wakes);
                }
            }
        }
        assert!(reactor.metrics().turns - turns < 20, "the end of the stream takes too many turns");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: tests::cases(120), max_shrink_iters: 30, failure_persistence: None, ..ProptestConfig::default() })]

    // Random operations on both ends of a real connection. Before each turn the test queries the
    // kernel. If a direction is ready and waits, the turn must wake it.
    // Pitfall: W1, W2, W7, E1, E7
    #[test]
    fn waiting_direction_is_woken_when_the_kernel_is_ready(steps in vec(step(), 1..80)) {
        within_deadline(move || {
            let mut model = Model::new();
            for step in steps {
                model.apply(step);
            }
            model.finish();
        });
    }
}

// Pitfall: E1
#[test]
fn short_read_with_fin_reaches_eof() {
    run(|| async {
        for _ in 0..50 {
            let (mut ours, mut peer) = tcp_pair_with_std().await.unwrap();
            let reader = executor::spawn(async move {
                let mut bytes = [0; 64];
                let mut lengths = Vec::new();
                loop {
                    let n = ours.read(&mut bytes).await.unwrap();
                    lengths.push(n);
                    if n == 0 {
                        return lengths;
                    }
                }
            });
            executor::yield_now().await;
            // The cork holds the bytes back until the FIN, so both arrive in one segment and cause
            // one edge.
            rustix::net::sockopt::set_tcp_cork(&peer, true).unwrap();
            peer.write_all(b"last").unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            assert_eq!(reader.await.unwrap(), [4, 0]);
        }
    });
}

// All bytes arrive before the waiting reader is woken, so one event reports them all and no other
// event follows.
// Pitfall: E7
#[test]
fn bytes_after_an_urgent_mark_are_read() {
    run(|| async {
        let (mut ours, mut peer) = tcp_pair_with_std().await.unwrap();
        let reader = executor::spawn(async move {
            let (mut text, mut bytes) = (Vec::new(), [0_u8; 64]);
            while text.len() < 6 {
                let n = ours.read(&mut bytes).await.unwrap();
                text.extend_from_slice(&bytes[..n]);
            }
            text
        });
        // The reactor delivers the event that reports the new socket as writable.
        reactor::time::sleep(Duration::from_millis(1)).await;
        peer.write_all(b"abc").unwrap();
        rustix::net::send(&peer, b"!", SendFlags::OOB).unwrap();
        peer.write_all(b"def").unwrap();
        assert_eq!(reader.await.unwrap(), b"abcdef");
    });
}

// Pitfall: E7
#[test]
fn repeated_peek_returns_the_same_bytes() {
    run(|| async {
        let (mut ours, mut peer) = tcp_pair_with_std().await.unwrap();
        peer.write_all(b"peek").unwrap();
        for _ in 0..3 {
            let mut bytes = [0; 64];
            assert_eq!(ours.peek(&mut bytes).await.unwrap(), 4);
            assert_eq!(&bytes[..4], b"peek");
        }
        let mut bytes = [0; 4];
        ours.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"peek");
    });
}

// When the writer of an empty pipe is dropped, the reader gets an event with HUP alone.
// Pitfall: W7, E1
#[test]
fn drained_pipe_reaches_eof_when_the_writer_drops() {
    run(|| async {
        let (writer, reader) = mio::unix::pipe::new().unwrap();
        let writer = Async::with_interest(writer, mio::Interest::WRITABLE).unwrap();
        let reader = Async::with_interest(reader, mio::Interest::READABLE).unwrap();
        let task = executor::spawn(async move {
            let mut lengths = Vec::new();
            loop {
                let n = reader.read_with(|mut pipe| pipe.read(&mut [0; 64])).await.unwrap();
                lengths.push(n);
                if n == 0 {
                    return lengths;
                }
            }
        });
        let waits = || Reactor::current().metrics().waits;
        tests::until(|| waits() == 1).await;
        writer.write_with(|mut pipe| pipe.write(b"pipe")).await.unwrap();
        tests::until(|| waits() == 2).await;
        drop(writer);
        assert_eq!(task.await.unwrap(), [4, 0]);
    });
}

// When the reader of a full pipe is dropped, the writer gets an event with ERR alone: without
// space in the buffer, the pipe is not writable.
// Pitfall: W7
#[test]
fn full_pipe_is_broken_when_the_reader_drops() {
    run(|| async {
        let (writer, reader) = mio::unix::pipe::new().unwrap();
        let writer = Async::with_interest(writer, mio::Interest::WRITABLE).unwrap();
        let task = executor::spawn(async move {
            loop {
                let written = writer.write_with(|mut pipe| pipe.write(&[0; 4096])).await;
                if let Err(error) = written {
                    return error.kind();
                }
            }
        });
        tests::until(|| Reactor::current().metrics().waits >= 1).await;
        drop(reader);
        assert_eq!(task.await.unwrap(), ErrorKind::BrokenPipe);
    });
}

// The operations always return `WouldBlock`, because this test checks only the wakes. The pipe is
// full, so that the kernel reports the error and nothing else.
// Pitfall: W7
#[test]
fn error_event_wakes_both_directions() {
    within_deadline(|| {
        let reactor = Reactor::new().unwrap();
        let _entered = reactor.enter();
        let (mut writer, reader) = mio::unix::pipe::new().unwrap();
        while writer.write(&[0; 4096]).is_ok() {}
        let writer = Async::new(writer).unwrap();
        let (reading, reading_waker) = Counter::with_waker();
        let (writing, writing_waker) = Counter::with_waker();
        let would_block = |_: &_| std::io::Result::<()>::Err(ErrorKind::WouldBlock.into());
        let cx = &mut Context::from_waker(&reading_waker);
        assert!(writer.poll_read_with(cx, would_block).is_pending());
        let cx = &mut Context::from_waker(&writing_waker);
        assert!(writer.poll_write_with(cx, would_block).is_pending());
        drop(reader);
        turn_until(&reactor, || writing.wakes() == 1);
        assert_eq!(reading.wakes(), 1);
    });
}

// Pitfall: W7, E1
#[test]
fn dropped_peer_ends_both_directions_of_a_unix_stream() {
    run(|| async {
        let (ours, peer) = mio::net::UnixStream::pair().unwrap();
        let ours = Rc::new(Async::new(ours).unwrap());
        let (reading, writing) = (ours.clone(), ours);
        let reader = executor::spawn(async move {
            reading.read_with(|mut stream| stream.read(&mut [0; 64])).await
        });
        let writer = executor::spawn(async move {
            loop {
                let written = writing.write_with(|mut stream| stream.write(&[0; 4096])).await;
                if let Err(error) = written {
                    return error.kind();
                }
            }
        });
        tests::until(|| Reactor::current().metrics().waits >= 2).await;
        drop(peer);
        // The peer closes with unread bytes, so the kernel may report a reset.
        let read = reader.await.unwrap();
        assert!(matches!(&read, Ok(0)) || read.unwrap_err().kind() == ErrorKind::ConnectionReset);
        assert_eq!(writer.await.unwrap(), ErrorKind::BrokenPipe);
    });
}

// Bytes that the peer sent before it closed are read before the end of file, whatever the size of
// the reader's buffer.
// Pitfall: E1
#[test]
fn unix_stream_delivers_all_bytes_before_eof() {
    run(|| async {
        for chunk in [1, 3, 64, 10_000] {
            let (ours, mut peer) = mio::net::UnixStream::pair().unwrap();
            let ours = Async::new(ours).unwrap();
            peer.write_all(&stream(0, 1000)).unwrap();
            drop(peer);
            let (mut text, mut bytes) = (Vec::new(), vec![0_u8; chunk]);
            loop {
                let n = ours.read_with(|mut stream| stream.read(&mut bytes)).await.unwrap();
                if n == 0 {
                    break;
                }
                text.extend_from_slice(&bytes[..n]);
            }
            assert_eq!(text, stream(0, 1000));
        }
    });
}

// The peers have shut down writing and do not read. So each connection has reached its end of file
// and waits to write. The test counts turns, attempts and wakes while only a timer expires.
// Pitfall: E2
#[test]
fn stalled_half_closed_connections_cause_no_wakeups() {
    run(|| async {
        let mut connections = Vec::new();
        for _ in 0..20 {
            let (ours, peer) = tcp_pair_with_std().await.unwrap();
            let ours = Rc::new(ours);
            peer.shutdown(Shutdown::Write).unwrap();
            connections.push((ours.clone(), peer));
            drop(executor::spawn(async move {
                assert_eq!((&*ours).read(&mut [0; 64]).await.unwrap(), 0);
                loop {
                    (&*ours).write_all(&[0; 65536]).await.unwrap();
                }
            }));
        }
        let reactor = Reactor::current();
        // The kernel enlarges the send buffers for a while, so writes succeed until it stops.
        let mut before = reactor.metrics();
        loop {
            reactor::time::sleep(Duration::from_millis(100)).await;
            let now = reactor.metrics();
            if now.would_blocks == before.would_blocks {
                break;
            }
            before = now;
        }
        // Each connection gets one more waiter after the end of file.
        let (counter, waker) = Counter::with_waker();
        for (ours, _) in &connections {
            let cx = &mut Context::from_waker(&waker);
            assert!(Pin::new(&mut &**ours).poll_write(cx, &[0]).is_pending());
        }
        let cpu = cpu_time();
        let before = reactor.metrics();
        reactor::time::sleep(Duration::from_millis(200)).await;
        let after = reactor.metrics();
        assert!(after.turns - before.turns <= 3, "{before:?} {after:?}");
        assert_eq!((after.would_blocks, counter.wakes()), (before.would_blocks, 0));
        assert!(cpu_time() - cpu < Duration::from_millis(20), "the thread does not sleep");
    });
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

// An empty read returns 0 bytes without a statement about the stream, like `read` in std.
// Pitfall: S13
#[test]
fn empty_read_does_not_affect_the_stream() {
    run(|| async {
        let (mut ours, mut peer) = tcp_pair_with_std().await.unwrap();
        peer.write_all(b"alive").unwrap();
        let mut bytes = [0; 64];
        assert_eq!(ours.peek(&mut bytes).await.unwrap(), 5);
        for _ in 0..3 {
            assert_eq!(ours.read(&mut []).await.unwrap(), 0);
        }
        assert_eq!(ours.read(&mut bytes).await.unwrap(), 5);
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(ours.read(&mut bytes).await.unwrap(), 0);
        assert_eq!(ours.read(&mut []).await.unwrap(), 0);
        assert_eq!(ours.write(b"we").await.unwrap(), 2);
        peer.read_exact(&mut bytes[..2]).unwrap();

        SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        let mut last = Ok(0);
        tests::until(|| {
            // `Ok(0)` means that the reset has not arrived yet.
            last = ours.take_error().map(|error| usize::from(error.is_some()));
            !matches!(last, Ok(0))
        })
        .await;
        let _ = ours.read(&mut []).await;
    });
}

// An event of the write direction must not mark the read direction as ready.
// Pitfall: W2
#[test]
fn writable_event_does_not_wake_the_reader() {
    within_deadline(|| {
        let reactor = Reactor::new().unwrap();
        let _entered = reactor.enter();
        let (ours, mut peer) = std_pair().unwrap();
        let mut ours = TcpStream::from_std(ours).unwrap();
        let (reading, reader) = Counter::with_waker();
        let (writing, writer) = Counter::with_waker();
        // The socket is writable from the start. This turn delivers the event that reports it.
        reactor.turn(Some(Duration::ZERO)).unwrap();
        while Pin::new(&mut ours)
            .poll_write(&mut Context::from_waker(&writer), &[0; 65536])
            .is_ready()
        {}
        let mut bytes = [0; 64];
        let waiting = Pin::new(&mut ours).poll_read(&mut Context::from_waker(&reader), &mut bytes);
        assert!(waiting.is_pending());
        turn_until(&reactor, || {
            while peer.read(&mut [0; 65536]).is_ok() {}
            writing.wakes() > 0
        });
        // Each edge makes epoll report the current state of both directions. Here this event
        // contains only the writable flag.
        assert_eq!(reading.wakes(), 0);
    });
}

#[test]
fn spurious_poll_makes_no_system_call() {
    within_deadline(|| {
        let reactor = Reactor::new().unwrap();
        let _entered = reactor.enter();
        let (ours, _peer) = std_pair().unwrap();
        let mut ours = TcpStream::from_std(ours).unwrap();
        for _ in 0..10 {
            let cx = &mut Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut ours).poll_read(cx, &mut [0; 64]).is_pending());
        }
        assert_eq!(reactor.metrics().would_blocks, 1);
    });
}
