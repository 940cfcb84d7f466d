//! `--stats`: one line of numbers, again and again, summed over all threads.

use std::fmt;
use std::future::pending;
use std::ops::AddAssign;
use std::time::Duration;

use executor::Executor;
use futures_lite::future;
use reactor::time::{interval, timeout};

use crate::arguments::Arguments;
use crate::output::STDERR;
use crate::server::Server;
use crate::shared::Shared;
use crate::watch::Watch;

/// How long to wait for the numbers of a thread that may be stuck.
const PATIENCE: Duration = Duration::from_millis(500);

/// What was counted since the start.
#[derive(Clone, Copy, Default)]
struct Sum {
    connections: u64,
    messages: u64,
    bytes: u64,
    polls: u64,
    wakes: u64,
    would_blocks: u64,
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

impl Sum {
    fn of(executor: &Executor, server: &Server) -> Sum {
        let (metrics, counts) = (executor.metrics(), &server.counts);
        Sum {
            connections: counts.connections.get(),
            messages: counts.messages.get(),
            bytes: counts.bytes.get(),
            polls: metrics.polls,
            wakes: metrics.wakes,
            would_blocks: metrics.would_blocks,
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

impl Survey {
    /// Tells the numbers of this thread when it is asked; it never ends.
    pub(crate) async fn answer<T>(&self, executor: &Executor, server: &Server) -> T {
        let mut answered = 0;
        loop {
            let is_new = |question: &mut u64| (*question > answered).then_some(*question);
            answered = self.question.until(is_new).await;
            self.answers.update(|answers| answers.add(answered, Sum::of(executor, server)));
        }
    }

    /// Asks all threads. One that does not answer in time is not in the sum, nor in the number.
    async fn ask(&self, threads: usize) -> (usize, Sum) {
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

/// Tells the numbers of all threads as often as the arguments say; it never ends.
pub(crate) async fn tell<T>(arguments: &Arguments, executor: &Executor, server: &Server) -> T {
    let Some(every) = arguments.stats else { return pending().await };
    let answering = server.shared.survey.answer(executor, server);
    future::or(print_each(every, &server.shared, arguments.threads), answering).await
}

async fn print_each<T>(every: Duration, shared: &Shared, threads: usize) -> T {
    let mut ticks = interval(every);
    loop {
        ticks.tick().await;
        let (answered, sum) = shared.survey.ask(threads).await;
        let mut line = format!("stats: open={} {sum}", shared.open());
        if answered < threads {
            line += &format!(" silent_threads={}", threads - answered);
        }
        STDERR.print(format!("{line}\n").as_bytes());
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sum { connections, messages, bytes, polls, wakes, would_blocks } = self;
        write!(f, "connections={connections} messages={messages} bytes={bytes} ")?;
        write!(f, "polls={polls} wakes={wakes} would_blocks={would_blocks}")
    }
}
