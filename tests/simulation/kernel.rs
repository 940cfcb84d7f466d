//! The simulated kernel: sockets, their peers, the clock, and the events that it reports.
//!
//! Like the real kernel, this one merges events, may leave some of them for the next wait, may
//! report a direction that has not changed, and reuses keys. A peer may act between a system call
//! and its return.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite};
use log::{Level, debug, log_enabled, trace};
use recorder::OUTSIDE;

use crate::Fault;
use crate::blocking::Pool;
use crate::job::Job;
use crate::shared::Shared;
use crate::source::{Direction, Source};

/// Pseudo-random numbers, the same for the same seed (SplitMix64).
pub(crate) struct Random(Cell<u64>);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(Cell::new(seed))
    }

    pub(crate) fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut z = self.0.get();
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(crate) fn one_in(&self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// The state of the simulated kernel, and what the checks count.
pub(crate) struct Kernel {
    pub(crate) random: Random,
    pub(crate) shared: Rc<Shared>,
    pub(crate) sockets: RefCell<BTreeMap<usize, Rc<Socket>>>,
    /// The keys of sockets with an event that has not been fetched, in the order of the first change.
    pub(crate) pending: RefCell<Vec<usize>>,
    /// The tasks of the program that have not been forgotten.
    pub(crate) jobs: RefCell<Vec<Rc<Job>>>,
    /// The task that is being polled.
    pub(crate) current: RefCell<Option<Rc<Job>>>,
    /// The panic of a check inside a task, to be raised again outside of the executor.
    pub(crate) failure: Cell<Option<Box<dyn Any + Send>>>,
    /// The number of polls of all tasks.
    pub(crate) polls: Cell<u64>,
    /// The number of calls that returned `WouldBlock`.
    pub(crate) would_blocks: Cell<u64>,
    /// The number of values that jobs of the pool have made and nothing has dropped.
    pub(crate) values: Arc<AtomicUsize>,
    pub(crate) fault: Option<Fault>,
}

/// A socket: tasks use it through `source`, and the peer acts on `state`.
pub(crate) struct Socket {
    pub(crate) source: Source,
    pub(crate) kernel: Rc<Kernel>,
    /// Whether it is a TCP stream, on which a short transfer means that nothing is left.
    is_tcp: bool,
    pub(crate) state: RefCell<State>,
    /// How many bytes `read` calls have taken from the kernel, and how many tasks have received.
    pub(crate) taken: Cell<usize>,
    pub(crate) received: Cell<usize>,
    /// How many bytes `write` calls have accepted.
    pub(crate) accepted: Cell<usize>,
    /// The directions whose last call returned `WouldBlock` and that no event has reported since.
    blocked: RefCell<Vec<Direction>>,
}

#[derive(Default)]
pub(crate) struct State {
    /// Bytes that the peer has sent and no call has read.
    incoming: VecDeque<u8>,
    /// The number of bytes that the peer has sent. The bytes of each stream count upward.
    pub(crate) sent: usize,
    /// Bytes that were written and that the peer has not received, at most `capacity`.
    pub(crate) outgoing: VecDeque<u8>,
    capacity: usize,
    /// How many bytes the peer has received.
    pub(crate) delivered: usize,
    /// Whether the peer has ended its stream, or reset the connection.
    pub(crate) ended: bool,
    pub(crate) reset: bool,
    /// Whether a task has ended the stream to the peer.
    pub(crate) closed: bool,
}

/// Jobs that must be polled in the next round, and how often each has been polled before.
pub(crate) type MustRun = Vec<(Rc<Job>, u32)>;

impl Kernel {
    pub(crate) fn open(self: &Rc<Self>) -> Rc<Socket> {
        let mut sockets = self.sockets.borrow_mut();
        // Take the lowest free key, so that keys are reused as soon as possible.
        let key = (0..).find(|key| !sockets.contains_key(key)).expect("there are enough numbers");
        let is_tcp = !self.random.one_in(3);
        let kind = if is_tcp { "TcpStream" } else { "UnixStream" };
        // These records tie the source to its peer, so that the recorder knows what causes an
        // event.
        trace!(peer = key; "accepted");
        debug!(source = key, kind; "register");
        let capacity = 1 + self.random.below(64);
        let socket = Rc::new(Socket {
            source: Source::new(key, kind, self.shared.clone()),
            kernel: self.clone(),
            is_tcp,
            state: RefCell::new(State { capacity, ..State::default() }),
            taken: Cell::new(0),
            received: Cell::new(0),
            accepted: Cell::new(0),
            blocked: RefCell::default(),
        });
        sockets.insert(key, socket.clone());
        socket
    }

    /// Closes the sockets that no task uses.
    pub(crate) fn close_unused(&self) {
        let jobs = self.jobs.borrow();
        self.sockets.borrow_mut().retain(|key, socket| {
            let is_used = jobs.iter().any(|job| job.uses(socket));
            if !is_used {
                debug!(source = *key; "deregister");
            }
            is_used
        });
    }

    /// The task that is being polled.
    pub(crate) fn job(&self) -> Rc<Job> {
        self.current.borrow().clone().expect("a task calls this")
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Records that a socket has changed. The kernel reports this once.
    fn change(&self, key: usize) {
        let mut pending = self.pending.borrow_mut();
        if !pending.contains(&key) {
            pending.push(key);
        }
    }

    /// Fetches events and wakes the tasks, as `Reactor::turn` does.
    pub(crate) fn turn(&self) -> MustRun {
        self.shared.counters.turns.add(1);
        let turn = self.shared.counters.turns.get();
        let mut woken = Vec::new();
        for key in self.shared.to_sweep.take() {
            if let Some(socket) = self.sockets.borrow().get(&key) {
                socket.source.sweep(turn, &mut woken);
            }
        }
        trace!(timeout:? = Some(Duration::ZERO); "sleep");
        let mut must_run = Vec::new();
        let mut fetched = self.pending.borrow().len();
        if fetched > 1 && self.random.one_in(3) {
            fetched = self.random.below(fetched);
        }
        for _ in 0..fetched {
            let next = self.random.below(self.pending.borrow().len());
            let key = self.pending.borrow_mut().remove(next);
            // The socket may have been closed since, and its key may belong to a new one.
            let Some(socket) = self.sockets.borrow().get(&key).cloned() else { continue };
            self.deliver(&socket, turn, &mut woken, &mut must_run);
        }
        if self.has(Fault::LostWaker) && self.random.one_in(20) {
            woken.pop();
        }
        for waker in woken {
            trace!(waker:? = waker.data(); "wake");
            waker.wake();
        }
        must_run
    }

    /// Delivers an event of a socket to its source.
    fn deliver(&self, socket: &Socket, turn: u64, woken: &mut Vec<Waker>, must_run: &mut MustRun) {
        let key = socket.source.key;
        let event = socket.event();
        let of = |direction| event.iter().find(|(of, _)| *of == direction);
        let (read, write) = (of(Direction::Read), of(Direction::Write));
        trace!(
            source = key,
            readable = read.is_some(),
            writable = write.is_some(),
            read_closed = read.is_some_and(|(_, ends)| *ends),
            write_closed = write.is_some_and(|(_, ends)| *ends);
            "event"
        );
        for &(direction, ends) in &event {
            socket.blocked.borrow_mut().retain(|blocked| *blocked != direction);
            for job in self.jobs.borrow().iter().filter(|job| job.waits_for(key, direction)) {
                must_run.push((job.clone(), job.polls()));
            }
            socket.source.make_ready(direction, ends, turn, woken);
        }
    }

    /// Makes one random peer act, or a thread of the pool take one step. Returns the task that was
    /// woken.
    pub(crate) fn act(&self) -> MustRun {
        let sockets: Vec<_> = self.sockets.borrow().values().cloned().collect();
        let pool = Pool::current();
        if !pool.is_idle() && (sockets.is_empty() || self.random.one_in(2)) {
            return self.advance_pool();
        }
        if let Some(socket) = sockets.get(self.random.below(sockets.len().max(1))) {
            socket.act();
        }
        Vec::new()
    }

    /// Makes a thread of the pool take one step. Returns the task that was woken.
    pub(crate) fn advance_pool(&self) -> MustRun {
        let Some(waker) = Pool::current().step(&self.random) else { return Vec::new() };
        let jobs = self.jobs.borrow();
        let woken = jobs.iter().filter(|job| job.is_woken_by(&waker));
        let must_run = woken.map(|job| (job.clone(), job.polls())).collect();
        if self.has(Fault::LostWakerOfPool) && self.random.one_in(20) {
            return must_run;
        }
        // Use another thread only sometimes, because starting a thread for each wakeup is too slow.
        match self.random.one_in(64) {
            true => thread::scope(|scope| drop(scope.spawn(|| waker.wake()).join())),
            false => waker.wake(),
        }
        must_run
    }
}

impl Socket {
    /// Makes the peer act at random. Each act that changes what a call would return causes an
    /// event.
    fn act(&self) {
        let (key, random) = (self.source.key, &self.kernel.random);
        let mut state = self.state.borrow_mut();
        match random.below(24) {
            _ if state.reset => {}
            0..10 if !state.ended => {
                let bytes = 1 + random.below(40);
                state.send(bytes);
                // The end of the stream may arrive together with bytes. That is one event.
                state.ended = random.one_in(20);
                let end = if state.ended { ", and the end of its stream" } else { "" };
                self.log(|| format!("sends {bytes} bytes{end}"));
                self.kernel.change(key);
            }
            10 if !state.ended => {
                state.ended = true;
                self.log(|| "ends its stream".to_owned());
                self.kernel.change(key);
            }
            11 if random.one_in(8) => {
                state.reset = true;
                state.incoming.clear();
                self.log(|| "resets the connection".to_owned());
                self.kernel.change(key);
            }
            12..20 => {
                let was_full = state.outgoing.len() == state.capacity;
                let bytes = random.below(state.capacity + 1).min(state.outgoing.len());
                state.receive(bytes);
                self.log(|| format!("receives {bytes} bytes"));
                // As Linux does, report space only if there was none.
                if was_full && bytes > 0 {
                    self.kernel.change(key);
                }
            }
            // A spurious event.
            20 => self.kernel.change(key),
            _ => {}
        }
    }

    /// Makes the peer receive all that was written and end its stream.
    pub(crate) fn end(&self) {
        let mut state = self.state.borrow_mut();
        let queued = state.outgoing.len();
        state.receive(queued);
        state.capacity = 64;
        state.ended = true;
        self.log(|| format!("receives {queued} bytes and ends its stream"));
        self.kernel.change(self.source.key);
    }

    /// Logs an act of the peer for the recorder.
    fn log(&self, act: impl FnOnce() -> String) {
        if log_enabled!(target: OUTSIDE, Level::Trace) {
            trace!(target: OUTSIDE, peer = self.source.key; "{}", act());
        }
    }

    /// Returns the directions that an event reports at the time of the fetch, each with whether it
    /// has ended.
    fn event(&self) -> Vec<(Direction, bool)> {
        let state = self.state.borrow();
        let mut event = Vec::new();
        // Sometimes report a direction that is not ready.
        if state.would_read() || self.kernel.random.one_in(10) {
            event.push((Direction::Read, state.ended || state.reset));
        }
        if state.would_write() || self.kernel.random.one_in(10) {
            event.push((Direction::Write, state.reset));
        }
        event
    }

    /// Makes a system call. Panics if the last call returned `WouldBlock` and no event has been
    /// reported since: repeating such a call would be a busy loop.
    fn call(
        &self,
        direction: Direction,
        call: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut blocked = self.blocked.borrow_mut();
        let name = direction.name();
        assert!(!blocked.contains(&direction), "{name} was called again without an event");
        let result = call();
        if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
            self.kernel.would_blocks.set(self.kernel.would_blocks.get() + 1);
            blocked.push(direction);
        }
        drop(blocked);
        // The peer may act before the call returns.
        if self.kernel.random.one_in(4) {
            self.act();
        }
        result
    }

    /// The `read` system call.
    fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let (mut state, random) = (self.state.borrow_mut(), &self.kernel.random);
        if random.one_in(20) {
            return Err(ErrorKind::Interrupted.into());
        }
        if state.reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if state.incoming.is_empty() {
            return if state.ended { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        let mut length = bytes.len().min(state.incoming.len());
        // A read may stop short, e.g. at a packet boundary. A read of TCP does so only before the
        // end of the stream.
        if length > 1 && random.one_in(3) && (!self.is_tcp || state.ended) {
            length = 1 + random.below(length);
        }
        for byte in &mut bytes[..length] {
            *byte = state.incoming.pop_front().expect("there are at least `length` bytes");
        }
        if self.kernel.has(Fault::LostByte) && random.one_in(50) {
            state.incoming.pop_front();
        }
        self.taken.set(self.taken.get() + length);
        Ok(length)
    }

    /// The `write` system call.
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let (mut state, random) = (self.state.borrow_mut(), &self.kernel.random);
        assert!(!state.closed, "a task writes after it has ended the stream");
        if random.one_in(20) {
            return Err(ErrorKind::Interrupted.into());
        }
        if state.reset {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let space = state.capacity - state.outgoing.len();
        if space == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut length = bytes.len().min(space);
        if !self.is_tcp && random.one_in(3) {
            length = 1 + random.below(length);
        }
        state.outgoing.extend(&bytes[..length]);
        self.accepted.set(self.accepted.get() + length);
        if self.kernel.has(Fault::RepeatedByte) && random.one_in(50) && length < space {
            state.outgoing.push_back(bytes[length - 1]);
        }
        Ok(length)
    }

    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let length = bytes.len();
        let read = || self.call(Direction::Read, || self.read(bytes));
        let polled = match self.is_tcp {
            true => self.source.poll_transfer(Direction::Read, "read", length, cx, read),
            false => self.source.poll_operation(Direction::Read, "read", cx, read),
        };
        if let Poll::Ready(Ok(length)) = polled {
            let expected = (self.received.get()..).map(|n| n as u8);
            assert!(expected.zip(&bytes[..length]).all(|(a, b)| a == *b), "a task got wrong bytes");
            self.received.set(self.received.get() + length);
        }
        polled
    }

    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let write = || self.call(Direction::Write, || self.write(bytes));
        match self.is_tcp {
            true => self.source.poll_transfer(Direction::Write, "write", bytes.len(), cx, write),
            false => self.source.poll_operation(Direction::Write, "write", cx, write),
        }
    }
}

impl State {
    /// Returns whether a read would return anything other than `WouldBlock`.
    pub(crate) fn would_read(&self) -> bool {
        !self.incoming.is_empty() || self.ended || self.reset
    }

    pub(crate) fn would_write(&self) -> bool {
        self.outgoing.len() < self.capacity || self.reset
    }

    fn send(&mut self, bytes: usize) {
        self.incoming.extend((self.sent..self.sent + bytes).map(|n| n as u8));
        self.sent += bytes;
    }

    fn receive(&mut self, bytes: usize) {
        for byte in self.outgoing.drain(..bytes) {
            assert_eq!(byte, self.delivered as u8, "the peer got a wrong byte");
            self.delivered += 1;
        }
    }
}

/// One end of a socket for `copy`.
pub(crate) struct End(pub(crate) Rc<Socket>);

impl End {
    /// Takes several polls at random, as flushing an encrypted stream may.
    fn poll_flush_at_random(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.kernel.random.one_in(8) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_read(cx, bytes)
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush_at_random(cx).map(Ok)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.poll_flush_at_random(cx).map(Ok);
        if polled.is_ready() {
            let is_first = !std::mem::replace(&mut self.0.state.borrow_mut().closed, true);
            assert!(is_first, "a task ends the stream twice");
        }
        polled
    }
}
