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
        let (answered, sum) = shared.survey.ask(threads).await;
        let mut line = format!("stats: open={} {sum}", shared.open());
        if answered < threads {
            line += &format!(" silent_threads={}", threads - answered);
        }
        STDERR.print(format!("{line}\n").as_bytes());
    }
}
