//! What `--stats` prints: the numbers of all threads, and how they are collected.

use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

use reactor::time::timeout;

use crate::watch::Watch;

/// How long to wait for the numbers of a thread that may be stuck.
const PATIENCE: Duration = Duration::from_millis(500);

/// What was counted since the start.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sum {
    pub(crate) connections: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) polls: u64,
    pub(crate) wakes: u64,
    pub(crate) would_blocks: u64,
}

/// The question for the numbers, and the answers of the threads.
#[derive(Default)]
pub(crate) struct Survey {
    /// Which question it is.
    question: Watch<u64>,
    answers: Watch<Answers>,
}

#[derive(Default)]
struct Answers {
    question: u64,
    threads: usize,
    sum: Sum,
}

impl Survey {
    /// Answers with the numbers of this thread each time they are asked for; never returns.
    pub(crate) async fn answer<T>(&self, count: impl Fn() -> Sum) -> T {
        let mut answered = 0;
        loop {
            let is_new = |question: &mut u64| (*question > answered).then_some(*question);
            answered = self.question.until(is_new).await;
            self.answers.update(|answers| answers.add(answered, count()));
        }
    }

    /// Asks all threads. One that does not answer in time is not in the sum, nor in the number.
    pub(crate) async fn ask(&self, threads: usize) -> (usize, Sum) {
        let question = 1 + self.question.look(|question| *question);
        // First what is to be answered, or a quick answer would come too early.
        self.answers.update(|answers| *answers = Answers { question, ..Answers::default() });
        self.question.update(|asked| *asked = question);
        let all = |answers: &mut Answers| (answers.threads == threads).then_some(());
        let _ = timeout(PATIENCE, self.answers.until(all)).await;
        self.answers.look(|answers| (answers.threads, answers.sum))
    }
}

impl Answers {
    /// Adds an answer, unless it comes too late.
    fn add(&mut self, question: u64, sum: Sum) {
        if question == self.question {
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
