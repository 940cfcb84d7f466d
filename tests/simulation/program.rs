//! The program of one seed: its tasks, and the checks after each turn.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use executor::yield_now;
use futures_lite::io::BufWriter;
use reactor::io::{copy, copy_bidirectional};
use reactor::time::{Paused, interval, now, sleep};
use reactor::{Awaited, Reactor};

use crate::blocking::Pool;
use crate::budget;
use crate::job::{Job, for_a_while};
use crate::kernel::{End, Kernel, MustRun, Socket};
use crate::source::Direction;
use crate::{files, sets};

/// The number of random steps in one run.
const STEPS: u32 = 60;
/// The maximum number of rounds in which tasks may run without an event. More would be a busy loop.
const ROUNDS: u32 = 2_000;
/// The maximum number of turns until all tasks complete after the peers have ended their streams.
const TURNS: u32 = 200;

/// The program of one seed, and what the checks need to know about it.
pub(crate) struct Program {
    kernel: Rc<Kernel>,
    clock: Paused,
    /// The two sockets of each copy, and its job. The copy sends the bytes of the first socket to
    /// the second.
    copies: Vec<(Rc<Socket>, Rc<Socket>, Rc<Job>)>,
    must_run: MustRun,
}

/// Runs the program of the kernel's seed: random tasks, and random acts of peers, threads and the
/// clock.
pub(crate) async fn run(kernel: Rc<Kernel>, clock: Paused) {
    let mut program = Program { kernel, clock, copies: Vec::new(), must_run: Vec::new() };
    for _ in 0..1 + program.kernel.random.below(5) {
        program.start();
    }
    for _ in 0..STEPS {
        match program.kernel.random.below(12) {
            0..7 => program.act(),
            7 if program.kernel.random.one_in(4) => program.start(),
            8 => program.replace_task(),
            9 if program.kernel.random.one_in(2) => {
                let milliseconds = program.kernel.random.below(30) as u64;
                program.advance(Duration::from_millis(milliseconds)).await;
            }
            _ => program.turn().await,
        }
        program.close();
    }
    program.end().await;
}

impl Program {
    fn act(&mut self) {
        self.must_run.extend(self.kernel.act());
    }

    /// Starts a few random tasks.
    fn start(&mut self) {
        let kernel = &self.kernel;
        match kernel.random.below(14) {
            0..3 => {
                let one = kernel.open();
                Job::spawn(kernel, "reader", &[&one], read_all(one.clone()));
            }
            3..5 => {
                // A reader and a writer share one socket.
                let one = kernel.open();
                let length = kernel.random.below(300);
                Job::spawn(kernel, "reader", &[&one], read_all(one.clone()));
                Job::spawn(kernel, "writer", &[&one], write_all(one.clone(), length));
            }
            5 => {
                // Many readers share one socket, at times so many that the source must be swept.
                let one = kernel.open();
                let most = if kernel.random.one_in(3) { 80 } else { 8 };
                for _ in 0..kernel.random.below(most) {
                    Job::spawn(kernel, "reader", &[&one], read_all(one.clone()));
                }
            }
            6 => {
                let (one, other) = (kernel.open(), kernel.open());
                let (mut a, mut b) = (End(one.clone()), End(other.clone()));
                let both = async move {
                    if copy_bidirectional(&mut a, &mut b).await.is_ok() {
                        let closed = [&a, &b].map(|end| end.0.state.borrow().closed);
                        assert_eq!(closed, [true, true], "a copy has not ended a stream");
                    }
                };
                let job = Job::spawn(kernel, "copy both ways", &[&one, &other], both);
                self.copies.push((one.clone(), other.clone(), job.clone()));
                self.copies.push((other, one, job));
            }
            7 | 8 => {
                let (one, other) = (kernel.open(), kernel.open());
                let (from, to) = (End(one.clone()), End(other.clone()));
                // A copy must flush this buffer whenever it waits for its reader.
                let capacity = [0, 16][kernel.random.below(2)];
                let to = BufWriter::with_capacity(capacity, to);
                let both = async move { drop(copy(from, to).await) };
                let job = Job::spawn(kernel, "copy", &[&one, &other], both);
                self.copies.push((one, other, job));
            }
            9 => drop(Job::spawn(kernel, "timers", &[], wait_for_timers(kernel.clone()))),
            10 => drop(Job::spawn(kernel, "jobs", &[], files::await_jobs(kernel.clone()))),
            11 => {
                let one = kernel.open();
                let set = sets::join_tasks(kernel.clone(), one.clone());
                Job::spawn(kernel, "set", &[&one], set);
            }
            12 => files::start_readers(kernel),
            _ => files::start_writers(kernel),
        }
    }

    /// Aborts a task, so that its waker becomes stale. Another task reads from its socket.
    fn replace_task(&mut self) {
        let kernel = &self.kernel;
        let jobs = kernel.jobs.borrow().len();
        if jobs == 0 {
            return;
        }
        let job = kernel.jobs.borrow()[kernel.random.below(jobs)].clone();
        if !job.may_be_aborted() {
            return;
        }
        job.abort();
        if let Some(socket) = job.first_socket() {
            Job::spawn(kernel, "reader", &[socket], read_all(socket.clone()));
        }
    }

    /// Closes the sockets whose tasks have ended.
    fn close(&mut self) {
        self.kernel.jobs.borrow_mut().retain(|job| !job.has_ended() || job.is_copy());
        self.kernel.close_unused();
    }

    /// Advances the clock, so that timers expire.
    async fn advance(&mut self, duration: Duration) {
        let then = now() + duration;
        let is_due = |job: &&Rc<Job>| job.deadline.get().is_some_and(|deadline| deadline <= then);
        let jobs = self.kernel.jobs.borrow().clone();
        let due = jobs.iter().filter(is_due).map(|job| (job.clone(), job.polls()));
        self.must_run.extend(due);
        self.clock.advance(duration).await;
        self.turn().await;
    }

    /// Fetches events, runs the tasks until none can run, and checks the state.
    async fn turn(&mut self) {
        self.must_run.extend(self.kernel.turn());
        // Run one round, and another one in case another thread has sent a wakeup.
        yield_now().await;
        yield_now().await;
        for (job, polls) in self.must_run.drain(..) {
            let polled = job.polls() > polls || job.has_ended();
            assert!(polled, "a task that was woken was not polled in the next round");
        }
        let (mut round, mut quiet) = (0, 0);
        while quiet < 2 {
            assert!(round < ROUNDS, "the tasks run although no event arrives");
            let polls = self.kernel.polls.get();
            yield_now().await;
            quiet = if self.kernel.polls.get() == polls { quiet + 1 } else { 0 };
            round += 1;
        }
        self.check();
    }

    fn check(&self) {
        if let Some(failure) = self.kernel.failure.take() {
            resume_unwind(failure);
        }
        for (key, socket) in &*self.kernel.sockets.borrow() {
            assert_eq!(socket.taken.get(), socket.received.get(), "bytes of {key} were lost");
        }
        let stored = self.stored_wakers();
        for job in self.kernel.jobs.borrow().iter().filter(|job| !job.has_ended()) {
            let is_known = job.awaited.borrow().is_some() || stored.contains(&job.waker());
            let waits = job.waits.borrow();
            assert!(is_known || !waits.is_empty(), "a task neither runs nor waits");
            for &(key, direction) in &*waits {
                let socket = job.socket(key).expect("the job waits for its own socket");
                let state = socket.state.borrow();
                let would_succeed = match direction {
                    Direction::Read => state.would_read(),
                    Direction::Write => state.would_write(),
                };
                let is_pending = self.kernel.pending.borrow().contains(&key);
                let name = direction.name();
                assert!(!would_succeed || is_pending, "lost wakeup: {name} of source {key}");
            }
            if let Some(ends) = &*job.awaited.borrow() {
                assert!(ends.borrow().is_empty(), "lost wakeup: an awaited task has ended");
            }
            let is_late = job.deadline.get().is_some_and(|deadline| deadline <= now());
            assert!(!is_late, "lost wakeup: a timer has expired");
        }
        for (from, to, job) in self.copies.iter().filter(|(_, _, job)| !job.has_ended()) {
            let reads = job.waits_for(from.source.key, Direction::Read);
            let writes = job.waits_for(to.source.key, Direction::Write);
            let has_ended = to.state.borrow().closed;
            assert!(reads || writes || has_ended, "a copy does not wait for one of its directions");
            if reads && !writes {
                assert_eq!(from.taken.get(), to.accepted.get(), "a copy waits with bytes to write");
            }
        }
    }

    /// Returns the addresses of the wakers that timers and the pool store.
    fn stored_wakers(&self) -> BTreeSet<usize> {
        let timers = Reactor::current().stored_wakers().into_iter();
        let timers = timers.filter(|stored| matches!(stored.awaited, Awaited::Deadline(_)));
        let timers = timers.map(|stored| stored.waker.addr());
        timers.chain(Pool::current().stored_wakers()).collect()
    }

    /// Ends all streams and receives all bytes, until all tasks have completed.
    async fn end(&mut self) {
        for turn in 0.. {
            assert!(turn < TURNS, "tasks do not complete");
            let sockets: Vec<_> = self.kernel.sockets.borrow().values().cloned().collect();
            sockets.iter().for_each(|socket| socket.end());
            while !Pool::current().is_idle() {
                self.must_run.extend(self.kernel.advance_pool());
            }
            self.turn().await;
            if self.kernel.jobs.borrow().iter().all(|job| job.has_ended()) {
                break;
            }
            self.advance(Duration::from_millis(50)).await;
        }
        for (from, to, _) in &self.copies {
            let (from, to) = (from.state.borrow(), to.state.borrow());
            if !from.reset && !to.reset {
                let delivered = to.delivered + to.outgoing.len();
                assert_eq!(delivered, from.sent, "a copy has lost bytes");
            }
        }
        self.check_that_nothing_is_left();
    }

    fn check_that_nothing_is_left(&self) {
        let kernel = &self.kernel;
        let pool = Pool::current();
        assert!(pool.is_idle() && pool.unfinished_jobs() == 0, "a job is left");
        assert_eq!(kernel.values.load(Ordering::Relaxed), 0, "the value of a job is left");
        assert_eq!(Reactor::current().next_deadline(), None, "a timer is left");
        let tasks = executor::metrics().tasks;
        assert_eq!(tasks, 1, "tasks are left besides the one that runs this check");
        let would_blocks = kernel.shared.counters.metrics().would_blocks;
        assert_eq!(would_blocks, kernel.would_blocks.get(), "the counters do not balance");
    }
}

async fn read_all(socket: Rc<Socket>) {
    loop {
        let mut bytes = vec![0; 1 + socket.kernel.random.below(50)];
        let read = poll_fn(|cx| socket.poll_read(cx, &mut bytes));
        let read = match socket.kernel.random.one_in(8) {
            true => for_a_while(&socket.kernel, read).await,
            false => Some(read.await),
        };
        match read {
            Some(Ok(0)) => {
                // Reading at the end again returns the end again, without waiting.
                let again = poll_fn(|cx| Poll::Ready(socket.poll_read(cx, &mut [0]))).await;
                assert!(again.is_ready() || !budget::has_budget_remaining(), "the end waits");
                return;
            }
            Some(Err(_)) => return,
            Some(Ok(_)) if socket.kernel.random.one_in(8) => yield_now().await,
            // Bytes have arrived, or the read has timed out.
            Some(Ok(_)) | None => {}
        }
    }
}

async fn write_all(socket: Rc<Socket>, length: usize) {
    let bytes: Vec<u8> = (0..length).map(|n| n as u8).collect();
    let mut written = 0;
    while written < length {
        let write = poll_fn(|cx| socket.poll_write(cx, &bytes[written..]));
        let result = match socket.kernel.random.one_in(8) {
            true => for_a_while(&socket.kernel, write).await,
            false => Some(write.await),
        };
        match result {
            Some(Ok(count)) => written += count,
            Some(Err(_)) => return,
            // A write that was dropped has written nothing.
            None => {}
        }
    }
}

async fn wait_for_timers(kernel: Rc<Kernel>) {
    let mut ticks = interval(Duration::from_millis(1 + kernel.random.below(20) as u64));
    for _ in 0..kernel.random.below(10) {
        let duration = Duration::from_millis(kernel.random.below(50) as u64);
        let wait = async {
            match kernel.random.below(2) {
                0 => sleep(duration).await,
                _ => drop(ticks.tick().await),
            }
        };
        for_a_while(&kernel, wait).await;
    }
}
