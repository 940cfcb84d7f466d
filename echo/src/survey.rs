//! The counters that `--stats` prints, and how they are collected from all threads.

use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

use reactor::time::timeout;

use crate::watch::Watch;

/// How long to wait for the counters of a thread that may be stuck.
const PATIENCE: Duration = Duration::from_millis(500);

/// Counters since the start, of one thread or summed over several.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sum {
    pub(crate) connections: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) polls: u64,
    pub(crate) wakes: u64,
    pub(crate) would_blocks: u64,
}

/// A request for the counters, and the answers of the threads.
#[derive(Default)]
pub(crate) struct Survey {
    /// The number of the latest request.
    request: Watch<u64>,
    answers: Watch<Answers>,
}

#[derive(Default)]
struct Answers {
    /// The number of the request that they answer.
    request: u64,
    /// How many threads have answered.
    threads: usize,
    sum: Sum,
}

impl Survey {
    /// Answers each request with the counters of this thread. Never returns.
    pub(crate) async fn answer<T>(&self, count: impl Fn() -> Sum) -> T {
        let mut answered = 0;
        loop {
            let is_new = |request: &mut u64| (*request > answered).then_some(*request);
            answered = self.request.until(is_new).await;
            self.answers.update(|answers| answers.add(answered, count()));
        }
    }

    /// Requests the counters of all threads. Returns how many threads answered in time, and the sum of
    /// their counters.
    pub(crate) async fn ask(&self, threads: usize) -> (usize, Sum) {
        let request = 1 + self.request.look(|request| *request);
        // Reset the answers before publishing the request. Otherwise this would erase the answer of a
        // fast thread.
        self.answers.update(|answers| *answers = Answers { request, ..Answers::default() });
        self.request.update(|latest| *latest = request);
        let all = |answers: &mut Answers| (answers.threads == threads).then_some(());
        let _ = timeout(PATIENCE, self.answers.until(all)).await;
        self.answers.look(|answers| (answers.threads, answers.sum))
    }
}

impl Answers {
    /// Adds an answer, unless it belongs to an earlier request.
    fn add(&mut self, request: u64, sum: Sum) {
        if request == self.request {
            self.threads += 1;
            self.sum += sum;
        }
    }
}

impl AddAssign for Sum {
    fn add_assign(&mut self, other: Sum) {
        self.connections += other.connections;
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.polls += other.polls;
        self.wakes += other.wakes;
        self.would_blocks += other.would_blocks;
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sum { connections, messages, bytes, polls, wakes, would_blocks } = self;
        write!(f, "connections={connections} messages={messages} bytes={bytes} ")?;
        write!(f, "polls={polls} wakes={wakes} would_blocks={would_blocks}")
    }
}
