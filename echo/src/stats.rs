//! `--stats`: periodically prints a line of counters, summed over all threads.

use std::future::pending;
use std::time::Duration;

use executor::Executor;
use futures_lite::future;
use reactor::time::interval;

use crate::arguments::Arguments;
use crate::output::STDERR;
use crate::server::Server;
use crate::shared::Shared;
use crate::survey::Sum;

/// Returns what this thread has counted since its start.
pub(crate) fn count(executor: &Executor, server: &Server) -> Sum {
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

/// Prints the counters of all threads at the interval of `--stats`. Never returns.
pub(crate) async fn print_periodically<T>(
    arguments: &Arguments,
    executor: &Executor,
    server: &Server,
) -> T {
    let Some(every) = arguments.stats else { return pending().await };
    let answering = server.shared.survey.answer(|| count(executor, server));
    future::or(print_each(every, &server.shared, arguments.threads), answering).await
}

async fn print_each<T>(every: Duration, shared: &Shared, threads: usize) -> T {
    let mut ticks = interval(every);
    loop {
        ticks.tick().await;
        STDERR.print(line(shared, threads).await.as_bytes());
    }
}

/// Returns the line of counters. If some threads do not answer, the line ends with how many.
async fn line(shared: &Shared, threads: usize) -> String {
    let (answered, sum) = shared.survey.ask(threads).await;
    let silent = match threads - answered {
        0 => String::new(),
        silent => format!(" silent_threads={silent}"),
    };
    format!("stats: open={} {sum}{silent}\n", shared.open())
}

#[cfg(test)]
mod tests {
    use super::*;
    use executor::block_on;
    use reactor::time::pause;

    #[test]
    fn threads_that_do_not_answer_are_counted() {
        let _clock = pause();
        let counters = "connections=0 messages=0 bytes=0 polls=0 wakes=0 would_blocks=0";
        let shared = Shared::new(None, None);
        for (threads, silent) in [(1, ""), (3, " silent_threads=2")] {
            let answering = shared.survey.answer(Sum::default);
            let line = block_on(future::or(line(&shared, threads), answering));
            assert_eq!(line, format!("stats: open=0 {counters}{silent}\n"));
        }
    }
}
